//! CAC-05: how many requests for one resource are at the upstream at the same time, when many ask for what is not in the cache?

use super::record::{Record, Use};
use super::{BURST, HTTP_CACHE};
use crate::claims::common::{count, doubt, len, record_doubt, unless};
use crate::claims::stalls::{STALL_NEAR, Stalls};
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use std::collections::BTreeSet;

/// Least number of requests in bursts.
pub(super) const MINIMUM: u64 = 100;
/// Least number of bursts that found nothing in the cache.
const BURSTS: usize = 2;
/// Least share of a burst that must have been sent before the first of it was answered, in percent.
const TOGETHER: u64 = 80;

pub(super) const AT_A_TIME: &str = "backend calls at a time, beyond K";

struct Burst<'r> {
    resource: Name,
    wanted: u64,
    uses: Vec<&'r Use>,
}

impl Burst<'_> {
    /// Requests that were at the upstream, from arrival to answer, ns. One that was never answered was there for a moment: more is not known.
    fn calls(&self) -> Vec<(u64, u64)> {
        let calls = self.uses.iter().filter_map(|one| {
            let arrived = one.arrived?;
            Some((arrived, one.ended.filter(|_| one.status != 0).unwrap_or(arrived)))
        });
        calls.collect()
    }

    fn most_at_a_time(&self) -> u64 {
        let calls = self.calls();
        let at = |time: u64| len(calls.iter().filter(|(from, to)| (*from..=*to).contains(&time)).count());
        calls.iter().map(|(from, _)| at(*from)).max().unwrap_or_default()
    }

    /// Whether nearly all were sent before any of those that went to the upstream was answered: nobody found in the cache what came later.
    fn is_together(&self) -> bool {
        let first = self.calls().iter().map(|(_, to)| *to).min().unwrap_or_default();
        let before = len(self.uses.iter().filter(|one| one.sent <= first).count());
        before.saturating_mul(100) >= self.wanted.saturating_mul(TOGETHER)
    }

    /// From the first request to the last answer, ns.
    fn span(&self) -> Option<(u64, u64)> {
        let from = self.uses.iter().map(|one| one.sent).min()?;
        Some((from, self.uses.iter().filter_map(|one| one.ended).max().unwrap_or(from)))
    }

    fn replicas(&self) -> u64 {
        len(self.uses.iter().map(|one| one.target).collect::<BTreeSet<_>>().len())
    }
}

/// At most K calls for one resource at a time.
pub(super) fn cac_05(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(HTTP_CACHE) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    let marks: Vec<(u64, Name, i64)> =
        history.marks(BURST).map(|(at, resource, wanted, _)| (at, resource, wanted)).collect();
    let bursts: Vec<Burst<'_>> = marks
        .iter()
        .enumerate()
        .map(|(number, (from, resource, wanted))| {
            let to = marks.get(number.saturating_add(1)).map_or(u64::MAX, |(at, ..)| *at);
            let within = |one: &&Use| one.resource == *resource && (*from..to).contains(&one.sent);
            let uses = record.uses().filter(within).collect();
            Burst { resource: *resource, wanted: u64::try_from(*wanted).unwrap_or_default(), uses }
        })
        .collect();
    let asked = scope.parameters.number("calls");
    let stalls = Stalls::of(history);
    let mut excused = 0_usize;
    let (mut samples, mut judged, mut apart) = (0_u64, 0_usize, 0_usize);
    let mut worst: Option<(f64, u64, u64, String, Vec<EventRef>)> = None;
    let (mut most, mut all) = (0_u64, 0_u64);
    for burst in bursts.iter().filter(|burst| !burst.calls().is_empty()) {
        let at_a_time = burst.most_at_a_time();
        let allowed = if asked > 0.0 { asked } else { count(burst.replicas()) };
        // Without its store nobody has anything to wait for, and one that seemed lost while the machine stood still is as good as lost.
        if count(at_a_time) > allowed && burst.span().is_some_and(|(from, to)| stalls.touch(from, to, STALL_NEAR)) {
            excused = excused.saturating_add(1);
            continue;
        }
        most = most.max(at_a_time);
        all = all.saturating_add(len(burst.calls().len()));
        let beyond = (count(at_a_time) - allowed).max(0.0);
        if worst.as_ref().is_none_or(|(known, ..)| beyond > *known) {
            let calls = burst.uses.iter().filter(|one| one.arrived.is_some());
            let events = calls.take(3).map(|one| history.reference(one.event)).collect();
            worst = Some((beyond, at_a_time, len(burst.uses.len()), history.text(burst.resource).to_owned(), events));
        }
        if !burst.is_together() {
            apart = apart.saturating_add(1);
            continue;
        }
        judged = judged.saturating_add(1);
        samples = samples.saturating_add(len(burst.uses.len()));
    }
    let beyond = worst.as_ref().map_or(0.0, |(beyond, ..)| *beyond);
    let numbers = vec![
        Number::new(AT_A_TIME, beyond, "calls").limit(0.0),
        Number::new("most backend calls for one resource at a time", count(most), "calls"),
        Number::new("backend calls of all bursts", count(all), "calls"),
        Number::new("bursts that found nothing in the cache", count(len(judged)), ""),
    ];
    if let Some((_, at_a_time, of, resource, events)) = worst.filter(|(beyond, ..)| *beyond > 0.0) {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let explanation =
            format!("of {of} concurrent requests for `{resource}`, {at_a_time} were at the upstream at the same time");
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    if judged < BURSTS {
        let text = format!(
            "{judged} bursts found nothing in the cache and were sent at a moment, {apart} more were not, {excused} more met a machine that stood still; {BURSTS} are needed"
        );
        let code = match (excused, apart) {
            (0, 0) => "too-few-samples",
            (0, _) => "harness-late",
            _ => "machine-busy",
        };
        let missing = Reason::new(code, text);
        return Verdict::Inconclusive(doubt(history).unwrap_or(missing));
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history))
}
