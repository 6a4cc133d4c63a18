//! CFG-01: what do requests and policy canaries see while the control plane is away, and after it is back?

use super::{telling, words, wrong};
use crate::claims::common::{
    Phase, Service, count, doubt, late_doubt, latency_limit, nanos, phase, phases, record_doubt, seconds, steady,
    stream, unless,
};
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use std::time::Duration;

/// Least number of requests during the outage.
pub(super) const MINIMUM: u64 = 50;

/// What was seen in some stretches of the history.
#[derive(Default)]
pub(crate) struct Stretch {
    /// All requests that should succeed.
    pub(crate) service: Service,
    /// Open-loop traffic alone: its latencies are compared.
    pub(crate) traffic: Service,
    /// Canaries with an answer.
    pub(crate) canaries: u64,
    /// Wrong answers, in words, the first.
    pub(crate) wrong: Option<String>,
    /// The first requests that failed or were answered wrongly.
    pub(crate) events: Vec<EventRef>,
    wrong_count: u64,
}

impl Stretch {
    /// What `traffic` and `canary` saw in the stretches (of requests for which `counts` is true).
    pub(crate) fn read(history: &History, within: &[Phase], counts: impl Fn(&str) -> bool) -> Self {
        let mut found = Self::default();
        for name in [streams::TRAFFIC, streams::CANARY] {
            for seen in stream(history, name) {
                let at = seen.view.intended_at(history.events());
                if !within.iter().any(|phase| (phase.from..phase.to).contains(&at))
                    || !counts(history.text(seen.asked.site))
                {
                    continue;
                }
                let refused = seen.asked.credential.must_refuse();
                let mut tells = false;
                if let Some(what) = wrong(&seen) {
                    tells = true;
                    found.wrong_count = found.wrong_count.saturating_add(1);
                    found.wrong.get_or_insert_with(|| format!("{} {what}", words(history, &seen)));
                }
                if refused {
                    found.canaries = found.canaries.saturating_add(u64::from(seen.status() != 0));
                } else {
                    found.service.add(history, &seen);
                    tells |= !seen.outcome.is_some_and(|(_, _, answer)| answer.is_success());
                    if name == streams::TRAFFIC {
                        found.traffic.add(history, &seen);
                    }
                }
                if tells && found.events.len() < 3 {
                    found.events.push(history.reference(telling(&seen)));
                }
            }
        }
        found
    }

    /// What is broken, in words.
    pub(crate) fn broken(&self, slo: f64, when: &str) -> Option<String> {
        if let Some(first) = &self.wrong {
            return Some(format!("{when}, {} answers were wrong; first: {first}", self.wrong_count));
        }
        let success = self.service.success()?;
        (success < slo).then(|| {
            format!(
                "{when}, {:.2} % of {} requests succeeded; {:.2} % are needed",
                success * 100.0,
                self.service.sent,
                slo * 100.0
            )
        })
    }
}

pub(super) fn cfg_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("control-plane-outage") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let before = phase(history, &phases, "steady", "")
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, steadily.from, steadily.to, slo));
    let holds: Vec<Phase> = phases.iter().filter(|phase| history.text(phase.phase) == "hold").copied().collect();
    let settles: Vec<Phase> = phases.iter().filter(|phase| history.text(phase.phase) == "settle").copied().collect();
    let mut during = Stretch::read(history, &holds, |_| true);
    let settled = Stretch::read(history, &settles, |_| true);
    let length = holds.iter().fold(0_u64, |sum, hold| sum.saturating_add(hold.to.saturating_sub(hold.from)));
    let mut numbers = vec![Number::new("outage", seconds(length), "s")];
    let percent = |service: &Service| service.success().map(|success| success * 100.0);
    numbers.extend(
        percent(&during.service).map(|success| Number::new("success in the outage", success, "%").limit(slo * 100.0)),
    );
    numbers.extend(
        percent(&settled.service)
            .map(|success| Number::new("success after the outage", success, "%").limit(slo * 100.0)),
    );
    let ratio = scope.parameters.number("p95_ratio");
    let mut slow = None;
    if let (Ok(base), Some(p95)) = (before.clone().map(|mut base| base.latencies.p95()), during.traffic.latencies.p95())
        && let Some(base) = base
    {
        let limit = latency_limit(base, ratio);
        numbers.push(Number::new("p95 before the outage", base, "ms"));
        numbers.push(Number::new("p95 in the outage", p95, "ms").limit(limit));
        slow = (p95 > limit).then(|| format!("in the outage p95 was {p95:.1} ms; {limit:.1} ms are allowed"));
    }
    let samples = during.service.sent.saturating_add(during.canaries);
    let problems = [
        during.broken(slo, "in the outage"),
        slow,
        settled.broken(slo, "after the outage, with the control plane back"),
    ];
    let broken: Vec<String> = problems.into_iter().flatten().collect();
    if !broken.is_empty() {
        let mut events = during.events;
        events.extend(settled.events);
        events.extend(holds.first().map(|hold| history.reference(hold.event)));
        events.truncate(3);
        let found = Verdict::Violated(Counterexample { explanation: broken.join("; "), events, samples, numbers });
        // A request without an answer counts against it only where the record is whole.
        return match record_doubt(history).filter(|_| during.wrong.is_none() && settled.wrong.is_none()) {
            Some(doubt) => Verdict::Inconclusive(doubt),
            None => found,
        };
    }
    let wanted = nanos(scope.parameters.duration("outage")) / 10 * 9;
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    let missing = if length < wanted {
        few("the control plane was not away long enough")
    } else if during.canaries == 0 {
        few("no policy canary was answered in the outage")
    } else if settled.service.sent == 0 {
        few("nothing was asked after the outage")
    } else {
        None
    };
    let late = holds
        .first()
        .zip(holds.last())
        .and_then(|(first, last)| late_doubt(history, Duration::from_nanos(length), first.from, last.to));
    numbers.push(Number::new("policy canaries in the outage", count(during.canaries), ""));
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(before.err()).or(missing).or(late))
}
