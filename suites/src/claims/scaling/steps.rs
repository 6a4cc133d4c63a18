//! SCL-03: did anything get lost, or come back, when a replica came and when it went?

use super::{ADDED, REMOVED, SCALED, SCALED_REVOKED, SCALED_SLOW, SCALED_TOKEN, SCALING};
use crate::claims::common::{count, decided_by, doubt, late_doubt, len, stream, unless};
use crate::claims::configuration::{telling, words};
use crate::claims::draining::Failures;
use crate::claims::quota::{Round, Rule, Tally, against_bound, rounds, starved};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Policy;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Least number of requests.
pub(super) const MINIMUM: u64 = 300;

const ADMITTED: &str = "admitted in the window";
const FAILED: &str = "failed requests";
const TOKENS: &str = "tokens lost";
const REVOKED: &str = "admitted with a revoked token";

/// What one round says of the quota.
enum Quota {
    /// Both steps were in it, and this many were admitted of at most so many.
    Kept {
        admitted: u64,
        limit: f64,
    },
    Broken {
        admitted: u64,
        limit: f64,
        words: String,
        events: Vec<EventRef>,
    },
    /// It says nothing, for this reason.
    Open(Reason),
}

/// The replica that came and went in the sure part of the round, if one did.
fn newcomer(history: &History, round: &Round<'_>) -> Option<Name> {
    let within = |at: u64| (round.first_sent..round.sure).contains(&at);
    let (added_at, replica, ..) = history.marks(ADDED).find(|(at, ..)| within(*at))?;
    let gone = history.marks(REMOVED).any(|(at, of, ..)| of == replica && within(at) && at > added_at);
    gone.then_some(replica)
}

fn quota_of(history: &History, rule: &Rule, round: &Round<'_>) -> Quota {
    let few = |text: String| Quota::Open(Reason::new("too-few-samples", format!("{}: {text}", round.label(history))));
    let found = against_bound(history, rule, (round.first_sent, round.sure), round.event, round.sure_calls());
    let (admitted, limit) = (found.admitted, found.limit);
    let Some(replica) = newcomer(history, round) else {
        return few("no replica came and went in the sure part of the window".to_owned());
    };
    if !round.clean {
        return few("the key was not quiet for a window before".to_owned());
    }
    if found.broken() {
        if round.starved {
            return Quota::Open(starved(history, &round.label(history)));
        }
        let words = format!(
            "{}: {admitted} admitted in one window in which `{}` came and went, at most {limit:.0} allowed",
            round.label(history),
            history.text(replica)
        );
        return Quota::Broken { admitted, limit, words, events: found.over };
    }
    let at_new = Tally::of(round.sure_calls().filter(|seen| seen.asked.target == replica)).demand();
    let demand = Tally::of(round.sure_calls()).demand();
    if at_new == 0 {
        return few(format!("`{}` was asked for nothing", history.text(replica)));
    }
    if demand <= rule.quota.saturating_mul(rule.fillings) {
        return few(format!("only {demand} requests were counted in it (Q = {})", rule.quota));
    }
    if let Some(late) = late_doubt(history, Duration::from_nanos(round.window), round.first_sent, round.sure) {
        return Quota::Open(late);
    }
    Quota::Kept { admitted, limit }
}

pub(super) fn scl_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SCALING) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let mut requests = Failures::default();
    for name in [SCALED, SCALED_SLOW] {
        for seen in stream(history, name) {
            requests.add(history, &seen);
        }
    }
    let mut tokens = Failures::default();
    for seen in stream(history, SCALED_TOKEN) {
        tokens.add(history, &seen);
    }
    let (mut asked, mut let_in, mut first): (u64, Vec<EventRef>, Option<String>) = (0, Vec::new(), None);
    for seen in stream(history, SCALED_REVOKED) {
        asked = asked.saturating_add(u64::from(seen.status() != 0));
        if seen.arrived.is_some() {
            first.get_or_insert_with(|| words(history, &seen));
            let_in.push(history.reference(telling(&seen)));
        }
    }
    let rule = Rule::of(scope);
    let (mut kept, mut broken, mut open) = (None, None, None);
    for round in rounds(history, &rule) {
        match quota_of(history, &rule, &round) {
            Quota::Kept { admitted, limit } => kept = Some((admitted, limit)),
            Quota::Broken { admitted, limit, words, events } => broken = Some((admitted, limit, words, events)),
            // A round that was told again is none any more.
            Quota::Open(_) if round.repeated => {}
            Quota::Open(reason) => open = open.or(Some(reason)),
        }
    }
    let budget = scope.parameters.number("budget");
    let window = broken.as_ref().map(|(admitted, limit, ..)| (*admitted, *limit)).or(kept);
    let (admitted, limit) = window.unwrap_or((0, count(rule.quota)));
    let numbers = vec![
        Number::new(ADMITTED, count(admitted), "requests").limit(limit),
        Number::new(FAILED, count(requests.failed), "requests").limit(budget),
        Number::new(TOKENS, count(tokens.failed), "uses").limit(0.0),
        Number::new(REVOKED, count(len(let_in.len())), "requests").limit(0.0),
        Number::new("n, requests over both steps", count(requests.asked), "requests"),
        Number::new("uses of a token from before at the new replica", count(tokens.asked), ""),
        Number::new("uses of a revoked token there", count(asked), ""),
    ];
    let mut doubts: Vec<Reason> = Vec::new();
    let mut problems: Vec<(&str, String)> = Vec::new();
    let mut events: Vec<EventRef> = Vec::new();
    if let Some((.., words, over)) = broken {
        problems.push((ADMITTED, words));
        events.extend(over);
    }
    let failing = [
        (FAILED, &requests, budget, "requests failed"),
        (TOKENS, &tokens, 0.0, "uses of a token from before failed at the new replica"),
    ];
    for (name, failures, allowed, what) in failing {
        let Some(first) = failures.first.as_ref().filter(|_| count(failures.failed) > allowed) else { continue };
        match failures.doubt(history) {
            Some(reason) => doubts.push(reason),
            None => {
                problems.push((name, format!("{} of {} {what}; first: {first}", failures.failed, failures.asked)));
                events.extend(failures.events.iter().cloned());
            }
        }
    }
    if let Some(first) = first {
        problems.push((REVOKED, format!("the new replica let a revoked token in: {first}")));
        events.extend(let_in);
    }
    let samples = requests.asked;
    if let Some((decided, _)) = problems.first() {
        let numbers = decided_by(numbers, decided);
        events.truncate(3);
        let words: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    let has_tokens = scope.deployment.routes.iter().any(|route| route.policies.contains(&Policy::Jwt));
    let missing = if kept.is_none() {
        open.or_else(|| few("no window in which a replica came and went was seen"))
    } else if samples < MINIMUM {
        few("too few requests went through the ingress meanwhile")
    } else if has_tokens && tokens.asked == 0 {
        few("no token from before was used at the new replica")
    } else {
        None
    };
    let notes = if asked == 0 {
        vec!["no revoked token was tried: this deployment revokes none".to_owned()]
    } else {
        Vec::new()
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubts.into_iter().next().or_else(|| doubt(history)).or(missing))
}
