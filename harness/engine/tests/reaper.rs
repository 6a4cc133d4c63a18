//! A harness that is killed leaves nothing: this program plays the harness, the reaper and the judge.

#![expect(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test program with a main of its own")]

use gatecrash_engine::clock::{Clock, sleep};
use gatecrash_engine::executable::find;
use gatecrash_engine::reaper::clean::Kind;
use gatecrash_engine::reaper::proc::{self, Identity};
use gatecrash_engine::reaper::sweep::{SweepOptions, sweep};
use gatecrash_engine::reaper::{self, Reaper, ReaperOptions};
use gatecrash_engine::runtime::process::{ProcessRuntime, lacks_pressure};
use gatecrash_engine::runtime::{Component, Network, Program, Runtime, RuntimeOptions, Signal};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Everything must be gone this soon after the harness was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let as_words: Vec<&str> = words.iter().map(String::as_str).collect();
    match as_words.as_slice() {
        ["fixture", "reaper", ..] => return reaper::main(words.get(2..).unwrap_or_default()),
        ["fixture", "burner", "--config", config] => return burn(Path::new(config)),
        ["victim", run, folder, reaped] => return victim(run, Path::new(folder), *reaped == "reaped"),
        _ => {}
    }
    let tests = vec![
        Trial::test("a_killed_harness_leaves_nothing", || block_on(killed())),
        Trial::test("a_clean_end_finds_nothing_and_ends_the_reaper", || block_on(clean_end())),
        Trial::test("what_a_tear_down_forgot_is_removed_and_told", || block_on(forgotten())),
        Trial::test("a_sweep_takes_the_dead_and_leaves_the_living", || block_on(swept())),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn block_on(test: impl Future<Output = ()>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failed::from(error.to_string()))?.block_on(test);
    Ok(())
}

/// Computes as long as its configuration is there.
fn burn(config: &Path) -> ExitCode {
    while config.exists() {
        std::hint::black_box((0..10_000).map(std::hint::black_box).sum::<u64>());
    }
    ExitCode::SUCCESS
}

/// Control groups of a run, whoever made them.
async fn groups(run: &str) -> usize {
    let options = SweepOptions { dry_run: true, ..everything() };
    let found = sweep(&options).await.expect("a listing");
    let all = found.removed.iter().chain(&found.kept);
    all.filter(|item| item.kind == Kind::ControlGroup && item.run == run).count()
}

fn own() -> PathBuf {
    let own = std::env::current_exe().ok();
    find(&gatecrash_engine::executable::Candidates { own, ..Default::default() }).expect("this very program")
}

async fn start_some(run: &str, folder: &Path) -> (ProcessRuntime, Network) {
    let options =
        RuntimeOptions { run: run.to_owned(), folder: folder.to_owned(), executable: own(), start_within: GONE_WITHIN };
    let runtime = ProcessRuntime::new(options);
    let network = runtime.network("lab").await.expect("a network");
    for number in 1..=12 {
        // Every third ignores SIGTERM and has a child of its own.
        let script = if number % 3 == 0 { "trap '' TERM; sleep 300 & wait" } else { "exec sleep 300" };
        let program = Program::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
        let name = format!("eu-{number}");
        let component = Component { name, program, environment: BTreeMap::new(), files: Vec::new() };
        runtime.start(&network, &component).await.expect("a start");
    }
    // One that is paused: a stopped process ends of SIGKILL only.
    runtime.signal(&network, "eu-1", Signal::Pause).await.expect("a pause");
    // And one that is pressed, where that can be.
    if lacks_pressure().is_none() {
        runtime.press(&network, "eu-2", 50).await.expect("pressure");
        assert_eq!(groups(run).await, 1);
    }
    (runtime, network)
}

fn options(run: &str, folder: &Path) -> ReaperOptions {
    ReaperOptions {
        executable: own(),
        run: run.to_owned(),
        engine: false,
        delete: vec![folder.join("temporary")],
        log: Some(folder.join("reaper.log")),
    }
}

/// Plays a harness until it is killed.
fn victim(run: &str, folder: &Path, reaped: bool) -> ExitCode {
    let done = block_on(async {
        let reaper = reaped.then(|| Reaper::start(&options(run, folder)).expect("a reaper"));
        let started = start_some(run, folder).await;
        println!("up {}", reaper.as_ref().map_or(0, Reaper::pid));
        std::io::stdout().flush().expect("a reader");
        sleep(Duration::from_secs(60)).await;
        drop(started);
    });
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts a victim, kills it with SIGKILL once it is up, and returns its reaper's pid (0: none).
async fn kill_victim(run: &str, folder: &Path, reaped: &str) -> u32 {
    let mut victim = Command::new(own())
        .args(["victim", run, &folder.to_string_lossy(), reaped])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a victim");
    let mut line = String::new();
    let output = victim.stdout.take().expect("stdout");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let reaper = line.trim().strip_prefix("up ").unwrap_or_else(|| panic!("the victim said {line:?}"));
    assert!(proc::marked(Some(run)).len() >= 12, "the victim started what it should");
    victim.kill().expect("SIGKILL");
    victim.wait().expect("a dead victim");
    reaper.parse().expect("a pid")
}

async fn until_empty(run: &str) -> Duration {
    let clock = Clock::start();
    while !proc::marked(Some(run)).is_empty() || groups(run).await > 0 {
        assert!(clock.since(0) < GONE_WITHIN, "left after {GONE_WITHIN:?}: {:?}", proc::marked(Some(run)));
        sleep(Duration::from_millis(5)).await;
    }
    clock.since(0)
}

async fn killed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("temporary")).expect("a folder");
    let pid = kill_victim("rkilledt1", folder.path(), "reaped").await;
    let after = until_empty("rkilledt1").await;
    println!("nothing left {after:?} after SIGKILL of the harness");
    // The reaper itself ends after its second empty listing, and deletes what it was told to.
    let clock = Clock::start();
    while proc::stat(pid).is_some_and(|stat| stat.state != 'Z') {
        assert!(clock.since(0) < GONE_WITHIN, "the reaper still runs");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(!folder.path().join("temporary").exists());
    let log = std::fs::read_to_string(folder.path().join("reaper.log")).expect("a log");
    assert!(log.contains("removed 1"), "{log}");
}

async fn clean_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reaper = Reaper::start(&options("rcleant1", folder.path())).expect("a reaper");
    assert!(reaper.is_watching());
    let (runtime, network) = start_some("rcleant1", folder.path()).await;
    runtime.tear_down(&network).await.expect("a tear-down");
    let pid = reaper.pid();
    assert_eq!(reaper.finish().await.expect("an end"), []);
    assert_eq!(proc::stat(pid), None);
}

async fn forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let reaper = Reaper::start(&options("rforgott1", folder.path())).expect("a reaper");
    let (runtime, network) = start_some("rforgott1", folder.path()).await;
    // One that keeps starting others, each for a moment without an environment, while it is being removed.
    let script = "n=0; while [ $n -lt 300 ]; do sleep 300 & n=$((n+1)); done; wait";
    let program = Program::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    let component = Component { name: "eu-busy".to_owned(), program, environment: BTreeMap::new(), files: Vec::new() };
    runtime.start(&network, &component).await.expect("a start");
    let left = reaper.finish().await.expect("an end");
    assert!(left.len() >= 12, "{left:?}");
    until_empty("rforgott1").await;
}

/// What runs without a harness, but nothing of the engine's.
fn everything() -> SweepOptions {
    SweepOptions {
        engine: false,
        dry_run: false,
        unknown_harness: false,
        images_older_than: Duration::ZERO,
        folders: Vec::new(),
    }
}

async fn swept() {
    let folder = tempfile::tempdir().expect("a folder");
    let alive = tempfile::tempdir().expect("a folder");
    let (runtime, network) = start_some("ralivet1", alive.path()).await;
    assert_eq!(kill_victim("rsweptt1", folder.path(), "alone").await, 0);
    assert!(!proc::marked(Some("rsweptt1")).is_empty(), "without a reaper they are still there");
    let found = sweep(&everything()).await.expect("a sweep");
    assert!(found.removed.iter().filter(|item| item.run == "rsweptt1").count() >= 12, "{found:?}");
    assert!(found.removed.iter().all(|item| item.run != "ralivet1"), "{found:?}");
    assert_eq!(groups("rsweptt1").await, 0);
    assert_eq!(groups("ralivet1").await, usize::from(lacks_pressure().is_none()));
    assert!(found.kept.iter().any(|item| item.run == "ralivet1"), "{found:?}");
    until_empty("rsweptt1").await;
    assert!(proc::marked(Some("ralivet1")).iter().all(|item| item.harness == Some(Identity::own())));
    runtime.tear_down(&network).await.expect("a tear-down");
}
