use crate::claims::contracts::CLAIMS;
use crate::claims::sample::{anything, doubt_never_accuses, explanation, judge, nothing, reason};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

fn partner(replica: &str) -> Operation<String> {
    call("contract", replica, "partner", "client-1")
}

fn plain(replica: &str) -> Operation<String> {
    call("canary", replica, "plain", "client-1")
}

/// `eu-1` restarts at 1 s; its contracts are sent at 12 s; 503 before, 200 after; the plain API serves at 2 s.
fn slow_contracts() -> HistoryBuilder {
    let mut history = HistoryBuilder::new("slow-contracts");
    history.proven_fault("slow", "control-plane (contracts)", 500, 15_000);
    history.at_ms(600).phase("hold", "");
    history.at_ms(1000).replica("eu-1", ReplicaState::Starting);
    history.at_ms(12_000).contact("control-plane", "eu-1", "contracts", 200, 1);
    for ms in (1100..14_000).step_by(100) {
        history.at_ms(ms);
        if ms < 2000 {
            history.refused(partner("eu-1"));
        } else {
            history.ok(plain("eu-1"));
            if ms <= 12_000 {
                history.gateway_error(partner("eu-1"), 503);
                // Nobody needs contracts to refuse a request without a client id.
                history.rejected(with(partner("eu-1"), Credential::Missing), 401);
            } else {
                history.ok(partner("eu-1"));
            }
        }
    }
    history
}

#[test]
fn silence_until_the_contracts_are_there_holds() {
    let verdict = judge(CLAIMS, "CON-01", &[&slow_contracts().build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn a_2xx_before_the_contracts_breaks_con_01() {
    let mut history = slow_contracts();
    history.at_ms(4005).ok(partner("eu-1"));
    let verdict = judge(CLAIMS, "CON-01", &[&history.build()]);
    assert!(
        explanation(&verdict)
            .contains("`eu-1` accepted a request of `client-1` for contract route `partner` 3005.5 ms"),
        "{verdict:?}"
    );
}

#[test]
fn a_refusal_of_a_client_before_the_contracts_breaks_con_01() {
    let mut history = slow_contracts();
    history.at_ms(4005).rejected(partner("eu-1"), 401);
    let verdict = judge(CLAIMS, "CON-01", &[&history.build()]);
    assert!(explanation(&verdict).contains("`eu-1` refused a request"), "{verdict:?}");
}

#[test]
fn contracts_that_came_at_once_show_nothing() {
    let mut history = slow_contracts();
    history.at_ms(4000).contact("control-plane", "eu-1", "contracts", 200, 1);
    assert_eq!(reason(&judge(CLAIMS, "CON-01", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn a_control_plane_that_cannot_tell_replicas_apart_shows_nothing() {
    let mut history = HistoryBuilder::new("slow-contracts");
    history.at_ms(1).phase("hold", "").replica("eu-1", ReplicaState::Starting);
    history.at_ms(9).contact("control-plane", "", "contracts", 200, 1);
    history.at_ms(20).ok(partner("eu-1"));
    assert_eq!(reason(&judge(CLAIMS, "CON-01", &[&history.build()])).0, "no-replica-identity");
}

#[test]
fn serving_without_ever_asking_for_contracts_breaks_con_01() {
    let mut history = HistoryBuilder::new("slow-contracts");
    history.at_ms(1).phase("hold", "").replica("eu-3", ReplicaState::Starting);
    history.at_ms(20).ok(partner("eu-3"));
    assert!(explanation(&judge(CLAIMS, "CON-01", &[&history.build()])).contains("never sent its contracts"));
}

/// One, then both replicas of `eu` restart while the control plane is away; the plain API serves a second later.
fn without_control_plane(contracts_survive: bool) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("start-without-control-plane");
    history.proven_fault("refuse", "eu-management->control-plane", 1000, 60_000);
    history
        .at_ms(2000)
        .phase("hold", "restart-one")
        .at_ms(30_000)
        .phase("hold", "restart-all")
        .at_ms(60_000)
        .phase("heal", "");
    let starts = [("eu-1", 3000, 31_000), ("eu-2", 0, 31_000)];
    for (replica, one, all) in starts {
        for start in [one, all].into_iter().filter(|start| *start > 0) {
            history.at_ms(start - 500).replica(replica, ReplicaState::Gone);
            history.at_ms(start).replica(replica, ReplicaState::Starting);
            history.at_ms(start + 1000).replica(replica, ReplicaState::Ready);
        }
        for ms in (500..80_000).step_by(250) {
            let down = |start: u64| start > 0 && (start - 500..start + 1000).contains(&ms);
            let without = !contracts_survive && ms < 62_000 && (one > 0 && ms >= one || ms >= all);
            history.at_ms(ms);
            if down(one) || down(all) {
                history.refused(partner(replica));
                history.refused(plain(replica));
                continue;
            }
            history.ok(plain(replica));
            if without {
                history.gateway_error(partner(replica), 503);
            } else {
                history.ok(partner(replica));
            }
        }
    }
    history
}

#[test]
fn contracts_that_survive_hold_con_02() {
    let verdict = judge(CLAIMS, "CON-02", &[&without_control_plane(true).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn a_contract_api_that_stays_away_while_the_plain_one_serves_breaks_con_02_with_the_size_of_the_outage() {
    let verdict = judge(CLAIMS, "CON-02", &[&without_control_plane(false).build()]);
    assert!(explanation(&verdict).contains("3 of 3 starts"), "{verdict:?}");
    let outage = &verdict.numbers()[0];
    assert_eq!(outage.name, "contract API away at all replicas");
    assert!((31.0..33.0).contains(&outage.value), "{verdict:?}");
    assert!(outage.limit.is_some_and(|plain| plain < 3.0), "{verdict:?}");
}

#[test]
fn a_replica_that_does_not_serve_at_all_says_nothing_of_contracts() {
    let mut history = HistoryBuilder::new("start-without-control-plane");
    history.proven_fault("refuse", "eu-management->control-plane", 1, 60_000);
    history.at_ms(10).phase("hold", "restart-one").replica("eu-1", ReplicaState::Starting);
    history.at_ms(20_000).phase("hold", "restart-all").replica("eu-1", ReplicaState::Starting);
    for ms in (30..60_000).step_by(500) {
        history.at_ms(ms).refused(partner("eu-1"));
        history.at_ms(ms).refused(plain("eu-1"));
    }
    assert_eq!(reason(&judge(CLAIMS, "CON-02", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn contracts_that_were_sent_all_the_same_show_nothing() {
    let mut history = without_control_plane(true);
    history.at_ms(3100).contact("control-plane", "eu-1", "contracts", 200, 1);
    assert_eq!(reason(&judge(CLAIMS, "CON-02", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn absence_is_not_shown_by_a_record_with_a_gap() {
    let mut history = without_control_plane(false);
    history.at_ms(3100).gap("eu-upstream");
    assert_eq!(reason(&judge(CLAIMS, "CON-02", &[&history.build()])).0, "gap");
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for (id, experiment) in [("CON-01", "slow-contracts"), ("CON-02", "start-without-control-plane")] {
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run");
        assert_eq!(judge(CLAIMS, id, &[&nothing(experiment)]).observed(), Observed::Inconclusive);
    }
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(slow in anything("slow-contracts"), without in anything("start-without-control-plane")) {
        doubt_never_accuses(CLAIMS, "CON-01", &slow);
        let _total = judge(CLAIMS, "CON-02", &[&without]);
    }
}
