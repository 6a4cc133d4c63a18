//! When did a component start, when was it gone, when could it legally refuse, and what did a gateway
//! decide about a credential? One pass over the events that belong to no operation; look-ups go by [`Name::index`].

use gatecrash_model::Name;
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{Event, EventKind, History, OperationView, ReplicaState};
use gatecrash_model::verdict::EventRef;

/// One change in a component's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// When, ns.
    pub(crate) at: u64,
    /// What became of it.
    pub(crate) state: ReplicaState,
}

/// The lives of all components of one history.
#[derive(Debug)]
pub(crate) struct Lives {
    lives: Vec<Vec<Turn>>,
    declared: Vec<Vec<u64>>,
}

impl Lives {
    /// Reads the history once.
    pub(crate) fn new(history: &History) -> Self {
        let names = history.names().len();
        let mut lives = Self { lives: vec![Vec::new(); names], declared: vec![Vec::new(); names] };
        let declared = history.name(mark::NOT_READY_DECLARED);
        for (_, event) in history.others() {
            if let EventKind::Replica { replica, state, .. } = event.kind {
                if let Some(life) = lives.lives.get_mut(replica.index()) {
                    life.push(Turn { at: event.at, state });
                }
            } else if let EventKind::Mark { name, subject, .. } = event.kind
                && Some(name) == declared
                && let Some(times) = lives.declared.get_mut(subject.index())
            {
                times.push(event.at);
            }
        }
        lives
    }

    /// The life of a component, in order.
    pub(crate) fn of(&self, component: Name) -> &[Turn] {
        self.lives.get(component.index()).map_or(&[], Vec::as_slice)
    }

    /// When `component` last began to start at or before `at`.
    pub(crate) fn started_before(&self, component: Name, at: u64) -> Option<u64> {
        let life = self.of(component);
        life.iter().rev().find(|turn| turn.at <= at && turn.state == ReplicaState::Starting).map(|turn| turn.at)
    }

    /// Starts of `component` in `from..=to`.
    pub(crate) fn starts(&self, component: Name, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        let inside = move |turn: &&Turn| (from..=to).contains(&turn.at) && turn.state == ReplicaState::Starting;
        self.of(component).iter().filter(inside).map(|turn| turn.at)
    }

    /// When `component` was first gone in `from..=to`.
    pub(crate) fn gone_in(&self, component: Name, from: u64, to: u64) -> Option<u64> {
        let inside = |turn: &&Turn| (from..=to).contains(&turn.at) && turn.state == ReplicaState::Gone;
        self.of(component).iter().find(inside).map(|turn| turn.at)
    }

    /// Whether `component` was gone, and not yet asked to start again, through all of `from..=to`.
    pub(crate) fn is_gone(&self, component: Name, from: u64, to: u64) -> bool {
        let decisive = |state| matches!(state, ReplicaState::Gone | ReplicaState::Starting | ReplicaState::Ready);
        let mut gone = false;
        for turn in self.of(component).iter().filter(|turn| decisive(turn.state)) {
            if turn.at <= from {
                gone = turn.state == ReplicaState::Gone;
            } else if turn.at <= to && turn.state != ReplicaState::Gone {
                return false;
            }
        }
        gone
    }

    /// Stretches in which `component` may legally refuse: from the moment at which it was asked to end,
    /// ended, was asked to start, or was declared not ready, until its readiness signal is next seen true;
    /// without end if that never comes.
    pub(crate) fn not_ready_windows(&self, component: Name) -> Vec<(u64, u64)> {
        let mut turns: Vec<(u64, bool)> = Vec::new();
        for turn in self.of(component) {
            match turn.state {
                ReplicaState::Starting | ReplicaState::Terminating | ReplicaState::Gone => turns.push((turn.at, true)),
                ReplicaState::Ready => turns.push((turn.at, false)),
                ReplicaState::NotReady | ReplicaState::Paused | ReplicaState::Resumed | ReplicaState::DiskWiped => {}
            }
        }
        let declared = self.declared.get(component.index()).map_or(&[][..], Vec::as_slice);
        turns.extend(declared.iter().map(|at| (*at, true)));
        turns.sort_by_key(|(at, _)| *at);
        let mut windows: Vec<(u64, u64)> = Vec::new();
        let mut open = None;
        for (at, opens) in turns {
            if opens {
                open = open.or(Some(at));
            } else if let Some(from) = open.take() {
                windows.push((from, at));
            }
        }
        windows.extend(open.map(|from| (from, u64::MAX)));
        windows
    }
}

/// Whether `from..=to` touches one of `windows`.
pub(crate) fn touches(windows: &[(u64, u64)], from: u64, to: u64) -> bool {
    windows.iter().any(|(start, end)| from <= *end && to >= *start)
}

/// What a gateway decided about a credential, as far as one can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// 2xx, or it arrived at the upstream whatever the status said.
    Accepted,
    /// 401 or 403, and it did not arrive.
    Refused,
    /// The gateway answered 5xx, and it did not arrive.
    ServerError,
    /// Nothing of that: no answer, or one that is not about credentials.
    Undecided,
}

/// What the gateway decided about an operation's credential.
pub(crate) fn decide(view: &OperationView, events: &[Event]) -> Decision {
    let status = status(view, events);
    if view.admitted() || (200..300).contains(&status) {
        Decision::Accepted
    } else if status == 401 || status == 403 {
        Decision::Refused
    } else if (500..600).contains(&status) {
        Decision::ServerError
    } else {
        Decision::Undecided
    }
}

/// Status that the client saw; 0 if none.
pub(crate) fn status(view: &OperationView, events: &[Event]) -> u16 {
    view.outcome(events).map_or(0, |(_, _, answer)| answer.status)
}

/// When the client had its answer, ns; `u64::MAX` if never.
pub(crate) fn ended_at(view: &OperationView, events: &[Event]) -> u64 {
    view.outcome(events).map_or(u64::MAX, |(at, ..)| at)
}

/// The event that shows the decision best: the arrival, else the completion, else the invocation.
pub(crate) fn telling_event(view: &OperationView, events: &[Event]) -> usize {
    view.arrival(events).map(|(_, position)| position).or(view.completed()).unwrap_or(view.invoked as usize)
}

/// The first few events that show an offence, and how many offences there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offences {
    /// How many.
    pub(crate) count: u64,
    /// The first three.
    pub(crate) events: Vec<EventRef>,
}

impl Offences {
    /// One more.
    pub(crate) fn add(&mut self, history: &History, position: usize) {
        self.count = self.count.saturating_add(1);
        if self.events.len() < 3 {
            self.events.push(history.reference(position));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::HistoryBuilder;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_replica_is_gone_from_its_end_to_its_next_start() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).replica("eu-1", ReplicaState::Ready);
        history.at_ms(5).replica("eu-1", ReplicaState::Gone).at_ms(9).replica("eu-1", ReplicaState::Starting);
        let history = history.build();
        let lives = Lives::new(&history);
        let name = history.name("eu-1").unwrap();
        assert!(!lives.is_gone(name, 4 * MS, 6 * MS));
        assert!(lives.is_gone(name, 5 * MS, 8 * MS));
        assert!(!lives.is_gone(name, 6 * MS, 9 * MS));
        assert_eq!(lives.started_before(name, 20 * MS), Some(9 * MS));
    }

    #[test]
    fn a_replica_may_refuse_from_its_end_until_it_is_ready_again() {
        let mut history = HistoryBuilder::new("x");
        history.at_ms(1).replica("eu-1", ReplicaState::Starting).at_ms(3).replica("eu-1", ReplicaState::Ready);
        history.at_ms(6).mark(mark::NOT_READY_DECLARED, "eu-1", 0);
        history.at_ms(7).replica("eu-1", ReplicaState::Gone).at_ms(8).replica("eu-1", ReplicaState::Starting);
        let history = history.build();
        let windows = Lives::new(&history).not_ready_windows(history.name("eu-1").unwrap());
        assert_eq!(windows, [(MS, 3 * MS), (6 * MS, u64::MAX)]);
        assert!(!touches(&windows, 4 * MS, 5 * MS));
        assert!(touches(&windows, 5 * MS, 6 * MS));
    }
}
