//! How long does a clean release build take, and what takes longest in it?

use crate::machine::Outcome;
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A fresh target folder, removed afterwards.
const TARGET: &str = "target/bench/clean";
/// Crates that are named.
const NAMED: usize = 6;

/// One unit of cargo's report.
#[derive(Deserialize)]
struct Unit {
    name: String,
    duration: f64,
}

/// `cargo build --release --timings` with nothing built before.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    let target = Path::new(TARGET);
    if target.exists() {
        std::fs::remove_dir_all(target)?;
    }
    let began = monotonic_ns();
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--locked", "--timings", "--target-dir", TARGET])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let took = Duration::from_nanos(monotonic_ns() - began).as_secs_f64();
    if !status.success() {
        return Err("the build failed".into());
    }
    let report = std::fs::read_to_string(target.join("cargo-timings/cargo-timing.html"))?;
    let mut units = units(&report)?;
    units.sort_by(|one, other| other.duration.total_cmp(&one.duration));
    let work: f64 = units.iter().map(|unit| unit.duration).sum();
    let heaviest: Vec<String> =
        units.iter().take(NAMED).map(|unit| format!("{} {:.0} s", unit.name, unit.duration)).collect();
    std::fs::remove_dir_all(target)?;
    Ok(vec![
        Row::new("clean release build", format!("{took:.0} s"))
            .against(format!("{work:.0} s of compilers; heaviest: {}", heaviest.join(", ")))
            .target("<= 360 s", took <= 360.0),
    ])
}

/// The units in cargo's report, which has them as one JSON array in its script.
fn units(report: &str) -> Outcome<Vec<Unit>> {
    let (_, rest) = report.split_once("const UNIT_DATA = ").ok_or("no units in cargo's report")?;
    let mut found = serde_json::Deserializer::from_str(rest).into_iter::<Vec<Unit>>();
    Ok(found.next().ok_or("no units in cargo's report")??)
}
