//! One child process: spawned, signalled through its pidfd, and reaped by one task.

use crate::reaper::{proc, shared_memory};
use crate::runtime::{RuntimeError, State, files::failed};
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal as Os};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a killed process may take until it is reaped.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Handle on a child; copies mean the same child.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    ended: watch::Receiver<Option<String>>,
}

impl Child {
    /// Spawns; a task reaps it as soon as it ends.
    pub(super) fn spawn(mut command: tokio::process::Command) -> std::io::Result<Self> {
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Err(std::io::Error::other("the new process has no id")) };
        // Nobody has waited for it yet, so the number is still its own.
        let pidfd = Arc::new(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        let (tell, ended) = watch::channel(None);
        // Ends with the process; whoever needs to know that waits for `ended`.
        tokio::spawn(async move {
            let how = match child.wait().await {
                Ok(status) => in_words(status),
                Err(error) => format!("an unknown status ({error})"),
            };
            shared_memory::remove(pid.as_raw_nonzero().get().unsigned_abs());
            tell.send_replace(Some(how));
        });
        Ok(Self { pid, pidfd, ended })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn state(&self) -> State {
        if let Some(how) = &*self.ended.borrow() {
            return State::Ended(how.clone());
        }
        match proc::stat(self.pid()) {
            Some(stat) if stat.state == 'T' => State::Paused,
            // A zombie has ended; its reaping task tells how in a moment.
            Some(stat) if matches!(stat.state, 'Z' | 'X') => State::Ended("a status not yet read".to_owned()),
            Some(_) => State::Running,
            None => State::Ended("a status not yet read".to_owned()),
        }
    }

    /// Sends a signal: SIGTERM to the process alone, as a platform would; what kills, stops or continues to its whole group.
    pub(super) fn send(&self, signal: Os) -> rustix::io::Result<()> {
        rustix::process::pidfd_send_signal(self.pidfd.as_fd(), signal)?;
        if signal != Os::TERM {
            // The leader exists, so the group does, or it was left; only the leader counts.
            let _group_may_be_gone = rustix::process::kill_process_group(self.pid, signal);
        }
        Ok(())
    }

    /// SIGKILL for all of its group, and waits until it is reaped and no other member lives.
    pub(super) async fn kill(&self, name: &str) -> Result<(), RuntimeError> {
        match self.send(Os::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(format!("killing `{name}` (pid {})", self.pid()), error)),
        }
        let mut ended = self.ended.clone();
        let waited = tokio::time::timeout(GONE_WITHIN, ended.wait_for(Option::is_some)).await.is_ok();
        if !waited {
            let seen = format!("pid {} is still {:?} after {} s", self.pid(), self.state(), GONE_WITHIN.as_secs());
            return Err(failed(format!("killing `{name}`"), std::io::Error::new(std::io::ErrorKind::TimedOut, seen)));
        }
        self.kill_group(name).await
    }

    /// Kills what the leader left in its group, if anything: the number stays reserved as long as a member is there.
    async fn kill_group(&self, name: &str) -> Result<(), RuntimeError> {
        let clock = crate::clock::Clock::start();
        // Members are not our children: they end when the kernel gets to it, and whoever adopted them may never reap them.
        while rustix::process::kill_process_group(self.pid, Os::KILL).is_ok() && proc::lives_in_group(self.pid()) {
            if clock.since(0) > GONE_WITHIN {
                let seen = format!("its process group {} still has a living member", self.pid());
                return Err(failed(
                    format!("killing `{name}`"),
                    std::io::Error::new(std::io::ErrorKind::TimedOut, seen),
                ));
            }
            crate::clock::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
