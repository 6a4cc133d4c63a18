//! Does doubt accuse? The saved histories of a conforming run, judged once more as they are, with effects unknown, and cut at moments that nobody chose, as
//! by Ctrl-C.

use gatecrash_model::RunRecord;
use gatecrash_model::history::{Event, EventKind, History, format};
use gatecrash_model::operation::{Answer, Effect, Indefinite};
use gatecrash_model::verdict::Observed;
use gatecrash_suites::certify::{check, decide};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// At how many moments histories are cut.
const MOMENTS: u64 = 12;

/// What a saved run shows once its effects are doubted (all of them, and every third) and did not show before, and
/// what `check` says otherwise than the run itself; nothing, if all is well.
pub(crate) fn accuses(record: &RunRecord, folder: &Path) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    let again = check(folder)?.record;
    for (claim, again) in record.claims.iter().zip(&again.claims) {
        if claim.verdict != again.verdict {
            wrong.push(format!("{} judged again: {:?}; before: {:?}", claim.id, again.verdict, claim.verdict));
        }
    }
    for (words, every) in [("all effects", 1), ("every third effect", 3)] {
        let doubted = tempfile::tempdir()?;
        std::fs::copy(folder.join("run.json"), doubted.path().join("run.json"))?;
        for experiment in &record.experiments {
            let saved = BufReader::new(File::open(folder.join(&experiment.history))?);
            let history = doubt(&format::read(saved)?.history, |op| op % every == 0);
            format::write(BufWriter::new(File::create(doubted.path().join(&experiment.history))?), &history)?;
        }
        for (claim, doubted) in record.claims.iter().zip(check(doubted.path())?.record.claims) {
            let (before, after) = (claim.verdict.observed(), doubted.verdict.observed());
            if before != Observed::Violated && after == Observed::Violated {
                wrong.push(format!("{} with {words} unknown: {:?}", claim.id, doubted.verdict));
            }
        }
    }
    let mut histories = Vec::new();
    for experiment in &record.experiments {
        histories.push(format::read(BufReader::new(File::open(folder.join(&experiment.history))?))?.history);
    }
    wrong.extend(cuts_accuse(record, &histories));
    Ok(wrong)
}

/// What a run shows that was interrupted at one of [`MOMENTS`] moments, and the whole one does not.
fn cuts_accuse(record: &RunRecord, histories: &[History]) -> Vec<String> {
    let mut wrong = Vec::new();
    for moment in 1..=MOMENTS {
        let cut_at = |history: &History| {
            let (from, to) = history
                .events()
                .first()
                .zip(history.events().last())
                .map_or((0, 0), |(first, last)| (first.at, last.at));
            from + (to - from) / (MOMENTS + 1) * moment
        };
        let cut: Vec<History> = histories.iter().map(|history| interrupted(history, cut_at(history))).collect();
        let mut record = record.clone();
        for experiment in &mut record.experiments {
            // Whatever else ends a story early: one that is interrupted accuses nobody, whatever its checks say.
            experiment.problem = Some("it could not go on".to_owned());
        }
        let whole = record.claims.clone();
        for (claim, cut) in whole.iter().zip(decide(record, &cut, None).claims) {
            if claim.verdict.observed() != Observed::Violated && cut.verdict.observed() == Observed::Violated {
                wrong.push(format!(
                    "{} interrupted after {moment}/{} of its stories: {:?}",
                    claim.id,
                    MOMENTS + 1,
                    cut.verdict
                ));
            }
        }
    }
    wrong
}

/// `history` as it had been if the run was interrupted at `at`: what is under way is abandoned, and faults are healed, by witnesses that see what they saw
/// in the end.
fn interrupted(history: &History, at: u64) -> History {
    let (mut before, after): (Vec<Event>, Vec<Event>) = history.events().iter().partition(|event| event.at <= at);
    let mut open = BTreeSet::new();
    let mut faults = BTreeSet::new();
    for event in &before {
        match event.kind {
            EventKind::Invoked { op, .. } => drop(open.insert(op)),
            EventKind::Completed { op, .. } => drop(open.remove(&op)),
            EventKind::Fault { fault, .. } => drop(faults.insert(fault)),
            EventKind::Arrived { .. }
            | EventKind::Recorded { .. }
            | EventKind::Phase { .. }
            | EventKind::Mark { .. }
            | EventKind::Replica { .. }
            | EventKind::Contact { .. }
            | EventKind::Gap { .. }
            | EventKind::Late { .. }
            | EventKind::Note { .. }
            | EventKind::End => {}
        }
    }
    let ended = at + 1_000_000;
    let healed =
        after.iter().filter(|event| matches!(event.kind, EventKind::Fault { fault, .. } if faults.contains(&fault)));
    let healed = healed.map(|event| Event { at: ended, kind: event.kind });
    let abandoned = open.into_iter().map(|op| {
        let effect = Effect::Unknown(Indefinite::Abandoned);
        Event { at: ended, kind: EventKind::Completed { op, effect, answer: Answer::default() } }
    });
    before.extend(healed.chain(abandoned).chain([Event { at: ended, kind: EventKind::End }]));
    History::new(history.header().clone(), history.names().clone(), before, true)
}

/// `history` with the effect of each operation of which `chosen` says so unknown; answers stay as they were seen.
fn doubt(history: &History, chosen: impl Fn(u32) -> bool) -> History {
    let doubted = |event: &Event| {
        let EventKind::Completed { op, answer, .. } = event.kind else { return *event };
        let effect = Effect::Unknown(Indefinite::Broken);
        if chosen(op) { Event { at: event.at, kind: EventKind::Completed { op, effect, answer } } } else { *event }
    };
    let events = history.events().iter().map(doubted).collect();
    History::new(history.header().clone(), history.names().clone(), events, history.is_complete())
}
