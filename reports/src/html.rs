//! What do a manager, an operator and an engineer look at? `report.html`: one file, no network, no scripts.
//!
//! Headline and totals first, then a row for each claim with its evidence one click below, then for each experiment
//! the picture (`picture`) with its faults, then environment and effective deployment. Every text goes through the
//! template's escaping; only our own drawing is put in as it is.

mod picture;
mod plot;

use crate::Error;
use crate::summary::{self, STANDINGS, Totals};
use gatecrash_model::profile::{Basis, Scalar};
use gatecrash_model::run_record::{ClaimRecord, ExperimentRecord, RunRecord};
use gatecrash_model::verdict::{Number, Standing, Verdict};
use minijinja::{Environment, Value, context};
use picture::{Quota, Replica};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");

/// The text of `report.html`.
///
/// # Errors
/// If the page's template fails; no record can cause that.
pub fn render(record: &RunRecord) -> Result<String, Error> {
    let mut environment = Environment::new();
    // The name's ending is what turns escaping on.
    environment.add_template("report.html", PAGE).map_err(Error::Html)?;
    let totals = Totals::of(&record.claims);
    let tiles: Vec<Value> = STANDINGS
        .iter()
        .map(|standing| {
            context! {
                word => standing.as_str(), count => totals.count(*standing), meaning => summary::meaning(*standing),
            }
        })
        .collect();
    let experiments: Vec<Value> = record.experiments.iter().map(|ran| experiment(ran, record)).collect();
    let deployment = serde_json::to_string_pretty(&record.deployment).map_err(Error::Json)?;
    let page = context! {
        style => Value::from_safe_string(STYLE.to_owned()),
        headline => summary::headline(record),
        result => record.result.as_str(),
        denominator => summary::denominator(record),
        judged => record.denominator.judged,
        all => record.denominator.all,
        tiles,
        marginal => totals.marginal,
        claims => record.claims.iter().map(claim).collect::<Vec<_>>(),
        experiments,
        facts => facts(record),
        environment => record.environment.clone(),
        cut_short => record.cut_short.clone(),
        deployment_name => record.deployment.name.clone(),
        product => record.product.clone(),
        started => record.started.clone(),
        deployment,
    };
    environment.get_template("report.html").map_err(Error::Html)?.render(page).map_err(Error::Html)
}

fn facts(record: &RunRecord) -> Vec<(&'static str, String)> {
    let deployment = &record.deployment;
    let sites: Vec<String> = deployment
        .sites
        .iter()
        .map(|site| {
            format!("{} ({}, zones {})", site.name, summary::counted(site.replicas, "replica"), site.zones.join(", "))
        })
        .collect();
    let quota = &deployment.quota;
    let window = u64::try_from(quota.window.as_millis()).unwrap_or(u64::MAX);
    let mut facts = vec![
        ("run", record.run.clone()),
        ("seed", record.seed.0.to_string()),
        ("runtime", record.runtime.clone()),
        ("scale", summary::amount(record.scale)),
        ("started", record.started.clone()),
        ("time", summary::times(record)),
        ("profile", format!("{} ({}), at least {} judged", record.profile, record.product, record.minimum_judged)),
        ("gateway adapter", deployment.gateway.adapter.clone()),
        ("sites", sites.join("; ")),
        ("quota", format!("{} in {} before scaling", summary::counted(quota.limit, "request"), summary::span(window))),
        ("gatecrash", record.gatecrash.clone()),
    ];
    for shrunk in &record.shrunk {
        facts.push(("smallest schedule", format!("{}: {} {}", shrunk.claim, shrunk.outcome, shrunk.command)));
    }
    facts
}

fn claim(claim: &ClaimRecord) -> Value {
    let (samples, events, notes) = match &claim.verdict {
        Verdict::Holds(evidence) => (Some(evidence.samples), String::new(), evidence.notes.clone()),
        Verdict::Violated(found) => (Some(found.samples), summary::events(&found.events), Vec::new()),
        Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => (None, String::new(), Vec::new()),
    };
    let explanation = if claim.standing == Standing::NotApplicable {
        summary::not_applicable_because(claim)
    } else {
        summary::explanation(claim)
    };
    let parameters: Vec<(String, String)> =
        claim.parameters.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
    context! {
        id => claim.id.as_str().to_owned(),
        statement => claim.statement.clone(),
        declared => summary::declared(claim.declared),
        observed => summary::observed(claim.verdict.observed()),
        standing => claim.standing.as_str(),
        meaning => summary::meaning(claim.standing),
        decided => summary::decided_by(claim),
        marginal => summary::is_marginal(claim),
        open => claim.standing == Standing::Fail,
        explanation,
        samples,
        events,
        notes,
        numbers => claim.verdict.numbers().iter().map(number).collect::<Vec<_>>(),
        predicted => claim.predicted.clone(),
        parameters,
        source => claim.source.clone(),
        basis => match claim.basis { Basis::Documented => "documented", Basis::Expected => "expected" },
        declared_source => claim.declared_source.clone(),
        experiments => claim.experiments.clone(),
        repeat => claim.repeat.clone(),
    }
}

fn number(number: &Number) -> Value {
    context! {
        name => number.name.clone(),
        value => summary::measured(number.value, &number.unit),
        limit => number.limit.map(|limit| summary::measured(limit, &number.unit)),
        marginal => number.marginal,
    }
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(value) => summary::amount(*value),
        Scalar::Text(text) => text.clone(),
    }
}

fn experiment(ran: &ExperimentRecord, record: &RunRecord) -> Value {
    let quota = &record.deployment.quota;
    let window_ms = quota.window.as_secs_f64() * 1000.0 * record.scale;
    let quota = Quota { limit: quota.limit, window_ms };
    let replicas = picture::replicas(&ran.series);
    let faults: Vec<Value> = ran
        .series
        .faults
        .iter()
        .enumerate()
        .map(|(position, fault)| {
            context! {
                number => position + 1, name => fault.name.clone(), from => summary::span(fault.from_ms),
                to => summary::span(fault.to_ms), proven => fault.proven, detail => fault.detail.clone(), event => fault.event,
            }
        })
        .collect();
    let read_by: Vec<String> = record
        .claims
        .iter()
        .filter(|claim| claim.experiments.contains(&ran.name))
        .map(|claim| claim.id.as_str().to_owned())
        .collect();
    let legend: Vec<(String, usize)> = replicas.into_iter().map(|Replica { name, colour }| (name, colour)).collect();
    context! {
        name => ran.name.clone(),
        story => ran.story.clone(),
        time => summary::span(ran.wall_ms),
        events => ran.events,
        history => ran.history.clone(),
        problem => ran.problem.clone(),
        faults,
        read_by,
        legend,
        has_traffic => !ran.series.traffic.is_empty(),
        bin => summary::span(ran.series.bin_ms),
        picture => Value::from_safe_string(picture::draw(&ran.name, &ran.series, quota)),
    }
}
