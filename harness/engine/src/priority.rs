//! Who must not wait? The threads that are on every path or say when a request is due: what the engine does to make a
//! dozen containers, or a compiler next door, would otherwise be a fault that nobody injected.

/// A share of the processor several times that of an ordinary thread.
const AHEAD: i32 = -10;

/// Puts the calling thread ahead of ordinary ones, where this user may (root, or `CAP_SYS_NICE`); elsewhere it stays as
/// it is, and the harness measures its lateness all the same. What this thread starts inherits it: it must start nothing.
pub(crate) fn put_ahead() {
    // On Linux "this process" is this thread.
    let _not_allowed = rustix::process::setpriority_process(None, AHEAD);
}
