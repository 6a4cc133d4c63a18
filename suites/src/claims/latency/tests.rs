use super::management::{BEHIND, BROKEN_LINKS, CONVERGED, HALF, LARGEST, LEAST_BAD};
use super::*;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
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

/// The lab asks the ingress of `eu` at `ms`, and is told this after `took` ms.
fn asked(history: &mut HistoryBuilder, ms: u64, status: &str, took: i64) {
    history.at_ms(ms).mark(FETCHED, status, took * 1000).mark(REGISTERED, status, took * 1000);
}

/// A publish of `new` at `from` over `latency` seconds of `variant`; the replica answers with what is `known` in the end.
fn publish(history: &mut HistoryBuilder, from: u64, (variant, latency): (&str, u64), new: u32, known: (u32, u32)) {
    history.at_ms(from).mark(LATENCY_US, variant, i64::try_from(latency).unwrap() * 1_000_000);
    history.at_ms(from + 10).mark("published", "", new.into());
    version(history, from + 100, known.0);
    asked(history, from + 200, if latency < 30 { "200" } else { "504" }, i64::try_from(latency).unwrap() * 1000 + 2);
    for ms in [1500, 2500, 3500] {
        version(history, from + latency * 1200 + ms, known.1);
    }
    history.at_ms(from + latency * 1200 + 4000).mark(LATENCY_US, "", NO_PROBE);
}

/// Publishes at 0, 1, 5, 15 and 29 s of latency; those up to `works` reach the replica. The same with jitter and little
/// bandwidth, if `unsteady`. Then 31 s from 520 s on and 60 s from 600 s on, dropped at 680 s; the version of it is there
/// `converges` ms later. At last 30 s, which reaches nobody.
fn management_with(works: u64, unsteady: bool, converges: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("management-latency");
    history.proven_fault("delay", "eu-management->control-plane", 1, 900_000);
    let (mut known, mut new, mut at) = (1, 2, 10_000);
    let plain = [("", 0_u64), ("", 1), ("", 5), ("", 15), ("", 29)];
    for (variant, latency) in plain.into_iter().chain([("jitter", 25), ("bandwidth", 0)]) {
        let gets = if variant.is_empty() { latency <= works } else { unsteady };
        let then = if gets { new } else { known };
        publish(&mut history, at, (variant, latency), new, (known, then));
        (known, new, at) = (then, new + 1, at + 70_000);
    }
    history.at_ms(520_000).phase("hold", BEYOND[0]).at_ms(520_010).mark("published", "", 9);
    asked(&mut history, 550_010, "504", 30_000);
    history.at_ms(600_000).phase("hold", BEYOND[1]).at_ms(600_010).mark("published", "", 10);
    asked(&mut history, 630_010, "504", 30_000);
    for ms in (521_000..680_000).step_by(5000) {
        version(&mut history, ms, known);
    }
    history.at_ms(680_000).phase("settle", "dropped");
    for ms in (681_000..760_000).step_by(1000) {
        version(&mut history, ms, if ms < 680_000 + converges { known } else { 10 });
    }
    history.at_ms(760_500).phase("heal", "dropped");
    publish(&mut history, 800_000, ("", 30), 11, (10, 10));
    history
}

fn management(works: u64, converges: u64) -> HistoryBuilder {
    management_with(works, true, converges)
}

#[test]
fn a_gateway_that_waits_as_long_as_the_ingress_holds() {
    let history = management(29, 10_000).build();
    for id in ["LAT-01", "LAT-02"] {
        let verdict = judge(CLAIMS, id, &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{id}: {verdict:?}");
    }
    let verdict = judge(CLAIMS, "LAT-01", &[&history]);
    let numbers = verdict.numbers();
    assert_eq!((numbers[0].name.as_str(), numbers[0].value.to_string().as_str()), (LARGEST, "29"));
    assert_eq!((numbers[1].name.as_str(), numbers[1].value.to_string().as_str()), (LEAST_BAD, "30"));
    for name in
        ["fetch at 15.000 s", "registration at 25.000 s (jitter)", "publish to last replica at 0.000 s (bandwidth)"]
    {
        assert!(numbers.iter().any(|number| number.name == name), "{name}: {numbers:?}");
    }
}

#[test]
fn one_that_gives_up_early_breaks_lat_01() {
    let verdict = judge(CLAIMS, "LAT-01", &[&management(5, 10_000).build()]);
    assert!(explanation(&verdict).contains("with 15.000 s of latency"), "{verdict:?}");
    let first = &verdict.numbers()[0];
    assert_eq!((first.name.as_str(), first.value.to_string().as_str(), first.limit), (LARGEST, "5", Some(29.0)));
}

#[test]
fn one_that_gives_up_on_an_unsteady_link_breaks_lat_01() {
    let verdict = judge(CLAIMS, "LAT-01", &[&management_with(29, false, 10_000).build()]);
    assert!(explanation(&verdict).contains("with 25.000 s (jitter) of latency"), "{verdict:?}");
    assert_eq!(
        (verdict.numbers()[0].name.as_str(), verdict.numbers()[0].value.to_string().as_str()),
        (BROKEN_LINKS, "2")
    );
}

#[test]
fn an_environment_that_does_not_carry_what_it_must_shows_nothing_of_the_gateway() {
    let mut history = management(29, 10_000);
    // The publish at 15 s began at 220 s.
    asked(&mut history, 221_000, "504", 500);
    let verdict = judge(CLAIMS, "LAT-01", &[&history.build()]);
    assert!(reason(&verdict).1.contains("at 15.000 s a fetch of the lab was answered 504"), "{verdict:?}");
}

#[test]
fn a_timeout_that_is_not_read_shows_nothing_of_lat_02() {
    for (ms, words) in [(551_000, "in `beyond` the ingress"), (631_000, "in `far-beyond` the ingress")] {
        let mut history = management(29, 10_000);
        asked(&mut history, ms, "200", 29_000);
        let verdict = judge(CLAIMS, "LAT-02", &[&history.build()]);
        assert_eq!(reason(&verdict).0, "fault-not-proven");
        assert!(reason(&verdict).1.contains(words), "{verdict:?}");
    }
}

#[test]
fn a_version_that_comes_too_late_after_the_drop_breaks_lat_02() {
    for (after, decided) in [(70_000, CONVERGED), (1_000_000, BEHIND)] {
        let verdict = judge(CLAIMS, "LAT-02", &[&management(29, after).build()]);
        assert!(explanation(&verdict).contains("version 10"), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, decided);
    }
}

#[test]
fn half_a_configuration_breaks_lat_02() {
    let mut gone = management(29, 10_000);
    gone.at_ms(550_001).rejected(call("canary", "eu-1", "partner", "client-1"), 404);
    let mut unknown = management(29, 10_000);
    version(&mut unknown, 550_001, 12);
    let mut mixed = management(29, 10_000);
    version(&mut mixed, 750_501, 8);
    let all = [(gone, "the route is gone"), (unknown, "was never published"), (mixed, "version 8 after version 10")];
    for (history, words) in all {
        let verdict = judge(CLAIMS, "LAT-02", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, HALF);
    }
}

#[test]
fn a_publish_that_gets_through_shows_that_there_was_no_timeout() {
    for version_of in [9, 10] {
        let mut history = management(29, 1);
        version(&mut history, 679_000, version_of);
        assert_eq!(reason(&judge(CLAIMS, "LAT-02", &[&history.build()])).0, "fault-not-proven");
    }
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
    let mut history = faults(takes);
    settle(&mut history, true);
    history
}

/// The same without what comes after.
fn faults(takes: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("data-path");
    history.at_ms(0).phase("steady", "").at_ms(20_000).phase("hold", "delay");
    history.at_ms(40_000).phase("hold", "timeout").at_ms(50_000).phase("hold", "blackhole");
    history.at_ms(60_000).mark(UPSTREAM_CUT, "eu", 0).phase("hold", "upstream").at_ms(80_000).phase("heal", "");
    history.proven_fault("delay", "eu-management->control-plane", 20_000, 40_000);
    history.proven_fault("delay", "eu-management->control-plane", 40_000, 50_000);
    history.proven_fault("blackhole", "eu-management->control-plane", 50_000, 60_000);
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

/// Afterwards; `eu-1` serves again, or does not.
fn settle(history: &mut HistoryBuilder, again: bool) {
    history.at_ms(80_010).phase("settle", "");
    for ms in (80_100..92_000).step_by(100) {
        history.takes_ns = 1_000_000;
        history.at_ms(ms).ok(call("traffic", "us-1", "plain", "client-1"));
        // It may take ten seconds.
        if again || ms < 90_000 && ms > 85_000 {
            history.ok(call("traffic", "eu-1", "plain", "client-1"));
        } else {
            history.gateway_error(call("traffic", "eu-1", "plain", "client-1"), 503);
        }
    }
}

#[test]
fn a_data_path_that_does_not_come_back_breaks_lat_03() {
    let mut history = faults(1);
    settle(&mut history, false);
    let verdict = judge(CLAIMS, "LAT-03", &[&history.build()]);
    assert_eq!(verdict.numbers()[0].name, "success afterwards (all faults)");
    assert!(explanation(&verdict).contains("19 of 38 requests failed"), "{verdict:?}");
    assert_eq!(reason(&judge(CLAIMS, "LAT-03", &[&faults(1).build()])).0, "too-few-samples");
}

#[test]
fn a_data_path_of_its_own_holds() {
    let verdict = judge(CLAIMS, "LAT-03", &[&data_path(1).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert!(verdict.numbers()[0].name.starts_with("p95 (") && verdict.numbers()[0].limit.is_some(), "{verdict:?}");
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
fn other_sites_are_held_to_a_tighter_ratio_than_the_faults_of_management() {
    // 200 ms before; 215 ms are 1.075 of that.
    let slower = |in_upstream: bool| {
        let mut history = HistoryBuilder::new("data-path");
        history.at_ms(0).phase("steady", "").at_ms(20_000).phase("hold", "delay");
        history.at_ms(40_000).phase("hold", "timeout").at_ms(50_000).phase("hold", "blackhole");
        history.at_ms(60_000).mark(UPSTREAM_CUT, "eu", 0).phase("hold", "upstream").at_ms(80_000).phase("heal", "");
        for ms in (100..80_000).step_by(100) {
            let slow = if in_upstream { ms >= 60_000 } else { (20_000..60_000).contains(&ms) };
            history.takes_ns = if slow { 215_000_000 } else { 200_000_000 };
            history.at_ms(ms).ok(call("traffic", "us-1", "plain", "client-1"));
        }
        settle(&mut history, true);
        judge(CLAIMS, "LAT-03", &[&history.build()])
    };
    assert_eq!(slower(false).observed(), Observed::Holds);
    let verdict = slower(true);
    assert!(explanation(&verdict).contains("p95 was 215.0 ms; 210.0 ms are allowed"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "p95 (other sites, one cut off its upstream)");
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

#[test]
fn doubting_an_effect_of_a_whole_story_accuses_nobody() {
    let management = management(29, 10_000).build();
    doubted_effects_never_accuse(CLAIMS, "LAT-01", &management);
    doubted_effects_never_accuse(CLAIMS, "LAT-02", &management);
    doubted_effects_never_accuse(CLAIMS, "LAT-03", &data_path(1).build());
}

proptest! {
    #[test]
    fn every_history_has_a_verdict(latency in anything("management-latency"), path in anything("data-path")) {
        for claim in CLAIMS {
            let _total = judge(CLAIMS, claim.id, &[&latency, &path]);
        }
    }
}
