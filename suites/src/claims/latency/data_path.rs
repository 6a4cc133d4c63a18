//! LAT-03: does the data path notice that management is slow or away, or another site that an upstream is?

use super::UPSTREAM_CUT;
use crate::claims::common::{
    Phase, decided_by, doubt, end_of, judged, late_doubt, ms, phase, phases, record_doubt, steady, stream, unless,
};
use crate::claims::configuration::Stretch;
use crate::claims::configuration::{telling, words};
use crate::claims::pace::{Compared, Pace, compare};
use crate::claims::recovery::Recovery;
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use std::time::Duration;

/// Least number of requests in the faults of management.
pub(super) const MINIMUM: u64 = 100;

/// The stretches: variant of their `hold` phase, and words.
const VARIANTS: [(&str, &str); 4] = [
    ("delay", "management slow"),
    ("timeout", "management slower than its timeout"),
    ("blackhole", "management away"),
    ("upstream", "other sites, one cut off its upstream"),
];

/// Of the traffic within some stretches: the first request that took longer than a stall may, and how long the longest did (ms).
pub(crate) fn stall(history: &History, within: &[Phase], allowed_ms: f64) -> (f64, Option<(String, EventRef)>) {
    let (mut longest, mut first) = (0.0_f64, None);
    for seen in stream(history, streams::TRAFFIC) {
        let at = seen.view.intended_at(history.events());
        if !within.iter().any(|phase| (phase.from..phase.to).contains(&at)) {
            continue;
        }
        // One that was given up took at least as long as it was waited for.
        let took = seen.latency_ms(history).unwrap_or_else(|| ms(end_of(history).saturating_sub(at)));
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
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let before = steadily
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, (steadily.from, steadily.to), slo));
    let of = |variant: &str| -> Vec<Phase> {
        let is = |phase: &&Phase| history.text(phase.phase) == "hold" && history.text(phase.variant) == variant;
        phases.iter().filter(is).map(|phase| judged(history, *phase)).collect()
    };
    let base = before.clone().ok().and_then(|mut service| service.paces.base());
    let cut = history.marks(UPSTREAM_CUT).next().map(|(_, site, ..)| history.text(site).to_owned());
    // Name of the number that shows it, and words.
    let mut broken: Vec<(String, String)> = Vec::new();
    let (mut events, mut numbers, mut samples) = (Vec::new(), Vec::new(), 0_u64);
    // A wrong answer or an error is the gateway's, however late the harness was.
    let mut certain = false;
    let (mut missing, mut busy) = (None, None);
    for (variant, when) in VARIANTS {
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
        numbers.extend(seen.numbers(slo, when));
        if let Some(what) = seen.broken(slo, when) {
            certain |= seen.wrong.is_some();
            broken.push(what);
            events.append(&mut seen.events);
        }
        let ratio = scope.parameters.number(if upstream { "other_ratio" } else { "p95_ratio" });
        if let Some(base) = base
            && let Some(compared) = compare(history, (&mut seen.traffic, &within), (base, steadily.as_slice()), ratio)
        {
            let Compared { p95, limit, pace } = compared;
            let name = format!("p95 ({when})");
            numbers.extend(p95.map(|p95| Number::new(&name, p95, "ms").limit(limit)));
            let p95 = p95.unwrap_or(f64::INFINITY);
            match pace {
                Pace::Kept => {}
                Pace::Slower => {
                    broken.push((name, format!("{when}: p95 was {p95:.1} ms; {limit:.1} ms are allowed")));
                    events.extend(within.first().map(|phase| history.reference(phase.event)));
                }
                Pace::Busy(reason) => busy = busy.or(Some(reason)),
            }
        }
        if upstream {
            continue;
        }
        let allowed = scope.parameters.number("stall");
        let (longest, stalled) = stall(history, &within, allowed);
        let name = format!("longest request ({when})");
        numbers.push(Number::new(&name, longest, "ms").limit(allowed));
        if let Some((what, event)) = stalled {
            broken.push((name, format!("{when}: a request took more than {allowed:.0} ms: {what}")));
            events.push(event);
        }
    }
    let mut after = Recovery::default();
    let settle = phase(history, &phases, "settle", "");
    after.judge(scope, history, settle, ("all faults", slo), stream(history, streams::TRAFFIC));
    numbers.append(&mut after.numbers);
    // Without a break the slowest stretch decided: the one that came nearest to its limit.
    let nearest = nearest_p95(&numbers);
    numbers.extend(base.map(|base| Number::new("p95 before the faults", base, "ms")));
    let late = || {
        let stall = Duration::try_from_secs_f64(scope.parameters.number("stall") / 1000.0).unwrap_or_default();
        let mut judged = VARIANTS.into_iter().flat_map(|(variant, _)| of(variant));
        judged.find_map(|phase| late_doubt(history, stall, phase.from, phase.to))
    };
    // What a late harness may have made is not told beside what it has not.
    let late_then = if certain || broken.is_empty() { None } else { late() };
    if late_then.is_some() && !after.broken.is_empty() {
        broken.clear();
        events.clear();
    }
    let excuse = late_then.filter(|_| after.broken.is_empty());
    broken.append(&mut after.broken);
    events.append(&mut after.events);
    if let Some((decided, _)) = broken.first() {
        if let Some(doubt) = record_doubt(history).or(excuse) {
            return Verdict::Inconclusive(doubt);
        }
        events.truncate(3);
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let one_site = scope.deployment.sites.len() < 2;
    let notes = one_site.then(|| "one site: no other route could show a cut upstream".to_owned()).into_iter().collect();
    let numbers = decided_by(numbers, &nearest);
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(before.err()).or(missing).or(after.missing).or_else(late).or(busy))
}

/// Name of the p95 that came nearest to its limit, or went furthest beyond.
fn nearest_p95(numbers: &[Number]) -> String {
    let share = |number: &&Number| number.limit.map_or(0.0, |limit| number.value / limit.max(f64::MIN_POSITIVE));
    let all = numbers.iter().filter(|number| number.name.starts_with("p95"));
    all.max_by(|a, b| share(a).total_cmp(&share(b))).map(|number| number.name.clone()).unwrap_or_default()
}
