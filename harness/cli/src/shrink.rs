//! Which steps of its experiments does a violation need? After a run in which a claim failed, ever smaller schedules are run, each on new labs
//! of its own, until no step can be left out; the smallest that failed is written as a file that runs.
//!
//! What to try next is `model::shrink`; here is what a try is, and what it counts as. A run in which nobody can tell counts as not failing.

use crate::error::Error;
use crate::execute;
use crate::prepare::{Asked, Prepared, of_schedule, prepare};
use crate::times::short;
use gatecrash_engine::clock::Clock;
use gatecrash_model::run_record::{ClaimRecord, RunRecord, Shrunk, Try};
use gatecrash_model::schedule::{Part, Parts};
use gatecrash_model::shrink::Reduction;
use gatecrash_model::verdict::{Standing, Verdict};
use gatecrash_model::{ClaimId, Schedule, Seed};
use gatecrash_suites::certify;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most tries for one claim, those that look whether the violation comes back among them.
const MOST_TRIES: u32 = 40;
/// No try begins later than this after the first, over all claims.
const WITHIN: Duration = Duration::from_secs(30 * 60);
/// How often the whole is run before it is said that a violation does not come back.
const COMES_BACK: u32 = 2;

/// What can be left out: a step of an experiment, or one that is a single story.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    experiment: String,
    step: Option<String>,
}

/// What is needed to run parts of a run again.
pub(crate) struct Shrinking {
    asked: Asked,
    runtime: &'static str,
    shown_folder: PathBuf,
    folder: PathBuf,
    /// The experiments of the run, each with its steps.
    experiments: Vec<(String, Vec<String>)>,
}

/// Why no more is tried.
enum Stopped {
    Interrupted,
    Time,
    Broken(Error),
}

/// The tries of one claim.
struct Tries<'a> {
    of: &'a Shrinking,
    claim: &'a ClaimId,
    clock: Clock,
    deadline: Duration,
    interrupt: &'a CancellationToken,
    say: &'a (dyn Fn(&str) + Sync),
    made: Vec<Try>,
}

impl Shrinking {
    /// For the run that was `asked` for and `prepared`.
    pub(crate) fn of(asked: &Asked, prepared: &Prepared) -> Self {
        let deployment = &prepared.request.deployment;
        let experiments = prepared.plan.experiments.iter();
        Self {
            asked: Asked { seed: Some(prepared.request.seed.0), ..asked.clone() },
            runtime: prepared.runtime.name(),
            shown_folder: prepared.shown_folder.clone(),
            folder: prepared.folder.clone(),
            experiments: experiments
                .map(|planned| (planned.experiment.name.to_owned(), (planned.experiment.steps)(deployment)))
                .collect(),
        }
    }

    /// Looks for the smallest schedule of each claim that failed, and saves record and reports again, with what came of it.
    ///
    /// # Errors
    /// What kept it from its end, after what was found until then is saved.
    pub(crate) async fn shrink(
        &self,
        record: &mut RunRecord,
        interrupt: &CancellationToken,
        say: &(dyn Fn(&str) + Sync),
    ) -> Result<(), Error> {
        let failed: Vec<ClaimRecord> =
            record.claims.iter().filter(|claim| claim.standing == Standing::Fail).cloned().collect();
        if failed.is_empty() {
            say("nothing to shrink: no claim failed");
            return Ok(());
        }
        let clock = Clock::start();
        say(&format!(
            "shrinking {} claims: at most {MOST_TRIES} tries each, none begun after {}",
            failed.len(),
            short(WITHIN)
        ));
        let mut broken = None;
        for claim in &failed {
            let (shrunk, error) = self.one(claim, clock, interrupt, say).await;
            say(&format!("{}: {}", shrunk.claim, shrunk.outcome));
            record.shrunk.push(shrunk);
            broken = error;
            if broken.is_some() {
                break;
            }
        }
        certify::save(record, &self.folder).map_err(Error::Fault)?;
        execute::write_reports(record, &self.folder)?;
        broken.map_or(Ok(()), Err)
    }

    async fn one(
        &self,
        claim: &ClaimRecord,
        clock: Clock,
        interrupt: &CancellationToken,
        say: &(dyn Fn(&str) + Sync),
    ) -> (Shrunk, Option<Error>) {
        let mut tries = Tries { of: self, claim: &claim.id, clock, deadline: WITHIN, interrupt, say, made: Vec::new() };
        let shrunk = |outcome: String, tries: Vec<Try>| Shrunk {
            claim: claim.id.clone(),
            outcome,
            file: None,
            command: String::new(),
            tries,
        };
        let (narrow, wide) = starts(&self.experiments, claim);
        if wide.len() <= 1 && wide.iter().all(|unit| unit.step.is_none()) {
            let names: Vec<&str> = wide.iter().map(|unit| unit.experiment.as_str()).collect();
            let outcome = format!("nothing to shrink: experiment `{}` is a single story", names.join("`, `"));
            return (shrunk(outcome, Vec::new()), None);
        }

        let units = match tries.come_back(narrow, wide).await {
            Ok(Some(units)) => units,
            Ok(None) => {
                let times = tries.made.len();
                let outcome = format!(
                    "the violation did not come back in {times} tries of the whole; what was seen stands, and nothing smaller was tried"
                );
                return (shrunk(outcome, tries.made), None);
            }
            Err(stopped) => {
                let (why, error) = stopped.words();
                return (shrunk(format!("nothing smaller was found: {why}"), tries.made), error);
            }
        };
        let used = u32::try_from(tries.made.len()).unwrap_or(u32::MAX);
        let mut reduction = Reduction::new(units.len(), MOST_TRIES.saturating_sub(used));
        let mut stopped = None;
        while let Some(tried) = reduction.next_try() {
            match tries.fails(&units, &tried).await {
                Ok(fails) => reduction.answer(fails),
                Err(why) => {
                    stopped = Some(why);
                    break;
                }
            }
        }
        let kept = parts(&units, reduction.kept());
        let made = tries.made.len();
        let (why, error) = stopped.map_or((format!("the limit is {MOST_TRIES} tries"), None), Stopped::words);
        let size = format!("{} of {} steps, after {made} tries: {}", reduction.kept().len(), units.len(), words(&kept));
        let outcome = if reduction.is_minimal() {
            format!("{size}; without any of them it did not fail")
        } else {
            format!("{size}; something smaller may fail, too ({why})")
        };
        match self.write(&claim.id, kept) {
            Ok((file, command)) => {
                let shrunk = Shrunk { file: Some(file), command, ..shrunk(outcome, tries.made) };
                (shrunk, error)
            }
            Err(cannot) => (shrunk(outcome, tries.made), error.or(Some(cannot))),
        }
    }

    /// Writes the schedule into the run's folder; its name and the command that runs it.
    fn write(&self, claim: &ClaimId, kept: Parts) -> Result<(String, String), Error> {
        let name = format!("schedule-{}.yaml", of_file(claim));
        let schedule = Schedule {
            deployment: self.asked.deployment.display().to_string(),
            profile: self.asked.profile.clone(),
            runtime: self.runtime.to_owned(),
            seed: Seed(self.asked.seed.unwrap_or_default()),
            scale: self.asked.scale,
            claims: vec![claim.clone()],
            experiments: kept,
        };
        let place = self.folder.join(&name);
        std::fs::write(&place, schedule.to_yaml())
            .map_err(|error| Error::Fault(format!("writing `{}`: {error}", place.display())))?;
        let command = of_schedule(&self.shown_folder.join(&name));
        Ok((name, command))
    }

    /// The run that tells only `parts`, for one claim.
    fn asked(&self, claim: &ClaimId, number: usize, parts: Parts) -> Asked {
        let folder = self.shown_folder.join("tries").join(format!("{}-{number}", of_file(claim)));
        let runtime = match self.runtime {
            "docker" => crate::RuntimeChoice::Docker,
            _ => crate::RuntimeChoice::Process,
        };
        Asked {
            runtime,
            only: vec![claim.as_str().to_owned()],
            schedule: Some((folder.join("schedule.yaml"), parts)),
            out: Some(folder),
            ..self.asked.clone()
        }
    }
}

impl Stopped {
    fn words(self) -> (String, Option<Error>) {
        match self {
            Self::Interrupted => ("interrupted".to_owned(), None),
            Self::Time => (format!("no try begins after {}", short(WITHIN)), None),
            Self::Broken(error) => (error.to_string(), Some(error)),
        }
    }
}

impl Tries<'_> {
    /// The whole, once more: first of what the counterexample is from, then of all that the claim reads. What of both failed; `None` if
    /// neither did.
    async fn come_back(&mut self, narrow: Vec<Unit>, wide: Vec<Unit>) -> Result<Option<Vec<Unit>>, Stopped> {
        let starts = if narrow == wide { vec![wide] } else { vec![narrow, wide] };
        for units in starts {
            let all: Vec<usize> = (0..units.len()).collect();
            for _ in 0..COMES_BACK {
                if self.fails(&units, &all).await? {
                    return Ok(Some(units));
                }
            }
        }
        Ok(None)
    }

    /// Whether the claim is violated when only these of `units` are told.
    async fn fails(&mut self, units: &[Unit], tried: &[usize]) -> Result<bool, Stopped> {
        let parts = parts(units, tried);
        // Without any experiment there is nothing that could fail.
        if parts.is_empty() {
            return Ok(false);
        }
        if self.interrupt.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        if Duration::from_nanos(self.clock.now()) >= self.deadline {
            return Err(Stopped::Time);
        }
        let number = self.made.len().saturating_add(1);
        let ran = words(&parts);
        (self.say)(&format!("  try {number} of {}: {ran}", self.claim));
        let began = self.clock.now();
        let observed = self.observed(number, parts).await?;
        let wall = Duration::from_nanos(self.clock.now().saturating_sub(began));
        let (observed, failed) = observed;
        (self.say)(&format!("    {observed}, in {}", short(wall)));
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        self.made.push(Try { ran, observed, failed, wall_ms });
        Ok(failed)
    }

    /// What became of the claim in a run of its own, in words, and whether it was violated.
    async fn observed(&self, number: usize, parts: Parts) -> Result<(String, bool), Stopped> {
        let asked = self.of.asked(self.claim, number, parts);
        let prepared = prepare(&asked).await.map_err(Stopped::Broken)?;
        let done = Box::pin(execute::execute(prepared, self.interrupt.clone(), Arc::new(|_| {}))).await;
        let record = match done {
            Ok(done) => done.record,
            // What did not come up shows nothing of the claim.
            Err(Error::Preflight(why)) => return Ok((format!("no verdict: {why}"), false)),
            Err(error) => return Err(Stopped::Broken(error)),
        };
        let claim = record.claims.iter().find(|claim| claim.id == *self.claim);
        let verdict = claim.map(|claim| &claim.verdict);
        if record.cut_short.is_some() && !matches!(verdict, Some(Verdict::Violated(_))) {
            return Err(Stopped::Interrupted);
        }
        Ok(match verdict {
            Some(Verdict::Violated(_)) => ("violated".to_owned(), true),
            Some(Verdict::Holds(_)) => ("not violated".to_owned(), false),
            // What was told gave no reason to doubt.
            Some(Verdict::Inconclusive(reason)) if reason.code == "left-out" => ("not violated".to_owned(), false),
            Some(Verdict::Inconclusive(reason)) => (format!("inconclusive ({}: {})", reason.code, reason.text), false),
            Some(Verdict::NotApplicable(reason)) => (format!("not applicable: {}", reason.text), false),
            None => ("not judged".to_owned(), false),
        })
    }
}

/// Where a reduction begins: with the experiments that the counterexample is from, or, if it does not come back there, with all that the claim
/// reads.
fn starts(experiments: &[(String, Vec<String>)], claim: &ClaimRecord) -> (Vec<Unit>, Vec<Unit>) {
    let seen: BTreeSet<&str> = match &claim.verdict {
        Verdict::Violated(counterexample) => {
            counterexample.events.iter().map(|event| event.experiment.as_str()).collect()
        }
        Verdict::Holds(_) | Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => BTreeSet::new(),
    };
    let units = |wanted: &dyn Fn(&str) -> bool| {
        let mut units = Vec::new();
        for (name, steps) in experiments.iter().filter(|(name, _)| wanted(name)) {
            let unit = |step: Option<&String>| Unit { experiment: name.clone(), step: step.cloned() };
            if steps.is_empty() {
                units.push(unit(None));
            }
            units.extend(steps.iter().map(|step| unit(Some(step))));
        }
        units
    };
    let wide = units(&|name| claim.experiments.iter().any(|read| read == name));
    let narrow = units(&|name| seen.contains(name));
    if narrow.is_empty() { (wide.clone(), wide) } else { (narrow, wide) }
}

/// What runs if these of `units` are told. None of them: the one experiment that they are of, if it has steps, without any.
fn parts(units: &[Unit], tried: &[usize]) -> Parts {
    let mut parts = Parts::new();
    for unit in tried.iter().filter_map(|index| units.get(*index)) {
        match &unit.step {
            None => {
                parts.insert(unit.experiment.clone(), Part::Whole);
            }
            Some(step) => {
                let part = parts.entry(unit.experiment.clone()).or_insert_with(|| Part::Steps(BTreeSet::new()));
                if let Part::Steps(steps) = part {
                    steps.insert(step.clone());
                }
            }
        }
    }
    let of: BTreeMap<&str, bool> = units.iter().map(|unit| (unit.experiment.as_str(), unit.step.is_some())).collect();
    if parts.is_empty() {
        let stepped = of.into_iter().filter(|(_, is_stepped)| *is_stepped);
        parts.extend(stepped.map(|(name, _)| (name.to_owned(), Part::Steps(BTreeSet::new()))));
    }
    parts
}

/// `store-loss: refuse, slow; quota-shared`.
fn words(parts: &Parts) -> String {
    let of = |(name, part): (&String, &Part)| match part {
        Part::Whole => name.clone(),
        Part::Steps(steps) if steps.is_empty() => format!("{name}: no step"),
        Part::Steps(steps) => format!("{name}: {}", steps.iter().cloned().collect::<Vec<_>>().join(", ")),
    };
    parts.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// A claim's id in the name of a file: a variant has no slash there.
fn of_file(claim: &ClaimId) -> String {
    claim.as_str().replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(experiment: &str, step: &str) -> Unit {
        Unit { experiment: experiment.to_owned(), step: (!step.is_empty()).then(|| step.to_owned()) }
    }

    #[test]
    fn steps_are_gathered_by_experiment() {
        let units = [unit("a", "1"), unit("a", "2"), unit("b", "")];
        assert_eq!(words(&parts(&units, &[0, 1, 2])), "a: 1, 2; b");
        assert_eq!(words(&parts(&units, &[1])), "a: 2");
        assert_eq!(words(&parts(&units, &[2])), "b");
        // What comes before and after the steps is left.
        assert_eq!(words(&parts(&units, &[])), "a: no step");
        assert!(parts(&units[2..], &[]).is_empty());
    }

    #[test]
    fn a_variant_has_no_slash_in_a_file_name() {
        assert_eq!(of_file(&ClaimId::new("CFG-02/a")), "CFG-02-a");
    }
}
