//! CFG-07: does a long outage of the control plane, and of the shared stores, make gateways use more and more, ask without a pause, or come back all at once?

use crate::claims::case::Case;
use crate::claims::common::{FaultWindow, Phase, count, faults, judged, len, nanos, phase, phases, seconds};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::stats::quantile;
use gatecrash_model::verdict::{Number, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: &str = "long-outage";
/// Variants of its `hold` phases: the control plane is away, and then the stores, too.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
pub(crate) const STORE: &str = "store";

/// Least number of calls to the control plane while it is away.
pub(super) const MINIMUM: u64 = 10;
/// A series with fewer samples shows no trend.
const SAMPLES: usize = 9;
/// What an allocator takes and gives back by itself, in KiB, and connections that come and go: a trend below that is none.
const LITTLE_KIB: f64 = 1024.0;
const FEW_FILES: f64 = 10.0;
/// Memory that a client's connection may take: its buffers and who serves it. The reference gateway takes half of that.
const CONNECTION_KIB: f64 = 64.0;
/// Share of a core that is never too much: processor times come in hundredths of seconds.
const IDLE: f64 = 0.05;
/// Of fewer half may come back in the same twentieth of a pause by chance: one time in ten thousand of 12, one in a hundred of 6.
const COME_BACK: usize = 12;

const MEMORY: &str = "memory grows";
const FILES: &str = "open files grow";
const PROCESSOR: &str = "processor, times as before";
const PAUSE: &str = "mean pause between calls";
const PEAK: &str = "came back at once";

/// One thing that replicas have.
struct Series {
    mark: &'static str,
    name: &'static str,
    /// A trend below this much in the whole outage is none.
    little: f64,
    /// What of it is the clients', given how many connections they have open, and how many they had at most so far.
    of_clients: fn(f64, f64) -> f64,
    words: fn(f64) -> String,
}

const GROWING: [Series; 2] = [
    Series {
        mark: mark::MEMORY_KIB,
        name: MEMORY,
        little: LITTLE_KIB,
        // An allocator keeps what it once had.
        of_clients: |_, most| most * CONNECTION_KIB,
        words: |kib| format!("{:.1} MiB", kib / 1024.0),
    },
    Series {
        mark: mark::OPEN_FILES,
        name: FILES,
        little: FEW_FILES,
        of_clients: |open, _| open,
        words: |files| format!("{files:.0} files"),
    },
];

/// Samples of one mark in a stretch, by replica: time in minutes, value, event.
fn samples(history: &History, mark: &str, within: Phase) -> BTreeMap<Name, Vec<(f64, f64, usize)>> {
    let mut all: BTreeMap<Name, Vec<(f64, f64, usize)>> = BTreeMap::new();
    for (at, replica, value, event) in history.marks(mark) {
        if (within.from..within.to).contains(&at)
            && let Ok(value) = u64::try_from(value)
        {
            all.entry(replica).or_default().push((seconds(at) / 60.0, count(value), event));
        }
    }
    all
}

/// How many connections clients had open to each replica: time in minutes, how many, and how many at most so far.
fn clients(history: &History) -> BTreeMap<Name, Vec<(f64, f64, f64)>> {
    let mut all: BTreeMap<Name, Vec<(f64, f64, f64)>> = BTreeMap::new();
    for (at, replica, value, _) in history.marks(mark::CLIENT_CONNECTIONS) {
        let now = count(u64::try_from(value).unwrap_or(0));
        let seen = all.entry(replica).or_default();
        let most = seen.last().map_or(now, |(.., most)| most.max(now));
        seen.push((seconds(at) / 60.0, now, most));
    }
    all
}

/// What a replica has beside what is its clients': a machine that stands still for a moment makes clients open dozens of connections, and they keep them.
fn beside_clients(
    series: &[(f64, f64, usize)],
    open: &[(f64, f64, f64)],
    of_clients: fn(f64, f64) -> f64,
) -> Vec<(f64, f64, usize)> {
    let theirs = |at: f64| {
        let before = open.partition_point(|(counted, ..)| *counted <= at);
        let last = before.checked_sub(1).and_then(|last| open.get(last));
        last.map_or(0.0, |(_, now, most)| of_clients(*now, *most))
    };
    series.iter().map(|(at, value, event)| (*at, value - theirs(*at), *event)).collect()
}

/// From the first third of a series to its last: by how much it grew, and in how many minutes; and what it was at first.
fn trend(series: &[(f64, f64, usize)]) -> Option<(f64, f64, f64)> {
    let third = series.len() / 3;
    if series.len() < SAMPLES {
        return None;
    }
    let of = |part: &[(f64, f64, usize)]| -> Option<(f64, f64)> {
        let mut times: Vec<f64> = part.iter().map(|(at, ..)| *at).collect();
        let mut values: Vec<f64> = part.iter().map(|(_, value, _)| *value).collect();
        Some((quantile(&mut times, 0, 0.5)?, quantile(&mut values, 0, 0.5)?))
    };
    let (first_at, first) = of(series.get(..third)?)?;
    let (last_at, last) = of(series.get(series.len().saturating_sub(third)..)?)?;
    (last_at > first_at).then_some((last - first, last_at - first_at, first))
}

/// What grows in the outage, `after` its beginning.
fn growth(scope: &Scope<'_>, history: &History, holds: &[Phase], found: &mut Case) {
    let allowed = scope.parameters.number("growth");
    let after = nanos(scope.parameters.duration("after"));
    let open = clients(history);
    for Series { mark, name, little, of_clients, words } in &GROWING {
        let (mut worst, mut seen): (Option<f64>, bool) = (None, false);
        for hold in holds {
            let within = Phase { from: hold.from.saturating_add(after).min(hold.to), ..*hold };
            for (replica, series) in samples(history, mark, within) {
                seen = true;
                let open = open.get(&replica).map_or(&[][..], Vec::as_slice);
                // Held against all that it has: what is left beside its clients may be next to nothing.
                let whole = trend(&series).filter(|(.., first)| *first > 0.0);
                let grown = trend(&beside_clients(&series, open, *of_clients));
                let (Some((_, minutes, first)), Some((grown, ..))) = (whole, grown) else {
                    found.few(format!("`{}` was not looked at often enough", history.text(replica)));
                    continue;
                };
                // What is little is no trend, however short the outage was.
                let rate = if grown.abs() <= *little { 0.0 } else { grown / first / minutes * 100.0 };
                if rate > allowed {
                    let text = format!(
                        "`{}` had {} and {:.0} s later {} more, with {} away, beside its clients' connections",
                        history.text(replica),
                        words(first),
                        minutes * 60.0,
                        words(grown),
                        away(history, *hold)
                    );
                    found.break_by(*name, text, series.last().map(|(.., event)| history.reference(*event)));
                }
                worst = Some(worst.map_or(rate, |worst| worst.max(rate)));
            }
        }
        match worst {
            Some(worst) => found.numbers.push(Number::new(*name, worst, "%/min").limit(allowed)),
            None if !seen => found.notes.push(format!("the runtime did not see it: {name}")),
            None => {}
        }
    }
}

fn away(history: &History, hold: Phase) -> &'static str {
    if history.text(hold.variant) == STORE { "the stores and the control plane" } else { "the control plane" }
}

/// The share of a core that a replica used in a stretch.
fn used(series: &[(f64, f64, usize)]) -> Option<f64> {
    let ((from, before, _), (to, after, _)) = (series.first()?, series.last()?);
    (to > from && after >= before).then(|| (after - before) / 1_000_000.0 / ((to - from) * 60.0))
}

/// Processor time in the outage over that before it.
fn processor(scope: &Scope<'_>, history: &History, steady: Option<Phase>, holds: &[Phase], found: &mut Case) {
    let allowed = scope.parameters.number("processor");
    let Some(steady) = steady else { return found.few("there was no steady phase") };
    let before = samples(history, mark::PROCESSOR_US, steady);
    if before.is_empty() {
        return found.notes.push(format!("the runtime did not see it: {PROCESSOR}"));
    }
    let mut worst: Option<f64> = None;
    for hold in holds {
        for (replica, series) in samples(history, mark::PROCESSOR_US, *hold) {
            let base = before.get(&replica).and_then(|series| used(series));
            let (Some(base), Some(now)) = (base, used(&series)) else { continue };
            // What is little is not held against anything.
            let times = if now <= base + IDLE { 1.0_f64.min(now / base.max(IDLE)) } else { now / base.max(IDLE) };
            if times > allowed {
                let text = format!(
                    "`{}` used {:.0} % of a core before and {:.0} % with {} away",
                    history.text(replica),
                    base * 100.0,
                    now * 100.0,
                    away(history, *hold)
                );
                found.break_by(PROCESSOR, text, series.last().map(|(.., event)| history.reference(*event)));
            }
            worst = Some(worst.map_or(times, |worst| worst.max(times)));
        }
    }
    match worst {
        Some(worst) => found.numbers.push(Number::new(PROCESSOR, worst, "").limit(allowed)),
        None => found.few("what replicas used was not looked at often enough"),
    }
}

/// Who called for what, and when: one entry of a connection for each call.
fn calls(history: &History, from: u64, to: u64, served: bool) -> BTreeMap<(Name, Name), Vec<(u64, usize)>> {
    let mut all: BTreeMap<(Name, Name), Vec<(u64, usize)>> = BTreeMap::new();
    let plane = history.name(gatecrash_model::deployment::CONTROL_PLANE);
    for (event, found) in history.others() {
        let EventKind::Contact { component, peer, what, status, .. } = found.kind else { continue };
        let is_served = matches!(status, 200..=399);
        if Some(component) == plane && !peer.is_none() && (from..to).contains(&found.at) && is_served == served {
            all.entry((peer, what)).or_default().push((found.at, event));
        }
    }
    all
}

/// How long replicas pause between calls to a control plane that does not serve them. Returns how many calls there were.
fn pauses(scope: &Scope<'_>, history: &History, outage: &FaultWindow, found: &mut Case) -> u64 {
    let least = scope.parameters.duration("pause");
    let from = outage.from.saturating_add(nanos(scope.parameters.duration("after")));
    let all = calls(history, from, outage.healed.unwrap_or(u64::MAX), false);
    let mut shortest: Option<f64> = None;
    for ((replica, what), calls) in &all {
        let (Some((first, _)), Some((last, event))) = (calls.first(), calls.last()) else { continue };
        let pauses = len(calls.len()).saturating_sub(1);
        if pauses == 0 {
            continue;
        }
        let mean = seconds(last.saturating_sub(*first)) / count(pauses);
        if mean < least.as_secs_f64() {
            let text = format!(
                "`{}` asked for `{}` {} times while the control plane was away, every {mean:.3} s",
                history.text(*replica),
                history.text(*what),
                calls.len()
            );
            found.break_by(PAUSE, text, [history.reference(*event)]);
        }
        shortest = Some(shortest.map_or(mean, |shortest| shortest.min(mean)));
    }
    match shortest {
        Some(mean) => found.numbers.push(Number::new(PAUSE, mean, "s").limit(least.as_secs_f64())),
        None => found.few("no replica was seen to call the control plane twice while it was away"),
    }
    all.values().fold(0, |sum, calls| sum.saturating_add(len(calls.len())))
}

/// How many come back at once, when the control plane does.
fn returns(scope: &Scope<'_>, history: &History, (from, to): (u64, u64), found: &mut Case) {
    let second = nanos(scope.parameters.duration("second")).max(1);
    let mut all: Vec<(u64, usize)> =
        calls(history, from, to, true).into_values().filter_map(|calls| calls.first().copied()).collect();
    all.sort_unstable();
    if all.is_empty() {
        return found.few("no replica was seen to come back");
    }
    if all.len() < COME_BACK {
        let text = format!("{} connections came back: too few to tell whether they come at once", all.len());
        return found.notes.push(text);
    }
    let most = (count(len(all.len())) * scope.parameters.number("peak")).floor().max(1.0);
    let crowd = |(at, _): &(u64, usize)| {
        let until = at.saturating_add(second);
        len(all.iter().filter(|(other, _)| (*at..until).contains(other)).count())
    };
    let peak = all.iter().map(|one| (crowd(one), one.1)).max_by_key(|(crowd, _)| *crowd);
    let Some((peak, event)) = peak else { return };
    found.numbers.push(Number::new(PEAK, count(peak), "connections").limit(most));
    if count(peak) > most {
        let text = format!(
            "of {} connections {peak} came back within {:.2} s; {most:.0} may",
            all.len(),
            Duration::from_nanos(second).as_secs_f64()
        );
        found.break_by(PEAK, text, [history.reference(event)]);
    }
}

pub(super) fn cfg_07(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(EXPERIMENT) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let of = |variant: &str| phase(history, &phases, "hold", variant).map(|hold| judged(history, hold));
    let holds: Vec<Phase> = [of(CONTROL_PLANE), of(STORE)].into_iter().flatten().collect();
    let plane = history.name(gatecrash_model::deployment::CONTROL_PLANE);
    let outage = faults(history).into_iter().find(|fault| Some(fault.target) == plane);
    let (Some(outage), false) = (outage, holds.is_empty()) else {
        return Verdict::inconclusive("too-few-samples", "the control plane was not away");
    };
    let mut found = Case::default();
    let length = outage.healed.unwrap_or(outage.from).saturating_sub(outage.from);
    let wanted = scope.parameters.duration("outage");
    let calls = pauses(scope, history, &outage, &mut found);
    growth(scope, history, &holds, &mut found);
    let steady = phase(history, &phases, "steady", "").map(|steady| judged(history, steady));
    processor(scope, history, steady, &holds, &mut found);
    match (outage.healed, phase(history, &phases, "settle", "")) {
        (Some(healed), Some(settle)) => returns(scope, history, (healed, settle.to), &mut found),
        _ => found.few("nothing was seen after the outage"),
    }
    if length < nanos(wanted) / 10 * 9 {
        found.few(format!("the control plane was away for {:.1} s", seconds(length)));
    }
    if holds.len() < 2 && scope.deployment.store.is_some() {
        found.few("the stores were not away");
    }
    found.numbers.push(Number::new("outage", seconds(length), "s"));
    found.verdict(history, (calls, MINIMUM), || None)
}
