//! A run from its first object to its reports: the reaper before the first object, the reports after the last.

use crate::error::Error;
use crate::prepare::Prepared;
use gatecrash_engine::reaper::clean::Removed;
use gatecrash_engine::reaper::{Reaper, ReaperOptions, sweep};
use gatecrash_engine::recorder::is_full;
use gatecrash_engine::runtime::files::WORK;
use gatecrash_model::RunRecord;
use gatecrash_suites::certify::{self, Progress, Stage};
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What came of a run.
pub(crate) struct Done {
    pub(crate) record: RunRecord,
    /// What the tear-down had left and the reaper's last look removed: an empty list is what is expected.
    pub(crate) left: Vec<Removed>,
}

/// Runs what was prepared, judges it and writes its reports. `interrupt` ends it early: labs heal and are torn down,
/// what was seen is judged and marked as interrupted.
///
/// # Errors
/// Whatever kept it from a record. Nothing of the run is left running even then.
pub(crate) async fn execute(
    prepared: Prepared,
    interrupt: CancellationToken,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
) -> Result<Done, Error> {
    let folder = prepared.folder.clone();
    make(&folder)?;
    let work = folder.join(WORK);
    if let Some(harness) = sweep::holder(&work) {
        let shown = prepared.shown_folder.display();
        return Err(Error::Input(format!(
            "`{shown}` is in use by another run (process {harness}); name another folder"
        )));
    }
    // What a killed run left there is nobody's.
    remove(&work)?;
    let reaper = Reaper::start(&ReaperOptions {
        executable: prepared.executable,
        run: prepared.run.clone(),
        engine: prepared.runtime.name() == "docker",
        delete: vec![work.clone()],
        log: Some(folder.join("reaper.log")),
    })
    .map_err(|error| Error::Preflight(error.to_string()))?;
    let marked = std::fs::create_dir_all(&work).and_then(|()| sweep::mark_folder(&work));
    marked.map_err(|error| Error::Fault(format!("making the folder `{}`: {error}", work.display())))?;

    let stage = Stage {
        runtime: prepared.runtime,
        run: prepared.run,
        folder: folder.clone(),
        tools: prepared.tools.display().to_string(),
        clock: prepared.clock,
        interrupt,
        parallel: prepared.parallel,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: prepared.started,
        repeat: prepared.repeat,
    };
    let ran = Box::pin(certify::run(&prepared.request, &prepared.plan, stage, progress)).await;
    // First what we made, then whether we liked the result.
    let left = reaper.finish().await.map_err(|error| Error::fault("ending the run", &error));
    let emptied = remove(&work);
    let record = ran?;
    write_reports(&record, &folder)?;
    let left = left?;
    emptied?;
    Ok(Done { record, left })
}

/// Makes the folder of the run: where it cannot be is the user's to say, a disk without space is ours.
fn make(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let what = format!("`{}` cannot be made a folder for the run: {error}", folder.display());
        if is_full(error.kind()) { Error::Fault(what) } else { Error::Input(what) }
    })
}

/// Removes the folder of what components were told and kept: secrets are in it.
fn remove(work: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(work) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Fault(format!("removing the folder `{}`: {error}", work.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes all report files of `record` into `folder`.
///
/// # Errors
/// Which file could not be made or written.
pub(crate) fn write_reports(record: &RunRecord, folder: &Path) -> Result<(), Error> {
    let files = gatecrash_reports::files(record).map_err(|error| Error::fault("making the reports", &error))?;
    for (name, bytes) in files {
        let place = folder.join(name);
        std::fs::write(&place, bytes)
            .map_err(|error| Error::Fault(format!("writing `{}`: {error}", place.display())))?;
    }
    Ok(())
}
