//! `gatecrash check RUN`: judge a saved run again.

use super::{look, put, say};
use crate::error::Error;
use crate::execute::write_reports;
use crate::exit::Exit;
use gatecrash_model::RunRecord;
use gatecrash_suites::certify;
use std::path::Path;

pub(super) fn run(folder: &Path) -> Result<Exit, Error> {
    let certify::Checked { record, damage } = certify::check(folder)?;
    if !damage.is_empty() {
        // What was saved is all that is left of the run: it is not written over.
        for damaged in &damage {
            say(damaged);
        }
        say(
            "judged again: the saved run is damaged, so nothing of it is judged as held; its reports are left as they are",
        );
        return show(&record, folder);
    }
    let saved = std::fs::read(folder.join("report.json")).ok();
    let judged = gatecrash_reports::json::render(&record).map_err(|error| Error::fault("making the report", &error))?;
    match saved {
        Some(saved) if saved == judged.as_bytes() => say("judged again: the same, byte for byte"),
        Some(_) => say("judged again: it differs from the saved report; the reports are written anew"),
        None => say("judged again: there was no saved report"),
    }
    write_reports(&record, folder)?;
    show(&record, folder)
}

fn show(record: &RunRecord, folder: &Path) -> Result<Exit, Error> {
    let (width, colour) = look();
    put(&gatecrash_reports::terminal::render_in(record, Some(folder), width, colour))?;
    Ok(Exit::of(record))
}
