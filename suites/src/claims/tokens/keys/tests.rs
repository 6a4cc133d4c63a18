use super::{AWAY, CALLED_BAD, FORGED, LATE, LOST, REMOVED, UNCHECKED};
use crate::claims::sample::{
    anything, doubt_never_accuses, doubted_effects_never_accuse, explanation, judge, nothing, reason,
};
use crate::claims::tokens::CLAIMS;
use gatecrash_model::History;
use gatecrash_model::history::build::{HistoryBuilder, call, token, with};
use gatecrash_model::history::event::mark;
use gatecrash_model::history::{Event, EventKind, FaultStage, ReplicaState};
use gatecrash_model::operation::{Credential, Operation};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];
const LINKS: &str = "eu-1->identity, eu-2->identity, us-1->identity, us-2->identity";

/// In ms. Keys are fresh for 15 s, so T is 20 s.
const ROTATED: u64 = 10_000;
const REMOVED_AT: u64 = 40_000;
const REFUSED: (u64, u64) = (70_000, 100_000);
/// `eu-2` and `us-2` are down, and then have no key until the provider is back.
const DOWN: (u64, u64) = (72_000, 72_500);
const SILENT: (u64, u64) = (130_000, 160_000);
const REMOVED_AWAY: u64 = 132_000;
/// The provider takes so long to do what it is told.
const TELLS: u64 = 10;

/// Token, its key, and from when to when it is used.
const USED: [(&str, i64, u64, u64); 5] = [
    ("t1", 1, 1_000, 66_000),
    ("t2", 2, ROTATED + 500, 185_000),
    ("t3", 3, REFUSED.0 + 1_500, 185_000),
    ("t4", 4, SILENT.0 + 1_500, 185_000),
    ("f", -1, 1_000, 185_000),
];

/// What a gateway does with a use: accepts it, or answers this status.
type Answers = fn(&str, &str, u64) -> u16;

fn starts_anew(replica: &str) -> bool {
    replica.ends_with('2')
}

/// What a gateway answers that fetches its keys every 14 s, and asks about a new one at once.
fn right(digest: &str, replica: &str, at: u64) -> u16 {
    let without_keys = starts_anew(replica) && (DOWN.0..REFUSED.1).contains(&at);
    match digest {
        "f" => 401,
        _ if without_keys => 503,
        "t1" if at < REMOVED_AT + 14_000 => 200,
        "t2" if at < SILENT.1 + 5_000 => 200,
        "t3" if at < REFUSED.1 => 503,
        "t3" => 200,
        "t4" if at < SILENT.1 => 503,
        "t4" => 200,
        _ => 401,
    }
}

fn use_of(digest: &str, replica: &str) -> Operation<String> {
    let use_of = token(call("token", replica, "plain", "client-1"), digest);
    if digest == "f" { with(use_of, Credential::Forged) } else { use_of }
}

/// The story, without what `left_out` says of a token at a replica at a time.
fn story(answers: Answers, left_out: impl Fn(&str, &str, u64) -> bool) -> HistoryBuilder {
    let mut history = HistoryBuilder::new("key-rotation");
    history.at_ms(0).phase("steady", "").mark(mark::JWKS_TTL, "", 15_000);
    for (digest, key, ..) in USED {
        history.at_ms(1).mark(mark::TOKEN_KEY, digest, key);
    }
    for (key, at) in [(2, ROTATED), (3, REFUSED.0 + 1_000), (4, SILENT.0 + 1_000)] {
        let name = format!("key-{key}");
        history.at_ms(at).mark(mark::KEY_PUBLISHING, &name, key);
        history.at_ms(at + TELLS).mark(mark::KEY_PUBLISHED, &name, key);
    }
    for (key, at) in [(1, REMOVED_AT), (2, REMOVED_AWAY)] {
        let name = format!("key-{key}");
        history.at_ms(at).mark(mark::KEY_REMOVING, &name, key);
        history.at_ms(at + TELLS).mark(mark::KEY_REMOVED, &name, key);
    }
    history.proven_fault("refuse", LINKS, REFUSED.0, REFUSED.1);
    history.proven_fault("blackhole", LINKS, SILENT.0, SILENT.1);
    for replica in REPLICAS.iter().filter(|replica| starts_anew(replica)) {
        history.at_ms(DOWN.0).mark(mark::NOT_READY_DECLARED, replica, 0).replica(replica, ReplicaState::Gone);
        history.at_ms(DOWN.0 + 100).replica(replica, ReplicaState::Starting);
        history.at_ms(DOWN.1).replica(replica, ReplicaState::Ready);
    }
    for (digest, _, from, to) in USED {
        for at in (from..to).step_by(500) {
            history.at_ms(at);
            for replica in REPLICAS.iter().filter(|replica| !left_out(digest, replica, at)) {
                if starts_anew(replica) && (DOWN.0..DOWN.1).contains(&at) {
                    history.refused(use_of(digest, replica));
                    continue;
                }
                match answers(digest, replica, at) {
                    200 => history.ok(use_of(digest, replica)),
                    status @ 500.. => history.gateway_error(use_of(digest, replica), status),
                    status => history.rejected(use_of(digest, replica), status),
                };
            }
        }
    }
    for at in [500, 15_000, 110_000] {
        history.at_ms(at).contact("identity", "eu-1", "jwks", 200, 0);
    }
    history.at_ms(140_000).contact("identity", "eu-1", "jwks", 0, 0);
    history.at_ms(140_000).contact("control-plane", "eu-1", "contracts", 200, 0);
    history
}

fn story_of(answers: Answers) -> HistoryBuilder {
    story(answers, |_, _, _| false)
}

fn verdict(history: &History) -> Verdict {
    judge(CLAIMS, "TOK-08", &[history])
}

fn number(verdict: &Verdict, name: &str) -> String {
    format!("{:.3}", verdict.numbers().iter().find(|number| number.name == name).unwrap().value)
}

/// The verdict is a violation, by this first number, told in these words.
fn broken(answers: Answers, name: &str, words: &str) {
    let found = verdict(&story_of(answers).build());
    assert_eq!(found.observed(), Observed::Violated, "{found:?}");
    assert!(explanation(&found).contains(words), "{found:?}");
    assert_eq!(found.numbers()[0].name, name, "{found:?}");
}

#[test]
fn a_rotation_that_loses_nothing_holds() {
    let found = verdict(&story_of(right).build());
    assert_eq!(found.observed(), Observed::Holds, "{found:?}");
    assert_eq!(number(&found, "last accept of a removed key"), "13.490");
    assert_eq!(number(&found, "last refusal of a new key"), "0.000");
    assert_eq!(number(&found, "fetches of the keys"), "4.000");
    assert_eq!(number(&found, "of these answered"), "3.000");
    assert_eq!(number(&found, "called invalid by a new key, the provider being away"), "0.000");
    assert_eq!(number(&found, LOST), "0.000");
}

#[test]
fn a_valid_token_that_is_lost_in_the_overlap_is_a_violation() {
    for status in [401, 503] {
        let answers: Answers = if status == 401 {
            |digest, replica, at| if digest == "t1" && at == 20_000 { 401 } else { right(digest, replica, at) }
        } else {
            |digest, replica, at| if digest == "t1" && at == 20_000 { 503 } else { right(digest, replica, at) }
        };
        broken(answers, LOST, "key-1, published and accepted before, was");
    }
    // Also the new key, once it has to be in use.
    broken(
        |digest, replica, at| if digest == "t2" && at == 65_000 { 401 } else { right(digest, replica, at) },
        LOST,
        "key-2, published and accepted before, was refused at `eu-1` at 65.000 s",
    );
}

#[test]
fn a_new_key_that_waits_for_longer_than_t_is_a_violation() {
    broken(
        |digest, replica, at| if digest == "t2" && at < 31_000 { 401 } else { right(digest, replica, at) },
        LATE,
        "key-2 was refused at `eu-1` 20.490 s after it was published",
    );
    let late: Answers =
        |digest, replica, at| if digest == "t2" && at < 30_000 { 401 } else { right(digest, replica, at) };
    let found = verdict(&story_of(late).build());
    assert_eq!(found.observed(), Observed::Holds, "{found:?}");
    assert_eq!(number(&found, "last refusal of a new key"), "19.490");
    // One that was published while the provider was away has T from the heal.
    broken(
        |digest, replica, at| if digest == "t3" && at < REFUSED.1 + 21_000 { 401 } else { right(digest, replica, at) },
        LATE,
        "key-3 was refused at `eu-1` 20.000 s after it was published",
    );
}

#[test]
fn a_removed_key_that_outlives_t_is_a_violation() {
    broken(
        |digest, replica, at| if digest == "t1" && at < 61_000 { 200 } else { right(digest, replica, at) },
        REMOVED,
        "key-1 was accepted at `eu-1` 20.490 s after it was removed",
    );
    let slow: Answers =
        |digest, replica, at| if digest == "t1" && at <= 60_000 { 200 } else { right(digest, replica, at) };
    assert_eq!(verdict(&story_of(slow).build()).observed(), Observed::Holds);
    // One that was removed while the provider was away has T from the heal.
    broken(
        |digest, replica, at| if digest == "t2" && replica == "us-1" { 200 } else { right(digest, replica, at) },
        REMOVED,
        "key-2 was accepted at `us-1` 20.500 s after it was removed",
    );
}

#[test]
fn keys_that_are_dropped_while_the_provider_is_away_are_a_violation() {
    broken(
        |digest, replica, at| {
            let dropped = digest == "t2" && (REFUSED.0 + 16_000..REFUSED.1).contains(&at);
            if dropped { 503 } else { right(digest, replica, at) }
        },
        AWAY,
        "key-2, in use since long, was answered 5xx at `eu-1` while the provider was away",
    );
}

#[test]
fn a_replica_without_keys_neither_accepts_nor_calls_anything_invalid() {
    broken(
        |digest, replica, at| {
            let unchecked = starts_anew(replica) && (DOWN.1..REFUSED.1).contains(&at);
            if unchecked && digest != "f" { 200 } else { right(digest, replica, at) }
        },
        UNCHECKED,
        "key-3 was accepted at `eu-2`, and published when no replica could fetch it",
    );
    broken(
        |digest, replica, at| if right(digest, replica, at) == 503 { 401 } else { right(digest, replica, at) },
        CALLED_BAD,
        "key-2 was called invalid at `eu-2`, which was started without the provider",
    );
    // One that has them from somewhere else is not wrong, and shows nothing.
    let elsewhere: Answers = |digest, replica, at| {
        let known = digest == "t2" && starts_anew(replica) && (DOWN.1..REFUSED.1).contains(&at);
        if known { 200 } else { right(digest, replica, at) }
    };
    let found = verdict(&story_of(elsewhere).build());
    assert!(reason(&found).1.starts_with("no replica that was started without the provider"), "{found:?}");
}

#[test]
fn a_token_that_its_key_did_not_sign_is_accepted_nowhere() {
    broken(
        |digest, replica, at| if digest == "f" && replica == "us-2" { 200 } else { right(digest, replica, at) },
        FORGED,
        "token f, which its key did not sign, was accepted at `us-2`",
    );
}

#[test]
fn what_nobody_can_know_to_be_valid_accuses_nobody() {
    // Told invalid: a new key while the provider is away, and a key that is being removed.
    let told: Answers = |digest, replica, at| match digest {
        "t3" if at < REFUSED.1 => 401,
        "t4" if at < SILENT.1 => 401,
        "t1" if at >= REMOVED_AT => 401,
        _ => right(digest, replica, at),
    };
    let mut history = story_of(told);
    // Used before it was published; a use that was under way when the key was removed; one that was asked while a replica was down.
    history.at_ms(ROTATED - 1_000).rejected(use_of("t2", "eu-1"), 401);
    history.takes_ns = 2_000_000_000;
    history.at_ms(REMOVED_AT - 1_000).rejected(use_of("t1", "eu-1"), 401);
    history.at_ms(DOWN.0 - 1_000).gateway_error(use_of("t2", "eu-2"), 503);
    let found = verdict(&history.build());
    assert_eq!(found.observed(), Observed::Holds, "{found:?}");
    assert_ne!(number(&found, "called invalid by a new key, the provider being away"), "0.000");
}

#[test]
fn an_outage_that_nobody_saw_accuses_nobody_of_what_follows_from_it() {
    for answers in [
        right as Answers,
        |digest, replica, at| if digest == "t3" { 200 } else { right(digest, replica, at) },
        |digest, replica, at| if right(digest, replica, at) == 503 { 401 } else { right(digest, replica, at) },
    ] {
        let mut history = story_of(answers);
        history.at_ms(REFUSED.0 + 100).fault(1, FaultStage::NotWitnessed, "refuse", LINKS);
        let found = verdict(&history.build());
        assert_eq!(reason(&found).0, "fault-not-proven", "{found:?}");
    }
    // What outlived its removal stands all the same.
    let kept: Answers = |digest, replica, at| if digest == "t1" { 200 } else { right(digest, replica, at) };
    let mut history = story_of(kept);
    history.at_ms(REFUSED.0 + 100).fault(1, FaultStage::NotWitnessed, "refuse", LINKS);
    assert_eq!(verdict(&history.build()).observed(), Observed::Violated);
}

#[test]
fn each_part_of_the_rule_must_be_seen_at_each_replica() {
    type Without = fn(&str, u64) -> bool;
    let cases: [(Without, &str); 7] = [
        // Each of the two keys that are removed is old beside another one for a while.
        (
            |digest, at| digest == "t1" && at >= ROTATED || digest == "t2" && (REFUSED.1..SILENT.0).contains(&at),
            "accept the old key beside the new one",
        ),
        (|digest, at| digest == "t2" && at < REFUSED.0, "accept a key that was published while it ran"),
        (|digest, at| digest == "t1" && at > REMOVED_AT + 20_000, "refuse a key, accepted before, after"),
        (|_, at| (SILENT.0 + 15_000..SILENT.1).contains(&at), "accept a key while the provider was away for longer"),
        (|digest, _| digest == "t3" || digest == "t4", "accept a key that was published while the provider was away"),
        (|digest, at| digest == "t2" && at > SILENT.1 + 20_000, "refuse a key that was removed while the provider"),
        (|digest, _| digest == "f", "refuse a token that its key did not sign"),
    ];
    for (without, words) in cases {
        let history = story(right, |digest, replica, at| replica == "us-2" && without(digest, at));
        let found = verdict(&history.build());
        assert_eq!(reason(&found).0, "too-few-samples", "{words}: {found:?}");
        assert!(reason(&found).1.starts_with(&format!("`us-2` was not seen to {words}")), "{found:?}");
    }
    let history = story(right, |_, replica, at| starts_anew(replica) && (DOWN.0..REFUSED.1).contains(&at));
    assert!(reason(&verdict(&history.build())).1.starts_with("no replica that was started without the provider"));
}

#[test]
fn a_story_without_a_ttl_and_a_provider_that_nobody_asks_leave_doubt() {
    let whole = story_of(right).build();
    let without = |is_out: fn(&History, &Event) -> bool| {
        let events = whole.events().iter().copied().filter(|event| !is_out(&whole, event)).collect();
        History::new(whole.header().clone(), whole.names().clone(), events, true)
    };
    let silent = without(|_, event| matches!(event.kind, EventKind::Contact { .. }));
    assert!(reason(&verdict(&silent)).1.starts_with("nobody fetched the keys"));
    let unsaid = without(
        |history, event| matches!(event.kind, EventKind::Mark { name, .. } if history.text(name) == mark::JWKS_TTL),
    );
    assert!(reason(&verdict(&unsaid)).1.starts_with("the story does not say for how long"));
    let mut history = story_of(right);
    history.at_ms(ROTATED).gap("eu-upstream");
    assert_eq!(reason(&verdict(&history.build())).0, "gap");
}

#[test]
fn nothing_seen_is_nothing_shown() {
    assert_eq!(reason(&judge(CLAIMS, "TOK-08", &[])).0, "not-run");
    assert_eq!(reason(&verdict(&nothing("key-rotation"))).0, "too-few-samples");
}

#[test]
fn doubted_effects_accuse_nobody() {
    let history = story_of(right).build();
    doubted_effects_never_accuse(CLAIMS, "TOK-08", &history);
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(history in anything("key-rotation")) {
        doubt_never_accuses(CLAIMS, "TOK-08", &history);
    }
}
