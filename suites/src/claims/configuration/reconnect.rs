//! CFG-05: is everything that was published while the control plane was away in force soon after it is back, at every replica, and what it
//! lost with it?

use super::truth::{Kind, shown};
use crate::claims::common::{
    Phase, count, decided_by, doubt, late_doubt, nanos, phases, record_doubt, seconds, unless,
};
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};

/// Least number of requests that show something.
pub(super) const MINIMUM: u64 = 100;

/// The stretches that are judged: variant of their `settle` phase, and words.
const SETTLES: [(&str, &str); 4] = [
    ("outage", "after an outage"),
    ("flapping", "after links flapped"),
    ("restored", "after an older copy was restored"),
    ("afterwards", "published after that"),
];

const OPEN: &str = "served what must not be served";
const LATE: &str = "answers of another state";
const SILENT: &str = "requests without an answer";

pub(super) fn cfg_05(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("changes-in-an-outage") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let within = scope.parameters.duration("within");
    let phases = phases(history);
    let mut samples = 0_u64;
    let (mut numbers, mut missing) = (Vec::new(), None);
    let (mut open, mut late, mut silent): (Vec<Kind>, Vec<Kind>, Vec<Kind>) = (Vec::new(), Vec::new(), Vec::new());
    let mut judged: Vec<Phase> = Vec::new();
    let few = |text: String| Some(Reason::new("too-few-samples", text));
    for (variant, when) in SETTLES {
        let is =
            |phase: &&Phase, name: &str| history.text(phase.phase) == name && history.text(phase.variant) == variant;
        let Some(settle) = phases.iter().find(|phase| is(phase, "settle")) else {
            missing = missing.or_else(|| few(format!("nothing was seen {when}")));
            continue;
        };
        // What this variant told, from its first phase on.
        let began = phases.iter().find(|phase| history.text(phase.variant) == variant);
        let since = began.map_or(settle.from, |phase| phase.from);
        let seen = shown(history, since, (settle.from, settle.to), nanos(within));
        samples = samples.saturating_add(seen.samples);
        let name = format!("{when}, in force everywhere within");
        numbers.push(Number::new(name, seconds(seen.longest), "s").limit(within.as_secs_f64()));
        missing = missing.or_else(|| few(format!("{when}: {}", seen.unseen.as_ref()?)));
        open.push(seen.open);
        late.push(seen.late);
        silent.push(seen.silent);
        judged.push(*settle);
    }
    // Without a break the slowest stretch decided.
    let slowest = numbers.iter().max_by(|a, b| a.value.total_cmp(&b.value)).map(|number| number.name.clone());
    let all = |kinds: &[Kind]| kinds.iter().map(|kind| kind.offences.count).fold(0_u64, u64::saturating_add);
    for (name, kinds) in [(OPEN, &open), (LATE, &late), (SILENT, &silent)] {
        let name = format!("{name}, later than that");
        numbers.push(Number::new(name, count(all(kinds)), "").limit(0.0));
    }
    let lateness = || judged.iter().find_map(|settle| late_doubt(history, within, settle.from, settle.to));
    let broken: Vec<(&str, &Kind)> = [(OPEN, &open), (LATE, &late), (SILENT, &silent)]
        .into_iter()
        .flat_map(|(name, kinds)| kinds.iter().map(move |kind| (name, kind)))
        .filter(|(_, kind)| kind.first.is_some())
        .collect();
    if let Some((decided, _)) = broken.first() {
        // How late an answer was is the harness' word, and whether there was none.
        if let Some(doubt) = record_doubt(history).or_else(lateness) {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, &format!("{decided}, later than that"));
        return violated(&broken, numbers, samples);
    }
    let held = Evidence { samples, numbers: decided_by(numbers, &slowest.unwrap_or_default()), notes: Vec::new() };
    // What was in force in time was so however late the harness looked.
    unless(Verdict::holds(MINIMUM, held), doubt(history).or(missing))
}

fn violated(broken: &[(&str, &Kind)], numbers: Vec<Number>, samples: u64) -> Verdict {
    let words = broken.iter().map(|(name, kind)| {
        format!("{name}: {}; first: {}", kind.offences.count, kind.first.as_deref().unwrap_or_default())
    });
    let explanation = words.collect::<Vec<_>>().join("; ");
    let mut events: Vec<_> = broken.iter().flat_map(|(_, kind)| kind.offences.events.clone()).collect();
    events.truncate(3);
    Verdict::Violated(Counterexample { explanation, events, samples, numbers })
}
