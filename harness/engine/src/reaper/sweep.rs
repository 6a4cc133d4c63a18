//! Finds what runs without a living harness left on this machine, whichever run it was, and removes it.
//!
//! A run whose harness is alive is never touched: every process, container and network says who started it.

use super::clean::{self, Kind, Removed};
use super::proc::{self, Identity};
use crate::clock::{Clock, sleep, wall_s};
use crate::runtime::docker::engine;
use crate::runtime::{RuntimeError, control_group};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// File in a temporary folder that says whose it is: the harness as `<pid>:<start>`.
pub const FOLDER_MARKER: &str = ".gatecrash-harness";

/// How long killed processes may take to vanish from their control groups.
const VANISHED_WITHIN: Duration = Duration::from_secs(5);

/// What to look for.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Containers, networks and images too; an engine that does not answer is then an error.
    pub engine: bool,
    /// Only find, remove nothing.
    pub dry_run: bool,
    /// Also what does not say who its harness is: made by hand, or by another version.
    pub unknown_harness: bool,
    /// Images of ours that were made longer ago and have no container; zero for all of them.
    pub images_older_than: Duration,
    /// Folders in which temporary run folders are looked for (those with a [`FOLDER_MARKER`]).
    pub folders: Vec<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Removed, or with `dry_run` what would be.
    pub removed: Vec<Removed>,
    /// Left alone: the harness lives, or nobody knows who it is.
    pub kept: Vec<Removed>,
    /// Networks of which the engine says that something is in them.
    pub in_use: Vec<Removed>,
}

/// Marks `folder` as a temporary one of this process; what is marked is deleted by [`sweep`] once this process is gone.
///
/// # Errors
/// What the file system said.
pub fn mark_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join(FOLDER_MARKER), Identity::own().to_string())
}

/// The living harness whose temporary folder this is; `None` if it is nobody's, or its harness is gone.
#[must_use]
pub fn holder(folder: &Path) -> Option<Identity> {
    let marker = std::fs::read_to_string(folder.join(FOLDER_MARKER)).ok()?;
    marker.trim().parse().ok().filter(|harness: &Identity| harness.is_alive())
}

/// Finds and removes leftovers.
///
/// # Errors
/// What the engine or the file system said; processes are removed first.
pub async fn sweep(options: &SweepOptions) -> Result<Swept, RuntimeError> {
    let mut swept = Swept::default();
    for found in proc::marked(None) {
        let program = found.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let item = Removed { kind: Kind::Process, run: found.run.clone(), name: format!("{} {program}", found.pid) };
        if !is_leftover(found.harness, options) {
            swept.kept.push(item);
        } else if options.dry_run {
            swept.removed.push(item);
        } else {
            swept.removed.extend(clean::kill(&found));
        }
    }
    sweep_groups(options, &mut swept).await;
    if options.engine {
        sweep_engine(options, &mut swept).await?;
    }
    for parent in &options.folders {
        sweep_folders(parent, options, &mut swept)?;
    }
    Ok(swept)
}

fn is_leftover(harness: Option<Identity>, options: &SweepOptions) -> bool {
    harness.map_or(options.unknown_harness, |harness| !harness.is_alive())
}

async fn sweep_engine(options: &SweepOptions, swept: &mut Swept) -> Result<(), RuntimeError> {
    let connected = engine::connect().await?;
    let found = engine::labelled(&connected.docker, None).await?;
    let (leftover, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|object| is_leftover(object.harness, options));
    swept.kept.extend(kept.iter().map(engine::Labelled::as_removed));
    if options.dry_run {
        swept.removed.extend(leftover.iter().map(engine::Labelled::as_removed));
    } else {
        let (networks, containers): (Vec<_>, Vec<_>) =
            leftover.into_iter().partition(|object| object.kind == Kind::Network);
        swept.removed.extend(engine::remove(&connected.docker, &containers).await?);
        for network in networks {
            let removed = engine::remove_unused_network(&connected.docker, &network.id).await?;
            if removed { &mut swept.removed } else { &mut swept.in_use }.push(network.as_removed());
        }
    }
    let oldest = wall_s().saturating_sub(options.images_older_than.as_secs());
    for image in engine::own_images(&connected.docker).await? {
        let item = Removed { kind: Kind::Image, run: String::new(), name: image.reference.clone() };
        if image.created_s > oldest {
            swept.kept.push(item);
        } else if options.dry_run || engine::remove_image(&connected.docker, &image.reference).await? {
            swept.removed.push(item);
        } else {
            swept.kept.push(item);
        }
    }
    Ok(())
}

async fn sweep_groups(options: &SweepOptions, swept: &mut Swept) {
    let clock = Clock::start();
    for group in control_group::left(None) {
        let item = group.as_removed();
        if !is_leftover(Some(group.harness), options) {
            swept.kept.push(item);
            continue;
        }
        // Whoever was killed a moment ago may still be in it; who does not carry our marker stays.
        let mut is_removed = options.dry_run || group.remove().is_ok();
        while !is_removed && clock.since(0) < VANISHED_WITHIN {
            sleep(Duration::from_millis(5)).await;
            is_removed = group.remove().is_ok();
        }
        if is_removed { &mut swept.removed } else { &mut swept.kept }.push(item);
    }
}

fn sweep_folders(parent: &Path, options: &SweepOptions, swept: &mut Swept) -> Result<(), RuntimeError> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Ok(()) };
    for entry in entries.flatten() {
        let folder = entry.path();
        let Ok(marker) = std::fs::read_to_string(folder.join(FOLDER_MARKER)) else { continue };
        let item = Removed { kind: Kind::Folder, run: String::new(), name: folder.display().to_string() };
        if !is_leftover(marker.trim().parse().ok(), options) {
            swept.kept.push(item);
            continue;
        }
        if !options.dry_run {
            std::fs::remove_dir_all(&folder).map_err(|source| RuntimeError::Failed {
                doing: format!("deleting `{}`", folder.display()),
                source: source.into(),
            })?;
        }
        swept.removed.push(item);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(folder: &Path) -> SweepOptions {
        SweepOptions {
            engine: false,
            dry_run: true,
            unknown_harness: false,
            images_older_than: Duration::ZERO,
            folders: vec![folder.to_owned()],
        }
    }

    #[tokio::test]
    async fn only_folders_whose_harness_is_gone_are_deleted() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, marker: Option<String>| {
            let folder = parent.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            if let Some(text) = marker {
                std::fs::write(folder.join(FOLDER_MARKER), text).unwrap();
            }
            folder
        };
        let dead = make("dead", Some("4194999:1".to_owned()));
        let unmarked = make("unmarked", None);
        let alive = make("alive", None);
        mark_folder(&alive).unwrap();

        let mut options = options(parent.path());
        let would = sweep(&options).await.unwrap();
        assert!(would.removed.iter().any(|item| item.name == dead.display().to_string()));
        assert!(dead.exists(), "a dry run removes nothing");
        options.dry_run = false;
        // Processes of other runs on this machine are none of this test's business.
        sweep_folders(parent.path(), &options, &mut Swept::default()).unwrap();
        assert!(!dead.exists());
        assert!(unmarked.exists() && alive.exists());
    }
}
