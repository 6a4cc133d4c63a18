//! Schedules as written: YAML to the checked form.
//!
//! ```yaml
//! version: "1.0"
//! deployment: edge.yaml
//! runtime: process
//! seed: "7"
//! scale: 0.1
//! claims: [QUO-07]
//! experiments:
//!   store-loss: [slow]
//!   quota-shared: whole
//! ```

use super::{Part, Parts, Schedule};
use crate::claim::ClaimId;
use crate::deployment::yaml::version;
use crate::input::fields::{self, Fields};
use crate::input::tree::{self, Node, Value};
use crate::input::{InputError, Mistakes, listed};
use crate::seed::Seed;
use std::collections::BTreeSet;

/// The word for all of an experiment.
pub(super) const WHOLE: &str = "whole";
const RUNTIMES: [(&str, &str); 3] = [("auto", "auto"), ("process", "process"), ("docker", "docker")];
/// Least and greatest scale.
const SCALES: (f64, f64) = (0.01, 1.0);

/// What may stand in a schedule.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Claims that exist.
    pub claims: Vec<String>,
    /// Experiments that exist, each with its steps on the deployment that the schedule names; none for one that has a single story.
    pub experiments: Vec<(String, Vec<String>)>,
}

/// The schedule that `text` describes. `known` says what may stand there, for the deployment and the profile that the schedule names; `None` if
/// it cannot tell (because they cannot be read): then names are taken as they are.
///
/// # Errors
/// Every mistake with its place in `text`, which is called `source_name` in the messages.
pub fn parse(
    source_name: &str,
    text: &str,
    known: &mut dyn FnMut(&str, Option<&str>) -> Option<Known>,
) -> Result<Schedule, InputError> {
    let root = tree::read(source_name, text)?;
    let mut mistakes = Mistakes::new(source_name, text);
    let schedule = schedule(&root, known, &mut mistakes);
    mistakes.finish(schedule)
}

fn schedule(
    root: &Node,
    known: &mut dyn FnMut(&str, Option<&str>) -> Option<Known>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Schedule> {
    let mut keys = Fields::of(root, "a schedule", mistakes)?;
    version(&mut keys, mistakes);
    let deployment = keys
        .required("deployment", "name one that `gatecrash list` shows, or a file", mistakes)
        .and_then(|node| file(node, "deployment", mistakes));
    let profile = match keys.optional("profile") {
        Some(node) => file(node, "profile", mistakes).map(Some),
        None => Some(None),
    };
    let runtime = keys
        .required("runtime", "known are `auto`, `process` and `docker`", mistakes)
        .and_then(|node| fields::word(node, "runtime", &RUNTIMES, mistakes));
    let seed = keys
        .required("seed", "a whole number from 0 to 18446744073709551615", mistakes)
        .and_then(|node| seed(node, mistakes));
    let scale = keys.required("scale", "a number from 0.01 to 1", mistakes).and_then(|node| scale(node, mistakes));
    let known = match (&deployment, &profile) {
        (Some(deployment), Some(profile)) => known(deployment, profile.as_deref()),
        _ => None,
    };
    let claims = keys
        .required("claims", "list the claims that are judged, such as `[QUO-07]`", mistakes)
        .and_then(|node| claims(node, known.as_ref(), mistakes));
    let experiments = keys
        .required("experiments", "name what runs, such as `store-loss: [slow]`", mistakes)
        .and_then(|node| experiments(node, known.as_ref(), mistakes));
    keys.finish(mistakes);
    Some(Schedule {
        deployment: deployment?,
        profile: profile?,
        runtime: runtime?.to_owned(),
        seed: seed?,
        scale: scale?,
        claims: claims?,
        experiments: experiments?,
    })
}

/// What comes with gatecrash, or a file: whether it is there is seen when it is read.
fn file(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let written = fields::text(node, key, 400, mistakes)?;
    if !written.contains(|character: char| character.is_control()) {
        return Some(written);
    }
    let legal = "it must be a name that `gatecrash list` shows, or the path of a file";
    mistakes.add(node.at, format!("`{key}` is {}; {legal}", node.value.kind()));
    None
}

/// A number, or a text of digits: beyond 2^53 a YAML number is not exact.
fn seed(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<Seed> {
    let read = match &node.value {
        Value::Text(text) => text.parse().ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole numbers from 0 to 2^53 are exact"
        )]
        Value::Number(number) if number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number) => {
            Some(*number as u64)
        }
        Value::Number(_) | Value::Null | Value::Boolean(_) | Value::List(_) | Value::Map(_) => None,
    };
    if read.is_none() {
        let kind = node.value.kind();
        let legal = "legal are whole numbers from 0 to 18446744073709551615, in quotes beyond 9007199254740992";
        mistakes.add(node.at, format!("`seed` is {kind}; {legal}"));
    }
    read.map(Seed)
}

fn scale(node: &Node, mistakes: &mut Mistakes<'_>) -> Option<f64> {
    let (least, most) = SCALES;
    match node.value {
        Value::Number(number) if (least..=most).contains(&number) => return Some(number),
        Value::Number(_) | Value::Null | Value::Boolean(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {}
    }
    mistakes.add(node.at, format!("`scale` is {}; legal are {least} to {most}", node.value.kind()));
    None
}

fn claims(node: &Node, known: Option<&Known>, mistakes: &mut Mistakes<'_>) -> Option<Vec<ClaimId>> {
    let items = fields::list(node, "claims", 1..=100, "legal are", mistakes)?;
    let mut claims = Vec::new();
    for item in items {
        let Some(written) = fields::text(item, "claims", 40, mistakes) else { continue };
        match known {
            Some(known) if !known.claims.contains(&written) => {
                let shown = item.value.kind();
                mistakes.add(item.at, format!("claim {shown} does not exist; claims are {}", known.claims.join(", ")));
            }
            Some(_) | None => claims.push((written, item.at)),
        }
    }
    fields::distinct(claims.iter().map(|(claim, at)| (claim, *at)), "claim", mistakes);
    (claims.len() == items.len()).then(|| claims.iter().map(|(claim, _)| ClaimId::new(claim)).collect())
}

fn experiments(node: &Node, known: Option<&Known>, mistakes: &mut Mistakes<'_>) -> Option<Parts> {
    let Value::Map(entries) = &node.value else {
        let kind = node.value.kind();
        mistakes.add(node.at, format!("`experiments` is a map of experiments and their steps, not {kind}"));
        return None;
    };
    if entries.is_empty() {
        mistakes.add(node.at, "`experiments` is empty; a schedule runs at least one");
        return None;
    }
    fields::distinct(entries.iter().map(|(key, _)| (&key.text, key.at)), "experiment", mistakes);
    let mut parts = Parts::new();
    for (key, node) in entries {
        let steps = match known {
            None => None,
            Some(known) => {
                let found = known.experiments.iter().find(|(name, _)| *name == key.text);
                let Some((_, steps)) = found else {
                    let shown: String = key.text.chars().take(40).collect();
                    let names: Vec<&str> = known.experiments.iter().map(|(name, _)| name.as_str()).collect();
                    let names = listed(&names);
                    let shown = shown.escape_debug();
                    mistakes.add(key.at, format!("experiment `{shown}` does not exist; known are {names}"));
                    continue;
                };
                Some(steps.as_slice())
            }
        };
        if let Some(part) = part(&key.text, node, steps, mistakes) {
            parts.insert(key.text.clone(), part);
        }
    }
    (parts.len() == entries.len()).then_some(parts)
}

/// `whole`, or a list of steps; `known` are those that there are, if that can be told.
fn part(experiment: &str, node: &Node, known: Option<&[String]>, mistakes: &mut Mistakes<'_>) -> Option<Part> {
    let items = match &node.value {
        Value::Text(word) if word == WHOLE => return Some(Part::Whole),
        Value::List(items) if known.is_none_or(|known| !known.is_empty()) => items,
        Value::List(_) => {
            mistakes.add(node.at, format!("`{experiment}` has no steps on this deployment; legal is `{WHOLE}`"));
            return None;
        }
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
            let legal = match known {
                Some([]) => format!("legal is `{WHOLE}`"),
                Some(known) => format!("legal are `{WHOLE}` and a list of its steps: {}", listed(known)),
                None => format!("legal are `{WHOLE}` and a list of its steps"),
            };
            mistakes.add(node.at, format!("`{experiment}` is {}; {legal}", node.value.kind()));
            return None;
        }
    };
    let mut steps = Vec::new();
    for item in items {
        let Some(step) = fields::text(item, experiment, 80, mistakes) else { continue };
        match known {
            Some(known) if !known.contains(&step) => {
                let shown = item.value.kind();
                mistakes.add(
                    item.at,
                    format!("`{experiment}` has no step {shown} on this deployment; known are {}", listed(known)),
                );
            }
            Some(_) | None => steps.push((step, item.at)),
        }
    }
    fields::distinct(steps.iter().map(|(step, at)| (step, *at)), "step", mistakes);
    let complete = steps.len() == items.len();
    complete.then(|| Part::Steps(steps.into_iter().map(|(step, _)| step).collect::<BTreeSet<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    const HEAD: &str = "version: \"1.0\"\ndeployment: edge.yaml\nruntime: process\nseed: 7\nscale: 0.1\n";

    fn known() -> Known {
        let steps = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect();
        Known {
            claims: steps(&["QUO-01", "QUO-07"]),
            experiments: vec![
                ("store-loss".to_owned(), steps(&["refuse", "slow"])),
                ("quota-shared".to_owned(), Vec::new()),
            ],
        }
    }

    fn read(text: &str) -> Result<Schedule, InputError> {
        parse("s.yaml", text, &mut |_, _| Some(known()))
    }

    #[test]
    fn a_schedule_is_read() {
        let text = format!("{HEAD}claims: [QUO-07]\nexperiments:\n  store-loss: [slow]\n  quota-shared: whole\n");
        let read = read(&text).unwrap();
        assert_eq!((read.deployment.as_str(), read.runtime.as_str(), read.seed.0), ("edge.yaml", "process", 7));
        assert_eq!(read.claims, [ClaimId::new("QUO-07")]);
        let slow = Part::Steps(BTreeSet::from(["slow".to_owned()]));
        let parts = Parts::from([("store-loss".to_owned(), slow), ("quota-shared".to_owned(), Part::Whole)]);
        assert_eq!(read.experiments, parts);
    }

    #[test]
    fn none_of_the_steps_is_legal_and_means_the_steady_state() {
        let read = read(&format!("{HEAD}claims: [QUO-07]\nexperiments: {{store-loss: []}}\n")).unwrap();
        assert_eq!(read.experiments["store-loss"], Part::Steps(BTreeSet::new()));
    }

    #[test]
    fn where_nobody_knows_the_deployment_names_are_taken_as_they_are() {
        let text = format!("{HEAD}claims: [X]\nexperiments: {{y: [z]}}\n");
        assert!(parse("s.yaml", &text, &mut |_, _| None).is_ok());
    }

    #[test_case(
        "claims: [QUO-99]\nexperiments: {store-loss: [slow]}\n",
        "s.yaml:6:10: claim `QUO-99` does not exist; claims are QUO-01, QUO-07"
    )]
    #[test_case("claims: []\nexperiments: {store-loss: [slow]}\n", "s.yaml:6:9: `claims` is empty; legal are 1 to 100")]
    #[test_case(
        "claims: [QUO-07, QUO-07]\nexperiments: {store-loss: [slow]}\n",
        "s.yaml:6:18: claim `QUO-07` is there twice, first on line 6"
    )]
    #[test_case("claims: [QUO-07]\n", "s.yaml:1:1: a schedule has no `experiments`; name what runs")]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {}\n",
        "s.yaml:7:14: `experiments` is empty; a schedule runs at least one"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: [store-loss]\n",
        "s.yaml:7:14: `experiments` is a map of experiments and their steps, not a list"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {store-los: whole}\n",
        "s.yaml:7:15: experiment `store-los` does not exist; known are `store-loss` and `quota-shared`"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {store-loss: [fast]}\n",
        "s.yaml:7:28: `store-loss` has no step `fast` on this deployment; known are `refuse` and `slow`"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {store-loss: [slow, slow]}\n",
        "s.yaml:7:34: step `slow` is there twice, first on line 7"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {store-loss: all}\n",
        "s.yaml:7:27: `store-loss` is `all`; legal are `whole` and a list of its steps: `refuse` and `slow`"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {quota-shared: [slow]}\n",
        "s.yaml:7:29: `quota-shared` has no steps on this deployment; legal is `whole`"
    )]
    #[test_case(
        "claims: [QUO-07]\nexperiments: {quota-shared: 3}\n",
        "s.yaml:7:29: `quota-shared` is 3; legal is `whole`"
    )]
    #[test_case("claims: [QUO-07]\nexperiments: {store-loss: whole}\nsteps: 3\n", "s.yaml:8:1: unknown key `steps`")]
    fn mistakes_have_place_and_legal_values(rest: &str, message: &str) {
        let error = read(&format!("{HEAD}{rest}")).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }

    #[test_case(
        "runtime: process",
        "runtime: podman",
        "s.yaml:3:10: `runtime` is `podman`; known are `auto`, `process` and `docker`"
    )]
    #[test_case(
        "seed: 7",
        "seed: -1",
        "s.yaml:4:7: `seed` is -1; legal are whole numbers from 0 to 18446744073709551615"
    )]
    #[test_case("seed: 7", "seed: 0.5", "s.yaml:4:7: `seed` is 0.5; legal are whole numbers")]
    #[test_case("scale: 0.1", "scale: 2", "s.yaml:5:8: `scale` is 2; legal are 0.01 to 1")]
    #[test_case("scale: 0.1", "scale: 0", "s.yaml:5:8: `scale` is 0; legal are 0.01 to 1")]
    #[test_case("version: \"1.0\"", "version: \"2.0\"", "s.yaml:1:10: `version` is `2.0`; this gatecrash reads `1.0`")]
    #[test_case(
        "deployment: edge.yaml",
        "deployment: \"a\\tb\"",
        "s.yaml:2:13: `deployment` is `a\\tb`; it must be a name"
    )]
    #[test_case(
        "deployment: edge.yaml\n",
        "",
        "s.yaml:1:1: a schedule has no `deployment`; name one that `gatecrash list` shows"
    )]
    fn mistakes_of_the_head_too(from: &str, to: &str, message: &str) {
        let text = format!("{HEAD}claims: [QUO-07]\nexperiments: {{store-loss: whole}}\n").replacen(from, to, 1);
        let error = read(&text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = format!("{HEAD}claims: [A]\nexperiments: {{b: whole, store-loss: [c]}}\n");
        assert_eq!(read(&text).unwrap_err().mistakes.len(), 3);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            seed: u64, scale in 0.01..=1.0_f64, deployment in "[a-z]{1,5}|[ -~]{0,20}\\.yaml|[ -~]{1,9}", named: bool,
            steps in proptest::collection::btree_set("[a-z0-9-]{1,12}", 0..4), whole: bool,
        ) {
            let part = if whole { Part::Whole } else { Part::Steps(steps) };
            let schedule = Schedule {
                deployment,
                profile: named.then(|| "my profile.yaml".to_owned()),
                runtime: "process".to_owned(),
                seed: Seed(seed),
                scale,
                claims: vec![ClaimId::new("CFG-02/a"), ClaimId::new("QUO-07")],
                experiments: Parts::from([("true".to_owned(), part), ("x".to_owned(), Part::Whole)]),
            };
            let text = schedule.to_yaml();
            let read = parse("s.yaml", &text, &mut |_, _| None);
            prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(schedule), "{}", text);
        }
    }
}
