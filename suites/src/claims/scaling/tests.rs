//! SCL-03 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{ADDED, CLAIMS, REMOVED, SATURATING, SCALED, SCALED_REVOKED, SCALED_TOKEN, SCALING, SIZE, SIZES};
use crate::claims::quota::marks::QUOTA_WINDOW_MS;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::Credential;
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

/// Q of the sample deployment; its window here, ms.
const Q: u64 = 100;
const WINDOW: u64 = 12_000;

/// One round of `key` from `from` ms on: 40 % of Q, a replica comes, as many more, it goes, and then far more than is left. `admitted` in all.
fn round(history: &mut HistoryBuilder, key: &str, number: i64, from: u64, admitted: u64) {
    history.at_ms(from).mark(QUOTA_WINDOW_MS, key, i64::try_from(WINDOW).unwrap()).mark(mark::WINDOW, key, number);
    let mut asked = 0;
    let mut ask = |history: &mut HistoryBuilder, at: u64, replica: &str, times: u64| {
        for one in 0..times {
            let request = call("quota", replica, "metered", key);
            history.at_ms(at + one * 10);
            if asked < admitted {
                history.ok(request);
            } else {
                history.rejected(request, 429);
            }
            asked += 1;
        }
    };
    ask(history, from + 10, "eu-1", 40);
    history.at_ms(from + 1_000).mark(ADDED, "eu-3", 0);
    for use_ in 0..5 {
        history.at_ms(from + 1_100 + use_).ok(call(SCALED_TOKEN, "eu-3", "plain", "client-7"));
        history.rejected(with(call(SCALED_REVOKED, "eu-3", "plain", "client-7"), Credential::Revoked), 401);
    }
    ask(history, from + 1_200, "eu-3", 30);
    history.at_ms(from + 2_000).mark(REMOVED, "eu-3", 0);
    ask(history, from + 2_100, "eu-2", 60);
    for ms in (0..4_000).step_by(10) {
        history.at_ms(from + ms).ok(call(SCALED, "eu-ingress", "plain", "client-1"));
    }
}

fn story(admitted: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SCALING);
    history.phase("steady", "");
    round(&mut history, "client-1", 1, 1_000, admitted);
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, "SCL-03", &[history])
}

fn first(verdict: &Verdict) -> String {
    verdict.numbers()[0].name.clone()
}

#[test]
fn a_replica_that_comes_and_goes_unnoticed_holds() {
    let verdict = check(&story(Q).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(first(&verdict), "admitted in the window");
}

#[test]
fn a_quota_that_grows_with_the_replicas_breaks_it() {
    let verdict = check(&story(Q + 30).build());
    assert_eq!(first(&verdict), "admitted in the window");
    let words = "130 admitted in one window in which `eu-3` came and went, at most 10";
    assert!(explanation(&verdict).contains(words), "{verdict:?}");
}

#[test]
fn requests_tokens_and_revocations_that_are_lost_break_it() {
    let mut failed = story(Q);
    failed.at_ms(3_500).gateway_error(call(SCALED, "eu-ingress", "plain", "client-1"), 502);
    let mut token = story(Q);
    token.at_ms(3_500).rejected(call(SCALED_TOKEN, "eu-3", "plain", "client-7"), 401);
    let mut revoked = story(Q);
    revoked.at_ms(3_500).ok(with(call(SCALED_REVOKED, "eu-3", "plain", "client-7"), Credential::Revoked));
    for (history, number, words) in [
        (failed, "failed requests", "1 of 401 requests failed"),
        (token, "tokens lost", "1 of 6 uses of a token from before failed at the new replica"),
        (revoked, "admitted with a revoked token", "the new replica let a revoked token in"),
    ] {
        let verdict = check(&history.build());
        assert_eq!(first(&verdict), number, "{verdict:?}");
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
    }
}

#[test]
fn what_shows_nothing_is_left_open() {
    assert_eq!(check(&nothing(SCALING)).observed(), Observed::Inconclusive);
    // Nobody came.
    let mut alone = HistoryBuilder::new(SCALING);
    alone.phase("steady", "");
    alone.mark(QUOTA_WINDOW_MS, "client-1", 12_000).mark(mark::WINDOW, "client-1", 1);
    for ms in 0..400 {
        alone.at_ms(ms * 10).ok(call(SCALED, "eu-ingress", "plain", "client-1"));
    }
    assert_eq!(reason(&check(&alone.build())).0, "too-few-samples");
    let mut late = story(Q);
    late.at_ms(2_000).late(1_300_000);
    assert_eq!(reason(&check(&late.build())).0, "harness-late");
    let mut gap = story(Q);
    gap.at_ms(2_000).gap("eu-upstream");
    assert_eq!(reason(&check(&gap.build())).0, "gap");
}

#[test]
fn a_late_round_that_was_told_again_does_not_decide() {
    let mut history = story(Q);
    history.at_ms(2_000).late(1_300_000);
    history.at_ms(5_000).mark(mark::PROLONGED, "client-1", 0);
    round(&mut history, "client-2", 2, 20_000, Q);
    assert_eq!(check(&history.build()).observed(), Observed::Holds);
}

#[test]
fn doubted_effects_never_accuse_it() {
    doubted_effects_never_accuse(CLAIMS, "SCL-03", &story(Q).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn it_comes_to_a_verdict_whatever_happened(history in anything(SCALING)) {
        prop_assert_eq!(check(&history), check(&history));
        doubted_effects_never_accuse(CLAIMS, "SCL-03", &history);
    }
}

/// Five runs each of `eu-3` (small) and `eu-4` (large), a second long, with so many answers.
fn sizes(small: [u64; 5], large: [u64; 5]) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SIZES);
    history.at_ms(1).mark(SIZE, "eu-3", 0).mark(SIZE, "eu-4", 1);
    for run in 0..5 {
        for (turn, (replica, answers)) in [("eu-3", small[run]), ("eu-4", large[run])].into_iter().enumerate() {
            let from = 1_000 + u64::try_from(run * 2 + turn).unwrap() * 2_000;
            history.at_ms(from).phase("hold", replica);
            for answer in 0..answers {
                history.at_ms(from + answer * 900 / answers.max(1)).ok(call(SATURATING, replica, "plain", "client-1"));
            }
            history.at_ms(from + 1_000).phase("settle", "");
        }
    }
    history
}

#[test]
fn a_large_replica_that_can_do_more_holds_and_one_that_cannot_breaks_it() {
    let judged = |small, large| judge(CLAIMS, "SCL-02", &[&sizes(small, large).build()]);
    let more = judged([100, 98, 101, 99, 100], [200, 197, 202, 199, 201]);
    assert_eq!(more.observed(), Observed::Holds, "{more:?}");
    let same = judged([100, 98, 101, 99, 100], [99, 100, 100, 98, 101]);
    assert!(explanation(&same).contains("a large replica can do 1.00 times what a small one can"), "{same:?}");
    // More, and not enough more.
    let little = judged([100, 98, 101, 99, 100], [110, 109, 111, 108, 110]);
    assert_eq!(little.observed(), Observed::Violated, "{little:?}");
    let uneven = judged([100, 60, 140, 99, 100], [150, 155, 100, 170, 90]);
    assert_eq!(reason(&uneven).0, "undecided", "{uneven:?}");
}

#[test]
fn sizes_that_nobody_compared_are_open() {
    assert_eq!(judge(CLAIMS, "SCL-02", &[&nothing(SIZES)]).observed(), Observed::Inconclusive);
    assert_eq!(reason(&judge(CLAIMS, "SCL-02", &[&sizes([0; 5], [0; 5]).build()])).0, "too-few-samples");
}
