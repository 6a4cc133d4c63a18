//! When did the machine stand still for so long that a store which is fine may have seemed lost?

use super::busy::late;
use super::common::{ms, stream};
use gatecrash_model::History;
use gatecrash_model::calm::{STALL_MS, shared};
use gatecrash_model::operation::stream as streams;

/// How far from a request a stall may be to have touched it, ns: a store that seemed lost in it is taken up again after a moment.
pub(crate) const STALL_NEAR: u64 = 500_000_000;

/// Such times in order, ns: the harness was late, or a calibration request took as long, or gateways of two sites took as long to refuse what they
/// refuse by themselves. Of the two cores of a machine one may stand still, and calibration be on the other.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Vec<u64>);

impl Stalls {
    pub(crate) fn of(history: &History) -> Self {
        let late = late(history).filter(|(_, late_us)| f64::from(*late_us) >= STALL_MS * 1_000.0).map(|(at, _)| at);
        let mut all: Vec<u64> = late.chain(history.calm().stalls(STALL_MS)).chain(together(history)).collect();
        all.sort_unstable();
        Self(all)
    }

    /// Whether one may have touched what happened in `from..=to` (ns): it was no further away than `near`.
    pub(crate) fn touch(&self, from: u64, to: u64, near: u64) -> bool {
        let next = self.0.partition_point(|at| at.saturating_add(near) < from);
        self.0.get(next).is_some_and(|at| *at <= to.saturating_add(near))
    }
}

/// When gateways of two sites stood still together: whoever has no credential is refused without a store, an upstream or a peer.
fn together(history: &History) -> Vec<u64> {
    let slow = stream(history, streams::MUST_REFUSE).filter(|seen| {
        let is_slow = ms(seen.ended().saturating_sub(seen.sent)) >= STALL_MS;
        is_slow && seen.asked.credential.must_refuse() && seen.status() != 0
    });
    shared(slow.map(|seen| (seen.sent, seen.asked.site)).collect())
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

    #[test]
    fn gateways_of_two_sites_that_stand_still_together_show_a_stall() {
        let slow = |asked: &[(&str, u64, u64)]| {
            let mut history = HistoryBuilder::new("story");
            for (replica, at_ms, took_ms) in asked {
                history.takes_ns = took_ms * 1_000_000;
                history
                    .at_ms(*at_ms)
                    .rejected(with(call("must-refuse", replica, "plain", "client-1"), Credential::Missing), 401);
            }
            Stalls::of(&history.build()).touch(0, 10_000_000_000, 0)
        };
        assert!(slow(&[("eu-1", 100, 70), ("us-1", 110, 65)]));
        assert!(!slow(&[("eu-1", 100, 70), ("eu-2", 110, 65)]), "one site alone may be slow by itself");
        assert!(!slow(&[("eu-1", 100, 70), ("us-1", 110, 55)]), "too short");
        assert!(!slow(&[("eu-1", 100, 70), ("us-1", 900, 70)]), "not together");
    }
}
