//! CFG-04 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{ABSENT, CHANGE, CLAIMS, FACT, GUARDED, OPEN, fact};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::{FaultStage, ReplicaState};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "CFG-04";
const CHANGES: u64 = 3;

fn ask(replica: &str, route: &str) -> Operation<String> {
    with(call(CHANGE, replica, route, "client-1"), Credential::NotNeeded)
}

fn answer(history: &mut HistoryBuilder, operation: Operation<String>, state: u16) {
    if state == OPEN {
        history.ok(operation);
    } else {
        history.rejected(operation, state);
    }
}

/// What a change does to the coupled route.
fn coupled(change: u64) -> (u16, u16) {
    match change {
        1 => (ABSENT, OPEN),
        even if even % 2 == 0 => (OPEN, GUARDED),
        _ => (GUARDED, OPEN),
    }
}

/// 10 s steady, then a change each 50 s; replica `eu-1` shows both facts after `waits.0` ms, `eu-2` after `waits.1`.
fn changed(waits: (u64, u64)) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("configuration-changes");
    history.at_ms(0).phase("steady", "");
    for ms in (100..165_000).step_by(500) {
        history.at_ms(ms).ok(call("traffic", "eu-1", "plain", "client-1"));
    }
    history.at_ms(10_000).phase("hold", "under-load");
    for change in 1..=CHANGES {
        let at = change * 50_000 - 40_000;
        let (added, (old, new)) = (format!("added-{change}"), coupled(change));
        history.at_ms(at).mark(FACT, &added, fact(ABSENT, GUARDED)).mark(FACT, "coupled", fact(old, new));
        history.at_ms(at + 10).mark("published", "", i64::try_from(change).unwrap() + 1);
        for (replica, wait) in [("eu-1", waits.0), ("eu-2", waits.1)] {
            for ms in (100..45_000).step_by(500) {
                let is_new = ms >= wait;
                history.at_ms(at + ms);
                answer(&mut history, ask(replica, &added), if is_new { GUARDED } else { ABSENT });
                answer(&mut history, ask(replica, "coupled"), if is_new { new } else { old });
            }
        }
    }
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, ID, &[history])
}

#[test]
fn changes_that_are_whole_and_soon_hold() {
    let verdict = check(&changed((2_000, 4_000)).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let first = &verdict.numbers()[0];
    assert_eq!((first.name.as_str(), first.limit), ("changes visible everywhere after", Some(30.0)));
    assert!((4.0..4.7).contains(&first.value), "{first:?}");
}

#[test]
fn one_replica_that_shows_a_change_late_or_never_breaks_cfg_04() {
    for wait in [33_000, 60_000] {
        let verdict = check(&changed((2_000, wait)).build());
        assert!(explanation(&verdict).contains("at `eu-2`, status 404 did not show the change after"), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, "changes visible everywhere after");
    }
}

#[test]
fn an_answer_of_neither_state_is_late_too() {
    let mut history = changed((2_000, 2_000));
    history.at_ms(45_000).gateway_error(ask("eu-1", "coupled"), 503);
    assert!(explanation(&check(&history.build())).contains("status 503 did not show the change after 34.99 s"));
    let mut history = changed((2_000, 2_000));
    history.at_ms(13_000).gateway_error(ask("eu-1", "coupled"), 503);
    assert_eq!(check(&history.build()).observed(), Observed::Holds);
}

#[test]
fn one_fact_that_lags_behind_the_other_breaks_cfg_04() {
    // The policy of the coupled route is the old one, 1 s after the new route was there.
    let mut history = changed((2_000, 2_000));
    history.at_ms(63_050).ok(ask("eu-2", "coupled"));
    let verdict = check(&history.build());
    assert!(explanation(&verdict).contains("had the old state although the new one was seen before"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "answers with the old state after the new one");
}

#[test]
fn an_answer_that_may_be_that_of_the_next_change_shows_nothing() {
    // Sent before the third change was told, answered after it: open again is right.
    let mut history = changed((2_000, 2_000));
    history.takes_ns = 3_000_000_000;
    history.at_ms(108_000).ok(ask("eu-2", "coupled"));
    assert_eq!(check(&history.build()).observed(), Observed::Holds);
}

#[test]
fn a_route_that_comes_without_its_policy_breaks_cfg_04() {
    let mut history = changed((2_000, 2_000));
    history.at_ms(61_050).ok(ask("eu-1", "added-2"));
    let verdict = check(&history.build());
    assert!(explanation(&verdict).contains("asks for a credential or is none"), "{verdict:?}");
    // Nor does it help if nobody had the answer.
    let mut history = changed((2_000, 2_000));
    history.at_ms(61_050).unknown(ask("eu-1", "added-2"), true);
    assert_eq!(check(&history.build()).observed(), Observed::Violated);
}

#[test]
fn a_route_that_no_change_touches_must_not_notice() {
    for status in [404, 503] {
        let mut history = changed((2_000, 2_000));
        history.at_ms(61_050).gateway_error(call("traffic", "eu-2", "plain", "client-1"), status);
        let verdict = check(&history.build());
        assert_eq!(verdict.numbers()[0].name, "errors on untouched routes");
        assert!(explanation(&verdict).contains("no change touched it"), "{verdict:?}");
    }
    let mut silent = changed((2_000, 2_000));
    silent.at_ms(61_050).unknown(call("traffic", "eu-2", "plain", "client-1"), false);
    assert_eq!(check(&silent.build()).numbers()[0].name, "requests without an answer on untouched routes");
}

#[test]
fn a_replica_that_restarts_may_show_the_old_state_again_and_refuse() {
    let verdict = check(&restarted(None));
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    // Once it showed the new one, the old one is a mixture again.
    assert!(explanation(&check(&restarted(Some(118_000)))).contains("the new one was seen before"));
}

/// `eu-2` restarts in the third change, shows the old state for a moment, and once more at `again`.
fn restarted(again: Option<u64>) -> History {
    let mut history = changed((2_000, 2_000));
    history.at_ms(115_000).mark("not-ready-declared", "eu-2", 0).replica("eu-2", ReplicaState::Gone);
    history.at_ms(116_000).replica("eu-2", ReplicaState::Starting);
    history.at_ms(116_050).rejected(ask("eu-2", "coupled"), GUARDED);
    history.at_ms(116_060).refused(call("traffic", "eu-2", "plain", "client-1"));
    history.at_ms(116_090).replica("eu-2", ReplicaState::Ready);
    if let Some(again) = again {
        history.at_ms(again).rejected(ask("eu-2", "coupled"), GUARDED);
    }
    history.build()
}

#[test]
fn what_was_late_with_a_late_harness_or_missing_in_a_damaged_record_is_not_certain() {
    let mut late = changed((2_000, 33_000));
    late.at_ms(20_000).late(3_100_000);
    assert_eq!(reason(&check(&late.build())).0, "harness-late");
    let mut silent = changed((2_000, 2_000));
    silent.at_ms(61_050).unknown(call("traffic", "eu-2", "plain", "client-1"), false);
    silent.gap("eu-upstream");
    assert_eq!(reason(&check(&silent.build())).0, "gap");
    // A mixture stands.
    let mut mixed = changed((2_000, 2_000));
    mixed.at_ms(20_000).late(3_100_000).gap("eu-upstream");
    mixed.at_ms(63_050).ok(ask("eu-2", "coupled"));
    assert_eq!(check(&mixed.build()).observed(), Observed::Violated);
}

#[test]
fn what_was_not_seen_shows_nothing() {
    assert_eq!(judge(CLAIMS, ID, &[&nothing("configuration-changes")]).observed(), Observed::Inconclusive);
    let mut unsteady = changed((2_000, 2_000));
    unsteady.at_ms(5_000).gateway_error(call("traffic", "eu-1", "plain", "client-1"), 503);
    assert_eq!(reason(&check(&unsteady.build())).0, "no-steady-state");
    // A replica that is asked for one fact only, after a restart.
    let mut unseen = changed((2_000, 2_000));
    unseen.at_ms(20_000).rejected(ask("eu-3", "added-1"), GUARDED);
    let verdict = check(&unseen.build());
    assert!(reason(&verdict).1.contains("to route `coupled` was never seen at `eu-3`"), "{verdict:?}");
    let mut kill = changed((2_000, 2_000));
    kill.at_ms(20_000).fault(1, FaultStage::Injected, "kill", "eu-2");
    assert_eq!(reason(&check(&kill.build())).0, "fault-not-proven");
}

#[test]
fn doubted_effects_never_accuse_cfg_04() {
    doubted_effects_never_accuse(CLAIMS, ID, &changed((2_000, 4_000)).build());
}

/// Changes and answers in any order.
fn any_changes() -> impl Strategy<Value = History> {
    prop::collection::vec((0_u64..2_000, 0_u8..6, 0_u8..3, 0_u8..6), 0..60).prop_map(|steps| {
        let mut history = HistoryBuilder::new("configuration-changes");
        let states = [ABSENT, GUARDED, OPEN, 503, 0];
        let mut at = 0;
        for (after, what, which, how) in steps {
            at += after;
            history.at_ms(at);
            let (route, how) = (["coupled", "added-1", "plain"][usize::from(which)], usize::from(how));
            match what {
                0 => {
                    history.mark(FACT, route, fact(states[how % 3], states[how / 2]));
                }
                1 => {
                    history.mark("published", "", 2);
                }
                2 => {
                    history.replica("eu-1", [ReplicaState::Starting, ReplicaState::Ready, ReplicaState::Gone][how % 3]);
                }
                3 => {
                    history.ok(call("traffic", "eu-1", "plain", "client-1"));
                }
                _ => {
                    answer(&mut history, ask("eu-1", route), states[how % 5]);
                }
            }
        }
        history.build()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cfg_04_comes_to_a_verdict_whatever_happened(one in any_changes(), other in anything("configuration-changes")) {
        for history in [one, other] {
            prop_assert_eq!(check(&history), check(&history));
            doubted_effects_never_accuse(CLAIMS, ID, &history);
        }
    }
}
