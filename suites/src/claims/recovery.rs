//! Recovery breaks as often as the outage itself (claims.md, section 7): is service as it was, soon after a fault is over?
//!
//! Judged is what is due from `settle` after the beginning of a phase `settle` on, to the end of that phase.

use super::common::{Phase, Seen, count, late_doubt, nanos};
use super::draining::Failures;
use gatecrash_model::History;
use gatecrash_model::claim::{Parameter, Scope, Value};
use gatecrash_model::verdict::{EventRef, Number, Reason};
use std::time::Duration;

/// The parameter of each claim that asks this.
pub(crate) const SETTLE: Parameter = Parameter {
    name: "settle",
    default: Some(Value::Seconds(10.0)),
    min: 0.0,
    max: 3_600.0,
    words: &[],
    help: "how long after a fault is over service may take until it is as it was (default: ours, as `t_heal` of QUO-07)",
};
/// Share that must succeed then, where a claim does not say it.
pub(crate) const SHARE: f64 = 0.995;
/// Fewer requests say nothing.
const FEW: u64 = 5;
/// A harness that is later than a tenth of this sees nothing.
const LOOK: Duration = Duration::from_secs(1);

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

/// The part of a phase `settle` in which service must be as it was.
pub(crate) fn settled(scope: &Scope<'_>, history: &History, settle: Phase) -> Phase {
    let from = settle.from.saturating_add(nanos(scope.parameters.duration(SETTLE.name)));
    Phase { from: from.max(super::common::judged(history, settle).from), ..settle }
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
        let after = scope.parameters.number(SETTLE.name);
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
        if let Some(doubt) = failures.doubt(history).or_else(|| late_doubt(history, LOOK, part.from, part.to)) {
            self.missing.get_or_insert(doubt);
            return;
        }
        let told = failures.first.unwrap_or_default();
        self.broken.push((
            name,
            format!(
                "{when}: later than {after:.1} s after it was over {} of {} requests failed; first: {told}",
                failures.failed, failures.asked
            ),
        ));
        self.events.extend(failures.events);
    }

    /// Something was not seen.
    pub(crate) fn few(&mut self, text: String) {
        self.missing.get_or_insert_with(|| Reason::new("too-few-samples", text));
    }
}
