use super::*;
use crate::claims::sample::{anything, doubt_never_accuses, explanation, judge, nothing, reason};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::Credential;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

fn refused(requests: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("x");
    history.at_ms(1).replica("eu-1", ReplicaState::Starting);
    for ms in 0..requests {
        let credential = if ms % 2 == 0 { Credential::Missing } else { Credential::AlgNone };
        history.at_ms(10 + ms).rejected(with(call("must-refuse", "eu-1", "plain", "nobody"), credential), 401);
    }
    history
}

#[test]
fn requests_that_are_all_refused_hold() {
    let verdict = judge(CLAIMS, "SEC-01", &[&refused(200).build()]);
    let Verdict::Holds(evidence) = verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.samples, 200);
}

#[test]
fn one_arrival_is_a_violation_with_the_window_since_the_start() {
    let mut history = refused(200);
    let mut stray = call("must-refuse", "eu-1", "plain", "nobody");
    stray.credential = Credential::Expired;
    history.at_ms(31).ok(stray.clone());
    // Even one whose answer never came was admitted if it arrived.
    history.at_ms(51).unknown(stray, true);
    let verdict = judge(CLAIMS, "SEC-01", &[&history.build()]);
    assert!(explanation(&verdict).contains("2 of 202"), "{verdict:?}");
    let numbers: Vec<f64> = verdict.numbers().iter().map(|number| number.value).collect();
    assert_eq!(numbers, [2.0, 30.5, 50.5, 20.0]);
}

#[test]
fn valid_requests_are_not_its_business() {
    let mut history = refused(200);
    history.at_ms(50).ok(call("traffic", "eu-1", "plain", "client-1"));
    assert_eq!(judge(CLAIMS, "SEC-01", &[&history.build()]).observed(), Observed::Holds);
}

#[test]
fn a_lost_arrival_stream_leaves_doubt_and_a_violation_stands() {
    let mut history = refused(200);
    history.at_ms(300).gap("eu-upstream");
    assert_eq!(reason(&judge(CLAIMS, "SEC-01", &[&history.build()])).0, "gap");
    let mut history = refused(200);
    history.at_ms(300).gap("eu-upstream");
    history.at_ms(40).ok(with(call("must-refuse", "eu-1", "plain", "nobody"), Credential::Forged));
    assert_eq!(judge(CLAIMS, "SEC-01", &[&history.build()]).observed(), Observed::Violated);
}

#[test]
fn a_2xx_that_nobody_saw_arrive_is_no_proof_of_anything() {
    let mut history = refused(200);
    let operation = with(call("must-refuse", "eu-1", "plain", "nobody"), Credential::Missing);
    let answer = gatecrash_model::operation::Answer { status: 200, ..Default::default() };
    history.at_ms(40).operation(operation, Some((gatecrash_model::operation::Effect::Ok, answer)), false);
    assert_eq!(reason(&judge(CLAIMS, "SEC-01", &[&history.build()])).0, "gap");
}

#[test]
fn samples_count_over_all_histories() {
    let (first, second) = (refused(60).build(), refused(60).build());
    assert_eq!(reason(&judge(CLAIMS, "SEC-01", &[&first])).0, "too-few-samples");
    assert_eq!(judge(CLAIMS, "SEC-01", &[&first, &second]).observed(), Observed::Holds);
}

#[test]
fn nothing_seen_is_nothing_shown() {
    assert_eq!(reason(&judge(CLAIMS, "SEC-01", &[])).0, "not-run");
    assert_eq!(reason(&judge(CLAIMS, "SEC-01", &[&nothing("x")])).0, "cut");
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(history in anything("x")) {
        doubt_never_accuses(CLAIMS, "SEC-01", &history);
    }
}
