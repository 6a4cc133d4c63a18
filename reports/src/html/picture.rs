//! What happened when, in one picture: phases and fault bands over success rate, latency (p50 and p95), and what
//! was admitted at each replica against the quota. All plots share one time axis; faults are numbered, and the
//! list under the picture says what they were.

use super::plot::{Canvas, LEFT, RIGHT, Time, WIDTH, lanes, nice_step};
use crate::summary;
use gatecrash_model::series::{Bin, Series};
use std::collections::BTreeSet;

/// How many colours there are for replicas; more replicas than that share them.
const COLOURS: usize = 8;
/// Height of a fault's bar.
const LANE: f64 = 16.0;
/// Space between plots, title included.
const GAP: f64 = 34.0;

/// The quota that requests were counted against, as it was in the run (scaled).
#[derive(Clone, Copy)]
pub(super) struct Quota {
    pub(super) limit: u32,
    pub(super) window_ms: f64,
}

/// A replica of the picture and the number of its colour.
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) colour: usize,
}

/// Replicas that admitted quota requests, by name.
pub(super) fn replicas(series: &Series) -> Vec<Replica> {
    let bins = series.admitted.iter().filter(|one| one.bins.iter().any(|count| *count > 0)).map(|one| &one.replica);
    let windows = series.windows.iter().flat_map(|window| window.admitted.keys());
    let names: BTreeSet<&String> = bins.chain(windows).collect();
    names.into_iter().enumerate().map(|(at, name)| Replica { name: name.clone(), colour: at % COLOURS }).collect()
}

/// The picture of an experiment; empty if it has no length.
pub(super) fn draw(name: &str, series: &Series, quota: Quota) -> String {
    if series.span_ms == 0 {
        return String::new();
    }
    let time = Time::new(series.span_ms);
    let mut canvas = Canvas::default();
    let mut y = phases(&mut canvas, series, &time, 4.0);
    let (fault_lanes, count) =
        lanes(&series.faults.iter().map(|fault| (fault.from_ms, fault.to_ms)).collect::<Vec<_>>());
    let fault_top = y + 4.0;
    y = fault_top + count as f64 * (LANE + 2.0);

    // Plots are drawn on a canvas of their own: the bands belong behind them.
    let mut plots = Canvas::default();
    let top = y;
    if !series.traffic.is_empty() {
        y = success(&mut plots, series, &time, y + GAP);
        y = latency(&mut plots, series, &time, y + GAP);
    }
    let replicas = replicas(series);
    if !replicas.is_empty() {
        y = admitted(&mut plots, series, &replicas, quota, &time, y + GAP);
    }
    if y <= top {
        y += 4.0;
    }
    for (at, fault) in series.faults.iter().enumerate() {
        let (x, end) = (time.x(fault.from_ms as f64), time.x(fault.to_ms as f64));
        let width = (end - x).max(2.0);
        let proof = if fault.proven { "proven" } else { "not proven" };
        let class = if fault.proven { "fault" } else { "fault unproven" };
        let (from, to) = (summary::span(fault.from_ms), summary::span(fault.to_ms));
        let title = format!("fault {}: {}, {from} to {to}, {proof}", at + 1, fault.name);
        canvas.bar(x, fault_top, width, y - fault_top, &format!("{class} band"), &title);
        let lane = fault_top + fault_lanes.get(at).copied().unwrap_or(0) as f64 * (LANE + 2.0);
        canvas.bar(x, lane, width, LANE, class, &title);
        let mut label = format!("{} {}", at + 1, fault.name);
        if !fault.proven {
            label.push_str(" (not proven)");
        }
        let room = width - 8.0;
        let number = (at + 1).to_string();
        if let Some(shown) = fitting(&label, room).or_else(|| fitting(&number, room + 4.0)) {
            canvas.word(x + 4.0, lane + 12.0, "start", "on-fault", &shown);
        } else if end + 20.0 < RIGHT {
            canvas.word(end + 3.0, lane + 12.0, "start", "small", &number);
        }
    }
    canvas.put(format_args!("{}", plots.group()));
    axis(&mut canvas, &time, y);
    canvas.finish(y + 26.0, &format!("{name}: success rate, latency and admitted requests over time, with its faults"))
}

/// The text, shortened to what fits in `room` pixels; `None` if next to nothing would be left.
fn fitting(text: &str, room: f64) -> Option<String> {
    const PER_CHARACTER: f64 = 6.3;
    let mut columns = 0_usize;
    while columns < 120 && (columns + 1) as f64 * PER_CHARACTER <= room {
        columns += 1;
    }
    let shown = crate::text::shorten(text, columns);
    (columns > 0 && (shown.chars().count() >= 4 || !shown.contains('…'))).then_some(shown)
}

fn phases(canvas: &mut Canvas, series: &Series, time: &Time, y: f64) -> f64 {
    if series.phases.is_empty() {
        return y;
    }
    for (at, phase) in series.phases.iter().enumerate() {
        let (x, end) = (time.x(phase.from_ms as f64), time.x(phase.to_ms as f64));
        let class = if at % 2 == 0 { "phase" } else { "phase odd" };
        let (from, to) = (summary::span(phase.from_ms), summary::span(phase.to_ms));
        canvas.bar(x, y, (end - x).max(1.0), 18.0, class, &format!("{}: {from} to {to}", phase.name));
        if let Some(shown) = fitting(&phase.name, end - x - 8.0) {
            canvas.word(x + 4.0, y + 13.0, "start", "small", &shown);
        }
    }
    y + 18.0
}

fn axis(canvas: &mut Canvas, time: &Time, y: f64) {
    canvas.line((LEFT, y), (RIGHT, y), "axis");
    for (ms, word) in time.ticks() {
        let x = time.x(ms);
        canvas.line((x, y), (x, y + 4.0), "axis");
        let anchor = if x > WIDTH - 40.0 { "end" } else { "middle" };
        canvas.word(x, y + 17.0, anchor, "tick", &word);
    }
}

/// Title of a plot, and its grid: pairs of height and word.
fn frame(canvas: &mut Canvas, title: &str, y: f64, grid: &[(f64, String)]) {
    canvas.word(LEFT, y - 9.0, "start", "plot-title", title);
    for (at, word) in grid {
        canvas.line((LEFT, *at), (RIGHT, *at), "grid");
        canvas.word(LEFT - 6.0, at + 4.0, "end", "tick", word);
    }
}

/// Middle of a bin.
fn middle(series: &Series, bin: usize) -> f64 {
    ((bin as f64 + 0.5) * series.bin_ms as f64).min(series.span_ms as f64)
}

fn success(canvas: &mut Canvas, series: &Series, time: &Time, y: f64) -> f64 {
    const HEIGHT: f64 = 84.0;
    let at = |share: f64| y + (1.0 - share) * HEIGHT;
    let grid = [(at(1.0), "100 %".to_owned()), (at(0.5), "50 %".to_owned()), (at(0.0), "0 %".to_owned())];
    frame(canvas, "success rate of valid requests, by intended start", y, &grid);
    for (bin, one) in series.traffic.iter().enumerate().filter(|(_, one)| one.sent > 0) {
        let share = f64::from(one.succeeded) / f64::from(one.sent);
        let (from, to) = edges(series, time, bin);
        let lost = one.sent - one.succeeded;
        let title = format!("{} of {} answered 2xx, {lost} not", one.succeeded, one.sent);
        canvas.bar(from, at(share), to - from, share * HEIGHT, "success", &title);
        if lost > 0 {
            canvas.bar(from, y, to - from, (1.0 - share) * HEIGHT, "lost", &title);
        }
    }
    y + HEIGHT
}

fn edges(series: &Series, time: &Time, bin: usize) -> (f64, f64) {
    let from = bin as f64 * series.bin_ms as f64;
    (time.x(from), time.x(from + series.bin_ms as f64))
}

fn latency(canvas: &mut Canvas, series: &Series, time: &Time, y: f64) -> f64 {
    const HEIGHT: f64 = 104.0;
    let values: Vec<f64> = series.traffic.iter().flat_map(|bin| [bin.p50_ms, bin.p95_ms]).flatten().collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min).clamp(0.1, 1e6);
    let most = values.iter().copied().fold(0.1, f64::max).clamp(0.1, 1e7);
    let low = least.log10().floor();
    let high = most.log10().ceil().max(low + 1.0);
    let at = |ms: f64| y + HEIGHT - (ms.max(0.01).log10() - low) / (high - low) * HEIGHT;
    let mut grid = Vec::new();
    for step in 0..=8_u32 {
        let power = low + f64::from(step);
        if power <= high {
            let ms = 10_f64.powf(power);
            let word = if ms >= 1000.0 {
                format!("{} s", summary::amount(ms / 1000.0))
            } else {
                format!("{} ms", summary::amount(ms))
            };
            grid.push((at(ms), word));
        }
    }
    frame(canvas, "latency from the intended start (logarithmic)", y, &grid);
    key(
        canvas,
        y - 9.0,
        &[("p50", "p50 median"), ("p95", "p95"), ("unanswered", "5 % or more unanswered: p95 has no bound")],
    );
    let curve = |of: fn(&Bin) -> Option<f64>| -> Vec<Option<(f64, f64)>> {
        let points = series.traffic.iter().enumerate();
        points.map(|(bin, one)| of(one).map(|ms| (time.x(middle(series, bin)), at(ms)))).collect()
    };
    canvas.curve(&curve(|bin| bin.p95_ms), "curve p95");
    canvas.curve(&curve(|bin| bin.p50_ms), "curve p50");
    for (bin, one) in series.traffic.iter().enumerate().filter(|(_, one)| one.sent > 0 && one.p95_ms.is_none()) {
        let (from, to) = edges(series, time, bin);
        canvas.bar(from, y - 3.0, to - from, 5.0, "unanswered", &format!("p95 has no bound: {} sent", one.sent));
    }
    y + HEIGHT
}

/// What the lines mean, right of the title.
fn key(canvas: &mut Canvas, y: f64, entries: &[(&str, &str)]) {
    let mut x = RIGHT;
    for (class, text) in entries.iter().rev() {
        canvas.word(x, y, "end", "small", text);
        x -= text.chars().count() as f64 * 6.6 + 4.0;
        canvas.bar(x - 14.0, y - 6.0, 14.0, 4.0, &format!("key {class}"), text);
        x -= 30.0;
    }
}

fn admitted(canvas: &mut Canvas, series: &Series, replicas: &[Replica], quota: Quota, time: &Time, y: f64) -> f64 {
    const HEIGHT: f64 = 96.0;
    let stacks = if series.windows.is_empty() { bin_stacks(series, time) } else { window_stacks(series, time) };
    let (limit, title) = if series.windows.is_empty() {
        let even = f64::from(quota.limit) * series.bin_ms as f64 / quota.window_ms.max(1.0);
        let window = summary::amount(quota.window_ms / 1000.0);
        (even, format!("admitted, by replica; the quota of {} in {window} s as an even rate", quota.limit))
    } else {
        (f64::from(quota.limit), format!("admitted in each quota window, by replica; quota {}", quota.limit))
    };
    let most = stacks
        .iter()
        .map(|stack| stack.parts.iter().map(|(_, count)| f64::from(*count)).sum::<f64>())
        .fold(limit, f64::max);
    let step = nice_step(most * 1.08 / 3.0);
    let top = (most * 1.08 / step).ceil().max(1.0) * step;
    let at = |count: f64| y + (1.0 - count / top) * HEIGHT;
    let mut grid = Vec::new();
    for tick in 0..=6_u32 {
        let count = f64::from(tick) * step;
        if count <= top * 1.000_001 {
            grid.push((at(count), summary::amount(count)));
        }
    }
    frame(canvas, &title, y, &grid);
    for stack in &stacks {
        let mut below = 0.0;
        for (replica, count) in &stack.parts {
            let colour = replicas.iter().find(|one| one.name == *replica).map_or(0, |one| one.colour);
            let above = below + f64::from(*count);
            let title = format!("{replica}: {count} admitted{}", stack.title);
            canvas.bar(
                stack.from,
                at(above),
                stack.to - stack.from,
                at(below) - at(above),
                &format!("c{colour}"),
                &title,
            );
            below = above;
        }
    }
    canvas.line((LEFT, at(limit)), (RIGHT, at(limit)), "quota");
    canvas.word(RIGHT - 2.0, at(limit) - 4.0, "end", "quota-word", "quota");
    y + HEIGHT
}

/// A bar of parts, bottom first.
struct Stack {
    from: f64,
    to: f64,
    parts: Vec<(String, u32)>,
    title: String,
}

fn bin_stacks(series: &Series, time: &Time) -> Vec<Stack> {
    let bins = series.admitted.iter().map(|one| one.bins.len()).max().unwrap_or(0);
    (0..bins)
        .map(|bin| {
            let (from, to) = edges(series, time, bin);
            let count = |one: &gatecrash_model::series::Admitted| one.bins.get(bin).copied().unwrap_or(0);
            let parts =
                series.admitted.iter().map(|one| (one.replica.clone(), count(one))).filter(|(_, count)| *count > 0);
            Stack { from, to, parts: parts.collect(), title: String::new() }
        })
        .collect()
}

/// Windows of different keys may run at the same time: they stand side by side.
fn window_stacks(series: &Series, time: &Time) -> Vec<Stack> {
    let stretches: Vec<(u64, u64)> = series.windows.iter().map(|window| (window.from_ms, window.to_ms)).collect();
    let (lanes, count) = lanes(&stretches);
    let count = count.max(1) as f64;
    series
        .windows
        .iter()
        .zip(lanes)
        .map(|(window, lane)| {
            let (from, to) = (time.x(window.from_ms as f64), time.x(window.to_ms as f64));
            let slot = (to - from) / count;
            let inset = (slot * 0.06).min(2.0);
            let from = from + slot * lane as f64 + inset;
            Stack {
                from,
                to: from + slot - 2.0 * inset,
                parts: window.admitted.iter().map(|(replica, count)| (replica.clone(), *count)).collect(),
                title: format!(" of key {}, round {}", window.key, window.round),
            }
        })
        .collect()
}
