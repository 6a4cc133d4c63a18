//! What did a link see? Counters are the witness of a network fault: the relay thread writes them, anyone reads them.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a link has seen since it was opened. Sums, except where it says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted from the dialler.
    pub accepted: u64,
    /// Connections made to the target.
    pub connected: u64,
    /// Connects to the target that failed; each resets the dialler's connection.
    pub connect_failures: u64,
    /// Connections open now: accepted and neither closed nor reset.
    pub open: u64,
    /// Bytes passed on to the target.
    pub toward_listener_bytes: u64,
    /// Bytes passed on to the dialler.
    pub toward_dialer_bytes: u64,
    /// Bytes read and not yet passed on now: held, delayed, or waiting for their rate. What a gate holds beyond the
    /// relay's own buffer stays in the kernel and is not in this number.
    pub held_bytes: u64,
    /// Bytes read and thrown away: into a black hole, or with a connection that died.
    pub dropped_bytes: u64,
    /// Connections that a fault of this link reset (refuse, reset, the end of a black hole).
    pub reset: u64,
    /// Accepts that failed on our side (out of file descriptors); each is tried again after 10 ms.
    pub accept_failures: u64,
}

/// The shared cells behind [`Counters`].
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) accepted: AtomicU64,
    pub(super) connected: AtomicU64,
    pub(super) connect_failures: AtomicU64,
    pub(super) open: AtomicU64,
    /// By lane: toward the listener, toward the dialler.
    pub(super) passed: [AtomicU64; 2],
    pub(super) held: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) reset: AtomicU64,
    pub(super) accept_failures: AtomicU64,
}

/// Adds to a cell. Only the relay thread writes, so a load and a store suffice and cost no locked instruction.
pub(super) fn add(cell: &AtomicU64, count: usize) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count as u64), Ordering::Relaxed);
}

/// Takes from a cell that says "now".
pub(super) fn take(cell: &AtomicU64, count: usize) {
    cell.store(cell.load(Ordering::Relaxed).saturating_sub(count as u64), Ordering::Relaxed);
}

impl Cells {
    pub(super) fn read(&self) -> Counters {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Counters {
            accepted: read(&self.accepted),
            connected: read(&self.connected),
            connect_failures: read(&self.connect_failures),
            open: read(&self.open),
            toward_listener_bytes: read(&self.passed[0]),
            toward_dialer_bytes: read(&self.passed[1]),
            held_bytes: read(&self.held),
            dropped_bytes: read(&self.dropped),
            reset: read(&self.reset),
            accept_failures: read(&self.accept_failures),
        }
    }
}
