//! CFG-06 over hand-written histories: what holds, what breaks it, and what shows nothing.

use super::{ABSENT, BAD_OBJECT, CHANGE, CLAIMS, FACT, GUARDED, fact};
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const ID: &str = "CFG-06";
const VARIANTS: [&str; 7] =
    ["error", "empty", "truncated", "nonsense", "invalid-route", "two-on-one-path", "one-name-twice"];

fn ask(replica: &str, route: &str) -> Operation<String> {
    with(call(CHANGE, replica, route, "client-1"), Credential::NotNeeded)
}

fn good(replica: &str) -> Operation<String> {
    call("traffic", replica, "plain", "client-1")
}

/// Each variant takes 100 s and settles in its second half; a replica shows the good version after `wait` ms. Good routes are asked for 20 times a
/// second.
fn story(wait: u64) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("bad-configurations");
    history.at_ms(0).phase("steady", "");
    for (at, variant) in (1..).zip(VARIANTS) {
        let began = at * 100_000;
        history.at_ms(began).phase("hold", variant);
        let bad = variant.contains('-');
        if bad {
            history.mark(BAD_OBJECT, variant, 2);
        }
        for ms in (100..10_000).step_by(500) {
            history.at_ms(began + ms).rejected(ask("eu-1", variant), if bad { ABSENT } else { GUARDED });
            history.rejected(with(call("canary", "eu-1", "plain", "client-1"), Credential::Missing), 401);
        }
        let mended = format!("good-after-{variant}");
        history.at_ms(began + 20_000).mark(FACT, &mended, fact(ABSENT, GUARDED)).mark("published", "", 3);
        history.phase("settle", variant);
        for ms in (100..75_000).step_by(1_000) {
            history.at_ms(began + 20_000 + ms);
            history.rejected(ask("eu-1", &mended), if ms >= wait { GUARDED } else { ABSENT });
        }
    }
    for ms in (100..800_000).step_by(50) {
        history.at_ms(ms).ok(good("eu-1"));
    }
    history.at_ms(800_000).phase("end", "");
    history
}

fn check(history: &History) -> Verdict {
    judge(CLAIMS, ID, &[history])
}

#[test]
fn good_routes_that_stay_right_hold() {
    let verdict = check(&story(4_000).build());
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let first = &verdict.numbers()[0];
    assert_eq!((first.name.as_str(), first.value, first.limit), ("bad routes served", 0.0, Some(0.0)));
}

#[test]
fn a_good_route_that_is_gone_breaks_cfg_06() {
    let mut history = story(4_000);
    history.at_ms(205_050).rejected(good("eu-1"), 404);
    let verdict = check(&history.build());
    assert_eq!(verdict.numbers()[0].name, "wrong answers (empty)");
    assert!(explanation(&verdict).contains("found no route"), "{verdict:?}");
}

#[test]
fn a_good_route_that_fails_breaks_cfg_06() {
    let mut history = story(4_000);
    for ms in 0..5 {
        history.at_ms(501_000 + ms).gateway_error(good("eu-1"), 503);
    }
    let verdict = check(&history.build());
    assert_eq!(verdict.numbers()[0].name, "success (invalid-route)", "{verdict:?}");
}

#[test]
fn a_policy_that_is_gone_breaks_cfg_06() {
    let mut history = story(4_000);
    history.at_ms(305_050).ok(with(call("canary", "eu-1", "plain", "client-1"), Credential::Missing));
    assert!(explanation(&check(&history.build())).contains("was admitted although it must be refused"));
}

#[test]
fn a_bad_object_that_is_served_breaks_cfg_06() {
    for whole in [true, false] {
        let mut history = story(4_000);
        history.at_ms(605_050);
        if whole {
            history.ok(ask("eu-1", "two-on-one-path"));
        } else {
            // Nobody had the answer, but it arrived.
            history.unknown(ask("eu-1", "two-on-one-path"), true);
        }
        // However late the harness was.
        history.late(9_000_000);
        let verdict = check(&history.build());
        assert_eq!(verdict.numbers()[0].name, "bad routes served");
        assert!(explanation(&verdict).contains("route `two-on-one-path`"), "{verdict:?}");
    }
}

#[test]
fn a_good_version_that_is_late_or_never_comes_breaks_cfg_06() {
    for wait in [62_000, 90_000] {
        let verdict = check(&story(wait).build());
        assert_eq!(verdict.numbers()[0].name, "good versions in force everywhere within");
    }
    let mut late = story(62_000);
    late.at_ms(130_000).late(6_100_000);
    assert_eq!(reason(&check(&late.build())).0, "harness-late");
}

#[test]
fn what_was_not_seen_shows_nothing() {
    assert_eq!(judge(CLAIMS, ID, &[&nothing("bad-configurations")]).observed(), Observed::Inconclusive);
    let mut unsteady = story(4_000);
    unsteady.at_ms(5_020).gateway_error(good("eu-1"), 503);
    assert_eq!(reason(&check(&unsteady.build())).0, "no-steady-state");
    let mut fault = story(4_000);
    fault.at_ms(101_000).fault(1, FaultStage::Injected, "unavailable", "control-plane");
    assert_eq!(reason(&check(&fault.build())).0, "fault-not-proven");
    let mut short = HistoryBuilder::new("bad-configurations");
    short.at_ms(1).phase("hold", "error");
    assert_eq!(reason(&check(&short.build())).0, "too-few-samples");
}

#[test]
fn doubted_effects_never_accuse_cfg_06() {
    doubted_effects_never_accuse(CLAIMS, ID, &story(4_000).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cfg_06_comes_to_a_verdict_whatever_happened(history in anything("bad-configurations")) {
        prop_assert_eq!(check(&history), check(&history));
        doubted_effects_never_accuse(CLAIMS, ID, &history);
    }
}
