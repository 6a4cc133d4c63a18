//! What does the person at the terminal read? Headline, table, then whatever needs words: broken claims with
//! their counterexamples, confirmed limits with their sizes, doubts with their reasons.
//!
//! From 110 columns on each claim is a row of six columns; below that a line with its statement under it.

use crate::summary::{self, Totals};
use crate::text::{pad, plain, wrap, wrap_short};
use gatecrash_model::run_record::{ClaimRecord, RunRecord, RunResult};
use gatecrash_model::verdict::{Standing, Verdict};
use std::path::Path;

/// Narrowest terminal that gets six columns.
const WIDE: usize = 110;
/// Columns of `declared`, `observed` and `standing`: their longest words.
const DECLARED: usize = 14;
const OBSERVED: usize = 14;
const STANDING: usize = 15;

/// The text of a run for a terminal of `width` columns (40 at least, 200 at most are used), in ANSI colours if `colour`.
/// Colour never carries anything that words do not.
#[must_use]
pub fn render(record: &RunRecord, width: usize, colour: bool) -> String {
    render_in(record, None, width, colour)
}

/// The same, and where the reports are: the run's folder as the user named it.
#[must_use]
pub fn render_in(record: &RunRecord, folder: Option<&Path>, width: usize, colour: bool) -> String {
    let width = width.clamp(40, 200);
    let mut out = Page { lines: Vec::new(), width, colour };
    out.head(record);
    out.table(&record.claims);
    out.totals(record);
    out.broken(record);
    out.shrunk(record);
    out.limits(record);
    out.reasons(record, Standing::Inconclusive, "Inconclusive");
    out.reasons(record, Standing::NotApplicable, "Not applicable");
    out.marginal(record);
    out.predicted(record);
    out.problems(record);
    out.place(record, folder);
    let mut text = out.lines.join("\n");
    text.push('\n');
    text
}

struct Page {
    lines: Vec<String>,
    width: usize,
    colour: bool,
}

impl Page {
    fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Text in a colour of ANSI's select graphic rendition.
    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour && !code.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn title(&mut self, text: &str) {
        self.line("");
        let painted = self.paint(text, "1");
        self.line(painted);
    }

    /// Wrapped text, `indent` columns in; the first line begins with `label` instead.
    fn paragraph(&mut self, label: &str, indent: usize, text: &str) {
        for (position, line) in wrap(text, self.width.saturating_sub(indent)).iter().enumerate() {
            let start = if position == 0 { label } else { "" };
            self.line(format!("{}{line}", pad(start, indent)).trim_end().to_owned());
        }
    }

    fn head(&mut self, record: &RunRecord) {
        let code = match record.result {
            RunResult::Certified => "1;32",
            RunResult::AsDeclaredScaled => "1;36",
            RunResult::NotCertified => "1;31",
            RunResult::Inconclusive => "1;33",
        };
        for line in wrap(&summary::headline(record), self.width) {
            let painted = self.paint(&line, code);
            self.line(painted);
        }
        let about = format!(
            "{} ({}), runtime {}, seed {}, scale {}, {}",
            record.deployment.name,
            record.product,
            record.runtime,
            record.seed.0,
            summary::amount(record.scale),
            summary::times(record)
        );
        self.paragraph("", 0, &about);
        for sentence in &record.environment {
            self.paragraph("", 0, sentence);
        }
    }

    fn table(&mut self, claims: &[ClaimRecord]) {
        self.line("");
        let id = claims.iter().map(|claim| claim.id.as_str().len()).max().unwrap_or(0).clamp(6, 12);
        let fixed = id + DECLARED + OBSERVED + STANDING + 10;
        if self.width < WIDE {
            for claim in claims {
                self.narrow_row(claim, id);
            }
            return;
        }
        let rest = self.width.saturating_sub(fixed);
        let number = rest * 2 / 5;
        let statement = rest - number;
        let header = format!(
            "{}  {}  {}  {}  {}  decided by",
            pad("claim", id),
            pad("statement", statement),
            pad("declared", DECLARED),
            pad("observed", OBSERVED),
            pad("standing", STANDING)
        );
        let painted = self.paint(&header, "1");
        self.line(painted);
        for claim in claims {
            let said = wrap_short(&claim.statement, statement, 2);
            let decided = wrap_short(&summary::decided_by(claim), number, 3);
            for position in 0..said.len().max(decided.len()) {
                let first = position == 0;
                let at = |lines: &[String]| lines.get(position).cloned().unwrap_or_default();
                let only = |text: &str| if first { text.to_owned() } else { String::new() };
                let standing = pad(&only(claim.standing.as_str()), STANDING);
                let standing = if first { self.paint(&standing, colour_of(claim.standing)) } else { standing };
                let row = format!(
                    "{}  {}  {}  {}  {standing}  {}",
                    pad(&only(&plain(claim.id.as_str())), id),
                    pad(&at(&said), statement),
                    pad(&only(summary::declared(claim.declared)), DECLARED),
                    pad(&only(summary::observed(claim.verdict.observed())), OBSERVED),
                    at(&decided)
                );
                self.line(row.trim_end().to_owned());
            }
        }
    }

    fn narrow_row(&mut self, claim: &ClaimRecord, id: usize) {
        let standing = self.paint(claim.standing.as_str(), colour_of(claim.standing));
        let (declared, observed) = (summary::declared(claim.declared), summary::observed(claim.verdict.observed()));
        self.line(format!("{}  {standing}", pad(&plain(claim.id.as_str()), id)));
        self.paragraph("", id + 2, &claim.statement);
        let text = format!("declared {declared}, observed {observed}: {}", summary::decided_by(claim));
        self.paragraph("", id + 2, &text);
    }

    fn totals(&mut self, record: &RunRecord) {
        self.line("");
        self.paragraph("", 0, &format!("{}: {}", summary::denominator(record), Totals::of(&record.claims).sentence()));
    }

    fn broken(&mut self, record: &RunRecord) {
        let broken: Vec<&ClaimRecord> = standing(record, Standing::Fail);
        if broken.is_empty() {
            return;
        }
        self.title("Broken");
        for claim in broken {
            self.claim_title(claim);
            self.paragraph("", 2, &summary::explanation(claim));
            if let Verdict::Violated(counterexample) = &claim.verdict {
                self.paragraph("", 2, &format!("seen in {} observations", counterexample.samples));
                if !counterexample.events.is_empty() {
                    self.paragraph("  see: ", 7, &summary::events(&counterexample.events));
                }
            }
            for number in claim.verdict.numbers() {
                self.paragraph("  - ", 4, &summary::number(number));
            }
            self.repeat(claim);
        }
    }

    fn claim_title(&mut self, claim: &ClaimRecord) {
        for line in wrap(&format!("{} {}", claim.id, claim.statement), self.width) {
            let painted = self.paint(&line, colour_of(claim.standing));
            self.line(painted);
        }
    }

    /// The command on a line of its own and never wrapped: it is there to be copied.
    fn repeat(&mut self, claim: &ClaimRecord) {
        if !claim.repeat.is_empty() {
            self.line(format!("  repeat: {}", plain(&claim.repeat)));
        }
    }

    fn shrunk(&mut self, record: &RunRecord) {
        if record.shrunk.is_empty() {
            return;
        }
        self.title("Smallest schedules");
        for shrunk in &record.shrunk {
            self.paragraph("- ", 2, &format!("{}: {}", shrunk.claim, shrunk.outcome));
            if !shrunk.command.is_empty() {
                // Never wrapped: it is there to be copied.
                self.line(format!("  run: {}", plain(&shrunk.command)));
            }
        }
    }

    fn limits(&mut self, record: &RunRecord) {
        let limits = standing(record, Standing::LimitConfirmed);
        let stricter = standing(record, Standing::Stricter);
        if !limits.is_empty() {
            self.title("Documented limits, confirmed");
        }
        for claim in limits {
            let size = claim.verdict.numbers().iter().map(summary::number).collect::<Vec<_>>().join("; ");
            let said = summary::explanation(claim);
            let text = if size.is_empty() { said } else { format!("{size}. {said}") };
            self.labelled(claim, &text);
        }
        if !stricter.is_empty() {
            self.title("Better than documented");
        }
        for claim in stricter {
            let text = format!("{} {}", summary::explanation(claim), summary::decided_by(claim));
            self.labelled(claim, &text);
        }
    }

    fn labelled(&mut self, claim: &ClaimRecord, text: &str) {
        let id = plain(claim.id.as_str());
        let indent = id.len().max(6) + 2;
        self.paragraph(&id, indent, text);
    }

    fn reasons(&mut self, record: &RunRecord, which: Standing, title: &str) {
        let claims = standing(record, which);
        if claims.is_empty() {
            return;
        }
        self.title(title);
        for claim in claims {
            if which == Standing::NotApplicable {
                self.labelled(claim, &summary::not_applicable_because(claim));
            } else {
                self.labelled(claim, &format!("{}: {}", summary::decided_by(claim), summary::explanation(claim)));
                self.repeat(claim);
            }
        }
    }

    fn marginal(&mut self, record: &RunRecord) {
        let marginal: Vec<&ClaimRecord> = record.claims.iter().filter(|claim| summary::is_marginal(claim)).collect();
        if marginal.is_empty() {
            return;
        }
        self.title("Marginal: within 10 % of the limit");
        for claim in marginal {
            for number in claim.verdict.numbers().iter().filter(|number| number.marginal) {
                self.labelled(claim, &summary::number(number));
            }
        }
    }

    fn predicted(&mut self, record: &RunRecord) {
        let predicted: Vec<&ClaimRecord> = summary::predicted(record).collect();
        if predicted.is_empty() {
            return;
        }
        self.title("Predicted from the topology");
        for claim in predicted {
            self.labelled(claim, &summary::prediction(claim));
        }
    }

    fn problems(&mut self, record: &RunRecord) {
        let problems: Vec<_> =
            record.experiments.iter().filter_map(|ran| ran.problem.as_ref().map(|why| (&ran.name, why))).collect();
        if problems.is_empty() {
            return;
        }
        self.title("Experiments that did not run to their end");
        for (name, why) in problems {
            self.paragraph("- ", 2, &format!("{name}: {why}"));
        }
    }

    fn place(&mut self, record: &RunRecord, folder: Option<&Path>) {
        self.line("");
        match folder {
            Some(folder) => {
                let page = folder.join("report.html");
                self.line(format!("report: {}", plain(&page.display().to_string())));
                self.paragraph("        ", 8, "beside it report.json, junit.xml, summary.md and the histories");
            }
            None => self.line(format!("run {}: report.html, report.json, junit.xml, summary.md", plain(&record.run))),
        }
    }
}

fn standing(record: &RunRecord, standing: Standing) -> Vec<&ClaimRecord> {
    record.claims.iter().filter(|claim| claim.standing == standing).collect()
}

fn colour_of(standing: Standing) -> &'static str {
    match standing {
        Standing::Pass => "32",
        Standing::Fail => "1;31",
        Standing::LimitConfirmed => "36",
        Standing::Stricter => "34",
        Standing::Inconclusive => "33",
        Standing::NotApplicable => "2",
    }
}
