//! How busy is the machine? Asked of the kernel: whatever kept it busy counts, gatecrash itself too. And has it room for one more
//! experiment? One that runs beside others begins only while it has, so that nobody's beginning is the others' fault.

use crate::clock::{monotonic_ns, sleep};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Time of all cores since the machine began to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreTime {
    /// Nobody needed it, ticks.
    free: u64,
    /// All of it, ticks.
    all: u64,
}

impl CoreTime {
    /// Until now; `None` where the kernel does not say (`/proc/stat`).
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and guests, which are in user already.
    fn parse(text: &str) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8);
        let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        let [_, _, _, idle, waiting, ..] = fields[..] else { return None };
        Some(Self { free: idle.saturating_add(waiting), all: fields.iter().sum() })
    }

    /// The share of the machine's time since then that nobody needed, 0 to 1; `None` where no time has passed.
    #[must_use]
    pub fn free_until(self, later: Self) -> Option<f64> {
        let all = later.all.saturating_sub(self.all);
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds of one run")]
        let free = (all > 0).then(|| later.free.saturating_sub(self.free) as f64 / all as f64)?;
        Some(free)
    }
}

/// So much of the machine's time is free where one more fits: an experiment on two cores takes a quarter of it to a half.
const ROOM: f64 = 0.4;
/// How long is looked.
const LOOK: Duration = Duration::from_millis(500);
/// Who has just begun does not show yet what it takes.
const SHOWS: Duration = Duration::from_secs(1);

/// Those that run beside each other on this machine.
#[derive(Debug, Default)]
pub struct Room {
    inside: AtomicUsize,
    /// When the last one came in, ns of `CLOCK_MONOTONIC`. Whoever holds it is at the door: one at a time.
    door: Mutex<Option<u64>>,
}

impl Room {
    /// Waits until nobody is inside, or the machine has room for one more, and takes a place. Whoever is inside goes in the end, so this is
    /// bounded by the longest of them; where the kernel does not say how busy the machine is, there is room.
    pub async fn enter(self: &Arc<Self>) -> Place {
        let mut last = self.door.lock().await;
        // An empty room lets anyone in at once.
        if let Some(last) = last.filter(|_| self.inside.load(Ordering::Acquire) > 0) {
            sleep(SHOWS.saturating_sub(Duration::from_nanos(monotonic_ns().saturating_sub(last)))).await;
        }
        while self.inside.load(Ordering::Acquire) > 0 {
            let Some(before) = CoreTime::now() else { break };
            sleep(LOOK).await;
            let free = CoreTime::now().and_then(|now| before.free_until(now));
            if free.is_none_or(|free| free >= ROOM) {
                break;
            }
        }
        self.inside.fetch_add(1, Ordering::AcqRel);
        *last = Some(monotonic_ns());
        Place { room: Arc::clone(self) }
    }
}

/// A place in a [`Room`]; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_is_what_was_idle_or_waited_for_a_disk() {
        let before = CoreTime::parse("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 1 1 1\n").unwrap();
        let after = CoreTime::parse("cpu  130 0 60 840 60 0 0 10 9 9\n").unwrap();
        assert_eq!(before.free_until(after), Some(0.5));
        assert_eq!(before.free_until(before), None);
        for text in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e f g h", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(CoreTime::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_it_is_dropped() {
        let room = Arc::new(Room::default());
        let place = room.enter().await;
        assert_eq!(room.inside.load(Ordering::Relaxed), 1);
        drop(place);
        assert_eq!(room.inside.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn on_a_busy_machine_the_next_waits_until_the_last_one_has_gone() {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let burning: Vec<_> = (0..cores)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        let room = Arc::new(Room::default());
        let first = room.enter().await;
        let next = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.enter().await }
        });
        sleep(Duration::from_millis(2500)).await;
        let waited = !next.is_finished();
        drop(first);
        let entered = tokio::time::timeout(Duration::from_secs(10), next).await;
        stop.store(true, Ordering::Relaxed);
        for thread in burning {
            thread.join().unwrap();
        }
        assert!(waited, "it came in beside another, though no time was free");
        entered.unwrap().unwrap();
    }
}
