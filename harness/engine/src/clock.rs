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
