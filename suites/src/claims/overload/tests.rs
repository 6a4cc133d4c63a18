//! OVL-01 to OVL-03 over hand-written histories: what holds, what breaks them, and what shows nothing.

use super::{AFTER_KILL, AFTER_PEAK, AFTER_PRESSURE, CLAIMS, KILLED, OFFERED, OVER, PEAK, PRESSED, STEPS};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::{FaultStage, ReplicaState};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

/// Requests a second that the site can do.
const CAPACITY: u64 = 100;

fn ask() -> Operation<String> {
    call("traffic", "eu-ingress", "plain", "client-1")
}

/// How a request at a load goes: what it takes in ms, or that it is refused with this status; `None`: it has no answer.
type How = fn(load: u64, turn: u64) -> Option<Result<u64, u16>>;

/// A site that becomes slower from its capacity on and refuses what is too much. `load` in percent of capacity.
fn graceful(load: u64, turn: u64) -> Option<Result<u64, u16>> {
    // Beyond capacity, so much of it is served and the rest refused.
    let served = load <= 100 || turn % load < 100;
    Some(if served { Ok(20 + load / 10 + if load > 100 { 400 } else { 0 }) } else { Err(503) })
}

/// A site whose replicas stand still for most of the time: some requests wait for that.
fn stalls(_load: u64, turn: u64) -> Option<Result<u64, u16>> {
    Some(Ok(25 + turn % 8 * 10))
}

/// One story: base, ramp, one and a half, twice, half; twice with a kill, half. Each stretch takes 10 s, those after a peak 32 s.
fn story(how: How, after: How) -> HistoryBuilder {
    told(how, after, None)
}

/// The same; at its end replicas are pressed, and what comes of that afterwards.
fn told(how: How, after: How, after_pressure: Option<How>) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("overload");
    let mut at = 0;
    let mut stretch = |history: &mut HistoryBuilder, phase: &str, variant: &str, load: u64, how: How, lasts: u64| {
        history.at_ms(at).phase(phase, variant).mark(OFFERED, variant, i64::try_from(load * CAPACITY * 10).unwrap());
        let every = 100_000 / (load * CAPACITY).max(1);
        for (turn, ms) in (0..).zip((0..lasts).step_by(usize::try_from(every.max(1)).unwrap())) {
            history.at_ms(at + ms);
            match how(load, turn) {
                Some(Ok(took)) => {
                    history.takes_ns = took * 1_000_000;
                    history.ok(ask());
                }
                Some(Err(status)) => {
                    history.takes_ns = 1_000_000;
                    history.gateway_error(ask(), status);
                }
                None => {
                    history.takes_ns = 1_000_000_000;
                    history.unknown(ask(), false);
                }
            }
            if turn % 50 == 0 {
                history.takes_ns = 1_000_000;
                history.rejected(with(call("must-refuse", "eu-1", "plain", "client-1"), Credential::Missing), 401);
            }
        }
        at += lasts;
    };
    stretch(&mut history, "steady", "", 40, graceful, 10_000);
    for step in 0..STEPS {
        let load = 50 + 100 * u64::try_from(step).unwrap() / 9;
        stretch(&mut history, "hold", &format!("step-{}", step + 1), load, how, 10_000);
    }
    stretch(&mut history, "hold", OVER, 150, how, 10_000);
    stretch(&mut history, "hold", PEAK, 200, how, 10_000);
    stretch(&mut history, "settle", AFTER_PEAK, 50, after, 32_000);
    stretch(&mut history, "hold", KILLED, 200, graceful, 10_000);
    stretch(&mut history, "settle", AFTER_KILL, 50, after, 32_000);
    if let Some(after) = after_pressure {
        stretch(&mut history, "hold", PRESSED, 50, stalls, 10_000);
        stretch(&mut history, "settle", AFTER_PRESSURE, 50, after, 32_000);
    }
    history.at_ms(at).phase("end", "");
    history
}

fn check(id: &str, history: &History) -> Verdict {
    judge(CLAIMS, id, &[history])
}

fn first(verdict: &Verdict) -> String {
    verdict.numbers()[0].name.clone()
}

#[test]
fn a_site_that_becomes_slower_first_and_recovers_holds_all_three() {
    let history = story(graceful, graceful).build();
    for (id, number) in [
        ("OVL-01", "goodput at twice the capacity over the best"),
        ("OVL-02", "rank correlation of load and p95"),
        ("OVL-03", "service as before after twice the capacity"),
    ] {
        let verdict = check(id, &history);
        assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
        assert_eq!(first(&verdict), number);
    }
}

#[test]
fn goodput_that_collapses_breaks_ovl_01() {
    fn collapses(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        if load > 150 && !turn.is_multiple_of(4) { Some(Err(503)) } else { graceful(load.min(100), turn) }
    }
    let verdict = check("OVL-01", &story(collapses, graceful).build());
    assert!(explanation(&verdict).contains("asked for 200 a second, the site served 50"), "{verdict:?}");
}

#[test]
fn a_second_without_any_success_breaks_ovl_01() {
    fn stops(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        if load == 200 && (600..900).contains(&turn) { Some(Err(503)) } else { graceful(load, turn) }
    }
    let verdict = check("OVL-01", &story(stops, graceful).build());
    assert_eq!(first(&verdict), "longest time without a success");
    assert!(explanation(&verdict).contains("nothing succeeded for 2."), "{verdict:?}");
}

#[test]
fn connections_that_are_refused_break_ovl_01() {
    let mut history = story(graceful, graceful);
    for ms in 0..60 {
        history.at_ms(125_000 + ms * 10).refused(ask());
    }
    let verdict = check("OVL-01", &history.build());
    assert_eq!(first(&verdict), "refused and broken connections", "{verdict:?}");
}

#[test]
fn a_replica_that_ends_under_the_load_breaks_ovl_01_and_one_that_is_killed_does_not() {
    let mut ends = story(graceful, graceful);
    ends.at_ms(123_000).replica("eu-1", ReplicaState::Gone);
    assert!(explanation(&check("OVL-01", &ends.build())).contains("`eu-1` ended under the load"));
    let mut killed = story(graceful, graceful);
    killed.at_ms(170_000).replica("eu-1", ReplicaState::Gone);
    assert_eq!(check("OVL-01", &killed.build()).observed(), Observed::Holds);
}

#[test]
fn errors_before_latency_break_ovl_02() {
    fn errors_first(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        if load > 80 && turn.is_multiple_of(10) { Some(Err(503)) } else { Some(Ok(20 + load / 10)) }
    }
    let verdict = check("OVL-02", &story(errors_first, graceful).build());
    assert_eq!(first(&verdict), "steps in which errors rose before latency did");
    assert!(explanation(&verdict).contains("% failed, and nothing had become slower yet"), "{verdict:?}");
}

#[test]
fn a_jump_below_capacity_breaks_ovl_02() {
    fn jumps(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        let took = if load < 70 { 2 } else { 95 };
        if load <= 100 { Some(Ok(took)) } else { graceful(load, turn) }
    }
    let verdict = check("OVL-02", &story(jumps, graceful).build());
    assert_eq!(first(&verdict), "largest p95 over that of the step before, below capacity", "{verdict:?}");
}

/// As it was seen once in containers, others being brought up under the first steps.
#[test]
fn a_machine_that_was_slower_at_low_loads_is_no_fall_of_latency() {
    fn uneven(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        let took = match load {
            0..60 => 38,
            60..70 => 47,
            70..80 => 32,
            80..=100 => 24,
            _ => return graceful(load, turn),
        };
        Some(Ok(took))
    }
    let verdict = check("OVL-02", &story(uneven, graceful).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn the_step_that_is_capacity_may_be_as_slow_as_capacity() {
    fn at_capacity(load: u64, turn: u64) -> Option<Result<u64, u16>> {
        let took = if load < 90 { 18 } else { 95 };
        if load <= 100 { Some(Ok(took)) } else { graceful(load, turn) }
    }
    let verdict = check("OVL-02", &story(at_capacity, graceful).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn latency_that_does_not_rise_with_load_breaks_ovl_02() {
    fn falls(load: u64, _turn: u64) -> Option<Result<u64, u16>> {
        Some(Ok(if load > 40 { 300 - load } else { 20 }))
    }
    let verdict = check("OVL-02", &story(falls, graceful).build());
    assert_eq!(first(&verdict), "rank correlation of load and p95", "{verdict:?}");
}

#[test]
fn a_site_that_stays_slow_or_goes_on_failing_breaks_ovl_03() {
    fn slow(_load: u64, _turn: u64) -> Option<Result<u64, u16>> {
        Some(Ok(90))
    }
    fn failing(_load: u64, turn: u64) -> Option<Result<u64, u16>> {
        if turn.is_multiple_of(8) { None } else { Some(Ok(25)) }
    }
    for after in [slow as How, failing] {
        let verdict = check("OVL-03", &story(graceful, after).build());
        assert_eq!(first(&verdict), "service as before after twice the capacity");
        assert!(explanation(&verdict).contains("service was not as before for 32.00 s and more"), "{verdict:?}");
    }
}

#[test]
fn a_site_that_is_as_before_once_its_processors_are_its_own_holds_ovl_03() {
    let verdict = check("OVL-03", &told(graceful, graceful, Some(graceful)).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let number = |name: &str| verdict.numbers().iter().find(|number| number.name == name).map(|number| number.value);
    assert_eq!(number("service as before after pressure on the processors"), Some(0.0));
    assert_eq!(number("p95 under pressure on the processors"), Some(95.0));
}

#[test]
fn a_site_that_stays_slow_after_pressure_breaks_ovl_03() {
    let verdict = check("OVL-03", &told(graceful, graceful, Some(stalls)).build());
    assert_eq!(first(&verdict), "service as before after pressure on the processors");
    assert!(explanation(&verdict).contains("after pressure on the processors, asked for 50 a second"), "{verdict:?}");
}

#[test]
fn pressure_without_what_comes_after_it_and_one_that_did_not_bite_show_nothing() {
    let mut cut = story(graceful, graceful);
    cut.at_ms(300_000).phase("hold", PRESSED).mark(OFFERED, PRESSED, 50_000).ok(ask());
    cut.at_ms(301_000).phase("end", "");
    assert_eq!(reason(&check("OVL-03", &cut.build())).0, "too-few-samples");
    let mut unproven = told(graceful, graceful, Some(graceful));
    unproven.at_ms(205_000).fault(1, FaultStage::Injected, "pressure", "eu-1");
    assert_eq!(reason(&check("OVL-03", &unproven.build())).0, "fault-not-proven");
}

#[test]
fn a_policy_that_does_not_hold_while_replicas_are_pressed_breaks_ovl_03() {
    let mut history = told(graceful, graceful, Some(graceful));
    history.at_ms(207_000).ok(with(call("must-refuse", "eu-1", "plain", "client-1"), Credential::Missing));
    let verdict = check("OVL-03", &history.build());
    assert_eq!(first(&verdict), "admitted without a credential under overload", "{verdict:?}");
}

#[test]
fn a_policy_that_does_not_hold_under_overload_breaks_ovl_03() {
    let mut history = story(graceful, graceful);
    history.at_ms(125_000).ok(with(call("must-refuse", "eu-1", "plain", "client-1"), Credential::Missing));
    let verdict = check("OVL-03", &history.build());
    assert_eq!(first(&verdict), "admitted without a credential under overload", "{verdict:?}");
}

#[test]
fn a_late_harness_and_a_damaged_record_excuse_and_nothing_shows_nothing() {
    fn slow(_load: u64, _turn: u64) -> Option<Result<u64, u16>> {
        Some(Ok(90))
    }
    let mut late = story(graceful, slow);
    late.at_ms(140_000).late(101_000);
    assert_eq!(reason(&check("OVL-03", &late.build())).0, "harness-late");
    let mut gap = story(graceful, slow);
    gap.at_ms(140_000).gap("eu-upstream");
    assert_eq!(reason(&check("OVL-03", &gap.build())).0, "gap");
    for id in ["OVL-01", "OVL-02", "OVL-03"] {
        assert_eq!(judge(CLAIMS, id, &[&nothing("overload")]).observed(), Observed::Inconclusive, "{id}");
        let mut fault = story(graceful, graceful);
        fault.at_ms(165_000).fault(1, FaultStage::Injected, "kill", "eu-2");
        assert_eq!(reason(&check(id, &fault.build())).0, "fault-not-proven", "{id}");
    }
    let failing_at_low_load = |failed: u64| {
        let mut history = story(graceful, graceful);
        for turn in 0..failed {
            history.at_ms(5_000 + turn).gateway_error(ask(), 503);
        }
        history.build()
    };
    let (once, often) = (failing_at_low_load(1), failing_at_low_load(100));
    for id in ["OVL-02", "OVL-03"] {
        assert_eq!(check(id, &once).observed(), Observed::Holds, "{id}");
        assert_eq!(reason(&check(id, &often)).0, "no-steady-state", "{id}");
    }
}

#[test]
fn doubted_effects_never_accuse_the_family() {
    let history = story(graceful, graceful).build();
    for id in ["OVL-01", "OVL-02", "OVL-03"] {
        doubted_effects_never_accuse(CLAIMS, id, &history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_family_comes_to_a_verdict_whatever_happened(history in anything("overload")) {
        for id in ["OVL-01", "OVL-02", "OVL-03"] {
            prop_assert_eq!(check(id, &history), check(id, &history));
            doubted_effects_never_accuse(CLAIMS, id, &history);
        }
    }
}
