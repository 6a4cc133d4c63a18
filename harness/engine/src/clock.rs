//! The only clock and the only sleep: `CLOCK_MONOTONIC`, as nanoseconds since the run started.
//!
//! Fixtures stamp the same clock in their own processes, so their stamps can be placed in the history.

use std::time::Duration;

/// The clock of a run. Copies tell the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    origin: u64,
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or_default())
}

/// Wall time as seconds since the epoch: for run records only.
#[must_use]
pub fn wall_s() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or_default()
}

/// One moment by both clocks: wall time in milliseconds since the epoch, and `CLOCK_MONOTONIC` in nanoseconds. For `exp` and
/// `nbf` of tokens, which are wall times, and must be placed in a history, which has none.
#[must_use]
pub fn both() -> (i64, u64) {
    let mut best = (0, 0, u64::MAX);
    // One that was interrupted between the readings is not one moment.
    for _ in 0..5 {
        let before = monotonic_ns();
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let took = monotonic_ns().saturating_sub(before);
        if took < best.2 {
            let ms = wall.tv_sec.saturating_mul(1_000).saturating_add(wall.tv_nsec / 1_000_000);
            best = (ms, before.saturating_add(took / 2), took);
        }
    }
    (best.0, best.1)
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: monotonic_ns() }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        monotonic_ns().saturating_sub(self.origin)
    }

    /// Nanoseconds since the start of a `CLOCK_MONOTONIC` stamp, negative if it is older.
    #[must_use]
    pub fn signed(&self, stamp: u64) -> i64 {
        let ns = |stamp: u64| i64::try_from(stamp).unwrap_or(i64::MAX);
        ns(stamp).saturating_sub(ns(self.origin))
    }

    /// Nanoseconds since the start of a `CLOCK_MONOTONIC` stamp, 0 if it is older.
    #[must_use]
    pub fn of_monotonic(&self, stamp: u64) -> u64 {
        stamp.saturating_sub(self.origin)
    }

    /// The `CLOCK_MONOTONIC` stamp of a time of this clock.
    #[must_use]
    pub fn to_monotonic(&self, at: u64) -> u64 {
        at.saturating_add(self.origin)
    }

    /// Time since `at`.
    #[must_use]
    pub fn since(&self, at: u64) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(at))
    }
}

/// Waits; up to 1 ms longer than asked (tokio's timer wheel). What must be sharper uses the pacer or a link.
pub async fn sleep(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    tokio::time::sleep(duration).await;
}
