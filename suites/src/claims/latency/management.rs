//! LAT-01 and LAT-02: up to which latency does a publish reach every replica, and what is seen beyond?

use super::{BEYOND, FETCHED, LATENCY_US, REGISTERED, UNSTEADY};
use crate::claims::common::{
    Phase, count, decided_by, doubt, end_of, late_doubt, len, ms, nanos, phase, phases, record_doubt, seconds, unless,
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
/// What an ingress says whose backend did not answer in time.
const GATEWAY_TIMEOUT: &str = "504";
/// What is said of the loss that the catalogue asks for.
const NO_LOSS: &str = "1 % loss is not tried: a relay of TCP connections cannot lose packets; what TCP makes of a loss is a delay now and then, which the jitter stands for";

pub(super) const LARGEST: &str = "largest latency that works";
pub(super) const LEAST_BAD: &str = "least latency that does not";
pub(super) const BROKEN_LINKS: &str = "unsteady links that do not work";

/// One latency that was tried.
struct Probe {
    /// Empty, or which of [`UNSTEADY`].
    variant: Name,
    latency_us: u64,
    event: usize,
    /// When the version was published, and which; `None` if none was.
    published: Option<(u64, u32)>,
    to: u64,
    /// Whether it came to its end: what is not there yet says nothing where the story was cut.
    ended: bool,
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
    let marks: Vec<(u64, Name, i64, usize)> = history.marks(LATENCY_US).collect();
    let mut probes = Vec::new();
    for (index, (at, variant, value, event)) in marks.iter().enumerate() {
        // Negative: no probe was under way.
        let Ok(latency_us) = u64::try_from(*value) else { continue };
        let next = marks.get(index.saturating_add(1)).map(|(next, ..)| *next);
        let to = next.unwrap_or_else(|| end_of(history));
        let published = history
            .marks(mark::PUBLISHED)
            .find(|(published, ..)| (*at..to).contains(published))
            .map(|(published, _, version, _)| (published, u32::try_from(version).unwrap_or(0)));
        let variant = *variant;
        let (ended, replicas) = (next.is_some(), Vec::new());
        let mut probe = Probe { variant, latency_us, event: *event, published, to, ended, replicas, answers: 0 };
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

/// Microseconds as seconds.
fn in_seconds(us: u64) -> f64 {
    count(us) / 1e6
}

pub(super) fn lat_01(scope: &Scope<'_>) -> Verdict {
    let (history, timeout) = match (scope.history("management-latency"), ingress_timeout(scope)) {
        (Ok(history), Ok(timeout)) => (history, timeout),
        (Err(verdict), _) | (_, Err(verdict)) => return verdict,
    };
    let margin = scope.parameters.duration("margin").max(LEAST_MARGIN);
    let must_us = u64::try_from(timeout.saturating_sub(margin).as_micros()).unwrap_or(u64::MAX);
    let (mut plain, unsteady): (Vec<Probe>, Vec<Probe>) =
        probes(history).into_iter().partition(|probe| history.text(probe.variant).is_empty());
    plain.sort_by_key(|probe| probe.latency_us);
    let all = || plain.iter().chain(&unsteady);
    let samples = all().fold(0_u64, |sum, probe| sum.saturating_add(probe.answers));
    let fails =
        |probe: &&Probe| probe.ended && probe.published.is_some() && !probe.replicas.is_empty() && !probe.converged();
    let good = plain.iter().take_while(|probe| probe.converged()).last();
    let bad = plain.iter().find(fails);
    let broken = unsteady.iter().filter(fails).count();
    let mut numbers = Vec::new();
    numbers.extend(good.map(|good| Number::new(LARGEST, in_seconds(good.latency_us), "s").limit(in_seconds(must_us))));
    numbers.extend(bad.map(|bad| Number::new(LEAST_BAD, in_seconds(bad.latency_us), "s").limit(in_seconds(must_us))));
    numbers.push(Number::new(BROKEN_LINKS, count(len(broken)), "").limit(0.0));
    numbers.push(Number::new("ingress timeout", timeout.as_secs_f64(), "s"));
    for probe in all() {
        numbers.extend(probe.times(history));
    }
    let too_early = bad.filter(|bad| bad.latency_us <= must_us);
    if let Some(bad) = too_early.or_else(|| unsteady.iter().find(fails)) {
        // Absence is what is shown here.
        if let Some(doubt) = doubt(history).or_else(|| bad.late(history)) {
            return Verdict::Inconclusive(doubt);
        }
        let decided = if too_early.is_none() {
            BROKEN_LINKS
        } else if good.is_some() {
            LARGEST
        } else {
            LEAST_BAD
        };
        let explanation = bad.told(history, timeout);
        let (events, numbers) = (vec![history.reference(bad.event)], decided_by(numbers, decided));
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
    let untried = || {
        let missing = UNSTEADY.into_iter().find(|variant| {
            !unsteady.iter().any(|probe| history.text(probe.variant) == *variant && probe.converged())
        })?;
        Some(Reason::new("too-few-samples", format!("no version was published over a link with `{missing}`")))
    };
    let unreached = || {
        all()
            .filter(|probe| probe.converged() && probe.latency_us <= must_us)
            .find_map(|probe| probe.unreached(history))
    };
    let notes =
        vec!["a limit by a timeout says nothing of a latency that is fit for use".to_owned(), NO_LOSS.to_owned()];
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(short).or_else(untried).or_else(unreached))
}

impl Probe {
    /// `15.000 s`, or `25.000 s (jitter)`.
    fn label(&self, history: &History) -> String {
        let variant = history.text(self.variant);
        let latency = in_seconds(self.latency_us);
        if variant.is_empty() { format!("{latency:.3} s") } else { format!("{latency:.3} s ({variant})") }
    }

    /// What the lab itself was told of one kind, in order: status, and microseconds.
    fn asked<'h>(&self, history: &'h History, kind: &str) -> impl Iterator<Item = (&'h str, u64)> {
        let (from, to) = (self.published.map_or(u64::MAX, |(from, _)| from), self.to);
        history
            .marks(kind)
            .filter(move |(at, ..)| (from..=to).contains(at))
            .map(|(_, status, took, _)| (history.text(status), u64::try_from(took).unwrap_or_default()))
    }

    /// How long the publish, the fetch and the registration took, as far as they worked.
    fn times(&self, history: &History) -> Vec<Number> {
        let label = self.label(history);
        let mut numbers = Vec::new();
        if let (true, Some((from, _))) = (self.converged(), self.published) {
            let last = self.replicas.iter().filter_map(|(_, at)| *at).max().unwrap_or(from);
            numbers.push(Number::new(
                format!("publish to last replica at {label}"),
                ms(last.saturating_sub(from)),
                "ms",
            ));
        }
        for (what, kind) in [("fetch", FETCHED), ("registration", REGISTERED)] {
            let took =
                self.asked(history, kind).filter(|(status, _)| status.starts_with('2')).map(|(_, took)| took).max();
            numbers.extend(took.map(|took| Number::new(format!("{what} at {label}"), count(took) / 1000.0, "ms")));
        }
        numbers
    }

    /// Why the environment itself did not carry what it must: then the gateway's success says nothing.
    fn unreached(&self, history: &History) -> Option<Reason> {
        let failed = [("fetch", FETCHED), ("registration", REGISTERED)].into_iter().find_map(|(what, kind)| {
            let mut asked = self.asked(history, kind).peekable();
            let none = asked.peek().is_none().then(|| "was not tried".to_owned());
            none.or_else(|| {
                asked.find(|(status, _)| !status.starts_with('2')).map(|(status, _)| format!("was answered {status}"))
            })
            .map(|how| format!("at {} a {what} of the lab {how}", self.label(history)))
        });
        failed.map(|text| Reason::new("too-few-samples", text))
    }

    /// Whether the harness was too late to see who got the version.
    fn late(&self, history: &History) -> Option<Reason> {
        let (from, _) = self.published?;
        late_doubt(history, Duration::from_nanos(self.to.saturating_sub(from)), from, self.to)
    }

    /// Who did not get the version.
    fn told(&self, history: &History, timeout: Duration) -> String {
        let missing: Vec<&str> =
            self.replicas.iter().filter(|(_, at)| at.is_none()).map(|(name, _)| history.text(*name)).collect();
        format!(
            "with {} of latency and an ingress timeout of {:.1} s, version {} was not seen at `{}` within {:.1} s",
            self.label(history),
            timeout.as_secs_f64(),
            self.published.map_or(0, |(_, version)| version),
            missing.join("`, `"),
            seconds(self.to.saturating_sub(self.published.map_or(self.to, |(at, _)| at))),
        )
    }
}

/// What is half applied in `from..to`: a route that is gone, a version that nobody published, or an older one after a newer.
fn half_applied(history: &History, from: u64, to: u64) -> Option<(String, EventRef)> {
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
        if (from..to).contains(&seen.sent) {
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

/// In the numbers of LAT-02.
pub(super) const HALF: &str = "answers that were half applied";
pub(super) const CONVERGED: &str = "drop of the latency to last replica";
pub(super) const BEHIND: &str = "not everywhere after the drop of the latency for";

pub(super) fn lat_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("management-latency") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let [little, far] = BEYOND.map(|variant| phase(history, &phases, "hold", variant));
    let (Some(little), Some(dropped)) = (little, phase(history, &phases, "settle", "dropped")) else {
        return Verdict::inconclusive("too-few-samples", "no publish was made beyond the ingress timeout");
    };
    if let Some((what, event)) = half_applied(history, little.from, dropped.to) {
        let explanation = format!("beyond the ingress timeout something was half applied: {what}");
        let numbers = vec![Number::new(HALF, 1.0, "at least").limit(0.0)];
        return Verdict::Violated(Counterexample { explanation, events: vec![event], samples: 1, numbers });
    }
    let published = |within: Phase| {
        let found = history.marks(mark::PUBLISHED).find(|(at, ..)| (within.from..within.to).contains(at));
        found.map(|(at, _, version, _)| (at, u32::try_from(version).unwrap_or(0)))
    };
    let (Some(first), Some(last)) = (published(little), far.and_then(published)) else {
        return Verdict::inconclusive("too-few-samples", "nothing was published beyond the ingress timeout");
    };
    let told = [Some(little), far].into_iter().flatten().find_map(|hold| timeout_not_read(history, hold));
    judge_converging(scope, history, Publishes { beyond: little, dropped, first, last, told })
}

/// Why the ingress was not seen to say that it gave up: then nothing was beyond its timeout.
fn timeout_not_read(history: &History, hold: Phase) -> Option<Reason> {
    let variant = history.text(hold.variant);
    let asked = |kind| history.marks(kind).filter(|(at, ..)| (hold.from..=hold.to).contains(at));
    let mut answers = asked(FETCHED).chain(asked(REGISTERED)).map(|(_, status, ..)| history.text(status)).peekable();
    let text = if answers.peek().is_none() {
        format!("nobody asked the ingress of the control plane in `{variant}`")
    } else {
        let other = answers.find(|status| *status != GATEWAY_TIMEOUT)?;
        format!("in `{variant}` the ingress of the control plane answered {other}, not {GATEWAY_TIMEOUT}")
    };
    Some(Reason::new("fault-not-proven", text))
}

/// What was published beyond the timeout, and when the latency dropped.
struct Publishes {
    beyond: Phase,
    dropped: Phase,
    /// When, and which version, at first.
    first: (u64, u32),
    /// The version that must be everywhere in the end.
    last: (u64, u32),
    /// Why the timeout was not in force.
    told: Option<Reason>,
}

fn judge_converging(scope: &Scope<'_>, history: &History, publishes: Publishes) -> Verdict {
    let Publishes { beyond, dropped, first: (at, _), last: (_, version), told } = publishes;
    let mut early = Probe {
        variant: beyond.variant,
        latency_us: 0,
        event: beyond.event,
        published: Some(publishes.first),
        to: dropped.from,
        ended: true,
        replicas: Vec::new(),
        answers: 0,
    };
    let watched_to = dropped.to;
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
    let watched = watched_to.saturating_sub(dropped.from);
    let limited = |name: &str, took: u64| Number::new(name, seconds(took), "s").limit(seconds(allowed));
    let mut numbers: Vec<Number> = took.map(|took| limited(CONVERGED, took)).into_iter().collect();
    let never = later.replicas.iter().any(|(_, at)| at.is_none());
    numbers.extend(never.then(|| limited(BEHIND, watched)));
    numbers.push(Number::new(HALF, 0.0, "").limit(0.0));
    let late = |at: &Option<u64>| at.map_or(watched >= allowed, |at| at.saturating_sub(dropped.from) > allowed);
    let behind: Vec<&str> =
        later.replicas.iter().filter(|(_, at)| late(at)).map(|(name, _)| history.text(*name)).collect();
    if !behind.is_empty() {
        let window = Duration::from_nanos(allowed);
        let stood_still = || late_doubt(history, window, dropped.from, dropped.from.saturating_add(allowed));
        if let Some(doubt) = record_doubt(history).or_else(stood_still) {
            return Verdict::Inconclusive(doubt);
        }
        let explanation = format!(
            "version {version}, published beyond the ingress timeout, was not seen at `{}` within {:.1} s of the drop of the latency ({:.1} s watched)",
            behind.join("`, `"),
            seconds(allowed),
            seconds(watched),
        );
        let decided = if never { BEHIND } else { CONVERGED };
        let (events, numbers) = (vec![history.reference(dropped.event)], decided_by(numbers, decided));
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
        doubt(history).or(told).or(through).or(unclear),
    )
}
