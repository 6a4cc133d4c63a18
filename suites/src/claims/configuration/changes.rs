//! Which changes were published, and what does an answer show of them: the old state or the new one?
//!
//! A change is told as marks [`FACT`], one for each route that it touches, and then published: all of its facts belong to one version.

use crate::claims::common::Seen;
use gatecrash_model::history::event::mark;
use gatecrash_model::{History, Name};

/// Stream: requests without credentials for the routes that changes touch, aimed at replicas directly.
pub(crate) const CHANGE: &str = "change";
/// Mark: what the version that is published next does to a route; subject: route; value: [`fact`].
pub(crate) const FACT: &str = "fact";
/// State of a route: there is none.
pub(crate) const ABSENT: u16 = 404;
/// State of a route: it asks for a credential.
pub(crate) const GUARDED: u16 = 401;
/// State of a route: it serves everybody.
pub(crate) const OPEN: u16 = 200;

/// The value of a [`FACT`]: a request without credentials was answered `old`, and is to be answered `new`.
pub(crate) fn fact(old: u16, new: u16) -> i64 {
    i64::from(old) * 1000 + i64::from(new)
}

/// What an answer shows of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// The state before the change.
    Old,
    /// The state after it.
    New,
    /// It was admitted, which neither state allows.
    Admitted,
    /// An answer of neither state.
    Neither,
    /// There was no answer.
    Nothing,
}

/// What a change does to one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// The route.
    pub(super) route: Name,
    old: u16,
    new: u16,
}

impl Fact {
    /// What `seen` shows.
    pub(super) fn shown_by(self, seen: &Seen<'_>) -> Shows {
        let status = seen.status();
        let admitted = seen.arrived.is_some() || is(OPEN, status);
        if admitted && self.old != OPEN && self.new != OPEN {
            Shows::Admitted
        } else if status == 0 {
            Shows::Nothing
        } else if is(self.new, status) {
            Shows::New
        } else if is(self.old, status) {
            Shows::Old
        } else {
            Shows::Neither
        }
    }
}

/// What `seen` shows of a route that must be in `state`: that (`New`), that it serves although it must not (`Admitted`), something else, or nothing.
pub(super) fn state_shown(state: u16, seen: &Seen<'_>) -> Shows {
    let status = seen.status();
    if state != OPEN && (seen.arrived.is_some() || is(OPEN, status)) {
        Shows::Admitted
    } else if status == 0 {
        Shows::Nothing
    } else if is(state, status) {
        Shows::New
    } else {
        Shows::Neither
    }
}

/// Whether `status` is an answer of a route in this state.
fn is(state: u16, status: u16) -> bool {
    match state {
        OPEN => (200..300).contains(&status),
        GUARDED => matches!(status, 401 | 403),
        other => status == other,
    }
}

/// One published change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// When its first fact was told, ns: just before it was published.
    pub(super) told: u64,
    /// When the control plane had taken it, ns.
    pub(super) published: u64,
    /// When the next one was told; `u64::MAX` if there is none.
    pub(super) until: u64,
    /// Position of the event that says that it was published.
    pub(super) position: usize,
    /// What it changes.
    pub(super) facts: Vec<Fact>,
}

impl Change {
    /// What it does to `route`, if anything.
    pub(super) fn fact(&self, route: Name) -> Option<Fact> {
        self.facts.iter().find(|fact| fact.route == route).copied()
    }
}

/// The changes of a history in order. Versions that were published without a fact are none.
pub(super) fn changes(history: &History) -> Vec<Change> {
    let facts = history.marks(FACT).map(|mark| (mark, true));
    let mut marks: Vec<_> = facts.chain(history.marks(mark::PUBLISHED).map(|mark| (mark, false))).collect();
    marks.sort_by_key(|((.., position), _)| *position);
    let mut changes: Vec<Change> = Vec::new();
    let mut told: Option<(u64, Vec<Fact>)> = None;
    for ((at, subject, value, position), is_fact) in marks {
        if is_fact {
            if let (Ok(old), Ok(new)) = (u16::try_from(value / 1000), u16::try_from(value % 1000)) {
                told.get_or_insert_with(|| (at, Vec::new())).1.push(Fact { route: subject, old, new });
            }
        } else if let Some((told, facts)) = told.take() {
            if let Some(last) = changes.last_mut() {
                last.until = told;
            }
            changes.push(Change { told, published: at, until: u64::MAX, position, facts });
        }
    }
    changes
}

/// The change that is the last one at `at`, with its number from 0.
pub(super) fn last_at(changes: &[Change], at: u64) -> Option<(usize, &Change)> {
    let number = changes.partition_point(|change| change.told <= at).checked_sub(1)?;
    changes.get(number).map(|change| (number, change))
}
