//! What does a program read of a run? `report.json`: the answer first (`result`, `seed`, `runtime`, `claims`),
//! then how it came about, then the effective deployment and the series behind the pictures.
//!
//! The shape has a version of its own, `major.minor`: a reader refuses another major and ignores what a newer
//! minor added. [`schema`] gives its JSON Schema, which is kept in `reports/schema/`.

use crate::Error;
use crate::summary::{self, Totals};
use gatecrash_model::claim::{ClaimId, Level};
use gatecrash_model::deployment::Deployment;
use gatecrash_model::profile::{Basis, Scalar};
use gatecrash_model::run_record::{ClaimRecord, Denominator, ExperimentRecord, LeftOut, RunRecord, RunResult, Shrunk};
use gatecrash_model::seed::Seed;
use gatecrash_model::verdict::{Declared, EventRef, Number, Observed, Reason, Standing, Verdict};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the shape that this writes.
pub const SCHEMA_VERSION: &str = "1.0";

/// `report.json`. Keys come in this order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "gatecrash report")]
pub struct Report<'a> {
    /// `major.minor` of this shape.
    pub schema_version: &'static str,
    /// The headline as a word.
    pub result: RunResult,
    /// Seed of the run: the whole range of an unsigned 64-bit integer, more than a double can tell apart.
    pub seed: Seed,
    /// `process`, `docker`, ...
    pub runtime: &'a str,
    /// Claim by claim, ordered by id.
    pub claims: Vec<Claim<'a>>,
    /// Judged of applicable of all.
    pub denominator: Denominator,
    /// How many claims have which standing.
    pub totals: Totals,
    /// The headline as a sentence.
    pub headline: String,
    /// Run id.
    pub run: &'a str,
    /// Version of gatecrash.
    pub gatecrash: &'a str,
    /// `--scale`; only 1 certifies.
    pub scale: f64,
    /// Why the run was cut short; null if it was not.
    pub cut_short: Option<&'a str>,
    /// Engine versions and stand-ins, one sentence each.
    pub environment: &'a [String],
    /// Wall time at the start, RFC 3339.
    pub started: &'a str,
    /// Wall time of the run in milliseconds.
    pub wall_ms: u64,
    /// Sum of the experiments' times in milliseconds.
    pub experiments_ms: u64,
    /// Name of the profile.
    pub profile: &'a str,
    /// Product of the profile.
    pub product: &'a str,
    /// Least number of judged claims of the profile.
    pub minimum_judged: u32,
    /// Effective deployment, defaults filled in, before scaling; durations are in milliseconds.
    pub deployment: &'a Deployment,
    /// What ran.
    pub experiments: &'a [ExperimentRecord],
    /// What a schedule left out of what the claims read; not there for a run of everything.
    #[serde(default, skip_serializing_if = "none")]
    pub left_out: &'a [LeftOut],
    /// What became of the violations that `--shrink` looked into; not there if it was not asked for, or none was found.
    #[serde(default, skip_serializing_if = "none")]
    pub shrunk: &'a [Shrunk],
}

/// Whether a list has nothing to say.
fn none<T>(list: &&[T]) -> bool {
    list.is_empty()
}

/// One claim.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim<'a> {
    /// `QUO-01`.
    pub id: &'a ClaimId,
    /// What the profile declares.
    pub declared: Declared,
    /// What was seen.
    pub observed: Observed,
    /// What that means.
    pub standing: Standing,
    /// Measured numbers, the deciding one first.
    pub numbers: Vec<Measurement<'a>>,
    /// What the verdict rests on.
    pub evidence: Evidence<'a>,
    /// Whether a number is a timing within 10 % of its limit.
    pub marginal: bool,
    /// The sentence that was checked.
    pub statement: &'a str,
    /// Where that sentence comes from.
    pub source: &'a str,
    /// Must or may.
    pub level: Level,
    /// Where the declaration comes from.
    pub basis: Basis,
    /// Vendor sentence behind the declaration; empty if there is none.
    pub declared_source: &'a str,
    /// What arithmetic over the topology says of the claim before anything ran; not there where that says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<&'a str>,
    /// Effective parameters.
    pub parameters: &'a BTreeMap<String, Scalar>,
    /// The experiments that the claim read.
    pub experiments: &'a [String],
    /// The command that repeats what decided the claim.
    pub repeat: &'a str,
}

/// One measured number.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement<'a> {
    /// What was measured.
    pub name: &'a str,
    /// The value in `unit`; null if it has no bound (a quantile among the unanswered).
    pub value: Option<f64>,
    /// Its unit; empty for a plain count.
    pub unit: &'a str,
    /// The limit in the same unit; null if there is none.
    pub limit: Option<f64>,
    /// A timing within 10 % of its limit.
    pub marginal: bool,
}

/// What a verdict rests on. Fields that the verdict does not have are empty.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evidence<'a> {
    /// How many observations were made; 0 where nothing could be said.
    pub samples: u64,
    /// The verdict in plain words.
    pub explanation: String,
    /// Violated: the first offending events.
    pub events: &'a [EventRef],
    /// Holds: what a reader should know.
    pub notes: &'a [String],
    /// Inconclusive or not applicable: why.
    pub reason: Option<&'a Reason>,
}

impl<'a> From<&'a Number> for Measurement<'a> {
    fn from(number: &'a Number) -> Self {
        Self {
            name: &number.name,
            value: number.value.is_finite().then_some(number.value),
            unit: &number.unit,
            limit: number.limit.filter(|limit| limit.is_finite()),
            marginal: number.marginal,
        }
    }
}

impl<'a> From<&'a ClaimRecord> for Claim<'a> {
    fn from(claim: &'a ClaimRecord) -> Self {
        let (samples, events, notes, reason): (u64, &[EventRef], &[String], Option<&Reason>) = match &claim.verdict {
            Verdict::Holds(evidence) => (evidence.samples, &[], &evidence.notes, None),
            Verdict::Violated(counterexample) => (counterexample.samples, &counterexample.events, &[], None),
            Verdict::Inconclusive(reason) | Verdict::NotApplicable(reason) => (0, &[], &[], Some(reason)),
        };
        let explanation = summary::explanation(claim);
        Self {
            id: &claim.id,
            declared: claim.declared,
            observed: claim.verdict.observed(),
            standing: claim.standing,
            numbers: claim.verdict.numbers().iter().map(Measurement::from).collect(),
            evidence: Evidence { samples, explanation, events, notes, reason },
            marginal: summary::is_marginal(claim),
            statement: &claim.statement,
            source: &claim.source,
            level: claim.level,
            basis: claim.basis,
            declared_source: &claim.declared_source,
            predicted: claim.predicted.as_deref(),
            parameters: &claim.parameters,
            experiments: &claim.experiments,
            repeat: &claim.repeat,
        }
    }
}

impl<'a> From<&'a RunRecord> for Report<'a> {
    fn from(record: &'a RunRecord) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            result: record.result,
            seed: record.seed,
            runtime: &record.runtime,
            claims: record.claims.iter().map(Claim::from).collect(),
            denominator: record.denominator,
            totals: Totals::of(&record.claims),
            headline: summary::headline(record),
            run: &record.run,
            gatecrash: &record.gatecrash,
            scale: record.scale,
            cut_short: record.cut_short.as_deref(),
            environment: &record.environment,
            started: &record.started,
            wall_ms: record.wall_ms,
            experiments_ms: record.experiments_ms,
            profile: &record.profile,
            product: &record.product,
            minimum_judged: record.minimum_judged,
            deployment: &record.deployment,
            experiments: &record.experiments,
            left_out: &record.left_out,
            shrunk: &record.shrunk,
        }
    }
}

/// The text of `report.json`, with a newline at its end.
///
/// # Errors
/// None that a record can cause: numbers that JSON cannot write become null.
pub fn render(record: &RunRecord) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(&Report::from(record)).map_err(Error::Json)?;
    text.push('\n');
    Ok(text)
}

/// The JSON Schema (draft 2020-12) of `report.json`, with a newline at its end.
///
/// # Errors
/// None in practice: a schema is plain JSON.
pub fn schema() -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(Report<'_>)).map_err(Error::Json)?;
    text.push('\n');
    Ok(text)
}
