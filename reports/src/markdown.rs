//! What does a pull request or a job's summary page show? `summary.md`: headline, table, reasons, folded details.
//!
//! GitHub takes at most 1 MiB for a step's summary and drops what is longer, so this is never longer: sections come
//! in the order of their worth, and what does not fit is left out whole, with a line that says so.

use crate::summary::{self, STANDINGS, Totals};
use crate::text::{plain, shorten};
use gatecrash_model::run_record::{ClaimRecord, RunRecord, RunResult};
use gatecrash_model::verdict::{Standing, Verdict};

/// Most bytes that a summary may have.
pub const LIMIT: usize = 1024 * 1024;
/// Longest text that is shown of one field, in columns; the rest is in the other reports.
const FIELD: usize = 2000;

/// The text of `summary.md`: at most [`LIMIT`] bytes, with a newline at its end.
#[must_use]
pub fn render(record: &RunRecord) -> String {
    let mut blocks = vec![head(record)];
    blocks.extend(record.claims.iter().filter(|claim| claim.standing == Standing::Fail).map(broken));
    blocks.push(shrunk(record));
    blocks.push(table(record));
    blocks.push(list(record, Standing::Inconclusive, "Inconclusive"));
    blocks.push(list(record, Standing::LimitConfirmed, "Documented limits, confirmed"));
    blocks.push(list(record, Standing::Stricter, "Better than documented"));
    blocks.push(marginal(record));
    blocks.push(predicted(record));
    blocks.push(list(record, Standing::NotApplicable, "Not applicable"));
    blocks.push(experiments(record));
    fit(blocks.into_iter().filter(|block| !block.is_empty()))
}

/// Joins blocks until they no longer fit.
fn fit(blocks: impl Iterator<Item = String>) -> String {
    const CUT: &str = "\nMore did not fit here: see `report.html` and `report.json`.\n";
    let mut out = String::new();
    for block in blocks {
        let between = usize::from(!out.is_empty());
        if out.len() + between + block.len() + CUT.len() > LIMIT {
            out.push_str(CUT);
            break;
        }
        if between == 1 {
            out.push('\n');
        }
        out.push_str(&block);
    }
    out
}

/// Text that Markdown and the HTML in it leave alone, on one line.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in shorten(text, FIELD).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' | '|' | '\\' | '*' | '_' | '[' | ']' | '#' | '~' | '$' | '!' => {
                out.push('\\');
                out.push(character);
            }
            // A mention or a link of somebody else's is not ours to make.
            '@' => out.push_str("&#64;"),
            character => out.push(character),
        }
    }
    out.replace("://", ":&#47;&#47;")
}

/// Text in a code span; backticks in it are lost, nothing else is.
fn code(text: &str) -> String {
    format!("`{}`", plain(text).replace('`', "'").replace('|', "\u{2502}"))
}

/// The word for a standing with a sign in front, so that colour is not needed and yet there.
fn badge(standing: Standing) -> String {
    let sign = match standing {
        Standing::Pass => "✅",
        Standing::Fail => "❌",
        Standing::LimitConfirmed => "📏",
        Standing::Stricter => "🔼",
        Standing::Inconclusive => "❔",
        Standing::NotApplicable => "➖",
    };
    format!("{sign} {}", standing.as_str())
}

fn head(record: &RunRecord) -> String {
    let sign = match record.result {
        RunResult::Certified => "✅",
        RunResult::AsDeclaredScaled => "☑️",
        RunResult::NotCertified => "❌",
        RunResult::Inconclusive => "❔",
    };
    let totals = Totals::of(&record.claims);
    let mut lines = vec![
        format!("## {sign} {}", escape(&summary::headline(record))),
        String::new(),
        format!("**{}**: {}.", summary::denominator(record), totals.sentence()),
        String::new(),
        format!(
            "Deployment {}, profile {} ({}), runtime {}, seed {}, scale {}; {}.",
            code(&record.deployment.name),
            code(&record.profile),
            escape(&record.product),
            code(&record.runtime),
            code(&record.seed.0.to_string()),
            summary::amount(record.scale),
            summary::times(record)
        ),
    ];
    lines.extend(record.environment.iter().map(|sentence| format!("- {}", escape(sentence))));
    finish(lines)
}

fn finish(mut lines: Vec<String>) -> String {
    lines.push(String::new());
    lines.join("\n")
}

fn broken(claim: &ClaimRecord) -> String {
    let mut lines = vec![
        format!("### ❌ {} {}", escape(claim.id.as_str()), escape(&claim.statement)),
        String::new(),
        escape(&summary::explanation(claim)),
        String::new(),
    ];
    if let Verdict::Violated(counterexample) = &claim.verdict {
        lines.push(format!("- {} observations", counterexample.samples));
        if !counterexample.events.is_empty() {
            lines.push(format!("- see {}", escape(&summary::events(&counterexample.events))));
        }
    }
    lines.extend(claim.verdict.numbers().iter().map(|number| format!("- {}", escape(&summary::number(number)))));
    if !claim.repeat.is_empty() {
        lines.push(format!("- repeat: {}", code(&claim.repeat)));
    }
    finish(lines)
}

/// What became of each violation that `--shrink` looked into; empty if none was.
fn shrunk(record: &RunRecord) -> String {
    if record.shrunk.is_empty() {
        return String::new();
    }
    let mut lines = vec!["### Smallest schedules".to_owned(), String::new()];
    for shrunk in &record.shrunk {
        lines.push(format!("- **{}** {}", escape(shrunk.claim.as_str()), escape(&shrunk.outcome)));
        if !shrunk.command.is_empty() {
            lines.push(format!("  run: {}", code(&shrunk.command)));
        }
    }
    finish(lines)
}

fn table(record: &RunRecord) -> String {
    let mut lines = vec![
        "| claim | statement | declared | observed | standing | decided by |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(record.claims.iter().map(|claim| {
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            escape(claim.id.as_str()),
            escape(&claim.statement),
            summary::declared(claim.declared),
            summary::observed(claim.verdict.observed()),
            badge(claim.standing),
            escape(&summary::decided_by(claim))
        )
    }));
    lines.push(String::new());
    let present: Vec<String> = STANDINGS
        .iter()
        .filter(|standing| record.claims.iter().any(|claim| claim.standing == **standing))
        .map(|standing| format!("{}: {}", badge(*standing), summary::meaning(*standing)))
        .collect();
    if !present.is_empty() {
        lines.push(format!("<sub>{}</sub>", present.join(" · ")));
    }
    finish(lines)
}

fn list(record: &RunRecord, standing: Standing, title: &str) -> String {
    let claims: Vec<&ClaimRecord> = record.claims.iter().filter(|claim| claim.standing == standing).collect();
    if claims.is_empty() {
        return String::new();
    }
    let mut lines = vec![format!("### {title}"), String::new()];
    for claim in claims {
        let numbers: Vec<String> = claim.verdict.numbers().iter().map(summary::number).collect();
        let text = if standing == Standing::NotApplicable {
            summary::not_applicable_because(claim)
        } else if numbers.is_empty() {
            format!("{}: {}", summary::decided_by(claim), summary::explanation(claim))
        } else {
            format!("{}. {}", numbers.join("; "), summary::explanation(claim))
        };
        lines.push(format!("- **{}** {}", escape(claim.id.as_str()), escape(&text)));
        if standing == Standing::Inconclusive && !claim.repeat.is_empty() {
            lines.push(format!("  repeat: {}", code(&claim.repeat)));
        }
    }
    finish(lines)
}

fn marginal(record: &RunRecord) -> String {
    let mut lines = vec!["### Marginal: within 10 % of the limit".to_owned(), String::new()];
    for claim in record.claims.iter().filter(|claim| summary::is_marginal(claim)) {
        for number in claim.verdict.numbers().iter().filter(|number| number.marginal) {
            lines.push(format!("- **{}** {}", escape(claim.id.as_str()), escape(&summary::number(number))));
        }
    }
    if lines.len() == 2 { String::new() } else { finish(lines) }
}

fn predicted(record: &RunRecord) -> String {
    let mut lines = vec!["### Predicted from the topology".to_owned(), String::new()];
    lines.extend(
        summary::predicted(record)
            .map(|claim| format!("- **{}** {}", escape(claim.id.as_str()), escape(&summary::prediction(claim)))),
    );
    if lines.len() == 2 { String::new() } else { finish(lines) }
}

fn experiments(record: &RunRecord) -> String {
    if record.experiments.is_empty() {
        return String::new();
    }
    let mut lines = vec![
        format!("<details><summary>{} experiments</summary>", record.experiments.len()),
        String::new(),
        "| experiment | story | time | events | faults |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(record.experiments.iter().map(|ran| {
        let proven = ran.series.faults.iter().filter(|fault| fault.proven).count();
        let problem = ran.problem.as_ref().map_or_else(String::new, |why| format!("<br>not finished: {}", escape(why)));
        format!(
            "| {} | {}{problem} | {} | {} | {proven} proven of {} |",
            escape(&ran.name),
            escape(&ran.story),
            summary::span(ran.wall_ms),
            ran.events,
            ran.series.faults.len()
        )
    }));
    lines.push(String::new());
    lines.push("</details>".to_owned());
    finish(lines)
}
