//! SEC-02: who gets in where a policy cannot be built or what it needs is away, and do the other routes notice?

use super::{BROKEN_POLICY, BROKEN_ROUTE, POLICY, PROVIDER, STORE};
use crate::claims::common::{count, decided_by, doubt, phase, phases, stream, unless};
use crate::claims::draining::Failures;
use crate::claims::lives::{Offences, status};
use crate::claims::recovery::{Recovery, SHARE};
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};

/// Least number of requests that must be refused, asked while a policy or what it needs was broken.
pub(super) const MINIMUM: u64 = 100;

const ADMITTED: &str = "admitted that must be refused";
const SIBLINGS: &str = "failed on sibling routes while a policy could not be built";

pub(super) fn sec_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(BROKEN_POLICY) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let of = |variant: &str| -> Vec<(u64, u64)> {
        let held =
            phases.iter().filter(|phase| history.text(phase.phase) == "hold" && history.text(phase.variant) == variant);
        held.map(|phase| (phase.from, phase.to)).collect()
    };
    let (policy, store, provider) = (of(POLICY), of(STORE), of(PROVIDER));
    let within = |windows: &[(u64, u64)], at: u64| windows.iter().any(|(from, to)| (*from..*to).contains(&at));
    let broken = history.marks(BROKEN_ROUTE).next().map(|(_, route, ..)| route);
    let (mut on_broken, mut judged, mut unexplained) = (0_u64, 0_u64, 0_u64);
    let (mut offences, mut first) = (Offences::default(), None);
    let events = history.events();
    for view in history.operations() {
        let Some(asked) = view.operation(events).filter(|asked| asked.credential.must_refuse()) else { continue };
        let sent = view.sent_at(events);
        let in_policy = within(&policy, sent);
        let in_store = within(&store, sent);
        if !in_policy && !in_store && !within(&provider, sent) {
            continue;
        }
        let status = status(view, events);
        if let Some((_, position)) = view.arrival(events) {
            offences.add(history, position);
            first.get_or_insert_with(|| {
                format!(
                    "operation {} with credential {:?} for route `{}` at `{}`, {}",
                    view.op,
                    asked.credential,
                    history.text(asked.route),
                    history.text(asked.target),
                    if in_policy {
                        "while a policy could not be built"
                    } else if in_store {
                        "while the store was away"
                    } else {
                        "while the identity provider was away"
                    }
                )
            });
        } else if (200..300).contains(&status) {
            unexplained = unexplained.saturating_add(1);
        } else if status == 0 {
            continue;
        }
        judged = judged.saturating_add(1);
        on_broken = on_broken.saturating_add(u64::from(in_policy && Some(asked.route) == broken));
    }
    let mut siblings = Failures::default();
    for seen in stream(history, streams::CANARY) {
        let valid = !seen.asked.credential.must_refuse();
        if valid && Some(seen.asked.route) != broken && within(&policy, seen.sent) {
            siblings.add(history, &seen);
        }
    }
    let mut after = Recovery::default();
    for (variant, held) in [(POLICY, &policy), (STORE, &store), (PROVIDER, &provider)] {
        if !held.is_empty() {
            let settle = phase(history, &phases, "settle", variant);
            let valid = stream(history, streams::CANARY).filter(|seen| !seen.asked.credential.must_refuse());
            after.judge(scope, history, settle, (variant, SHARE), valid);
        }
    }
    let mut numbers = vec![
        Number::new(ADMITTED, count(offences.count), "requests").limit(0.0),
        Number::new(SIBLINGS, count(siblings.failed), "requests").limit(0.0),
        Number::new("must be refused by a route with a broken policy", count(on_broken), "requests"),
        Number::new("must be refused, in all", count(judged), "requests"),
        Number::new("for sibling routes", count(siblings.asked), "requests"),
    ];
    numbers.append(&mut after.numbers);
    let mut problems: Vec<(&str, String)> = Vec::new();
    problems.extend(first.map(|first| {
        (
            ADMITTED,
            format!("{} of {judged} requests that must be refused were admitted; first: {first}", offences.count),
        )
    }));
    let doubtful = siblings.doubt(history);
    if let Some(first) = siblings.first.as_ref().filter(|_| doubtful.is_none()) {
        let failed = format!("{} of {} requests for sibling routes failed", siblings.failed, siblings.asked);
        problems.push((SIBLINGS, format!("{failed}; first: {first}")));
    }
    problems.extend(after.broken.iter().map(|(name, words)| (name.as_str(), words.clone())));
    if let Some((decided, _)) = problems.first() {
        let numbers = decided_by(numbers, decided);
        let mut events: Vec<EventRef> =
            offences.events.into_iter().chain(siblings.events).chain(after.events).collect();
        events.truncate(3);
        let words: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples: judged, numbers });
    }
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    let missing = if unexplained > 0 {
        let text = format!(
            "{unexplained} requests that must be refused were answered 2xx, and no upstream recorded their arrival"
        );
        Some(Reason::new("gap", text))
    } else if on_broken == 0 {
        few("nothing that must be refused was asked of a route with a broken policy")
    } else if siblings.asked == 0 {
        few("no sibling route was asked")
    } else {
        None
    };
    let mut notes = Vec::new();
    if store.is_empty() {
        notes.push("there is no store that policies need: its loss was not seen".to_owned());
    }
    if provider.is_empty() {
        notes.push("policies ask no identity provider: its loss was not seen".to_owned());
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples: judged, numbers, notes });
    unless(held, doubtful.or_else(|| doubt(history)).or(missing).or(after.missing))
}

#[cfg(test)]
mod tests;
