//! BAL-03: do requests for a backend of their own site stay there, whatever becomes of the links to other sites?

use super::crossings::{Crossings, own_away};
use super::{CUT, HEALED, REMOTE, SITE_LOCAL, SLOW};
use crate::claims::common::{
    Latencies, Phase, Seen, Service, count, decided_by, doubt, judged, late_doubt, phase, phases, record_doubt, steady,
    stream, unless,
};
use crate::claims::configuration::{Stretch, telling, words};
use crate::claims::latency::stall;
use crate::claims::pace::{Compared, Pace, compare};
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use std::time::Duration;

/// Least number of requests on local routes in the faults.
pub(super) const MINIMUM: u64 = 100;
/// Median of the remote route over a slow link, ms, that shows it to be slow: nine tenths of what the link was slowed by.
const SLOWED_MS: f64 = 180.0;
/// Share of remote requests that may still be answered over a link that carries nothing: those that were under way.
const LEFT: f64 = 0.1;

/// The stretches in which local routes are judged: variant of their `hold` phase, and words.
const VARIANTS: [(&str, &str); 4] = [
    (SLOW, "links between sites slow"),
    (CUT[0], "links between sites a black hole"),
    (CUT[1], "links between sites cut"),
    (HEALED, "links between sites healed"),
];

/// The number that decides where nothing is broken.
const STRAYED: &str = "local requests that arrived at another site";
const REMOTE_HEALED: &str = "success of the remote route (links between sites healed)";

/// What the remote route did in some stretches.
#[derive(Default)]
struct Remote {
    service: Service,
    latencies: Latencies,
    /// Answered 2xx before the stretch was over.
    in_time: u64,
    /// The first that was not answered 2xx.
    failed: Option<(String, EventRef)>,
}

impl Remote {
    fn read(history: &History, within: &[Phase]) -> Self {
        let mut found = Self::default();
        for seen in stream(history, REMOTE) {
            let at = seen.view.intended_at(history.events());
            let Some(phase) = within.iter().find(|phase| (phase.from..phase.to).contains(&at)) else { continue };
            if seen.is_given_up() {
                continue;
            }
            found.service.add(history, &seen);
            found.latencies.add(seen.latency_ms(history));
            if !answered(&seen) {
                found.failed.get_or_insert_with(|| (words(history, &seen), history.reference(telling(&seen))));
            } else if seen.ended() < phase.to {
                found.in_time = found.in_time.saturating_add(1);
            }
        }
        found
    }

    /// Share that was answered before the stretch was over, 0 to 1; `None` without samples.
    fn answered_in_time(&self) -> Option<f64> {
        (self.service.sent > 0).then(|| count(self.in_time) / count(self.service.sent))
    }
}

fn answered(seen: &Seen<'_>) -> bool {
    seen.outcome.is_some_and(|(_, _, answer)| answer.is_success())
}

/// What is broken (the name of the number that shows it, and words), with everything that was seen besides.
#[derive(Default)]
struct Found {
    broken: Vec<(String, String)>,
    events: Vec<EventRef>,
    numbers: Vec<Number>,
    /// Requests on local routes.
    samples: u64,
    /// Whether something is broken that does not depend on when it was seen.
    certain: bool,
    missing: Option<Reason>,
    busy: Option<Reason>,
}

impl Found {
    fn breaks(&mut self, number: &str, words: String) {
        self.broken.push((number.to_owned(), words));
    }

    fn lacks(&mut self, code: &str, text: String) {
        self.missing.get_or_insert_with(|| Reason::new(code, text));
    }

    /// Nothing may have left its site.
    fn crossings(&mut self, crossings: Crossings) {
        self.numbers.push(Number::new(STRAYED, count(crossings.strayed), "").limit(0.0));
        self.numbers.push(Number::new("local requests that arrived in their site", count(crossings.stayed), ""));
        self.numbers.push(Number::new(
            "local requests at another site while their own backend was away",
            count(crossings.failed_over),
            "",
        ));
        if crossings.strayed > 0 {
            self.certain = true;
            let text = format!(
                "{} requests for a backend of their own site arrived at another one while that was there; first: {}",
                crossings.strayed, crossings.first
            );
            self.breaks(STRAYED, text);
            self.events.extend(crossings.events);
        }
        if crossings.remote_at_home > 0 || crossings.remote == 0 {
            let text = format!(
                "requests on the remote route arrived {} times in another site and {} times in their own: no route needs the links between sites",
                crossings.remote, crossings.remote_at_home
            );
            self.lacks("no-remote-route", text);
        }
    }

    /// Local routes in one stretch, held against `base` (p95 in ms, and the steady stretch), if there is one.
    fn local(
        &mut self,
        scope: &Scope<'_>,
        history: &History,
        (within, when): (&[Phase], &str),
        base: Option<(f64, &[Phase])>,
    ) {
        let slo = scope.parameters.number("slo") / 100.0;
        let mut seen = Stretch::read(history, within, |_| true);
        if seen.service.sent == 0 {
            self.lacks("too-few-samples", format!("no local route was asked with {when}"));
            return;
        }
        self.samples = self.samples.saturating_add(seen.service.sent);
        self.numbers.extend(seen.numbers(slo, when));
        if let Some((number, words)) = seen.broken(slo, when) {
            self.certain |= seen.wrong.is_some();
            self.breaks(&number, words);
            self.events.append(&mut seen.events);
        }
        let allowed = scope.parameters.number("stall");
        let (longest, stalled) = stall(history, within, allowed);
        let number = format!("longest request ({when})");
        self.numbers.push(Number::new(&number, longest, "ms").limit(allowed));
        if let Some((what, event)) = stalled {
            self.breaks(&number, format!("{when}: a local request took more than {allowed:.0} ms: {what}"));
            self.events.push(event);
        }
        let ratio = scope.parameters.number("p95_ratio");
        let Some(base) = base else { return };
        let Some(compared) = compare(history, (&mut seen.traffic, within), base, ratio) else { return };
        let Compared { p95, limit, pace } = compared;
        let number = format!("p95 ({when})");
        self.numbers.extend(p95.map(|p95| Number::new(&number, p95, "ms").limit(limit)));
        let p95 = p95.unwrap_or(f64::INFINITY);
        match pace {
            Pace::Kept => {}
            Pace::Slower => {
                self.breaks(&number, format!("{when}: p95 was {p95:.1} ms; {limit:.1} ms are allowed"));
                self.events.extend(within.first().map(|phase| history.reference(phase.event)));
            }
            Pace::Busy(reason) => self.busy = self.busy.take().or(Some(reason)),
        }
    }

    /// The remote route must notice each fault: else nothing shows that it was between the sites.
    /// Once all is healed it must work again, if it did before (`worked`).
    fn remote(
        &mut self,
        history: &History,
        variant: &str,
        (within, when): (&[Phase], &str),
        (slo, worked): (f64, bool),
    ) {
        let mut seen = Remote::read(history, within);
        let (Some(success), Some(in_time)) = (seen.service.success(), seen.answered_in_time()) else {
            self.lacks("too-few-samples", format!("the remote route was not asked with {when}"));
            return;
        };
        if variant == SLOW {
            let median = seen.latencies.quantile(0.5).unwrap_or(f64::INFINITY);
            self.numbers.push(Number::new(format!("median of the remote route ({when})"), median, "ms"));
            if median < SLOWED_MS {
                let text = format!("`{SITE_LOCAL}`: {when}, and the median of the remote route was {median:.1} ms");
                self.lacks("fault-not-proven", text);
            }
        } else if variant == HEALED {
            self.numbers.push(Number::new(REMOTE_HEALED, success * 100.0, "%").limit(slo * 100.0));
            if worked && success < slo {
                let (first, event) = seen.failed.unzip();
                let text = format!(
                    "{when}: {:.2} % of {} requests on the remote route succeeded; {:.2} % are needed; first that did not: {}",
                    success * 100.0,
                    seen.service.sent,
                    slo * 100.0,
                    first.unwrap_or_default()
                );
                self.breaks(REMOTE_HEALED, text);
                self.events.extend(event);
            }
        } else {
            let share = in_time * 100.0;
            self.numbers.push(Number::new(format!("success of the remote route ({when})"), share, "%"));
            if in_time > LEFT {
                let text = format!("`{SITE_LOCAL}`: {when}, and {share:.1} % of the remote requests were answered");
                self.lacks("fault-not-proven", text);
            }
        }
    }
}

pub(super) fn bal_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SITE_LOCAL) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let of = |stream: &str| {
        steadily
            .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
            .and_then(|steadily| steady(history, stream, (steadily.from, steadily.to), slo))
    };
    let (before, remote_before) = (of(streams::TRAFFIC), of(REMOTE));
    let holds = |variant: &str| -> Vec<Phase> {
        let is = |phase: &&Phase| history.text(phase.phase) == "hold" && history.text(phase.variant) == variant;
        phases.iter().filter(is).map(|phase| judged(history, *phase)).collect()
    };
    let base = before.clone().ok().and_then(|mut service| service.paces.base());
    let mut found = Found::default();
    let away = own_away(history, &phases, scope.parameters.duration("recovers"));
    found.crossings(Crossings::read(scope, history, away));
    for (variant, when) in VARIANTS {
        let within = holds(variant);
        // What follows the last heal is no fault: its latencies are nobody's.
        let base = base.filter(|_| variant != HEALED).map(|base| (base, steadily.as_slice()));
        found.local(scope, history, (&within, when), base);
        found.remote(history, variant, (&within, when), (slo, remote_before.is_ok()));
    }
    found.numbers.extend(base.map(|base| Number::new("p95 before the faults", base, "ms")));
    let late = || {
        let stall = Duration::try_from_secs_f64(scope.parameters.number("stall") / 1000.0).unwrap_or_default();
        let mut judged = VARIANTS.into_iter().flat_map(|(variant, _)| holds(variant));
        judged.find_map(|phase| late_doubt(history, stall, phase.from, phase.to))
    };
    let Found { broken, mut events, numbers, samples, certain, missing, busy } = found;
    if let Some((decided, _)) = broken.first() {
        // What arrived where it must not did, however late the harness was and whatever the record lacks.
        if let Some(doubt) = (!certain).then(|| record_doubt(history).or_else(late)).flatten() {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers: decided_by(numbers, STRAYED), notes: Vec::new() });
    let unsteady = before.err().or(remote_before.err());
    unless(held, doubt(history).or(unsteady).or(missing).or_else(late).or(busy))
}
