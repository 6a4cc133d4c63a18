//! `gatecrash sweep`: what has no living harness goes, what has one stays, whatever it is.

use crate::watch::{Place, Running};
use nix::sys::signal::Signal;
use std::fs::File;
use std::process::Output;
use std::time::Duration;

/// How long a run may take until its components are there.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// What a history has once everything is up.
const STORY: &str = "\"phase\":\"steady\"";
/// Components of the smallest deployment that is started here.
const LEAST: usize = 6;

pub(crate) fn a_dry_run_and_the_living() {
    sweep_beside_a_living_run("process");
}

pub(crate) fn objects_of_a_dead_harness() {
    sweep_beside_a_living_run("docker");
}

fn sweep_beside_a_living_run(runtime: &str) {
    // Two sweeps at the same time take each other's leftovers away; another test sweeps too.
    let alone = File::create(std::env::temp_dir().join("gatecrash-sweep-tests.lock")).expect("a lock");
    alone.lock().expect("a lock");

    let with_engine = runtime == "docker";
    let (living_place, dead_place) = (Place::new(), Place::new());
    let mut living = start(&living_place, runtime);
    let mut dead = start(&dead_place, runtime);
    living.until(UP_WITHIN, "its story", |_| living_place.recorded(STORY));
    dead.until(UP_WITHIN, "its story", |_| dead_place.recorded(STORY));
    // A machine that lost its reaper too: nobody else cleans up.
    dead.kill_reapers();
    dead.signal(Signal::SIGKILL);
    dead.wait(Duration::from_secs(5));
    let left = dead.left(with_engine);
    assert!(left.len() >= LEAST, "{left:?}");
    assert!(!dead_place.temporary().is_empty(), "its components' files are there");
    let before = living.left(with_engine);

    let said = sweep(&dead_place, &["sweep", "--dry-run"]);
    for item in left.iter().filter(|item| item.starts_with("container") || item.starts_with("network")) {
        assert!(said.contains(&format!("would remove {item}")), "no {item} in:\n{said}");
    }
    assert!(said.contains("would remove process `") && said.contains("would remove folder `"), "{said}");
    assert_eq!(dead.left(with_engine), left, "a dry run removes nothing");

    let said = sweep(&dead_place, &["sweep"]);
    assert!(said.contains("removed process `") && said.contains("removed folder `"), "{said}");
    assert_eq!(said.contains("removed container `"), with_engine, "{said}");
    assert_eq!(said.contains("removed network `"), with_engine, "{said}");
    dead.until_gone(&dead_place, with_engine);

    let after = living.left(with_engine);
    assert!(before.iter().filter(|item| after.contains(item)).count() > LEAST, "{before:?} became {after:?}");
    living.signal(Signal::SIGINT);
    assert_eq!(living.wait(Duration::from_secs(30)).code(), Some(130), "{}", living.said());
    living.until_gone(&living_place, with_engine);
}

fn start(place: &Place, runtime: &str) -> Running {
    // A story without restarts, so that what is there stays there.
    Running::start(place.gatecrash(&[
        "certify",
        "flex-managed",
        "--runtime",
        runtime,
        "--seed",
        "7",
        "--only",
        "LAT-01",
    ]))
}

fn sweep(place: &Place, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = place.gatecrash(words).output().expect("the binary runs");
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(0), "{said}");
    said
}
