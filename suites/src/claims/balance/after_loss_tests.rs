use super::{CLAIMS, KEPT_CONNECTIONS, NEW_CONNECTIONS, ROLLED, SHIFT};
use crate::claims::losses::KILLED;
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge_on, nothing, reason,
};
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{FaultStage, ReplicaState};
use gatecrash_model::operation::{Answer, Effect, Indefinite};
use gatecrash_model::verdict::Observed;
use gatecrash_model::{Deployment, Verdict};
use proptest::prelude::*;

/// When `eu-1` is killed, when its successor `eu-4` is ready, ms.
const LOST: u64 = 20_000;
const READY: u64 = 40_000;
/// From when on the three are restarted, one after the other, each for so long, ms; each is ready a second before the next is asked.
const ROLL: u64 = 80_000;
const EACH: u64 = 7_000;
const AWAY: u64 = 6_000;
/// When the last of them is ready, and the end, ms.
const BACK: u64 = ROLL + 2 * EACH + AWAY;
const END: u64 = 175_000;
/// From one request of a stream to the next, ms.
const EVERY: u64 = 25;

/// `eu` with three replicas.
fn three() -> Deployment {
    let mut three = deployment();
    three.sites[0].replicas = 3;
    three
}

/// Who takes requests at `ms`.
fn there(ms: u64) -> Vec<&'static str> {
    let all = if ms < LOST { ["eu-1", "eu-2", "eu-3"] } else { ["eu-2", "eu-3", "eu-4"] };
    let away = |turn: u64| (ROLL + turn * EACH..ROLL + turn * EACH + AWAY).contains(&ms);
    let missing = |name: &str| match name {
        "eu-4" => ms < READY || away(2),
        "eu-3" => away(1),
        _ => ms >= LOST && away(0),
    };
    all.into_iter().filter(|name| !missing(name)).collect()
}

/// Round robin over those that are there.
fn even(ms: u64, turn: u64) -> Option<&'static str> {
    let there = there(ms);
    there.get(usize::try_from(turn).unwrap() % there.len()).copied()
}

/// A story in which `who` answers the nth request of a stream at a time (ms); nobody for `None`.
fn told(who: impl Fn(&str, u64, u64) -> Option<&'static str>) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SHIFT);
    for name in ["eu-1", "eu-2", "eu-3"] {
        history.at_ms(0).replica(name, ReplicaState::Starting).replica(name, ReplicaState::Ready);
    }
    history.at_ms(1).phase("steady", "");
    history.at_ms(LOST).phase("inject", KILLED);
    history.proven_fault("kill", "eu-1", LOST + 1, READY - 500);
    history.at_ms(LOST + 50).phase("hold", KILLED);
    history.at_ms(LOST + 1_000).contact("eu-ingress", "eu-1", "out-of-rotation", 0, 0);
    history.at_ms(READY - 500).mark(mark::SUCCESSOR, "eu-4", 1).replica("eu-4", ReplicaState::Starting);
    history.at_ms(READY).replica("eu-4", ReplicaState::Ready).contact("eu-ingress", "eu-4", "in-rotation", 0, 0);
    history.at_ms(READY + 10).phase("settle", KILLED);
    history.at_ms(ROLL - 100).phase("hold", ROLLED);
    for (turn, name) in (0..).zip(["eu-2", "eu-3", "eu-4"]) {
        let at = ROLL + turn * EACH;
        history.at_ms(at - 50).contact("eu-ingress", name, "out-of-rotation", 0, 0);
        history.proven_fault("terminate", name, at, at + AWAY - 500);
        history.at_ms(at + AWAY - 501).replica(name, ReplicaState::Starting);
        history.at_ms(at + AWAY).replica(name, ReplicaState::Ready).contact("eu-ingress", name, "in-rotation", 0, 0);
    }
    history.at_ms(BACK + 10).phase("settle", ROLLED);
    history.at_ms(END).phase("end", "");
    for (turn, ms) in (2..END).step_by(usize::try_from(EVERY).unwrap()).enumerate() {
        let turn = u64::try_from(turn).unwrap();
        for stream in [NEW_CONNECTIONS, KEPT_CONNECTIONS] {
            let operation = call(stream, "eu-ingress", "plain", "client-1");
            history.at_ms(ms);
            if let Some(replica) = who(stream, ms, turn) {
                let answer = Answer { status: 200, replica: replica.to_owned(), ..Answer::default() };
                history.operation(operation, Some((Effect::Ok, answer)), true);
            } else {
                let answer = Answer { status: 502, ..Answer::default() };
                history.operation(operation, Some((Effect::Unknown(Indefinite::GatewayError), answer)), false);
            }
        }
    }
    history
}

fn bal_02(history: HistoryBuilder) -> Verdict {
    judge_on(&three(), CLAIMS, "BAL-02", &[&history.build()])
}

#[test]
fn an_even_spike_that_ends_holds_with_its_numbers() {
    let verdict = bal_02(told(|_, ms, turn| even(ms, turn)));
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    let number = |name: &str| evidence.numbers.iter().find(|number| number.name == name).unwrap();
    let spike = number("largest share over a fair one while a replica is missing (killed, new connections)");
    assert!((spike.value - 1.5).abs() < 0.02, "{spike:?}");
    assert_eq!(spike.limit, Some(1.875));
    let recovered = number("new replica ready to even shares (rolling restart, kept connections)");
    assert_eq!((recovered.value, recovered.limit), (0.0, Some(60.0)));
    assert_eq!(number("new replica ready to even shares (killed, new connections)").limit, Some(30.0));
    assert!(
        (number("smallest share of a new replica over a fair one (killed, kept connections)").value - 1.0).abs() < 0.05
    );
    assert!(evidence.notes.iter().any(|note| note.contains("said nothing of processor times")), "{evidence:?}");
}

#[test]
fn processor_times_are_told_and_judged_by_nobody() {
    for (load, words) in [([10, 15, 10], "a temporary spike is seen"), ([10, 10, 10], "no temporary spike is seen")] {
        let mut history = told(|_, ms, turn| even(ms, turn));
        let mut used = 0;
        for ms in (500..ROLL).step_by(1_000) {
            let percent = if ms < LOST {
                load[0]
            } else if ms < READY {
                load[1]
            } else {
                load[2]
            };
            used += percent * 10_000;
            for name in ["eu-1", "eu-2", "eu-3"] {
                history.at_ms(ms).mark(mark::PROCESSOR_US, name, used);
            }
        }
        let verdict = bal_02(history);
        let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
        assert!(evidence.notes.iter().any(|note| note.contains(words)), "{evidence:?}");
        let missing = "processor time of one that is left, while a replica was missing (killed)";
        let missing = evidence.numbers.iter().find(|number| number.name == missing).unwrap();
        assert!((missing.value - f64::from(i32::try_from(load[1]).unwrap())).abs() < 0.5, "{missing:?}");
    }
}

#[test]
fn one_that_takes_all_of_the_lost_ones_share_is_a_spike_too_large() {
    // Two of three requests, where one of two would be even.
    let verdict = bal_02(told(|_, ms, turn| {
        if (LOST..READY).contains(&ms) { Some(if turn % 3 < 2 { "eu-2" } else { "eu-3" }) } else { even(ms, turn) }
    }));
    assert!(
        explanation(&verdict).contains("killed, new connections: `eu-2` had 2.00 of a fair share while `eu-1`"),
        "{verdict:?}"
    );
}

#[test]
fn connections_that_stay_where_they_are_starve_whoever_is_new() {
    let verdict = bal_02(told(|stream, ms, turn| {
        let stays = stream == KEPT_CONNECTIONS && ms >= BACK;
        if stays { Some(if turn % 2 == 0 { "eu-2" } else { "eu-3" }) } else { even(ms, turn) }
    }));
    let words = explanation(&verdict);
    assert!(
        words.contains("rolling restart, kept connections: `eu-4` was starved: 0.00 of a fair share"),
        "{verdict:?}"
    );
    assert!(words.contains("rolling restart, kept connections: shares were not even for 70."), "{verdict:?}");
    assert!(!words.contains("new connections"), "{verdict:?}");
}

#[test]
fn a_new_one_that_gets_everything_is_flooded() {
    let flooded = |lasts: u64| {
        bal_02(told(
            move |_, ms, turn| {
                if (READY..READY + lasts).contains(&ms) { Some("eu-4") } else { even(ms, turn) }
            },
        ))
    };
    let verdict = flooded(12_000);
    assert!(explanation(&verdict).contains("`eu-4` was flooded: 3.00 of a fair share for 10.00 s"), "{verdict:?}");
    // A quarter of the time that it may last.
    assert_eq!(flooded(2_400).observed(), Observed::Holds);
}

#[test]
fn shares_that_become_even_too_late_break_it_though_nobody_starves() {
    // Five, three and four of twelve: nobody is starved, and it is not even.
    let slanted = |ms: u64, turn: u64| match turn % 12 {
        0..5 => Some("eu-2"),
        5..8 => Some("eu-3"),
        _ => even(ms, 2),
    };
    let late = |until: u64| {
        bal_02(told(
            move |_, ms, turn| {
                if (READY..READY + until).contains(&ms) { slanted(ms, turn) } else { even(ms, turn) }
            },
        ))
    };
    assert_eq!(late(28_000).observed(), Observed::Holds);
    let verdict = late(36_000);
    assert!(explanation(&verdict).contains("killed, new connections: shares were even 3"), "{verdict:?}");
    assert!(!explanation(&verdict).contains("kept connections"), "60 s are allowed there: {verdict:?}");
    // On kept connections it was not watched for the 60 s after the kill; on new ones for more than its 30 s.
    let verdict = late(ROLL - READY);
    assert!(explanation(&verdict).contains("new connections: shares were not even for 3"), "{verdict:?}");
}

#[test]
fn what_nobody_watched_for_long_enough_is_left_open() {
    let verdict = bal_02(told(|stream, ms, turn| {
        let slanted = stream == KEPT_CONNECTIONS && (READY..ROLL).contains(&ms) && turn % 12 >= 10;
        if slanted { Some("eu-2") } else { even(ms, turn) }
    }));
    assert_eq!(reason(&verdict).0, "too-few-samples", "{verdict:?}");
    assert!(reason(&verdict).1.contains("not watched any longer"), "{verdict:?}");
}

#[test]
fn shares_that_were_uneven_before_cannot_be_said_to_return() {
    let verdict = bal_02(told(|_, ms, turn| if ms < LOST && turn % 4 == 0 { Some("eu-1") } else { even(ms, turn) }));
    assert_eq!(reason(&verdict).0, "no-steady-state", "{verdict:?}");
    // Whoever is starved afterwards is starved all the same.
    let verdict = bal_02(told(|_, ms, _| if ms < LOST { Some("eu-1") } else { Some("eu-2") }));
    assert!(explanation(&verdict).contains("`eu-4` was starved"), "{verdict:?}");
}

#[test]
fn who_does_not_say_its_name_cannot_be_told_apart() {
    let verdict = bal_02(told(|_, _, _| Some("")));
    assert_eq!(reason(&verdict).0, "no-replica-identity", "{verdict:?}");
}

#[test]
fn of_two_the_spike_is_bounded_and_the_rest_is_judged() {
    let mut history = HistoryBuilder::new(SHIFT);
    let mut turns = 0;
    for name in ["eu-1", "eu-2"] {
        history.at_ms(0).replica(name, ReplicaState::Starting).replica(name, ReplicaState::Ready);
    }
    history.at_ms(1).phase("steady", "").at_ms(20_000).phase("inject", KILLED);
    history.proven_fault("kill", "eu-1", 20_001, 39_000);
    history.at_ms(20_050).phase("hold", KILLED);
    // Without a platform it is started again, and comes back by itself.
    history.at_ms(38_999).replica("eu-1", ReplicaState::Starting);
    history.at_ms(40_000).replica("eu-1", ReplicaState::Ready).phase("settle", KILLED);
    history.at_ms(80_000).phase("hold", ROLLED);
    for (name, at) in [("eu-1", 80_001), ("eu-2", 90_000)] {
        history.proven_fault("terminate", name, at, at + 5_000);
        history.at_ms(at + 4_999).replica(name, ReplicaState::Starting);
        history.at_ms(at + 6_000).replica(name, ReplicaState::Ready);
    }
    history.at_ms(96_010).phase("settle", ROLLED).at_ms(END).phase("end", "");
    for ms in (2..END).step_by(25) {
        for stream in [NEW_CONNECTIONS, KEPT_CONNECTIONS] {
            let first_away = (20_000..40_000).contains(&ms) || (80_000..86_000).contains(&ms);
            let second_away = (90_000..96_000).contains(&ms);
            turns += 1;
            let replica = if first_away || !second_away && turns / 2 % 2 == 0 { "eu-2" } else { "eu-1" };
            let answer = Answer { status: 200, replica: replica.to_owned(), ..Answer::default() };
            let operation = call(stream, "eu-ingress", "plain", "client-1");
            history.at_ms(ms).operation(operation, Some((Effect::Ok, answer)), true);
        }
    }
    let verdict = judge_on(&deployment(), CLAIMS, "BAL-02", &[&history.build()]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    let spike = "largest share over a fair one while a replica is missing (killed, new connections)";
    let spike = evidence.numbers.iter().find(|number| number.name == spike).unwrap();
    assert_eq!((spike.value, spike.limit), (2.0, Some(2.5)));
    assert!(evidence.notes.iter().any(|note| note.starts_with("of two replicas")), "{evidence:?}");
}

#[test]
fn doubt_of_every_kind_shows_nothing() {
    let starved = |ms: u64, turn: u64| if ms >= READY { Some("eu-2") } else { even(ms, turn) };
    let both: [&dyn Fn(u64, u64) -> Option<&'static str>; 2] = [&even, &starved];
    for who in both {
        let told = || told(|_, ms, turn| who(ms, turn));
        let mut cut = told();
        cut.cut();
        assert_eq!(reason(&bal_02(cut)).0, "cut");
        let mut gap = told();
        gap.at_ms(50_000).gap("eu-ingress");
        assert_eq!(reason(&bal_02(gap)).0, "gap");
    }
    // Both variants are late: each of them has an excuse.
    let told_starved = || told(|_, ms, turn| starved(ms, turn));
    let mut late = told_starved();
    late.at_ms(50_000).late(1_001_000).at_ms(120_000).late(1_001_000);
    assert_eq!(reason(&bal_02(late)).0, "harness-late");
    let mut late = told_starved();
    late.at_ms(50_000).late(1_001_000).at_ms(120_000).late(900_000);
    assert_eq!(bal_02(late).observed(), Observed::Violated, "late by less than a tenth of what is judged");
    let mut out = told_starved();
    for ms in [50_000, 120_000] {
        out.at_ms(ms).contact("eu-ingress", "eu-3", "out-of-rotation", 0, 0);
    }
    assert_eq!(reason(&bal_02(out)).0, "replica-out");
    let mut unproven = told(|_, ms, turn| even(ms, turn));
    unproven.at_ms(LOST + 5).fault(1, FaultStage::NotWitnessed, "kill", "eu-1");
    assert_eq!(reason(&bal_02(unproven)).0, "fault-not-proven");
    let mut trouble = told(|_, ms, turn| even(ms, turn));
    trouble.at_ms(LOST + 5).mark(mark::PLATFORM_TROUBLE, "eu-1", 0);
    assert_eq!(reason(&bal_02(trouble)).0, "platform-trouble");
}

#[test]
fn nothing_and_half_of_the_story_show_nothing() {
    let verdict = judge_on(&three(), CLAIMS, "BAL-02", &[&nothing(SHIFT)]);
    assert_eq!(verdict.observed(), Observed::Inconclusive);
    let mut half = HistoryBuilder::new(SHIFT);
    half.at_ms(1).phase("steady", "").at_ms(10).phase("inject", KILLED);
    half.proven_fault("kill", "eu-1", 11, 20);
    assert_eq!(reason(&bal_02(half)).0, "too-few-samples");
}

#[test]
fn doubted_effects_never_accuse_the_ingress() {
    let history = told(|_, ms, turn| even(ms, turn)).build();
    doubted_effects_never_accuse(CLAIMS, "BAL-02", &history);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_are_judged_over_anything(shares in anything(SHIFT)) {
        let verdict = judge_on(&three(), CLAIMS, "BAL-02", &[&shares]);
        prop_assert_ne!(verdict.observed(), Observed::Holds, "60 steps are too few");
    }
}
