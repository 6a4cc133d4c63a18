//! From a violation to the smallest schedule that shows it, and back: as a user does it, with defects of the reference gateway.

use gatecrash::{RunRecord, Standing};
use gatecrash_model::run_record::Shrunk;
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

fn said(ended: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ended.stderr), String::from_utf8_lossy(&ended.stdout))
}

#[expect(clippy::expect_used, reason = "a helper of tests: a run has a record")]
fn record(folder: &Path) -> RunRecord {
    let text = std::fs::read_to_string(folder.join("run.json")).expect("a record");
    serde_json::from_str(&text).expect("a record")
}

/// One site with two replicas, with this defect of the reference gateway.
#[expect(clippy::expect_used, reason = "a helper of tests: without its files there is nothing to test")]
fn deployment(folder: &Path, defects: &str) {
    let text = format!(
        "version: \"1.0\"\nname: edge\nprofile: flex-managed\ngateway:\n  adapter: reference\n  defects: [{defects}]\n\
         sites:\n  - {{name: eu, zones: [a], replicas: 2}}\ncontrolPlane: {{pollInterval: 5s, ingressTimeout: 30s}}\n"
    );
    std::fs::write(folder.join("edge.yaml"), text).expect("written");
}

/// Seven steps, of which one shows the defect: that one is found, written, named in every report, and fails alone.
#[test]
fn the_one_step_that_fails_is_found_and_fails_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    deployment(folder, "configuration.bad-object-open");
    let words = "certify edge.yaml --runtime process --seed 7 --scale 0.05 --only CFG-06 --out out --shrink";
    let ended = gatecrash(folder, &words.split(' ').collect::<Vec<_>>());
    let told = said(&ended);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    let whole = record(&folder.join("out"));
    let [Shrunk { claim, outcome, file, command, tries }] = whole.shrunk.as_slice() else { panic!("{told}") };
    assert_eq!(claim.as_str(), "CFG-06");
    assert_eq!(file.as_deref(), Some("schedule-CFG-06.yaml"), "{told}");
    assert_eq!(command, "gatecrash certify --schedule out/schedule-CFG-06.yaml");
    assert!(outcome.starts_with("1 of 7 steps, after "), "{outcome}");
    assert!(outcome.contains("bad-configurations: two-on-one-path"), "{outcome}");
    assert!(outcome.ends_with("without any of them it did not fail"), "{outcome}");
    // The whole first; each smaller one that failed is part of the one before; the last that failed is the one that is written.
    assert!(tries[0].failed && tries[0].ran.contains("error"), "{tries:?}");
    let last = tries.iter().rfind(|tried| tried.failed).expect("one failed");
    assert_eq!(last.ran, "bad-configurations: two-on-one-path");
    assert!(tries.iter().any(|tried| tried.ran == "bad-configurations: no step" && !tried.failed), "{tries:?}");
    assert!(told.contains("at most 40 tries"), "{told}");
    for name in ["report.html", "report.json", "summary.md"] {
        let text = std::fs::read_to_string(folder.join("out").join(name)).expect("a report");
        assert!(text.contains("schedule-CFG-06.yaml"), "{name} does not name the schedule");
    }
    // Judged again, it still says so, and the whole run is as it was.
    let ended = gatecrash(folder, &["check", "out"]);
    assert!(said(&ended).contains("schedule-CFG-06.yaml"), "{}", said(&ended));

    let words: Vec<&str> = command.split(' ').skip(1).chain(["--out", "again"]).collect();
    let ended = gatecrash(folder, &words);
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    let again = record(&folder.join("again"));
    let [claim] = again.claims.as_slice() else { panic!("{}", said(&ended)) };
    assert_eq!((claim.id.as_str(), claim.standing), ("CFG-06", Standing::Fail), "{}", said(&ended));
    assert_eq!((again.seed, again.scale.to_string()), (whole.seed, whole.scale.to_string()));
    assert_eq!(claim.repeat, *command);
}

/// Without the defect a part of the story shows nothing wrong, and proves nothing: neither passed nor failed.
#[test]
fn a_part_of_a_story_is_never_held() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    deployment(folder, "");
    let schedule = "version: \"1.0\"\ndeployment: edge.yaml\nruntime: process\nseed: 7\nscale: 0.1\n\
                    claims: [CFG-06, SEC-01]\nexperiments:\n  bad-configurations: [empty]\n";
    std::fs::write(folder.join("one.yaml"), schedule).expect("written");
    let ended = gatecrash(folder, &["certify", "--schedule", "one.yaml", "--out", "out"]);
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
    let record = record(&folder.join("out"));
    assert_eq!(record.experiments.len(), 1);
    let left = &record.left_out[0];
    assert_eq!((left.experiment.as_str(), left.steps.len()), ("bad-configurations", 6));
    for claim in &record.claims {
        assert_eq!(claim.standing, Standing::Inconclusive, "{}: {:?}", claim.id, claim.verdict);
    }
}

#[test]
fn where_nothing_fails_and_where_there_is_a_single_story_nothing_is_tried() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    deployment(folder, "");
    let words = "certify edge.yaml --runtime process --seed 7 --only QUO-04 --out good --shrink";
    let ended = gatecrash(folder, &words.split(' ').collect::<Vec<_>>());
    assert!(said(&ended).contains("nothing to shrink: no claim failed"), "{}", said(&ended));
    assert_eq!(record(&folder.join("good")).shrunk, []);

    let words = "certify edge.yaml --runtime process --seed 7 --only DRN-01 --out out --shrink";
    deployment(folder, "drain.closes-listener-at-once");
    let ended = gatecrash(folder, &words.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    let record = record(&folder.join("out"));
    let [shrunk] = record.shrunk.as_slice() else { panic!("{}", said(&ended)) };
    assert_eq!(shrunk.outcome, "nothing to shrink: experiment `drain` is a single story");
    assert_eq!((shrunk.file.as_ref(), shrunk.tries.len()), (None, 0));
}

/// Mistakes in a schedule are 64, with their place, before anything is started.
#[test]
fn mistakes_in_a_schedule_have_a_place_and_start_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    deployment(folder, "");
    let head = "version: \"1.0\"\ndeployment: edge.yaml\nruntime: process\nseed: 7\nscale: 0.1\n";
    for (text, parts) in [
        (
            format!("{head}claims: [CFG-06]\nexperiments: {{bad-configurations: [errors]}}\n"),
            ["s.yaml:7:36: `bad-configurations` has no step `errors` on this deployment", "known are `error`, `empty`"],
        ),
        (
            format!("{head}claims: [CFG-60]\nexperiments: {{bad-configurations: [error]}}\n"),
            ["s.yaml:6:10: claim `CFG-60` does not exist", "CFG-06"],
        ),
        (
            format!("{head}claims: [CFG-06]\nexperiments: {{drain: [error]}}\n"),
            ["s.yaml:7:22: `drain` has no steps on this deployment", "legal is `whole`"],
        ),
        (
            format!("{head}claims: [CFG-06]\nexperiments: {{drain: whole}}\n"),
            [
                "experiment `drain` of the schedule cannot run here, or is read by none of its claims",
                "`bad-configurations`",
            ],
        ),
        (
            format!("{head}claims: [CFG-06]\nexperiments: {{bad-configurations: [error]}}\n").replace("edge", "edges"),
            ["edges.yaml: cannot be read as a deployment", "(named in s.yaml)"],
        ),
    ] {
        std::fs::write(folder.join("s.yaml"), &text).expect("written");
        for verb in ["certify", "plan"] {
            let ended = gatecrash(folder, &[verb, "--schedule", "s.yaml"]);
            assert_eq!(ended.status.code(), Some(64), "{text}{}", said(&ended));
            for part in parts {
                assert!(said(&ended).contains(part), "no {part} in:\n{}", said(&ended));
            }
            assert!(!folder.join("target").exists());
        }
    }
    let ended = gatecrash(folder, &["plan", "--schedule", "none.yaml"]);
    assert_eq!(ended.status.code(), Some(64));
    assert!(said(&ended).contains("none.yaml: cannot be read as a schedule"), "{}", said(&ended));
}

#[test]
fn a_plan_lists_steps_and_says_what_a_schedule_runs() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    deployment(folder, "");
    let ended = gatecrash(folder, &["plan", "edge.yaml", "--runtime", "process", "--only", "CFG-06"]);
    assert!(said(&ended).contains("  bad-configurations: error, empty, truncated"), "{}", said(&ended));
    let schedule = "version: \"1.0\"\ndeployment: edge.yaml\nruntime: process\nseed: \"7\"\nscale: 0.1\n\
                    claims: [CFG-06]\nexperiments:\n  bad-configurations: [empty, nonsense]\n";
    std::fs::write(folder.join("two.yaml"), schedule).expect("written");
    let ended = gatecrash(folder, &["plan", "--schedule", "two.yaml"]);
    assert_eq!(ended.status.code(), Some(0), "{}", said(&ended));
    assert!(said(&ended).contains("seed 7\n") && said(&ended).contains("only empty, nonsense"), "{}", said(&ended));
}
