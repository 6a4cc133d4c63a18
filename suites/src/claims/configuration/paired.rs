//! CFG-03: is the time to the first answer shorter when the configuration need not be downloaded?

use super::{LOCAL, START_KIND};
use crate::claims::common::{count, doubt, end_of, len, ms, stream, unless};
use crate::claims::lives::Lives;
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::stats::{median_interval, quantile, rank_test};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};

/// Milliseconds from start to first success, local and remote; how many starts never served; where they are.
#[derive(Default)]
struct Samples {
    local: Vec<f64>,
    remote: Vec<f64>,
    silent: u64,
    events: Vec<usize>,
}

fn read(history: &History) -> Samples {
    let lives = Lives::new(history);
    let end = end_of(history);
    let mut samples = Samples::default();
    for (marked, replica, kind, event) in history.marks(START_KIND) {
        let Some(at) = lives.starts(replica, marked, end).next() else { continue };
        let to = lives.gone_in(replica, at.saturating_add(1), end).unwrap_or(end);
        let to = lives.starts(replica, at.saturating_add(1), to).next().unwrap_or(to);
        let served = stream(history, streams::CANARY)
            .filter(|seen| seen.asked.target == replica && (at..to).contains(&seen.sent))
            .filter(|seen| !seen.asked.credential.must_refuse())
            .filter_map(|seen| seen.outcome.filter(|(_, _, answer)| answer.is_success()))
            .map(|(ended, ..)| ended)
            .min();
        samples.events.push(event);
        match served {
            Some(served) if kind == LOCAL => samples.local.push(ms(served.saturating_sub(at))),
            Some(served) => samples.remote.push(ms(served.saturating_sub(at))),
            None => samples.silent = samples.silent.saturating_add(1),
        }
    }
    samples
}

pub(super) fn cfg_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("paired-starts") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let mut found = read(history);
    let samples = len(found.local.len().saturating_add(found.remote.len()));
    let wanted = scope.parameters.number("starts");
    let few = [("local", found.local.len()), ("remote", found.remote.len())];
    if let Some((kind, had)) = few.into_iter().find(|(_, had)| count(len(*had)) < wanted) {
        let text = format!("{had} {kind} starts were seen to serve ({} never did); {wanted} are needed", found.silent);
        return Verdict::inconclusive("too-few-samples", text);
    }
    let p = rank_test(&found.remote, &found.local);
    let (local, remote) = (quantile(&mut found.local, 0, 0.5), quantile(&mut found.remote, 0, 0.5));
    let (Some(p), Some(local), Some(remote)) = (p, local, remote) else {
        return Verdict::inconclusive("too-few-samples", "there is nothing to compare");
    };
    let (least_p, least_ratio) = (scope.parameters.number("p"), scope.parameters.number("ratio"));
    let ratio = if remote > 0.0 { local / remote } else { 1.0 };
    let mut numbers = vec![
        Number::new("median of local starts", local, "ms"),
        Number::new("median of remote starts", remote, "ms"),
        Number::new("local over remote", ratio, "").limit(least_ratio),
        Number::new("p of the rank test", p, "").limit(least_p),
    ];
    for (name, samples) in [("local", &mut found.local), ("remote", &mut found.remote)] {
        if let Some((low, high)) = median_interval(samples, 0.95) {
            numbers.push(Number::new(format!("{name} median, 95 % from"), low, "ms"));
            numbers.push(Number::new(format!("{name} median, 95 % to"), high, "ms"));
        }
    }
    // A comparison stands on its fault: without the proven latency of the control plane it says nothing either way.
    if let Some(doubt) = doubt(history) {
        return Verdict::Inconclusive(doubt);
    }
    if p < least_p && ratio < least_ratio {
        let notes = vec!["one gateway in two modes, not two products".to_owned()];
        let silent = found.silent > 0;
        let doubt = silent.then(|| Reason::new("too-few-samples", format!("{} starts never served", found.silent)));
        return unless(Verdict::holds(10, Evidence { samples, numbers, notes }), doubt);
    }
    let explanation = format!(
        "starts from the local configuration took {local:.1} ms, starts that download it {remote:.1} ms (medians, ratio {ratio:.2}; p = {p:.3}): {least_ratio} and {least_p} are the limits"
    );
    let events = found.events.iter().take(3).map(|event| history.reference(*event)).collect();
    Verdict::Violated(Counterexample { explanation, events, samples, numbers })
}
