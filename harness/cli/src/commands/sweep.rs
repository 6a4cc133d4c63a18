//! `gatecrash sweep`: remove what killed runs left on this machine.

use super::{put, say};
use crate::error::{Error, chain};
use crate::exit::Exit;
use gatecrash_engine::reaper::sweep::{SweepOptions, sweep};
use gatecrash_engine::runtime::docker::engine;
use std::path::PathBuf;
use std::time::Duration;

/// Images of ours are kept this long for the next run.
const KEEP_IMAGES: Duration = Duration::from_secs(7 * 86_400);

/// Where temporary folders of runs may be: the system's, and each run below `target/gatecrash`.
fn folders() -> Vec<PathBuf> {
    let runs = std::fs::read_dir("target/gatecrash").into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(std::env::temp_dir()).chain(runs).collect()
}

pub(super) async fn run(dry_run: bool, unknown_harness: bool) -> Result<Exit, Error> {
    let engine = engine::connect().await.is_ok();
    if !engine {
        say("no container engine answers: only processes, control groups and folders are looked for");
    }
    let options = SweepOptions { engine, dry_run, unknown_harness, images_older_than: KEEP_IMAGES, folders: folders() };
    let swept = sweep(&options).await.map_err(|error| Error::Fault(chain(&error)))?;
    let verb = if dry_run { "would remove" } else { "removed" };
    for item in &swept.removed {
        put(&format!("{verb} {item}\n"))?;
    }
    for item in &swept.kept {
        say(&format!("kept {item}"));
    }
    for item in &swept.in_use {
        say(&format!(
            "kept {item}: the engine says that a container is in it (if none is, the engine lost count, and removes it after a restart of its own)"
        ));
    }
    say(&format!("{verb} {}, kept {}", swept.removed.len(), swept.kept.len() + swept.in_use.len()));
    Ok(Exit::AsDeclared)
}
