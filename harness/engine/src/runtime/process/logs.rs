//! What processes say, on its way into their log files.
//!
//! A process that wrote its log itself would stand still in that for as long as the disk is kept busy by others, and its gateway
//! would be blamed. So it writes into a pipe, which a task of the harness drains; one thread per network writes the files.

use bytes::Bytes;
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Read at a time, at most.
const CHUNK: usize = 64 * 1024;
/// Bytes on their way to a disk, at most; then processes stand still after all.
const WAITING: usize = 16 * 1024 * 1024;
/// What a process may have said before a tail is asked for, in chunks: more than a pipe holds.
const PIPEFUL: usize = 32;
/// How long a tail waits for a busy disk, before it shows what is there.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

enum Job {
    /// With its share of what may wait.
    Append(Arc<File>, Bytes, OwnedSemaphorePermit),
    /// All that came before is written.
    Tell(oneshot::Sender<()>),
}

/// The logs of one network. Its thread ends when the last handle is gone, and every process that had one.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    jobs: mpsc::UnboundedSender<Job>,
    /// Bytes that may still wait.
    room: Arc<Semaphore>,
}

/// The log of one process.
#[derive(Clone, Debug)]
pub(super) struct Log {
    jobs: mpsc::UnboundedSender<Job>,
    drain: mpsc::Sender<oneshot::Sender<()>>,
}

impl Logs {
    /// # Errors
    /// If no thread can be started.
    pub(super) fn start() -> std::io::Result<Self> {
        let (logs, work) = Self::new();
        // Ends when nobody can send any more: with the network and its processes.
        let _thread = std::thread::Builder::new().name("logs".to_owned()).spawn(move || write_all(work))?;
        Ok(logs)
    }

    fn new() -> (Self, mpsc::UnboundedReceiver<Job>) {
        // Bounded by the bytes that wait, not by their number: lines are short.
        let (jobs, work) = mpsc::unbounded_channel();
        (Self { jobs, room: Arc::new(Semaphore::new(WAITING)) }, work)
    }

    /// Opens the log at `place` for one more process, and gives what that process writes into: for stdout and stderr.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is no pipe to be had.
    pub(super) fn open(&self, place: &Path) -> std::io::Result<(Log, [std::io::PipeWriter; 2])> {
        let file = Arc::new(File::options().create(true).append(true).open(place)?);
        let (from, into) = std::io::pipe()?;
        let both = [into.try_clone()?, into];
        let from = Receiver::from_owned_fd(OwnedFd::from(from))?;
        let (drain, asked) = mpsc::channel(1);
        // Ends with the last process that holds the other end.
        tokio::spawn(forward(from, file, self.clone(), asked));
        Ok((Log { jobs: self.jobs.clone(), drain }, both))
    }
}

impl Log {
    /// Waits until what the process said so far is in its file; not for ever.
    pub(super) async fn caught_up(&self) {
        let (tell, told) = oneshot::channel();
        let caught_up = async {
            // Nobody takes it if all ends of the pipe are closed: then everything was sent on.
            if let Err(mpsc::error::SendError(tell)) = self.drain.send(tell).await {
                let _ends_with_its_thread = self.jobs.send(Job::Tell(tell));
            }
            let _or_the_task_ended = told.await;
        };
        if tokio::time::timeout(WRITTEN_WITHIN, caught_up).await.is_err() {
            tracing::warn!("a log was not written within {} s: the disk is busy", WRITTEN_WITHIN.as_secs());
        }
    }
}

/// Sends on what comes out of the pipe, until its other ends are closed.
async fn forward(from: Receiver, file: Arc<File>, logs: Logs, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            readable = from.readable() => {
                let read = |chunk: &mut [u8]| from.try_read(chunk);
                if readable.is_err() || !pass(read, &mut chunk, &file, &logs, 1).await {
                    break;
                }
            }
            Some(tell) = asked.recv() => {
                // Not by what is known to be readable: of what was just written nobody may know yet.
                let read = |chunk: &mut [u8]| rustix::io::read(&from, chunk).map_err(std::io::Error::from);
                let goes_on = pass(read, &mut chunk, &file, &logs, PIPEFUL).await;
                let _ends_with_its_thread = logs.jobs.send(Job::Tell(tell));
                if !goes_on {
                    break;
                }
            }
        }
    }
    // Whoever asked while the last of it was read is told, too.
    asked.close();
    while let Some(tell) = asked.recv().await {
        let _ends_with_its_thread = logs.jobs.send(Job::Tell(tell));
    }
}

/// Sends on what `read` gives, `most` chunks of it. Whether more may come.
async fn pass(
    read: impl Fn(&mut [u8]) -> std::io::Result<usize>,
    chunk: &mut [u8],
    file: &Arc<File>,
    logs: &Logs,
    most: usize,
) -> bool {
    for _turn in 0..most {
        match read(chunk) {
            Ok(0) => return false,
            Ok(length) => {
                let bytes = Bytes::copy_from_slice(chunk.get(..length).unwrap_or_default());
                let share = u32::try_from(length).unwrap_or(u32::MAX);
                let Ok(place) = Arc::clone(&logs.room).acquire_many_owned(share).await else { return false };
                if logs.jobs.send(Job::Append(Arc::clone(file), bytes, place)).is_err() {
                    return false;
                }
            }
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn write_all(mut work: mpsc::UnboundedReceiver<Job>) {
    let mut is_lost = false;
    while let Some(job) = work.blocking_recv() {
        match job {
            Job::Append(file, bytes, _place) => {
                if let Err(error) = (&*file).write_all(&bytes)
                    && !std::mem::replace(&mut is_lost, true)
                {
                    tracing::warn!(%error, "what a process says cannot be written into its log");
                }
            }
            Job::Tell(tell) => {
                let _nobody_waits_any_more = tell.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_matches::assert_matches;

    fn read(place: &Path) -> String {
        std::fs::read_to_string(place).unwrap()
    }

    #[tokio::test]
    async fn what_was_said_is_there_when_asked_for_while_it_runs_and_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.log");
        let logs = Logs::start().unwrap();
        let (log, [mut out, mut err]) = logs.open(&place).unwrap();
        for turn in 0..50 {
            out.write_all(format!("{turn}\n").as_bytes()).unwrap();
            log.caught_up().await;
            assert!(read(&place).ends_with(&format!("{turn}\n")), "turn {turn}: {:?}", read(&place));
        }
        err.write_all(b"last").unwrap();
        drop((out, err));
        log.caught_up().await;
        assert!(read(&place).ends_with("last"));
        // It stays so, and a second process goes on in the same file.
        log.caught_up().await;
        let (second, [mut out, _]) = logs.open(&place).unwrap();
        out.write_all(b" and first").unwrap();
        second.caught_up().await;
        assert!(read(&place).ends_with("last and first"));
    }

    #[tokio::test]
    async fn one_who_says_much_does_not_stand_still_while_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.log");
        let (logs, held) = Logs::new();
        let (log, [mut out, _err]) = logs.open(&place).unwrap();
        // Ten times what a pipe holds, while the disk takes nothing.
        let said = tokio::task::spawn_blocking(move || (0..640).try_for_each(|_| out.write_all(&[b'x'; 1024])));
        let said = tokio::time::timeout(Duration::from_secs(10), said).await;
        assert_matches!(said, Ok(Ok(Ok(()))));
        assert_eq!(std::fs::metadata(&place).unwrap().len(), 0);
        drop(logs);
        let _thread = std::thread::spawn(move || write_all(held));
        log.caught_up().await;
        assert_eq!(std::fs::metadata(&place).unwrap().len(), 640 * 1024);
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_keeps_nobody_waiting() {
        let logs = Logs::start().unwrap();
        let (log, [mut out, _err]) = logs.open(Path::new("/dev/full")).unwrap();
        out.write_all(b"lost").unwrap();
        log.caught_up().await;
        assert_matches!(logs.open(Path::new("/nowhere/a.log")), Err(_));
    }
}
