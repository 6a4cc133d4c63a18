//! What does a check find that holds many numbers against limits? Each that is broken, in words and with the events that show it; what it could not
//! see; and the verdict that all of that comes to.

use super::common::{decided_by, doubt, record_doubt, unless};
use gatecrash_model::History;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};

/// Events that a counterexample cites.
const CITED: usize = 3;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// All numbers, broken or not.
    pub(crate) numbers: Vec<Number>,
    /// What a reader of a verdict that holds should know.
    pub(crate) notes: Vec<String>,
    /// The first reason why there is nothing to hold.
    missing: Option<Reason>,
    /// Why the machine may be to blame.
    busy: Option<Reason>,
    /// Name of the number that shows it, and words.
    broken: Vec<(String, String)>,
    events: Vec<EventRef>,
}

impl Case {
    /// Too little of something was seen.
    pub(crate) fn few(&mut self, text: impl Into<String>) {
        self.lacks(Reason::new("too-few-samples", text.into()));
    }

    /// Nothing can hold, for this reason; the first one is told.
    pub(crate) fn lacks(&mut self, reason: Reason) {
        self.missing.get_or_insert(reason);
    }

    /// The machine may be the reason of what is not broken for certain.
    pub(crate) fn busy(&mut self, reason: Reason) {
        self.busy.get_or_insert(reason);
    }

    /// The number called `name` is beyond its limit, as `events` show.
    pub(crate) fn break_by(
        &mut self,
        name: impl Into<String>,
        text: String,
        events: impl IntoIterator<Item = EventRef>,
    ) {
        self.broken.push((name.into(), text));
        self.events.extend(events);
    }

    /// What it comes to over so many `samples`, of which `minimum` are needed. A record that is not whole, or what `late` says, accuses nobody.
    pub(crate) fn verdict(
        self,
        history: &History,
        (samples, minimum): (u64, u64),
        late: impl FnOnce() -> Option<Reason>,
    ) -> Verdict {
        let Self { numbers, notes, missing, busy, broken, mut events } = self;
        if let Some((decided, _)) = broken.first() {
            if let Some(doubt) = record_doubt(history).or_else(late) {
                return Verdict::Inconclusive(doubt);
            }
            events.truncate(CITED);
            let numbers = decided_by(numbers, decided);
            let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
            return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
        }
        let held = Verdict::holds(minimum, Evidence { samples, numbers, notes });
        unless(held, doubt(history).or(missing).or(busy))
    }
}
