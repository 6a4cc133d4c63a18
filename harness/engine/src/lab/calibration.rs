//! How fast is the machine while an experiment runs? Requests that pass no gateway and no fault, through an ingress of their own
//! to the first upstream. Claims that compare latencies leave out the slices of time in which these, too, were slow.

use super::Outcome;
use super::operations::{Call, Target};
use super::{Lab, LabError};
use gatecrash_model::calm::{Calm, ENOUGH, SLICE_NS, STALL_MS, shared};
use gatecrash_model::operation::{Credential, stream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Requests a second: two dozen in each slice that is judged.
const RATE_PER_S: f64 = 50.0;
/// A stretch whose latencies cannot be compared goes on for so many times its length at most, and for [`AT_LEAST`] if that is longer.
const AT_MOST: u32 = 3;
const AT_LEAST: Duration = Duration::from_secs(6);

/// How long each calibration request took: due (ns since the run started), and ms.
#[derive(Debug, Default)]
pub(super) struct Calibrated(Mutex<Vec<(u64, Option<f64>)>>);

impl Calibrated {
    fn add(&self, due: u64, took: Option<Duration>) {
        let took = took.map(|took| took.as_secs_f64() * 1000.0);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((due, took));
    }

    /// The longest that one took which was due since `from`; infinite for one without an answer.
    fn longest_ms(&self, from: u64) -> f64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = all.iter().filter(|(due, _)| *due >= from);
        since.map(|(_, took)| took.unwrap_or(f64::INFINITY)).fold(0.0, f64::max)
    }

    /// What was calm, by all that was seen so far.
    fn calm(&self) -> Calm {
        Calm::of(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().into_iter())
    }
}

/// Which gateways stood still: refusals that took as long as a stall, when they were due (ns since the run started) and at which site. Of the two cores of a
/// machine one may stand still, and calibration be on the other.
#[derive(Debug, Default)]
pub(super) struct SlowRefusals(Mutex<Vec<(u64, String)>>);

impl SlowRefusals {
    fn add(&self, due: u64, site: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((due, site.to_owned()));
    }

    /// Whether gateways of two sites stood still together since `from`.
    fn shared_since(&self, from: u64) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !shared(all.iter().filter(|(due, _)| *due >= from).map(|(due, site)| (*due, site.as_str())).collect())
            .is_empty()
    }
}

impl Lab {
    /// When `outcome`, which ends now, was due (ns since the run started).
    fn due(&self, outcome: &Outcome) -> u64 {
        self.now().saturating_sub(u64::try_from(outcome.latency.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Looks at a refusal by a gateway of `site`, which needs neither a store nor an upstream.
    pub(super) fn refused(&self, site: &str, outcome: &Outcome) {
        if outcome.answer.status != 0 && outcome.latency.as_secs_f64() * 1000.0 >= STALL_MS {
            self.inner.slow_refusals.add(self.due(outcome), site);
        }
    }

    /// Starts the calibration stream, unless the experiment wants to be alone.
    pub(super) fn calibrate(&self) {
        if self.inner.options.quiet {
            return;
        }
        let call = Call::new(stream::CALIBRATION, Target::Calibration, stream::CALIBRATION, stream::CALIBRATION)
            .with(Credential::NotNeeded);
        let lab = self.clone();
        let running = self.open_loop(RATE_PER_S, vec![call], move |outcome| {
            lab.inner.calibrated.add(lab.due(&outcome), outcome.answer.is_success().then_some(outcome.latency));
        });
        self.keep_task(running.until_the_end());
    }

    /// Whether the machine stood still since `from` (ns).
    pub(super) fn stood_still(&self, from: u64) -> bool {
        self.inner.calibrated.longest_ms(from) >= STALL_MS
            || self.inner.lateness.since(from).as_secs_f64() * 1000.0 >= STALL_MS
            || self.inner.slow_refusals.shared_since(from)
    }

    /// Holds on, in a stretch that began at `from` (ns), until the machine was as fast in its second half as in its first: what is compared with it later
    /// must be steady itself. Bounded as [`Lab::until_comparable`].
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub async fn until_steady(&self, from: u64) -> Result<(), LabError> {
        let so_far = self.now().saturating_sub(from);
        let until = self.now().saturating_add(Self::longest_more(so_far));
        while self.now() < until {
            let now = self.now();
            let half = from.saturating_add(now.saturating_sub(from) / 2);
            let calm = self.inner.calibrated.calm();
            if calm.comparable(&[(from, half)], (half, now)) && calm.comparable(&[(half, now)], (from, half)) {
                break;
            }
            self.hold(Duration::from_nanos(SLICE_NS)).await?;
        }
        Ok(())
    }

    /// How much longer a stretch may go on.
    fn longest_more(so_far: u64) -> u64 {
        so_far.saturating_mul(AT_MOST.into()).max(u64::try_from(AT_LEAST.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Holds on, in a stretch that began at `from` (ns), until its latencies can be compared with those of `before` (ns): until half of it was calm
    /// and calibration about as fast as before. What the gateway does plays no part in that. Bounded; the claims say what is left.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub async fn until_comparable(&self, from: u64, before: &[(u64, u64)]) -> Result<(), LabError> {
        let so_far = self.now().saturating_sub(from);
        let until = self.now().saturating_add(Self::longest_more(so_far));
        while self.now() < until && !self.inner.calibrated.calm().comparable(before, (from, self.now())) {
            self.hold(Duration::from_nanos(SLICE_NS)).await?;
        }
        Ok(())
    }

    /// Whether less than half of the time from `from` (ns) until now was calm: other programs, or other experiments, kept the
    /// machine busy.
    #[must_use]
    pub(super) fn was_busy(&self, from: u64) -> bool {
        self.inner.calibrated.calm().share(from, self.now()).is_some_and(|calm| calm < ENOUGH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_of_two_sites_that_stand_still_together_show_that_the_machine_did() {
        let slow = SlowRefusals::default();
        for (due_ms, site) in [(100, "eu"), (120, "eu"), (900, "us"), (950, "eu")] {
            slow.add(due_ms * 1_000_000, site);
        }
        assert!(slow.shared_since(0) && slow.shared_since(900_000_000));
        assert!(!slow.shared_since(901_000_000), "one site alone may be slow by itself");
    }
}
