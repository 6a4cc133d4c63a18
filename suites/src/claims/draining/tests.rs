use super::*;
use crate::claims::sample::{anything, doubted_effects_never_accuse, explanation, judge, nothing, reason};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::told;
use gatecrash_model::operation::{Answer, Definite, Effect};
use gatecrash_model::verdict::{Observed, Verdict};
use proptest::prelude::*;

mod drain {
    use super::*;

    /// How the replica of a history ends.
    #[derive(Clone, Copy)]
    struct Ends {
        unready_ms: u64,
        closed_ms: u64,
        gone_ms: u64,
        told: i64,
        /// Milliseconds that the longest request in flight may take.
        flight_ms: u64,
    }

    const WELL: Ends = Ends { unready_ms: 50, closed_ms: 5_000, gone_ms: 12_200, told: 1, flight_ms: 25_000 };

    /// SIGTERM at 20 s, with requests of all kinds before and after it.
    fn history(ends: Ends) -> HistoryBuilder {
        let mut history = HistoryBuilder::new(DRAIN);
        history.at_ms(0).phase("steady", "").replica("eu-1", ReplicaState::Ready);
        for ms in (0..40_000).step_by(100) {
            history.at_ms(ms).ok(call(INGRESS, "eu-ingress", "plain", "client-1"));
        }
        for seconds in 1..=12 {
            for target in ["eu-1", "eu-ingress"] {
                let operation = call(IN_FLIGHT, target, "plain", "client-1");
                history.takes_ns = seconds * 1_000_000_000;
                history.at_ms(19_950);
                if seconds * 1_000 <= ends.flight_ms {
                    history.ok(operation);
                } else {
                    history.takes_ns = ends.flight_ms * 1_000_000;
                    history.unknown(operation, true);
                }
            }
        }
        history.takes_ns = 1_000_000;
        history.proven_fault("terminate", "eu-1", 20_000, 35_000);
        history.at_ms(20_000).replica("eu-1", ReplicaState::Terminating);
        history.at_ms(20_000 + ends.unready_ms).replica("eu-1", ReplicaState::NotReady);
        history.at_ms(20_000 + ends.gone_ms).replica("eu-1", ReplicaState::Gone);
        history.at_ms(20_000 + ends.gone_ms + 500).replica("eu-1", ReplicaState::Starting);
        for after in (10..12_000).step_by(200) {
            history.at_ms(20_000 + after);
            let (fresh, kept) = (call(FRESH, "eu-1", "plain", "a"), call(KEEP_ALIVE, "eu-1", "plain", "a"));
            if after < ends.closed_ms {
                history.ok(fresh);
                let op = history.ok(kept);
                history.mark(told::CLOSES, &op.to_string(), if after < 50 { 0 } else { ends.told });
            } else {
                history.refused(fresh);
                history.refused(kept);
            }
        }
        history
    }

    fn verdict(history: HistoryBuilder) -> Verdict {
        judge(CLAIMS, "DRN-01", &[&history.build()])
    }

    #[test]
    fn a_replica_that_drains_holds() {
        let history = history(WELL).build();
        let verdict = judge(CLAIMS, "DRN-01", &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
        doubted_effects_never_accuse(CLAIMS, "DRN-01", &history);
    }

    #[test]
    fn each_rule_is_broken_by_what_breaks_it() {
        for (ends, words) in [
            (Ends { unready_ms: 1_500, ..WELL }, "was unready 1.50 s after SIGTERM"),
            (Ends { closed_ms: 1_000, ..WELL }, "on new connections failed before a load balancer"),
            (Ends { gone_ms: 31_000, ..WELL }, "had not ended 30.10 s after SIGTERM"),
            (Ends { told: 0, ..WELL }, "did not tell their client to close"),
            (Ends { flight_ms: 500, ..WELL }, "24 of 24 requests that were in flight at SIGTERM failed"),
        ] {
            let verdict = verdict(history(ends));
            assert!(explanation(&verdict).contains(words), "{words}: {verdict:?}");
        }
        let mut history = history(WELL);
        history.at_ms(22_000).gateway_error(call(INGRESS, "eu-ingress", "plain", "a"), 502);
        assert!(explanation(&verdict(history)).contains("requests through the ingress failed"));
    }

    #[test]
    fn readiness_that_is_false_before_the_signal_was_said_to_be_sent_is_in_time_if_it_was_on_its_way() {
        let second = |unready_ms: u64| {
            let mut history = history(WELL);
            history.proven_fault("terminate", "eu-2", 50_000, 52_000);
            history.at_ms(49_000).replica("eu-2", ReplicaState::Ready);
            history.at_ms(unready_ms).replica("eu-2", ReplicaState::NotReady);
            history.at_ms(50_010).replica("eu-2", ReplicaState::Terminating);
            history.at_ms(51_000).replica("eu-2", ReplicaState::Gone);
            history.at_ms(60_000).replica("eu-2", ReplicaState::Starting);
            verdict(history)
        };
        assert_eq!(second(50_005).observed(), Observed::Holds, "{:?}", second(50_005));
        assert!(explanation(&second(49_995)).contains("`eu-2` was not seen to be unready after SIGTERM"));
    }

    #[test]
    fn a_late_harness_explains_silence_and_a_late_readiness_and_nothing_else() {
        let late = |ends: Ends, at_ms: u64| {
            let mut history = history(ends);
            history.at_ms(at_ms).late(400_000);
            verdict(history)
        };
        assert_eq!(reason(&late(Ends { unready_ms: 1_500, ..WELL }, 20_500)).0, "harness-late");
        assert_eq!(reason(&late(Ends { flight_ms: 9_500, ..WELL }, 20_400)).0, "harness-late");
        assert_eq!(late(Ends { told: 0, ..WELL }, 20_400).observed(), Observed::Violated);
        assert_eq!(late(Ends { closed_ms: 1_000, ..WELL }, 20_400).observed(), Observed::Violated);
        assert_eq!(late(WELL, 20_400).observed(), Observed::Holds);
    }

    #[test]
    fn a_stop_that_was_seen_in_time_decides_over_one_that_was_seen_late() {
        for (unready_ms, late_us, observed) in
            [(1_500, 400_000, Observed::Holds), (1_500, 0, Observed::Violated), (50, 400_000, Observed::Holds)]
        {
            let mut history = history(WELL);
            history.at_ms(50_000).replica("eu-2", ReplicaState::Terminating).late(late_us);
            history.at_ms(50_000 + unready_ms).replica("eu-2", ReplicaState::NotReady);
            history.at_ms(51_500).replica("eu-2", ReplicaState::Gone);
            assert_eq!(verdict(history).observed(), observed, "{unready_ms} ms");
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_told_to_hold() {
        assert_eq!(reason(&judge(CLAIMS, "DRN-01", &[&nothing(DRAIN)])).0, "too-few-samples");
        let mut quiet = HistoryBuilder::new(DRAIN);
        quiet.at_ms(5).phase("steady", "").ok(call(INGRESS, "eu-ingress", "plain", "a"));
        assert_eq!(reason(&verdict(quiet)).0, "too-few-samples");
        let mut gap = history(WELL);
        gap.at_ms(30_000).gap("eu-upstream");
        assert_eq!(reason(&verdict(gap)).0, "gap");
    }

    proptest! {
        #[test]
        fn any_history_has_a_verdict(history in anything(DRAIN)) {
            let verdict = judge(CLAIMS, "DRN-01", &[&history]);
            prop_assert_eq!(&verdict, &judge(CLAIMS, "DRN-01", &[&history]));
        }
    }

    #[test]
    fn a_refusal_is_judged_by_the_answer_not_by_the_effect() {
        let mut history = history(WELL);
        let answer = Answer { status: 200, replica: "eu-1".to_owned(), ..Answer::default() };
        let failed = Some((Effect::Failed(Definite::Rejected), answer));
        history.at_ms(20_100).operation(call(FRESH, "eu-1", "plain", "a"), failed, false);
        assert_eq!(verdict(history).observed(), Observed::Holds);
    }
}

mod readiness {
    use super::*;
    use gatecrash_model::history::build::with;
    use gatecrash_model::operation::{Credential, Operation};

    fn canary(route: &str) -> Operation<String> {
        call("canary", "eu-1", route, "client-1")
    }

    fn through(history: &mut HistoryBuilder, status: u16) {
        let answer = Answer { status, replica: "eu-1".to_owned(), ..Answer::default() };
        let ok = status == 200;
        let effect =
            if ok { Effect::Ok } else { Effect::Unknown(gatecrash_model::operation::Indefinite::GatewayError) };
        history.operation(call("traffic", "eu-ingress", "plain", "client-1"), Some((effect, answer)), ok);
    }

    /// A start at 10 s, ready at 15 s, whose plain route serves from `serves` ms on; its contracts come at 20 s.
    fn history(serves: u64) -> HistoryBuilder {
        let mut history = HistoryBuilder::new(READINESS);
        history.at_ms(0).replica("eu-1", ReplicaState::Starting).at_ms(1).replica("eu-1", ReplicaState::Ready);
        history.at_ms(2).phase("steady", "");
        history.proven_fault("slow", "control-plane", 9_000, 20_000);
        history.at_ms(10_000).replica("eu-1", ReplicaState::Starting);
        history.at_ms(15_000).replica("eu-1", ReplicaState::Ready);
        history.at_ms(20_000).contact("control-plane", "eu-1", "contracts", 200, 1);
        for ms in (10_000..50_000).step_by(200) {
            history.at_ms(ms);
            if ms < serves {
                history.gateway_error(canary("plain"), 503);
            } else {
                history.ok(canary("plain"));
            }
            if ms < 20_100 {
                history.gateway_error(canary("partner"), 503);
            } else {
                history.ok(canary("partner"));
                history.rejected(with(canary("partner"), Credential::Missing), 401);
            }
            if ms > 15_000 {
                through(&mut history, 200);
            }
        }
        history
    }

    fn verdict(history: HistoryBuilder) -> Verdict {
        judge(CLAIMS, "DRN-03", &[&history.build()])
    }

    #[test]
    fn a_replica_that_is_ready_when_it_serves_holds() {
        let history = history(14_900).build();
        let verdict = judge(CLAIMS, "DRN-03", &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
        doubted_effects_never_accuse(CLAIMS, "DRN-03", &history);
    }

    #[test]
    fn wrong_answers_after_ready_break_it() {
        let early = verdict(history(18_000));
        assert!(explanation(&early).contains("15 of 274 requests were not served"), "{early:?}");
        let mut gone = history(14_900);
        gone.at_ms(30_010).rejected(canary("plain"), 404);
        assert!(explanation(&verdict(gone)).contains("status 404"));
        let mut open = history(14_900);
        open.at_ms(30_010).ok(with(canary("partner"), Credential::Missing));
        assert!(explanation(&verdict(open)).contains("must be refused"));
        let mut balanced = history(14_900);
        balanced.at_ms(14_000);
        through(&mut balanced, 503);
        assert!(explanation(&verdict(balanced)).contains("the ingress passed on 1 answers"));
        let mut contracts = history(14_900);
        contracts.at_ms(25_010).gateway_error(canary("partner"), 503);
        assert_eq!(verdict(contracts).observed(), Observed::Violated);
    }

    #[test]
    fn what_a_replica_answers_while_it_is_ended_and_at_the_bring_up_is_not_judged() {
        let mut history = history(14_900);
        history.at_ms(0).phase("bring-up", "");
        history.at_ms(1).refused(canary("plain"));
        history.at_ms(44_000).mark("not-ready-declared", "eu-1", 0);
        history.at_ms(44_100).refused(canary("plain"));
        history.at_ms(44_300).replica("eu-1", ReplicaState::Gone);
        assert_eq!(verdict(history).observed(), Observed::Holds);
    }

    #[test]
    fn silence_while_the_harness_was_late_and_nothing_at_all_show_nothing() {
        let mut silent = history(14_900);
        silent.takes_ns = 1_000_000_000;
        silent.at_ms(30_010).unknown(canary("plain"), false);
        silent.at_ms(30_200).late(500_000);
        assert_eq!(reason(&verdict(silent)).0, "harness-late");
        assert_eq!(reason(&judge(CLAIMS, "DRN-03", &[&nothing(READINESS)])).0, "too-few-samples");
    }

    proptest! {
        #[test]
        fn any_history_has_a_verdict(history in anything(READINESS)) {
            let verdict = judge(CLAIMS, "DRN-03", &[&history]);
            prop_assert_eq!(&verdict, &judge(CLAIMS, "DRN-03", &[&history]));
        }
    }
}

mod rolling {
    use super::*;

    /// `n` requests, 10 ms apart, while both replicas are restarted.
    fn history(n: u64) -> HistoryBuilder {
        let mut history = HistoryBuilder::new(ROLLING);
        history.at_ms(0).phase("steady", "").mark(SPENT_MS, "client-9", 60_000);
        for (turn, replica) in ["eu-1", "eu-2"].into_iter().enumerate() {
            let at = 5_000 + u64::try_from(turn).unwrap() * 10_000;
            history.proven_fault("terminate", replica, at, at + 2_000);
            history.at_ms(at).replica(replica, ReplicaState::Terminating);
            history.at_ms(at + 2_000).replica(replica, ReplicaState::Starting);
            history.at_ms(at + 3_000).ok(call(ROLLED_TOKEN, replica, "plain", "client-7"));
            history.at_ms(at + 3_010).rejected(call(ROLLED_QUOTA, replica, "metered", "client-9"), 429);
        }
        for request in 0..n {
            history.at_ms(10 * request).ok(call(ROLLED, "eu-ingress", "plain", "client-1"));
        }
        history
    }

    fn verdict(history: HistoryBuilder) -> Verdict {
        judge(CLAIMS, "DRN-02", &[&history.build()])
    }

    #[test]
    fn restarts_that_lose_nothing_hold_and_the_bound_is_printed() {
        let history = history(20_000).build();
        let verdict = judge(CLAIMS, "DRN-02", &[&history]);
        assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
        let bound = verdict.numbers().iter().find(|number| number.name.starts_with("3/n")).unwrap().value;
        assert!((bound - 0.015).abs() < 1e-9, "{bound}");
        let doubted = crate::claims::sample::doubted(&history, |_| true);
        assert_ne!(judge(CLAIMS, "DRN-02", &[&doubted]).observed(), Observed::Violated);
    }

    #[test]
    fn a_lost_request_a_lost_token_and_a_quota_that_is_back_break_it() {
        let mut lost = history(100);
        lost.at_ms(5_105).gateway_error(call(ROLLED_SLOW, "eu-ingress", "plain", "client-1"), 502);
        assert!(explanation(&verdict(lost)).contains("1 of 101 requests failed"));
        let mut token = history(100);
        token.at_ms(9_000).rejected(call(ROLLED_TOKEN, "eu-1", "plain", "client-7"), 401);
        assert!(explanation(&verdict(token)).contains("1 of 3 uses of a token"));
        let mut quota = history(100);
        quota.at_ms(9_000).ok(call(ROLLED_QUOTA, "eu-1", "metered", "client-9"));
        assert!(explanation(&verdict(quota)).contains("was there again"));
        let mut over = history(100);
        over.at_ms(61_000).ok(call(ROLLED_QUOTA, "eu-1", "metered", "client-9"));
        assert_eq!(reason(&verdict(over)).0, "too-few-samples", "a window that is over");
    }

    #[test]
    fn too_few_requests_show_nothing_and_silence_of_a_late_harness_neither() {
        let (code, text) = (verdict(history(19_000)), "20000 are needed at this scale");
        assert!(reason(&code).1.contains(text), "{code:?}");
        assert_eq!(reason(&judge(CLAIMS, "DRN-02", &[&nothing(ROLLING)])).0, "too-few-samples");
        let mut silent = history(20_000);
        silent.takes_ns = 1_000_000_000;
        silent.at_ms(30_005).unknown(call(ROLLED, "eu-ingress", "plain", "client-1"), false);
        silent.at_ms(30_100).late(300_000);
        assert_eq!(reason(&verdict(silent)).0, "harness-late");
    }

    proptest! {
        #[test]
        fn any_history_has_a_verdict(history in anything(ROLLING)) {
            let verdict = judge(CLAIMS, "DRN-02", &[&history]);
            prop_assert_eq!(&verdict, &judge(CLAIMS, "DRN-02", &[&history]));
        }
    }
}
