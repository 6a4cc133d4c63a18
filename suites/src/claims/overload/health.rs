//! OVL-04: is what replicas say of their health true and quick while they are overloaded, while their upstream fails and while their store is away; and does
//! the gateway keep its retries within a budget?
//!
//! Liveness depends on nothing but the replica: it is yes throughout. Readiness follows what is served: a replica that answers everything right is ready, and one
//! of whose valid requests none reaches an upstream is not. In between either may be said. Upstreams are the judges of that: an error that an upstream gave is
//! served. At twice the capacity traffic counts as requests to the replica that answered it: one that is full takes whoever comes when a place is free, and a dozen
//! samples that always come in between are not all that it serves.

use super::seen::{Broken, verdict};
use super::{AFTERWARDS, HEALTH, STORE_AWAY, STORE_HUNG, STRESS, UPSTREAM_FAILS};
use crate::claims::common::{Latencies, Phase, Seen, count, doubt, judged, len, nanos, phases, stream};
use crate::claims::recovery::settled;
use crate::claims::serving::{SERVING, Sample, samples};
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::{Effect, Verb, stream as streams};
use gatecrash_model::verdict::{EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeSet;
use std::time::Duration;

/// Least number of samples of a replica that say whether it served in a stretch.
const SAMPLES: usize = 3;
/// Least number of valid requests to a replica that say that it served none.
const REQUESTS: u64 = 5;

const DEAD: &str = "answers that a replica does not live";
const SLOW: &str = "p99 of health answers";
const UNREADY: &str = "not ready, and everything was served";
const READY: &str = "ready, and nothing was served";
const RETRIES: &str = "arrivals for each request";
const STAYS: &str = "replicas that did not serve everything again";

/// What one health probe brought.
struct Probe<'h> {
    seen: Seen<'h>,
    /// Whether the answer was yes; `None`: nobody can tell, or there was none yet.
    yes: Option<bool>,
}

/// The probes of the history that were not given up.
fn probes(history: &History) -> Vec<Probe<'_>> {
    let told = |seen: &Seen<'_>| match seen.outcome? {
        (_, Effect::Ok, _) => Some(true),
        (_, Effect::Failed(_), _) => Some(false),
        (_, Effect::Unknown(_), answer) => (answer.status == 0).then_some(false),
    };
    stream(history, streams::HEALTH)
        .filter(|seen| !seen.is_given_up())
        .map(|seen| Probe { yes: told(&seen), seen })
        .collect()
}

/// One stretch in which something was wrong, or nothing yet.
struct Stretch {
    phase: Phase,
    /// For readers.
    when: &'static str,
    /// Whether it is asked for more than it can do: then a valid request may be refused.
    is_stress: bool,
    /// Whether all trouble is over.
    is_over: bool,
}

fn stretches(scope: &Scope<'_>, history: &History) -> Vec<Stretch> {
    let wanted = [
        ("steady", "", "at low load"),
        ("hold", STRESS, "at twice the capacity"),
        ("hold", UPSTREAM_FAILS, "while the upstream failed"),
        ("hold", STORE_AWAY, "while the store was away"),
        ("hold", STORE_HUNG, "while the store was silent"),
        ("settle", AFTERWARDS, "when all of it was over"),
    ];
    let all = phases(history);
    let found = wanted.iter().filter_map(|(phase, variant, when)| {
        let is = |known: &&Phase| history.text(known.phase) == *phase && history.text(known.variant) == *variant;
        let phase = *all.iter().find(is)?;
        let is_over = *variant == AFTERWARDS;
        let phase = if is_over { settled(scope, history, phase) } else { judged(history, phase) };
        Some(Stretch { phase, when, is_stress: *variant == STRESS, is_over })
    });
    found.collect()
}

/// What a replica served in a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Everything,
    Nothing,
    Some,
}

/// What was asked of replicas to see what they serve.
struct Asked<'h> {
    samples: Vec<Sample>,
    /// Valid requests to a replica.
    valid: Vec<Seen<'h>>,
    /// Requests of traffic that arrived at an upstream: when (ns), and who answered; `None`: nobody said.
    traffic: Vec<(u64, Option<Name>)>,
}

impl<'h> Asked<'h> {
    fn of(history: &'h History) -> Self {
        let valid = stream(history, SERVING).filter(|seen| !seen.asked.credential.must_refuse()).collect();
        let by = |seen: &Seen<'_>| seen.outcome.map(|(_, _, answer)| answer.replica);
        let traffic = stream(history, streams::TRAFFIC)
            .filter_map(|seen| Some((seen.arrived?, by(&seen).filter(|name| !history.text(*name).is_empty()))));
        Self { samples: samples(history), valid, traffic: traffic.collect() }
    }

    /// Whether traffic that `replica` may have answered reached an upstream in `from..=to` (ns): what nobody says of whom it was may have been this one's.
    fn passed(&self, replica: Name, from: u64, to: u64) -> bool {
        self.traffic.iter().any(|(at, by)| (from..=to).contains(at) && by.is_none_or(|name| name == replica))
    }

    /// How many samples `replica` was asked for in `from..=to` (ns), and how many of them it served.
    fn counted(&self, replica: Name, from: u64, to: u64) -> (usize, usize) {
        let within =
            self.samples.iter().filter(|sample| sample.replica == replica && sample.from >= from && sample.to <= to);
        within
            .fold((0, 0), |(all, good), sample| (all.saturating_add(1), good.saturating_add(usize::from(sample.good))))
    }

    /// What `replica` served in `from..=to` (ns), by its samples.
    fn served(&self, replica: Name, from: u64, to: u64) -> Served {
        let (all, good) = self.counted(replica, from, to);
        if all >= SAMPLES && good == all {
            return Served::Everything;
        }
        let ended = |seen: &&Seen<'_>| seen.outcome.is_some_and(|(at, ..)| at <= to);
        let valid = self.valid.iter().filter(|seen| seen.asked.target == replica && seen.sent >= from).filter(ended);
        let (asked, arrived) = valid.fold((0_u64, 0_u64), |(asked, arrived), seen| {
            (asked.saturating_add(1), arrived.saturating_add(u64::from(seen.arrived.is_some())))
        });
        if asked >= REQUESTS && arrived == 0 { Served::Nothing } else { Served::Some }
    }
}

/// The largest number of arrivals for each request of traffic, over the stretches; with the first arrival of one that arrived more than once.
fn retries(history: &History, stretches: &[Stretch]) -> (f64, Option<EventRef>) {
    let (mut most, mut again) = (0.0_f64, None);
    for stretch in stretches {
        let (mut sent, mut arrived) = (0_u64, 0_u64);
        for seen in stream(history, streams::TRAFFIC) {
            if !(stretch.phase.from..stretch.phase.to).contains(&seen.sent) {
                continue;
            }
            sent = sent.saturating_add(1);
            arrived = arrived.saturating_add(u64::from(seen.view.arrivals));
            if seen.view.arrivals > 1 && again.is_none() {
                again = seen.view.arrival(history.events()).map(|(_, position)| history.reference(position));
            }
        }
        most = most.max(count(arrived) / count(sent).max(1.0));
    }
    (most, again)
}

pub(super) fn ovl_04(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(HEALTH) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let few = |text: &str| Reason::new("too-few-samples", text);
    let stretches = stretches(scope, history);
    let (probes, asked) = (probes(history), Asked::of(history));
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
        return Verdict::Inconclusive(doubt(history).unwrap_or_else(|| few("no stretch was seen")));
    };
    let (from, to) = (first.phase.from, last.phase.to);
    let turns = nanos(Duration::from_secs_f64(scope.parameters.number("follows_ms") / 1000.0));
    let (slowest, budget) = (scope.parameters.number("p99_ms"), scope.parameters.number("retries"));
    let replicas: BTreeSet<Name> = probes.iter().map(|probe| probe.seen.asked.target).collect();

    let mut broken: Vec<Broken> = Vec::new();
    let event = |probe: &Probe<'_>| Some(history.reference(probe.seen.view.completed().unwrap_or_default()));
    let (mut dead, mut unready, mut ready, mut p99) = (0_u64, 0_u64, 0_u64, 0.0_f64);
    // Replicas that did not serve again, and whether one was not asked often enough to say.
    let (mut stayed, mut unseen) = (0_u64, false);
    let mut samples = 0_u64;
    let mut notes = Vec::new();
    for stretch in &stretches {
        let within: Vec<&Probe<'_>> =
            probes.iter().filter(|probe| (stretch.phase.from..stretch.phase.to).contains(&probe.seen.sent)).collect();
        samples = samples.saturating_add(len(within.len()));
        let mut latencies = Latencies::default();
        for probe in &within {
            latencies.add(probe.seen.latency_ms(history));
        }
        let slow = latencies.quantile(0.99).unwrap_or(0.0);
        p99 = p99.max(slow);
        if slow > slowest {
            let text = format!("{}: the p99 of health answers was {slow:.0} ms", stretch.when);
            broken.push((SLOW.to_owned(), text, within.first().and_then(|probe| event(probe))));
        }
        let no = |verb: Verb| move |probe: &&&Probe<'_>| probe.seen.asked.verb == verb && probe.yes == Some(false);
        let not_live: Vec<&&Probe<'_>> = within.iter().filter(no(Verb::Live)).collect();
        dead = dead.saturating_add(len(not_live.len()));
        if let Some(one) = not_live.first() {
            let (replica, times) = (history.text(one.seen.asked.target), not_live.len());
            let text =
                format!("{}: `{replica}` said that it does not live ({times} times in all); it ran", stretch.when);
            broken.push((DEAD.to_owned(), text, event(one)));
        }
        // What it says may follow what it does by so much.
        let since = if stretch.is_over { stretch.phase.from } else { stretch.phase.from.saturating_add(turns) };
        for replica in &replicas {
            let mut served = asked.served(*replica, since, stretch.phase.to);
            if served == Served::Nothing && stretch.is_stress && asked.passed(*replica, since, stretch.phase.to) {
                served = Served::Some;
            }
            let says = within.iter().filter(|probe| {
                probe.seen.asked.verb == Verb::Ready && probe.seen.asked.target == *replica && probe.seen.sent >= since
            });
            let says: Vec<&&Probe<'_>> = says.collect();
            let name = history.text(*replica);
            if stretch.is_over {
                let (all, good) = asked.counted(*replica, since, stretch.phase.to);
                unseen |= all < SAMPLES;
                // One may have met what the machine did.
                if all >= SAMPLES && good.saturating_add(1) < all {
                    stayed = stayed.saturating_add(1);
                    let text = format!("{}: `{name}` served {good} of {all} samples", stretch.when);
                    broken.push((STAYS.to_owned(), text, Some(history.reference(stretch.phase.event))));
                }
                if served != Served::Everything {
                    continue;
                }
            }
            let told = |yes: bool| says.iter().filter(|probe| probe.yes == Some(yes)).copied().collect::<Vec<_>>();
            match served {
                Served::Everything => {
                    let wrong = told(false);
                    unready = unready.saturating_add(len(wrong.len()));
                    if let Some(one) = wrong.first() {
                        let times = wrong.len();
                        let text = format!(
                            "{}: `{name}` said {times} times that it is not ready, and served everything",
                            stretch.when
                        );
                        broken.push((UNREADY.to_owned(), text, event(one)));
                    }
                }
                Served::Nothing => {
                    let wrong = told(true);
                    ready = ready.saturating_add(len(wrong.len()));
                    if let Some(one) = wrong.first() {
                        let times = wrong.len();
                        let text = format!(
                            "{}: `{name}` said {times} times that it is ready, and served nothing",
                            stretch.when
                        );
                        broken.push((READY.to_owned(), text, event(one)));
                    }
                }
                Served::Some => {
                    notes.push(format!("{}: `{name}` served a part; whether it is ready was its to say", stretch.when))
                }
            }
        }
    }
    let (retried, again) = retries(history, &stretches);
    if retried > budget {
        let text = format!("{retried:.2} requests arrived at the upstream for each that clients sent");
        broken.push((RETRIES.to_owned(), text, again));
    }
    let numbers = vec![
        Number::new(SLOW, p99, "ms").limit(slowest),
        Number::new(DEAD, count(dead), "answers").limit(0.0),
        Number::new(UNREADY, count(unready), "answers").limit(0.0),
        Number::new(READY, count(ready), "answers").limit(0.0),
        Number::new(STAYS, count(stayed), "replicas").limit(0.0),
        Number::new(RETRIES, retried, "").limit(budget),
    ];
    let stores = if scope.deployment.store.is_some() { 2 } else { 0 };
    let missing = if stretches.len() < 4_usize.saturating_add(stores) {
        Some(few("the story did not come to its end"))
    } else if !probes.iter().any(|probe| probe.seen.asked.verb == Verb::Ready) {
        Some(few("no health was asked for"))
    } else if retried <= 0.0 {
        Some(few("nothing arrived at an upstream"))
    } else if unseen {
        Some(few("a replica was asked for too few samples when all of it was over"))
    } else {
        None
    };
    verdict(history, broken, (from, to), Evidence { samples, numbers, notes }, missing)
}
