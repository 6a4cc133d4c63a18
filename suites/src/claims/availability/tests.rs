use super::*;
use crate::claims::sample::{
    anything, deployment, doubted_effects_never_accuse, explanation, judge, judge_on, nothing, reason,
};
use gatecrash_model::deployment::{Store, StoreKind, StoreScope};
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::operation::Operation;
use gatecrash_model::verdict::Observed;
use gatecrash_model::{Deployment, Verdict};
use proptest::prelude::*;

/// How a request of a client fares.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fare {
    Ok,
    Error,
    Silent,
}

fn traffic(site: &str) -> Operation<String> {
    call("traffic", &format!("{site}-ingress"), "plain", "client-1")
}

/// 25 requests a second of the clients of each site from `from` to `to` ms, of `eu` at `eu_at`; each fares as `fares` says of where it
/// goes and when.
pub(super) fn clients(
    history: &mut HistoryBuilder,
    (from, to): (u64, u64),
    eu_at: &str,
    us_at: &str,
    fares: &dyn Fn(&str, u64) -> Fare,
) {
    for ms in (from..to).step_by(40) {
        for site in [eu_at, us_at] {
            history.at_ms(ms);
            match fares(site, ms) {
                Fare::Ok => history.ok(traffic(site)),
                Fare::Error => history.gateway_error(traffic(site), 503),
                Fare::Silent => history.unknown(traffic(site), false),
            };
        }
    }
}

/// 20 s steady, `eu` killed for 45 s and its clients moved after 5 s, 20 s after it came back; the link cut for 20 s, and 20 s after that.
fn site_loss(fares: impl Fn(&str, u64) -> Fare) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("site-loss");
    history.at_ms(0).phase("steady", "");
    clients(&mut history, (0, 20_000), "eu", "us", &fares);
    history.at_ms(20_000).phase("inject", KILL);
    history.proven_fault("kill", "eu-1", 20_010, 65_000);
    history.at_ms(20_100).phase("hold", KILL);
    let lost = |site: &str, ms: u64| if site == "eu" { Fare::Error } else { fares(site, ms) };
    clients(&mut history, (20_000, 25_000), "eu", "us", &lost);
    history.at_ms(25_000).mark(MOVED, "eu", 1);
    clients(&mut history, (25_000, 70_000), "us", "us", &fares);
    history.at_ms(65_000).phase("heal", KILL).at_ms(70_000).mark(MOVED, "eu", 0).phase("settle", KILL);
    clients(&mut history, (70_000, 90_000), "eu", "us", &fares);
    history.at_ms(90_000).phase("inject", LINK);
    history.proven_fault("blackhole", "us-1->store", 90_010, 110_000);
    history.at_ms(90_100).phase("hold", LINK);
    clients(&mut history, (90_000, 110_000), "eu", "us", &fares);
    history.at_ms(110_000).phase("heal", LINK).phase("settle", LINK);
    clients(&mut history, (110_000, 130_000), "eu", "us", &fares);
    history.at_ms(130_000).phase("end", "");
    history
}

pub(super) fn fine(_: &str, _: u64) -> Fare {
    Fare::Ok
}

/// What is `bad` at `site` in `from..to`; fine otherwise.
fn at_times(site: &'static str, (from, to): (u64, u64), bad: Fare) -> impl Fn(&str, u64) -> Fare {
    move |asked, ms| if asked == site && (from..to).contains(&ms) { bad } else { Fare::Ok }
}

/// The sample with one store for both sites.
fn shared() -> Deployment {
    let mut shared = deployment();
    shared.store = Some(Store { kind: StoreKind::Stub, scope: StoreScope::Deployment, failover: None });
    shared
}

#[test]
fn two_sites_that_both_serve_hold() {
    let history = site_loss(fine).build();
    for deployment in [deployment(), shared()] {
        let verdict = judge_on(&deployment, CLAIMS, "AVL-05", &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    }
}

#[test]
fn a_site_that_serves_nothing_for_a_second_is_seen_whenever_it_happens() {
    for (site, times, words) in [
        ("us", (5_000, 7_000), "before the loss: `us` served nothing"),
        ("eu", (75_000, 77_000), "after the killed site came back: `eu` served nothing"),
        ("us", (95_000, 97_000), "the way between the sites cut: `us` served nothing"),
    ] {
        let verdict = judge_on(&shared(), CLAIMS, "AVL-05", &[&site_loss(at_times(site, times, Fare::Error)).build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert!(verdict.numbers()[0].name.starts_with("windows in which a site did not serve"), "{verdict:?}");
    }
}

#[test]
fn the_other_site_must_serve_all_once_the_failover_is_over() {
    // Within the failover nothing is said, after it everything counts.
    let early = site_loss(at_times("us", (21_000, 29_000), Fare::Error)).build();
    assert_eq!(judge(CLAIMS, "AVL-05", &[&early]).observed(), Observed::Holds);
    let late = site_loss(at_times("us", (31_000, 33_000), Fare::Silent)).build();
    let verdict = judge(CLAIMS, "AVL-05", &[&late]);
    assert!(explanation(&verdict).contains("one site killed: nothing succeeded for 2."), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, "success (one site killed)");
}

#[test]
fn a_site_with_a_small_share_is_not_active() {
    let rarely =
        |site: &str, ms: u64| if site == "us" && ms < 20_000 && ms % 1000 >= 200 { Fare::Error } else { Fare::Ok };
    let verdict = judge(CLAIMS, "AVL-05", &[&site_loss(rarely).build()]);
    assert!(explanation(&verdict).contains("`us` had 16.7 % of the traffic"), "{verdict:?}");
}

#[test]
fn without_the_link_cut_a_shared_store_leaves_it_open() {
    let mut history = HistoryBuilder::new("site-loss");
    history.at_ms(0).phase("steady", "");
    clients(&mut history, (0, 20_000), "eu", "us", &fine);
    history.at_ms(20_000).phase("end", "");
    assert_eq!(reason(&judge_on(&shared(), CLAIMS, "AVL-05", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn clients_that_were_moved_late_and_a_late_harness_say_nothing() {
    let mut moved = HistoryBuilder::new("site-loss");
    moved.at_ms(0).phase("steady", "");
    clients(&mut moved, (0, 20_000), "eu", "us", &fine);
    moved.at_ms(20_000).phase("inject", KILL);
    moved.proven_fault("kill", "eu-1", 20_010, 65_000);
    moved.at_ms(20_100).phase("hold", KILL).at_ms(40_000).mark(MOVED, "eu", 1);
    clients(&mut moved, (40_000, 65_000), "us", "us", &fine);
    moved.at_ms(65_000).phase("settle", KILL);
    clients(&mut moved, (65_000, 85_000), "eu", "us", &fine);
    moved.at_ms(85_000).phase("end", "");
    assert_eq!(reason(&judge(CLAIMS, "AVL-05", &[&moved.build()])).0, "harness-late");
    let mut late = site_loss(at_times("us", (31_000, 33_000), Fare::Silent));
    late.at_ms(32_000).late(300_000);
    assert_eq!(reason(&judge(CLAIMS, "AVL-05", &[&late.build()])).0, "harness-late");
    // Service that was there all the same needs no punctual harness.
    let mut late = site_loss(fine);
    late.at_ms(32_000).late(300_000);
    assert_eq!(judge(CLAIMS, "AVL-05", &[&late.build()]).observed(), Observed::Holds);
}

#[test]
fn a_loss_that_is_not_proven_or_had_no_steady_state_shows_nothing() {
    let mut unproven = site_loss(fine);
    unproven.at_ms(60_000).fault(1, FaultStage::NotWitnessed, "kill", "eu-1");
    assert_eq!(reason(&judge(CLAIMS, "AVL-05", &[&unproven.build()])).0, "fault-not-proven");
    let shaky = |_: &str, ms: u64| if ms < 20_000 && ms.is_multiple_of(800) { Fare::Error } else { Fare::Ok };
    assert_eq!(reason(&judge(CLAIMS, "AVL-05", &[&site_loss(shaky).build()])).0, "no-steady-state");
}

/// 20 s steady; three times a site is lost for 40 s, in the middle of the third it returns; 10 s after each.
fn jeopardy(fares: impl Fn(&str, u64) -> Fare) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("double-jeopardy");
    history.at_ms(0).phase("steady", "");
    clients(&mut history, (0, 20_000), "eu", "us", &fares);
    for (turn, (variant, lost, other)) in
        [(FIRST_LOST, "eu", "us"), (SECOND_LOST, "us", "eu"), (RETURNS, "eu", "us")].into_iter().enumerate()
    {
        let from = 20_000 + turn as u64 * 50_000;
        history.at_ms(from).phase("inject", variant);
        history.proven_fault("blackhole", &format!("client->{lost}-ingress"), from + 10, from + 40_000);
        history.at_ms(from + 300).phase("hold", variant).at_ms(from + 5_000).mark(MOVED, lost, 1);
        clients(&mut history, (from + 300, from + 40_000), other, other, &fares);
        history.at_ms(from + 40_000).phase("settle", variant);
        clients(&mut history, (from + 40_000, from + 50_000), "eu", "us", &fares);
    }
    history.at_ms(170_000).phase("end", "");
    history
}

#[test]
fn maintenance_that_nobody_notices_holds_and_one_that_is_noticed_does_not() {
    assert_eq!(judge(CLAIMS, "AVL-04", &[&jeopardy(fine).build()]).observed(), Observed::Holds);
    for (site, times, words) in [
        ("us", (40_000, 42_000), "first site lost, second in maintenance: nothing succeeded for 2."),
        ("eu", (90_000, 92_000), "second site lost, first in maintenance: nothing succeeded for 2."),
        (
            "us",
            (140_000, 141_500),
            "first site lost and back in the middle of the second's maintenance: nothing succeeded for 1.",
        ),
        ("eu", (61_000, 63_000), "after: first site lost, second in maintenance"),
    ] {
        let verdict = judge(CLAIMS, "AVL-04", &[&jeopardy(at_times(site, times, Fare::Error)).build()]);
        assert!(explanation(&verdict).contains(words), "{verdict:?}");
        assert!(verdict.numbers()[0].name.starts_with("success ("), "{verdict:?}");
    }
}

#[test]
fn a_site_with_one_gateway_is_no_place_for_double_jeopardy() {
    let mut small = deployment();
    small.sites[1].replicas = 1;
    let verdict = judge_on(&small, CLAIMS, "AVL-04", &[&jeopardy(fine).build()]);
    assert!(matches!(verdict, Verdict::NotApplicable(_)), "{verdict:?}");
}

#[test]
fn double_jeopardy_in_one_order_only_is_too_little() {
    let mut history = HistoryBuilder::new("double-jeopardy");
    history.at_ms(0).phase("steady", "");
    clients(&mut history, (0, 20_000), "eu", "us", &fine);
    history.at_ms(20_000).phase("end", "");
    assert_eq!(reason(&judge(CLAIMS, "AVL-04", &[&history.build()])).0, "too-few-samples");
}

#[test]
fn nothing_seen_shows_nothing() {
    for claim in CLAIMS {
        let gatecrash_model::claim::Reads::Experiments(names) = claim.reads else { continue };
        for name in names {
            assert_eq!(judge(CLAIMS, claim.id, &[&nothing(name)]).observed(), Observed::Inconclusive, "{}", claim.id);
        }
    }
}

#[test]
fn doubted_effects_never_accuse_the_sites() {
    doubted_effects_never_accuse(CLAIMS, "AVL-05", &site_loss(fine).build());
    doubted_effects_never_accuse(CLAIMS, "AVL-04", &jeopardy(fine).build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn availability_is_judged_over_anything(loss in anything("site-loss"), jeopardy in anything("double-jeopardy")) {
        let _ = judge(CLAIMS, "AVL-05", &[&loss]);
        let _ = judge(CLAIMS, "AVL-04", &[&jeopardy]);
    }
}
