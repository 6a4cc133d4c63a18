//! CAC-02: is what is served again fresh, what was asked for, and as old as it says?
//!
//! How old it is, is counted from its arrival at the upstream to the sending of the request that it answers: both by the harness' own clock, and never longer than
//! it was. What was made for another operation must have been made for one that asked for the same representation of the same resource.

use super::record::{Record, Use};
use crate::claims::common::{count, decided_by, doubt, ms, nanos, seconds, unless};
use crate::claims::lives::Offences;
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use std::collections::BTreeSet;

/// Least number of answers that were looked at.
pub(super) const MINIMUM: u64 = 50;

pub(super) const TOO_OLD: &str = "served beyond what it may be";
pub(super) const NOT_FOR_KEEPS: &str = "served again though it may never be";
pub(super) const MIXED_UP: &str = "answered with something else than was asked for";
pub(super) const WRONG_AGE: &str = "with an Age that is wrong, or without";
const NAMES: [&str; 4] = [TOO_OLD, NOT_FOR_KEEPS, MIXED_UP, WRONG_AGE];

#[derive(Default)]
struct Found {
    samples: u64,
    offences: [Offences; 4],
    told: [String; 4],
    /// By how much the oldest was older than it may be, ns.
    beyond: u64,
    /// Kinds that were served again, that were fetched again after they had expired, and that were asked for at all.
    again: BTreeSet<&'static str>,
    expired: BTreeSet<&'static str>,
    asked: BTreeSet<&'static str>,
    hits: u64,
}

struct Rule {
    ttl: u64,
    grain: u64,
}

/// Nothing stale, nothing else, nothing that may not be kept.
pub(super) fn cac_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(super::HTTP_CACHE) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    let rule = Rule { ttl: nanos(scope.parameters.duration("ttl")), grain: nanos(scope.parameters.latency("grain")) };
    let mut found = Found::default();
    // What is one client's, whoever gets it, is CAC-03's.
    for one in record.uses().filter(|one| !one.kind.is_owned() && one.status != 0) {
        found.judge(&record, &rule, one);
    }
    found.expiries(&record, &rule);
    found.verdict(&record, &rule)
}

/// For how long a response of the kind may be served again, ns.
fn fresh_for(rule: &Rule, one: &Use) -> u64 {
    one.kind.fresh_s.saturating_mul(1_000_000_000).min(rule.ttl)
}

impl Found {
    fn offend(&mut self, record: &Record<'_>, which: usize, one: &Use, told: impl FnOnce() -> String) {
        if let (Some(offences), Some(words)) = (self.offences.get_mut(which), self.told.get_mut(which)) {
            if offences.count == 0 {
                *words = told();
            }
            offences.add(record.history, one.event);
        }
    }

    fn judge(&mut self, record: &Record<'_>, rule: &Rule, one: &Use) {
        // The gateway's own answer (it has no body of the upstream's) is no response that was kept.
        if one.made_for.is_none() {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.asked.insert(one.kind.name);
        let Some(another) = record.made_for_another(one) else { return };
        let words = || record.words(one);
        if another.resource != one.resource {
            let got = record.history.text(another.resource);
            self.offend(record, 2, one, || format!("{} was answered with `{got}` (operation {})", words(), another.op));
            return;
        }
        if one.kind.fresh_s == 0 {
            let status = one.status;
            self.offend(record, 1, one, || {
                format!("{} was answered {status} with what was made for operation {}", words(), another.op)
            });
            return;
        }
        let Some(made) = another.arrived else { return };
        self.hits = self.hits.saturating_add(1);
        self.again.insert(one.kind.name);
        let (age, allowed) = (one.sent.saturating_sub(made), fresh_for(rule, one));
        self.beyond = self.beyond.max(age.saturating_sub(allowed));
        if age > allowed.saturating_add(rule.grain) {
            let (age, allowed) = (seconds(age), seconds(allowed));
            self.offend(record, 0, one, || {
                format!("{} was answered with what was {age:.3} s old; {allowed:.3} s are allowed", words())
            });
        }
        // Shortest and longest that it can have been there, when the answer was made.
        let shortest = one.sent.saturating_sub(another.ended.unwrap_or(one.sent));
        let longest = one.ended.unwrap_or(one.sent).saturating_sub(made);
        let told = one.age_s.and_then(|age| u64::try_from(age).ok()).map(|age| age.saturating_mul(1_000_000_000));
        let right = told.is_some_and(|told| {
            told.saturating_add(rule.grain) >= shortest && told <= longest.saturating_add(rule.grain)
        });
        // Somebody who waited for the other's answer got it as it came: that is no answer from the cache.
        let waited = another.ended.is_none_or(|ended| one.sent < ended);
        if !(right || waited && told.is_none()) {
            let said = one.age_s.map_or("no Age".to_owned(), |age| format!("Age {age}"));
            let (shortest, longest) = (seconds(shortest), seconds(longest));
            self.offend(record, 3, one, || {
                format!("{} came with {said} and was {shortest:.3} to {longest:.3} s old", words())
            });
        }
    }

    /// Which kinds were asked for anew after they had expired.
    fn expiries(&mut self, record: &Record<'_>, rule: &Rule) {
        let mut last: std::collections::BTreeMap<Name, u64> = std::collections::BTreeMap::new();
        for one in record.uses().filter(|one| one.kind.fresh_s > 0) {
            let Some(arrived) = one.arrived else { continue };
            let before = last.insert(one.resource, arrived);
            if before.is_some_and(|before| arrived >= before.saturating_add(fresh_for(rule, one))) {
                self.expired.insert(one.kind.name);
            }
        }
    }

    fn verdict(self, record: &Record<'_>, rule: &Rule) -> Verdict {
        let of = |which: usize| count(self.offences.get(which).map_or(0, |offences| offences.count));
        let mut numbers: Vec<Number> = NAMES
            .iter()
            .enumerate()
            .map(|(which, name)| Number::new(*name, of(which), "responses").limit(0.0))
            .collect();
        numbers.push(Number::new("older than it may be by at most", ms(self.beyond), "ms").limit(ms(rule.grain)));
        numbers.push(Number::new("answers that had been made for another request", count(self.hits), "responses"));
        let broken: Vec<usize> =
            (0..NAMES.len()).filter(|which| self.offences.get(*which).is_some_and(|all| all.count > 0)).collect();
        let samples = self.samples;
        if let Some(first) = broken.first() {
            let numbers = decided_by(numbers, NAMES.get(*first).copied().unwrap_or_default());
            let words: Vec<String> = broken
                .iter()
                .filter_map(|which| self.offences.get(*which).zip(self.told.get(*which)))
                .map(|(offences, told)| format!("{told} ({} such answers)", offences.count))
                .collect();
            let mut events: Vec<_> = broken
                .iter()
                .filter_map(|which| self.offences.get(*which))
                .flat_map(|offences| offences.events.clone())
                .collect();
            events.truncate(3);
            return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
        }
        let missing = self.missing();
        let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
        unless(held, doubt(record.history).or(missing))
    }

    /// What was not seen of what the claim is about.
    fn missing(&self) -> Option<Reason> {
        use super::kinds::{EXPIRING, NEVER, POLICY, QUERY, VARY};
        let few = |text: String| Some(Reason::new("too-few-samples", text));
        let again = [POLICY, VARY, QUERY];
        if let Some(never) = NEVER.iter().find(|kind| !self.asked.contains(kind.name)) {
            return few(format!("nobody asked for `{}`", never.name));
        }
        if let Some(kind) = EXPIRING.iter().chain(&again).find(|kind| !self.again.contains(kind.name)) {
            return few(format!("`{}` was never seen to be served again", kind.name));
        }
        let expiring = EXPIRING.iter().chain([&POLICY]);
        if let Some(kind) = expiring.into_iter().find(|kind| !self.expired.contains(kind.name)) {
            return few(format!("`{}` was never seen to expire", kind.name));
        }
        None
    }
}
