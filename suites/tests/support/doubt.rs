//! Does doubt accuse? The saved histories of a conforming run, judged once more as they are and with effects unknown.

use gatecrash_model::RunRecord;
use gatecrash_model::history::{Event, EventKind, History, format};
use gatecrash_model::operation::{Effect, Indefinite};
use gatecrash_model::verdict::Observed;
use gatecrash_suites::certify::check;
use libtest_mimic::Failed;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

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
    Ok(wrong)
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
