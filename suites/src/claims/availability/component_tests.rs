use super::{CLAIMS, COMPONENT};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, reason};
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::Credential;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// 20 s steady; the control plane, then the store, lost for 20 s each, and 5 s after each. A request takes as many ms as
/// `takes` says of when it is sent, and fails if that is 0.
fn losses(takes: impl Fn(u64) -> u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("component-loss");
    let ask = |history: &mut HistoryBuilder, from: u64, to: u64| {
        for ms in (from..to).step_by(50) {
            history.at_ms(ms);
            let operation = call("traffic", "eu-1", "plain", "client-1");
            if takes(ms) == 0 {
                history.gateway_error(operation, 502);
            } else {
                history.takes_ns = takes(ms) * 1_000_000;
                history.ok(operation);
            }
        }
    };
    history.at_ms(0).phase("steady", "");
    ask(&mut history, 0, 20_000);
    for (component, from) in [("control-plane", 20_000), ("eu-store", 50_000)] {
        history.at_ms(from).mark(COMPONENT, component, 0).phase("inject", component);
        history.proven_fault("blackhole", component, from + 10, from + 20_100);
        history.at_ms(from + 100).phase("hold", component);
        ask(&mut history, from + 100, from + 20_100);
        history.at_ms(from + 20_100).phase("heal", component).phase("settle", component);
        ask(&mut history, from + 20_200, from + 25_000);
    }
    history.at_ms(80_000).phase("end", "");
    history
}

#[test]
fn a_data_path_that_notices_no_loss_holds() {
    let verdict = judge(CLAIMS, "AVL-06", &[&losses(|_| 1).build()]);
    let gatecrash_model::Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.notes, ["lost in turn, 2 of them: control-plane, eu-store"]);
}

#[test]
fn errors_and_slowness_in_one_loss_and_errors_after_it_break_it() {
    let during = |from: u64, to: u64, takes: u64| move |ms: u64| if (from..to).contains(&ms) { takes } else { 1 };
    for (history, words, number) in [
        (losses(during(55_000, 57_000, 0)), "`eu-store` lost: 90.00 %", "success (`eu-store` lost)"),
        (losses(during(20_000, 40_100, 9)), "`control-plane` lost: p95 was 9.0 ms", "p95 (`control-plane` lost)"),
        (losses(during(41_000, 42_000, 0)), "`control-plane` back: ", "success (`control-plane` back)"),
    ] {
        let verdict = judge(CLAIMS, "AVL-06", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, number);
    }
}

#[test]
fn a_machine_that_was_slower_itself_an_unproven_loss_and_a_late_harness_show_nothing() {
    let mut busy = losses(|ms| if (20_000..40_100).contains(&ms) { 9 } else { 1 });
    for ms in (10..80_000).step_by(50) {
        busy.takes_ns = if (20_000..40_100).contains(&ms) { 8_000_000 } else { 1_000_000 };
        let calibration = with(call("calibration", "calibration", "calibration", "calibration"), Credential::NotNeeded);
        busy.at_ms(ms).ok(calibration);
    }
    assert_eq!(reason(&judge(CLAIMS, "AVL-06", &[&busy.build()])).0, "machine-busy");
    let mut unproven = losses(|_| 1);
    unproven.at_ms(60_000).fault(1, FaultStage::NotWitnessed, "blackhole", "control-plane");
    assert_eq!(reason(&judge(CLAIMS, "AVL-06", &[&unproven.build()])).0, "fault-not-proven");
    let mut late = losses(|ms| if (55_000..57_000).contains(&ms) { 0 } else { 1 });
    late.at_ms(56_000).late(300_000);
    assert_eq!(reason(&judge(CLAIMS, "AVL-06", &[&late.build()])).0, "harness-late");
}

#[test]
fn nothing_lost_is_too_little() {
    let mut history = HistoryBuilder::new("component-loss");
    history.at_ms(0).phase("steady", "");
    for ms in (1..20_000).step_by(50) {
        history.at_ms(ms).ok(call("traffic", "eu-1", "plain", "client-1"));
    }
    history.at_ms(20_000).phase("end", "");
    assert_eq!(reason(&judge(CLAIMS, "AVL-06", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn doubted_effects_never_accuse_a_component() {
    doubted_effects_never_accuse(CLAIMS, "AVL-06", &losses(|_| 1).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn losses_are_judged_over_anything(loss in anything("component-loss")) {
        let first = judge(CLAIMS, "AVL-06", &[&loss]);
        prop_assert_ne!(first.observed(), Observed::Holds, "60 steps are too few");
    }
}
