//! `gatecrash plan`: what would `certify` do, how long would it take, what would it touch?

use super::certify::asked;
use super::put;
use crate::args::Certify;
use crate::error::Error;
use crate::exit::Exit;
use crate::prepare::{Prepared, prepare};
use crate::times::short;
use gatecrash_model::deployment::StoreKind;
use gatecrash_model::quorum::Layout;
use gatecrash_model::schedule::Part;
use gatecrash_model::verdict::Declared;
use std::fmt::Write as _;
use std::path::Path;

pub(super) async fn run(certify: Certify) -> Result<Exit, Error> {
    let is_named = certify.out.is_some();
    let mut prepared = prepare(&asked(certify)?).await?;
    // No run comes of this one: the same seed says the same.
    prepared.run = "<run>".to_owned();
    if !is_named {
        prepared.shown_folder = Path::new("target/gatecrash").join(&prepared.run);
    }
    put(&format!("seed {}\n{}\n{}", prepared.request.seed.0, text(&prepared), steps(&prepared)))?;
    Ok(Exit::AsDeclared)
}

/// What a schedule may leave out, a line for each experiment that has steps.
fn steps(prepared: &Prepared) -> String {
    let mut text = String::new();
    for planned in &prepared.plan.experiments {
        let steps = (planned.experiment.steps)(&prepared.request.deployment);
        if !steps.is_empty() {
            let before = if text.is_empty() { "steps, which a schedule may leave out\n" } else { "" };
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{before}  {}: {}", planned.experiment.name, steps.join(", "));
        }
    }
    text
}

/// The plan in words, without a newline at its end.
pub(super) fn text(prepared: &Prepared) -> String {
    let (plan, request) = (&prepared.plan, &prepared.request);
    let mut lines = vec![format!("runtime {}", prepared.runtime.name())];
    lines.extend(prepared.runtime.environment().into_iter().map(|sentence| format!("  {sentence}")));
    let deployment = &request.deployment;
    let sites: Vec<String> =
        deployment.sites.iter().map(|site| format!("{} ({} replicas)", site.name, site.replicas)).collect();
    lines.push(format!(
        "deployment {}, gateway {}, profile {}, sites {}, scale {}",
        deployment.name,
        request.adapter.name,
        request.profile.name,
        sites.join(", "),
        request.scale
    ));
    if deployment.store.as_ref().is_some_and(|store| store.kind == StoreKind::Redis) {
        lines.push("store Redis where one is found, else the store stub; the report says which".to_owned());
    }
    if let Some(layout) = Layout::of(deployment) {
        lines.push("peering".to_owned());
        lines.extend(layout.sentences().into_iter().map(|sentence| format!("  {sentence}")));
    }
    if !deployment.gateway.defects.is_empty() {
        lines.push(format!("defects switched on: {}", deployment.gateway.defects.join(", ")));
    }

    lines.push(format!("experiments {}, at most {} at the same time", plan.experiments.len(), prepared.parallel));
    let widest = plan.experiments.iter().map(|planned| planned.experiment.name.len()).max().unwrap_or_default();
    for planned in &plan.experiments {
        let experiment = &planned.experiment;
        lines.push(format!("  {:<widest$}  {:>11}  {}", experiment.name, short(planned.expected), experiment.story));
        if let Part::Steps(steps) = &planned.part {
            let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
            let told =
                if steps.is_empty() { "none of its steps".to_owned() } else { format!("only {}", steps.join(", ")) };
            lines.push(format!("  {:<widest$}  {:>11}  {told}", "", ""));
        }
    }

    let mut judged = String::new();
    let mut left_out = Vec::new();
    for planned in &plan.claims {
        match &planned.missing {
            Some(missing) => left_out.push(format!("  {:<9} {missing}", planned.claim.id)),
            None if planned.resolved.declared == Declared::NotApplicable => {
                left_out.push(format!("  {:<9} {}", planned.claim.id, planned.resolved.source));
            }
            None => {
                let separator = if judged.is_empty() { "" } else { " " };
                // Writing to a string cannot fail.
                let _infallible = write!(judged, "{separator}{}", planned.claim.id);
            }
        }
    }
    let applicable = plan.claims.len().saturating_sub(left_out.len());
    lines.push(format!("claims {applicable} of {} apply: {judged}", plan.claims.len()));
    if !left_out.is_empty() {
        lines.push("not applicable:".to_owned());
        lines.extend(left_out);
    }
    let predicted = plan.claims.iter().filter_map(|planned| Some((planned.claim.id, planned.predicted.as_ref()?)));
    let predicted: Vec<String> = predicted.map(|(id, words)| format!("  {id:<9} {words}")).collect();
    if !predicted.is_empty() {
        lines.push("predicted from the topology:".to_owned());
        lines.extend(predicted);
    }

    lines.push(format!("expected time {}", short(plan.expected_wall)));
    lines.push(format!("touches {}", touched(prepared)));
    lines.join("\n")
}

fn touched(prepared: &Prepared) -> String {
    let objects = if prepared.runtime.name() == "docker" {
        format!("containers and networks with the label gatecrash.run={}", prepared.run)
    } else {
        "processes started by it, on loopback addresses".to_owned()
    };
    format!("{objects}; files below {}", prepared.shown_folder.display())
}
