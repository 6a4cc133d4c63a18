//! How each load of an overload went: what was offered, what came of it, how long it took. OVL-01 judges the highest.

use super::{KILLED, OFFERED, OVER, PEAK, PRESSED, STEPS};
use crate::claims::common::{
    Latencies, Phase, Seen, count, decided_by, doubt_beside, late_doubt, len, nanos, phases, record_doubt, seconds,
    stream, unless,
};
use crate::claims::configuration::telling;
use crate::claims::lives::Lives;
use gatecrash_model::calm::ENOUGH;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::ReplicaState;
use gatecrash_model::operation::{Definite, Effect, Indefinite, stream as streams};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{Deployment, History};
use std::time::Duration;

/// Least number of requests that are judged.
pub(super) const MINIMUM: u64 = 200;
/// Shorter windows hold too few requests to say that none succeeded.
const LEAST_WINDOW: Duration = Duration::from_millis(250);
/// A harness that was later than a tenth of this bends what is judged here.
const CERTAIN: Duration = Duration::from_secs(1);

/// The fault that comes last, and of which only OVL-03 says anything.
pub(super) const PRESSURE: &str = "pressure";

/// Why the history as a whole shows nothing, but for pressure on processors.
pub(super) fn doubt(history: &History) -> Option<Reason> {
    doubt_beside(history, PRESSURE)
}

/// What is broken: the name of the number that shows it, words, and an event.
pub(super) type Broken = (String, String, Option<EventRef>);

/// One load: a phase in which so much was offered.
#[derive(Debug)]
pub(super) struct Load {
    /// Its phase.
    pub(super) phase: Phase,
    /// Requests a second.
    pub(super) offered: f64,
    /// Requests that were due in it.
    pub(super) sent: u64,
    /// Of these, refused or broken connections.
    pub(super) broken: u64,
    first_broken: Option<EventRef>,
    /// Of these, answered otherwise than 2xx.
    pub(super) errors: u64,
    /// The first of those.
    pub(super) first_error: Option<EventRef>,
    /// How long those took that were answered 2xx or never.
    pub(super) latencies: Latencies,
    /// When answers 2xx came in it, ns; in no order.
    answers: Vec<u64>,
}

impl Load {
    fn of(history: &History, phase: Phase) -> Self {
        let offered = history.marks(OFFERED).find(|(at, ..)| (phase.from..phase.to).contains(at));
        let thousandths = offered.and_then(|(.., value, _)| u32::try_from(value).ok()).unwrap_or_default();
        Self {
            phase,
            offered: f64::from(thousandths) / 1000.0,
            sent: 0,
            broken: 0,
            first_broken: None,
            errors: 0,
            first_error: None,
            latencies: Latencies::default(),
            answers: Vec::new(),
        }
    }

    fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if seen.is_given_up() {
            return;
        }
        self.sent = self.sent.saturating_add(1);
        let reference = || Some(history.reference(telling(seen)));
        match seen.outcome.map(|(_, effect, answer)| (effect, answer.status)) {
            Some((_, 200..300)) => self.latencies.add(seen.latency_ms(history)),
            Some((_, 1..)) => {
                self.errors = self.errors.saturating_add(1);
                self.first_error = self.first_error.take().or_else(reference);
            }
            Some((
                Effect::Failed(Definite::Refused | Definite::ConnectTimeout) | Effect::Unknown(Indefinite::Broken),
                _,
            )) => {
                self.broken = self.broken.saturating_add(1);
                self.first_broken = self.first_broken.take().or_else(reference);
            }
            Some((_, 0)) | None => self.latencies.add(None),
        }
    }

    /// Answers 2xx a second.
    pub(super) fn goodput(&self) -> f64 {
        count(len(self.answers.len())) / seconds(self.phase.to.saturating_sub(self.phase.from)).max(1e-3)
    }

    /// Share of all that were sent, 0 to 1.
    pub(super) fn share(&self, part: u64) -> f64 {
        count(part) / count(self.sent).max(1.0)
    }

    /// Longest time without an answer 2xx, ns.
    fn silence(&self) -> u64 {
        let mut edges = self.answers.clone();
        edges.extend([self.phase.from, self.phase.to]);
        edges.sort_unstable();
        let gaps = edges.windows(2).filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?)));
        gaps.max().unwrap_or_default()
    }
}

/// All loads of a history in order: phases with an offer.
pub(super) fn loads(history: &History) -> Vec<Load> {
    let mut loads: Vec<Load> = phases(history).into_iter().map(|phase| Load::of(history, phase)).collect();
    loads.retain(|load| load.offered > 0.0);
    for seen in stream(history, streams::TRAFFIC) {
        if let Some(load) = at(&mut loads, seen.view.intended_at(history.events())) {
            load.add(history, &seen);
        }
        if let Some((ended, _, answer)) = seen.outcome
            && answer.is_success()
            && let Some(load) = at(&mut loads, ended)
        {
            load.answers.push(ended);
        }
    }
    loads
}

/// The load in force at `at` (ns).
fn at(loads: &mut [Load], at: u64) -> Option<&mut Load> {
    loads.iter_mut().find(|load| (load.phase.from..load.phase.to).contains(&at))
}

/// The load of this variant, of a phase of this name.
pub(super) fn load<'l>(history: &History, loads: &'l [Load], phase: &str, variant: &str) -> Option<&'l Load> {
    let is = |load: &&Load| history.text(load.phase.phase) == phase && history.text(load.phase.variant) == variant;
    loads.iter().find(is)
}

/// The steps of the ramp that were seen, in order.
pub(super) fn steps<'l>(history: &History, loads: &'l [Load]) -> Vec<&'l Load> {
    (1..=STEPS).filter_map(|step| load(history, loads, "hold", &format!("step-{step}"))).collect()
}

/// A replica that ended before the story killed one, or pressed on one.
pub(super) fn ended(history: &History, deployment: &Deployment, loads: &[Load]) -> Option<(String, EventRef)> {
    let ends = [KILLED, PRESSED].iter().filter_map(|variant| load(history, loads, "hold", variant));
    let until = ends.map(|load| load.phase.from).min().unwrap_or(u64::MAX);
    ended_within(history, deployment, (0, until))
}

/// A replica that ended in `from..to`.
pub(super) fn ended_within(
    history: &History,
    deployment: &Deployment,
    (from, to): (u64, u64),
) -> Option<(String, EventRef)> {
    let lives = Lives::new(history);
    let names = |site: &gatecrash_model::deployment::Site| {
        let name = site.name.clone();
        (1..=site.replicas).map(move |number| format!("{name}-{number}"))
    };
    deployment.sites.iter().flat_map(names).find_map(|replica| {
        let name = history.name(&replica)?;
        let turns = lives.of(name).iter();
        let gone = turns.filter(|turn| turn.state == ReplicaState::Gone).find(|turn| (from..to).contains(&turn.at))?;
        let (position, _) = history.others().find(|(_, event)| event.at == gone.at)?;
        Some((replica, history.reference(position)))
    })
}

/// From what is broken in `from..to` to a verdict.
pub(super) fn verdict(
    history: &History,
    broken: Vec<Broken>,
    (from, to): (u64, u64),
    evidence: Evidence,
    missing: Option<Reason>,
) -> Verdict {
    let Some((decided, ..)) = broken.first() else {
        return unless(Verdict::holds(MINIMUM, evidence), doubt(history).or(missing));
    };
    if let Some(doubt) = record_doubt(history).or_else(|| late_doubt(history, CERTAIN, from, to)) {
        return Verdict::Inconclusive(doubt);
    }
    if history.calm().share(from, to).is_some_and(|calm| calm < ENOUGH) {
        let text =
            format!("`{}`: the machine was busy for most of it, by its calibration stream", history.experiment());
        return Verdict::Inconclusive(Reason::new("machine-busy", text));
    }
    let numbers = decided_by(evidence.numbers, decided);
    let explanation: Vec<String> = broken.iter().map(|(_, words, _)| words.clone()).collect();
    let mut events: Vec<EventRef> = broken.into_iter().filter_map(|(.., event)| event).collect();
    events.truncate(3);
    let samples = evidence.samples;
    Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers })
}

const SILENCE: &str = "longest time without a success";
const GOODPUT: &str = "goodput at twice the capacity over the best";
const BROKEN: &str = "refused and broken connections";
const ENDED: &str = "replicas that ended under the load";

pub(super) fn ovl_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("overload") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let loads = loads(history);
    let few = |text: &str| Reason::new("too-few-samples", text);
    let (Some(over), Some(peak)) = (load(history, &loads, "hold", OVER), load(history, &loads, "hold", PEAK)) else {
        let missing = || few("the site was never asked for twice what it can do");
        return Verdict::Inconclusive(doubt(history).unwrap_or_else(missing));
    };
    let window = nanos(scope.parameters.duration("window").max(LEAST_WINDOW));
    let best = loads.iter().map(Load::goodput).fold(0.0, f64::max);
    let share = peak.goodput() / best.max(1e-9);
    let sent = over.sent.saturating_add(peak.sent);
    let refused = count(over.broken.saturating_add(peak.broken)) / count(sent).max(1.0) * 100.0;
    let silence = over.silence().max(peak.silence());
    let (least, most) = (scope.parameters.number("goodput"), scope.parameters.number("broken"));
    let ended = ended(history, scope.deployment, &loads);
    let numbers = vec![
        Number::new(GOODPUT, share, "").limit(least),
        Number::new(SILENCE, seconds(silence), "s").limit(seconds(window)),
        Number::new(BROKEN, refused, "%").limit(most),
        Number::new(ENDED, f64::from(u8::from(ended.is_some())), "").limit(0.0),
        Number::new("best goodput", best, "/s"),
        Number::new("offered at most", peak.offered, "/s"),
        Number::new("answered with an error at that load", peak.share(peak.errors) * 100.0, "%"),
    ];
    let mut broken: Vec<Broken> = Vec::new();
    let phase = || Some(history.reference(peak.phase.event));
    if let Some((replica, event)) = ended {
        broken.push((ENDED.to_owned(), format!("`{replica}` ended under the load"), Some(event)));
    }
    if silence > window {
        let text = format!("nothing succeeded for {:.2} s while more was asked than the site can do", seconds(silence));
        broken.push((SILENCE.to_owned(), text, phase()));
    }
    if share < least {
        let served = peak.goodput();
        let text =
            format!("asked for {:.0} a second, the site served {served:.0}; its best was {best:.0}", peak.offered);
        broken.push((GOODPUT.to_owned(), text, phase()));
    }
    if refused > most {
        let text = format!("{refused:.2} % of {sent} connections were refused or broken");
        broken.push((BROKEN.to_owned(), text, over.first_broken.clone().or_else(|| peak.first_broken.clone())));
    }
    let low = peak.offered < best * 1.4 || peak.sent == 0;
    let missing = low.then(|| few("the load was not well above what the site served at best"));
    let evidence = Evidence { samples: sent, numbers, notes: Vec::new() };
    verdict(history, broken, (over.phase.from, peak.phase.to), evidence, missing)
}
