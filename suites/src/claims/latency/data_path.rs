//! LAT-03: does the data path notice that management is slow or away, or another site that an upstream is?

use super::UPSTREAM_CUT;
use crate::claims::common::{
    Phase, doubt, late_doubt, latency_limit, phase, phases, record_doubt, steady, stream, unless,
};
use crate::claims::configuration::Stretch;
use crate::claims::configuration::{telling, words};
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use std::time::Duration;

/// Least number of requests in the faults of management.
pub(super) const MINIMUM: u64 = 100;

/// The first request that took longer than a stall may, and how long the longest did (ms).
fn stall(history: &History, within: &[Phase], allowed_ms: f64) -> (f64, Option<(String, EventRef)>) {
    let (mut longest, mut first) = (0.0_f64, None);
    for seen in stream(history, streams::TRAFFIC) {
        let at = seen.view.intended_at(history.events());
        if !within.iter().any(|phase| (phase.from..phase.to).contains(&at)) {
            continue;
        }
        let took = seen.latency_ms(history).unwrap_or(f64::INFINITY);
        longest = longest.max(took);
        if took > allowed_ms && first.is_none() {
            first = Some((words(history, &seen), history.reference(telling(&seen))));
        }
    }
    (longest, first)
}

pub(super) fn lat_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("data-path") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let before = phase(history, &phases, "steady", "")
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, steadily.from, steadily.to, slo));
    let of = |variant: &str| -> Vec<Phase> {
        let is = |phase: &&Phase| history.text(phase.phase) == "hold" && history.text(phase.variant) == variant;
        phases.iter().filter(is).copied().collect()
    };
    let base = before.clone().ok().and_then(|mut service| service.latencies.p95());
    let ratio = scope.parameters.number("p95_ratio");
    let cut = history.marks(UPSTREAM_CUT).next().map(|(_, site, ..)| history.text(site).to_owned());
    let (mut broken, mut events, mut numbers, mut samples) = (Vec::new(), Vec::new(), Vec::new(), 0_u64);
    let mut missing = None;
    numbers.extend(base.map(|base| Number::new("p95 before the faults", base, "ms")));
    let variants = [
        ("delay", "management slow"),
        ("blackhole", "management away"),
        ("upstream", "other sites, one cut off its upstream"),
    ];
    for (variant, when) in variants {
        let (within, upstream) = (of(variant), variant == "upstream");
        let counts = |site: &str| !upstream || cut.as_deref().is_some_and(|cut| cut != site);
        let mut seen = Stretch::read(history, &within, counts);
        if seen.service.sent == 0 {
            let needed = !upstream || scope.deployment.sites.len() >= 2;
            let text = format!("nothing was asked with `{when}`");
            missing = missing.or(needed.then(|| Reason::new("too-few-samples", text)));
            continue;
        }
        samples = samples.saturating_add(if upstream { 0 } else { seen.service.sent });
        let success = seen.service.success().unwrap_or(1.0) * 100.0;
        numbers.push(Number::new(format!("success ({when})"), success, "%").limit(slo * 100.0));
        if let Some(what) = seen.broken(slo, when) {
            broken.push(what);
            events.append(&mut seen.events);
        }
        if let (Some(base), Some(p95)) = (base, seen.traffic.latencies.p95()) {
            let limit = latency_limit(base, ratio);
            numbers.push(Number::new(format!("p95 ({when})"), p95, "ms").limit(limit));
            if p95 > limit {
                broken.push(format!("{when}: p95 was {p95:.1} ms; {limit:.1} ms are allowed"));
                events.extend(within.first().map(|phase| history.reference(phase.event)));
            }
        }
        if upstream {
            continue;
        }
        let allowed = scope.parameters.number("stall");
        let (longest, stalled) = stall(history, &within, allowed);
        numbers.push(Number::new(format!("longest request ({when})"), longest, "ms").limit(allowed));
        if let Some((what, event)) = stalled {
            broken.push(format!("{when}: a request took more than {allowed:.0} ms: {what}"));
            events.push(event);
        }
    }
    if !broken.is_empty() {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: broken.join("; "), events, samples, numbers });
    }
    let late = phases
        .first()
        .zip(phases.last())
        .and_then(|(first, last)| late_doubt(history, Duration::from_secs(1), first.from, last.to));
    let one_site = scope.deployment.sites.len() < 2;
    let notes = one_site.then(|| "one site: no other route could show a cut upstream".to_owned()).into_iter().collect();
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(before.err()).or(missing).or(late))
}
