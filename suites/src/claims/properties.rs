//! What must be true of every check, over whatever histories: it comes to a verdict, always the same one, and doubt
//! never accuses. A claim that is added is held to it without a line here.

use super::sample::{anything, deployment, doubted, forget, nothing};
use gatecrash_model::claim::{Claim, Parameters, Reads, Scope, Value};
use gatecrash_model::verdict::{Observed, Verdict};
use gatecrash_model::{Deployment, History};
use proptest::prelude::*;

/// Experiments that some claim reads; one that reads every history is given these, too.
fn experiments(claim: &Claim) -> Vec<&'static str> {
    match claim.reads {
        Reads::Every => vec!["token-matrix", "start-without-control-plane"],
        Reads::Experiments(names) => names.to_vec(),
    }
}

/// The defaults; what has none gets each word that is legal.
fn parameters(claim: &Claim) -> Vec<Parameters> {
    let mut all = vec![Parameters::default()];
    for parameter in claim.parameters {
        let words: &[&str] = match parameter.default {
            Some(Value::Seconds(number) | Value::Millis(number) | Value::Number(number)) => {
                for one in &mut all {
                    one.numbers.insert(parameter.name.to_owned(), number);
                }
                continue;
            }
            Some(Value::Word(word)) => &[word],
            None => parameter.words,
        };
        all = words
            .iter()
            .flat_map(|word| {
                all.iter().cloned().map(|mut one| {
                    one.words.insert(parameter.name.to_owned(), (*word).to_owned());
                    one
                })
            })
            .collect();
    }
    all
}

fn judge(claim: &Claim, deployment: &Deployment, histories: &[History]) -> Vec<Verdict> {
    let histories: Vec<&History> = histories.iter().collect();
    parameters(claim)
        .iter()
        .map(|parameters| (claim.check)(&Scope { parameters, deployment, scale: 0.1, histories: &histories }))
        .collect()
}

/// Histories of all experiments that any claim reads, by the same arbitrary events.
fn of(claim: &Claim, histories: &[History]) -> Vec<History> {
    let names = experiments(claim);
    histories.iter().filter(|history| names.contains(&history.experiment())).cloned().collect()
}

fn every_experiment() -> Vec<&'static str> {
    let mut all: Vec<&str> = super::all().iter().flat_map(experiments).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn any_histories() -> impl Strategy<Value = Vec<History>> {
    every_experiment().into_iter().map(anything).collect::<Vec<_>>()
}

#[test]
fn no_history_and_an_empty_one_show_nothing() {
    let deployment = deployment();
    for claim in super::all() {
        let empty: Vec<History> = experiments(&claim).into_iter().map(nothing).collect();
        for histories in [&[][..], &empty] {
            for verdict in judge(&claim, &deployment, histories) {
                assert_eq!(verdict.observed(), Observed::Inconclusive, "{}: {verdict:?}", claim.id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_check_is_a_function_and_doubting_effects_never_accuses(histories in any_histories(), bits: u64) {
        let deployment = deployment();
        for claim in super::all() {
            let histories = of(&claim, &histories);
            let before = judge(&claim, &deployment, &histories);
            prop_assert_eq!(&before, &judge(&claim, &deployment, &histories), "{}", claim.id);
            for chosen in [bits, u64::MAX] {
                let doubted: Vec<History> =
                    histories.iter().map(|history| doubted(history, |op| chosen >> (op % 64) & 1 == 1)).collect();
                for (before, after) in before.iter().zip(judge(&claim, &deployment, &doubted)) {
                    prop_assert!(
                        before.observed() == Observed::Violated || after.observed() != Observed::Violated,
                        "{}: {:?} became {:?}", claim.id, before, after
                    );
                }
            }
        }
    }

    /// What no client can tell of is no breach of safety. (Availability and latency count it as a failure.)
    #[test]
    fn an_answer_that_never_came_breaks_no_safety_claim(histories in any_histories(), which: u32) {
        let deployment = deployment();
        // Those that count what did not succeed.
        let counts = |id: &str| {
            ["CFG", "LAT", "AVL", "DRN", "ANA", "PAR"].contains(&&id[..3]) || ["BAL-03", "SCL-01", "SCL-03"].contains(&id)
        };
        for claim in super::all().into_iter().filter(|claim| !counts(claim.id)) {
            let histories = of(&claim, &histories);
            let before = judge(&claim, &deployment, &histories);
            let forgotten: Vec<History> = histories
                .iter()
                .map(|history| forget(history, 1 + which % u32::try_from(history.operations().len().max(1)).unwrap_or(1)))
                .collect();
            for (before, after) in before.iter().zip(judge(&claim, &deployment, &forgotten)) {
                prop_assert!(
                    before.observed() == Observed::Violated || after.observed() != Observed::Violated,
                    "{}: {:?} became {:?}", claim.id, before, after
                );
            }
        }
    }
}
