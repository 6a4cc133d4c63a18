//! TOK-03, TOK-04 and TOK-06: does a revocation reach the cluster, the other sites, and the other side of a restart?
//!
//! The clock of a revocation starts when its 200 was received, never when it was sent (RFC 7009 section
//! 2.2). A use counts by when it was sent: what was sent later than `within` after the 200 and accepted is
//! a violation; an accept sent before that is none, however late its answer came.

use super::{MINIMUM_REVOKED, RESTART_ALL, RESTART_ONE, REVOKE, SHARED_STORE};
use crate::claims::common::{
    Phase, count, decided_by, doubt, end_of, faults, judged, late_doubt, ms, nanos, phase, phases, seconds, unless,
};
use crate::claims::lives::{Decision, Lives, Offences, decide, ended_at, telling_event};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::{Event, OperationView, ReplicaState};
use gatecrash_model::operation::Verb;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// A token was revoked: its first revocation was answered 2xx.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revocation {
    pub(super) token: Name,
    /// Where: a replica, or the identity provider.
    pub(super) at_component: Name,
    /// Its site; none for the identity provider, which has none.
    site: Name,
    pub(super) sent: u64,
    /// When the 200 was received, ns.
    pub(super) at: u64,
}

/// One use of a revoked token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) sent: u64,
    pub(super) ended: u64,
    pub(super) decision: Decision,
    pub(super) event: usize,
}

impl Use {
    pub(super) fn of(view: &OperationView, events: &[Event]) -> Self {
        Self {
            sent: view.sent_at(events),
            ended: ended_at(view, events),
            decision: decide(view, events),
            event: telling_event(view, events),
        }
    }
}

/// The revocations of a history in the order of their operations, and of each name whether that token was asked to be revoked.
pub(super) fn revocations(history: &History) -> (Vec<Revocation>, Vec<bool>) {
    let events = history.events();
    let mut revocations: Vec<Revocation> = Vec::new();
    let mut asked: Vec<bool> = vec![false; history.names().len()];
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        if operation.verb != Verb::RevokeToken || operation.token.is_none() {
            continue;
        }
        let Some(asked) = asked.get_mut(operation.token.index()) else { continue };
        // Only the first attempt counts: after one of unknown effect, the time of the revocation is unknown too.
        if std::mem::replace(asked, true) {
            continue;
        }
        let Some((at, _, answer)) = view.outcome(events) else { continue };
        if answer.is_success() {
            let (token, at_component, site) = (operation.token, operation.target, operation.site);
            revocations.push(Revocation { token, at_component, site, sent: view.sent_at(events), at });
        }
    }
    (revocations, asked)
}

/// All uses of one revoked token at one replica, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
struct Uses {
    site: Name,
    all: Vec<Use>,
}

/// What a history says of revoked tokens.
struct Record<'h> {
    history: &'h History,
    revocations: Vec<Revocation>,
    /// By position in `revocations` and replica.
    uses: BTreeMap<(usize, Name), Uses>,
    phases: Vec<Phase>,
    end: u64,
}

impl<'h> Record<'h> {
    fn read(history: &'h History) -> Self {
        let events = history.events();
        let (revocations, _) = revocations(history);
        let mut of_token: Vec<Option<usize>> = vec![None; history.names().len()];
        for (position, revocation) in revocations.iter().enumerate() {
            if let Some(slot) = of_token.get_mut(revocation.token.index()) {
                *slot = Some(position);
            }
        }
        let mut uses: BTreeMap<(usize, Name), Uses> = BTreeMap::new();
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if operation.verb != Verb::Call {
                continue;
            }
            let Some(revocation) = of_token.get(operation.token.index()).copied().flatten() else { continue };
            let of = uses.entry((revocation, operation.target)).or_default();
            of.site = operation.site;
            of.all.push(Use::of(view, events));
        }
        for of in uses.values_mut() {
            of.all.sort_by_key(|found| found.sent);
        }
        Self { history, revocations, uses, phases: phases(history), end: end_of(history) }
    }

    /// Start of the first `hold` phase that begins after `at`; the end of the history if there is none.
    fn next_hold(&self, at: u64) -> u64 {
        let next = self.phases.iter().find(|phase| phase.from > at && self.history.text(phase.phase) == "hold");
        next.map_or(self.end, |phase| phase.from)
    }

    fn hold(&self, variant: &str) -> Option<Phase> {
        phase(self.history, &self.phases, "hold", variant)
    }

    /// How a use of this revocation's token reads in an explanation.
    fn told(&self, revocation: &Revocation) -> String {
        let (token, at) = (self.history.text(revocation.token), self.history.text(revocation.at_component));
        format!("token {token}, revoked at `{at}` at {:.3} s,", seconds(revocation.at))
    }

    /// The site whose cluster a revocation is for: its own; at the identity provider, that of whoever used the token.
    fn cluster(&self, position: usize, revocation: &Revocation) -> Name {
        if !revocation.site.is_none() {
            return revocation.site;
        }
        let used = self.uses.range((position, Name::NONE)..).next().filter(|((of, _), _)| *of == position);
        used.map_or(Name::NONE, |(_, uses)| uses.site)
    }
}

impl Uses {
    /// Whether the replica accepted the token before it was revoked.
    fn accepted_before(&self, revocation: &Revocation) -> bool {
        self.all.iter().any(|found| found.sent < revocation.sent && found.decision == Decision::Accepted)
    }

    fn within(&self, from: u64, to: u64, decision: Decision) -> impl Iterator<Item = &Use> {
        self.all.iter().filter(move |found| (from..to).contains(&found.sent) && found.decision == decision)
    }

    fn decided(&self, from: u64, to: u64) -> u64 {
        let all = self.within(from, to, Decision::Accepted).chain(self.within(from, to, Decision::Refused));
        all.fold(0, |sum, _| sum.saturating_add(1))
    }
}

/// What one revocation did at one replica in `revocation.at..to`.
struct Lag<'u> {
    /// Last accept that was sent after the 200.
    last_accept: Option<&'u Use>,
    /// First accept that was sent after the replica had already refused.
    flap: Option<&'u Use>,
    refused: u64,
    decided: u64,
    last_decided: u64,
}

impl<'u> Lag<'u> {
    fn of(uses: &'u Uses, revocation: &Revocation, to: u64) -> Self {
        let from = revocation.at;
        let first_refused = uses.within(from, to, Decision::Refused).map(|found| found.ended).min();
        let accepts = || uses.within(from, to, Decision::Accepted);
        Self {
            last_accept: accepts().last(),
            flap: first_refused.and_then(|refused| accepts().find(|found| found.sent > refused)),
            refused: uses.within(from, to, Decision::Refused).fold(0, |sum, _| sum.saturating_add(1)),
            decided: uses.decided(from, to),
            last_decided: accepts()
                .chain(uses.within(from, to, Decision::Refused))
                .map(|found| found.sent)
                .max()
                .unwrap_or_default(),
        }
    }

    /// From the revocation to the last accept, ns.
    fn lag(&self, revocation: &Revocation) -> u64 {
        self.last_accept.map_or(0, |found| found.sent.saturating_sub(revocation.at))
    }
}

fn no_revocation() -> Verdict {
    Verdict::inconclusive("too-few-samples", "no token was revoked: no revocation was answered 2xx")
}

const TOO_LATE: &str = "replicas that accepted too late or again";

/// All replicas of the cluster refuse within T, and none accepts after it refused.
pub(super) fn tok_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("revocation") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    if record.revocations.is_empty() {
        return no_revocation();
    }
    let allowed = nanos(scope.parameters.duration("within"));
    let (mut samples, mut worst, mut offences, mut told) = (0_u64, 0_u64, Offences::default(), String::new());
    let mut late_pairs = 0_u64;
    let mut reason = None;
    for ((position, replica), uses) in &record.uses {
        let Some(revocation) = record.revocations.get(*position) else { continue };
        // Each revocation is judged in its own round; what restarts do to it later is TOK-06's.
        let to = record.next_hold(revocation.at);
        if uses.site != revocation.site {
            continue;
        }
        let lag = Lag::of(uses, revocation, to);
        samples = samples.saturating_add(lag.decided);
        worst = worst.max(lag.lag(revocation));
        let name = history.text(*replica);
        let late = lag.last_accept.filter(|found| found.sent > revocation.at.saturating_add(allowed));
        if let Some(found) = late.or(lag.flap) {
            late_pairs = late_pairs.saturating_add(1);
            if offences.count == 0 {
                let how = if late.is_some() { "was" } else { "was refused and then again" };
                let after = seconds(found.sent.saturating_sub(revocation.at));
                told = format!("{} {how} accepted at `{name}` {after:.3} s later", record.told(revocation));
            }
            offences.add(history, found.event);
        } else if reason.is_none() {
            reason = unseen(&record, revocation, uses, &lag, name, allowed);
        }
    }
    let numbers = vec![
        Number::new("last accept after the revoke", ms(worst), "ms").limit(ms(allowed)),
        Number::new("revocations", count(u64::try_from(record.revocations.len()).unwrap_or(u64::MAX)), ""),
        Number::new(TOO_LATE, count(late_pairs), "").limit(0.0),
    ];
    if offences.count > 0 {
        // One that only accepts again after it refused can do so within the time allowed.
        let numbers = if worst > allowed { numbers } else { decided_by(numbers, TOO_LATE) };
        let explanation = format!("{told} (allowed {:.3} s)", seconds(allowed));
        return Verdict::Violated(Counterexample { explanation, events: offences.events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM_REVOKED, Evidence { samples, numbers, notes: Vec::new() });
    let window = scope.parameters.duration("within");
    let late = || {
        let hold = judged(history, record.hold(REVOKE)?);
        late_doubt(history, window, hold.from, hold.to)
    };
    unless(
        held,
        doubt(history)
            .or(reason)
            .or_else(|| missing_replica(scope, &record))
            .or_else(|| no_restart_during(&record))
            .or_else(late),
    )
}

/// Why one pair that broke nothing shows nothing: no accept before, or no refusal after the time allowed.
fn unseen(
    record: &Record<'_>,
    revocation: &Revocation,
    uses: &Uses,
    lag: &Lag<'_>,
    replica: &str,
    allowed: u64,
) -> Option<Reason> {
    if !uses.accepted_before(revocation) {
        let text = format!("{} was never accepted at `{replica}` before", record.told(revocation));
        return Some(Reason::new("no-steady-state", text));
    }
    if lag.refused == 0 || lag.last_decided <= revocation.at.saturating_add(allowed) {
        let text = format!(
            "{} was used at `{replica}` {} times after the revoke, and never after the {:.3} s allowed",
            record.told(revocation),
            lag.decided,
            seconds(allowed),
        );
        return Some(Reason::new("too-few-samples", text));
    }
    None
}

/// A replica of the cluster at which a revoked token was never used.
fn missing_replica(scope: &Scope<'_>, record: &Record<'_>) -> Option<Reason> {
    record.revocations.iter().enumerate().find_map(|(position, revocation)| {
        let site = scope.deployment.site(record.history.text(revocation.site))?;
        let unused = |replica: &String| {
            record.history.name(replica).is_none_or(|name| !record.uses.contains_key(&(position, name)))
        };
        site.replica_names().into_iter().find(unused).map(|replica| {
            Reason::new("too-few-samples", format!("{} was never used at `{replica}`", record.told(revocation)))
        })
    })
}

/// No revocation was answered while a replica of its cluster was between its end and being ready again.
fn no_restart_during(record: &Record<'_>) -> Option<Reason> {
    let lives = Lives::new(record.history);
    let restarting = |revocation: &Revocation| {
        record.uses.iter().filter(|(_, uses)| uses.site == revocation.site).any(|((_, replica), _)| {
            // That one that ended is not ready says nothing new.
            let telling = lives.of(*replica).iter().filter(|turn| turn.state != ReplicaState::NotReady);
            let last = telling.rev().find(|turn| turn.at <= revocation.at);
            let before_restart =
                last.is_some_and(|turn| matches!(turn.state, ReplicaState::Gone | ReplicaState::Starting));
            let gone = lives.gone_in(*replica, 0, revocation.at);
            before_restart && gone.is_some_and(|gone| lives.starts(*replica, gone, u64::MAX).next().is_some())
        })
    };
    (!record.revocations.iter().any(restarting))
        .then(|| Reason::new("fault-not-proven", "no token was revoked while a replica of the cluster was restarting"))
}

/// Proven cuts of the way from a replica to `component`: replica, from and to (ns).
pub(super) fn cuts(history: &History, component: &str) -> Vec<(Name, u64, u64)> {
    let mut cuts = Vec::new();
    for fault in faults(history).into_iter().filter(|fault| fault.proven()) {
        for link in history.text(fault.target).split(", ") {
            let ends = link.split_once("->").filter(|(_, to)| *to == component);
            let replica = ends.and_then(|(from, _)| history.name(from));
            cuts.extend(replica.map(|replica| (replica, fault.from, fault.healed.unwrap_or(u64::MAX))));
        }
    }
    cuts
}

/// What is seen of revocations at other sites.
#[derive(Default)]
struct Elsewhere {
    samples: u64,
    /// Longest time from a revocation to an accept, and to the last use, ns.
    worst: u64,
    longest: u64,
    /// Longest time from the heal of a cut to an accept of what was revoked in it, ns; `None` if nothing was.
    after_cut: Option<u64>,
    offences: Offences,
    told: String,
    /// Replicas that refused over the whole observation.
    seen_at: Vec<Name>,
    /// Replicas that refused what was revoked while they were cut off.
    caught_up: Vec<Name>,
    /// A token was accepted elsewhere before it was revoked.
    control: bool,
}

impl Elsewhere {
    fn read(record: &Record<'_>, allowed: u64, observe: u64) -> Self {
        let mut found = Self::default();
        let cuts = cuts(record.history, SHARED_STORE);
        for ((position, replica), uses) in &record.uses {
            let Some(revocation) = record.revocations.get(*position) else { continue };
            if uses.site == revocation.site || !uses.accepted_before(revocation) {
                continue;
            }
            found.control = true;
            let cut = cuts.iter().find(|(of, from, to)| of == replica && (*from..*to).contains(&revocation.at));
            // Nothing reaches a site that is cut off: its time counts from the heal.
            let counts_from = cut.map_or(revocation.at, |(.., to)| *to);
            found.add(record, revocation, *replica, uses, (counts_from, cut.is_some()), (allowed, observe));
        }
        found
    }

    fn add(
        &mut self,
        record: &Record<'_>,
        revocation: &Revocation,
        replica: Name,
        uses: &Uses,
        (counts_from, cut): (u64, bool),
        (allowed, observe): (u64, u64),
    ) {
        let lag = Lag::of(uses, revocation, u64::MAX);
        self.samples = self.samples.saturating_add(lag.decided);
        let observed = lag.last_decided.saturating_sub(revocation.at);
        self.longest = self.longest.max(observed);
        let accepted_for = lag.last_accept.map_or(0, |found| found.sent.saturating_sub(counts_from));
        let late = lag.last_accept.filter(|found| found.sent > counts_from.saturating_add(allowed));
        if let Some(found) = late {
            if accepted_for > self.worst || self.offences.count == 0 {
                self.told = format!(
                    "{} was still accepted at `{}` {:.1} s later{}: {}",
                    record.told(revocation),
                    record.history.text(replica),
                    seconds(accepted_for),
                    if cut { ", counted from the heal of its cut" } else { "" },
                    if lag.refused == 0 {
                        format!("not seen refused in {:.1} s of observation", seconds(observed))
                    } else {
                        format!("refused {} times in {:.1} s of observation", lag.refused, seconds(observed))
                    },
                );
            }
            self.offences.add(record.history, found.event);
        } else if cut {
            let sure = counts_from.saturating_add(allowed);
            if uses.within(counts_from, u64::MAX, Decision::Refused).next().is_some() && lag.last_decided > sure {
                self.caught_up.push(replica);
            }
        } else if observed.saturating_mul(10) >= observe.saturating_mul(9) && lag.refused > 0 {
            self.seen_at.push(replica);
        }
        if cut {
            self.after_cut = Some(self.after_cut.unwrap_or_default().max(accepted_for));
        }
        self.worst = self.worst.max(accepted_for);
    }
}

/// A revocation reaches the other sites within T, and stays for the whole observation; one that was made while the way to
/// another site was cut reaches it within T of the heal.
pub(super) fn tok_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("revocation") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    if record.revocations.is_empty() {
        return no_revocation();
    }
    let allowed = nanos(scope.parameters.duration("within"));
    let observe = nanos(scope.parameters.duration("observe"));
    let found = Elsewhere::read(&record, allowed, observe);
    let last = |name: &str, lag: u64| Number::new(name, seconds(lag), "s").limit(seconds(allowed));
    let mut numbers = vec![last("last accept at another site after the revoke", found.worst)];
    numbers.extend(found.after_cut.map(|lag| last("last accept after the heal of a cut", lag)));
    numbers.push(Number::new("observed for", seconds(found.longest), "s"));
    let samples = found.samples;
    if found.offences.count > 0 {
        let (explanation, events) = (found.told, found.offences.events);
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let of = record.revocations.first().map_or(Name::NONE, |revocation| revocation.site);
    let others = scope.deployment.sites.iter().filter(|site| site.name != history.text(of));
    let others: Vec<String> = others.flat_map(|site| site.replica_names()).collect();
    let missing =
        |seen: &[Name]| others.iter().find(|replica| history.name(replica).is_none_or(|name| !seen.contains(&name)));
    let short = || {
        let missing = missing(&found.seen_at)?;
        let text = format!(
            "`{missing}` was not seen to refuse a revoked token over the {:.1} s of observation (longest: {:.1} s)",
            seconds(observe),
            seconds(found.longest)
        );
        Some(Reason::new("too-few-samples", text))
    };
    // Sites that share nothing have no way between them that could be cut.
    let wan = scope.deployment.shares_store();
    let not_cut = || {
        let missing = missing(&found.caught_up).filter(|_| wan)?;
        let text =
            format!("`{missing}` was not seen to refuse a token that was revoked while it was cut off the store");
        Some(Reason::new("too-few-samples", text))
    };
    let uncontrolled = (!found.control)
        .then(|| Reason::new("no-steady-state", "no token was accepted at another site before it was revoked"));
    let notes = (!wan).then(|| "no way between the sites could be cut: they share no store".to_owned());
    let held = Verdict::holds(MINIMUM_REVOKED, Evidence { samples, numbers, notes: notes.into_iter().collect() });
    unless(held, doubt(history).or(uncontrolled).or_else(short).or_else(not_cut))
}

/// What replicas refused before a restart, they refuse after it.
pub(super) fn tok_06(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("revocation") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    if record.revocations.is_empty() {
        return no_revocation();
    }
    let (Some(one), Some(all)) = (record.hold(RESTART_ONE), record.hold(RESTART_ALL)) else {
        return Verdict::inconclusive("fault-not-proven", "the restarts after the revocation did not take place");
    };
    let lives = Lives::new(history);
    let (mut samples, mut offences, mut told) = (0_u64, Offences::default(), String::new());
    let mut unknown_before = None;
    let (mut after_one, mut after_all) = (Vec::new(), Vec::new());
    for ((position, replica), uses) in &record.uses {
        let Some(revocation) = record.revocations.get(*position) else { continue };
        if uses.site != record.cluster(*position, revocation) || revocation.at > one.from {
            continue;
        }
        if uses.within(revocation.at, one.from, Decision::Refused).next().is_none() {
            // What a replica never learned it cannot forget: that is TOK-03's.
            unknown_before = unknown_before.or(Some(*replica));
            continue;
        }
        samples = samples.saturating_add(uses.decided(one.from, u64::MAX));
        for found in uses.within(one.from, u64::MAX, Decision::Accepted) {
            if offences.count == 0 {
                let what = if found.sent >= all.from { "all replicas were" } else { "a replica was" };
                let after = seconds(found.sent.saturating_sub(revocation.at));
                let name = history.text(*replica);
                told = format!(
                    "{} was accepted at `{name}` {after:.3} s later, after {what} restarted",
                    record.told(revocation)
                );
            }
            offences.add(history, found.event);
        }
        let refused_since = |phase: Phase| {
            lives
                .starts(*replica, phase.from, phase.to)
                .last()
                .is_some_and(|start| uses.within(start, phase.to.saturating_add(1), Decision::Refused).next().is_some())
        };
        after_one.extend(refused_since(one).then_some(*replica));
        after_all.extend(refused_since(all).then_some(*replica));
    }
    let numbers = vec![Number::new("accepted after a restart", count(offences.count), "requests").limit(0.0)];
    if offences.count > 0 {
        let explanation = format!("{} accepts after a restart; first: {told}", offences.count);
        return Verdict::Violated(Counterexample { explanation, events: offences.events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM_REVOKED, Evidence { samples, numbers, notes: Vec::new() });
    let unknown = unknown_before.map(|replica| {
        let text =
            format!("`{}` was not seen to refuse a revoked token before it was restarted", history.text(replica));
        Reason::new("no-steady-state", text)
    });
    let site = record.revocations.first().map_or(Name::NONE, |revocation| record.cluster(0, revocation));
    let replicas = scope.deployment.site(history.text(site)).map(|site| site.replica_names()).unwrap_or_default();
    let restarts = || {
        if after_one.is_empty() {
            let text = "no replica was seen to refuse a revoked token after it was restarted alone";
            return Some(Reason::new("fault-not-proven", text));
        }
        not_all_gone(history, &lives, &replicas, all).or_else(|| {
            let missing =
                replicas.iter().find(|name| history.name(name).is_none_or(|name| !after_all.contains(&name)))?;
            let text = format!("`{missing}` was not seen to refuse a revoked token after all replicas were restarted");
            Some(Reason::new("too-few-samples", text))
        })
    };
    unless(held, doubt(history).or(unknown).or_else(restarts))
}

/// Why the whole cluster was not down at once in `phase`.
fn not_all_gone(history: &History, lives: &Lives, replicas: &[String], phase: Phase) -> Option<Reason> {
    let (mut last_gone, mut first_start) = (0_u64, u64::MAX);
    for replica in replicas {
        let name = history.name(replica);
        let gone = name.and_then(|name| lives.gone_in(name, phase.from, phase.to));
        let Some((name, gone)) = name.zip(gone) else {
            return Some(Reason::new(
                "fault-not-proven",
                format!("`{replica}` was not gone while all should have been"),
            ));
        };
        last_gone = last_gone.max(gone);
        first_start = first_start.min(lives.starts(name, gone, u64::MAX).next().unwrap_or(u64::MAX));
    }
    (last_gone > first_start)
        .then(|| Reason::new("fault-not-proven", "a replica was started again before all of the cluster were gone"))
}

#[cfg(test)]
mod tests;
