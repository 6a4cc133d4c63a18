//! CFG-04: when does each replica show a change, does it ever show half of one, and do other routes notice?
//!
//! All facts of a change belong to one version. Once a replica has answered with one of them, no request that is sent
//! later may be answered with the state before, until the replica starts again: that would be a mixture. An answer
//! that was under way while the next change was published is left out.

use super::changes::{CHANGE, Change, Shows, changes, last_at};
use super::truth::Kind;
use crate::claims::common::{
    Seen, count, decided_by, doubt, end_of, late_doubt, len, nanos, phase, phases, record_doubt, seconds, stream,
    unless,
};
use crate::claims::lives::{Lives, touches};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::ReplicaState;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Least number of requests that show something.
pub(super) const MINIMUM: u64 = 100;
/// Least number of changes.
const CHANGES: usize = 3;
/// An end that never came excuses a request for this long, ns: no request may take longer.
const LONGEST: u64 = 10_000_000_000;

const VISIBLE: &str = "changes visible everywhere after";
const ADMITTED: &str = "requests admitted without the policy of their route";
const MIXED: &str = "answers with the old state after the new one";
const ERRORS: &str = "errors on untouched routes";
const SILENT: &str = "requests without an answer on untouched routes";

#[derive(Default)]
struct Tally {
    admitted: Kind,
    mixed: Kind,
    late: Kind,
    errors: Kind,
    silent: Kind,
    /// Longest time after which a replica showed a change first, or still did not, ns.
    longest: u64,
    shown: u64,
    untouched: u64,
    /// Number of the change, route, replica: the new state was seen.
    seen: BTreeSet<(usize, Name, Name)>,
    replicas: BTreeSet<Name>,
}

/// Since when `replica` could have shown `change` to a request sent at `sent`: the later of its publication and its last start.
fn due_from(lives: &Lives, replica: Name, change: &Change, sent: u64) -> u64 {
    let up = lives
        .of(replica)
        .iter()
        .rev()
        .find(|turn| turn.at <= sent && matches!(turn.state, ReplicaState::Starting | ReplicaState::Ready));
    up.map_or(0, |turn| turn.at).max(change.published)
}

impl Tally {
    /// What the requests for changed routes show.
    fn read(&mut self, history: &History, changes: &[Change], lives: &Lives, within: u64) {
        let mut first_new: BTreeMap<(usize, Name, u64), (u64, u64)> = BTreeMap::new();
        let shows = |seen: &Seen<'_>| {
            let (number, change) = last_at(changes, seen.sent)?;
            let fact = change.fact(seen.asked.route)?;
            // What was published meanwhile may have answered, too.
            let certain = seen.outcome.is_some_and(|(ended, ..)| ended < change.until);
            certain.then(|| (number, change, fact.shown_by(seen)))
        };
        for seen in stream(history, CHANGE) {
            let target = seen.asked.target;
            self.replicas.insert(target);
            let Some((number, change, Shows::New)) = shows(&seen) else { continue };
            let life = lives.started_before(target, seen.sent).unwrap_or_default();
            let due = due_from(lives, target, change, seen.sent);
            let first = first_new.entry((number, target, life)).or_insert((u64::MAX, due));
            if seen.ended() < first.0 {
                *first = (seen.ended(), due);
            }
            self.seen.insert((number, seen.asked.route, target));
        }
        let waits = first_new.values().map(|(first, due)| first.saturating_sub(*due));
        self.longest = waits.max().unwrap_or_default();
        for seen in stream(history, CHANGE) {
            let target = seen.asked.target;
            let Some((number, change, shown)) = shows(&seen) else { continue };
            match shown {
                Shows::Nothing => continue,
                Shows::Admitted => {
                    self.admitted.add(
                        history,
                        &seen,
                        "was admitted, though its route asks for a credential or is none",
                    );
                }
                Shows::Old | Shows::Neither => {
                    let life = lives.started_before(target, seen.sent).unwrap_or_default();
                    let first = first_new.get(&(number, target, life));
                    if shown == Shows::Old && first.is_some_and(|(first, _)| *first < seen.sent) {
                        self.mixed.add(history, &seen, "had the old state although the new one was seen before");
                    }
                    let waited = seen.sent.saturating_sub(due_from(lives, target, change, seen.sent));
                    if waited > within {
                        self.longest = self.longest.max(waited);
                        self.late.add(
                            history,
                            &seen,
                            &format!("did not show the change after {:.2} s", seconds(waited)),
                        );
                    }
                }
                Shows::New => {}
            }
            self.shown = self.shown.saturating_add(1);
        }
    }

    /// How the traffic for a route that no change touches did since the first change.
    fn read_untouched(&mut self, history: &History, from: u64, lives: &Lives) {
        let mut windows: BTreeMap<Name, Vec<(u64, u64)>> = BTreeMap::new();
        for seen in stream(history, streams::TRAFFIC).filter(|seen| seen.sent >= from && !seen.is_given_up()) {
            let target = seen.asked.target;
            let windows = windows.entry(target).or_insert_with(|| lives.not_ready_windows(target));
            if touches(windows, seen.sent, seen.ended().min(seen.sent.saturating_add(LONGEST))) {
                continue;
            }
            self.untouched = self.untouched.saturating_add(1);
            match seen.status() {
                200..300 => {}
                0 => self.silent.add(history, &seen, "had no answer"),
                _ => self.errors.add(history, &seen, "failed, and no change touched it"),
            }
        }
    }

    /// The first change that a replica never showed, in words.
    fn unseen(&self, history: &History, changes: &[Change]) -> Option<String> {
        changes.iter().enumerate().find_map(|(number, change)| {
            change.facts.iter().find_map(|fact| {
                let missing =
                    self.replicas.iter().find(|replica| !self.seen.contains(&(number, fact.route, **replica)))?;
                let (route, replica) = (history.text(fact.route), history.text(*missing));
                Some(format!("what change {} does to route `{route}` was never seen at `{replica}`", number + 1))
            })
        })
    }
}

pub(super) fn cfg_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("configuration-changes") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let within = scope.parameters.duration("within");
    let (changes, lives) = (changes(history), Lives::new(history));
    let Some(first) = changes.first() else {
        return Verdict::Inconclusive(
            doubt(history).unwrap_or_else(|| Reason::new("too-few-samples", "no change was published")),
        );
    };
    let mut tally = Tally::default();
    tally.read(history, &changes, &lives, nanos(within));
    tally.read_untouched(history, first.told, &lives);
    let numbers = vec![
        Number::new(VISIBLE, seconds(tally.longest), "s").limit(within.as_secs_f64()),
        Number::new(ADMITTED, count(tally.admitted.offences.count), "").limit(0.0),
        Number::new(MIXED, count(tally.mixed.offences.count), "").limit(0.0),
        Number::new(ERRORS, count(tally.errors.offences.count), "").limit(0.0),
        Number::new(SILENT, count(tally.silent.offences.count), "").limit(0.0),
        Number::new("changes", count(len(changes.len())), ""),
        Number::new("requests on untouched routes", count(tally.untouched), ""),
    ];
    let samples = tally.shown.saturating_add(tally.untouched);
    let unseen = tally.unseen(history, &changes);
    let late = || late_doubt(history, within, first.told, end_of(history));
    // An answer that came is certain; that one was late, or never came, may be the harness' doing.
    let kinds = [
        (ADMITTED, tally.admitted, true),
        (MIXED, tally.mixed, true),
        (ERRORS, tally.errors, true),
        (VISIBLE, tally.late, false),
        (SILENT, tally.silent, false),
    ];
    let certain = kinds.iter().any(|(_, kind, certain)| *certain && kind.first.is_some());
    let mut decided = None;
    let (mut explanation, mut events) = (Vec::new(), Vec::new());
    for (name, kind, _) in kinds {
        if let Some(first) = kind.first {
            decided.get_or_insert(name);
            explanation.push(format!("{name}: {} requests; first: {first}", kind.offences.count));
            events.extend(kind.offences.events);
        }
    }
    if let Some(decided) = decided {
        if let Some(doubt) = (!certain).then(|| record_doubt(history).or_else(late)).flatten() {
            return Verdict::Inconclusive(doubt);
        }
        events.truncate(3);
        let numbers = decided_by(numbers, decided);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let few = |text: String| Reason::new("too-few-samples", text);
    let missing = if changes.len() < CHANGES {
        Some(few(format!("{} changes were published; at least {CHANGES} are needed", changes.len())))
    } else if tally.untouched == 0 {
        Some(few("nothing was asked of routes that no change touches".to_owned()))
    } else {
        unseen.map(few)
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or_else(|| unsteady(history)).or(missing).or_else(late))
}

/// `no-steady-state`, if traffic failed before the first change or there was none.
fn unsteady(history: &History) -> Option<Reason> {
    let steady = phase(history, &phases(history), "steady", "");
    let mut sent = 0_u64;
    for seen in stream(history, streams::TRAFFIC) {
        if steady.is_some_and(|steady| (steady.from..steady.to).contains(&seen.sent)) {
            sent = sent.saturating_add(1);
            if !(200..300).contains(&seen.status()) {
                let text = format!("{} failed before the first change", super::words(history, &seen));
                return Some(Reason::new("no-steady-state", text));
            }
        }
    }
    (sent == 0).then(|| Reason::new("no-steady-state", "nothing was sent before the first change"))
}
