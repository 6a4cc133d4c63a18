//! DRN-03: from the moment at which a replica says that it is ready, does it give right answers?

use super::READINESS;
use super::failures::Failures;
use crate::claims::common::{Seen, count, doubt, len, ms, nanos, stream, unless};
use crate::claims::configuration::{telling, words, wrong};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Policy;
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Least number of answers of a replica that has just become ready.
pub(super) const MINIMUM: u64 = 50;
/// How long after contracts were sent to a replica they must be in force there.
const APPLIED_WITHIN: Duration = Duration::from_millis(250);

/// One start, and what of its life is judged.
struct Start {
    replica: Name,
    /// When it began, ns.
    at: u64,
    /// When it was first seen ready, ns.
    ready: u64,
    /// To when answers are judged, ns.
    to: u64,
    /// When its contracts were sent to it, and time enough to apply them has passed, ns.
    contracts: u64,
}

/// The starts inside the story, of which each came to be ready: what was started to bring the deployment up is none.
fn starts(history: &History, after: u64) -> Vec<Start> {
    let lives = Lives::new(history);
    let mut begun: Option<u64> = None;
    let mut starts: Vec<Start> = Vec::new();
    let contracts = history.name("contracts");
    let (bring_up, declared) = (history.name("bring-up"), history.name(mark::NOT_READY_DECLARED));
    for (_, event) in history.others() {
        match event.kind {
            EventKind::Phase { phase, .. } if Some(phase) != bring_up => begun = begun.or(Some(event.at)),
            // The story is about to end it: what it answers from here on says nothing about its start.
            EventKind::Mark { name, subject, .. } if Some(name) == declared => {
                for start in starts.iter_mut().filter(|start| start.replica == subject && start.to > event.at) {
                    start.to = event.at;
                }
            }
            EventKind::Replica { replica, state: ReplicaState::Starting, .. } if begun.is_some() => {
                let life = lives.of(replica).iter().filter(|turn| turn.at > event.at);
                let mut life = life.take_while(|turn| turn.state != ReplicaState::Starting);
                let Some(ready) = life.find(|turn| turn.state == ReplicaState::Ready).map(|turn| turn.at) else {
                    continue;
                };
                let over = life.map(|turn| turn.at).next().unwrap_or(u64::MAX);
                let to = over.min(ready.saturating_add(after));
                starts.push(Start { replica, at: event.at, ready, to, contracts: u64::MAX });
            }
            EventKind::Contact { peer, what, status: 200 | 304, .. } if Some(what) == contracts => {
                if let Some(start) = starts.iter_mut().rev().find(|start| start.replica == peer)
                    && start.contracts == u64::MAX
                {
                    start.contracts = event.at.saturating_add(nanos(APPLIED_WITHIN));
                }
            }
            EventKind::Invoked { .. }
            | EventKind::Completed { .. }
            | EventKind::Arrived { .. }
            | EventKind::Recorded { .. }
            | EventKind::Fault { .. }
            | EventKind::Phase { .. }
            | EventKind::Mark { .. }
            | EventKind::Replica { .. }
            | EventKind::Contact { .. }
            | EventKind::Gap { .. }
            | EventKind::Late { .. }
            | EventKind::Note { .. }
            | EventKind::End => {}
        }
    }
    starts
}

const WRONG: &str = "wrong answers after ready";
const BALANCED: &str = "refused or failed by it through the ingress";
const GAP: &str = "last wrong answer after ready (ready before serving)";

pub(super) fn drn_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(READINESS) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let starts = starts(history, nanos(scope.parameters.duration("after")));
    let contract_route = |name: Name| {
        let routes = &scope.deployment.routes;
        routes.iter().any(|route| route.name == history.text(name) && route.policies.contains(&Policy::ClientId))
    };
    let (mut direct, mut refused, mut gap) = (Failures::default(), Vec::new(), 0_u64);
    let mut admitted: Option<String> = None;
    for seen in stream(history, streams::CANARY) {
        let judged = |start: &&Start| {
            start.replica == seen.asked.target
                && (start.ready..start.to).contains(&seen.sent)
                && seen.told_by() <= start.to
        };
        let Some(start) = starts.iter().rev().find(judged) else { continue };
        if seen.asked.credential.must_refuse() {
            if let Some(what) = wrong(&seen) {
                admitted.get_or_insert_with(|| format!("{} {what}", words(history, &seen)));
                refused.push(history.reference(telling(&seen)));
            }
            continue;
        }
        if contract_route(seen.asked.route) && seen.sent < start.contracts && seen.status() == 503 {
            continue;
        }
        let before = direct.failed;
        direct.add(history, &seen);
        if direct.failed > before {
            gap = gap.max(seen.sent.saturating_sub(start.ready));
        }
    }
    let mut balanced = Failures::default();
    for seen in stream(history, streams::TRAFFIC) {
        if through(&seen, &starts) {
            balanced.add(history, &seen);
        }
    }
    let numbers = vec![
        Number::new(WRONG, count(direct.failed.saturating_add(len(refused.len()))), "answers").limit(0.0),
        Number::new(BALANCED, count(balanced.failed), "answers").limit(0.0),
        Number::new(GAP, ms(gap), "ms").limit(0.0),
        Number::new("answers after ready", count(direct.asked), ""),
        Number::new("answered by it through the ingress", count(balanced.asked), ""),
        Number::new("starts that became ready", count(len(starts.len())), ""),
    ];
    let samples = direct.asked;
    let doubtful = direct.doubt(history);
    let mut problems: Vec<(&str, String)> = Vec::new();
    if let Some(first) = direct.first.as_ref().filter(|_| doubtful.is_none()) {
        let words = format!(
            "{} of {} requests were not served by a replica that was ready, up to {:.0} ms after; first: {first}",
            direct.failed,
            direct.asked,
            ms(gap)
        );
        problems.push((WRONG, words));
    }
    problems.extend(admitted.map(|first| (WRONG, format!("a replica that was ready did not refuse: {first}"))));
    if let Some(first) = &balanced.first {
        problems.push((
            BALANCED,
            format!("the ingress passed on {} answers that were none; first: {first}", balanced.failed),
        ));
    }
    if let Some((decided, _)) = problems.first() {
        let numbers = crate::claims::common::decided_by(numbers, decided);
        let mut events: Vec<EventRef> = direct.events.into_iter().chain(refused).chain(balanced.events).collect();
        events.truncate(3);
        let words: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    let missing = if balanced.asked == 0 {
        few("a replica that had just become ready answered nothing through its ingress")
    } else {
        None
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubtful.or_else(|| doubt(history)).or(missing))
}

/// Whether a request through an ingress was answered by a replica that had begun to start, with whatever status: what the ingress says
/// itself (502 for one that was killed) names no replica.
fn through(seen: &Seen<'_>, starts: &[Start]) -> bool {
    let Some((_, _, answer)) = seen.outcome else { return false };
    answer.status != 0
        && starts.iter().any(|start| start.replica == answer.replica && (start.at..start.to).contains(&seen.sent))
}
