use super::TOO_LATE;
use crate::claims::sample::{anything, deployment, doubt_never_accuses, explanation, judge, judge_on, nothing, reason};
use crate::claims::tokens::CLAIMS;
use gatecrash_model::History;
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, token};
use gatecrash_model::operation::{Operation, Verb};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

const EU: [&str; 2] = ["eu-1", "eu-2"];
const US: [&str; 2] = ["us-1", "us-2"];

fn use_of(digest: &str, acceptor: &str) -> Operation<String> {
    token(call("token", acceptor, "plain", "client-1"), digest)
}

/// When `t1` and `t2` are revoked, and where the story goes on, in ms.
const FIRST: u64 = 10_000;
const SECOND: u64 = 30_000;
const ONE: u64 = 50_000;
const ALL: u64 = 70_000;
const END: u64 = 200_000;

/// `t1` is revoked in a quiet cluster, `t2` while `eu-2` restarts; then one and all replicas restart. The
/// cluster learns at once. `us` accepts `t1` for `us_accepts_ms` after its revocation.
fn story(us_accepts_ms: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("revocation");
    let revoke = |history: &mut HistoryBuilder, at: u64, digest: &str| {
        let mut operation = token(call("token", "eu-1", "", "client-1"), digest);
        operation.verb = Verb::RevokeToken;
        history.at_ms(at).ok(operation);
    };
    history.at_ms(FIRST - 100).phase("hold", "revoke");
    history.at_ms(SECOND - 2000).phase("hold", "revoke-in-restart");
    history.at_ms(ONE).phase("hold", "restart-one").at_ms(ALL).phase("hold", "restart-all");
    revoke(&mut history, FIRST, "t1");
    revoke(&mut history, SECOND, "t2");
    for (digest, at, until) in [("t1", FIRST, END), ("t2", SECOND, ONE + 5000)] {
        for replica in EU.into_iter().chain(US) {
            for ms in (at - 3000..until).step_by(500) {
                let operation = use_of(digest, replica);
                let down = replica == "eu-2" && (SECOND - 1000..SECOND + 1000).contains(&ms)
                    || replica == "eu-1" && (ONE..ONE + 1000).contains(&ms)
                    || EU.contains(&replica) && (ALL..ALL + 1000).contains(&ms);
                let accepted = ms < at || US.contains(&replica) && ms <= at + us_accepts_ms;
                history.at_ms(ms);
                if down {
                    history.refused(operation);
                } else if accepted {
                    history.ok(operation);
                } else {
                    history.rejected(operation, 401);
                }
            }
        }
    }
    for (replica, gone) in [("eu-2", SECOND - 1000), ("eu-1", ONE), ("eu-1", ALL), ("eu-2", ALL)] {
        history.at_ms(gone).replica(replica, ReplicaState::Gone);
        history.at_ms(gone + 600).replica(replica, ReplicaState::Starting);
        history.at_ms(gone + 1600).replica(replica, ReplicaState::Ready);
    }
    history
}

fn observed(id: &str, history: &History) -> Observed {
    judge(CLAIMS, id, &[history]).observed()
}

#[test]
fn a_revocation_that_reaches_everything_and_stays_holds() {
    let history = story(0).build();
    for id in ["TOK-03", "TOK-04", "TOK-06"] {
        let verdict = judge(CLAIMS, id, &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{id}: {verdict:?}");
    }
}

#[test]
fn an_accept_later_than_allowed_breaks_tok_03() {
    let mut history = story(0);
    history.at_ms(FIRST + 6200).ok(use_of("t1", "eu-2"));
    let verdict = judge(CLAIMS, "TOK-03", &[&history.build()]);
    assert!(explanation(&verdict).contains("accepted at `eu-2` 6.199 s later (allowed 5.000 s)"), "{verdict:?}");
}

#[test]
fn an_accept_after_a_refusal_breaks_tok_03() {
    let mut history = story(0);
    history.at_ms(FIRST + 2200).ok(use_of("t1", "eu-1"));
    let history = history.build();
    let verdict = judge(CLAIMS, "TOK-03", &[&history]);
    assert!(explanation(&verdict).contains("refused and then again accepted"));
    assert_eq!(verdict.numbers()[0].name, TOO_LATE);
    assert_eq!(observed("TOK-06", &history), Observed::Holds);
}

#[test]
fn a_replica_that_is_seen_not_ready_while_it_restarts_is_still_restarting() {
    let mut history = story(0);
    history.at_ms(SECOND - 200).replica("eu-2", ReplicaState::NotReady);
    assert_eq!(observed("TOK-03", &history.build()), Observed::Holds);
}

#[test]
fn without_a_restart_during_a_revocation_tok_03_is_open() {
    let mut history = HistoryBuilder::new("revocation");
    history.at_ms(FIRST - 100).phase("hold", "revoke");
    let mut operation = token(call("token", "eu-1", "", "client-1"), "t1");
    operation.verb = Verb::RevokeToken;
    history.at_ms(FIRST).ok(operation);
    for ms in (FIRST - 1000..FIRST + 10_000).step_by(200) {
        for replica in EU {
            if ms < FIRST {
                history.at_ms(ms).ok(use_of("t1", replica));
            } else {
                history.at_ms(ms + 5).rejected(use_of("t1", replica), 401);
            }
        }
    }
    let history = history.build();
    assert_eq!(reason(&judge(CLAIMS, "TOK-03", &[&history])).0, "fault-not-proven");
    assert_eq!(reason(&judge(CLAIMS, "TOK-04", &[&history])).0, "too-few-samples");
    assert_eq!(reason(&judge(CLAIMS, "TOK-06", &[&history])).0, "fault-not-proven");
}

/// The story with one store for both sites, to which `us` has no way from 90 s to 100 s; `t3` is revoked at 95 s and
/// accepted at `us` for `accepts_ms` after the heal.
fn cut_story(accepts_ms: u64) -> HistoryBuilder {
    let mut history = story(0);
    history.proven_fault("hold", "us-1->store, us-2->store", 90_000, 100_000);
    let mut operation = token(call("token", "eu-1", "", "client-1"), "t3");
    operation.verb = Verb::RevokeToken;
    history.at_ms(95_000).ok(operation);
    for ms in (85_000..150_000).step_by(500) {
        for replica in EU.into_iter().chain(US) {
            let until = if EU.contains(&replica) { 95_000 } else { 100_000 + accepts_ms };
            history.at_ms(ms);
            if ms <= until {
                history.ok(use_of("t3", replica));
            } else {
                history.rejected(use_of("t3", replica), 401);
            }
        }
    }
    history
}

#[test]
fn what_is_revoked_in_a_cut_counts_from_its_heal() {
    let mut shared = deployment();
    shared.store = Some(gatecrash_model::deployment::Store {
        kind: gatecrash_model::deployment::StoreKind::Redis,
        scope: gatecrash_model::deployment::StoreScope::Deployment,
        failover: None,
    });
    let judged = |history: HistoryBuilder| judge_on(&shared, CLAIMS, "TOK-04", &[&history.build()]);
    let verdict = judged(cut_story(20_000));
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(verdict.numbers()[1].value.to_string(), "20", "{verdict:?}");
    let verdict = judged(cut_story(31_000));
    assert!(explanation(&verdict).contains("31.0 s later, counted from the heal of its cut"), "{verdict:?}");
    // Without a cut nothing is known of the way between the sites.
    assert!(reason(&judged(story(0))).1.contains("cut off the store"));
}

#[test]
fn a_token_that_lives_on_at_the_other_site_is_a_limit_with_its_size() {
    let history = story(END).build();
    let verdict = judge(CLAIMS, "TOK-04", &[&history]);
    assert!(explanation(&verdict).contains("not seen refused in 189.5 s of observation"), "{verdict:?}");
    assert!(verdict.numbers()[0].value > 189.0, "{verdict:?}");
    assert_eq!((observed("TOK-03", &history), observed("TOK-06", &history)), (Observed::Holds, Observed::Holds));
}

#[test]
fn a_late_revocation_at_the_other_site_breaks_tok_04_and_an_early_one_does_not() {
    let verdict = judge(CLAIMS, "TOK-04", &[&story(40_000).build()]);
    assert!(explanation(&verdict).contains("was still accepted at `us-"), "{verdict:?}");
    assert_eq!(observed("TOK-04", &story(20_000).build()), Observed::Holds);
}

#[test]
fn an_accept_after_a_restart_breaks_tok_06_only() {
    let mut history = story(0);
    history.at_ms(ONE + 2700).ok(use_of("t1", "eu-1"));
    let history = history.build();
    assert!(explanation(&judge(CLAIMS, "TOK-06", &[&history])).contains("after a replica was restarted"));
    assert_eq!(observed("TOK-03", &history), Observed::Holds);
    let mut history = story(0);
    history.at_ms(ALL + 2700).ok(use_of("t1", "eu-2"));
    assert!(explanation(&judge(CLAIMS, "TOK-06", &[&history.build()])).contains("after all replicas were restarted"));
}

#[test]
fn a_fault_without_witness_or_a_gap_leaves_doubt() {
    use gatecrash_model::history::FaultStage;
    let mut history = story(0);
    history.at_ms(ALL).fault(1, FaultStage::Injected, "kill", "eu-1").fault(
        1,
        FaultStage::NotWitnessed,
        "kill",
        "eu-1",
    );
    let history = history.build();
    for id in ["TOK-03", "TOK-04", "TOK-06"] {
        assert_eq!(reason(&judge(CLAIMS, id, &[&history])).0, "fault-not-proven");
    }
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for id in ["TOK-03", "TOK-04", "TOK-06"] {
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run");
        assert_eq!(reason(&judge(CLAIMS, id, &[&nothing("revocation")])).0, "too-few-samples");
    }
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(history in anything("revocation")) {
        for id in ["TOK-03", "TOK-04", "TOK-06"] {
            doubt_never_accuses(CLAIMS, id, &history);
        }
    }
}
