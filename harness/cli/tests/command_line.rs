//! The binary as its users meet it: exit codes, what goes to stdout and what to stderr, places in messages.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in `folder`.
#[expect(clippy::expect_used, reason = "a helper of tests: without the binary there is nothing to test")]
fn gatecrash(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatecrash"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_deployment_is_64_with_every_place_and_nothing_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway: {adapter: reference}\nsites:\n  \
               - {name: eu, zones: [a], replicas: 0}\nquotta: {}\n";
    std::fs::write(folder.path().join("edge.yaml"), bad).expect("written");
    for verb in ["certify", "plan"] {
        let ended = gatecrash(folder.path(), &[verb, "edge.yaml", "--runtime", "process"]);
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{said}");
        assert!(said.contains("edge.yaml:6:") && said.contains("1 to 64"), "{said}");
        assert!(said.contains("edge.yaml:7:1:") && said.contains("quotta"), "{said}");
        assert!(said.contains('^'), "{said}");
        assert_eq!(text(&ended.stdout), "");
        assert!(!folder.path().join("target").exists());
    }
}

#[test]
fn settings_are_held_to_the_adapter() {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway:\n  adapter: reference\n  settings:\n    \
               contracts: sometimes\nsites:\n  - {name: eu, zones: [a], replicas: 1}\n";
    std::fs::write(folder.path().join("edge.yaml"), bad).expect("written");
    let ended = gatecrash(folder.path(), &["plan", "edge.yaml"]);
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{said}");
    assert!(said.contains("edge.yaml:7:16: setting `contracts`"), "{said}");
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in [
        &["certify"][..],
        &["certify", "missing.yaml"],
        &["certify", "flex-managed", "--scale", "7"],
        &["certify", "flex-managed", "--only", "NO-*"],
        &["explain", "QUO-99"],
        &["fixture", "no-such-role"],
        &["fixture", "reaper", "--run"],
        &["crash"],
    ] {
        let ended = gatecrash(folder.path(), arguments);
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {}", text(&ended.stderr));
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["certify", "--help"], &["list"], &["list", "--defects"]] {
        let ended = gatecrash(folder.path(), arguments);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {}", text(&ended.stderr));
        assert!(!ended.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_saved_run_that_is_not_there_is_64() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = gatecrash(folder.path(), &["check", "target/gatecrash/rnothing0"]);
    assert_eq!(ended.status.code(), Some(64), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("rnothing0"), "{}", text(&ended.stderr));
}

#[test]
fn an_engine_that_does_not_answer_is_3_and_says_what_to_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = Command::new(env!("CARGO_BIN_EXE_gatecrash"))
        .args(["plan", "flex-managed", "--runtime", "docker"])
        .current_dir(folder.path())
        .env("DOCKER_HOST", format!("unix://{}", folder.path().join("no.sock").display()))
        .output()
        .expect("the binary runs");
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("dockerd") && said.contains("--runtime process"), "{said}");
}

#[test]
fn a_plan_says_seed_claims_and_experiments() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended =
        gatecrash(folder.path(), &["plan", "flex-managed", "--runtime", "process", "--seed", "7", "--only", "QUO-*"]);
    let (said, plan) = (text(&ended.stderr), text(&ended.stdout));
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(plan.starts_with("seed 7\nruntime process\n"), "{plan}");
    assert!(plan.contains("QUO-01") && !plan.contains("TOK-01"), "{plan}");
    assert!(plan.contains("expected time"), "{plan}");
}
