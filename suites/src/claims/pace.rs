//! Did the data path become slower, or did the machine? Latencies are compared over slices in which the calibration stream,
//! which passes no gateway and no fault, was as fast as in its better ones; what it became slower by all the same is
//! allowed for, and decides nothing.

use super::common::{Latencies, Phase, Seen, Service, latency_limit};
use gatecrash_model::History;
use gatecrash_model::verdict::Reason;

/// Least number of calm requests that a p95 is made of, where a busy machine took others.
const LEAST: usize = 20;
/// Least share of the requests of a stretch that must have been calm: one in so many.
const ONE_IN: usize = 4;

/// How long requests took: all of them, and those that were due while the machine was calm.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Paces {
    /// All of them.
    pub(crate) all: Latencies,
    calm: Latencies,
}

impl Paces {
    /// Adds one, whatever its answer, but for one that was given up.
    pub(crate) fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if seen.is_given_up() {
            return;
        }
        let took = seen.latency_ms(history);
        self.all.add(took);
        if history.calm().is_calm(seen.view.intended_at(history.events())) {
            self.calm.add(took);
        }
    }

    /// p95 of the calm ones, ms, for others to be held against; `None` without any, or if a busy machine left too few.
    pub(crate) fn base(&mut self) -> Option<f64> {
        let few = self.calm.len() < self.all.len()
            && (self.calm.len().saturating_mul(ONE_IN) < self.all.len() || self.calm.len() < LEAST);
        if few { None } else { self.calm.p95() }
    }

    /// p95 that decides whether they were within `limit` ms. A busy machine makes nothing faster, so that of all where it is; else that of
    /// the calm ones, `None` if there are too few.
    pub(crate) fn held_against(&mut self, limit: f64) -> Option<f64> {
        match self.all.p95() {
            Some(p95) if p95 <= limit => Some(p95),
            Some(_) => self.base(),
            None => None,
        }
    }

    /// `n of m requests were sent while the machine was calm`.
    fn words(&self) -> String {
        let (calm, all) = (self.calm.len(), self.all.len());
        format!("{calm} of {all} requests were sent while the machine was calm, by its calibration stream")
    }
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Within the limit.
    Kept,
    /// Beyond it, and the machine does not explain that.
    Slower,
    /// The machine was too busy to tell (`machine-busy`).
    Busy(Reason),
}

/// A p95 in faults, held against the one before them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    /// In the faults, ms; `None` if nothing was calm.
    pub(crate) p95: Option<f64>,
    /// The most that it may be, ms.
    pub(crate) limit: f64,
    /// What that says.
    pub(crate) pace: Pace,
}

fn stretches(phases: &[Phase]) -> Vec<(u64, u64)> {
    phases.iter().map(|phase| (phase.from, phase.to)).collect()
}

/// Holds the p95 of `during`, seen in `within`, against `ratio` times `base` ms, which were seen in `before`. `None` if nothing was sent.
pub(crate) fn compare(
    history: &History,
    (during, within): (&mut Service, &[Phase]),
    (base, before): (f64, &[Phase]),
    ratio: f64,
) -> Option<Compared> {
    if during.sent == 0 {
        return None;
    }
    let limit = latency_limit(base, ratio);
    let busy = |what: String| Pace::Busy(Reason::new("machine-busy", format!("`{}`: {what}", history.experiment())));
    let p95 = during.paces.held_against(limit);
    let pace = match p95 {
        None => busy(during.paces.words()),
        Some(p95) if p95 > limit => {
            let (before, within) = (stretches(before), stretches(within));
            // Slower than it was, or so uneven that one p95 says little: whichever explains more.
            let uneven = history.calm().uneven_by(&[before.clone(), within.clone()].concat());
            let by_machine = history.calm().slower_by(&before, &within).max(uneven);
            if p95 > limit + by_machine {
                Pace::Slower
            } else {
                busy(format!(
                    "p95 was {p95:.1} ms where {limit:.1} ms are allowed; up to {by_machine:.1} ms of that are the machine's, by its calibration stream"
                ))
            }
        }
        Some(_) => Pace::Kept,
    };
    Some(Compared { p95, limit, pace })
}
