//! What a run says to its readers: a [`RunRecord`] goes in, bytes come out.
//!
//! | module | file | reader |
//! |---|---|---|
//! | [`terminal`] | standard output | whoever typed the command |
//! | [`json`] | `report.json` | programs; its schema is `reports/schema/report-1.0.json` |
//! | [`junit`] | `junit.xml` | continuous integration |
//! | [`markdown`] | `summary.md` | a pull request, a job's summary page |
//! | [`html`] | `report.html` | managers, operators, engineers |
//!
//! Wording and totals that all of them share are in [`summary`]. Nothing here reads a clock, a file or the
//! environment: the same record gives the same bytes. Records hold no secrets; every text is escaped all the same.

pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod summary;
pub mod terminal;
mod text;

use gatecrash_model::RunRecord;

/// Why a report could not be made. The record itself is never the reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// JSON could not be written.
    #[error("`report.json` could not be made")]
    Json(#[source] serde_json::Error),
    /// XML could not be written.
    #[error("`junit.xml` could not be made")]
    Junit(#[source] quick_junit::SerializeError),
    /// The page's template failed.
    #[error("`report.html` could not be made")]
    Html(#[source] minijinja::Error),
}

/// All report files of a run: their names, to be put into the run's folder, and their bytes.
///
/// # Errors
/// Which file could not be made, and why.
pub fn files(record: &RunRecord) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    Ok(vec![
        ("report.json", json::render(record)?.into_bytes()),
        ("junit.xml", junit::render(record)?.into_bytes()),
        ("summary.md", markdown::render(record).into_bytes()),
        ("report.html", html::render(record)?.into_bytes()),
    ])
}
