use super::CLAIMS;
use crate::claims::losses::{AGAIN, CLOSED, HUNG, KILLED};
use crate::claims::respawns::{Lost, all, in_turn, never, replica_loss};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::Verdict;
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

fn told(losses: &[Lost]) -> HistoryBuilder {
    replica_loss(losses, |ms, turn| in_turn(losses, ms, turn))
}

fn avl_03(history: HistoryBuilder) -> Verdict {
    judge(CLAIMS, "AVL-03", &[&history.build()])
}

#[test]
fn each_loss_that_is_made_good_in_time_holds_with_its_numbers() {
    let verdict = avl_03(told(&all()));
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    let value = |name: &str| evidence.numbers.iter().find(|number| number.name == name).map(|number| number.value);
    // The sample that is taken first after it serves.
    assert_eq!(value("loss to first correct answer of the successor (hung)").map(f64::round), Some(32.0));
    assert_eq!(value("loss to detection (hung)").map(f64::round), Some(31.0));
    assert_eq!(value("start to first correct answer (hung)").map(f64::round), Some(1_091.0));
    // 25 of 50 requests a second went to the lost one for a second, on each of two streams.
    assert_eq!(value("lost requests (killed)"), Some(50.0));
    assert_eq!(
        evidence.numbers.iter().find(|number| number.name == "lost requests (killed)").unwrap().limit,
        Some(250.0)
    );
}

#[test]
fn a_successor_that_comes_late_breaks_it() {
    let mut losses = all();
    losses[3].serves = Some(losses[3].at + 61_000);
    losses[3].successor = Some(("eu-6", losses[3].at + 60_500));
    let verdict = avl_03(told(&losses));
    assert!(
        explanation(&verdict).contains("port closed, process alive: `eu-6` served in the place of `eu-2` 61."),
        "{verdict:?}"
    );
    assert!(verdict.numbers()[0].name.contains("port closed"), "{verdict:?}");
}

#[test]
fn one_that_never_comes_breaks_it_and_is_measured() {
    for (variant, words) in [
        (HUNG, "hung: in the place of `eu-4` nobody"),
        (CLOSED, "port closed, process alive: in the place of `eu-2` nobody"),
    ] {
        let losses = never(variant);
        let verdict = avl_03(told(&losses));
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        let first = &verdict.numbers()[0];
        assert_eq!((first.value.round(), first.limit), (75.0, Some(60.0)), "{verdict:?}");
    }
}

#[test]
fn one_that_is_ready_and_never_gives_a_right_answer_is_no_successor() {
    let mut losses = all();
    losses[3].serves = None;
    // It runs until the end, 13 s after the last that was seen: too short to say, unless the story watched for longer.
    assert_eq!(reason(&avl_03(told(&losses))).0, "too-few-samples");
    losses[3].gave_up = Some(losses[3].at + 75_000);
    let verdict = avl_03(told(&losses));
    assert!(
        explanation(&verdict).contains("in the place of `eu-2` `eu-6` was started, and nobody served"),
        "{verdict:?}"
    );
}

#[test]
fn a_first_that_is_not_replaced_is_not_killed_again() {
    let mut losses = never(KILLED);
    losses.retain(|one| one.variant != AGAIN);
    for (one, victim) in losses.iter_mut().skip(1).zip(["eu-1", "eu-2"]) {
        one.victim = victim;
    }
    let verdict = avl_03(told(&losses));
    assert!(explanation(&verdict).starts_with("killed: in the place of `eu-1` nobody"), "{verdict:?}");
}

#[test]
fn an_ingress_that_goes_on_sending_requests_to_the_lost_one_breaks_it() {
    let losses = all();
    // Half of the requests for 12 s: 600, and 250 are allowed.
    let history = replica_loss(&losses, |ms, turn| {
        if (80_000..92_000).contains(&ms) && turn % 2 == 0 { None } else { in_turn(&losses, ms, turn) }
    });
    let verdict = avl_03(history);
    assert!(explanation(&verdict).starts_with("hung: 6"), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "lost requests (hung)");
}

#[test]
fn what_was_under_way_may_be_lost_and_not_one_more() {
    let losses = all();
    let lossy = |until: u64| {
        // Everything that was for the lost one, for as long as that could be unknown: exactly what is allowed.
        let mut history = replica_loss(&losses, |ms, turn| {
            if (80_000..until).contains(&ms) && turn % 2 == 0 { None } else { in_turn(&losses, ms, turn) }
        });
        for ms in 79_900..79_920 {
            history.takes_ns = 200_000_000;
            history.at_ms(ms).gateway_error(call("traffic", "eu-ingress", "plain", "client-1"), 502);
        }
        history
    };
    assert_eq!(avl_03(lossy(85_001)).observed(), Observed::Holds);
    let verdict = avl_03(lossy(85_041));
    assert!(explanation(&verdict).contains("20 were under way"), "{verdict:?}");
}

#[test]
fn half_of_the_story_is_too_little() {
    let losses = all();
    let verdict = avl_03(told(&losses[..2]));
    assert_eq!(reason(&verdict).0, "too-few-samples");
    assert!(reason(&verdict).1.contains("hung"), "{verdict:?}");
    let verdict = judge(CLAIMS, "AVL-03", &[&nothing("replica-loss")]);
    assert_eq!(verdict.observed(), Observed::Inconclusive);
}

#[test]
fn doubt_of_every_kind_shows_nothing() {
    let mut unproven = told(&all());
    unproven.at_ms(80_005).fault(3, FaultStage::NotWitnessed, "pause", "eu-4");
    assert_eq!(reason(&avl_03(unproven)).0, "fault-not-proven");
    // One that was not lost needs no successor.
    let mut unproven = told(&never(HUNG));
    unproven.at_ms(80_005).fault(3, FaultStage::NotWitnessed, "pause", "eu-4");
    assert_eq!(reason(&avl_03(unproven)).0, "fault-not-proven");
    for losses in [all().to_vec(), never(HUNG)] {
        let mut acted = told(&losses);
        acted.at_ms(70_000).mark(mark::SUCCESSOR, "eu-9", 2);
        assert_eq!(reason(&avl_03(acted)).0, "platform-acted");
        let mut trouble = told(&losses);
        trouble.at_ms(90_000).mark(mark::PLATFORM_TROUBLE, "eu-4", 0);
        assert_eq!(reason(&avl_03(trouble)).0, "platform-trouble");
        let mut cut = told(&losses);
        cut.cut();
        assert_eq!(reason(&avl_03(cut)).0, "cut");
    }
    let mut late = told(&never(HUNG));
    late.at_ms(90_000).late(6_001_000);
    assert_eq!(reason(&avl_03(late)).0, "harness-late");
    // Late elsewhere, or not by much: nobody serves all the same.
    let mut late = told(&never(HUNG));
    late.at_ms(90_000).late(400_000).at_ms(70_000).late(6_001_000);
    assert_eq!(avl_03(late).observed(), Observed::Violated);
    let losses = all();
    let shaky =
        replica_loss(&losses, |ms, turn| if ms < 20_000 && turn % 10 == 0 { None } else { in_turn(&losses, ms, turn) });
    assert_eq!(reason(&avl_03(shaky)).0, "no-steady-state");
}

#[test]
fn doubted_effects_never_accuse_the_platform() {
    doubted_effects_never_accuse(CLAIMS, "AVL-03", &told(&all()).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_replacement_is_judged_over_anything(loss in anything("replica-loss")) {
        prop_assert_ne!(judge(CLAIMS, "AVL-03", &[&loss]).observed(), Observed::Holds, "60 steps are too few");
    }
}
