//! QUO-06: when did replicas count in the new primary, and how much of what the old one had counted was forgotten?
//!
//! One client has spent its quota before the loss: from when on every replica refuses it again, all of them count where that is known. What they do
//! meanwhile is what the deployment declares for a lost store (QUO-07). Another one has spent a part: how much more it gets afterwards is what was lost.

use super::{AGAIN, DEMOTED, HANDED_OVER, LOSING, NO_REDIS, NOT_WATCHED, Rule, STORE_FAILOVER};
use crate::claims::case::Case;
use crate::claims::common::{Seen, count, end_of, late_doubt, len, nanos, phase, phases, seconds, stream};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least number of requests of the client whose quota is spent.
pub(super) const MINIMUM: u64 = 40;
/// How long every replica must refuse it until that is more than chance.
const AS_BEFORE: Duration = Duration::from_millis(900);

const NORMAL: &str = "counted as before after";
const ADMITTED: &str = "admitted in the window";

/// One loss of a primary.
struct Loss {
    variant: Name,
    primary: Name,
    /// When it was about to be lost, and the end of its story, ns.
    at: u64,
    to: u64,
    event: usize,
}

fn losses(history: &History) -> Vec<Loss> {
    let phases = phases(history);
    let mut losses: Vec<Loss> = Vec::new();
    for (at, primary, _, event) in history.marks(LOSING) {
        if let Some(before) = losses.last_mut() {
            before.to = before.to.min(at);
        }
        let Some(inject) = phases.iter().rfind(|phase| phase.from <= at) else { continue };
        // What comes next begins with quotas that are not spent.
        let next = phases.iter().find(|phase| history.text(phase.phase) == "steady" && phase.from > at);
        let to = next.map_or(end_of(history), |steady| steady.from);
        losses.push(Loss { variant: inject.variant, primary, at, to, event });
    }
    losses
}

/// Whether the gateway refused the client because its quota is spent.
fn is_refused(seen: &Seen<'_>) -> bool {
    seen.arrived.is_none() && seen.status() == 429
}

/// From when on all replicas refused the client whose quota is spent.
fn normal(scope: &Scope<'_>, history: &History, loss: &Loss, found: &mut Case) -> Option<u64> {
    let variant = history.text(loss.variant);
    let of: Vec<Seen<'_>> =
        stream(history, AGAIN).filter(|seen| (loss.at..loss.to).contains(&seen.sent) && !seen.is_given_up()).collect();
    let mut last: BTreeMap<Name, (u64, u64)> = BTreeMap::new();
    for seen in &of {
        let known = last.entry(seen.asked.target).or_insert((loss.at, loss.at));
        if is_refused(seen) {
            known.1 = known.1.max(seen.sent);
        } else {
            // What it said to a request that was sent later tells, too.
            known.0 = known.0.max(seen.sent);
            known.1 = known.1.max(seen.sent);
        }
    }
    if last.is_empty() {
        found.few(format!("nobody asked again after the loss (`{variant}`)"));
        return None;
    }
    // Who refused last for long enough counts as before; of who did not it is only known that he was not as before until then.
    let mut worst = 0;
    for (replica, (wrong, known)) in &last {
        let stands = known.saturating_sub(*wrong) >= nanos(AS_BEFORE);
        let took = wrong.saturating_sub(loss.at);
        worst = worst.max(took);
        let allowed = nanos(scope.parameters.latency("within"));
        if took > allowed {
            let telling = of.iter().rfind(|seen| seen.asked.target == *replica && !is_refused(seen));
            let status = telling.map_or(0, Seen::status);
            let never = if stands { "" } else { ", and nobody saw the end of it" };
            let text = format!(
                "`{}` was lost (`{variant}`), and {:.1} s later `{}` still did not refuse a client whose quota was spent (status {status}){never}",
                history.text(loss.primary),
                seconds(took),
                history.text(*replica),
            );
            let events = telling.map(|seen| history.reference(seen.view.invoked as usize));
            found.break_by(NORMAL, text, events.or_else(|| Some(history.reference(loss.event))));
        } else if !stands {
            found.few(format!("`{}` was not watched for long enough after `{variant}`", history.text(*replica)));
        }
    }
    Some(worst)
}

/// What the client that had spent a part got in all, and at most might have got.
fn admitted(scope: &Scope<'_>, history: &History, rule: &Rule, loss: &Loss, found: &mut Case) -> Option<(u64, f64)> {
    let opened = history.marks(mark::WINDOW).filter(|(at, ..)| *at <= loss.at).last();
    let (from, key, ..) = opened?;
    let spent: Vec<Seen<'_>> = stream(history, stream::QUOTA)
        .filter(|seen| seen.asked.key == key && (from..loss.to).contains(&seen.sent))
        .collect();
    let (asked, got) = (len(spent.len()), len(spent.iter().filter(|seen| seen.arrived.is_some()).count()));
    let lag = nanos(scope.parameters.latency("lag"));
    let uncopied = spent.iter().filter(|seen| {
        // Whatever was still under way then was counted later than its answer says.
        seen.sent < loss.at && seen.ended() >= loss.at.saturating_sub(lag)
    });
    let quota = rule.quota.saturating_mul(rule.fillings);
    let allowed = count(quota.saturating_add(len(uncopied.count())));
    let variant = history.text(loss.variant);
    if asked <= quota {
        found.few(format!("only {asked} requests were counted around the loss (`{variant}`)"));
        return None;
    }
    if count(got) > allowed {
        let text = format!(
            "{got} admitted in one window in which `{}` was lost (`{variant}`), at most {allowed:.0} allowed",
            history.text(loss.primary)
        );
        let over =
            spent.iter().filter(|seen| seen.arrived.is_some()).skip(usize::try_from(quota).unwrap_or(usize::MAX));
        let events: Vec<_> = over.take(3).map(|seen| history.reference(seen.view.invoked as usize)).collect();
        found.break_by(ADMITTED, text, events);
    }
    Some((got, allowed))
}

pub(super) fn quo_06(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(STORE_FAILOVER) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let untold = |mark: &str, code: &str, why: &str| {
        let (_, site, ..) = history.marks(mark).next()?;
        Some(Reason::new(code, format!("the store of `{}` {why}", history.text(site))))
    };
    let untold = untold(NO_REDIS, "no-redis", "is the stub that stands in for Redis: it has no second node")
        .or_else(|| untold(NOT_WATCHED, "fault-not-proven", "had no copy, or its Sentinels were not ready"));
    let losses = losses(history);
    if let Some(reason) = untold.clone().filter(|_| losses.is_empty()) {
        return Verdict::Inconclusive(reason);
    }
    let mut found = Case::default();
    if let Some(reason) = untold {
        found.lacks(reason);
    }
    if let Some((_, node, ..)) = history.marks(HANDED_OVER).find(|(_, _, both, _)| *both == 0) {
        let text = format!("`{}` was not made the primary by hand", history.text(node));
        found.lacks(Reason::new("fault-not-proven", text));
    }
    let rule = Rule::of(scope);
    let (mut slowest, mut most, mut lost): (Option<u64>, Option<(u64, f64)>, u64) = (None, None, 0);
    for loss in &losses {
        if let Some(took) = normal(scope, history, loss, &mut found) {
            slowest = Some(slowest.map_or(took, |slowest| slowest.max(took)));
            let name = format!("the same, `{}`", history.text(loss.variant));
            found.numbers.push(Number::new(name, seconds(took), "s"));
        }
        if let Some((got, allowed)) = admitted(scope, history, &rule, loss, &mut found) {
            let over = |(got, allowed): (u64, f64)| count(got) - allowed;
            most = Some(most.filter(|most| over(*most) >= over((got, allowed))).unwrap_or((got, allowed)));
            lost = lost.max(got.saturating_sub(rule.quota.saturating_mul(rule.fillings)));
        }
    }
    let within = scope.parameters.latency("within");
    if let Some((got, allowed)) = most {
        found.numbers.insert(0, Number::new(ADMITTED, count(got), "requests").limit(allowed));
    }
    if let Some(slowest) = slowest {
        found.numbers.insert(0, Number::new(NORMAL, seconds(slowest), "s").limit(within.as_secs_f64()));
    }
    found.numbers.push(Number::new("counts that a failover lost, at most", count(lost), "requests"));
    if losses.is_empty() {
        found.few("no primary was lost");
    }
    if phase(history, &phases(history), "inject", DEMOTED).is_none() {
        found.notes.push("a primary that becomes a copy and keeps its connections was not seen".to_owned());
    }
    let asked = len(stream(history, AGAIN).count());
    let from = losses.first().map_or(0, |loss| loss.at);
    found.verdict(history, (asked, MINIMUM), || late_doubt(history, within, from, end_of(history)))
}
