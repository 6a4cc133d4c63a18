use crate::claims::sample::{anything, deployment, doubt_never_accuses, explanation, judge, judge_on, nothing, reason};
use crate::claims::tokens::{CLAIMS, ISSUED};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, token};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Operation, Verb};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

const REPLICAS: [&str; 4] = ["eu-1", "eu-2", "us-1", "us-2"];

fn use_of(digest: &str, acceptor: &str) -> Operation<String> {
    token(call("token", acceptor, "plain", "client-1"), digest)
}

fn issue(history: &mut HistoryBuilder, issuer: &str, digest: &str) {
    let mut operation = call("token", issuer, "", "client-1");
    operation.verb = Verb::IssueToken;
    let op = history.ok(operation);
    history.mark(ISSUED, digest, i64::from(op));
}

/// The matrix, then each site down in turn, then `us` re-keyed and the matrix once more.
struct Story {
    history: HistoryBuilder,
    ms: u64,
}

impl Story {
    fn new() -> Self {
        Self { history: HistoryBuilder::new("token-matrix"), ms: 0 }
    }

    fn next(&mut self) -> &mut HistoryBuilder {
        self.ms += 10;
        self.history.at_ms(self.ms)
    }

    fn matrix(&mut self) -> &mut Self {
        for issuer in REPLICAS {
            issue(self.next(), issuer, &format!("of-{issuer}"));
            for acceptor in REPLICAS {
                for _ in 0..6 {
                    self.next().ok(use_of(&format!("of-{issuer}"), acceptor));
                }
            }
        }
        self
    }

    fn down(&mut self) -> &mut Self {
        for (down, up) in [("eu", "us"), ("us", "eu")] {
            for index in 1..=2 {
                self.next().replica(&format!("{down}-{index}"), ReplicaState::Gone);
            }
            for index in 1..=2 {
                for acceptor in 1..=2 {
                    self.next().ok(use_of(&format!("of-{down}-{index}"), &format!("{up}-{acceptor}")));
                }
            }
            for index in 1..=2 {
                self.next().replica(&format!("{down}-{index}"), ReplicaState::Starting);
                self.next().replica(&format!("{down}-{index}"), ReplicaState::Ready);
            }
        }
        self
    }

    fn rekey(&mut self) -> &mut Self {
        self.next().mark(mark::REKEYED, "us", 0);
        for issuer in ["us-1", "us-2"] {
            issue(self.next(), issuer, &format!("new-{issuer}"));
            for acceptor in ["us-1", "us-2"] {
                self.next().ok(use_of(&format!("new-{issuer}"), acceptor));
                self.next().ok(use_of("of-eu-1", &acceptor.replace("us", "eu")));
            }
            for acceptor in ["eu-1", "eu-2"] {
                for _ in 0..10 {
                    self.next().rejected(use_of(&format!("new-{issuer}"), acceptor), 401);
                }
            }
        }
        for acceptor in ["us-1", "us-2"] {
            for _ in 0..10 {
                self.next().rejected(use_of("of-us-1", acceptor), 401);
                self.next().rejected(use_of("of-eu-1", acceptor), 401);
            }
        }
        self
    }
}

#[test]
fn a_matrix_without_a_refusal_holds_and_so_does_the_split() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    let history = story.history.build();
    let verdict = judge(CLAIMS, "TOK-01", &[&history]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    let verdict = judge(CLAIMS, "TOK-02", &[&history]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn one_refused_cell_breaks_tok_01_only() {
    let mut story = Story::new();
    story.matrix().down();
    story.next().rejected(use_of("of-eu-1", "us-2"), 401);
    story.rekey();
    let history = story.history.build();
    let verdict = judge(CLAIMS, "TOK-01", &[&history]);
    assert!(explanation(&verdict).contains("a token of `eu-1` was refused at `us-2` (status 401"), "{verdict:?}");
    assert_eq!(judge(CLAIMS, "TOK-02", &[&history]).observed(), Observed::Holds);
}

#[test]
fn without_the_issuer_down_tok_01_is_open() {
    let mut story = Story::new();
    story.matrix();
    let verdict = judge(CLAIMS, "TOK-01", &[&story.history.build()]);
    assert_eq!(reason(&verdict).0, "fault-not-proven");
    assert!(reason(&verdict).1.contains("while `eu-1` was down"));
}

#[test]
fn nobody_takes_the_tokens_of_the_only_replica_with_its_material_while_it_is_down() {
    let mut strangers = deployment();
    strangers.sites[1].signing = "strange".to_owned();
    strangers.sites[1].replicas = 1;
    let history = |down: &[&str]| {
        let mut story = Story::new();
        for issuer in ["eu-1", "eu-2", "us-1"] {
            issue(story.next(), issuer, &format!("of-{issuer}"));
            for acceptor in REPLICAS.into_iter().filter(|acceptor| acceptor[..2] == issuer[..2] && *acceptor != "us-2")
            {
                for _ in 0..30 {
                    story.next().ok(use_of(&format!("of-{issuer}"), acceptor));
                }
            }
        }
        for issuer in down {
            story.next().replica(issuer, ReplicaState::Gone);
            let other = if *issuer == "eu-1" { "eu-2" } else { "eu-1" };
            story.next().ok(use_of(&format!("of-{issuer}"), other));
            story.next().replica(issuer, ReplicaState::Starting);
            story.next().replica(issuer, ReplicaState::Ready);
        }
        story.history.build()
    };
    let verdict = judge_on(&strangers, CLAIMS, "TOK-01", &[&history(&["eu-1", "eu-2"])]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
    // Where a second one has it, its tokens must be tried while the first is down.
    let verdict = judge_on(&strangers, CLAIMS, "TOK-01", &[&history(&["eu-1"])]);
    assert_eq!(reason(&verdict).0, "fault-not-proven", "{verdict:?}");
}

#[test]
fn a_pair_that_nobody_tried_leaves_tok_01_open() {
    let mut story = Story::new();
    for issuer in REPLICAS {
        issue(story.next(), issuer, &format!("of-{issuer}"));
        for acceptor in REPLICAS.into_iter().filter(|acceptor| *acceptor != "us-2") {
            for _ in 0..10 {
                story.next().ok(use_of(&format!("of-{issuer}"), acceptor));
            }
        }
    }
    let verdict = judge(CLAIMS, "TOK-01", &[&story.history.build()]);
    assert_eq!(reason(&verdict), ("too-few-samples", "no token of `eu-1` was seen to be accepted at `us-2`"));
}

#[test]
fn a_token_across_the_split_breaks_tok_02() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    story.next().ok(use_of("new-us-1", "eu-1"));
    let verdict = judge(CLAIMS, "TOK-02", &[&story.history.build()]);
    assert!(explanation(&verdict).contains("a token of `us-1` was accepted at `eu-1`"), "{verdict:?}");
}

#[test]
fn a_server_error_across_the_split_breaks_tok_02() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    story.next().gateway_error(use_of("of-eu-2", "us-1"), 500);
    let verdict = judge(CLAIMS, "TOK-02", &[&story.history.build()]);
    assert!(explanation(&verdict).contains("server error at `us-1` (status 500"), "{verdict:?}");
}

#[test]
fn an_old_token_of_the_rekeyed_site_breaks_tok_02() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    story.next().ok(use_of("of-us-1", "us-2"));
    let verdict = judge(CLAIMS, "TOK-02", &[&story.history.build()]);
    assert!(explanation(&verdict).contains("made before the re-keying was accepted at `us-2`"), "{verdict:?}");
}

#[test]
fn a_gateway_that_refuses_everything_after_the_rekeying_does_not_hold_tok_02() {
    let mut story = Story::new();
    story.matrix().down();
    story.next().mark(mark::REKEYED, "us", 0);
    for _ in 0..20 {
        for acceptor in ["us-1", "us-2"] {
            story.next().rejected(use_of("of-us-1", acceptor), 401);
            story.next().rejected(use_of("of-eu-1", acceptor), 401);
        }
    }
    assert_eq!(reason(&judge(CLAIMS, "TOK-02", &[&story.history.build()])).0, "no-steady-state");
}

#[test]
fn without_a_rekeying_tok_02_is_open() {
    let mut story = Story::new();
    story.matrix().down();
    let verdict = judge(CLAIMS, "TOK-02", &[&story.history.build()]);
    assert_eq!(verdict.observed(), Observed::Inconclusive, "{verdict:?}");
}

#[test]
fn a_gap_leaves_doubt() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    story.next().gap("eu-upstream");
    let history = story.history.build();
    for id in ["TOK-01", "TOK-02"] {
        assert_eq!(reason(&judge(CLAIMS, id, &[&history])).0, "gap");
    }
}

#[test]
fn nothing_seen_is_nothing_shown() {
    for id in ["TOK-01", "TOK-02"] {
        assert_eq!(reason(&judge(CLAIMS, id, &[])).0, "not-run");
        let verdict = judge(CLAIMS, id, &[&nothing("token-matrix")]);
        assert!(matches!(verdict, Verdict::Inconclusive(_)), "{verdict:?}");
    }
}

#[test]
fn forgetting_an_outcome_of_a_whole_story_accuses_nobody() {
    let mut story = Story::new();
    story.matrix().down().rekey();
    let history = story.history.build();
    for id in ["TOK-01", "TOK-02"] {
        doubt_never_accuses(CLAIMS, id, &history);
    }
}

proptest! {
    #[test]
    fn doubt_accuses_nobody(history in anything("token-matrix")) {
        doubt_never_accuses(CLAIMS, "TOK-01", &history);
        doubt_never_accuses(CLAIMS, "TOK-02", &history);
    }
}
