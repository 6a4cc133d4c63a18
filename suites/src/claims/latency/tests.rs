use super::*;
use crate::claims::sample::{anything, explanation, judge, nothing, reason};
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::operation::{Answer, Effect};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// At `ms`, `eu-1` answers the management stream with `version`.
fn version(history: &mut HistoryBuilder, ms: u64, version: u32) {
    let answer = Answer { status: 200, version, ..Answer::default() };
    let operation = call("management", "eu-1", "plain", "client-1");
    history.at_ms(ms).operation(operation, Some((Effect::Ok, answer)), true);
}

/// Publishes at 0, 1, 5, 15 and 29 s of latency; those up to `works` reach the replica twice as long after. Then 31 s
/// from 300 s on, dropped at 400 s; the version of it is there `converges` ms later.
fn management(works: u64, converges: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("management-latency");
    history.proven_fault("delay", "eu-management->control-plane", 1, 500_000);
    let mut known = 1;
    for (at, latency) in (0_u32..).zip([0_u64, 1, 5, 15, 29]) {
        let (from, new) = (10_000 + u64::from(at) * 60_000, i64::from(at) + 2);
        history.at_ms(from).mark(LATENCY_US, "", i64::try_from(latency).unwrap() * 1_000_000);
        history.at_ms(from + 10).mark("published", "", new);
        version(&mut history, from + 100, known);
        if latency <= works {
            known = at + 2;
        }
        for ms in [1500, 2500, 3500] {
            version(&mut history, from + latency * 2000 - latency * 800 + ms, known);
        }
    }
    history.at_ms(320_000).mark(LATENCY_US, "", NO_PROBE).phase("hold", "beyond");
    history.at_ms(320_010).mark("published", "", 7);
    for ms in (321_000..400_000).step_by(5000) {
        version(&mut history, ms, known);
    }
    history.at_ms(400_000).phase("settle", "dropped");
    for ms in (401_000..480_000).step_by(1000) {
        version(&mut history, ms, if ms < 400_000 + converges { known } else { 7 });
    }
    history
}

#[test]
fn a_gateway_that_waits_as_long_as_the_ingress_holds() {
    let history = management(29, 10_000).build();
    for id in ["LAT-01", "LAT-02"] {
        let verdict = judge(CLAIMS, id, &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{id}: {verdict:?}");
    }
}

#[test]
fn one_that_gives_up_early_breaks_lat_01() {
    let verdict = judge(CLAIMS, "LAT-01", &[&management(5, 10_000).build()]);
    assert!(explanation(&verdict).contains("with 15.000 s of latency"), "{verdict:?}");
    assert_eq!(verdict.numbers()[1].value.to_string(), "5", "{verdict:?}");
}

#[test]
fn a_version_that_comes_too_late_after_the_drop_breaks_lat_02() {
    for after in [70_000, 1_000_000] {
        let verdict = judge(CLAIMS, "LAT-02", &[&management(29, after).build()]);
        assert!(explanation(&verdict).contains("version 7"), "{verdict:?}");
    }
}

#[test]
fn half_a_configuration_breaks_lat_02() {
    let mut gone = management(29, 10_000);
    gone.at_ms(350_001).rejected(call("canary", "eu-1", "partner", "client-1"), 404);
    let mut unknown = management(29, 10_000);
    version(&mut unknown, 350_001, 8);
    let mut mixed = management(29, 10_000);
    version(&mut mixed, 450_501, 6);
    let all = [(gone, "the route is gone"), (unknown, "was never published"), (mixed, "version 6 after version 7")];
    for (history, words) in all {
        let verdict = judge(CLAIMS, "LAT-02", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
    }
}

#[test]
fn a_publish_that_gets_through_shows_that_there_was_no_timeout() {
    let mut history = management(29, 1);
    version(&mut history, 399_000, 7);
    assert_eq!(reason(&judge(CLAIMS, "LAT-02", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn a_latency_that_is_not_proven_shows_nothing() {
    for works in [5, 29] {
        let mut history = management(works, 10_000);
        history.at_ms(60_000).fault(1, FaultStage::NotWitnessed, "delay", "x");
        assert_eq!(reason(&judge(CLAIMS, "LAT-01", &[&history.build()])).0, "fault-not-proven");
    }
}

/// 20 s steady, then each fault for 20 s; requests take `takes` ms while management is slow.
fn data_path(takes: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("data-path");
    history.at_ms(0).phase("steady", "").at_ms(20_000).phase("hold", "delay");
    history.at_ms(40_000).phase("hold", "blackhole");
    history.at_ms(60_000).mark(UPSTREAM_CUT, "eu", 0).phase("hold", "upstream").at_ms(80_000).phase("heal", "");
    history.proven_fault("delay", "eu-management->control-plane", 20_000, 40_000);
    history.proven_fault("blackhole", "eu-management->control-plane", 40_000, 60_000);
    history.proven_fault("refuse", "eu-1->eu-upstream", 60_000, 80_000);
    for ms in (100..80_000).step_by(100) {
        history.takes_ns = if (20_000..40_000).contains(&ms) { takes * 1_000_000 } else { 1_000_000 };
        history.at_ms(ms).ok(call("traffic", "us-1", "plain", "client-1"));
        if ms < 60_000 {
            history.ok(call("traffic", "eu-1", "plain", "client-1"));
        } else {
            history.gateway_error(call("traffic", "eu-1", "plain", "client-1"), 502);
        }
    }
    history
}

#[test]
fn a_data_path_of_its_own_holds() {
    let verdict = judge(CLAIMS, "LAT-03", &[&data_path(1).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn a_data_path_that_asks_management_breaks_lat_03() {
    let verdict = judge(CLAIMS, "LAT-03", &[&data_path(1500).build()]);
    assert!(explanation(&verdict).contains("took more than 1000 ms"), "{verdict:?}");
    assert!(explanation(&judge(CLAIMS, "LAT-03", &[&data_path(9).build()])).contains("p95 was 9.0 ms"));
}

#[test]
fn a_cut_upstream_that_reaches_another_site_breaks_lat_03() {
    let mut history = data_path(1);
    for ms in 0..10 {
        history.at_ms(70_001 + ms).gateway_error(call("traffic", "us-1", "plain", "client-1"), 502);
    }
    let verdict = judge(CLAIMS, "LAT-03", &[&history.build()]);
    assert!(explanation(&verdict).contains("other sites, one cut off its upstream"), "{verdict:?}");
}

#[test]
fn an_unproven_fault_shows_nothing_of_the_data_path() {
    let mut history = data_path(1);
    history.at_ms(30_000).fault(1, FaultStage::NotWitnessed, "delay", "x");
    assert_eq!(reason(&judge(CLAIMS, "LAT-03", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for (id, experiment) in
        [("LAT-01", "management-latency"), ("LAT-02", "management-latency"), ("LAT-03", "data-path")]
    {
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run");
        assert_eq!(judge(CLAIMS, id, &[&nothing(experiment)]).observed(), Observed::Inconclusive);
    }
}

proptest! {
    #[test]
    fn every_history_has_a_verdict(latency in anything("management-latency"), path in anything("data-path")) {
        for claim in CLAIMS {
            let _total = judge(CLAIMS, claim.id, &[&latency, &path]);
        }
    }
}
