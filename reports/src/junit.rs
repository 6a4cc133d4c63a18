//! What does continuous integration read? `junit.xml`: a suite for each claim family, a case for each claim.
//!
//! JUnit knows four ends. A broken claim is a failure; an inconclusive one an error, since doubt is no success;
//! one that does not apply is skipped, with the reason. All others are successes, and what a success hides
//! (a confirmed limit with its size, a better product than documented, a marginal timing) is a property and in the
//! case's output. The suite `run` holds the run's own result, so that a run that judged too little is never green.

use crate::Error;
use crate::summary;
use gatecrash_model::run_record::{ClaimRecord, RunRecord, RunResult};
use gatecrash_model::verdict::{Standing, Verdict};
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// The text of `junit.xml`.
///
/// # Errors
/// If the XML cannot be written; texts with characters that XML lacks are cleaned, not refused.
pub fn render(record: &RunRecord) -> Result<String, Error> {
    let mut report = Report::new(format!("gatecrash {} {}", record.deployment.name, record.profile));
    report.set_time(Duration::from_millis(record.wall_ms));
    report.add_test_suite(run_suite(record));
    let mut families: Vec<&str> = Vec::new();
    for claim in &record.claims {
        if !families.contains(&claim.id.family()) {
            families.push(claim.id.family());
        }
    }
    for family in families {
        let mut suite = TestSuite::new(format!("{family} {}", summary::family(family)));
        for claim in record.claims.iter().filter(|claim| claim.id.family() == family) {
            suite.add_test_case(case(claim));
        }
        report.add_test_suite(suite);
    }
    report.to_string().map_err(Error::Junit)
}

fn run_suite(record: &RunRecord) -> TestSuite {
    let mut suite = TestSuite::new("run");
    let properties: [(&str, String); 9] = [
        ("result", record.result.as_str().to_owned()),
        ("seed", record.seed.0.to_string()),
        ("runtime", record.runtime.clone()),
        ("scale", summary::amount(record.scale)),
        ("run", record.run.clone()),
        ("deployment", record.deployment.name.clone()),
        ("profile", record.profile.clone()),
        ("gatecrash", record.gatecrash.clone()),
        ("started", record.started.clone()),
    ];
    suite.add_properties(properties.into_iter().map(|(name, value)| Property::new(name, value)));
    for sentence in &record.environment {
        suite.add_property(Property::new("environment", sentence.as_str()));
    }
    let headline = summary::headline(record);
    let status = match record.result {
        RunResult::Certified | RunResult::AsDeclaredScaled => TestCaseStatus::success(),
        RunResult::NotCertified => ended(NonSuccessKind::Failure, record.result.as_str(), &headline, &headline),
        RunResult::Inconclusive => ended(NonSuccessKind::Error, record.result.as_str(), &headline, &headline),
    };
    let mut case = TestCase::new("result", status);
    case.set_classname("gatecrash.run");
    case.set_time(Duration::from_millis(record.wall_ms));
    case.set_system_out(format!("{headline}\n{}\n", summary::denominator(record)));
    suite.add_test_case(case);
    suite
}

fn ended(kind: NonSuccessKind, code: &str, message: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(code).set_message(message).set_description(text);
    status
}

fn case(claim: &ClaimRecord) -> TestCase {
    let details = details(claim);
    let status = match claim.standing {
        Standing::Pass | Standing::LimitConfirmed | Standing::Stricter => TestCaseStatus::success(),
        Standing::Fail => {
            ended(NonSuccessKind::Failure, claim.standing.as_str(), &summary::explanation(claim), &details)
        }
        Standing::Inconclusive => {
            ended(NonSuccessKind::Error, reason_code(claim), &summary::explanation(claim), &details)
        }
        Standing::NotApplicable => {
            let mut status = TestCaseStatus::skipped();
            status.set_type(reason_code(claim)).set_message(summary::not_applicable_because(claim));
            status
        }
    };
    let mut case = TestCase::new(format!("{} {}", claim.id, claim.statement), status);
    case.set_classname(format!("gatecrash.{}", claim.id.family()));
    case.add_property(Property::new("declared", summary::declared(claim.declared)));
    case.add_property(Property::new("observed", summary::observed(claim.verdict.observed())));
    case.add_property(Property::new("standing", claim.standing.as_str()));
    if summary::is_marginal(claim) {
        case.add_property(Property::new("marginal", "true"));
    }
    for number in claim.verdict.numbers() {
        case.add_property(Property::new(number.name.as_str(), summary::measured(number.value, &number.unit)));
    }
    if claim.standing.is_judged() && claim.standing != Standing::Fail {
        case.set_system_out(details);
    }
    case
}

fn reason_code(claim: &ClaimRecord) -> &str {
    match &claim.verdict {
        Verdict::Inconclusive(reason) | Verdict::NotApplicable(reason) => &reason.code,
        Verdict::Holds(_) | Verdict::Violated(_) => claim.standing.as_str(),
    }
}

fn details(claim: &ClaimRecord) -> String {
    let mut lines = vec![format!("{}: {}", claim.standing.as_str(), summary::meaning(claim.standing))];
    lines.push(summary::explanation(claim));
    if let Verdict::Violated(counterexample) = &claim.verdict {
        lines.push(format!("{} observations", counterexample.samples));
        if !counterexample.events.is_empty() {
            lines.push(format!("see {}", summary::events(&counterexample.events)));
        }
    }
    lines.extend(claim.verdict.numbers().iter().map(summary::number));
    if summary::is_marginal(claim) {
        lines.push("marginal: a timing within 10 % of its limit".to_owned());
    }
    if let Verdict::Holds(evidence) = &claim.verdict {
        lines.extend(evidence.notes.iter().cloned());
    }
    if !claim.repeat.is_empty() {
        lines.push(format!("repeat: {}", claim.repeat));
    }
    lines.push(String::new());
    lines.join("\n")
}
