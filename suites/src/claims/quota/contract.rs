//! QUO-08: is what a client is told of its window true, and does a reset restore the whole of it?
//!
//! Everything is judged by what answers told (`Remaining`, the time to the reset, `Retry-After`), not by when the harness thinks that
//! a window ends. A told time counts from some moment between the sending of its request and its answer.

use super::marks::QUOTA_WINDOW_MS;
use super::rounds::{STARVED_NEAR_NS, starved};
use super::{AT_ONCE, LONE, TOLD};
use crate::claims::common::{Seen, count, decided_by, doubt, late_doubt, nanos, record_doubt, seconds, stream, unless};
use crate::claims::configuration::{telling, words};
use crate::claims::stalls::Stalls;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::{mark, told};
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least number of resets after which a client came back.
pub(super) const MINIMUM: u64 = 3;
/// So many grains of what is told must fit into a window: quotas are spent on both sides of an edge, and near enough to it that it is known on which.
const COARSE: u64 = 8;
/// A harness later than a tenth of this makes a store that answers in time look lost: then replicas may count by themselves.
const STEADY: Duration = Duration::from_millis(800);

/// What the headers of one answer told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    remaining: Option<u64>,
    reset: Option<u64>,
    /// By how much the reset may be told too late or too early.
    grain: u64,
    retry_after: Option<u64>,
}

/// What was told, by operation; times in ns.
fn told(history: &History) -> BTreeMap<u32, Told> {
    let mut all: BTreeMap<u32, Told> = BTreeMap::new();
    for name in [told::REMAINING, told::RESET_MS, told::GRAIN_MS, told::RETRY_AFTER_MS] {
        for (_, op, value, _) in history.marks(name) {
            let (Ok(op), Ok(value)) = (history.text(op).parse(), u64::try_from(value)) else { continue };
            let told: &mut Told = all.entry(op).or_default();
            match name {
                told::REMAINING => told.remaining = Some(value),
                told::RESET_MS => told.reset = Some(value.saturating_mul(1_000_000)),
                told::GRAIN_MS => told.grain = value.saturating_mul(1_000_000),
                _ => told.retry_after = Some(value.saturating_mul(1_000_000)),
            }
        }
    }
    all
}

/// What one client did, in order.
#[derive(Default)]
struct Client<'h> {
    lone: Vec<(Seen<'h>, Told)>,
    at_once: Vec<Seen<'h>>,
    /// Arrivals of both, ns.
    arrived: Vec<u64>,
    window: u64,
    /// Whether it was told again by another client, because the machine stood still.
    repeated: bool,
}

fn clients(history: &History) -> BTreeMap<Name, Client<'_>> {
    let told = told(history);
    let mut clients: BTreeMap<Name, Client<'_>> = BTreeMap::new();
    for seen in stream(history, LONE) {
        let client = clients.entry(seen.asked.key).or_default();
        client.arrived.extend(seen.arrived);
        client.lone.push((seen, told.get(&seen.view.op).copied().unwrap_or_default()));
    }
    for seen in stream(history, AT_ONCE) {
        let client = clients.entry(seen.asked.key).or_default();
        client.arrived.extend(seen.arrived);
        client.at_once.push(seen);
    }
    for (_, key, value, _) in history.marks(QUOTA_WINDOW_MS) {
        if let Some(client) = clients.get_mut(&key) {
            client.window = u64::try_from(value).unwrap_or_default().saturating_mul(1_000_000);
        }
    }
    for (_, key, ..) in history.marks(mark::PROLONGED) {
        if let Some(client) = clients.get_mut(&key) {
            client.repeated = true;
        }
    }
    for client in clients.values_mut() {
        client.arrived.sort_unstable();
        client.lone.sort_unstable_by_key(|(seen, _)| seen.sent);
        client.at_once.sort_unstable_by_key(|seen| seen.sent);
    }
    clients
}

const INVITED: &str = "rejected although Remaining was not 0";
const STATUS: &str = "rejected with another status";
const EARLY: &str = "admitted before the reset that a rejection told";
const LATE: &str = "rejected after the reset that a rejection told";
const RETRY: &str = "Retry-After before the reset";
const RESTORED: &str = "resets that restored less than Q";
const EDGE: &str = "most admitted around an edge";

/// What was found over all clients.
struct Found {
    quota: u64,
    e: u64,
    reject: u16,
    /// How many of each kind, and the first with its events.
    broken: BTreeMap<&'static str, (u64, String, Vec<EventRef>)>,
    /// Whether the machine stood still near the requests of the client that is read, for so long that a store which is fine can seem lost:
    /// its replica may have counted by itself then.
    starved: bool,
    /// Whether the client that is read was told again: it is there that what a replica tells is judged.
    repeated: bool,
    /// The client of which only that the machine stood still explains what was seen.
    excused: Option<Name>,
    /// Grain and window of a client that was told of resets too coarsely to say anything.
    too_coarse: Option<(u64, u64)>,
    edge: u64,
    resets: u64,
    remaining: u64,
    restored: u64,
}

impl Found {
    fn broke(&mut self, history: &History, kind: &'static str, seen: &Seen<'_>, what: &str) {
        // Whoever counts by itself still answers as declared, and tells the one time as the other.
        if ![STATUS, RETRY].contains(&kind) && self.excuses(seen) {
            return;
        }
        let (times, first, events) = self.broken.entry(kind).or_default();
        *times = times.saturating_add(1);
        if first.is_empty() {
            *first = format!("{} {what}", words(history, seen));
        }
        if events.len() < 3 {
            events.push(history.reference(telling(seen)));
        }
    }

    fn rejected(&self, seen: &Seen<'_>) -> bool {
        seen.status() == self.reject && seen.arrived.is_none()
    }

    /// Whether what the client of `seen` shows may be what a replica counted by itself; notes whom nobody was told again for.
    fn excuses(&mut self, seen: &Seen<'_>) -> bool {
        if self.starved && !self.repeated {
            self.excused.get_or_insert(seen.asked.key);
        }
        self.starved || self.repeated
    }

    fn read(&mut self, history: &History, client: &Client<'_>) {
        for seen in client.lone.iter().map(|(seen, _)| seen).chain(&client.at_once) {
            let status = seen.status();
            if (400..500).contains(&status) && status != self.reject && seen.arrived.is_none() {
                self.broke(history, STATUS, seen, &format!("where {} is declared", self.reject));
            }
        }
        self.remaining_is_true(history, client);
        for (index, (seen, told)) in client.lone.iter().enumerate() {
            let Some(reset) = told.reset else { continue };
            if told.grain.saturating_mul(COARSE) > client.window {
                self.too_coarse = Some((told.grain, client.window));
                continue;
            }
            self.edge_of(client, seen, reset, told.grain);
            if !self.rejected(seen) {
                continue;
            }
            if let Some(retry_after) = told.retry_after
                && retry_after.saturating_add(self.e).saturating_add(told.grain) < reset
            {
                self.broke(history, RETRY, seen, "told to come again before its window ends");
            }
            self.reset_is_true(history, client, index, (reset, told.grain));
        }
    }

    fn remaining_is_true(&mut self, history: &History, client: &Client<'_>) {
        for pair in client.lone.windows(2) {
            let [(seen, told), (next, _)] = pair else { continue };
            let (Some(remaining), Some(reset)) = (told.remaining, told.reset) else { continue };
            let alone = client.at_once.partition_point(|it| it.sent < seen.sent)
                == client.at_once.partition_point(|it| it.sent < next.ended());
            if !alone || next.ended() >= seen.sent.saturating_add(reset.saturating_sub(told.grain)) {
                continue;
            }
            self.remaining = self.remaining.saturating_add(1);
            if remaining > 0 && self.rejected(next) {
                self.broke(history, INVITED, next, &format!("although {remaining} were told to remain"));
            }
        }
    }

    /// What came before and after the reset that the rejection at `index` told, to the grain.
    fn reset_is_true(&mut self, history: &History, client: &Client<'_>, index: usize, (reset, grain): (u64, u64)) {
        let Some((told_by, _)) = client.lone.get(index) else { return };
        let earliest = told_by.sent.saturating_add(reset).saturating_sub(grain);
        let latest = told_by.ended().saturating_add(reset).saturating_add(grain);
        let later = client.lone.get(index.saturating_add(1)..).unwrap_or_default();
        // One is enough to tell: those between a rejection and the next are looked at by the next.
        if let Some((next, _)) = later.first()
            && next.arrived.is_some_and(|arrived| arrived.saturating_add(self.e) < earliest)
        {
            self.broke(history, EARLY, next, "while rejections said that the window goes on");
        }
        let back = later.first().filter(|(next, _)| next.sent >= latest.saturating_add(self.e));
        let Some((back, told)) = back else { return };
        self.resets = self.resets.saturating_add(1);
        if self.rejected(back) {
            self.broke(history, LATE, back, "came after the time that it was told");
            return;
        }
        let Some(until) = told.reset.map(|reset| back.sent.saturating_add(reset.saturating_sub(told.grain))) else {
            return;
        };
        let from = client.at_once.partition_point(|it| it.sent < back.ended());
        let burst = client.at_once.get(from..).unwrap_or_default();
        let inside = burst.iter().take_while(|it| it.sent < until).filter(|it| it.ended() < until);
        let (mut admitted, mut rejected, mut asked) = (u64::from(back.arrived.is_some()), None, 1_u64);
        for seen in inside {
            asked = asked.saturating_add(1);
            admitted = admitted.saturating_add(u64::from(!self.rejected(seen)));
            if self.rejected(seen) {
                rejected = rejected.or(Some(seen));
            }
        }
        if asked < self.quota {
            return;
        }
        self.restored = self.restored.saturating_add(1);
        if let Some(seen) = rejected.filter(|_| admitted < self.quota) {
            self.broke(
                history,
                RESTORED,
                seen,
                &format!("after {admitted} of {} in a window that had just begun", self.quota),
            );
        }
    }

    /// What may be admitted around an edge: the end of one window and the beginning of the next.
    fn most(&self) -> u64 {
        self.quota.saturating_mul(2)
    }

    /// Admitted within half a window before and after an edge that was told: less of both for what is not known of the edge.
    fn edge_of(&mut self, client: &Client<'_>, seen: &Seen<'_>, reset: u64, grain: u64) {
        let half = (client.window / 2).saturating_sub(grain);
        let from = seen.ended().saturating_add(reset).saturating_sub(half);
        let to = seen.sent.saturating_add(reset).saturating_add(half);
        let before = |at: u64| client.arrived.partition_point(|arrived| *arrived < at);
        let admitted = before(to).saturating_sub(before(from));
        let admitted = u64::try_from(admitted).unwrap_or(u64::MAX);
        if admitted <= self.most() || !self.excuses(seen) {
            self.edge = self.edge.max(admitted);
        }
    }
}

pub(super) fn quo_08(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(TOLD) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let quota = u64::from(scope.deployment.quota.limit);
    let declared = scope.parameters.number("reject_status");
    let mut found = Found {
        quota,
        e: nanos(scope.parameters.latency("e")),
        reject: (400..=599_u16).find(|status| (f64::from(*status) - declared).abs() < 0.5).unwrap_or(429),
        broken: BTreeMap::new(),
        starved: false,
        repeated: false,
        excused: None,
        too_coarse: None,
        edge: 0,
        resets: 0,
        remaining: 0,
        restored: 0,
    };
    let clients = clients(history);
    let stalls = if scope.deployment.store.is_some() { Stalls::of(history) } else { Stalls::default() };
    for client in clients.values() {
        let mut asked = client.lone.iter().map(|(seen, _)| seen).chain(&client.at_once);
        found.starved = asked.any(|seen| stalls.touch(seen.sent, seen.ended(), STARVED_NEAR_NS));
        found.repeated = client.repeated;
        found.read(history, client);
    }
    let most = found.most();
    if found.edge > most {
        let events = history.others().next().map(|(event, _)| history.reference(event));
        let words = format!("{} were admitted within one window around an edge", found.edge);
        found.broken.insert(EDGE, (1, words, events.into_iter().collect()));
    }
    let times = |kind: &str| count(found.broken.get(kind).map_or(0, |(times, ..)| *times));
    let mut numbers = vec![Number::new(EDGE, count(found.edge), "requests").limit(count(most))];
    for kind in [LATE, EARLY, INVITED, STATUS, RETRY, RESTORED] {
        numbers.push(Number::new(kind, times(kind), "").limit(0.0));
    }
    numbers.push(Number::new("resets after which a client came back", count(found.resets), ""));
    numbers.push(Number::new("of them with the whole of Q asked for", count(found.restored), ""));
    numbers.push(Number::new("requests after a told Remaining", count(found.remaining), ""));
    let samples = found.resets;
    let late = || late_doubt(history, STEADY, 0, u64::MAX);
    if let Some(decided) = found.broken.keys().next().copied() {
        // A wrong status is one, however busy the machine was.
        if !found.broken.contains_key(STATUS)
            && let Some(reason) = record_doubt(history).or_else(late)
        {
            return Verdict::Inconclusive(reason);
        }
        let numbers = decided_by(numbers, decided);
        let words: Vec<String> =
            found.broken.values().map(|(times, first, _)| format!("{times} times: {first}")).collect();
        let mut events: Vec<EventRef> = found.broken.into_values().flat_map(|(_, _, events)| events).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let few = |text: &str| Some(Reason::new("too-few-samples", text));
    if let Some((grain, window)) = found.too_coarse {
        let (grain, window) = (seconds(grain), seconds(window));
        return Verdict::Inconclusive(Reason::new(
            "too-few-samples",
            format!(
                "resets are told in whole numbers of {grain} s, and a window lasts {window} s: too coarse to say anything; at a larger scale, or with a longer window, it would not be"
            ),
        ));
    }
    let missing = if found.remaining == 0 {
        few("no answer told how much remains, or none was followed by another request in its window")
    } else if found.restored == 0 {
        few("the whole quota was never asked for after a reset")
    } else if found.edge <= quota {
        few("no more than one quota was asked for around an edge")
    } else {
        None
    };
    let notes = vec![
        "not seen: a clock that jumps at one replica; an over-quota answer kept by a cache".to_owned(),
        "each client is alone on its key and at one replica: Remaining over several replicas is an estimate".to_owned(),
    ];
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    let busy = found.excused.map(|key| starved(history, &format!("key `{}`", history.text(key))));
    unless(held, doubt(history).or(busy).or(missing))
}

#[cfg(test)]
mod tests;
