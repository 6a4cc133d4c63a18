//! Threads, cores, CPU time and order statistics, as the parts need them.

use rustix::thread::{CpuSet, Pid, sched_setaffinity};
use std::time::Duration;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Keeps a thread on a core.
pub(crate) fn pin(thread: Pid, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    // With one core there is nothing to choose.
    let _one_core = sched_setaffinity(Some(thread), &cores);
}

/// Keeps the threads of this process called `name` on a core.
pub(crate) fn pin_all(name: &str, core: usize) -> Outcome<()> {
    for (tid, found) in threads()? {
        if found == name
            && let Some(tid) = Pid::from_raw(tid)
        {
            pin(tid, core);
        }
    }
    Ok(())
}

/// The threads of this process with their names.
fn threads() -> Outcome<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        let name = std::fs::read_to_string(path.join("comm"))?.trim().to_owned();
        let tid = path.file_name().and_then(|tid| tid.to_str()).unwrap_or_default().parse()?;
        found.push((tid, name));
    }
    Ok(found)
}

/// CPU time of the thread called `name`.
pub(crate) fn cpu(name: &str) -> Outcome<Duration> {
    for (tid, found) in threads()? {
        if found == name {
            let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat"))?;
            return Ok(Duration::from_nanos(text.split_whitespace().next().unwrap_or_default().parse()?));
        }
    }
    Err(format!("no thread `{name}`").into())
}

/// Cores, load and date, for the line under the table.
pub(crate) fn about() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown").to_owned();
    let date = std::process::Command::new("date").args(["-u", "+%F %H:%M UTC"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!("{date}, {cores} cores, load {load} at the end")
}

/// The middle value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A quantile of sorted values.
pub(crate) fn quantile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds as milliseconds.
pub(crate) fn ms(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1e3
}
