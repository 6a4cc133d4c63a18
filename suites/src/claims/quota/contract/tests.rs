use super::super::CLAIMS;
use super::*;
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use gatecrash_model::deployment::{Store, StoreKind, StoreScope};
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::operation::Operation;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// What a gateway does wrong.
#[derive(Clone, Copy, Default)]
struct Wrong {
    /// Milliseconds that a told reset is too short by.
    reset_ms: u64,
    /// Told remaining is more by this.
    remaining: u64,
    /// Admitted of the burst after a reset.
    restored: Option<u64>,
    status: Option<u16>,
    /// Resets are told in whole numbers of this many milliseconds, rounded up; 0 for each millisecond.
    grain_ms: u64,
}

fn lone(key: &str) -> Operation<String> {
    call(LONE, "eu-1", "metered", key)
}

fn tell(history: &mut HistoryBuilder, op: u32, remaining: u64, reset_ms: u64, wrong: Wrong) {
    let subject = op.to_string();
    history.mark(told::REMAINING, &subject, i64::try_from(remaining).unwrap());
    let reset_ms = reset_ms.saturating_sub(wrong.reset_ms).next_multiple_of(wrong.grain_ms.max(1));
    history.mark(told::RESET_MS, &subject, i64::try_from(reset_ms).unwrap());
    if wrong.grain_ms > 0 {
        history.mark(told::GRAIN_MS, &subject, i64::try_from(wrong.grain_ms).unwrap());
    }
}

/// Three clients with Q = 100 in 10 s: the quota is spent, the client comes back after what it is told, and all of Q is there.
fn history(wrong: Wrong) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(TOLD);
    for (turn, key) in ["a", "b", "c"].into_iter().enumerate() {
        let from = 1_000 + u64::try_from(turn).unwrap() * 100_000;
        history.at_ms(from).mark(QUOTA_WINDOW_MS, key, 10_000);
        for request in 0..98 {
            history.at_ms(from + 12_000 + request).ok(call(AT_ONCE, "eu-1", "metered", key));
        }
        for left in [1, 0] {
            history.at_ms(from + 13_000 + (1 - left) * 10);
            let op = history.ok(lone(key));
            tell(&mut history, op, left + wrong.remaining, 3_000 - (1 - left) * 10, wrong);
        }
        for at in [13_020, 14_500] {
            history.at_ms(from + at);
            let op = history.rejected(lone(key), wrong.status.unwrap_or(429));
            tell(&mut history, op, 0, 16_000 - at, wrong);
        }
        // Who is told in seconds comes when the window has ended for certain.
        let back = from + if wrong.grain_ms > 0 { 17_800 } else { 16_200 - wrong.reset_ms };
        history.at_ms(back);
        let op = if wrong.reset_ms > 200 { history.rejected(lone(key), 429) } else { history.ok(lone(key)) };
        tell(&mut history, op, 99, 10_000, wrong);
        for request in 0..110 {
            history.at_ms(back + 10 + request);
            if request < wrong.restored.unwrap_or(99) {
                history.ok(call(AT_ONCE, "eu-1", "metered", key));
            } else {
                history.rejected(call(AT_ONCE, "eu-1", "metered", key), 429);
            }
        }
    }
    history
}

fn verdict(history: HistoryBuilder) -> Verdict {
    judge(CLAIMS, "QUO-08", &[&history.build()])
}

#[test]
fn a_gateway_that_tells_the_truth_holds() {
    let history = history(Wrong::default()).build();
    let verdict = judge(CLAIMS, "QUO-08", &[&history]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    doubted_effects_never_accuse(CLAIMS, "QUO-08", &history);
}

#[test]
fn each_lie_breaks_it() {
    for (wrong, words) in [
        (Wrong { reset_ms: 3_000, ..Wrong::default() }, "came after the time that it was told"),
        (Wrong { remaining: 3, ..Wrong::default() }, "although 3 were told to remain"),
        (Wrong { restored: Some(60), ..Wrong::default() }, "after 61 of 100"),
        (Wrong { status: Some(403), ..Wrong::default() }, "where 429 is declared"),
        (Wrong { restored: Some(105), ..Wrong::default() }, "around an edge"),
    ] {
        let verdict = verdict(history(wrong));
        assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
    }
    let mut early = history(Wrong::default());
    early.at_ms(14_300).ok(lone("a"));
    assert!(explanation(&verdict(early)).contains("the window goes on"));
    let mut retry = history(Wrong::default());
    retry.at_ms(14_300);
    let op = retry.rejected(lone("a"), 429);
    tell(&mut retry, op, 0, 3_000, Wrong::default());
    retry.mark(told::RETRY_AFTER_MS, &op.to_string(), 1_000);
    assert!(explanation(&verdict(retry)).contains("before its window ends"));
}

#[test]
fn what_is_told_in_seconds_is_held_to_the_second() {
    let coarse = Wrong { grain_ms: 1_000, ..Wrong::default() };
    assert_eq!(verdict(history(coarse)).observed(), Observed::Holds);
    let late = verdict(history(Wrong { reset_ms: 1_000, ..coarse }));
    assert!(explanation(&late).contains("came after the time that it was told"), "{late:?}");
    // Half a second before a reset that is told in seconds, the window may be over.
    let admitted = |at_ms| {
        let mut early = history(coarse);
        early.at_ms(at_ms).ok(lone("a"));
        verdict(early)
    };
    assert!(explanation(&admitted(16_000)).contains("the window goes on"));
    assert_ne!(admitted(16_900).observed(), Observed::Violated);
    let short = verdict(history(Wrong { grain_ms: 2_000, ..coarse }));
    let told = reason(&short);
    assert_eq!(told.0, "too-few-samples");
    assert!(told.1.contains("whole numbers of 2 s, and a window lasts 10 s"), "{}", told.1);
}

#[test]
fn nothing_told_and_a_late_harness_show_nothing() {
    assert_eq!(reason(&judge(CLAIMS, "QUO-08", &[&nothing(TOLD)])).0, "too-few-samples");
    let mut late = history(Wrong { remaining: 3, ..Wrong::default() });
    late.at_ms(8_000).late(200_000);
    assert_eq!(reason(&verdict(late)).0, "harness-late");
}

/// Whoever takes its store for lost, because the machine stood still, counts by itself: that is not what it told. A wrong status is wrong anyway.
#[test]
fn a_machine_that_stands_still_excuses_what_a_replica_counts_alone() {
    let stalled = |wrong: Wrong, clients: u64| {
        let mut told = history(wrong);
        for turn in 0..clients {
            told.at_ms(1_000 + turn * 100_000 + 13_050).late(70_000);
        }
        let mut deployment = deployment();
        deployment.store = Some(Store { kind: StoreKind::Stub, scope: StoreScope::Site, failover: None });
        judge_on(&deployment, CLAIMS, "QUO-08", &[&told.build()])
    };
    let lie = Wrong { remaining: 3, ..Wrong::default() };
    assert_eq!(stalled(lie, 2).observed(), Observed::Violated);
    let all = stalled(lie, 3);
    assert_eq!(reason(&all).0, "machine-busy", "{all:?}");
    assert_eq!(stalled(Wrong { status: Some(403), ..Wrong::default() }, 3).observed(), Observed::Violated);
    assert_eq!(stalled(Wrong::default(), 3).observed(), Observed::Holds);
    // Told again by others, it is their answers that count.
    let again = |repeated: bool, status: u16| {
        let mut told = history(Wrong::default());
        told.at_ms(400_000).mark(QUOTA_WINDOW_MS, "d", 10_000);
        let op = told.rejected(lone("d"), 429);
        tell(&mut told, op, 3, 3_000, Wrong::default());
        told.at_ms(400_010).rejected(lone("d"), status);
        if repeated {
            told.at_ms(400_020).mark(mark::PROLONGED, "d", 70_000);
        }
        verdict(told).observed()
    };
    assert_eq!((again(false, 429), again(true, 429)), (Observed::Violated, Observed::Holds));
    assert_eq!(again(true, 403), Observed::Violated);
}

proptest! {
    #[test]
    fn any_history_has_a_verdict(history in anything(TOLD)) {
        let verdict = judge(CLAIMS, "QUO-08", &[&history]);
        prop_assert_eq!(&verdict, &judge(CLAIMS, "QUO-08", &[&history]));
    }
}
