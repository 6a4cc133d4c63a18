use super::*;
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::operation::{Answer, Effect};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// 3,000 requests in each way, the nth answered by the replica of its site that `who` says (from 1; 0: nobody).
fn balanced(who: impl Fn(&str, u64) -> u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("balance");
    for site in ["eu", "us"] {
        for index in 1..=2 {
            history.at_ms(1).contact(&format!("{site}-ingress"), &format!("{site}-{index}"), "in-rotation", 0, 0);
        }
    }
    for (way, from) in [(NEW, 100), (KEPT, 10_000)] {
        history.at_ms(from).phase("hold", way);
        for turn in 0..1500 {
            for site in ["eu", "us"] {
                let operation = call("traffic", &format!("{site}-ingress"), "plain", "client-1");
                let replica = format!("{site}-{}", who(way, turn));
                history.at_ms(from + 1 + turn * 5);
                if replica.ends_with('0') {
                    history.unknown(operation, true);
                } else {
                    let answer = Answer { status: 200, replica, ..Answer::default() };
                    history.operation(operation, Some((Effect::Ok, answer)), true);
                }
            }
        }
    }
    history.at_ms(20_000).phase("settle", "");
    history
}

fn in_turn(_: &str, turn: u64) -> u64 {
    1 + turn % 2
}

#[test]
fn turns_are_even_and_said_to_be_like_round_robin() {
    let verdict = judge(CLAIMS, "BAL-01", &[&balanced(in_turn).build()]);
    let gatecrash_model::Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert!(
        evidence.notes.iter().any(|note| note.contains("like round robin: `eu-1` 750, `eu-2` 750")),
        "{evidence:?}"
    );
    assert!(
        evidence.numbers.iter().any(|number| number.name == "largest share of a zone over fair share (eu, keep-alive)")
    );
}

#[test]
fn one_replica_for_all_new_connections_is_not() {
    let first = |way: &str, turn| if way == NEW { 1 } else { in_turn(way, turn) };
    let verdict = judge(CLAIMS, "BAL-01", &[&balanced(first).build()]);
    assert!(explanation(&verdict).contains("new-connections, `eu`: `eu-1` 1500, `eu-2` 0"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "largest share over fair share (eu, new-connections)");
}

#[test]
fn a_share_that_chance_does_not_give_is_uneven_below_the_ratio_too() {
    // 55 of 100: 1.1 of the fair share is allowed, and that is nearly four standard deviations from it.
    let skewed = |_: &str, turn| if turn % 100 < 55 { 1 } else { 2 };
    let history = balanced(skewed).build();
    assert_eq!(judge(CLAIMS, "BAL-01", &[&history]).numbers()[0].name, "chi-square p (eu, new-connections)");
}

#[test]
fn zones_of_different_sizes_are_not_compared() {
    let mut three = deployment();
    for site in &mut three.sites {
        site.replicas = 3;
    }
    let verdict = judge_on(&three, CLAIMS, "BAL-01", &[&balanced(|_, turn| 1 + turn % 3).build()]);
    let gatecrash_model::Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert!(evidence.notes.iter().any(|note| note.contains("zones are not compared")), "{evidence:?}");
    assert!(!evidence.numbers.iter().any(|number| number.name.contains("zone")), "{evidence:?}");
}

#[test]
fn a_replica_that_was_out_explains_an_uneven_count() {
    let skewed = |_: &str, turn| if turn % 100 < 70 { 1 } else { 2 };
    for out in [true, false] {
        let mut history = balanced(skewed);
        for site in ["eu", "us"] {
            for at in [200, 10_200] {
                if out {
                    history.at_ms(at).contact(
                        &format!("{site}-ingress"),
                        &format!("{site}-2"),
                        "out-of-rotation",
                        0,
                        0,
                    );
                } else {
                    history.at_ms(at).replica(&format!("{site}-2"), ReplicaState::NotReady);
                }
            }
        }
        assert_eq!(reason(&judge(CLAIMS, "BAL-01", &[&history.build()])).0, "replica-out");
    }
}

#[test]
fn requests_without_an_answer_are_too_few_samples_and_a_cut_record_proves_nothing() {
    let lossy = |_: &str, turn| if turn % 10 == 0 { 0 } else { 1 + turn / 10 % 2 };
    assert_eq!(reason(&judge(CLAIMS, "BAL-01", &[&balanced(lossy).build()])).0, "too-few-samples");
    let mut cut = balanced(|_, _| 1);
    cut.cut();
    assert_eq!(reason(&judge(CLAIMS, "BAL-01", &[&cut.build()])).0, "cut");
    assert_eq!(judge(CLAIMS, "BAL-01", &[&nothing("balance")]).observed(), Observed::Inconclusive);
}

#[test]
fn doubted_effects_say_nothing_about_balance() {
    doubted_effects_never_accuse(CLAIMS, "BAL-01", &balanced(in_turn).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn balance_is_judged_over_anything(even in anything("balance")) {
        let _ = judge(CLAIMS, "BAL-01", &[&even]);
    }
}
