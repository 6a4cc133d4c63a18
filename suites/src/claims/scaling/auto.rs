//! SCL-01: did a busy cluster get a replica more, in time, in a zone of its own and without errors, never too many, and did it become as small as before?

use super::{AUTOSCALING, AWAY, BUSY, LOAD_SHORT, LOADED};
use crate::claims::case::Case;
use crate::claims::common::{Phase, count, end_of, faults, late_doubt, nanos, phases, seconds, stream};
use crate::claims::draining::Failures;
use crate::claims::lives::Lives;
use crate::claims::losses::platform_doubt;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Site;
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Least number of requests.
pub(super) const MINIMUM: u64 = 300;
/// A replica joins until it has served so long, scaled.
const JOINS: Duration = Duration::from_secs(10);
const LEAST_JOINS: Duration = Duration::from_secs(1);

const RISES: &str = "one more serves after";
const NOBODY: &str = "busy without one more for";
const MOST: &str = "replicas at most";
const TOGETHER: &str = "replicas in a zone that others could spare";
const BACK: &str = "as few as before after";
const FAILED: &str = "failed while one joined";

/// Replicas are busy, one comes, the load goes.
struct Round {
    /// From its load to the beginning of the next, ns.
    from: u64,
    to: u64,
    is_away: bool,
    /// When replicas used what they were to, ns, with its event.
    loaded: Option<(u64, usize)>,
    /// When the control plane was there again, ns; 0 where it always was.
    healed: u64,
    /// When the load went, ns.
    settles: u64,
}

/// A replica that the platform added.
struct Newcomer {
    replica: Name,
    at: u64,
    /// How many there were with it.
    with: i64,
    event: usize,
    ready: Option<u64>,
}

fn rounds(history: &History, phases: &[Phase], site: Name) -> Vec<Round> {
    let named = |phase: &Phase, name: &str| history.text(phase.phase) == name;
    let mut rounds: Vec<Round> = Vec::new();
    let mut last = None;
    for phase in phases {
        if named(phase, "hold") && last != Some(phase.variant) {
            last = Some(phase.variant);
            if let Some(before) = rounds.last_mut() {
                before.to = phase.from;
            }
            let settle = phases.iter().find(|later| named(later, "settle") && later.variant == phase.variant);
            let settles = settle.map_or(phase.to, |settle| settle.from);
            let is_away = history.text(phase.variant) == AWAY;
            let end = phases.iter().find(|later| named(later, "end")).map_or(u64::MAX, |end| end.from);
            let within = phase.from..settles;
            let loaded = history.marks(LOADED).find(|(at, of, ..)| within.contains(at) && *of == site);
            let healed = faults(history).iter().filter_map(|fault| fault.healed).find(|at| within.contains(at));
            rounds.push(Round {
                from: phase.from,
                to: end,
                is_away,
                loaded: loaded.map(|(at, .., event)| (at, event)),
                healed: healed.filter(|_| is_away).unwrap_or_default(),
                settles,
            });
        }
    }
    rounds
}

fn newcomers(history: &History, lives: &Lives) -> Vec<Newcomer> {
    let ready = |replica, since| {
        let turn = lives.of(replica).iter().find(|turn| turn.at >= since && turn.state == ReplicaState::Ready);
        turn.map(|turn| turn.at)
    };
    let added = history.marks(mark::SCALED_OUT);
    added.map(|(at, replica, with, event)| Newcomer { replica, at, with, event, ready: ready(replica, at) }).collect()
}

/// Whether one more was there and served in time, in each round.
fn rises(scope: &Scope<'_>, history: &History, rounds: &[Round], newcomers: &[Newcomer], found: &mut Case) {
    let allowed = scope.parameters.duration("out");
    let (mut slowest, mut longest): (Option<u64>, Option<u64>) = (None, None);
    for round in rounds {
        let Some((loaded, event)) = round.loaded else {
            let most = history.marks(LOAD_SHORT).map(|(_, _, percent, _)| percent).max();
            let seen = most.map_or_else(String::new, |percent| format!(": they used {percent} % of what they request"));
            found.few(format!("no load that the machine carries was enough to keep the replicas busy{seen}"));
            continue;
        };
        // What is not configured may wait for who configures it, and no longer.
        let since = loaded.max(round.healed);
        let new = newcomers.iter().find(|new| (round.from..round.to).contains(&new.at));
        let (took, text) = match new.map(|new| (new, new.ready)) {
            Some((_, Some(ready))) => (ready.saturating_sub(since), "one more served only after".to_owned()),
            Some((new, None)) => {
                let text = format!("`{}` was started, and did not serve within", history.text(new.replica));
                (round.settles.saturating_sub(since), text)
            }
            None => (round.settles.saturating_sub(loaded), "nobody came within".to_owned()),
        };
        let came = new.is_some_and(|new| new.ready.is_some());
        let (name, worst) = if came { (RISES, &mut slowest) } else { (NOBODY, &mut longest) };
        *worst = Some(worst.map_or(took, |worst| worst.max(took)));
        if took > nanos(allowed) {
            let away = if round.is_away { ", with the control plane away at first" } else { "" };
            let text = format!("replicas were busy, and {text} {:.1} s{away}", seconds(took));
            found.break_by(name, text, [history.reference(new.map_or(event, |new| new.event))]);
        } else if !came {
            found.few(format!("that nobody came was watched for {:.1} s only", seconds(took)));
        }
    }
    for (name, worst) in [(RISES, slowest), (NOBODY, longest)] {
        let number = worst.map(|worst| Number::new(name, seconds(worst), "s").limit(allowed.as_secs_f64()));
        found.numbers.extend(number);
    }
}

/// Whether there were ever too many.
fn most(scope: &Scope<'_>, history: &History, newcomers: &[Newcomer], found: &mut Case) {
    // Whoever declares eleven, and sets three, may have three.
    let set = scope.deployment.autoscale().map_or(f64::INFINITY, |rules| f64::from(rules.max_replicas));
    let allowed = scope.parameters.number("maximum").min(set);
    let Some(most) = newcomers.iter().max_by_key(|new| new.with) else { return };
    let with = u64::try_from(most.with).map_or(0.0, count);
    found.numbers.push(Number::new(MOST, with, "replicas").limit(allowed));
    if with > allowed {
        let text = format!("`{}` was the {with:.0}th replica; {allowed:.0} there may be", history.text(most.replica));
        found.break_by(MOST, text, [history.reference(most.event)]);
    }
}

/// Whether any zone got a second one while another had none.
fn zones(history: &History, site: &Site, newcomers: &[Newcomer], found: &mut Case) {
    if site.zones.len() < 2 {
        found.notes.push("the site has one zone: nothing is said of zones".to_owned());
        return;
    }
    let first = (1..=site.replicas).map(|number| (format!("{}-{number}", site.name), site.zone_of(number).to_owned()));
    let mut there: BTreeMap<String, String> = first.collect();
    let mut changes: Vec<(u64, Name, Option<usize>, usize)> = Vec::new();
    for (at, replica, number, event) in history.marks(mark::SUCCESSOR_ZONE) {
        changes.push((at, replica, usize::try_from(number.saturating_sub(1)).ok(), event));
    }
    changes.extend(history.marks(mark::SCALED_IN).map(|(at, replica, _, event)| (at, replica, None, event)));
    changes.sort_by_key(|(at, ..)| *at);
    let mut together: u64 = 0;
    for (_, replica, zone, event) in changes {
        let replica = history.text(replica).to_owned();
        let Some(zone) = zone.and_then(|at| site.zones.get(at)) else {
            there.remove(&replica);
            continue;
        };
        let empty = site.zones.iter().find(|zone| there.values().all(|taken| taken != *zone));
        if let Some(empty) = empty.filter(|_| there.values().any(|taken| taken == zone)) {
            together = together.saturating_add(1);
            let text = format!("`{replica}` was put into zone `{zone}`, which had a replica, while `{empty}` had none");
            found.break_by(TOGETHER, text, [history.reference(event)]);
        }
        there.insert(replica, zone.clone());
    }
    if !newcomers.is_empty() {
        found.numbers.push(Number::new(TOGETHER, count(together), "replicas").limit(0.0));
    }
}

/// Whether the site became as small as it was when the load had gone, and no smaller.
fn back(
    scope: &Scope<'_>,
    history: &History,
    (rounds, site, lives): (&[Round], &Site, &Lives),
    newcomers: &[Newcomer],
    found: &mut Case,
) {
    let allowed = scope.parameters.duration("in");
    let mut worst: Option<u64> = None;
    for round in rounds {
        let Some(new) = newcomers.iter().rfind(|new| (round.from..round.to).contains(&new.at)) else { continue };
        let within = new.at..round.to;
        let gone = history.marks(mark::SCALED_IN).filter(|(at, ..)| within.contains(at));
        let last = gone.filter(|(.., left, _)| *left <= i64::from(site.replicas)).last();
        let ended = last.and_then(|(at, replica, ..)| lives.gone_in(replica, at, round.to));
        let took = ended.unwrap_or(round.to.min(end_of(history))).saturating_sub(round.settles);
        worst = Some(worst.map_or(took, |worst| worst.max(took)));
        if took > nanos(allowed) {
            let text = if ended.is_some() {
                "there were as few as before only after"
            } else {
                "there were more than before for"
            };
            let text = format!("{text} {:.1} s without load", seconds(took));
            found.break_by(BACK, text, [history.reference(new.event)]);
        } else if ended.is_none() {
            found.few(format!("how many are left was watched for {:.1} s only", seconds(took)));
        }
    }
    for (_, replica, left, event) in history.marks(mark::SCALED_IN) {
        if left < i64::from(site.replicas) {
            let text = format!("`{}` was taken away, though only {left} were left then", history.text(replica));
            found.numbers.push(
                Number::new("replicas at least", u64::try_from(left).map_or(0.0, count), "replicas")
                    .limit(f64::from(site.replicas)),
            );
            found.break_by("replicas at least", text, [history.reference(event)]);
        }
    }
    if let Some(worst) = worst {
        found.numbers.push(Number::new(BACK, seconds(worst), "s").limit(allowed.as_secs_f64()));
    }
}

/// Whether requests failed while a replica joined.
fn joins(scope: &Scope<'_>, history: &History, newcomers: &[Newcomer], found: &mut Case) -> Failures {
    let allowed = scope.parameters.number("errors");
    let joins = nanos(JOINS.mul_f64(scope.scale).max(LEAST_JOINS));
    let windows: Vec<(u64, u64)> =
        newcomers.iter().map(|new| (new.at, new.ready.map_or(u64::MAX, |ready| ready.saturating_add(joins)))).collect();
    let (mut all, mut joining) = (Failures::default(), Failures::default());
    for seen in stream(history, BUSY) {
        all.add(history, &seen);
        if windows.iter().any(|(from, to)| (*from..*to).contains(&seen.sent)) {
            joining.add(history, &seen);
        }
    }
    if joining.asked > 0 {
        let share = count(joining.failed) / count(joining.asked);
        found.numbers.push(Number::new(FAILED, share * 100.0, "%").limit(allowed * 100.0));
        if share > allowed {
            match joining.doubt(history) {
                Some(doubt) => found.busy(doubt),
                None => {
                    let first = joining.first.clone().unwrap_or_default();
                    let (failed, asked) = (joining.failed, joining.asked);
                    let text = format!("{failed} of {asked} requests failed while a replica joined; first: {first}");
                    found.break_by(FAILED, text, joining.events.iter().cloned());
                }
            }
        }
    } else if !newcomers.is_empty() {
        found.few("nothing was asked while a replica joined");
    }
    all
}

pub(super) fn scl_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(AUTOSCALING) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let mut found = Case::default();
    let marked = history.marks(LOADED).chain(history.marks(LOAD_SHORT)).next();
    let site = marked.and_then(|(_, site, ..)| Some((site, scope.deployment.site(history.text(site))?)));
    let Some((name, site)) = site else {
        let text = format!("`{}`: nobody tried to keep replicas busy", history.experiment());
        return Verdict::Inconclusive(Reason::new("too-few-samples", text));
    };
    if let Some(doubt) = platform_doubt(history, &[]) {
        return Verdict::Inconclusive(doubt);
    }
    let lives = Lives::new(history);
    let (rounds, newcomers) = (rounds(history, &phases(history), name), newcomers(history, &lives));
    rises(scope, history, &rounds, &newcomers, &mut found);
    most(scope, history, &newcomers, &mut found);
    zones(history, site, &newcomers, &mut found);
    back(scope, history, (&rounds, site, &lives), &newcomers, &mut found);
    let all = joins(scope, history, &newcomers, &mut found);
    found.numbers.push(Number::new("n, requests through the ingress", count(all.asked), "requests"));
    found.numbers.push(Number::new("of them failed", count(all.failed), "requests"));
    let started = newcomers.iter().filter_map(|new| Some(new.ready?.saturating_sub(new.at))).max();
    if let Some(started) = started {
        found.numbers.push(Number::new("from its start to ready", seconds(started), "s"));
    }
    if rounds.iter().all(|round| !round.is_away) {
        found.notes.push("nothing was seen of scaling while the control plane is away".to_owned());
    }
    let (out, from) = (scope.parameters.duration("out"), rounds.first().map_or(0, |round| round.from));
    found.verdict(history, (all.asked, MINIMUM), || late_doubt(history, out, from, end_of(history)))
}
