//! How fast is the machine while an experiment runs? Requests that pass no gateway and no fault, through an ingress of their own
//! to the first upstream. Claims that compare latencies leave out the slices of time in which these, too, were slow.

use super::Lab;
use super::operations::{Call, Target};
use gatecrash_model::calm::Calm;
use gatecrash_model::operation::{Credential, stream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Requests a second: two dozen in each slice that is judged.
const RATE_PER_S: f64 = 50.0;
/// Share of a stretch that must have been calm; with less it is repeated once.
const ENOUGH: f64 = 0.5;

/// A stall of this length is one that a store may seem lost in; the quota claims have the same.
const STALL: Duration = Duration::from_millis(60);

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

    /// Share of what began in `from..to` that was calm, by all that was seen so far.
    fn calm(&self, from: u64, to: u64) -> Option<f64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Calm::of(all.into_iter()).share(from, to)
    }
}

impl Lab {
    /// Starts the calibration stream, unless the experiment wants to be alone.
    pub(super) fn calibrate(&self) {
        if self.inner.options.quiet {
            return;
        }
        let call = Call::new(stream::CALIBRATION, Target::Calibration, stream::CALIBRATION, stream::CALIBRATION)
            .with(Credential::NotNeeded);
        let lab = self.clone();
        let running = self.open_loop(RATE_PER_S, vec![call], move |outcome| {
            let now = lab.now();
            let due = now.saturating_sub(u64::try_from(outcome.latency.as_nanos()).unwrap_or(u64::MAX));
            lab.inner.calibrated.add(due, outcome.answer.is_success().then_some(outcome.latency));
        });
        self.keep_task(running.until_the_end());
    }

    /// Whether the machine stood still since `from` (ns).
    pub(super) fn stood_still(&self, from: u64) -> bool {
        self.inner.calibrated.longest_ms(from) >= STALL.as_secs_f64() * 1000.0
            || self.inner.lateness.since(from) >= STALL
    }

    /// Whether less than half of the time from `from` (ns) until now was calm: other programs, or other experiments, kept the
    /// machine busy.
    #[must_use]
    pub(super) fn was_busy(&self, from: u64) -> bool {
        self.inner.calibrated.calm(from, self.now()).is_some_and(|calm| calm < ENOUGH)
    }
}
