//! How long do all claims take over a million events? The histories are those of a real run of a deployment to which all
//! claims apply that can, each operation multiplied, and the quota with it: so marks, phases, faults and every kind of event
//! keep their places, and the verdicts must be the run's own, which is checked.

use crate::machine::{Outcome, median, ms};
use crate::profile;
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_model::history::event::told;
use gatecrash_model::history::{Event, EventKind, format};
use gatecrash_model::{History, RunRecord};
use gatecrash_suites::certify;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

const DEPLOYMENT: &str = "datapower-kubernetes";
const EVENTS: usize = 1_000_000;
const ROUNDS: usize = 5;
/// The mark whose value is an operation's id.
const ISSUED: &str = "token-issued";
/// The mark whose value is a rate.
const OFFERED: &str = "offered-per-s";

/// In memory, and from disk.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    let folder = profile::run(DEPLOYMENT, "process")?;
    let record: RunRecord = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
    let saved = histories(&record, &folder)?;
    let before = certify::decide(record.clone(), &saved, None);
    let (record, grown) = grow(record, &saved);
    let events: usize = grown.iter().map(|history| history.events().len()).sum();
    let mut took = Vec::new();
    let mut after = None;
    for _ in 0..ROUNDS {
        let blank = record.clone();
        let began = monotonic_ns();
        let judged = certify::decide(blank, &grown, None);
        took.push(ms(monotonic_ns() - began));
        after = Some(judged);
    }
    let after = after.ok_or("no rounds")?;
    let differ: Vec<&str> = before
        .claims
        .iter()
        .zip(&after.claims)
        .filter(|(one, other)| one.verdict.observed() != other.verdict.observed())
        .map(|(one, _)| one.id.as_str())
        .collect();
    let took = median(took);
    let judged = format!("{} of {} claims judged", after.denominator.judged, after.denominator.applicable);
    let same = if differ.is_empty() {
        "verdicts as in the run".to_owned()
    } else {
        format!("other verdicts than in the run: {}", differ.join(", "))
    };
    let slowest = slowest(&record, &grown);
    let (read, megabytes) = from_disk(&grown, &folder)?;
    Ok(vec![
        Row::new(format!("checking {events} events, all claims, in memory"), format!("{took:.0} ms ({judged})"))
            .against(format!("{same}; slowest: {slowest}"))
            .target("<= 500 ms", took <= 500.0 && differ.is_empty()),
        Row::new("reading them from disk (JSON lines, cached)", format!("{read:.0} ms ({megabytes:.0} MB)")),
    ])
}

fn histories(record: &RunRecord, folder: &Path) -> Outcome<Vec<History>> {
    let mut all = Vec::new();
    for experiment in &record.experiments {
        let file = File::open(folder.join(&experiment.history))?;
        all.push(format::read(BufReader::with_capacity(1 << 20, file))?.history);
    }
    Ok(all)
}

/// The same histories with each operation so many times that there are a million events, and a quota to match.
fn grow(mut record: RunRecord, saved: &[History]) -> (RunRecord, Vec<History>) {
    let all: usize = saved.iter().map(|history| history.events().len()).sum();
    let others: usize = saved.iter().map(|history| history.others().count()).sum();
    let times = EVENTS.saturating_sub(others).div_ceil(all.saturating_sub(others).max(1)).max(1);
    let times = u32::try_from(times).unwrap_or(u32::MAX);
    record.deployment.quota.limit = record.deployment.quota.limit.saturating_mul(times);
    let grown = saved.iter().map(|history| multiplied(history, times)).collect();
    (record, grown)
}

fn multiplied(history: &History, times: u32) -> History {
    let issued = history.name(ISSUED);
    let told = [told::CLOSES, told::REMAINING, told::RESET_MS, told::RETRY_AFTER_MS].map(|name| history.name(name));
    let offered = history.name(OFFERED);
    let mut names = history.names().clone();
    let first = |op: u32| op.saturating_sub(1).saturating_mul(times).saturating_add(1);
    let mut events: Vec<Event> = Vec::with_capacity(history.events().len().saturating_mul(times as usize));
    for event in history.events() {
        let at = event.at;
        match event.kind {
            EventKind::Invoked { op, process, late_us, operation } if op != 0 => {
                events.extend((0..times).map(|copy| Event {
                    at,
                    kind: EventKind::Invoked { op: first(op) + copy, process, late_us, operation },
                }));
            }
            EventKind::Completed { op, effect, answer } => {
                events.extend(
                    (0..times)
                        .map(|copy| Event { at, kind: EventKind::Completed { op: first(op) + copy, effect, answer } }),
                );
            }
            EventKind::Arrived { op, upstream, route } if op != 0 => {
                events.extend(
                    (0..times)
                        .map(|copy| Event { at, kind: EventKind::Arrived { op: first(op) + copy, upstream, route } }),
                );
            }
            EventKind::Recorded { op, analytics, replica } if op != 0 => {
                events.extend(
                    (0..times).map(|copy| Event {
                        at,
                        kind: EventKind::Recorded { op: first(op) + copy, analytics, replica },
                    }),
                );
            }
            // This mark names an operation.
            EventKind::Mark { name, subject, value } if Some(name) == issued => {
                let value = u32::try_from(value).map_or(value, |op| i64::from(first(op)));
                events.push(Event { at, kind: EventKind::Mark { name, subject, value } });
            }
            // These have an operation as their subject.
            EventKind::Mark { name, subject, value } if told.contains(&Some(name)) => {
                let op: Option<u32> = history.text(subject).parse().ok();
                let subject = op.map_or(subject, |op| names.intern(&first(op).to_string()));
                events.push(Event { at, kind: EventKind::Mark { name, subject, value } });
            }
            // What was offered is more now.
            EventKind::Mark { name, subject, value } if Some(name) == offered => {
                events.push(Event { at, kind: EventKind::Mark { name, subject, value: value * i64::from(times) } });
            }
            kind @ (EventKind::Invoked { .. }
            | EventKind::Arrived { .. }
            | EventKind::Recorded { .. }
            | EventKind::Mark { .. }
            | EventKind::Fault { .. }
            | EventKind::Phase { .. }
            | EventKind::Replica { .. }
            | EventKind::Contact { .. }
            | EventKind::Gap { .. }
            | EventKind::Late { .. }
            | EventKind::Note { .. }
            | EventKind::End) => events.push(Event { at, kind }),
        }
    }
    History::new(history.header().clone(), names, events, history.is_complete())
}

/// The three claims that take longest.
fn slowest(record: &RunRecord, histories: &[History]) -> String {
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
