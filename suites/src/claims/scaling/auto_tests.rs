//! SCL-01 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{AUTOSCALING, AWAY, BUSY, CLAIMS, LOAD_SHORT, LOADED, THERE};
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use gatecrash_model::History;
use gatecrash_model::deployment::Deployment;
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "SCL-01";

/// Two replicas of `eu`, in two of its three zones.
fn three_zones() -> Deployment {
    let mut deployment = deployment();
    deployment.sites[0].zones = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    deployment
}

/// One round, ms: busy, one more, ready, the load goes, it is gone. What does not come is not there.
#[derive(Clone, Copy)]
struct Round {
    variant: &'static str,
    from: u64,
    loaded: Option<u64>,
    added: Option<(u64, &'static str, i64)>,
    ready: Option<u64>,
    healed: Option<u64>,
    settles: u64,
    gone: Option<u64>,
    to: u64,
}

const FIRST: Round = Round {
    variant: THERE,
    from: 20_000,
    loaded: Some(30_000),
    added: Some((45_000, "eu-3", 3)),
    ready: Some(50_000),
    healed: None,
    settles: 120_000,
    gone: Some(200_000),
    to: 220_000,
};

const SECOND: Round = Round {
    variant: AWAY,
    from: 230_000,
    loaded: Some(240_000),
    added: Some((255_000, "eu-4", 3)),
    ready: Some(305_000),
    healed: Some(300_000),
    settles: 350_000,
    gone: Some(430_000),
    to: 450_000,
};

fn tell(history: &mut HistoryBuilder, round: Round) {
    if let Some(healed) = round.healed {
        history.proven_fault("refuse", "eu-management->control-plane", round.from - 5_000, healed);
    }
    history.at_ms(round.from).phase("hold", round.variant);
    if let Some(at) = round.loaded {
        history.at_ms(at).mark(LOADED, "eu", 85);
    }
    if let Some((at, name, zone)) = round.added {
        history.at_ms(at).mark(mark::SCALED_OUT, name, 3).mark(mark::SUCCESSOR_ZONE, name, zone);
        history.replica(name, ReplicaState::Starting);
        if let Some(ready) = round.ready {
            history.at_ms(ready).replica(name, ReplicaState::Ready);
        }
        if let Some(gone) = round.gone {
            history.at_ms(gone - 5_000).mark(mark::SCALED_IN, name, 2).replica(name, ReplicaState::Terminating);
            history.at_ms(gone).replica(name, ReplicaState::Gone);
        }
    }
    history.at_ms(round.settles).phase("settle", round.variant);
    for ms in (round.from..round.to).step_by(250) {
        history.at_ms(ms).ok(call(BUSY, "eu-ingress", "plain", "client-1"));
    }
}

fn story(rounds: &[Round]) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(AUTOSCALING);
    history.at_ms(0).phase("steady", "");
    for round in rounds {
        tell(&mut history, *round);
    }
    let end = rounds.last().map_or(1, |round| round.to);
    history.at_ms(end).phase("end", "");
    history
}

fn check(history: &History) -> Verdict {
    judge_on(&three_zones(), CLAIMS, ID, &[history])
}

fn first(verdict: &Verdict) -> (String, f64) {
    (verdict.numbers()[0].name.clone(), verdict.numbers()[0].value)
}

#[test]
fn a_cluster_that_grows_and_shrinks_in_time_holds() {
    let verdict = check(&story(&[FIRST, SECOND]).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    assert_eq!(first(&verdict), ("one more serves after".to_owned(), 20.0));
    let value = |name: &str| verdict.numbers().iter().find(|number| number.name == name).map(|number| number.value);
    assert_eq!(value("replicas at most"), Some(3.0));
    assert_eq!(value("as few as before after"), Some(80.0));
    assert_eq!(value("from its start to ready"), Some(50.0));
}

#[test]
fn a_replica_that_comes_late_or_never_breaks_it() {
    let late = Round {
        added: Some((215_000, "eu-3", 3)),
        ready: Some(220_000),
        settles: 260_000,
        gone: Some(330_000),
        to: 340_000,
        ..FIRST
    };
    let verdict = check(&story(&[late]).build());
    assert_eq!(first(&verdict), ("one more serves after".to_owned(), 190.0));
    assert!(
        explanation(&verdict).contains("replicas were busy, and one more served only after 190.0 s"),
        "{verdict:?}"
    );

    let never = Round { added: None, settles: 255_000, gone: None, to: 260_000, ..FIRST };
    let verdict = check(&story(&[never]).build());
    assert_eq!(first(&verdict), ("busy without one more for".to_owned(), 225.0));
    assert!(explanation(&verdict).contains("replicas were busy, and nobody came within 225.0 s"), "{verdict:?}");

    let stuck = Round { ready: None, settles: 520_000, gone: Some(600_000), to: 620_000, ..SECOND };
    let verdict = check(&story(&[FIRST, stuck]).build());
    let words = "`eu-4` was started, and did not serve within 220.0 s, with the control plane away at first";
    assert!(explanation(&verdict).contains(words), "{verdict:?}");
}

#[test]
fn too_many_or_two_in_a_zone_break_it() {
    let mut many = story(&[FIRST]);
    many.at_ms(60_000).mark(mark::SCALED_OUT, "eu-9", 4).mark(mark::SUCCESSOR_ZONE, "eu-9", 1);
    many.at_ms(61_000).replica("eu-9", ReplicaState::Ready);
    many.at_ms(190_000).mark(mark::SCALED_IN, "eu-9", 3);
    let verdict = check(&many.build());
    assert_eq!(first(&verdict), ("replicas at most".to_owned(), 4.0));
    assert!(explanation(&verdict).contains("`eu-9` was the 4th replica; 3 there may be"), "{verdict:?}");

    let together = Round { added: Some((45_000, "eu-3", 1)), ..FIRST };
    let verdict = check(&story(&[together]).build());
    assert_eq!(first(&verdict), ("replicas in a zone that others could spare".to_owned(), 1.0));
    let words = "`eu-3` was put into zone `a`, which had a replica, while `c` had none";
    assert!(explanation(&verdict).contains(words), "{verdict:?}");
}

#[test]
fn what_never_goes_or_goes_too_far_breaks_it() {
    let stays = Round { gone: None, to: 880_000, ..FIRST };
    let verdict = check(&story(&[stays]).build());
    assert_eq!(first(&verdict), ("as few as before after".to_owned(), 760.0));
    assert!(explanation(&verdict).contains("there were more than before for 760.0 s without load"), "{verdict:?}");

    let mut fewer = story(&[FIRST]);
    fewer.at_ms(210_000).mark(mark::SCALED_IN, "eu-2", 1).replica("eu-2", ReplicaState::Gone);
    let verdict = check(&fewer.build());
    assert_eq!(first(&verdict), ("replicas at least".to_owned(), 1.0));
}

#[test]
fn requests_that_fail_while_one_joins_break_it_and_others_do_not() {
    let failed = |at: u64| {
        let mut history = story(&[FIRST]);
        for ms in 0..5 {
            history.at_ms(at + ms).gateway_error(call(BUSY, "eu-ingress", "plain", "client-1"), 502);
        }
        check(&history.build())
    };
    let verdict = failed(46_000);
    assert_eq!(first(&verdict).0, "failed while one joined");
    assert!(explanation(&verdict).contains("5 of 65 requests failed while a replica joined; first: "), "{verdict:?}");
    assert_eq!(failed(100_000).observed(), Observed::Holds);
}

#[test]
fn what_shows_nothing_is_left_open() {
    assert_eq!(judge(CLAIMS, ID, &[&nothing(AUTOSCALING)]).observed(), Observed::Inconclusive);
    // Nobody was busy.
    let idle = Round { loaded: None, added: None, gone: None, ..FIRST };
    let mut history = story(&[idle]);
    history.at_ms(40_000).mark(LOAD_SHORT, "eu", 41);
    let verdict = check(&history.build());
    assert!(reason(&verdict).1.contains("they used 41 % of what they request"), "{verdict:?}");
    // Nobody came, but nobody waited long.
    let brief = Round { added: None, gone: None, settles: 100_000, ..FIRST };
    assert_eq!(reason(&check(&story(&[brief]).build())).0, "too-few-samples");
    let brief = Round { gone: None, to: 300_000, ..FIRST };
    assert_eq!(reason(&check(&story(&[brief]).build())).0, "too-few-samples");

    let mut trouble = story(&[FIRST]);
    trouble.at_ms(46_000).mark(mark::PLATFORM_TROUBLE, "eu", 0);
    assert_eq!(reason(&check(&trouble.build())).0, "platform-trouble");
    let mut gap = story(&[FIRST]);
    gap.at_ms(46_000).gap("eu-upstream");
    assert_eq!(reason(&check(&gap.build())).0, "gap");
    let mut cut = story(&[FIRST]);
    cut.cut();
    assert_eq!(reason(&check(&cut.build())).0, "cut");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_has_a_verdict_and_doubt_accuses_nobody(history in anything(AUTOSCALING)) {
        doubted_effects_never_accuse(CLAIMS, ID, &history);
    }
}

#[test]
fn doubt_about_a_clean_story_accuses_nobody() {
    doubted_effects_never_accuse(CLAIMS, ID, &story(&[FIRST, SECOND]).build());
}
