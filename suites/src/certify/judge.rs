//! From saved histories to verdicts, standings and the record of the run. `check` does it again.

use super::{Plan, Request, Stage, chain};
use crate::claims;
use gatecrash_engine::lab::{LATE, setting};
use gatecrash_model::claim::{Parameters, Scope};
use gatecrash_model::history::format;
use gatecrash_model::profile::Scalar;
use gatecrash_model::run_record::{ClaimRecord, Denominator, ExperimentRecord, LeftOut, RunRecord, RunResult};
use gatecrash_model::series::Series;
use gatecrash_model::stats::upper_bound_without_failures;
use gatecrash_model::verdict::{Declared, Number, Observed, Reason, Standing};
use gatecrash_model::{Claim, ClaimId, Deployment, History, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

/// Version of the record.
const SCHEMA_VERSION: &str = "1.0";
/// Bins of a picture.
const BINS: u32 = 120;
/// What the sentence about the harness itself begins with.
const HARNESS: &str = "harness: ";
/// The saved record.
const RECORD: &str = "run.json";

/// Why a saved run cannot be judged again.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There is no readable record.
    #[error("`{path}` cannot be read: {why}")]
    Record {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

/// A saved run, judged again.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its record.
    pub record: RunRecord,
    /// What is wrong with which history, with the line; empty if all could be read to their ends.
    pub damage: Vec<String>,
}

/// Judges a saved run again, from its record and histories. A history that is cut or damaged is told as its
/// experiment's problem, with the line, and then nothing of the run holds.
///
/// # Errors
/// If the record itself cannot be read.
pub fn check(folder: &Path) -> Result<Checked, CheckError> {
    let path = folder.join(RECORD);
    let unreadable = |why: String| CheckError::Record { path: path.display().to_string(), why };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let record: RunRecord = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if record.schema_version.split('.').next() != SCHEMA_VERSION.split('.').next() {
        return Err(unreadable(format!("its version is {}; this reads {SCHEMA_VERSION}", record.schema_version)));
    }
    let (record, damage) = judge(record, folder);
    Ok(Checked { record, damage })
}

/// Saves the record of a run in its folder.
///
/// # Errors
/// Which file could not be written, and why.
pub fn save(record: &RunRecord, folder: &Path) -> Result<(), String> {
    let path = folder.join(RECORD);
    let text = serde_json::to_vec_pretty(record).map_err(|error| error.to_string())?;
    std::fs::write(&path, text).map_err(|error| format!("`{}`: {error}", path.display()))
}

/// The record before anything is judged.
pub(super) fn blank(
    request: &Request,
    plan: &Plan,
    stage: &Stage,
    experiments: Vec<ExperimentRecord>,
    wall: Duration,
    interrupted: bool,
) -> RunRecord {
    let claims: Vec<ClaimRecord> = plan
        .claims
        .iter()
        .map(|planned| ClaimRecord {
            id: planned.claim.claim_id(),
            statement: planned.claim.statement.to_owned(),
            source: planned.claim.source.to_owned(),
            level: planned.claim.level,
            declared: if planned.missing.is_some() { Declared::NotApplicable } else { planned.resolved.declared },
            basis: planned.resolved.basis,
            declared_source: planned.missing.clone().unwrap_or_else(|| planned.resolved.source.clone()),
            verdict: Verdict::inconclusive("not-run", "not judged yet"),
            standing: Standing::Inconclusive,
            predicted: planned.predicted.clone(),
            parameters: scalars(&planned.parameters),
            experiments: planned.experiments.clone(),
            repeat: match request.parts {
                // The schedule says which claims.
                Some(_) => stage.repeat.clone(),
                None => format!("{} --only {}", stage.repeat, planned.claim.id),
            },
        })
        .collect();
    let mut environment = stage.runtime.environment();
    if let Some(contracts) = setting(&request.deployment, &request.adapter, "contracts") {
        environment.push(format!("contracts: {contracts}"));
    }
    RunRecord {
        schema_version: SCHEMA_VERSION.to_owned(),
        result: RunResult::Inconclusive,
        seed: request.seed,
        runtime: stage.runtime.name().to_owned(),
        claims,
        denominator: Denominator::default(),
        run: stage.run.clone(),
        gatecrash: stage.version.clone(),
        scale: request.scale,
        cut_short: interrupted.then(|| RunRecord::INTERRUPTED.to_owned()),
        environment,
        started: stage.started.clone(),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        experiments_ms: experiments.iter().map(|experiment| experiment.wall_ms).sum(),
        deployment: effective(request),
        profile: request.profile.name.clone(),
        product: request.profile.product.clone(),
        // A run of a few claims is asked for as such: it is not held to the whole profile's minimum.
        minimum_judged: if request.only.is_empty() { request.profile.minimum_judged } else { 1 },
        experiments,
        left_out: plan.left_out.clone(),
        shrunk: Vec::new(),
    }
}

/// The deployment with the defaults of its adapter's settings filled in.
fn effective(request: &Request) -> Deployment {
    let mut deployment = request.deployment.clone();
    for (name, setting) in &request.adapter.settings {
        if let Some(value) = &setting.default {
            deployment.gateway.settings.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    deployment
}

fn scalars(parameters: &Parameters) -> BTreeMap<String, Scalar> {
    let numbers = parameters.numbers.iter().map(|(name, value)| (name.clone(), Scalar::Number(*value)));
    let words = parameters.words.iter().map(|(name, word)| (name.clone(), Scalar::Text(word.clone())));
    numbers.chain(words).collect()
}

fn parameters(scalars: &BTreeMap<String, Scalar>) -> Parameters {
    let mut all = Parameters::default();
    for (name, value) in scalars {
        match value {
            Scalar::Number(value) => drop(all.numbers.insert(name.clone(), *value)),
            Scalar::Text(word) => drop(all.words.insert(name.clone(), word.clone())),
            Scalar::Boolean(value) => drop(all.words.insert(name.clone(), value.to_string())),
        }
    }
    all
}

/// Judges the record's claims over the histories in `folder`. Returns what is wrong with each history beside it:
/// somebody touched this run, or its disk did, so nothing of it is proof; what it broke is broken.
pub(super) fn judge(mut record: RunRecord, folder: &Path) -> (RunRecord, Vec<String>) {
    let mut histories: Vec<History> = Vec::new();
    let mut damage = Vec::new();
    for experiment in &mut record.experiments {
        match read(&folder.join(&experiment.history)) {
            Ok((history, problem)) => {
                if let Some(problem) = problem {
                    let words = format!("{}: {problem}", experiment.history);
                    damage.push(words.clone());
                    experiment.problem.get_or_insert(words);
                }
                experiment.series = Series::of(&history, BINS);
                experiment.events = u64::try_from(history.events().len()).unwrap_or(u64::MAX);
                histories.push(history);
            }
            // One that did not begin has none.
            Err(_) if experiment.events == 0 && experiment.problem.is_some() => {}
            Err(problem) => {
                let words = format!("{}: {problem}", experiment.history);
                damage.push(words.clone());
                experiment.problem.get_or_insert(words);
            }
        }
    }
    record.environment.retain(|sentence| !sentence.starts_with(HARNESS));
    record.environment.push(lateness(&histories));
    let doubt = (!damage.is_empty()).then(|| format!("the saved run is damaged: {}", damage.join("; ")));
    (decide(record, &histories, doubt.as_ref()), damage)
}

/// How late the harness was at most, as the histories say it.
fn lateness(histories: &[History]) -> String {
    let late = |history: &History| {
        let late = claims::busy::late(history).map(|(_, late_us)| late_us);
        Some((late.max()?, history.experiment().to_owned()))
    };
    match histories.iter().filter_map(late).max() {
        Some((late_us, experiment)) => format!("{HARNESS}at most {} ms late (`{experiment}`)", late_us / 1_000),
        None => format!("{HARNESS}never seen to be late by {} ms or more", LATE.as_millis()),
    }
}

/// Judges the record's claims over these histories, in memory: same record, same histories, same verdicts. A history
/// belongs to the experiment of its name. `doubt`: what is wrong with the run as a whole.
#[must_use]
pub fn decide(mut record: RunRecord, histories: &[History], doubt: Option<&String>) -> RunRecord {
    let all: BTreeMap<ClaimId, Claim> = claims::all().into_iter().map(|claim| (claim.claim_id(), claim)).collect();
    let deployment = record.deployment.scaled(record.scale);
    let overloaded: BTreeMap<&str, Reason> = histories
        .iter()
        .filter_map(|history| Some((history.experiment(), claims::busy::overloaded(history)?)))
        .collect();
    let interrupted: BTreeSet<&str> = record
        .experiments
        .iter()
        .filter(|experiment| experiment.problem.as_deref() == Some(RunRecord::INTERRUPTED))
        .map(|experiment| experiment.name.as_str())
        .collect();
    for claim in &mut record.claims {
        claim.verdict = finite(if claim.declared == Declared::NotApplicable {
            Verdict::NotApplicable(Reason::new("not-applicable", claim.declared_source.clone()))
        } else if let Some(known) = all.get(&claim.id) {
            let read: Vec<&History> = histories
                .iter()
                .filter(|history| claim.experiments.iter().any(|name| name == history.experiment()))
                .collect();
            let parameters = parameters(&claim.parameters);
            let judged = |histories: &[&History]| {
                let (deployment, scale) = (&deployment, record.scale);
                let verdict = (known.check)(&Scope { parameters: &parameters, deployment, scale, histories });
                // Of any that it reads: what excuses a run excuses a part of it.
                let overloaded = read.iter().find_map(|history| overloaded.get(history.experiment()));
                claims::busy::excused(known.on_busy_machine, verdict, overloaded)
            };
            let of_claim = |experiment: &&ExperimentRecord| claim.experiments.contains(&experiment.name);
            let problem = record.experiments.iter().filter(of_claim).find_map(|experiment| {
                experiment.problem.as_ref().map(|problem| format!("experiment `{}`: {problem}", experiment.name))
            });
            let (whole, broken_off): (Vec<&History>, Vec<&History>) =
                read.iter().partition(|history| !interrupted.contains(history.experiment()));
            let broken_off = broken_off.first().map(|history| history.experiment());
            let verdict = bounded(spared(broken_off, || judged(&whole), || judged(&read)));
            doubted(missed(verdict, &claim.experiments, &record.left_out), problem, doubt)
        } else {
            Verdict::inconclusive("unknown-claim", format!("this version of gatecrash has no claim `{}`", claim.id))
        });
        claim.standing = Standing::of(claim.declared, claim.verdict.observed());
    }
    let standings: Vec<Standing> = record.claims.iter().map(|claim| claim.standing).collect();
    let count = |wanted: &dyn Fn(&Standing) -> bool| {
        u32::try_from(standings.iter().filter(|standing| wanted(standing)).count()).unwrap_or(u32::MAX)
    };
    record.denominator = Denominator {
        judged: count(&|standing| standing.is_judged()),
        applicable: count(&|standing| *standing != Standing::NotApplicable),
        all: u32::try_from(all.len()).unwrap_or(u32::MAX),
    };
    record.result = RunResult::of(&standings, record.minimum_judged, record.scale, record.cut_short.is_some());
    record
}

fn is_zero(value: f64) -> bool {
    value.abs() < f64::EPSILON
}

/// Of what must not be at all, and was not seen: how often it may be nevertheless.
fn bounded(verdict: Verdict) -> Verdict {
    let Verdict::Holds(mut evidence) = verdict else { return verdict };
    let is_none = |number: &Number| number.limit.is_some_and(is_zero) && is_zero(number.value);
    let is_told = evidence.numbers.iter().any(|number| number.name.starts_with("3/n"));
    if evidence.samples > 0 && !is_told && evidence.numbers.first().is_some_and(is_none) {
        let (samples, most) = (evidence.samples, upper_bound_without_failures(evidence.samples) * 100.0);
        evidence.notes.push(format!("none in {samples} observations: with 95 % at most {most:.2} % (3/n)"));
    }
    Verdict::Holds(evidence)
}

/// A part of a story proves nothing of what was left out; what it broke is broken.
fn missed(verdict: Verdict, read: &[String], left_out: &[LeftOut]) -> Verdict {
    let missed: Vec<String> = left_out.iter().filter(|left| read.contains(&left.experiment)).map(words_of).collect();
    if missed.is_empty() || verdict.observed() != Observed::Holds {
        return verdict;
    }
    Verdict::inconclusive("left-out", format!("the schedule leaves out {}", missed.join("; ")))
}

fn words_of(left: &LeftOut) -> String {
    if left.steps.is_empty() {
        return format!("experiment `{}`", left.experiment);
    }
    format!("{} of experiment `{}`", left.steps.join(", "), left.experiment)
}

/// A story that did not come to its end proves nothing; what it broke is broken, unless somebody interrupted it.
fn doubted(verdict: Verdict, problem: Option<String>, damage: Option<&String>) -> Verdict {
    match (verdict, damage, problem) {
        (Verdict::Holds(_), Some(damage), _) => Verdict::inconclusive("damaged", damage.clone()),
        (Verdict::Holds(_), None, Some(problem)) => Verdict::inconclusive("cut-short", problem),
        (verdict, _, _) => verdict,
    }
}

/// A story that somebody broke off accuses nobody, also where what it saw would stand: what was waited for might have come, and nobody goes through
/// half a story to tell which is which. It is named in the reason. What the `whole` ones show is shown.
fn spared(interrupted: Option<&str>, whole: impl FnOnce() -> Verdict, all: impl FnOnce() -> Verdict) -> Verdict {
    let Some(name) = interrupted else { return all() };
    let of_whole = whole();
    if of_whole.observed() == Observed::Violated {
        return of_whole;
    }
    let of_all = all();
    let Verdict::Violated(seen) = of_all else { return of_all };
    let text = format!("experiment `{name}`: {}; seen until then: {}", RunRecord::INTERRUPTED, seen.explanation);
    Verdict::inconclusive("cut-short", text)
}

/// JSON has no infinity; a record must read back as it was written.
fn finite(mut verdict: Verdict) -> Verdict {
    let numbers = match &mut verdict {
        Verdict::Holds(evidence) => &mut evidence.numbers,
        Verdict::Violated(counterexample) => &mut counterexample.numbers,
        Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => return verdict,
    };
    for number in numbers {
        if !number.value.is_finite() {
            number.value = f64::MAX;
        }
        number.limit = number.limit.filter(|limit| limit.is_finite());
    }
    verdict
}

fn read(path: &Path) -> Result<(History, Option<String>), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = format::read(BufReader::with_capacity(1 << 20, file)).map_err(|error| chain(&error))?;
    Ok((read.history, read.problem.map(|problem| chain(&problem))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::HistoryBuilder;
    use gatecrash_model::verdict::{Counterexample, Evidence};

    #[test]
    fn what_was_not_seen_at_all_is_bounded() {
        let holds = |limit: f64, value: f64, samples: u64| {
            let numbers = vec![Number::new("admitted", value, "requests").limit(limit)];
            let seen = bounded(Verdict::Holds(Evidence { samples, numbers, notes: Vec::new() }));
            let Verdict::Holds(evidence) = seen else { panic!("{seen:?}") };
            evidence.notes
        };
        assert_eq!(holds(0.0, 0.0, 600), ["none in 600 observations: with 95 % at most 0.50 % (3/n)"]);
        assert_eq!(holds(3.0, 0.0, 600), Vec::<String>::new(), "some may be");
        assert_eq!(holds(3.0, 2.0, 600), Vec::<String>::new(), "some were");
    }

    #[test]
    fn how_late_the_harness_was_is_said_with_the_experiment() {
        let history = |name: &str, late_us: &[u32]| {
            let mut history = HistoryBuilder::new(name);
            for (ms, late_us) in (1..).zip(late_us) {
                history.at_ms(ms).late(*late_us);
            }
            history.build()
        };
        assert_eq!(lateness(&[history("a", &[])]), "harness: never seen to be late by 20 ms or more");
        let both = [history("a", &[21_000, 45_900]), history("b", &[30_000])];
        assert_eq!(lateness(&both), "harness: at most 45 ms late (`a`)");
    }

    #[test]
    fn a_story_that_was_interrupted_accuses_nobody_and_hides_nothing_that_others_show() {
        let violated = |words: &str| {
            Verdict::Violated(Counterexample { explanation: words.to_owned(), ..Counterexample::default() })
        };
        let holds = || Verdict::Holds(Evidence::default());
        let never = || panic!("nothing was interrupted");
        assert_eq!(spared(None, never, || violated("x")), violated("x"));
        assert_eq!(spared(Some("a"), holds, holds), holds());
        assert_eq!(spared(Some("a"), || violated("y"), || violated("x")), violated("y"));
        let text = "experiment `a`: interrupted; seen until then: x";
        for whole in [holds(), Verdict::inconclusive("no-history", "")] {
            assert_eq!(spared(Some("a"), || whole.clone(), || violated("x")), Verdict::inconclusive("cut-short", text));
        }
    }

    fn left(experiment: &str, steps: &[&str]) -> LeftOut {
        LeftOut { experiment: experiment.to_owned(), steps: steps.iter().map(|step| (*step).to_owned()).collect() }
    }

    /// Of every claim, whatever it reads: what a schedule left out of that cannot be held.
    #[test]
    fn what_was_left_out_is_never_held_and_hides_no_violation() {
        let holds = || Verdict::Holds(Evidence { samples: 9, ..Evidence::default() });
        let violated = || Verdict::Violated(Counterexample::default());
        for claim in claims::all() {
            let read: Vec<String> = match claim.reads {
                gatecrash_model::claim::Reads::Every => vec!["store-loss".to_owned()],
                gatecrash_model::claim::Reads::Experiments(names) => {
                    names.iter().map(|name| (*name).to_owned()).collect()
                }
            };
            for name in &read {
                for left_out in [[left(name, &["slow"])], [left(name, &[])]] {
                    let seen = missed(holds(), &read, &left_out);
                    let told = matches!(&seen, Verdict::Inconclusive(reason) if reason.code == "left-out" && reason.text.contains(name));
                    assert!(told, "{}: {seen:?}", claim.id);
                    assert_eq!(missed(violated(), &read, &left_out), violated());
                }
            }
            assert_eq!(missed(holds(), &read, &[left("something-else", &["slow"])]), holds());
            assert_eq!(missed(holds(), &read, &[]), holds());
        }
        let doubt = || Verdict::inconclusive("gap", "a gap");
        assert_eq!(missed(doubt(), &["a".to_owned()], &[left("a", &["b"])]), doubt());
    }

    #[test]
    fn what_was_left_out_is_named() {
        let read = ["a".to_owned(), "b".to_owned()];
        let seen = missed(Verdict::Holds(Evidence::default()), &read, &[left("a", &["x", "y"]), left("b", &[])]);
        let text = "the schedule leaves out x, y of experiment `a`; experiment `b`";
        assert_eq!(seen, Verdict::inconclusive("left-out", text));
    }
}
