//! AVL-01: how many replicas serve, at any time, and in how many zones?
//!
//! A replica serves from the end of its first good sample on, until a sample of it fails, nothing is heard of it any more, or something is done to it. Read
//! literally, "at least R at all times" cannot hold where R replicas are all that there are and one of them is lost (K2). So what is judged is the operational
//! reading: fewer than R serve only for T after a loss. How the literal one stands is printed.

use super::seen::Found;
use super::sites::conclude;
use crate::claims::common::{Phase, count, end_of, late_doubt, len, nanos, phases, record_doubt, seconds, unless};
use crate::claims::losses::{AGAIN, CLOSED, HUNG, KILLED, Loss, REPLICA_LOSS, losses, platform_doubt};
use crate::claims::serving::{Sample, samples};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Site;
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a good sample stands for its replica if no other follows, ns: they come once a second at least.
const HEARD: u64 = 2_000_000_000;
/// A sample waits so long for an answer: a harness that is later than a tenth of it may have made it fail.
const PATIENCE: Duration = Duration::from_secs(1);
/// Steps of the series that are told.
const TOLD: usize = 24;

/// A stretch in which the same replicas serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from: u64,
    to: u64,
    serving: u32,
    zones: usize,
}

/// The stretches in which a replica serves, ns, each closed at its start and open at its end.
fn served(of_replica: &[&Sample], hurt: &[u64], end: u64) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = Vec::new();
    let mut since: Option<u64> = None;
    for (number, sample) in of_replica.iter().enumerate() {
        if !sample.good {
            // One that was under way when something was done to its replica fails for that, and not since it was sent.
            let explained = hurt.iter().copied().find(|at| (sample.from..=sample.to).contains(at));
            if let (Some(at), Some(last)) = (explained, all.last_mut().filter(|last| last.1 == sample.from)) {
                last.1 = at;
            }
            since = None;
            continue;
        }
        let next = of_replica.get(number.saturating_add(1)).map_or(end, |next| next.from);
        let heard = next.min(sample.to.saturating_add(HEARD)).min(end);
        // What was asked before something was done to it says nothing of the time afterwards.
        let until = hurt.iter().copied().filter(|at| *at >= sample.from).min().unwrap_or(u64::MAX).min(heard);
        let from = since.map_or(sample.to, |_| sample.from);
        if until > from {
            match all.last_mut() {
                Some(last) if last.1 == from => last.1 = until,
                _ => all.push((from, until)),
            }
        }
        since = (until == next).then_some(until);
    }
    all
}

/// The zones of replicas: as the deployment has them, and where the platform put successors.
fn zones(history: &History, site: &Site) -> BTreeMap<Name, String> {
    let mut zones = BTreeMap::new();
    for (index, name) in (1..=site.replicas).zip(site.replica_names()) {
        if let Some(name) = history.name(&name) {
            zones.insert(name, site.zone_of(index).to_owned());
        }
    }
    for (_, replica, number, _) in history.marks(mark::SUCCESSOR_ZONE) {
        let at = usize::try_from(number.saturating_sub(1)).ok();
        if let Some(zone) = at.and_then(|at| site.zones.get(at)) {
            zones.insert(replica, zone.clone());
        }
    }
    zones
}

/// Who serves, step by step, in `from..to` (ns).
fn series(
    stretches: &BTreeMap<Name, Vec<(u64, u64)>>,
    zones: &BTreeMap<Name, String>,
    (from, to): (u64, u64),
) -> Vec<Step> {
    let mut edges: BTreeSet<u64> = stretches.values().flatten().flat_map(|(start, end)| [*start, *end]).collect();
    edges.extend([from, to]);
    let edges: Vec<u64> = edges.into_iter().filter(|at| (from..=to).contains(at)).collect();
    let mut steps: Vec<Step> = Vec::new();
    for pair in edges.windows(2) {
        let &[start, end] = pair else { continue };
        let serves = |stretches: &&Vec<(u64, u64)>| stretches.iter().any(|(from, to)| *from <= start && *to >= end);
        let serving: Vec<Name> =
            stretches.iter().filter(|(_, stretches)| serves(stretches)).map(|(name, _)| *name).collect();
        let in_zones: BTreeSet<&str> = serving.iter().filter_map(|name| zones.get(name)).map(String::as_str).collect();
        let step = Step {
            from: start,
            to: end,
            serving: u32::try_from(serving.len()).unwrap_or(u32::MAX),
            zones: in_zones.len(),
        };
        match steps.last_mut() {
            Some(last) if (last.serving, last.zones) == (step.serving, step.zones) => last.to = end,
            _ => steps.push(step),
        }
    }
    steps
}

/// The series in words: `2 from 1.30 s, 1 from 20.00 s`.
fn told(steps: &[Step]) -> String {
    let each = steps.iter().take(TOLD).map(|step| format!("{} from {:.2} s", step.serving, seconds(step.from)));
    let more = if steps.len() > TOLD {
        format!(", and {} steps more", steps.len().saturating_sub(TOLD))
    } else {
        String::new()
    };
    each.collect::<Vec<_>>().join(", ") + &more
}

/// The site that the story is about: that of the first replica that was lost, else the first that has several.
fn site_of<'s>(scope: &Scope<'s>, history: &History, losses: &[Loss]) -> Option<&'s Site> {
    let sites = &scope.deployment.sites;
    let lost = losses.first().and_then(|loss| history.text(loss.replica).rsplit_once('-'));
    match lost {
        Some((site, _)) => sites.iter().find(|known| known.name == site),
        None => sites.iter().find(|site| site.replicas >= 2),
    }
}

pub(super) fn avl_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(REPLICA_LOSS) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let (losses, samples) = (losses(history, &phases), samples(history));
    let mut found = Found::default();
    let mut notes = Vec::new();
    let site = site_of(scope, history, &losses);
    let begin = site.and_then(|site| begin(history, site, &samples));
    if let (Some(site), Some(begin)) = (site, begin) {
        judge(scope, history, (site, begin), (&phases, &losses, &samples), (&mut found, &mut notes));
    } else {
        found.few("there is no sample of each replica");
    }
    for (variant, when) in [(KILLED, "killed"), (AGAIN, "killed again"), (HUNG, "hung")] {
        if losses.iter().any(|loss| history.text(loss.variant) == variant) {
            continue;
        }
        // Who was never replaced cannot be killed again.
        let first = losses.iter().find(|loss| history.text(loss.variant) == KILLED);
        if variant == AGAIN && first.is_some_and(|first| first.successor.is_none()) {
            notes.push("nobody was killed again: the first had no successor".to_owned());
        } else {
            found.few(format!("it was never seen: {when}"));
        }
    }
    let doubtful = platform_doubt(history, &losses);
    let uncertain = record_doubt(history).or_else(|| doubtful.clone());
    unless(conclude(history, found, notes, uncertain), doubtful)
}

/// When each replica of the site has been sampled once, ns; `None` if one never was.
fn begin(history: &History, site: &Site, samples: &[Sample]) -> Option<u64> {
    let first = site.replica_names().into_iter().map(|name| {
        let name = history.name(&name)?;
        samples.iter().find(|sample| sample.replica == name).map(|sample| sample.to)
    });
    first.collect::<Option<Vec<u64>>>()?.into_iter().max()
}

/// Words for a variant.
fn words(variant: &str) -> &str {
    match variant {
        AGAIN => "killed again",
        CLOSED => "port closed, process alive",
        other => other,
    }
}

fn judge(
    scope: &Scope<'_>,
    history: &History,
    (site, begin): (&Site, u64),
    (phases, losses, samples): (&[Phase], &[Loss], &[Sample]),
    (found, notes): (&mut Found, &mut Vec<String>),
) {
    let end = phases.iter().find(|phase| history.text(phase.phase) == "end").map_or(end_of(history), |end| end.from);
    let prefix = format!("{}-", site.name);
    let mut of_replica: BTreeMap<Name, Vec<&Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| history.text(sample.replica).starts_with(&prefix)) {
        of_replica.entry(sample.replica).or_default().push(sample);
    }
    found.samples = len(of_replica.values().map(Vec::len).sum());
    let stretches: BTreeMap<Name, Vec<(u64, u64)>> = of_replica
        .iter()
        .map(|(name, samples)| {
            let hurt: Vec<u64> = losses.iter().filter(|loss| loss.replica == *name).map(|loss| loss.planned).collect();
            (*name, served(samples, &hurt, end))
        })
        .collect();
    let steps = series(&stretches, &zones(history, site), (begin, end));
    // A count of replicas: parameters are numbers.
    let wanted = scope.parameters.number("replicas");
    let few = |step: &&Step| f64::from(step.serving) < wanted;
    let allowed = nanos(scope.parameters.duration("respawn"));
    for loss in losses {
        after(history, (loss, loss.allowed(allowed, scope.scale)), &steps, wanted, found);
    }
    before(history, losses.first().map_or(end, |first| first.planned), (&steps, samples), wanted, found);
    spread(scope, history, site, &steps, found);
    let literal: u64 = steps.iter().filter(few).map(|step| step.to.saturating_sub(step.from)).sum();
    let fewest = steps.iter().map(|step| step.serving).min().unwrap_or_default();
    found.numbers.push(Number::new("time with too few replicas, read literally", seconds(literal), "s"));
    found.numbers.push(Number::new("fewest replicas that served at once", f64::from(fewest), "replicas"));
    let stands = if literal == 0 { "held" } else { "did not hold" };
    notes.push(format!(
        "read literally, at least {wanted} at all times {stands}: {fewest} served at the fewest, and too few for {:.2} s in all (K2)",
        seconds(literal)
    ));
    notes.push(format!("serving in `{}`: {}", site.name, told(&steps)));
}

/// Fewer than wanted only for as long after a loss as is allowed?
fn after(history: &History, (loss, allowed): (&Loss, u64), steps: &[Step], wanted: f64, found: &mut Found) {
    let when = words(history.text(loss.variant));
    let from = loss.fault.from;
    let below = steps.iter().filter(|step| f64::from(step.serving) < wanted);
    let below = below.filter(|step| step.from < loss.until && step.to > loss.planned);
    let (mut last, mut sum, mut fewest) = (0, 0_u64, u32::MAX);
    for step in below {
        let (start, stop) = (step.from.max(loss.planned), step.to.min(loss.until));
        last = stop.saturating_sub(from);
        sum = sum.saturating_add(stop.saturating_sub(start));
        fewest = fewest.min(step.serving);
    }
    let name = format!("loss to enough replicas again ({when})");
    found.numbers.push(Number::new(&name, seconds(last), "s").limit(seconds(allowed)));
    found.numbers.push(Number::new(format!("time with too few replicas ({when})"), seconds(sum), "s"));
    if last <= allowed {
        // The next loss, or the end, came before it could be seen.
        if last > 0 && from.saturating_add(last) >= loss.until {
            found.few(format!("{when}: too few served until the story went on, {:.2} s later", seconds(last)));
        }
        return;
    }
    // A harness that was late for a moment may have made one sample fail, and not all of them for so long.
    let window = if sum > allowed { Duration::from_nanos(allowed) } else { PATIENCE };
    if let Some(late) = late_doubt(history, window, from, from.saturating_add(last)) {
        found.missing.get_or_insert(late);
        return;
    }
    let text = format!(
        "{when}: {:.2} s after the loss of `{}` fewer than {wanted} replicas served ({fewest} at the fewest); {:.2} s are allowed",
        seconds(last),
        history.text(loss.replica),
        seconds(allowed)
    );
    found.break_by(history, name, text, Some(loss.fault.event));
}

/// Enough before anybody was lost?
fn before(history: &History, until: u64, (steps, samples): (&[Step], &[Sample]), wanted: f64, found: &mut Found) {
    let below = steps.iter().filter(|step| f64::from(step.serving) < wanted && step.from < until);
    let sum: u64 = below.clone().map(|step| step.to.min(until).saturating_sub(step.from)).sum();
    let name = "time with too few replicas before any loss";
    found.numbers.push(Number::new(name, seconds(sum), "s").limit(0.0));
    let Some(first) = below.clone().next() else { return };
    if let Some(late) = late_doubt(history, PATIENCE, first.from.saturating_sub(nanos(PATIENCE)), until) {
        found.missing.get_or_insert(late);
        return;
    }
    let text = format!(
        "at {:.2} s {} replicas served, and nobody had hurt one; {wanted} are wanted",
        seconds(first.from),
        first.serving
    );
    let bad = samples.iter().find(|sample| !sample.good && sample.to >= first.from);
    let event = bad.or(samples.first()).map(|sample| sample.event);
    found.break_by(history, name.to_owned(), text, event);
}

/// When as many serve as there should be, are they in different zones?
fn spread(scope: &Scope<'_>, history: &History, site: &Site, steps: &[Step], found: &mut Found) {
    let wanted = scope.parameters.number("zones").min(count(len(site.used_zones())));
    if wanted < 2.0 {
        return;
    }
    let whole: Vec<&Step> = steps.iter().filter(|step| step.serving >= site.replicas).collect();
    let zones = |step: &Step| count(len(step.zones));
    let Some(fewest) = whole.iter().min_by_key(|step| step.zones) else {
        found
            .missing
            .get_or_insert_with(|| Reason::new("too-few-samples", "there was no time at which all replicas served"));
        return;
    };
    let name = "fewest zones while all replicas served";
    found.numbers.push(Number::new(name, zones(fewest), "zones").limit(wanted));
    if zones(fewest) < wanted {
        let text = format!(
            "from {:.2} s on all {} replicas of `{}` served in {} of its zones; {wanted} are wanted",
            seconds(fewest.from),
            site.replicas,
            site.name,
            fewest.zones
        );
        let put = history.marks(mark::SUCCESSOR_ZONE).filter(|(at, ..)| *at <= fewest.to).last();
        found.break_by(history, name.to_owned(), text, put.map(|(.., position)| position));
    }
}
