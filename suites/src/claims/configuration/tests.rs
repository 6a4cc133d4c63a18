use super::*;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::{Answer, Effect, Operation};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

const STARTS: [(&str, i64); 3] = [("CFG-02/a", RESTARTED), ("CFG-02/b", WIPED), ("CFG-02/c", BRAND_NEW)];

fn traffic() -> Operation<String> {
    call("traffic", "eu-1", "plain", "client-1")
}

fn canary(replica: &str) -> Operation<String> {
    call("canary", replica, "plain", "client-1")
}

/// 150 requests for one quota at `eu-1`, from `from` ms on, of which `admitted` are.
fn quota(history: &mut HistoryBuilder, from: u64, admitted: u64) {
    let takes = std::mem::replace(&mut history.takes_ns, 1_000_000);
    history.at_ms(from).mark("quota-window-ms", "client-9", 10_000).mark("window", "client-9", 1);
    for request in 0..150 {
        history.at_ms(from + 1 + request * 50);
        let operation = call("quota", "eu-1", "metered", "client-9");
        if request < admitted {
            history.ok(operation);
        } else {
            history.rejected(operation, 429);
        }
    }
    history.takes_ns = takes;
}

/// 20 s steady, 60 s without the control plane, 10 s after it; `takes` ms for a request in the outage.
fn outage(takes: u64) -> HistoryBuilder {
    let mut history = outage_without_quota(takes);
    quota(&mut history, 30_000, 100);
    history
}

fn outage_without_quota(takes: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("control-plane-outage");
    history.at_ms(0).phase("steady", "");
    history.proven_fault("refuse", "eu-management->control-plane", 20_000, 80_000);
    history.at_ms(20_000).phase("hold", "refuse").at_ms(80_000).phase("settle", "");
    for ms in (100..90_000).step_by(100) {
        history.takes_ns = if (20_000..80_000).contains(&ms) { takes * 1_000_000 } else { 1_000_000 };
        history.at_ms(ms).ok(traffic());
        if ms % 500 == 0 {
            history.ok(canary("eu-1"));
            history.rejected(with(canary("eu-1"), Credential::Missing), 401);
        }
    }
    history
}

#[test]
fn a_gateway_that_does_not_notice_the_outage_holds() {
    let verdict = judge(CLAIMS, "CFG-01", &[&outage(1).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn a_route_that_is_gone_in_the_outage_breaks_cfg_01() {
    let mut history = outage(1);
    history.at_ms(50_001).rejected(canary("eu-1"), 404);
    let verdict = judge(CLAIMS, "CFG-01", &[&history.build()]);
    assert!(explanation(&verdict).contains("found no route"), "{verdict:?}");
}

#[test]
fn a_quota_that_is_not_enforced_in_the_outage_or_refuses_too_early_breaks_cfg_01() {
    for (admitted, words) in [(140, "140 admitted"), (40, "110 refused after 40 of 100 were admitted")] {
        let mut history = outage_without_quota(1);
        quota(&mut history, 30_000, admitted);
        let verdict = judge(CLAIMS, "CFG-01", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, "most admitted of a quota (in the outage)");
    }
    // A quota after the outage is no canary of it.
    let mut history = outage_without_quota(1);
    quota(&mut history, 81_000, 140);
    assert!(reason(&judge(CLAIMS, "CFG-01", &[&history.build()])).1.contains("no whole quota was asked"));
}

#[test]
fn the_number_that_decided_cfg_01_comes_first() {
    let first = |history: HistoryBuilder| judge(CLAIMS, "CFG-01", &[&history.build()]).numbers()[0].name.clone();
    assert_eq!(first(outage(1)), "success (in the outage)");
    assert_eq!(first(outage(9)), "p95 (in the outage)");
    let mut gone = outage(1);
    gone.at_ms(50_001).rejected(canary("eu-1"), 404);
    assert_eq!(first(gone), "wrong answers (in the outage)");
}

#[test]
fn a_policy_that_is_gone_in_the_outage_breaks_cfg_01() {
    let mut history = outage(1);
    history.at_ms(50_001).ok(with(canary("eu-1"), Credential::Missing));
    let verdict = judge(CLAIMS, "CFG-01", &[&history.build()]);
    assert!(explanation(&verdict).contains("must be refused"), "{verdict:?}");
}

#[test]
fn requests_without_an_answer_count_against_it_and_so_does_the_time_after() {
    for at in [50_001, 85_001] {
        let mut history = outage(1);
        for ms in 0..20 {
            history.at_ms(at + ms).unknown(traffic(), true);
        }
        let verdict = judge(CLAIMS, "CFG-01", &[&history.build()]);
        assert!(explanation(&verdict).contains("99.90 % are needed"), "{verdict:?}");
    }
}

/// The outage with requests that take `takes` ms, and calibration requests that take as many as `machine` says.
fn calibrated(takes: u64, machine: impl Fn(u64) -> f64) -> HistoryBuilder {
    let mut history = outage(takes);
    for ms in (10..90_000).step_by(50) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few milliseconds")]
        let takes_ns = (machine(ms) * 1e6) as u64;
        history.takes_ns = takes_ns;
        let calibration = with(call("calibration", "calibration", "calibration", "calibration"), Credential::NotNeeded);
        history.at_ms(ms).ok(calibration);
    }
    history
}

#[test]
fn a_machine_that_is_as_fast_as_before_explains_nothing() {
    let verdict = judge(CLAIMS, "CFG-01", &[&calibrated(9, |_| 1.0).build()]);
    assert!(explanation(&verdict).contains("p95 was 9.0 ms; 6.0 ms are allowed"), "{verdict:?}");
}

#[test]
fn a_machine_that_is_slower_through_the_outage_leaves_nothing_to_judge() {
    let slow = |ms| if (20_000..80_000).contains(&ms) { 8.0 } else { 1.0 };
    assert_eq!(reason(&judge(CLAIMS, "CFG-01", &[&calibrated(9, slow).build()])).0, "machine-busy");
    // A gateway that was fast all the same was fast enough.
    assert_eq!(judge(CLAIMS, "CFG-01", &[&calibrated(1, slow).build()]).observed(), Observed::Holds);
    // Four times as much as the machine became slower by is more than it explains.
    let little = |ms| if (20_000..80_000).contains(&ms) { 2.0 } else { 1.0 };
    assert_eq!(reason(&judge(CLAIMS, "CFG-01", &[&calibrated(9, little).build()])).0, "machine-busy");
    assert!(explanation(&judge(CLAIMS, "CFG-01", &[&calibrated(11, little).build()])).contains("p95 was 11.0 ms"));
}

#[test]
fn a_wrong_answer_stands_however_busy_the_machine_is() {
    let mut history = calibrated(9, |ms| if ms >= 20_000 { 8.0 } else { 1.0 });
    history.at_ms(50_001).ok(with(canary("eu-1"), Credential::Missing));
    assert!(explanation(&judge(CLAIMS, "CFG-01", &[&history.build()])).contains("must be refused"));
}

#[test]
fn what_is_slow_with_the_machine_is_left_out_and_the_rest_is_judged() {
    let busy = |ms: &u64| (40_000..45_000).contains(ms);
    let mut history = calibrated(1, |ms| if busy(&ms) { 8.0 } else { 1.0 });
    history.takes_ns = 30_000_000;
    for ms in (100..90_000_u64).step_by(10).filter(busy) {
        history.at_ms(ms).ok(traffic());
    }
    let verdict = judge(CLAIMS, "CFG-01", &[&history.build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn slower_requests_break_cfg_01() {
    let verdict = judge(CLAIMS, "CFG-01", &[&outage(9).build()]);
    assert!(explanation(&verdict).contains("p95 was 9.0 ms"), "{verdict:?}");
    // Within 5 ms of the base nothing is said.
    assert_eq!(judge(CLAIMS, "CFG-01", &[&outage(5).build()]).observed(), Observed::Holds);
}

#[test]
fn a_harness_that_was_late_says_nothing_of_latencies_and_a_repetition_makes_it_good() {
    let late = |takes, repeated: bool| {
        let mut history = outage(takes);
        // A tenth of the 60 s.
        history.at_ms(21_000).late(6_500_000);
        if repeated {
            history.at_ms(22_000).mark("prolonged", "", 6_500_000);
        }
        judge(CLAIMS, "CFG-01", &[&history.build()])
    };
    assert_eq!(reason(&late(1, false)).0, "harness-late");
    assert_eq!(reason(&late(9, false)).0, "harness-late");
    assert_eq!(late(1, true).observed(), Observed::Holds);
    assert_eq!(late(9, true).observed(), Observed::Violated);
}

#[test]
fn an_outage_that_is_not_proven_shows_nothing_and_a_wrong_answer_stands() {
    let mut history = outage(1);
    history.at_ms(60_000).fault(1, gatecrash_model::history::FaultStage::NotWitnessed, "refuse", "x");
    assert_eq!(reason(&judge(CLAIMS, "CFG-01", &[&history.build()])).0, "fault-not-proven");
    let mut history = outage(1);
    history.at_ms(50_001).gap("eu-upstream").ok(with(canary("eu-1"), Credential::Missing));
    assert_eq!(judge(CLAIMS, "CFG-01", &[&history.build()]).observed(), Observed::Violated);
}

/// `eu-1` starts at 3 s, 103 s and 203 s, the control plane refusing, a black hole and slow, and answers from 1 s later on
/// with `version`, or not at all.
fn start(variant: i64, version: u32) -> HistoryBuilder {
    let mut history = starts_of(variant, version);
    back(&mut history, Some(1_000));
    history
}

/// The same without what comes after.
fn starts_of(variant: i64, version: u32) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("start-without-control-plane");
    history.at_ms(500).mark("published", "", 2);
    for (begin, kind) in [(0, "refuse"), (100_000, "blackhole"), (200_000, "slow")] {
        history.proven_fault(kind, "eu-management->control-plane", begin + 1000, begin + 70_000);
        history.at_ms(begin + 2000).phase("hold", "restart-one").mark(START_VARIANT, "eu-1", variant);
        history.at_ms(begin + 2500).replica("eu-1", ReplicaState::Gone);
        history.at_ms(begin + 3000).replica("eu-1", ReplicaState::Starting);
        for ms in (3100..80_000).step_by(100) {
            history.at_ms(begin + ms);
            if ms < 4000 || version == 0 && ms < 71_000 {
                history.gateway_error(canary("eu-1"), 503);
            } else {
                let answer = Answer { status: 200, version, ..Answer::default() };
                history.operation(canary("eu-1"), Some((Effect::Ok, answer)), true);
                history.rejected(with(canary("eu-1"), Credential::Missing), 401);
            }
        }
    }
    history
}

/// The control plane is back, and publishes once more; `eu-1` follows after so many ms, or not at all.
fn back(history: &mut HistoryBuilder, follows: Option<u64>) {
    history.at_ms(290_000).phase("settle", "").mark("published", "", 3);
    for ms in (0..62_000).step_by(100) {
        let version = if follows.is_some_and(|follows| ms >= follows) { 3 } else { 2 };
        let answer = Answer { status: 200, version, ..Answer::default() };
        history.at_ms(290_001 + ms).operation(canary("eu-1"), Some((Effect::Ok, answer)), true);
    }
    history.at_ms(352_100).phase("end", "");
}

#[test]
fn whoever_started_without_the_control_plane_follows_it_when_it_is_back() {
    for (follows, words) in [(None, "not seen in 62.1 s"), (Some(61_000), "only after 61.0 s")] {
        let mut history = starts_of(RESTARTED, 2);
        back(&mut history, follows);
        let verdict = judge(CLAIMS, "CFG-02/a", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, "the control plane back, until the next version was served");
    }
    let verdict = judge(CLAIMS, "CFG-02/a", &[&starts_of(RESTARTED, 2).build()]);
    assert!(reason(&verdict).1.contains("what came after was not seen"), "{verdict:?}");
}

#[test]
fn who_lost_all_that_was_kept_and_never_served_again_is_not_of_those_that_were_restarted() {
    for (wiped, observed) in [(true, Observed::Holds), (false, Observed::Violated)] {
        let mut history = start(RESTARTED, 2);
        if wiped {
            history.at_ms(280_000).mark(START_VARIANT, "eu-2", WIPED);
        }
        for second in 291..352 {
            history.at_ms(second * 1_000).gateway_error(canary("eu-2"), 503);
        }
        assert_eq!(judge(CLAIMS, "CFG-02/a", &[&history.build()]).observed(), observed);
    }
}

/// The same with `eu-2` started without its store at 3 s, too, serving after `served` ms, or not at all.
fn start_without_store(served: Option<u64>) -> HistoryBuilder {
    let mut history = start(RESTARTED, 2);
    history.proven_fault("refuse", "eu-2->eu-store", 1500, 20_000);
    history.at_ms(2000).mark(START_VARIANT, "eu-2", STORE_LOST);
    history.at_ms(3000).replica("eu-2", ReplicaState::Starting);
    if let Some(served) = served {
        let answer = Answer { status: 200, version: 2, ..Answer::default() };
        history.at_ms(3000 + served).operation(canary("eu-2"), Some((Effect::Ok, answer)), true);
    }
    history
}

#[test]
fn a_start_with_the_last_version_holds_for_its_variant_only() {
    for (id, variant) in STARTS {
        let history = start(variant, 2).build();
        for (other, _) in STARTS {
            let verdict = judge(CLAIMS, other, &[&history]);
            let expected = if other == id { Observed::Holds } else { Observed::Inconclusive };
            assert_eq!(verdict.observed(), expected, "{other}: {verdict:?}");
        }
    }
}

#[test]
fn a_start_that_serves_nothing_or_an_older_version_breaks_cfg_02_and_the_wait_decides() {
    for (version, words) in [(0, "not seen in 67.0 s"), (1, "had an older version")] {
        let verdict = judge(CLAIMS, "CFG-02/b", &[&start(WIPED, version).build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        let first = &verdict.numbers()[0];
        assert_eq!((first.name.as_str(), first.limit), ("no correct answer for", Some(60.0)), "{verdict:?}");
    }
}

#[test]
fn each_way_to_be_away_must_have_been_tried() {
    let mut history = HistoryBuilder::new("start-without-control-plane");
    history.at_ms(500).mark("published", "", 2);
    history.proven_fault("refuse", "eu-management->control-plane", 1000, 70_000);
    history.at_ms(2000).mark(START_VARIANT, "eu-1", RESTARTED);
    history.at_ms(3000).replica("eu-1", ReplicaState::Starting);
    let answer = Answer { status: 200, version: 2, ..Answer::default() };
    history.at_ms(4000).operation(canary("eu-1"), Some((Effect::Ok, answer)), true);
    history.rejected(with(canary("eu-1"), Credential::Missing), 401);
    let verdict = judge(CLAIMS, "CFG-02/a", &[&history.build()]);
    assert!(reason(&verdict).1.contains("`blackhole`"), "{verdict:?}");
}

#[test]
fn one_late_start_among_the_three_breaks_cfg_02() {
    let mut history = starts_of(RESTARTED, 2);
    history.at_ms(302_000).mark(START_VARIANT, "eu-1", RESTARTED).replica("eu-1", ReplicaState::Gone);
    history.proven_fault("blackhole", "eu-1->eu-management", 301_000, 375_000);
    history.at_ms(303_000).replica("eu-1", ReplicaState::Starting);
    history.at_ms(374_000).gateway_error(canary("eu-1"), 503);
    let verdict = judge(CLAIMS, "CFG-02/a", &[&history.build()]);
    assert!(explanation(&verdict).contains("(`blackhole`)"), "{verdict:?}");
}

#[test]
fn what_starts_without_the_shared_store_tells_where_the_configuration_is() {
    for (served, words) in [(Some(200), "served after 201 ms: it is not needed"), (None, "the configuration is there")]
    {
        let verdict = judge(CLAIMS, "CFG-02/a", &[&start_without_store(served).build()]);
        let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
        assert!(evidence.notes[0].contains(words), "{verdict:?}");
    }
    let mut open = start_without_store(None);
    open.at_ms(3500).ok(with(canary("eu-2"), Credential::Missing));
    let verdict = judge(CLAIMS, "CFG-02/a", &[&open.build()]);
    assert!(explanation(&verdict).contains("served a protected route openly"), "{verdict:?}");
    assert_eq!(judge(CLAIMS, "CFG-02/c", &[&start_without_store(None).build()]).observed(), Observed::Inconclusive);
}

#[test]
fn an_unprotected_start_breaks_cfg_02() {
    let mut history = start(BRAND_NEW, 2);
    history.at_ms(3550).ok(with(canary("eu-1"), Credential::Missing));
    let verdict = judge(CLAIMS, "CFG-02/c", &[&history.build()]);
    assert!(explanation(&verdict).contains("served a protected route openly"));
    assert_eq!(verdict.numbers()[0].name, "admitted without their policy");
}

#[test]
fn a_start_that_reached_the_control_plane_shows_nothing() {
    for version in [0, 2] {
        let mut history = start(RESTARTED, version);
        history.at_ms(3500).contact("control-plane", "eu-1", "configuration", 200, 2);
        assert_eq!(reason(&judge(CLAIMS, "CFG-02/a", &[&history.build()])).0, "fault-not-proven");
    }
}

/// 15 pairs of starts at each of two latencies that serve after so many ms, spread over 20 ms.
fn paired(local_ms: u64, remote_ms: [u64; 2]) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("paired-starts");
    history.proven_fault("delay", "eu-management->control-plane", 1, 60_900);
    history.proven_fault("delay", "eu-management->control-plane", 60_910, 130_000);
    history.at_ms(1).mark(PAIR_LATENCY, "near", 100_000).at_ms(60_910).mark(PAIR_LATENCY, "far", 1_000_000);
    for start in 0..60_u64 {
        let remote_ms = remote_ms[usize::from(start >= 30)];
        let (replica, kind, took) =
            if start % 2 == 0 { ("eu-3", LOCAL, local_ms) } else { ("eu-4", REMOTE, remote_ms) };
        let at = 1000 + start * 2000;
        history.at_ms(at - 10).mark(START_KIND, replica, kind).replica(replica, ReplicaState::Gone);
        history.at_ms(at).replica(replica, ReplicaState::Starting);
        history.at_ms(at + 10).refused(canary(replica));
        history.at_ms(at + took + (start * 7) % 20).ok(canary(replica));
    }
    history
}

#[test]
fn faster_local_starts_hold_and_the_least_gain_decides() {
    let verdict = judge(CLAIMS, "CFG-03", &[&paired(50, [150, 1050]).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "local over remote (at 100 ms)");
}

#[test]
fn equal_or_slower_local_starts_break_cfg_03_at_either_latency() {
    for (local, remote) in [(150, [150, 1050]), (160, [150, 1050]), (100, [150, 100])] {
        let verdict = judge(CLAIMS, "CFG-03", &[&paired(local, remote).build()]);
        assert!(explanation(&verdict).contains("starts from the local configuration took"), "{verdict:?}");
        assert!(verdict.numbers()[0].value > 0.9, "{verdict:?}");
    }
}

#[test]
fn starts_that_take_any_time_show_neither() {
    let mut history = HistoryBuilder::new("paired-starts");
    history.proven_fault("delay", "eu-management->control-plane", 1, 60_900);
    history.proven_fault("delay", "eu-management->control-plane", 60_910, 190_000);
    history.at_ms(1).mark(PAIR_LATENCY, "near", 100_000).at_ms(60_910).mark(PAIR_LATENCY, "far", 1_000_000);
    for start in 0..60_u64 {
        let (replica, kind, least) = if start % 2 == 0 { ("eu-3", LOCAL, 500) } else { ("eu-4", REMOTE, 560) };
        let at = 1000 + start * 2000;
        history.at_ms(at - 10).mark(START_KIND, replica, kind).replica(replica, ReplicaState::Gone);
        history.at_ms(at).replica(replica, ReplicaState::Starting);
        history.at_ms(at + least + (start / 2 * 389) % 800).ok(canary(replica));
    }
    let verdict = judge(CLAIMS, "CFG-03", &[&history.build()]);
    assert!(reason(&verdict).1.contains("may differ, or not, by chance"), "{verdict:?}");
}

#[test]
fn pairs_at_one_latency_only_are_too_few() {
    let mut history = HistoryBuilder::new("paired-starts");
    history.at_ms(1).mark(PAIR_LATENCY, "near", 100_000);
    let whole = paired(50, [150, 1050]).build();
    assert_eq!(whole.marks(PAIR_LATENCY).count(), 2);
    assert_eq!(reason(&judge(CLAIMS, "CFG-03", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn pairs_without_a_proven_latency_compare_nothing() {
    for remote in [[150, 150], [1050, 1050]] {
        let mut history = paired(150, remote);
        history.at_ms(50_000).fault(1, gatecrash_model::history::FaultStage::NotWitnessed, "delay", "x");
        assert_eq!(reason(&judge(CLAIMS, "CFG-03", &[&history.build()])).0, "fault-not-proven");
    }
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for claim in CLAIMS {
        assert_eq!(reason(&judge(CLAIMS, claim.id, &[])).0, "not-run");
        let Reads::Experiments(experiments) = claim.reads else { panic!("{claim:?}") };
        assert_eq!(judge(CLAIMS, claim.id, &[&nothing(experiments[0])]).observed(), Observed::Inconclusive);
    }
}

#[test]
fn doubting_an_effect_of_a_whole_story_accuses_nobody() {
    doubted_effects_never_accuse(CLAIMS, "CFG-01", &outage(1).build());
    for (id, variant) in STARTS {
        doubted_effects_never_accuse(CLAIMS, id, &start(variant, 2).build());
    }
    doubted_effects_never_accuse(CLAIMS, "CFG-03", &paired(50, [150, 1050]).build());
}

proptest! {
    #[test]
    fn every_history_has_a_verdict(
        outage in anything("control-plane-outage"),
        start in anything("start-without-control-plane"),
        paired in anything("paired-starts"),
    ) {
        for claim in CLAIMS {
            let _total = judge(CLAIMS, claim.id, &[&outage, &start, &paired]);
        }
    }
}
