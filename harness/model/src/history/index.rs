//! From operations to their events, built once for all checks over a history.

use super::event::{Event, EventKind};
use crate::operation::{Answer, Effect, Operation};

/// No position: events are counted by `u32`.
const NOWHERE: u32 = u32::MAX;

/// One operation with its events.
#[derive(Clone, Copy, Debug)]
pub struct OperationView {
    /// Id of the operation; 0 for a hole in the numbering.
    pub op: u32,
    /// Position of its invocation among the events.
    pub invoked: u32,
    completed: u32,
    first_arrival: u32,
    /// How many times it arrived at an upstream (retries of a gateway are folded into one admission).
    pub arrivals: u32,
}

impl OperationView {
    const HOLE: Self = Self { op: 0, invoked: NOWHERE, completed: NOWHERE, first_arrival: NOWHERE, arrivals: 0 };

    /// What was asked, if the invocation is in the history.
    #[must_use]
    pub fn operation<'a>(&self, events: &'a [Event]) -> Option<&'a Operation<crate::Name>> {
        let EventKind::Invoked { operation, .. } = &events.get(self.invoked as usize)?.kind else {
            return None;
        };
        Some(operation)
    }

    /// When it was sent.
    #[must_use]
    pub fn sent_at(&self, events: &[Event]) -> u64 {
        events.get(self.invoked as usize).map_or(0, |event| event.at)
    }

    /// When it should have been sent; latency counts from here.
    #[must_use]
    pub fn intended_at(&self, events: &[Event]) -> u64 {
        let Some(event) = events.get(self.invoked as usize) else {
            return 0;
        };
        let late_us = if let EventKind::Invoked { late_us, .. } = event.kind { late_us } else { 0 };
        event.at.saturating_sub(u64::from(late_us).saturating_mul(1000))
    }

    /// Position of the completion; `None` if it never completed.
    #[must_use]
    pub fn completed(&self) -> Option<usize> {
        (self.completed != NOWHERE).then_some(self.completed as usize)
    }

    /// When it ended, how, and what the client saw; `None` if it never completed.
    #[must_use]
    pub fn outcome<'a>(&self, events: &'a [Event]) -> Option<(u64, Effect, &'a Answer<crate::Name>)> {
        let event = events.get(self.completed()?)?;
        let EventKind::Completed { effect, answer, .. } = &event.kind else {
            return None;
        };
        Some((event.at, *effect, answer))
    }

    /// When it first arrived at an upstream, and the position of that event.
    #[must_use]
    pub fn arrival(&self, events: &[Event]) -> Option<(u64, usize)> {
        let position = (self.first_arrival != NOWHERE).then_some(self.first_arrival as usize)?;
        events.get(position).map(|event| (event.at, position))
    }

    /// Whether it was admitted: it arrived at an upstream that we own, whatever the status said.
    #[must_use]
    pub fn admitted(&self) -> bool {
        self.arrivals > 0
    }
}

/// Operations by id, and the positions of all other events.
#[derive(Clone, Debug, Default)]
pub struct Index {
    operations: Vec<OperationView>,
    records: Vec<u32>,
    others: Vec<u32>,
}

impl Index {
    /// Reads the events once.
    #[must_use]
    pub fn new(events: &[Event]) -> Self {
        let mut index = Self::default();
        for (position, event) in events.iter().enumerate() {
            let Ok(position) = u32::try_from(position) else {
                break;
            };
            if let EventKind::Invoked { op, .. } = event.kind {
                if let Some(view) = index.view(op) {
                    view.op = op;
                    view.invoked = position;
                }
            } else if let EventKind::Completed { op, .. } = event.kind {
                if let Some(view) = index.view(op) {
                    view.completed = position;
                }
            } else if let EventKind::Arrived { op, .. } = event.kind
                && op != 0
            {
                if let Some(view) = index.view(op) {
                    if view.arrivals == 0 {
                        view.first_arrival = position;
                    }
                    view.arrivals = view.arrivals.saturating_add(1);
                }
            } else if let EventKind::Recorded { .. } = event.kind {
                index.records.push(position);
            } else {
                index.others.push(position);
            }
        }
        index.operations.retain(|view| view.op != 0);
        index
    }

    /// Grows the table up to `op`. Ids are dense; a damaged file may not make us allocate without bound.
    fn view(&mut self, op: u32) -> Option<&mut OperationView> {
        let wanted = op as usize;
        if wanted >= self.operations.len() {
            if wanted > self.operations.len().saturating_add(1_000_000) {
                return None;
            }
            self.operations.resize(wanted.saturating_add(1), OperationView::HOLE);
        }
        self.operations.get_mut(wanted)
    }

    /// Operations in the order of their ids, holes left out.
    #[must_use]
    pub fn operations(&self) -> &[OperationView] {
        &self.operations
    }

    /// Positions of what analytics recorded.
    #[must_use]
    pub fn records(&self) -> &[u32] {
        &self.records
    }

    /// Positions of the events that belong to no operation.
    #[must_use]
    pub fn others(&self) -> &[u32] {
        &self.others
    }
}
