//! CAC-04: what does a gateway do without the store that its cache is in, and without the upstream when what it kept has expired?

use super::kinds::{EXPIRING, STEADY};
use super::record::Record;
use super::{CACHE_STORE_LOSS, LOSSES, UPSTREAM_AWAY};
use crate::claims::common::{
    Phase, Service, count, decided_by, doubt, end_of, judged, late_doubt, phase, phases, record_doubt, seconds,
    steady_but_for, stream, unless,
};
use crate::claims::lives::Offences;
use crate::claims::pace::{Compared, Pace, compare};
use crate::claims::recovery::{Recovery, disturbed, settled};
use crate::claims::stalls::{STALL_NEAR, Stalls};
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeSet;
use std::time::Duration;

/// Least number of requests while the store was lost.
pub(super) const MINIMUM: u64 = 100;
/// Answers within this are what success and p95 are made of.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Ages are told in whole seconds, and so may be what is decided by them.
const GRAIN_NS: u64 = 1_000_000_000;

/// A drift before the losses of so small a part of what they may add decides nothing.
const DRIFT: f64 = 10.0;
/// More of the requests for what is kept, and fresh for a second, go to the upstream only where the cache is not used.
const UNUSED: f64 = 0.5;
/// And so many more than before the losses.
const MORE: f64 = 0.25;

pub(super) const STALE: &str = "must-revalidate served stale";

/// What was found.
#[derive(Default)]
struct Found {
    samples: u64,
    numbers: Vec<Number>,
    /// Name of the number that shows it, and words.
    broken: Vec<(String, String)>,
    events: Vec<EventRef>,
    missing: Option<Reason>,
    busy: Option<Reason>,
    /// Something that no machine explains.
    certain: bool,
}

impl Found {
    fn few(&mut self, text: String) {
        self.missing.get_or_insert_with(|| Reason::new("too-few-samples", text));
    }

    fn recovered(&mut self, back: Recovery) {
        self.numbers.extend(back.numbers);
        self.broken.extend(back.broken);
        self.events.extend(back.events);
        self.missing = self.missing.take().or(back.missing);
    }
}

/// Without its store the cache lets everything pass, in time; what must be revalidated is never served stale.
pub(super) fn cac_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(CACHE_STORE_LOSS) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let extra = scope.parameters.number("extra");
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let before =
        steadily.ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase")).and_then(|steadily| {
            let drift = extra / DRIFT;
            steady_but_for(history, streams::CACHED, (steadily.from, steadily.to), (slo, drift))
        });
    let base = before.clone().ok().and_then(|mut service| service.paces.base());
    let mut found = Found::default();
    let record = Record::read(history);
    stale(&record, &phases, scope, &mut found);
    for variant in LOSSES {
        let Some(part) = phase(history, &phases, "hold", variant).map(|part| judged(history, part)) else {
            found.few(format!("the store was never lost: {variant}"));
            continue;
        };
        loss(history, variant, part, &mut found, (slo, extra), base.zip(steadily));
    }
    let stalls = Stalls::of(history);
    let usual = steadily.map(|steadily| passed_on(&record, steadily, &stalls));
    let usual = usual.map_or(0.0, |(asked, passed)| count(passed.count) / count(asked.max(1)));
    for variant in LOSSES {
        after((&record, &stalls), scope, &phases, (variant, slo, usual), &mut found);
    }
    let mut back = Recovery::default();
    let settle = phase(history, &phases, "settle", UPSTREAM_AWAY);
    back.judge(scope, history, settle, ("the upstream away", slo), stream(history, streams::CACHED));
    found.recovered(back);
    found.numbers.extend(base.map(|base| Number::new("p95 before the losses", base, "ms")));
    let Found { samples, numbers, broken, mut events, missing, busy, certain } = found;
    if let Some((decided, _)) = broken.first() {
        // What a harness that stands still does not answer in time may be all that failed.
        let late = || late_doubt(history, AT_ONCE, 0, end_of(history));
        if let Some(doubt) = record_doubt(history).or_else(late).filter(|_| !certain) {
            return Verdict::Inconclusive(doubt);
        }
        events.truncate(3);
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(before.err()).or(missing).or(busy))
}

/// Of the requests in `part` for what is kept, those that no stall touched, and which of them went to the upstream.
fn passed_on(record: &Record<'_>, part: Phase, stalls: &Stalls) -> (u64, Offences) {
    let (mut asked, mut passed) = (0_u64, Offences::default());
    for one in record.uses().filter(|one| one.kind == STEADY && (part.from..part.to).contains(&one.sent)) {
        if stalls.touch(one.sent, one.ended.unwrap_or(one.sent), STALL_NEAR) {
            continue;
        }
        asked = asked.saturating_add(1);
        if one.arrived.is_some() {
            passed.add(record.history, one.event);
        }
    }
    (asked, passed)
}

/// The store is back: everything is answered, and what was kept is served again.
fn after(
    (record, stalls): (&Record<'_>, &Stalls),
    scope: &Scope<'_>,
    phases: &[Phase],
    (variant, slo, usual): (&str, f64, f64),
    found: &mut Found,
) {
    let history = record.history;
    let (settle, when) = (phase(history, phases, "settle", variant), format!("store lost: {variant}"));
    let mut back = Recovery::default();
    back.judge(scope, history, settle, (&when, slo), stream(history, streams::CACHED));
    if let Some(settle) = settle {
        let part = settled(scope, history, settle);
        let (asked, passed) = passed_on(record, part, stalls);
        let name = format!("of what is kept passed on afterwards ({variant})");
        // As before is all that is asked: whoever kept nothing before keeps nothing now.
        let allowed = UNUSED.max(usual + MORE);
        let share = count(passed.count) / count(asked.max(1));
        if asked == 0 {
            back.few(format!("nothing was asked for that is kept, after the loss: {variant}"));
        } else if allowed < 1.0 {
            back.numbers.push(Number::new(&name, share * 100.0, "%").limit(allowed * 100.0));
        }
        if asked > 0 && share > allowed {
            let text = format!(
                "{when}: the store was back, and {} of {asked} requests for what is kept went to the upstream all the same",
                passed.count
            );
            let doubt = disturbed(scope, history, settle, part);
            back.breaks(name, text, passed.events, doubt);
        }
    }
    found.recovered(back);
}

/// Success and p95 of one stretch without the store.
fn loss(
    history: &History,
    variant: &str,
    part: Phase,
    found: &mut Found,
    (slo, extra): (f64, f64),
    before: Option<(f64, Phase)>,
) {
    let (mut service, mut arrived) = (Service::default(), 0_u64);
    let (mut failed, mut answered) = (Offences::default(), false);
    for seen in stream(history, streams::CACHED) {
        if !(part.from..part.to).contains(&seen.view.intended_at(history.events())) || seen.is_given_up() {
            continue;
        }
        service.add(history, &seen);
        arrived = arrived.saturating_add(u64::from(seen.arrived.is_some()));
        if !seen.outcome.is_some_and(|(_, _, answer)| answer.is_success()) {
            answered |= seen.status() != 0;
            failed.add(history, seen.view.completed().unwrap_or(seen.view.invoked as usize));
        }
    }
    let Some(success) = service.success() else {
        found.few(format!("nothing was asked with the store lost: {variant}"));
        return;
    };
    found.samples = found.samples.saturating_add(service.sent);
    let name = format!("success ({variant})");
    found.numbers.push(Number::new(&name, success * 100.0, "%").limit(slo * 100.0));
    let passed = format!("of these passed on to the upstream ({variant})");
    found.numbers.push(Number::new(&passed, count(arrived) * 100.0 / count(service.sent), "%"));
    if success < slo {
        let (failures, sent) = (failed.count, service.sent);
        // An answer that is an error is the gateway's, however late the harness was.
        found.certain |= answered;
        found
            .broken
            .push((name, format!("store lost ({variant}): {failures} of {sent} requests were not answered 2xx")));
        found.events.extend(failed.events);
    }
    let Some((base, steadily)) = before else { return };
    let ratio = (base + extra) / base.max(f64::MIN_POSITIVE);
    let compared = compare(history, (&mut service, &[part]), (base, &[steadily]), ratio);
    let Some(Compared { p95, limit, pace }) = compared else { return };
    let name = format!("p95 ({variant})");
    found.numbers.extend(p95.map(|p95| Number::new(&name, p95, "ms").limit(limit)));
    match pace {
        Pace::Kept => {}
        Pace::Slower => {
            let p95 = p95.unwrap_or(f64::INFINITY);
            let text = format!("store lost ({variant}): p95 was {p95:.1} ms; {limit:.1} ms are allowed");
            found.broken.push((name, text));
            found.events.push(history.reference(part.event));
        }
        Pace::Busy(reason) => found.busy = found.busy.take().or(Some(reason)),
    }
}

/// Whether anything that must be revalidated was served beyond its time; the upstream away, that must be an error.
fn stale(record: &Record<'_>, phases: &[Phase], scope: &Scope<'_>, found: &mut Found) {
    let history = record.history;
    let away: Vec<&Phase> = phases
        .iter()
        .filter(|part| history.text(part.phase) == "hold" && history.text(part.variant) == UPSTREAM_AWAY)
        .collect();
    let must = EXPIRING.iter().find(|kind| kind.name == "must-revalidate");
    let mut offences = Offences::default();
    let (mut told, mut refused, mut timed_out) = (String::new(), 0_u64, 0_u64);
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    for one in record.uses().filter(|one| Some(&one.kind) == must && one.status != 0) {
        let fresh = one.kind.fresh_s.saturating_mul(1_000_000_000);
        if let Some(made) = record.made_for_another(one).and_then(|another| another.arrived) {
            let age = one.sent.saturating_sub(made);
            if age > fresh.saturating_add(GRAIN_NS) {
                if offences.count == 0 {
                    told = format!("{} was answered with what was {:.3} s old", record.words(one), seconds(age));
                }
                offences.add(history, one.event);
            }
        }
        if one.status >= 500 && away.iter().any(|part| (part.from..part.to).contains(&one.sent)) {
            refused = refused.saturating_add(1);
            timed_out = timed_out.saturating_add(u64::from(one.status == 504));
            seen.insert(one.target);
        }
    }
    found.numbers.push(Number::new(STALE, count(offences.count), "responses").limit(0.0));
    found.numbers.push(Number::new("answered 5xx, the upstream away", count(refused), "requests"));
    found.numbers.push(Number::new("of these 504, as RFC 9111 wants it", count(timed_out), "requests"));
    if offences.count > 0 {
        found.certain = true;
        found.broken.push((STALE.to_owned(), format!("must-revalidate: {told} ({} such answers)", offences.count)));
        found.events.extend(offences.events);
    }
    // Where only some replicas were part of the story, those of its site are.
    let asked = scope.deployment.sites.iter().any(|site| {
        let names = site.replica_names();
        names.iter().all(|replica| history.name(replica).is_some_and(|name| seen.contains(&name)))
    });
    if !asked {
        found.few("no site was seen to refuse what has expired, the upstream away".to_owned());
    }
}
