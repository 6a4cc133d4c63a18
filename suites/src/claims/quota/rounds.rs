//! Which requests certainly fell into one quota window, and how many of them were admitted?
//!
//! A round begins with a `window` mark for its key. Its window begins at the gateway no earlier than the first
//! request of the round was sent, if the key was quiet for a whole window before: so whatever arrives before that
//! moment plus the window fell into one window. The last 15 % are left out all the same. A round whose
//! key (token bucket: any key) was not quiet is not judged. For windows on the calendar and for token buckets the same stretch
//! may hold two fillings: the bound is 2Q.

use super::marks;
use crate::claims::common::{Seen, count, late_doubt, len, phases, seconds};
use crate::claims::stalls::Stalls;
use gatecrash_model::calm::STALL_MS;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::WindowAlignment;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Definite, Effect, stream};
use gatecrash_model::verdict::{EventRef, Reason};
use gatecrash_model::{Deployment, History, Name};
use std::time::Duration;

/// One round of one key.
#[derive(Debug)]
pub(crate) struct Round<'h> {
    /// Its key.
    pub(crate) key: Name,
    /// Its number.
    pub(super) number: i64,
    /// When its mark was set, ns.
    pub(crate) marked: u64,
    /// Position of its mark.
    pub(crate) event: usize,
    /// Phase in force at the mark.
    pub(crate) phase: Name,
    /// Variant in force at the mark.
    pub(crate) variant: Name,
    /// Length of the window, ns.
    pub(crate) window: u64,
    /// When its first request was sent, ns.
    pub(crate) first_sent: u64,
    /// End of the stretch that certainly is in one window, ns.
    pub(crate) sure: u64,
    /// Whether the key was quiet for a window before.
    pub(crate) clean: bool,
    /// Whether it was repeated with another key, because the harness was late in it.
    pub(crate) repeated: bool,
    /// Whether the machine stood still near one of its requests for so long that a store which is fine can seem lost: what is admitted too much is
    /// then nobody's.
    pub(crate) starved: bool,
    /// Its requests in the order in which they were invoked.
    pub(crate) calls: Vec<Seen<'h>>,
}

/// How far from a request a stall may be to have touched it.
pub(super) const STARVED_NEAR_NS: u64 = 250_000_000;

/// `machine-busy`, where more was admitted than allowed, or otherwise than was told, while the machine stood still.
pub(crate) fn starved(history: &History, label: &str) -> Reason {
    let text = format!(
        "`{}`: {label}: not what a counter in a store shows, but the machine stood still for {STALL_MS:.0} ms and more in it",
        history.experiment()
    );
    Reason::new("machine-busy", text)
}

/// What a window may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Q.
    pub(crate) quota: u64,
    /// How many fillings a stretch shorter than a window can hold: 1, or 2 where its alignment is not known.
    pub(crate) fillings: u64,
    /// `s` in seconds.
    pub(super) sync_s: f64,
    /// Whether all keys share a bucket, for all that is known (token bucket).
    pub(super) any_key: bool,
    /// Whether there is a store, or a group of gateways, that may be what counts.
    pub(super) in_store: bool,
}

impl Rule {
    /// The rule of the deployment under test.
    pub(crate) fn of(scope: &Scope<'_>) -> Self {
        Self { sync_s: scope.parameters.number("sync_interval"), ..Self::strict(scope.deployment) }
    }

    /// The rule of one counter that is never behind.
    pub(crate) fn strict(deployment: &Deployment) -> Self {
        let quota = deployment.quota;
        let first_request = matches!(quota.alignment, WindowAlignment::FirstRequest);
        Self {
            quota: quota.limit.into(),
            fillings: if first_request { 1 } else { 2 },
            sync_s: 0.0,
            any_key: matches!(quota.alignment, WindowAlignment::TokenBucket),
            in_store: deployment.store.is_some() || deployment.peering.is_some(),
        }
    }
}

impl Rule {
    /// The rule of `counters` counters that know nothing of each other.
    pub(crate) fn of_counters(self, counters: u64) -> Self {
        Self { quota: self.quota.saturating_mul(counters), ..self }
    }
}

/// The rounds of a history in the order of their marks.
pub(crate) fn rounds<'h>(history: &'h History, rule: &Rule) -> Vec<Round<'h>> {
    let names = history.names().len();
    let mut rounds = opened(history);
    // Last round of each key so far, by the key's index; the next one of the same key.
    let mut current: Vec<Option<usize>> = vec![None; names];
    let mut next: Vec<Option<usize>> = vec![None; rounds.len()];
    for (index, round) in rounds.iter().enumerate().rev() {
        if let Some(slot) = current.get_mut(round.key.index()) {
            if let Some(following) = next.get_mut(index) {
                *following = *slot;
            }
            *slot = Some(index);
        }
    }
    let mut strays: Vec<(Name, u64)> = Vec::new();
    for seen in crate::claims::common::stream(history, stream::QUOTA) {
        let Some(slot) = current.get_mut(seen.asked.key.index()) else { continue };
        while let Some(following) = slot.and_then(|index| next.get(index).copied().flatten()) {
            if rounds.get(following).is_none_or(|round| round.marked > seen.sent) {
                break;
            }
            *slot = Some(following);
        }
        match slot.and_then(|index| rounds.get_mut(index)) {
            Some(round) if round.marked <= seen.sent => round.calls.push(seen),
            _ => strays.push((seen.asked.key, over_at(&seen))),
        }
    }
    settle_edges(&mut rounds, &strays, rule);
    // Where nothing is counted in a store, none can seem lost.
    let stalls = if rule.in_store { Stalls::of(history) } else { Stalls::default() };
    for round in &mut rounds {
        round.starved = round.calls.iter().any(|seen| stalls.touch(seen.sent, seen.sent, STARVED_NEAR_NS));
    }
    rounds
}

/// The rounds without their requests.
fn opened<'h>(history: &'h History) -> Vec<Round<'h>> {
    let phases = phases(history);
    let mut rounds: Vec<Round<'h>> = Vec::new();
    let mut lengths: Vec<(u64, Name, u64)> = history
        .marks(marks::QUOTA_WINDOW_MS)
        .map(|(at, key, ms, _)| (at, key, u64::try_from(ms).unwrap_or_default().saturating_mul(1_000_000)))
        .collect();
    lengths.reverse();
    for (marked, key, number, event) in history.marks(mark::WINDOW) {
        let Some((_, _, window)) = lengths.iter().find(|(at, of, _)| *at <= marked && *of == key) else { continue };
        let at = phases.partition_point(|phase| phase.event <= event).checked_sub(1);
        let phase = at.and_then(|at| phases.get(at));
        rounds.push(Round {
            key,
            number,
            marked,
            event,
            phase: phase.map_or(Name::NONE, |phase| phase.phase),
            variant: phase.map_or(Name::NONE, |phase| phase.variant),
            window: *window,
            first_sent: marked,
            sure: marked,
            clean: true,
            repeated: history.marks(mark::PROLONGED).any(|(at, of, ..)| {
                of == key && at >= marked && at <= marked.saturating_add((*window).saturating_mul(2))
            }),
            starved: false,
            calls: Vec::new(),
        });
    }
    rounds
}

/// When a request can no longer be counted by the gateway, for all that the client knows.
fn over_at(seen: &Seen<'_>) -> u64 {
    let ended = seen.outcome.map_or(seen.sent, |(ended, ..)| ended);
    ended.max(seen.arrived.unwrap_or_default())
}

/// Sets where each round's window begins, how far it certainly goes, and whether it is clean.
fn settle_edges(rounds: &mut [Round<'_>], strays: &[(Name, u64)], rule: &Rule) {
    let mut busy: Vec<(Name, u64)> = strays.to_vec();
    for round in rounds {
        let first = round.calls.iter().map(|seen| seen.sent).min();
        round.first_sent = first.unwrap_or(round.marked);
        round.sure = round.first_sent.saturating_add(round.window / 100 * 85);
        let quiet_since = busy
            .iter()
            .filter(|(key, at)| (rule.any_key || *key == round.key) && *at <= round.first_sent)
            .map(|(_, at)| *at)
            .max();
        let overlap = rule.any_key && busy.iter().any(|(_, at)| *at > round.first_sent);
        round.clean = !overlap && quiet_since.is_none_or(|at| at.saturating_add(round.window) <= round.first_sent);
        if let Some(last) = round.calls.iter().map(over_at).max() {
            busy.push((round.key, last));
        }
    }
}

impl<'h> Round<'h> {
    /// The requests that were sent in the sure stretch.
    pub(crate) fn sure_calls(&self) -> impl Iterator<Item = &Seen<'h>> + Clone {
        let sure = self.sure;
        self.calls.iter().filter(move |seen| seen.sent < sure)
    }

    /// `client-3, round 2 (skewed)`.
    pub(crate) fn label(&self, history: &History) -> String {
        let (key, variant) = (history.text(self.key), history.text(self.variant));
        if variant.is_empty() {
            format!("key `{key}`, round {}", self.number)
        } else {
            format!("key `{key}`, round {} ({variant})", self.number)
        }
    }

    /// The names that `of` gives to the requests of the sure stretch, each once, in order of occurrence.
    pub(super) fn units(&self, of: impl Fn(&Seen<'_>) -> Name) -> Vec<Name> {
        let mut units: Vec<Name> = Vec::new();
        for seen in self.sure_calls() {
            let unit = of(seen);
            if units.last() != Some(&unit) && !units.contains(&unit) {
                units.push(unit);
            }
        }
        units
    }
}

/// How requests fared, as far as it is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Arrived at the upstream.
    pub(crate) admitted: u64,
    /// Did not, and were answered with a rejection.
    pub(super) rejected: u64,
    /// Did not, and nobody can tell whether they were counted.
    pub(super) silent: u64,
}

impl Tally {
    /// Of these requests.
    pub(crate) fn of<'a, 'h: 'a>(calls: impl Iterator<Item = &'a Seen<'h>>) -> Self {
        let mut tally = Self::default();
        for seen in calls {
            let slot = match seen.outcome {
                _ if seen.arrived.is_some() => &mut tally.admitted,
                Some((_, Effect::Failed(Definite::Rejected), _)) => &mut tally.rejected,
                Some((_, Effect::Failed(Definite::Refused | Definite::ConnectTimeout), _)) => continue,
                Some((_, Effect::Ok | Effect::Unknown(_), _)) | None => &mut tally.silent,
            };
            *slot = slot.saturating_add(1);
        }
        tally
    }

    /// Requests that certainly reached the gateway.
    pub(crate) fn demand(&self) -> u64 {
        self.admitted.saturating_add(self.rejected)
    }
}

/// Admissions held against the bound.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Count {
    /// Admitted in the sure stretch.
    pub(crate) admitted: u64,
    /// `fillings x Q + sum(r_i x s) + C`; `C` is only looked at when it matters.
    pub(crate) limit: f64,
    /// The window's mark, the first admission over the bound and the last; empty within it.
    pub(crate) over: Vec<EventRef>,
}

impl Count {
    /// Whether the bound is broken.
    pub(crate) fn broken(&self) -> bool {
        !self.over.is_empty()
    }
}

/// Counts the admissions among `calls` that arrived before `until`, against the bound of one counter.
pub(crate) fn against_bound<'a, 'h: 'a>(
    history: &History,
    rule: &Rule,
    stretch: (u64, u64),
    mark: usize,
    calls: impl Iterator<Item = &'a Seen<'h>> + Clone,
) -> Count {
    let (from, until) = stretch;
    let mut arrivals: Vec<(u64, usize)> =
        calls.clone().filter_map(|seen| seen.view.arrival(history.events())).filter(|(at, _)| *at < until).collect();
    let quota = rule.quota.saturating_mul(rule.fillings);
    let length = seconds(until.saturating_sub(from)).max(1e-9);
    let synced = if rule.sync_s > 0.0 { count(len(calls.clone().count())) / length * rule.sync_s } else { 0.0 };
    let admitted = len(arrivals.len());
    let mut limit = count(quota) + synced;
    if count(admitted) <= limit {
        return Count { admitted, limit, over: Vec::new() };
    }
    arrivals.sort_unstable();
    limit += count(in_flight(&arrivals, quota, calls));
    let over = arrivals.iter().enumerate().find(|(index, _)| count(len(*index).saturating_add(1)) > limit);
    let over = match (over, arrivals.last()) {
        (Some((_, (_, first))), Some((_, last))) => {
            let mut events = vec![history.reference(mark), history.reference(*first)];
            if first != last {
                events.push(history.reference(*last));
            }
            events
        }
        _ => Vec::new(),
    };
    Count { admitted, limit, over }
}

/// The most requests in flight at once while the last fifth of `quota` was being spent.
fn in_flight<'a, 'h: 'a>(arrivals: &[(u64, usize)], quota: u64, calls: impl Iterator<Item = &'a Seen<'h>>) -> u64 {
    let position = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let from = arrivals.get(position(quota.saturating_sub(quota / 5))).map_or(0, |(at, _)| *at);
    let to = arrivals.get(position(quota)).map_or(u64::MAX, |(at, _)| *at);
    let (mut sent, mut ended): (Vec<u64>, Vec<u64>) = calls.map(|seen| (seen.sent, seen.ended())).unzip();
    sent.sort_unstable();
    ended.sort_unstable();
    let open_at = |at: u64| {
        let begun = sent.partition_point(|sent| *sent <= at);
        begun.saturating_sub(ended.partition_point(|ended| *ended < at))
    };
    let begin = sent.partition_point(|at| *at < from);
    let end = sent.partition_point(|at| *at <= to);
    let peak = sent.get(begin..end).unwrap_or_default().iter().map(|at| open_at(*at)).max();
    len(peak.unwrap_or_default().max(open_at(from)))
}

/// `harness-late`, if the harness was later than a tenth of its window in a round that was not repeated.
pub(super) fn late_round(history: &History, rounds: &[Round<'_>]) -> Option<Reason> {
    let judged = rounds.iter().filter(|round| round.clean && !round.repeated);
    judged
        .filter_map(|round| late_doubt(history, Duration::from_nanos(round.window), round.first_sent, round.sure))
        .next()
}
