//! The binary with containers, on a real engine; listed as ignored, with the reason, where none answers: a certification,
//! and gateways that cannot be brought up. Whatever came of a run, nothing of it is left in the engine.

#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test program with a main of its own")]

#[path = "../../../suites/tests/support/pressure.rs"]
mod pressure;

use gatecrash_engine::runtime::docker::engine;
use libtest_mimic::{Arguments, Failed, Trial};
use pressure::Pressure;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What a gateway that cannot come up has beside the way it is started.
const ABOUT: &str = "ports: {data: 8080}
rejectStatus: 429
capabilities: [tokens]
lacks:
  token-issue: none
  token-rekey: none
  token-revocation: none
  quota: none
  shared-store: none
  control-plane: none
  configuration-version: none
  configuration-choice: none
  contracts: none
";
/// Answers 200 to everything, once it is up.
const UPSTREAM: &str =
    "container: {image: gatecrash, arguments: [fixture, upstream, --config, \"{{ files }}/u.json\"]}\n";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = executor().block_on(engine::connect()).err();
    if let Some(why) = &missing {
        eprintln!("nothing is certified in containers: {why}");
    }
    let test = |name: &'static str, run: fn() -> Result<(), Failed>| {
        let kind = if missing.is_some() { "no engine answers" } else { "" };
        Trial::test(name, run).with_kind(kind).with_ignored_flag(missing.is_some())
    };
    let tests = vec![
        test("a_certification_comes_out_as_declared", certification),
        test("a_gateway_that_ends_at_once_is_3_with_its_last_words", ends_at_once),
        test("a_port_that_is_taken_is_3", taken),
        test("a_gateway_that_never_becomes_ready_is_3_with_what_was_seen", never_ready),
        test("an_image_that_is_missing_is_3", no_image),
    ];
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// What a run said, and the code it ended with. Fails if anything of it is left in the engine.
fn certify(folder: &Path, deployment: &str, arguments: &[&str]) -> Result<(Option<i32>, String, String), Failed> {
    let ended = Command::new(env!("CARGO_BIN_EXE_gatecrash"))
        .args(["certify", deployment, "--runtime", "docker", "--seed", "7"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, report) = (text(&ended.stderr), text(&ended.stdout));
    let label = "label gatecrash.run=";
    let run =
        said.split(label).nth(1).and_then(|rest| rest.split(';').next()).ok_or("the run does not say its label")?;
    let left = executor().block_on(async {
        let engine = engine::connect().await?;
        engine::labelled(&engine.docker, Some(run)).await
    })?;
    if !left.is_empty() || said.contains("left by the tear-down") {
        return Err(format!("left by run {run}: {left:?}\n{said}").into());
    }
    Ok((ended.status.code(), said, report))
}

/// Reasons of the machine's own: what it left open for these is told again, once.
const FOR_THE_MACHINE: [&str; 3] = ["machine-busy", "harness-late", "no-steady-state"];

/// Claims whose experiments kill and restart replicas, bring brand-new ones, and hold fixtures back: half a minute.
fn certification() -> Result<(), Failed> {
    let only = ["--only", "TOK-01", "--only", "QUO-05", "--only", "CON-01", "--only", "SEC-01"];
    let mut again = true;
    loop {
        let (folder, pressure) = (tempfile::tempdir()?, Pressure::since_now());
        let (code, said, report) = certify(folder.path(), "flex-managed", &only)?;
        if code == Some(2) && again && FOR_THE_MACHINE.iter().any(|reason| report.contains(reason)) {
            eprintln!("told again, the machine left claims open:\n{report}");
            again = false;
            continue;
        }
        // Nothing is wrong with what is left open while others keep the machine busy.
        if code == Some(2) && pressure.free_if_busy().is_some() {
            eprintln!("claims are LEFT OPEN, the machine had no time left:\n{report}");
            return Ok(());
        }
        if code != Some(0) || !report.contains("4 judged of 4 applicable") {
            return Err(format!("exit {code:?}\n{said}\n{report}").into());
        }
        return Ok(());
    }
}

/// Certifies one site of two gateways that are started so; all of it must end with 3 and say these words.
fn refused(start: &str, ready: &str, files: &str, words: &[&str]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let adapter = format!("version: \"1.0\"\nname: broken\n{start}{ready}{files}{ABOUT}");
    std::fs::write(folder.path().join("broken.yaml"), adapter)?;
    let deployment = "version: \"1.0\"\nname: broken\nprofile: envoy\ngateway: {adapter: broken.yaml}\n\
                      sites: [{name: eu, replicas: 2}]\n";
    std::fs::write(folder.path().join("deployment.yaml"), deployment)?;
    let (code, said, report) = certify(folder.path(), "deployment.yaml", &["--only", "TOK-01"])?;
    let unsaid: Vec<&&str> = words.iter().filter(|word| !said.contains(**word)).collect();
    if code != Some(3) || !unsaid.is_empty() || !report.is_empty() {
        return Err(format!("exit {code:?}, does not say {unsaid:?}:\n{said}\n{report}").into());
    }
    Ok(())
}

const READY: &str = "ready: {port: data, path: /ready, status: 200}\n";

/// The files of an upstream on these two addresses.
fn upstream(listen: &str, control: &str) -> String {
    let config = format!("'{{\"name\": \"u\", \"listen\": \"{listen}\", \"control\": \"{control}\"}}'");
    format!("files: [{{path: u.json, text: {config}}}]\n")
}

fn ends_at_once() -> Result<(), Failed> {
    let start = "container: {image: gatecrash, arguments: [fixture, upstream, --config, /files/nowhere.json]}\n";
    refused(start, READY, "", &["`eu-", "did not start", "exit code", "its log ends with", "nowhere.json"])
}

fn taken() -> Result<(), Failed> {
    refused(UPSTREAM, READY, &upstream("0.0.0.0:8080", "0.0.0.0:8080"), &["of `eu-", "is taken: address 0.0.0.0:8080"])
}

fn never_ready() -> Result<(), Failed> {
    let ready = "ready: {port: data, path: /never, status: 204}\nreadyWithin: 1s\n";
    let files = upstream("0.0.0.0:8080", "0.0.0.0:8090");
    refused(UPSTREAM, ready, &files, &["`eu-", "not ready after 1.0 s", "last status: status 200", "/never"])
}

fn no_image() -> Result<(), Failed> {
    let start = "container: {image: \"registry.invalid/gateway:1\"}\n";
    refused(start, READY, "", &["image `registry.invalid/gateway:1`", "neither local nor can it be pulled"])
}
