use super::kinds::{EVERYWHERE, EXPIRING, FOR_ALL, HOT, Kind, NEVER, OWN, POLICY, QUERY, STEADY, VARY};
use super::{BURST, CACHE_STORE_LOSS, CLAIMS, HTTP_CACHE, LOSSES, OWNERS, SHARED, UPSTREAM_AWAY};
use super::{fresh, loss, owners, shared, stampede};
use crate::claims::sample::{doubt_never_accuses, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, token, with};
use gatecrash_model::history::event::{cached, mark};
use gatecrash_model::history::{FaultStage, ReplicaState};
use gatecrash_model::operation::{Answer, Credential, Definite, Effect, Indefinite};
use gatecrash_model::verdict::{Observed, Verdict};

const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];

/// A history of requests for what may be kept.
struct Told(HistoryBuilder);

impl Told {
    fn new(experiment: &str) -> Self {
        Self(HistoryBuilder::new(experiment))
    }

    /// A request for `resource`; what of its answer was made for another one, and its age.
    fn ask(
        &mut self,
        asked: (&str, &str, &str, Credential),
        status: u16,
        made_for: Option<u32>,
        age: Option<i64>,
    ) -> u32 {
        let (resource, target, key, credential) = asked;
        let operation = with(call("cached", target, "open", key), credential);
        let operation = if credential == Credential::Revoked { token(operation, "t-revoked") } else { operation };
        let effect = match status {
            200..=399 => Effect::Ok,
            400..=499 => Effect::Failed(Definite::Rejected),
            _ => Effect::Unknown(Indefinite::GatewayError),
        };
        let answer = Answer { status, replica: target.to_owned(), ..Answer::default() };
        // Another one's answer arrived nowhere; nor did what the gateway refused by itself.
        let own = made_for.is_none() && !matches!(status, 401 | 502);
        let op = self.0.operation(operation, Some((effect, answer)), own);
        self.0.mark(cached::ASKED, resource, i64::from(op));
        if own || made_for.is_some() {
            self.0.mark(cached::MADE_FOR, &op.to_string(), i64::from(made_for.unwrap_or(op)));
        }
        if let Some(age) = age {
            self.0.mark(cached::AGE_S, &op.to_string(), age);
        }
        op
    }

    /// One that the upstream answered.
    fn fetch(&mut self, resource: &str, target: &str) -> u32 {
        self.ask((resource, target, "client-1", Credential::NotNeeded), 200, None, None)
    }

    /// One that was answered with what `of` had brought.
    fn hit(&mut self, resource: &str, target: &str, of: u32, age: i64) -> u32 {
        self.ask((resource, target, "client-1", Credential::NotNeeded), 200, Some(of), Some(age))
    }

    fn at(&mut self, ms: u64) -> &mut Self {
        self.0.at_ms(ms);
        self
    }
}

fn verdict(id: &str, history: &History) -> Verdict {
    judge(CLAIMS, id, &[history])
}

fn number(verdict: &Verdict, name: &str) -> f64 {
    verdict.numbers().iter().find(|number| number.name == name).unwrap().value
}

/// First number of a violation: what decided it.
fn decided(verdict: &Verdict) -> &str {
    assert_eq!(verdict.observed(), Observed::Violated, "{verdict:?}");
    &verdict.numbers().first().unwrap().name
}

fn holds(id: &str, told: Told) {
    let history = told.0.build();
    let found = verdict(id, &history);
    assert_eq!(found.observed(), Observed::Holds, "{found:?}");
    doubt_never_accuses(CLAIMS, id, &history);
    doubted_effects_never_accuse(CLAIMS, id, &history);
}

#[test]
fn nothing_seen_shows_nothing() {
    for (id, experiment) in [
        ("CAC-01", HTTP_CACHE),
        ("CAC-02", HTTP_CACHE),
        ("CAC-03", HTTP_CACHE),
        ("CAC-04", CACHE_STORE_LOSS),
        ("CAC-05", HTTP_CACHE),
    ] {
        assert_eq!(verdict(id, &nothing(experiment)).observed(), Observed::Inconclusive, "{id}");
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run", "{id}");
        let quiet = verdict(id, &HistoryBuilder::new(experiment).build());
        assert_eq!(quiet.observed(), Observed::Inconclusive, "{id}");
    }
}

// CAC-01

/// Whether a request for what should be there finds it: by its number.
type Finds = fn(usize) -> bool;

fn sharing(elsewhere: Finds, restarted: Finds) -> Told {
    let mut told = Told::new(HTTP_CACHE);
    told.0.at_ms(0).phase("hold", SHARED[0]);
    let answer = |told: &mut Told, resource: &str, target: &str, of: u32, finds: bool| {
        if finds { told.hit(resource, target, of, 0) } else { told.fetch(resource, target) }
    };
    for number in 0..40_usize {
        for (site, pair) in [("eu", ["eu-1", "eu-2"]), ("us", ["us-1", "us-2"])] {
            let at = 10 + u64::try_from(number).unwrap() * 20;
            let resource = format!("{}/a-{site}-{number}", EVERYWHERE.name);
            let first = told.at(at).fetch(&resource, pair[number % 2]);
            answer(told.at(at + 10), &resource, pair[(number + 1) % 2], first, elsewhere(number));
        }
    }
    told.0.at_ms(2_000).phase("hold", SHARED[1]);
    let resources: Vec<String> = (0..12).map(|number| format!("{}/r-{number}", EVERYWHERE.name)).collect();
    let brought: Vec<u32> = resources.iter().map(|resource| told.at(2_010).fetch(resource, "eu-1")).collect();
    told.0.at_ms(2_100).replica("eu-1", ReplicaState::Gone).at_ms(2_200).replica("eu-1", ReplicaState::Starting);
    for (number, (resource, first)) in resources.iter().zip(brought).enumerate() {
        answer(told.at(3_000), resource, "eu-1", first, restarted(number));
    }
    told.0.at_ms(3_100).phase("settle", "");
    told
}

#[test]
fn what_one_replica_brings_serves_at_the_others_and_after_restarts() {
    holds("CAC-01", sharing(|_| true, |_| true));
    // Any cache may drop an entry now and then.
    let few = verdict("CAC-01", &sharing(|number| number != 7, |_| true).0.build());
    assert_eq!(few.observed(), Observed::Holds);
    assert!((number(&few, shared::ELSEWHERE) - 2.5).abs() < 1e-9, "{few:?}");
}

#[test]
fn what_is_kept_by_each_replica_or_lost_with_it_is_not_shared() {
    let local = verdict("CAC-01", &sharing(|_| false, |_| true).0.build());
    assert_eq!(decided(&local), shared::ELSEWHERE);
    assert!(explanation(&local).contains("80 of 80 such requests"), "{local:?}");
    let forgotten = verdict("CAC-01", &sharing(|_| true, |_| false).0.build());
    assert_eq!(decided(&forgotten), shared::RESTARTED);
}

#[test]
fn a_harness_that_stood_still_accuses_no_cache_and_no_restart_shows_nothing_of_one() {
    let mut late = sharing(|_| false, |_| true);
    late.0.at_ms(400).late(70_000);
    assert_eq!(reason(&verdict("CAC-01", &late.0.build())).0, "machine-busy");
    let mut short = Told::new(HTTP_CACHE);
    short.0.at_ms(0).phase("hold", SHARED[0]);
    for number in 0..60 {
        let resource = format!("{}/{number}", EVERYWHERE.name);
        let first = short.at(10 + number * 10).fetch(&resource, "eu-1");
        short.at(15 + number * 10).hit(&resource, "eu-2", first, 0);
    }
    let (code, text) = (verdict("CAC-01", &short.0.build()), "after a restart");
    assert!(reason(&code).1.contains(text), "{code:?}");
}

// CAC-02

fn freshness() -> Told {
    let mut told = Told::new(HTTP_CACHE);
    told.0.at_ms(0).phase("hold", "fresh");
    for kind in EXPIRING {
        let resource = format!("{}/eu", kind.name);
        for round in 0..3 {
            let brought = told.at(round * 1_200).fetch(&resource, "eu-1");
            for later in [300, 600, 900] {
                told.at(round * 1_200 + later).hit(&resource, "eu-2", brought, 0);
            }
        }
    }
    let policy = format!("{}/eu", POLICY.name);
    let brought = told.at(10).fetch(&policy, "eu-1");
    for at in [10, 30, 59] {
        told.at(10 + at * 1_000 + 500).hit(&policy, "eu-2", brought, i64::try_from(at).unwrap());
    }
    told.at(60_100).fetch(&policy, "eu-1");
    for (kind, variants) in [(VARY, ["de", "fr"]), (QUERY, ["n=1", "n=2"])] {
        for variant in variants {
            let resource = format!("{}/1?{variant}", kind.name);
            let brought = told.at(100).fetch(&resource, "eu-1");
            told.at(200).hit(&resource, "eu-2", brought, 0);
        }
    }
    for kind in NEVER {
        for at in [100, 200] {
            ask_never(told.at(at), &kind, None);
        }
    }
    told
}

fn ask_never(told: &mut Told, kind: &Kind, made_for: Option<u32>) -> u32 {
    let resource = format!("{}/1", kind.name);
    told.ask((&resource, "eu-1", "client-1", Credential::NotNeeded), kind.says().status, made_for, None)
}

#[test]
fn what_is_fresh_and_what_was_asked_for_may_be_served_again() {
    holds("CAC-02", freshness());
}

#[test]
fn what_has_expired_is_not_served() {
    for (resource, since, at, wanted) in [
        ("max-age/x", 0, 2_100, "was answered with what was 2.0"),
        ("s-maxage/x", 0, 5_000, "1.000 s are allowed"),
        ("policy/x", 0, 62_000, "60.000 s are allowed"),
    ] {
        let mut told = freshness();
        let brought = told.at(since).fetch(resource, "eu-1");
        let age = i64::try_from(at / 1_000).unwrap();
        told.at(at).hit(resource, "eu-1", brought, age);
        let found = verdict("CAC-02", &told.0.build());
        assert_eq!(decided(&found), fresh::TOO_OLD);
        assert!(explanation(&found).contains(wanted), "{found:?}");
    }
}

#[test]
fn a_second_is_as_exact_as_ages_are() {
    let mut told = freshness();
    let brought = told.at(0).fetch("max-age/x", "eu-1");
    told.at(1_950).hit("max-age/x", "eu-1", brought, 1);
    assert_eq!(verdict("CAC-02", &told.0.build()).observed(), Observed::Holds);
}

#[test]
fn what_may_not_be_kept_is_not_served_again() {
    for kind in NEVER {
        let mut told = freshness();
        let brought = ask_never(told.at(300), &kind, None);
        ask_never(told.at(400), &kind, Some(brought));
        let found = verdict("CAC-02", &told.0.build());
        assert_eq!(decided(&found), fresh::NOT_FOR_KEEPS, "{}", kind.name);
        assert!(explanation(&found).contains(kind.name), "{found:?}");
    }
}

#[test]
fn another_language_or_query_is_something_else() {
    for (asked, got) in [("vary/9?fr", "vary/9?de"), ("query/9?n=2", "query/9?n=1")] {
        let mut told = freshness();
        let brought = told.at(300).fetch(got, "eu-1");
        told.at(400).hit(asked, "eu-1", brought, 0);
        assert_eq!(decided(&verdict("CAC-02", &told.0.build())), fresh::MIXED_UP);
    }
}

#[test]
fn an_age_that_is_wrong_or_missing_is_told() {
    for age in [Some(0), Some(13), None] {
        let mut told = freshness();
        let brought = told.at(0).fetch("policy/x", "eu-1");
        told.at(10_000).ask(("policy/x", "eu-1", "client-1", Credential::NotNeeded), 200, Some(brought), age);
        assert_eq!(decided(&verdict("CAC-02", &told.0.build())), fresh::WRONG_AGE, "{age:?}");
    }
    // Whoever waited for an answer that was under way got it as it came.
    let mut told = freshness();
    told.0.takes_ns = 300_000_000;
    let brought = told.at(0).fetch("policy/x", "eu-1");
    told.at(100).ask(("policy/x", "eu-1", "client-2", Credential::NotNeeded), 200, Some(brought), None);
    assert_eq!(verdict("CAC-02", &told.0.build()).observed(), Observed::Holds);
}

#[test]
fn a_cache_that_keeps_nothing_shows_nothing() {
    let mut told = Told::new(HTTP_CACHE);
    for kind in NEVER {
        ask_never(told.at(1), &kind, None);
    }
    for at in 0..60 {
        told.at(at * 100).fetch("max-age/eu", "eu-1");
    }
    let found = verdict("CAC-02", &told.0.build());
    assert!(reason(&found).1.contains("never seen to be served again"), "{found:?}");
}

// CAC-03

/// When owners ask for the first time: what was revoked at 0 is in effect.
const IN_EFFECT: u64 = 40_000;

fn owned() -> Told {
    let mut told = Told::new(HTTP_CACHE);
    told.0.at_ms(0).mark(mark::REVOKED, "t-revoked", 0);
    for (phase, at) in [(OWNERS[0], IN_EFFECT), (OWNERS[1], IN_EFFECT + 20_000)] {
        told.0.at_ms(at).phase("hold", phase);
        for kind in OWN.iter().chain(&FOR_ALL) {
            let resource = format!("{}/1", kind.name);
            let brought = told.at(at + 100).ask((&resource, "eu-1", "client-1", Credential::Valid), 200, None, None);
            for replica in REPLICAS {
                let made_for = kind.for_all.then_some(brought);
                told.at(at + 200).ask((&resource, replica, "client-2", Credential::Valid), 200, made_for, Some(0));
                for credential in [Credential::Missing, Credential::Forged, Credential::Revoked] {
                    told.ask((&resource, replica, "client-3", credential), 401, None, None);
                }
            }
        }
    }
    told
}

#[test]
fn what_is_one_clients_stays_so_and_what_is_for_all_is_for_all_clients() {
    holds("CAC-03", owned());
    let found = verdict("CAC-03", &owned().0.build());
    assert!(number(&found, "served to another client, as they say") > 20.0, "{found:?}");
}

#[test]
fn another_clients_response_is_a_breach_unless_it_is_for_all() {
    for kind in OWN {
        let mut told = owned();
        let resource = format!("{}/1", kind.name);
        let brought = told.at(IN_EFFECT + 300).ask((&resource, "eu-1", "client-1", Credential::Valid), 200, None, None);
        told.at(IN_EFFECT + 400).ask((&resource, "eu-2", "client-2", Credential::Valid), 200, Some(brought), Some(0));
        let found = verdict("CAC-03", &told.0.build());
        assert_eq!(decided(&found), owners::TO_OTHERS, "{}", kind.name);
        assert!(
            explanation(&found).contains("to client `client-2` with what was made for client `client-1`"),
            "{found:?}"
        );
    }
}

#[test]
fn whoever_has_no_valid_credential_gets_nothing_not_even_what_is_for_all() {
    for (credential, number) in [
        (Credential::Missing, owners::TO_ANONYMOUS),
        (Credential::Forged, owners::TO_ANONYMOUS),
        (Credential::Revoked, owners::TO_REVOKED),
    ] {
        let mut told = owned();
        let brought =
            told.at(IN_EFFECT + 300).ask(("all-public/1", "eu-1", "client-1", Credential::Valid), 200, None, None);
        told.at(IN_EFFECT + 400).ask(("all-public/1", "eu-2", "client-1", credential), 200, Some(brought), Some(0));
        assert_eq!(decided(&verdict("CAC-03", &told.0.build())), number, "{credential:?}");
    }
}

#[test]
fn a_token_that_was_just_revoked_and_ones_own_response_are_no_breach() {
    let mut told = owned();
    let brought = told.at(1_000).ask(("all-public/1", "eu-1", "client-1", Credential::Valid), 200, None, None);
    told.at(2_000).ask(("all-public/1", "eu-2", "client-1", Credential::Revoked), 200, Some(brought), Some(0));
    let own = told.at(IN_EFFECT + 300).ask(("own-private/1", "eu-1", "client-1", Credential::Valid), 200, None, None);
    told.at(IN_EFFECT + 400).ask(("own-private/1", "eu-1", "client-1", Credential::Valid), 200, Some(own), Some(0));
    assert_eq!(verdict("CAC-03", &told.0.build()).observed(), Observed::Holds);
}

#[test]
fn an_answer_that_does_not_say_whose_it_is_shows_nothing() {
    let mut told = owned();
    let asked = call("cached", "eu-1", "plain", "client-2");
    let answer = Answer { status: 200, ..Answer::default() };
    let op = told.at(IN_EFFECT + 500).0.operation(asked, Some((Effect::Ok, answer)), false);
    told.0.mark(cached::ASKED, "own-private/1", i64::from(op));
    assert!(reason(&verdict("CAC-03", &told.0.build())).1.contains("did not say whom they were made for"));
}

// CAC-05

/// Bursts of 40 requests at four replicas; `calls` of them go to the upstream.
fn bursts(calls: usize, every_ms: u64) -> Told {
    let mut told = Told::new(HTTP_CACHE);
    told.0.takes_ns = 300_000_000;
    told.0.at_ms(0).phase("hold", "bursts");
    for (round, resource) in ["hot-soon/a", "hot-long/a", "hot-soon/a"].into_iter().enumerate() {
        let at = u64::try_from(round).unwrap() * 2_000 + 10;
        told.0.at_ms(at).mark(BURST, resource, 40);
        let mut first = 0;
        for number in 0..40_usize {
            let at = at + u64::try_from(number).unwrap() * every_ms;
            let target = REPLICAS[number % 4];
            if number < calls {
                first = told.at(at).fetch(resource, target);
            } else {
                told.at(at).hit(resource, target, first, 0);
            }
        }
    }
    assert_eq!(HOT[0].name, "hot-soon");
    told
}

#[test]
fn one_call_of_each_replica_is_enough() {
    holds("CAC-05", bursts(4, 1));
}

#[test]
fn more_calls_at_a_time_are_a_stampede() {
    let found = verdict("CAC-05", &bursts(40, 1).0.build());
    assert_eq!(decided(&found), stampede::AT_A_TIME);
    assert!((number(&found, stampede::AT_A_TIME) - 36.0).abs() < 1e-9, "{found:?}");
    assert!(explanation(&found).contains("of 40 concurrent requests"), "{found:?}");
}

#[test]
fn a_stampede_on_a_machine_that_stood_still_shows_nothing() {
    let mut told = bursts(40, 1);
    for at in [100, 2_100, 4_100] {
        told.0.at_ms(at).late(70_000);
    }
    assert_eq!(reason(&verdict("CAC-05", &told.0.build())).0, "machine-busy");
}

#[test]
fn requests_that_came_one_after_the_other_show_no_stampede() {
    let found = verdict("CAC-05", &bursts(4, 30).0.build());
    assert_eq!(reason(&found).0, "harness-late", "{found:?}");
    let found = verdict("CAC-05", &bursts(0, 1).0.build());
    assert_eq!(reason(&found).0, "too-few-samples", "{found:?}");
}

// CAC-04

/// What a gateway does when its store is back: serves what it kept, answers 500, or asks the upstream each time.
#[derive(Clone, Copy, PartialEq)]
enum Back {
    Used,
    Fails,
    Bypassed,
}

/// From one loss to the next.
const LOSS: u64 = 16_000;
/// When the last one is over.
const AWAY: u64 = 70_000;

/// What happens while the store is lost: status, and how long it takes in ms; and what once it is back.
fn losing_and(status: u16, takes_ms: u64, back: Back) -> Told {
    let mut told = Told::new(CACHE_STORE_LOSS);
    told.0.takes_ns = 5_000_000;
    told.0.at_ms(0).phase("steady", "");
    let resource = format!("{}/1", STEADY.name);
    let mut made = 0;
    for at in (0..3_000).step_by(20) {
        told.at(at);
        if at % 1_000 == 0 {
            made = told.fetch(&resource, "eu-1");
        } else {
            told.hit(&resource, "eu-1", made, 0);
        }
    }
    for (number, variant) in LOSSES.into_iter().enumerate() {
        let from = 4_000 + u64::try_from(number).unwrap() * LOSS;
        told.0.at_ms(from).phase("inject", variant);
        told.0.proven_fault(variant, "eu-1->eu-store", from + 10, from + 2_000);
        told.0.at_ms(from + 100).phase("hold", variant);
        told.0.takes_ns = takes_ms * 1_000_000;
        for at in (from + 110..from + 1_800).step_by(20) {
            told.at(at).ask((&resource, "eu-1", "client-1", Credential::NotNeeded), status, None, None);
        }
        told.0.takes_ns = 5_000_000;
        told.0.at_ms(from + 1_900).phase("heal", variant);
        told.0.at_ms(from + 2_100).phase("settle", variant);
        for second in 11..14 {
            let at = from + second * 1_000 + 500;
            let made = told.at(at).fetch(&resource, "eu-1");
            for ms in (100..900).step_by(100) {
                told.at(at + ms);
                match back {
                    Back::Used => told.hit(&resource, "eu-2", made, 0),
                    Back::Fails => {
                        told.ask((&resource, "eu-2", "client-1", Credential::NotNeeded), 500, Some(made), None)
                    }
                    Back::Bypassed => told.fetch(&resource, "eu-2"),
                };
            }
        }
    }
    told.0.at_ms(AWAY).phase("steady", UPSTREAM_AWAY);
    told
}

/// The same; once it is back it is used.
fn losing(status: u16, takes_ms: u64) -> Told {
    losing_and(status, takes_ms, Back::Used)
}

/// The upstream away; what its status is, and what is served instead.
fn away(mut told: Told, status: u16, stale: bool) -> Told {
    let brought = told.at(AWAY + 100).fetch("must-revalidate/1", "eu-1");
    told.0.proven_fault("refuse", "eu-1->eu-upstream", AWAY + 200, AWAY + 5_000);
    told.0.at_ms(AWAY + 3_000).phase("hold", UPSTREAM_AWAY);
    for replica in ["eu-1", "eu-2"] {
        let made_for = (stale && replica == "eu-2").then_some(brought);
        let status = if made_for.is_some() { 200 } else { status };
        told.at(AWAY + 3_100).ask(
            ("must-revalidate/1", replica, "client-1", Credential::NotNeeded),
            status,
            made_for,
            Some(3),
        );
    }
    told.0.at_ms(AWAY + 4_900).phase("heal", UPSTREAM_AWAY);
    told.0.at_ms(AWAY + 5_100).phase("settle", UPSTREAM_AWAY);
    for ms in (15_200..16_600).step_by(200) {
        told.at(AWAY + ms).fetch("must-revalidate/1", "eu-1");
    }
    told
}

#[test]
fn without_its_store_requests_pass_in_time() {
    let told = away(losing(200, 8), 502, false).0.build();
    let found = verdict("CAC-04", &told);
    assert_eq!(found.observed(), Observed::Holds, "{found:?}");
    assert!((number(&found, "of these passed on to the upstream (refuse)") - 100.0).abs() < 1e-9);
    doubted_effects_never_accuse(CLAIMS, "CAC-04", &told);
}

/// What a loss may add is 100 ms: a steady state that moves by less than a tenth of that is one.
#[test]
fn a_steady_state_need_be_no_steadier_than_what_is_compared_with_it() {
    let drifts = |by_ms: u64| {
        let mut told = away(losing(200, 8), 502, false);
        for at in (2_005..3_000).step_by(20) {
            told.0.takes_ns = (5 + by_ms) * 1_000_000;
            told.at(at).fetch(&format!("{}/2", STEADY.name), "eu-1");
        }
        verdict("CAC-04", &told.0.build())
    };
    assert_eq!(drifts(9).observed(), Observed::Holds);
    assert_eq!(reason(&drifts(12)).0, "no-steady-state");
}

#[test]
fn errors_and_waits_are_told() {
    let errors = verdict("CAC-04", &away(losing(500, 8), 502, false).0.build());
    assert_eq!(decided(&errors), "success (refuse)");
    let waits = verdict("CAC-04", &away(losing(200, 500), 502, false).0.build());
    assert_eq!(decided(&waits), "p95 (refuse)");
}

#[test]
fn a_store_that_is_back_is_used_again() {
    let fails = verdict("CAC-04", &away(losing_and(200, 8, Back::Fails), 502, false).0.build());
    assert_eq!(decided(&fails), "success afterwards (store lost: refuse)");
    let bypassed = verdict("CAC-04", &away(losing_and(200, 8, Back::Bypassed), 502, false).0.build());
    assert_eq!(decided(&bypassed), "of what is kept passed on afterwards (refuse)");
    assert!(explanation(&bypassed).contains("21 of 21 requests for what is kept went to the upstream"), "{bypassed:?}");
}

#[test]
fn what_must_be_revalidated_is_never_served_stale() {
    let found = verdict("CAC-04", &away(losing(200, 8), 502, true).0.build());
    assert_eq!(decided(&found), loss::STALE);
    assert!(explanation(&found).contains("2.998 s old"), "{found:?}");
}

#[test]
fn a_loss_without_witness_and_an_upstream_that_was_there_show_nothing() {
    let found = verdict("CAC-04", &losing(200, 8).0.build());
    assert!(reason(&found).1.contains("the upstream away"), "{found:?}");
    let mut told = away(losing(200, 8), 502, false);
    told.0.at_ms(AWAY + 6_000).fault(99, FaultStage::Injected, "refuse", "x").fault(
        99,
        FaultStage::NotWitnessed,
        "refuse",
        "x",
    );
    assert_eq!(reason(&verdict("CAC-04", &told.0.build())).0, "fault-not-proven");
}
