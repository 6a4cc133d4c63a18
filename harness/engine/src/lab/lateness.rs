//! Was the harness itself too slow to see? A schedule of its own says how late its tasks get to run: what is later than
//! [`LATE`] is written into the history. A window in which that was more than a tenth of it is repeated, once.

use super::{Lab, LabError};
use crate::clock::monotonic_ns;
use crate::pacer::{Ticks, ticks};
use gatecrash_model::history::EventKind;
use gatecrash_model::history::event::mark;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked at, a second.
const LOOKS_PER_S: f64 = 100.0;
/// Lateness that is worth an event: a tenth of the shortest window that anything is judged over is several times this.
pub const LATE: Duration = Duration::from_millis(20);
/// Share of a window by which the harness may be late.
const SHARE: u32 = 10;
/// Moments of lateness that are kept: the oldest are of no window that is still looked at.
const KEPT: usize = 4096;

/// When the harness was late, and by how much.
#[derive(Debug, Default)]
pub(super) struct Lateness(Mutex<VecDeque<(u64, Duration)>>);

impl Lateness {
    fn add(&self, at: u64, late: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back((at, late));
    }

    /// The most that it was late since `from` (ns since the run started); zero if never worth telling.
    pub(super) fn since(&self, from: u64) -> Duration {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(at, _)| *at >= from).map(|(_, late)| *late).max().unwrap_or_default()
    }
}

/// Tells how late each look was that is worth telling; ends when the looks do.
async fn watch(mut looks: Ticks, told: impl Fn(Duration)) {
    while let Some(due) = looks.due.recv().await {
        let late = Duration::from_nanos(monotonic_ns().saturating_sub(due));
        if late < LATE {
            continue;
        }
        told(late);
        // All looks that were due meanwhile are one lateness.
        while looks.due.try_recv().is_ok() {}
    }
}

impl Lab {
    /// Watches the lateness of the harness for as long as the lab lives.
    pub(super) fn watch_lateness(&self) {
        let lab = self.clone();
        self.keep_task(tokio::spawn(async move {
            let watched = watch(ticks(LOOKS_PER_S), |late| {
                lab.inner.lateness.add(lab.now(), late);
                let late_us = u32::try_from(late.as_micros()).unwrap_or(u32::MAX);
                lab.inner.recorder.now(EventKind::Late { late_us });
            });
            tokio::select! { () = watched => {} () = lab.inner.stop.cancelled() => {} }
        }));
    }

    /// Whether a window that began at `from` (ns) must be repeated because the harness was later than a tenth of it in it, or the
    /// machine busy for most of it. Written as a mark with `subject`: the claims read the repetition in its stead.
    #[must_use]
    pub fn must_repeat(&self, from: u64, window: Duration, subject: &str) -> bool {
        self.repeats(from, window, subject, false)
    }

    /// As [`Lab::must_repeat`], for the window of a quota: also if the machine stood still in it for so long that a store which is
    /// fine may have seemed lost.
    #[must_use]
    pub fn must_repeat_round(&self, from: u64, window: Duration, subject: &str) -> bool {
        self.repeats(from, window, subject, true)
    }

    fn repeats(&self, from: u64, window: Duration, subject: &str, of_quota: bool) -> bool {
        let late = self.inner.lateness.since(from);
        let repeat = late > window / SHARE || self.was_busy(from) || of_quota && self.stood_still(from);
        if repeat {
            self.mark(mark::PROLONGED, subject, i64::try_from(late.as_micros()).unwrap_or(i64::MAX));
        }
        repeat
    }

    /// Lets a window pass over which something is judged; once more if the harness was too late in it.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub async fn hold_window(&self, window: Duration) -> Result<(), LabError> {
        let from = self.now();
        self.hold(window).await?;
        if self.must_repeat(from, window, "") { self.hold(window).await } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_since_a_moment_counts() {
        let lateness = Lateness::default();
        assert_eq!(lateness.since(0), Duration::ZERO);
        for (at, ms) in [(10, 90), (20, 30), (30, 50)] {
            lateness.add(at, Duration::from_millis(ms));
        }
        let since = |from| lateness.since(from).as_millis();
        assert_eq!((since(0), since(11), since(30), since(31)), (90, 50, 50, 0));
        for at in 100..100 + u64::try_from(KEPT).unwrap() {
            lateness.add(at, LATE);
        }
        assert_eq!(lateness.since(0), LATE);
    }

    #[tokio::test]
    async fn tasks_that_cannot_run_are_late_once_and_others_are_not() {
        let told = std::sync::Arc::new(Mutex::new(Vec::new()));
        let (to, looks) = (std::sync::Arc::clone(&told), ticks(LOOKS_PER_S));
        let stop = looks.stopper();
        let watching = tokio::spawn(watch(looks, move |late| to.lock().unwrap().push(late)));
        tokio::task::yield_now().await;
        // The only thread is busy: nothing else of this executor runs.
        let until = monotonic_ns() + 120_000_000;
        while monotonic_ns() < until {
            std::hint::spin_loop();
        }
        crate::clock::sleep(Duration::from_millis(5)).await;
        let most = told.lock().unwrap().iter().copied().max();
        assert!(most.is_some_and(|most| most >= Duration::from_millis(100)), "{most:?}");
        stop.stop();
        watching.await.unwrap();
    }
}
