//! LAT-01 and LAT-02: up to which latency does a publish reach every replica, and what is seen beyond?

use super::LATENCY_US;
use crate::claims::common::{
    Phase, count, doubt, end_of, len, ms, nanos, phase, phases, record_doubt, seconds, unless,
};
use crate::claims::common::{Seen, stream};
use crate::claims::configuration::{telling, words};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Least number of answers that were looked at.
pub(super) const MINIMUM: u64 = 10;
/// Timers and a busy machine are never sharper than this.
const LEAST_MARGIN: Duration = Duration::from_millis(100);
/// On top of what LAT-02 allows.
const FLOOR: Duration = Duration::from_millis(500);

/// One latency that was tried.
struct Probe {
    latency_us: u64,
    event: usize,
    /// When the version was published, and which; `None` if none was.
    published: Option<(u64, u32)>,
    to: u64,
    /// Replicas that were asked, and when each first answered with the version.
    replicas: Vec<(Name, Option<u64>)>,
    answers: u64,
}

impl Probe {
    fn converged(&self) -> bool {
        self.published.is_some() && !self.replicas.is_empty() && self.replicas.iter().all(|(_, at)| at.is_some())
    }

    fn read(&mut self, seen: &Seen<'_>) {
        let (Some((from, version)), Some((ended, _, answer))) = (self.published, seen.outcome) else { return };
        if seen.sent < from || ended > self.to || seen.asked.credential.must_refuse() {
            return;
        }
        self.answers = self.answers.saturating_add(1);
        let replica = seen.asked.target;
        let known = self.replicas.iter().position(|(name, _)| *name == replica).unwrap_or_else(|| {
            self.replicas.push((replica, None));
            self.replicas.len().saturating_sub(1)
        });
        if let Some((_, first)) = self.replicas.get_mut(known)
            && answer.version >= version
        {
            *first = Some(first.map_or(ended, |first| first.min(ended)));
        }
    }
}

fn probes(history: &History) -> Vec<Probe> {
    let marks: Vec<(u64, i64, usize)> =
        history.marks(LATENCY_US).map(|(at, _, value, event)| (at, value, event)).collect();
    let mut probes = Vec::new();
    for (index, (at, value, event)) in marks.iter().enumerate() {
        // Negative: no probe was under way.
        let Ok(latency_us) = u64::try_from(*value) else { continue };
        let to = marks.get(index.saturating_add(1)).map_or(end_of(history), |(next, ..)| *next);
        let published = history
            .marks(mark::PUBLISHED)
            .find(|(published, ..)| (*at..to).contains(published))
            .map(|(published, _, version, _)| (published, u32::try_from(version).unwrap_or(0)));
        let mut probe = Probe { latency_us, event: *event, published, to, replicas: Vec::new(), answers: 0 };
        for seen in stream(history, streams::MANAGEMENT) {
            probe.read(&seen);
        }
        probes.push(probe);
    }
    probes
}

/// The timeout of the ingress between gateways and control plane.
fn ingress_timeout(scope: &Scope<'_>) -> Result<Duration, Verdict> {
    let plane = scope.deployment.control_plane.as_ref();
    plane
        .map(|plane| plane.ingress_timeout)
        .ok_or_else(|| Verdict::NotApplicable(Reason::new("no-control-plane", "the deployment has no control plane")))
}

pub(super) fn lat_01(scope: &Scope<'_>) -> Verdict {
    let (history, timeout) = match (scope.history("management-latency"), ingress_timeout(scope)) {
        (Ok(history), Ok(timeout)) => (history, timeout),
        (Err(verdict), _) | (_, Err(verdict)) => return verdict,
    };
    let margin = scope.parameters.duration("margin").max(LEAST_MARGIN);
    let must_us = u64::try_from(timeout.saturating_sub(margin).as_micros()).unwrap_or(u64::MAX);
    let mut probes = probes(history);
    probes.sort_by_key(|probe| probe.latency_us);
    let samples = probes.iter().fold(0_u64, |sum, probe| sum.saturating_add(probe.answers));
    let asked = |probe: &&Probe| probe.published.is_some() && !probe.replicas.is_empty();
    let good = probes.iter().take_while(|probe| probe.converged()).last();
    let bad = probes.iter().filter(asked).find(|probe| !probe.converged());
    let in_seconds = |us: u64| count(us) / 1e6;
    let mut numbers = vec![Number::new("ingress timeout", timeout.as_secs_f64(), "s")];
    numbers.extend(good.map(|good| {
        Number::new("largest latency that works", in_seconds(good.latency_us), "s").limit(in_seconds(must_us))
    }));
    numbers.extend(bad.map(|bad| Number::new("least latency that does not", in_seconds(bad.latency_us), "s")));
    for probe in probes.iter().filter(|probe| probe.converged()) {
        let took = probe.replicas.iter().filter_map(|(_, at)| *at).max().zip(probe.published);
        numbers.extend(took.map(|(at, (from, _))| {
            let name = format!("publish to last replica at {:.3} s", in_seconds(probe.latency_us));
            Number::new(name, ms(at.saturating_sub(from)), "ms")
        }));
    }
    if let Some(bad) = bad.filter(|bad| bad.latency_us <= must_us) {
        // Absence is what is shown here.
        if let Some(doubt) = doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let missing: Vec<&str> =
            bad.replicas.iter().filter(|(_, at)| at.is_none()).map(|(name, _)| history.text(*name)).collect();
        let explanation = format!(
            "with {:.3} s of latency and an ingress timeout of {:.1} s, version {} was not seen at `{}` within {:.1} s",
            in_seconds(bad.latency_us),
            timeout.as_secs_f64(),
            bad.published.map_or(0, |(_, version)| version),
            missing.join("`, `"),
            seconds(bad.to.saturating_sub(bad.published.map_or(bad.to, |(at, _)| at))),
        );
        let events = vec![history.reference(bad.event)];
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let reached = good.is_some_and(|good| good.latency_us.saturating_add(1000) >= must_us);
    let short = (!reached).then(|| {
        let most = good.map_or(0, |good| good.latency_us);
        let text = format!(
            "the largest latency that was tried and works is {:.3} s; {:.3} s are needed",
            in_seconds(most),
            in_seconds(must_us)
        );
        Reason::new("too-few-samples", text)
    });
    let notes = vec!["a limit by a timeout says nothing of a latency that is fit for use".to_owned()];
    unless(Verdict::holds(MINIMUM, Evidence { samples, numbers, notes }), doubt(history).or(short))
}

/// What is half applied: a route that is gone, a version that nobody published, or an older one after a newer.
fn half_applied(history: &History, from: u64) -> Option<(String, EventRef)> {
    let published: Vec<(u64, u32)> =
        history.marks(mark::PUBLISHED).map(|(at, _, version, _)| (at, u32::try_from(version).unwrap_or(0))).collect();
    // Replica, end and version of the newest answer that ended before the one that is looked at was sent.
    let mut answered: Vec<(Name, u64, u32)> = Vec::new();
    let mut seen: Vec<Seen<'_>> =
        [streams::MANAGEMENT, streams::CANARY].iter().flat_map(|name| stream(history, name)).collect();
    seen.retain(|seen| seen.status() != 0);
    seen.sort_by_key(Seen::ended);
    for seen in &seen {
        let Some((ended, _, answer)) = seen.outcome else { continue };
        if seen.sent >= from {
            let told =
                |what: &str| Some((format!("{}: {what}", words(history, seen)), history.reference(telling(seen))));
            if answer.status == 404 {
                return told("the route is gone");
            }
            // The mark is written just after the control plane has the version: the next one may be seen early.
            let newest = published.iter().filter(|(at, _)| *at <= ended).map(|(_, version)| *version).max();
            let soon = published
                .iter()
                .any(|(at, version)| *version == answer.version && at.saturating_sub(ended) < 1_000_000_000);
            if newest.is_some_and(|newest| answer.version > newest) && !soon {
                return told(&format!("version {} was never published", answer.version));
            }
            let newer = answered.iter().rev().find(|(replica, before, version)| {
                *replica == seen.asked.target && *before < seen.sent && *version > answer.version
            });
            if let Some((_, _, version)) = newer.filter(|_| answer.version > 0) {
                return told(&format!("version {} after version {version}", answer.version));
            }
        }
        if answer.version > 0 && !answered.iter().any(|(of, _, had)| *of == seen.asked.target && *had == answer.version)
        {
            answered.push((seen.asked.target, ended, answer.version));
        }
    }
    None
}

pub(super) fn lat_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("management-latency") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let (beyond, dropped) = (phase(history, &phases, "hold", "beyond"), phase(history, &phases, "settle", "dropped"));
    let (Some(beyond), Some(dropped)) = (beyond, dropped) else {
        return Verdict::inconclusive("too-few-samples", "no publish was made beyond the ingress timeout");
    };
    if let Some((what, event)) = half_applied(history, beyond.from) {
        let explanation = format!("beyond the ingress timeout something was half applied: {what}");
        let (events, numbers) = (vec![event], Vec::new());
        return Verdict::Violated(Counterexample { explanation, events, samples: 1, numbers });
    }
    let published = history
        .marks(mark::PUBLISHED)
        .find(|(at, ..)| (beyond.from..beyond.to).contains(at))
        .map(|(at, _, version, _)| (at, u32::try_from(version).unwrap_or(0)));
    let Some(published) = published else {
        return Verdict::inconclusive("too-few-samples", "nothing was published beyond the ingress timeout");
    };
    judge_converging(scope, history, beyond, dropped, published)
}

fn judge_converging(
    scope: &Scope<'_>,
    history: &History,
    beyond: Phase,
    dropped: Phase,
    (at, version): (u64, u32),
) -> Verdict {
    let mut early = Probe {
        latency_us: 0,
        event: beyond.event,
        published: Some((at, version)),
        to: beyond.to,
        replicas: Vec::new(),
        answers: 0,
    };
    let watched_to = end_of(history);
    let mut later = Probe {
        event: dropped.event,
        published: Some((dropped.from, version)),
        to: watched_to,
        replicas: Vec::new(),
        ..early
    };
    for name in [streams::MANAGEMENT, streams::CANARY] {
        for seen in stream(history, name) {
            early.read(&seen);
            later.read(&seen);
        }
    }
    let samples = early.answers.saturating_add(later.answers);
    let allowed = nanos(scope.parameters.duration("converge").saturating_add(FLOOR));
    let took = later.replicas.iter().filter_map(|(_, at)| *at).max().map(|last| last.saturating_sub(dropped.from));
    let numbers: Vec<Number> = took
        .map(|took| Number::new("drop of the latency to last replica", seconds(took), "s").limit(seconds(allowed)))
        .into_iter()
        .collect();
    let watched = watched_to.saturating_sub(dropped.from);
    let late = |at: &Option<u64>| at.map_or(watched >= allowed, |at| at.saturating_sub(dropped.from) > allowed);
    let behind: Vec<&str> =
        later.replicas.iter().filter(|(_, at)| late(at)).map(|(name, _)| history.text(*name)).collect();
    if !behind.is_empty() {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let explanation = format!(
            "version {version}, published beyond the ingress timeout, was not seen at `{}` within {:.1} s of the drop of the latency ({:.1} s watched)",
            behind.join("`, `"),
            seconds(allowed),
            seconds(watched),
        );
        let events = vec![history.reference(dropped.event)];
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let through = early.replicas.iter().find(|(_, at)| at.is_some()).map(|(name, _)| {
        let text =
            format!("`{}` got version {version} although the latency was beyond the timeout", history.text(*name));
        Reason::new("fault-not-proven", text)
    });
    let few = |text: String| Some(Reason::new("too-few-samples", text));
    let timeout = scope.deployment.control_plane.as_ref().map_or(0, |plane| nanos(plane.ingress_timeout));
    let unclear = if early.replicas.is_empty() || later.replicas.len() < early.replicas.len() {
        few("not every replica was asked beyond the timeout and after it".to_owned())
    } else if beyond.to.saturating_sub(at) < timeout {
        few("the latency dropped before the timeout could bite".to_owned())
    } else if later.converged() {
        None
    } else {
        few(format!("{} replicas were watched for only {:.1} s", len(later.replicas.len()), seconds(watched)))
    };
    unless(
        Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() }),
        doubt(history).or(through).or(unclear),
    )
}
