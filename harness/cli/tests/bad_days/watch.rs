//! A run of the binary, watched from outside: what it said, and what of it is still there.

use bollard::Docker;
use gatecrash_engine::clock::{Clock, sleep};
use gatecrash_engine::reaper::proc::{self, Identity};
use gatecrash_engine::runtime::docker::engine;
use gatecrash_engine::runtime::files::WORK;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Everything must be gone this soon after a harness was killed.
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Why no container can be tested here; `None` if an engine answers.
pub(crate) fn engine_missing() -> Option<String> {
    block_on(engine::connect()).err().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> T {
    static EXECUTOR: OnceLock<Runtime> = OnceLock::new();
    let executor = EXECUTOR.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("an executor")
    });
    executor.block_on(what)
}

/// The engine, connected once: who looks every few milliseconds must not keep it from what is looked for.
fn docker() -> &'static Docker {
    static DOCKER: OnceLock<Docker> = OnceLock::new();
    DOCKER.get_or_init(|| block_on(engine::connect()).expect("an engine").docker)
}

pub(crate) fn pause(ms: u64) {
    block_on(sleep(Duration::from_millis(ms)));
}

/// A folder to run in, with temporary files of its own.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("tmp")).expect("a folder");
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    /// The binary, or a program that ends up as it, in this folder.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env("TMPDIR", self.path().join("tmp"))
            .env_remove("GITHUB_STEP_SUMMARY")
            .stdin(Stdio::null());
        command
    }

    /// The binary with these words.
    pub(crate) fn gatecrash(&self, words: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.args(words);
        command
    }

    /// Every file and folder below it, by its path inside. What is deleted meanwhile is left out.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(entry.path());
                }
                found.extend(entry.path().strip_prefix(self.path()).map(Path::to_owned));
            }
        }
        found
    }

    /// Files of components, and temporary ones: what may not be there once a run is over.
    pub(crate) fn temporary(&self) -> Vec<PathBuf> {
        let is_temporary = |path: &PathBuf| {
            let is_work = path.components().any(|part| part.as_os_str() == WORK);
            is_work || (path.starts_with("tmp") && path != Path::new("tmp"))
        };
        self.files().into_iter().filter(is_temporary).collect()
    }

    /// The histories of the runs here.
    pub(crate) fn histories(&self) -> Vec<PathBuf> {
        let is_one =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("history-"));
        self.files().into_iter().filter(is_one).map(|path| self.path().join(path)).collect()
    }

    /// Whether a history here has these words already.
    pub(crate) fn recorded(&self, words: &str) -> bool {
        self.histories().iter().any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(words)))
    }

    /// Every living process that was started from here, by whatever way: they have this place's folder for temporary files.
    pub(crate) fn processes(&self) -> Vec<String> {
        let wanted = format!("TMPDIR={}", self.path().join("tmp").display());
        let is_ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let carries = environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
            carries && proc::stat(*pid).is_some_and(|stat| stat.state != 'Z')
        };
        let line = |pid: u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid} {}", String::from_utf8_lossy(&line).replace('\0', " "))
        };
        pids().into_iter().filter(is_ours).map(line).collect()
    }
}

fn pids() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_gatecrash");

/// A run that is under way.
pub(crate) struct Running {
    child: Child,
    pub(crate) harness: Identity,
    said: Arc<Mutex<Vec<String>>>,
    clock: Clock,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts it; stdout is thrown away, stderr is kept line by line.
    pub(crate) fn start(mut command: Command) -> Self {
        let clock = Clock::start();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let pid = child.id();
        let harness = Identity { pid, started: proc::stat(pid).expect("a process").started };
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, heard) = (BufReader::new(child.stderr.take().expect("stderr")).lines(), Arc::clone(&said));
        // Ends with the last holder of that stderr.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { child, harness, said, clock, ended: None }
    }

    /// How long ago it was started.
    pub(crate) fn age(&self) -> Duration {
        self.clock.since(0)
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Waits until `what` says yes; at most so long, and not beyond its end.
    pub(crate) fn until(&mut self, within: Duration, what: &str, mut yes: impl FnMut(&Self) -> bool) {
        let clock = Clock::start();
        while !yes(&*self) {
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "it ended ({ended:?}) before {what}:\n{}", self.said());
            assert!(clock.since(0) < within, "no {what} after {within:?}:\n{}", self.said());
            pause(5);
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.harness.pid).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a signal");
    }

    /// Waits for its end; at most so long.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let clock = Clock::start();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                self.ended = Some(status);
                // What it said last may still be under way.
                pause(50);
                return status;
            }
            assert!(clock.since(0) < within, "it still runs after {within:?}:\n{}", self.said());
            pause(5);
        }
    }

    /// What of it is there: processes by their marker, containers and networks by their label.
    pub(crate) fn left(&self, with_engine: bool) -> Vec<String> {
        let mut left: Vec<String> = proc::marked(None)
            .iter()
            .filter(|found| found.harness == Some(self.harness))
            .map(|found| format!("process {} {}", found.pid, found.program.display()))
            .collect();
        if with_engine {
            let found = block_on(engine::labelled(docker(), None)).expect("a listing");
            let ours = found.into_iter().filter(|object| object.harness == Some(self.harness));
            left.extend(ours.map(|object| object.as_removed().to_string()));
        }
        left
    }

    /// Kills its reapers: now only `sweep` finds what it leaves.
    pub(crate) fn kill_reapers(&self) {
        for pid in reapers(self.harness) {
            kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), Signal::SIGKILL).expect("a signal");
        }
    }

    /// Waits until nothing of it is left and says how long that took; fails after [`GONE_WITHIN`]. Then waits for its
    /// reaper, which looks once more after a second.
    pub(crate) fn until_gone(&self, place: &Place, with_engine: bool) -> Duration {
        let clock = Clock::start();
        let gone = loop {
            let mut left = self.left(with_engine);
            left.extend(place.temporary().iter().map(|path| format!("file {}", path.display())));
            let after = clock.since(0);
            if left.is_empty() && after <= GONE_WITHIN {
                break after;
            }
            assert!(after <= GONE_WITHIN, "left {after:?} after the end of {}: {left:#?}", self.harness);
            pause(20);
        };
        while !place.processes().is_empty() {
            let after = clock.since(gone_ns(gone));
            assert!(after <= GONE_WITHIN, "{after:?} after all is gone: {:?}", place.processes());
            pause(20);
        }
        // What the engine had still been making when it was asked first.
        assert_eq!(self.left(with_engine), Vec::<String>::new());
        assert_eq!(place.temporary(), Vec::<PathBuf>::new());
        gone
    }
}

fn gone_ns(gone: Duration) -> u64 {
    u64::try_from(gone.as_nanos()).unwrap_or(u64::MAX)
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // A failed test: its reaper removes the rest.
            let _already_ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

/// Reapers of a harness: `... fixture reaper --run RUN --parent PID:START ...`.
fn reapers(harness: Identity) -> Vec<u32> {
    let wanted = format!("--parent\0{harness}\0");
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let lives = proc::stat(*pid).is_some_and(|stat| stat.state != 'Z');
        lives && String::from_utf8_lossy(&line).contains(&wanted)
    };
    pids().into_iter().filter(is_one).collect()
}
