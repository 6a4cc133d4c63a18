//! A fault schedule: which steps of which experiments run, against what, and how; small enough to be read, whole enough to be run.
//!
//! `certify --shrink` writes one, `certify --schedule FILE` runs exactly that. How it is written: [`yaml`].

pub mod yaml;

use crate::claim::ClaimId;
use crate::run_record::LeftOut;
use crate::seed::Seed;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What of an experiment runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it; the only part of an experiment that has no steps.
    Whole,
    /// These steps and what they need; none: the steady state and what comes after the last fault.
    Steps(BTreeSet<String>),
}

/// Part by experiment; what is not named does not run.
pub type Parts = BTreeMap<String, Part>;

/// A schedule as it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Deployment, as on the command line: a name that comes with gatecrash, or a path from where the command runs.
    pub deployment: String,
    /// Profile in place of the deployment's; likewise.
    pub profile: Option<String>,
    /// Word of the runtime: `auto`, `process` or `docker`.
    pub runtime: String,
    /// Seed of the run.
    pub seed: Seed,
    /// `--scale`, 0.01 to 1.
    pub scale: f64,
    /// What is judged, at least one.
    pub claims: Vec<ClaimId>,
    /// What runs, at least one.
    pub experiments: Parts,
}

impl Schedule {
    /// The file that [`yaml::parse`] reads.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut text = String::from("version: \"1.0\"\n");
        let mut line = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{key}: {value}");
        };
        line("deployment", &quoted(&self.deployment));
        if let Some(profile) = &self.profile {
            line("profile", &quoted(profile));
        }
        line("runtime", &self.runtime);
        line("seed", &quoted(&self.seed.0.to_string()));
        line("scale", &self.scale.to_string());
        let claims: Vec<String> = self.claims.iter().map(|claim| quoted(claim.as_str())).collect();
        line("claims", &format!("[{}]", claims.join(", ")));
        line("experiments", "");
        for (name, part) in &self.experiments {
            let part = match part {
                Part::Whole => yaml::WHOLE.to_owned(),
                Part::Steps(steps) => {
                    format!("[{}]", steps.iter().map(|step| quoted(step)).collect::<Vec<_>>().join(", "))
                }
            };
            line(&format!("  {}", quoted(name)), &part);
        }
        text.replace("experiments: \n", "experiments:\n")
    }
}

/// A word as it is if it cannot be taken for anything else, in double quotes otherwise.
fn quoted(word: &str) -> String {
    let plain = word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&word.to_ascii_lowercase().as_str());
    // JSON's strings are YAML's double-quoted ones.
    if plain { word.to_owned() } else { serde_json::Value::from(word).to_string() }
}

/// What a schedule leaves out of a run that would tell `all` (the experiments and their steps).
#[must_use]
pub fn left_out(all: &[(String, Vec<String>)], parts: &Parts) -> Vec<LeftOut> {
    let missing = |name: &String, steps: &Vec<String>| match parts.get(name) {
        Some(Part::Whole) => None,
        Some(Part::Steps(run)) => {
            let steps: Vec<String> = steps.iter().filter(|step| !run.contains(*step)).cloned().collect();
            (!steps.is_empty()).then(|| LeftOut { experiment: name.clone(), steps })
        }
        None => Some(LeftOut { experiment: name.clone(), steps: Vec::new() }),
    };
    all.iter().filter_map(|(name, steps)| missing(name, steps)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_run_is_left_out() {
        let words = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<String>>();
        let all = [
            ("all".to_owned(), words(&["a", "b"])),
            ("some".to_owned(), words(&["a", "b", "c"])),
            ("none".to_owned(), words(&["a"])),
            ("every".to_owned(), words(&["a"])),
            ("away".to_owned(), words(&[])),
        ];
        let steps = |steps: &[&str]| Part::Steps(words(steps).into_iter().collect());
        let parts = Parts::from([
            ("all".to_owned(), Part::Whole),
            ("some".to_owned(), steps(&["b"])),
            ("none".to_owned(), steps(&[])),
            ("every".to_owned(), steps(&["a"])),
        ]);
        let told: Vec<(String, Vec<String>)> =
            left_out(&all, &parts).into_iter().map(|left| (left.experiment, left.steps)).collect();
        let expected = [("some", words(&["a", "c"])), ("none", words(&["a"])), ("away", words(&[]))]
            .map(|(name, steps)| (name.to_owned(), steps));
        assert_eq!(told, expected);
    }
}
