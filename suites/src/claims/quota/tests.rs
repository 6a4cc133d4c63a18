//! Hand-written histories for every rule of the quota claims, and the properties that all of them must have.

use super::marks::{QUOTA_WINDOW_MS, STORE_CORRUPTED};
use super::{CLAIMS, RESTART, REVOCATIONS_ALONE, SHARED, STORE_LOSS, STORE_MISBEHAVES};
use crate::claims::common::ms;
use crate::claims::sample::explanation;
use gatecrash_model::claim::{Claim, Parameters, Scope, Value};
use gatecrash_model::deployment::{
    Deployment, Gateway, Quota, Route, RouteBackend, Site, Store, StoreKind, StoreScope, WindowAlignment,
};
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{EventKind, FaultStage, ReplicaState};
use gatecrash_model::operation::{Answer, Credential, Effect, Indefinite};
use gatecrash_model::verdict::{Observed, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

const Q: u32 = 10;

fn deployment() -> Deployment {
    let site = |name: &str| Site {
        name: name.to_owned(),
        zones: vec!["a".to_owned()],
        replicas: 2,
        signing: "one".to_owned(),
    };
    Deployment {
        name: "test".to_owned(),
        profile: "test".to_owned(),
        gateway: Gateway { adapter: "reference".to_owned(), settings: BTreeMap::new(), defects: Vec::new() },
        sites: vec![site("eu"), site("us")],
        control_plane: None,
        store: Some(Store { kind: StoreKind::Redis, scope: StoreScope::Site, failover: None }),
        peering: None,
        site_store: false,
        platform: None,
        analytics: None,
        routes: vec![Route {
            name: "metered".to_owned(),
            path: "/metered".to_owned(),
            policies: Vec::new(),
            backend: RouteBackend::Local,
        }],
        quota: Quota { limit: Q, window: Duration::from_secs(1), alignment: WindowAlignment::FirstRequest },
    }
}

fn claim(id: &str) -> &'static Claim {
    CLAIMS.iter().find(|claim| claim.id == id).unwrap()
}

fn parameters(claim: &Claim) -> Parameters {
    let mut found = Parameters::default();
    for parameter in claim.parameters {
        match parameter.default {
            Some(Value::Seconds(x) | Value::Millis(x) | Value::Number(x)) => {
                found.numbers.insert(parameter.name.to_owned(), x);
            }
            Some(Value::Word(word)) => {
                found.words.insert(parameter.name.to_owned(), word.to_owned());
            }
            None => {}
        }
    }
    found
}

fn judge_with(id: &str, deployment: &Deployment, parameters: &Parameters, histories: &[&History]) -> Verdict {
    (claim(id).check)(&Scope { parameters, deployment, scale: 1.0, histories })
}

fn judge(id: &str, histories: &[&History]) -> Verdict {
    judge_with(id, &deployment(), &parameters(claim(id)), histories)
}

/// A round of `key` at `at_ms`: `demand` requests at each target, 10 ms apart over all; the first `admit` of each
/// counter (given by `counter`) arrive, the others are rejected.
fn round(
    history: &mut HistoryBuilder,
    at_ms: u64,
    key: &str,
    targets: &[(&str, u64)],
    admit: u64,
    counter: impl Fn(&str) -> String,
) {
    history.at_ms(at_ms).mark(QUOTA_WINDOW_MS, key, 1000).mark(mark::WINDOW, key, 1);
    let mut spent: BTreeMap<String, u64> = BTreeMap::new();
    let most = targets.iter().map(|(_, demand)| *demand).max().unwrap_or_default();
    let mut now = at_ms;
    for turn in 0..most {
        for (target, demand) in targets {
            if turn >= *demand {
                continue;
            }
            now += 5;
            history.at_ms(now);
            let used = spent.entry(counter(target)).or_default();
            if *used < admit {
                *used += 1;
                history.ok(call("quota", target, "metered", key));
            } else {
                history.rejected(call("quota", target, "metered", key), 429);
            }
        }
    }
}

fn one(_: &str) -> String {
    "one".to_owned()
}

fn of_site(target: &str) -> String {
    target.split('-').next().unwrap().to_owned()
}

fn of_replica(target: &str) -> String {
    target.to_owned()
}

const SKEWED: &[(&str, u64)] = &[("eu-1", 27), ("eu-2", 3)];
const EVEN: &[(&str, u64)] = &[("eu-1", 15), ("eu-2", 15)];
const SITES: &[(&str, u64)] = &[("eu-1", 20), ("us-1", 20)];

/// Three skewed rounds, one even, one over both sites, counted as `counter` says with `admit` for each counter.
fn shared(admit: u64, counter: fn(&str) -> String) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SHARED);
    for (index, targets) in [SKEWED, SKEWED, EVEN].into_iter().enumerate() {
        let index = u64::try_from(index).unwrap();
        history.at_ms(index * 1000).phase("steady", "skewed");
        round(&mut history, index * 1000 + 1, &format!("client-{index}"), targets, admit, counter);
    }
    history.at_ms(4000).phase("hold", "sites");
    round(&mut history, 4001, "client-9", SITES, admit, counter);
    history
}

/// Round 2 of the skewed ones admits too much; a calibration request in it takes `took` ms.
fn too_much_in_one(took: u64, repeated: bool) -> Verdict {
    let mut history = HistoryBuilder::new(SHARED);
    for (index, admit) in [10, 16, 10, 10].into_iter().enumerate() {
        let index = u64::try_from(index).unwrap();
        history.at_ms(index * 1000).phase("steady", "skewed");
        round(&mut history, index * 1000 + 1, &format!("client-{index}"), EVEN, admit, one);
    }
    let takes = std::mem::replace(&mut history.takes_ns, took * 1_000_000);
    history
        .at_ms(1100)
        .ok(with(call("calibration", "calibration", "calibration", "calibration"), Credential::NotNeeded));
    history.takes_ns = takes;
    if repeated {
        history.at_ms(1900).mark(mark::PROLONGED, "client-1", 150_000);
    }
    judge("QUO-01", &[&history.build()])
}

#[test]
fn what_is_admitted_too_much_while_the_machine_stands_still_accuses_nobody() {
    assert_eq!(too_much_in_one(59, false).observed(), Observed::Violated);
    let Verdict::Inconclusive(reason) = too_much_in_one(60, false) else { panic!() };
    assert_eq!(reason.code, "machine-busy");
    // Told again, and then all was well.
    assert_eq!(too_much_in_one(60, true).observed(), Observed::Holds);
    // Elsewhere it is accused all the same.
    let mut history = shared(16, one);
    history.at_ms(1010).late(60_000);
    assert_eq!(judge("QUO-01", &[&history.build()]).observed(), Observed::Violated);
}

#[test]
fn a_round_in_which_the_harness_was_late_is_judged_only_if_it_was_not_repeated() {
    let late = |repeated: bool, admit: u64| {
        let mut history = shared(admit, one);
        // The second round began at 1001 ms; a tenth of its window is 100 ms.
        history.at_ms(1010).late(150_000);
        if repeated {
            history.at_ms(1400).mark(mark::PROLONGED, "client-1", 150_000);
        }
        judge("QUO-01", &[&history.build()])
    };
    assert_eq!(late(true, 10).observed(), Observed::Holds);
    let Verdict::Inconclusive(reason) = late(false, 10) else { panic!("{:?}", late(false, 10)) };
    assert_eq!(reason.code, "harness-late");
    // What was admitted beyond the bound was, however late the harness was.
    assert_eq!(late(false, 20).observed(), Observed::Violated);
    assert_eq!(late(true, 20).observed(), Observed::Violated);
}

#[test]
fn one_counter_for_a_cluster_holds() {
    let history = shared(u64::from(Q), of_site).build();
    let Verdict::Holds(evidence) = judge("QUO-01", &[&history]) else { panic!("{:?}", judge("QUO-01", &[&history])) };
    assert_eq!(evidence.samples, 3, "the round over sites has one replica in each");
    assert_eq!((evidence.numbers[0].value, evidence.numbers[0].limit), (10.0, Some(10.0)));
}

#[test]
fn a_counter_for_each_replica_breaks_quo_01_with_its_size() {
    let history = shared(u64::from(Q), of_replica).build();
    let Verdict::Violated(found) = judge("QUO-01", &[&history]) else { panic!() };
    // Skewed: 10 + 3; even: 10 + 10. Requests take 1 ms and are 5 ms apart: C is 1.
    assert_eq!((found.samples, found.numbers[0].value, found.numbers[0].limit), (3, 20.0, Some(11.0)));
    assert_eq!((found.numbers[1].value, found.numbers[2].value), (100.0, 2.0));
    assert_eq!(found.events.len(), 9);
    let arrival = &history.events()[usize::try_from(found.events[1].event).unwrap() - 1];
    assert!(matches!(arrival.kind, EventKind::Arrived { .. }));
    assert!(found.explanation.contains("site `eu`, key `client-2`"), "{}", found.explanation);
}

#[test]
fn requests_in_flight_and_the_sync_interval_widen_the_bound() {
    let mut history = HistoryBuilder::new(SHARED);
    history.takes_ns = 12_000_000;
    for key in ["a", "b", "c"] {
        round(&mut history, 0, key, EVEN, 13, one);
    }
    let history = history.build();
    assert_eq!(judge("QUO-01", &[&history]).observed(), Observed::Holds, "three requests are in flight at the edge");

    let history = shared(13, of_site).build();
    assert_eq!(judge("QUO-01", &[&history]).observed(), Observed::Violated);
    let mut synced = parameters(claim("QUO-01"));
    // 30 requests in 0.85 s at 0.1 s: 3.5 more.
    synced.numbers.insert("sync_interval".to_owned(), 0.1);
    assert_eq!(judge_with("QUO-01", &deployment(), &synced, &[&history]).observed(), Observed::Holds);
}

#[test]
fn what_may_be_two_windows_is_held_to_two_quotas() {
    let mut bucket = deployment();
    bucket.quota.alignment = WindowAlignment::TokenBucket;
    let mut history = HistoryBuilder::new(SHARED);
    for at in [0, 2000, 4000] {
        round(&mut history, at, &format!("k{at}"), EVEN, 20, one);
    }
    let history = history.build();
    assert_eq!(judge_with("QUO-01", &bucket, &parameters(claim("QUO-01")), &[&history]).observed(), Observed::Holds);
    assert_eq!(judge("QUO-01", &[&history]).observed(), Observed::Violated);
}

#[test]
fn a_round_that_was_not_quiet_before_is_not_judged() {
    let mut history = HistoryBuilder::new(SHARED);
    round(&mut history, 0, "a", EVEN, 10, one);
    round(&mut history, 500, "a", EVEN, 20, one);
    let history = history.build();
    let Verdict::Inconclusive(reason) = judge("QUO-01", &[&history]) else { panic!() };
    assert_eq!(reason.code, "too-few-samples");
}

#[test]
fn a_quota_that_was_never_reached_proves_nothing() {
    let mut history = HistoryBuilder::new(SHARED);
    for at in [0, 2000, 4000, 6000] {
        round(&mut history, at, "a", &[("eu-1", 4), ("eu-2", 4)], 10, one);
    }
    let history = history.build();
    for id in ["QUO-01", "QUO-02", "QUO-04"] {
        let Verdict::Inconclusive(reason) = judge(id, &[&history]) else { panic!("{id}") };
        assert_eq!(reason.code, "too-few-samples", "{id}");
    }
}

#[test]
fn doubt_about_the_history_turns_holds_into_inconclusive_and_leaves_violations() {
    for (counter, observed) in
        [(of_site as fn(&str) -> String, Observed::Inconclusive), (of_replica, Observed::Violated)]
    {
        let mut gap = shared(10, counter);
        gap.at_ms(5000).gap("eu-upstream");
        assert_eq!(judge("QUO-01", &[&gap.build()]).observed(), observed);
        let mut unproven = shared(10, counter);
        unproven.at_ms(5000).fault(1, FaultStage::Injected, "kill", "eu-2");
        assert_eq!(judge("QUO-01", &[&unproven.build()]).observed(), observed);
        let mut cut = shared(10, counter);
        cut.cut();
        assert_eq!(judge("QUO-01", &[&cut.build()]).observed(), observed);
    }
}

#[test]
fn double_counting_breaks_quo_02() {
    let history = shared(10, of_site).build();
    let Verdict::Holds(evidence) = judge("QUO-02", &[&history]) else { panic!() };
    assert_eq!((evidence.samples, evidence.numbers[0].value, evidence.numbers[0].limit), (4, 10.0, Some(9.8)));

    let history = shared(5, one).build();
    let Verdict::Violated(found) = judge("QUO-02", &[&history]) else { panic!() };
    assert_eq!((found.samples, found.numbers[0].value, found.numbers[1].value), (4, 5.0, 0.5));

    let mut gap = shared(5, one);
    gap.at_ms(5000).gap("eu-upstream");
    let Verdict::Inconclusive(reason) = judge("QUO-02", &[&gap.build()]) else { panic!() };
    assert_eq!(reason.code, "gap", "arrivals that the record lost look like double counting");
}

#[test]
fn a_share_for_each_replica_is_no_double_count_where_declared() {
    let mut history = HistoryBuilder::new(SHARED);
    for at in [0, 2000, 4000] {
        round(&mut history, at, "a", &[("eu-1", 12), ("eu-2", 2)], 5, of_replica);
    }
    let history = history.build();
    assert_eq!(judge("QUO-02", &[&history]).observed(), Observed::Violated);
    let mut declared = parameters(claim("QUO-02"));
    declared.words.insert("split_rule".to_owned(), "per-replica".to_owned());
    assert_eq!(judge_with("QUO-02", &deployment(), &declared, &[&history]).observed(), Observed::Holds);
}

#[test]
fn requests_that_may_have_been_counted_and_lost_are_not_double_counting() {
    let mut history = HistoryBuilder::new(SHARED);
    history.at_ms(0).mark(QUOTA_WINDOW_MS, "a", 1000).mark(mark::WINDOW, "a", 1);
    for n in 0..20 {
        history.at_ms(n * 5);
        match n {
            0..5 => drop(history.ok(call("quota", "eu-1", "metered", "a"))),
            5..10 => drop(history.unknown(call("quota", "eu-2", "metered", "a"), false)),
            _ => drop(history.rejected(call("quota", "eu-1", "metered", "a"), 429)),
        }
    }
    let Verdict::Inconclusive(reason) = judge("QUO-02", &[&history.build()]) else { panic!() };
    assert_eq!(reason.code, "too-few-samples");
}

#[test]
fn sites_that_share_nothing_show_the_size_of_the_limit() {
    let history = shared(10, of_site).build();
    let Verdict::Violated(found) = judge("QUO-03", &[&history]) else { panic!() };
    assert_eq!((found.numbers[0].value, found.numbers[0].unit.as_str(), found.numbers[0].limit), (2.0, "x", Some(1.5)));
    assert!(!found.explanation.contains("less than the 1.5 Q"));

    let Verdict::Holds(evidence) = judge("QUO-03", &[&shared(10, one).build()]) else { panic!() };
    assert_eq!((evidence.samples, evidence.numbers[0].value), (1, 10.0));

    let Verdict::Violated(found) = judge("QUO-03", &[&shared(14, one).build()]) else { panic!() };
    assert_eq!((found.numbers[0].value, found.numbers[0].limit), (1.4, Some(1.5)));
    assert!(found.explanation.contains("less than the 1.5 Q"));
}

#[test]
fn one_site_is_no_evidence_for_quo_03() {
    let mut history = HistoryBuilder::new(SHARED);
    round(&mut history, 0, "a", EVEN, 10, one);
    let Verdict::Inconclusive(reason) = judge("QUO-03", &[&history.build()]) else { panic!() };
    assert_eq!(reason.code, "too-few-samples");
}

#[test]
fn units_are_sites_where_a_store_counts_and_replicas_else() {
    let by_site = shared(10, of_site).build();
    let Verdict::Holds(evidence) = judge("QUO-04", &[&by_site]) else { panic!() };
    assert_eq!((evidence.numbers[0].value, evidence.numbers[0].limit), (2.0, Some(2.0)));

    let by_replica = shared(10, of_replica).build();
    assert_eq!(judge("QUO-04", &[&by_replica]).observed(), Observed::Violated);
    let mut memory = deployment();
    memory.store = None;
    let scope = parameters(claim("QUO-04"));
    assert_eq!(judge_with("QUO-04", &memory, &scope, &[&by_replica]).observed(), Observed::Holds);
    let mut word = scope.clone();
    word.words.insert("unit".to_owned(), "replica".to_owned());
    assert_eq!(judge_with("QUO-04", &deployment(), &word, &[&by_replica]).observed(), Observed::Holds);

    let Verdict::Violated(found) = judge_with("QUO-04", &memory, &scope, &[&shared(14, of_replica).build()]) else {
        panic!()
    };
    assert!(found.explanation.contains("replica `"), "{}", found.explanation);
}

/// 4 spent, both replicas replaced, then `after` requests of which `admit` are admitted.
fn restarted(after: u64, admit: u64, replaced: &[&str]) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(RESTART);
    history.at_ms(0).mark(QUOTA_WINDOW_MS, "a", 10_000).mark(mark::WINDOW, "a", 1);
    for n in 0..4 {
        history.at_ms(n * 10 + 1).ok(call("quota", if n % 2 == 0 { "eu-1" } else { "eu-2" }, "metered", "a"));
    }
    for (n, replica) in replaced.iter().enumerate() {
        history.at_ms(1000 + u64::try_from(n).unwrap() * 500).replica(replica, ReplicaState::Gone);
        history.at_ms(1400 + u64::try_from(n).unwrap() * 500).replica(replica, ReplicaState::Ready);
    }
    for n in 0..after {
        history.at_ms(3000 + n * 10);
        let request = call("quota", if n % 2 == 0 { "eu-1" } else { "eu-2" }, "metered", "a");
        if n < admit {
            history.ok(request)
        } else {
            history.rejected(request, 429)
        };
    }
    history
}

#[test]
fn counters_survive_the_replacement_of_all_replicas() {
    let Verdict::Holds(evidence) = judge("QUO-05", &[&restarted(20, 6, &["eu-1", "eu-2"]).build()]) else { panic!() };
    let values: Vec<f64> = evidence.numbers.iter().map(|number| number.value).collect();
    assert_eq!(values, [10.0, 0.0, 4.0, 2.0]);
}

#[test]
fn a_refilled_counter_breaks_quo_05_with_the_amount() {
    let Verdict::Violated(found) = judge("QUO-05", &[&restarted(20, 10, &["eu-1", "eu-2"]).build()]) else { panic!() };
    assert_eq!((found.numbers[0].value, found.numbers[1].value), (14.0, 4.0));
    assert!(found.explanation.contains("4 were refilled"), "{}", found.explanation);
}

#[test]
fn a_replacement_that_was_not_whole_or_not_tried_is_no_evidence() {
    for history in
        [restarted(20, 6, &["eu-1"]).build(), restarted(20, 6, &[]).build(), restarted(4, 4, &["eu-1", "eu-2"]).build()]
    {
        let Verdict::Inconclusive(reason) = judge("QUO-05", &[&history]) else { panic!() };
        assert_eq!(reason.code, "too-few-samples");
    }
}

/// How the gateway of a hand-written store loss behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Without {
    Closed,
    Open,
    Local,
    Error,
    Enforced,
}

/// What a hand-written store loss is made of.
#[derive(Clone, Copy, Debug)]
struct Loss {
    without: Without,
    takes_ms: u64,
    heals: bool,
    steady: bool,
    proven: bool,
    /// Clients that ask while the store is lost, where the gateway counts locally.
    clients: u32,
}

const CLOSED: Loss =
    Loss { without: Without::Closed, takes_ms: 1, heals: true, steady: true, proven: true, clients: 1 };

/// Both histories of QUO-07 with every variant, each behaving as `loss`.
fn losses(loss: Loss) -> [History; 2] {
    losses_again(loss, None)
}

/// Both histories of QUO-07, each variant told once more as `again` is after the harness was late in it.
fn losses_again(loss: Loss, again: Option<Loss>) -> [History; 2] {
    [
        (STORE_LOSS, ["refuse", "blackhole", "slow", "wrong-data"]),
        (STORE_MISBEHAVES, ["read-only", "freeze", "throttle", "lost-acknowledgement"]),
    ]
    .map(|(experiment, variants)| {
        let mut history = HistoryBuilder::new(experiment);
        let mut turn = 0;
        for variant in variants {
            for (loss, late) in std::iter::once((loss, again.is_some())).chain(again.map(|again| (again, false))) {
                one_loss(&mut history, turn, variant, loss);
                if late {
                    history.at_ms(u64::from(turn) * 40_000 + 24_500).late(900_000).mark(
                        mark::PROLONGED,
                        variant,
                        900_000,
                    );
                }
                turn += 1;
            }
        }
        history.build()
    })
}

/// One telling of a variant, the `turn`th of its history.
fn one_loss(history: &mut HistoryBuilder, turn: u32, variant: &str, loss: Loss) {
    let base = u64::from(turn) * 40_000;
    let key = |phase: &str| format!("{phase}-{turn}");
    let fault = turn + 1;
    history.at_ms(base).phase("steady", variant);
    round(history, base, &key("steady"), EVEN, if loss.steady { 10 } else { 100 }, one);
    history.at_ms(base + 2000).phase("inject", variant).fault(fault, FaultStage::Injected, "x", "store");
    let stage = if loss.proven { FaultStage::Witnessed } else { FaultStage::NotWitnessed };
    history.at_ms(base + 2001).fault(fault, stage, "x", "store");
    history.at_ms(base + 2002).mark(STORE_CORRUPTED, "eu-store", i64::from(loss.proven)).phase("hold", variant);
    let begin = base + 4_100;
    history.takes_ns = loss.takes_ms * 1_000_000;
    match loss.without {
        Without::Local => {
            for client in 0..loss.clients {
                round(history, begin, &format!("{}{}", key("hold"), "~".repeat(client as usize)), EVEN, 10, of_replica);
            }
        }
        Without::Enforced => round(history, begin, &key("hold"), EVEN, 10, one),
        Without::Open => round(history, begin, &key("hold"), EVEN, 100, one),
        Without::Closed | Without::Error => {
            let status = if loss.without == Without::Closed { 503 } else { 500 };
            history.at_ms(begin).mark(QUOTA_WINDOW_MS, &key("hold"), 1000).mark(mark::WINDOW, &key("hold"), 1);
            for n in 0..30_u64 {
                let target = if n % 2 == 0 { "eu-1" } else { "eu-2" };
                history.at_ms(begin + n * 5).gateway_error(call("quota", target, "metered", &key("hold")), status);
            }
        }
    }
    history.takes_ns = 1_000_000;
    history.at_ms(base + 12_000).phase("heal", variant).fault(fault, FaultStage::Healed, "x", "store");
    history.at_ms(base + 12_001).fault(fault, FaultStage::WitnessedGone, "x", "store");
    history.at_ms(base + 12_002).phase("settle", variant);
    let admit = if loss.heals { 10 } else { 100 };
    round(history, base + 12_010, &key("early"), EVEN, 10, one);
    round(history, base + 23_000, &key("late"), EVEN, admit, one);
}

#[test]
fn revocations_that_are_wrong_alone_touch_no_quota() {
    let judge = |alone: Loss| {
        let [_, other] = losses(CLOSED);
        let mut history = HistoryBuilder::new(STORE_LOSS);
        for (turn, variant) in (0..).zip(["refuse", "blackhole", "slow", "wrong-data"]) {
            one_loss(&mut history, turn, variant, CLOSED);
        }
        one_loss(&mut history, 4, REVOCATIONS_ALONE, alone);
        judge_with("QUO-07", &deployment(), &mode("closed"), &[&history.build(), &other])
    };
    let fine = Loss { without: Without::Enforced, ..CLOSED };
    let held = judge(fine);
    assert_eq!(held.observed(), Observed::Holds, "{held:?}");
    for without in [Without::Local, Without::Open, Without::Closed, Without::Error] {
        let verdict = judge(Loss { without, ..fine });
        assert!(explanation(&verdict).contains("while revocations alone were wrong"), "{without:?}: {verdict:?}");
    }
    assert!(explanation(&judge(Loss { heals: false, ..fine })).contains("wrong-revocations: settle"));
    assert_eq!(judge(Loss { proven: false, ..fine }).observed(), Observed::Inconclusive);
    assert_eq!(judge(Loss { steady: false, ..fine }).observed(), Observed::Inconclusive);
}

#[test]
fn a_loss_that_is_told_again_is_judged_by_its_last_time() {
    let judge = |first: Loss, again: Loss| {
        let [one, other] = losses_again(first, Some(again));
        judge_with("QUO-07", &deployment(), &mode("closed"), &[&one, &other])
    };
    let broken = Loss { without: Without::Open, ..CLOSED };
    for first in [broken, Loss { heals: false, ..CLOSED }, Loss { steady: false, ..CLOSED }, CLOSED] {
        let verdict = judge(first, CLOSED);
        assert_eq!(verdict.observed(), Observed::Holds, "{first:?}: {verdict:?}");
    }
    assert_eq!(judge(CLOSED, broken).observed(), Observed::Violated);
    assert_eq!(judge(CLOSED, Loss { steady: false, ..CLOSED }).observed(), Observed::Inconclusive);
}

#[test]
fn each_client_has_a_quota_of_its_own_while_the_store_is_lost() {
    for clients in [1, 2, 5] {
        let verdict = judge_losses("local", Loss { without: Without::Local, clients, ..CLOSED });
        assert_eq!(verdict.observed(), Observed::Holds, "{clients}: {verdict:?}");
        let verdict = judge_losses("closed", Loss { without: Without::Local, clients, ..CLOSED });
        assert_eq!(verdict.observed(), Observed::Violated, "{clients}: {verdict:?}");
    }
}

fn mode(word: &str) -> Parameters {
    let mut parameters = parameters(claim("QUO-07"));
    parameters.words.insert("mode".to_owned(), word.to_owned());
    parameters
}

fn judge_losses(word: &str, loss: Loss) -> Verdict {
    let [one, other] = losses(loss);
    judge_with("QUO-07", &deployment(), &mode(word), &[&one, &other])
}

#[test]
fn each_declared_mode_holds_when_it_is_seen() {
    for (word, without) in
        [("closed", Without::Closed), ("open", Without::Open), ("local", Without::Local), ("error", Without::Error)]
    {
        let verdict = judge_losses(word, Loss { without, ..CLOSED });
        let Verdict::Holds(evidence) = verdict else { panic!("{word}: {verdict:?}") };
        assert_eq!(evidence.numbers.len(), 24, "{word}: three numbers for each of eight variants");
        let admitted = match without {
            Without::Open => 100.0,
            Without::Local | Without::Enforced => 20.0 / 30.0 * 100.0,
            Without::Closed | Without::Error => 0.0,
        };
        assert!((evidence.numbers[0].value - admitted).abs() < 1e-9, "{word}: {:?}", evidence.numbers[0]);
    }
}

#[test]
fn another_mode_than_the_declared_one_breaks_quo_07() {
    for (word, without) in [
        ("closed", Without::Open),
        ("closed", Without::Local),
        ("closed", Without::Error),
        ("open", Without::Closed),
        ("open", Without::Local),
        ("local", Without::Open),
        ("local", Without::Closed),
        ("error", Without::Closed),
        ("error", Without::Open),
    ] {
        let Verdict::Violated(found) = judge_losses(word, Loss { without, ..CLOSED }) else {
            panic!("{word} {without:?}")
        };
        assert!(found.explanation.contains("refuse: declared"), "{}", found.explanation);
        assert!(!found.events.is_empty());
    }
}

#[test]
fn enforcement_as_before_is_right_only_where_the_store_may_still_count() {
    let [mut whole, partly] = losses(Loss { without: Without::Enforced, ..CLOSED });
    let verdict = judge_with("QUO-07", &deployment(), &mode("closed"), &[&whole, &partly]);
    let Verdict::Violated(found) = verdict else { panic!() };
    assert!(
        found.explanation.contains("refuse: declared `closed`") && !found.explanation.contains("throttle: declared")
    );
    [whole, _] = losses(CLOSED);
    let verdict = judge_with("QUO-07", &deployment(), &mode("closed"), &[&whole, &partly]);
    let Verdict::Violated(found) = verdict else { panic!() };
    assert!(found.explanation.contains("read-only") && !found.explanation.contains("lost-acknowledgement: declared"));
}

#[test]
fn slow_and_hanging_requests_break_quo_07() {
    let Verdict::Violated(found) = judge_losses("closed", Loss { takes_ms: 110, ..CLOSED }) else { panic!() };
    assert!(found.explanation.contains("p95 went from 1.0 ms to 110.0 ms, at most 100 ms"), "{}", found.explanation);
    let Verdict::Violated(found) = judge_losses("open", Loss { takes_ms: 6_000, without: Without::Open, ..CLOSED })
    else {
        panic!()
    };
    assert!(found.explanation.contains("30 requests took 5000 ms"), "{}", found.explanation);
    assert_eq!(judge_losses("closed", Loss { takes_ms: 90, ..CLOSED }).observed(), Observed::Holds);
}

#[test]
fn a_quota_that_is_not_enforced_again_breaks_the_settling() {
    let Verdict::Violated(found) = judge_losses("closed", Loss { heals: false, ..CLOSED }) else { panic!() };
    assert!(
        found.explanation.contains("refuse: settle: 10000 ms after the heal the quota was not enforced"),
        "{}",
        found.explanation
    );
}

#[test]
fn a_loss_without_proof_steadiness_or_declaration_is_not_judged() {
    for (loss, code) in
        [(Loss { proven: false, ..CLOSED }, "fault-not-proven"), (Loss { steady: false, ..CLOSED }, "no-steady-state")]
    {
        let Verdict::Inconclusive(reason) = judge_losses("closed", loss) else { panic!() };
        assert_eq!(reason.code, code);
    }
    let [one, other] = losses(CLOSED);
    assert_eq!(judge("QUO-07", &[&one, &other]).observed(), Observed::NotApplicable);
    let verdict = judge_with("QUO-07", &deployment(), &mode("closed"), &[&one]);
    let Verdict::Inconclusive(reason) = verdict else { panic!() };
    assert_eq!(reason.code, "not-run");
}

#[test]
fn the_empty_history_and_none_at_all_are_inconclusive() {
    for claim in CLAIMS {
        let mut words = parameters(claim);
        words.words.insert("mode".to_owned(), "closed".to_owned());
        let empty = [SHARED, RESTART, STORE_LOSS, STORE_MISBEHAVES].map(|name| HistoryBuilder::new(name).build());
        let all: Vec<&History> = empty.iter().collect();
        assert_eq!(
            judge_with(claim.id, &deployment(), &words, &all).observed(),
            Observed::Inconclusive,
            "{}",
            claim.id
        );
        assert_eq!(judge_with(claim.id, &deployment(), &words, &[]).observed(), Observed::Inconclusive, "{}", claim.id);
    }
}

/// The same history with the outcome of every operation for which `chosen` says so replaced by unknown.
fn doubted(history: &History, chosen: impl Fn(u32) -> bool) -> History {
    let mut events = history.events().to_vec();
    for event in &mut events {
        if let EventKind::Completed { op, effect, answer } = &mut event.kind
            && chosen(*op)
        {
            *effect = Effect::Unknown(Indefinite::Timeout);
            *answer = Answer::<Name>::default();
        }
    }
    History::new(history.header().clone(), history.names().clone(), events, history.is_complete())
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_loss() -> impl Strategy<Value = Loss> {
        let without = prop_oneof![
            Just(Without::Closed),
            Just(Without::Open),
            Just(Without::Local),
            Just(Without::Error),
            Just(Without::Enforced)
        ];
        (without, 1..200_u64, any::<bool>(), any::<bool>()).prop_map(|(without, takes_ms, heals, steady)| Loss {
            without,
            takes_ms,
            heals,
            steady,
            proven: true,
            clients: 1,
        })
    }

    /// One step of an arbitrary history.
    fn step() -> impl Strategy<Value = (u8, u8, u8, u16)> {
        (0..12_u8, 0..4_u8, 0..3_u8, 0..400_u16)
    }

    fn arbitrary(experiment: &str, steps: &[(u8, u8, u8, u16)]) -> History {
        let mut history = HistoryBuilder::new(experiment);
        let mut now = 0_u64;
        for (kind, target, key, wait) in steps {
            now += u64::from(*wait);
            history.at_ms(now);
            let target = ["eu-1", "eu-2", "us-1", "us-2"][usize::from(*target)];
            let key = ["a", "b", "c"][usize::from(*key)];
            let request = call("quota", target, "metered", key);
            match kind {
                0..3 => drop(history.ok(request)),
                3 | 4 => drop(history.rejected(request, 429)),
                5 => drop(history.gateway_error(request, 503)),
                6 => drop(history.unknown(request, now.is_multiple_of(2))),
                7 => drop(history.operation(request, None, now.is_multiple_of(2))),
                8 => drop(history.mark(QUOTA_WINDOW_MS, key, 1000).mark(mark::WINDOW, key, 1)),
                9 => drop(history.phase(["steady", "hold", "settle"][usize::try_from(now % 3).unwrap()], "refuse")),
                10 => drop(history.replica(target, ReplicaState::Gone)),
                _ => drop(history.refused(request)),
            }
        }
        history.build()
    }

    fn all(histories: &[&History]) -> Vec<(&'static str, Verdict)> {
        let judged = |claim: &'static Claim| {
            ["closed", "open", "local", "error"].map(|word| {
                let mut parameters = parameters(claim);
                parameters.words.insert("mode".to_owned(), word.to_owned());
                parameters.numbers.insert("t".to_owned(), 0.0);
                parameters.numbers.insert("t_heal".to_owned(), 0.1);
                (claim.id, judge_with(claim.id, &deployment(), &parameters, histories))
            })
        };
        CLAIMS.iter().flat_map(judged).collect()
    }

    fn none_new(before: &[(&'static str, Verdict)], after: &[(&'static str, Verdict)]) {
        for ((id, before), (_, after)) in before.iter().zip(after) {
            assert!(
                before.observed() == Observed::Violated || after.observed() != Observed::Violated,
                "{id}: {before:?} became {after:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn doubt_about_outcomes_never_creates_a_violation(loss in any_loss(), bits in any::<u64>()) {
            let histories = losses(loss);
            let after = histories.each_ref().map(|history| doubted(history, |op| bits >> (op % 64) & 1 == 1));
            let (before, after): (Vec<_>, Vec<_>) = (histories.iter().collect(), after.iter().collect());
            none_new(&all(&before), &all(&after));
        }

        #[test]
        fn arbitrary_histories_never_panic_and_doubt_never_creates_a_violation(
            steps in prop::collection::vec(step(), 0..120), bits in any::<u64>(),
        ) {
            let names = [SHARED, RESTART, STORE_LOSS, STORE_MISBEHAVES];
            let before = names.map(|name| arbitrary(name, &steps));
            let after = before.each_ref().map(|history| doubted(history, |op| bits >> (op % 64) & 1 == 1));
            none_new(&all(&before.iter().collect::<Vec<_>>()), &all(&after.iter().collect::<Vec<_>>()));
        }
    }
}

#[test]
fn every_parameter_has_a_legal_default_and_help() {
    for claim in CLAIMS {
        for parameter in claim.parameters {
            assert!(!parameter.help.is_empty());
            match parameter.default {
                Some(Value::Seconds(x) | Value::Millis(x) | Value::Number(x)) => {
                    assert!((parameter.min..=parameter.max).contains(&x), "{}.{}", claim.id, parameter.name);
                }
                Some(Value::Word(word)) => assert!(parameter.words.contains(&word), "{}.{}", claim.id, parameter.name),
                None => assert_eq!((claim.id, parameter.name), ("QUO-07", "mode")),
            }
        }
    }
    assert!(ms(1_000_000) > 0.9);
}
