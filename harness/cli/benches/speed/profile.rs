//! How long does a whole certification take? The command itself, at its default scale.

use crate::machine::Outcome;
use crate::stage::EXECUTABLE;
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::runtime::docker::engine;
use gatecrash_model::RunRecord;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const DEPLOYMENT: &str = "flex-managed";

/// In processes.
pub(crate) fn processes() -> Outcome<Vec<Row>> {
    whole("process", 120.0)
}

/// In containers, where an engine answers.
pub(crate) fn containers() -> Outcome<Vec<Row>> {
    let answers = crate::stage::tokio()?.block_on(engine::connect()).is_ok();
    if answers { whole("docker", 240.0) } else { Ok(vec![Row::new("docker: not measured", "no engine answers")]) }
}

fn whole(runtime: &str, most: f64) -> Outcome<Vec<Row>> {
    let began = monotonic_ns();
    let folder = run(DEPLOYMENT, runtime)?;
    let wall = Duration::from_nanos(monotonic_ns() - began).as_secs_f64();
    let record: RunRecord = serde_json::from_slice(&std::fs::read(folder.join("run.json"))?)?;
    let sum = Duration::from_millis(record.experiments_ms).as_secs_f64();
    let counted = record.denominator;
    Ok(vec![
        Row::new(format!("{runtime}: all claims of {DEPLOYMENT}, default scale"), format!("{wall:.0} s"))
            .against(format!(
                "experiments one after the other: {sum:.0} s ({:.1}x wall); {} of {} claims judged, {}",
                sum / wall,
                counted.judged,
                counted.applicable,
                record.result.as_str()
            ))
            .target(format!("<= {most:.0} s"), wall <= most),
    ])
}

/// Certifies a deployment that comes with gatecrash into a fresh folder, which is returned. What the verdicts are is
/// not judged here; that there are some is.
pub(crate) fn run(deployment: &str, runtime: &str) -> Outcome<PathBuf> {
    let folder = std::env::current_dir()?.join(format!("target/bench/{deployment}-{runtime}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let done = Command::new(EXECUTABLE)
        .args(["certify", deployment, "--runtime", runtime, "--seed", "1", "--out"])
        .arg(&folder)
        .stdin(Stdio::null())
        .output()?;
    match done.status.code() {
        Some(0..=2) => Ok(folder),
        code => Err(format!("certify ended with {code:?}: {}", String::from_utf8_lossy(&done.stderr)).into()),
    }
}
