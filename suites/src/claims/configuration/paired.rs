//! CFG-03: is the time to the first answer shorter when the configuration need not be downloaded? At each latency of
//! the control plane that was tried: a gateway that is only faster when the control plane is far is not faster.

use super::{LOCAL, PAIR_LATENCY, START_KIND};
use crate::claims::common::{count, doubt, end_of, len, ms, stream, unless};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::stats::{median_interval, quantile, rank_test};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};

/// Latencies that must have been tried: 100 ms and 1 s of the unscaled experiment.
const LATENCIES: usize = 2;

/// The starts at one latency: milliseconds from when its process runs to its first success, local and remote; how many starts never served;
/// where they are.
#[derive(Default)]
struct Samples {
    /// Latency of the control plane, ms.
    latency_ms: f64,
    local: Vec<f64>,
    remote: Vec<f64>,
    silent: u64,
    events: Vec<usize>,
}

fn read(history: &History) -> Vec<Samples> {
    let latencies: Vec<(u64, i64)> = history.marks(PAIR_LATENCY).map(|(at, _, value, _)| (at, value)).collect();
    let mut from: Vec<(u64, u64, f64)> = Vec::new();
    for (index, (at, latency_us)) in latencies.iter().enumerate() {
        let to = latencies.get(index.saturating_add(1)).map_or(u64::MAX, |(next, _)| *next);
        from.push((*at, to, count(u64::try_from(*latency_us).unwrap_or_default()) / 1000.0));
    }
    from.into_iter().map(|(from, to, latency_ms)| read_pairs(history, (from, to), latency_ms)).collect()
}

fn read_pairs(history: &History, (from, to): (u64, u64), latency_ms: f64) -> Samples {
    let lives = Lives::new(history);
    let end = end_of(history);
    let running: Vec<(u64, Name)> = history.marks(mark::RUNNING).map(|(at, replica, ..)| (at, replica)).collect();
    let mut samples = Samples { latency_ms, ..Samples::default() };
    for (marked, replica, kind, event) in history.marks(START_KIND).filter(|(at, ..)| (from..to).contains(at)) {
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
        // What an engine needs for a container is no time of the gateway's.
        let runs = running.iter().find(|(when, of)| *of == replica && (at..to).contains(when));
        let began = runs.map_or(at, |(when, _)| *when);
        match served {
            Some(served) if kind == LOCAL => samples.local.push(ms(served.saturating_sub(began))),
            Some(served) => samples.remote.push(ms(served.saturating_sub(began))),
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
    let mut at_latencies = read(history);
    let missing = (at_latencies.len() < LATENCIES).then(|| {
        let text = format!("pairs were started at {} latencies of {LATENCIES}", at_latencies.len());
        Verdict::inconclusive("too-few-samples", text)
    });
    // The latency at which local starts gain least decides; it comes first.
    let mut compared: Vec<(f64, Verdict)> =
        at_latencies.iter_mut().map(|samples| compare(scope, history, samples)).collect();
    compared.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let all = Verdict::all(compared.into_iter().map(|(_, verdict)| verdict).chain(missing));
    // A comparison stands on its fault: without the proven latency of the control plane it says nothing either way.
    match doubt(history) {
        Some(doubt) if !matches!(all, Verdict::Inconclusive(_)) => Verdict::Inconclusive(doubt),
        _ => all,
    }
}

/// Compares the starts at one latency: the ratio of their medians, and what follows from it.
fn compare(scope: &Scope<'_>, history: &History, found: &mut Samples) -> (f64, Verdict) {
    let inconclusive = |text: String| (f64::INFINITY, Verdict::inconclusive("too-few-samples", text));
    let at = format!("at {:.0} ms", found.latency_ms);
    let samples = len(found.local.len().saturating_add(found.remote.len()));
    let wanted = scope.parameters.number("starts");
    let few = [("local", found.local.len()), ("remote", found.remote.len())];
    if let Some((kind, had)) = few.into_iter().find(|(_, had)| count(len(*had)) < wanted) {
        return inconclusive(format!(
            "{at} {had} {kind} starts were seen to serve ({} never did); {wanted} are needed",
            found.silent
        ));
    }
    let p = rank_test(&found.remote, &found.local);
    let (local, remote) = (quantile(&mut found.local, 0, 0.5), quantile(&mut found.remote, 0, 0.5));
    let (Some(p), Some(local), Some(remote)) = (p, local, remote) else {
        return inconclusive(format!("{at} there is nothing to compare"));
    };
    let (least_p, least_ratio) = (scope.parameters.number("p"), scope.parameters.number("ratio"));
    let ratio = if remote > 0.0 { local / remote } else { 1.0 };
    let mut numbers = vec![
        Number::new(format!("local over remote ({at})"), ratio, "").limit(least_ratio),
        Number::new(format!("p of the rank test ({at})"), p, "").limit(least_p),
        Number::new(format!("median of local starts ({at})"), local, "ms"),
        Number::new(format!("median of remote starts ({at})"), remote, "ms"),
    ];
    for (name, samples) in [("local", &mut found.local), ("remote", &mut found.remote)] {
        if let Some((low, high)) = median_interval(samples, 0.95) {
            numbers.push(Number::new(format!("{name} median ({at}), 95 % from"), low, "ms"));
            numbers.push(Number::new(format!("{name} median ({at}), 95 % to"), high, "ms"));
        }
    }
    if p < least_p && ratio < least_ratio {
        let notes = vec!["one gateway in two modes, not two products".to_owned()];
        let silent = found.silent > 0;
        let doubt = silent.then(|| Reason::new("too-few-samples", format!("{} starts never served", found.silent)));
        return (ratio, unless(Verdict::holds(10, Evidence { samples, numbers, notes }), doubt));
    }
    // That they are not faster must be shown, too: on a machine that is busy both kinds take any time, and neither is.
    let allowed: Vec<f64> = found.remote.iter().map(|took| took * least_ratio).collect();
    if rank_test(&found.local, &allowed).is_none_or(|p| p >= least_p) {
        return inconclusive(format!(
            "{at} local starts took {ratio:.2} of what remote ones took (medians {local:.1} and {remote:.1} ms), but so few may differ, or not, by chance (p = {p:.3})"
        ));
    }
    let explanation = format!(
        "{at}: starts from the local configuration took {local:.1} ms, starts that download it {remote:.1} ms (medians, ratio {ratio:.2}; p = {p:.3}): {least_ratio} and {least_p} are the limits"
    );
    let events = found.events.iter().take(3).map(|event| history.reference(*event)).collect();
    (ratio, Verdict::Violated(Counterexample { explanation, events, samples, numbers }))
}
