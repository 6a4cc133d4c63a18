//! Removes what a run left behind, from outside the harness process: SIGKILL of the harness is no excuse.
//!
//! [`Reaper::start`] starts `gatecrash fixture reaper` before the first process or container of the run exists. The reaper lives in
//! a session of its own with closed stdin and stdout, watches the harness through a pidfd, and when it is gone removes everything that carries the run's
//! marker ([`clean`]). After a clean end [`Reaper::finish`] checks that nothing is left and ends it. [`sweep`] finds what
//! runs without a reaper left (a machine that lost power, a reaper that was killed).

pub mod clean;
pub mod proc;
pub(crate) mod shared_memory;
pub mod sweep;

use crate::clock::{Clock, monotonic_ns};
use crate::runtime::{RUN_VARIABLE, RuntimeError};
use clean::{Cleaner, Removed};
use proc::{HARNESS_VARIABLE, Identity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// What the reaper writes once it watches.
const WATCHING: &str = "watching";
/// How long it may take until it does.
const START_WITHIN_S: i64 = 10;

/// What a reaper is told.
#[derive(Clone, Debug)]
pub struct ReaperOptions {
    /// Executable that dispatches `fixture`.
    pub executable: PathBuf,
    /// Run id.
    pub run: String,
    /// Whether containers and networks are looked for too.
    pub engine: bool,
    /// Folders to delete when the harness is gone: temporary ones only, never those with results.
    pub delete: Vec<PathBuf>,
    /// Where it writes what it did; `None`: nowhere.
    pub log: Option<PathBuf>,
}

/// The reaper could not be started, or could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum ReaperError {
    /// It did not come up.
    #[error(
        "the reaper `{executable}` did not start: {seen}\nwithout it a killed harness would leave processes and containers behind, so nothing was started"
    )]
    Start {
        /// Executable.
        executable: PathBuf,
        /// What was seen.
        seen: String,
    },
    /// It could not be ended.
    #[error("ending the reaper (pid {pid})")]
    End {
        /// Its process id.
        pid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was left could not be removed.
    #[error("removing what run `{run}` left")]
    Clean {
        /// Run id.
        run: String,
        /// Why.
        #[source]
        source: RuntimeError,
    },
    /// Something was still there at the end.
    #[error("removing what run `{run}` left: {seen}")]
    Left {
        /// Run id.
        run: String,
        /// What was seen last.
        seen: String,
    },
}

/// The reaper of a run, seen from the harness. Dropping it leaves the reaper at its post.
#[derive(Debug)]
pub struct Reaper {
    child: Child,
    run: String,
    engine: bool,
}

impl Reaper {
    /// Starts the reaper and returns once it watches this process: a few milliseconds, at most 10 s.
    ///
    /// # Errors
    /// [`ReaperError::Start`].
    pub fn start(options: &ReaperOptions) -> Result<Self, ReaperError> {
        let failed = |seen: String| ReaperError::Start { executable: options.executable.clone(), seen };
        let mut command = Command::new(&options.executable);
        command.args(["fixture", "reaper", "--run", &options.run, "--parent", &Identity::own().to_string()]);
        if options.engine {
            command.arg("--engine");
        }
        for folder in &options.delete {
            command.arg("--delete").arg(folder);
        }
        if let Some(log) = &options.log {
            command.arg("--log").arg(log);
        }
        // The reaper must not carry the marker that it looks for.
        command.env_remove(RUN_VARIABLE).env_remove(HARNESS_VARIABLE);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let seen = match child.stdout.take() {
            Some(output) => first_line(output),
            None => Err("it has no stdout".to_owned()),
        };
        match seen {
            Ok(line) if line.trim() == WATCHING => Ok(Self { child, run: options.run.clone(), engine: options.engine }),
            other => {
                let _already_ended = child.kill();
                let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(failed(match other {
                    Ok(line) => format!("it said {line:?} instead of `{WATCHING}` and ended with {status}"),
                    Err(seen) => format!("{seen}; it ended with {status}"),
                }))
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still at its post.
    #[must_use]
    pub fn is_watching(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the reaper after a clean tear-down. What is left nevertheless is removed first and returned: an empty
    /// list is what is expected.
    ///
    /// # Errors
    /// [`ReaperError::Clean`] and [`ReaperError::Left`] (the reaper then stays at its post), [`ReaperError::End`].
    pub async fn finish(mut self) -> Result<Vec<Removed>, ReaperError> {
        let mut cleaner = Cleaner::new(&self.run, self.engine);
        let left = cleaner.once().await;
        let mut left = left.map_err(|source| ReaperError::Clean { run: self.run.clone(), source })?;
        if !left.is_empty() {
            // What was forgotten may have been starting something: nothing is said to be gone before nothing is seen.
            let emptied = cleaner.until_empty(&mut left).await;
            emptied.map_err(|seen| ReaperError::Left { run: self.run.clone(), seen })?;
        }
        let pid = self.child.id();
        // It has no state to lose, and nobody else waits for it, so its number is still its own.
        self.child
            .kill()
            .and_then(|()| self.child.wait().map(|_| ()))
            .map_err(|source| ReaperError::End { pid, source })?;
        Ok(left)
    }
}

fn first_line(output: std::process::ChildStdout) -> Result<String, String> {
    let until = monotonic_ns().saturating_add(START_WITHIN_S.unsigned_abs().saturating_mul(1_000_000_000));
    let readable = loop {
        let left = Duration::from_nanos(until.saturating_sub(monotonic_ns()));
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(START_WITHIN_S),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut watched = [PollFd::new(&output, PollFlags::IN)];
        match poll(&mut watched, Some(&limit)) {
            // Ctrl-C, for one: whoever waits for that hears it, and this is no reason to have no reaper.
            Err(rustix::io::Errno::INTR) => {}
            done => break done.map_err(|error| format!("waiting for its first line: {error}"))?,
        }
    };
    if readable == 0 {
        return Err(format!("it said nothing for {START_WITHIN_S} s"));
    }
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(|error| format!("reading its first line: {error}"))?;
    Ok(line)
}

/// What is on the reaper's command line.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    run: String,
    parent: Identity,
    engine: bool,
    delete: Vec<PathBuf>,
    log: Option<PathBuf>,
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let (mut run, mut parent, mut engine, mut delete, mut log) = (None, None, false, Vec::new(), None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--engine" {
            engine = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        match word.as_str() {
            "--run" if !value.is_empty() => run = Some(value.clone()),
            "--run" => return Err("`--run` is empty; every process without a run would match".to_owned()),
            "--parent" => parent = Some(value.parse()?),
            "--delete" => delete.push(PathBuf::from(value)),
            "--log" => log = Some(PathBuf::from(value)),
            _ => return Err(format!("`{word}` is not known (--run, --parent, --engine, --delete, --log)")),
        }
    }
    let run = run.ok_or("`--run` is missing")?;
    let parent = parent.ok_or("`--parent` is missing")?;
    Ok(Arguments { run, parent, engine, delete, log })
}

/// Entry point of `gatecrash fixture reaper`; `arguments` are those after `reaper`. Returns when the parent is gone and nothing
/// of the run is left: success; 1 if something could not be removed within a minute; 64 for wrong arguments.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _nobody_listens = writeln!(std::io::stderr(), "reaper: {error}");
            return ExitCode::from(64);
        }
    };
    match watch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&arguments, &error);
            ExitCode::FAILURE
        }
    }
}

fn watch(arguments: &Arguments) -> Result<(), String> {
    // Away from the harness' terminal: Ctrl-C there must not end the reaper.
    rustix::process::setsid().map_err(|error| format!("a session of its own: {error}"))?;
    let parent = arguments.parent;
    let pid = i32::try_from(parent.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("`{parent}` is no process id"))?;
    // Opened first, compared second: whatever it refers to now it refers to for good.
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) if parent.is_alive() => {
            let mut out = std::io::stdout();
            let told = writeln!(out, "{WATCHING}").and_then(|()| out.flush());
            told.map_err(|error| format!("telling the harness: {error}"))?;
            wait_for_end(&pidfd)?;
        }
        // Gone before it could be watched.
        Ok(_) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(format!("watching process {parent}: {error}")),
    }
    let clock = Clock::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting: {error}"))?;
    // Processes first, so that nobody writes any more; an engine that is slow or silent is no reason to leave secrets on the disk. Those in containers end
    // when starts that are under way were waited for.
    let mut removed = if arguments.engine { Vec::new() } else { clean::processes(&arguments.run) };
    let _tried_again_below = delete(&arguments.delete);
    let mut cleaner = Cleaner::new(&arguments.run, arguments.engine);
    let emptied = runtime.block_on(cleaner.until_empty(&mut removed));
    delete(&arguments.delete)?;
    emptied?;
    let listed: Vec<String> = removed.iter().map(ToString::to_string).collect();
    let after = clock.since(0).as_millis();
    tell(arguments, &format!("harness {parent} gone; removed {} in {after} ms: {}", listed.len(), listed.join(", ")));
    Ok(())
}

/// Deletes folders, each whatever becomes of the others; one that is gone is no error.
fn delete(folders: &[PathBuf]) -> Result<(), String> {
    let deleted = folders.iter().map(|folder| match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("deleting `{}`: {error}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    });
    deleted.fold(Ok(()), Result::and)
}

/// Blocks until the process ends: a pidfd becomes readable then.
fn wait_for_end(pidfd: &rustix::fd::OwnedFd) -> Result<(), String> {
    loop {
        let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(format!("watching the harness: {error}")),
        }
    }
}

fn tell(arguments: &Arguments, what: &str) {
    if let Some(log) = &arguments.log {
        let opened = std::fs::File::options().create(true).append(true).open(log);
        // The folder may be gone with the harness; there is nobody left to tell.
        let _told = opened.and_then(|mut file| writeln!(file, "reaper of {}: {what}", arguments.run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_matches::assert_matches;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_checked() {
        let parsed = parse(&words("--run r1 --parent 7:9 --engine --delete /a --delete /b --log /c")).unwrap();
        assert_eq!(parsed.parent, Identity { pid: 7, started: 9 });
        assert_eq!(parsed.delete.len(), 2);
        assert!(parsed.engine);
        assert_matches!(parse(&words("--parent 7:9")), Err(error) if error.contains("--run"));
        assert_matches!(parse(&words("--run r1 --parent 7")), Err(error) if error.contains("<pid>:<start>"));
        assert_matches!(parse(&[String::from("--run"), String::new()]), Err(_));
        assert_matches!(parse(&words("--run r1 --parent 7:9 --more x")), Err(error) if error.contains("--more"));
    }

    #[test]
    fn an_executable_that_is_no_reaper_is_refused() {
        let options = ReaperOptions {
            executable: PathBuf::from("/bin/true"),
            run: "rnothing1".to_owned(),
            engine: false,
            delete: Vec::new(),
            log: None,
        };
        assert_matches!(Reaper::start(&options), Err(ReaperError::Start { .. }));
        let missing = ReaperOptions { executable: PathBuf::from("/no/such/program"), ..options };
        assert_matches!(Reaper::start(&missing), Err(ReaperError::Start { .. }));
    }
}
