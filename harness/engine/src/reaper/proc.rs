//! What the kernel says about processes: state, start time, and whose marker they carry.

use crate::runtime::RUN_VARIABLE;
use rustix::event::{Timespec, poll};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Environment variable and (as `gatecrash.harness`) label that names the harness process of a run: `<pid>:<start>`.
pub const HARNESS_VARIABLE: &str = "GATECRASH_HARNESS";

/// State, group and start time of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `T` (stopped), `Z` (ended, not yet reaped), ...
    pub state: char,
    /// Process group.
    pub group: u32,
    /// Clock ticks since boot at which it started: with the pid, an identity that is never used twice.
    pub started: u64,
}

/// A process that can be recognised again although pids are re-used. Written `<pid>:<start>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Its start in clock ticks since boot.
    pub started: u64,
}

impl Identity {
    /// Of this very process; start 0 if `/proc` does not say.
    #[must_use]
    pub fn own() -> Self {
        let pid = std::process::id();
        Self { pid, started: stat(pid).map_or(0, |found| found.started) }
    }

    /// Whether this process still runs: same pid, same start, not a zombie.
    #[must_use]
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|found| found.started == self.started && !matches!(found.state, 'Z' | 'X'))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.started)
    }
}

impl FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once(':')
            .and_then(|(pid, started)| Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? }));
        parsed.ok_or_else(|| format!("`{text}` is no process identity; expected `<pid>:<start>`"))
    }
}

/// State and start of `pid`; `None` if there is no such process.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

/// The name in brackets may itself hold brackets and spaces: fields count from the last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // State is field 3, the group 5, the start time 22 (proc_pid_stat(5)).
    let group = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, started })
}

/// A tick of the processor times in `/proc`: `USER_HZ` is 100 on every architecture that this runs on (proc_pid_stat(5), times(2)).
const TICK: Duration = Duration::from_millis(10);

/// Processor time of all threads of `pid`, user and system, in steps of 10 ms; `None` if there is no such process.
#[must_use]
pub fn processor_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_processor_time(&text)
}

/// Files, sockets and pipes that `pid` has open; `None` if that may not be seen, or there is no such process.
#[must_use]
pub fn open_files(pid: u32) -> Option<u64> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    u64::try_from(open.flatten().count()).ok()
}

/// User and system time are fields 14 and 15; the state, first after the bracket, is field 3.
fn parse_processor_time(text: &str) -> Option<Duration> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    TICK.checked_mul(user.checked_add(system)?)
}

/// Whether a process of `group` lives: zombies do not.
#[must_use]
pub fn lives_in_group(group: u32) -> bool {
    !in_group(group).is_empty()
}

/// The living processes of a process group.
#[must_use]
pub fn in_group(group: u32) -> Vec<u32> {
    let lives = |found: Stat| found.group == group && !matches!(found.state, 'Z' | 'X');
    pids().filter(|pid| stat(*pid).is_some_and(lives)).collect()
}

/// Every process id of this moment; none if `/proc` cannot be read.
fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process that carries the marker of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Process id.
    pub pid: u32,
    /// Its start in clock ticks since boot.
    pub started: u64,
    /// Run id.
    pub run: String,
    /// Harness that started it, if it says so.
    pub harness: Option<Identity>,
    /// Executable, for reports; empty if the kernel does not say.
    pub program: PathBuf,
}

/// Every living process with a run's marker in its environment, but not this one; `None` for all runs.
/// Zombies are left out: nothing of them is left but their number.
///
/// Takes a few looks, a millisecond apart, at processes that show no environment.
#[must_use]
pub fn marked(run: Option<&str>) -> Vec<Marked> {
    let mut pids: Vec<u32> = pids().filter(|pid| *pid != std::process::id()).collect();
    let mut found = Vec::new();
    for _ in 0..EXEC_LOOKS {
        let mut bare = Vec::new();
        for pid in pids {
            match look(pid) {
                Look::Marked(process) => found.push(process),
                Look::Bare => bare.push(pid),
                Look::Other => {}
            }
        }
        if bare.is_empty() {
            break;
        }
        pids = bare;
        let _nothing_to_wait_for = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 }));
    }
    found.retain(|process| run.is_none_or(|wanted| wanted == process.run));
    found
}

/// How often a process without an environment is looked at in one listing. Between the moment at which `execve` swaps
/// its memory and the one at which its new stack is set up a process has none: seen as "not ours", a child that
/// had just been forked was left behind by a tear-down on a busy machine.
const EXEC_LOOKS: u32 = 10;

enum Look {
    Marked(Marked),
    /// A program, but no environment: in the middle of `execve`, or started with an empty one.
    Bare,
    Other,
}

fn look(pid: u32) -> Look {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return Look::Other };
    let Some(Stat { state, started, .. }) = stat(pid) else { return Look::Other };
    let program = std::fs::read_link(format!("/proc/{pid}/exe"));
    if state == 'Z' {
        return Look::Other;
    }
    if environment.is_empty() {
        // A thread of the kernel has no program either.
        return if program.is_ok() { Look::Bare } else { Look::Other };
    }
    variable(&environment, RUN_VARIABLE).map_or(Look::Other, |run| {
        Look::Marked(Marked {
            pid,
            started,
            run,
            harness: variable(&environment, HARNESS_VARIABLE).and_then(|text| text.parse().ok()),
            program: program.unwrap_or_default(),
        })
    })
}

/// Value of a variable in the kernel's form of an environment: `NAME=value`, each ended by NUL.
fn variable(environment: &[u8], name: &str) -> Option<String> {
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "42 (a) R (b) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21\n";
        assert_eq!(parse_stat(text), Some(Stat { state: 'T', group: 2, started: 777 }));
        assert_eq!(parse_stat("42 (a) T 1 2"), None);
    }

    #[test]
    fn processor_time_is_that_of_user_and_system() {
        let text = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 70 20 21\n";
        assert_eq!(parse_processor_time(text), Some(Duration::from_millis(3_200)));
        assert_eq!(parse_processor_time("42 (a) S 1 2"), None);
        assert!(processor_time(std::process::id()).is_some());
        assert_eq!(processor_time(u32::MAX), None);
    }

    #[test]
    fn variables_match_whole_names_only() {
        let environment = b"XGATECRASH_RUN=no\0GATECRASH_RUN=r1\0GATECRASH_RUN2=no\0";
        assert_eq!(variable(environment, "GATECRASH_RUN"), Some("r1".to_owned()));
        assert_eq!(variable(environment, "GATECRASH"), None);
    }

    #[test]
    fn an_identity_is_not_fooled_by_a_reused_pid() {
        let own = Identity::own();
        assert!(own.is_alive());
        assert_eq!(own.to_string().parse(), Ok(own));
        assert!(!Identity { started: own.started.wrapping_add(1), ..own }.is_alive());
        assert!("12".parse::<Identity>().is_err());
    }
}
