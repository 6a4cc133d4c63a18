use crate::claims::contracts::CLAIMS;
use crate::claims::sample::{anything, doubt_never_accuses, explanation, judge, nothing, reason};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];

fn valid(replica: &str) -> Operation<String> {
    call("contract", replica, "partner", "client-1")
}

fn unknown(replica: &str) -> Operation<String> {
    with(call("must-refuse", replica, "partner", "outsider-1"), Credential::UnknownClient)
}

/// Valid and unknown clients, everything as it must be.
fn clean(experiment: &str, until_ms: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(experiment);
    for ms in (100..until_ms).step_by(1000) {
        for replica in REPLICAS {
            history.at_ms(ms).ok(valid(replica));
            history.at_ms(ms).rejected(unknown(replica), 401);
        }
    }
    history
}

#[test]
fn everybody_as_the_contracts_say_holds() {
    let verdict = judge(CLAIMS, "CON-03", &[&clean("x", 30_000).build()]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.samples, 240);
}

#[test]
fn an_unknown_client_that_is_let_in_breaks_con_03() {
    let mut history = clean("x", 30_000);
    history.at_ms(5).ok(unknown("us-1"));
    assert!(
        explanation(&judge(CLAIMS, "CON-03", &[&history.build()]))
            .contains("admitted unknown client `outsider-1` at `us-1`")
    );
}

#[test]
fn a_valid_client_that_is_refused_breaks_con_03_but_not_while_its_replica_starts() {
    let mut history = clean("x", 30_000);
    history.at_ms(4000).replica("eu-1", ReplicaState::Gone).at_ms(4500).replica("eu-1", ReplicaState::Starting);
    history.at_ms(5500).replica("eu-1", ReplicaState::Ready);
    history.at_ms(5000).rejected(valid("eu-1"), 401);
    let verdict = judge(CLAIMS, "CON-03", &[&history.build()]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.notes[0], "1 valid requests were refused by replicas that were starting or ending");

    let mut history = clean("x", 30_000);
    history.at_ms(4500).replica("eu-1", ReplicaState::Starting).at_ms(5500).replica("eu-1", ReplicaState::Ready);
    history.at_ms(6000).rejected(valid("eu-1"), 403);
    let verdict = judge(CLAIMS, "CON-03", &[&history.build()]);
    assert!(explanation(&verdict).contains("refused valid client `client-1` at `eu-1`"), "{verdict:?}");
    assert!(explanation(&verdict).contains("1.500 s after its start"), "{verdict:?}");
}

#[test]
fn a_removed_client_must_be_out_after_the_time_allowed_only() {
    let removed = |at_ms: u64| {
        let mut history = clean("x", 90_000);
        history.at_ms(2000).mark(mark::CONTRACT_REMOVED, "late-1", 2);
        history.at_ms(at_ms).ok(with(call("y", "eu-1", "partner", "late-1"), Credential::RemovedClient));
        judge(CLAIMS, "CON-03", &[&history.build()])
    };
    assert_eq!(removed(61_000).observed(), Observed::Holds);
    assert!(explanation(&removed(62_001)).contains("admitted removed client `late-1`"));
}

#[test]
fn a_429_or_a_503_is_no_refusal_of_a_client() {
    let mut history = clean("x", 30_000);
    history.at_ms(5).rejected(valid("eu-1"), 429);
    history.at_ms(6).gateway_error(valid("eu-1"), 503);
    assert_eq!(judge(CLAIMS, "CON-03", &[&history.build()]).observed(), Observed::Holds);
}

#[test]
fn a_gap_leaves_doubt_and_one_side_alone_is_not_enough() {
    let mut history = clean("x", 30_000);
    history.at_ms(5).gap("eu-upstream");
    assert_eq!(reason(&judge(CLAIMS, "CON-03", &[&history.build()])).0, "gap");
    let mut history = HistoryBuilder::new("x");
    for ms in 0..200 {
        history.at_ms(ms).rejected(unknown("eu-1"), 401);
    }
    assert_eq!(reason(&judge(CLAIMS, "CON-03", &[&history.build()])).0, "too-few-samples");
}

/// `late-1` is added at 10 s and removed at 80 s, each in effect after 3 s; then the control plane is away for 310 s.
fn changing_at(replicas: &[&str]) -> HistoryBuilder {
    let mut history = clean("contract-changes", 530_000);
    history.at_ms(10_000).mark(mark::CONTRACT_ADDED, "late-1", 2);
    history.at_ms(80_000).mark(mark::CONTRACT_REMOVED, "late-1", 3);
    let late = |replica: &str| call("contract-change", replica, "partner", "late-1");
    for ms in (10_500..150_000).step_by(500) {
        for replica in replicas.iter().copied() {
            let operation = if ms < 80_000 { late(replica) } else { with(late(replica), Credential::RemovedClient) };
            history.at_ms(ms);
            if (13_000..83_000).contains(&ms) {
                history.ok(operation);
            } else {
                history.rejected(operation, 401);
            }
        }
    }
    history.proven_fault("refuse", "eu-management->control-plane", 200_000, 510_000);
    history
}

fn changing() -> HistoryBuilder {
    changing_at(&REPLICAS)
}

#[test]
fn changes_in_time_and_an_outage_without_a_refusal_hold_con_04() {
    let history = changing().build();
    let verdict = judge(CLAIMS, "CON-04", &[&history]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(judge(CLAIMS, "CON-03", &[&history]).observed(), Observed::Holds);
}

#[test]
fn a_removed_client_that_stays_breaks_con_04() {
    let mut history = changing();
    let operation = with(call("contract-change", "us-2", "partner", "late-1"), Credential::RemovedClient);
    history.at_ms(145_200).ok(operation);
    let verdict = judge(CLAIMS, "CON-04", &[&history.build()]);
    assert!(explanation(&verdict).contains("still admitted 65.200 s later (allowed 60.000 s)"), "{verdict:?}");
}

#[test]
fn an_added_client_that_is_still_refused_breaks_con_04() {
    let mut history = changing();
    history.at_ms(75_200).rejected(call("contract-change", "us-2", "partner", "late-1"), 403);
    let verdict = judge(CLAIMS, "CON-04", &[&history.build()]);
    assert!(explanation(&verdict).contains("still refused 65.200 s later"), "{verdict:?}");
}

#[test]
fn a_removal_that_nobody_watches_is_not_waited_for() {
    let mut history = changing();
    // As the lab does to its former clients when everything runs.
    history.at_ms(50).mark(mark::CONTRACT_REMOVED, "former-1", 2);
    let verdict = judge(CLAIMS, "CON-04", &[&history.build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn a_refusal_during_the_outage_breaks_con_04() {
    let mut history = changing();
    history.at_ms(250_005).rejected(valid("eu-2"), 401);
    let verdict = judge(CLAIMS, "CON-04", &[&history.build()]);
    assert!(explanation(&verdict).contains("refused valid client `client-1` at `eu-2`"), "{verdict:?}");
}

#[test]
fn a_change_that_was_not_seen_at_a_replica_and_a_short_outage_leave_con_04_open() {
    let verdict = judge(CLAIMS, "CON-04", &[&changing_at(&["eu-1", "eu-2", "us-1"]).build()]);
    assert!(
        reason(&verdict).1.contains("the addition of `late-1` was not seen to take effect at `us-2`"),
        "{verdict:?}"
    );

    let mut history = clean("contract-changes", 330_000);
    history.proven_fault("refuse", "eu-management->control-plane", 200_000, 230_000);
    assert!(reason(&judge(CLAIMS, "CON-04", &[&history.build()])).1.contains("away for 30.0 s of 300.0 s"));
}

#[test]
fn an_unproven_outage_leaves_doubt() {
    use gatecrash_model::history::FaultStage;
    let mut history = changing();
    history.at_ms(200_001).fault(1, FaultStage::NotWitnessed, "refuse", "eu-management->control-plane");
    assert_eq!(reason(&judge(CLAIMS, "CON-04", &[&history.build()])).0, "fault-not-proven");
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for (id, experiment) in [("CON-03", "x"), ("CON-04", "contract-changes")] {
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run");
        assert_eq!(judge(CLAIMS, id, &[&nothing(experiment)]).observed(), Observed::Inconclusive);
    }
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(any in anything("x"), changes in anything("contract-changes")) {
        doubt_never_accuses(CLAIMS, "CON-03", &any);
        doubt_never_accuses(CLAIMS, "CON-04", &changes);
    }
}
