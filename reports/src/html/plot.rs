//! Where does a value stand on the page? Axes, nice ticks, lanes for stretches that overlap, and SVG's few
//! elements as text. Coordinates are CSS pixels of the picture's view box.

use std::fmt::Write;

/// Width of a picture.
pub(super) const WIDTH: f64 = 960.0;
/// Where plots begin and end.
pub(super) const LEFT: f64 = 58.0;
pub(super) const RIGHT: f64 = WIDTH - 14.0;

/// Text that may stand in SVG's text and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in crate::text::plain(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
    out
}

/// A picture as it grows.
#[derive(Default)]
pub(super) struct Canvas {
    text: String,
}

impl Canvas {
    /// Adds an element.
    pub(super) fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(element);
        self.text.push('\n');
    }

    /// A word at a place; `anchor` is `start`, `middle` or `end`.
    pub(super) fn word(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#));
    }

    /// A filled rectangle with a title that shows when it is pointed at.
    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str, title: &str) {
        let title = escape(title);
        self.put(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" class="{class}"><title>{title}</title></rect>"#,
            width.max(0.5),
            height.max(0.0)
        ));
    }

    /// A straight line.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!(r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#));
    }

    /// A line through points, broken where there is none.
    pub(super) fn curve(&mut self, points: &[Option<(f64, f64)>], class: &str) {
        let mut path = String::new();
        let mut drawing = false;
        for (position, point) in points.iter().enumerate() {
            let Some((x, y)) = point else {
                drawing = false;
                continue;
            };
            let lonely = !drawing && points.get(position + 1).is_none_or(Option::is_none);
            // A point without neighbours would be invisible: it becomes a short dash.
            let _ = match (drawing, lonely) {
                (true, _) => write!(path, "L{x:.1} {y:.1}"),
                (false, false) => write!(path, "M{x:.1} {y:.1}"),
                (false, true) => write!(path, "M{:.1} {y:.1}h3", x - 1.5),
            };
            drawing = true;
        }
        if !path.is_empty() {
            self.put(format_args!(r#"<path d="{path}" class="{class}"/>"#));
        }
    }

    /// What was drawn, as a group.
    pub(super) fn group(self) -> String {
        format!("<g>\n{}</g>", self.text)
    }

    /// The whole picture.
    pub(super) fn finish(self, height: f64, label: &str) -> String {
        let (body, label) = (self.text, escape(label));
        format!(
            "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\" xmlns=\"http://www.w3.org/2000/svg\">\n{body}</svg>"
        )
    }
}

/// Time along the bottom.
pub(super) struct Time {
    span_ms: f64,
}

impl Time {
    pub(super) fn new(span_ms: u64) -> Self {
        Self { span_ms: (span_ms as f64).max(1.0) }
    }

    /// Where `ms` stands.
    pub(super) fn x(&self, ms: f64) -> f64 {
        LEFT + (ms / self.span_ms).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// Nice times to write, about eight of them, with their words.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let step = nice_step(self.span_ms / 8.0);
        let whole = step >= 1000.0;
        let mut ticks = Vec::new();
        for index in 0..=40_u32 {
            let ms = f64::from(index) * step;
            if ms > self.span_ms {
                break;
            }
            let (value, unit) = if whole || self.span_ms >= 1000.0 { (ms / 1000.0, "s") } else { (ms, "ms") };
            ticks.push((ms, format!("{} {unit}", crate::summary::amount(value))));
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten: the least that is not below `least`.
pub(super) fn nice_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// Puts stretches into as few lanes as will hold them without overlap, in order of their starts:
/// the lane of each, and how many there are.
pub(super) fn lanes(stretches: &[(u64, u64)]) -> (Vec<usize>, usize) {
    let mut ends: Vec<u64> = Vec::new();
    let mut order: Vec<usize> = (0..stretches.len()).collect();
    order.sort_by_key(|at| stretches.get(*at).copied());
    let mut lanes = vec![0; stretches.len()];
    for at in order {
        let Some((from, to)) = stretches.get(at).copied() else {
            continue;
        };
        let lane = ends.iter().position(|end| *end <= from).unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(end) => *end = to.max(from + 1),
            None => ends.push(to.max(from + 1)),
        }
        if let Some(slot) = lanes.get_mut(at) {
            *slot = lane;
        }
    }
    (lanes, ends.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case(0.7, 1.0; "up to one")]
    #[test_case(1.0, 1.0; "one itself")]
    #[test_case(130.0, 200.0; "two hundred")]
    #[test_case(2300.0, 5000.0; "five thousand")]
    #[test_case(0.0, 1.0; "nothing")]
    fn steps_are_nice(least: f64, expected: f64) {
        assert!((nice_step(least) - expected).abs() < 1e-9, "{}", nice_step(least));
    }

    #[test]
    fn lanes_hold_what_does_not_overlap() {
        assert_eq!(lanes(&[(0, 10), (5, 15), (10, 20), (15, 16)]), (vec![0, 1, 0, 1], 2));
        assert_eq!(lanes(&[]), (vec![], 0));
    }

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escape("</text><script>\"'&"), "&lt;/text&gt;&lt;script&gt;&quot;&#39;&amp;");
    }
}
