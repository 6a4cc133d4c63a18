use super::CLAIMS;
use crate::claims::losses::{AGAIN, CLOSED, HUNG, KILLED};
use crate::claims::respawns::{END, Lost, all, in_turn, never, replica_loss};
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use crate::claims::serving::{SAMPLE, SERVING};
use gatecrash_model::Verdict;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// A story of these losses; each successor is put in the zone of this number.
fn placed(losses: &[Lost], zone: impl Fn(&str) -> i64) -> HistoryBuilder {
    let mut history = replica_loss(losses, |ms, turn| in_turn(losses, ms, turn));
    for (name, at) in losses.iter().filter_map(|one| one.successor) {
        history.at_ms(at).mark(mark::SUCCESSOR_ZONE, name, zone(name));
    }
    history
}

/// The same, each in the zone of whom it replaces: `eu-2` alone is in the second.
fn told(losses: &[Lost]) -> HistoryBuilder {
    placed(losses, |name| if name == "eu-6" { 2 } else { 1 })
}

fn avl_01(history: HistoryBuilder) -> Verdict {
    judge(CLAIMS, "AVL-01", &[&history.build()])
}

/// A sample of `replica` that fails.
fn fail(history: &mut HistoryBuilder, ms: u64, replica: &str) {
    history.at_ms(ms).mark(SAMPLE, replica, 1).refused(call(SERVING, replica, "plain", "client-6"));
}

#[test]
fn too_few_in_the_time_that_a_respawn_may_take_holds_and_both_readings_are_told() {
    let verdict = avl_01(told(&all()));
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    let value = |name: &str| evidence.numbers.iter().find(|number| number.name == name).map(|number| number.value);
    assert_eq!(value("loss to enough replicas again (hung)").map(f64::round), Some(32.0));
    assert_eq!(value("time with too few replicas before any loss"), Some(0.0));
    assert_eq!(value("fewest replicas that served at once"), Some(1.0));
    assert_eq!(value("fewest zones while all replicas served"), Some(2.0));
    let literal = value("time with too few replicas, read literally").unwrap();
    assert!((75.0..85.0).contains(&literal), "{literal}");
    assert!(evidence.notes.iter().any(|note| note.contains("at least 2 at all times did not hold")), "{evidence:?}");
    assert!(evidence.notes.iter().any(|note| note.starts_with("serving in `eu`: 2 from")), "{evidence:?}");
}

#[test]
fn a_third_replica_makes_the_literal_reading_hold_too() {
    let mut three = deployment();
    three.sites[0].replicas = 3;
    // The builder has two, and loses them; a third one serves all the time, under a name that no successor may have then.
    let mut losses = all();
    losses[0].successor = Some(("eu-7", losses[0].found.unwrap() + 10));
    losses[1].victim = "eu-7";
    let mut history = told(&losses);
    for ms in (150..END).step_by(1_000) {
        history.at_ms(ms).mark(SAMPLE, "eu-3", 1).ok(call(SERVING, "eu-3", "plain", "client-6"));
    }
    let verdict = judge_on(&three, CLAIMS, "AVL-01", &[&history.build()]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert!(evidence.notes.iter().any(|note| note.contains("at all times held: 2 served")), "{evidence:?}");
}

#[test]
fn too_few_for_longer_breaks_it_whoever_was_lost() {
    for (variant, words) in [
        (KILLED, "killed: 75."),
        (AGAIN, "killed again: 75."),
        (HUNG, "hung: 75."),
        (CLOSED, "port closed, process alive: 75."),
    ] {
        let mut losses = never(variant);
        if variant == KILLED {
            losses.retain(|one| one.variant != AGAIN);
            for (one, victim) in losses.iter_mut().skip(1).zip(["eu-1", "eu-2"]) {
                one.victim = victim;
            }
        } else if variant == AGAIN {
            losses[2].victim = "eu-3";
        }
        let verdict = avl_01(told(&losses));
        assert!(explanation(&verdict).starts_with(words), "{variant}: {verdict:?}");
        assert_eq!(verdict.numbers()[0].limit, Some(60.0), "{verdict:?}");
    }
}

#[test]
fn a_successor_that_serves_and_then_stops_does_not_count() {
    // It is there 31 s after the loss, and from 35 s on answers nothing.
    let mut history = told(&all()[..3]);
    for ms in (115_050..END).step_by(500) {
        fail(&mut history, ms, "eu-5");
    }
    let verdict = avl_01(history);
    assert!(explanation(&verdict).starts_with("hung: "), "{verdict:?}");
}

#[test]
fn too_few_where_nobody_was_hurt_breaks_it() {
    let mut history = told(&all());
    fail(&mut history, 10_050, "eu-2");
    let verdict = avl_01(history);
    assert!(explanation(&verdict).starts_with("at 10.05 s 1 replicas served, and nobody had hurt one"), "{verdict:?}");
    // The same of a sample that was under way when its replica was killed is the kill's.
    let mut history = told(&all());
    history.takes_ns = 100_000_000;
    fail(&mut history, 19_950, "eu-1");
    assert_eq!(avl_01(history).observed(), Observed::Holds);
}

#[test]
fn a_replica_that_nobody_asks_does_not_serve() {
    // The samples of the first one end at 5 s.
    let mut history = HistoryBuilder::new("replica-loss");
    history.at_ms(1).phase("steady", "");
    for ms in (100..20_000).step_by(100) {
        for name in ["eu-1", "eu-2"] {
            if name == "eu-2" || ms < 5_000 {
                history.at_ms(ms).mark(SAMPLE, name, 1).ok(call(SERVING, name, "plain", "client-6"));
            }
        }
    }
    history.at_ms(20_000).phase("end", "");
    let verdict = avl_01(history);
    assert!(explanation(&verdict).starts_with("at 6.90 s 1 replicas served"), "{verdict:?}");
}

#[test]
fn all_in_one_zone_breaks_it_where_the_site_has_several() {
    let verdict = avl_01(placed(&all(), |_| 1));
    assert!(explanation(&verdict).contains("all 2 replicas of `eu` served in 1 of its zones"), "{verdict:?}");
    let mut one = deployment();
    one.sites[0].zones = vec!["a".to_owned()];
    let verdict = judge_on(&one, CLAIMS, "AVL-01", &[&placed(&all(), |_| 1).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn half_of_the_story_is_too_little() {
    assert_eq!(reason(&avl_01(told(&all()[..2]))).0, "too-few-samples");
    assert_eq!(judge(CLAIMS, "AVL-01", &[&nothing("replica-loss")]).observed(), Observed::Inconclusive);
    // Whoever is lost when the story ends has no time to come back.
    let mut losses = all();
    losses[3].serves = None;
    let verdict = avl_01(told(&losses));
    assert_eq!(reason(&verdict).0, "too-few-samples", "{verdict:?}");
}

#[test]
fn doubt_of_every_kind_shows_nothing() {
    for losses in [all().to_vec(), never(HUNG)] {
        let mut acted = told(&losses);
        acted.at_ms(70_000).mark(mark::SUCCESSOR, "eu-9", 2);
        assert_eq!(reason(&avl_01(acted)).0, "platform-acted");
        let mut trouble = told(&losses);
        trouble.at_ms(90_000).mark(mark::PLATFORM_TROUBLE, "eu-4", 0);
        assert_eq!(reason(&avl_01(trouble)).0, "platform-trouble");
        let mut cut = told(&losses);
        cut.cut();
        assert_eq!(reason(&avl_01(cut)).0, "cut");
    }
    let mut late = told(&never(HUNG));
    late.at_ms(90_000).late(6_001_000);
    assert_eq!(reason(&avl_01(late)).0, "harness-late");
    let mut late = told(&never(HUNG));
    late.at_ms(90_000).late(400_000);
    assert_eq!(avl_01(late).observed(), Observed::Violated, "nobody serves all the same");
    let mut late = told(&all());
    fail(&mut late, 10_050, "eu-2");
    late.at_ms(10_100).late(101_000);
    assert_eq!(reason(&avl_01(late)).0, "harness-late");
}

#[test]
fn doubted_effects_never_accuse_the_platform() {
    doubted_effects_never_accuse(CLAIMS, "AVL-01", &told(&all()).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_count_is_judged_over_anything(loss in anything("replica-loss")) {
        prop_assert_ne!(judge(CLAIMS, "AVL-01", &[&loss]).observed(), Observed::Holds, "60 steps are too few");
    }
}
