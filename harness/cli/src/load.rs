//! What is under test, from files: deployment, adapter and profile, each checked, every mistake with its place.

use crate::error::Error;
use gatecrash_fixtures::adapters;
use gatecrash_fixtures::gateway::defects::Defect;
use gatecrash_model::adapter::{self, Adapter};
use gatecrash_model::schedule::yaml::Known;
use gatecrash_model::{Deployment, Profile, Schedule, deployment, input, schedule};
use gatecrash_suites::certify::contradictions;
use gatecrash_suites::{claims, experiments, profiles};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest template of an adapter, in bytes.
const MAX_TEMPLATE: u64 = 1 << 20;

/// A deployment with all that belongs to it.
pub(crate) struct Loaded {
    pub(crate) deployment: Deployment,
    pub(crate) adapter: Adapter,
    pub(crate) profile: Profile,
}

/// Reads the deployment at `path` (or the one of that name that comes with gatecrash), its adapter, and its profile or
/// `profile` in its place.
///
/// # Errors
/// [`Error::Input`] with every mistake of the first file that has any.
pub(crate) fn load(path: &Path, profile: Option<&str>) -> Result<Loaded, Error> {
    let source_name = path.display().to_string();
    let built_in = adapters::deployments().iter().find(|built_in| path == Path::new(built_in.name));
    let text = match built_in {
        Some(built_in) if !path.exists() => built_in.yaml.to_owned(),
        Some(_) | None => read(path, "a deployment", &known_deployments())?,
    };
    let deployment = deployment::yaml::parse(&source_name, &text).map_err(|error| Error::Input(error.to_string()))?;
    let beside = path.parent().unwrap_or(Path::new(""));

    let adapter = load_adapter(&deployment.gateway.adapter, beside)?;
    adapter.check_settings(&deployment, &source_name, &text).map_err(|error| Error::Input(error.to_string()))?;
    check_defects(&deployment, &source_name, &text)?;
    adapter.rehearse(&deployment).map_err(|error| {
        // The template is a file beside the adapter, or stands in it.
        let place = if is_path(&deployment.gateway.adapter) {
            beside.join(&deployment.gateway.adapter).display().to_string()
        } else {
            format!("adapter `{}`", adapter.name)
        };
        Error::Input(format!("{place}: {error}\n(rendered for {source_name})"))
    })?;

    let (profile_name, profile_text) = match profile {
        // On the command line paths are relative to where the command runs.
        Some(given) => profile_text(given, Path::new(""))?,
        None => profile_text(&deployment.profile, beside)?,
    };
    let profile = profiles::parse(&profile_name, &profile_text).map_err(|error| Error::Input(error.to_string()))?;
    let said: Vec<String> = contradictions(&deployment, &profile, &adapter)
        .into_iter()
        .flat_map(|found| {
            [
                input::about(&profile_name, &profile_text, &found.in_profile, found.what),
                input::about(&source_name, &text, &found.in_deployment, found.against),
            ]
        })
        .map(|mistake| mistake.to_string())
        .collect();
    if !said.is_empty() {
        return Err(Error::Input(said.join("\n")));
    }
    Ok(Loaded { deployment, adapter, profile })
}

/// The ids of the claims that the patterns of `--only` match; none for no pattern. `CFG-02` stands for its variants, too.
///
/// # Errors
/// [`Error::Input`] with the first pattern that no claim matches.
pub(crate) fn selected(only: &[String]) -> Result<Vec<String>, Error> {
    let known: Vec<&str> = claims::all().iter().map(|claim| claim.id).collect();
    let mut ids = Vec::new();
    for pattern in only {
        let variants = format!("{pattern}/*");
        let matched = known.iter().filter(|id| matches(pattern, id) || matches(&variants, id));
        let before = ids.len();
        ids.extend(matched.map(|id| (*id).to_owned()));
        if ids.len() == before {
            return Err(Error::Input(format!("no claim matches `{pattern}`; claims are {}", known.join(", "))));
        }
    }
    Ok(ids)
}

/// Whether `pattern` matches all of `text`; `*` stands for anything, letters match in either case.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at.saturating_add(part.len())..).unwrap_or_default();
    }
    true
}

fn load_adapter(written: &str, beside: &Path) -> Result<Adapter, Error> {
    if let Some(built_in) = adapters::builtin().iter().find(|built_in| built_in.name == written) {
        return built_in.adapter().map_err(|error| Error::Input(error.to_string()));
    }
    let names: Vec<&str> = adapters::builtin().iter().map(|built_in| built_in.name).collect();
    if !is_path(written) {
        return Err(unknown("adapter", written, &names));
    }
    let path = beside.join(written);
    let text = read(&path, "an adapter", &names)?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut load = |template: &str| {
        let place = folder.join(template);
        let size = std::fs::metadata(&place).map_err(|error| error.to_string())?.len();
        if size > MAX_TEMPLATE {
            return Err(format!("it has {size} bytes; at most {MAX_TEMPLATE} are read"));
        }
        std::fs::read_to_string(&place).map_err(|error| error.to_string())
    };
    let mut adapter = adapter::yaml::parse(&path.display().to_string(), &text, &mut load)
        .map_err(|error| Error::Input(error.to_string()))?;
    adapter.folder = absolute(&path)?.parent().unwrap_or(Path::new("/")).display().to_string();
    Ok(adapter)
}

/// What it is called in messages, and its text.
fn profile_text(written: &str, beside: &Path) -> Result<(String, String), Error> {
    let built_in = profiles::builtin();
    if let Some((name, text)) = built_in.iter().find(|(name, _)| *name == written) {
        return Ok(((*name).to_owned(), (*text).to_owned()));
    }
    let names: Vec<&str> = built_in.iter().map(|(name, _)| *name).collect();
    if !is_path(written) {
        return Err(unknown("profile", written, &names));
    }
    let path = beside.join(written);
    Ok((path.display().to_string(), read(&path, "a profile", &names)?))
}

fn check_defects(deployment: &Deployment, source_name: &str, text: &str) -> Result<(), Error> {
    let defects = &deployment.gateway.defects;
    let adapter = &deployment.gateway.adapter;
    let Some(first) = defects.first() else { return Ok(()) };
    if adapter != "reference" {
        let message = format!("only the adapter `reference` has defects; this one is `{adapter}`");
        return Err(Error::Input(placed(source_name, text, first, &message)));
    }
    match defects.iter().find(|defect| Defect::named(defect).is_none()) {
        None => Ok(()),
        Some(defect) => {
            let known: Vec<&str> = Defect::ALL.iter().map(|known| known.name()).collect();
            let message = format!("defect `{defect}` does not exist; known are\n  {}", known.join("\n  "));
            Err(Error::Input(placed(source_name, text, defect, &message)))
        }
    }
}

/// Where `word` stands in `line` by itself: `quota.reset` is not in `quota.reset-on-restart`.
fn whole_word(line: &str, word: &str) -> Option<usize> {
    let belongs = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-' | '_');
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line.get(..*at).and_then(|text| text.chars().next_back());
        let after = line.get(at.saturating_add(word.len())..).and_then(|text| text.chars().next());
        !before.is_some_and(belongs) && !after.is_some_and(belongs)
    })
}

/// `message` with the first place at which `word` stands after the key `defects`.
fn placed(source_name: &str, text: &str, word: &str, message: &str) -> String {
    let from = text.lines().position(|line| line.contains("defects")).unwrap_or_default();
    let line =
        text.lines().enumerate().skip(from).find_map(|(number, line)| Some((number, whole_word(line, word)?, line)));
    match line {
        Some((number, column, line)) => {
            let number = number.saturating_add(1);
            let margin = " ".repeat(number.to_string().len());
            let shown = line.get(..column).map_or(0, |before| before.chars().count());
            let lead = " ".repeat(shown);
            format!(
                "{source_name}:{number}:{}: {message}\n {margin} |\n {number} | {line}\n {margin} | {lead}^",
                shown.saturating_add(1)
            )
        }
        None => format!("{source_name}: {message}"),
    }
}

fn is_path(written: &str) -> bool {
    Path::new(written).extension().is_some_and(|extension| extension == "yaml")
}

fn unknown(what: &str, written: &str, known: &[&str]) -> Error {
    Error::Input(format!(
        "{what} `{written}` does not exist; those that come with gatecrash are {}; a file ends in `.yaml`",
        known.join(", ")
    ))
}

fn known_deployments() -> Vec<&'static str> {
    adapters::deployments().iter().map(|built_in| built_in.name).collect()
}

/// The schedule in the file `path`: names are held to those that there are on its deployment.
///
/// # Errors
/// [`Error::Input`] with every mistake in it, or in the deployment that it names.
pub(crate) fn schedule(path: &Path) -> Result<Schedule, Error> {
    let text = read(path, "a schedule", &[])?;
    let mut unread = None;
    let mut known = |deployment: &str, profile: Option<&str>| match load(Path::new(deployment), profile) {
        Ok(loaded) => Some(Known {
            claims: claims::all().iter().map(|claim| claim.id.to_owned()).collect(),
            experiments: experiments::all()
                .iter()
                .map(|experiment| (experiment.name.to_owned(), (experiment.steps)(&loaded.deployment)))
                .collect(),
        }),
        Err(error) => {
            unread = Some(error);
            None
        }
    };
    let schedule = schedule::yaml::parse(&path.display().to_string(), &text, &mut known);
    let schedule = schedule.map_err(|error| Error::Input(error.to_string()))?;
    match unread {
        Some(error) => Err(Error::Input(format!("{error}\n(named in {})", path.display()))),
        None => Ok(schedule),
    }
}

/// The text of a file. No more is read than is legal: a device or a huge file is a mistake, not a wait.
fn read(path: &Path, what: &str, known: &[&str]) -> Result<String, Error> {
    let cannot = |seen: String| {
        let place = path.display();
        let there = if known.is_empty() {
            String::new()
        } else {
            format!("\nthose that come with gatecrash are {}", known.join(", "))
        };
        Error::Input(format!("{place}: cannot be read as {what}: {seen}{there}"))
    };
    let found = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if !found.is_file() {
        return Err(cannot("it is no file".to_owned()));
    }
    let most = u64::try_from(input::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(most).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    input::decode(&path.display().to_string(), &bytes).map_err(|error| Error::Input(error.to_string()))
}

/// A path as an absolute one, without asking whether it exists.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::Input(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(folder: &Path, text: &str) -> String {
        let path = folder.join("edge.yaml");
        std::fs::write(&path, text).unwrap();
        match load(&path, None) {
            Ok(_) => panic!("it was accepted:\n{text}"),
            Err(error) => {
                assert_eq!(error.exit(), crate::Exit::Usage);
                error.to_string()
            }
        }
    }

    const EDGE: &str = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway:\n  adapter: ADAPTER\n  defects: \
                        [quota.per-replica, quota.no-such]\nsites:\n  - {name: eu, zones: [a], replicas: 1}\n";

    #[test]
    fn unknown_defects_are_named_with_their_place_and_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let seen = message(folder.path(), &EDGE.replace("ADAPTER", "reference"));
        assert!(seen.contains("edge.yaml:6:32: defect `quota.no-such` does not exist"), "{seen}");
        assert!(seen.contains("quota.reset-on-restart"), "{seen}");
    }

    #[test]
    fn only_the_reference_gateway_has_defects() {
        let folder = tempfile::tempdir().unwrap();
        let seen = message(folder.path(), &EDGE.replace("ADAPTER", "envoy"));
        assert!(seen.contains("only the adapter `reference` has defects"), "{seen}");
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let seen = message(folder.path(), &EDGE.replace("ADAPTER", "nginx"));
        assert!(seen.contains("adapter `nginx` does not exist") && seen.contains("reference"), "{seen}");
        let good = EDGE.replace("ADAPTER", "reference").replace(", quota.no-such", "");
        let seen = message(folder.path(), &good.replace("flex-managed", "flexible"));
        assert!(seen.contains("profile `flexible` does not exist") && seen.contains("flex-managed"), "{seen}");
        assert!(
            message(folder.path(), &good.replace("flex-managed", "none.yaml")).contains("none.yaml: cannot be read")
        );
    }

    #[test]
    fn what_a_profile_and_a_deployment_cannot_both_say_has_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let profile = "version: \"1.0\"\nname: mine\nproduct: ours\nminimumJudged: 1\nclaims:\n  QUO-01: {declared: holds, basis: expected, parameters: {sync_interval: 60s}}\n";
        std::fs::write(folder.path().join("mine.yaml"), profile).unwrap();
        let edge = EDGE.replace("ADAPTER", "reference").replace("flex-managed", "mine.yaml");
        let edge = edge.replace(", quota.no-such", "") + "quota: {limit: 100, window: 10s}\n";
        let seen = message(folder.path(), &edge);
        assert!(seen.contains("mine.yaml:6:59: `sync_interval` of QUO-01 is 60 s"), "{seen}");
        assert!(seen.contains("legal are 0 to 10 s"), "{seen}");
        assert!(seen.contains("edge.yaml:9:21: the `window` of the quota is 10 s"), "{seen}");
    }

    #[test]
    fn every_deployment_that_comes_with_gatecrash_loads_by_name() {
        for built_in in adapters::deployments() {
            let loaded =
                load(Path::new(built_in.name), None).unwrap_or_else(|error| panic!("{}: {error}", built_in.name));
            assert_eq!(loaded.deployment.name, built_in.name);
        }
    }

    #[test]
    fn a_foreign_gateway_loads_with_the_files_beside_its_deployment() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/foreign/deployment.yaml");
        let loaded = load(&path, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((loaded.adapter.name.as_str(), loaded.profile.name.as_str()), ("tiny", "tiny"));
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("QUO-*", "QUO-01", true),
            ("quo-01", "QUO-01", true),
            ("*", "QUO-01", true),
            ("*-01", "QUO-01", true),
            ("CFG-02/*", "CFG-02/b", true),
            ("Q*-*1", "QUO-01", true),
            ("QUO", "QUO-01", false),
            ("TOK-*", "QUO-01", false),
            ("*-02", "QUO-01", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        assert_eq!(selected(&["QUO-01".to_owned()]).unwrap(), ["QUO-01"]);
        assert!(matches!(selected(&["XYZ-*".to_owned()]), Err(Error::Input(text)) if text.contains("QUO-01")));
    }
}
