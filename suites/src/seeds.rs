//! Which claim is about which sentence of the two documents that the project came from? Claims name sentences in their `source`: I1 to I21 are those on
//! API Connect and DataPower, M1 to M20 those on managed Flex Gateway (claims.md, sections 1a and 1b). What no claim names has a note that says why.

use crate::claims;
use std::collections::BTreeMap;

/// Sentences of each document, from 1.
const DOCUMENTS: [(char, u32); 2] = [('I', 21), ('M', 20)];

/// Sentences that no claim is about, and why.
const NOTES: &[(&str, &str)] = &[
    ("I2", "no claim of its own: every claim runs at every site of any deployment"),
    ("I9", "context: nothing can be observed of it"),
];

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// `M18`.
    pub id: String,
    /// Claims that name it, ordered.
    pub claims: Vec<&'static str>,
    /// Why none does; `None` if one does.
    pub note: Option<&'static str>,
}

/// All sentences, in the order of the documents.
#[must_use]
pub fn sentences() -> Vec<Sentence> {
    let mut named: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for claim in claims::all() {
        for id in ids(claim.source) {
            named.entry(id).or_default().push(claim.id);
        }
    }
    let all =
        DOCUMENTS.iter().flat_map(|(document, last)| (1..=*last).map(move |number| format!("{document}{number}")));
    all.map(|id| Sentence {
        claims: named.get(&id).cloned().unwrap_or_default(),
        note: NOTES.iter().find(|(noted, _)| *noted == id).map(|(_, note)| *note),
        id,
    })
    .collect()
}

/// The sentences that a source names: words of `I` or `M` and a number.
fn ids(source: &str) -> impl Iterator<Item = String> {
    source.split(|letter: char| !letter.is_ascii_alphanumeric()).filter_map(|word| {
        let number: u32 = word.strip_prefix(['I', 'M'])?.parse().ok()?;
        let document = word.chars().next()?;
        DOCUMENTS.iter().any(|(of, last)| *of == document && (1..=*last).contains(&number)).then(|| word.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_has_a_claim_or_a_note_and_none_has_both() {
        let all = sentences();
        assert_eq!(all.len(), 41);
        for sentence in all {
            assert!(sentence.claims.is_empty() != sentence.note.is_none(), "{sentence:?}");
        }
    }

    #[test]
    fn notes_are_about_sentences_and_name_no_claim_that_there_is() {
        let all = sentences();
        let known: Vec<&str> = claims::all().iter().map(|claim| claim.id).collect();
        for (id, note) in NOTES {
            assert!(all.iter().any(|sentence| sentence.id == *id), "{id}");
            if note.contains("not built yet") {
                let before = note.split("not built yet").next().unwrap();
                assert!(!known.iter().any(|claim| before.contains(claim)), "{id}: {note}");
            }
        }
    }

    #[test]
    fn ids_are_whole_words() {
        let found: Vec<String> = ids("seeds M15, M17 (K1); I99, XI4, row 12, I20: IBM").collect();
        assert_eq!(found, ["M15", "M17", "I20"]);
    }
}
