use super::site_local::MINIMUM;
use super::*;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::Verdict;
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::operation::{Answer, Effect, Indefinite};
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// Where the story's stretches begin, in ms: the own backend away, back, steady, the three faults, healed, the end.
const OWN_AWAY: u64 = 1_000;
const OWN_BACK: u64 = 2_000;
const STEADY: u64 = 7_000;
const FAULTS: [u64; 3] = [17_000, 27_000, 37_000];
const SETTLED: u64 = 47_000;
const LAST: u64 = 52_000;
const END: u64 = 62_000;

/// What becomes of one request: the upstream at which it arrives (of its own site, or of the other one), how long it takes, its status.
type Fate = (bool, u64, u16);

/// A request of each kind every 50 ms at each site; what becomes of those of `eu` at a time (ms) is up to `local` and `remote`, of
/// those of `us` it is what a good gateway makes of it.
fn told(local: impl Fn(u64) -> Fate, remote: impl Fn(u64) -> Fate) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SITE_LOCAL);
    history.at_ms(OWN_AWAY).phase("inject", OWN).phase("hold", OWN);
    history.at_ms(OWN_BACK).phase("heal", OWN).phase("settle", OWN).at_ms(STEADY).phase("steady", "");
    history.proven_fault("refuse", "eu-1->eu-upstream, us-1->us-upstream", OWN_AWAY, OWN_BACK);
    for ((from, variant), kind) in FAULTS.into_iter().zip([SLOW, CUT[0], CUT[1]]).zip(["delay", "blackhole", "refuse"])
    {
        history.proven_fault(kind, "eu-1->us-upstream, us-1->eu-upstream", from, from + 9_900);
        history.at_ms(from).phase("inject", variant).at_ms(from + 1).phase("hold", variant);
        history.at_ms(from + 9_900).phase("heal", variant);
    }
    history.at_ms(SETTLED).phase("settle", HEALED).at_ms(LAST).phase("hold", HEALED).at_ms(END).phase("end", "");
    for ms in (0..END).step_by(50) {
        for site in ["eu", "us"] {
            let mine = site == "eu";
            let home = if mine { local(ms) } else { good_local(ms) };
            let away = if mine { remote(ms) } else { good_remote(ms) };
            ask(&mut history, ms, site, ("traffic", "plain"), home);
            ask(&mut history, ms, site, (REMOTE, "remote"), away);
        }
    }
    history
}

fn ask(history: &mut HistoryBuilder, ms: u64, site: &str, (stream, route): (&str, &str), fate: Fate) {
    let (at_home, takes, status) = fate;
    let other = if site == "eu" { "us" } else { "eu" };
    history.takes_ns = takes * 1_000_000;
    let effect = match status {
        200 => Effect::Ok,
        0 => Effect::Unknown(Indefinite::Timeout),
        _ => Effect::Unknown(Indefinite::GatewayError),
    };
    let answer = Answer { status, ..Answer::default() };
    let operation = call(stream, &format!("{site}-1"), route, "client-1");
    let op = history.at_ms(ms).operation(operation, Some((effect, answer)), false);
    if status == 200 {
        let upstream = format!("{}-upstream", if at_home { site } else { other });
        history.arrived(op, &upstream, route);
    }
}

fn good_local(ms: u64) -> Fate {
    if (OWN_AWAY..OWN_BACK).contains(&ms) { (true, 1, 502) } else { (true, 1, 200) }
}

fn good_remote(ms: u64) -> Fate {
    match ms {
        17_000..26_900 => (false, 201, 200),
        27_000..36_900 => (false, 1_000, 0),
        37_000..46_900 => (false, 1, 502),
        _ => (false, 1, 200),
    }
}

fn bal_03(history: HistoryBuilder) -> Verdict {
    judge(CLAIMS, "BAL-03", &[&history.build()])
}

/// `fate` in `[from, to)`, and what a good gateway makes of a local request otherwise.
fn local_in(from: u64, to: u64, fate: Fate) -> impl Fn(u64) -> Fate {
    move |ms| if (from..to).contains(&ms) { fate } else { good_local(ms) }
}

#[test]
fn sites_that_keep_to_themselves_hold() {
    let verdict = bal_03(told(good_local, good_remote));
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert!(evidence.samples >= MINIMUM, "{evidence:?}");
    for name in ["p95 (links between sites slow)", "success (links between sites healed)"] {
        assert!(evidence.numbers.iter().any(|number| number.name == name), "{name}: {evidence:?}");
    }
}

#[test]
fn a_local_request_at_another_site_breaks_it_whenever_its_own_backend_is_there() {
    // Steady, slow, and after the heal; just before its backend goes, and when it was back for long enough.
    for ms in [500, 7_000, 8_000, 20_000, 55_000] {
        let verdict = bal_03(told(local_in(ms, ms + 50, (false, 1, 200)), good_remote));
        let text = explanation(&verdict);
        assert!(text.contains("1 requests for a backend of their own site"), "{ms}: {text}");
        assert!(text.contains("arrived at `us-upstream`"), "{ms}: {text}");
    }
}

#[test]
fn failover_while_its_own_backend_is_away_is_nobodys_business() {
    let verdict = bal_03(told(local_in(OWN_AWAY, STEADY, (false, 1, 200)), good_remote));
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let failed_over =
        verdict.numbers().iter().find(|number| number.name.contains("their own backend was away")).unwrap();
    assert!(failed_over.value > 100.0, "{failed_over:?}");
}

#[test]
fn a_second_arrival_of_a_request_counts_too() {
    let mut history = told(good_local, good_remote);
    let op = history.at_ms(20_010).ok(call("contract", "us-1", "partner", "client-16"));
    history.arrived(op, "eu-upstream", "partner");
    assert!(explanation(&bal_03(history)).contains("for route `partner` at `us-1`"));
}

#[test]
fn local_routes_that_feel_a_fault_between_sites_break_it() {
    let all = [
        ((17_000, 27_000, (true, 9, 200)), "links between sites slow: p95 was 9.0 ms; 6.0 ms are allowed"),
        ((30_000, 31_000, (true, 1, 503)), "links between sites a black hole: 94."),
        ((40_000, 40_050, (true, 1_001, 200)), "links between sites cut: a local request took more than 1000 ms"),
        ((53_000, 54_000, (true, 1, 503)), "links between sites healed: 9"),
        ((40_000, 40_050, (true, 1, 404)), "links between sites cut: 1 answers were wrong"),
    ];
    for ((from, to, fate), words) in all {
        let verdict = bal_03(told(local_in(from, to, fate), good_remote));
        assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
    }
}

#[test]
fn a_remote_route_that_does_not_come_back_breaks_it_if_it_was_there_before() {
    let stuck = |ms| if ms >= 37_000 { (false, 1, 503) } else { good_remote(ms) };
    let verdict = bal_03(told(good_local, stuck));
    assert!(explanation(&verdict).contains("requests on the remote route succeeded"), "{verdict:?}");
    let verdict = bal_03(told(good_local, |_| (false, 1, 503)));
    assert_eq!(reason(&verdict).0, "no-steady-state");
}

#[test]
fn faults_that_the_remote_route_does_not_notice_show_nothing() {
    for from in FAULTS {
        let blind = |ms| if (from..from + 10_000).contains(&ms) { (false, 1, 200) } else { good_remote(ms) };
        assert_eq!(reason(&bal_03(told(good_local, blind))).0, "fault-not-proven");
    }
    let at_home = |ms| {
        let (_, takes, status) = good_remote(ms);
        (true, takes, status)
    };
    assert_eq!(reason(&bal_03(told(good_local, at_home))).0, "no-remote-route");
}

#[test]
fn a_record_or_a_harness_that_cannot_be_believed_shows_nothing() {
    let mut unproven = told(good_local, good_remote);
    unproven.at_ms(30_000).fault(3, FaultStage::NotWitnessed, "blackhole", "x");
    assert_eq!(reason(&bal_03(unproven)).0, "fault-not-proven");
    let slow = local_in(17_000, 27_000, (true, 9, 200));
    for local in [&good_local as &dyn Fn(u64) -> Fate, &slow] {
        let mut late = told(local, good_remote);
        late.at_ms(20_000).late(101_000);
        assert_eq!(reason(&bal_03(late)).0, "harness-late");
        let mut cut = told(local, good_remote);
        cut.cut();
        assert_eq!(reason(&bal_03(cut)).0, "cut");
    }
    // What arrived where it must not, did.
    let mut late = told(local_in(20_000, 20_050, (false, 1, 200)), good_remote);
    late.at_ms(20_000).late(101_000).cut();
    assert_eq!(bal_03(late).observed(), Observed::Violated);
}

#[test]
fn stories_without_their_stretches_show_nothing() {
    assert_eq!(reason(&judge(CLAIMS, "BAL-03", &[])).0, "not-run");
    assert_eq!(judge(CLAIMS, "BAL-03", &[&nothing(SITE_LOCAL)]).observed(), Observed::Inconclusive);
    let mut short = HistoryBuilder::new(SITE_LOCAL);
    short.at_ms(1).phase("steady", "");
    for ms in (2..1_000).step_by(5) {
        ask(&mut short, ms, "eu", ("traffic", "plain"), (true, 1, 200));
        ask(&mut short, ms, "eu", (REMOTE, "remote"), (false, 1, 200));
    }
    assert_eq!(reason(&bal_03(short)).0, "too-few-samples");
}

#[test]
fn doubting_effects_accuses_nobody() {
    doubted_effects_never_accuse(CLAIMS, "BAL-03", &told(good_local, good_remote).build());
}

proptest! {
    #[test]
    fn every_history_has_a_verdict(story in anything(SITE_LOCAL)) {
        prop_assert_ne!(judge(CLAIMS, "BAL-03", &[&story]).observed(), Observed::Holds, "60 steps are too few");
    }
}
