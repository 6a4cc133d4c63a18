use super::tests::{Fare, clients, fine};
use super::{CLAIMS, FROM_STORE, WHOLE};
use crate::claims::sample::{anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, reason};
use gatecrash_model::deployment::{Store, StoreKind, StoreScope};
use gatecrash_model::history::build::HistoryBuilder;
use gatecrash_model::history::{FaultStage, ReplicaState};
use gatecrash_model::verdict::Observed;
use gatecrash_model::{Deployment, Verdict};
use proptest::prelude::*;

/// 20 s steady, a zone lost for 40 s, 20 s after that; the same from the store.
fn zone_loss(fares: impl Fn(&str, u64) -> Fare) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("zone-loss");
    for replica in ["eu-1", "eu-2"] {
        history.at_ms(0).replica(replica, ReplicaState::Starting).replica(replica, ReplicaState::Ready);
    }
    history.at_ms(1).phase("steady", "");
    clients(&mut history, (1, 20_000), "eu", "eu", &fares);
    for (variant, from) in [(WHOLE, 20_000), (FROM_STORE, 80_000)] {
        history.at_ms(from).phase("inject", variant);
        history.proven_fault("blackhole", "eu-1->eu-store", from + 10, from + 40_000);
        history.at_ms(from + 300).phase("hold", variant);
        clients(&mut history, (from, from + 40_000), "eu", "eu", &fares);
        history.at_ms(from + 40_000).phase("heal", variant).phase("settle", variant);
        clients(&mut history, (from + 40_000, from + 60_000), "eu", "eu", &fares);
    }
    history.at_ms(140_000).phase("end", "");
    history
}

fn with_store() -> Deployment {
    let mut sample = deployment();
    sample.store = Some(Store { kind: StoreKind::Stub, scope: StoreScope::Site, failover: None });
    sample
}

/// Every second request is lost in `from..to`.
fn half(from: u64, to: u64) -> impl Fn(&str, u64) -> Fare {
    move |_, ms| if (from..to).contains(&ms) && (ms / 40).is_multiple_of(2) { Fare::Silent } else { Fare::Ok }
}

#[test]
fn a_zone_whose_requests_are_lost_until_it_is_withdrawn_holds() {
    for deployment in [deployment(), with_store()] {
        let verdict = judge_on(&deployment, CLAIMS, "AVL-02", &[&zone_loss(half(20_000, 23_000)).build()]);
        let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
        assert!(evidence.notes[0].contains("`eu-1` in `a`, `eu-2` in `b`"), "{evidence:?}");
    }
}

#[test]
fn losses_after_the_gap_beyond_the_zone_or_after_its_return_break_it() {
    let all =
        |from: u64, to: u64| move |_: &str, ms: u64| if (from..to).contains(&ms) { Fare::Error } else { Fare::Ok };
    for (history, words, number) in [
        (zone_loss(half(20_000, 60_000)), "a zone lost: 50", "success (a zone lost)"),
        (
            zone_loss(all(20_010, 24_000)),
            "a zone lost: 79.2 % of the requests in the gap",
            "lost in the gap (a zone lost)",
        ),
        (
            zone_loss(half(80_000, 82_000)),
            "a zone cut off from the store: 19.2 %",
            "lost in the gap (a zone cut off from the store)",
        ),
        (zone_loss(half(61_000, 70_000)), "after: a zone lost: ", "success (after: a zone lost)"),
    ] {
        let verdict = judge_on(&with_store(), CLAIMS, "AVL-02", &[&history.build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert_eq!(verdict.numbers()[0].name, number);
    }
}

#[test]
fn one_zone_is_not_judged_and_half_of_the_story_is_too_little() {
    let mut one = deployment();
    for site in &mut one.sites {
        site.zones.truncate(1);
    }
    let verdict = judge_on(&one, CLAIMS, "AVL-02", &[&zone_loss(fine).build()]);
    assert!(matches!(verdict, Verdict::NotApplicable(_)), "{verdict:?}");
    let mut history = HistoryBuilder::new("zone-loss");
    history.at_ms(1).phase("steady", "");
    clients(&mut history, (1, 20_000), "eu", "eu", &fine);
    history.at_ms(20_000).phase("end", "");
    assert_eq!(reason(&judge(CLAIMS, "AVL-02", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn an_unproven_loss_a_lost_neighbour_and_a_late_harness_show_nothing() {
    let mut unproven = zone_loss(fine);
    unproven.at_ms(30_000).fault(1, FaultStage::NotWitnessed, "blackhole", "eu-1->eu-store");
    assert_eq!(reason(&judge(CLAIMS, "AVL-02", &[&unproven.build()])).0, "fault-not-proven");
    let mut neighbour = zone_loss(fine);
    neighbour.at_ms(30_000).replica("eu-2", ReplicaState::Gone);
    assert_eq!(reason(&judge(CLAIMS, "AVL-02", &[&neighbour.build()])).0, "too-few-samples");
    let mut late = zone_loss(half(20_000, 60_000));
    late.at_ms(30_000).late(400_000);
    assert_eq!(reason(&judge(CLAIMS, "AVL-02", &[&late.build()])).0, "harness-late");
}

#[test]
fn doubted_effects_never_accuse_the_zone() {
    doubted_effects_never_accuse(CLAIMS, "AVL-02", &zone_loss(fine).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_zone_is_judged_over_anything(loss in anything("zone-loss")) {
        let first = judge(CLAIMS, "AVL-02", &[&loss]);
        prop_assert_ne!(first.observed(), Observed::Holds, "60 steps are too few");
    }
}
