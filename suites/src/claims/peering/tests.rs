//! PAR-01 to PAR-03 over hand-written histories: what holds, what breaks each rule, and what shows nothing.

use super::calls::sides_of;
use super::{CLAIMS, FAILOVER_STORY, FLAP, MAJORITY_LOST, ONE_WAY, SPLIT, SPLIT_STORY, kill_one};
use crate::claims::quota::marks::QUOTA_WINDOW_MS;
use crate::claims::sample::{deployment, explanation, forget, nothing, reason};
use gatecrash_model::claim::{Parameters, Scope, Value};
use gatecrash_model::deployment::Peering;
use gatecrash_model::history::build::{HistoryBuilder, call, token};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Operation, Verb};
use gatecrash_model::verdict::{Observed, Verdict};
use gatecrash_model::{Deployment, History};
use std::time::Duration;

/// Three voters in `eu`, two in `us`: a quorum is three.
fn group() -> Deployment {
    let mut deployment = deployment();
    deployment.sites[0].replicas = 3;
    deployment.peering = Some(Peering { failover: Duration::from_secs(10) });
    deployment
}

const EU: [&str; 3] = ["eu-1", "eu-2", "eu-3"];
const US: [&str; 2] = ["us-1", "us-2"];
/// Window of the quota where sides are apart, ms.
const WINDOW: u64 = 40_000;

fn judge(id: &str, mode: &str, history: &History) -> Verdict {
    let claim = CLAIMS.iter().find(|claim| claim.id == id).unwrap();
    let mut parameters = Parameters::default();
    for parameter in claim.parameters {
        let name = parameter.name.to_owned();
        match parameter.default {
            Some(Value::Seconds(number) | Value::Millis(number) | Value::Number(number)) => {
                parameters.numbers.insert(name, number);
            }
            Some(Value::Word(word)) => {
                parameters.words.insert(name, word.to_owned());
            }
            None => {
                parameters.words.insert(name, mode.to_owned());
            }
        }
    }
    let deployment = group();
    (claim.check)(&Scope { parameters: &parameters, deployment: &deployment, scale: 1.0, histories: &[history] })
}

fn use_of(digest: &str, at: &str) -> Operation<String> {
    token(call("token", at, "plain", "client-1"), digest)
}

fn asked(verb: Verb, digest: &str, at: &str) -> Operation<String> {
    Operation { verb, ..token(call("token", at, "", "client-1"), digest) }
}

/// A round of `key` from `from` on, `each` requests at each of `replicas`, one every 50 ms, of which the first `admitted` are.
fn round(
    history: &mut HistoryBuilder,
    key: &str,
    (from, window): (u64, u64),
    replicas: &[&str],
    (asks, admitted): (u64, u64),
) {
    history.at_ms(from).mark(QUOTA_WINDOW_MS, key, i64::try_from(window).unwrap()).mark(mark::WINDOW, key, 1);
    for number in 0..asks {
        let replica = replicas[usize::try_from(number).unwrap() % replicas.len()];
        let request = call("quota", replica, "metered", key);
        history.at_ms(from + 1 + number * 50);
        if number < admitted {
            history.ok(request);
        } else {
            history.rejected(request, 429);
        }
    }
}

/// `eu-1` is killed at 10 s; at 30 s a token is revoked and a quota spent by the others; from 50 s on all are back.
struct Killed {
    /// Until when those that are left answer 503, s after the kill.
    failing_s: u64,
    /// Admitted of 150.
    admitted: u64,
    /// How long the revoked token is accepted at `us-2`, ms.
    accepted_ms: u64,
}

const WELL: Killed = Killed { failing_s: 3, admitted: 100, accepted_ms: 100 };

fn killed(how: &Killed) -> HistoryBuilder {
    let step = kill_one("eu-1");
    let mut history = HistoryBuilder::new(FAILOVER_STORY);
    history.at_ms(1).phase("steady", &step);
    history.at_ms(10_000).phase("inject", &step);
    history.at_ms(30_000).phase("hold", &step);
    history.at_ms(48_000).phase("heal", &step);
    history.at_ms(50_000).phase("settle", &step);
    let left = ["eu-2", "eu-3", "us-1", "us-2"];
    for ms in (0..48_000).step_by(250) {
        for replica in left {
            let failing = (10_000..10_000 + how.failing_s * 1_000).contains(&ms);
            history.at_ms(ms + 7);
            let open = call("traffic", replica, "open", "client-1");
            if failing {
                history.gateway_error(open, 503);
            } else {
                history.ok(open);
            }
            let late = replica == "us-2" && ms < 30_000 + how.accepted_ms;
            if ms < 30_000 || late {
                history.ok(use_of("t1", replica));
            } else {
                history.rejected(use_of("t1", replica), 401);
            }
        }
    }
    history.at_ms(30_001).ok(asked(Verb::RevokeToken, "t1", "us-2"));
    round(&mut history, "client-1", (31_000, 10_000), &left, (150, how.admitted));
    round(&mut history, "client-2", (51_000, 10_000), &["eu-1", "us-1"], (150, 100));
    history.at_ms(62_000).phase("final-reads", "");
    history
}

#[test]
fn a_group_that_heals_in_time_and_shares_holds() {
    let history = killed(&WELL).build();
    let verdict = judge("PAR-01", "", &history);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let gap = &verdict.numbers()[0];
    assert!((2.5..3.1).contains(&gap.value), "{gap:?}");
}

#[test]
fn each_rule_of_par_01_is_broken_by_what_breaks_it() {
    for (how, words) in [
        (Killed { failing_s: 25, ..WELL }, "kill-eu-1: status 503 of `eu-2` 20."),
        (Killed { admitted: 130, ..WELL }, "kill-eu-1: those that have a quorum admitted 130 in one window"),
        (Killed { accepted_ms: 4_000, ..WELL }, "kill-eu-1: a token that was revoked at `us-2` was accepted at `us-2`"),
    ] {
        let verdict = judge("PAR-01", "", &killed(&how).build());
        assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
    }
    let mut history = killed(&WELL);
    history.at_ms(12_000).rejected(call("traffic", "us-1", "open", "client-1"), 404);
    let verdict = judge("PAR-01", "", &history.build());
    assert!(
        explanation(&verdict)
            .contains("`us-1`, asked 2.000 s after voters were lost, said that there is no such route"),
        "{verdict:?}"
    );

    let mut history = killed(&WELL);
    history.takes_ns = 5_400_000_000;
    history.at_ms(12_000).unknown(call("traffic", "us-1", "open", "client-1"), false);
    let verdict = judge("PAR-01", "", &history.build());
    assert!(
        explanation(&verdict).contains("`us-1`, asked 2.000 s after voters were lost, took longer than 5000 ms"),
        "{verdict:?}"
    );

    let mut history = killed(&WELL);
    history.at_ms(31_500).gateway_error(asked(Verb::RevokeToken, "t9", "us-1"), 503);
    let verdict = judge("PAR-01", "", &history.build());
    assert!(
        explanation(&verdict).contains("`us-1` did not take a revocation (status 503), with a quorum left"),
        "{verdict:?}"
    );
}

#[test]
fn without_a_revocation_or_a_window_par_01_is_open() {
    let verdict = judge("PAR-01", "", &nothing(FAILOVER_STORY));
    assert_eq!(verdict.observed(), Observed::Inconclusive);
    let whole = killed(&WELL).build();
    let revoke = whole
        .operations()
        .iter()
        .find(|view| view.operation(whole.events()).is_some_and(|operation| operation.verb == Verb::RevokeToken));
    let verdict = judge("PAR-01", "", &forget(&whole, revoke.unwrap().op));
    assert_eq!(reason(&verdict).0, "too-few-samples", "{verdict:?}");
}

#[test]
fn arithmetic_says_which_side_has_a_quorum() {
    let quorums = |step: &str| -> Vec<(String, Option<bool>)> {
        sides_of(&group(), step).into_iter().map(|side| (side.sites.join("+"), side.quorum)).collect()
    };
    let named = |name: &str, quorum| (name.to_owned(), quorum);
    assert_eq!(quorums(SPLIT), [named("eu", Some(true)), named("us", Some(false))]);
    assert_eq!(quorums(FLAP), quorums(SPLIT));
    assert_eq!(quorums(ONE_WAY), [named("eu", None), named("us", None)]);
    assert_eq!(quorums(MAJORITY_LOST), [named("us", Some(false))]);
}

/// The sides are apart from 10 s on; from 30 s on each spends a quota and revokes a token; healed at 48 s, watched until 85 s.
struct Parted {
    /// What the side without a quorum does: its status for what is counted, for tokens in use, for tokens asked for; 200 for all that is decided.
    minority: [u16; 3],
    /// Admitted by `us` before the heal, of 80; and after it by all, of 80.
    admitted: [u64; 2],
    /// How long each revoked token is accepted at the other side after the heal, ms.
    accepted_ms: u64,
    /// Admitted in the next window, of 150.
    again: u64,
}

const LOCAL: Parted = Parted { minority: [200; 3], admitted: [80, 20], accepted_ms: 1_000, again: 100 };
const CLOSED: Parted = Parted { minority: [503; 3], admitted: [0, 100], accepted_ms: 0, again: 100 };

fn answer(history: &mut HistoryBuilder, operation: Operation<String>, status: u16) {
    match status {
        200..=299 => history.ok(operation),
        500..=599 => history.gateway_error(operation, status),
        _ => history.rejected(operation, status),
    };
}

fn parted(how: &Parted) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(SPLIT_STORY);
    for (ms, phase) in
        [(1, "steady"), (10_000, "inject"), (30_000, "hold"), (48_000, "heal"), (48_100, "settle"), (90_000, "settled")]
    {
        history.at_ms(ms).phase(phase, SPLIT);
    }
    for ms in (0..85_000).step_by(250) {
        for replica in EU.into_iter().chain(US) {
            let us = US.contains(&replica);
            let apart = us && (12_000..48_000).contains(&ms);
            history.at_ms(ms + 3).ok(call("traffic", replica, "open", "client-1"));
            let status = if apart { how.minority[1] } else { 200 };
            answer(&mut history, use_of("valid", replica), status);
            for (digest, own) in [("of-eu", !us), ("of-us", us)] {
                // A side that is closed revokes nothing.
                let never = digest == "of-us" && how.minority[1] == 503;
                let until = if own { 30_100 } else { 48_100 + how.accepted_ms };
                let status = match ms < until || never {
                    _ if apart && how.minority[1] == 503 => 503,
                    true => 200,
                    false => 401,
                };
                answer(&mut history, use_of(digest, replica), status);
            }
        }
    }
    history.at_ms(30_010).ok(asked(Verb::RevokeToken, "of-eu", "eu-1"));
    history.at_ms(30_020);
    answer(&mut history, asked(Verb::RevokeToken, "of-us", "us-1"), how.minority[1]);
    history.at_ms(30_500).ok(asked(Verb::IssueToken, "new-1", "eu-3"));
    answer(&mut history, asked(Verb::IssueToken, "new-2", "us-2"), how.minority[2]);
    // The window spans the heal.
    let key = "client-1";
    history.at_ms(30_030).mark(QUOTA_WINDOW_MS, key, i64::try_from(WINDOW).unwrap()).mark(mark::WINDOW, key, 1);
    for number in 0..150 {
        let at = 30_031 + number * 100;
        let request = |replica: &str| call("quota", replica, "metered", key);
        let eu = EU[usize::try_from(number % 3).unwrap()];
        history.at_ms(at);
        answer(&mut history, request(eu), if number < 100 { 200 } else { 429 });
        history.at_ms(at + 40);
        let us = US[usize::try_from(number % 2).unwrap()];
        let status = match how.minority[0] {
            200 if number < how.admitted[0] => 200,
            200 => 429,
            other => other,
        };
        answer(&mut history, request(us), status);
    }
    for number in 0..120 {
        history.at_ms(49_000 + number * 100);
        let status = if number < how.admitted[1] { 200 } else { 429 };
        answer(&mut history, call("quota", "us-1", "metered", key), status);
    }
    round(&mut history, "client-2", (90_001, WINDOW), &["eu-1", "us-1"], (150, how.again));
    history.at_ms(140_000).phase("final-reads", "");
    history
}

#[test]
fn sides_that_do_what_is_declared_and_agree_again_hold() {
    for (how, mode) in [(LOCAL, "local"), (CLOSED, "closed")] {
        let history = parted(&how).build();
        for id in ["PAR-02", "PAR-03"] {
            let verdict = judge(id, mode, &history);
            assert_eq!(verdict.observed(), Observed::Holds, "{id}, {mode}: {verdict:?}");
        }
    }
}

#[test]
fn each_rule_of_par_02_is_broken_by_what_breaks_it() {
    let of = |minority: [u16; 3], admitted: u64| Parted { minority, admitted: [admitted, 0], ..LOCAL };
    for (how, mode, words) in [
        (LOCAL, "closed", "tokens in use were not refused with 5xx, as `closed` has it"),
        (
            of([503, 200, 200], 0),
            "local",
            "split: `us` (without a quorum): 100 % of 150 counted requests were refused with 5xx",
        ),
        (of([200, 200, 200], 140), "local", "split: `us` (without a quorum): 140 admitted in one window"),
        (of([200, 401, 200], 80), "local", "tokens in use were not accepted (the first was answered 401)"),
        (of([200, 200, 503], 80), "local", "1 of 1 tokens asked for were not accepted (the first was answered 503)"),
        (
            of([200, 503, 503], 80),
            "closed",
            "counted requests were admitted, although it has no quorum and is `closed`",
        ),
    ] {
        let verdict = judge("PAR-02", mode, &parted(&how).build());
        assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
    }
    let mut history = parted(&LOCAL);
    for ms in 0..9 {
        history.at_ms(31_000 + ms).gateway_error(call("traffic", "us-1", "open", "client-1"), 503);
    }
    let verdict = judge("PAR-02", "local", &history.build());
    assert!(explanation(&verdict).contains("requests succeeded that need nothing shared"), "{verdict:?}");

    let mut history = parted(&LOCAL);
    history.takes_ns = 5_400_000_000;
    history.at_ms(35_000).unknown(use_of("valid", "us-1"), false);
    let verdict = judge("PAR-02", "local", &history.build());
    assert!(explanation(&verdict).contains("an answer of `us-1` took longer than 5000 ms"), "{verdict:?}");
}

#[test]
fn a_mode_that_nobody_declared_is_not_judged() {
    let verdict = judge("PAR-02", "open", &parted(&LOCAL).build());
    assert_eq!(verdict.observed(), Observed::NotApplicable);
}

#[test]
fn each_rule_of_par_03_is_broken_by_what_breaks_it() {
    for (how, words) in [
        (Parted { accepted_ms: 31_000, ..LOCAL }, "was accepted at `us-1` 30."),
        (Parted { admitted: [100, 120], ..LOCAL }, "were admitted in the window of the heal, at most 20"),
        (Parted { again: 130, ..LOCAL }, "split: 130 were admitted in a window after the heal"),
    ] {
        let verdict = judge("PAR-03", "local", &parted(&how).build());
        assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
    }
}

#[test]
fn nothing_shows_nothing() {
    for id in ["PAR-02", "PAR-03"] {
        assert_eq!(judge(id, "local", &nothing(SPLIT_STORY)).observed(), Observed::Inconclusive, "{id}");
    }
}
