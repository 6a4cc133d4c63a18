//! AVL-04 and AVL-05: what do clients get while a site is lost, and do both sites serve whenever both are there?

use super::seen::{Asked, Found, YOUNG, lost_at, phase_of, requests, success, uncertain, within};
use super::{FIRST_LOST, KILL, LINK, MOVED, RETURNS, SECOND_LOST};
use crate::claims::common::{Phase, count, decided_by, doubt, end_of, len, nanos, phases, seconds, unless};
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::EventKind;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};

/// Least number of requests that are judged.
pub(super) const MINIMUM: u64 = 200;

/// From all that was found to a verdict; what a late harness may have lost by itself breaks nothing.
pub(super) fn verdict(history: &History, found: Found, notes: Vec<String>) -> Verdict {
    conclude(history, found, notes, uncertain(history, 0, end_of(history)))
}

/// From all that was found to a verdict; with `uncertain` nothing is broken.
pub(super) fn conclude(history: &History, found: Found, notes: Vec<String>, uncertain: Option<Reason>) -> Verdict {
    let Found { broken, mut events, numbers, samples, missing } = found;
    if let Some((decided, _)) = broken.first() {
        if let Some(doubt) = uncertain {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = broken.into_iter().map(|(_, words)| words).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(missing))
}

/// The steady phase: it must be there, with success of at least `slo`, or nothing can hold.
pub(super) fn steady(history: &History, phases: &[Phase], all: &[Asked], slo: f64, found: &mut Found) -> Option<Phase> {
    let steady = phase_of(history, phases, "steady", "");
    // What was under way when the fault came is not of the steady state: on a busy machine that is one in seventy.
    let is_over = |asked: &Asked, to: u64| asked.ended <= to || asked.at.saturating_add(YOUNG) <= to;
    let before = steady.and_then(|steady| {
        let sent = within(all, steady.from, steady.to).iter();
        let over: Vec<Asked> = sent.filter(|asked| is_over(asked, steady.to)).copied().collect();
        success(&over)
    });
    if before.is_none_or(|share| share < slo) {
        let share = before.unwrap_or_default() * 100.0;
        let text = format!("`{}`: {share:.2} % succeeded before the fault", history.experiment());
        found.missing = Some(Reason::new("no-steady-state", text));
    }
    steady
}

/// Whether the clients were moved later than `until` after the loss at `lost`: then what follows is not the gateways'.
pub(super) fn moved_late(history: &History, (lost, until, to): (u64, u64, u64)) -> Option<Reason> {
    let moved = history.marks(MOVED).find(|(at, _, value, _)| *value == 1 && (lost..to).contains(at));
    match moved {
        Some((at, ..)) if at <= until => None,
        Some((at, ..)) => {
            let text = format!(
                "clients were moved {:.2} s later than they should have been",
                seconds(at.saturating_sub(until))
            );
            Some(Reason::new("harness-late", text))
        }
        None => Some(Reason::new("too-few-samples", "the clients of the lost site were never moved")),
    }
}

/// Least number of replicas that the ingresses used at the same time in `from..to`: what was left to serve with.
fn least_in_rotation(scope: &Scope<'_>, history: &History, from: u64, to: u64) -> u64 {
    let ingresses: Vec<_> = scope.deployment.sites.iter().map(|site| history.name(&site.ingress())).collect();
    let mut used: Vec<gatecrash_model::Name> = Vec::new();
    let mut least = None;
    for (_, event) in history.others().take_while(|(_, event)| event.at < to) {
        let EventKind::Contact { component, peer, what, .. } = event.kind else { continue };
        if !ingresses.contains(&Some(component)) {
            continue;
        }
        if event.at >= from && least.is_none() {
            least = Some(used.len());
        }
        used.retain(|known| *known != peer);
        if history.text(what) == "in-rotation" {
            used.push(peer);
        }
        least = least.map(|least| least.min(used.len()));
    }
    len(least.unwrap_or(used.len()))
}

pub(super) fn avl_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("double-jeopardy") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    if let Some(site) = scope.deployment.sites.iter().find(|site| site.replicas < 2) {
        let text = format!("site `{}` has one gateway: its maintenance takes the site away", site.name);
        return Verdict::NotApplicable(Reason::new("one-gateway", text));
    }
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let (failover, allowed) =
        (nanos(scope.parameters.duration("failover")), nanos(scope.parameters.latency("silence")));
    let all = requests(history);
    let mut found = Found::default();
    let mut capacity = Vec::new();
    steady(history, &phases, &all, slo, &mut found);
    for (variant, when) in [
        (FIRST_LOST, "first site lost, second in maintenance"),
        (SECOND_LOST, "second site lost, first in maintenance"),
        (RETURNS, "first site lost and back in the middle of the second's maintenance"),
    ] {
        let (hold, lost) = (phase_of(history, &phases, "hold", variant), lost_at(history, &phases, variant));
        let (Some(hold), Some(lost)) = (hold, lost) else {
            found.few(format!("it was never seen: {when}"));
            continue;
        };
        let from = lost.saturating_add(failover);
        if let Some(late) = moved_late(history, (lost, from, hold.to)) {
            found.missing = found.missing.or(Some(late));
            continue;
        }
        found.success(history, when, within(&all, from, hold.to), slo);
        found.silence(history, when, &all, (from, hold.to), allowed);
        capacity.push(Number::new(
            format!("fewest replicas in rotation ({when})"),
            count(least_in_rotation(scope, history, lost, hold.to)),
            "",
        ));
        if let Some(settle) = phase_of(history, &phases, "settle", variant) {
            found.success(history, &format!("after: {when}"), within(&all, settle.from, settle.to), slo);
        } else {
            found.few(format!("nothing was seen after: {when}"));
        }
    }
    found.numbers.extend(capacity);
    verdict(history, found, Vec::new())
}

/// Whole windows of `length` in the phase in which a site of the deployment had no success, the first one in words, and how many there were.
fn both_serve(
    scope: &Scope<'_>,
    history: &History,
    all: &[Asked],
    phase: Phase,
    length: u64,
    found: &mut Found,
    when: &str,
) {
    let sites: Vec<_> = scope.deployment.sites.iter().map(|site| (site, history.name(&site.name))).collect();
    let (mut windows, mut empty): (u64, Vec<(String, u64)>) = (0, Vec::new());
    let mut from = phase.from;
    while length > 0 && from.saturating_add(length) <= phase.to {
        windows = windows.saturating_add(1);
        let asked = within(all, from, from.saturating_add(length));
        for (site, name) in &sites {
            if !asked.iter().any(|asked| asked.ok && Some(asked.site) == *name) {
                empty.push((site.name.clone(), from));
            }
        }
        from = from.saturating_add(length);
    }
    let name = format!("windows in which a site did not serve ({when})");
    found.numbers.push(Number::new(&name, count(len(empty.len())), "").limit(0.0));
    if windows == 0 {
        found.few(format!("{when}: not one whole window"));
    }
    if let Some((site, at)) = empty.first() {
        let text = format!("{when}: `{site}` served nothing in the second from {:.2} s on", seconds(*at));
        let event = within(all, *at, u64::MAX).first().map_or(phase.event, |asked| asked.event);
        found.break_by(history, name, text, Some(event));
    }
}

pub(super) fn avl_05(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("site-loss") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let (failover, window) = (nanos(scope.parameters.duration("failover")), nanos(scope.parameters.latency("silence")));
    let all = requests(history);
    let mut found = Found::default();
    let mut notes = Vec::new();
    if let Some(steady) = steady(history, &phases, &all, slo, &mut found) {
        both_serve(scope, history, &all, steady, window, &mut found, "before the loss");
        let asked = within(&all, steady.from, steady.to);
        let successes = len(asked.iter().filter(|asked| asked.ok).count());
        let sites = count(len(scope.deployment.sites.len().max(1)));
        let least = scope.parameters.number("share") * 2.0 / sites;
        for site in &scope.deployment.sites {
            let name = history.name(&site.name);
            let own = len(asked.iter().filter(|asked| asked.ok && Some(asked.site) == name).count());
            let share = if successes == 0 { 0.0 } else { count(own) / count(successes) * 100.0 };
            let number = format!("share of `{}`", site.name);
            found.numbers.push(Number::new(&number, share, "%").limit(least));
            if share < least && successes >= MINIMUM / 2 {
                let text = format!("`{}` had {share:.1} % of the traffic; {least:.1} % are needed", site.name);
                found.break_by(history, number, text, Some(steady.event));
            }
        }
    }
    let killed = "one site killed";
    match (phase_of(history, &phases, "hold", KILL), lost_at(history, &phases, KILL)) {
        (Some(hold), Some(lost)) => {
            let from = lost.saturating_add(failover);
            if let Some(late) = moved_late(history, (lost, from, hold.to)) {
                found.missing = found.missing.or(Some(late));
            } else {
                found.success(history, killed, within(&all, from, hold.to), slo);
                found.silence(history, killed, &all, (from, hold.to), window);
            }
        }
        _ => found.few("no site was killed"),
    }
    let mut stretch =
        |name: &str, variant: &str, when: &str, needed: bool| match phase_of(history, &phases, name, variant) {
            Some(phase) => {
                both_serve(scope, history, &all, phase, window, &mut found, when);
                found.success(history, when, within(&all, phase.from, phase.to), slo);
            }
            None if needed => found.few(format!("it was never seen: {when}")),
            None => notes.push(format!("not seen, as the sites share nothing: {when}")),
        };
    let shared = scope.deployment.shares_store();
    stretch("settle", KILL, "after the killed site came back", true);
    stretch("hold", LINK, "the way between the sites cut", shared);
    stretch("settle", LINK, "after the way between the sites was cut", shared);
    verdict(history, found, notes)
}
