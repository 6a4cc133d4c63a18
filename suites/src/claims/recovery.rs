//! Recovery breaks as often as the outage itself (claims.md, section 7): is service as it was, soon after a fault is over?
//!
//! Judged is what is due from `settle` after the beginning of a phase `settle` on, to the end of that phase; from its repetition on, if the harness was late or
//! the machine stood still, so that it was told again.

use super::common::{Phase, Seen, count, judged, late_doubt, nanos};
use super::draining::Failures;
use super::stalls::{STALL_NEAR, Stalls};
use gatecrash_model::History;
use gatecrash_model::calm::ENOUGH;
use gatecrash_model::claim::{Parameter, Scope, Value};
use gatecrash_model::verdict::{EventRef, Number, Reason};
use std::time::Duration;

/// How long service may take until it is as it was, where a profile does not say it; stories wait as long, scaled.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// It is never less, however short a story is: what connects again does so in pauses that are not scaled.
pub(crate) const LEAST: Duration = Duration::from_secs(1);
/// The parameter of each claim that asks this.
pub(crate) const SETTLE: Parameter = Parameter {
    name: "settle",
    default: Some(Value::Seconds(10.0)),
    min: 0.0,
    max: 3_600.0,
    words: &[],
    help: "how long after a fault is over service may take until it is as it was, at least 1 s (default: ours, as `t_heal` of QUO-07)",
};
/// Share that must succeed then, where a claim does not say it.
pub(crate) const SHARE: f64 = 0.995;
/// Fewer requests say nothing.
const FEW: u64 = 5;

/// What came after the faults of a story.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) numbers: Vec<Number>,
    /// Name of the number that shows it, and words.
    pub(crate) broken: Vec<(String, String)>,
    pub(crate) events: Vec<EventRef>,
    /// Why it was not seen, or may be the machine's doing.
    pub(crate) missing: Option<Reason>,
}

fn within(scope: &Scope<'_>) -> Duration {
    scope.parameters.duration(SETTLE.name).max(LEAST)
}

/// The part of a phase `settle` in which service must be as it was.
pub(crate) fn settled(scope: &Scope<'_>, history: &History, settle: Phase) -> Phase {
    let told = judged(history, settle);
    Phase { from: told.from.saturating_add(nanos(within(scope))), ..told }
}

/// Why what was wrong in the settled `part` of `settle` may be the machine's doing: the harness was late, all sites stood still, or calibration was as slow.
pub(crate) fn disturbed(scope: &Scope<'_>, history: &History, settle: Phase, part: Phase) -> Option<Reason> {
    // As the story looks at it: what came long before says nothing.
    let by_default = WITHIN.mul_f64(scope.scale).max(LEAST);
    let from = part.from.saturating_sub(nanos(by_default)).max(judged(history, settle).from);
    late_doubt(history, by_default, from, part.to).or_else(|| {
        let busy = history.calm().share(from, part.to).is_some_and(|calm| calm < ENOUGH);
        let still = Stalls::of(history).touch(from, part.to, STALL_NEAR);
        let text = format!("`{}`: the machine stood still, or was busy, when a fault was over", history.experiment());
        (busy || still).then(|| Reason::new("machine-busy", text))
    })
}

impl Recovery {
    /// Judges those of `asked` that are due when service must be as it was, after the fault that `when` names; `settle` is `None` where nobody watched.
    pub(crate) fn judge<'h>(
        &mut self,
        scope: &Scope<'_>,
        history: &'h History,
        settle: Option<Phase>,
        (when, slo): (&str, f64),
        asked: impl Iterator<Item = Seen<'h>>,
    ) {
        let Some(settle) = settle else {
            return self.few(format!("what came after was not seen: {when}"));
        };
        let part = settled(scope, history, settle);
        let mut failures = Failures::default();
        for seen in asked.filter(|seen| (part.from..part.to).contains(&seen.view.intended_at(history.events()))) {
            failures.add(history, &seen);
        }
        let after = within(scope).as_secs_f64();
        if failures.asked < FEW {
            let text =
                format!("{} requests were due later than {after:.1} s after it was over: {when}", failures.asked);
            return self.few(text);
        }
        let success = count(failures.asked.saturating_sub(failures.failed)) / count(failures.asked);
        let name = format!("success afterwards ({when})");
        self.numbers.push(Number::new(&name, success * 100.0, "%").limit(slo * 100.0));
        if success >= slo {
            return;
        }
        let told = failures.first.clone().unwrap_or_default();
        let text = format!(
            "{when}: later than {after:.1} s after it was over {} of {} requests failed; first: {told}",
            failures.failed, failures.asked
        );
        let doubt = failures.doubt(history).or_else(|| disturbed(scope, history, settle, part));
        self.breaks(name, text, failures.events, doubt);
    }

    /// Something is not as it was; with a `doubt`, if it may be the machine's doing.
    pub(crate) fn breaks(&mut self, name: String, text: String, events: Vec<EventRef>, doubt: Option<Reason>) {
        if let Some(doubt) = doubt {
            self.missing.get_or_insert_with(|| Reason::new(&doubt.code, format!("{}; seen: {text}", doubt.text)));
            return;
        }
        self.broken.push((name, text));
        self.events.extend(events);
    }

    /// Something was not seen.
    pub(crate) fn few(&mut self, text: String) {
        self.missing.get_or_insert_with(|| Reason::new("too-few-samples", text));
    }
}
