//! CFG-02: does a replica that starts without the control plane serve the last published version, and how soon?

use super::{BRAND_NEW, START_VARIANT, words};
use crate::claims::common::{Seen, len, stream};
use crate::claims::common::{doubt, end_of, faults, ms, nanos, record_doubt, seconds, unless};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, stream as streams};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};

/// One start of the variant.
struct Start {
    replica: Name,
    /// Position of its mark.
    event: usize,
    at: u64,
    /// End of what is looked at: its next start, else the heal, else the end of the history.
    to: u64,
    /// Version that was last published before.
    version: u32,
    first: Option<u64>,
    /// 2xx with an older version.
    older: u64,
    /// A protected route refused a request without credentials.
    refused: bool,
}

fn starts(history: &History, lives: &Lives, variant: i64) -> Vec<Start> {
    let end = end_of(history);
    let healed = |at: u64| {
        let ends = faults(history).into_iter().filter(|fault| {
            history.text(fault.target).contains(CONTROL_PLANE)
                && fault.from <= at
                && fault.healed.is_some_and(|healed| healed > at)
        });
        ends.filter_map(|fault| fault.healed).max().unwrap_or(end)
    };
    let mut starts = Vec::new();
    for (marked, replica, _, event) in history.marks(START_VARIANT).filter(|(_, _, value, _)| *value == variant) {
        let next_mark =
            history.marks(START_VARIANT).find(|(at, of, ..)| *of == replica && *at > marked).map_or(end, |(at, ..)| at);
        // The name of a brand-new replica is known only once it was started.
        let before = || lives.started_before(replica, marked).filter(|_| variant == BRAND_NEW);
        let Some(at) = lives.starts(replica, marked, next_mark).next().or_else(before) else { continue };
        let to = healed(at).min(lives.starts(replica, at.saturating_add(1), end).next().unwrap_or(end));
        let to = lives.gone_in(replica, at.saturating_add(1), to).unwrap_or(to);
        let published = history.marks(mark::PUBLISHED).take_while(|(published, ..)| *published <= at);
        let version = published.map(|(_, _, version, _)| u32::try_from(version).unwrap_or(0)).max().unwrap_or(0);
        starts.push(Start { replica, event, at, to, version, first: None, older: 0, refused: false });
    }
    starts
}

fn start_of<'s>(starts: &'s mut [Start], seen: &Seen<'_>) -> Option<&'s mut Start> {
    starts.iter_mut().find(|start| start.replica == seen.asked.target && (start.at..start.to).contains(&seen.sent))
}

/// Reads the canaries, and what must be refused; returns the first request that was admitted without its policy.
fn read<'h>(history: &'h History, starts: &mut [Start]) -> Option<Seen<'h>> {
    let mut admitted = None;
    for name in [streams::CANARY, streams::MUST_REFUSE] {
        for seen in stream(history, name) {
            let Some(start) = start_of(starts, &seen) else { continue };
            let Some((ended, _, answer)) = seen.outcome else {
                if seen.asked.credential.must_refuse() && seen.arrived.is_some() {
                    admitted = admitted.or(Some(seen));
                }
                continue;
            };
            if seen.asked.credential.must_refuse() {
                start.refused |= matches!(answer.status, 401 | 403);
                if seen.arrived.is_some() || answer.is_success() {
                    admitted = admitted.or(Some(seen));
                }
            } else if answer.is_success() && ended <= start.to {
                let valid = matches!(seen.asked.credential, Credential::Valid | Credential::NotNeeded);
                if valid && answer.version >= start.version && answer.version > 0 {
                    start.first = Some(start.first.map_or(ended, |first| first.min(ended)));
                } else {
                    start.older = start.older.saturating_add(1);
                }
            }
        }
    }
    admitted
}

pub(super) fn cfg_02(scope: &Scope<'_>, variant: i64) -> Verdict {
    let history = match scope.history("start-without-control-plane") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let lives = Lives::new(history);
    let mut starts = starts(history, &lives, variant);
    let admitted = read(history, &mut starts);
    let samples = len(starts.len());
    let within = nanos(scope.parameters.duration("within"));
    let slowest = starts.iter().filter_map(|start| start.first.map(|first| first.saturating_sub(start.at))).max();
    let limit = seconds(within) * 1000.0;
    let numbers: Vec<Number> = slowest
        .map(|took| Number::new("start to first correct answer", ms(took), "ms").limit(limit))
        .into_iter()
        .collect();
    if let Some(seen) = admitted {
        let explanation =
            format!("a start without the control plane served a protected route openly: {}", words(history, &seen));
        let events = vec![history.reference(super::telling(&seen))];
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let watched = |start: &Start| start.to.saturating_sub(start.at) >= within;
    let late = |start: &&Start| match start.first {
        Some(first) => first.saturating_sub(start.at) > within,
        None => watched(start),
    };
    if let Some(start) = starts.iter().find(late) {
        // What is shown is an absence: a record with holes, or a cut that did not cut, cannot show it.
        if let Some(doubt) = record_doubt(history).or_else(|| reached(history, &lives, &starts)) {
            return Verdict::Inconclusive(doubt);
        }
        let name = history.text(start.replica);
        let seen = start.first.map_or_else(
            || format!("not seen in {:.1} s", seconds(start.to.saturating_sub(start.at))),
            |first| format!("only after {:.1} s", seconds(first.saturating_sub(start.at))),
        );
        let old =
            if start.older > 0 { format!("; {} answers had an older version", start.older) } else { String::new() };
        let explanation = format!(
            "`{name}` started without the control plane: a correct answer with version {} was {seen}; {:.1} s are allowed{old}",
            start.version,
            seconds(within)
        );
        let events = starts.iter().filter(late).take(3).map(|start| history.reference(start.event)).collect();
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let unclear = starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        let text = if start.version == 0 {
            format!("nothing was published before `{name}` started")
        } else if start.first.is_none() {
            format!("`{name}` was watched for only {:.1} s after its start", seconds(start.to.saturating_sub(start.at)))
        } else if !start.refused {
            format!("`{name}` was not seen to refuse a request without credentials")
        } else {
            return None;
        };
        Some(Reason::new("too-few-samples", text))
    });
    let held = Verdict::holds(1, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(unclear).or_else(|| reached(history, &lives, &starts)))
}

/// Why the control plane was not away at a start: nothing cut it off, or it sent a configuration all the same.
fn reached(history: &History, lives: &Lives, starts: &[Start]) -> Option<Reason> {
    let faults = faults(history);
    let control_plane = history.name(CONTROL_PLANE);
    starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        let until = start.first.unwrap_or(start.to);
        let cut = faults.iter().any(|fault| {
            history.text(fault.target).contains(CONTROL_PLANE)
                && fault.proven()
                && fault.from <= start.at
                && fault.healed.is_none_or(|healed| healed >= until)
        });
        let gone = control_plane.is_some_and(|plane| lives.is_gone(plane, start.at, until));
        if !cut && !gone {
            let text = format!("nothing kept the control plane away while `{name}` started");
            return Some(Reason::new("fault-not-proven", text));
        }
        let sent = history.others().any(|(_, event)| {
            (start.at..until).contains(&event.at)
                && matches!(event.kind, EventKind::Contact { component, peer, what, status: 200 | 304, .. }
                    if Some(component) == control_plane && peer == start.replica && history.text(what) == "configuration")
        });
        sent.then(|| {
            let text = format!("`{name}` was sent a configuration although the control plane should have been away");
            Reason::new("fault-not-proven", text)
        })
    })
}
