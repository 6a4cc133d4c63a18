//! Does doubt accuse? The saved histories of a conforming run, judged once more as they are, with effects unknown, and cut at moments that nobody chose, as
//! by Ctrl-C.

use gatecrash_model::history::event::CUT;
use gatecrash_model::history::{Event, EventKind, History, format};
use gatecrash_model::operation::{Answer, Effect, Indefinite};
use gatecrash_model::run_record::{ClaimRecord, RunRecord};
use gatecrash_model::verdict::Observed;
use gatecrash_suites::certify::{check, decide};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// At how many moments histories are cut.
const MOMENTS: u64 = 12;

/// What a saved run shows once its effects are doubted (all of them, and every third) or its stories are cut, and did not show before, and
/// what `check` says otherwise than the run itself; nothing, if all is well.
pub(crate) fn accuses(record: &RunRecord, folder: &Path) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    for (claim, again) in record.claims.iter().zip(&check(folder)?.record.claims) {
        if claim.verdict != again.verdict {
            wrong.push(format!("{} judged again: {:?}; before: {:?}", claim.id, again.verdict, claim.verdict));
        }
    }
    let mut histories = Vec::new();
    for experiment in &record.experiments {
        histories.push(format::read(BufReader::new(File::open(folder.join(&experiment.history))?))?.history);
    }
    for (words, every) in [("all effects", 1), ("every third effect", 3)] {
        let doubted: Vec<History> = histories.iter().map(|history| doubt(history, |op| op % every == 0)).collect();
        wrong.extend(violated_anew(record, record.clone(), &doubted, &format!("with {words} unknown")));
    }
    for moment in 1..=MOMENTS {
        let cut: Vec<History> = histories.iter().map(|history| cut(history, moment)).collect();
        let mut stopped = record.clone();
        for experiment in &mut stopped.experiments {
            // Not by a user: what is interrupted accuses nobody, whatever its checks say.
            experiment.problem = Some("it could not go on".to_owned());
        }
        let words = format!("cut after {moment}/{} of its stories", MOMENTS + 1);
        wrong.extend(violated_anew(record, stopped, &cut, &words));
    }
    Ok(wrong)
}

/// What `changed` shows with these histories, and `record` did not.
fn violated_anew(record: &RunRecord, changed: RunRecord, histories: &[History], words: &str) -> Vec<String> {
    let judged = decide(changed, histories, None).claims;
    let is_new = |(before, after): &(&ClaimRecord, ClaimRecord)| {
        before.verdict.observed() != Observed::Violated && after.verdict.observed() == Observed::Violated
    };
    let new = record.claims.iter().zip(judged).filter(is_new);
    new.map(|(_, after)| format!("{} {words}: {:?}", after.id, after.verdict)).collect()
}

/// `history` as it had been if its story had ended at `moment` of all [`MOMENTS`]: what is under way is abandoned, and faults are healed, by witnesses that see
/// what they saw in the end.
fn cut(history: &History, moment: u64) -> History {
    let (first, last) = (history.events().first(), history.events().last());
    let (from, to) = first.zip(last).map_or((0, 0), |(first, last)| (first.at, last.at));
    let at = from + (to - from) / (MOMENTS + 1) * moment;
    let (mut before, after): (Vec<Event>, Vec<Event>) = history.events().iter().partition(|event| event.at <= at);
    let mut open = BTreeSet::new();
    let mut faults = BTreeSet::new();
    for event in &before {
        if let EventKind::Invoked { op, .. } = event.kind {
            open.insert(op);
        } else if let EventKind::Completed { op, .. } = event.kind {
            open.remove(&op);
        } else if let EventKind::Fault { fault, .. } = event.kind {
            faults.insert(fault);
        }
    }
    // What comes then, healing and removing, takes as long as it does.
    let (healed_at, abandoned_at, ended) = (at + 1_000_000_000, at + 2_000_000_000, at + 3_000_000_000);
    let mut names = history.names().clone();
    let phase = EventKind::Phase { phase: names.intern(CUT), variant: names.intern("") };
    let healed =
        after.iter().filter(|event| matches!(event.kind, EventKind::Fault { fault, .. } if faults.contains(&fault)));
    let healed = healed.map(|event| Event { at: healed_at, kind: event.kind });
    let abandoned = open.into_iter().map(|op| {
        let effect = Effect::Unknown(Indefinite::Abandoned);
        Event { at: abandoned_at, kind: EventKind::Completed { op, effect, answer: Answer::default() } }
    });
    before.push(Event { at, kind: phase });
    before.extend(healed.chain(abandoned).chain([Event { at: ended, kind: EventKind::End }]));
    History::new(history.header().clone(), names, before, true)
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
