//! A deployment, parameters and arbitrary histories for tests of checks.

use crate::claims::configuration::{START_KIND, START_VARIANT};
use crate::claims::latency::{LATENCY_US, UPSTREAM_CUT};
use gatecrash_model::claim::{Claim, Parameters, Scope, Value};
use gatecrash_model::deployment::{
    Analytics, ControlPlane, Gateway, Platform, Policy, Quota, Route, RouteBackend, Site, Successor, WindowAlignment,
};
use gatecrash_model::history::build::HistoryBuilder;
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{Event, EventKind, FaultStage, History, ReplicaState};
use gatecrash_model::operation::{Answer, Credential, Definite, Effect, Indefinite, Operation, Verb};
use gatecrash_model::verdict::{Observed, Verdict};
use gatecrash_model::{Deployment, Names};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Sites `eu` and `us` with two replicas each and the same signing material; routes `plain`, `metered`, `partner`, `open`.
pub(crate) fn deployment() -> Deployment {
    let site = |name: &str| Site {
        name: name.to_owned(),
        zones: vec!["a".to_owned(), "b".to_owned()],
        replicas: 2,
        signing: "shared".to_owned(),
    };
    let route = |name: &str, policies: &[Policy]| Route {
        name: name.to_owned(),
        path: format!("/{name}"),
        policies: policies.to_vec(),
        backend: RouteBackend::Local,
    };
    Deployment {
        name: "sample".to_owned(),
        profile: "sample".to_owned(),
        gateway: Gateway { adapter: "reference".to_owned(), settings: BTreeMap::new(), defects: Vec::new() },
        sites: vec![site("eu"), site("us")],
        control_plane: Some(ControlPlane {
            poll_interval: Duration::from_secs(5),
            ingress_timeout: Duration::from_secs(30),
        }),
        store: None,
        peering: None,
        site_store: false,
        platform: Some(Platform {
            probe_period: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(1),
            probe_threshold: 3,
            successor: Successor::New,
            autoscale: None,
        }),
        analytics: Some(Analytics { buffer_events: 100, batch_events: 20, flush_interval: Duration::from_secs(5) }),
        routes: vec![
            route("plain", &[Policy::Jwt]),
            route("metered", &[Policy::Jwt, Policy::Quota]),
            route("partner", &[Policy::ClientId]),
            route("open", &[]),
        ],
        quota: Quota { limit: 100, window: Duration::from_secs(10), alignment: WindowAlignment::FirstRequest },
    }
}

/// What the claim called `id` says of `histories` of the sample deployment, with its default parameters, unscaled.
pub(crate) fn judge(claims: &[Claim], id: &str, histories: &[&History]) -> Verdict {
    judge_on(&deployment(), claims, id, histories)
}

/// The same of histories of another deployment. Whatever is violated or holds says first by which number.
pub(crate) fn judge_on(deployment: &Deployment, claims: &[Claim], id: &str, histories: &[&History]) -> Verdict {
    let claim = claims.iter().find(|claim| claim.id == id).unwrap();
    let mut parameters = Parameters::default();
    for parameter in claim.parameters {
        match parameter.default.unwrap() {
            Value::Seconds(number) | Value::Millis(number) | Value::Number(number) => {
                parameters.numbers.insert(parameter.name.to_owned(), number);
            }
            Value::Word(word) => {
                parameters.words.insert(parameter.name.to_owned(), word.to_owned());
            }
        }
    }
    let verdict = (claim.check)(&Scope { parameters: &parameters, deployment, scale: 1.0, histories });
    decided(id, &verdict);
    verdict
}

/// The number that comes first has the limit that decided: broken if the claim is, and whole if it holds. Limits are
/// lower ones where less than them is broken; so equality is all that can be said without knowing the number.
fn decided(id: &str, verdict: &Verdict) {
    if let Verdict::Inconclusive(_) | Verdict::NotApplicable(_) = verdict {
        return;
    }
    let first = verdict.numbers().first();
    let limit = first.and_then(|first| first.limit);
    assert!(limit.is_some(), "{id}: the first number has no limit: {verdict:?}");
    if let (Verdict::Violated(_), Some(first)) = (verdict, first) {
        assert_ne!(Some(first.value), limit, "{id}: the first number broke nothing: {verdict:?}");
    }
}

/// Code and text of an inconclusive verdict.
pub(crate) fn reason(verdict: &Verdict) -> (&str, &str) {
    let Verdict::Inconclusive(reason) = verdict else { panic!("not inconclusive: {verdict:?}") };
    (&reason.code, &reason.text)
}

/// The explanation of a violation.
pub(crate) fn explanation(verdict: &Verdict) -> &str {
    let Verdict::Violated(found) = verdict else { panic!("not violated: {verdict:?}") };
    assert!(!found.events.is_empty(), "a counterexample cites events: {found:?}");
    &found.explanation
}

/// The same history, the outcome of operation `op` unknown and without an answer.
pub(crate) fn forget(history: &History, op: u32) -> History {
    let events: Vec<Event> = history
        .events()
        .iter()
        .map(|event| {
            let EventKind::Completed { op: of, .. } = event.kind else { return *event };
            if of != op {
                return *event;
            }
            let effect = Effect::Unknown(Indefinite::Timeout);
            Event { at: event.at, kind: EventKind::Completed { op, effect, answer: Answer::default() } }
        })
        .collect();
    History::new(history.header().clone(), history.names().clone(), events, history.is_complete())
}

/// The same history, the effect of each operation of which `chosen` says so unknown, with the answer that its client saw.
pub(crate) fn doubted(history: &History, chosen: impl Fn(u32) -> bool) -> History {
    let events: Vec<Event> = history
        .events()
        .iter()
        .map(|event| {
            let EventKind::Completed { op, answer, .. } = event.kind else { return *event };
            if !chosen(op) {
                return *event;
            }
            let effect = Effect::Unknown(Indefinite::Broken);
            Event { at: event.at, kind: EventKind::Completed { op, effect, answer } }
        })
        .collect();
    History::new(history.header().clone(), history.names().clone(), events, history.is_complete())
}

/// Doubting one effect of `history` (a hundred are tried) or all of them makes nothing violated that was not.
pub(crate) fn doubted_effects_never_accuse(claims: &[Claim], id: &str, history: &History) {
    if judge(claims, id, &[history]).observed() == Observed::Violated {
        return;
    }
    let all = judge(claims, id, &[&doubted(history, |_| true)]);
    assert_ne!(all.observed(), Observed::Violated, "{id}: without any effect: {all:?}");
    let every = history.operations().len() / 100 + 1;
    for view in history.operations().iter().step_by(every) {
        let verdict = judge(claims, id, &[&doubted(history, |op| op == view.op)]);
        assert_ne!(verdict.observed(), Observed::Violated, "{id}: without the effect of {}: {verdict:?}", view.op);
    }
}

/// Forgetting any outcome of `history` makes nothing violated that was not.
pub(crate) fn doubt_never_accuses(claims: &[Claim], id: &str, history: &History) {
    if judge(claims, id, &[history]).observed() == Observed::Violated {
        return;
    }
    for view in history.operations() {
        let verdict = judge(claims, id, &[&forget(history, view.op)]);
        assert_ne!(verdict.observed(), Observed::Violated, "{id}: without the outcome of {}: {verdict:?}", view.op);
    }
}

/// Histories of `experiment` in which anything may have happened, in words that the checks know.
pub(crate) fn anything(experiment: &'static str) -> impl Strategy<Value = History> {
    prop::collection::vec((0_u64..400, 0_u8..16, 0_u8..8, 0_u8..16, 0_u8..12), 0..60).prop_map(move |steps| {
        let mut at = 0;
        let mut history = HistoryBuilder::new(experiment);
        for (after, what, whom, which, how) in steps {
            at += after * 37;
            history.at_ms(at);
            step(&mut history, what, whom, which, how);
        }
        history.build()
    })
}

fn pick<T: Copy>(from: &[T], which: u8) -> T {
    from[usize::from(which) % from.len()]
}

fn step(history: &mut HistoryBuilder, what: u8, whom: u8, which: u8, how: u8) {
    let replica = pick(&["eu-1", "eu-2", "us-1", "us-2"], whom);
    let token = pick(&["t1", "t2", "t3"], which);
    match what {
        0 => {
            let name = pick(&["steady", "hold", "heal", "settle"], whom);
            let variants = [
                "revoke",
                "revoke-in-restart",
                "restart-one",
                "restart-all",
                "",
                "delay",
                "beyond",
                "dropped",
                "refuse",
                "revoke-at-provider",
                "provider-away",
            ];
            history.phase(name, pick(&variants, which));
        }
        1 => {
            let states = [ReplicaState::Gone, ReplicaState::Starting, ReplicaState::Ready, ReplicaState::NotReady];
            history.replica(replica, pick(&states, which));
        }
        2 => {
            let marks = [
                "rekeyed",
                "contract-added",
                "contract-removed",
                "token-issued",
                "token-signed",
                "not-ready-declared",
                START_VARIANT,
                START_KIND,
                LATENCY_US,
                UPSTREAM_CUT,
                mark::PUBLISHED,
                mark::WINDOW,
                mark::TOKEN_NBF,
                mark::TOKEN_EXP,
                mark::CLOCK_OFFSET,
                mark::KEY_PUBLISHED,
                mark::KEY_REMOVED,
                mark::TOKEN_KEY,
                mark::JWKS_TTL,
            ];
            let subject = pick(&["eu", "us", "late-1", "t1", "t2", "eu-1", "client-1", ""], how);
            history.mark(pick(&marks, which), subject, i64::from(whom));
        }
        3 => {
            let stages = [FaultStage::Injected, FaultStage::Witnessed, FaultStage::Healed, FaultStage::WitnessedGone];
            let target = pick(
                &["eu-management->control-plane", "eu-1->identity, eu-2->identity, us-1->identity, us-2->identity"],
                whom % 2,
            );
            history.fault(u32::from(whom % 2), pick(&stages, which), "refuse", target);
        }
        4 => {
            let (component, what) = pick(&[("control-plane", "contracts"), ("identity", "introspect")], whom / 4);
            history.contact(component, replica, what, pick(&[200, 304, 503, 0], which), 1);
        }
        _ => {
            let verbs = [Verb::Call, Verb::Call, Verb::Call, Verb::IssueToken, Verb::RevokeToken];
            let credentials =
                [Credential::Valid, Credential::UnknownClient, Credential::RemovedClient, Credential::Missing];
            let operation = Operation {
                stream: pick(
                    &[
                        "token",
                        "contract",
                        "canary",
                        "contract-change",
                        "must-refuse",
                        "traffic",
                        "quota",
                        "management",
                    ],
                    what.wrapping_add(how),
                )
                .to_owned(),
                verb: pick(&verbs, which),
                target: replica.to_owned(),
                site: replica[..2].to_owned(),
                route: pick(&["plain", "partner", "open"], whom / 4 + which).to_owned(),
                key: pick(&["client-1", "late-1"], how).to_owned(),
                token: token.to_owned(),
                credential: pick(&credentials, how / 2),
            };
            let version = u32::from(which % 4);
            let answer = |status| Answer { status, version, ..Answer::default() };
            let rejected = Effect::Failed(Definite::Rejected);
            let (outcome, admitted) = match how {
                0..=4 => (Some((Effect::Ok, answer(200))), operation.verb == Verb::Call),
                5..=7 => (Some((rejected, answer(401))), false),
                8 => (Some((Effect::Unknown(Indefinite::GatewayError), answer(503))), false),
                9 => (Some((Effect::Unknown(Indefinite::Timeout), answer(0))), true),
                10 => (Some((Effect::Failed(Definite::Refused), answer(0))), false),
                _ => (None, false),
            };
            history.operation(operation, outcome, admitted);
        }
    }
}

/// A history without events of `experiment`, cut: nothing was seen.
pub(crate) fn nothing(experiment: &str) -> History {
    let header = HistoryBuilder::new(experiment).build().header().clone();
    History::new(header, Names::default(), Vec::new(), false)
}
