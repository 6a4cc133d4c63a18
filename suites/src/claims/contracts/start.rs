//! CON-01 and CON-02: what the contract API does between a replica's start and its contracts, and without them.

use super::{MINIMUM_START, is_set, routes_where};
use crate::claims::common::{
    count, decided_by, doubt, end_of, faults, ms, nanos, phases, record_doubt, seconds, unless,
};
use crate::claims::lives::{Decision, Lives, Offences, decide, ended_at, status, telling_event};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy};
use gatecrash_model::history::EventKind;
use gatecrash_model::operation::{Credential, Verb, stream};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{Deployment, History, Name};

/// One start of one replica in a `hold` phase.
#[derive(Clone, Debug)]
struct Start {
    replica: Name,
    variant: Name,
    at: u64,
    /// End of this life as far as it is looked at: the replica's next start, else the end given by the claim.
    to: u64,
    /// When the control plane sent it contracts, ns.
    sent: Option<u64>,
    /// Contract API asked, in a way that could have broken the claim.
    asked: u64,
    contract_up: Option<u64>,
    plain_up: Option<u64>,
}

/// Starts of replicas in `hold` phases, in order of replica and time; `to_end`: a start's uses are looked at to
/// the end of the history instead of the end of its phase.
fn starts(deployment: &Deployment, history: &History, lives: &Lives, to_end: bool) -> Vec<Start> {
    let mut starts: Vec<Start> = Vec::new();
    let mut replicas: Vec<Name> = Vec::new();
    for (_, event) in history.others() {
        if let EventKind::Replica { replica, site, .. } = event.kind
            && deployment.site(history.text(site)).is_some_and(|of| is_replica_of(history.text(replica), &of.name))
            && !replicas.contains(&replica)
        {
            replicas.push(replica);
        }
    }
    let phases = phases(history);
    for replica in replicas {
        for phase in phases.iter().filter(|phase| history.text(phase.phase) == "hold") {
            for at in lives.starts(replica, phase.from, phase.to) {
                let limit = if to_end { end_of(history) } else { phase.to };
                let to = lives.starts(replica, at.saturating_add(1), limit).next().unwrap_or(limit);
                let variant = phase.variant;
                let (sent, asked, contract_up, plain_up) = (None, 0, None, None);
                starts.push(Start { replica, variant, at, to, sent, asked, contract_up, plain_up });
            }
        }
    }
    starts
}

/// Whether `component` is called as replicas of `site` are: `eu-3`, not `eu-upstream`.
fn is_replica_of(component: &str, site: &str) -> bool {
    component
        .strip_prefix(site)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// When each start was first sent its contracts.
fn read_downloads(history: &History, starts: &mut [Start]) {
    let (Some(control_plane), Some(contracts)) = (history.name(CONTROL_PLANE), history.name("contracts")) else {
        return;
    };
    for (_, event) in history.others() {
        let EventKind::Contact { component, peer, what, status, .. } = event.kind else { continue };
        if component != control_plane || what != contracts || !matches!(status, 200 | 304) {
            continue;
        }
        let of = starts.iter_mut().find(|start| start.replica == peer && (start.at..=start.to).contains(&event.at));
        if let Some(start) = of {
            start.sent = start.sent.or(Some(event.at));
        }
    }
}

/// The start in whose life an operation was sent.
fn start_of(starts: &mut [Start], replica: Name, sent: u64) -> Option<&mut Start> {
    starts.iter_mut().find(|start| start.replica == replica && sent >= start.at && sent <= start.to)
}

/// No answer of the contract API before the contracts were sent: no 2xx, no admission, no 401 or 403 that needs them.
pub(super) fn con_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("slow-contracts") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let lives = Lives::new(history);
    let events = history.events();
    let mut starts = starts(scope.deployment, history, &lives, true);
    read_downloads(history, &mut starts);
    if starts.iter().any(|start| start.sent.is_none()) && anonymous_contacts(history) {
        let text = "the control plane could not tell which replica asked for contracts";
        return Verdict::inconclusive("no-replica-identity", text);
    }
    if let Some(doubt) = starts.iter().any(|start| start.sent.is_none()).then(|| record_doubt(history)).flatten() {
        return Verdict::Inconclusive(doubt);
    }
    let contract = routes_where(scope.deployment, history, |policies| policies.contains(&Policy::ClientId));
    let (mut offences, mut first, mut earliest) = (Offences::default(), String::new(), None::<f64>);
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        if operation.verb != Verb::Call {
            continue;
        }
        let Some(start) = start_of(&mut starts, operation.target, view.sent_at(events)) else { continue };
        let (decision, ended) = (decide(view, events), ended_at(view, events));
        if !is_set(&contract, operation.route) {
            if decision == Decision::Accepted {
                start.plain_up = Some(start.plain_up.map_or(ended, |least| least.min(ended)));
            }
            continue;
        }
        let answered = view.arrival(events).map_or(ended, |(at, _)| at.min(ended));
        let before = start.sent.is_none_or(|sent| answered < sent);
        start.asked = start.asked.saturating_add(u64::from(start.sent.is_none_or(|sent| view.sent_at(events) < sent)));
        let needs_contracts = matches!(operation.credential, Credential::Valid | Credential::UnknownClient);
        let offends = decision == Decision::Accepted || decision == Decision::Refused && needs_contracts;
        if decision == Decision::Accepted && !before {
            start.contract_up = Some(start.contract_up.map_or(ended, |least| least.min(ended)));
        }
        if offends && before {
            let since = ms(answered.saturating_sub(start.at));
            if offences.count == 0 {
                let sent = start.sent.map_or_else(
                    || "it was never sent its contracts".to_owned(),
                    |sent| format!("it was sent its contracts at {:.1} ms", ms(sent.saturating_sub(start.at))),
                );
                first = format!(
                    "`{}` {} a request of `{}` for contract route `{}` {since:.1} ms after its start (status {}); {sent}",
                    history.text(start.replica),
                    if decision == Decision::Accepted { "accepted" } else { "refused" },
                    history.text(operation.key),
                    history.text(operation.route),
                    status(view, events),
                );
            }
            earliest = Some(earliest.map_or(since, |least: f64| least.min(since)));
            offences.add(history, telling_event(view, events));
        }
    }
    verdict_con_01(scope, history, &starts, offences, first, earliest)
}

fn anonymous_contacts(history: &History) -> bool {
    let contracts = history.name("contracts");
    history.others().any(|(_, event)| {
        matches!(event.kind, EventKind::Contact { peer, what, .. } if peer.is_none() && Some(what) == contracts)
    })
}

fn verdict_con_01(
    scope: &Scope<'_>,
    history: &History,
    starts: &[Start],
    offences: Offences,
    first: String,
    earliest: Option<f64>,
) -> Verdict {
    let samples = starts.iter().fold(0_u64, |sum, start| sum.saturating_add(start.asked));
    let mut numbers = vec![Number::new("answered before the contracts", count(offences.count), "requests").limit(0.0)];
    numbers.extend(earliest.map(|since| Number::new("earliest since the start", since, "ms")));
    let slowest = |what: fn(&Start) -> Option<u64>| {
        starts.iter().filter_map(|start| what(start).map(|at| at.saturating_sub(start.at))).max()
    };
    for (name, what) in [
        ("contracts sent after the start", (|start: &Start| start.sent) as fn(&Start) -> Option<u64>),
        ("contract API up after the start", |start| start.contract_up),
        ("plain API up after the start", |start| start.plain_up),
    ] {
        numbers.extend(slowest(what).map(|since| Number::new(name, ms(since), "ms")));
    }
    if offences.count > 0 {
        let explanation = format!("{} answers before the contracts were there; first: {first}", offences.count);
        return Verdict::Violated(Counterexample { explanation, events: offences.events, samples, numbers });
    }
    let delay = nanos(scope.parameters.duration("delay"));
    let not_slow = starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        let Some(sent) = start.sent else {
            return Some(Reason::new("too-few-samples", format!("`{name}` was never sent contracts")));
        };
        let took = sent.saturating_sub(start.at);
        if took.saturating_mul(10) < delay.saturating_mul(9) {
            let text = format!(
                "`{name}` was sent its contracts {:.1} ms after its start; they should have taken at least {:.1} ms",
                ms(took),
                ms(delay)
            );
            return Some(Reason::new("fault-not-proven", text));
        }
        if start.contract_up.is_none() {
            let text = format!("the contract API of `{name}` never served after the contracts were sent");
            return Some(Reason::new("too-few-samples", text));
        }
        (start.asked == 0).then(|| {
            Reason::new("too-few-samples", format!("the contract API of `{name}` was not asked before its contracts"))
        })
    });
    let none = starts.is_empty().then(|| Reason::new("too-few-samples", "no replica was started in the hold"));
    let held = Verdict::holds(MINIMUM_START, Evidence { samples, numbers, notes: Vec::new() });
    unless(held, none.or_else(|| doubt(history)).or(not_slow))
}

/// Size of the outage, in the numbers of CON-02.
const AWAY: &str = "contract API away at all replicas";

/// With the control plane away, the contract API comes up as the plain API does.
pub(super) fn con_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("start-without-control-plane") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let lives = Lives::new(history);
    let mut starts = starts(scope.deployment, history, &lives, false);
    let variants = [history.name("restart-one"), history.name("restart-all")];
    starts.retain(|start| variants.contains(&Some(start.variant)));
    read_downloads(history, &mut starts);
    read_service(scope.deployment, history, &mut starts);
    let observe = nanos(scope.parameters.duration("observe"));
    let down = |start: &&Start| {
        start.contract_up.is_none() && start.plain_up.is_some_and(|up| start.to.saturating_sub(up) >= observe)
    };
    let samples = u64::try_from(starts.len()).unwrap_or(u64::MAX);
    let outage = outage(scope.deployment, history, variants[1]);
    let so_many = u64::try_from(starts.iter().filter(down).count()).unwrap_or(u64::MAX);
    let mut numbers = vec![Number::new("starts without contract API", count(so_many), "").limit(0.0)];
    // The limit is the plain API: what it was away for, all replicas were.
    numbers.extend(outage.map(|(contract, plain)| Number::new(AWAY, seconds(contract), "s").limit(seconds(plain))));
    if let Some(first) = starts.iter().find(down) {
        let watched = first.to.saturating_sub(first.at);
        let plain = first.plain_up.unwrap_or(first.at).saturating_sub(first.at);
        let explanation = format!(
            "{so_many} of {samples} starts without the control plane: the contract API of `{}` ({}) was not seen to serve in {:.1} s, while its plain API served after {:.0} ms",
            history.text(first.replica),
            history.text(first.variant),
            seconds(watched),
            ms(plain),
        );
        // The measured size of the limit decides, where all replicas together were without it.
        let longer = outage.is_some_and(|(contract, plain)| contract > plain);
        let numbers = if longer { decided_by(numbers, AWAY) } else { numbers };
        let events = starts.iter().filter(down).take(3).filter_map(|start| start_event(history, start)).collect();
        // Absence is what is shown here: a record with holes cannot show it.
        return match record_doubt(history) {
            Some(doubt) => Verdict::Inconclusive(doubt),
            None => Verdict::Violated(Counterexample { explanation, events, samples, numbers }),
        };
    }
    let up = starts.iter().filter_map(|start| start.contract_up.map(|up| up.saturating_sub(start.at))).max();
    numbers.extend(up.map(|up| Number::new("contract API up after the start", ms(up), "ms")));
    let held = Verdict::holds(2, Evidence { samples, numbers, notes: Vec::new() });
    let missing = variants.iter().zip(["restart-one", "restart-all"]).find_map(|(variant, name)| {
        let none = !starts.iter().any(|start| Some(start.variant) == *variant);
        none.then(|| Reason::new("too-few-samples", format!("no replica was started in `{name}`")))
    });
    let unclear = starts.iter().find(|start| start.contract_up.is_none()).map(|start| {
        let text = format!(
            "neither API of `{}` was seen to serve long enough after its start ({:.1} s watched)",
            history.text(start.replica),
            seconds(start.to.saturating_sub(start.at))
        );
        Reason::new("too-few-samples", text)
    });
    unless(held, doubt(history).or(missing).or(unclear).or_else(|| still_reached(history, &lives, &starts)))
}

/// The start's own event, for the counterexample.
fn start_event(history: &History, start: &Start) -> Option<gatecrash_model::verdict::EventRef> {
    let is = |kind: &EventKind| matches!(kind, EventKind::Replica { replica, .. } if *replica == start.replica);
    let found = history.others().find(|(_, event)| event.at == start.at && is(&event.kind));
    found.map(|(position, _)| history.reference(position))
}

/// When each start's contract API and plain API first served a valid client.
fn read_service(deployment: &Deployment, history: &History, starts: &mut [Start]) {
    let events = history.events();
    let contract = routes_where(deployment, history, |policies| policies.contains(&Policy::ClientId));
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        let valid = matches!(operation.credential, Credential::Valid | Credential::NotNeeded);
        if operation.verb != Verb::Call || !valid || decide(view, events) != Decision::Accepted {
            continue;
        }
        let ended = ended_at(view, events);
        let Some(start) = start_of(starts, operation.target, view.sent_at(events)) else { continue };
        let up = if is_set(&contract, operation.route) { &mut start.contract_up } else { &mut start.plain_up };
        let at = view.arrival(events).map_or(ended, |(at, _)| at.min(ended));
        *up = Some(up.map_or(at, |least| least.min(at)));
    }
}

/// How long the contract API and the plain API of all replicas together did not serve around `restart-all`:
/// from the last answer before its phase to the first after it began (the end of the history if there was none).
fn outage(deployment: &Deployment, history: &History, variant: Option<Name>) -> Option<(u64, u64)> {
    let events = history.events();
    let phase = phases(history)
        .into_iter()
        .find(|phase| history.text(phase.phase) == "hold" && Some(phase.variant) == variant)?;
    // Answers of the replicas that are still to be killed may fall into the phase itself.
    let lives = Lives::new(history);
    let restarted = starts(deployment, history, &lives, false);
    let from = restarted
        .iter()
        .filter(|start| Some(start.variant) == variant)
        .map(|start| start.at)
        .min()
        .unwrap_or(phase.from);
    let contract = routes_where(deployment, history, |policies| policies.contains(&Policy::ClientId));
    let (mut last, mut next) = ([None::<u64>; 2], [end_of(history); 2]);
    for view in history.operations() {
        let Some(operation) = view.operation(events) else { continue };
        let wanted = [stream::CONTRACT, stream::CANARY].contains(&history.text(operation.stream));
        if !wanted || operation.credential.must_refuse() || decide(view, events) != Decision::Accepted {
            continue;
        }
        let which = usize::from(!is_set(&contract, operation.route));
        let ended = ended_at(view, events);
        let (Some(last), Some(next)) = (last.get_mut(which), next.get_mut(which)) else { continue };
        if view.sent_at(events) < from {
            *last = Some(last.map_or(ended, |most| most.max(ended)));
        } else {
            *next = (*next).min(ended);
        }
    }
    let away = |which: usize| Some(next.get(which)?.saturating_sub(last.get(which).copied().flatten()?));
    Some((away(0)?, away(1).unwrap_or_default()))
}

/// Why the control plane was not away: no fault on it during a start, or it sent contracts all the same.
fn still_reached(history: &History, lives: &Lives, starts: &[Start]) -> Option<Reason> {
    let faults = faults(history);
    let control_plane = history.name(CONTROL_PLANE);
    starts.iter().find_map(|start| {
        let name = history.text(start.replica);
        if start.sent.is_some() {
            let text = format!("`{name}` was sent contracts although the control plane should have been away");
            return Some(Reason::new("fault-not-proven", text));
        }
        let cut = faults.iter().any(|fault| {
            history.text(fault.target).contains(CONTROL_PLANE)
                && fault.from <= start.at
                && fault.healed.is_none_or(|healed| healed >= start.at)
        });
        let gone = control_plane.is_some_and(|name| lives.is_gone(name, start.at, start.at));
        (!cut && !gone).then(|| {
            Reason::new("fault-not-proven", format!("nothing kept the control plane away when `{name}` started"))
        })
    })
}

#[cfg(test)]
mod tests;
