use super::*;
use crate::claims::sample::{anything, explanation, judge, nothing, reason};
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

/// 20 s steady, 60 s without the control plane, 10 s after it; `takes` ms for a request in the outage.
fn outage(takes: u64) -> HistoryBuilder {
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

#[test]
fn slower_requests_break_cfg_01() {
    let verdict = judge(CLAIMS, "CFG-01", &[&outage(9).build()]);
    assert!(explanation(&verdict).contains("p95 was 9.0 ms"), "{verdict:?}");
    // Within 5 ms of the base nothing is said.
    assert_eq!(judge(CLAIMS, "CFG-01", &[&outage(5).build()]).observed(), Observed::Holds);
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

/// `eu-1` starts at 3 s without the control plane and answers from 4 s on with `version`, or not at all.
fn start(variant: i64, version: u32) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("start-without-control-plane");
    history.at_ms(500).mark("published", "", 2);
    history.proven_fault("refuse", "eu-management->control-plane", 1000, 70_000);
    history.at_ms(2000).phase("hold", "restart-one").mark(START_VARIANT, "eu-1", variant);
    history.at_ms(2500).replica("eu-1", ReplicaState::Gone);
    history.at_ms(3000).replica("eu-1", ReplicaState::Starting);
    for ms in (3100..80_000).step_by(100) {
        history.at_ms(ms);
        if ms < 4000 || version == 0 && ms < 71_000 {
            history.gateway_error(canary("eu-1"), 503);
        } else {
            let answer = Answer { status: 200, version, ..Answer::default() };
            history.operation(canary("eu-1"), Some((Effect::Ok, answer)), true);
            history.rejected(with(canary("eu-1"), Credential::Missing), 401);
        }
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
fn a_start_that_serves_nothing_or_an_older_version_breaks_cfg_02() {
    for (version, words) in [(0, "not seen in 67.0 s"), (1, "had an older version")] {
        let verdict = judge(CLAIMS, "CFG-02/b", &[&start(WIPED, version).build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
    }
}

#[test]
fn an_unprotected_start_breaks_cfg_02() {
    let mut history = start(BRAND_NEW, 2);
    history.at_ms(3550).ok(with(canary("eu-1"), Credential::Missing));
    assert!(explanation(&judge(CLAIMS, "CFG-02/c", &[&history.build()])).contains("served a protected route openly"));
}

#[test]
fn a_start_that_reached_the_control_plane_shows_nothing() {
    for version in [0, 2] {
        let mut history = start(RESTARTED, version);
        history.at_ms(3500).contact("control-plane", "eu-1", "configuration", 200, 2);
        assert_eq!(reason(&judge(CLAIMS, "CFG-02/a", &[&history.build()])).0, "fault-not-proven");
    }
}

/// 15 pairs of starts that serve after so many ms, spread over 20 ms.
fn paired(local_ms: u64, remote_ms: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("paired-starts");
    history.proven_fault("delay", "eu-management->control-plane", 1, 100_000);
    for start in 0..30_u64 {
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
fn faster_local_starts_hold() {
    let verdict = judge(CLAIMS, "CFG-03", &[&paired(50, 150).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn equal_or_slower_local_starts_break_cfg_03() {
    for local in [150, 160] {
        let verdict = judge(CLAIMS, "CFG-03", &[&paired(local, 150).build()]);
        assert!(explanation(&verdict).contains("starts from the local configuration took"), "{verdict:?}");
    }
}

#[test]
fn pairs_without_a_proven_latency_compare_nothing() {
    let mut history = paired(150, 150);
    history.at_ms(50_000).fault(1, gatecrash_model::history::FaultStage::NotWitnessed, "delay", "x");
    assert_eq!(reason(&judge(CLAIMS, "CFG-03", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for claim in CLAIMS {
        assert_eq!(reason(&judge(CLAIMS, claim.id, &[])).0, "not-run");
        let Reads::Experiments(experiments) = claim.reads else { panic!("{claim:?}") };
        assert_eq!(judge(CLAIMS, claim.id, &[&nothing(experiments[0])]).observed(), Observed::Inconclusive);
    }
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
