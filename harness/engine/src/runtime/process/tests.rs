//! Real programs as components: what is killed is gone, what is paused stands still, nothing is left behind.

use super::*;
use crate::reaper::proc;
use crate::runtime::control_group;
use crate::runtime::files::early_end;
use assert_matches::assert_matches;

fn runtime(run: &str, folder: &Path) -> ProcessRuntime {
    ProcessRuntime::new(RuntimeOptions {
        run: run.to_owned(),
        folder: folder.to_owned(),
        executable: PathBuf::from("/bin/false"),
        start_within: Duration::from_secs(5),
    })
}

fn component(name: &str, words: &[&str]) -> Component {
    Component {
        name: name.to_owned(),
        program: Program::Command(words.iter().map(|word| (*word).to_owned()).collect()),
        environment: BTreeMap::new(),
        files: vec![("hello.txt".to_owned(), b"hello".to_vec())],
    }
}

/// Waits until the state is as wanted; at most 5 s.
async fn until(runtime: &ProcessRuntime, network: &Network, name: &str, wanted: impl Fn(&State) -> bool) -> State {
    for _ in 0..5000 {
        let state = runtime.state(network, name).await;
        if wanted(&state) {
            return state;
        }
        crate::clock::sleep(Duration::from_millis(1)).await;
    }
    panic!("`{name}` is still {:?}", runtime.state(network, name).await);
}

#[tokio::test]
async fn kill_pause_resume_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst1", folder.path());
    let network = runtime.network("lab").await.unwrap();
    let address = runtime.start(&network, &component("eu-1", &["sleep", "60"])).await.unwrap();
    assert_eq!(address, runtime.place(&network, "eu-1").listen);
    assert_eq!(runtime.state(&network, "eu-1").await, State::Running);
    assert_matches!(
        runtime.start(&network, &component("eu-1", &["sleep", "60"])).await,
        Err(RuntimeError::State { verb: "started", .. })
    );

    runtime.signal(&network, "eu-1", Signal::Pause).await.unwrap();
    assert_eq!(runtime.state(&network, "eu-1").await, State::Paused);
    assert_matches!(runtime.signal(&network, "eu-1", Signal::Pause).await, Err(RuntimeError::State { .. }));
    runtime.signal(&network, "eu-1", Signal::Resume).await.unwrap();
    assert_eq!(runtime.state(&network, "eu-1").await, State::Running);

    let pid = runtime.pid(&network, "eu-1").unwrap();
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    assert_eq!(proc::stat(pid), None, "a killed process is reaped before the call returns");
    assert_eq!(runtime.state(&network, "eu-1").await, State::Ended("signal 9".to_owned()));
    assert_matches!(runtime.signal(&network, "eu-1", Signal::Kill).await, Err(RuntimeError::State { .. }));

    assert_eq!(runtime.start_again(&network, "eu-1").await.unwrap(), address);
    assert_eq!(runtime.state(&network, "eu-1").await, State::Running);
    runtime.signal(&network, "eu-1", Signal::Pause).await.unwrap();
    runtime.tear_down(&network).await.unwrap();
    assert_eq!(proc::marked(Some("rproctst1")), []);
    runtime.tear_down(&network).await.unwrap();
}

#[tokio::test]
async fn processor_time_grows_with_what_a_component_does() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst9", folder.path());
    let network = runtime.network("lab").await.unwrap();
    assert_eq!(runtime.processor_time(&network, "eu-1").await, None, "it was never started");
    // Bounded by itself, should nobody be left to stop it.
    let burn = "i=0; while [ $i -lt 100000000 ]; do i=$((i + 1)); done";
    runtime.start(&network, &component("eu-1", &["/bin/sh", "-c", burn])).await.unwrap();
    let first = runtime.processor_time(&network, "eu-1").await.unwrap();
    let mut used = first;
    for _ in 0..5000 {
        if used >= first + Duration::from_millis(20) {
            break;
        }
        crate::clock::sleep(Duration::from_millis(1)).await;
        used = runtime.processor_time(&network, "eu-1").await.unwrap();
    }
    assert!(used >= first + Duration::from_millis(20), "{used:?} after {first:?}");
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    assert_eq!(runtime.processor_time(&network, "eu-1").await, None, "it has ended");
    runtime.tear_down(&network).await.unwrap();
}

/// A program that can be a burner: it goes on while its configuration (the fourth word) is there.
fn burning(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let place = folder.join("burning.sh");
    std::fs::write(&place, "#!/bin/sh\nwhile [ -e \"$4\" ]; do :; done\n").unwrap();
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// How many periods there were, and in how many the time was used up, while 400 ms passed.
async fn counted(runtime: &ProcessRuntime, network: &Network, name: &str) -> Option<(u64, u64)> {
    let before = runtime.throttling(network, name).await?;
    crate::clock::sleep(Duration::from_millis(400)).await;
    let after = runtime.throttling(network, name).await?;
    Some((after.periods - before.periods, after.throttled - before.throttled))
}

/// Whether its time is used up in most of the periods, soon: a burner has to start, and on a machine that is kept busy it gets less than its limit at first.
async fn is_used_up(runtime: &ProcessRuntime, network: &Network, name: &str) -> bool {
    for _ in 0..25 {
        let (periods, throttled) = counted(runtime, network, name).await.unwrap();
        if periods >= 2 && throttled * 2 > periods {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_pressed_component_shares_what_there_is_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = runtime("rproctsp1", folder.path());
    runtime.options.executable = burning(folder.path());
    let network = runtime.network("lab").await.unwrap();
    assert_matches!(runtime.press(&network, "eu-1", 100).await, Err(RuntimeError::State { verb: "pressed", .. }));
    if let Some(why) = lacks_pressure() {
        assert!(!why.is_empty() && !runtime.capabilities().contains(&Capability::ProcessorPressure));
        return;
    }
    let left = || control_group::left(Some("rproctsp1")).len();
    runtime.start(&network, &component("eu-1", &["sleep", "60"])).await.unwrap();
    assert_eq!(counted(&runtime, &network, "eu-1").await, None, "it has no limit");
    runtime.press(&network, "eu-1", 100).await.unwrap();
    assert_eq!(left(), 1);
    assert!(is_used_up(&runtime, &network, "eu-1").await);
    let inside = |name: &str| std::fs::read_to_string(format!("/proc/{}/cgroup", runtime.pid(&network, name).unwrap()));
    assert!(inside("eu-1").unwrap().contains("rproctsp1-lab-eu-1"));
    runtime.release(&network, "eu-1").await.unwrap();
    assert_eq!(runtime.state(&network, "eu-1").await, State::Running);
    assert!(!inside("eu-1").unwrap().contains("rproctsp1"), "it is back where it was");
    assert_eq!(runtime.state(&network, "eu-1-burner").await, State::Absent);
    assert_eq!((counted(&runtime, &network, "eu-1").await, left()), (None, 0));
    runtime.release(&network, "eu-1").await.unwrap();

    // One that ends while it is pressed, and one that is pressed at the end.
    runtime.press(&network, "eu-1", 100).await.unwrap();
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    runtime.release(&network, "eu-1").await.unwrap();
    runtime.start_again(&network, "eu-1").await.unwrap();
    runtime.press(&network, "eu-1", 100).await.unwrap();
    runtime.tear_down(&network).await.unwrap();
    assert_eq!(left(), 0);
    assert_eq!(proc::marked(Some("rproctsp1")), []);
}

#[tokio::test]
async fn terminate_lets_a_program_finish_and_the_log_and_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst2", folder.path());
    let network = runtime.network("lab").await.unwrap();
    let script = "cat files/hello.txt; echo; echo $GATECRASH_RUN >&2; echo kept > disk/state; trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done";
    runtime.start(&network, &component("eu-1", &["/bin/sh", "-c", script])).await.unwrap();
    for _ in 0..5000 {
        if runtime.log_tail(&network, "eu-1", 9).await.ends_with("up") {
            break;
        }
        crate::clock::sleep(Duration::from_millis(1)).await;
    }
    runtime.signal(&network, "eu-1", Signal::Terminate).await.unwrap();
    let ended =
        until(&runtime, &network, "eu-1", |state| matches!(state, State::Ended(how) if how.starts_with("exit"))).await;
    assert_eq!(ended, State::Ended("exit code 3".to_owned()));
    assert_eq!(runtime.log_tail(&network, "eu-1", 9).await, "hello\nrproctst2\nup\nbye");
    assert_eq!(runtime.log_tail(&network, "eu-1", 1).await, "bye");

    let state = files::disk(&network, "eu-1").join("state");
    assert!(state.exists());
    runtime.start_again(&network, "eu-1").await.unwrap();
    assert_matches!(runtime.wipe_disk(&network, "eu-1").await, Err(RuntimeError::State { verb: "wiped", .. }));
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    assert!(state.exists(), "the disk survives a restart");
    runtime.wipe_disk(&network, "eu-1").await.unwrap();
    assert!(!state.exists());
    runtime.remove(&network, "eu-1").await.unwrap();
    assert_eq!(runtime.state(&network, "eu-1").await, State::Absent);
    assert_matches!(runtime.start_again(&network, "eu-1").await, Err(RuntimeError::State { .. }));
    runtime.tear_down(&network).await.unwrap();
}

#[tokio::test]
async fn what_a_component_started_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst3", folder.path());
    let network = runtime.network("lab").await.unwrap();
    runtime.start(&network, &component("eu-1", &["/bin/sh", "-c", "sleep 77 & echo up; wait"])).await.unwrap();
    for _ in 0..5000 {
        if proc::marked(Some("rproctst3")).len() == 2 && runtime.log_tail(&network, "eu-1", 1).await == "up" {
            break;
        }
        crate::clock::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(proc::marked(Some("rproctst3")).len(), 2);
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    assert_eq!(proc::marked(Some("rproctst3")), []);
    runtime.tear_down(&network).await.unwrap();
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst4", folder.path());
    let network = runtime.network("lab").await.unwrap();
    let missing = component("eu-1", &["no-such-program-anywhere"]);
    assert_matches!(runtime.start(&network, &missing).await, Err(RuntimeError::NoProgram { .. }));
    assert_matches!(runtime.prepare(&[missing.program]).await, Err(RuntimeError::NoProgram { .. }));
    let image = Program::Image { image: "envoy".to_owned(), from_executable: None, arguments: Vec::new(), init: true };
    assert_matches!(runtime.prepare(&[image]).await, Err(RuntimeError::NoProgram { seen, .. }) if seen.contains("--runtime docker"));

    let failing = component("eu-1", &["/bin/sh", "-c", "echo 'bind: Address already in use' >&2; exit 4"]);
    let address = runtime.start(&network, &failing).await.unwrap();
    let ended =
        until(&runtime, &network, "eu-1", |state| matches!(state, State::Ended(how) if how.starts_with("exit"))).await;
    assert_matches!(ended, State::Ended(how) => {
        let log = runtime.log_tail(&network, "eu-1", 20).await;
        let error = early_end("eu-1", &address.to_string(), &how, &log);
        assert_matches!(error, RuntimeError::Taken { .. });
    });
    assert_matches!(runtime.network("lab").await, Err(RuntimeError::Failed { .. }));
    runtime.tear_down(&network).await.unwrap();
}

#[tokio::test]
async fn names_keep_their_addresses_and_networks_differ() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst5", folder.path());
    let (one, two) = (runtime.network("one").await.unwrap(), runtime.network("two").await.unwrap());
    let first = runtime.place(&one, "eu-1");
    let second = runtime.place(&one, "eu-2");
    assert_ne!(first.listen, second.listen);
    assert_ne!(first.listen, one.gateway);
    assert_eq!(runtime.place(&one, "eu-1"), first);
    assert_ne!(runtime.place(&two, "eu-1").listen, first.listen);
    std::net::TcpListener::bind((first.listen, 8080)).unwrap();
    runtime.tear_down(&one).await.unwrap();
    runtime.tear_down(&two).await.unwrap();
}

#[tokio::test]
async fn twelve_processes_are_up_at_once_and_a_killed_one_is_back_quickly() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rproctst6", folder.path());
    let network = runtime.network("lab").await.unwrap();
    let components: Vec<_> = (1..=12).map(|number| component(&format!("eu-{number}"), &["sleep", "60"])).collect();
    let clock = crate::clock::Clock::start();
    let started = join_all(components.iter().map(|one| runtime.start(&network, one))).await;
    let up = clock.since(0);
    assert!(started.iter().all(Result::is_ok), "{started:?}");
    let before = clock.now();
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    runtime.start_again(&network, "eu-1").await.unwrap();
    let again = clock.since(before);
    runtime.tear_down(&network).await.unwrap();
    println!("12 processes in {up:?}, kill to running again in {again:?}");
    // Far above what is measured alone (see the printed line): the machine may be busy with other tests.
    assert!(up < Duration::from_secs(2), "{up:?}");
    assert!(again < Duration::from_millis(500), "{again:?}");
}

#[tokio::test]
async fn the_memory_of_a_process_is_seen_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime("rmemoryxx", folder.path());
    let network = runtime.network("memory").await.unwrap();
    runtime.start(&network, &component("eu-1", &["/bin/sleep", "60"])).await.unwrap();
    // A program that was just started has hardly any pages yet.
    let mut bytes = None;
    for _ in 0..5000 {
        bytes = runtime.memory(&network, "eu-1").await;
        if bytes.is_some_and(|bytes| bytes >= 1 << 16) {
            break;
        }
        crate::clock::sleep(Duration::from_millis(1)).await;
    }
    assert!(bytes.is_some_and(|bytes| (1 << 16..1 << 28).contains(&bytes)), "{bytes:?}");
    assert_eq!(runtime.memory(&network, "eu-2").await, None);
    runtime.signal(&network, "eu-1", Signal::Kill).await.unwrap();
    assert_eq!(runtime.memory(&network, "eu-1").await, None);
    runtime.tear_down(&network).await.unwrap();
}

#[test]
fn the_resident_set_is_a_line_of_the_status() {
    assert_eq!(resident("Name:\tsleep\nVmRSS:\t     888 kB\nThreads:\t1\n"), Some(888 * 1024));
    assert_eq!(resident("Name:\tsleep\nState:\tZ (zombie)\n"), None);
    assert_eq!(resident("VmRSS:\tmuch\n"), None);
}
