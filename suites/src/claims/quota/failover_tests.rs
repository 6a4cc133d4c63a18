//! QUO-06 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{AGAIN, CLAIMS, DEMOTED, FROZEN, HANDED_OVER, KILLED, LOSING, NO_REDIS, NOT_WATCHED, STORE_FAILOVER};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "QUO-06";
/// Q of the sample deployment.
const Q: u64 = 100;
/// Spent before the loss, in so many ms; asked for after it.
const SPENT: u64 = 60;
const SPENT_IN: u64 = 1_500;
const DEMANDED: u64 = 150;
const REPLICAS: [&str; 2] = ["eu-1", "eu-2"];

/// One loss, from `from` ms on: replicas refuse again after `normal` ms, and the client that had spent a part gets `lost` more than its quota.
#[derive(Clone, Copy)]
struct Loss {
    variant: &'static str,
    from: u64,
    normal: u64,
    lost: u64,
    /// How long the client whose quota is spent asks, ms.
    watched: u64,
}

const FIRST: Loss = Loss { variant: KILLED, from: 10_000, normal: 4_000, lost: 0, watched: 6_000 };

fn tell(history: &mut HistoryBuilder, number: i64, loss: Loss) {
    let Loss { variant, from, normal, lost, watched } = loss;
    let key = format!("client-{number}");
    history.at_ms(from).phase("steady", variant);
    history.at_ms(from + 10).mark(mark::WINDOW, &key, number);
    for one in 0..SPENT {
        let replica = REPLICAS[usize::try_from(one % 2).unwrap()];
        history.at_ms(from + 20 + one * SPENT_IN / SPENT).ok(call("quota", replica, "metered", &key));
    }
    let at = from + 20 + SPENT_IN;
    history.at_ms(at).phase("inject", variant).mark(LOSING, "eu-store", 0);
    if variant == DEMOTED {
        history.mark(HANDED_OVER, "eu-store-2", 1);
    } else {
        let kind = if variant == FROZEN { "pause" } else { "kill" };
        history.proven_fault(kind, "eu-store", at + 1, at + watched);
    }
    history.at_ms(at + 2).phase("hold", variant);
    for ms in (10..watched).step_by(250) {
        for replica in REPLICAS {
            let again = call(AGAIN, replica, "metered", "client-9");
            history.at_ms(at + ms);
            if ms < normal {
                history.ok(again);
            } else {
                history.rejected(again, 429);
            }
        }
    }
    history.at_ms(at + watched).phase("settle", variant);
    for one in 0..DEMANDED {
        let request = call("quota", REPLICAS[usize::try_from(one % 2).unwrap()], "metered", &key);
        history.at_ms(at + watched + one * 10);
        if one < Q - SPENT + lost {
            history.ok(request);
        } else {
            history.rejected(request, 429);
        }
    }
}

fn story(losses: &[Loss]) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(STORE_FAILOVER);
    for (number, loss) in (1..).zip(losses) {
        tell(&mut history, number, *loss);
    }
    history.at_ms(losses.last().map_or(1, |loss| loss.from + 30_000)).phase("end", "");
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, ID, &[history])
}

fn number(verdict: &Verdict, name: &str) -> f64 {
    verdict.numbers().iter().find(|number| number.name == name).map_or(f64::NAN, |number| number.value)
}

#[test]
fn replicas_that_count_in_the_new_primary_in_time_hold() {
    let all = [
        FIRST,
        Loss { variant: FROZEN, from: 50_000, normal: 9_000, watched: 11_000, ..FIRST },
        Loss { variant: DEMOTED, from: 90_000, normal: 300, watched: 2_000, ..FIRST },
    ];
    let verdict = check(&story(&all).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "counted as before after");
    assert!((8.0..9.1).contains(&verdict.numbers()[0].value), "{verdict:?}");
    assert!((number(&verdict, "counts that a failover lost, at most") - 0.0).abs() < 1e-9);
}

#[test]
fn what_was_not_copied_yet_may_be_lost_and_is_told() {
    let verdict = check(&story(&[Loss { lost: 15, ..FIRST }]).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert!((number(&verdict, "counts that a failover lost, at most") - 15.0).abs() < 1e-9);
    // 40 requests were sent in the second before.
    let verdict = check(&story(&[Loss { lost: 60, ..FIRST }]).build());
    assert_eq!(verdict.numbers()[0].name, "admitted in the window");
    assert!(
        explanation(&verdict)
            .contains("160 admitted in one window in which `eu-store` was lost (`killed`), at most 14"),
        "{verdict:?}"
    );
}

#[test]
fn a_replica_that_comes_back_late_or_never_breaks_it() {
    let late = Loss { normal: 16_000, watched: 18_000, ..FIRST };
    let verdict = check(&story(&[late]).build());
    assert_eq!(verdict.numbers()[0].name, "counted as before after");
    let words = "`eu-store` was lost (`killed`), and 15.8 s later `eu-1` still did not refuse a client whose quota was spent (status 200)";
    assert!(explanation(&verdict).contains(words), "{verdict:?}");
    let never = Loss { normal: 60_000, watched: 19_000, ..FIRST };
    assert!(explanation(&check(&story(&[never]).build())).contains("and nobody saw the end of it"));
}

#[test]
fn what_shows_nothing_is_left_open() {
    assert_eq!(check(&nothing(STORE_FAILOVER)).observed(), Observed::Inconclusive);
    // Nobody saw the end of it, but nobody waited long.
    let brief = Loss { normal: 60_000, watched: 6_000, ..FIRST };
    assert_eq!(reason(&check(&story(&[brief]).build())).0, "too-few-samples");
    let mut unwatched = story(&[FIRST]);
    unwatched.at_ms(39_000).mark(NOT_WATCHED, "eu", 0);
    assert_eq!(reason(&check(&unwatched.build())).0, "fault-not-proven");
    let mut stub = HistoryBuilder::new(STORE_FAILOVER);
    stub.mark(NO_REDIS, "eu", 0);
    assert_eq!(reason(&check(&stub.build())).0, "no-redis");
    let mut refused = story(&[FIRST]);
    refused.at_ms(39_000).mark(HANDED_OVER, "eu-store", 0);
    assert_eq!(reason(&check(&refused.build())).0, "fault-not-proven");
    let mut gap = story(&[FIRST]);
    gap.at_ms(12_000).gap("eu-upstream");
    assert_eq!(reason(&check(&gap.build())).0, "gap");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_has_a_verdict_and_doubt_accuses_nobody(history in anything(STORE_FAILOVER)) {
        doubted_effects_never_accuse(CLAIMS, ID, &history);
    }
}

#[test]
fn doubt_about_a_clean_story_accuses_nobody() {
    doubted_effects_never_accuse(CLAIMS, ID, &story(&[FIRST]).build());
}
