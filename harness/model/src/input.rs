//! Where is the mistake in what the user wrote, and what would have been right?
//!
//! Deployments, profiles and adapters are read in two steps: text to a `tree::Node`, which knows where each
//! value stands; then the node to the checked form, field by field. The second step goes on after a mistake,
//! so that one reading names all of them. Budgets on size, depth and aliases come first: hostile input is an
//! error within milliseconds, never an overflow.

use std::fmt;

pub(crate) mod fields;
pub(crate) mod tree;

/// Largest file that is read, in bytes. The largest real one is a few thousand.
pub const MAX_BYTES: usize = 1 << 20;
/// How many mistakes are printed; the rest is counted.
const MAX_PRINTED: usize = 20;
/// Longest excerpt of a line in a snippet, in characters.
const MAX_EXCERPT: usize = 120;

/// The text of a file. At most one byte more than [`MAX_BYTES`] need be given: it is refused.
///
/// # Errors
/// A file that is too large, or no UTF-8, with the place.
pub fn decode(source_name: &str, bytes: &[u8]) -> Result<String, InputError> {
    let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let one = |text: &str, at, message: String| {
        let mut mistakes = Mistakes::new(source_name, text);
        mistakes.add(at, message);
        mistakes.finish(None)
    };
    if bytes.len() > MAX_BYTES {
        let start = lossy(bytes.get(..MAX_BYTES).unwrap_or_default());
        return one(&start, Position::default(), too_large());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let line = before.split('\n').count();
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
            let place = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
            let at = Position { line: place(line), column: place(column) };
            one(&lossy(bytes), at, "this is no UTF-8 text".to_owned())
        }
    }
}

fn too_large() -> String {
    format!("the file has more than {MAX_BYTES} bytes, which is the most that is read")
}

/// A place in a file: line and column from 1; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

/// One mistake: where it is, what is wrong with it and what is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub at: Position,
    /// A lowercase fragment: the thing in backticks, its value, the legal values.
    pub message: String,
    /// The line with a caret under the place; empty if the place is not known.
    pub snippet: String,
}

/// A file that is not what it should be: at least one mistake, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// Name of the file as the user gave it.
    pub source_name: String,
    /// The mistakes, at least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.mistakes.iter().take(MAX_PRINTED).enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}:{}: {}", self.source_name, mistake.at.line, mistake.at.column, mistake.message)?;
            f.write_str(&mistake.snippet)?;
        }
        let hidden = self.mistakes.len().saturating_sub(MAX_PRINTED);
        if hidden > 0 {
            write!(f, "\n{}: {hidden} more mistakes", self.source_name)?;
        }
        Ok(())
    }
}

impl std::error::Error for InputError {}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub(crate) struct Mistakes<'t> {
    source_name: &'t str,
    text: &'t str,
    found: Vec<Mistake>,
}

impl<'t> Mistakes<'t> {
    /// No mistakes yet in `text`, which is called `source_name`.
    pub(crate) fn new(source_name: &'t str, text: &'t str) -> Self {
        Self { source_name, text, found: Vec::new() }
    }

    /// Adds a mistake. The snippet is cut from the text now, so that the error outlives it.
    pub(crate) fn add(&mut self, at: Position, message: impl Into<String>) {
        // What has no place of its own is wrong with the whole file: that begins at its first character.
        let at = if at.line == 0 { Position { line: 1, column: 1 } } else { at };
        self.found.push(Mistake { at, message: message.into(), snippet: snippet(self.text, at) });
    }

    /// The value, if nothing was wrong; else all mistakes in the order of the file.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, InputError> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            Some(_) | None => {
                if self.found.is_empty() {
                    self.add(Position::default(), "cannot be read");
                }
                self.found.sort_by_key(|mistake| mistake.at);
                Err(InputError { source_name: self.source_name.to_owned(), mistakes: self.found })
            }
        }
    }
}

/// The line at `at` with a caret under its column, or nothing if there is no such line.
fn snippet(text: &str, at: Position) -> String {
    let line = usize::try_from(at.line).ok().and_then(|line| line.checked_sub(1));
    let column = usize::try_from(at.column).ok().and_then(|column| column.checked_sub(1));
    let (Some(line), Some(column)) = (line, column) else {
        return String::new();
    };
    let Some(shown) = text.lines().nth(line) else {
        return String::new();
    };
    // A long line is cut so that the place is in the excerpt.
    let skipped = column.saturating_sub(MAX_EXCERPT / 2);
    let excerpt: String = shown
        .chars()
        .skip(skipped)
        .take(MAX_EXCERPT)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let lead = " ".repeat(column.saturating_sub(skipped));
    format!("\n {margin} |\n {number} | {excerpt}\n {margin} | {lead}^")
}

/// `message` about what stands at `path`, key by key, in a file that was read before: for what is wrong only beside another file.
/// A key that is not there (a default) is told at the last one on the way that is.
#[must_use]
pub fn about(source_name: &str, text: &str, path: &[&str], message: impl Into<String>) -> InputError {
    let root = match tree::read(source_name, text) {
        Ok(root) => root,
        Err(unread) => return unread,
    };
    let (mut at, mut here) = (Position::default(), &root);
    for name in path {
        let tree::Value::Map(entries) = &here.value else { break };
        let Some((key, below)) = entries.iter().find(|(key, _)| key.text == *name) else { break };
        (at, here) = (key.at, below);
    }
    let message = message.into();
    let at = if at.line == 0 { Position { line: 1, column: 1 } } else { at };
    let mistakes = vec![Mistake { at, message, snippet: snippet(text, at) }];
    InputError { source_name: source_name.to_owned(), mistakes }
}

/// What YAML says, as JSON: for tests of rendered configurations. Places are lost, the last of repeated keys holds.
///
/// # Errors
/// As for every file: what is not YAML, or past a budget.
pub fn as_json(source_name: &str, text: &str) -> Result<serde_json::Value, InputError> {
    fn json(node: tree::Node) -> serde_json::Value {
        match node.value {
            tree::Value::Null => serde_json::Value::Null,
            tree::Value::Boolean(value) => value.into(),
            tree::Value::Number(value) => value.into(),
            tree::Value::Text(text) => text.into(),
            tree::Value::List(items) => items.into_iter().map(json).collect(),
            tree::Value::Map(entries) => {
                serde_json::Value::Object(entries.into_iter().map(|(key, node)| (key.text, json(node))).collect())
            }
        }
    }
    tree::read(source_name, text).map(json)
}

/// `a`, `b` and `c`, in backticks; for lists of known names.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{InputError, MAX_BYTES, Mistakes, Position, about, decode, listed};

    #[test]
    fn what_is_wrong_beside_another_file_has_its_place_or_that_of_what_it_belongs_to() {
        let text = "name: a\nquota: {limit: 5,\n  window: 10s}\n";
        let seen = |path: &[&str]| about("a.yaml", text, path, "`window` is too short").to_string();
        assert!(seen(&["quota", "window"]).starts_with("a.yaml:3:3: `window` is too short\n"));
        assert!(seen(&["quota", "alignment"]).starts_with("a.yaml:2:1: "));
        assert!(seen(&["quota", "limit", "deeper"]).starts_with("a.yaml:2:9: "));
        assert!(seen(&["nothing"]).starts_with("a.yaml:1:1: "));
        assert!(about("a.yaml", "a: [", &["a"], "not said").to_string().starts_with("a.yaml:"));
    }

    fn one(text: &str, line: u64, column: u64) -> InputError {
        let mut mistakes = Mistakes::new("a.yaml", text);
        mistakes.add(Position { line, column }, "`x` is wrong");
        mistakes.finish::<()>(None).unwrap_err()
    }

    #[test]
    fn a_mistake_shows_its_line_and_a_caret() {
        assert_eq!(one("x: 1\ny: 2", 2, 4).to_string(), "a.yaml:2:4: `x` is wrong\n   |\n 2 | y: 2\n   |    ^");
    }

    #[test]
    fn a_place_that_is_not_there_has_no_snippet() {
        assert_eq!(one("x: 1", 7, 4).to_string(), "a.yaml:7:4: `x` is wrong");
    }

    #[test]
    fn what_has_no_place_is_wrong_with_the_whole_file() {
        assert_eq!(one("x: 1", 0, 0).to_string(), "a.yaml:1:1: `x` is wrong\n   |\n 1 | x: 1\n   | ^");
        let empty = Mistakes::new("a.yaml", "").finish::<()>(None).unwrap_err();
        assert_eq!(empty.to_string(), "a.yaml:1:1: cannot be read");
    }

    #[test]
    fn bytes_that_are_no_text_are_found() {
        assert_eq!(decode("a.yaml", "a: é\n".as_bytes()).unwrap(), "a: é\n");
        let seen = decode("a.yaml", b"a: 1\nb: \xc3\xa9\xff\n").unwrap_err().to_string();
        assert!(seen.starts_with("a.yaml:2:5: this is no UTF-8 text\n"), "{seen}");
        let seen = decode("a.yaml", &vec![b'['; MAX_BYTES + 1]).unwrap_err().to_string();
        assert!(seen.starts_with("a.yaml:1:1: the file has more than 1048576 bytes") && seen.len() < 400, "{seen}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let shown = one(&text, 1, 501).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[2].chars().count(), 5 + 120);
        assert_eq!(lines[2].find('!'), lines[3].find('^'));
    }

    #[test]
    fn nothing_read_is_never_a_success() {
        assert!(Mistakes::new("a.yaml", "").finish::<()>(None).is_err());
    }

    #[test]
    fn names_are_listed() {
        assert_eq!(listed::<&str>(&[]), "none");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
