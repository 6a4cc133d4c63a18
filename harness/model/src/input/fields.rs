//! Reads the fields of a [`Node`], and says of each that is wrong what would be right.
//!
//! Every function returns `None` after it has added a mistake, so that the caller goes on with the next field.

use super::tree::{Node, Value};
use super::{Mistakes, Position, listed};
use crate::profile::Scalar;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A map whose keys are taken one by one; what is left at the end is unknown.
pub(crate) struct Fields<'n> {
    /// What the map is, for messages: `a site`.
    what: String,
    at: Position,
    entries: Vec<(&'n super::tree::Key, &'n Node)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, which should be `what` (`a site`). A key that stands there twice is a mistake.
    pub(crate) fn of(node: &'n Node, what: &str, mistakes: &mut Mistakes<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            mistakes.add(node.at, format!("{what} is a map of keys and values, not {}", node.value.kind()));
            return None;
        };
        let mut fields = Self { what: what.to_owned(), at: node.at, entries: Vec::new(), known: Vec::new() };
        for (key, value) in entries {
            if let Some((first, _)) = fields.entries.iter().find(|(other, _)| other.text == key.text) {
                mistakes.add(key.at, format!("`{}` is there twice, first on line {}", key.text, first.at.line));
            } else {
                fields.entries.push((key, value));
            }
        }
        Some(fields)
    }

    /// The value of `key`; `None` if it is not there or empty.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        let found = self.entries.iter().find(|(other, _)| other.text == key).map(|(_, node)| *node);
        found.filter(|node| node.value != Value::Null)
    }

    /// The value of `key`, which must be there. `hint` says what it should be.
    pub(crate) fn required(&mut self, key: &'static str, hint: &str, mistakes: &mut Mistakes<'_>) -> Option<&'n Node> {
        self.known.push(key);
        match self.entries.iter().find(|(other, _)| other.text == key) {
            Some((place, node)) if node.value == Value::Null => {
                mistakes.add(place.at, format!("`{key}` is empty; {hint}"));
                None
            }
            Some((_, node)) => Some(*node),
            None => {
                mistakes.add(self.at, format!("{} has no `{key}`; {hint}", self.what));
                None
            }
        }
    }

    /// Where `key` stands; the map itself if it is not there.
    pub(crate) fn place(&self, key: &str) -> Position {
        self.entries.iter().find(|(other, _)| other.text == key).map_or(self.at, |(_, node)| node.at)
    }

    /// Adds a mistake for every key that nobody asked for.
    pub(crate) fn finish(self, mistakes: &mut Mistakes<'_>) {
        for (key, _) in &self.entries {
            if !self.known.contains(&key.text.as_str()) {
                let name: String = key.text.chars().take(60).collect();
                mistakes.add(
                    key.at,
                    format!(
                        "unknown key `{}` in {}; known are {}",
                        name.escape_debug(),
                        self.what,
                        listed(&self.known)
                    ),
                );
            }
        }
    }
}

/// Text, not empty, at most `longest` characters.
pub(crate) fn text(node: &Node, key: &str, longest: usize, mistakes: &mut Mistakes<'_>) -> Option<String> {
    match &node.value {
        Value::Text(text) if text.is_empty() => mistakes.add(node.at, format!("`{key}` is empty")),
        Value::Text(text) if text.chars().count() > longest => {
            mistakes.add(node.at, format!("`{key}` has {} characters; at most {longest}", text.chars().count()));
        }
        Value::Text(text) => return Some(text.clone()),
        Value::Number(_) | Value::Boolean(_) => {
            mistakes.add(node.at, format!("`{key}` is {}; it must be text: put it in quotes", node.value.kind()));
        }
        Value::Null | Value::List(_) | Value::Map(_) => {
            mistakes.add(node.at, format!("`{key}` is {}; it must be text", node.value.kind()));
        }
    }
    None
}

/// A name: letters, digits and dashes, beginning with a letter, at most `longest` characters.
pub(crate) fn name(node: &Node, key: &str, longest: usize, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let Value::Text(written) = &node.value else {
        return text(node, key, longest, mistakes);
    };
    let legal = written.starts_with(|first: char| first.is_ascii_alphabetic())
        && written.len() <= longest
        && written.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
    if legal {
        return Some(written.clone());
    }
    mistakes.add(
        node.at,
        format!(
            "`{key}` is {}; a name has 1 to {longest} letters, digits and dashes and begins with a letter",
            node.value.kind()
        ),
    );
    None
}

/// A whole number in `range`.
pub(crate) fn whole(
    node: &Node,
    key: &str,
    range: RangeInclusive<u32>,
    hint: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<u32> {
    if let Value::Number(number) = node.value {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared with the original below")]
        let whole = number as u32;
        #[expect(clippy::float_cmp, reason = "whole numbers below 2^32 are exact")]
        if f64::from(whole) == number && range.contains(&whole) {
            return Some(whole);
        }
    }
    let (least, greatest) = (range.start(), range.end());
    mistakes.add(node.at, format!("`{key}` is {}; {hint} {least} to {greatest}", node.value.kind()));
    None
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<bool> {
    if let Value::Boolean(value) = node.value {
        return Some(value);
    }
    mistakes.add(node.at, format!("`{key}` is {}; legal are `true` and `false`", node.value.kind()));
    None
}

/// One of `words`.
pub(crate) fn word<T: Copy>(node: &Node, key: &str, words: &[(&str, T)], mistakes: &mut Mistakes<'_>) -> Option<T> {
    if let Value::Text(written) = &node.value
        && let Some((_, value)) = words.iter().find(|(word, _)| word == written)
    {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    mistakes.add(node.at, format!("`{key}` is {}; known are {}", node.value.kind(), listed(&known)));
    None
}

/// A list with a number of items in `range`.
pub(crate) fn list<'n>(
    node: &'n Node,
    key: &str,
    range: RangeInclusive<usize>,
    hint: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<&'n [Node]> {
    let (least, greatest) = (range.start(), range.end());
    match &node.value {
        Value::List(items) if range.contains(&items.len()) => Some(items),
        Value::List(items) if items.is_empty() => {
            mistakes.add(node.at, format!("`{key}` is empty; {hint} {least} to {greatest}"));
            None
        }
        Value::List(items) => {
            mistakes.add(node.at, format!("`{key}` has {} items; {hint} {least} to {greatest}", items.len()));
            None
        }
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => {
            mistakes.add(node.at, format!("`{key}` is {}; it must be a list", node.value.kind()));
            None
        }
    }
}

/// A scalar: text, number or boolean.
pub(crate) fn scalar(node: &Node, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Scalar> {
    match &node.value {
        Value::Boolean(value) => Some(Scalar::Boolean(*value)),
        Value::Number(value) if value.is_finite() => Some(Scalar::Number(*value)),
        Value::Text(value) => Some(Scalar::Text(value.clone())),
        Value::Number(_) | Value::Null | Value::List(_) | Value::Map(_) => {
            mistakes
                .add(node.at, format!("`{key}` is {}; it must be a word, a number or a boolean", node.value.kind()));
            None
        }
    }
}

/// A duration in `range`: `10s`, `500ms`, `1m`, `1h`.
pub(crate) fn duration(
    node: &Node,
    key: &str,
    range: RangeInclusive<Duration>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Duration> {
    let parsed = match &node.value {
        Value::Text(written) => parse_duration(written),
        Value::Null | Value::Boolean(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => None,
    };
    match parsed {
        Some(duration) if range.contains(&duration) => return Some(duration),
        Some(_) => mistakes.add(
            node.at,
            format!(
                "`{key}` is {}; legal are {} to {}",
                node.value.kind(),
                written_duration(*range.start()),
                written_duration(*range.end())
            ),
        ),
        None => mistakes.add(
            node.at,
            format!("`{key}` is {}; a duration is a number and a unit: `500ms`, `10s`, `1m`, `1h`", node.value.kind()),
        ),
    }
    None
}

/// A duration as written; `None` if it is not one. Whole numbers and decimals; at most a year.
pub(crate) fn parse_duration(written: &str) -> Option<Duration> {
    let digits = written.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = written.split_at_checked(digits)?;
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit_s;
    (seconds <= 31_536_000.0).then_some(())?;
    // Milliseconds are the resolution of the checked form.
    let millis = (seconds * 1_000.0).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a year in milliseconds")]
    Some(Duration::from_millis(millis as u64))
}

/// A duration in the form that [`parse_duration`] reads.
pub(crate) fn written_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= unit_ms && millis.is_multiple_of(unit_ms) {
            return format!("{}{unit}", millis.checked_div(unit_ms).unwrap_or_default());
        }
    }
    format!("{millis}ms")
}

/// Adds a mistake for each of `items` whose name was there before.
pub(crate) fn distinct<K: Ord + Display>(
    items: impl Iterator<Item = (K, Position)>,
    what: &str,
    mistakes: &mut Mistakes<'_>,
) {
    let mut seen = std::collections::BTreeMap::new();
    for (name, at) in items {
        if let Some(first) = seen.get(&name) {
            let first: &Position = first;
            mistakes.add(at, format!("{what} `{name}` is there twice, first on line {}", first.line));
        } else {
            seen.insert(name, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_duration, written_duration};
    use std::time::Duration;
    use test_case::test_case;

    #[test_case("10s", Some(10_000))]
    #[test_case("500ms", Some(500))]
    #[test_case("1m", Some(60_000))]
    #[test_case("2h", Some(7_200_000))]
    #[test_case("0.5s", Some(500))]
    #[test_case("10", None)]
    #[test_case("s", None)]
    #[test_case("-1s", None)]
    #[test_case("1..5s", None)]
    #[test_case("10 s", None)]
    #[test_case("", None)]
    #[test_case("99999999999999999999h", None)]
    fn durations(written: &str, millis: Option<u64>) {
        assert_eq!(parse_duration(written), millis.map(Duration::from_millis));
    }

    proptest::proptest! {
        #[test]
        fn durations_round_trip(millis in 0_u64..31_536_000_000) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&written_duration(duration)), Some(duration));
        }
    }
}
