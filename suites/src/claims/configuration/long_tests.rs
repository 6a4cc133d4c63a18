//! CFG-07 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::CLAIMS;
use super::long::{CONTROL_PLANE, EXPERIMENT, STORE};
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use gatecrash_model::History;
use gatecrash_model::deployment::{Store, StoreKind, StoreScope};
use gatecrash_model::history::build::HistoryBuilder;
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "CFG-07";
const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];
const WHATS: [&str; 3] = ["configuration", "contracts", "status"];
/// The outage, ms.
const FROM: u64 = 20_000;
const TO: u64 = 620_000;

/// What a story may do wrong.
struct Wrong {
    /// KiB, files, those of its clients among them, and percent of a core that a replica has after so many ms.
    memory: fn(u64) -> i64,
    files: fn(u64) -> i64,
    clients: fn(u64) -> i64,
    core: u64,
    /// Between two calls in the outage, and after it between one connection and the next, ms.
    pause: u64,
    spread: u64,
}

const RIGHT: Wrong =
    Wrong { memory: |_| 20_000, files: |_| 40, clients: |_| 9, core: 12, pause: 20_000, spread: 3_000 };

fn story(wrong: &Wrong) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(EXPERIMENT);
    history.at_ms(0).phase("steady", "");
    history.proven_fault("unavailable", "control-plane", FROM, TO);
    history.at_ms(FROM).phase("hold", CONTROL_PLANE);
    history.at_ms(320_000).phase("hold", STORE);
    history.at_ms(TO).phase("settle", "");
    let mut used_ms = 0;
    for ms in (0..TO).step_by(5_000) {
        let core = if ms > FROM { wrong.core } else { 10 };
        used_ms += 5_000 * core / 100;
        for replica in REPLICAS {
            history.at_ms(ms).mark(mark::MEMORY_KIB, replica, (wrong.memory)(ms));
            history.mark(mark::CLIENT_CONNECTIONS, replica, (wrong.clients)(ms));
            history.mark(mark::OPEN_FILES, replica, (wrong.files)(ms));
            history.mark(mark::PROCESSOR_US, replica, i64::try_from(used_ms * 1_000).unwrap());
        }
    }
    let connections: Vec<(&str, &str)> =
        REPLICAS.into_iter().flat_map(|replica| WHATS.map(|what| (replica, what))).collect();
    for (number, (replica, what)) in (0..).zip(connections) {
        for ms in (FROM + 100 + number * 700..TO).step_by(usize::try_from(wrong.pause).unwrap()) {
            history.at_ms(ms).contact("control-plane", replica, what, 503, 0);
        }
        let back = TO + 1_000 + number * wrong.spread;
        for ms in (back..back + 30_000).step_by(5_000) {
            history.at_ms(ms).contact("control-plane", replica, what, 304, 7);
        }
    }
    history.at_ms(710_000).phase("end", "");
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, ID, &[history])
}

#[test]
fn gateways_that_stay_as_they_are_hold() {
    let verdict = check(&story(&RIGHT).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    // A little more is no trend: half a MiB, five files, a few connections that come together.
    let little = Wrong {
        memory: |ms| 20_000 + i64::from(ms > 400_000) * 500,
        files: |ms| 40 + i64::from(ms > 400_000) * 5,
        spread: 400,
        ..RIGHT
    };
    assert_eq!(check(&story(&little).build()).observed(), Observed::Holds);
    // Nor are connections that clients open when the machine stood still for a moment, and keep.
    let clients = Wrong {
        files: |ms| 40 + i64::from(ms > 250_000) * 32,
        clients: |ms| 9 + i64::from(ms > 250_000) * 32,
        ..RIGHT
    };
    assert_eq!(check(&story(&clients).build()).observed(), Observed::Holds);
    let of_its_own = Wrong { clients: |_| 9, ..clients };
    assert!(explanation(&check(&story(&of_its_own).build())).contains("32 files"), "they are its own");
    // Nor is the memory that these take, which stays with the gateway when they are closed.
    let memory = Wrong {
        memory: |ms| 20_000 + i64::from(ms > 250_000) * 100 * 40,
        clients: |ms| if (250_000..450_000).contains(&ms) { 109 } else { 9 },
        files: |ms| if (250_000..450_000).contains(&ms) { 140 } else { 40 },
        ..RIGHT
    };
    assert_eq!(check(&story(&memory).build()).observed(), Observed::Holds);
    let of_its_own = Wrong { clients: |_| 9, files: |_| 40, ..memory };
    assert!(explanation(&check(&story(&of_its_own).build())).contains("3.9 MiB more"), "it is its own");
    // However many there are.
    let crowd = Wrong {
        memory: |ms| 20_000 + i64::from(ms > 250_000) * 3_000,
        clients: |ms| 300 + i64::from(ms > 250_000) * 60,
        files: |_| 400,
        ..RIGHT
    };
    assert_eq!(check(&story(&crowd).build()).observed(), Observed::Holds);
    // Nor is what an outage costs at once.
    let at_once = Wrong { memory: |ms| if ms > FROM + 30_000 { 60_000 } else { 20_000 }, ..RIGHT };
    assert_eq!(check(&story(&at_once).build()).observed(), Observed::Holds);
}

#[test]
fn each_thing_that_grows_without_end_breaks_it() {
    let memory = Wrong { memory: |ms| 20_000 + i64::try_from(ms / 20).unwrap(), ..RIGHT };
    let verdict = check(&story(&memory).build());
    assert!(explanation(&verdict).contains("MiB more, with the control plane away"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "memory grows");
    let files = Wrong { files: |ms| 40 + i64::try_from(ms / 5_000).unwrap(), ..RIGHT };
    let verdict = check(&story(&files).build());
    assert!(explanation(&verdict).contains("files more"), "{verdict:?}");
    let only_later = Wrong { memory: |ms| 20_000 + i64::try_from(ms.saturating_sub(320_000) / 20).unwrap(), ..RIGHT };
    assert!(explanation(&check(&story(&only_later).build())).contains("with the stores and the control plane away"));
    let processor = Wrong { core: 40, ..RIGHT };
    let verdict = check(&story(&processor).build());
    assert!(explanation(&verdict).contains("used 10 % of a core before and 40 %"), "{verdict:?}");
}

#[test]
fn calls_without_a_pause_break_it() {
    let verdict = check(&story(&Wrong { pause: 900, ..RIGHT }).build());
    assert!(explanation(&verdict).contains("every 0.900 s"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "mean pause between calls");
    assert_eq!(check(&story(&Wrong { pause: 1_100, ..RIGHT }).build()).observed(), Observed::Holds);
}

#[test]
fn all_that_come_back_at_once_break_it() {
    let verdict = check(&story(&Wrong { spread: 10, ..RIGHT }).build());
    assert!(explanation(&verdict).contains("of 12 connections 12 came back within 1.00 s; 6 may"), "{verdict:?}");
}

#[test]
fn what_was_not_seen_shows_nothing() {
    assert_eq!(check(&nothing(EXPERIMENT)).observed(), Observed::Inconclusive);
    let mut short = HistoryBuilder::new(EXPERIMENT);
    short.at_ms(0).phase("steady", "");
    assert!(reason(&check(&short.build())).1.contains("was not away"));
    let mut cut = story(&Wrong { spread: 10, ..RIGHT });
    cut.cut();
    assert_eq!(reason(&check(&cut.build())).0, "cut");
    // A deployment with a store loses it, too.
    let mut with_store = deployment();
    with_store.store = Some(Store { kind: StoreKind::Stub, scope: StoreScope::Site, failover: None });
    let history = story(&RIGHT).build();
    assert_eq!(judge_on(&with_store, CLAIMS, ID, &[&history]).observed(), Observed::Holds);
}

#[test]
fn what_a_runtime_does_not_see_is_said() {
    let mut history = HistoryBuilder::new(EXPERIMENT);
    history.at_ms(0).phase("steady", "");
    history.proven_fault("unavailable", "control-plane", FROM, TO);
    history.at_ms(FROM).phase("hold", CONTROL_PLANE);
    history.at_ms(TO).phase("settle", "");
    for ms in (FROM..TO).step_by(20_000) {
        history.at_ms(ms).contact("control-plane", "eu-1", "configuration", 503, 0);
    }
    history.at_ms(TO + 1_000).contact("control-plane", "eu-1", "configuration", 304, 7);
    history.at_ms(710_000).phase("end", "");
    let Verdict::Holds(evidence) = check(&history.build()) else { panic!("it holds") };
    assert!(evidence.notes.iter().any(|note| note.contains("memory grows")), "{evidence:?}");
    assert!(evidence.notes.iter().any(|note| note.contains("too few to tell")), "{evidence:?}");
}

proptest! {
    #[test]
    fn doubted_effects_never_accuse_cfg_07(history in anything(EXPERIMENT)) {
        doubted_effects_never_accuse(CLAIMS, ID, &history);
    }
}
