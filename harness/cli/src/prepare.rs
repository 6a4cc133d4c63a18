//! From what the user asked to a run that can start: files loaded, seed drawn, runtime chosen, experiments planned.
//! Nothing is started and nothing is written here.

use crate::args::RuntimeChoice;
use crate::error::{Error, chain};
use crate::load;
use crate::times::Wall;
use gatecrash_engine::clock::{Clock, monotonic_ns, wall_s};
use gatecrash_engine::executable::{self, Candidates};
use gatecrash_engine::runtime::docker::DockerRuntime;
use gatecrash_engine::runtime::process::ProcessRuntime;
use gatecrash_engine::runtime::{Runtime, RuntimeError, RuntimeOptions};
use gatecrash_model::adapter::Adapter;
use gatecrash_model::schedule::Parts;
use gatecrash_model::{Deployment, Schedule, Seed};
use gatecrash_suites::certify::{self, Plan, Request};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long one process or container may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// What the user asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) deployment: PathBuf,
    pub(crate) runtime: RuntimeChoice,
    pub(crate) seed: Option<u64>,
    pub(crate) scale: f64,
    pub(crate) only: Vec<String>,
    pub(crate) profile: Option<String>,
    pub(crate) out: Option<PathBuf>,
    pub(crate) parallel: Option<u16>,
    /// What runs, and the file that says so, as the command that repeats it names it; everything else here is as that file says.
    pub(crate) schedule: Option<(PathBuf, Parts)>,
    /// Whether this process' own executable acts as fixtures.
    pub(crate) is_binary: bool,
}

impl Asked {
    /// The same folder and number of experiments, everything else as the schedule in `file` says.
    pub(crate) fn of_schedule(self, file: &Path, schedule: Schedule) -> Self {
        let runtime = match schedule.runtime.as_str() {
            "process" => RuntimeChoice::Process,
            "docker" => RuntimeChoice::Docker,
            _ => RuntimeChoice::Auto,
        };
        Self {
            deployment: PathBuf::from(schedule.deployment),
            runtime,
            seed: Some(schedule.seed.0),
            scale: schedule.scale,
            only: schedule.claims.iter().map(|claim| claim.as_str().to_owned()).collect(),
            profile: schedule.profile,
            schedule: Some((file.to_owned(), schedule.experiments)),
            ..self
        }
    }
}

/// A run that can start.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    pub(crate) runtime: Arc<dyn Runtime>,
    /// Run id: `r` and 8 lower-case letters or digits.
    pub(crate) run: String,
    /// Where histories and reports go, absolute.
    pub(crate) folder: PathBuf,
    /// The same as the user would name it.
    pub(crate) shown_folder: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) executable: PathBuf,
    pub(crate) parallel: usize,
    /// RFC 3339.
    pub(crate) started: String,
    /// The command that runs the same again, without `--only`.
    pub(crate) repeat: String,
    pub(crate) clock: Clock,
}

/// Checks everything that can be checked before a run starts.
///
/// # Errors
/// [`Error::Input`] for what the user wrote, [`Error::Preflight`] for what this machine lacks.
pub(crate) async fn prepare(asked: &Asked) -> Result<Prepared, Error> {
    let clock = Clock::start();
    if !(0.01..=1.0).contains(&asked.scale) {
        return Err(Error::Input(format!("`scale` is {}; it must be 0.01 to 1", asked.scale)));
    }
    let only = load::selected(&asked.only)?;
    let mut loaded = load::load(&asked.deployment, asked.profile.as_deref())?;
    let (run, drawn) = draw();
    let seed = Seed(asked.seed.unwrap_or(drawn));
    let shown_folder = asked.out.clone().unwrap_or_else(|| Path::new("target/gatecrash").join(&run));
    let folder = load::absolute(&shown_folder)?;
    if folder.join("run.json").exists() {
        return Err(Error::Input(format!("`{}` holds a run already; name another folder", shown_folder.display())));
    }
    let target = load::absolute(Path::new("target"))?;
    let tools = target.join("tools");
    let executable = find_executable(asked.is_binary, target)?;
    let options = RuntimeOptions {
        run: run.clone(),
        folder: folder.clone(),
        executable: executable.clone(),
        start_within: START_WITHIN,
    };
    loaded
        .adapter
        .look_around(&tools.display().to_string(), |place| Path::new(place).is_file())
        .map_err(|error| Error::Input(format!("adapter `{}`: {error}", loaded.adapter.name)))?;
    if let Some(why) = asked_for_in_vain(&loaded.adapter, &loaded.deployment) {
        return Err(Error::Preflight(why));
    }
    let runtime = choose(asked.runtime, options, &tools).await?;

    let request = Request {
        deployment: loaded.deployment,
        profile: loaded.profile,
        adapter: loaded.adapter,
        seed,
        scale: asked.scale,
        only,
        parts: asked.schedule.as_ref().map(|(_, parts)| parts.clone()),
    };
    let parallel = asked.parallel.map_or_else(|| default_parallel(runtime.name()), usize::from);
    let plan = certify::plan(&request, &runtime.capabilities(), parallel);
    nothing_unread(&request, &plan)?;
    Ok(Prepared {
        repeat: repeat(asked, runtime.name(), seed),
        request,
        plan,
        runtime,
        run,
        folder,
        shown_folder,
        tools,
        executable,
        parallel,
        started: Wall::of_epoch(wall_s()).rfc3339(),
        clock,
    })
}

/// What the machine lacks for a setting that the deployment gives a value of its own; experiments do without, a deployment cannot.
fn asked_for_in_vain(adapter: &Adapter, deployment: &Deployment) -> Option<String> {
    let own = |name: &String| {
        let default = adapter.settings.get(name).and_then(|setting| setting.default.as_ref());
        deployment.gateway.settings.get(name).is_some_and(|value| Some(value) != default)
    };
    adapter.unmet.iter().find(|(name, _)| own(name)).map(|(_, why)| why.clone())
}

/// What a schedule names is run, or it is a mistake.
fn nothing_unread(request: &Request, plan: &Plan) -> Result<(), Error> {
    let runs = |name: &str| plan.experiments.iter().any(|planned| planned.experiment.name == name);
    let unread = request.parts.iter().flat_map(Parts::keys).find(|name| !runs(name));
    let Some(name) = unread else { return Ok(()) };
    let (claims, missing): (Vec<&str>, Vec<String>) = plan
        .claims
        .iter()
        .map(|planned| (planned.claim.id, planned.missing.as_ref().map(|why| format!("; {}: {why}", planned.claim.id))))
        .map(|(id, missing)| (id, missing.unwrap_or_default()))
        .unzip();
    let (claims, missing) = (claims.join(", "), missing.concat());
    let mut read: Vec<&str> =
        plan.claims.iter().flat_map(|planned| planned.experiments.iter().map(String::as_str)).collect();
    read.sort_unstable();
    read.dedup();
    let read = read.join("`, `");
    Err(Error::Input(format!(
        "experiment `{name}` of the schedule cannot run here, or is read by none of its claims ({claims} read `{read}`){missing}"
    )))
}

/// The runtime that was asked for; `auto` takes containers where an engine answers, else processes.
pub(crate) async fn choose(
    choice: RuntimeChoice,
    options: RuntimeOptions,
    tools: &Path,
) -> Result<Arc<dyn Runtime>, Error> {
    let process = |options| {
        let runtime = ProcessRuntime::new(options);
        Arc::new(if tools.is_dir() { runtime.with_tools(tools.to_owned()) } else { runtime }) as Arc<dyn Runtime>
    };
    if choice == RuntimeChoice::Process {
        return Ok(process(options));
    }
    match DockerRuntime::new(options.clone(), tools.to_owned()).await {
        Ok(runtime) => Ok(Arc::new(runtime)),
        Err(RuntimeError::NoEngine { .. }) if choice == RuntimeChoice::Auto => Ok(process(options)),
        Err(error) => Err(Error::Preflight(chain(&error))),
    }
}

/// The executable that acts as fixtures: this one if it can, else one that was built.
pub(crate) fn find_executable(is_binary: bool, target: PathBuf) -> Result<PathBuf, Error> {
    let own = std::env::current_exe().ok();
    let candidates = Candidates {
        own: own.clone().filter(|_| is_binary),
        named: std::env::var_os("GATECRASH_BIN").map(PathBuf::from),
        beside: own,
        target: Some(target),
        path: std::env::var_os("PATH"),
    };
    executable::find(&candidates).map_err(|error| Error::Preflight(error.to_string()))
}

/// As many experiments as fit without bending the timing: they mostly wait, so in processes there are two for each core, as
/// there is room. Making and removing containers costs the engine as much as a whole experiment costs us: there it is one for each core.
fn default_parallel(runtime: &str) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let times = if runtime == "docker" { 1 } else { 2 };
    cores.saturating_mul(times).clamp(2, 8)
}

/// Run id and, where none was given, seed: from wall time, monotonic time and process id. Not secret, only distinct.
fn draw() -> (String, u64) {
    let here = Seed(wall_s() ^ monotonic_ns().rotate_left(20) ^ u64::from(std::process::id()).rotate_left(44));
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let id: String = here
        .stream("run")
        .iter()
        .take(8)
        .map(|byte| letters.get(usize::from(*byte) % letters.len()).map_or('0', |letter| char::from(*letter)))
        .collect();
    // Short enough to be typed.
    (format!("r{id}"), here.derive("seed").0 % 1_000_000)
}

/// The command that runs the same again.
fn repeat(asked: &Asked, runtime: &str, seed: Seed) -> String {
    if let Some((file, _)) = &asked.schedule {
        return of_schedule(file);
    }
    let mut words = vec![
        "gatecrash certify".to_owned(),
        quoted(&asked.deployment.display().to_string()),
        format!("--runtime {runtime} --seed {} --scale {}", seed.0, asked.scale),
    ];
    if let Some(profile) = &asked.profile {
        words.push(format!("--profile {}", quoted(profile)));
    }
    words.join(" ")
}

/// The command that runs the schedule in `file`.
pub(crate) fn of_schedule(file: &Path) -> String {
    format!("gatecrash certify --schedule {}", quoted(&file.display().to_string()))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(deployment: &str) -> Asked {
        Asked {
            deployment: PathBuf::from(deployment),
            runtime: RuntimeChoice::Process,
            seed: Some(7),
            scale: 0.1,
            only: Vec::new(),
            profile: None,
            out: None,
            parallel: None,
            schedule: None,
            is_binary: true,
        }
    }

    #[test]
    fn run_ids_are_short_and_distinct() {
        let (first, _) = draw();
        let (second, _) = draw();
        assert_eq!(first.len(), 9);
        assert!(first.starts_with('r'));
        assert!(first.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit()), "{first}");
        assert_ne!(first, second);
    }

    #[test]
    fn the_command_that_repeats_a_run_can_be_pasted() {
        let mut asked = asked("my deployment.yaml");
        asked.profile = Some("p.yaml".to_owned());
        assert_eq!(
            repeat(&asked, "process", Seed(7)),
            "gatecrash certify 'my deployment.yaml' --runtime process --seed 7 --scale 0.1 --profile p.yaml"
        );
    }

    #[tokio::test]
    async fn a_scale_out_of_range_and_an_unknown_claim_are_input() {
        let mut wrong = asked("flex-managed");
        wrong.scale = f64::NAN;
        assert!(matches!(prepare(&wrong).await, Err(Error::Input(text)) if text.contains("`scale`")));
        let mut wrong = asked("flex-managed");
        wrong.only = vec!["NOT-*".to_owned()];
        assert!(matches!(prepare(&wrong).await, Err(Error::Input(text)) if text.contains("NOT-*")));
    }

    #[tokio::test]
    async fn one_seed_makes_one_plan_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut asked = asked("flex-managed");
        asked.only = vec!["QUO-*".to_owned()];
        asked.out = Some(folder.path().join("out"));
        let (first, second) = (prepare(&asked).await.unwrap(), prepare(&asked).await.unwrap());
        let ids = |prepared: &Prepared| prepared.plan.claims.iter().map(|claim| claim.claim.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second));
        assert!(ids(&first).contains(&"QUO-01"), "{:?}", ids(&first));
        assert!(!folder.path().join("out").exists());
    }
}
