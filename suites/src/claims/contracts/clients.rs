//! CON-03 and CON-04: who is let in, at any time, and how fast a change of contracts reaches every replica.
//!
//! A change counts from its mark, which is written after the control plane took it. A replica may refuse
//! anybody from the moment at which it was asked to end or to start (or was declared not ready) until its
//! readiness signal is true again; outside that, refusing a valid client is a violation.

use super::{CONTRACT_CHANGE, MINIMUM_CHANGES, MINIMUM_CLIENTS, is_set, routes_where};
use crate::claims::common::{count, decided_by, doubt, faults, late_doubt, nanos, record_doubt, seconds, unless};
use crate::claims::lives::{Decision, Lives, Offences, decide, ended_at, status, telling_event, touches};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy};
use gatecrash_model::history::OperationView;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, Operation, Verb};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{Deployment, History, Name};
use std::collections::{BTreeMap, BTreeSet};

/// One change of one client's contract.
#[derive(Clone, Copy, Debug)]
struct Change {
    client: Name,
    added: bool,
    at: u64,
    /// When the next change of the same client was marked; `u64::MAX` if never.
    until: u64,
    position: usize,
}

/// The changes of a history in order.
fn changes(history: &History) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (name, added) in [(mark::CONTRACT_ADDED, true), (mark::CONTRACT_REMOVED, false)] {
        let found = history.marks(name);
        changes.extend(found.map(|(at, client, _, position)| Change { client, added, at, until: u64::MAX, position }));
    }
    changes.sort_by_key(|change| (change.at, change.position));
    let mut next: BTreeMap<Name, u64> = BTreeMap::new();
    for change in changes.iter_mut().rev() {
        change.until = next.insert(change.client, change.at).unwrap_or(u64::MAX);
    }
    changes
}

/// What the contract says of a client when a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Valid,
    NotValid,
    /// Changed a moment ago: either is right.
    Changing,
}

/// What one history says of clients.
struct Clients<'h> {
    history: &'h History,
    contract: Vec<bool>,
    changes: Vec<Change>,
    changed: Vec<bool>,
    not_ready: Vec<Option<Vec<(u64, u64)>>>,
    lives: Lives,
}

impl<'h> Clients<'h> {
    fn new(deployment: &Deployment, history: &'h History) -> Self {
        let names = history.names().len();
        let changes = changes(history);
        let mut changed = vec![false; names];
        for change in &changes {
            if let Some(slot) = changed.get_mut(change.client.index()) {
                *slot = true;
            }
        }
        // A route that also asks for a token may refuse for the token's sake.
        let contract = routes_where(deployment, history, |policies| {
            policies.contains(&Policy::ClientId) && !policies.contains(&Policy::Jwt)
        });
        Self { history, contract, changes, changed, not_ready: vec![None; names], lives: Lives::new(history) }
    }

    /// A call of a client for a contract route, and nothing else wrong with it.
    fn concerns(&self, operation: &Operation<Name>) -> bool {
        operation.verb == Verb::Call
            && is_set(&self.contract, operation.route)
            && matches!(operation.credential, Credential::Valid | Credential::UnknownClient | Credential::RemovedClient)
    }

    /// What must be decided about an operation that was sent at `sent`; a change has effect after `within`.
    fn standing(&self, operation: &Operation<Name>, sent: u64, within: u64) -> Standing {
        if operation.credential == Credential::UnknownClient {
            return Standing::NotValid;
        }
        if !is_set(&self.changed, operation.key) {
            return if operation.credential == Credential::Valid { Standing::Valid } else { Standing::Changing };
        }
        // Before its first change, and while one is under way, nothing is asked of a changing client here.
        let last = self.changes.iter().rev().find(|change| change.client == operation.key && change.at <= sent);
        match last {
            Some(change) if sent > change.at.saturating_add(within) => match (change.added, change.until) {
                // A removal may take effect before its mark is written.
                (true, u64::MAX) => Standing::Valid,
                (true, _) => Standing::Changing,
                (false, _) => Standing::NotValid,
            },
            _ => Standing::Changing,
        }
    }

    fn may_refuse(&mut self, replica: Name, from: u64, to: u64) -> bool {
        let Some(slot) = self.not_ready.get_mut(replica.index()) else { return false };
        touches(slot.get_or_insert_with(|| self.lives.not_ready_windows(replica)), from, to)
    }

    fn told(&self, view: &OperationView, operation: &Operation<Name>, what: &str) -> String {
        let history = self.history;
        let events = history.events();
        let sent = view.sent_at(events);
        let since = self.lives.started_before(operation.target, sent).map_or_else(String::new, |start| {
            format!(", {:.3} s after its start", seconds(sent.saturating_sub(start)))
        });
        format!(
            "in `{}`, {what} `{}` at `{}` (operation {}, status {}{since})",
            history.experiment(),
            history.text(operation.key),
            history.text(operation.target),
            view.op,
            status(view, events),
        )
    }
}

const LET_IN: &str = "admitted without a contract";
const KEPT_OUT: &str = "valid and refused";
const REMOVED_AFTER: &str = "removal in effect everywhere after";
const ADDED_AFTER: &str = "addition in effect everywhere after";

/// CON-03 over all histories.
#[derive(Default)]
struct Tally {
    unknown: u64,
    removed: u64,
    valid: u64,
    excused: u64,
    let_in: Offences,
    kept_out: Offences,
    first: Option<String>,
    doubt: Option<Reason>,
}

/// Nobody without a contract is ever admitted, nobody with one is ever refused.
pub(super) fn con_03(scope: &Scope<'_>) -> Verdict {
    if scope.histories.is_empty() {
        return Verdict::inconclusive("not-run", "no experiment has a history");
    }
    let within = nanos(scope.parameters.duration("within"));
    let mut tally = Tally::default();
    for history in scope.histories {
        tally.read(&mut Clients::new(scope.deployment, history), within);
        if tally.doubt.is_none() {
            tally.doubt = record_doubt(history);
        }
    }
    tally.verdict()
}

impl Tally {
    fn read(&mut self, clients: &mut Clients<'_>, within: u64) {
        let history = clients.history;
        let events = history.events();
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if !clients.concerns(operation) {
                continue;
            }
            let decision = decide(view, events);
            let sent = view.sent_at(events);
            let answered = u64::from(status(view, events) != 0 || view.admitted());
            match clients.standing(operation, sent, within) {
                Standing::NotValid => {
                    let unknown = operation.credential == Credential::UnknownClient;
                    let judged = if unknown { &mut self.unknown } else { &mut self.removed };
                    *judged = judged.saturating_add(answered);
                    if decision == Decision::Accepted {
                        let what = if unknown { "admitted unknown client" } else { "admitted removed client" };
                        self.first.get_or_insert_with(|| clients.told(view, operation, what));
                        self.let_in.add(history, telling_event(view, events));
                    }
                }
                Standing::Valid => {
                    let refused = decision == Decision::Refused;
                    if refused && clients.may_refuse(operation.target, sent, ended_at(view, events)) {
                        self.excused = self.excused.saturating_add(1);
                        continue;
                    }
                    self.valid = self.valid.saturating_add(u64::from(refused || decision == Decision::Accepted));
                    if refused {
                        self.first.get_or_insert_with(|| clients.told(view, operation, "refused valid client"));
                        self.kept_out.add(history, telling_event(view, events));
                    }
                }
                Standing::Changing => {}
            }
        }
    }

    fn verdict(self) -> Verdict {
        let samples = self.unknown.saturating_add(self.removed).saturating_add(self.valid);
        let numbers = vec![
            Number::new(LET_IN, count(self.let_in.count), "requests").limit(0.0),
            Number::new(KEPT_OUT, count(self.kept_out.count), "requests").limit(0.0),
            Number::new("judged of unknown clients", count(self.unknown), "requests"),
            Number::new("judged of removed clients", count(self.removed), "requests"),
            Number::new("judged of valid clients", count(self.valid), "requests"),
        ];
        if let Some(first) = self.first {
            let numbers = decided_by(numbers, if self.let_in.count > 0 { LET_IN } else { KEPT_OUT });
            let mut events = self.let_in.events;
            events.extend(self.kept_out.events);
            let explanation = format!(
                "{} requests without a contract were admitted, {} of valid clients refused, of {samples}; first: {first}",
                self.let_in.count, self.kept_out.count
            );
            return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
        }
        let mut notes = Vec::new();
        if self.excused > 0 {
            notes
                .push(format!("{} valid requests were refused by replicas that were starting or ending", self.excused));
        }
        if self.removed == 0 {
            notes.push("no client was asked for after its removal had to be in effect".to_owned());
        }
        let held = Verdict::holds(MINIMUM_CLIENTS, Evidence { samples, numbers, notes });
        let one_sided = (self.unknown == 0 || self.valid == 0).then(|| {
            let text = format!("{} requests of unknown and {} of valid clients were judged", self.unknown, self.valid);
            Reason::new("too-few-samples", text)
        });
        unless(held, self.doubt.or(one_sided))
    }
}

/// What one change did at one replica.
#[derive(Clone, Debug, Default)]
struct Effect {
    /// When the last request was sent that still got the old answer.
    last_old: Option<u64>,
    /// When the first request was answered in the new way, after which no old answer was seen.
    first_new: Option<u64>,
    judged: u64,
    offences: Offences,
}

/// A change reaches every replica within T; what was there before stays while the control plane is away.
pub(super) fn con_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("contract-changes") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let mut clients = Clients::new(scope.deployment, history);
    let within = scope.parameters.duration("within");
    let verdict = changes_verdict(scope, &clients, nanos(within)).and(outage_verdict(scope, &mut clients));
    let late = || late_doubt(history, within, clients.changes.first()?.at, u64::MAX);
    unless(verdict, doubt(history).or_else(late))
}

/// Faults on the control plane, from injected to healed.
fn outages(history: &History) -> Vec<(u64, u64)> {
    let on_control_plane =
        faults(history).into_iter().filter(|fault| history.text(fault.target).contains(CONTROL_PLANE));
    on_control_plane.map(|fault| (fault.from, fault.healed.unwrap_or(u64::MAX))).collect()
}

fn changes_verdict(scope: &Scope<'_>, clients: &Clients<'_>, within: u64) -> Verdict {
    let history = clients.history;
    let events = history.events();
    let outages = outages(history);
    let stream = history.name(CONTRACT_CHANGE);
    let watched: BTreeSet<Name> = history
        .operations()
        .iter()
        .filter_map(|view| view.operation(events))
        .filter(|operation| Some(operation.stream) == stream)
        .map(|operation| operation.key)
        .collect();
    // Changes that are to be judged: of clients that are watched, in steady state.
    let judged: Vec<&Change> = clients
        .changes
        .iter()
        .filter(|change| watched.contains(&change.client) && !touches(&outages, change.at, change.at))
        .collect();
    let mut effects: BTreeMap<(usize, Name), Effect> = BTreeMap::new();
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        if Some(operation.stream) != stream || !clients.concerns(operation) {
            continue;
        }
        let (sent, ended) = (view.sent_at(events), ended_at(view, events));
        let of = judged.iter().rposition(|change| change.client == operation.key && change.at <= sent);
        let Some((position, change)) = of.and_then(|position| Some((position, judged.get(position)?))) else {
            continue;
        };
        // An answer that came after the next change may be about that one.
        let decision = decide(view, events);
        if ended >= change.until || touches(&outages, sent, ended) {
            continue;
        }
        let is_new = match decision {
            Decision::Accepted => change.added,
            Decision::Refused => !change.added,
            Decision::ServerError | Decision::Undecided => continue,
        };
        let effect = effects.entry((position, operation.target)).or_default();
        effect.judged = effect.judged.saturating_add(1);
        if is_new {
            effect.first_new = Some(effect.first_new.map_or(ended, |first| first.min(ended)));
        } else {
            effect.last_old = Some(effect.last_old.map_or(sent, |last| last.max(sent)));
            if sent > change.at.saturating_add(within) {
                effect.offences.add(history, telling_event(view, events));
            }
        }
    }
    judge_changes(scope, history, &judged, &effects, within)
}

fn judge_changes(
    scope: &Scope<'_>,
    history: &History,
    judged: &[&Change],
    effects: &BTreeMap<(usize, Name), Effect>,
    within: u64,
) -> Verdict {
    let samples = effects.values().fold(0_u64, |sum, effect| sum.saturating_add(effect.judged));
    let lag = |added: bool| {
        let of = effects.iter().filter_map(|((position, _), effect)| {
            let change = judged.get(*position).filter(|change| change.added == added)?;
            effect.last_old.or(effect.first_new).map(|at| at.saturating_sub(change.at))
        });
        of.max()
    };
    let mut numbers = Vec::new();
    for (name, added) in [(REMOVED_AFTER, false), (ADDED_AFTER, true)] {
        numbers.extend(lag(added).map(|lag| Number::new(name, seconds(lag), "s").limit(seconds(within))));
    }
    let told = |change: &Change, replica: Name| {
        let what = if change.added { "added" } else { "removed" };
        format!("the contract of `{}`, {what} at {:.3} s,", history.text(change.client), seconds(change.at))
            + &format!(" at `{}`", history.text(replica))
    };
    for ((position, replica), effect) in effects {
        let Some(change) = judged.get(*position) else { continue };
        if effect.offences.count > 0 {
            let lag = effect.last_old.unwrap_or(change.at).saturating_sub(change.at);
            let still = if change.added { "still refused" } else { "still admitted" };
            let explanation = format!(
                "{}: the client was {still} {:.3} s later (allowed {:.3} s)",
                told(change, *replica),
                seconds(lag),
                seconds(within)
            );
            let events = effect.offences.events.clone();
            let numbers = decided_by(numbers, if change.added { ADDED_AFTER } else { REMOVED_AFTER });
            return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
        }
    }
    let replicas: Vec<String> = scope.deployment.sites.iter().flat_map(|site| site.replica_names()).collect();
    let missing = judged.iter().enumerate().find_map(|(position, change)| {
        let unseen = |replica: &&String| {
            let found = history.name(replica).and_then(|name| effects.get(&(position, name)));
            found.is_none_or(|effect| effect.first_new.is_none())
        };
        replicas.iter().find(unseen).map(|replica| {
            let what = if change.added { "addition" } else { "removal" };
            let client = history.text(change.client);
            Reason::new(
                "too-few-samples",
                format!("the {what} of `{client}` was not seen to take effect at `{replica}`"),
            )
        })
    });
    let one_sided = (![true, false].iter().all(|added| judged.iter().any(|change| change.added == *added)))
        .then(|| Reason::new("too-few-samples", "no contract was added and removed while the control plane was there"));
    unless(Verdict::holds(10, Evidence { samples, numbers, notes: Vec::new() }), one_sided.or(missing))
}

fn outage_verdict(scope: &Scope<'_>, clients: &mut Clients<'_>) -> Verdict {
    let history = clients.history;
    let events = history.events();
    let outages = outages(history);
    let (mut accepted, mut undecided) = (0_u64, 0_u64);
    let (mut offences, mut first) = (Offences::default(), None);
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        let known = operation.credential == Credential::Valid && !is_set(&clients.changed, operation.key);
        if !known || !clients.concerns(operation) {
            continue;
        }
        let (sent, ended) = (view.sent_at(events), ended_at(view, events));
        if !outages.iter().any(|(from, to)| sent >= *from && sent <= *to)
            || clients.may_refuse(operation.target, sent, ended)
        {
            continue;
        }
        match decide(view, events) {
            Decision::Accepted => accepted = accepted.saturating_add(1),
            Decision::Refused => {
                first.get_or_insert_with(|| clients.told(view, operation, "refused valid client"));
                offences.add(history, telling_event(view, events));
            }
            Decision::ServerError | Decision::Undecided => undecided = undecided.saturating_add(1),
        }
    }
    let samples = accepted.saturating_add(offences.count);
    let longest = outages.iter().map(|(from, to)| to.saturating_sub(*from)).max().unwrap_or_default();
    let mut numbers = vec![
        Number::new("valid and refused while the control plane was away", count(offences.count), "requests").limit(0.0),
    ];
    if longest < u64::MAX / 2 {
        numbers.push(Number::new("control plane away for", seconds(longest), "s"));
    }
    if let Some(first) = first {
        let explanation = format!("{} of {samples} while the control plane was away: first {first}", offences.count);
        return Verdict::Violated(Counterexample { explanation, events: offences.events, samples, numbers });
    }
    let needed = nanos(scope.parameters.duration("outage"));
    let short = (longest.saturating_mul(10) < needed.saturating_mul(9)).then(|| {
        let text = format!("the control plane was away for {:.1} s of {:.1} s", seconds(longest), seconds(needed));
        Reason::new("fault-not-proven", text)
    });
    let doubtful = (undecided.saturating_mul(10) > samples.saturating_add(undecided)).then(|| {
        let text =
            format!("{undecided} valid requests got no decision while the control plane was away, {samples} did");
        Reason::new("too-few-samples", text)
    });
    unless(Verdict::holds(MINIMUM_CHANGES, Evidence { samples, numbers, notes: Vec::new() }), short.or(doubtful))
}

#[cfg(test)]
mod tests;
