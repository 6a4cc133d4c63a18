//! SCL-02: can a large replica do more than a small one? As a comparison of pairs, one for each run, with an interval.

use super::{SATURATING, SIZE, SIZES};
use crate::claims::common::{Phase, count, doubt, late_doubt, len, phases, seconds, stream, unless};
use gatecrash_model::claim::Scope;
use gatecrash_model::stats::mean_interval_95;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// Least number of answers that are counted.
pub(super) const MINIMUM: u64 = 200;

const RATIO: &str = "large over small (mean of the runs)";

/// What one replica did in one run.
struct Run {
    replica: Name,
    /// Answers 2xx a second.
    rate: f64,
    answers: u64,
    /// From when to when, ns.
    from: u64,
    to: u64,
    /// Position of the event with which the run began.
    event: usize,
}

/// The runs of a history, in order.
fn runs(history: &History) -> Vec<Run> {
    let hold = |phase: &&Phase| history.text(phase.phase) == "hold";
    let mut runs = Vec::new();
    for phase in phases(history).iter().filter(hold) {
        let (mut answers, mut replica) = (0_u64, Name::NONE);
        let answered = stream(history, SATURATING).filter(|seen| (phase.from..phase.to).contains(&seen.ended()));
        for seen in answered {
            replica = seen.asked.target;
            answers = answers.saturating_add(u64::from((200..300).contains(&seen.status())));
        }
        if !replica.is_none() {
            let rate = count(answers) / seconds(phase.to.saturating_sub(phase.from)).max(1e-9);
            runs.push(Run { replica, rate, answers, from: phase.from, to: phase.to, event: phase.event });
        }
    }
    runs
}

pub(super) fn scl_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SIZES) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let runs = runs(history);
    let size = |run: &&Run, wanted: i64| {
        history.marks(SIZE).any(|(_, replica, value, _)| replica == run.replica && value == wanted)
    };
    let small: Vec<&Run> = runs.iter().filter(|run| size(run, 0)).collect();
    let large: Vec<&Run> = runs.iter().filter(|run| size(run, 1)).collect();
    let ratios: Vec<f64> = small
        .iter()
        .zip(&large)
        .filter(|(small, _)| small.answers > 0)
        .map(|(small, large)| large.rate / small.rate)
        .collect();
    let Some((mean, low, high)) = mean_interval_95(&ratios) else {
        let text = format!("{} runs of a small and {} of a large replica can be compared", small.len(), large.len());
        return Verdict::inconclusive("too-few-samples", text);
    };
    let wanted = scope.parameters.number("ratio");
    let samples = runs.iter().map(|run| run.answers).fold(0, u64::saturating_add);
    let median = |runs: &[&Run]| {
        let mut rates: Vec<f64> = runs.iter().map(|run| run.rate).collect();
        gatecrash_model::stats::quantile(&mut rates, 0, 0.5).unwrap_or_default()
    };
    let numbers = vec![
        Number::new(RATIO, mean, "").limit(wanted),
        Number::new("lower end of its 95 % interval", low, "").limit(1.0),
        Number::new("upper end of its 95 % interval", high, ""),
        Number::new("a small one can do (median)", median(&small), "requests/s"),
        Number::new("a large one can do (median)", median(&large), "requests/s"),
        Number::new("runs", count(len(ratios.len())), ""),
    ];
    if let Some(doubt) = doubt(history) {
        return Verdict::Inconclusive(doubt);
    }
    // A harness that was late asked less of the larger one than it could do.
    let late = runs
        .iter()
        .find_map(|run| late_doubt(history, Duration::from_nanos(run.to.saturating_sub(run.from)), run.from, run.to));
    if let Some(late) = late.filter(|_| high < wanted) {
        return Verdict::Inconclusive(late);
    }
    if high < wanted {
        let explanation = format!(
            "a large replica can do {mean:.2} times what a small one can (95 % interval {low:.2} to {high:.2}, {} runs); {wanted} times are wanted",
            ratios.len()
        );
        let events = large.iter().take(3).map(|run| history.reference(run.event)).collect();
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let undecided = (low <= 1.0 || mean < wanted).then(|| {
        let text = format!("the runs differ too much to tell: {mean:.2} times, 95 % interval {low:.2} to {high:.2}");
        Reason::new("undecided", text)
    });
    unless(Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() }), undecided)
}
