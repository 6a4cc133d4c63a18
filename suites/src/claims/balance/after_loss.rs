//! BAL-02: who has how much of the traffic while a replica is missing, and how soon is it even again after another one is ready?
//!
//! Shares are those of the answers, which name their replica, over k, the number of replicas that the site should have; what nobody answered counts as sent. A
//! new replica is held to its share of what was answered: where nobody answers, nobody is starved. Processor times are evidence only.

use super::{EVEN_WINDOW, KEPT_CONNECTIONS, LEAST_WINDOW, NEW_CONNECTIONS, ROLLED, SHIFT};
use crate::claims::common::{
    FaultWindow, Phase, count, decided_by, doubt, end_of, faults, late_doubt, len, nanos, phase, phases, record_doubt,
    seconds, stream, unless,
};
use crate::claims::configuration::telling;
use crate::claims::losses::{KILLED, started_since};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Site;
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least number of requests that are judged.
pub(super) const MINIMUM: u64 = 200;
/// Fewer requests in a stretch say nothing of its shares: chance alone makes them uneven by a tenth and more.
const LEAST: u64 = 50;
/// Fewer than this while a replica is missing are no spike that could be judged.
const LEAST_SPIKE: u64 = 100;
/// A window is moved by this part of itself.
const STEPS: u64 = 10;
/// The ways of connecting: stream, words, parameter that says how soon shares are even again.
const WAYS: [(&str, &str, &str); 2] =
    [(NEW_CONNECTIONS, "new connections", "recovers"), (KEPT_CONNECTIONS, "kept connections", "recovers_kept")];
/// The number that says how soon shares are even again.
const RECOVERED: &str = "new replica ready to even shares";
/// The variants of the story, in words.
const VARIANTS: [(&str, &str); 2] = [(KILLED, "killed"), (ROLLED, "rolling restart")];

/// One request.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it should have been sent, ns.
    at: u64,
    /// Who answered it 2xx; `None` if nobody did, or did not say who.
    by: Option<Name>,
    /// Position of the event that tells most of it.
    event: usize,
}

/// The requests of a stream, in the order in which they should have been sent.
fn requests(history: &History, name: &str) -> Vec<Asked> {
    let mut all: Vec<Asked> = stream(history, name)
        .map(|seen| Asked {
            at: seen.view.intended_at(history.events()),
            by: seen
                .outcome
                .filter(|(_, _, answer)| answer.is_success())
                .map(|(_, _, answer)| answer.replica)
                .filter(|replica| !history.text(*replica).is_empty()),
            event: telling(&seen),
        })
        .collect();
    all.sort_by_key(|asked| asked.at);
    all
}

/// The part of `all` in `from..to` (ns).
fn within(all: &[Asked], from: u64, to: u64) -> &[Asked] {
    let first = all.partition_point(|asked| asked.at < from);
    let end = all.partition_point(|asked| asked.at < to).max(first);
    all.get(first..end).unwrap_or_default()
}

/// How many each replica answered.
fn counts(asked: &[Asked]) -> BTreeMap<Name, u64> {
    let mut counts = BTreeMap::new();
    for by in asked.iter().filter_map(|asked| asked.by) {
        let known: &mut u64 = counts.entry(by).or_default();
        *known = known.saturating_add(1);
    }
    counts
}

/// `part` of `all` over the fair share of one of `k`; 0 of nothing.
fn over_fair(part: u64, all: u64, k: u64) -> f64 {
    if all == 0 { 0.0 } else { count(part) * count(k) / count(all) }
}

/// The largest share of a replica over a fair one.
fn largest(asked: &[Asked], k: u64) -> f64 {
    over_fair(counts(asked).into_values().max().unwrap_or_default(), len(asked.len()), k)
}

/// A replica that was missing for a while.
#[derive(Clone, Debug)]
struct Absence {
    variant: &'static str,
    lost: Name,
    fault: FaultWindow,
    /// Who came in its place, if only itself, and when it was ready, ns.
    back: Option<(Name, u64)>,
}

/// Site and number of a replica, by its name.
fn parts(name: &str) -> Option<(&str, i64)> {
    let (site, number) = name.rsplit_once('-')?;
    Some((site, number.parse().ok()?))
}

fn absences(history: &History, phases: &[Phase]) -> Vec<Absence> {
    let mut all = Vec::new();
    for fault in faults(history) {
        if !["kill", "terminate"].contains(&history.text(fault.kind)) {
            continue;
        }
        let planned = history.events().get(fault.event).map_or(fault.from, |event| event.at);
        let told = phases.iter().rfind(|phase| phase.from <= planned).map(|phase| history.text(phase.variant));
        let Some((variant, _)) = VARIANTS.into_iter().find(|(variant, _)| told == Some(*variant)) else { continue };
        let Some((site, number)) = parts(history.text(fault.target)) else { continue };
        let successor = history.marks(mark::SUCCESSOR).find(|(at, subject, value, _)| {
            *at >= fault.from && *value == number && parts(history.text(*subject)).is_some_and(|(of, _)| of == site)
        });
        let who = successor.map_or(fault.target, |(_, who, ..)| who);
        let back = started_since(history, who, fault.from).and_then(|started| ready_since(history, who, started));
        all.push(Absence { variant, lost: fault.target, fault, back: back.map(|at| (who, at)) });
    }
    all
}

/// When `replica` was first ready at or after `at`, ns.
fn ready_since(history: &History, replica: Name, at: u64) -> Option<u64> {
    history.others().find_map(|(_, event)| {
        let EventKind::Replica { replica: who, state: ReplicaState::Ready, .. } = event.kind else { return None };
        (who == replica && event.at >= at).then_some(event.at)
    })
}

/// From when on a missing replica is known to be missing, ns: until its ingress takes it out, nobody has its share. Where no ingress says so,
/// from its loss on.
fn noticed(history: &History, absence: &Absence, back: u64) -> u64 {
    let out = history.others().find_map(|(_, event)| {
        let EventKind::Contact { peer, what, .. } = event.kind else { return None };
        let out = peer == absence.lost && history.text(what) == "out-of-rotation";
        (out && (absence.fault.from..back).contains(&event.at)).then_some(event.at)
    });
    out.unwrap_or(absence.fault.from)
}

/// A replica that its ingress took out of rotation in `from..to` (ns), other than those that were `lost`: that explains any share.
fn was_out(history: &History, site: &Site, lost: &[Name], (from, to): (u64, u64)) -> Option<Reason> {
    let ingress = history.name(&site.ingress());
    let who = history.others().find_map(|(_, event)| {
        let EventKind::Contact { component, peer, what, .. } = event.kind else { return None };
        let out = Some(component) == ingress && history.text(what) == "out-of-rotation";
        (out && (from..to).contains(&event.at) && !lost.contains(&peer)).then_some(peer)
    })?;
    let text =
        format!("`{}` went out of rotation, though nobody touched it: that explains any share", history.text(who));
    Some(Reason::new("replica-out", text))
}

/// What is found.
#[derive(Default)]
struct Found {
    /// Name of the number that shows it, and words.
    broken: Vec<(String, String)>,
    events: Vec<EventRef>,
    numbers: Vec<Number>,
    notes: Vec<String>,
    samples: u64,
    /// Why it cannot hold, the first reason.
    missing: Option<Reason>,
}

/// One variant of the story in one way of connecting.
struct Stretch<'a> {
    history: &'a History,
    all: &'a [Asked],
    absences: &'a [&'a Absence],
    /// How many replicas there should be.
    k: u64,
    /// `killed, new connections`.
    when: String,
    /// From when on nobody is missing any more, until when that was watched, ns.
    whole: (u64, u64),
    /// Why what is seen may be the harness' or the machine's.
    excuse: Option<&'a Reason>,
}

impl Stretch<'_> {
    fn break_by(&self, found: &mut Found, name: String, text: String, event: Option<usize>) {
        if let Some(excuse) = self.excuse {
            found.missing.get_or_insert_with(|| excuse.clone());
            return;
        }
        found.broken.push((name, format!("{}: {text}", self.when)));
        found.events.extend(event.map(|event| self.history.reference(event)));
    }

    fn few(&self, found: &mut Found, text: &str) {
        found.missing.get_or_insert_with(|| Reason::new("too-few-samples", format!("{}: {text}", self.when)));
    }

    /// Does nobody get more than its part of what the missing one had?
    fn spike(&self, scope: &Scope<'_>, found: &mut Found) {
        let others = self.k.saturating_sub(1).max(1);
        let fair = count(self.k) / count(others);
        let allowed = scope.parameters.number("spike") * fair;
        let mut worst: Option<(f64, Name, &Absence)> = None;
        let mut mean = Vec::new();
        for absence in self.absences {
            let Some((_, back)) = absence.back else { continue };
            let asked = within(self.all, noticed(self.history, absence, back), back);
            let sent = len(asked.len());
            if sent < LEAST_SPIKE {
                continue;
            }
            found.samples = found.samples.saturating_add(sent);
            let counts = counts(asked);
            let taken = counts.iter().filter(|(who, _)| **who != absence.lost).map(|(_, count)| *count).sum();
            mean.push(over_fair(taken, sent, self.k) / count(others));
            let most = counts.iter().filter(|(who, _)| **who != absence.lost).max_by_key(|(_, count)| **count);
            if let Some((who, most)) = most {
                let share = over_fair(*most, sent, self.k);
                if worst.is_none_or(|(known, ..)| share > known) {
                    worst = Some((share, *who, absence));
                }
            }
        }
        let Some((share, who, absence)) = worst else {
            // Restarts are short where windows are; the one that was killed is missing for long enough.
            if self.absences.iter().any(|absence| absence.variant == KILLED) {
                self.few(found, &format!("fewer than {LEAST_SPIKE} requests while a replica was missing"));
            }
            return;
        };
        let name = format!("largest share over a fair one while a replica is missing ({})", self.when);
        found.numbers.push(Number::new(&name, share, "x").limit(allowed));
        let taken = mean.iter().sum::<f64>() / count(len(mean.len()).max(1));
        found.numbers.push(Number::new(format!("mean share of those that are left ({})", self.when), taken, "x"));
        if share > allowed {
            let text = format!(
                "`{}` had {share:.2} of a fair share while `{}` was missing; {fair:.2} would be even, {allowed:.2} are allowed",
                self.history.text(who),
                self.history.text(absence.lost)
            );
            self.break_by(found, name, text, Some(absence.fault.event));
        }
    }

    /// How soon are shares even again?
    fn evenness(&self, scope: &Scope<'_>, recovers: Duration, found: &mut Found) {
        let window = nanos(EVEN_WINDOW.mul_f64(scope.scale).max(LEAST_WINDOW));
        let (limit, allowed) = (scope.parameters.number("ratio"), nanos(recovers));
        let (from, to) = self.whole;
        found.samples = found.samples.saturating_add(len(within(self.all, from, to).len()));
        let name = format!("{RECOVERED} ({})", self.when);
        let mut seen = Vec::new();
        for start in starts(self.whole, window) {
            let asked = within(self.all, start, start.saturating_add(window));
            if len(asked.len()) < LEAST {
                continue;
            }
            let ratio = largest(asked, self.k);
            seen.push((start, ratio));
            if ratio <= limit {
                let took = start.saturating_sub(from);
                found.numbers.push(Number::new(&name, seconds(took), "s").limit(seconds(allowed)));
                if took > allowed {
                    let text = format!("shares were even {:.2} s after the new replica was ready", seconds(took));
                    self.break_by(found, name, text, asked.first().map(|asked| asked.event));
                }
                return;
            }
        }
        let Some((last, ratio)) = seen.last().copied() else {
            self.few(found, "no window with enough requests after the new replica was ready");
            return;
        };
        let watched = last.saturating_sub(from);
        if watched <= allowed {
            let text = format!("shares were not even for {:.2} s, and not watched any longer", seconds(watched));
            self.few(found, &text);
            return;
        }
        found.numbers.push(Number::new(&name, seconds(watched), "s").limit(seconds(allowed)));
        let text = format!(
            "shares were not even for {:.2} s after the new replica was ready; in the end one had {ratio:.2} of a fair one",
            seconds(watched)
        );
        self.break_by(found, name, text, within(self.all, last, to).first().map(|asked| asked.event));
    }

    /// Does each new replica get its part, and no more?
    fn fairness(&self, scope: &Scope<'_>, found: &mut Found) {
        let window = nanos(scope.parameters.duration("unfair").max(LEAST_WINDOW));
        let (least, most) = (scope.parameters.number("starved"), scope.parameters.number("flooded"));
        let mut lowest: Option<(f64, Name, u64)> = None;
        let mut highest: Option<(f64, Name, u64)> = None;
        for start in starts(self.whole, window) {
            let asked = within(self.all, start, start.saturating_add(window));
            let counts = counts(asked);
            let answered = counts.values().sum();
            if answered < LEAST {
                continue;
            }
            for (new, _) in self.absences.iter().filter_map(|absence| absence.back) {
                let share = over_fair(counts.get(&new).copied().unwrap_or_default(), answered, self.k);
                if lowest.is_none_or(|(known, ..)| share < known) {
                    lowest = Some((share, new, start));
                }
                if highest.is_none_or(|(known, ..)| share > known) {
                    highest = Some((share, new, start));
                }
            }
        }
        let (Some(lowest), Some(highest)) = (lowest, highest) else {
            self.few(found, "no window with enough answers after the new replica was ready");
            return;
        };
        for (what, word, (share, who, start), limit, is_broken) in [
            ("smallest", "starved", lowest, least, lowest.0 < least),
            ("largest", "flooded", highest, most, highest.0 > most),
        ] {
            let name = format!("{what} share of a new replica over a fair one ({})", self.when);
            found.numbers.push(Number::new(&name, share, "x").limit(limit));
            if is_broken {
                let text = format!(
                    "`{}` was {word}: {share:.2} of a fair share for {:.2} s, from {:.2} s after it was ready; {limit:.2} are the limit",
                    self.history.text(who),
                    seconds(window),
                    seconds(start.saturating_sub(self.whole.0))
                );
                let event = within(self.all, start, self.whole.1).first().map(|asked| asked.event);
                self.break_by(found, name, text, event);
            }
        }
    }
}

/// Where windows of this length begin in `from..to`, each moved by a part of it; none if not one fits.
fn starts((from, to): (u64, u64), window: u64) -> impl Iterator<Item = u64> {
    let step = usize::try_from((window / STEPS).max(1)).unwrap_or(usize::MAX);
    let end = to.saturating_sub(window).saturating_add(1).max(from);
    (from..end).step_by(step)
}

/// Processor time over time in `from..to` (ns), in percent of a core, of each replica that was asked twice there.
fn processor_use(history: &History, (from, to): (u64, u64)) -> BTreeMap<Name, f64> {
    // First and last, each with its time.
    let mut told: BTreeMap<Name, [(u64, i64); 2]> = BTreeMap::new();
    for (at, replica, used_us, _) in history.marks(mark::PROCESSOR_US).filter(|(at, ..)| (from..to).contains(at)) {
        told.entry(replica).or_insert([(at, used_us); 2])[1] = (at, used_us);
    }
    told.into_iter()
        .filter_map(|(replica, [(first_at, first), (last_at, last)])| {
            let took_us = last_at.saturating_sub(first_at) / 1_000;
            let used_us = u64::try_from(last.saturating_sub(first)).ok()?;
            (took_us > 0).then(|| (replica, count(used_us) / count(took_us) * 100.0))
        })
        .collect()
}

/// What the processor times of those that were left say of the spike (M9): evidence, no verdict.
fn processors(history: &History, phases: &[Phase], absences: &[Absence], found: &mut Found) {
    let killed = absences.iter().find(|absence| absence.variant == KILLED);
    let stretches = killed.and_then(|killed| {
        let steady = phase(history, phases, "steady", "")?;
        let settle = phase(history, phases, "settle", KILLED)?;
        let half = settle.from.saturating_add(settle.to.saturating_sub(settle.from) / 2);
        let (_, back) = killed.back?;
        Some((killed.lost, [(steady.from, steady.to), (killed.fault.from, back), (half, settle.to)]))
    });
    let Some((lost, stretches)) = stretches else { return };
    let used = stretches.map(|stretch| processor_use(history, stretch));
    let survivors: Vec<Name> =
        used[0].keys().filter(|who| **who != lost && used.iter().all(|used| used.contains_key(who))).copied().collect();
    if survivors.is_empty() {
        found
            .notes
            .push("the runtime said nothing of processor times: whether there was a spike is not seen".to_owned());
        return;
    }
    let [before, missing, after] = used
        .map(|used| survivors.iter().filter_map(|who| used.get(who)).sum::<f64>() / count(len(survivors.len()).max(1)));
    for (when, value) in [("before", before), ("while a replica was missing", missing), ("after", after)] {
        found.numbers.push(Number::new(format!("processor time of one that is left, {when} (killed)"), value, "%"));
    }
    let seen =
        if missing > before && missing > after { "a temporary spike is seen" } else { "no temporary spike is seen" };
    found.notes.push(format!(
        "processor time of those that are left: {before:.1} % of a core before, {missing:.1} % while a replica was missing, {after:.1} % after: {seen} (M9)"
    ));
}

/// The steady phase must be even, or nothing that follows can be said to return.
fn steady(
    scope: &Scope<'_>,
    history: &History,
    phases: &[Phase],
    k: u64,
    (all, way): (&[Asked], &str),
    found: &mut Found,
) {
    let Some(steady) = phase(history, phases, "steady", "") else {
        found.missing.get_or_insert_with(|| Reason::new("no-steady-state", "there is no steady phase"));
        return;
    };
    let asked = within(all, steady.from, steady.to);
    if len(asked.len()) < LEAST {
        let text = format!("{way}: {} requests before the loss; {LEAST} are needed", asked.len());
        found.missing.get_or_insert_with(|| Reason::new("too-few-samples", text));
        return;
    }
    if asked.iter().all(|asked| asked.by.is_none()) {
        let text = format!("{way}: no answer before the loss names its replica");
        found.missing.get_or_insert_with(|| Reason::new("no-replica-identity", text));
        return;
    }
    let (share, limit) = (largest(asked, k), scope.parameters.number("ratio"));
    found
        .numbers
        .push(Number::new(format!("largest share over a fair one before the loss ({way})"), share, "x").limit(limit));
    if share > limit {
        let text =
            format!("{way}: one replica had {share:.2} of a fair share before any loss; {limit:.2} would be even");
        found.missing.get_or_insert_with(|| Reason::new("no-steady-state", text));
    }
}

pub(super) fn bal_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SHIFT) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let absences = absences(history, &phases);
    let site = absences.first().and_then(|absence| {
        let (site, _) = parts(history.text(absence.lost))?;
        scope.deployment.sites.iter().find(|known| known.name == site)
    });
    let Some(site) = site else {
        return Verdict::inconclusive("too-few-samples", format!("`{SHIFT}`: no replica was lost"));
    };
    let k = u64::from(site.replicas.max(1));
    let mut found = Found::default();
    let ways = WAYS.map(|(stream, way, parameter)| (requests(history, stream), way, parameter));
    for (all, way, _) in &ways {
        steady(scope, history, &phases, k, (all, way), &mut found);
    }
    for (variant, when) in VARIANTS {
        let own: Vec<&Absence> = absences.iter().filter(|absence| absence.variant == variant).collect();
        let unproven = own.iter().find_map(|absence| absence.fault.unproven(history));
        let settle = phase(history, &phases, "settle", variant);
        let ready = own.iter().map(|absence| absence.back.map(|(_, at)| at)).collect::<Option<Vec<u64>>>();
        let whole = ready.and_then(|ready| ready.into_iter().max()).zip(settle);
        let (Some((ready, settle)), None) = (whole, &unproven) else {
            let reason = unproven.map_or_else(
                || Reason::new("too-few-samples", format!("{when}: it was not seen that all replicas were back")),
                |text| Reason::new("fault-not-proven", format!("`{SHIFT}`: {text}")),
            );
            found.missing.get_or_insert(reason);
            continue;
        };
        let lost: Vec<Name> = if variant == KILLED { own.iter().map(|one| one.lost).collect() } else { Vec::new() };
        let began = own.iter().map(|absence| absence.fault.from).min().unwrap_or(settle.from);
        let excuse = late_doubt(history, scope.parameters.duration("unfair").max(LEAST_WINDOW), began, settle.to)
            .or_else(|| was_out(history, site, &lost, (settle.from, settle.to)));
        for (all, way, parameter) in &ways {
            let when = format!("{when}, {way}");
            let whole = (ready, settle.to);
            let stretch = Stretch { history, all, absences: &own, k, when, whole, excuse: excuse.as_ref() };
            stretch.spike(scope, &mut found);
            stretch.evenness(scope, scope.parameters.duration(parameter), &mut found);
            stretch.fairness(scope, &mut found);
        }
    }
    if k == 2 {
        found.notes.push(
            "of two replicas the one that is left can take no more than all: its spike is bounded anyway".to_owned(),
        );
    }
    processors(history, &phases, &absences, &mut found);
    verdict(history, found)
}

fn verdict(history: &History, found: Found) -> Verdict {
    let Found { broken, mut events, numbers, notes, samples, missing } = found;
    if let Some((decided, _)) = broken.first() {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let trouble = history.marks(mark::PLATFORM_TROUBLE).next().map(|(at, ..)| {
        let (at, end) = (seconds(at), seconds(end_of(history)));
        Reason::new("platform-trouble", format!("the platform could not replace a replica at {at:.2} s of {end:.2} s"))
    });
    // What a reader asks first: how soon was it even again?
    let first = format!("{RECOVERED} ({}, {})", VARIANTS[0].1, WAYS[0].1);
    let numbers = decided_by(numbers, &first);
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(trouble).or(missing))
}
