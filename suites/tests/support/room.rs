//! A trial begins beside others only while the machine has room for it: what a beginning takes would be the others' stall. What
//! the machine left open all the same is told again, once, with nothing beside it.

use gatecrash_engine::machine::Room;
use libtest_mimic::{Arguments, Failed, Trial};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Who runs beside others.
static ROOM: LazyLock<Arc<Room>> = LazyLock::new(Arc::default);
/// Read by all that run beside others, written by one that is alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs groups of trials one after the other, each as many at a time as it says, or as the arguments do. Whether a trial failed.
pub(crate) fn run(arguments: &Arguments, groups: impl IntoIterator<Item = (usize, Vec<Trial>)>) -> bool {
    let mut has_failed = false;
    for (at_once, trials) in groups {
        let arguments = Arguments { test_threads: arguments.test_threads.or(Some(at_once)), ..arguments.clone() };
        has_failed |= libtest_mimic::run(&arguments, trials).has_failed();
    }
    has_failed
}

/// What a trial showed.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What is wrong, whatever the machine did.
    pub(crate) wrong: Vec<String>,
    /// What could not be judged, and the machine may be the reason.
    pub(crate) open: Vec<String>,
}

/// Tells a trial beside others; once more and alone, if nothing is wrong with it but what was left open. `once` is told whether it is
/// the last time.
#[expect(clippy::print_stderr, reason = "test programs with a main of their own")]
pub(crate) fn tell(name: &str, once: impl Fn(bool) -> Result<Told, Failed>) -> Result<(), Failed> {
    let told = {
        let _beside = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        let executor = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let _place = executor.block_on(ROOM.enter());
        once(false)?
    };
    let told = if told.wrong.is_empty() && !told.open.is_empty() {
        eprintln!("{name} is told again, alone: {}", told.open.join("; "));
        let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
        once(true)?
    } else {
        told
    };
    let wrong: Vec<String> = told.wrong.into_iter().chain(told.open).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
