//! The only writer of a history: takes events from every task, puts them in the order of their
//! stamps, and writes them as JSON lines before anything is judged.
//!
//! Arrivals are stamped in other processes and come a little late: events wait [`REORDER`] before they
//! are written. A write that fails (a full disk) is kept and told at the next [`Recorder::check`].

use crate::clock::Clock;
use gatecrash_model::history::format::{write_event, write_header};
use gatecrash_model::history::{Event, EventKind, Header};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long an event waits for earlier ones that are still under way.
pub const REORDER: Duration = Duration::from_millis(400);
/// How long the writer rests between two looks: an event that found it waiting would have to wake it, several times for each request.
const REST: Duration = Duration::from_millis(10);

/// What the kernel sends a process that writes past its limit for files (`ulimit -f`); one that handles it gets an error instead.
pub const FILE_LIMIT_SIGNAL: i32 = rustix::process::Signal::XFSZ.as_raw();

/// The history could not be written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{path}`: {why}")]
pub struct RecordError {
    /// The file.
    pub path: PathBuf,
    /// Why, in words.
    pub why: String,
    /// Whether the disk is full.
    pub disk_full: bool,
}

enum Message {
    Event(Box<Event<String>>),
    Finish(tokio::sync::oneshot::Sender<u64>),
}

/// Takes events. Copies write to the same history.
#[derive(Clone)]
pub struct Recorder {
    clock: Clock,
    path: PathBuf,
    to: Sender<Message>,
    failure: Arc<OnceLock<RecordError>>,
}

impl Recorder {
    /// Creates the file and writes the header.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub fn create(path: &Path, header: &Header, clock: Clock) -> Result<Self, RecordError> {
        let failed = |error: &io::Error| record_error(path, error);
        let mut file = BufWriter::with_capacity(64 * 1024, File::create(path).map_err(|error| failed(&error))?);
        write_header(&mut file, header).and_then(|()| file.flush()).map_err(|error| failed(&error))?;
        let (to, from) = channel();
        let failure = Arc::new(OnceLock::new());
        let mut writer = Writer {
            file,
            path: path.to_owned(),
            clock,
            waiting: BinaryHeap::new(),
            taken: 0,
            written: 0,
            failure: Arc::clone(&failure),
        };
        std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || writer.run(&from))
            .map_err(|error| failed(&error))?;
        Ok(Self { clock, path: path.to_owned(), to, failure })
    }

    /// The clock that stamps events.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Records that something happens now.
    pub fn now(&self, kind: EventKind<String>) {
        self.at(self.clock.now(), kind);
    }

    /// Records that something happened at `at`.
    pub fn at(&self, at: u64, kind: EventKind<String>) {
        // The writer ends only after `finish`; what comes later than that belongs to no history.
        let _late = self.to.send(Message::Event(Box::new(Event { at, kind })));
    }

    /// Whether everything could be written so far.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn check(&self) -> Result<(), RecordError> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Writes what waits and the closing mark; returns the number of events.
    ///
    /// # Errors
    /// The first write that failed.
    pub async fn finish(&self) -> Result<u64, RecordError> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let _ended = self.to.send(Message::Finish(done));
        let written = wait.await.unwrap_or_default();
        self.check()?;
        Ok(written)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether an error of this kind means that nothing more fits: the disk, the user's quota, or the limit of a file.
#[must_use]
pub fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn record_error(path: &Path, error: &io::Error) -> RecordError {
    RecordError { path: path.to_owned(), why: error.to_string(), disk_full: is_full(error.kind()) }
}

struct Waiting {
    order: Reverse<(u64, u64)>,
    event: Box<Event<String>>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    clock: Clock,
    waiting: BinaryHeap<Waiting>,
    taken: u64,
    written: u64,
    failure: Arc<OnceLock<RecordError>>,
}

impl Writer {
    fn run(&mut self, from: &Receiver<Message>) {
        loop {
            match from.recv_timeout(Duration::from_millis(50)) {
                Ok(Message::Event(event)) => {
                    self.take(event);
                    // What else is there already goes with it, so that a busy writer flushes rarely.
                    for message in from.try_iter().take(100_000) {
                        match message {
                            Message::Event(event) => self.take(event),
                            Message::Finish(done) => return self.close(done),
                        }
                    }
                }
                Ok(Message::Finish(done)) => return self.close(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.drain(u64::MAX);
                    return self.flush();
                }
            }
            let before = self.clock.now().saturating_sub(u64::try_from(REORDER.as_nanos()).unwrap_or(u64::MAX));
            self.drain(before);
            self.flush();
            // Nobody unparks it.
            std::thread::park_timeout(REST);
        }
    }

    fn take(&mut self, event: Box<Event<String>>) {
        self.taken += 1;
        self.waiting.push(Waiting { order: Reverse((event.at, self.taken)), event });
    }

    fn drain(&mut self, before: u64) {
        while let Some(first) = self.waiting.peek() {
            if first.event.at > before {
                return;
            }
            let Some(Waiting { event, .. }) = self.waiting.pop() else { return };
            self.write(&event);
        }
    }

    fn write(&mut self, event: &Event<String>) {
        if self.failure.get().is_some() {
            return;
        }
        match write_event(&mut self.file, event) {
            Ok(()) => self.written += 1,
            Err(error) => {
                let _first = self.failure.set(record_error(&self.path, &error));
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.flush() {
            let _first = self.failure.set(record_error(&self.path, &error));
        }
    }

    fn close(&mut self, done: tokio::sync::oneshot::Sender<u64>) {
        self.drain(u64::MAX);
        let at = self.clock.now();
        self.write(&Event { at, kind: EventKind::End });
        self.flush();
        let _gone = done.send(self.written);
    }
}
