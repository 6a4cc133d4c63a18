//! Which replicas were lost on purpose, and who came in their place? One entry for each `inject` phase of `replica-loss`.

use super::common::{FaultWindow, Phase, end_of, faults, nanos};
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::Reason;
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Name of the experiment in which replicas are lost and a platform replaces them.
pub(crate) const REPLICA_LOSS: &str = "replica-loss";
/// Variant: a replica is killed.
pub(crate) const KILLED: &str = "killed";
/// Variant: its successor is killed as soon as it serves.
pub(crate) const AGAIN: &str = "killed-again";
/// Variant: a replica is stopped, and hangs.
pub(crate) const HUNG: &str = "hung";
/// Variant: the data port of a replica is closed while its process runs.
pub(crate) const CLOSED: &str = "port-closed";
/// Stream: requests through the ingress, each on a connection of its own. (Those on kept connections are the traffic.)
pub(crate) const ON_NEW: &str = "traffic-new";
/// Mark: nobody came in the place of this replica (subject) within the time (value: ms) that the story waits: it goes on without a platform's
/// help.
pub(crate) const NOT_REPLACED: &str = "not-replaced";

/// A replica that was lost.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// One of the variants above.
    pub(crate) variant: Name,
    /// The replica.
    pub(crate) replica: Name,
    /// What was done to it.
    pub(crate) fault: FaultWindow,
    /// When that was about to be done, ns; it was in place at `fault.from`.
    pub(crate) planned: u64,
    /// Start of the next loss, or the end of the story, ns.
    pub(crate) until: u64,
    /// When the platform found it lost, ns.
    pub(crate) found: Option<u64>,
    /// Who was started in its place, when, and the position of the mark that says so.
    pub(crate) successor: Option<(Name, u64, usize)>,
    /// When the story gave up waiting for a successor, ns.
    pub(crate) gave_up: Option<u64>,
    /// What the runtime took to end the lost one and to have its successor run, from when it was found lost, ns; 0 if that is not known.
    pub(crate) runtime: u64,
}

impl Loss {
    /// When the story stopped to watch for a successor, ns.
    pub(crate) fn watched_until(&self) -> u64 {
        self.gave_up.unwrap_or(self.until)
    }

    /// What of `allowed` ns, which are scaled, a run at `scale` has for this loss: what the runtime took is not scaled with them, so a scaled run is held to
    /// its scaled part of that, too. At scale 1 it is `allowed`.
    pub(crate) fn allowed(&self, allowed: u64, scale: f64) -> u64 {
        let beyond = Duration::from_nanos(self.runtime).mul_f64((1.0 - scale).clamp(0.0, 1.0));
        allowed.saturating_add(nanos(beyond))
    }
}

/// Site and number of a replica, by its name.
fn parts(name: &str) -> Option<(&str, i64)> {
    let (site, number) = name.rsplit_once('-')?;
    Some((site, number.parse().ok()?))
}

/// The losses of a history, in order. A phase `inject` in which nothing was done to a replica is none.
pub(crate) fn losses(history: &History, phases: &[Phase]) -> Vec<Loss> {
    let faults = faults(history);
    let injects: Vec<&Phase> = phases.iter().filter(|phase| history.text(phase.phase) == "inject").collect();
    let end = phases.iter().find(|phase| history.text(phase.phase) == "end").map_or(end_of(history), |end| end.from);
    let mut all = Vec::new();
    for (number, inject) in injects.iter().enumerate() {
        let until = injects.get(number.saturating_add(1)).map_or(end, |next| next.from);
        let planned_at = |fault: &FaultWindow| history.events().get(fault.event).map_or(fault.from, |event| event.at);
        let Some(fault) = faults.iter().find(|fault| (inject.from..until).contains(&planned_at(fault))) else {
            continue;
        };
        let replica = fault.target;
        let within = |at: &u64| (fault.from..until).contains(at);
        let found = history.marks(mark::FOUND_LOST).find(|(at, subject, ..)| within(at) && *subject == replica);
        let lost = parts(history.text(replica));
        let successor = history.marks(mark::SUCCESSOR).find(|(at, subject, value, _)| {
            let site = parts(history.text(*subject)).map(|(site, _)| site);
            within(at) && lost.is_some_and(|(lost_site, number)| site == Some(lost_site) && *value == number)
        });
        let running = successor.and_then(|(at, subject, ..)| {
            let mut marks = history.marks(mark::RUNNING);
            marks.find(|(running, replica, ..)| *replica == subject && *running >= at).map(|(running, ..)| running)
        });
        let runtime = found.zip(running).map_or(0, |((found, ..), running)| running.saturating_sub(found));
        let gave_up = history.marks(NOT_REPLACED).find(|(at, subject, ..)| within(at) && *subject == replica);
        all.push(Loss {
            variant: inject.variant,
            replica,
            fault: *fault,
            planned: planned_at(fault),
            until,
            found: found.map(|(at, ..)| at),
            successor: successor.map(|(at, subject, _, position)| (subject, at, position)),
            gave_up: gave_up.map(|(at, ..)| at),
            runtime,
        });
    }
    all
}

/// Why what followed from the losses may not be the platform's: it could not do what it wanted, which is the harness' trouble, or it
/// replaced a replica that nobody had hurt, which a busy machine can make it do.
pub(crate) fn platform_doubt(history: &History, losses: &[Loss]) -> Option<Reason> {
    if let Some((_, replica, _, position)) = history.marks(mark::PLATFORM_TROUBLE).next() {
        let (replica, event) = (history.text(replica), history.reference(position).event);
        return Some(Reason::new(
            "platform-trouble",
            format!("the platform could not replace `{replica}` (event {event})"),
        ));
    }
    let explained = |position: usize| losses.iter().any(|loss| loss.successor.is_some_and(|(.., at)| at == position));
    let (_, successor, _, position) = history.marks(mark::SUCCESSOR).find(|(.., position)| !explained(*position))?;
    let (successor, event) = (history.text(successor), history.reference(position).event);
    let text =
        format!("the platform started `{successor}` in the place of a replica that nobody had hurt (event {event})");
    Some(Reason::new("platform-acted", text))
}

/// Whether an event is a platform's or the runtime's word that `replica` was asked to start at or after `at`.
pub(crate) fn started_since(history: &History, replica: Name, at: u64) -> Option<u64> {
    history.others().find_map(|(_, event)| {
        let EventKind::Replica { replica: who, state: gatecrash_model::history::ReplicaState::Starting, .. } =
            event.kind
        else {
            return None;
        };
        (who == replica && event.at >= at).then_some(event.at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::common::phases;
    use crate::claims::respawns::{all, in_turn, replica_loss};

    #[test]
    fn a_scaled_run_is_not_held_to_what_the_runtime_takes_whatever_the_scale() {
        let told = all();
        let mut history = replica_loss(&told, |ms, turn| in_turn(&told, ms, turn));
        // `eu-5` is found to be needed at 111 s, and runs a second and a half later.
        history.at_ms(112_500).mark(mark::RUNNING, "eu-5", 0);
        let history = history.build();
        let losses = losses(&history, &phases(&history));
        let hung = losses.iter().find(|loss| history.text(loss.variant) == HUNG).unwrap();
        assert_eq!(hung.runtime, 1_500_000_000);
        let allowed = |scale| hung.allowed(6_000_000_000, scale);
        assert_eq!([allowed(0.1), allowed(1.0), allowed(2.0)], [7_350_000_000, 6_000_000_000, 6_000_000_000]);
        // Of the others nobody said when they ran.
        let mut others = losses.iter().filter(|loss| loss.variant != hung.variant);
        assert!(others.all(|loss| loss.runtime == 0 && loss.allowed(6, 0.1) == 6));
    }
}
