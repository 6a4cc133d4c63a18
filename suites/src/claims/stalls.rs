//! When did the machine stand still for so long that a store which is fine may have seemed lost?

use gatecrash_model::History;
use gatecrash_model::calm::STALL_MS;
use gatecrash_model::history::EventKind;

/// Such times in order, ns: the harness was late, or a calibration request took as long.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Vec<u64>);

impl Stalls {
    pub(crate) fn of(history: &History) -> Self {
        let late = history.others().filter_map(|(_, found)| {
            let EventKind::Late { late_us } = found.kind else { return None };
            (f64::from(late_us) >= STALL_MS * 1_000.0).then_some(found.at)
        });
        let mut all: Vec<u64> = late.chain(history.calm().stalls(STALL_MS)).collect();
        all.sort_unstable();
        Self(all)
    }

    /// Whether one may have touched what happened in `from..=to` (ns): it was no further away than `near`.
    pub(crate) fn touch(&self, from: u64, to: u64, near: u64) -> bool {
        let next = self.0.partition_point(|at| at.saturating_add(near) < from);
        self.0.get(next).is_some_and(|at| *at <= to.saturating_add(near))
    }
}
