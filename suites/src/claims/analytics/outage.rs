//! ANA-02: what does an outage of analytics cost, and what is lost in it?
//!
//! Of one replica: n calls are those that were sent before it told of calls again, and that were not recorded when the outage began. What it
//! had kept in memory then is what was answered before and recorded after; what is lost was answered and never recorded.

use super::EXPERIMENT;
use super::seen::{Call, Outage, calls, lost, outages};
use crate::claims::case::Case;
use crate::claims::common::{
    count, cut_at, doubt, judged, late_doubt, len, phase, phases, record_doubt, steady, unless,
};
use crate::claims::configuration::Stretch;
use crate::claims::pace::{Compared, Pace, compare};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Least number of calls in the outages.
pub(super) const MINIMUM: u64 = 100;
/// A harness that was later than a tenth of this may have lost requests by itself: they have a second at least.
const CERTAIN: Duration = Duration::from_millis(2500);

/// What one outage did at one replica.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    /// n: calls that it may have lost.
    calls: u64,
    /// Calls that it lost, and the first of them.
    lost: u64,
    first: Option<usize>,
    /// Calls that it had in memory when it told of calls again.
    kept: u64,
    /// Calls that were answered before the newest lost one was sent, and not lost, and the first of them.
    older: u64,
    newest_lost: Option<usize>,
}

/// Buffer and batch as the deployment has them.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    buffer: u64,
    batch: u64,
}

impl Bounds {
    fn of(scope: &Scope<'_>) -> Option<Self> {
        let analytics = scope.deployment.analytics.as_ref()?;
        Some(Self { buffer: analytics.buffer_events.into(), batch: analytics.batch_events.into() })
    }

    /// The most that may be lost of so many.
    fn most_lost(self, calls: u64) -> u64 {
        calls.saturating_sub(self.buffer).saturating_add(self.batch)
    }

    /// The most that may be in memory: the buffer, the batch under way, and one that is just being recorded.
    fn most_kept(self) -> u64 {
        self.buffer.saturating_add(self.batch.saturating_mul(2))
    }

    /// Whether so many calls fill the buffer for certain.
    fn is_overrun(self, calls: u64) -> bool {
        calls > self.most_kept()
    }
}

/// The losses of each replica of the site in each outage, with the outage. Until the story is `over` only that is lost which is older than a whole batch that
/// was recorded.
fn losses(all: &[Call], site: Name, outages: &[Outage], (bounds, over): (Bounds, bool)) -> Vec<(Outage, Name, Loss)> {
    let mut replicas: Vec<Name> = all.iter().filter(|call| call.site == site).map(|call| call.replica).collect();
    replicas.sort_unstable();
    replicas.dedup();
    let mut found = Vec::new();
    for replica in replicas {
        let own: Vec<&Call> = all.iter().filter(|call| call.site == site && call.replica == replica).collect();
        let due = if over { u64::MAX } else { batch_before(&own, bounds) };
        // What was sent before that is another outage's.
        let mut since = 0;
        for outage in outages {
            let told = own.iter().map(|call| call.recorded).filter(|at| (outage.healed..u64::MAX).contains(at)).min();
            let until = told.unwrap_or(u64::MAX);
            let Some(settle) = outage.settle else { continue };
            found.push((*outage, replica, loss(&own, (since, settle.to, due), outage.from, until)));
            since = settle.to;
        }
    }
    found
}

/// When the answer was given that is older than a whole batch of those that were recorded, ns: what was answered before is recorded by then, or lost.
fn batch_before(own: &[&Call], bounds: Bounds) -> u64 {
    let mut recorded: Vec<u64> = own.iter().filter(|call| call.is_recorded()).map(|call| call.ended).collect();
    recorded.sort_unstable();
    recorded.iter().rev().nth(usize::try_from(bounds.batch).unwrap_or(usize::MAX)).copied().unwrap_or_default()
}

/// What was lost of the calls that were sent in `since..to`, and answered before `due`, in an outage from `from` on until the replica told of calls again (ns).
fn loss(own: &[&Call], (since, to, due): (u64, u64, u64), from: u64, until: u64) -> Loss {
    let mut loss = Loss::default();
    let is_due = |call: &Call| due == u64::MAX || call.ended < due;
    let of_outage = |call: &&&Call| (since..to).contains(&call.sent) && call.recorded >= from && is_due(call);
    let mut newest: Option<&Call> = None;
    for call in own.iter().filter(of_outage) {
        if call.sent < until {
            loss.calls = loss.calls.saturating_add(1);
        }
        if call.is_answered() && !call.is_recorded() {
            loss.lost = loss.lost.saturating_add(1);
            loss.first.get_or_insert(call.event);
            newest = Some(call);
        }
        if call.ended <= until && (until..u64::MAX).contains(&call.recorded) {
            loss.kept = loss.kept.saturating_add(1);
        }
    }
    if let Some(newest) = newest {
        loss.newest_lost = Some(newest.event);
        let older = own.iter().filter(of_outage).filter(|call| call.is_recorded() && call.ended < newest.sent);
        loss.older = len(older.count());
    }
    loss
}

/// A number of the outage that must not be above `most`, the worst of all replicas; `text` of the first replica that is above.
fn worst(found: &mut Case, name: String, all: impl Iterator<Item = (u64, u64, String, Option<EventRef>)>) {
    let mut worst: Option<(u64, u64)> = None;
    let mut first = None;
    for (value, most, text, event) in all {
        if value > most && first.is_none() {
            first = Some((value, most, text, event));
        }
        let nearer =
            |(known, limit): (u64, u64)| value.saturating_sub(most) > known.saturating_sub(limit) || value > known;
        if worst.is_none_or(nearer) {
            worst = Some((value, most));
        }
    }
    if let Some((value, most, text, event)) = first {
        found.numbers.push(Number::new(&name, count(value), "").limit(count(most)));
        found.break_by(name, text, event);
    } else if let Some((value, most)) = worst {
        found.numbers.push(Number::new(&name, count(value), "").limit(count(most)));
    }
}

/// Success and latency of the data path in the outages and after them.
fn service(scope: &Scope<'_>, history: &History, site: Name, all: &[Outage], found: &mut Case) {
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let before = steadily
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, (steadily.from, steadily.to), slo));
    let base = before.clone().ok().and_then(|mut service| service.paces.base());
    let name = history.text(site);
    for outage in all {
        let when = outage.when;
        let within = [judged(history, outage.hold)];
        let mut seen = Stretch::read(history, &within, |asked| asked == name);
        if seen.service.sent == 0 {
            found.few(format!("nothing was asked: {when}"));
            continue;
        }
        found.numbers.extend(seen.numbers(slo, when));
        if let Some((number, text)) = seen.broken(slo, when) {
            found.break_by(number, text, seen.events.drain(..));
        }
        if let Some(base) = base
            && let Some(Compared { p95, limit, pace }) = compare(
                history,
                (&mut seen.traffic, &within),
                (base, steadily.as_slice()),
                scope.parameters.number("p95_ratio"),
            )
        {
            let number = format!("p95 ({when})");
            found.numbers.extend(p95.map(|p95| Number::new(&number, p95, "ms").limit(limit)));
            let p95 = p95.unwrap_or(f64::INFINITY);
            match pace {
                Pace::Kept => {}
                Pace::Slower => {
                    let text = format!("{when}: p95 was {p95:.1} ms; {limit:.1} ms are allowed");
                    let event = within.first().map(|phase| history.reference(phase.event));
                    found.break_by(number, text, event);
                }
                Pace::Busy(reason) => found.busy(reason),
            }
        }
        let Some(settle) = outage.settle else {
            found.few(format!("nothing was seen after: {when}"));
            continue;
        };
        let after = format!("after: {when}");
        let mut seen = Stretch::read(history, &[judged(history, settle)], |asked| asked == name);
        found.numbers.extend(seen.numbers(slo, &after));
        if let Some((number, text)) = seen.broken(slo, &after) {
            found.break_by(number, text, seen.events.drain(..));
        }
    }
    if let Err(reason) = before {
        found.lacks(reason);
    }
    found.numbers.extend(base.map(|base| Number::new("p95 before the outages", base, "ms")));
}

/// By how much replicas grew, in MiB.
fn memory(scope: &Scope<'_>, history: &History, found: &mut Case) {
    let allowed = scope.parameters.number("memory");
    let mut first: Vec<(Name, i64)> = Vec::new();
    let mut grown: Option<(f64, Name, usize)> = None;
    for (_, replica, kib, event) in history.marks(mark::MEMORY_KIB) {
        let Some((_, before)) = first.iter().find(|(known, _)| *known == replica) else {
            first.push((replica, kib));
            continue;
        };
        let mib = count(u64::try_from(kib.saturating_sub(*before)).unwrap_or_default()) / 1024.0;
        if grown.is_none_or(|(most, ..)| mib > most) {
            grown = Some((mib, replica, event));
        }
    }
    let Some((mib, replica, event)) = grown else {
        found.notes.push("the runtime did not see how much memory a replica has".to_owned());
        return;
    };
    let name = "memory that a replica gained".to_owned();
    found.numbers.push(Number::new(&name, mib, "MiB").limit(allowed));
    if mib > allowed {
        let text = format!("`{}` grew by {mib:.1} MiB in the outages; {allowed:.0} are allowed", history.text(replica));
        found.break_by(name, text, Some(history.reference(event)));
    }
}

/// What was lost, how much was kept, and which of it was older.
fn bounds(history: &History, bounds: Bounds, all: &[(Outage, Name, Loss)], outages: &[Outage], found: &mut Case) {
    for outage in outages {
        let when = outage.when;
        let of = || all.iter().filter(|(known, ..)| known.when == when);
        let reference = |event: Option<usize>| event.map(|event| history.reference(event));
        let hold = history.reference(outage.hold.event);
        worst(
            found,
            format!("lost ({when})"),
            of().map(|(_, replica, loss)| {
                let most = bounds.most_lost(loss.calls);
                let text = format!(
                    "{when}: `{}` lost {} of {} calls; with a buffer of {} and batches of {} it may lose {most}",
                    history.text(*replica),
                    loss.lost,
                    loss.calls,
                    bounds.buffer,
                    bounds.batch
                );
                (loss.lost, most, text, reference(loss.first))
            }),
        );
        worst(
            found,
            format!("kept in memory ({when})"),
            of().map(|(_, replica, loss)| {
                let most = bounds.most_kept();
                let text = format!(
                    "{when}: `{}` kept {} calls; its buffer of {} and two batches are {most}",
                    history.text(*replica),
                    loss.kept,
                    bounds.buffer
                );
                (loss.kept, most, text, Some(hold.clone()))
            }),
        );
        worst(
            found,
            format!("kept although older than a lost one ({when})"),
            of().map(|(_, replica, loss)| {
                let text = format!(
                    "{when}: `{}` lost a call and kept {} that are older; only the batch under way ({}) may be",
                    history.text(*replica),
                    loss.older,
                    bounds.batch
                );
                (loss.older, bounds.batch, text, reference(loss.newest_lost))
            }),
        );
    }
}

/// What both claims begin with.
struct Read<'h> {
    history: &'h History,
    site: Name,
    outages: Vec<Outage>,
    losses: Vec<(Outage, Name, Loss)>,
    bounds: Bounds,
    calls: u64,
    missing: Option<Reason>,
}

fn read<'h>(scope: &'h Scope<'_>) -> Result<Read<'h>, Verdict> {
    let history = scope.history(EXPERIMENT)?;
    let few = |text: &str| Verdict::inconclusive("too-few-samples", text);
    let site = lost(history).ok_or_else(|| few("the analytics of no site were away"))?;
    let bounds = Bounds::of(scope).ok_or_else(|| few("the deployment has no analytics"))?;
    let phases = phases(history);
    let (outages, unseen) = outages(history, &phases);
    let over = cut_at(history).is_none() && phases.iter().any(|phase| history.text(phase.phase) == "end");
    let losses = losses(&calls(scope, history).all, site, &outages, (bounds, over));
    let calls = losses.iter().fold(0_u64, |sum, (_, _, loss)| sum.saturating_add(loss.calls));
    let unsettled = outages.iter().find(|outage| outage.settle.is_none());
    let unseen = unseen.first().map(|when| format!("it was never seen: {when}"));
    let unseen =
        unseen.or_else(|| unsettled.map(|outage| format!("what came after was not seen to its end: {}", outage.when)));
    let missing = unseen.or_else(|| {
        let overrun = losses.iter().any(|(.., loss)| bounds.is_overrun(loss.calls));
        (!overrun).then(|| {
            format!("in no outage was a buffer of {} calls full: what is lost then was not seen", bounds.buffer)
        })
    });
    let missing = missing.map(|text| Reason::new("too-few-samples", text));
    Ok(Read { history, site, outages, losses, bounds, calls, missing })
}

pub(super) fn ana_02_a(scope: &Scope<'_>) -> Verdict {
    let Read { history, site, outages, losses, bounds: limits, calls, missing } = match read(scope) {
        Ok(read) => read,
        Err(verdict) => return verdict,
    };
    let mut found = Case::default();
    if let Some(missing) = missing {
        found.lacks(missing);
    }
    service(scope, history, site, &outages, &mut found);
    bounds(history, limits, &losses, &outages, &mut found);
    memory(scope, history, &mut found);
    let late = || {
        let within = outages.iter().flat_map(|outage| [Some(outage.hold), outage.settle]).flatten();
        within.map(|phase| judged(history, phase)).find_map(|phase| late_doubt(history, CERTAIN, phase.from, phase.to))
    };
    found.verdict(history, (calls, MINIMUM), late)
}

pub(super) fn ana_02_b(scope: &Scope<'_>) -> Verdict {
    let Read { history, outages, losses, calls, missing, .. } = match read(scope) {
        Ok(read) => read,
        Err(verdict) => return verdict,
    };
    let total = losses.iter().fold(0_u64, |sum, (.., loss)| sum.saturating_add(loss.lost));
    let name = "calls that were never recorded";
    let mut numbers = vec![Number::new(name, count(total), "").limit(0.0)];
    for outage in &outages {
        let of = || losses.iter().filter(|(known, ..)| known.when == outage.when);
        let (lost, all) = of().fold((0_u64, 0_u64), |(lost, all), (.., loss)| {
            (lost.saturating_add(loss.lost), all.saturating_add(loss.calls))
        });
        if all > 0 {
            numbers.push(Number::new(format!("lost ({})", outage.when), count(lost) / count(all) * 100.0, "%"));
        }
    }
    if total > 0 {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let text = format!("{total} of {calls} calls in the outages were never recorded");
        let events = losses.iter().filter_map(|(.., loss)| loss.first).take(3);
        let events = events.map(|event| history.reference(event)).collect();
        return Verdict::Violated(Counterexample { explanation: text, events, samples: calls, numbers });
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples: calls, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(missing))
}
