//! When may a byte go on? A delay line gives each chunk its due time; a pacer spreads bytes over time by a virtual clock,
//! so that being late by a little is made up for and nothing is saved up for a burst.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Time that a pacer hands out at once.
const QUANTUM_NS: u64 = 1_000_000;
/// How far a pacer may lag behind and still catch up; also the first burst. 4 ms in a bin of 50 ms are a factor of 1.08.
const DEPTH_NS: u64 = 4_000_000;

/// Spreads bytes evenly: at most `rate` bytes a second, in steps of a millisecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    bytes_per_s: u64,
    /// The time up to which bytes have been handed out.
    paid_ns: u64,
}

impl Pacer {
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s: bytes_per_s.max(1), paid_ns: 0 }
    }

    /// How many of `wanted` bytes may go at `now`. Zero means: not before [`Pacer::wake_ns`].
    pub(super) fn allow(&mut self, now_ns: u64, wanted: usize) -> usize {
        self.paid_ns = self.paid_ns.max(now_ns.saturating_sub(DEPTH_NS));
        let earned = bytes(self.bytes_per_s, now_ns.saturating_sub(self.paid_ns));
        // Less than a quantum goes only where it is all that is wanted: else each wake-up would send a few bytes.
        let least = bytes(self.bytes_per_s, QUANTUM_NS).clamp(1, wanted.max(1));
        if earned < least { 0 } else { earned.min(wanted) }
    }

    /// `sent` bytes went.
    pub(super) fn pay(&mut self, sent: usize) {
        let ns = (sent as u128).saturating_mul(1_000_000_000).div_ceil(u128::from(self.bytes_per_s));
        self.paid_ns = self.paid_ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX));
    }

    /// When the next quantum is earned.
    pub(super) fn wake_ns(&self) -> u64 {
        self.paid_ns.saturating_add(QUANTUM_NS.max(1_000_000_000_u64.div_ceil(self.bytes_per_s)))
    }
}

fn bytes(bytes_per_s: u64, ns: u64) -> usize {
    let bytes = u128::from(bytes_per_s).saturating_mul(u128::from(ns)) / 1_000_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The delay of one direction: `delay` plus or minus a uniform `jitter` from the link's own random stream.
#[derive(Debug)]
pub(super) struct Delay {
    delay: Duration,
    jitter: Duration,
}

impl Delay {
    pub(super) fn new(delay_ms: u32, jitter_ms: u32) -> Self {
        Self { delay: Duration::from_millis(delay_ms.into()), jitter: Duration::from_millis(jitter_ms.into()) }
    }

    /// When a chunk that came at `now` is due. Order is the caller's to keep.
    pub(super) fn due_ns(&self, now_ns: u64, random: &mut ChaCha8Rng) -> u64 {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (delay, jitter) = (ns(self.delay), ns(self.jitter));
        let drawn = if jitter == 0 {
            delay
        } else {
            random.random_range(delay.saturating_sub(jitter)..=delay.saturating_add(jitter))
        };
        now_ns.saturating_add(drawn)
    }

    /// Bytes that may be under way at once: a fast link with a long delay holds much.
    pub(super) const IN_FLIGHT_BYTES: usize = 32 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every 50 ms bin of a paced stream that is polled each `step_us`, in bytes.
    fn bins(bytes_per_s: u64, step_us: u64) -> Vec<usize> {
        let mut pacer = Pacer::new(bytes_per_s);
        let mut bins = vec![0; 40];
        let start = 1_000_000_000_000;
        for step in 0..(2_000_000 / step_us) {
            let now = start + step * step_us * 1_000;
            let sent = pacer.allow(now, 1 << 20);
            pacer.pay(sent);
            bins[usize::try_from(step * step_us / 50_000).unwrap()] += sent;
        }
        bins
    }

    #[test]
    fn a_pacer_holds_its_mean_and_its_burst() {
        for (rate, step_us) in [(125_000_u64, 100), (125_000, 1_300), (1_000, 500), (10_000_000, 900)] {
            let bins = bins(rate, step_us);
            let total: usize = bins.iter().sum();
            let wanted = usize::try_from(rate * 2).unwrap();
            assert!(total.abs_diff(wanted) * 100 <= wanted * 3, "{rate} bytes/s: {total} in 2 s");
            let most = bins.iter().copied().max().unwrap();
            assert!(most * 40 * 10 <= wanted * 12, "{rate} bytes/s: {most} bytes in a bin of 50 ms");
        }
    }

    #[test]
    fn a_pacer_lets_the_first_bytes_go_at_once_and_names_its_next_wake() {
        let mut pacer = Pacer::new(125_000);
        let now = 5_000_000_000;
        let first = pacer.allow(now, 10_000);
        assert_eq!(first, 500);
        pacer.pay(first);
        assert_eq!(pacer.allow(now, 10_000), 0);
        assert_eq!(pacer.wake_ns(), now + 1_000_000);
        assert_eq!(pacer.allow(pacer.wake_ns(), 10_000), 125);
    }

    #[test]
    fn jitter_is_uniform_within_its_bounds_and_repeats_with_its_seed() {
        use rand::SeedableRng;
        let delay = Delay::new(100, 40);
        let draw = || {
            let mut random = ChaCha8Rng::from_seed([7; 32]);
            (0..1_000).map(|_| delay.due_ns(0, &mut random)).collect::<Vec<_>>()
        };
        let drawn = draw();
        assert_eq!(drawn, draw());
        assert!(drawn.iter().all(|ns| (60_000_000..=140_000_000).contains(ns)));
        assert!(drawn.iter().any(|ns| *ns < 65_000_000) && drawn.iter().any(|ns| *ns > 135_000_000));
    }
}
