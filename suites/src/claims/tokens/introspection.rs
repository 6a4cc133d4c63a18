//! TOK-05: where gateways ask the identity provider about tokens, how long does one live that was revoked there?
//!
//! At most as long as what the provider said may be kept, and never beyond `exp`; both also while the provider cannot be asked. Whoever
//! was not known before gets in nowhere then, and is told 5xx, not 401: nobody can tell whether the token is good (RFC 6750 section 3). The clock of a
//! revocation starts when its 200 was received, and a use counts by when it was sent, as for TOK-03.

use super::revocation::{Revocation, Use, cuts, revocations};
use super::{MINIMUM_REVOKED, PROVIDER_AWAY, PROVIDER_REVOKE};
use crate::claims::common::{
    Phase, count, decided_by, doubt, judged, last_phase, late_doubt, ms, nanos, phase, phases, seconds,
    stream as calls, unless,
};
use crate::claims::lives::{Decision, Offences};
use crate::claims::recovery::{Recovery, SHARE};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::IDENTITY;
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Verb, stream};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// In the numbers: how much longer than what the provider said may be kept a revoked token was accepted.
const TOO_LONG: &str = "accepted later after the revoke than the TTL";
/// In the numbers: how long after it expired a token was accepted.
const EXPIRED: &str = "accepted after exp";
/// In the numbers: what nobody had said anything about and was accepted.
const UNCHECKED: &str = "accepted and never checked, the provider being away";
/// In the numbers: the same, answered as if it were known to be bad.
const CALLED_BAD: &str = "called invalid and never checked, the provider being away";
/// What replicas ask, in the contacts of the provider.
const INTROSPECT: &str = "introspect";

/// What is allowed, ns.
#[derive(Clone, Copy, Debug)]
struct Rule {
    ttl: u64,
    poll: u64,
    /// How long after `exp` a use may still be accepted.
    after_exp: u64,
}

/// All uses of one token at one replica, in the order in which they were sent.
#[derive(Debug, Default)]
struct Uses(Vec<Use>);

/// Replicas at which a part of the rule was seen to hold.
#[derive(Debug, Default)]
struct Seen {
    revoked: Vec<Name>,
    revoked_while_away: Vec<Name>,
    expired: Vec<Name>,
    unchecked: Vec<Name>,
}

/// What a history says.
struct Record<'h> {
    history: &'h History,
    rule: Rule,
    /// By token and replica.
    uses: BTreeMap<(Name, Name), Uses>,
    /// When each token was first used anywhere, ns; by name.
    first_used: Vec<Option<u64>>,
    /// When each token expires, ns since the run started; by name.
    expires: Vec<Option<i64>>,
    revoked: BTreeMap<Name, Revocation>,
    /// Whether a token was asked to be revoked, with whatever answer; by name.
    asked: Vec<bool>,
    phases: Vec<Phase>,
}

/// What was found.
#[derive(Default)]
struct Found {
    samples: u64,
    /// Longest time from a revoke to an accept, ns.
    lag: u64,
    /// By how much an accept was later than the TTL after the revoke, and than `exp`, ns.
    too_long: u64,
    beyond_exp: u64,
    offences: [Offences; 4],
    told: [String; 4],
    seen: Seen,
    /// Accepts of known tokens while the provider could not be asked.
    kept: u64,
    /// From the heal to the first accept of a token that nobody had been able to check, ns.
    back: Option<u64>,
}

const NAMES: [&str; 4] = [TOO_LONG, EXPIRED, UNCHECKED, CALLED_BAD];

impl Uses {
    fn accepts(&self) -> impl Iterator<Item = &Use> {
        self.0.iter().filter(|found| found.decision == Decision::Accepted)
    }

    /// Whether a use that was sent after `from` and answered by `to` was not let in.
    fn kept_out(&self, from: u64, to: u64) -> bool {
        let is_out = |found: &&Use| matches!(found.decision, Decision::Refused | Decision::ServerError);
        self.0.iter().filter(is_out).any(|found| found.sent > from && found.ended <= to)
    }
}

fn decided(found: &Use) -> bool {
    matches!(found.decision, Decision::Accepted | Decision::Refused | Decision::ServerError)
}

fn unsigned(ns: i64) -> u64 {
    u64::try_from(ns).unwrap_or_default()
}

impl<'h> Record<'h> {
    fn read(history: &'h History, rule: Rule) -> Self {
        let names = history.names().len();
        let (revoked, asked) = revocations(history);
        let mut record = Self {
            history,
            rule,
            uses: BTreeMap::new(),
            first_used: vec![None; names],
            expires: vec![None; names],
            revoked: revoked.into_iter().map(|revocation| (revocation.token, revocation)).collect(),
            asked,
            phases: phases(history),
        };
        for (_, token, value, _) in history.marks(mark::TOKEN_EXP) {
            if let Some(expires) = record.expires.get_mut(token.index()) {
                *expires = Some(value);
            }
        }
        let events = history.events();
        let wanted = history.name(stream::TOKEN);
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if operation.verb != Verb::Call || Some(operation.stream) != wanted || operation.token.is_none() {
                continue;
            }
            let found = Use::of(view, events);
            if let Some(first) = record.first_used.get_mut(operation.token.index()) {
                *first = Some(first.map_or(found.sent, |first| first.min(found.sent)));
            }
            record.uses.entry((operation.token, operation.target)).or_default().0.push(found);
        }
        for uses in record.uses.values_mut() {
            uses.0.sort_by_key(|found| found.sent);
        }
        record
    }

    fn hold(&self, variant: &str) -> Option<Phase> {
        phase(self.history, &self.phases, "hold", variant)
    }

    /// Judges what becomes, once the provider is back, of tokens that nobody had been able to check while it was away.
    fn recovery(&self, scope: &Scope<'_>) -> Recovery {
        let last = |wanted| last_phase(self.history, &self.phases, wanted, PROVIDER_AWAY);
        let away = last("hold").map_or(u64::MAX, |hold| hold.from);
        let unchecked = calls(self.history, stream::TOKEN).filter(|seen| {
            let token = seen.asked.token;
            let is_use = seen.asked.verb == Verb::Call && !token.is_none();
            is_use && self.is_new(token, away) && !self.was_asked_to_be_revoked(token)
        });
        let mut recovery = Recovery::default();
        recovery.judge(scope, self.history, last("settle"), ("the identity provider away", SHARE), unchecked);
        recovery
    }

    /// From when to when each replica could not reach the provider, proven, as far as the story held on to it, ns: a story that was too
    /// late does so twice.
    fn away(&self) -> BTreeMap<Name, Vec<(u64, u64)>> {
        let wanted =
            |hold: &&Phase| self.history.text(hold.phase) == "hold" && self.history.text(hold.variant) == PROVIDER_AWAY;
        let mut away: BTreeMap<Name, Vec<(u64, u64)>> = BTreeMap::new();
        let cuts = cuts(self.history, IDENTITY);
        for hold in self.phases.iter().filter(wanted) {
            // What is decided between the end of the hold and the heal is nobody's.
            for (replica, ..) in cuts.iter().filter(|(_, from, to)| *from <= hold.from && *to >= hold.to) {
                away.entry(*replica).or_default().push((hold.from, hold.to));
            }
        }
        away
    }

    fn expires(&self, token: Name) -> Option<i64> {
        self.expires.get(token.index()).copied().flatten()
    }

    /// Whether nobody used `token` anywhere before `at`.
    fn is_new(&self, token: Name, at: u64) -> bool {
        self.first_used.get(token.index()).copied().flatten().is_some_and(|first| first >= at)
    }

    fn was_asked_to_be_revoked(&self, token: Name) -> bool {
        self.asked.get(token.index()).copied().unwrap_or_default()
    }

    /// How many times replicas asked the provider, and how many of these got an answer.
    fn calls(&self) -> (u64, u64) {
        let (provider, what) = (self.history.name(IDENTITY), self.history.name(INTROSPECT));
        let (mut calls, mut answered) = (0_u64, 0_u64);
        for (_, event) in self.history.others() {
            if let EventKind::Contact { component, what: asked, status, .. } = event.kind
                && Some(component) == provider
                && Some(asked) == what
            {
                calls = calls.saturating_add(1);
                answered = answered.saturating_add(u64::from(status == 200));
            }
        }
        (calls, answered)
    }

    fn find(&self, replicas: &[String]) -> Found {
        let away = self.away();
        // Replicas may tell each other what the provider said: nobody must be able to ask it.
        let nobody_asks =
            replicas.iter().all(|replica| self.history.name(replica).is_some_and(|name| away.contains_key(&name)));
        let mut found = Found::default();
        for ((token, replica), uses) in &self.uses {
            let away = away.get(replica).map_or(&[][..], Vec::as_slice);
            if let Some(revocation) = self.revoked.get(token) {
                self.revoked_at(&mut found, revocation, *replica, uses, away);
            }
            if let Some(exp) = self.expires(*token) {
                self.expired_at(&mut found, (*token, exp), *replica, uses, away);
            }
            for window in away {
                self.cut_off(&mut found, *token, *replica, uses, *window, nobody_asks);
            }
        }
        found
    }

    /// What became of a revoked token at one replica.
    fn revoked_at(&self, found: &mut Found, revocation: &Revocation, replica: Name, uses: &Uses, away: &[(u64, u64)]) {
        let after = uses.0.iter().filter(|one| one.sent > revocation.at && decided(one));
        found.samples = found.samples.saturating_add(after.fold(0, |sum, _| sum.saturating_add(1)));
        let (Rule { ttl, poll, .. }, at) = (self.rule, revocation.at);
        let too_old = at.saturating_add(ttl);
        for accept in uses.accepts().filter(|accept| accept.sent > at) {
            found.lag = found.lag.max(accept.sent.saturating_sub(at));
            let beyond = accept.sent.saturating_sub(too_old);
            found.too_long = found.too_long.max(beyond);
            if beyond > poll {
                let since = seconds(accept.sent.saturating_sub(at));
                let (token, name) = (self.history.text(revocation.token), self.history.text(replica));
                found.offend(self.history, 0, accept, || {
                    format!(
                        "token {token}, revoked at the identity provider, was accepted at `{name}` {since:.3} s later"
                    )
                });
            }
        }
        let accepted_before =
            uses.accepts().any(|accept| accept.sent < revocation.sent && accept.ended <= revocation.at);
        let sure = too_old.saturating_add(poll);
        let inside = away.iter().find(|(from, to)| (*from..*to).contains(&at));
        if !accepted_before {
            return;
        }
        match inside {
            Some((_, to)) if uses.kept_out(sure, *to) => found.seen.revoked_while_away.push(replica),
            None if uses.kept_out(sure, u64::MAX) => found.seen.revoked.push(replica),
            Some(_) | None => {}
        }
    }

    /// What became of a token at one replica after it expired.
    fn expired_at(
        &self,
        found: &mut Found,
        (token, exp): (Name, i64),
        replica: Name,
        uses: &Uses,
        away: &[(u64, u64)],
    ) {
        let late = exp.saturating_add_unsigned(self.rule.after_exp);
        for one in uses.0.iter().filter(|one| decided(one)) {
            let sent = i64::try_from(one.sent).unwrap_or(i64::MAX);
            if sent < exp {
                continue;
            }
            found.samples = found.samples.saturating_add(1);
            if one.decision != Decision::Accepted {
                continue;
            }
            let beyond = unsigned(sent.saturating_sub(exp));
            found.beyond_exp = found.beyond_exp.max(beyond);
            if sent > late {
                let (token, name, beyond) = (self.history.text(token), self.history.text(replica), ms(beyond));
                found.offend(self.history, 1, one, || {
                    format!("token {token} was accepted at `{name}` {beyond:.0} ms after it expired")
                });
            }
        }
        // It counts only where nobody could ask any more when it expired.
        let inside = away.iter().find(|(from, to)| (*from..*to).contains(&unsigned(exp)));
        let Some((from, to)) = inside else { return };
        let known = uses.accepts().any(|accept| accept.ended <= *from);
        if known && uses.kept_out(unsigned(late), *to) {
            found.seen.expired.push(replica);
        }
    }

    /// What became of a token at one replica that could not reach the provider.
    fn cut_off(
        &self,
        found: &mut Found,
        token: Name,
        replica: Name,
        uses: &Uses,
        (from, to): (u64, u64),
        nobody_asks: bool,
    ) {
        let is_new = self.is_new(token, from) && nobody_asks;
        let known_bad = |one: &Use| {
            let expired = self.expires(token).is_some_and(|exp| i64::try_from(one.ended).unwrap_or(i64::MAX) >= exp);
            expired || self.was_asked_to_be_revoked(token)
        };
        let name = self.history.text(replica);
        let digest = self.history.text(token);
        for one in uses.0.iter().filter(|one| one.sent >= from && one.ended <= to && decided(one)) {
            match one.decision {
                Decision::Accepted if is_new => {
                    found.samples = found.samples.saturating_add(1);
                    found.offend(self.history, 2, one, || {
                        format!("token {digest} was accepted at `{name}`, which could not ask anybody about it")
                    });
                }
                Decision::Accepted => found.kept = found.kept.saturating_add(1),
                Decision::Refused if is_new && !known_bad(one) => {
                    found.samples = found.samples.saturating_add(1);
                    found.offend(self.history, 3, one, || {
                        format!("token {digest} was called invalid at `{name}`, which could not ask anybody about it")
                    });
                }
                Decision::ServerError if is_new => {
                    found.samples = found.samples.saturating_add(1);
                    found.seen.unchecked.push(replica);
                }
                Decision::Refused | Decision::ServerError | Decision::Undecided => {}
            }
        }
        if is_new {
            let first = uses.accepts().find(|accept| accept.sent > to).map(|accept| accept.sent.saturating_sub(to));
            found.back = found.back.max(first);
        }
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
}

fn counted(offences: Option<&Offences>) -> f64 {
    count(offences.map_or(0, |offences| offences.count))
}

/// A revoked token lives at most min(TTL, exp), also while the identity provider is away.
pub(super) fn tok_05(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("introspection") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let window = |name| nanos(scope.parameters.duration(name));
    let rule = Rule {
        ttl: window("ttl"),
        poll: nanos(scope.parameters.latency("poll")),
        after_exp: window("leeway").saturating_add(window("grain")),
    };
    let replicas: Vec<String> = scope.deployment.sites.iter().flat_map(|site| site.replica_names()).collect();
    let record = Record::read(history, rule);
    let found = record.find(&replicas);
    let (calls, answered) = record.calls();
    let uses = record.uses.values().flat_map(|uses| &uses.0).fold(0_u64, |sum, _| sum.saturating_add(1));
    let mut numbers = vec![
        Number::new(TOO_LONG, ms(found.too_long), "ms").limit(ms(rule.poll)),
        Number::new(EXPIRED, ms(found.beyond_exp), "ms").limit(ms(rule.after_exp)),
        Number::new(UNCHECKED, counted(found.offences.get(2)), "requests").limit(0.0),
        Number::new(CALLED_BAD, counted(found.offences.get(3)), "requests").limit(0.0),
        Number::new("last accept after the revoke", seconds(found.lag), "s"),
        Number::new("TTL", seconds(rule.ttl), "s"),
        Number::new("calls of the identity provider", count(calls), ""),
        Number::new("of these answered", count(answered), ""),
        Number::new("uses of tokens", count(uses), "requests"),
        Number::new("accepted by what was said before, the provider being away", count(found.kept), "requests"),
    ];
    numbers.extend(
        found.back.map(|back| Number::new("a new token accepted again after the provider was back", ms(back), "ms")),
    );
    let mut recovery = record.recovery(scope);
    numbers.append(&mut recovery.numbers);
    let samples = found.samples;
    // In the order of the rule, the gravest first; all that was seen is told.
    let order = [2, 0, 1, 3];
    let broken: Vec<usize> =
        order.into_iter().filter(|which| found.offences.get(*which).is_some_and(|all| all.count > 0)).collect();
    let first = broken.first().and_then(|first| NAMES.get(*first)).map(|name| (*name).to_owned());
    if let Some(first) = first.or_else(|| recovery.broken.first().map(|(name, _)| name.clone())) {
        let numbers = decided_by(numbers, &first);
        let mut words: Vec<String> = broken
            .iter()
            .filter_map(|which| {
                let (offences, told) = found.offences.get(*which).zip(found.told.get(*which))?;
                Some(format!("{told} ({} such uses)", offences.count))
            })
            .collect();
        words.extend(recovery.broken.into_iter().map(|(_, words)| words));
        let mut events: Vec<_> = broken
            .iter()
            .filter_map(|which| found.offences.get(*which))
            .flat_map(|offences| offences.events.clone())
            .chain(recovery.events)
            .collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: words.join("; "), events, samples, numbers });
    }
    let notes = (found.kept == 0)
        .then(|| "nothing that the provider had said before was seen to serve while it was away".to_owned());
    let held = Verdict::holds(MINIMUM_REVOKED, Evidence { samples, numbers, notes: notes.into_iter().collect() });
    let late = || {
        let hold = judged(history, record.hold(PROVIDER_REVOKE)?);
        late_doubt(history, scope.parameters.duration("ttl"), hold.from, hold.to)
    };
    let never_asked = || {
        (answered == 0).then(|| {
            Reason::new("too-few-samples", "the identity provider was never asked about a token, as far as it told")
        })
    };
    unless(
        held,
        doubt(history)
            .or_else(|| not_away(&record, &replicas))
            .or_else(|| unseen(history, &found.seen, &replicas))
            .or_else(never_asked)
            .or(recovery.missing)
            .or_else(late),
    )
}

/// A replica that was not seen to be cut off the provider.
fn not_away(record: &Record<'_>, replicas: &[String]) -> Option<Reason> {
    let away = record.away();
    let missing =
        replicas.iter().find(|name| record.history.name(name).is_none_or(|name| !away.contains_key(&name)))?;
    let text = format!("`{missing}` was not proven to be cut off the identity provider");
    Some(Reason::new("fault-not-proven", text))
}

/// Which part of the rule nobody saw at work, and where.
fn unseen(history: &History, seen: &Seen, replicas: &[String]) -> Option<Reason> {
    let parts = [
        (&seen.revoked, "refuse a token, accepted before, after it was revoked and what was said of it too old"),
        (
            &seen.revoked_while_away,
            "keep a token out that was revoked while the provider was away, after what was said of it was too old",
        ),
        (&seen.expired, "keep a token out that expired while the provider was away, and was accepted before"),
        (&seen.unchecked, "answer 5xx to a token that was new while the provider was away"),
    ];
    parts.into_iter().find_map(|(seen, what)| {
        let missing = replicas.iter().find(|name| history.name(name).is_none_or(|name| !seen.contains(&name)))?;
        Some(Reason::new("too-few-samples", format!("`{missing}` was not seen to {what}")))
    })
}

#[cfg(test)]
mod tests;
