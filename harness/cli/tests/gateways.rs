//! Gateways that gatecrash knows by files alone, certified as a user would: the tiny one of `fixtures/foreign`, a script in another
//! language, and Envoy, a real product. What a machine lacks is listed as ignored, with the reason.

use gatecrash::{RunRecord, Standing};
use gatecrash_engine::runtime::docker::engine;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What the tiny gateway promises and is; every other claim is not applicable.
const TINY: &[(&str, Standing)] = &[
    ("TOK-01", Standing::Pass),
    ("TOK-02", Standing::Pass),
    ("QUO-01", Standing::LimitConfirmed),
    ("QUO-02", Standing::Pass),
    ("QUO-04", Standing::Pass),
    ("QUO-05", Standing::LimitConfirmed),
    ("SEC-01", Standing::Pass),
];

/// With this library its clocks can be off; without it TOK-07 is not applicable.
const FAKETIME: &str = "target/tools/faketime/libfaketimeMT.so.1";

/// What Envoy with a static configuration promises and is; every other claim is not applicable.
const ENVOY: &[(&str, Standing)] = &[
    ("TOK-01", Standing::Pass),
    ("TOK-02", Standing::Pass),
    ("QUO-01", Standing::LimitConfirmed),
    ("QUO-02", Standing::Pass),
    ("QUO-03", Standing::LimitConfirmed),
    ("QUO-04", Standing::Pass),
    ("QUO-05", Standing::LimitConfirmed),
    ("SEC-01", Standing::Pass),
];

/// Each declared limit and the number that measures it: more than this, where there was no limit to measure.
const SIZES: &[(&str, &str, f64)] =
    &[("QUO-01", "worst overshoot", 60.0), ("QUO-03", "admitted of Q", 2.0), ("QUO-05", "refilled", 0.0)];

/// How long the certification of a gateway may take that behaves as none should.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(90);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each trial starts whole deployments and judges times.
    arguments.test_threads = Some(1);
    let python = runs("python3", &["--version"]).then_some(()).ok_or("python3 is not there");
    let envoy = root().join("target/tools/envoy").is_file().then_some(()).ok_or("run `make envoy`");
    let containers = envoy.and_then(|()| has_engine().then_some(()).ok_or("no container engine answers"));
    let faketime = root().join(FAKETIME).is_file().then_some(()).ok_or("run `make faketime`");
    let clocks = python.and(faketime);
    let tiny = "fixtures/foreign/deployment.yaml";
    let envoys = "fixtures/deployments/envoy-two-sites.yaml";
    let trials = vec![
        trial("foreign::is_certified_in_processes", python, move || {
            let times = faketime.map(|()| ("TOK-07", Standing::Pass));
            as_declared(tiny, "process", &TINY.iter().copied().chain(times).collect::<Vec<_>>())
        }),
        trial("foreign::a_clock_that_is_off_and_no_leeway_are_caught", clocks, without_leeway),
        trial("foreign::a_clock_that_nothing_can_put_off_is_told", python, without_faketime),
        trial("foreign::a_quota_of_which_half_is_counted_is_caught", python, || broken("count-half", "QUO-04")),
        trial("foreign::an_expired_token_that_is_accepted_is_caught", python, || broken("accept-expired", "SEC-01")),
        trial("foreign::that_answers_with_nothing_is_judged", python, || misbehaves("empty-answers")),
        trial("foreign::that_breaks_off_its_answers_is_judged", python, || misbehaves("break-off")),
        trial("foreign::whose_answers_never_end_is_judged", python, || misbehaves("never-end")),
        trial("foreign::that_sends_a_megabyte_of_headers_is_judged", python, || misbehaves("huge-headers")),
        trial("foreign::that_is_ready_and_does_not_listen_is_judged", python, || misbehaves("lie-ready")),
        trial("foreign::that_ends_soon_after_its_start_is_judged", python, || misbehaves("end-soon")),
        trial("reference::whose_resets_are_in_seconds_is_judged", Ok(()), || in_seconds("", 0, Standing::Pass)),
        trial("reference::that_lies_about_its_resets_in_seconds_is_judged", Ok(()), || {
            in_seconds("quota.dishonest-reset", 1, Standing::Fail)
        }),
        trial("envoy::is_certified_in_processes", envoy, move || as_declared(envoys, "process", ENVOY)),
        trial("envoy::is_certified_in_containers", containers, move || as_declared(envoys, "docker", ENVOY)),
        trial("envoy::that_is_missing_is_told_with_the_command_that_fetches_it", Ok(()), missing_binary),
        trial("adapter::unknown_key_is_told_with_its_place", Ok(()), || {
            refused("readyWithin: 20s", "readyIn: 20s", 64, &["gateway.yaml:", "unknown key `readyIn`", "^"])
        }),
        trial("adapter::unknown_name_in_a_template_file_is_told_with_file_and_line", Ok(()), || {
            refused("template: gateway.py", "template: other.py", 64, &["template `other.py`", "`replicas` in line 2"])
        }),
        trial("adapter::port_that_is_not_there_is_told_with_its_line", Ok(()), || {
            let text = &["gateway.yaml: template `gateway.json`: line 4: ", "`ports.admn`"];
            refused("{{ ports.admin }}", "{{ ports.admn }}", 64, text)
        }),
        trial("adapter::missing_template_is_told", Ok(()), || {
            refused("template: gateway.py", "template: none.py", 64, &["template `none.py` cannot be read"])
        }),
        trial("adapter::missing_command_is_told_with_what_to_do", Ok(()), || {
            refused(
                "[\"python3\",",
                "[\"no-such-python\",",
                3,
                &["`no-such-python`", "not on PATH", "install `python3`"],
            )
        }),
        trial("adapter::relative_command_that_is_not_there_is_told", Ok(()), || {
            refused("[\"python3\",", "[\"./no-such-python\",", 3, &["no such executable file", "install `python3`"])
        }),
        trial("adapter::gateway_that_ends_at_once_is_told_with_its_log", python, || {
            refused("\"data\": [", "\"date\": [", 3, &["it ended with exit code 1", "KeyError: 'data'"])
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial; ignored, with the reason before its name, where `needs` says what is missing.
fn trial(
    name: &str,
    needs: Result<(), &'static str>,
    run: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let trial = Trial::test(name, run);
    match needs {
        Ok(()) => trial,
        Err(why) => trial.with_kind(why).with_ignored_flag(true),
    }
}

/// The workspace: deployments are named from there, and `target/tools` is there.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_engine() -> bool {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build();
    executor.is_ok_and(|executor| executor.block_on(engine::connect()).is_ok())
}

/// How a certification ended.
struct Ended {
    code: Option<i32>,
    said: String,
    record: Option<RunRecord>,
}

/// `gatecrash certify` in `folder`, with a fixed seed.
fn certify(folder: &Path, deployment: &str, runtime: &str) -> Result<Ended, Failed> {
    certify_with(folder, deployment, runtime, &[])
}

/// The same with more words on the command line.
fn certify_with(folder: &Path, deployment: &str, runtime: &str, words: &[&str]) -> Result<Ended, Failed> {
    let out = tempfile::tempdir()?;
    let run = out.path().join("run");
    let ended = Command::new(env!("CARGO_BIN_EXE_gatecrash"))
        .args(["certify", deployment, "--runtime", runtime, "--seed", "7", "--out"])
        .arg(&run)
        .args(words)
        .current_dir(folder)
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stderr), String::from_utf8_lossy(&ended.stdout));
    let record = match std::fs::read_to_string(run.join("run.json")) {
        Ok(text) => Some(serde_json::from_str(&text).map_err(|error| format!("run.json: {error}\n{said}"))?),
        Err(_) => None,
    };
    Ok(Ended { code: ended.status.code(), said, record })
}

/// Holds the exit code, and the standing of every claim to `expected`, and tells all that differ.
fn held_to(ended: &Ended, code: i32, expected: &BTreeMap<&str, Standing>) -> Result<(), Failed> {
    let record = ended.record.as_ref().ok_or_else(|| format!("there is no record:\n{}", ended.said))?;
    let mut wrong = Vec::new();
    for claim in &record.claims {
        let wanted = expected.get(claim.id.as_str()).copied().unwrap_or(Standing::NotApplicable);
        if claim.standing != wanted {
            wrong.push(format!("{} is {:?}, not {wanted:?}: {:?}", claim.id, claim.standing, claim.verdict));
        }
        if claim.standing == Standing::NotApplicable && claim.declared_source.is_empty() {
            wrong.push(format!("{} is not applicable, and nothing says why", claim.id));
        }
    }
    let there = |id: &&&str| !record.claims.iter().any(|claim| claim.id.as_str() == **id);
    wrong.extend(expected.keys().filter(there).map(|id| format!("{id} is not in the record")));
    if ended.code != Some(code) {
        wrong.push(format!("exit {:?}, not {code}", ended.code));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{}\n{}", wrong.join("\n"), ended.said).into()) }
}

/// Certified: exit 0, every claim as `expected`, the limits with their sizes.
fn as_declared(deployment: &str, runtime: &str, expected: &[(&str, Standing)]) -> Result<(), Failed> {
    let ended = certify(&root(), deployment, runtime)?;
    held_to(&ended, 0, &expected.iter().copied().collect())?;
    let record = ended.record.as_ref().ok_or("no record")?;
    for (id, name, least) in SIZES {
        let Some(claim) = record.claims.iter().find(|claim| claim.id.as_str() == *id) else { continue };
        if claim.standing != Standing::LimitConfirmed {
            continue;
        }
        let size = claim.verdict.numbers().iter().find(|number| number.name == *name);
        if !size.is_some_and(|size| size.value > *least) {
            return Err(format!("{id}: `{name}` is {size:?}, not more than {least}").into());
        }
    }
    Ok(())
}

/// A copy of the tiny gateway's files with `from` in the file `name` replaced by `to`.
fn altered(name: &str, from: &str, to: &str) -> Result<tempfile::TempDir, Failed> {
    let folder = tempfile::tempdir()?;
    let foreign = root().join("fixtures/foreign");
    for name in ["deployment.yaml", "gateway.py", "gateway.yaml", "profile.yaml"] {
        std::fs::copy(foreign.join(name), folder.path().join(name))?;
    }
    std::fs::write(folder.path().join("other.py"), "#!/usr/bin/env python3\nprint({{ replicas }})\n")?;
    let sound = std::fs::read_to_string(folder.path().join(name))?;
    if !sound.contains(from) {
        return Err(format!("`{from}` is not in {name}").into());
    }
    std::fs::write(folder.path().join(name), sound.replacen(from, to, 1))?;
    Ok(folder)
}

/// The tiny gateway's files; its deployment has these settings.
fn with_settings(settings: &str) -> Result<tempfile::TempDir, Failed> {
    let adapter = "adapter: gateway.yaml";
    altered("deployment.yaml", adapter, &format!("{adapter}\n  settings: {{{settings}}}"))
}

/// The tiny gateway with a mistake: one claim fails, all others stand as they did, exit 1.
fn broken(mistake: &str, caught: &'static str) -> Result<(), Failed> {
    let folder = with_settings(&format!("mistake: {mistake}"))?;
    let ended = certify(folder.path(), "deployment.yaml", "process")?;
    let mut expected: BTreeMap<&str, Standing> = TINY.iter().copied().collect();
    expected.insert(caught, Standing::Fail);
    held_to(&ended, 1, &expected)
}

/// The reference gateway tells its clients of their quota by the standard that is being made, in whole seconds: that is read, and held to the second.
fn in_seconds(defect: &str, code: i32, standing: Standing) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let deployment = folder.path().join("seconds.yaml");
    let text = format!(
        "version: \"1.0\"\nname: seconds\nprofile: flex-managed\n\
         gateway: {{adapter: reference, settings: {{rateLimit: draft-08}}, defects: [{defect}]}}\n\
         sites:\n  - {{name: eu, replicas: 2}}\nquota: {{limit: 40, window: 80s, alignment: first-request}}\n"
    );
    std::fs::write(&deployment, text)?;
    let ended = certify_with(&root(), &deployment.display().to_string(), "process", &["--only", "QUO-08"])?;
    held_to(&ended, code, &BTreeMap::from([("QUO-08", standing)]))
}

/// With a clock that is off and no leeway valid tokens are refused: the clock of the script was off, and TOK-07 sees it.
fn without_leeway() -> Result<(), Failed> {
    let folder = with_settings("mistake: no-leeway")?;
    let deployment = folder.path().join("deployment.yaml").display().to_string();
    let before = of_faketime()?;
    let ended = certify_with(&root(), &deployment, "process", &["--only", "TOK-07"])?;
    held_to(&ended, 1, &BTreeMap::from([("TOK-07", Standing::Fail)]))?;
    // Its replicas are killed: what the library would have removed at their end is removed for it.
    let left: Vec<_> = of_faketime()?.difference(&before).cloned().collect();
    if !left.is_empty() {
        return Err(format!("left in shared memory: {left:?}").into());
    }
    Ok(())
}

/// What libfaketime has in shared memory.
fn of_faketime() -> Result<BTreeSet<std::ffi::OsString>, Failed> {
    let names = std::fs::read_dir("/dev/shm")?.map(|entry| Ok(entry?.file_name()));
    let all: BTreeSet<_> = names.collect::<Result<_, std::io::Error>>()?;
    Ok(all.into_iter().filter(|name| name.to_string_lossy().contains("faketime")).collect())
}

/// In a folder without `target/tools` the clock of the script stays right: the claim is not applicable, with the command that helps.
fn without_faketime() -> Result<(), Failed> {
    // A deployment that puts its clocks off by itself cannot do without.
    for (settings, code) in [("", 2), ("clockOffsetMs: 5000", 3)] {
        let folder = with_settings(settings)?;
        let ended = certify_with(folder.path(), "deployment.yaml", "process", &["--only", "TOK-07"])?;
        if ended.code != Some(code) || !ended.said.contains("make faketime") {
            return Err(format!("exit {:?}, not {code}\n{}", ended.code, ended.said).into());
        }
    }
    Ok(())
}

/// A gateway that behaves as none should: a verdict that is no pass, or told before anything was judged; in time, without a panic, and nothing
/// holds that needs an answer of it.
fn misbehaves(mistake: &str) -> Result<(), Failed> {
    let folder = with_settings(&format!("mistake: {mistake}"))?;
    let clock = gatecrash_engine::clock::Clock::start();
    let ended = certify_with(folder.path(), "deployment.yaml", "process", &["--only", "TOK-01"])?;
    let took = clock.since(0);
    let told = matches!(ended.code, Some(1..=3));
    let passed = ended.record.iter().flat_map(|record| &record.claims).any(|claim| claim.standing == Standing::Pass);
    if !told || passed || ended.said.contains("panicked") || took > WITHIN {
        return Err(format!("exit {:?} after {took:?}, passed: {passed}\n{}", ended.code, ended.said).into());
    }
    Ok(())
}

/// A mistake in the adapter: the exit code, and every part of the message.
fn refused(from: &str, to: &str, code: i32, parts: &[&str]) -> Result<(), Failed> {
    let folder = altered("gateway.yaml", from, to)?;
    let ended = certify(folder.path(), "deployment.yaml", "process")?;
    let missing: Vec<&&str> = parts.iter().filter(|part| !ended.said.contains(**part)).collect();
    if ended.code != Some(code) || !missing.is_empty() || ended.record.is_some() {
        return Err(format!("exit {:?}, lacks {missing:?}\n{}", ended.code, ended.said).into());
    }
    Ok(())
}

/// In a folder without `target/tools` there is no Envoy: exit 3, and the command that fetches it.
fn missing_binary() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let ended = certify(folder.path(), "envoy-two-sites", "process")?;
    if ended.code != Some(3) || !ended.said.contains("make envoy") || ended.record.is_some() {
        return Err(format!("exit {:?}\n{}", ended.code, ended.said).into());
    }
    Ok(())
}
