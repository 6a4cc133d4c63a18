//! CFG-01: what do requests and policy canaries see while the control plane is away, and after it is back?

use super::{telling, words, wrong};
use crate::claims::common::{
    Phase, Service, count, decided_by, doubt, judged, late_doubt, nanos, phase, phases, record_doubt, seconds, steady,
    stream, unless,
};
use crate::claims::pace::{Compared, Pace, compare};
use crate::claims::quota::Canaries;
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
                } else if !seen.is_given_up() {
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

    /// The numbers of the stretch: its success and its wrong answers, held against `slo` (0 to 1) and none.
    pub(crate) fn numbers(&self, slo: f64, when: &str) -> Vec<Number> {
        let success = self.service.success();
        let success = success.map(|share| Number::new(success_name(when), share * 100.0, "%").limit(slo * 100.0));
        let wrong = Number::new(wrong_name(when), count(self.wrong_count), "").limit(0.0);
        success.into_iter().chain([wrong]).collect()
    }

    /// What is broken: the name of the number that shows it, and words.
    pub(crate) fn broken(&self, slo: f64, when: &str) -> Option<(String, String)> {
        if let Some(first) = &self.wrong {
            let words = format!("{when}: {} answers were wrong; first: {first}", self.wrong_count);
            return Some((wrong_name(when), words));
        }
        let success = self.service.success()?;
        (success < slo).then(|| {
            let words = format!(
                "{when}: {:.2} % of {} requests succeeded; {:.2} % are needed",
                success * 100.0,
                self.service.sent,
                slo * 100.0
            );
            (success_name(when), words)
        })
    }
}

fn success_name(when: &str) -> String {
    format!("success ({when})")
}

fn wrong_name(when: &str) -> String {
    format!("wrong answers ({when})")
}

/// Latencies of the outage, in the numbers.
const P95: &str = "p95 (in the outage)";
const DURING: &str = "in the outage";
const AFTER: &str = "after the outage, with the control plane back";

pub(super) fn cfg_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("control-plane-outage") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let before = steadily
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, (steadily.from, steadily.to), slo));
    let of = |name: &str| -> Vec<Phase> {
        let of_name = phases.iter().filter(|phase| history.text(phase.phase) == name);
        of_name.map(|phase| judged(history, *phase)).collect()
    };
    let (holds, settles) = (of("hold"), of("settle"));
    let mut during = Stretch::read(history, &holds, |_| true);
    let settled = Stretch::read(history, &settles, |_| true);
    let quota = Canaries::read(scope.deployment, history, &holds);
    let length = holds.iter().fold(0_u64, |sum, hold| sum.saturating_add(hold.to.saturating_sub(hold.from)));
    let mut numbers = during.numbers(slo, DURING);
    numbers.extend(settled.numbers(slo, AFTER));
    numbers.extend(quota.number());
    let mut problems: Vec<(String, String)> = Vec::new();
    problems.extend(during.broken(slo, DURING));
    problems.extend(quota.broken());
    let ratio = scope.parameters.number("p95_ratio");
    let base = before.clone().ok().and_then(|mut before| before.paces.base());
    let mut busy = None;
    if let Some(base) = base
        && let Some(compared) = compare(history, (&mut during.traffic, &holds), (base, steadily.as_slice()), ratio)
    {
        let Compared { p95, limit, pace } = compared;
        numbers.extend(p95.map(|p95| Number::new(P95, p95, "ms").limit(limit)));
        numbers.push(Number::new("p95 before the outage", base, "ms"));
        let p95 = p95.unwrap_or(f64::INFINITY);
        match pace {
            Pace::Kept => {}
            Pace::Slower => {
                problems.push((P95.to_owned(), format!("{DURING}: p95 was {p95:.1} ms; {limit:.1} ms are allowed")));
            }
            Pace::Busy(reason) => busy = Some(reason),
        }
    }
    problems.extend(settled.broken(slo, AFTER));
    let wanted = nanos(scope.parameters.duration("outage"));
    numbers.push(Number::new("outage", seconds(length), "s"));
    numbers.push(Number::new("policy canaries in the outage", count(during.canaries), ""));
    let samples = during.service.sent.saturating_add(during.canaries);
    let late = || {
        let window = |hold: &Phase| Duration::from_nanos(hold.to.saturating_sub(hold.from));
        holds.iter().find_map(|hold| late_doubt(history, window(hold), hold.from, hold.to))
    };
    if let Some((decided, _)) = problems.first() {
        // A request without an answer counts against it only where the record is whole, a slow one only where the
        // harness was not slow itself; a wrong answer always does.
        let certain = during.wrong.is_some() || settled.wrong.is_some() || quota.broken().is_some();
        let doubt = || record_doubt(history).or_else(late);
        if let Some(doubt) = (!certain).then(doubt).flatten() {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        let mut events = during.events;
        events.extend(quota.events);
        events.extend(settled.events);
        events.extend(holds.first().map(|hold| history.reference(hold.event)));
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    let missing = if length < wanted / 10 * 9 {
        few("the control plane was not away long enough")
    } else if during.canaries == 0 {
        few("no policy canary was answered in the outage")
    } else if settled.service.sent == 0 {
        few("nothing was asked after the outage")
    } else {
        quota.missing()
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(before.err()).or(missing).or_else(late).or(busy))
}
