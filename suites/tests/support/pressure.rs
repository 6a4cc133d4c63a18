//! Did other programs keep the machine busy while a trial ran? Asked of the kernel and not of gatecrash: what gatecrash
//! says of a machine that was not busy is held against it.

use gatecrash_engine::machine::CoreTime;

/// Less of the machine's time than this was free: then somebody waited for it. A trial alone leaves a third and more.
const FREE: f64 = 0.08;

/// Time of all cores since some moment.
#[derive(Debug)]
pub(crate) struct Pressure {
    since: Option<CoreTime>,
}

impl Pressure {
    /// From now on.
    pub(crate) fn since_now() -> Self {
        Self { since: CoreTime::now() }
    }

    /// The share of the machine's time that was free until now, if others left hardly any.
    pub(crate) fn free_if_busy(&self) -> Option<f64> {
        self.since?.free_until(CoreTime::now()?).filter(|free| *free < FREE)
    }
}
