use super::super::CLAIMS;
use super::*;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

fn refused(route: &str) -> Operation<String> {
    with(call("must-refuse", "eu-1", route, "client-20"), Credential::Missing)
}

/// A policy of `plain` cannot be built from 10 s to 20 s; the store is away from 40 s to 50 s, the identity provider from 64 s to 66 s. What comes after each is seen
/// for 12 s.
fn history() -> HistoryBuilder {
    let mut history = HistoryBuilder::new(BROKEN_POLICY);
    history.at_ms(0).phase("steady", "");
    history.at_ms(10_000).mark(BROKEN_ROUTE, "plain", 2).phase("hold", "policy");
    history.at_ms(20_000).phase("settle", "policy");
    history.proven_fault("refuse", "eu-1->eu-store", 40_000, 50_000);
    history.at_ms(40_000).phase("hold", "store").at_ms(50_000).phase("settle", "store");
    history.proven_fault("refuse", "eu-1->identity", 64_000, 66_000);
    history.at_ms(64_000).phase("hold", "provider").at_ms(66_000).phase("settle", "provider");
    for ms in (50..78_000).step_by(100) {
        history.at_ms(ms).rejected(refused("plain"), if (10_000..20_000).contains(&ms) { 503 } else { 401 });
        history.at_ms(ms).ok(call("canary", "eu-1", "partner", "client-1"));
    }
    history
}

fn verdict(history: HistoryBuilder) -> Verdict {
    judge(CLAIMS, "SEC-02", &[&history.build()])
}

#[test]
fn closed_routes_with_siblings_that_go_on_hold() {
    let history = history().build();
    let verdict = judge(CLAIMS, "SEC-02", &[&history]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    doubted_effects_never_accuse(CLAIMS, "SEC-02", &history);
}

#[test]
fn an_open_route_and_a_sibling_that_fails_break_it() {
    for (at, words) in [
        (15_000, "a policy could not be built"),
        (45_000, "the store was away"),
        (65_000, "the identity provider was away"),
    ] {
        let mut open = history();
        open.at_ms(at).ok(refused("plain"));
        assert!(explanation(&verdict(open)).contains(words));
    }
    let mut sibling = history();
    sibling.at_ms(15_000).gateway_error(call("canary", "eu-1", "partner", "client-1"), 503);
    assert!(explanation(&verdict(sibling)).contains("sibling routes failed"));
}

#[test]
fn a_route_that_does_not_serve_again_breaks_it() {
    for (from, variant) in [(30_000, "policy"), (60_000, "store"), (76_000, "provider")] {
        let mut stuck = history();
        for ms in (0..9_900).step_by(100) {
            // Sooner it may still be closed.
            stuck.at_ms(from - 9_900 + ms).gateway_error(call("canary", "eu-1", "plain", "client-1"), 503);
        }
        assert_eq!(verdict(stuck).observed(), Observed::Holds, "{variant}");
        let mut stuck = history();
        for ms in (0..1_000).step_by(100) {
            stuck.at_ms(from + ms).gateway_error(call("canary", "eu-1", "plain", "client-1"), 503);
        }
        let verdict = verdict(stuck);
        assert_eq!(verdict.numbers()[0].name, format!("success afterwards ({variant})"), "{verdict:?}");
    }
}

#[test]
fn before_and_soon_after_nothing_is_judged() {
    let mut open = history();
    open.at_ms(5_000).ok(refused("plain"));
    open.at_ms(15_000).gateway_error(call("canary", "eu-1", "plain", "client-1"), 503);
    assert_eq!(verdict(open).observed(), Observed::Holds);
}

#[test]
fn nothing_seen_and_silence_of_a_late_harness_show_nothing() {
    assert_eq!(reason(&judge(CLAIMS, "SEC-02", &[&nothing(BROKEN_POLICY)])).0, "too-few-samples");
    let mut silent = history();
    silent.takes_ns = 1_000_000_000;
    silent.at_ms(15_000).unknown(call("canary", "eu-1", "partner", "client-1"), false);
    silent.at_ms(15_100).late(300_000);
    assert_eq!(reason(&verdict(silent)).0, "harness-late");
}

proptest! {
    #[test]
    fn any_history_has_a_verdict(history in anything(BROKEN_POLICY)) {
        let verdict = judge(CLAIMS, "SEC-02", &[&history]);
        prop_assert_eq!(&verdict, &judge(CLAIMS, "SEC-02", &[&history]));
    }
}
