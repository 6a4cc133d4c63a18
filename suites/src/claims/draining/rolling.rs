//! DRN-02: does a rolling restart lose a request, a token or a counter?

use super::failures::Failures;
use super::{ROLLED, ROLLED_QUOTA, ROLLED_SLOW, ROLLED_TOKEN, ROLLING, SPENT_MS};
use crate::claims::common::{count, decided_by, doubt, len, stream, unless};
use crate::claims::configuration::{telling, words};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Policy;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// Least number of requests, whatever the scale.
pub(super) const MINIMUM: u64 = 1_000;

/// "Zero failures in n" bounds the rate of failures by so many in n, with 95 % confidence.
const RULE_OF_THREE: f64 = 3.0;

const FAILED: &str = "failed requests";
const TOKENS: &str = "tokens lost";
const QUOTAS: &str = "admitted of a spent quota";

/// When the quota of a key was spent, and until when it is, ns.
fn spent(history: &History) -> BTreeMap<Name, (u64, u64)> {
    let marks = history.marks(SPENT_MS);
    let window = |value: i64| u64::try_from(value).unwrap_or_default().saturating_mul(1_000_000);
    marks.map(|(at, key, value, _)| (key, (at, at.saturating_add(window(value))))).collect()
}

/// Names of the replicas that were asked to end, with how often.
fn restarts(history: &History) -> BTreeMap<&str, u64> {
    let mut restarts = BTreeMap::new();
    for (_, event) in history.others() {
        if let EventKind::Replica { replica, state: ReplicaState::Terminating, .. } = event.kind {
            let times: &mut u64 = restarts.entry(history.text(replica)).or_default();
            *times = times.saturating_add(1);
        }
    }
    restarts
}

pub(super) fn drn_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(ROLLING) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let mut requests = Failures::default();
    for name in [ROLLED, ROLLED_SLOW] {
        for seen in stream(history, name) {
            requests.add(history, &seen);
        }
    }
    let mut tokens = Failures::default();
    for seen in stream(history, ROLLED_TOKEN) {
        tokens.add(history, &seen);
    }
    let spent = spent(history);
    let (mut asked, mut admitted, mut over): (u64, Vec<EventRef>, Option<String>) = (0, Vec::new(), None);
    for seen in stream(history, ROLLED_QUOTA) {
        let within = spent.get(&seen.asked.key).is_some_and(|(from, to)| seen.sent >= *from && seen.told_by() < *to);
        if !within {
            continue;
        }
        asked = asked.saturating_add(u64::from(seen.status() != 0));
        if seen.arrived.is_some() {
            over.get_or_insert_with(|| words(history, &seen));
            admitted.push(history.reference(telling(&seen)));
        }
    }
    let restarts = restarts(history);
    let budget = scope.parameters.number("budget");
    let n = count(requests.asked);
    let bound = if requests.asked == 0 { 100.0 } else { RULE_OF_THREE / n * 100.0 };
    let numbers = vec![
        Number::new(FAILED, count(requests.failed), "requests").limit(budget),
        Number::new(TOKENS, count(tokens.failed), "uses").limit(0.0),
        Number::new(QUOTAS, count(len(admitted.len())), "requests").limit(0.0),
        Number::new("n, requests during the restarts", n, "requests"),
        Number::new("3/n, upper bound of the rate of failures (95 %) if none failed", bound, "%"),
        Number::new("restarts", count(restarts.values().sum()), ""),
        Number::new("uses of a token from before", count(tokens.asked), ""),
        Number::new("requests for a spent quota", count(asked), ""),
    ];
    let mut doubts: Vec<Reason> = Vec::new();
    let mut problems: Vec<(&str, String)> = Vec::new();
    let failing = [
        (FAILED, &requests, budget, "requests failed"),
        (TOKENS, &tokens, 0.0, "uses of a token from before the restarts failed"),
    ];
    for (name, failures, allowed, what) in failing {
        let Some(first) = failures.first.as_ref().filter(|_| count(failures.failed) > allowed) else { continue };
        match failures.doubt(history) {
            Some(reason) => doubts.push(reason),
            None => problems.push((name, format!("{} of {} {what}; first: {first}", failures.failed, failures.asked))),
        }
    }
    problems.extend(
        over.map(|first| (QUOTAS, format!("a quota that was spent before the restarts was there again: {first}"))),
    );
    let samples = requests.asked;
    if let Some((decided, _)) = problems.first() {
        let numbers = decided_by(numbers, decided);
        let mut events: Vec<EventRef> = requests.events.into_iter().chain(tokens.events).chain(admitted).collect();
        events.truncate(3);
        let words: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let wanted = (scope.parameters.number("requests") * scope.scale.min(1.0)).max(count(MINIMUM));
    let few = |text: String| Some(Reason::new("too-few-samples", text));
    let has_tokens = scope.deployment.routes.iter().any(|route| route.policies.contains(&Policy::Jwt));
    let missing = if n < wanted {
        few(format!("{n:.0} requests; {wanted:.0} are needed at this scale"))
    } else if restarts.len() < 2 {
        few("fewer than two replicas were restarted".to_owned())
    } else if has_tokens && tokens.asked == 0 {
        few("no token from before the restarts was used after them".to_owned())
    } else {
        None
    };
    let notes = vec!["one version only: no mix of versions and no roll-back was seen".to_owned()];
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubts.into_iter().next().or_else(|| doubt(history)).or(missing))
}
