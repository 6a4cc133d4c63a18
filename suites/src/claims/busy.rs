//! Was a whole history taken on a machine that could not carry it? Then what came too late there accuses nobody.
//!
//! Claims that compare milliseconds look closer ([`super::pace`]). This is the net below all others that judge times: a
//! harness that stood still for half a second, or calibration requests that were stuck for two seconds in all.

use gatecrash_model::History;
use gatecrash_model::claim::OnBusyMachine;
use gatecrash_model::history::EventKind;
use gatecrash_model::verdict::{Reason, Verdict};

/// A harness that stood still for so long bends the seconds that are judged at the usual scale by a tenth and more.
const LATE_MS: f64 = 500.0;
/// So many slices in which nine of ten calibration requests took so long are no accident: a process that starts takes one or two.
const STUCK_MS: f64 = 250.0;
const SLICES: usize = 4;

/// When the harness was late (ns), and by how many microseconds.
pub(crate) fn late(history: &History) -> impl Iterator<Item = (u64, u32)> {
    history.others().filter_map(|(_, found)| {
        if let EventKind::Late { late_us } = found.kind { Some((found.at, late_us)) } else { None }
    })
}

/// Why nothing that `history` shows to be late is proof; `None` on a machine that carried it.
pub(crate) fn overloaded(history: &History) -> Option<Reason> {
    let late = late(history).map(|(_, late_us)| f64::from(late_us) / 1000.0).fold(0.0, f64::max);
    let stalled = history.calm().slower_than(STUCK_MS);
    let what = if late >= LATE_MS {
        format!("the harness stood still for {late:.0} ms")
    } else if stalled >= SLICES {
        format!("calibration requests took more than {STUCK_MS:.0} ms in {stalled} half seconds")
    } else {
        return None;
    };
    Some(Reason::new("machine-busy", format!("`{}`: {what}: the machine could not carry it", history.experiment())))
}

/// `verdict` of a claim; inconclusive, if it is a violation that an `overloaded` machine may have made.
pub(crate) fn excused(on_busy: OnBusyMachine, verdict: Verdict, overloaded: Option<&Reason>) -> Verdict {
    match (verdict, overloaded) {
        (Verdict::Violated(found), Some(reason)) if on_busy == OnBusyMachine::Excused => {
            Verdict::Inconclusive(Reason::new(&reason.code, format!("{}; seen: {}", reason.text, found.explanation)))
        }
        (verdict, _) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::{HistoryBuilder, call, with};
    use gatecrash_model::operation::Credential;
    use gatecrash_model::verdict::{Counterexample, Observed};

    fn calibrated(took: impl Fn(u64) -> u64) -> HistoryBuilder {
        let mut history = HistoryBuilder::new("story");
        for ms in (0..5_000).step_by(50) {
            history.takes_ns = took(ms) * 1_000_000;
            let calibration =
                with(call("calibration", "calibration", "calibration", "calibration"), Credential::NotNeeded);
            history.at_ms(ms).ok(calibration);
        }
        history
    }

    #[test]
    fn a_machine_that_carries_it_excuses_nothing() {
        assert_eq!(overloaded(&HistoryBuilder::new("story").build()), None);
        // A second and a half is an accident.
        let mut history = calibrated(|ms| if (1_000..2_500).contains(&ms) { 300 } else { 1 });
        history.at_ms(3_000).late(499_000);
        assert_eq!(overloaded(&history.build()), None);
    }

    #[test]
    fn a_machine_that_stands_still_excuses_what_is_late_and_nothing_else() {
        let slow = calibrated(|ms| if (1_000..3_000).contains(&ms) { 300 } else { 1 }).build();
        let mut late = calibrated(|_| 1);
        late.at_ms(2_000).late(500_000);
        for history in [slow, late.build()] {
            let reason = overloaded(&history);
            assert_eq!(reason.as_ref().map(|reason| reason.code.as_str()), Some("machine-busy"));
            let violated = || {
                Verdict::Violated(Counterexample {
                    explanation: "too late".to_owned(),
                    events: Vec::new(),
                    samples: 1,
                    numbers: Vec::new(),
                })
            };
            let Verdict::Inconclusive(why) = excused(OnBusyMachine::Excused, violated(), reason.as_ref()) else {
                panic!()
            };
            assert!(why.text.contains("seen: too late"), "{why:?}");
            assert_eq!(excused(OnBusyMachine::Stands, violated(), reason.as_ref()).observed(), Observed::Violated);
            assert_eq!(excused(OnBusyMachine::Excused, violated(), None).observed(), Observed::Violated);
        }
    }
}
