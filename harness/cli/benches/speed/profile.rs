//! How long does a whole certification take? The command itself, at its default scale.

use crate::machine::Outcome;
use crate::stage::EXECUTABLE;
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::runtime::docker::engine;
use gatecrash_model::RunRecord;
use gatecrash_model::run_record::RunResult;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEPLOYMENT: &str = "flex-managed";
/// The claims of the main job: what a run takes with these is held to less than what it takes with the whole catalogue.
const MAIN_JOB: &[&str] = &[
    "TOK-01", "TOK-02", "TOK-03", "TOK-04", "TOK-06", "QUO-01", "QUO-02", "QUO-03", "QUO-04", "QUO-05", "QUO-07",
    "CFG-01", "CFG-02/*", "CFG-03", "CON-*", "SEC-01", "LAT-*",
];
/// What the whole catalogue may take in processes, in seconds.
const CATALOGUE: f64 = 240.0;
/// And how many times its wall time the experiments take together: how much runs side by side.
const SIDE_BY_SIDE: f64 = 3.0;

/// In processes.
pub(crate) fn processes() -> Outcome<Vec<Row>> {
    let mut rows = whole("process", MAIN_JOB, 120.0)?;
    rows.extend(whole("process", &[], CATALOGUE)?);
    Ok(rows)
}

/// In containers, where an engine answers.
pub(crate) fn containers() -> Outcome<Vec<Row>> {
    let answers = crate::stage::tokio()?.block_on(engine::connect()).is_ok();
    if answers {
        whole("docker", MAIN_JOB, 240.0)
    } else {
        Ok(vec![Row::new("docker: not measured", "no engine answers")])
    }
}

fn whole(runtime: &str, only: &[&str], most: f64) -> Outcome<Vec<Row>> {
    let began = monotonic_ns();
    let folder = run_only(DEPLOYMENT, runtime, only)?;
    let wall = Duration::from_nanos(monotonic_ns() - began).as_secs_f64();
    let record: RunRecord = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
    let sum = Duration::from_millis(record.experiments_ms).as_secs_f64();
    let counted = record.denominator;
    let what = if only.is_empty() { "the whole catalogue" } else { "the claims of the main job" };
    // Fast, and wrong or without a verdict, is not what was promised.
    let is_judged = matches!(record.result, RunResult::Certified | RunResult::AsDeclaredScaled);
    // Nothing is promised of a part of the catalogue.
    let least = if only.is_empty() { SIDE_BY_SIDE } else { 1.0 };
    Ok(vec![
        Row::new(format!("{runtime}: {what} of {DEPLOYMENT}, default scale"), format!("{wall:.0} s"))
            .against(format!(
                "experiments one after the other: {sum:.0} s ({:.1}x wall); {} of {} claims judged, {}",
                sum / wall,
                counted.judged,
                counted.applicable,
                record.result.as_str()
            ))
            .target(format!("<= {most:.0} s"), wall <= most && is_judged),
        Row::new(format!("{runtime}: {what}, sum of experiment times over wall"), format!("{:.1}", sum / wall))
            .target(format!(">= {least:.1}"), sum / wall >= least),
    ])
}

/// Certifies a deployment that comes with gatecrash into a fresh folder, which is returned. What the verdicts are is
/// not judged here; that there are some is.
pub(crate) fn run(deployment: &str, runtime: &str) -> Outcome<PathBuf> {
    run_only(deployment, runtime, &[])
}

/// The same for these claims only.
fn run_only(deployment: &str, runtime: &str, only: &[&str]) -> Outcome<PathBuf> {
    let folder = std::env::current_dir()?.join(format!("target/bench/{deployment}-{runtime}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let done = Command::new(EXECUTABLE)
        .args(["certify", deployment, "--runtime", runtime, "--seed", "1", "--out"])
        .arg(&folder)
        .args(only.iter().flat_map(|claim| ["--only", claim]))
        .stdin(Stdio::null())
        .output()?;
    match done.status.code() {
        Some(0..=2) => Ok(folder),
        code => Err(format!("certify ended with {code:?}: {}", String::from_utf8_lossy(&done.stderr)).into()),
    }
}
