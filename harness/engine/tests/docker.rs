//! Containers on a real engine; listed as ignored, with the reason, where none answers.
//!
//! This program plays everything: the fixtures in the containers (their image is made from it), the harness that is killed, its
//! reaper, and the judge.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program with a main of its own"
)]

use gatecrash_engine::clock::{Clock, sleep};
use gatecrash_engine::reaper::{self, Reaper, ReaperOptions};
use gatecrash_engine::runtime::docker::{DockerRuntime, engine, image_from_executable};
use gatecrash_engine::runtime::{
    Component, Network, Program, RedisAs, Runtime, RuntimeError, RuntimeOptions, Signal, State, files,
};
use gatecrash_model::claim::Capability;
use gatecrash_model::fixture::{Dialled, ProbeConfig, Probed, Probing, Role};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const PORT: u16 = 8080;
/// Everything must be gone this soon after the harness was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let as_words: Vec<&str> = words.iter().map(String::as_str).collect();
    match as_words.as_slice() {
        ["fixture", "reaper", ..] => return reaper::main(words.get(2..).unwrap_or_default()),
        ["fixture", "probe", "--config", config] => return probe(config),
        ["fixture", "burner", "--config", config] => return burn(Path::new(config)),
        ["fixture", _, "--config", config] => return serve(config),
        ["victim", run, folder, count] => return victim(run, Path::new(folder), count.parse().expect("a number")),
        ["no-engine", within_s] => return no_engine(Duration::from_secs(within_s.parse().expect("a number"))),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let missing = runtime().block_on(engine::connect()).err();
    if let Some(why) = &missing {
        eprintln!("containers are not tested: {why}");
    }
    let test = |name: &'static str, run: fn()| {
        let kind = if missing.is_some() { "no engine answers" } else { "" };
        Trial::test(name, move || {
            run();
            Ok::<(), Failed>(())
        })
        .with_kind(kind)
        .with_ignored_flag(missing.is_some())
    };
    let mut tests = vec![
        test("a_life_of_containers", || runtime().block_on(life())),
        test("a_bypass_is_found", || runtime().block_on(bypass())),
        test("a_pressed_container_shares_what_there_is_until_it_is_released", || runtime().block_on(pressed())),
        test("redis_answers_where_it_is_there", || runtime().block_on(redis())),
        test("a_killed_harness_leaves_no_container", || runtime().block_on(killed())),
    ];
    tests.push(Trial::test("no_engine_is_said_in_time", || {
        says_no_engine();
        Ok(())
    }));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn own() -> PathBuf {
    std::env::current_exe().expect("this very program")
}

/// In a container: answers every connection with a number from its disk that grows with every start.
fn serve(config: &str) -> ExitCode {
    let configured = std::fs::read_to_string(config).expect("a configuration");
    let before: u32 = std::fs::read_to_string("/disk/starts").map_or(0, |text| text.trim().parse().expect("a number"));
    std::fs::write("/disk/starts", (before + 1).to_string()).expect("a disk that can be written");
    assert!(std::fs::write("/files/x", "").is_err(), "files are read-only");
    let listener = TcpListener::bind(("0.0.0.0", PORT)).expect("a free port");
    println!("serving {configured}");
    for stream in listener.incoming().flatten() {
        let mut stream = stream;
        let _gone = write!(stream, "start {}", before + 1);
    }
    ExitCode::SUCCESS
}

/// In a container: dials the targets that it is asked to dial and says which answered.
fn probe(config: &str) -> ExitCode {
    let text = std::fs::read_to_string(config).expect("a configuration");
    let config: ProbeConfig = serde_json::from_str(&text).expect("JSON");
    let listener = TcpListener::bind(&config.listen).expect("a free port");
    // Whoever only wants to know whether it listens closes the connection again.
    for mut stream in listener.incoming().flatten() {
        let Some(body) = request_body(&mut stream) else { continue };
        let probing: Probing = serde_json::from_slice(&body).expect("JSON");
        let timeout = Duration::from_millis(probing.timeout_ms);
        let dial = |target: String| {
            let address: SocketAddr = target.parse().expect("an address");
            let clock = Clock::start();
            let connected = TcpStream::connect_timeout(&address, timeout).is_ok();
            let took_us = u64::try_from(clock.since(0).as_micros()).expect("not that long");
            Dialled { target, connected, why: String::new(), took_us }
        };
        let control = dial(probing.control);
        let probed = Probed { probed: probing.targets.into_iter().map(dial).collect(), control };
        let body = serde_json::to_string(&probed).expect("JSON");
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).expect("an answer");
    }
    ExitCode::SUCCESS
}

/// The body of a request whose head says how long it is; `None` if there is no request.
fn request_body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// In a container: computes as long as its configuration is there.
fn burn(config: &Path) -> ExitCode {
    while config.exists() {
        std::hint::black_box((0..10_000).map(std::hint::black_box).sum::<u64>());
    }
    ExitCode::SUCCESS
}

fn options(run: &str, folder: &Path) -> RuntimeOptions {
    RuntimeOptions {
        run: run.to_owned(),
        folder: folder.to_owned(),
        executable: own(),
        start_within: Duration::from_secs(30),
    }
}

/// A runtime, and a reaper at its post in case a test fails half-way.
async fn guarded(run: &str, folder: &Path) -> DockerRuntime {
    let options = ReaperOptions { executable: own(), run: run.to_owned(), engine: true, delete: Vec::new(), log: None };
    Reaper::start(&options).expect("a reaper");
    docker(run, folder).await
}

async fn docker(run: &str, folder: &Path) -> DockerRuntime {
    let docker = DockerRuntime::new(options(run, folder), folder.join("no-tools")).await.expect("an engine");
    docker.prepare(&[Program::Fixture(Role::Upstream)]).await.expect("an image");
    docker
}

fn component(name: &str) -> Component {
    Component {
        name: name.to_owned(),
        program: Program::Fixture(Role::Upstream),
        environment: BTreeMap::new(),
        files: vec![("fixture.json".to_owned(), format!("\"{name}\"").into_bytes())],
    }
}

async fn start(docker: &DockerRuntime, network: &Network, count: usize) -> Vec<(String, IpAddr, u16)> {
    let components: Vec<Component> = (1..=count).map(|number| component(&format!("eu-{number}"))).collect();
    let started = futures::future::join_all(components.iter().map(|one| docker.start(network, one))).await;
    let addresses = started.into_iter().map(|address| address.expect("a container"));
    components.iter().zip(addresses).map(|(one, address)| (one.name.clone(), address, PORT)).collect()
}

/// What the component answers; waits for it at most 5 s.
async fn answer(address: IpAddr) -> String {
    let clock = Clock::start();
    loop {
        let dialled = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&(address, PORT).into(), Duration::from_millis(200))?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        match dialled.await.expect("no panic") {
            Ok(text) => return text,
            Err(error) => assert!(clock.since(0) < Duration::from_secs(5), "{address} did not answer: {error}"),
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn labelled(run: &str) -> Vec<engine::Labelled> {
    let connected = engine::connect().await.expect("an engine");
    engine::labelled(&connected.docker, Some(run)).await.expect("a listing")
}

async fn life() {
    let folder = tempfile::tempdir().expect("a folder");
    let docker = guarded("rdocklife", folder.path()).await;
    let network = docker.network("lab").await.expect("a network");
    let all = start(&docker, &network, 3).await;
    for (_, address, _) in &all {
        assert_eq!(answer(*address).await, "start 1");
    }
    docker.prepare_isolation(&network).await.expect("a probe");
    docker.prove_isolation(&network, &all).await.expect("no bypass");
    assert_eq!(docker.log_tail(&network, "eu-1", 5).await, "serving \"eu-1\"");
    // An engine without the memory controller cannot say.
    if let Some(bytes) = docker.memory(&network, "eu-1").await {
        assert!((1 << 12..1 << 30).contains(&bytes), "{bytes}");
    }
    assert_eq!(docker.memory(&network, "eu-9").await, None);

    assert!(docker.processor_time(&network, "eu-1").await.is_some(), "the engine counts");
    assert_eq!(docker.processor_time(&network, "eu-9").await, None, "it was never started");
    let (_, address, _) = all.first().expect("eu-1");
    docker.signal(&network, "eu-1", Signal::Pause).await.expect("a pause");
    assert_eq!(docker.state(&network, "eu-1").await, State::Paused);
    assert!(matches!(docker.signal(&network, "eu-1", Signal::Terminate).await, Err(RuntimeError::State { .. })));
    docker.signal(&network, "eu-1", Signal::Resume).await.expect("a resume");
    assert_eq!(answer(*address).await, "start 1");

    docker.signal(&network, "eu-1", Signal::Kill).await.expect("a kill");
    assert_eq!(docker.state(&network, "eu-1").await, State::Ended("signal 9".to_owned()));
    assert_eq!(docker.processor_time(&network, "eu-1").await, None, "it has ended");
    let again = docker.start_again(&network, "eu-1").await.expect("a restart");
    assert_eq!(answer(again).await, "start 2", "the disk survives a restart");
    docker.signal(&network, "eu-1", Signal::Pause).await.expect("a pause");
    docker.signal(&network, "eu-1", Signal::Kill).await.expect("a kill of what is paused");
    docker.wipe_disk(&network, "eu-1").await.expect("a wipe");
    let again = docker.start_again(&network, "eu-1").await.expect("a restart");
    assert_eq!(answer(again).await, "start 1", "a wiped disk is empty");
    assert!(matches!(docker.wipe_disk(&network, "eu-1").await, Err(RuntimeError::State { .. })));

    docker.remove(&network, "eu-2").await.expect("a removal");
    assert_eq!(docker.state(&network, "eu-2").await, State::Absent);
    assert!(files::log(&network, "eu-2").exists(), "its log is kept");
    let proven = docker.still_isolated(&network, &all).await.expect("no bypass");
    assert_eq!(
        proven.as_deref(),
        Some(&["eu-1".to_owned(), "eu-3".to_owned()][..]),
        "of one that is gone nothing is shown"
    );
    let foreign = Component { program: Program::Command(vec!["sleep".to_owned()]), ..component("eu-9") };
    assert!(matches!(docker.start(&network, &foreign).await, Err(RuntimeError::NoProgram { .. })));

    docker.tear_down(&network).await.expect("a tear-down");
    assert_eq!(labelled("rdocklife").await, []);
    assert_eq!(docker.log_tail(&network, "eu-3", 1).await, "serving \"eu-3\"", "logs outlive containers");
    docker.tear_down(&network).await.expect("a second tear-down");
}

/// How many periods there were, and in how many the time was used up, while half a second passed.
async fn counted(docker: &DockerRuntime, network: &Network, name: &str) -> (u64, u64) {
    let before = docker.throttling(network, name).await.expect("the engine counts");
    sleep(Duration::from_millis(500)).await;
    let after = docker.throttling(network, name).await.expect("the engine counts");
    (after.periods - before.periods, after.throttled - before.throttled)
}

/// In an image of ours, and in one that is not: nothing but `sleep` and its libraries.
async fn pressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let docker = guarded("rdockpres", folder.path()).await;
    if !docker.capabilities().contains(&Capability::ProcessorPressure) {
        assert!(docker.environment().iter().any(|line| line.starts_with("no pressure")));
        return;
    }
    let network = docker.network("lab").await.expect("a network");
    let all = start(&docker, &network, 1).await;
    let image =
        image_from_executable("gatecrash-sleep", Path::new("/bin/sleep"), folder.path()).await.expect("an image");
    let arguments = ["/sleep", "60"].map(str::to_owned).to_vec();
    let foreign = Program::Image { image, from_executable: None, arguments, init: true };
    docker.start(&network, &Component { program: foreign, ..component("eu-9") }).await.expect("a container");
    for name in ["eu-1", "eu-9"] {
        docker.press(&network, name, 100).await.expect("pressure");
        // A burner has to start, and on a machine that is kept busy it gets less than its limit at first.
        let mut seen = (0, 0);
        for _ in 0..20 {
            seen = counted(&docker, &network, name).await;
            if seen.0 >= 2 && seen.1 * 2 > seen.0 {
                break;
            }
        }
        assert!(seen.0 >= 2 && seen.1 * 2 > seen.0, "`{name}`: {} of {}", seen.1, seen.0);
        docker.release(&network, name).await.expect("a release");
        assert_eq!(counted(&docker, &network, name).await.1, 0, "`{name}`");
        assert_eq!(docker.state(&network, name).await, State::Running);
        docker.release(&network, name).await.expect("a second release");
    }
    let (_, address, _) = all.first().expect("eu-1");
    assert_eq!(answer(*address).await, "start 1", "it was never started again");
    docker.press(&network, "eu-1", 100).await.expect("pressure");
    docker.signal(&network, "eu-1", Signal::Kill).await.expect("a kill");
    docker.release(&network, "eu-1").await.expect("a release of what has ended");
    assert!(matches!(docker.press(&network, "eu-1", 100).await, Err(RuntimeError::State { .. })));
    docker.press(&network, "eu-9", 100).await.expect("pressure");
    docker.tear_down(&network).await.expect("a tear-down of what is pressed");
    assert_eq!(labelled("rdockpres").await, []);
}

/// The same check on a network that lets containers talk to each other: it must find that.
async fn bypass() {
    let folder = tempfile::tempdir().expect("a folder");
    let docker = guarded("rdockbyp1", folder.path()).await;
    let honest = docker.network("lab").await.expect("a network");
    let connected = engine::connect().await.expect("an engine");
    // Replaced by one on the same addresses with traffic between containers.
    let inspected =
        connected.docker.inspect_network("gc-rdockbyp1-lab", None::<bollard::query_parameters::InspectNetworkOptions>);
    let inspected = inspected.await.expect("our network");
    connected.docker.remove_network("gc-rdockbyp1-lab").await.expect("a removal");
    let options = HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "true".to_owned())]);
    let open = bollard::models::NetworkCreateRequest {
        name: "gc-rdockbyp1-lab".to_owned(),
        internal: Some(true),
        options: Some(options),
        ipam: inspected.ipam,
        labels: inspected.labels,
        ..Default::default()
    };
    connected.docker.create_network(open).await.expect("an open network");
    let all = start(&docker, &honest, 2).await;
    for (_, address, _) in &all {
        answer(*address).await;
    }
    let proved = docker.prove_isolation(&honest, &all).await;
    let later = docker.still_isolated(&honest, &all).await;
    docker.tear_down(&honest).await.expect("a tear-down");
    assert!(matches!(proved, Err(RuntimeError::Bypass { .. })), "{proved:?}");
    assert!(matches!(later, Err(RuntimeError::Bypass { .. })), "{later:?}");
    assert_eq!(labelled("rdockbyp1").await, []);
}

/// Redis from whatever there is: an image, this machine, or what `make images` fetched. Where there is none, the reason must say what to do.
async fn redis() {
    let folder = tempfile::tempdir().expect("a folder");
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let options_of_reaper =
        ReaperOptions { executable: own(), run: "rdockred1".to_owned(), engine: true, delete: Vec::new(), log: None };
    Reaper::start(&options_of_reaper).expect("a reaper");
    let docker = DockerRuntime::new(options("rdockred1", folder.path()), tools).await.expect("an engine");
    if let Err(why) = docker.has_redis().await {
        assert!(why.contains("make images"), "{why}");
        let refused = docker.prepare(&[Program::Redis(RedisAs::Alone)]).await;
        assert!(matches!(refused, Err(RuntimeError::NoImage { .. })), "{refused:?}");
        return;
    }
    let network = docker.network("lab").await.expect("a network");
    let store = Component { program: Program::Redis(RedisAs::Alone), files: Vec::new(), ..component("eu-store") };
    let address = docker.start(&network, &store).await.expect("a container");
    let clock = Clock::start();
    let said = loop {
        let dialled = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&(address, 6379).into(), Duration::from_millis(200))?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            stream.write_all(b"PING\r\n")?;
            let mut bytes = [0; 7];
            stream.read_exact(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        });
        match dialled.await.expect("no panic") {
            Ok(text) => break text,
            Err(error) => assert!(clock.since(0) < Duration::from_secs(5), "{error}"),
        }
        sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(said, "+PONG\r\n");
    docker.tear_down(&network).await.expect("a tear-down");
    assert_eq!(labelled("rdockred1").await, []);
}

/// Plays a harness until it is killed.
fn victim(run: &str, folder: &Path, count: usize) -> ExitCode {
    runtime().block_on(async {
        let options = ReaperOptions {
            executable: own(),
            run: run.to_owned(),
            engine: true,
            delete: Vec::new(),
            log: Some(folder.join("reaper.log")),
        };
        let reaper = Reaper::start(&options).expect("a reaper");
        let docker = docker(run, folder).await;
        let network = docker.network("lab").await.expect("a network");
        start(&docker, &network, count).await;
        docker.signal(&network, "eu-1", Signal::Pause).await.expect("a pause");
        println!("up");
        std::io::stdout().flush().expect("a reader");
        sleep(Duration::from_secs(120)).await;
        drop(reaper);
    });
    ExitCode::SUCCESS
}

async fn killed() {
    let run = "rdockkill";
    let folder = tempfile::tempdir().expect("a folder");
    let mut victim = Command::new(own())
        .args(["victim", run, &folder.path().to_string_lossy(), "8"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a victim");
    let mut line = String::new();
    BufReader::new(victim.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let there = labelled(run).await.len();
    victim.kill().expect("SIGKILL");
    victim.wait().expect("a dead victim");
    let clock = Clock::start();
    let gone = loop {
        let left = labelled(run).await;
        if left.is_empty() || clock.since(0) > GONE_WITHIN * 4 {
            break clock.since(0);
        }
        sleep(Duration::from_millis(50)).await;
    };
    println!("8 containers and their network gone {gone:?} after SIGKILL of the harness");
    assert_eq!(line.trim(), "up");
    assert_eq!(there, 9, "8 containers and a network");
    if gone >= GONE_WITHIN {
        // On a machine that others keep busy the engine itself takes longer than that: then the reaper is held to what removing as many takes without it.
        let alone = removed_alone(folder.path()).await;
        assert!(gone < alone * 2, "{gone:?}; without a reaper {alone:?}");
    }
}

/// How long it takes to remove 8 containers and their network from a harness that lives.
async fn removed_alone(folder: &Path) -> Duration {
    let docker = docker("rdockalone", folder).await;
    let network = docker.network("lab").await.expect("a network");
    start(&docker, &network, 8).await;
    let clock = Clock::start();
    docker.tear_down(&network).await.expect("a tear-down");
    clock.since(0)
}

/// Plays a harness on a machine without an engine, which must be said in time.
fn no_engine(within: Duration) -> ExitCode {
    let clock = Clock::start();
    let answered = runtime().block_on(DockerRuntime::new(options("rnoengine", Path::new("/tmp")), PathBuf::new()));
    assert!(clock.since(0) < within, "{:?}", clock.since(0));
    match answered {
        Err(RuntimeError::NoEngine { .. }) => ExitCode::SUCCESS,
        other => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
    }
}

fn says_no_engine() {
    // Nobody listens; and somebody listens who never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let silent = format!("tcp://{}", silent.local_addr().expect("an address"));
    let bounded = engine::ANSWER_WITHIN.as_secs() + 2;
    for (host, within_s) in [("unix:///no/such/engine.sock", 2), (&silent, bounded)] {
        let mut command = Command::new(own());
        let command = command.args(["no-engine", &within_s.to_string()]).env("DOCKER_HOST", host);
        assert!(command.status().expect("a process").success(), "with DOCKER_HOST={host}");
    }
}
