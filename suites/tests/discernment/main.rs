//! Does the suite see? The reference gateway in processes, with each of its defects switched on and, as the twin of those
//! runs, without any: certified for what the defect must break (`fixtures/src/expected.rs`).
//!
//! A run with a defect must break all that the table says it must, and nothing that it says it must not. A run of a
//! twin must hold every claim that is judged in it, but for the documented limits of its deployment. One trial per defect, and
//! one per twin and set of experiments, whichever defects share it.

mod deployments;
mod doubt;
mod trial;

use gatecrash_engine::reaper;
use gatecrash_fixtures::expected::expected;
use libtest_mimic::{Arguments, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Trials side by side where the arguments do not say: most of the time a trial waits.
const SIDE_BY_SIDE: usize = 2;

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
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(SIDE_BY_SIDE);
    let rows = expected();
    let mut twins: BTreeMap<_, BTreeSet<&'static str>> = BTreeMap::new();
    for row in &rows {
        twins.entry((deployments::shape(row.needs), trial::experiments(row))).or_default().extend(row.must());
    }
    let conforming = twins.into_iter().map(|((shape, experiments), must)| {
        let name = format!("conforming::{}::{}", shape.name, experiments.join("+"));
        Trial::test(name, move || trial::conforms(&shape, &experiments, &must))
    });
    let defects = rows
        .into_iter()
        .map(|row| Trial::test(format!("defect::{}", row.defect.name()), move || trial::is_caught(&row)));
    let trials = conforming.chain(defects).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
