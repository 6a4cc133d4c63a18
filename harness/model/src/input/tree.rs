//! YAML to a tree whose every node knows its place, within budgets.

use super::{InputError, MAX_BYTES, Mistakes, Position};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// Deepest nesting; the deepest real file has six levels.
const MAX_DEPTH: usize = 24;
/// Most nodes, replayed aliases included.
const MAX_NODES: usize = 50_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What YAML can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; keys may repeat.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) at: Position,
    pub(crate) text: String,
}

impl Value {
    /// What it is, in words, for "`x` is a list".
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Null => "empty".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(text) => {
                let mut shown: String = text.chars().take(40).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                format!("`{}`", shown.escape_debug())
            }
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a map".to_owned(),
        }
    }
}

fn position(location: Location) -> Position {
    if location == Location::UNKNOWN {
        return Position::default();
    }
    Position { line: location.line(), column: location.column() }
}

/// Wraps what serde-saphyr builds: a spanned value at every level.
struct Spotted(Node);

impl<'de> Deserialize<'de> for Spotted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self(Node { at: position(spanned.referenced), value: spanned.value }))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of the files are far below 2^53; a greater one is out of every range"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "as above")]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Spotted(node)) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let Spotted(node) = entries.next_value()?;
            map.push((Key { at: position(key.referenced), text: key.value }, node));
        }
        Ok(Value::Map(map))
    }
}

/// The tree of `text`.
///
/// # Errors
/// What is not YAML, or is past a budget: larger than 1 MiB, deeper than 24, more than 50,000 nodes.
pub(crate) fn read(source_name: &str, text: &str) -> Result<Node, InputError> {
    let mut mistakes = Mistakes::new(source_name, text);
    if text.len() > MAX_BYTES {
        mistakes.add(Position::default(), super::too_large());
        return mistakes.finish(None);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 4,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spotted>(text, options) {
        Ok(Spotted(node)) => mistakes.finish(Some(node)),
        Err(error) => {
            let at = error.location().map(position).unwrap_or_default();
            // The message ends with a place of its own, which is said already.
            let message = error.without_snippet().to_string();
            let message = match message.split(" at line ").next().unwrap_or_default().trim() {
                "recursion limit exceeded" => format!("nested too deep; at most {MAX_DEPTH} levels are read"),
                other => other.to_owned(),
            };
            mistakes.add(at, message);
            mistakes.finish(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, read};
    use test_case::test_case;

    #[test]
    fn every_value_knows_its_place() {
        let node = read("a.yaml", "a: [1, x]\nb:\n  c: on\n").unwrap();
        let Value::Map(entries) = node.value else { panic!("not a map") };
        let Value::List(list) = &entries[0].1.value else { panic!("not a list") };
        assert_eq!((list[1].at.line, list[1].at.column), (1, 8));
        let Value::Map(inner) = &entries[1].1.value else { panic!("not a map") };
        assert_eq!((inner[0].0.at.line, inner[0].0.at.column), (3, 3));
        assert_eq!(inner[0].1.value, Value::Text("on".to_owned()));
    }

    #[test_case(&"[".repeat(10_000_000), "bytes" ; "ten megabytes of nested lists")]
    #[test_case(&"[".repeat(1_000_000), "1:25: nested too deep; at most 24 levels are read" ; "a megabyte of nested lists")]
    #[test_case(&"- ".repeat(500_000), "1:" ; "a megabyte of nested block lists")]
    #[test_case(&bomb(), "" ; "nested anchors")]
    #[test_case("a: *b", "1:4: " ; "unknown anchor")]
    #[test_case("a:\n\tb: 2", "2:2: tabs disallowed" ; "tab as indentation")]
    #[test_case("a: [1, 2", "" ; "cut off")]
    #[test_case("a: 1\n---\nb: 2", "" ; "two documents")]
    #[test_case("a: \u{0}", "" ; "control character")]
    fn what_is_not_readable_is_an_error(text: &str, place: &str) {
        let error = read("a.yaml", text).unwrap_err().to_string();
        assert!(error.starts_with("a.yaml:") && error.contains(place), "{error}");
        assert!(error.len() < 1_000, "{error}");
    }

    fn bomb() -> String {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..8 {
            let inner = vec![format!("*a{}", usize::saturating_sub(level, 1)); 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{inner}]\n");
        }
        text
    }
}
