//! `gatecrash explain CLAIM`: everything that is known about one claim.

use super::put;
use crate::error::Error;
use crate::exit::Exit;
use gatecrash_fixtures::gateway::defects::Defect;
use gatecrash_model::Claim;
use gatecrash_model::claim::{Parameter, Reads, Value};
use gatecrash_model::profile::DeclaredAs;
use gatecrash_model::verdict::Declared;
use gatecrash_suites::{claims, experiments, profiles};

pub(super) fn run(id: &str) -> Result<Exit, Error> {
    let all = claims::all();
    let claim = all.iter().find(|claim| claim.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
        let ids: Vec<&str> = all.iter().map(|claim| claim.id).collect();
        Error::Input(format!("claim `{id}` does not exist; claims are {}", ids.join(", ")))
    })?;
    let mut text = explain(claim).join("\n");
    text.push('\n');
    put(&text)?;
    Ok(Exit::AsDeclared)
}

fn explain(claim: &Claim) -> Vec<String> {
    let level = claim.level.as_str();
    let mut lines = vec![format!("{} ({level})", claim.id), format!("  {}", claim.statement)];
    lines.push(format!("source\n  {}", claim.source));
    lines.push(format!("at least {} observations, else inconclusive", claim.minimum));
    if !claim.needs.is_empty() {
        let needs: Vec<String> = claim.needs.iter().map(word).collect();
        lines.push(format!("needs\n  {}", needs.join(", ")));
    }
    if !claim.parameters.is_empty() {
        lines.push("parameters".to_owned());
        lines.extend(claim.parameters.iter().map(parameter));
    }
    lines.push("reads".to_owned());
    match claim.reads {
        Reads::Every => lines.push("  the history of every experiment".to_owned()),
        Reads::Experiments(names) => {
            let known = experiments::all();
            let widest = names.iter().map(|name| name.len()).max().unwrap_or_default();
            for name in names {
                let story = known.iter().find(|known| known.name == *name).map_or("", |known| known.story);
                lines.push(format!("  {name:<widest$}  {story}"));
            }
        }
    }
    lines.push("declared".to_owned());
    for (name, text) in profiles::builtin() {
        // Profiles that come with gatecrash are held to be legal by a test.
        let Ok(profile) = profiles::parse(name, text) else { continue };
        let (said, source) = profile.claims.get(&claim.claim_id()).map_or_else(
            || ("not-applicable".to_owned(), String::new()),
            |declaration| (declared(&declaration.declared), declaration.source.clone()),
        );
        lines.push(format!("  {name:<20} {said}{}{source}", if source.is_empty() { "" } else { ": " }));
    }
    let caught: Vec<&str> = Defect::list()
        .into_iter()
        .filter(|defect| defect.claims.contains(&claim.id))
        .map(|defect| defect.name)
        .collect();
    lines.push(format!(
        "must catch the defects\n  {}",
        if caught.is_empty() { "none".to_owned() } else { caught.join(", ") }
    ));
    lines
}

fn parameter(parameter: &Parameter) -> String {
    let default = match parameter.default {
        None => "no default".to_owned(),
        Some(Value::Seconds(value)) => format!("{value} s"),
        Some(Value::Millis(value)) => format!("{value} ms"),
        Some(Value::Number(value)) => value.to_string(),
        Some(Value::Word(value)) => value.to_owned(),
    };
    let legal = if parameter.words.is_empty() {
        format!("{} to {}", parameter.min, parameter.max)
    } else {
        parameter.words.join(", ")
    };
    format!("  {:<18} {default} ({legal}): {}", parameter.name, parameter.help)
}

fn declared(written: &DeclaredAs) -> String {
    match written {
        DeclaredAs::Always(declared) => word(declared),
        DeclaredAs::When { condition, then, otherwise } => {
            format!("{} if {condition}, else {}", word::<Declared>(then), word::<Declared>(otherwise))
        }
    }
}

/// An enum's word as users write it.
fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_is_explained() {
        for claim in claims::all() {
            let text = explain(&claim).join("\n");
            assert!(text.contains(claim.statement) && text.contains(claim.source), "{text}");
            assert!(text.contains("flex-managed"), "{text}");
        }
        assert!(matches!(run("QUO-99"), Err(Error::Input(text)) if text.contains("QUO-01")));
    }
}
