//! Which claims apply, which experiments they read, how long that takes: pure, and the same for the same request.

use super::Request;
use crate::claims::predicted::predicted;
use crate::experiment::Experiment;
use crate::{claims, experiments};
use gatecrash_engine::lab::{capabilities, unmet};
use gatecrash_model::claim::{Capability, Parameter, Parameters, Reads, Value};
use gatecrash_model::deployment::Peering;
use gatecrash_model::profile::{Resolved, Scalar};
use gatecrash_model::run_record::LeftOut;
use gatecrash_model::schedule::{self, Part};
use gatecrash_model::verdict::Declared;
use gatecrash_model::{Claim, ClaimId, Demands, Deployment};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What will be done.
#[derive(Debug)]
pub struct Plan {
    /// Experiments in the order in which they start.
    pub experiments: Vec<PlannedExperiment>,
    /// Selected claims, ordered by id.
    pub claims: Vec<PlannedClaim>,
    /// Expected wall time.
    pub expected_wall: Duration,
    /// What the request's schedule leaves out of what these claims read.
    pub left_out: Vec<LeftOut>,
}

/// An experiment that will run.
#[derive(Clone, Debug)]
pub struct PlannedExperiment {
    /// The experiment.
    pub experiment: Experiment,
    /// Expected wall time.
    pub expected: Duration,
    /// What of it.
    pub part: Part,
    /// How long claims that read it ask its stretches to be.
    pub demands: Demands,
}

/// A claim and what becomes of it.
#[derive(Clone, Debug)]
pub struct PlannedClaim {
    /// The claim.
    pub claim: Claim,
    /// What the profile declares.
    pub resolved: Resolved,
    /// Why it is not applicable, if it is not.
    pub missing: Option<String>,
    /// What arithmetic over the topology says of it; `None` where that says nothing.
    pub predicted: Option<String>,
    /// Effective parameters, scaled.
    pub parameters: Parameters,
    /// Experiments that it reads.
    pub experiments: Vec<String>,
}

/// Whether `id` is selected: by itself, without its variant, or by a pattern that ends with `*`.
fn is_selected(id: &str, only: &[String]) -> bool {
    only.is_empty()
        || only.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => id.starts_with(start),
            None => id == pattern || id.split('/').next() == Some(pattern),
        })
}

fn words(capability: Capability) -> String {
    serde_json::to_value(capability).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Plans a certification on a runtime with these capabilities, `parallel` experiments at a time.
#[must_use]
pub fn plan(request: &Request, runtime: &[Capability], parallel: usize) -> Plan {
    let present = capabilities(&request.deployment, &request.adapter, runtime);
    let settings = request.adapter.settings_of(&request.deployment, &BTreeMap::new());
    let lacks = |needs: &[Capability]| {
        let capability = needs.iter().find(|need| !present.contains(need))?;
        // Whoever cannot revoke at a replica says why; the provider is asked or not by a setting.
        let told = if *capability == Capability::RevocableTokens { Capability::TokenRevocation } else { *capability };
        let reason = request.adapter.lacks.get(&told).map(String::as_str).or_else(|| unmet(&request.adapter, told));
        Some(reason.map_or_else(
            || format!("neither the deployment, its gateway nor the runtime has `{}`", words(*capability)),
            str::to_owned,
        ))
    };
    let possible: Vec<Experiment> =
        experiments::all().into_iter().filter(|experiment| lacks(experiment.needs).is_none()).collect();
    let mut planned: Vec<PlannedClaim> = Vec::new();
    for claim in claims::all() {
        if !is_selected(claim.id, &request.only) {
            continue;
        }
        let resolved = request.profile.declared(&ClaimId::new(claim.id), &request.deployment, &settings);
        let (parameters, unsaid) = parameters(&claim, &resolved, request.scale);
        let reads: Vec<String> = match claim.reads {
            Reads::Every => Vec::new(),
            Reads::Experiments(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let missing = if resolved.declared == Declared::NotApplicable {
            Some(resolved.source.clone())
        } else {
            unsaid.or_else(|| lacks(claim.needs)).or_else(|| {
                let none = !reads.is_empty()
                    && !possible.iter().any(|experiment| reads.iter().any(|name| name == experiment.name));
                none.then(|| format!("experiment `{}` cannot run on this deployment", reads.join("`, `")))
            })
        };
        let predicted = predicted(claim.id, &request.deployment).filter(|_| missing.is_none());
        planned.push(PlannedClaim { claim, resolved, missing, predicted, parameters, experiments: reads });
    }
    let wanted: BTreeSet<&str> = planned
        .iter()
        .filter(|claim| claim.missing.is_none())
        .flat_map(|claim| claim.experiments.iter().map(String::as_str))
        .collect();
    let every = planned.iter().any(|claim| claim.missing.is_none() && claim.claim.reads == Reads::Every);
    let all: Vec<Experiment> = possible
        .into_iter()
        // A claim that reads every history and is asked for alone needs all of them.
        .filter(|experiment| wanted.contains(experiment.name) || (wanted.is_empty() && every))
        .collect();
    // Of all that would be told: what a schedule leaves out is missed.
    let names: Vec<String> = all.iter().map(|experiment| experiment.name.to_owned()).collect();
    let told = all.iter().map(|experiment| (experiment.name.to_owned(), (experiment.steps)(&request.deployment)));
    let left_out = request.parts.as_ref().map(|parts| schedule::left_out(&told.collect::<Vec<_>>(), parts));
    let chosen: Vec<PlannedExperiment> =
        all.into_iter().filter_map(|experiment| planned_part(experiment, request, &planned)).collect();
    for claim in &mut planned {
        if claim.claim.reads == Reads::Every {
            claim.experiments.clone_from(&names);
        }
    }
    let (together, any_time) = batches(&chosen, parallel);
    let expected_wall = wall(any_time.iter().map(|planned| planned.expected), parallel)
        + together.iter().filter_map(|batch| batch.iter().map(|planned| planned.expected).max()).sum::<Duration>();
    Plan { experiments: chosen, claims: planned, expected_wall, left_out: left_out.unwrap_or_default() }
}

/// The experiment with what of it runs; `None` if nothing does.
fn planned_part(experiment: Experiment, request: &Request, claims: &[PlannedClaim]) -> Option<PlannedExperiment> {
    let part = match &request.parts {
        None => Part::Whole,
        Some(parts) => parts.get(experiment.name)?.clone(),
    };
    let demands = demands(experiment.name, claims);
    let expected = takes(&experiment, &part, &request.deployment, request.scale, &demands);
    Some(PlannedExperiment { experiment, expected, part, demands })
}

/// What the claims over this experiment that are applicable ask of its stretches, and how long they give a gateway: each time by the name of its parameter, and
/// by those of claim and parameter, where others have a parameter of this name, too.
fn demands(experiment: &str, claims: &[PlannedClaim]) -> Demands {
    let mut demands = Demands::default();
    // A claim that reads every history takes the stories as they are.
    let reads = |planned: &&PlannedClaim| {
        let chosen = matches!(planned.claim.reads, Reads::Experiments(_));
        chosen && planned.experiments.iter().any(|name| name == experiment)
    };
    let is_time = |parameter: &&Parameter| matches!(parameter.default, Some(Value::Seconds(_)));
    for planned in claims.iter().filter(|planned| planned.missing.is_none()).filter(reads) {
        for parameter in planned.claim.parameters.iter().filter(is_time) {
            let asked = planned.parameters.duration(parameter.name);
            demands.ask(parameter.name, asked);
            demands.ask(&format!("{} {}", planned.claim.id, parameter.name), asked);
        }
    }
    demands
}

/// About how long `part` of an experiment takes.
#[must_use]
pub fn takes(experiment: &Experiment, part: &Part, deployment: &Deployment, scale: f64, demands: &Demands) -> Duration {
    // Before its story a lab waits for a group's first primary.
    let formed = deployment.peering.as_ref().map_or(Duration::ZERO, Peering::formed_within);
    let whole = formed.mul_f64(scale) + (experiment.expected)(deployment, scale, demands);
    match part {
        Part::Whole => whole,
        // What is told before and after the steps takes about as long as one of them.
        Part::Steps(run) => {
            let there = (experiment.steps)(deployment);
            let [run, all] = [there.iter().filter(|step| run.contains(*step)).count(), there.len()]
                .map(|steps| u32::try_from(steps).unwrap_or(u32::MAX).saturating_add(1));
            whole.saturating_mul(run) / all
        }
    }
}

/// Those that begin and end together, batch by batch, when nothing else runs any more; and those that begin whenever there is room.
pub(super) fn batches(
    experiments: &[PlannedExperiment],
    parallel: usize,
) -> (Vec<Vec<&PlannedExperiment>>, Vec<&PlannedExperiment>) {
    let (together, any_time): (Vec<&PlannedExperiment>, Vec<&PlannedExperiment>) =
        experiments.iter().partition(|planned| experiments::compares_latencies(&planned.experiment));
    // As even as can be: three and two rather than four and one.
    let batches = together.len().div_ceil(parallel.max(1)).max(1);
    let size = together.len().div_ceil(batches).max(1);
    (together.chunks(size).map(<[_]>::to_vec).collect(), any_time)
}

/// Wall time when each starts as soon as one of `parallel` places is free.
fn wall(expected: impl Iterator<Item = Duration>, parallel: usize) -> Duration {
    let mut places = vec![Duration::ZERO; parallel.max(1)];
    for duration in expected {
        if let Some(place) = places.iter_mut().min() {
            *place += duration;
        }
    }
    places.into_iter().max().unwrap_or_default()
}

/// The claim's parameters: the profile's over the defaults, windows scaled; and why they are not whole, if they are not.
fn parameters(claim: &Claim, resolved: &Resolved, scale: f64) -> (Parameters, Option<String>) {
    let mut all = Parameters::default();
    let mut unsaid = None;
    for parameter in claim.parameters {
        let said = resolved.parameters.get(parameter.name);
        let window = matches!(parameter.default, Some(Value::Seconds(_)));
        let number = window || matches!(parameter.default, Some(Value::Millis(_) | Value::Number(_)));
        match (said, parameter.default) {
            // What a profile writes was checked with it; what it takes from a setting is seen here first.
            (Some(Scalar::Number(value)), _) if number && !(parameter.min..=parameter.max).contains(value) => {
                let (name, least, most) = (parameter.name, parameter.min, parameter.max);
                unsaid =
                    Some(format!("`{name}` is {value} by a setting of the deployment; legal are {least} to {most}"));
            }
            (Some(Scalar::Number(value)), _) => {
                all.numbers.insert(parameter.name.to_owned(), if window { value * scale } else { *value });
            }
            (Some(Scalar::Text(_) | Scalar::Boolean(_)), _) if number => {
                unsaid = Some(format!("`{}` is a setting of the deployment that is no number", parameter.name));
            }
            (Some(Scalar::Text(word)), _) => {
                all.words.insert(parameter.name.to_owned(), word.clone());
            }
            (Some(Scalar::Boolean(value)), _) => {
                all.words.insert(parameter.name.to_owned(), value.to_string());
            }
            (None, Some(Value::Seconds(value))) => {
                all.numbers.insert(parameter.name.to_owned(), value * scale);
            }
            (None, Some(Value::Millis(value) | Value::Number(value))) => {
                all.numbers.insert(parameter.name.to_owned(), value);
            }
            (None, Some(Value::Word(word))) => {
                all.words.insert(parameter.name.to_owned(), word.to_owned());
            }
            (None, None) => {
                unsaid = Some(format!("nobody documents `{}`: the profile must say it", parameter.name));
            }
        }
    }
    (all, unsaid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::recovery::SETTLE;

    #[test]
    fn patterns_select() {
        let only = |pattern: &str| vec![pattern.to_owned()];
        assert!(is_selected("QUO-01", &[]));
        assert!(is_selected("QUO-01", &only("QUO-*")));
        assert!(is_selected("CFG-02/b", &only("CFG-02")));
        assert!(is_selected("CFG-02/b", &only("CFG-02/b")));
        assert!(!is_selected("CFG-02/b", &only("CFG-02/a")));
        assert!(!is_selected("TOK-01", &only("QUO-*")));
    }

    #[test]
    fn a_number_that_comes_from_a_setting_is_scaled_and_held_to_its_range() {
        let claim = claims::all().into_iter().find(|claim| claim.id == "TOK-05").unwrap();
        let given = |value: Scalar| {
            let resolved = Resolved {
                declared: Declared::Holds,
                basis: gatecrash_model::profile::Basis::Documented,
                source: String::new(),
                parameters: BTreeMap::from([("ttl".to_owned(), value)]),
            };
            let (parameters, unsaid) = parameters(&claim, &resolved, 0.1);
            (parameters.number("ttl"), unsaid)
        };
        assert_eq!(given(Scalar::Number(600.0)), (60.0, None));
        let (_, unsaid) = given(Scalar::Number(1e9));
        assert_eq!(unsaid.unwrap(), "`ttl` is 1000000000 by a setting of the deployment; legal are 0 to 86400");
        let (_, unsaid) = given(Scalar::Text("long".to_owned()));
        assert_eq!(unsaid.unwrap(), "`ttl` is a setting of the deployment that is no number");
    }

    /// The claim as a profile with these parameters plans it, at a tenth.
    fn planned(id: &str, said: &[(&str, f64)]) -> PlannedClaim {
        let claim = claims::all().into_iter().find(|claim| claim.id == id).unwrap();
        let said = said.iter().map(|(name, value)| ((*name).to_owned(), Scalar::Number(*value)));
        let resolved = Resolved {
            declared: Declared::Holds,
            basis: gatecrash_model::profile::Basis::Documented,
            source: String::new(),
            parameters: said.collect(),
        };
        let (parameters, _) = parameters(&claim, &resolved, 0.1);
        let Reads::Experiments(names) = claim.reads else { panic!("{id} reads every experiment") };
        let experiments = names.iter().map(|name| (*name).to_owned()).collect();
        PlannedClaim { claim, resolved, missing: None, predicted: None, parameters, experiments }
    }

    #[test]
    fn a_story_is_as_long_as_its_claims_ask_it_to_be() {
        let seconds = Duration::from_secs_f64;
        let asked = |claims: &[PlannedClaim], experiment: &str, parameter: &str| {
            demands(experiment, claims).stretched(Duration::ZERO + seconds(1.0), parameter, seconds(1.0), 0.0)
        };
        let usual = [planned("CFG-01", &[]), planned("CAC-04", &[])];
        assert_eq!(asked(&usual, "control-plane-outage", "outage"), seconds(6.0));
        assert_eq!(asked(&usual, "cache-store-loss", "settle"), seconds(1.0));
        assert_eq!(demands("http-cache", &usual), Demands::default());
        let long = [planned("CFG-01", &[("outage", 300.0)]), planned("CAC-04", &[("settle", 45.0)])];
        assert_eq!(asked(&long, "control-plane-outage", "outage"), seconds(30.0));
        assert_eq!(asked(&long, "cache-store-loss", "settle"), seconds(4.5));
        // What is not judged asks for nothing.
        let mut away = planned("CFG-01", &[("outage", 300.0)]);
        away.missing = Some("no control plane".to_owned());
        assert_eq!(demands("control-plane-outage", &[away]), Demands::default());
    }

    #[test]
    fn every_story_listens_to_what_is_asked_of_it_and_is_as_it_was_by_default() {
        let yaml = "version: \"1.0\"\nname: test\nprofile: test\ngateway: {adapter: reference, settings: {revocation: introspection}}\nsites:\n  - {name: eu, replicas: 3}\n  - {name: us, replicas: 2}\n";
        let mut deployment = gatecrash_model::deployment::yaml::parse("test.yaml", yaml).unwrap();
        deployment.peering = Some(Peering { failover: Duration::from_secs(10) });
        let all = experiments::all();
        // What is held for as long as it is asked for; what is only waited for ends sooner where it comes.
        let is_held = |claim: &str, parameter: &str| {
            let always = ["observe", "outage", SETTLE.name, "t_heal", "recovers", "recovers_kept"];
            always.contains(&parameter)
                || (["TOK-03", "PAR-03", "OVL-03"].contains(&claim) && parameter == "within")
                || (claim.starts_with("PAR") && parameter == "failover")
        };
        for claim in claims::all() {
            let Reads::Experiments(names) = claim.reads else { continue };
            for parameter in claim.parameters.iter().filter(|parameter| is_held(claim.id, parameter.name)) {
                let Some(Value::Seconds(default)) = parameter.default else {
                    panic!("{}: `{}` is no time", claim.id, parameter.name)
                };
                for name in names {
                    let experiment = all.iter().find(|experiment| experiment.name == *name).unwrap();
                    let takes = |claims: &[PlannedClaim]| {
                        takes(experiment, &Part::Whole, &deployment, 0.1, &demands(name, claims))
                    };
                    let what = format!("`{}` of {} in `{name}`", parameter.name, claim.id);
                    assert_eq!(takes(&[planned(claim.id, &[])]), takes(&[]), "{what} by default");
                    // At least the half of what is asked for more: CFG-07's halves are two.
                    let asked = (default + 1_000.0).min(parameter.max);
                    let more = takes(&[planned(claim.id, &[(parameter.name, asked)])]);
                    let longer = Duration::from_secs_f64((asked - default) * 0.1 - 1.0);
                    assert!(more >= takes(&[]) + longer, "{what}: {more:?}");
                }
            }
        }
    }

    #[test]
    fn places_are_filled_as_they_fall_free() {
        let seconds = |all: &[u64]| all.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
        assert_eq!(wall(seconds(&[4, 3, 2, 1]).into_iter(), 2), Duration::from_secs(5));
        assert_eq!(wall(seconds(&[]).into_iter(), 2), Duration::ZERO);
    }
}
