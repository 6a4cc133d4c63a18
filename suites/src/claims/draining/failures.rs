//! Which requests that should have succeeded did not, and is that certain? An answer that never came may be the machine's doing.

use crate::claims::common::{Seen, late_doubt, nanos, record_doubt};
use crate::claims::configuration::{telling, words};
use gatecrash_model::History;
use gatecrash_model::verdict::{EventRef, Reason};
use std::time::Duration;

/// No request of these stories may wait less than this for its answer: one that failed sooner was refused or broken off.
const LEAST_TIMEOUT: Duration = Duration::from_millis(900);

/// Requests that should all succeed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    /// How many there were.
    pub(crate) asked: u64,
    /// How many of them were not answered 2xx.
    pub(crate) failed: u64,
    /// The first that failed, in words.
    pub(crate) first: Option<String>,
    /// The first few that failed.
    pub(crate) events: Vec<EventRef>,
    /// Whether one failed whatever the machine did.
    certain: bool,
    /// When those without an answer were sent, and ended or should have.
    silent: Option<(u64, u64)>,
}

impl Failures {
    /// Adds a request, but for one that was given up.
    pub(crate) fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if seen.is_given_up() {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        if seen.outcome.is_some_and(|(_, _, answer)| answer.is_success()) {
            return;
        }
        self.failed = self.failed.saturating_add(1);
        self.first.get_or_insert_with(|| words(history, seen));
        if self.events.len() < 3 {
            self.events.push(history.reference(telling(seen)));
        }
        let soon = seen.ended().saturating_sub(seen.sent) < nanos(LEAST_TIMEOUT);
        if seen.status() != 0 || soon {
            self.certain = true;
        } else {
            let (from, to) = self.silent.unwrap_or((seen.sent, seen.sent));
            self.silent = Some((from.min(seen.sent), to.max(seen.sent.saturating_add(nanos(LEAST_TIMEOUT)))));
        }
    }

    /// Why the failures may be none of the gateway's: all of them are answers that never came, and the record has a hole or
    /// the harness was late at the time.
    pub(crate) fn doubt(&self, history: &History) -> Option<Reason> {
        let (false, Some((from, to))) = (self.certain, self.silent) else { return None };
        record_doubt(history).or_else(|| late_doubt(history, LEAST_TIMEOUT, from, to))
    }
}
