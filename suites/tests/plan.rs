//! Is a plan a function of its request, and of nothing else? The same seed plans the same, for every deployment
//! that comes with gatecrash.

use gatecrash_fixtures::adapters;
use gatecrash_model::claim::Capability;
use gatecrash_model::schedule::{Part, Parts};
use gatecrash_model::{Seed, deployment};
use gatecrash_suites::certify::{Plan, Request, plan};
use gatecrash_suites::{experiments, profiles};
use proptest::prelude::*;
use std::collections::BTreeSet;

const RUNTIME: &[Capability] = &[Capability::ReplicaFaults, Capability::ReplicaDisk, Capability::NetworkFaults];
const PATTERNS: [&[&str]; 6] = [&[], &["QUO-*"], &["CFG-02"], &["SEC-01"], &["TOK-01", "LAT-*"], &["NONE"]];

#[expect(clippy::unwrap_used, reason = "a helper of tests: what comes with gatecrash parses")]
fn request(which: usize, seed: u64, scale: f64, only: &[&str]) -> Request {
    let built_in = &adapters::deployments()[which % adapters::deployments().len()];
    let deployment = deployment::yaml::parse(built_in.name, built_in.yaml).unwrap();
    let (name, text) = profiles::builtin().iter().find(|(name, _)| *name == deployment.profile).unwrap();
    let adapter = adapters::builtin().iter().find(|adapter| adapter.name == deployment.gateway.adapter).unwrap();
    Request {
        profile: profiles::parse(name, text).unwrap(),
        adapter: adapter.adapter().unwrap(),
        deployment,
        seed: Seed(seed),
        scale,
        only: only.iter().map(|pattern| (*pattern).to_owned()).collect(),
        parts: None,
    }
}

fn words(plan: &Plan) -> String {
    format!("{plan:?}")
}

proptest! {
    #[test]
    fn the_same_request_plans_the_same(
        which in 0..8_usize, seed: u64, scale in 0.05..1.0_f64, pattern in 0..PATTERNS.len(), parallel in 1..5_usize,
    ) {
        let request = request(which, seed, scale, PATTERNS[pattern]);
        let first = plan(&request, RUNTIME, parallel);
        prop_assert_eq!(words(&first), words(&plan(&request.clone(), RUNTIME, parallel)));

        let names: Vec<&str> = first.experiments.iter().map(|planned| planned.experiment.name).collect();
        prop_assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "an experiment runs once");
        for claim in &first.claims {
            // What is judged reads what is run; what is not judged says why.
            let read = claim.experiments.iter().any(|name| names.contains(&name.as_str()));
            prop_assert!(read || claim.missing.is_some(), "{:?} is judged on nothing", claim.claim.id);
        }
        for name in names {
            prop_assert!(
                first.claims.iter().any(|claim| claim.missing.is_none() && claim.experiments.iter().any(|one| one == name)),
                "nobody reads {}", name
            );
        }
    }

    #[test]
    fn how_many_run_side_by_side_changes_the_expected_time_and_nothing_else(which in 0..8_usize, seed: u64) {
        let request = request(which, seed, 0.1, &[]);
        let (one, four) = (plan(&request, RUNTIME, 1), plan(&request, RUNTIME, 4));
        prop_assert!(four.expected_wall <= one.expected_wall);
        prop_assert_eq!(format!("{:?}", one.experiments), format!("{:?}", four.experiments));
        prop_assert_eq!(format!("{:?}", one.claims), format!("{:?}", four.claims));
    }
}

/// Every step that there is can be asked for alone; what that leaves out is told, of every experiment that the claims read.
#[test]
fn a_schedule_plans_what_it_says_and_tells_what_it_leaves_out() {
    let mut stepped = BTreeSet::new();
    for which in 0..adapters::deployments().len() {
        let whole = request(which, 7, 0.1, &[]);
        let all = plan(&whole, RUNTIME, 2);
        assert!(all.left_out.is_empty());
        for planned in &all.experiments {
            let name = planned.experiment.name;
            let steps = (planned.experiment.steps)(&whole.deployment);
            let distinct: BTreeSet<&String> = steps.iter().collect();
            assert_eq!(distinct.len(), steps.len(), "{name}: {steps:?}");
            assert_ne!(steps.len(), 1, "{name}: a single step is a single story");
            for step in &steps {
                let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
                assert!(!step.is_empty() && step.chars().all(legal), "{name}: `{step}`");
                let part = Part::Steps(BTreeSet::from([step.clone()]));
                let parts = Some(Parts::from([(name.to_owned(), part.clone())]));
                let alone = plan(&Request { parts, ..whole.clone() }, RUNTIME, 2);
                let [told] = alone.experiments.as_slice() else { panic!("{:?}", alone.experiments) };
                assert_eq!((told.experiment.name, &told.part), (name, &part));
                assert!(told.expected < planned.expected, "{name}: {:?}", told.expected);
                for left in &alone.left_out {
                    let others: Vec<String> = steps.iter().filter(|other| *other != step).cloned().collect();
                    assert_eq!(left.steps, if left.experiment == name { others } else { Vec::new() });
                }
                assert_eq!(alone.left_out.len(), all.experiments.len(), "{name}: {:?}", alone.left_out);
                stepped.insert(name);
            }
            let parts = Some(Parts::from([(name.to_owned(), Part::Whole)]));
            let alone = plan(&Request { parts, ..whole.clone() }, RUNTIME, 2);
            assert!(alone.left_out.iter().all(|left| left.experiment != name && left.steps.is_empty()));
        }
    }
    let known: BTreeSet<&str> = experiments::all().iter().map(|experiment| experiment.name).collect();
    let single: Vec<&&str> = known.difference(&stepped).collect();
    assert!(stepped.len() >= 10, "with steps: {stepped:?}; without: {single:?}");
}
