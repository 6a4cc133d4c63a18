//! Finds and removes everything that carries a run's marker: processes by their environment, containers and networks by label.

use super::proc::{self, Marked};
use super::shared_memory;
use crate::clock::{Clock, sleep};
use crate::runtime::docker::engine;
use crate::runtime::{RUN_LABEL, RuntimeError, control_group};
use bollard::Docker;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Two empty listings this far apart: a container whose creation was under way when the harness died shows up in the second.
const APART: Duration = Duration::from_secs(1);
/// When the reaper gives up, and says what is left.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// How long starts that are under way are waited for, with the connection to the engine.
const STARTED_WITHIN: Duration = Duration::from_millis(1500);

/// What kind of thing was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process.
    Process,
    /// A container of the engine.
    Container,
    /// A network of the engine.
    Network,
    /// An image that we made.
    Image,
    /// A temporary folder.
    Folder,
    /// A control group of the kernel.
    ControlGroup,
}

/// Something that was found and removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removed {
    /// What it was.
    pub kind: Kind,
    /// Its run; empty if it belongs to none (images).
    pub run: String,
    /// Its name, or pid and program.
    pub name: String,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Process => "process",
            Kind::Container => "container",
            Kind::Network => "network",
            Kind::Image => "image",
            Kind::Folder => "folder",
            Kind::ControlGroup => "control group",
        };
        write!(f, "{kind} `{}`", self.name)
    }
}

/// Kills every process that carries the marker of `run`; returns what was there.
#[must_use]
pub fn processes(run: &str) -> Vec<Removed> {
    proc::marked(Some(run)).iter().filter_map(kill).collect()
}

/// Removes the control groups of `run`, whose processes were killed; returns what was there. One in which a process has not vanished yet is still
/// there in the next listing.
fn groups(run: &str) -> Vec<Removed> {
    let left = control_group::left(Some(run));
    left.iter()
        .map(|group| {
            let _listed_again = group.remove();
            group.as_removed()
        })
        .collect()
}

/// Looks for everything of a run and removes it. The engine is connected to at the first listing, and stays so: asking it who it
/// is again and again is work for an engine that has enough of it while it removes containers.
#[derive(Debug)]
pub struct Cleaner<'a> {
    run: &'a str,
    with_engine: bool,
    docker: Option<Docker>,
    /// Whether starts that were under way were waited for.
    waited: bool,
}

impl<'a> Cleaner<'a> {
    /// Of `run`; with containers and networks if `with_engine`.
    #[must_use]
    pub const fn new(run: &'a str, with_engine: bool) -> Self {
        Self { run, with_engine, docker: None, waited: false }
    }

    async fn connected(&mut self) -> Result<&Docker, RuntimeError> {
        match &mut self.docker {
            Some(docker) => Ok(docker),
            none @ None => Ok(none.insert(engine::connect().await?.docker)),
        }
    }

    /// Waits for starts that are under way, once; an engine that does not say is not waited for.
    async fn wait_for_starts(&mut self) {
        if !self.with_engine || self.waited {
            return;
        }
        self.waited = true;
        let label = format!("{RUN_LABEL}={}", self.run);
        let started = async { engine::started_all(self.connected().await?, label).await };
        let _told_below = tokio::time::timeout(STARTED_WITHIN, started).await;
    }

    /// One listing and removal of everything that carries the marker of the run; returns what was there. The first waits at most 1.5 s for containers that are
    /// being started.
    ///
    /// # Errors
    /// What the engine answered. Processes are removed first, whatever the engine says.
    pub async fn once(&mut self) -> Result<Vec<Removed>, RuntimeError> {
        self.wait_for_starts().await;
        let mut removed = processes(self.run);
        removed.extend(groups(self.run));
        if self.with_engine {
            let run = self.run;
            let docker = self.connected().await?;
            let left = engine::labelled(docker, Some(run)).await?;
            removed.extend(engine::remove(docker, &left).await?);
        }
        Ok(removed)
    }

    /// Repeats [`Self::once`] until two listings a second apart were empty, for at most a minute; adds what was removed to `removed`.
    ///
    /// # Errors
    /// What was still left, or what the engine answered last.
    pub async fn until_empty(&mut self, removed: &mut Vec<Removed>) -> Result<(), String> {
        let clock = Clock::start();
        let mut was_empty = false;
        loop {
            let listed: BTreeSet<Removed> = removed.iter().cloned().collect();
            let seen = match self.once().await {
                Ok(found) if found.is_empty() && was_empty => return Ok(()),
                Ok(found) => {
                    was_empty = found.is_empty();
                    let seen = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    // What was killed but had not vanished yet is listed again.
                    removed.extend(found.into_iter().filter(|item| !listed.contains(item)));
                    seen
                }
                Err(error) => {
                    was_empty = false;
                    chain(&error)
                }
            };
            if clock.since(0) > GIVE_UP_AFTER {
                return Err(format!("gave up after {} s; last seen: {seen}", GIVE_UP_AFTER.as_secs()));
            }
            // What was killed a moment ago may take another to vanish; an empty listing is asked again after a second.
            sleep(if was_empty { APART } else { Duration::from_millis(20) }).await;
        }
    }
}

/// SIGKILL for a marked process; `None` if it was gone already.
pub(super) fn kill(found: &Marked) -> Option<Removed> {
    let pid = i32::try_from(found.pid).ok().and_then(Pid::from_raw)?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // The number may have been given to another process between the listing and now.
    if proc::stat(found.pid).is_none_or(|now| now.started != found.started) {
        return None;
    }
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
    shared_memory::remove(found.pid);
    let program = found.program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Removed { kind: Kind::Process, run: found.run.clone(), name: format!("{} {program}", found.pid) })
}

/// An error with all its sources, joined once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text.push_str(": ");
        text.push_str(&next.to_string());
        source = next.source();
    }
    text
}
