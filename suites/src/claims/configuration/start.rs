//! CFG-02: does a replica that starts without the control plane serve the last published version, and how soon? And when the control plane is back, the next
//! one (CFG-02/a)?
//!
//! The control plane is away in three ways (seed M17): a start counts for the one that is nearest to the replica.

use super::{RESTARTED, START_VARIANT, STORE_LOST, WIPED, words};
use crate::claims::common::{FaultWindow, Seen, count, decided_by, len, stream};
use crate::claims::common::{
    doubt, end_of, faults, late_doubt, ms, nanos, phase, phases, record_doubt, seconds, unless,
};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, stream as streams};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// The ways in which the control plane must have been away.
const KINDS: [&str; 3] = ["refuse", "blackhole", "slow"];
const FIRST: &str = "start to first correct answer";
const NEVER: &str = "no correct answer for";
const OPEN: &str = "admitted without their policy";
const BACK: &str = "the control plane back, until the next version was served";

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
    /// How the control plane was away: kind of the fault nearest to the replica; empty if nothing was in the way.
    kind: String,
    first: Option<u64>,
    /// 2xx with an older version.
    older: u64,
    /// A protected route refused a request without credentials.
    refused: bool,
}

/// Whether `fault` keeps `replica` from the control plane: on the way to it, or in it.
fn is_between(history: &History, fault: &FaultWindow, replica: Name) -> bool {
    let target = history.text(fault.target);
    is_nearest(history, fault, replica) || target.contains(CONTROL_PLANE)
}

/// Whether `fault` is on the replica's own link to the ingress of the control plane.
fn is_nearest(history: &History, fault: &FaultWindow, replica: Name) -> bool {
    let (target, replica) = (history.text(fault.target), history.text(replica));
    target.split(", ").any(|link| {
        let ends = link.split_once("->");
        ends.is_some_and(|(from, to)| from == replica && to.ends_with("-management"))
    })
}

fn starts(history: &History, lives: &Lives, variant: i64) -> Vec<Start> {
    let end = end_of(history);
    let faults = faults(history);
    let mut starts = Vec::new();
    for (marked, replica, _, event) in history.marks(START_VARIANT).filter(|(_, _, value, _)| *value == variant) {
        let next_mark =
            history.marks(START_VARIANT).find(|(at, of, ..)| *of == replica && *at > marked).map_or(end, |(at, ..)| at);
        // The name of a brand-new replica is known only once it was started: its only start comes before its mark.
        let only = || lives.started_before(replica, marked).filter(|at| lives.starts(replica, 0, *at).count() == 1);
        let Some(at) = lives.starts(replica, marked, next_mark).next().or_else(only) else { continue };
        let away: Vec<&FaultWindow> = faults
            .iter()
            .filter(|fault| is_between(history, fault, replica) && fault.from <= at)
            .filter(|fault| fault.healed.is_none_or(|healed| healed > at))
            .collect();
        let healed = away.iter().map(|fault| fault.healed.unwrap_or(end)).max().unwrap_or(end);
        let nearest = away.iter().find(|fault| is_nearest(history, fault, replica)).or(away.first());
        let kind = nearest.map_or_else(String::new, |fault| history.text(fault.kind).to_owned());
        let to = healed.min(lives.starts(replica, at.saturating_add(1), end).next().unwrap_or(end));
        let to = lives.gone_in(replica, at.saturating_add(1), to).unwrap_or(to);
        let published = history.marks(mark::PUBLISHED).take_while(|(published, ..)| *published <= at);
        let version = published.map(|(_, _, version, _)| u32::try_from(version).unwrap_or(0)).max().unwrap_or(0);
        starts.push(Start { replica, event, at, to, version, kind, first: None, older: 0, refused: false });
    }
    starts
}

fn start_of<'s>(starts: &'s mut [Start], seen: &Seen<'_>) -> Option<&'s mut Start> {
    starts.iter_mut().find(|start| start.replica == seen.asked.target && (start.at..start.to).contains(&seen.sent))
}

/// Requests that were admitted without their policy.
#[derive(Default)]
struct Open {
    count: u64,
    first: String,
    events: Vec<EventRef>,
}

impl Open {
    fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if self.count == 0 {
            self.first = words(history, seen);
        }
        self.count = self.count.saturating_add(1);
        if self.events.len() < 3 {
            self.events.push(history.reference(super::telling(seen)));
        }
    }
}

/// Reads the canaries, and what must be refused, of the starts.
fn read(history: &History, starts: &mut [Start]) -> Open {
    let mut open = Open::default();
    for name in [streams::CANARY, streams::MUST_REFUSE] {
        for seen in stream(history, name) {
            let Some(start) = start_of(starts, &seen) else { continue };
            let must_refuse = seen.asked.credential.must_refuse();
            if must_refuse && (seen.arrived.is_some() || seen.outcome.is_some_and(|(.., answer)| answer.is_success())) {
                open.add(history, &seen);
            }
            let Some((ended, _, answer)) = seen.outcome else { continue };
            if must_refuse {
                start.refused |= matches!(answer.status, 401 | 403);
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
    open
}

impl Start {
    fn took(&self) -> Option<u64> {
        self.first.map(|first| first.saturating_sub(self.at))
    }

    fn watched(&self) -> u64 {
        self.to.saturating_sub(self.at)
    }

    /// Not correct within `within`, and watched for long enough to say so.
    fn is_late(&self, within: u64) -> bool {
        too_late(self.took(), self.watched(), within)
    }

    /// What a start that is late was seen to do.
    fn told(&self, history: &History, within: u64) -> String {
        let seen = when(self.took(), self.watched());
        let old = if self.older > 0 { format!("; {} answers had an older version", self.older) } else { String::new() };
        format!(
            "`{}` started without the control plane (`{}`): a correct answer with version {} was {seen}; {:.1} s are allowed{old}",
            history.text(self.replica),
            self.kind,
            self.version,
            seconds(within)
        )
    }
}

/// When a correct answer was seen, for readers: after so long, or never in the time watched (ns).
fn when(took: Option<u64>, watched: u64) -> String {
    took.map_or_else(
        || format!("not seen in {:.1} s", seconds(watched)),
        |took| format!("only after {:.1} s", seconds(took)),
    )
}

/// Not correct within `within`, and watched for long enough to say so (ns).
fn too_late(took: Option<u64>, watched: u64, within: u64) -> bool {
    took.map_or(watched >= within, |took| took > within)
}

/// The slowest start over all, and by the way in which the control plane was away; how long the starts that never served were watched.
fn numbers(starts: &[Start], within: u64) -> Vec<Number> {
    let limit = seconds(within);
    let slowest = |kind: &str| {
        let of = starts.iter().filter(|start| kind.is_empty() || start.kind == kind);
        of.filter_map(Start::took).max()
    };
    let took = |name: String, took: u64| Number::new(name, ms(took), "ms").limit(limit * 1000.0);
    let mut numbers: Vec<Number> = slowest("").map(|slowest| took(FIRST.to_owned(), slowest)).into_iter().collect();
    for kind in KINDS {
        numbers.extend(slowest(kind).map(|slowest| took(format!("{FIRST} ({kind})"), slowest)));
    }
    let never = starts.iter().filter(|start| start.first.is_none()).map(Start::watched).max();
    numbers.extend(never.map(|watched| Number::new(NEVER, seconds(watched), "s").limit(limit)));
    numbers
}

pub(super) fn cfg_02(scope: &Scope<'_>, variant: i64) -> Verdict {
    let history = match scope.history("start-without-control-plane") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let lives = Lives::new(history);
    let within = nanos(scope.parameters.duration("within"));
    let mut starts = starts(history, &lives, variant);
    let mut open = read(history, &mut starts);
    let back = if variant == RESTARTED { Some(Back::read(history, &lives, within)) } else { None };
    let where_kept = if variant == RESTARTED { store_needed(history, &lives, &mut open) } else { None };
    let samples = len(starts.len());
    let mut numbers = numbers(&starts, within);
    numbers.push(Number::new(OPEN, count(open.count), "requests").limit(0.0));
    if open.count > 0 {
        let explanation = format!("a start without the control plane served a protected route openly: {}", open.first);
        let numbers = decided_by(numbers, OPEN);
        return Verdict::Violated(Counterexample { explanation, events: open.events, samples, numbers });
    }
    numbers.extend(back.iter().flat_map(|back| back.number(within)));
    let is_late = |start: &&Start| start.is_late(within);
    let late_of = |start: &Start| late_doubt(history, scope.parameters.duration("within"), start.at, start.to);
    // One that the harness explains hides no other.
    let unexplained = starts.iter().filter(is_late).find(|start| late_of(start).is_none());
    if let Some(first) = unexplained.or_else(|| starts.iter().find(is_late)) {
        // What is shown is an absence: a record with holes, or a cut that did not cut, cannot show it.
        let doubt = record_doubt(history).or_else(|| reached(history, &lives, &starts));
        if let Some(doubt) = doubt.or_else(|| late_of(first)) {
            return Verdict::Inconclusive(doubt);
        }
        let never = starts.iter().any(|start| start.is_late(within) && start.first.is_none());
        let numbers = decided_by(numbers, if never { NEVER } else { FIRST });
        let explanation = [Some(first.told(history, within)), where_kept].into_iter().flatten().collect::<Vec<_>>();
        let late = starts.iter().filter(|start| start.is_late(within));
        let events = late.take(3).map(|start| history.reference(start.event)).collect();
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    if let Some(late) = back.as_ref().and_then(|back| back.late.as_ref()) {
        let doubt = record_doubt(history)
            .or_else(|| late_doubt(history, scope.parameters.duration("within"), late.from, late.to));
        if let Some(doubt) = doubt {
            return Verdict::Inconclusive(doubt);
        }
        let (explanation, events) = (late.words(history, within), vec![history.reference(late.event)]);
        let numbers = decided_by(numbers, BACK);
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let notes = where_kept.into_iter().collect();
    let held = Verdict::holds(1, Evidence { samples, numbers, notes });
    unless(
        held,
        doubt(history)
            .or_else(|| unclear(history, &starts))
            .or_else(|| reached(history, &lives, &starts))
            .or_else(|| back?.missing),
    )
}

/// The control plane is back and has published once more: who follows?
#[derive(Default)]
struct Back {
    /// The longest time from the publication to a correct answer of a replica, ns.
    took: u64,
    /// One that was not seen to follow in time.
    late: Option<Late>,
    missing: Option<Reason>,
}

/// A replica that did not follow in time.
struct Late {
    replica: Name,
    version: u32,
    from: u64,
    to: u64,
    /// When it did, ns after `from`.
    took: Option<u64>,
    /// Position of the publication.
    event: usize,
}

impl Back {
    fn read(history: &History, lives: &Lives, within: u64) -> Self {
        let few = |text: String| Self { missing: Some(Reason::new("too-few-samples", text)), ..Self::default() };
        let phases = phases(history);
        let Some(settle) = phase(history, &phases, "settle", "") else {
            return few("what came after was not seen".to_owned());
        };
        let published = history.marks(mark::PUBLISHED).find(|(at, ..)| (settle.from..settle.to).contains(at));
        let Some((from, _, version, event)) = published else {
            return few("nothing was published when the control plane was back".to_owned());
        };
        let version = u32::try_from(version).unwrap_or_default();
        // Whoever ended, or lost all that was kept and never served since, is the other variants'.
        let never_since = |replica: Name| {
            let before = history.marks(START_VARIANT).take_while(|(at, ..)| *at <= settle.from);
            let wiped = before.filter(|(_, of, variant, _)| *of == replica && *variant == WIPED).last();
            wiped.is_some_and(|(at, ..)| {
                let mut served = stream(history, streams::CANARY).filter(|seen| {
                    let valid = seen.asked.target == replica && !seen.asked.credential.must_refuse();
                    valid && seen.sent >= at && seen.ended() <= settle.from
                });
                !served.any(|seen| (200..300).contains(&seen.status()))
            })
        };
        let mut first: BTreeMap<Name, Option<u64>> = BTreeMap::new();
        for seen in stream(history, streams::CANARY).filter(|seen| seen.sent >= from && seen.sent < settle.to) {
            if seen.asked.credential.must_refuse() {
                continue;
            }
            let known = first.entry(seen.asked.target).or_default();
            if let Some((ended, _, answer)) = seen.outcome
                && answer.is_success()
                && answer.version >= version
            {
                *known = Some(known.map_or(ended, |known| known.min(ended)));
            }
        }
        first.retain(|replica, _| !lives.is_gone(*replica, settle.from, settle.to) && !never_since(*replica));
        if first.is_empty() {
            return few("nobody was asked when the control plane was back".to_owned());
        }
        let mut back = Self::default();
        for (replica, followed) in first {
            let took = followed.map(|at| at.saturating_sub(from));
            back.took = back.took.max(took.unwrap_or_default());
            let watched = settle.to.saturating_sub(from);
            if too_late(took, watched, within) {
                back.late.get_or_insert(Late { replica, version, from, to: settle.to, took, event });
            } else if took.is_none() {
                let text = format!(
                    "`{}` was watched for only {:.1} s when the control plane was back",
                    history.text(replica),
                    seconds(watched)
                );
                back.missing.get_or_insert_with(|| Reason::new("too-few-samples", text));
            }
        }
        back
    }

    fn number(&self, within: u64) -> Option<Number> {
        let took = if self.late.as_ref().is_some_and(|late| late.took.is_none()) { None } else { Some(self.took) };
        self.missing.is_none().then(|| Number::new(BACK, took.map_or(f64::INFINITY, ms), "ms").limit(ms(within)))
    }
}

impl Late {
    fn words(&self, history: &History, within: u64) -> String {
        let seen = when(self.took, self.to.saturating_sub(self.from));
        format!(
            "the control plane was back and published version {}: a correct answer of `{}` with it was {seen}; {:.1} s are allowed",
            self.version,
            history.text(self.replica),
            seconds(within)
        )
    }
}

/// Why starts that broke nothing do not show enough.
fn unclear(history: &History, starts: &[Start]) -> Option<Reason> {
    let of_one = starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        if start.version == 0 {
            Some(format!("nothing was published before `{name}` started"))
        } else if start.first.is_none() {
            Some(format!("`{name}` was watched for only {:.1} s after its start", seconds(start.watched())))
        } else if !start.refused {
            Some(format!("`{name}` was not seen to refuse a request without credentials"))
        } else {
            None
        }
    });
    let kind = KINDS.into_iter().find(|kind| !starts.iter().any(|start| start.kind == *kind));
    let of_kind = || kind.map(|kind| format!("no start found the control plane away by `{kind}`"));
    of_one.or_else(of_kind).map(|text| Reason::new("too-few-samples", text))
}

/// K1, where is the configuration: what a start without the shared store, too, was seen to do. Decides nothing, except
/// that it must not serve openly either.
fn store_needed(history: &History, lives: &Lives, open: &mut Open) -> Option<String> {
    let mut starts = starts(history, lives, STORE_LOST);
    let without = read(history, &mut starts);
    if open.count == 0 {
        *open = without;
    }
    let start = starts.first()?;
    let name = history.text(start.replica);
    let lost = faults(history).into_iter().any(|fault| {
        let own = format!("{name}->");
        let target = history.text(fault.target);
        target.starts_with(&own) && target.ends_with("store") && fault.proven() && fault.from <= start.at
    });
    lost.then(|| match start.took() {
        Some(took) => {
            format!("K1: without the shared store, too, `{name}` served after {:.0} ms: it is not needed", ms(took))
        }
        None => format!(
            "K1: without the shared store, too, `{name}` was not seen to serve in {:.1} s: the configuration is there",
            seconds(start.watched())
        ),
    })
}

/// Why the control plane was not away at a start: nothing cut it off, or it sent a configuration all the same.
fn reached(history: &History, lives: &Lives, starts: &[Start]) -> Option<Reason> {
    let faults = faults(history);
    let control_plane = history.name(CONTROL_PLANE);
    starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        let until = start.first.unwrap_or(start.to);
        let cut = faults.iter().any(|fault| {
            is_between(history, fault, start.replica)
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
