//! A trial begins beside others only while the machine has room for it: what a beginning takes would be the others' stall.

use gatecrash_engine::machine::{Place, Room};
use std::sync::{Arc, LazyLock};

static ROOM: LazyLock<Arc<Room>> = LazyLock::new(Arc::default);

/// Waits for a place; see [`Room::enter`].
pub(crate) fn enter() -> std::io::Result<Place> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok(executor.block_on(ROOM.enter()))
}
