//! CAC-01: does what one replica keeps serve at the others, and after restarts?
//!
//! An entry must be there from the end of the answer that it came with until nine tenths of the policy's TTL have passed since it was made. A request for it in that time which
//! arrives at the upstream missed it; a few may, for a cache may drop an entry.

use super::record::{Record, Use};
use super::{HTTP_CACHE, SHARED};
use crate::claims::common::{
    Phase, count, decided_by, doubt, judged, late_doubt, nanos, phase, phases, record_doubt, unless,
};
use crate::claims::lives::{Lives, Offences};
use crate::claims::stalls::{STALL_NEAR, Stalls};
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Least number of requests for what must be there.
pub(super) const MINIMUM: u64 = 50;
/// Least number after a restart.
const AFTER_RESTART: u64 = 10;
/// A harness that stands still for a tenth of this may be why a store seemed lost for a moment.
pub(crate) const STALL: Duration = Duration::from_millis(600);

pub(super) const ELSEWHERE: &str = "missed at another replica";
pub(super) const RESTARTED: &str = "missed after a restart";

/// Requests of one class.
#[derive(Default)]
struct Class {
    asked: u64,
    missed: Offences,
    told: String,
    /// Missed where the machine stood still: that shows nothing.
    excused: u64,
}

impl Class {
    fn percent(&self) -> f64 {
        if self.asked == 0 { 0.0 } else { count(self.missed.count) * 100.0 / count(self.asked) }
    }

    fn add(&mut self, record: &Record<'_>, stalls: &Stalls, one: &Use, first: &Use) {
        // Not kept because the store seemed lost when it came, or not found because it seems so now.
        let touched = || {
            stalls.touch(first.sent, first.sent, STALL_NEAR)
                || stalls.touch(one.sent, one.ended.unwrap_or(one.sent), STALL_NEAR)
        };
        if one.arrived.is_some() && touched() {
            self.excused = self.excused.saturating_add(1);
            return;
        }
        self.asked = self.asked.saturating_add(1);
        if one.arrived.is_none() {
            return;
        }
        if self.missed.count == 0 {
            let at = record.history.text(first.target);
            self.told = format!(
                "{} went to the upstream, though operation {} had brought it to `{at}`",
                record.words(one),
                first.op
            );
        }
        self.missed.add(record.history, one.event);
    }
}

/// An entry stored via one replica is served via another, and after restarts.
pub(super) fn cac_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(HTTP_CACHE) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    let lives = Lives::new(history);
    let phases = phases(history);
    let parts: Vec<Phase> = SHARED
        .iter()
        .filter_map(|variant| phase(history, &phases, "hold", variant))
        .map(|part| judged(history, part))
        .collect();
    let ttl = nanos(scope.parameters.duration("ttl"));
    let lasts = ttl.saturating_sub(ttl / 10);
    let stalls = Stalls::of(history);
    let (mut elsewhere, mut restarted) = (Class::default(), Class::default());
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    let mut brought: BTreeMap<Name, Use> = BTreeMap::new();
    let inside = |one: &&Use| parts.iter().any(|part| (part.from..part.to).contains(&one.sent));
    for one in record.uses().filter(|one| one.kind == super::kinds::EVERYWHERE).filter(inside) {
        let known = brought.get(&one.resource).copied();
        if let Some(first) = known
            && let (Some(made), Some(kept)) = (first.arrived, first.ended)
            && one.sent >= kept
            && one.is_success()
            && one.ended.is_some_and(|ended| ended <= made.saturating_add(lasts))
        {
            if lives.starts(one.target, kept, one.sent).next().is_some() {
                restarted.add(&record, &stalls, one, &first);
            } else if one.target != first.target {
                elsewhere.add(&record, &stalls, one, &first);
                seen.insert(one.target);
            }
        }
        if one.arrived.is_some() && one.is_success() {
            brought.insert(one.resource, *one);
        }
    }
    let limit = scope.parameters.number("missed");
    let samples = elsewhere.asked.saturating_add(restarted.asked);
    let numbers = vec![
        Number::new(ELSEWHERE, elsewhere.percent(), "%").limit(limit),
        Number::new(RESTARTED, restarted.percent(), "%").limit(limit),
        Number::new("asked at another replica", count(elsewhere.asked), "requests"),
        Number::new("asked after a restart", count(restarted.asked), "requests"),
        Number::new(
            "missed while the machine stood still",
            count(elsewhere.excused.saturating_add(restarted.excused)),
            "requests",
        ),
    ];
    let late = || parts.iter().find_map(|part| late_doubt(history, STALL, part.from, part.to));
    let broken: Vec<(&str, &Class)> = [(ELSEWHERE, &elsewhere), (RESTARTED, &restarted)]
        .into_iter()
        .filter(|(_, class)| class.percent() > limit)
        .collect();
    if let Some((decided, _)) = broken.first() {
        // What did not arrive would not be missed: a record with holes accuses nobody, nor does a machine that stood still.
        if let Some(doubt) = record_doubt(history).or_else(late) {
            return Verdict::Inconclusive(doubt);
        }
        let told: Vec<String> = broken
            .iter()
            .map(|(_, class)| format!("{} ({} of {} such requests)", class.told, class.missed.count, class.asked))
            .collect();
        let mut events: Vec<_> = broken.iter().flat_map(|(_, class)| class.missed.events.clone()).collect();
        events.truncate(3);
        let numbers = decided_by(numbers, decided);
        return Verdict::Violated(Counterexample { explanation: told.join("; "), events, samples, numbers });
    }
    let excused = elsewhere.excused.saturating_add(restarted.excused);
    if excused > 0 && samples < MINIMUM {
        let text =
            format!("{excused} requests for what must be there met a machine that stood still, {samples} did not");
        return Verdict::inconclusive("machine-busy", text);
    }
    let missing = || {
        let code = if excused > 0 { "machine-busy" } else { "too-few-samples" };
        let few = |text: String| Some(Reason::new(code, text));
        if restarted.asked < AFTER_RESTART {
            return few(format!(
                "{} requests for what must be there after a restart; {AFTER_RESTART} are needed",
                restarted.asked
            ));
        }
        let several = scope.deployment.sites.iter().filter(|site| site.replicas >= 2);
        let never = several
            .flat_map(gatecrash_model::deployment::Site::replica_names)
            .find(|replica| !history.name(replica).is_some_and(|name| seen.contains(&name)));
        never.and_then(|replica| few(format!("`{replica}` was never asked for what another one had brought")))
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or_else(missing))
}
