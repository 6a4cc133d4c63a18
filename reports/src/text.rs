//! How do words fit into columns? Wrapping, padding and shortening by display width, and texts made
//! harmless: what a gateway or a file said may hold control characters, and a terminal would obey them.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The same text on one line: control characters and direction overrides become visible or blank.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.push('\u{fffd}')
            }
            character if character.is_control() => out.push('\u{fffd}'),
            character => out.push(character),
        }
    }
    out
}

/// Lines of at most `width` columns, broken at blanks; a word that is longer than a line is cut.
/// An empty text gives one empty line. A `width` of 0 counts as 1.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in plain(text).split_whitespace() {
        let long = word.width();
        if used > 0 && used + 1 + long > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        if long <= width {
            line.push_str(word);
            used += long;
            continue;
        }
        for character in word.chars() {
            let wide = character.width().unwrap_or(0);
            if used > 0 && used + wide > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(character);
            used += wide;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// At most `width` columns, with an ellipsis where something was cut.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.width() <= width {
        return text;
    }
    let mut out = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        out.push(character);
        used += wide;
    }
    let mut out = out.trim_end().to_owned();
    out.push('…');
    out
}

/// At most `lines` lines of `width` columns; the last one ends in an ellipsis if something was cut.
pub(crate) fn wrap_short(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut wrapped = wrap(text, width);
    if wrapped.len() > lines {
        wrapped.truncate(lines);
        if let Some(last) = wrapped.last_mut() {
            *last = shorten(&format!("{last} …………"), width.min(last.width() + 2)).replace(" …", "…");
        }
    }
    wrapped
}

/// The text filled up with blanks to `width` columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    let mut out = text.to_owned();
    out.extend(std::iter::repeat_n(' ', missing));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("one two three", 7, &["one two", "three"]; "at blanks")]
    #[test_case("abcdefghij", 4, &["abcd", "efgh", "ij"]; "a long word")]
    #[test_case("", 4, &[""]; "nothing")]
    #[test_case("日本語", 4, &["日本", "語"]; "wide characters")]
    #[test_case("a b", 0, &["a", "b"]; "no width")]
    fn wraps(text: &str, width: usize, expected: &[&str]) {
        assert_eq!(wrap(text, width), expected);
    }

    #[test]
    fn shortens_by_columns() {
        assert_eq!(shorten("replicas share one counter", 12), "replicas sh…");
        assert_eq!(shorten("short", 12), "short");
        let lines = wrap_short("replicas of one cluster share one counter in every window", 20, 2);
        assert_eq!(lines, ["replicas of one", "cluster share one…"]);
        assert!(lines.iter().all(|line| line.width() <= 20));
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r\nc\u{202e}d"), "a\u{fffd}[31mb  c\u{fffd}d");
    }
}
