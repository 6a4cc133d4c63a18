//! Ctrl-C at any moment: what was injected is healed, what was started is removed, and the partial report says so.

use crate::killed::{everything, moment, seed_of_moments};
use crate::watch::{Place, Running};
use gatecrash_engine::clock::Clock;
use gatecrash_model::history::{EventKind, FaultStage, ReplicaState, format};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a run may take to come to the moment of the test.
const MOMENT_WITHIN: Duration = Duration::from_secs(60);
/// How long healing, tearing down and reporting may take.
const END_WITHIN: Duration = Duration::from_secs(30);

const FAULTY: [&str; 8] = ["certify", "flex-managed", "--seed", "7", "--only", "CFG-01", "--out", "out"];

fn start(place: &Place, runtime: &str) -> Running {
    let words: Vec<&str> = FAULTY.into_iter().chain(["--runtime", runtime]).collect();
    Running::start(place.gatecrash(&words))
}

/// Before anything runs, while everything is brought up, while nothing is wrong yet, while a fault is in place.
pub(crate) fn at_several_moments() {
    type Moment = fn(&Place, &Running) -> bool;
    let moments: [(&str, Moment); 4] = [
        ("the plan", |_, running| running.said().contains("seed ")),
        ("bring-up", |_, running| running.said().contains("started ")),
        ("steady", |place, _| place.recorded("\"phase\":\"steady\"")),
        ("fault", |place, _| place.recorded("\"stage\":\"injected\"")),
    ];
    for (name, moment) in moments {
        let place = Place::new();
        let mut running = start(&place, "process");
        running.until(MOMENT_WITHIN, name, |running| moment(&place, running));
        interrupt(&place, running, name, false);
    }
}

/// Of a certification of everything, at moments that nobody chose: while labs are brought up, in the midst of several stories, and when faults have come
/// and gone.
pub(crate) fn at_random_moments(runtime: &'static str) {
    let seed = seed_of_moments(&format!("interrupts, {runtime}"));
    let with_engine = runtime == "docker";
    // Early, soon and late as those of the kills; in containers, where each takes longer, early and late.
    let numbers: &[u64] = if with_engine { &[2, 8] } else { &[2, 5, 8, 9] };
    let interrupt_after = |number: u64| {
        let after = moment(seed.derive("interrupts"), runtime, number);
        let place = Place::new();
        let mut running = everything(&place, runtime);
        // Before it has said what it will do there is no run, and nothing to report.
        running.until(after + MOMENT_WITHIN, "the moment", |running| {
            running.age() >= after && running.said().contains("seed ")
        });
        interrupt(&place, running, &format!("{after:?}"), with_engine);
    };
    if with_engine {
        numbers.iter().copied().for_each(interrupt_after);
        return;
    }
    std::thread::scope(|scope| {
        let all: Vec<_> = numbers.iter().map(|number| scope.spawn(|| interrupt_after(*number))).collect();
        all.into_iter().for_each(|one| one.join().expect("healed, removed and reported"));
    });
}

pub(crate) fn docker() {
    let place = Place::new();
    let mut running = start(&place, "docker");
    running.until(MOMENT_WITHIN, "a fault", |_| place.recorded("\"stage\":\"injected\""));
    interrupt(&place, running, "fault", true);
}

fn interrupt(place: &Place, mut running: Running, moment: &str, with_engine: bool) {
    let clock = Clock::start();
    running.signal(Signal::SIGINT);
    let status = running.wait(END_WITHIN);
    println!("interrupted at {moment}: ended {:?} later", clock.since(0));
    let said = running.said();
    assert_eq!(status.code(), Some(130), "{moment}: {said}");
    assert!(said.contains("interrupted: healing and tearing down"), "{moment}: {said}");
    assert_eq!(running.left(with_engine), Vec::<String>::new(), "{moment}");
    assert_eq!(place.temporary(), Vec::<PathBuf>::new(), "{moment}");
    report_is_partial(&place.path().join("out"));
    for history in place.histories() {
        healed(&history);
    }
}

fn report_is_partial(folder: &Path) {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["cutShort"], "interrupted");
    assert_eq!(report["result"], "inconclusive");
    // What was told whole before is judged as ever.
    let experiments = report["experiments"].as_array().expect("experiments");
    let is_whole = |name: &serde_json::Value| {
        experiments.iter().any(|experiment| experiment["name"] == *name && experiment["problem"].is_null())
    };
    for claim in report["claims"].as_array().expect("claims") {
        let whole = claim["experiments"].as_array().is_some_and(|names| names.iter().all(is_whole));
        assert!(claim["observed"] != "holds" || whole, "{claim}");
    }
    for name in ["summary.md", "report.html", "junit.xml"] {
        let text = std::fs::read_to_string(folder.join(name)).expect("a report");
        assert!(text.contains("interrupted"), "`{name}` does not say that the run was interrupted");
    }
}

/// The history has its closing mark, and every fault that was injected was healed, but for those of a replica that was removed for good.
fn healed(path: &Path) {
    let file = BufReader::new(File::open(path).expect("a history"));
    let read = format::read(file).expect("a header");
    assert!(read.problem.is_none() && read.history.is_complete(), "{}: {:?}", path.display(), read.problem);
    let (mut injected, mut healed, mut gone) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for event in read.history.events() {
        if let EventKind::Fault { fault, stage: FaultStage::Injected, target, .. } = event.kind {
            injected.insert(fault, target);
        } else if let EventKind::Fault { fault, stage: FaultStage::Healed, .. } = event.kind {
            healed.insert(fault);
        } else if let EventKind::Replica { replica, state: ReplicaState::Gone, detail, .. } = event.kind
            && read.history.text(detail) == "removed"
        {
            gone.insert(replica);
        }
    }
    let open: Vec<&str> = injected
        .into_iter()
        .filter(|(fault, target)| !healed.contains(fault) && !gone.contains(target))
        .map(|(_, target)| read.history.text(target))
        .collect();
    assert!(open.is_empty(), "{}: not healed: {open:?}", path.display());
}

/// The second one ends at once; the reaper does the rest.
pub(crate) fn twice() {
    let place = Place::new();
    let mut running = start(&place, "process");
    running.until(MOMENT_WITHIN, "a fault", |_| place.recorded("\"stage\":\"injected\""));
    let there = running.left(false).len();
    assert!(there > 5, "{there} processes of ours");
    running.signal(Signal::SIGINT);
    running.until(Duration::from_secs(5), "word of it", |running| running.said().contains("again to end at once"));
    running.signal(Signal::SIGINT);
    let status = running.wait(Duration::from_secs(2));
    assert_eq!(status.code(), Some(130), "{}", running.said());
    running.until_gone(&place, false);
}
