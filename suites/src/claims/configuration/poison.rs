//! CFG-06: do routes that are good stay right while the control plane sends errors, nothing, nonsense, or one bad object among good ones; is
//! the bad one ever open; and does the next good version get through?

use super::changes::{CHANGE, Shows, state_shown};
use super::outage::Stretch;
use super::truth::{Kind, shown};
use super::{BAD_OBJECT, telling, words};
use crate::claims::common::{
    Phase, count, decided_by, doubt, late_doubt, len, nanos, phases, record_doubt, seconds, stream, unless,
};
use crate::claims::lives::Offences;
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};

/// Least number of requests for good routes while something bad was sent.
pub(super) const MINIMUM: u64 = 100;

/// What is sent in place of a configuration, and versions with a bad object in them: variants of `hold` and `settle` phases.
const VARIANTS: [&str; 7] =
    ["error", "empty", "truncated", "nonsense", "invalid-route", "two-on-one-path", "one-name-twice"];
/// Those of them that have a bad object.
const OBJECTS: usize = 3;

const BAD_OPEN: &str = "bad routes served";
const LATE: &str = "good versions in force everywhere within";

/// What the requests for the bad objects showed.
#[derive(Default)]
struct Bad {
    open: Offences,
    first: Option<String>,
    refused: u64,
}

/// A bad object may be refused, absent or an error; what arrives at the upstream of it was let in by nobody's policy.
fn bad_objects(history: &History, holds: &[Phase]) -> Bad {
    let mut found = Bad::default();
    let objects: Vec<_> = history.marks(BAD_OBJECT).map(|(_, route, ..)| route).collect();
    for seen in stream(history, CHANGE).filter(|seen| objects.contains(&seen.asked.route)) {
        if !holds.iter().any(|phase| (phase.from..phase.to).contains(&seen.sent)) {
            continue;
        }
        match state_shown(super::ABSENT, &seen) {
            Shows::Admitted => {
                found.open.add(history, telling(&seen));
                found.first.get_or_insert_with(|| format!("{} was served", words(history, &seen)));
            }
            Shows::Nothing => {}
            Shows::New | Shows::Old | Shows::Neither => found.refused = found.refused.saturating_add(1),
        }
    }
    found
}

pub(super) fn cfg_06(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("bad-configurations") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let within = scope.parameters.duration("within");
    let slo = scope.parameters.number("slo") / 100.0;
    let phases = phases(history);
    let few = |text: String| Some(Reason::new("too-few-samples", text));
    let of = |name: &str, variant: &str| -> Option<Phase> {
        let is = |phase: &&Phase| history.text(phase.phase) == name && history.text(phase.variant) == variant;
        phases.iter().find(is).copied()
    };
    let (mut numbers, mut missing, mut samples) = (Vec::new(), None, 0_u64);
    // Name of the number that shows it, and words.
    let mut broken: Vec<(String, String)> = Vec::new();
    let mut events: Vec<EventRef> = Vec::new();
    // A wrong answer is the gateway's, however late the harness was.
    let mut certain = false;
    let (mut slowest, mut late): (u64, Vec<Kind>) = (0, Vec::new());
    let mut judged: Vec<Phase> = Vec::new();
    for variant in VARIANTS {
        let (Some(hold), Some(settle)) = (of("hold", variant), of("settle", variant)) else {
            missing = missing.or_else(|| few(format!("`{variant}` was not seen to its end")));
            continue;
        };
        for (phase, when) in [(hold, variant.to_owned()), (settle, format!("after {variant}"))] {
            let mut seen = Stretch::read(history, &[phase], |_| true);
            if seen.service.sent == 0 {
                missing = missing.or_else(|| few(format!("{when}: no good route was asked")));
                continue;
            }
            samples = samples.saturating_add(seen.service.sent);
            numbers.extend(seen.numbers(slo, &when));
            if let Some(what) = seen.broken(slo, &when) {
                certain |= seen.wrong.is_some();
                broken.push(what);
                events.append(&mut seen.events);
            }
        }
        let seen = shown(history, hold.from, (settle.from, settle.to), nanos(within));
        slowest = slowest.max(seen.longest);
        missing = missing.or_else(|| few(format!("after {variant}: {}", seen.unseen.as_ref()?)));
        late.extend([seen.open, seen.late, seen.silent]);
        judged.extend([hold, settle]);
    }
    let holds: Vec<Phase> = phases.iter().filter(|phase| history.text(phase.phase) == "hold").copied().collect();
    let bad = bad_objects(history, &holds);
    numbers.push(Number::new(BAD_OPEN, count(bad.open.count), "requests").limit(0.0));
    numbers.push(Number::new(LATE, seconds(slowest), "s").limit(within.as_secs_f64()));
    numbers.push(Number::new("bad routes refused", count(bad.refused), "requests"));
    if let Some(first) = bad.first {
        certain = true;
        let text = format!("{} requests for a bad route were served; first: {first}", bad.open.count);
        broken.insert(0, (BAD_OPEN.to_owned(), text));
        events.splice(0..0, bad.open.events);
    }
    if let Some((kind, first)) = late.iter().find_map(|kind| Some((kind, kind.first.as_ref()?))) {
        broken.push((LATE.to_owned(), format!("a good version was late: {first}")));
        events.extend(kind.offences.events.iter().cloned());
    }
    let lateness = || judged.iter().find_map(|phase| late_doubt(history, within, phase.from, phase.to));
    if let Some((decided, _)) = broken.first() {
        if let Some(doubt) = (!certain).then(|| record_doubt(history).or_else(lateness)).flatten() {
            return Verdict::Inconclusive(doubt);
        }
        events.truncate(3);
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let objects = history.marks(BAD_OBJECT).count();
    let missing = missing.or_else(|| {
        if objects < OBJECTS {
            few(format!("{objects} versions with a bad object were published; {OBJECTS} are needed"))
        } else if bad.refused == 0 {
            few("no bad route was asked".to_owned())
        } else {
            unsteady(history, &phases)
        }
    });
    let notes = vec![format!("{} configurations were told to be refused", refused(history))];
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers: decided_by(numbers, BAD_OPEN), notes });
    // What was right was so however late the harness looked.
    unless(held, doubt(history).or(missing))
}

/// How often a replica told the control plane that it refused what it was sent.
fn refused(history: &History) -> u64 {
    use gatecrash_model::history::EventKind;
    let told = history.name("refused");
    let is = |kind: &EventKind| matches!(kind, EventKind::Contact { what, .. } if Some(*what) == told);
    len(history.others().filter(|(_, event)| is(&event.kind)).count())
}

/// `no-steady-state`, if a good route failed before anything bad was sent, or none was asked.
fn unsteady(history: &History, phases: &[Phase]) -> Option<Reason> {
    let steady = phases.iter().find(|phase| history.text(phase.phase) == "steady");
    let mut sent = 0_u64;
    for seen in stream(history, streams::TRAFFIC) {
        if steady.is_some_and(|steady| (steady.from..steady.to).contains(&seen.sent)) {
            sent = sent.saturating_add(1);
            if seen.status() != 0 && !(200..300).contains(&seen.status()) {
                let text = format!("{} failed before anything bad was sent", words(history, &seen));
                return Some(Reason::new("no-steady-state", text));
            }
        }
    }
    (sent == 0).then(|| Reason::new("no-steady-state", "nothing was sent before anything bad was"))
}
