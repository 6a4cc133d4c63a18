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

const HEAD: &str = "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway: {adapter: reference}\n";
const PROFILE: &str = "version: \"1.0\"\nname: mine\nproduct: a gateway of our own\nminimumJudged: 1\nclaims:\n";

/// Each mistake of the issue: where it is, what it is, what would be right.
#[test]
fn every_mistake_has_place_snippet_and_legal_values() {
    let site = "sites: [{name: eu, replicas: 2}]\n";
    let deployments = [
        (
            "unknown key",
            format!("{HEAD}{site}controlplane: {{}}\n"),
            "edge.yaml:6:1: unknown key `controlplane`",
            "known are `version`, `name`",
        ),
        (
            "zero replicas",
            format!("{HEAD}sites: [{{name: eu, replicas: 0}}]\n"),
            "edge.yaml:5:30: `replicas` is 0",
            "a site needs 1 to 64",
        ),
        (
            "duplicate names",
            format!("{HEAD}sites:\n  - {{name: eu, replicas: 1}}\n  - {{name: eu, replicas: 1}}\n"),
            "edge.yaml:7:12: site `eu` is there twice",
            "first on line 6",
        ),
        (
            "a site without a gateway",
            format!("{HEAD}sites: [{{name: eu}}]\n"),
            "edge.yaml:5:9: a site has no `replicas`",
            "1 to 64",
        ),
        ("no sites", format!("{HEAD}sites: []\n"), "edge.yaml:5:8: `sites` is empty", "a deployment needs 1 to 8"),
        (
            "a value out of range",
            format!("{HEAD}{site}quota: {{window: 2h}}\n"),
            "edge.yaml:6:17: `window` is `2h`",
            "legal are 100ms to 1h",
        ),
        (
            "a megabyte of nested lists",
            "[".repeat(1_000_000),
            "edge.yaml:1:25: nested too deep",
            "at most 24 levels are read",
        ),
        (
            "ten megabytes of nested lists",
            "[".repeat(10_000_000),
            "edge.yaml:1:1: the file has more than",
            "1048576 bytes",
        ),
        ("an empty file", String::new(), "edge.yaml:1:1: ", "a deployment is a map"),
        ("no YAML", format!("{HEAD}sites: [\n"), "edge.yaml:", "^"),
    ];
    for (what, text, place, legal) in deployments {
        refused(what, &[("edge.yaml", &text)], &["plan", "edge.yaml"], place, legal);
    }
    let good = format!("{HEAD}{site}");
    let profiles = [
        (
            "a claim that does not exist",
            "  QUO-99: {declared: holds, basis: expected}\n",
            "mine.yaml:6:3: claim `QUO-99` does not exist",
            "quota claims: QUO-01, QUO-02",
        ),
        (
            "a parameter out of range",
            "  CFG-01: {declared: holds, basis: expected, parameters: {outage: 7200s}}\n",
            "mine.yaml:6:67: ",
            "legal are 1s to 3600s",
        ),
        (
            "a word that is none",
            "  QUO-01: {declared: maybe}\n",
            "mine.yaml:6:22: `declared` is `maybe`",
            "known are `holds`, `does-not-hold` and `not-applicable`",
        ),
    ];
    for (what, claim, place, legal) in profiles {
        let files = [("edge.yaml", good.as_str()), ("mine.yaml", &format!("{PROFILE}{claim}"))];
        refused(what, &files, &["plan", "edge.yaml", "--profile", "mine.yaml"], place, legal);
    }
}

#[expect(clippy::expect_used, reason = "a helper of tests: without its files there is nothing to test")]
fn refused(what: &str, files: &[(&str, &str)], arguments: &[&str], place: &str, legal: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let ended = gatecrash(folder.path(), arguments);
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{what}: {said}");
    assert!(said.contains(place) && said.contains(legal), "{what}: {said}");
    // The line and a caret under the place, in an excerpt that fits a terminal; an empty file has no line.
    assert!(said.contains('^') || what == "an empty file", "{what}: {said}");
    assert!(said.lines().all(|line| line.chars().count() < 400), "{what}: {said}");
    assert_eq!(text(&ended.stdout), "", "{what}");
}

#[test]
fn bytes_that_are_no_text_have_a_place_too() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("edge.yaml"), b"version: \"1.0\"\nname: \xff\xfe\n").expect("written");
    let ended = gatecrash(folder.path(), &["plan", "edge.yaml"]);
    assert_eq!(ended.status.code(), Some(64));
    assert!(text(&ended.stderr).contains("edge.yaml:2:7: this is no UTF-8 text"), "{}", text(&ended.stderr));
    let ended = gatecrash(folder.path(), &["plan", "."]);
    assert_eq!(ended.status.code(), Some(64));
    assert!(text(&ended.stderr).contains("it is no file"), "{}", text(&ended.stderr));
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
fn defects_are_held_to_those_that_there_are_and_listed_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |adapter: &str, defects: &str| {
        let text = format!(
            "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway:\n  adapter: {adapter}\n  defects: [{defects}]\n\
             sites:\n  - {{name: eu, zones: [a], replicas: 1}}\n"
        );
        std::fs::write(folder.path().join("edge.yaml"), text).expect("written");
        gatecrash(folder.path(), &["plan", "edge.yaml", "--runtime", "process"])
    };
    let ended = with("reference", "quota.reset-on-restart, quota.reset");
    let said = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(64), "{said}");
    assert!(said.contains("edge.yaml:6:37: defect `quota.reset` does not exist"), "{said}");
    assert!(said.contains("tokens.refuse-other-site") && said.contains("management.call-in-request-path"), "{said}");
    assert_eq!(with("envoy", "quota.reset-on-restart").status.code(), Some(64));
    let good = with("reference", "quota.reset-on-restart");
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));

    let listed = text(&gatecrash(folder.path(), &["list", "--defects"]).stdout);
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_once(" (caught by ")).map(|(name, _)| name).collect();
    assert!(names.len() >= 34, "{listed}");
    for name in names {
        assert!(said.contains(name), "`{name}` is listed, and not among the legal names:\n{said}");
    }
    assert!(listed.contains("quota.reset-on-restart") && listed.contains("QUO-05"), "{listed}");
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
fn a_doctor_says_what_there_is_and_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = Command::new(env!("CARGO_BIN_EXE_gatecrash"))
        .arg("doctor")
        .current_dir(folder.path())
        .env("DOCKER_HOST", format!("unix://{}", folder.path().join("no.sock").display()))
        .output()
        .expect("the binary runs");
    let found = text(&ended.stdout);
    // Processes are enough for a run.
    assert_eq!(ended.status.code(), Some(0), "{found}{}", text(&ended.stderr));
    for part in ["executable", "runtime process", "runtime docker", "redis-server", "envoy", "core"] {
        let line = found.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("nothing about {part} in:\n{found}"));
        assert!(line.starts_with("ok ") || line.starts_with("missing "), "{line}");
    }
    assert!(found.contains("missing  runtime docker: no container engine answers"), "{found}");
    assert!(found.contains("start one (for example `dockerd`)"), "{found}");
}

#[test]
fn lists_are_what_users_need_to_write_a_deployment() {
    let folder = tempfile::tempdir().expect("a folder");
    let listed = text(&gatecrash(folder.path(), &["list"]).stdout);
    for part in [
        "61 claims, 64 with their parts\n",
        "QUO-01",
        "profiles",
        "flex-managed",
        "deployments",
        "envoy-two-sites",
        "adapters",
        "reference",
    ] {
        assert!(listed.contains(part), "no {part} in:\n{listed}");
    }
    let defects = text(&gatecrash(folder.path(), &["list", "--defects"]).stdout);
    assert!(defects.contains("quota.reset-on-restart (caught by QUO-05)\n  "), "{defects}");
    // Every defect is said to be caught by some claim that `explain` knows, and that says so itself.
    let first = defects.lines().next().expect("a defect");
    let (name, claims) = first.split_once(" (caught by ").expect("its claims");
    let claim = claims.trim_end_matches(')').split(", ").next().expect("a claim");
    let explained = gatecrash(folder.path(), &["explain", claim]);
    assert_eq!(explained.status.code(), Some(0));
    assert!(text(&explained.stdout).contains(name), "{}", text(&explained.stdout));
}

#[test]
fn an_explanation_says_statement_source_parameters_and_declarations() {
    let folder = tempfile::tempdir().expect("a folder");
    // Ids are taken in either case.
    let ended = gatecrash(folder.path(), &["explain", "quo-01"]);
    let explained = text(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    for part in [
        "QUO-01 (core)",
        "source",
        "at least ",
        "reads",
        "quota-shared",
        "declared",
        "flex-managed",
        "must catch the defects",
    ] {
        assert!(explained.contains(part), "no {part} in:\n{explained}");
    }
    let ended = gatecrash(folder.path(), &["explain", "QUO-99"]);
    assert_eq!(ended.status.code(), Some(64));
    assert!(text(&ended.stderr).contains("claim `QUO-99` does not exist; claims are "), "{}", text(&ended.stderr));
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
