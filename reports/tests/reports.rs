//! What every report says of one rich run, as snapshots, and what must never happen in any of them.

mod support;

use gatecrash_model::ClaimId;
use gatecrash_model::run_record::{RunResult, Shrunk};
use gatecrash_reports::{files, html, json, junit, markdown, summary, terminal};
use support::{HOSTILE, only, sample};

#[test]
fn terminal_wide_and_narrow() {
    insta::assert_snapshot!("terminal_wide", terminal::render(&sample(), 140, false));
    insta::assert_snapshot!("terminal_narrow", terminal::render(&sample(), 80, false));
}

#[test]
fn colour_adds_nothing_but_colour() {
    let coloured = terminal::render(&sample(), 120, true);
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, terminal::render(&sample(), 120, false));
    assert_ne!(coloured, plain);
}

#[test]
fn junit_and_markdown() {
    insta::assert_snapshot!("junit", junit::render(&sample()).unwrap());
    insta::assert_snapshot!("markdown", markdown::render(&sample()));
}

#[test]
fn json_without_the_series() {
    let mut report: serde_json::Value = serde_json::from_str(&json::render(&sample()).unwrap()).unwrap();
    for experiment in report["experiments"].as_array_mut().unwrap() {
        experiment["series"] = "redacted".into();
    }
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn json_begins_with_the_answer() {
    let text = json::render(&sample()).unwrap();
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \""))
        .filter_map(|line| line.trim_start_matches("  \"").split('"').next())
        .collect();
    assert_eq!(&keys[..5], ["schemaVersion", "result", "seed", "runtime", "claims"]);
}

#[test]
fn the_schema_is_current_and_the_report_keeps_to_it() {
    let committed = include_str!("../schema/report-1.0.json");
    assert_eq!(committed, json::schema().unwrap(), "run the example `schema` and commit its output");
    let schema = serde_json::from_str(committed).unwrap();
    let mut report: serde_json::Value = serde_json::from_str(&json::render(&sample()).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.validate(&report).unwrap();
    report["result"] = "splendid".into();
    assert!(!validator.is_valid(&report), "the schema knows the four results");
}

#[test]
fn a_number_without_bound_is_null() {
    let mut record = sample();
    for claim in &mut record.claims {
        if let gatecrash_model::Verdict::Holds(evidence) = &mut claim.verdict {
            evidence.numbers.iter_mut().for_each(|number| number.value = f64::INFINITY);
        }
    }
    let report: serde_json::Value = serde_json::from_str(&json::render(&record).unwrap()).unwrap();
    assert!(report["claims"][0]["numbers"][0]["value"].is_null());
    assert!(terminal::render(&record, 120, false).contains("unbounded"));
}

#[test]
fn the_page_stands_alone() {
    let page = html::render(&sample()).unwrap();
    assert!(!page.contains("<script") && !page.contains("<link") && !page.contains("<img"));
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("src=\""));
    let outside: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..at + 26]).collect();
    assert!(
        outside.iter().all(|link| link.starts_with("http://www.w3.org/2000/svg") || link.starts_with("http-equiv"))
    );
    for claim in &sample().claims {
        let id = claim.id.as_str().replace('/', "&#x2f;");
        assert!(page.contains(&format!("id=\"{id}\"")), "{id} is there");
    }
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("<details class=\"claim\"").count(), 8);
    let outline: Vec<&str> =
        page.lines().filter(|line| line.starts_with("<h") || line.starts_with("<summary")).collect();
    insta::assert_snapshot!("html_outline", outline.join("\n"));
}

#[test]
fn hostile_words_stay_in_their_place() {
    let mut record = sample();
    record.deployment.name = HOSTILE.to_owned();
    record.environment.push(HOSTILE.to_owned());
    for claim in &mut record.claims {
        claim.statement = HOSTILE.to_owned();
        claim.repeat = HOSTILE.to_owned();
    }
    for ran in &mut record.experiments {
        ran.name = HOSTILE.to_owned();
        ran.series.phases.iter_mut().chain(&mut ran.series.faults).for_each(|band| band.name = HOSTILE.to_owned());
    }
    let page = html::render(&record).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img"));
    // Code spans show what they hold; outside of them (escaped backticks are none) nothing may be HTML.
    let summary = markdown::render(&record).replace("\\`", "");
    assert!(!summary.split('`').step_by(2).any(|outside| outside.contains("<img") || outside.contains("<script")));
    assert!(!terminal::render(&record, 100, false).contains('\u{1b}'));
    assert!(!junit::render(&record).unwrap().contains("<script"));
}

#[test]
fn a_summary_fits_into_a_step() {
    let mut record = sample();
    let one = record.claims[3].clone();
    record.claims = vec![one; 4000];
    let text = markdown::render(&record);
    assert!(text.len() <= markdown::LIMIT);
    assert!(text.contains("did not fit"));
}

#[test]
fn headlines() {
    assert_eq!(summary::headline(&sample()), "Not certified: 1 of 6 judged claims is broken (QUO-01).");
    let good = ["CFG-01", "LAT-01", "QUO-03"];
    let certified = only(&good, 3, 1.0);
    assert_eq!(certified.result, RunResult::Certified);
    assert_eq!(summary::headline(&certified), "Certified: all 3 judged claims stand as `flex-managed` declares.");
    assert_eq!(
        summary::headline(&only(&good, 3, 0.1)),
        "As declared at scale 0.1: not a certificate. All 3 judged claims stand as `flex-managed` declares; only scale 1 certifies."
    );
    assert_eq!(
        summary::headline(&only(&["CFG-01", "CFG-02/b"], 3, 1.0)),
        "Inconclusive: only 1 claim was judged, the profile needs 3; 1 of 2 applicable claims could not be judged (CFG-02/b)."
    );
    assert_eq!(summary::headline(&only(&[], 0, 1.0)), "Inconclusive: nothing was judged.");
}

#[test]
fn an_empty_run_has_all_reports_and_is_not_green() {
    let mut record = only(&[], 0, 1.0);
    record.experiments.clear();
    assert_eq!(files(&record).unwrap().len(), 4);
    assert!(junit::render(&record).unwrap().contains("<error "));
}

/// Every report for people and the one for programs say what came of the shrinking; its words stay in their place.
#[test]
fn the_smallest_schedule_is_named_with_the_command_that_runs_it() {
    let mut record = sample();
    record.shrunk = vec![Shrunk {
        claim: ClaimId::new("QUO-01"),
        outcome: format!("1 of 4 steps: store-loss: slow {HOSTILE}"),
        file: Some("schedule-QUO-01.yaml".to_owned()),
        command: "gatecrash certify --schedule out/schedule-QUO-01.yaml".to_owned(),
        tries: Vec::new(),
    }];
    let reports = [
        terminal::render(&record, 80, false),
        markdown::render(&record),
        html::render(&record).unwrap(),
        json::render(&record).unwrap(),
    ];
    for report in reports {
        // HTML writes the slash in another way.
        let report = report.replace("&#x2f;", "/");
        assert!(report.contains("gatecrash certify --schedule out/schedule-QUO-01.yaml"), "{report}");
    }
    // What a terminal would take for a command.
    assert!(!terminal::render(&record, 80, false).contains('\u{1b}'));
    assert!(!html::render(&record).unwrap().contains("slow </script>"));
    assert!(!markdown::render(&record).contains("slow </script>"));
    let schema = serde_json::from_str(include_str!("../schema/report-1.0.json")).unwrap();
    let report = serde_json::from_str(&json::render(&record).unwrap()).unwrap();
    jsonschema::validate(&schema, &report).unwrap();
}
