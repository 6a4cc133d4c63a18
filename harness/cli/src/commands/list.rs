//! `gatecrash list`: which claims, profiles, deployments, adapters and defects are there?

use super::put;
use crate::error::Error;
use crate::exit::Exit;
use gatecrash_fixtures::adapters;
use gatecrash_fixtures::gateway::defects::Defect;
use gatecrash_suites::seeds::{self, Sentence};
use gatecrash_suites::{claims, profiles};
use std::collections::BTreeSet;

pub(super) fn run(sentences: bool, defects: bool) -> Result<Exit, Error> {
    let lines = match (sentences, defects) {
        (true, _) => list_sentences(),
        (false, true) => list_defects(),
        (false, false) => list_all(),
    };
    let mut text = lines.join("\n");
    text.push('\n');
    put(&text)?;
    Ok(Exit::AsDeclared)
}

fn list_all() -> Vec<String> {
    // A claim whose parts are declared one by one is one of the catalogue.
    let ids = claims::all().iter().map(|claim| claim.id.split('/').next().unwrap_or(claim.id)).collect::<BTreeSet<_>>();
    let mut lines = vec![format!("{} claims, {} with their parts", ids.len(), claims::all().len())];
    lines.extend(
        claims::all().iter().map(|claim| {
            format!("  {:<9} {:<8} {} [{}]", claim.id, claim.level.as_str(), claim.statement, claim.source)
        }),
    );
    lines.push(format!("profiles    {}", joined(profiles::builtin().iter().map(|(name, _)| *name))));
    lines.push(format!("deployments {}", joined(adapters::deployments().iter().map(|built_in| built_in.name))));
    lines.push(format!("adapters    {}", joined(adapters::builtin().iter().map(|built_in| built_in.name))));
    lines
}

fn list_sentences() -> Vec<String> {
    let line = |sentence: Sentence| {
        let what = sentence.note.map_or_else(|| sentence.claims.join(", "), |note| format!("none: {note}"));
        format!("{:<4} {what}", sentence.id)
    };
    seeds::sentences().into_iter().map(line).collect()
}

fn list_defects() -> Vec<String> {
    let mut lines = Vec::new();
    for defect in Defect::list() {
        lines.push(format!("{} (caught by {})", defect.name, defect.claims.join(", ")));
        lines.push(format!("  {}", defect.doc));
    }
    lines
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_listed() {
        let text = list_all().join("\n");
        for name in ["QUO-01", "TOK-03", "flex-managed", "envoy-two-sites", "reference"] {
            assert!(text.contains(name), "{name}");
        }
        let sentences = list_sentences();
        assert!(sentences.contains(&"M18  CON-02".to_owned()), "{sentences:?}");
        let defects = list_defects();
        assert_eq!(defects.len(), 2 * Defect::ALL.len());
        assert!(defects.contains(&"quota.reset-on-restart (caught by QUO-05)".to_owned()), "{defects:?}");
    }
}
