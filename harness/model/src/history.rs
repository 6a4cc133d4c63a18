//! One ordered stream of everything that was seen in one experiment: a header and events, from one
//! writer on one monotonic clock (nanoseconds since the run started).
//!
//! On disk: JSON lines, [`mod@format`]. In memory: interned names, at most 64 bytes an event, and an
//! [`index::Index`] from operations to their events. [`build`] makes short literal histories for tests.

pub mod build;
pub mod event;
pub mod format;
pub mod index;

pub use event::{Event, EventKind, FaultStage, ReplicaState};
pub use index::{Index, OperationView};

use crate::calm::{Calm, STALL_MS};
use crate::name::{Name, Names};
use crate::operation::{Verb, stream};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;

/// First line of a history file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// `major.minor` of the format: a reader refuses another major and ignores what a newer minor added.
    pub format: String,
    /// Which experiment this is.
    pub experiment: String,
    /// Seed of the experiment.
    pub seed: u64,
    /// `process`, `docker`, ...
    pub runtime: String,
    /// `--scale`.
    pub scale: f64,
}

/// What went wrong with the record itself: claims over such a stretch cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Position of the event that tells of it, from 0.
    pub event: usize,
    /// What is missing, in words.
    pub what: String,
}

/// The history of one experiment. Events are ordered by time; their numbers start at 1.
#[derive(Clone, Debug)]
pub struct History {
    header: Header,
    names: Names,
    events: Vec<Event>,
    index: Index,
    calm: OnceLock<Calm>,
    hollow: OnceLock<(u64, u64)>,
    complete: bool,
}

impl History {
    /// A history from its parts; sorts by time if needed (stable) and builds the index.
    /// `complete` says whether the closing mark was seen: without it the file was cut.
    #[must_use]
    pub fn new(header: Header, names: Names, mut events: Vec<Event>, complete: bool) -> Self {
        if !events.is_sorted_by_key(|event| event.at) {
            events.sort_by_key(|event| event.at);
        }
        let index = Index::new(&events);
        Self { header, names, events, index, calm: OnceLock::new(), hollow: OnceLock::new(), complete }
    }

    /// Name of the experiment.
    #[must_use]
    pub fn experiment(&self) -> &str {
        &self.header.experiment
    }

    /// Which slices of it were calm, by its calibration stream; all, if it has none. Read once, when it is first asked for.
    #[must_use]
    pub fn calm(&self) -> &Calm {
        self.calm.get_or_init(|| {
            let calibration = self.name(stream::CALIBRATION);
            Calm::of(self.operations().iter().filter_map(|view| {
                let asked = view.operation(&self.events)?;
                if calibration.is_none() || Some(asked.stream) != calibration {
                    return None;
                }
                let due = view.intended_at(&self.events);
                let outcome = view.outcome(&self.events);
                let ended = outcome.map_or_else(|| self.events.last().map_or(due, |last| last.at), |(ended, ..)| ended);
                let took = Duration::from_nanos(ended.saturating_sub(due)).as_secs_f64() * 1000.0;
                let answered = outcome.is_some_and(|(.., answer)| answer.is_success());
                // What the end of the story cut off before it was slow says nothing; it was no stall.
                (answered || took >= STALL_MS).then_some((due, answered.then_some(took)))
            }))
        })
    }

    /// How many calls were answered 2xx although no upstream recorded their arrival, and how many were answered 2xx in all; those of the
    /// stream `cached` are not counted. Read once, when it is first asked for.
    #[must_use]
    pub fn hollow(&self) -> (u64, u64) {
        *self.hollow.get_or_init(|| {
            let (mut hollow, mut all) = (0_u64, 0_u64);
            // What a cache answers arrives nowhere, and should not: its claims look at what such answers are made of.
            let cached = self.name(stream::CACHED);
            for view in self.operations() {
                let is_call = view
                    .operation(&self.events)
                    .is_some_and(|asked| asked.verb == Verb::Call && Some(asked.stream) != cached);
                if is_call && view.outcome(&self.events).is_some_and(|(.., answer)| answer.is_success()) {
                    all = all.saturating_add(1);
                    hollow = hollow.saturating_add(u64::from(!view.admitted()));
                }
            }
            (hollow, all)
        })
    }

    /// The first line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All events in order; event number `n` is at `n - 1`.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether the closing mark was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Operations with their completions and arrivals.
    #[must_use]
    pub fn operations(&self) -> &[OperationView] {
        self.index.operations()
    }

    /// The table of names.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Text of a name.
    #[must_use]
    pub fn text(&self, name: Name) -> &str {
        self.names.text(name)
    }

    /// The name for `text`; a name that equals no event's name if it never occurred.
    #[must_use]
    pub fn name(&self, text: &str) -> Option<Name> {
        self.names.find(text)
    }

    /// Marks with this name, in order: (time, subject, value, position of the event).
    pub fn marks(&self, name: &str) -> impl Iterator<Item = (u64, Name, i64, usize)> + '_ {
        let wanted = self.names.find(name);
        self.index.others().iter().filter_map(move |position| {
            let event = self.events.get(*position as usize)?;
            let EventKind::Mark { name, subject, value } = event.kind else {
                return None;
            };
            (Some(name) == wanted).then_some((event.at, subject, value, *position as usize))
        })
    }

    /// What analytics recorded, in order: (time, operation, analytics, replica, position of the event).
    pub fn records(&self) -> impl Iterator<Item = (u64, u32, Name, Name, usize)> + '_ {
        self.index.records().iter().filter_map(|position| {
            let event = self.events.get(*position as usize)?;
            let EventKind::Recorded { op, analytics, replica } = event.kind else {
                return None;
            };
            Some((event.at, op, analytics, replica, *position as usize))
        })
    }

    /// Events that are neither invocation, completion, arrival nor record of analytics, in order, with their positions.
    pub fn others(&self) -> impl Iterator<Item = (usize, &Event)> + '_ {
        self.index
            .others()
            .iter()
            .filter_map(|position| self.events.get(*position as usize).map(|event| (*position as usize, event)))
    }

    /// Event number (from 1) of a position (from 0), for counterexamples.
    #[must_use]
    pub fn reference(&self, position: usize) -> crate::verdict::EventRef {
        let event = u64::try_from(position).unwrap_or(u64::MAX).saturating_add(1);
        crate::verdict::EventRef { experiment: self.header.experiment.clone(), event }
    }

    /// Stretches that the record missed.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.others()
            .filter_map(|(event, found)| {
                let EventKind::Gap { what, .. } = found.kind else {
                    return None;
                };
                Some(Gap { event, what: self.text(what).to_owned() })
            })
            .collect()
    }
}
