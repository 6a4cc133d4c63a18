//! OVL-04 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{AFTERWARDS, CLAIMS, HEALTH, STORE_AWAY, STORE_HUNG, STRESS, UPSTREAM_FAILS};
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge_on, nothing, reason,
};
use crate::claims::serving::{SAMPLE, SERVING};
use gatecrash_model::Deployment;
use gatecrash_model::deployment::{Store, StoreKind, StoreScope};
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::{FaultStage, History};
use gatecrash_model::operation::{Answer, Credential, Effect, Operation, Verb};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

/// Length of a stretch, and of the pause after it.
const STRETCH: u64 = 4_000;
const REST: u64 = 1_000;
const STRETCHES: [(&str, &str); 6] = [
    ("steady", ""),
    ("hold", STRESS),
    ("hold", UPSTREAM_FAILS),
    ("hold", STORE_AWAY),
    ("hold", STORE_HUNG),
    ("settle", AFTERWARDS),
];
/// From the end of all trouble until it is judged.
const SETTLES: u64 = 10_000;

fn health(verb: Verb, replica: &str) -> Operation<String> {
    Operation { verb, ..with(call("health", replica, "", ""), Credential::NotNeeded) }
}

/// What one replica does in one stretch.
#[derive(Clone, Copy)]
struct Does {
    live: bool,
    ready: bool,
    serves: bool,
    health_takes_ms: u64,
}

const FINE: Does = Does { live: true, ready: true, serves: true, health_takes_ms: 1 };

/// The story; `how` says what a replica does in a stretch (of [`STRETCHES`]).
fn story(how: impl Fn(&str, &str) -> Does) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(HEALTH);
    for (turn, (phase, variant)) in (0..).zip(STRETCHES) {
        let from = turn * (STRETCH + REST);
        history.at_ms(from).phase(phase, variant);
        let from = from + if variant == AFTERWARDS { SETTLES } else { 0 };
        for ms in (0..STRETCH - 500).step_by(100) {
            history.at_ms(from + ms);
            history.takes_ns = 1_000_000;
            if variant == UPSTREAM_FAILS {
                history.operation(call("traffic", "eu-ingress", "plain", "client-1"), None, true);
            } else {
                history.ok(call("traffic", "eu-ingress", "plain", "client-1"));
            }
            for replica in ["eu-1", "eu-2"] {
                let does = how(replica, variant);
                history.takes_ns = does.health_takes_ms * 1_000_000;
                for (verb, yes) in [(Verb::Ready, does.ready), (Verb::Live, does.live)] {
                    if yes {
                        history.ok(health(verb, replica));
                    } else {
                        history.rejected(health(verb, replica), 503);
                    }
                }
                history.takes_ns = 1_000_000;
                if ms % 200 == 0 {
                    history.mark(SAMPLE, replica, 1);
                    if does.serves {
                        history.ok(call(SERVING, replica, "plain", "client-6"));
                    } else {
                        history.gateway_error(call(SERVING, replica, "plain", "client-6"), 503);
                    }
                }
            }
        }
        history.at_ms(from + STRETCH).phase("settle", "");
    }
    history
}

fn with_store() -> Deployment {
    Deployment { store: Some(Store { kind: StoreKind::Stub, scope: StoreScope::Site, failover: None }), ..deployment() }
}

fn check(history: &History) -> Verdict {
    judge_on(&with_store(), CLAIMS, "OVL-04", &[history])
}

fn first(verdict: &Verdict) -> String {
    verdict.numbers()[0].name.clone()
}

#[test]
fn health_that_is_true_and_quick_holds() {
    let verdict = check(&story(|_, _| FINE).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(first(&verdict), "p99 of health answers");
    // A replica that serves nothing and says so is honest.
    let honest = |_: &str, variant: &str| {
        if variant == STORE_HUNG { Does { ready: false, serves: false, ..FINE } } else { FINE }
    };
    assert_eq!(check(&story(honest).build()).observed(), Observed::Holds);
}

#[test]
fn each_lie_breaks_it() {
    let dead = |replica: &str, variant: &str| Does { live: replica != "eu-2" || variant != STORE_AWAY, ..FINE };
    let slow = |_: &str, variant: &str| Does { health_takes_ms: if variant == STRESS { 1_200 } else { 1 }, ..FINE };
    let unready = |_: &str, variant: &str| Does { ready: variant != STORE_HUNG, ..FINE };
    let lies = |replica: &str, variant: &str| Does { serves: replica != "eu-1" || variant != STORE_AWAY, ..FINE };
    let stays = |replica: &str, variant: &str| Does { serves: replica != "eu-2" || variant != AFTERWARDS, ..FINE };
    let unready_for_good = |_: &str, variant: &str| Does { ready: variant != AFTERWARDS, ..FINE };
    for (history, number, words) in [
        (
            story(dead),
            "answers that a replica does not live",
            "while the store was away: `eu-2` said that it does not live",
        ),
        (story(slow), "p99 of health answers", "at twice the capacity: the p99 of health answers was 1200 ms"),
        (story(unready), "not ready, and everything was served", "while the store was silent: `eu-1` said"),
        (story(lies), "ready, and nothing was served", "while the store was away: `eu-1` said"),
        (
            story(stays),
            "replicas that did not serve everything again",
            "when all of it was over: `eu-2` served 0 of 18 samples",
        ),
        (story(unready_for_good), "not ready, and everything was served", "when all of it was over: `eu-1` said"),
    ] {
        let verdict = check(&history.build());
        assert_eq!(first(&verdict), number, "{verdict:?}");
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
    }
}

#[test]
fn a_full_replica_that_serves_traffic_and_no_sample_may_say_either() {
    // `eu-1` serves no sample in one stretch, and one request more than before is answered by somebody there.
    let full = |stretch: &str, by: &str| {
        let lies = |replica: &str, variant: &str| Does { serves: replica != "eu-1" || variant != stretch, ..FINE };
        let mut history = story(lies);
        let turn = (0..).zip(STRETCHES).find(|(_, (_, variant))| *variant == stretch).map(|(turn, _)| turn).unwrap();
        history.at_ms(turn * (STRETCH + REST) + 3_000);
        let answer = Answer { status: 200, replica: by.to_owned(), ..Answer::default() };
        history.operation(call("traffic", "eu-ingress", "plain", "client-1"), Some((Effect::Ok, answer)), true);
        check(&history.build())
    };
    assert_eq!(full(STRESS, "eu-1").observed(), Observed::Holds);
    // Nobody says who answered: it may have been this one.
    assert_eq!(full(STRESS, "").observed(), Observed::Holds);
    for (stretch, by) in [(STRESS, "eu-2"), (STORE_AWAY, "eu-1"), (STORE_AWAY, "")] {
        let verdict = full(stretch, by);
        assert_eq!(first(&verdict), "ready, and nothing was served", "{stretch} by `{by}`: {verdict:?}");
    }
}

#[test]
fn requests_that_arrive_again_and_again_break_it() {
    let mut history = story(|_, _| FINE);
    let from = 2 * (STRETCH + REST);
    let ops: Vec<u32> = (0..12)
        .map(|number| history.at_ms(from + 3_600 + number).ok(call("traffic", "eu-ingress", "plain", "client-2")))
        .collect();
    for op in ops {
        for again in 0..2 {
            history.at_ms(from + 3_700 + again).arrived_again(op, "eu-upstream", "plain");
        }
    }
    let verdict = check(&history.build());
    assert_eq!(first(&verdict), "arrivals for each request", "{verdict:?}");
    assert!(explanation(&verdict).starts_with("1.5"), "{verdict:?}");
}

#[test]
fn a_late_harness_excuses_and_nothing_shows_nothing() {
    let slow = |_: &str, variant: &str| Does { health_takes_ms: if variant == STRESS { 1_200 } else { 1 }, ..FINE };
    let mut late = story(slow);
    late.at_ms(7_000).late(101_000);
    assert_eq!(reason(&check(&late.build())).0, "harness-late");
    assert_eq!(check(&nothing(HEALTH)).observed(), Observed::Inconclusive);
    let mut fault = story(|_, _| FINE);
    fault.at_ms(16_000).fault(1, FaultStage::Injected, "refuse", "eu-1->eu-store");
    assert_eq!(reason(&check(&fault.build())).0, "fault-not-proven");
    // Without the stretches without a store only a deployment without one was seen whole.
    let mut short = HistoryBuilder::new(HEALTH);
    short.phase("steady", "");
    for _ in 0..300 {
        short.ok(health(Verb::Ready, "eu-1"));
        short.ok(call("traffic", "eu-ingress", "plain", "client-1"));
    }
    assert_eq!(reason(&check(&short.build())).0, "too-few-samples");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn it_comes_to_a_verdict_whatever_happened(history in anything(HEALTH)) {
        prop_assert_eq!(check(&history), check(&history));
        doubted_effects_never_accuse(CLAIMS, "OVL-04", &history);
    }
}

#[test]
fn doubted_effects_never_accuse_it() {
    doubted_effects_never_accuse(CLAIMS, "OVL-04", &story(|_, _| FINE).build());
}
