//! What do all claim families ask of a history? Whether it may be believed (whole, no gap, faults proven,
//! steady before), which phases and faults it has, and how long operations took from their intended start.
//!
//! Everything here reads a history once, allocates nothing for an event, and never panics.

use super::pace::Paces;
use gatecrash_model::history::event::{CUT, mark};
use gatecrash_model::history::{EventKind, FaultStage, OperationView};
use gatecrash_model::operation::{Answer, Effect, Indefinite, Operation};
use gatecrash_model::stats::quantile;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Two loopback runs of the same thing differ: a ratio of latencies is never held tighter than this above its base.
pub(crate) const LATENCY_FLOOR_MS: f64 = 5.0;

/// A stretch of a history in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    /// `steady`, `inject`, `hold`, ...
    pub(crate) phase: Name,
    /// Which variant of the story; the empty name if there is one only.
    pub(crate) variant: Name,
    /// Start, ns.
    pub(crate) from: u64,
    /// End, ns: start of the next phase, or the last event.
    pub(crate) to: u64,
    /// Position of its event.
    pub(crate) event: usize,
}

/// The phases in order.
pub(crate) fn phases(history: &History) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let end = end_of(history);
    for (event, found) in history.others() {
        if let EventKind::Phase { phase, variant } = found.kind {
            if let Some(last) = phases.last_mut() {
                last.to = found.at;
            }
            phases.push(Phase { phase, variant, from: found.at, to: end, event });
        }
    }
    phases
}

/// The first stretch of `phase` in `variant` (the empty text: of any variant), with its length as it was.
pub(crate) fn phase(history: &History, phases: &[Phase], phase: &str, variant: &str) -> Option<Phase> {
    phases
        .iter()
        .find(|found| {
            history.text(found.phase) == phase && (variant.is_empty() || history.text(found.variant) == variant)
        })
        .copied()
}

/// The last stretch of `phase` in `variant`: of a story that was told again, the time that is judged.
pub(crate) fn last_phase(history: &History, phases: &[Phase], phase: &str, variant: &str) -> Option<Phase> {
    phases.iter().rfind(|found| history.text(found.phase) == phase && history.text(found.variant) == variant).copied()
}

/// The part of a phase that is judged: from its repetition on, if the harness was so late that it was repeated.
pub(crate) fn judged(history: &History, phase: Phase) -> Phase {
    let again = history
        .marks(mark::PROLONGED)
        .filter(|(at, subject, ..)| history.text(*subject).is_empty() && (phase.from..phase.to).contains(at));
    Phase { from: again.map(|(at, ..)| at).last().unwrap_or(phase.from), ..phase }
}

/// When the story ended, ns: the time of its last event, or when it was cut; 0 for the empty history.
pub(crate) fn end_of(history: &History) -> u64 {
    cut_at(history).or_else(|| history.events().last().map(|event| event.at)).unwrap_or_default()
}

/// When the story ended early, ns; `None` if it was told to its end.
pub(crate) fn cut_at(history: &History) -> Option<u64> {
    let cut = history.name(CUT)?;
    let begins = |kind: EventKind| matches!(kind, EventKind::Phase { phase, .. } if phase == cut);
    history.others().find(|(_, event)| begins(event.kind)).map(|(_, event)| event.at)
}

/// One fault with the times of its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultWindow {
    /// Its number.
    pub(crate) fault: u32,
    /// `refuse`, `kill`, ...
    pub(crate) kind: Name,
    /// What it was aimed at.
    pub(crate) target: Name,
    /// When it was in place, ns; when it was planned if it never was.
    pub(crate) from: u64,
    /// When it was taken away, ns; `None` if it never was.
    pub(crate) healed: Option<u64>,
    /// Position of its first event.
    pub(crate) event: usize,
    injected: bool,
    witnessed: bool,
    not_witnessed: bool,
    gone: bool,
    not_gone: bool,
}

impl FaultWindow {
    /// Whether a second path saw it bite whenever it was asked, and saw it gone if it was healed.
    pub(crate) fn proven(&self) -> bool {
        self.witnessed && !self.not_witnessed && !self.not_gone && (self.healed.is_none() || self.gone)
    }

    /// What is missing, in words; `None` if it is proven.
    pub(crate) fn unproven(&self, history: &History) -> Option<String> {
        if self.proven() {
            return None;
        }
        let (kind, target) = (history.text(self.kind), history.text(self.target));
        let what = if self.not_witnessed {
            "a second path showed that it did not bite"
        } else if !self.injected {
            "it was planned and never injected"
        } else if !self.witnessed {
            "no second path showed that it bit"
        } else if self.not_gone {
            "a second path still saw it after the heal"
        } else {
            "no second path showed that it was gone after the heal"
        };
        Some(format!("fault {} (`{kind}` on `{target}`): {what}", self.fault))
    }
}

/// The faults in the order of their first events.
pub(crate) fn faults(history: &History) -> Vec<FaultWindow> {
    let mut faults: Vec<FaultWindow> = Vec::new();
    for (event, found) in history.others() {
        let EventKind::Fault { fault, stage, kind, target, .. } = found.kind else { continue };
        // A few dozen faults at most, the one asked for nearly always the last.
        let position = faults.iter().rposition(|known| known.fault == fault).unwrap_or_else(|| {
            faults.push(FaultWindow {
                fault,
                kind,
                target,
                from: found.at,
                healed: None,
                event,
                injected: false,
                witnessed: false,
                not_witnessed: false,
                gone: false,
                not_gone: false,
            });
            faults.len().saturating_sub(1)
        });
        let Some(known) = faults.get_mut(position) else { continue };
        match stage {
            FaultStage::Planned => {}
            FaultStage::Injected => {
                known.injected = true;
                known.from = found.at;
            }
            FaultStage::Witnessed => known.witnessed = true,
            FaultStage::NotWitnessed => known.not_witnessed = true,
            FaultStage::Healed => known.healed = Some(found.at),
            FaultStage::WitnessedGone => known.gone = true,
            FaultStage::NotGone => known.not_gone = true,
        }
    }
    faults
}

/// Why a history as a whole cannot show that something holds: it was cut, it has a gap, a fault is not
/// proven, there was no steady state, or successes that nobody served. Violations seen in it stand.
pub(crate) fn doubt(history: &History) -> Option<Reason> {
    doubt_beside(history, "")
}

/// The same, whatever became of faults of this kind.
pub(crate) fn doubt_beside(history: &History, kind: &str) -> Option<Reason> {
    record_doubt(history)
        .or_else(|| unproven(history, |fault| history.text(fault.kind) != kind))
        .or_else(|| steady_doubt(history))
        .or_else(|| hollow_doubt(history))
}

/// Requests that are under way when a story ends may have an answer and no arrival any more: not more than these, and not more than one in so many.
const UNDER_WAY: u64 = 10;
const ONE_IN: u64 = 50;

/// `hollow`, if success was answered again and again where nothing arrived at an upstream: the backend is the judge, and a gateway that answers by
/// itself proves nothing.
pub(crate) fn hollow_doubt(history: &History) -> Option<Reason> {
    let (hollow, all) = history.hollow();
    (hollow > UNDER_WAY && hollow.saturating_mul(ONE_IN) > all).then(|| {
        let text = format!(
            "`{}`: {hollow} of {all} requests were answered 2xx, and no upstream recorded their arrival",
            history.experiment()
        );
        Reason::new("hollow", text)
    })
}

/// Why the record itself cannot be believed to be whole: cut (`cut`) or with a gap (`gap`). Where absence is
/// the violation (something was never admitted, never answered), this makes even a violation inconclusive.
pub(crate) fn record_doubt(history: &History) -> Option<Reason> {
    let experiment = history.experiment();
    if !history.is_complete() {
        return Some(Reason::new("cut", format!("the history of `{experiment}` has no closing mark: it was cut")));
    }
    let (position, what) = history.others().find_map(|(position, found)| {
        let EventKind::Gap { component, what } = found.kind else { return None };
        Some((position, format!("`{}`: {}", history.text(component), history.text(what))))
    })?;
    let event = history.reference(position).event;
    Some(Reason::new("gap", format!("the record of `{experiment}` has a gap at event {event} ({what})")))
}

/// `fault-not-proven`, with the first such fault of these.
pub(crate) fn unproven(history: &History, of: impl Fn(&FaultWindow) -> bool) -> Option<Reason> {
    faults(history)
        .iter()
        .filter(|fault| of(fault))
        .find_map(|fault| fault.unproven(history))
        .map(|text| Reason::new("fault-not-proven", format!("`{}`: {text}", history.experiment())))
}

/// `no-steady-state`, if the experiment said that there was none.
pub(crate) fn steady_doubt(history: &History) -> Option<Reason> {
    let (_, why, ..) = history.marks(mark::STEADY).find(|(_, _, value, _)| *value == 0)?;
    let text = format!("`{}`: no steady state before the fault ({})", history.experiment(), history.text(why));
    Some(Reason::new("no-steady-state", text))
}

/// `harness-late`, if the harness was later than a tenth of `window` anywhere in `from..=to` (ns).
pub(crate) fn late_doubt(history: &History, window: Duration, from: u64, to: u64) -> Option<Reason> {
    let allowed_us = u64::try_from(window.as_micros() / 10).unwrap_or(u64::MAX);
    let within = super::busy::late(history).filter(|(at, _)| (from..=to).contains(at));
    let late_us = within.map(|(_, late_us)| late_us).max()?;
    (u64::from(late_us) > allowed_us).then(|| {
        let text = format!(
            "`{}`: the harness was {late_us} us late; a tenth of the window is {allowed_us} us",
            history.experiment()
        );
        Reason::new("harness-late", text)
    })
}

/// `verdict`, unless it holds and there is a doubt: then inconclusive.
pub(crate) fn unless(verdict: Verdict, doubt: Option<Reason>) -> Verdict {
    match (verdict, doubt) {
        (Verdict::Holds(_), Some(doubt)) => Verdict::Inconclusive(doubt),
        (verdict, _) => verdict,
    }
}

/// `numbers` with the one called `name` first: it decided the verdict. Nothing moves if there is none of that name.
pub(crate) fn decided_by(mut numbers: Vec<Number>, name: &str) -> Vec<Number> {
    if let Some(at) = numbers.iter().position(|number| number.name == name) {
        numbers.get_mut(..=at).unwrap_or_default().rotate_right(1);
    }
    numbers
}

/// One operation with everything that is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'h> {
    /// Where its events are.
    pub(crate) view: &'h OperationView,
    /// What was asked.
    pub(crate) asked: &'h Operation<Name>,
    /// When it was sent, ns.
    pub(crate) sent: u64,
    /// When it ended, how, what the client saw; `None` if it never did, or was given up.
    pub(crate) outcome: Option<(u64, Effect, &'h Answer<Name>)>,
    /// When it arrived at the upstream, ns; `None` if it was not admitted.
    pub(crate) arrived: Option<u64>,
}

impl Seen<'_> {
    /// Latency from the intended start to the end, ms; `None` if it never ended.
    pub(crate) fn latency_ms(&self, history: &History) -> Option<f64> {
        let (ended, ..) = self.outcome?;
        Some(ms(ended.saturating_sub(self.view.intended_at(history.events()))))
    }

    /// Whether nobody waited for its answer any more: the story ended, by itself or not, before it came. What its gateway would have done is not known.
    pub(crate) fn is_given_up(&self) -> bool {
        self.outcome.is_none()
    }

    /// Status that the client saw; 0 if none.
    pub(crate) fn status(&self) -> u16 {
        self.outcome.map_or(0, |(_, _, answer)| answer.status)
    }

    /// When something was known of it, ns: its answer, or that it was admitted if nobody waited for that.
    pub(crate) fn told_by(&self) -> u64 {
        self.outcome.map(|(ended, ..)| ended).or(self.arrived).unwrap_or(u64::MAX)
    }

    /// When it was over for the client, ns: never, for one without an end.
    pub(crate) fn ended(&self) -> u64 {
        self.outcome.map_or(u64::MAX, |(ended, ..)| ended)
    }
}

/// The operations of `stream` in the order of their ids, up to where the story was cut; none if the stream never occurred.
pub(crate) fn stream<'h>(history: &'h History, stream: &str) -> impl Iterator<Item = Seen<'h>> {
    let (wanted, end) = (history.name(stream), cut_at(history).unwrap_or(u64::MAX));
    let events = history.events();
    history.operations().iter().filter_map(move |view| {
        let asked = view.operation(events)?;
        let sent = view.sent_at(events);
        if Some(asked.stream) != wanted || sent > end {
            return None;
        }
        Some(Seen {
            view,
            asked,
            sent,
            outcome: view.outcome(events).filter(|(_, effect, _)| *effect != Effect::Unknown(Indefinite::Abandoned)),
            arrived: view.arrival(events).map(|(at, _)| at),
        })
    })
}

/// Latencies of some operations, from the intended start; those that never ended are in the tail.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Latencies {
    finished_ms: Vec<f64>,
    unfinished: usize,
}

impl Latencies {
    /// Adds one; `None` for an operation that never ended.
    pub(crate) fn add(&mut self, latency_ms: Option<f64>) {
        match latency_ms {
            Some(latency) => self.finished_ms.push(latency),
            None => self.unfinished = self.unfinished.saturating_add(1),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.finished_ms.len().saturating_add(self.unfinished)
    }

    /// The `q`-quantile in ms: infinite if it falls among the unfinished, `None` without samples.
    pub(crate) fn quantile(&mut self, q: f64) -> Option<f64> {
        if self.len() == 0 {
            return None;
        }
        Some(quantile(&mut self.finished_ms, self.unfinished, q).unwrap_or(f64::INFINITY))
    }

    /// The 95th percentile in ms.
    pub(crate) fn p95(&mut self) -> Option<f64> {
        self.quantile(0.95)
    }
}

/// How the operations of one stretch did: what steadiness and availability are read from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Service {
    /// Sent in the stretch.
    pub(crate) sent: u64,
    /// Of these, answered 2xx.
    pub(crate) succeeded: u64,
    /// How long they took, whatever the answer.
    pub(crate) paces: Paces,
}

impl Service {
    /// Adds one operation, but for one that was given up.
    pub(crate) fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if seen.is_given_up() {
            return;
        }
        self.sent = self.sent.saturating_add(1);
        if seen.outcome.is_some_and(|(_, _, answer)| answer.is_success()) {
            self.succeeded = self.succeeded.saturating_add(1);
        }
        self.paces.add(history, seen);
    }

    /// Share that succeeded, 0 to 1; `None` without samples.
    pub(crate) fn success(&self) -> Option<f64> {
        (self.sent > 0).then(|| count(self.succeeded) / count(self.sent))
    }
}

/// The largest p95 that counts as `ratio` x `base_ms`: an absolute floor keeps noise of a loopback out.
pub(crate) fn latency_limit(base_ms: f64, ratio: f64) -> f64 {
    (base_ms * ratio).max(base_ms + LATENCY_FLOOR_MS)
}

/// The steady state of `stream_name` in `from..to`: success of at least `slo` (0 to 1) and a p95 of the second
/// half within 20 % of the first (or the floor). Returns how the whole stretch did.
///
/// # Errors
/// `no-steady-state` with what was seen.
pub(crate) fn steady(history: &History, stream_name: &str, within: (u64, u64), slo: f64) -> Result<Service, Reason> {
    steady_but_for(history, stream_name, within, (slo, LATENCY_FLOOR_MS))
}

/// The same; the p95 may also move by `drift_ms`, where that is little beside what is compared with it.
///
/// # Errors
/// As [`steady`].
pub(crate) fn steady_but_for(
    history: &History,
    stream_name: &str,
    (from, to): (u64, u64),
    (slo, drift_ms): (f64, f64),
) -> Result<Service, Reason> {
    let refuse = |text: String| Err(Reason::new("no-steady-state", format!("`{}`: {text}", history.experiment())));
    let half = from.saturating_add(to.saturating_sub(from) / 2);
    let (mut whole, mut first, mut second) = (Service::default(), Service::default(), Service::default());
    for seen in stream(history, stream_name) {
        let at = seen.view.intended_at(history.events());
        if (from..to).contains(&at) {
            whole.add(history, &seen);
            let part = if at < half { &mut first } else { &mut second };
            part.add(history, &seen);
        }
    }
    let Some(success) = whole.success() else {
        return refuse(format!("nothing was sent on `{stream_name}` before the fault"));
    };
    if success < slo {
        return refuse(format!("{:.2} % succeeded before the fault; {:.2} % are needed", success * 100.0, slo * 100.0));
    }
    if whole.paces.base().is_none() {
        let text =
            format!("`{}`: the machine was busy before the fault, by its calibration stream", history.experiment());
        return Err(Reason::new("machine-busy", text));
    }
    if let (Some(before), Some(after)) = (first.paces.base(), second.paces.base())
        && after > latency_limit(before, 1.2).max(before + drift_ms)
    {
        return refuse(format!("p95 went from {before:.1} ms to {after:.1} ms before the fault"));
    }
    Ok(whole)
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A count as a number.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub(crate) fn count(n: u64) -> f64 {
    n as f64
}

/// Length of a collection as a count.
pub(crate) fn len(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A duration in nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::{HistoryBuilder, call};

    #[test]
    fn a_whole_quiet_history_raises_no_doubt() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).phase("steady", "");
        history.proven_fault("refuse", "eu-1->eu-store", 5, 9);
        assert_eq!(doubt(&history.build()), None);
    }

    #[test]
    fn a_cut_history_a_gap_and_a_fault_without_witness_raise_doubt() {
        let mut cut = HistoryBuilder::new("x");
        cut.at_ms(1).phase("steady", "").cut();
        assert_eq!(doubt(&cut.build()).unwrap().code, "cut");

        let mut gap = HistoryBuilder::new("x");
        gap.at_ms(1).gap("eu-upstream");
        let reason = doubt(&gap.build()).unwrap();
        assert_eq!((reason.code.as_str(), reason.text.contains("eu-upstream")), ("gap", true));

        let mut fault = HistoryBuilder::new("x");
        fault.at_ms(1).fault(1, FaultStage::Planned, "refuse", "l").fault(1, FaultStage::Injected, "refuse", "l");
        fault.at_ms(2).fault(1, FaultStage::NotWitnessed, "refuse", "l");
        let reason = doubt(&fault.build()).unwrap();
        assert_eq!((reason.code.as_str(), reason.text.contains("did not bite")), ("fault-not-proven", true));

        let mut steady = HistoryBuilder::new("x");
        steady.at_ms(1).mark(mark::STEADY, "success 80 %", 0);
        assert_eq!(doubt(&steady.build()).unwrap().code, "no-steady-state");
    }

    #[test]
    fn successes_that_arrived_nowhere_raise_doubt_unless_they_are_few() {
        let told = |hollow: u64, served: u64| {
            let mut history = HistoryBuilder::new("x");
            for ms in 0..served {
                history.at_ms(ms).ok(call("traffic", "eu-1", "plain", "a"));
            }
            for ms in 0..hollow {
                let answer = Answer { status: 200, ..Answer::default() };
                let asked = call("traffic", "eu-1", "plain", "a");
                history.at_ms(served + ms).operation(asked, Some((Effect::Ok, answer)), false);
            }
            doubt(&history.build()).map(|doubt| doubt.code)
        };
        assert_eq!(told(10, 0), None, "under way at the end");
        assert_eq!(told(11, 600), None);
        assert_eq!(told(11, 500), Some("hollow".to_owned()));
        assert_eq!(told(100, 0), Some("hollow".to_owned()));
    }

    #[test]
    fn a_healed_fault_must_be_seen_gone_and_a_kill_need_not() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).fault(1, FaultStage::Injected, "kill", "eu-1").fault(1, FaultStage::Witnessed, "kill", "eu-1");
        history.at_ms(2).fault(2, FaultStage::Injected, "hold", "l").fault(2, FaultStage::Witnessed, "hold", "l");
        history.at_ms(3).fault(2, FaultStage::Healed, "hold", "l");
        let history = history.build();
        let proven: Vec<bool> = faults(&history).iter().map(FaultWindow::proven).collect();
        assert_eq!(proven, [true, false]);
        assert!(faults(&history)[1].unproven(&history).unwrap().contains("gone after the heal"));
    }

    #[test]
    fn lateness_counts_only_inside_the_stretch_and_beyond_a_tenth() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(9).mark("x", "", 1);
        let quiet = history.build();
        let mut history = HistoryBuilder::new("x");
        history.at_ms(5).late(2_000);
        let late = history.build();
        let doubt =
            |history, window, to| late_doubt(history, Duration::from_millis(window), 0, to).map(|doubt| doubt.code);
        assert_eq!(doubt(&quiet, 10, u64::MAX), None);
        assert_eq!(doubt(&late, 19, u64::MAX), Some("harness-late".to_owned()));
        assert_eq!(doubt(&late, 20, u64::MAX), None);
        assert_eq!(doubt(&late, 19, 4_999_999), None);
    }

    #[test]
    fn a_window_that_was_repeated_is_judged_from_its_repetition_on() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(10).phase("hold", "a").at_ms(15).late(2_000).at_ms(20).mark(mark::PROLONGED, "", 2_000);
        history.at_ms(25).mark(mark::PROLONGED, "client-1", 2_000);
        history.at_ms(30).phase("hold", "b").at_ms(40).mark("x", "", 1);
        let whole = history.build();
        let judged: Vec<Phase> = phases(&whole).into_iter().map(|phase| judged(&whole, phase)).collect();
        assert_eq!(judged.iter().map(|phase| phase.from).collect::<Vec<_>>(), [20_000_000, 30_000_000]);
        let late = |phase: &Phase| late_doubt(&whole, Duration::from_millis(10), phase.from, phase.to);
        assert_eq!(late(&judged[0]), None, "made good by the repetition");
        assert!(late(&phases(&whole)[0]).is_some());
    }

    #[test]
    fn quantiles_count_the_unfinished() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.p95(), None);
        for ms in 1..=19 {
            latencies.add(Some(f64::from(ms)));
        }
        assert_eq!(latencies.p95(), Some(19.0));
        latencies.add(None);
        latencies.add(None);
        assert_eq!(latencies.p95(), Some(f64::INFINITY));
        assert_eq!(latencies.len(), 21);
    }

    #[test]
    fn what_was_given_up_is_no_failure_and_what_was_waited_for_is() {
        let asked = || call("traffic", "eu-1", "plain", "a");
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).ok(asked());
        for (ms, why) in [(2, Indefinite::Abandoned), (3, Indefinite::Timeout), (4, Indefinite::Broken)] {
            history.at_ms(ms).operation(asked(), Some((Effect::Unknown(why), Answer::default())), true);
        }
        history.at_ms(5).operation(asked(), None, true);
        let history = history.build();
        let (mut service, mut failures) = (Service::default(), crate::claims::draining::Failures::default());
        for seen in stream(&history, "traffic") {
            service.add(&history, &seen);
            failures.add(&history, &seen);
        }
        assert_eq!((service.sent, service.succeeded), (3, 1));
        assert_eq!((failures.asked, failures.failed), (3, 2));
    }

    #[test]
    fn steadiness_needs_traffic_success_and_an_even_latency() {
        let mut history = HistoryBuilder::new("x");
        for ms in 0..100 {
            history.at_ms(ms).ok(call("traffic", "eu-1", "plain", "a"));
        }
        let even = history.build();
        assert_eq!(steady(&even, "traffic", (0, 100_000_000), 0.995).unwrap().sent, 100);
        assert_eq!(steady(&even, "quota", (0, 100_000_000), 0.995).unwrap_err().code, "no-steady-state");

        let mut history = HistoryBuilder::new("x");
        for ms in 0..100 {
            history.takes_ns = if ms < 50 { 1_000_000 } else { 20_000_000 };
            history.at_ms(ms).ok(call("traffic", "eu-1", "plain", "a"));
        }
        assert!(steady(&history.build(), "traffic", (0, 100_000_000), 0.995).unwrap_err().text.contains("p95"));

        let mut history = HistoryBuilder::new("x");
        for ms in 0..100 {
            history.at_ms(ms).gateway_error(call("traffic", "eu-1", "plain", "a"), 503);
        }
        assert!(steady(&history.build(), "traffic", (0, 100_000_000), 0.995).unwrap_err().text.contains("0.00 %"));
    }

    #[test]
    fn phases_end_where_the_next_begins() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).phase("steady", "a").at_ms(4).phase("hold", "a").at_ms(9).mark("x", "", 1);
        let history = history.build();
        let found = phases(&history);
        assert_eq!(
            found.iter().map(|p| (p.from, p.to)).collect::<Vec<_>>(),
            [(1_000_000, 4_000_000), (4_000_000, 9_000_000)]
        );
        assert!(phase(&history, &found, "hold", "a").is_some());
        assert!(phase(&history, &found, "hold", "b").is_none());
    }
}
