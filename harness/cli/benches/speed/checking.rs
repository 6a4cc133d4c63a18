//! How long do all claims take over a million events, and over ten? The histories are those of a real run of a deployment to which all
//! claims apply that can, each operation multiplied, and its client with it: so marks, phases, faults and every kind of event
//! keep their places, and the verdicts must be the run's own, which is checked.

use crate::machine::{Outcome, median, ms};
use crate::profile;
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_model::history::event::told;
use gatecrash_model::history::{Event, EventKind, format};
use gatecrash_model::{History, Name, Names, RunRecord, Verdict};
use gatecrash_suites::certify;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

const DEPLOYMENT: &str = "datapower-kubernetes";
const EVENTS: usize = 1_000_000;
/// What the whole catalogue must carry, and how evenly.
const MANY: usize = 10_000_000;
const SPREAD: f64 = 1.2;
const MOST_BYTES: f64 = 64.0;
const ROUNDS: usize = 5;
/// The mark whose value is an operation's id.
const ISSUED: &str = "token-issued";
/// The mark whose value is a rate.
const OFFERED: &str = "offered-per-s";

/// In memory, at three sizes, and from disk.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    let folder = profile::run(DEPLOYMENT, "process")?;
    let record: RunRecord = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
    let saved = histories(&record, &folder)?;
    let before = certify::decide(record.clone(), &saved, None);
    let mut rows = Vec::new();
    let mut each = Vec::new();
    for (wanted, most_ms, rounds) in [(0, f64::INFINITY, ROUNDS), (EVENTS, 500.0, ROUNDS), (MANY, 10_000.0, 3)] {
        let held = resident();
        let (record, grown) = grow(record.clone(), &saved, wanted);
        let events: usize = grown.iter().map(|history| history.events().len()).sum();
        let bytes = resident().saturating_sub(held) as f64 / events as f64;
        let (took, after) = judged(&record, &grown, rounds)?;
        each.push((events, took * 1e6 / events as f64));
        let differ: Vec<String> = before
            .claims
            .iter()
            .zip(&after.claims)
            .filter(|(one, other)| one.verdict.observed() != other.verdict.observed())
            .map(|(one, other)| format!("{}: {}", one.id, words(&other.verdict)))
            .collect();
        let same = if differ.is_empty() {
            "verdicts as in the run".to_owned()
        } else {
            format!("other verdicts than in the run: {}", differ.join("; "))
        };
        let judged = format!("{} of {} claims judged", after.denominator.judged, after.denominator.applicable);
        let row =
            Row::new(format!("checking {events} events, all claims, in memory"), format!("{took:.0} ms ({judged})"));
        if wanted == 0 {
            rows.push(row.against(same));
            continue;
        }
        let against = if wanted == EVENTS { format!("{same}; slowest: {}", slowest(&record, &grown)) } else { same };
        rows.push(row.against(against).target(format!("<= {most_ms:.0} ms"), took <= most_ms && differ.is_empty()));
        if wanted == MANY {
            rows.push(
                Row::new(format!("memory of {events} events that are held"), format!("{bytes:.0} bytes an event"))
                    .target(format!("<= {MOST_BYTES:.0} bytes"), bytes <= MOST_BYTES),
            );
        } else {
            let (read, megabytes) = from_disk(&grown, &folder)?;
            let name = "reading them from disk (JSON lines, cached)";
            rows.push(Row::new(name, format!("{read:.0} ms ({megabytes:.0} MB)")));
        }
    }
    let times: Vec<f64> = each.iter().map(|(_, time)| *time).collect();
    let spread = times.iter().copied().fold(0.0, f64::max) / times.iter().copied().fold(f64::INFINITY, f64::min);
    let listed: Vec<String> = each.iter().map(|(events, time)| format!("{time:.0} ns at {events}")).collect();
    rows.push(
        Row::new("checking: time per event, largest over smallest", format!("{spread:.2}"))
            .against(listed.join(", "))
            .target(format!("<= {SPREAD}"), spread <= SPREAD),
    );
    Ok(rows)
}

/// A verdict in a few words.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Holds(_) => "holds".to_owned(),
        Verdict::Violated(seen) => seen.explanation.clone(),
        Verdict::Inconclusive(reason) | Verdict::NotApplicable(reason) => format!("{} ({})", reason.text, reason.code),
    }
}

/// Median time of so many rounds in ms, and what was judged in the last. Each round judges histories that nobody has looked at: they remember what they were
/// asked once.
fn judged(record: &RunRecord, histories: &[History], rounds: usize) -> Outcome<(f64, RunRecord)> {
    let unread = |history: &History| {
        let (header, names) = (history.header().clone(), history.names().clone());
        History::new(header, names, history.events().to_vec(), history.is_complete())
    };
    let mut took = Vec::new();
    let mut after = None;
    for _ in 0..rounds {
        let blank = record.clone();
        let histories: Vec<History> = histories.iter().map(unread).collect();
        let began = monotonic_ns();
        let judged = certify::decide(blank, &histories, None);
        took.push(ms(monotonic_ns() - began));
        after = Some(judged);
    }
    Ok((median(took), after.ok_or("no rounds")?))
}

/// Bytes of this process' memory that are there now; 0 where the kernel does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn histories(record: &RunRecord, folder: &Path) -> Outcome<Vec<History>> {
    let mut all = Vec::new();
    for experiment in &record.experiments {
        let file = File::open(folder.join(&experiment.history))?;
        all.push(format::read(BufReader::with_capacity(1 << 20, file))?.history);
    }
    Ok(all)
}

/// The same histories with each operation so many times that there are as many events as wanted at least.
fn grow(mut record: RunRecord, saved: &[History], wanted: usize) -> (RunRecord, Vec<History>) {
    let all: usize = saved.iter().map(|history| history.events().len()).sum();
    let others: usize = saved.iter().map(|history| history.others().count()).sum();
    let times = wanted.saturating_sub(others).div_ceil(all.saturating_sub(others).max(1)).max(1);
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    // A replica was told of more calls.
    if let Some(analytics) = &mut record.deployment.analytics {
        analytics.buffer_events = analytics.buffer_events.saturating_mul(times);
        analytics.batch_events = analytics.batch_events.saturating_mul(times);
    }
    let grown = saved.iter().map(|history| multiplied(history, times)).collect();
    (record, grown)
}

/// Each operation so many times; each copy has clients of its own, so that what is counted of a client stays as it was.
fn multiplied(history: &History, times: u32) -> History {
    let issued = history.name(ISSUED);
    let told = [told::CLOSES, told::REMAINING, told::RESET_MS, told::GRAIN_MS, told::RETRY_AFTER_MS];
    let told = told.map(|name| history.name(name));
    let offered = history.name(OFFERED);
    let mut names = history.names().clone();
    let keys = keys(history, &mut names, times);
    let key_of =
        |key: Name, copy: u32| keys.get(&key).and_then(|copies| copies.get(copy as usize)).copied().unwrap_or(key);
    let first = |op: u32| op.saturating_sub(1).saturating_mul(times).saturating_add(1);
    let mut events: Vec<Event> = Vec::with_capacity(history.events().len().saturating_mul(times as usize));
    for event in history.events() {
        let at = event.at;
        // What is no operation's is there once, but for marks of one operation or one client.
        let is_operation = matches!(
            event.kind,
            EventKind::Invoked { op, .. } | EventKind::Completed { op, .. } | EventKind::Arrived { op, .. } | EventKind::Recorded { op, .. }
                if op != 0
        );
        let is_of_one = matches!(event.kind, EventKind::Mark { name, subject, .. } if told.contains(&Some(name)) || keys.contains_key(&subject));
        let copies = if is_operation || is_of_one { times } else { 1 };
        for copy in 0..copies {
            let kind = match event.kind {
                EventKind::Invoked { op, process, late_us, mut operation } if op != 0 => {
                    operation.key = key_of(operation.key, copy);
                    EventKind::Invoked { op: first(op) + copy, process, late_us, operation }
                }
                EventKind::Completed { op, effect, answer } => {
                    EventKind::Completed { op: first(op) + copy, effect, answer }
                }
                EventKind::Arrived { op, upstream, route } if op != 0 => {
                    EventKind::Arrived { op: first(op) + copy, upstream, route }
                }
                EventKind::Recorded { op, analytics, replica } if op != 0 => {
                    EventKind::Recorded { op: first(op) + copy, analytics, replica }
                }
                // These have an operation as their subject.
                EventKind::Mark { name, subject, value } if told.contains(&Some(name)) => {
                    let op: Option<u32> = history.text(subject).parse().ok();
                    let subject = op.map_or(subject, |op| names.intern(&(first(op) + copy).to_string()));
                    EventKind::Mark { name, subject, value }
                }
                EventKind::Mark { name, subject, value } => {
                    let value = match u32::try_from(value) {
                        // This mark names an operation.
                        Ok(op) if Some(name) == issued => i64::from(first(op) + copy),
                        // What was offered is more now.
                        Ok(_) | Err(_) if Some(name) == offered => value * i64::from(times),
                        Ok(_) | Err(_) => value,
                    };
                    EventKind::Mark { name, subject: key_of(subject, copy), value }
                }
                kind @ (EventKind::Invoked { .. }
                | EventKind::Arrived { .. }
                | EventKind::Recorded { .. }
                | EventKind::Fault { .. }
                | EventKind::Phase { .. }
                | EventKind::Replica { .. }
                | EventKind::Contact { .. }
                | EventKind::Gap { .. }
                | EventKind::Late { .. }
                | EventKind::Note { .. }
                | EventKind::End) => kind,
            };
            events.push(Event { at, kind });
        }
    }
    History::new(history.header().clone(), names, events, history.is_complete())
}

/// The names of each client's copies, its own first.
fn keys(history: &History, names: &mut Names, times: u32) -> BTreeMap<Name, Vec<Name>> {
    let asked = history.operations().iter().filter_map(|view| Some(view.operation(history.events())?.key));
    let all: BTreeSet<Name> = asked.filter(|key| *key != Name::NONE).collect();
    let copies = |key: Name| {
        let more = (1..times).map(|copy| format!("{}~{copy}", history.text(key)));
        let more: Vec<Name> = more.map(|name| names.intern(&name)).collect();
        (key, std::iter::once(key).chain(more).collect())
    };
    all.into_iter().map(copies).collect()
}

/// The three claims that take longest.
fn slowest(record: &RunRecord, histories: &[History]) -> String {
    // What histories remember once they were asked is nobody's time.
    let _asked = certify::decide(record.clone(), histories, None);
    let mut each: Vec<(f64, String)> = record
        .claims
        .iter()
        .map(|claim| {
            let alone = RunRecord { claims: vec![claim.clone()], ..record.clone() };
            let began = monotonic_ns();
            let _judged = certify::decide(alone, histories, None);
            (ms(monotonic_ns() - began), claim.id.to_string())
        })
        .collect();
    each.sort_by(|one, other| other.0.total_cmp(&one.0));
    each.truncate(3);
    each.into_iter().map(|(took, id)| format!("{id} {took:.0} ms")).collect::<Vec<_>>().join(", ")
}

/// Milliseconds to read them back, and how many megabytes they have.
fn from_disk(histories: &[History], folder: &Path) -> Outcome<(f64, f64)> {
    let place = folder.join("grown.jsonl");
    let (mut took, mut bytes) = (0.0, 0);
    for history in histories {
        let mut file = BufWriter::new(File::create(&place)?);
        format::write(&mut file, history)?;
        std::io::Write::flush(&mut file)?;
        drop(file);
        bytes += std::fs::metadata(&place)?.len();
        let began = monotonic_ns();
        let read = format::read(BufReader::with_capacity(1 << 20, File::open(&place)?))?;
        took += ms(monotonic_ns() - began);
        if read.history.events().len() != history.events().len() {
            return Err("a history was not read back whole".into());
        }
    }
    std::fs::remove_file(&place)?;
    Ok((took, bytes as f64 / 1e6))
}
