//! When was the machine too busy to say how fast anything on it is? A calibration stream, sent beside everything else
//! over a path that no fault touches, is slower then, too: what was measured in such a slice of time says nothing of the gateway.
//!
//! The slices are held against the better half of the same run, so nothing here depends on how fast a machine is.

use crate::stats::quantile;

/// Length of a slice in nanoseconds: long enough for a quantile at the rate of the stream, short enough that what one start
/// of a process disturbs is lost and no more.
pub const SLICE_NS: u64 = 500_000_000;

/// Share of a slice's requests that decide how slow it was.
const DECIDES: f64 = 0.9;
/// A slice is calm up to this many times the slowest of the better half.
const RATIO: f64 = 1.5;
/// A slice is calm up to this many milliseconds above the better half: half of what a comparison of latencies allows.
const FLOOR_MS: f64 = 2.5;

/// A request through a gateway waits for the machine about so many times as often as one of calibration, which passes two processes.
pub const HOPS: f64 = 4.0;
/// A stall of this length is one that a store may seem lost in: not far from the 80 ms that the reference gateway gives its store, and
/// more than a scheduler takes from a process while others share its core.
pub const STALL_MS: f64 = 60.0;
/// Share of a stretch that must have been calm for its latencies to be compared.
pub const ENOUGH: f64 = 0.5;
/// What is slow at the same time was so within this, ns.
const TOGETHER: u64 = 100_000_000;
/// What the machine may add to a gateway's requests for two stretches to be comparable: half of what a comparison allows.
const COMPARABLE_MS: f64 = 2.5;

/// Which slices of a run were calm.
///
/// ```
/// use gatecrash_model::calm::{Calm, SLICE_NS};
/// // Ten slices of 1 ms; in the fourth everything took 30 ms.
/// let samples = (0..100_u64).map(|n| (n * SLICE_NS / 10, Some(if n / 10 == 3 { 30.0 } else { 1.0 })));
/// let calm = Calm::of(samples);
/// assert!(calm.is_calm(0) && !calm.is_calm(3 * SLICE_NS) && calm.is_calm(4 * SLICE_NS));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calm {
    /// When each was due (ns) and how long it took (ms), ordered by time.
    samples: Vec<(u64, Option<f64>)>,
    /// Slices with at least one sample, by number, with how slow they were; ordered.
    slices: Vec<(u64, f64)>,
    limit_ms: f64,
}

impl Calm {
    /// From calibration requests: when each was due (ns) and how long it took (ms; `None` if it never ended). Any order.
    #[must_use]
    pub fn of(samples: impl Iterator<Item = (u64, Option<f64>)>) -> Self {
        let mut samples: Vec<(u64, Option<f64>)> = samples.collect();
        samples.sort_by_key(|(at, _)| *at);
        let mut slices = Vec::new();
        for slice in samples.chunk_by(|a, b| a.0 / SLICE_NS == b.0 / SLICE_NS) {
            let slow = slowness(slice.iter().map(|(_, took)| *took), DECIDES).unwrap_or(f64::INFINITY);
            slices.extend(slice.first().map(|(at, _)| (*at / SLICE_NS, slow)));
        }
        let mut all: Vec<f64> = slices.iter().map(|(_, slow)| *slow).collect();
        let better = quantile(&mut all, 0, 0.5).unwrap_or(f64::INFINITY);
        // Where not even the better slices have an end, nothing is calm.
        let limit_ms = if better.is_finite() { (better * RATIO).max(better + FLOOR_MS) } else { 0.0 };
        Self { samples, slices, limit_ms }
    }

    /// The times (ns) at which a calibration request took as long as `ms` and more, in order.
    pub fn stalls(&self, ms: f64) -> impl Iterator<Item = u64> {
        self.samples.iter().filter(move |(_, took)| took.is_none_or(|took| took >= ms)).map(|(at, _)| *at)
    }

    /// p95 (ms) of the calibration requests that were due in one of these stretches (ns, without their ends) and in a calm slice; infinite if it
    /// falls among those that never ended, `None` if there are none.
    #[must_use]
    pub fn p95(&self, stretches: &[(u64, u64)]) -> Option<f64> {
        self.quantile(stretches, 0.95)
    }

    fn quantile(&self, stretches: &[(u64, u64)], q: f64) -> Option<f64> {
        let within = stretches.iter().flat_map(|(from, to)| {
            let first = self.samples.partition_point(|(at, _)| at < from);
            let end = self.samples.partition_point(|(at, _)| at < to).max(first);
            self.samples.get(first..end).unwrap_or_default()
        });
        slowness(within.filter(|(at, _)| self.is_calm(*at)).map(|(_, took)| *took), q)
    }

    /// How much longer (ms, 0 or more) a request through a gateway may have taken in `within` than in `before` because of the machine alone.
    /// 0 where nothing is known.
    ///
    /// ```
    /// use gatecrash_model::calm::{Calm, HOPS, SLICE_NS};
    /// let calm = Calm::of((0..100_u64).map(|n| (n * SLICE_NS / 10, Some(if n < 50 { 1.0 } else { 1.5 }))));
    /// let (before, within) = ([(0, 5 * SLICE_NS)], [(5 * SLICE_NS, 10 * SLICE_NS)]);
    /// assert_eq!(calm.slower_by(&before, &within), 0.5 * HOPS);
    /// assert_eq!(calm.slower_by(&within, &before), 0.0);
    /// ```
    #[must_use]
    pub fn slower_by(&self, before: &[(u64, u64)], within: &[(u64, u64)]) -> f64 {
        match (self.p95(before), self.p95(within)) {
            (Some(before), Some(within)) if before.is_finite() => (within - before).max(0.0) * HOPS,
            _ => 0.0,
        }
    }

    /// How far apart (ms) two p95s of requests through a gateway may be on this machine because of how uneven it is: calibration's own p95 over its median, in the
    /// calm slices of these stretches. Little on an idle machine; on one whose cores others keep busy it is most of a latency.
    #[must_use]
    pub fn uneven_by(&self, stretches: &[(u64, u64)]) -> f64 {
        match (self.quantile(stretches, 0.5), self.p95(stretches)) {
            (Some(median), Some(p95)) if median.is_finite() => (p95 - median).max(0.0) * HOPS,
            _ => 0.0,
        }
    }

    /// Whether latencies of `from..to` can be compared with those of `before`: half of it was calm, and the machine about as fast.
    /// True where nothing is known.
    #[must_use]
    pub fn comparable(&self, before: &[(u64, u64)], (from, to): (u64, u64)) -> bool {
        self.share(from, to).is_none_or(|calm| calm >= ENOUGH) && self.slower_by(before, &[(from, to)]) <= COMPARABLE_MS
    }

    /// Whether the slice of `at` (ns) was calm; true where nothing is known of it.
    #[must_use]
    pub fn is_calm(&self, at: u64) -> bool {
        let number = at / SLICE_NS;
        let found = self.slices.binary_search_by_key(&number, |(number, _)| *number).ok();
        found.and_then(|found| self.slices.get(found)).is_none_or(|(_, slow)| *slow <= self.limit_ms)
    }

    /// How many slices were as slow as `ms` and more.
    #[must_use]
    pub fn slower_than(&self, ms: f64) -> usize {
        self.slices.iter().filter(|(_, slow)| *slow >= ms).count()
    }

    /// Share of the slices that begin in `from..to` (ns) that were calm, 0 to 1; `None` if there are none.
    #[must_use]
    pub fn share(&self, from: u64, to: u64) -> Option<f64> {
        let within = self.slices.iter().filter(|(number, _)| (from..to).contains(&number.saturating_mul(SLICE_NS)));
        let (mut all, mut calm) = (0_u32, 0_u32);
        for (_, slow) in within {
            all = all.saturating_add(1);
            calm = calm.saturating_add(u32::from(*slow <= self.limit_ms));
        }
        (all > 0).then(|| f64::from(calm) / f64::from(all))
    }
}

/// Of the times (ns) at which something at a site stood still, those close to which something at another site did, too, in order. Sites share nothing but
/// the machine; what one site alone takes long for may be its own.
///
/// ```
/// use gatecrash_model::calm::shared;
/// assert_eq!(shared(vec![(110_000_000, "us"), (100_000_000, "eu"), (900_000_000, "us")]), [100_000_000, 110_000_000]);
/// assert_eq!(shared(vec![(100_000_000, "eu"), (110_000_000, "eu")]), [0_u64; 0]);
/// ```
#[must_use]
pub fn shared<Site: Ord>(mut slow: Vec<(u64, Site)>) -> Vec<u64> {
    slow.sort_unstable();
    let elsewhere = |(at, site): &(u64, Site)| {
        let first = slow.partition_point(|(other, _)| other.saturating_add(TOGETHER) < *at);
        let mut near = slow.iter().skip(first).take_while(|(other, _)| *other <= at.saturating_add(TOGETHER));
        near.any(|(_, other)| other != site)
    };
    slow.iter().filter(|one| elsewhere(one)).map(|(at, _)| *at).collect()
}

/// The `q`-quantile of these times; infinite if it falls among those that never ended, `None` without any.
fn slowness(took: impl Iterator<Item = Option<f64>>, q: f64) -> Option<f64> {
    let (mut finished, mut unfinished) = (Vec::new(), 0_usize);
    for took in took {
        match took {
            Some(took) => finished.push(took),
            None => unfinished = unfinished.saturating_add(1),
        }
    }
    if finished.is_empty() && unfinished == 0 {
        return None;
    }
    Some(quantile(&mut finished, unfinished, q).unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_50_ms(slices: u64, took: impl Fn(u64) -> Option<f64>) -> Calm {
        let due = (0..).step_by(50_000_000).take_while(|at| *at / SLICE_NS < slices);
        Calm::of((0..).zip(due).map(|(n, at)| (at, took(n))))
    }

    #[test]
    fn without_samples_everything_is_calm_and_nothing_is_known() {
        let calm = Calm::default();
        assert!(calm.is_calm(0) && calm.is_calm(u64::MAX));
        assert_eq!(calm.share(0, u64::MAX), None);
        assert_eq!(Calm::of(std::iter::empty()).share(0, u64::MAX), None);
    }

    #[test]
    fn a_slow_slice_is_not_calm_and_a_machine_that_is_always_slow_is() {
        let calm = every_50_ms(8, |n| Some(if n / 10 == 2 { 9.0 } else { 1.0 }));
        assert!(!calm.is_calm(2 * SLICE_NS) && calm.is_calm(3 * SLICE_NS));
        assert_eq!(calm.share(0, 8 * SLICE_NS), Some(7.0 / 8.0));
        assert_eq!(calm.share(2 * SLICE_NS, 3 * SLICE_NS), Some(0.0));
        let slow = every_50_ms(8, |_| Some(40.0));
        assert_eq!(slow.share(0, u64::MAX), Some(1.0));
        assert_eq!((slow.slower_than(40.0), slow.slower_than(41.0)), (8, 0));
    }

    #[test]
    fn one_slow_request_does_not_make_a_slice_slow_but_two_of_ten_do() {
        assert!(every_50_ms(8, |n| Some(if n == 20 { 90.0 } else { 1.0 })).is_calm(2 * SLICE_NS));
        assert!(!every_50_ms(8, |n| Some(if n == 20 || n == 21 { 90.0 } else { 1.0 })).is_calm(2 * SLICE_NS));
    }

    #[test]
    fn stretches_can_be_compared_where_half_was_calm_and_the_machine_as_fast() {
        let (before, within) = ((0, 4 * SLICE_NS), (4 * SLICE_NS, 8 * SLICE_NS));
        let as_fast = every_50_ms(8, |_| Some(1.0));
        assert!(as_fast.comparable(&[before], within));
        // Calm by the better half, and yet slower than before.
        let slower = every_50_ms(8, |n| Some(if n < 40 { 1.0 } else { 2.0 }));
        assert_eq!(slower.share(within.0, within.1), Some(1.0));
        assert!((slower.slower_by(&[before], &[within]) - HOPS).abs() < 1e-9);
        assert!(!slower.comparable(&[before], within) && slower.comparable(&[within], before));
        // One of four slices was calm.
        let busy = every_50_ms(8, |n| Some(if n < 50 { 1.0 } else { 20.0 }));
        assert!(!busy.comparable(&[before], within));
        assert!(Calm::default().comparable(&[before], within), "nothing is known");
    }

    #[test]
    fn an_uneven_machine_is_told_from_an_even_one() {
        let all = [(0, 8 * SLICE_NS)];
        let even = every_50_ms(8, |n| Some(if n % 10 == 0 { 1.2 } else { 1.0 }));
        assert!(even.uneven_by(&all) < 1.0, "{}", even.uneven_by(&all));
        // One request in ten waits for whoever has the core.
        let shared = every_50_ms(8, |n| Some(if n % 10 == 0 { 12.0 } else { 4.0 }));
        assert!((shared.uneven_by(&all) - 8.0 * HOPS).abs() < 1e-9);
        assert!(Calm::default().uneven_by(&all).abs() < f64::EPSILON);
    }

    #[test]
    fn stalls_are_told_by_request() {
        let calm = every_50_ms(2, |n| if n == 13 { None } else { Some(if n == 3 { STALL_MS } else { 1.0 }) });
        assert_eq!(calm.stalls(STALL_MS).collect::<Vec<_>>(), [150_000_000, 650_000_000]);
        assert_eq!(calm.p95(&[(0, 150_000_000)]), Some(1.0));
        assert_eq!(calm.p95(&[(9 * SLICE_NS, 10 * SLICE_NS)]), None);
    }

    #[test]
    fn requests_without_an_end_are_the_slowest() {
        assert!(!every_50_ms(8, |n| (n / 10 != 2).then_some(1.0)).is_calm(2 * SLICE_NS));
        // Nothing ever ended: nothing is calm by being like the rest.
        assert_eq!(every_50_ms(4, |_| None).share(0, u64::MAX), Some(0.0));
    }
}
