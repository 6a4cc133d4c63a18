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

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::{HistoryBuilder, call, with};
    use gatecrash_model::operation::Credential;

    #[test]
    fn a_request_that_the_end_cuts_off_is_no_stall_until_it_has_taken_as_long() {
        let cut_off_after = |ms: u64| {
            let mut history = HistoryBuilder::new("story");
            let calibration =
                || with(call("calibration", "calibration", "calibration", "calibration"), Credential::NotNeeded);
            history.takes_ns = 1_000_000;
            history.at_ms(0).ok(calibration());
            history.takes_ns = ms * 1_000_000;
            history.at_ms(100).unknown(calibration(), false);
            Stalls::of(&history.build()).touch(0, 200_000_000, 0)
        };
        assert!(!cut_off_after(1) && !cut_off_after(59) && cut_off_after(60));
    }
}
