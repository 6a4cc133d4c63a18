//! Whatever stands in a file: no parser panics, and every mistake has a place in the file.
//!
//! The files that come with gatecrash are damaged in the ways in which files are: cut, doubled, mistyped, indented
//! wrongly; and there is plain noise.

use gatecrash_model::claim::{Parameter, Value};
use gatecrash_model::input::{InputError, decode};
use gatecrash_model::{adapter, deployment, profile};
use proptest::prelude::*;

const DEPLOYMENTS: [&str; 2] = [
    include_str!("../../../fixtures/deployments/flex-managed.yaml"),
    include_str!("../../../fixtures/deployments/datapower-kubernetes.yaml"),
];
const PROFILES: [&str; 2] = [
    include_str!("../../../suites/profiles/flex-self-managed.yaml"),
    include_str!("../../../suites/profiles/envoy.yaml"),
];
const ADAPTERS: [&str; 2] =
    [include_str!("../../../fixtures/adapters/reference.yaml"), include_str!("../../../fixtures/adapters/envoy.yaml")];

/// Parameters that the profiles name; enough for all of their lines to be read.
const PARAMETERS: &[Parameter] =
    &[parameter("mode"), parameter("unit"), parameter("ttl"), count("zones"), count("maximum")];

const fn count(name: &'static str) -> Parameter {
    Parameter { name, default: Some(Value::Number(2.0)), min: 1.0, max: 64.0, words: &[], help: "" }
}

const fn parameter(name: &'static str) -> Parameter {
    let words = &["closed", "open", "local", "error", "site", "replica"];
    Parameter { name, default: Some(Value::Word("local")), min: 0.0, max: 1.0, words, help: "" }
}

/// Claims by their ids in the profiles themselves.
fn known() -> Vec<(&'static str, &'static [Parameter])> {
    let ids = PROFILES[0].lines().filter_map(|line| line.strip_prefix("  ")?.split_once(':'));
    let ids = ids.map(|(id, _)| id).filter(|id| id.starts_with(|first: char| first.is_ascii_uppercase()));
    ids.map(|id| (id, PARAMETERS)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Parser {
    Deployment,
    Profile,
    Adapter,
}

impl Parser {
    fn parse(self, text: &str) -> Result<(), InputError> {
        match self {
            Self::Deployment => deployment::yaml::parse("a.yaml", text).map(drop),
            Self::Profile => profile::yaml::parse("a.yaml", text, &known()).map(drop),
            Self::Adapter => adapter::yaml::parse("a.yaml", text, &mut |_| Ok("{{ listen }}".to_owned())).map(drop),
        }
    }

    fn samples(self) -> [&'static str; 2] {
        match self {
            Self::Deployment => DEPLOYMENTS,
            Self::Profile => PROFILES,
            Self::Adapter => ADAPTERS,
        }
    }
}

fn parsers() -> impl Strategy<Value = Parser> {
    prop::sample::select(vec![Parser::Deployment, Parser::Profile, Parser::Adapter])
}

/// If it is refused, then with at least one mistake, each at a line and column that the text has (or its end).
fn has_places(parsed: Result<(), InputError>, text: &str) -> Result<(), TestCaseError> {
    let Err(error) = parsed else { return Ok(()) };
    prop_assert!(!error.mistakes.is_empty());
    // In YAML a carriage return alone ends a line too.
    let lines = u64::try_from(text.matches(['\n', '\r']).count()).unwrap_or(u64::MAX).saturating_add(1);
    for mistake in &error.mistakes {
        let at = mistake.at;
        prop_assert!(at.line >= 1 && at.column >= 1, "{at:?}: {}", mistake.message);
        prop_assert!(at.line <= lines, "{at:?} in {lines} lines: {}", mistake.message);
        prop_assert!(!mistake.message.trim().is_empty());
    }
    let first = error.mistakes[0].at;
    let shown = error.to_string();
    prop_assert!(shown.starts_with(&format!("a.yaml:{}:{}: ", first.line, first.column)), "{shown}");
    // A terminal is not flooded, whatever the file is.
    prop_assert!(shown.len() < 40_000, "{} bytes", shown.len());
    Ok(())
}

/// One way in which a file goes wrong.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    DoubleLine(prop::sample::Index),
    SwapLines(prop::sample::Index, prop::sample::Index),
    Indent(prop::sample::Index, usize),
    Replace(prop::sample::Index, &'static str),
}

fn damages() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let words = vec![
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!!binary ",
        "<<: ",
        "|",
        ">",
        "- ",
        ": ",
        "\t",
        "\u{0}",
        "\u{feff}",
        "\r",
        "---\n",
        "...\n",
        "? ",
        "'",
        "\"",
        "#",
        "%YAML 9.9\n",
        "~",
        "null",
        ".inf",
        "-0",
        "1e999",
        "0x7fffffffffffffff",
        "{{",
        "%}",
    ];
    prop_oneof![
        index().prop_map(Damage::Cut),
        (index(), 1_usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        (index(), "\\PC{0,12}").prop_map(|(at, text)| Damage::Insert(at, text)),
        index().prop_map(Damage::DoubleLine),
        (index(), index()).prop_map(|(one, other)| Damage::SwapLines(one, other)),
        (index(), 1_usize..9).prop_map(|(at, by)| Damage::Indent(at, by)),
        (index(), prop::sample::select(words)).prop_map(|(at, word)| Damage::Replace(at, word)),
    ]
}

fn damaged(text: &str, damage: &Damage) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    match damage {
        Damage::Cut(at) => characters.truncate(at.index(characters.len() + 1)),
        Damage::Remove(at, count) => {
            let from = at.index(characters.len() + 1);
            let to = (from + count).min(characters.len());
            characters.drain(from..to);
        }
        Damage::Insert(at, inserted) => {
            let at = at.index(characters.len() + 1);
            characters.splice(at..at, inserted.chars());
        }
        Damage::Replace(at, word) => {
            let at = at.index(characters.len() + 1);
            let to = (at + 1).min(characters.len());
            characters.splice(at..to, word.chars());
        }
        Damage::DoubleLine(at) => {
            let at = at.index(lines.len());
            lines.insert(at, lines[at].clone());
            return lines.join("\n");
        }
        Damage::SwapLines(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
            return lines.join("\n");
        }
        Damage::Indent(at, by) => {
            let at = at.index(lines.len());
            lines[at].insert_str(0, &" ".repeat(*by));
            return lines.join("\n");
        }
    }
    characters.into_iter().collect()
}

#[test]
fn the_samples_are_read() {
    for parser in [Parser::Deployment, Parser::Profile, Parser::Adapter] {
        for text in parser.samples() {
            parser.parse(text).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(parser in parsers(), text in "(\\PC|\n|\t|\r|\u{0}){0,300}") {
        has_places(parser.parse(&text), &text)?;
    }

    #[test]
    fn yaml_like_noise(parser in parsers(), text in "([a-z]{1,6}(: |:\n  )|[\\[\\]{},&*!|>'\"#-]|\n {0,6}|[0-9.]{1,6}){0,80}") {
        has_places(parser.parse(&text), &text)?;
    }

    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = decode("a.yaml", &bytes);
        prop_assert_eq!(text.is_ok(), std::str::from_utf8(&bytes).is_ok());
        has_places(text.map(drop), &String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn damaged_files(
        parser in parsers(),
        second in any::<bool>(),
        damage in prop::collection::vec(damages(), 1..5),
    ) {
        let mut text = parser.samples()[usize::from(second)].to_owned();
        for one in &damage {
            text = damaged(&text, one);
        }
        has_places(parser.parse(&text), &text)?;
    }
}
