//! `gatecrash check RUN`: judge a saved run again.

use super::{look, put, say};
use crate::error::Error;
use crate::execute::write_reports;
use crate::exit::Exit;
use gatecrash_suites::certify;
use std::path::Path;

pub(super) fn run(folder: &Path) -> Result<Exit, Error> {
    let record = certify::check(folder)?;
    let saved = std::fs::read(folder.join("report.json")).ok();
    let judged = gatecrash_reports::json::render(&record).map_err(|error| Error::fault("making the report", &error))?;
    match saved {
        Some(saved) if saved == judged.as_bytes() => say("judged again: the same, byte for byte"),
        Some(_) => say("judged again: it differs from the saved report; the reports are written anew"),
        None => say("judged again: there was no saved report"),
    }
    write_reports(&record, folder)?;
    let (width, colour) = look();
    put(&gatecrash_reports::terminal::render_in(&record, Some(folder), width, colour))?;
    Ok(Exit::of(&record))
}
