//! When open-loop requests are sent: one thread that sleeps to the nanosecond and ticks for every
//! stream, because tokio's timer wheel would be 1 ms late on each.

use crate::clock::monotonic_ns;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How long before it is due a tick is sent: what it takes a sleeping thread and then a task to wake up.
const LEAD_NS: u64 = 30_000;

/// A schedule: ticks at `start + n * interval`. Dropping or stopping it ends the ticks.
#[derive(Debug)]
pub struct Ticks {
    /// `CLOCK_MONOTONIC` stamps at which something should be done, in order, sent a little before: [`until`] waits for the rest.
    pub due: UnboundedReceiver<u64>,
    stopped: Arc<AtomicBool>,
}

impl Ticks {
    /// A handle that ends the schedule from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stopped))
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Ends a schedule.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// No more ticks; those already sent may still be in the channel.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Schedule {
    start: u64,
    interval_ns: f64,
    ticked: u64,
    to: UnboundedSender<u64>,
    stopped: Arc<AtomicBool>,
}

impl Schedule {
    fn next(&self) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and far below 2^52 ns of offset"
        )]
        let offset = (self.ticked as f64 * self.interval_ns) as u64;
        self.start.saturating_add(offset)
    }
}

/// Ticks `rate_per_s` times a second, beginning now. One thread serves all schedules of the process.
#[must_use]
pub fn ticks(rate_per_s: f64) -> Ticks {
    static PACER: OnceLock<Sender<Schedule>> = OnceLock::new();
    let pacer = PACER.get_or_init(|| {
        let (to, from) = channel();
        // Without the thread nothing ticks; the receiver is dropped and every stream ends at once.
        let _thread = std::thread::Builder::new().name("pacer".to_owned()).spawn(move || run(&from));
        to
    });
    let (to, due) = unbounded_channel();
    let stopped = Arc::new(AtomicBool::new(false));
    let interval_ns = 1e9 / rate_per_s.clamp(0.01, 1_000_000.0);
    let schedule = Schedule { start: monotonic_ns(), interval_ns, ticked: 0, to, stopped: Arc::clone(&stopped) };
    let _ended = pacer.send(schedule);
    Ticks { due, stopped }
}

/// Waits for the moment of a tick; at most a few microseconds, without giving up the thread.
pub fn until(due: u64) {
    let latest = monotonic_ns().saturating_add(LEAD_NS);
    while monotonic_ns() < due.min(latest) {
        std::hint::spin_loop();
    }
}

fn run(from: &Receiver<Schedule>) {
    crate::priority::put_first();
    let _kept = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut schedules: Vec<Option<Schedule>> = Vec::new();
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    loop {
        let now = monotonic_ns();
        while let Some(Reverse((at, slot))) = queue.peek().copied() {
            if at > now.saturating_add(LEAD_NS) {
                break;
            }
            queue.pop();
            let Some(place) = schedules.get_mut(slot) else { continue };
            let Some(schedule) = place else { continue };
            if schedule.stopped.load(Ordering::Relaxed) || schedule.to.send(at).is_err() {
                *place = None;
                continue;
            }
            schedule.ticked += 1;
            queue.push(Reverse((schedule.next(), slot)));
        }
        let wait = queue.peek().map_or(Duration::from_secs(1), |Reverse((at, _))| {
            Duration::from_nanos(at.saturating_sub(LEAD_NS).saturating_sub(monotonic_ns()))
        });
        match from.recv_timeout(wait) {
            Ok(schedule) => {
                let slot = schedules.iter().position(Option::is_none).unwrap_or(schedules.len());
                // A slot is free only when no queued tick of its last schedule is left.
                let slot = if queue.iter().any(|Reverse((_, used))| *used == slot) { schedules.len() } else { slot };
                queue.push(Reverse((schedule.next(), slot)));
                if slot == schedules.len() {
                    schedules.push(Some(schedule))
                } else if let Some(place) = schedules.get_mut(slot) {
                    *place = Some(schedule)
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
