//! Who must not wait? What is under test and what measures it, while other programs keep the machine busy; and before those, the threads that are on every path or
//! say when a request is due: what the engine does to make a dozen containers would otherwise be a fault that nobody injected.

/// A share of the processor several times that of an ordinary thread.
const AHEAD: i32 = -10;
/// More than that.
const FIRST: i32 = -15;

/// Puts the calling thread, and everything that it starts from here on, ahead of other programs, where this user may (root, or `CAP_SYS_NICE`);
/// elsewhere it stays as it is, and the harness measures its lateness all the same. For the threads of an executor: components in processes
/// are started by them.
pub fn put_ahead() {
    // On Linux "this process" is this thread.
    let _not_allowed = rustix::process::setpriority_process(None, AHEAD);
}

/// Puts the calling thread before those, too. It must start nothing.
pub(crate) fn put_first() {
    let _not_allowed = rustix::process::setpriority_process(None, FIRST);
}
