//! A saved run: judged again it says the same, byte for byte; cut, it says where and holds nothing; it knows no secret
//! and no path of this machine; and its seed plans the same again.

use crate::watch::{BINARY, Place, Running};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

const END_WITHIN: Duration = Duration::from_secs(120);
const REPORTS: [&str; 4] = ["report.json", "junit.xml", "summary.md", "report.html"];
const ASKED: [&str; 10] =
    ["flex-managed", "--runtime", "process", "--seed", "7", "--only", "TOK-01", "--only", "CON-01", "--parallel"];

/// One run, several looks: starting one for each would cost a minute.
pub(crate) fn a_run_and_what_becomes_of_it() {
    let place = Place::new();
    place.write("page.md", "before\n");
    let secrets = certify(&place, "out");
    let out = place.path().join("out");
    summary_is_appended(&place);
    no_secret_and_no_path(&place, &secrets);
    check_says_the_same(&place);
    plan_is_the_same(&place);
    a_folder_in_use_is_refused(&place);
    for damage in [Damage::CutLine, Damage::NoEnd, Damage::NoHeader, Damage::Gone, Damage::NoText] {
        damaged(&place, &out, damage);
    }
}

fn words(verb: &str, out: &str) -> Vec<String> {
    let asked = ASKED.iter().map(|word| (*word).to_owned());
    std::iter::once(verb.to_owned()).chain(asked).chain(["2", "--out", out].map(str::to_owned)).collect()
}

/// Runs to the end; returns the secrets that its components were given.
fn certify(place: &Place, out: &str) -> BTreeSet<String> {
    let mut command = place.command(BINARY);
    command.args(words("certify", out)).env("GITHUB_STEP_SUMMARY", place.path().join("page.md"));
    let mut running = Running::start(command);
    let mut secrets = BTreeSet::new();
    running.until(END_WITHIN, "secrets", |_| {
        collect(place, &mut secrets);
        // Of 25 clients and of the signing materials.
        secrets.len() > 26
    });
    // Two runs in one folder would take each other's files away.
    let (code, _, said) = run(place, &words("certify", out).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains(&format!("`{out}` is in use by another run")), "{said}");
    let status = running.wait(END_WITHIN);
    assert_eq!(status.code(), Some(0), "{}", running.said());
    assert_eq!(running.left(false), Vec::<String>::new());
    assert_eq!(place.temporary(), Vec::<PathBuf>::new());
    secrets
}

/// Every value called a secret in the files that components are given.
fn collect(place: &Place, secrets: &mut BTreeSet<String>) {
    let is_json = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "json");
    for path in place.temporary().iter().filter(is_json) {
        // One that is being written is read the next time.
        let bytes = std::fs::read(place.path().join(path)).unwrap_or_default();
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else { continue };
        named(&value, false, secrets);
    }
}

fn named(value: &Value, is_secret: bool, secrets: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if is_secret && text.len() > 8 => drop(secrets.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| named(item, is_secret, secrets)),
        Value::Object(entries) => {
            for (key, item) in entries {
                named(item, is_secret || key.to_lowercase().contains("secret"), secrets);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn report(out: &Path) -> Value {
    serde_json::from_str(&read(&out.join("report.json"))).expect("JSON")
}

fn summary_is_appended(place: &Place) {
    let page = read(&place.path().join("page.md"));
    let summary = read(&place.path().join("out/summary.md"));
    assert_eq!(page, format!("before\n{summary}"));
}

/// Over the whole folder: reports, histories, logs.
fn no_secret_and_no_path(place: &Place, secrets: &BTreeSet<String>) {
    let here = place.path().display().to_string();
    let built = Path::new(BINARY).parent().expect("a folder").display().to_string();
    let all = place.files().into_iter().filter(|path| path.starts_with("out") && place.path().join(path).is_file());
    let all: Vec<PathBuf> = all.collect();
    assert!(all.len() > 12, "reports, histories and logs: {all:?}");
    for path in all {
        let text = read(&place.path().join(&path));
        let shown = path.display();
        for secret in secrets {
            assert!(!text.contains(secret.as_str()), "{shown} has the secret {secret}");
        }
        // A JWT begins with the base64 of `{"`.
        for word in ["eyJ", "Bearer ", "bearer ", "Basic ", "authorization:", "Authorization:"] {
            assert!(!text.contains(word), "{shown} has `{word}`");
        }
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        for folder in [&here, &built] {
            assert!(is_log || !text.contains(folder.as_str()), "{shown} has the path {folder}");
        }
    }
}

fn run(place: &Place, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = place.gatecrash(words).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

fn reports(out: &Path) -> Vec<String> {
    REPORTS.iter().map(|name| read(&out.join(name))).collect()
}

fn check_says_the_same(place: &Place) {
    let out = place.path().join("out");
    let before = reports(&out);
    for _twice in 0..2 {
        let (code, table, said) = run(place, &["check", "out"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("judged again: the same, byte for byte"), "{said}");
        assert!(table.contains("TOK-01") && table.contains("CON-01"), "{table}");
        assert_eq!(reports(&out), before);
    }
    // Without the reports they are made anew, the same.
    for name in REPORTS {
        std::fs::remove_file(out.join(name)).expect("a report");
    }
    let (code, _, said) = run(place, &["check", "out"]);
    assert_eq!((code, said.contains("there was no saved report")), (Some(0), true), "{said}");
    assert_eq!(reports(&out), before);
}

/// What was decided before anything ran.
fn planned(report: &Value) -> Value {
    let claims = report["claims"].as_array().expect("claims").iter();
    let of_claim = |claim: &Value| {
        ["id", "declared", "parameters", "experiments", "statement", "repeat"].map(|key| claim[key].clone())
    };
    let experiments = report["experiments"].as_array().expect("experiments").iter();
    serde_json::json!({
        "seed": report["seed"],
        "scale": report["scale"],
        "profile": report["profile"],
        "deployment": report["deployment"],
        "claims": claims.map(of_claim).collect::<Vec<_>>(),
        "experiments": experiments.map(|ran| ran["name"].clone()).collect::<Vec<_>>(),
    })
}

fn plan_is_the_same(place: &Place) {
    let plan = |out: &[&str]| {
        let mut words: Vec<&str> = std::iter::once("plan").chain(ASKED).chain(["2"]).collect();
        words.extend(out);
        let (code, plan, said) = run(place, &words);
        assert_eq!(code, Some(0), "{said}");
        plan
    };
    assert_eq!(plan(&[]), plan(&[]));
    assert_eq!(plan(&["--out", "another"]), plan(&["--out", "another"]));
    let first = planned(&report(&place.path().join("out")));
    let secrets = certify(place, "again");
    assert_eq!(planned(&report(&place.path().join("again"))), first);
    assert_eq!(first["experiments"].as_array().map(Vec::len), Some(2), "{first}");
    assert!(!secrets.is_empty());
}

fn a_folder_in_use_is_refused(place: &Place) {
    let words = words("certify", "out");
    let (code, _, said) = run(place, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("`out` holds a run already"), "{said}");
}

/// What may happen to a history on its way through disks and hands.
#[derive(Clone, Copy, Debug)]
enum Damage {
    CutLine,
    NoEnd,
    NoHeader,
    Gone,
    NoText,
}

fn damaged(place: &Place, out: &Path, damage: Damage) {
    let path = out.join("history-slow-contracts.jsonl");
    let (whole, before) = (std::fs::read(&path).expect("a history"), reports(out));
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let (lines, middle) = (ends.len(), ends.len() / 2);
    let up_to = |count: usize| whole.get(..ends[count - 1]).expect("lines").to_vec();
    let (bytes, expected) = match damage {
        Damage::CutLine => {
            let mut bytes = up_to(middle);
            bytes.extend_from_slice(&whole[ends[middle - 1]..ends[middle - 1] + 17]);
            (Some(bytes), format!("line {}: cut or damaged; {} events before it were read", middle + 1, middle - 1))
        }
        Damage::NoEnd => {
            (Some(up_to(lines - 1)), format!("line {}: the history ends without its closing mark", lines - 1))
        }
        Damage::NoHeader => (Some(Vec::new()), "line 1: no history header".to_owned()),
        Damage::Gone => (None, "No such file".to_owned()),
        Damage::NoText => {
            let mut bytes = whole.clone();
            bytes[ends[middle - 1] + 3] = 0xff;
            (Some(bytes), format!("line {}: ", middle + 1))
        }
    };
    match bytes {
        Some(bytes) => std::fs::write(&path, bytes).expect("written"),
        None => std::fs::remove_file(&path).expect("removed"),
    }
    let (code, table, said) = run(place, &["check", "out"]);
    assert_eq!(code, Some(2), "{damage:?}: {said}{table}");
    let named = format!("history-slow-contracts.jsonl: {expected}");
    assert!(said.contains(&named), "{damage:?}: no `{named}` in:\n{said}");
    assert!(said.contains("nothing of it is judged as held"), "{damage:?}: {said}");
    assert!(table.contains("0 judged of 2 applicable"), "{damage:?}: {table}");
    assert_eq!(reports(out), before, "{damage:?}: the saved reports are left as they are");
    std::fs::write(&path, whole).expect("as it was");
    assert_eq!(run(place, &["check", "out"]).0, Some(0), "{damage:?}");
}
