//! TOK-08: where gateways check tokens with keys that the identity provider publishes, does a rotation of these keys, or an outage of the
//! provider, lose a token that is valid, or let one in that is not?
//!
//! T is how long fetched keys are fresh, as the story set it, and a margin for fetching them. A key must be in use T after it was published, and
//! out of use T after it was removed; both count from the answer of the provider, and from the heal where a replica could not reach the provider
//! meanwhile. In between each valid token of a key that has to be in use is accepted, also while the provider is away, however old the keys are by then. A
//! replica that was started without the provider has no key: it says 5xx, not 401 (RFC 6750 section 3), until the provider is back. What nobody can have
//! checked is accepted nowhere: a key that is published while no replica reaches the provider, and what no key signed.
//!
//! A use counts by when it was really sent, so a late harness shortens nothing; what it does not send is missing, and then missed below.

use super::MINIMUM_KEYS;
use super::revocation::Use;
use crate::claims::common::{FaultWindow, count, decided_by, doubt, faults, nanos, seconds, unless};
use crate::claims::lives::{Decision, Lives, Offences, touches};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::IDENTITY;
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Verb, stream};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// What can be wrong, the gravest first; so they are called in the numbers.
const NAMES: [&str; 7] = [UNCHECKED, FORGED, REMOVED, LOST, AWAY, CALLED_BAD, LATE];
const UNCHECKED: &str = "accepted by a key that nobody could have";
const FORGED: &str = "accepted with a forged signature";
const REMOVED: &str = "accepted later after their key was removed than T";
const LOST: &str = "valid and not accepted, their key being in use";
const AWAY: &str = "valid and not accepted while the provider was away";
const CALLED_BAD: &str = "valid and called invalid by a replica without keys";
const LATE: &str = "valid and not accepted later after their key was published than T";
/// Positions in [`NAMES`].
const OF_UNCHECKED: usize = 0;
const OF_FORGED: usize = 1;
const OF_REMOVED: usize = 2;
const OF_LOST: usize = 3;
const OF_AWAY: usize = 4;
const OF_CALLED_BAD: usize = 5;
const OF_LATE: usize = 6;

/// What replicas ask for, in the contacts of the provider.
const FETCH: &str = "jwks";

/// What became of one key at the provider, ns.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// When the provider was told to publish it, and when it had: 0 for one that was there from the start.
    publishing: u64,
    published: u64,
    /// The same for its removal; `u64::MAX` if it was not removed.
    removing: u64,
    removed: u64,
}

/// A stretch in which one replica could not reach the provider, ns.
#[derive(Clone, Copy, Debug)]
struct Cut {
    from: u64,
    to: u64,
    proven: bool,
}

/// Replicas at which a part of the rule was seen to hold.
#[derive(Debug, Default)]
struct Seen {
    overlap: Vec<Name>,
    new: Vec<Name>,
    removed: Vec<Name>,
    old_while_away: Vec<Name>,
    new_after: Vec<Name>,
    removed_after: Vec<Name>,
    forged: Vec<Name>,
    without_keys: Vec<Name>,
}

/// What a history says.
struct Record<'h> {
    history: &'h History,
    ttl: u64,
    /// T.
    within: u64,
    /// By number.
    keys: BTreeMap<i64, Life>,
    /// By token and replica, in the order in which they were sent.
    uses: BTreeMap<(Name, Name), Vec<Use>>,
    /// Number of the key of each token; by name.
    key_of: Vec<Option<i64>>,
    /// By replica, in order.
    cuts: BTreeMap<Name, Vec<Cut>>,
    /// Stretches in which no replica could reach the provider, proven.
    common: Vec<(u64, u64)>,
    lives: Lives,
}

/// All uses of the tokens of one key at one replica.
struct At<'a> {
    key: i64,
    life: Life,
    replica: Name,
    cuts: &'a [Cut],
    /// When the replica may refuse.
    not_ready: Vec<(u64, u64)>,
    /// Last start in each cut, and that cut.
    started: Vec<(u64, Cut)>,
}

/// What was found.
#[derive(Default)]
struct Found {
    samples: u64,
    /// Longest time that a new key was refused, and that a removed one was accepted, ns.
    new_lag: u64,
    removed_lag: u64,
    /// Accepts of known keys while the provider was away.
    kept: u64,
    /// Refusals of new keys while the provider was away: 401, and 5xx.
    away_bad: u64,
    away_unknown: u64,
    offences: [Offences; 7],
    told: [String; 7],
    seen: Seen,
}

impl Life {
    const THERE: Self = Self { publishing: 0, published: 0, removing: u64::MAX, removed: u64::MAX };
}

impl<'h> Record<'h> {
    /// `None` if the story does not say for how long keys are fresh.
    fn read(history: &'h History, margin: u64, replicas: &[String]) -> Option<Self> {
        let (_, _, ttl_ms, _) = history.marks(mark::JWKS_TTL).next()?;
        let ttl = u64::try_from(ttl_ms).ok()?.saturating_mul(1_000_000);
        let mut record = Self {
            history,
            ttl,
            within: ttl.saturating_add(margin),
            keys: BTreeMap::new(),
            uses: BTreeMap::new(),
            key_of: vec![None; history.names().len()],
            cuts: BTreeMap::new(),
            common: Vec::new(),
            lives: Lives::new(history),
        };
        for (_, token, number, _) in history.marks(mark::TOKEN_KEY) {
            if let Some(key) = record.key_of.get_mut(token.index()) {
                *key = Some(number);
            }
            record.keys.entry(number).or_insert(Life::THERE);
        }
        type Field = fn(&mut Life) -> &mut u64;
        let fields: [(&str, Field); 4] = [
            (mark::KEY_PUBLISHING, |life| &mut life.publishing),
            (mark::KEY_PUBLISHED, |life| &mut life.published),
            (mark::KEY_REMOVING, |life| &mut life.removing),
            (mark::KEY_REMOVED, |life| &mut life.removed),
        ];
        for (name, field) in fields {
            for (at, _, number, _) in history.marks(name) {
                *field(record.keys.entry(number).or_insert(Life::THERE)) = at;
            }
        }
        record.read_uses();
        record.read_cuts(replicas);
        Some(record)
    }

    fn read_uses(&mut self) {
        let events = self.history.events();
        let wanted = self.history.name(stream::TOKEN);
        for view in self.history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            let known = self.key_of.get(operation.token.index()).copied().flatten().is_some();
            if operation.verb == Verb::Call && Some(operation.stream) == wanted && known {
                self.uses.entry((operation.token, operation.target)).or_default().push(Use::of(view, events));
            }
        }
        for uses in self.uses.values_mut() {
            uses.sort_by_key(|found| found.sent);
        }
    }

    fn read_cuts(&mut self, replicas: &[String]) {
        for fault in faults(self.history) {
            let cut = self.links(&fault);
            let (from, to) = (fault.from, fault.healed.unwrap_or(u64::MAX));
            for replica in &cut {
                self.cuts.entry(*replica).or_default().push(Cut { from, to, proven: fault.proven() });
            }
            let all = replicas.iter().all(|name| self.history.name(name).is_some_and(|name| cut.contains(&name)));
            if fault.proven() && all && !replicas.is_empty() {
                self.common.push((from, to));
            }
        }
        for cuts in self.cuts.values_mut() {
            cuts.sort_by_key(|cut| cut.from);
        }
    }

    /// Replicas whose way to the provider a fault is on.
    fn links(&self, fault: &FaultWindow) -> Vec<Name> {
        let links = self.history.text(fault.target).split(", ");
        let replicas = links.filter_map(|link| link.split_once("->").filter(|(_, to)| *to == IDENTITY));
        replicas.filter_map(|(from, _)| self.history.name(from)).collect()
    }

    fn at(&self, key: i64, replica: Name) -> At<'_> {
        let cuts = self.cuts.get(&replica).map_or(&[][..], Vec::as_slice);
        let started = |cut: &Cut| self.lives.starts(replica, cut.from, cut.to).last().map(|start| (start, *cut));
        At {
            key,
            life: self.keys.get(&key).copied().unwrap_or(Life::THERE),
            replica,
            cuts,
            not_ready: self.lives.not_ready_windows(replica),
            started: cuts.iter().filter_map(started).collect(),
        }
    }

    fn find(&self) -> Found {
        let mut found = Found::default();
        for ((token, replica), uses) in &self.uses {
            let Some(key) = self.key_of.get(token.index()).copied().flatten() else { continue };
            if key < 0 {
                self.forged(&mut found, *token, *replica, uses);
                continue;
            }
            let at = self.at(key, *replica);
            let mut accepted_at = None;
            for one in uses {
                match one.decision {
                    Decision::Accepted => {
                        self.accepted(&mut found, &at, one);
                        accepted_at = Some(one.sent);
                    }
                    Decision::Refused | Decision::ServerError => {
                        let started = self.lives.started_before(*replica, one.sent).unwrap_or_default();
                        accepted_at = accepted_at.filter(|at| *at >= started);
                        self.kept_out(&mut found, &at, one, accepted_at.is_some());
                    }
                    Decision::Undecided => {}
                }
            }
            self.witness(&mut found, &at, uses);
        }
        found
    }

    /// Uses of a token that no key of ours signed.
    fn forged(&self, found: &mut Found, token: Name, replica: Name, uses: &[Use]) {
        for one in uses.iter().filter(|one| one.decision != Decision::Undecided) {
            found.samples = found.samples.saturating_add(1);
            if one.decision == Decision::Accepted {
                let (token, name) = (self.history.text(token), self.history.text(replica));
                let told = || format!("token {token}, which its key did not sign, was accepted at `{name}`");
                found.offend(self.history, OF_FORGED, one, told);
            } else {
                found.seen.forged.push(replica);
            }
        }
    }

    /// A use that was let in.
    fn accepted(&self, found: &mut Found, at: &At<'_>, one: &Use) {
        let At { key, life, .. } = *at;
        let name = self.history.text(at.replica);
        found.samples = found.samples.saturating_add(1);
        let unknown = |(from, to): &(u64, u64)| life.publishing >= *from && one.sent >= *from && one.ended <= *to;
        if self.common.iter().any(unknown) {
            found.offend(self.history, OF_UNCHECKED, one, || {
                format!("key-{key} was accepted at `{name}`, and published when no replica could fetch it")
            });
        }
        if life.removed == u64::MAX {
            found.kept = found.kept.saturating_add(u64::from(at.is_cut(one)));
            return;
        }
        let due = at.due(life.removed, self.within);
        let since = one.sent.saturating_sub(due.saturating_sub(self.within));
        found.removed_lag = found.removed_lag.max(since);
        if one.sent > due {
            found.offend(self.history, OF_REMOVED, one, || {
                format!("key-{key} was accepted at `{name}` {:.3} s after it was removed", seconds(since))
            });
        }
    }

    /// A use that was answered 401, 403 or 5xx; `before`: the replica accepted the token before, since it was last started.
    fn kept_out(&self, found: &mut Found, at: &At<'_>, one: &Use, before: bool) {
        let At { key, life, .. } = *at;
        // Whether it is valid nobody can say before the key is published, and from when it is to be removed.
        if one.sent < life.published || one.ended > life.removing || touches(&at.not_ready, one.sent, one.ended) {
            return;
        }
        let name = self.history.text(at.replica);
        let told_bad = one.decision == Decision::Refused;
        let without_keys =
            |(start, cut): &&(u64, Cut)| one.sent >= *start && one.sent <= cut.to.saturating_add(self.within);
        if let Some((_, cut)) = at.started.iter().find(without_keys) {
            // A key that was published when the provider was away already may be no key for all that anybody knows.
            if cut.proven && one.ended <= cut.to && life.published <= cut.from {
                found.samples = found.samples.saturating_add(1);
                if told_bad {
                    found.offend(self.history, OF_CALLED_BAD, one, || {
                        format!("key-{key} was called invalid at `{name}`, which was started without the provider")
                    });
                } else {
                    found.seen.without_keys.push(at.replica);
                }
            }
            return;
        }
        let due = at.due(life.published, self.within);
        let since = one.sent.saturating_sub(due.saturating_sub(self.within));
        if one.sent < due {
            if at.is_cut(one) {
                let counted = if told_bad { &mut found.away_bad } else { &mut found.away_unknown };
                *counted = counted.saturating_add(1);
            } else {
                found.new_lag = found.new_lag.max(since);
            }
            return;
        }
        found.samples = found.samples.saturating_add(1);
        let answer = if told_bad { "refused" } else { "answered 5xx" };
        if at.is_cut(one) {
            found.offend(self.history, OF_AWAY, one, || {
                format!("key-{key}, in use since long, was {answer} at `{name}` while the provider was away")
            });
        } else if before {
            found.offend(self.history, OF_LOST, one, || {
                format!(
                    "key-{key}, published and accepted before, was {answer} at `{name}` at {:.3} s",
                    seconds(one.sent)
                )
            });
        } else {
            found.new_lag = found.new_lag.max(since);
            found.offend(self.history, OF_LATE, one, || {
                format!("key-{key} was {answer} at `{name}` {:.3} s after it was published", seconds(since))
            });
        }
    }

    /// Which parts of the rule the uses of one key show at one replica.
    fn witness(&self, found: &mut Found, at: &At<'_>, uses: &[Use]) {
        let At { key, life, replica, cuts, .. } = *at;
        let accepts = || uses.iter().filter(|one| one.decision == Decision::Accepted);
        let inside = |time: u64| cuts.iter().find(|cut| cut.proven && (cut.from..cut.to).contains(&time));
        let clear = |time: u64| !cuts.iter().any(|cut| (cut.from..cut.to).contains(&time));
        // It is new to whoever ran when it was published.
        let ran = |one: &Use| self.lives.started_before(replica, one.sent).unwrap_or_default() <= life.published;
        if life.published > 0 {
            let seen = match inside(life.publishing) {
                Some(cut) if accepts().any(|one| one.sent > cut.to) => Some(&mut found.seen.new_after),
                None if clear(life.published) && accepts().any(|one| clear(one.sent) && ran(one)) => {
                    Some(&mut found.seen.new)
                }
                Some(_) | None => None,
            };
            if let Some(seen) = seen {
                seen.push(replica);
            }
        }
        if life.removed < u64::MAX && accepts().any(|one| one.ended <= life.removing) {
            let due = at.due(life.removed, self.within);
            let out = uses.iter().any(|one| {
                one.sent > due && matches!(one.decision, Decision::Refused | Decision::ServerError) && clear(one.sent)
            });
            if out {
                let away = inside(life.removing).is_some();
                let seen = if away { &mut found.seen.removed_after } else { &mut found.seen.removed };
                seen.push(replica);
            }
            let next = self.keys.iter().any(|(number, other)| {
                let beside = |one: &Use| one.sent > other.published && one.ended <= life.removing && clear(one.sent);
                *number != key && other.published > life.published && accepts().any(beside)
            });
            if next {
                found.seen.overlap.push(replica);
            }
        }
        let old = cuts.iter().filter(|cut| cut.proven).any(|cut| {
            let due = at.due(life.published, self.within);
            let aged = cut.from.saturating_add(self.ttl);
            due <= cut.from && accepts().any(|one| one.sent > aged && one.ended <= cut.to)
        });
        if old {
            found.seen.old_while_away.push(replica);
        }
    }

    /// How many times replicas asked for the keys, and how many of these got them.
    fn fetches(&self) -> (u64, u64) {
        let (provider, what) = (self.history.name(IDENTITY), self.history.name(FETCH));
        let (mut asked, mut given) = (0_u64, 0_u64);
        for (_, event) in self.history.others() {
            if let EventKind::Contact { component, what: wanted, status, .. } = event.kind
                && Some(component) == provider
                && Some(wanted) == what
            {
                asked = asked.saturating_add(1);
                given = given.saturating_add(u64::from(status == 200));
            }
        }
        (asked, given)
    }
}

impl At<'_> {
    /// By when something that the provider did at `time` must have reached the replica: `within` later, or after the last heal in between.
    fn due(&self, time: u64, within: u64) -> u64 {
        let mut due = time.saturating_add(within);
        for cut in self.cuts {
            if cut.from < due && cut.to > time {
                due = due.max(cut.to.saturating_add(within));
            }
        }
        due
    }

    /// Whether the replica could not reach the provider at any time of a use.
    fn is_cut(&self, one: &Use) -> bool {
        self.cuts.iter().any(|cut| one.sent < cut.to && one.ended > cut.from)
    }
}

impl Found {
    fn offend(&mut self, history: &History, which: usize, one: &Use, told: impl FnOnce() -> String) {
        if let (Some(offences), Some(words)) = (self.offences.get_mut(which), self.told.get_mut(which)) {
            if offences.count == 0 {
                *words = told();
            }
            offences.add(history, one.event);
        }
    }

    fn numbers(&self, record: &Record<'_>) -> Vec<Number> {
        let (asked, given) = record.fetches();
        let mut numbers: Vec<Number> = NAMES
            .iter()
            .zip(&self.offences)
            .map(|(name, offences)| Number::new(*name, count(offences.count), "requests").limit(0.0))
            .collect();
        numbers.extend([
            Number::new("last refusal of a new key", seconds(self.new_lag), "s").limit(seconds(record.within)),
            Number::new("last accept of a removed key", seconds(self.removed_lag), "s").limit(seconds(record.within)),
            Number::new("time for which keys are fresh", seconds(record.ttl), "s"),
            Number::new("fetches of the keys", count(asked), ""),
            Number::new("of these answered", count(given), ""),
            Number::new("accepted by known keys, the provider being away", count(self.kept), "requests"),
            Number::new("answered 5xx by a new key, the provider being away", count(self.away_unknown), "requests"),
            Number::new("called invalid by a new key, the provider being away", count(self.away_bad), "requests"),
        ]);
        numbers
    }
}

/// A rotation of the published keys loses no valid token and lets none in that is not, also while the provider is away.
pub(super) fn tok_08(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("key-rotation") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let replicas: Vec<String> = scope.deployment.sites.iter().flat_map(|site| site.replica_names()).collect();
    let margin = nanos(scope.parameters.duration("margin"));
    let Some(record) = Record::read(history, margin, &replicas) else {
        return Verdict::inconclusive("too-few-samples", "the story does not say for how long keys are fresh");
    };
    let found = record.find();
    let numbers = found.numbers(&record);
    let samples = found.samples;
    let broken: Vec<(&Offences, &String, &str)> = found
        .offences
        .iter()
        .zip(&found.told)
        .zip(NAMES)
        .filter(|((offences, _), _)| offences.count > 0)
        .map(|((offences, told), name)| (offences, told, name))
        .collect();
    if let Some((_, _, first)) = broken.first() {
        let numbers = decided_by(numbers, first);
        let words: Vec<String> =
            broken.iter().map(|(offences, told, _)| format!("{told} ({} such uses)", offences.count)).collect();
        let mut events: Vec<_> = broken.iter().flat_map(|(offences, ..)| offences.events.clone()).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM_KEYS, Evidence { samples, numbers, notes: Vec::new() });
    let never_fetched = || {
        (record.fetches().1 == 0).then(|| {
            Reason::new("too-few-samples", "nobody fetched the keys of the identity provider, as far as it told")
        })
    };
    unless(
        held,
        doubt(history)
            .or_else(|| not_away(&record, &replicas))
            .or_else(|| unseen(history, &found.seen, &replicas))
            .or_else(never_fetched),
    )
}

/// A replica that was not seen to be cut off the provider.
fn not_away(record: &Record<'_>, replicas: &[String]) -> Option<Reason> {
    let is_cut = |name: &String| {
        let cuts = record.history.name(name).and_then(|name| record.cuts.get(&name));
        cuts.is_some_and(|cuts| cuts.iter().any(|cut| cut.proven))
    };
    let missing = replicas.iter().find(|name| !is_cut(name))?;
    let text = format!("`{missing}` was not proven to be cut off the identity provider");
    Some(Reason::new("fault-not-proven", text))
}

/// Which part of the rule nobody saw at work, and where.
fn unseen(history: &History, seen: &Seen, replicas: &[String]) -> Option<Reason> {
    let parts = [
        (&seen.overlap, "accept the old key beside the new one"),
        (&seen.new, "accept a key that was published while it ran"),
        (&seen.removed, "refuse a key, accepted before, after it was removed"),
        (&seen.old_while_away, "accept a key while the provider was away for longer than keys are fresh"),
        (&seen.new_after, "accept a key that was published while the provider was away, when it was back"),
        (&seen.removed_after, "refuse a key that was removed while the provider was away, when it was back"),
        (&seen.forged, "refuse a token that its key did not sign"),
    ];
    let missed = parts.into_iter().find_map(|(seen, what)| {
        let missing = replicas.iter().find(|name| history.name(name).is_none_or(|name| !seen.contains(&name)))?;
        Some(Reason::new("too-few-samples", format!("`{missing}` was not seen to {what}")))
    });
    missed.or_else(|| {
        let text = "no replica that was started without the provider was seen to answer 5xx to a valid token";
        seen.without_keys.is_empty().then(|| Reason::new("too-few-samples", text))
    })
}

#[cfg(test)]
mod tests;
