//! DRN-01: what do clients and the load balancer see of a replica between SIGTERM and the end of its process?

use super::failures::Failures;
use super::{FRESH, IN_FLIGHT, INGRESS, KEEP_ALIVE};
use crate::claims::common::{
    Seen, count, decided_by, doubt, end_of, faults, late_doubt, nanos, record_doubt, seconds, stream, unless,
};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::told;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least number of requests in flight at SIGTERM and on connections made after it.
pub(super) const MINIMUM: u64 = 20;

/// How finely the harness looks at readiness and at the end of a process: every 50 ms, and a look takes a moment.
const LOOK: Duration = Duration::from_millis(100);

/// One SIGTERM with what followed.
struct Stop {
    replica: Name,
    /// SIGTERM, ns.
    at: u64,
    /// When readiness was first seen false, ns.
    unready: Option<u64>,
    /// When the process was gone, ns.
    gone: Option<u64>,
    /// Position of its event.
    event: usize,
}

/// Every SIGTERM of the history.
fn stops(history: &History, lives: &Lives) -> Vec<Stop> {
    // When each was on its way. What follows can be seen before the runtime says that the signal was sent: an engine takes its time for that.
    let sent: Vec<(Name, u64)> = faults(history)
        .iter()
        .filter(|fault| history.text(fault.kind) == "terminate")
        .filter_map(|fault| Some((fault.target, history.events().get(fault.event)?.at)))
        .collect();
    let terminated = history.others().filter_map(|(event, found)| {
        let EventKind::Replica { replica, state: ReplicaState::Terminating, .. } = found.kind else { return None };
        let on_its_way = sent.iter().rev().find(|(of, at)| *of == replica && *at <= found.at);
        let from = on_its_way.map_or(found.at, |(_, at)| *at);
        let after = |wanted: ReplicaState| {
            let turns = lives.of(replica).iter().filter(|turn| turn.at >= from);
            let this_life = turns.take_while(|turn| turn.state != ReplicaState::Starting);
            this_life.filter(|turn| turn.state == wanted).map(|turn| turn.at).next()
        };
        let (unready, gone) = (after(ReplicaState::NotReady), after(ReplicaState::Gone));
        Some(Stop { replica, at: found.at, unready, gone, event })
    });
    terminated.collect()
}

/// What was told to close, by operation.
fn told_close(history: &History) -> BTreeMap<u32, bool> {
    let marks = history.marks(told::CLOSES);
    marks.filter_map(|(_, op, value, _)| Some((history.text(op).parse().ok()?, value != 0))).collect()
}

const UNREADY: &str = "readiness false after SIGTERM (slowest)";
const FLIGHT: &str = "failed of those in flight";
const NEW: &str = "failed on new connections before detection";
const THROUGH: &str = "failed through the ingress";
const KEPT: &str = "not told to close";
const EXIT: &str = "end of the process after SIGTERM (slowest)";

pub(super) fn drn_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(super::DRAIN) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let lives = Lives::new(history);
    let stops = stops(history, &lives);
    let read = Read::new(scope, history, &stops);
    read.verdict(history, &stops)
}

/// What was measured over all stops.
struct Read {
    flight: Failures,
    fresh: Failures,
    ingress: Failures,
    told: u64,
    not_told: Vec<EventRef>,
    untold: u64,
    unready_within: u64,
    stop_within: u64,
}

impl Read {
    fn new(scope: &Scope<'_>, history: &History, stops: &[Stop]) -> Self {
        let within = |name: &str| nanos(scope.parameters.duration(name));
        let (unready, detection) = (within("unready"), within("detection"));
        let mut read = Self {
            flight: Failures::default(),
            fresh: Failures::default(),
            ingress: Failures::default(),
            told: 0,
            not_told: Vec::new(),
            untold: 0,
            unready_within: unready.saturating_add(nanos(LOOK)),
            stop_within: within("stop").saturating_add(nanos(LOOK)),
        };
        let before = |seen: &Seen<'_>| stops.iter().rev().find(|stop| stop.at <= seen.sent);
        for seen in stream(history, IN_FLIGHT) {
            if stops.iter().any(|stop| seen.sent <= stop.at && seen.ended() > stop.at) {
                read.flight.add(history, &seen);
            }
        }
        for seen in stream(history, FRESH) {
            if before(&seen)
                .is_some_and(|stop| stop.replica == seen.asked.target && seen.sent.saturating_sub(stop.at) < detection)
            {
                read.fresh.add(history, &seen);
            }
        }
        for seen in stream(history, INGRESS) {
            if stops.iter().any(|stop| seen.ended() >= stop.at && stop.gone.is_none_or(|gone| seen.sent <= gone)) {
                read.ingress.add(history, &seen);
            }
        }
        let told = told_close(history);
        for seen in stream(history, KEEP_ALIVE) {
            let late_enough = before(&seen).is_some_and(|stop| {
                stop.replica == seen.asked.target
                    && seen.sent.saturating_sub(stop.at) >= unready
                    && stop.gone.is_none_or(|gone| seen.ended() < gone)
            });
            match told.get(&seen.view.op) {
                Some(true) if late_enough => read.told = read.told.saturating_add(1),
                Some(false) if late_enough => {
                    read.untold = read.untold.saturating_add(1);
                    if read.not_told.len() < 3 {
                        read.not_told.extend(seen.view.completed().map(|event| history.reference(event)));
                    }
                }
                Some(_) | None => {}
            }
        }
        read
    }

    fn numbers(&self, history: &History, stops: &[Stop]) -> Vec<Number> {
        // Of those that are judged: where one was too slow for certain or all were, the slowest, else the slowest in time.
        let slowest = |within: u64, until: &dyn Fn(&Stop) -> Option<u64>| {
            let end = end_of(history);
            let broken = Self::slow(history, stops, within, until).is_some();
            let waits = stops.iter().map(|stop| until(stop).unwrap_or(end).saturating_sub(stop.at));
            seconds(waits.filter(|wait| broken || *wait <= within).max().unwrap_or_default())
        };
        let failed = |name: &str, failures: &Failures| Number::new(name, count(failures.failed), "requests").limit(0.0);
        vec![
            failed(FLIGHT, &self.flight),
            failed(NEW, &self.fresh),
            failed(THROUGH, &self.ingress),
            Number::new(KEPT, count(self.untold), "answers").limit(0.0),
            Number::new(UNREADY, slowest(self.unready_within, &|stop| stop.unready), "s")
                .limit(seconds(self.unready_within)),
            Number::new(EXIT, slowest(self.stop_within, &|stop| stop.gone), "s").limit(seconds(self.stop_within)),
            Number::new("in flight at SIGTERM", count(self.flight.asked), "requests"),
            Number::new("on new connections before detection", count(self.fresh.asked), "requests"),
            Number::new("through the ingress", count(self.ingress.asked), "requests"),
            Number::new("told to close", count(self.told), "answers"),
            Number::new("stops", count(u64::try_from(stops.len()).unwrap_or(u64::MAX)), ""),
        ]
    }

    /// The first stop after which `until` came later than `within` ns, or not before the next life or the end; with why that may
    /// be the harness' own doing. One for which nothing speaks comes first; doubtful ones say nothing beside one that was in time.
    fn slow<'a>(
        history: &History,
        stops: &'a [Stop],
        within: u64,
        until: impl Fn(&Stop) -> Option<u64>,
    ) -> Option<(&'a Stop, Option<Reason>)> {
        let is_slow = |stop: &&Stop| until(stop).unwrap_or(end_of(history)).saturating_sub(stop.at) > within;
        let window = Duration::from_nanos(within);
        let doubt = |stop: &Stop| {
            let to = stop.at.saturating_add(within);
            record_doubt(history).or_else(|| late_doubt(history, window, stop.at, to))
        };
        let slow: Vec<_> = stops.iter().filter(is_slow).map(|stop| (stop, doubt(stop))).collect();
        let some_in_time = slow.len() < stops.len();
        let certain = slow.iter().find(|(_, doubt)| doubt.is_none());
        certain.or(slow.first().filter(|_| !some_in_time)).cloned()
    }

    fn verdict(self, history: &History, stops: &[Stop]) -> Verdict {
        // Name of the number that shows it, words, events, and why it may be none of the gateway's.
        let mut problems: Vec<(&str, String, Vec<EventRef>, Option<Reason>)> = Vec::new();
        for (name, failures, when) in [
            (FLIGHT, &self.flight, "that were in flight at SIGTERM failed"),
            (NEW, &self.fresh, "on new connections failed before a load balancer could have withdrawn the replica"),
            (THROUGH, &self.ingress, "through the ingress failed"),
        ] {
            if let Some(first) = &failures.first {
                let words = format!("{} of {} requests {when}; first: {first}", failures.failed, failures.asked);
                problems.push((name, words, failures.events.clone(), failures.doubt(history)));
            }
        }
        if self.untold > 0 {
            let words =
                format!("{} answers after SIGTERM did not tell their client to close its connection", self.untold);
            problems.push((KEPT, words, self.not_told.clone(), None));
        }
        if let Some((stop, doubt)) = Self::slow(history, stops, self.unready_within, |stop| stop.unready) {
            let after = stop.unready.map_or_else(
                || "not seen to be unready".to_owned(),
                |at| format!("unready {:.2} s", seconds(at.saturating_sub(stop.at))),
            );
            let words = format!("`{}` was {after} after SIGTERM", history.text(stop.replica));
            problems.push((UNREADY, words, vec![history.reference(stop.event)], doubt));
        }
        if let Some((stop, doubt)) = Self::slow(history, stops, self.stop_within, |stop| stop.gone) {
            let words = format!(
                "`{}` had not ended {:.2} s after SIGTERM: it would have been killed",
                history.text(stop.replica),
                seconds(self.stop_within)
            );
            problems.push((EXIT, words, vec![history.reference(stop.event)], doubt));
        }
        let samples = self.flight.asked.saturating_add(self.fresh.asked);
        let numbers = self.numbers(history, stops);
        let first_doubt = problems.iter().find_map(|(.., doubt)| doubt.clone());
        problems.retain(|(.., doubt)| doubt.is_none());
        if let Some((decided, ..)) = problems.first() {
            let numbers = decided_by(numbers, decided);
            let mut events: Vec<EventRef> = problems.iter().flat_map(|(_, _, events, _)| events.clone()).collect();
            events.truncate(3);
            let words: Vec<String> = problems.into_iter().map(|(_, words, ..)| words).collect();
            return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
        }
        let few = |text: &str| Some(Reason::new("too-few-samples", text));
        let missing = if stops.is_empty() {
            few("no replica was asked to end")
        } else if self.flight.asked == 0 {
            few("nothing was in flight at SIGTERM")
        } else if self.fresh.asked == 0 {
            few("no connection was made between SIGTERM and its detection")
        } else if self.told == 0 {
            few("no client with a kept connection was answered after SIGTERM")
        } else {
            None
        };
        let notes = vec!["requests in flight take up to 12 s (scaled): Flex gives an upstream 15 s".to_owned()];
        let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
        unless(held, first_doubt.or_else(|| doubt(history)).or(missing))
    }
}
