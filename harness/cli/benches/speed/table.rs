//! The table: what was measured, of us and of the baseline of the same run, against the target.

use crate::machine::{self, Outcome};
use serde::{Deserialize, Serialize};

/// Where the last table is kept, below the working folder.
const KEPT: &str = "target/bench/table.md";
const HEAD: [&str; 6] = ["measure", "ours", "baseline", "ratio", "target", "met"];

/// One line of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    measure: String,
    ours: String,
    baseline: String,
    ratio: Option<f64>,
    target: String,
    met: Option<bool>,
}

impl Row {
    /// A measurement that is reported, with no target yet.
    pub(crate) fn new(measure: impl Into<String>, ours: impl Into<String>) -> Self {
        let (measure, ours) = (measure.into(), ours.into());
        Self { measure, ours, baseline: String::new(), ratio: None, target: String::new(), met: None }
    }

    /// The same with what it is compared with.
    pub(crate) fn against(mut self, baseline: impl Into<String>) -> Self {
        self.baseline = baseline.into();
        self
    }

    /// The same with ours over the baseline.
    pub(crate) fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// The same with what was promised, and whether that is so.
    pub(crate) fn target(mut self, target: impl Into<String>, met: bool) -> Self {
        (self.target, self.met) = (target.into(), Some(met));
        self
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let text = |text: &String| text.clone();
        [text(&self.measure), text(&self.ours), text(&self.baseline), ratio, text(&self.target), met.to_owned()]
    }
}

/// Prints the table, and keeps it with its date and machine.
pub(crate) fn publish(rows: &[Row]) -> Outcome<()> {
    let mut cells = vec![HEAD.map(str::to_owned)];
    cells.extend(rows.iter().map(Row::cells));
    let widths: Vec<usize> =
        (0..HEAD.len()).map(|at| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or_default()).collect();
    let line = |row: &[String; 6]| {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        format!("| {} |", padded.join(" | "))
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join(" | ");
    let mut lines: Vec<String> = cells.iter().map(line).collect();
    lines.insert(1, format!("| {rule} |"));
    let text = lines.join("\n");
    let targets = rows.iter().filter(|row| row.met.is_some()).count();
    let met = rows.iter().filter(|row| row.met == Some(true)).count();
    let about = format!("{met} of {targets} targets met; {}", machine::about());
    println!("{text}\n\n{about}");
    let place = std::path::Path::new(KEPT);
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(place, format!("{text}\n\n{about}\n"))?;
    Ok(())
}
