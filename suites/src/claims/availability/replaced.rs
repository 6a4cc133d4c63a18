//! AVL-03: how soon does another replica serve in the place of one that is dead or hung, and what do clients lose meanwhile?
//!
//! A successor serves from its first good sample on: every route right, with a credential and without. Requests are lost until whoever
//! sends them knows better: what was under way at the loss, and the lost one's share for as long as a load balancer may take to notice.

use super::seen::{Asked, Found, YOUNG, requests_of, within};
use super::sites::{conclude, steady};
use crate::claims::common::{count, late_doubt, len, ms, nanos, phases, record_doubt, seconds, unless};
use crate::claims::losses::{
    AGAIN, CLOSED, HUNG, KILLED, Loss, ON_NEW, REPLICA_LOSS, losses, platform_doubt, started_since,
};
use crate::claims::serving::{Sample, samples};
use gatecrash_model::History;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use std::time::Duration;

/// A load balancer is never held to less: it needs two probes to be sure, and a probe of one that hangs takes its time.
const LEAST_DETECTION: Duration = Duration::from_secs(1);
/// How long the clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn avl_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(REPLICA_LOSS) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let all = requests_of(history, &[streams::TRAFFIC, ON_NEW]);
    let (losses, samples) = (losses(history, &phases), samples(history));
    let mut found = Found::default();
    steady(history, &phases, &all, slo, &mut found);
    let mut notes = Vec::new();
    for (variant, when) in
        [(KILLED, "killed"), (AGAIN, "killed again"), (HUNG, "hung"), (CLOSED, "port closed, process alive")]
    {
        let Some(loss) = losses.iter().find(|loss| history.text(loss.variant) == variant) else {
            // Who was never replaced cannot be killed again.
            let first = losses.iter().find(|loss| history.text(loss.variant) == KILLED);
            if variant == AGAIN && first.is_some_and(|first| first.successor.is_none()) {
                notes.push("nobody was killed again: the first had no successor".to_owned());
            } else {
                found.few(format!("it was never seen: {when}"));
            }
            continue;
        };
        replaced(scope, history, (loss, when), &losses, &samples, &mut found);
        lost(scope, history, (loss, when), &all, &mut found);
    }
    notes.push(
        "a closed port is closed by the links to it: whoever dials it is refused, and its process does not know"
            .to_owned(),
    );
    let doubtful = platform_doubt(history, &losses);
    let uncertain = record_doubt(history).or_else(|| doubtful.clone());
    unless(conclude(history, found, notes, uncertain), doubtful)
}

/// When the successor of `loss` first served, ns, if it did before it was itself lost.
fn served(loss: &Loss, losses: &[Loss], samples: &[Sample]) -> Option<u64> {
    let (successor, since, _) = loss.successor?;
    let lost_itself = losses.iter().find(|other| other.replica == successor && other.planned > since);
    let until = lost_itself.map_or(u64::MAX, |other| other.planned);
    let first = samples.iter().find(|one| one.replica == successor && one.good && one.from >= since && one.to <= until);
    first.map(|one| one.to)
}

/// Whether the harness was later than a tenth of `window` in `from..to` (ns): what was seen in it may be its own, and cannot hold either.
fn is_late(history: &History, window: Duration, (from, to): (u64, u64), found: &mut Found) -> bool {
    let late = late_doubt(history, window, from, to);
    let is_late = late.is_some();
    found.missing = found.missing.take().or(late);
    is_late
}

/// Was it replaced in time?
fn replaced(
    scope: &Scope<'_>,
    history: &History,
    (loss, when): (&Loss, &str),
    losses: &[Loss],
    samples: &[Sample],
    found: &mut Found,
) {
    let allowed = loss.allowed(nanos(scope.parameters.duration("respawn")), scope.scale);
    let from = loss.fault.from;
    let replica = history.text(loss.replica);
    let name = format!("loss to first correct answer of the successor ({when})");
    let noticed = loss.found.map(|at| seconds(at.saturating_sub(from)));
    let noticed = noticed.map(|took| Number::new(format!("loss to detection ({when})"), took, "s"));
    if let Some(at) = served(loss, losses, samples) {
        let took = at.saturating_sub(from);
        found.numbers.push(Number::new(&name, seconds(took), "s").limit(seconds(allowed)));
        found.numbers.extend(noticed);
        if let Some((successor, since, position)) = loss.successor {
            let started = started_since(history, successor, since).unwrap_or(since);
            let ttfr = ms(at.saturating_sub(started));
            found.numbers.push(Number::new(format!("start to first correct answer ({when})"), ttfr, "ms"));
            if took > allowed && !is_late(history, scope.parameters.duration("respawn"), (from, at), found) {
                let text = format!(
                    "{when}: `{}` served in the place of `{replica}` {:.2} s after its loss; {:.2} s are allowed",
                    history.text(successor),
                    seconds(took),
                    seconds(allowed)
                );
                found.break_by(history, name, text, Some(position));
            }
        }
        return;
    }
    let watched = loss.watched_until().saturating_sub(from);
    if watched <= allowed {
        found.few(format!(
            "{when}: `{replica}` had no successor that served, and was watched for {:.2} s only",
            seconds(watched)
        ));
    } else if let Some(text) = loss.fault.unproven(history) {
        // One that was not lost needs no successor.
        found.missing.get_or_insert(Reason::new("fault-not-proven", format!("`{}`: {text}", history.experiment())));
    } else if !is_late(history, scope.parameters.duration("respawn"), (from, loss.watched_until()), found) {
        let name = format!("no successor served for ({when})");
        found.numbers.push(Number::new(&name, seconds(watched), "s").limit(seconds(allowed)));
        found.numbers.extend(noticed);
        let who =
            loss.successor.map_or("nobody".to_owned(), |(successor, ..)| format!("`{}`", history.text(successor)));
        let text = format!(
            "{when}: in the place of `{replica}` {who} was started, and nobody served for {:.2} s; {:.2} s are allowed",
            seconds(watched),
            seconds(allowed)
        );
        found.break_by(history, name, text, Some(loss.fault.event));
    }
}

/// Whether a request was under way at `at` (ns). One that hangs for longer is the loss before.
fn under_way(asked: &Asked, at: u64) -> bool {
    asked.at < at && asked.at.saturating_add(YOUNG) >= at && asked.ended > at
}

/// Were more requests lost than were under way, and than the lost one's share of those that were sent until it could be known?
fn lost(scope: &Scope<'_>, history: &History, (loss, when): (&Loss, &str), all: &[Asked], found: &mut Found) {
    let detection = nanos(scope.parameters.duration("detection").max(LEAST_DETECTION));
    let site = history.text(loss.replica).rsplit_once('-').map_or("", |(site, _)| site);
    let site = scope.deployment.sites.iter().find(|known| known.name == site);
    let replicas = site.map_or(1, |site| site.replicas.max(1));
    let before = all.iter().filter(|asked| under_way(asked, loss.planned));
    let since = within(all, loss.planned, loss.until);
    let early = within(all, loss.planned, loss.fault.from.saturating_add(detection).min(loss.until));
    found.samples = found.samples.saturating_add(len(since.len()));
    let own = since.iter().filter(|asked| !under_way(asked, loss.until));
    let failed = before.clone().chain(own).filter(|asked| !asked.ok);
    let first = failed.clone().next();
    let (failed, under_way) = (len(failed.count()), len(before.count()));
    let allowed = under_way.saturating_add(len(early.len()).div_ceil(u64::from(replicas)));
    let name = format!("lost requests ({when})");
    found.numbers.push(Number::new(&name, count(failed), "requests").limit(count(allowed)));
    if failed > allowed && !is_late(history, PATIENCE, (loss.planned, loss.until), found) {
        let text = format!(
            "{when}: {failed} requests were lost; {under_way} were under way, and one of {replicas} of the {} in the {:.2} s in which that could be noticed",
            early.len(),
            seconds(detection)
        );
        found.break_by(history, name, text, first.map(|asked| asked.event));
    }
}
