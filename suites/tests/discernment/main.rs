//! Does the suite see? The reference gateway in processes, with each of its defects switched on and, as the twin of those
//! runs, without any: certified for what the defect must break (`fixtures/src/expected.rs`).
//!
//! A run with a defect must break all that the table says it must, and nothing that it says it must not. A run of a
//! twin must hold every claim that is judged in it, but for the documented limits of its deployment. One trial per defect, and
//! one per twin and set of experiments, whichever defects share it; and one more for a deployment that nobody replaces replicas of.
//! What the machine left open is told again with nothing beside it. While other programs keep it busy then, too, a claim may stay open, which is
//! said; it is never wrong.
//!
//! Of the defects one is told for each claim; the others, and all twins, are ignored unless they are asked for (`--ignored`,
//! `--include-ignored`). That a conforming gateway holds the same claims is told by `tests/families`, in processes and in containers.
//!
//! `--write FILE --date DATE` (`make discern`) includes all of them, runs twins until there are [`ALARMS`] runs more, half of them with both cores
//! kept busy, and writes what was seen of everything.

mod deployments;
#[path = "../support/doubt.rs"]
mod doubt;
#[path = "../support/left_open.rs"]
mod left_open;
#[path = "../support/pressure.rs"]
mod pressure;
mod record;
#[path = "../support/room.rs"]
mod room;
mod trial;

use gatecrash_engine::reaper;
use gatecrash_engine::runtime::process::lacks_pressure;
use gatecrash_fixtures::expected::{Needs, Row, expected};
use gatecrash_suites::experiments;
use libtest_mimic::{Arguments, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

/// Trials side by side where the arguments do not say, if the machine has room for so many: most of the time a trial waits.
const SIDE_BY_SIDE: usize = 4;
/// Of those that compare latencies, which others that start move, or find out what a gateway can do: fewer.
const QUIETLY: usize = 2;
/// Runs of conforming twins when the page is written; half of them on a busy machine, one at a time.
const ALARMS: usize = 50;

#[expect(clippy::print_stderr, reason = "a test program with a main of its own")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, fixture, role, rest @ ..] = words.as_slice()
        && (fixture.as_str(), role.as_str()) == ("fixture", "reaper")
    {
        return reaper::main(rest);
    }
    if let Some(code) = gatecrash_fixtures::dispatch::as_fixture(std::env::args_os()) {
        return code;
    }
    let (words, write) = page_wanted(words);
    let mut arguments = Arguments::from_iter(words);
    arguments.include_ignored |= write.is_some();
    let mut rows = expected();
    if let Some(why) = trial::lacks_redis() {
        rows.retain(|row| !deployments::shape(row.needs).needs_redis());
        eprintln!("defects that only a real Redis shows are not tried: {why}");
    }
    if let Some(why) = lacks_pressure() {
        rows.retain(|row| row.needs != Needs::ProcessorPressure);
        eprintln!("defects that only pressure on processors shows are not tried: {why}");
    }
    let mut twins = Twins::new();
    for row in &rows {
        twins.entry((deployments::shape(row.needs), trial::experiments(row))).or_default().extend(row.must());
    }
    run_once(&mut twins);
    // What a deployment without a platform cannot promise is seen, too.
    twins.entry((deployments::PEERED, vec!["replica-loss"])).or_default();
    let again: Vec<_> = twins.keys().cloned().collect();
    let conforming = twins.into_iter().map(|((shape, experiments), must)| {
        let name = format!("conforming::{}::{}", shape.name, experiments.join("+"));
        let at_once = at_once(&experiments);
        let told = Trial::test(name, move || trial::conforms(&shape, &experiments, &must));
        (at_once, told.with_ignored_flag(true))
    });
    let mut rows: Vec<_> =
        rows.into_iter().map(|row| (trial::takes(&row), at_once(&trial::experiments(&row)), row)).collect();
    let told = one_for_each_claim(&rows);
    // The longest first: at the end nothing runs beside them.
    rows.sort_by_key(|(takes, ..)| std::cmp::Reverse(*takes));
    let defects = rows.into_iter().map(|(_, at_once, row)| {
        let name = format!("defect::{}", row.defect.name());
        let again = !told.contains(row.defect.name());
        (at_once, Trial::test(name, move || trial::is_caught(&row)).with_ignored_flag(again))
    });
    let mut trials: BTreeMap<usize, Vec<Trial>> = BTreeMap::new();
    for (at_once, trial) in conforming.chain(defects) {
        trials.entry(at_once).or_default().push(trial);
    }
    let has_failed = room::run(&arguments, trials);
    let Some((path, date)) = write else { return if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS } };
    let alarms = |busy: bool| {
        // The busy ones go on where the idle ones ended: all twins have their turn.
        let turns = again.iter().cycle().enumerate().skip(if busy { ALARMS / 2 } else { 0 }).take(ALARMS / 2);
        let turns = turns.map(move |(turn, (shape, experiments))| {
            let name = format!("{}::{}::{}", if busy { "busy" } else { "idle" }, turn + 1, experiments.join("+"));
            let (shape, experiments) = (*shape, experiments.clone());
            Trial::test(name, move || trial::raises_no_alarm(&shape, &experiments, busy))
        });
        turns.collect()
    };
    arguments.test_threads.get_or_insert(QUIETLY);
    let idle = libtest_mimic::run(&arguments, alarms(false));
    // Two processes that take all they can get: with more than one trial they would be more.
    arguments.test_threads = Some(1);
    let busy = libtest_mimic::run(&arguments, alarms(true));
    if let Err(why) = std::fs::write(&path, record::page(&date, trial::SEED)) {
        eprintln!("`{path}` cannot be written: {why}");
        return ExitCode::FAILURE;
    }
    if has_failed || idle.has_failed() || busy.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// How many trials of these experiments may run side by side.
fn at_once(told: &[&str]) -> usize {
    let all = experiments::all();
    let compares = all.iter().any(|known| told.contains(&known.name) && experiments::compares_latencies(known));
    let loads = ["overload", "autoscaling"].iter().any(|load| told.contains(load));
    if compares || loads { QUIETLY } else { SIDE_BY_SIDE }
}

/// Names of the defects that are told in every test run: together they must be caught by each claim that must catch any, and next is always the one that
/// takes the least time for each claim that none before it had.
fn one_for_each_claim(rows: &[(Duration, usize, Row)]) -> BTreeSet<&'static str> {
    let (mut caught, mut told) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let new = |row: &Row| row.must().filter(|claim| !caught.contains(claim)).count();
        // Who waits for others takes their time, too.
        let price =
            |(takes, at_once, row): &&(Duration, usize, Row)| takes.as_secs_f64() / *at_once as f64 / new(row) as f64;
        let left = rows.iter().filter(|(.., row)| new(row) > 0);
        let Some((.., row)) = left.min_by(|a, b| price(a).total_cmp(&price(b))) else { return told };
        caught.extend(row.must());
        told.insert(row.defect.name());
    }
}

/// Twins by deployment and experiments, with the claims that must hold there.
type Twins = BTreeMap<(deployments::Shape, Vec<&'static str>), BTreeSet<&'static str>>;

/// Leaves out the twins whose experiments another one of the same deployment runs, too: that one must hold what they must.
fn run_once(twins: &mut Twins) {
    let all: Vec<_> = twins.keys().cloned().collect();
    for small in &all {
        let holds = |large: &&(deployments::Shape, Vec<&'static str>)| {
            large.0 == small.0 && large.1.len() > small.1.len() && small.1.iter().all(|one| large.1.contains(one))
        };
        let Some(large) = all.iter().filter(|large| twins.contains_key(*large)).find(holds).cloned() else { continue };
        let must = twins.remove(small).unwrap_or_default();
        twins.entry(large).or_default().extend(must);
    }
}

/// The command line without `--write FILE` and `--date DATE`, and these, if a page is to be written.
fn page_wanted(words: Vec<String>) -> (Vec<String>, Option<(String, String)>) {
    let (mut rest, mut path, mut date) = (Vec::new(), None, None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--write" => path = words.next(),
            "--date" => date = words.next(),
            _ => rest.push(word),
        }
    }
    (rest, path.map(|path| (path, date.unwrap_or_default())))
}
