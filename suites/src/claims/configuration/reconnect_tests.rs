//! CFG-05 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{ABSENT, CHANGE, CLAIMS, FACT, GUARDED, OPEN, fact};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "CFG-05";

fn ask(replica: &str, route: &str) -> Operation<String> {
    with(call(CHANGE, replica, route, "client-1"), Credential::NotNeeded)
}

fn removed(replica: &str) -> Operation<String> {
    with(call(CHANGE, replica, "partner", "late-1"), Credential::RemovedClient)
}

fn answer(history: &mut HistoryBuilder, operation: Operation<String>, state: u16) {
    if state == OPEN {
        history.ok(operation);
    } else {
        history.rejected(operation, state);
    }
}

/// A route, its state before and after.
type Change = (&'static str, u16, u16);

/// Each variant takes 200 s: it is told at once, and settles from 100 s on. Replica `eu-1` shows all of it 2 s later, `eu-2` after `wait` ms.
fn story(wait: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("changes-in-an-outage");
    let told: [(&str, &[Change]); 4] = [
        ("outage", &[("created", ABSENT, GUARDED), ("flips", OPEN, GUARDED), ("deleted", OPEN, ABSENT)]),
        ("flapping", &[("flips", GUARDED, OPEN)]),
        ("restored", &[("flips", OPEN, GUARDED), ("lost", OPEN, ABSENT)]),
        ("afterwards", &[("afterwards", ABSENT, OPEN)]),
    ];
    history.at_ms(0).phase("steady", "");
    for (variant, (name, changes)) in (0_u64..).zip(told) {
        let began = 1_000 + variant * 200_000;
        history.at_ms(began).phase("hold", name);
        for (route, old, new) in changes {
            history.mark(FACT, route, fact(*old, *new));
        }
        if name == "outage" {
            history.mark("contract-removed", "late-1", 2);
        }
        let settles = began + 100_000;
        history.at_ms(settles).phase("settle", name);
        for (replica, wait) in [("eu-1", 2_000), ("eu-2", wait)] {
            for ms in (100..75_000).step_by(500) {
                let is_new = ms >= wait;
                history.at_ms(settles + ms);
                for (route, old, new) in changes {
                    answer(&mut history, ask(replica, route), if is_new { *new } else { *old });
                }
                if name == "outage" {
                    answer(&mut history, removed(replica), if is_new { 401 } else { OPEN });
                }
            }
        }
    }
    history.at_ms(801_500).phase("end", "");
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, ID, &[history])
}

#[test]
fn everything_in_force_soon_after_holds() {
    let verdict = check(&story(9_000).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let first = &verdict.numbers()[0];
    assert!(first.name.ends_with(", in force everywhere within") && first.limit == Some(60.0), "{first:?}");
    assert!((8.6..9.7).contains(&first.value), "{first:?}");
}

#[test]
fn a_replica_that_shows_it_late_or_never_breaks_cfg_05() {
    for wait in [62_000, 80_000] {
        let verdict = check(&story(wait).build());
        assert!(explanation(&verdict).contains("at `eu-2`"), "{verdict:?}");
        assert!(explanation(&verdict).contains("after the trouble was over"), "{verdict:?}");
        assert!(verdict.numbers()[0].limit == Some(0.0), "{verdict:?}");
    }
}

/// One answer, 65 s after the outage.
fn once(operation: Operation<String>, state: u16) -> Verdict {
    let mut history = story(2_000);
    history.at_ms(166_050);
    answer(&mut history, operation, state);
    check(&history.build())
}

#[test]
fn a_deleted_route_that_serves_again_breaks_cfg_05() {
    let verdict = once(ask("eu-2", "deleted"), OPEN);
    assert_eq!(verdict.numbers()[0].name, "served what must not be served, later than that");
    assert!(
        explanation(&verdict).contains("for route `deleted` at `eu-2`, status 200 was served 65.05 s"),
        "{verdict:?}"
    );
    // In time it may.
    let mut history = story(2_000);
    history.at_ms(160_900).ok(ask("eu-2", "deleted"));
    assert_eq!(check(&history.build()).observed(), Observed::Holds);
}

#[test]
fn a_removed_client_that_is_let_in_again_breaks_cfg_05() {
    let verdict = once(removed("eu-1"), OPEN);
    assert_eq!(verdict.numbers()[0].name, "served what must not be served, later than that");
    assert!(explanation(&verdict).contains("RemovedClient"), "{verdict:?}");
}

#[test]
fn an_answer_of_neither_state_and_none_at_all_break_cfg_05() {
    let verdict = once(ask("eu-1", "created"), 503);
    assert_eq!(verdict.numbers()[0].name, "answers of another state, later than that");
    let mut silent = story(2_000);
    silent.at_ms(166_050).unknown(ask("eu-1", "created"), false);
    assert_eq!(check(&silent.build()).numbers()[0].name, "requests without an answer, later than that");
}

#[test]
fn what_is_lost_with_the_control_plane_is_to_be_lost_at_replicas() {
    let mut history = story(2_000);
    history.at_ms(566_050).ok(ask("eu-2", "lost"));
    assert!(explanation(&check(&history.build())).contains("for route `lost` at `eu-2`"));
}

#[test]
fn lateness_is_not_certain_with_a_late_harness_or_a_damaged_record() {
    let mut late = story(62_000);
    late.at_ms(120_000).late(6_100_000);
    assert_eq!(reason(&check(&late.build())).0, "harness-late");
    let mut gap = story(62_000);
    gap.at_ms(120_000).gap("eu-upstream");
    assert_eq!(reason(&check(&gap.build())).0, "gap");
}

#[test]
fn what_was_not_seen_shows_nothing() {
    assert_eq!(judge(CLAIMS, ID, &[&nothing("changes-in-an-outage")]).observed(), Observed::Inconclusive);
    let mut unseen = story(2_000);
    unseen.at_ms(130_000).rejected(ask("eu-3", "created"), GUARDED);
    let verdict = check(&unseen.build());
    assert!(reason(&verdict).1.contains("was never seen at `eu-3`"), "{verdict:?}");
    let mut fault = story(2_000);
    fault.at_ms(20_000).fault(1, FaultStage::Injected, "refuse", "eu-management->control-plane");
    assert_eq!(reason(&check(&fault.build())).0, "fault-not-proven");
    // The last variant never came.
    let mut short = HistoryBuilder::new("changes-in-an-outage");
    short.at_ms(1).phase("settle", "outage");
    assert_eq!(reason(&check(&short.build())).0, "too-few-samples");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cfg_05_comes_to_a_verdict_whatever_happened(history in anything("changes-in-an-outage")) {
        prop_assert_eq!(check(&history), check(&history));
        doubted_effects_never_accuse(CLAIMS, ID, &history);
    }
}

#[test]
fn doubted_effects_never_accuse_cfg_05() {
    doubted_effects_never_accuse(CLAIMS, ID, &story(4_000).build());
}
