//! `make bench`: how fast is it, and compared with what? One table of all that the project promises about speed, each
//! baseline measured in the same run. Targets are printed as met or missed; nothing fails for being slow.
//!
//! Every part runs in a process of its own (this executable again), so that pinned threads, warm pools and allocations
//! of one do not reach the next. `make bench PARTS="links traffic"` runs some of them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is the table")]

mod bring_up;
mod build;
mod checking;
mod links;
mod machine;
mod peering;
mod profile;
mod stage;
mod table;
mod traffic;

use machine::{Failure, Outcome};
use std::process::{Command, ExitCode, Stdio};
use table::Row;

/// Measures one thing, or a few that share their set-up.
type Part = fn() -> Outcome<Vec<Row>>;

/// All parts in the order of the table.
const PARTS: [(&str, Part); 9] = [
    ("links", links::measure),
    ("traffic", traffic::measure),
    ("process", bring_up::processes),
    ("docker", bring_up::containers),
    ("peering", peering::measure),
    ("checking", checking::measure),
    ("profile-process", profile::processes),
    ("profile-docker", profile::containers),
    ("build", build::measure),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    // Cargo runs it in the folder of the package.
    let root = std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let done = root.map_err(Failure::from).and_then(|()| match words.as_slice() {
        ["part", name] => one(name),
        ["serve", how, listen] => traffic::serve(how, listen),
        wanted => all(wanted),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one part here, its rows as lines of JSON.
fn one(name: &str) -> Outcome<()> {
    let (_, part) = PARTS.iter().find(|(known, _)| *known == name).ok_or_else(|| unknown(name))?;
    for row in part()? {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}

/// Runs the wanted parts (none named: all) in a process each, and prints the table.
fn all(wanted: &[&str]) -> Outcome<()> {
    if let Some(name) = wanted.iter().find(|name| PARTS.iter().all(|(known, _)| known != *name)) {
        return Err(unknown(name));
    }
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (name, _) in PARTS.iter().filter(|(known, _)| wanted.is_empty() || wanted.contains(known)) {
        eprintln!("bench: {name}");
        let child = Command::new(std::env::current_exe()?).args(["part", name]).stderr(Stdio::inherit()).output()?;
        if !child.status.success() {
            failed.push(*name);
        }
        for line in String::from_utf8_lossy(&child.stdout).lines() {
            rows.push(serde_json::from_str::<Row>(line)?);
        }
    }
    table::publish(&rows)?;
    if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", ")).into()) }
}

fn unknown(name: &str) -> Failure {
    let known: Vec<&str> = PARTS.iter().map(|(known, _)| *known).collect();
    format!("there is no part `{name}`; parts are {}", known.join(", ")).into()
}
