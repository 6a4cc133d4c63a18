use super::{ACCEPTED_INVALID, REFUSED_VALID};
use crate::claims::sample::{
    anything, doubt_never_accuses, doubted_effects_never_accuse, explanation, judge, nothing, reason,
};
use crate::claims::tokens::CLAIMS;
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, token};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::Operation;
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];
/// Whose clock is put off.
const OFF: &str = "eu-2";

/// From when to when the clock of `OFF` is ahead, and behind, in ms.
const AHEAD: (u64, u64) = (100_000, 200_000);
const BEHIND: (u64, u64) = (300_000, 400_000);

/// A token with `nbf` and `exp` in ms since the run started; its digest.
fn made(history: &mut HistoryBuilder, nbf: i64, exp: i64) -> String {
    let digest = format!("t{nbf}:{exp}");
    history.mark(mark::TOKEN_NBF, &digest, nbf * 1_000_000).mark(mark::TOKEN_EXP, &digest, exp * 1_000_000);
    digest
}

fn use_of(digest: &str, replica: &str) -> Operation<String> {
    token(call("token", replica, "plain", "client-1"), digest)
}

fn off_from(history: &mut HistoryBuilder, (from, to): (u64, u64), ms: i64) {
    history.at_ms(from - 10).mark(mark::CLOCK_OFFSET, OFF, ms);
    history.proven_fault("clock", OFF, from, to);
    history.at_ms(to + 10).mark(mark::CLOCK_OFFSET, OFF, 0);
}

/// Every 10 s each replica is asked with a token near each edge, on either side, and answers as `accepts` says: by the ms since
/// `nbf` and until `exp`.
fn story_of(skew_ms: i64, accepts: impl Fn(&str, u64, i64, i64) -> bool) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("token-times");
    history.at_ms(0).phase("steady", "");
    off_from(&mut history, AHEAD, skew_ms);
    off_from(&mut history, BEHIND, -skew_ms);
    let hour = 3_600_000;
    for at in (10_000..500_000).step_by(10_000) {
        let now = i64::try_from(at).unwrap();
        for (from, to) in [(-3_000, hour), (-hour, 3_000), (-hour, -62_000), (63_000, hour), (-hour, -30_000)] {
            history.at_ms(at);
            let digest = made(&mut history, now + from, now + to);
            for replica in REPLICAS {
                if accepts(replica, at, -from, to) {
                    history.ok(use_of(&digest, replica));
                } else {
                    history.rejected(use_of(&digest, replica), 401);
                }
            }
        }
    }
    history
}

/// The offset of a replica's clock then, ms.
fn offset(replica: &str, at: u64, skew_ms: i64) -> i64 {
    let within = |(from, to): (u64, u64)| replica == OFF && (from..to).contains(&at);
    if within(AHEAD) {
        skew_ms
    } else if within(BEHIND) {
        -skew_ms
    } else {
        0
    }
}

/// A gateway with this leeway, whose clocks are off by 30 s in turn.
fn story(leeway_ms: i64) -> HistoryBuilder {
    story_of(30_000, |replica, at, since_nbf, until_exp| {
        let offset = offset(replica, at, 30_000);
        since_nbf + offset + leeway_ms >= 0 && until_exp - offset + leeway_ms > 0
    })
}

fn verdict(history: &History) -> Verdict {
    judge(CLAIMS, "TOK-07", &[history])
}

#[test]
fn a_leeway_as_large_as_clocks_are_off_holds() {
    let verdict = verdict(&story(30_000).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn without_a_leeway_a_clock_that_is_off_refuses_what_is_valid() {
    let found = verdict(&story(0).build());
    assert!(explanation(&found).contains("`eu-2`, whose clock was 30.000 s ahead, refused token"), "{found:?}");
    assert!(explanation(&found).contains("(status 401), which was valid since 3600.000 s and for another 3.000 s"));
    assert_eq!(found.numbers()[0].name, REFUSED_VALID);
}

#[test]
fn a_leeway_that_takes_no_skew_into_account_reaches_beyond_l() {
    let found = verdict(&story(60_000).build());
    assert!(explanation(&found).contains("`eu-2`, whose clock was 30.000 s ahead, accepted token"), "{found:?}");
    assert!(explanation(&found).contains("before it was valid"), "{found:?}");
    assert_eq!(found.numbers()[0].name, ACCEPTED_INVALID);
}

#[test]
fn a_token_that_expired_and_one_that_is_not_valid_yet_are_each_a_violation() {
    for (nbf, exp, words) in [(-600_000, -61_500, "61.500 s after it expired"), (62_000, 600_000, "61.999 s before")] {
        let mut history = story(30_000);
        history.at_ms(45_000);
        let digest = made(&mut history, 45_000 + nbf, 45_000 + exp);
        history.ok(use_of(&digest, "us-1"));
        let found = verdict(&history.build());
        assert!(explanation(&found).starts_with("1 of "), "{found:?}");
        assert!(explanation(&found).contains(words), "{found:?}");
    }
}

#[test]
fn within_the_leeway_and_the_grain_of_an_edge_either_answer_is_right() {
    let mut history = story(30_000);
    for (nbf, exp) in [(-600_000, -60_500), (-600_000, 500), (500, 600_000), (60_500, 600_000), (-500, 600_000)] {
        history.at_ms(45_000);
        let digest = made(&mut history, 45_000 + nbf, 45_000 + exp);
        history.ok(use_of(&digest, "eu-1"));
        history.rejected(use_of(&digest, "us-1"), 401);
    }
    assert_eq!(verdict(&history.build()).observed(), Observed::Holds);
}

#[test]
fn an_answer_that_comes_after_the_edge_decides_nothing() {
    let mut history = story(30_000);
    history.at_ms(45_000);
    let digest = made(&mut history, 0, 47_000);
    history.takes_ns = 5_000_000_000;
    history.rejected(use_of(&digest, "eu-1"), 401);
    assert_eq!(verdict(&history.build()).observed(), Observed::Holds);
}

#[test]
fn a_clock_that_is_off_by_more_than_s_accuses_nobody_and_shows_nothing() {
    let history = story_of(40_000, |replica, at, since_nbf, until_exp| {
        let offset = offset(replica, at, 40_000);
        since_nbf + offset + 30_000 >= 0 && until_exp - offset + 30_000 > 0
    });
    let found = verdict(&history.build());
    assert_eq!(reason(&found).0, "fault-not-proven", "{found:?}");
}

#[test]
fn clocks_that_were_never_off_leave_it_open() {
    let mut history = HistoryBuilder::new("token-times");
    history.at_ms(50_000);
    for (nbf, exp, accepted) in [(-1, 10, true), (-3_600, -62, false), (62, 3_600, false)] {
        let digest = made(&mut history, 50_000 + nbf * 2_000, 50_000 + exp * 2_000);
        for _ in 0..60 {
            if accepted {
                history.ok(use_of(&digest, "eu-1"));
            } else {
                history.rejected(use_of(&digest, "eu-1"), 401);
            }
        }
    }
    let found = verdict(&history.build());
    assert_eq!(
        reason(&found),
        (
            "fault-not-proven",
            "no token was seen accepted just after `nbf` at a replica whose clock was ahead by S, proven"
        )
    );
}

#[test]
fn a_clock_without_a_witness_and_replicas_that_answer_5xx_leave_doubt() {
    use gatecrash_model::history::FaultStage;
    let mut history = story(30_000);
    history.at_ms(450_000).fault(9, FaultStage::Injected, "clock", OFF).fault(
        9,
        FaultStage::NotWitnessed,
        "clock",
        OFF,
    );
    assert_eq!(reason(&verdict(&history.build())).0, "fault-not-proven");
    let mut history = story(30_000);
    history.at_ms(45_000);
    let digest = made(&mut history, -600_000, 600_000);
    for _ in 0..200 {
        history.gateway_error(use_of(&digest, "eu-1"), 500);
    }
    assert!(reason(&verdict(&history.build())).1.contains("200 of "));
}

#[test]
fn nothing_seen_is_nothing_shown() {
    assert_eq!(reason(&judge(CLAIMS, "TOK-07", &[])).0, "not-run");
    assert_eq!(reason(&verdict(&nothing("token-times"))).0, "too-few-samples");
}

#[test]
fn doubted_effects_accuse_nobody() {
    let history = story(30_000).build();
    doubted_effects_never_accuse(CLAIMS, "TOK-07", &history);
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(history in anything("token-times")) {
        doubt_never_accuses(CLAIMS, "TOK-07", &history);
    }
}
