//! SIGKILL of the command line at ten random moments: within 5 s nothing of ours is left.

use crate::watch::{GONE_WITHIN, Place, Running};
use gatecrash_engine::clock::wall_s;
use gatecrash_model::Seed;
use nix::sys::signal::Signal;
use std::time::Duration;

const MOMENTS: u64 = 10;
/// Runs that are killed side by side. An engine removes one container after the other: there the 5 s are those of one run.
const AT_ONCE: [(&str, usize); 2] = [("process", 2), ("docker", 1)];

pub(crate) fn at_ten_moments(runtime: &'static str) {
    let seed = seed_of_moments(runtime);
    let mut moments: Vec<Duration> = (0..MOMENTS).map(|number| moment(seed, runtime, number)).collect();
    // The longest first, so that the last to end is not alone.
    moments.sort();
    let at_once = AT_ONCE.iter().find(|(name, _)| *name == runtime).map_or(1, |(_, at_once)| *at_once);
    let bit: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|worker| {
                let mine: Vec<Duration> = moments.iter().rev().skip(worker).step_by(at_once).copied().collect();
                scope.spawn(move || mine.into_iter().filter(|after| kill_after(runtime, *after) > 0).count())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("no leftover")).sum()
    });
    assert!(bit >= 5, "only {bit} of {MOMENTS} kills met anything that could be left: the moments are too early");
}

/// The seed of the moments is printed; `GATECRASH_TEST_SEED` repeats them.
pub(crate) fn seed_of_moments(runtime: &str) -> Seed {
    let asked = std::env::var_os("GATECRASH_TEST_SEED").and_then(|seed| seed.to_str()?.parse().ok());
    let seed = Seed(asked.unwrap_or_else(|| wall_s() % 1_000_000));
    println!("{runtime}: the seed of the moments is {} (GATECRASH_TEST_SEED repeats them)", seed.0);
    seed
}

/// Four in ten while everything is brought up, three soon afterwards, three when faults have come and gone, and replicas with them.
pub(crate) fn moment(seed: Seed, runtime: &str, number: u64) -> Duration {
    let [bring_up_ms, soon_ms, later_ms] =
        if runtime == "docker" { [2_000, 4_000, 15_000] } else { [600, 5_000, 25_000] };
    let (from, span) = match number {
        0..4 => (0, bring_up_ms),
        4..7 => (0, soon_ms),
        _ => (soon_ms, later_ms - soon_ms),
    };
    Duration::from_millis(from + seed.derive(&format!("{runtime} {number}")).0 % span)
}

/// Starts a certification of everything.
pub(crate) fn everything(place: &Place, runtime: &str) -> Running {
    let words = ["certify", "flex-managed", "--runtime", runtime, "--seed", "7", "--out", "out"];
    Running::start(place.gatecrash(&words))
}

/// Kills it, and waits until nothing is left. Returns how much there was.
fn kill_after(runtime: &str, after: Duration) -> usize {
    let place = Place::new();
    let mut running = everything(&place, runtime);
    running.until(after + GONE_WITHIN, "the moment", |running| running.age() >= after);
    let with_engine = runtime == "docker";
    let there = running.left(with_engine).len();
    running.signal(Signal::SIGKILL);
    running.wait(GONE_WITHIN);
    let gone = running.until_gone(&place, with_engine);
    let log = std::fs::read_to_string(place.path().join("out/reaper.log")).unwrap_or_default();
    let removal = log.split_once("removed ").and_then(|(_, rest)| rest.split_once(':')).map_or("-", |(words, _)| words);
    println!(
        "{runtime}: killed after {after:?}: {there} things of ours were there, none {gone:?} later (its reaper: {removal})"
    );
    there
}
