//! Everything that a report may say of a run: RunRecord in, bytes out.

use crate::claim::{ClaimId, Level};
use crate::deployment::Deployment;
use crate::profile::{Basis, Scalar};
use crate::seed::Seed;
use crate::series::Series;
use crate::verdict::{Declared, Standing, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run: what was certified, how, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// `major.minor` of this record.
    pub schema_version: String,
    /// The headline.
    pub result: RunResult,
    /// Seed of the run.
    pub seed: Seed,
    /// `process` or `docker`.
    pub runtime: String,
    /// Claim by claim, ordered by id.
    pub claims: Vec<ClaimRecord>,
    /// Judged of applicable of all.
    pub denominator: Denominator,
    /// Run id: the name of its folder.
    pub run: String,
    /// Version of gatecrash.
    pub gatecrash: String,
    /// `--scale`; only 1 certifies.
    pub scale: f64,
    /// Why the run was cut short, if it was: `interrupted`, `disk-full`.
    #[serde(default)]
    pub cut_short: Option<String>,
    /// Engine and API version for `docker`, and which stand-ins ran (`store: stub`), one sentence each.
    pub environment: Vec<String>,
    /// Wall time at the start, RFC 3339, and the wall and summed experiment times.
    pub started: String,
    /// Wall time of the run in milliseconds.
    pub wall_ms: u64,
    /// Sum of the experiments' times in milliseconds.
    pub experiments_ms: u64,
    /// Effective deployment, with defaults filled in, as it was before scaling.
    pub deployment: Deployment,
    /// Name of the profile.
    pub profile: String,
    /// Product of the profile.
    pub product: String,
    /// Least number of judged claims of the profile.
    pub minimum_judged: u32,
    /// What ran.
    pub experiments: Vec<ExperimentRecord>,
    /// What a schedule left out of what the claims read; empty for a run of everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What became of the violations that `--shrink` looked into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shrunk: Vec<Shrunk>,
}

/// The headline of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Everything as declared, at scale 1.
    Certified,
    /// Everything as declared, scaled: not a certificate.
    AsDeclaredScaled,
    /// A claim that is declared to hold was broken.
    NotCertified,
    /// Too little was judged.
    Inconclusive,
}

impl RunResult {
    /// As printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certified => "certified",
            Self::AsDeclaredScaled => "as-declared-scaled",
            Self::NotCertified => "not-certified",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// The headline over all standings: a fail, then too few judged or any inconclusive, then as declared.
    #[must_use]
    pub fn of(standings: &[Standing], minimum_judged: u32, scale: f64, cut_short: bool) -> Self {
        if standings.contains(&Standing::Fail) {
            return Self::NotCertified;
        }
        let judged = standings.iter().filter(|standing| standing.is_judged()).count();
        let enough = judged > 0 && judged >= usize::try_from(minimum_judged).unwrap_or(usize::MAX);
        if !enough || cut_short || standings.contains(&Standing::Inconclusive) {
            return Self::Inconclusive;
        }
        if (scale - 1.0).abs() < f64::EPSILON { Self::Certified } else { Self::AsDeclaredScaled }
    }
}

impl RunRecord {
    /// Why a run was cut short that somebody interrupted.
    pub const INTERRUPTED: &'static str = "interrupted";

    /// Somebody interrupted it after everything was told: what it broke is broken, and no certificate comes of it.
    pub fn interrupt(&mut self) {
        self.cut_short = Some(Self::INTERRUPTED.to_owned());
        if matches!(self.result, RunResult::Certified | RunResult::AsDeclaredScaled) {
            self.result = RunResult::Inconclusive;
        }
    }
}

/// Judged of applicable of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Denominator {
    /// Claims with a verdict that says something.
    pub judged: u32,
    /// Claims that apply to this profile, deployment and runtime.
    pub applicable: u32,
    /// Claims that there are.
    pub all: u32,
}

/// One claim of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRecord {
    /// Id.
    pub id: ClaimId,
    /// Statement.
    pub statement: String,
    /// Source of the claim.
    pub source: String,
    /// Level.
    pub level: Level,
    /// What the profile declares.
    pub declared: Declared,
    /// Where the declaration comes from.
    pub basis: Basis,
    /// Vendor sentence behind the declaration; empty if none.
    pub declared_source: String,
    /// What was observed, with its evidence.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What that means.
    pub standing: Standing,
    /// What arithmetic over the topology says of it before anything ran; `None` where that says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<String>,
    /// Effective parameters.
    pub parameters: BTreeMap<String, Scalar>,
    /// The experiments that it read.
    pub experiments: Vec<String>,
    /// The command that repeats what decided this claim.
    pub repeat: String,
}

/// One experiment of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentRecord {
    /// Name.
    pub name: String,
    /// One sentence: the story.
    pub story: String,
    /// History file, relative to the run's folder: `history-<name>.jsonl`.
    pub history: String,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
    /// Events recorded.
    pub events: u64,
    /// Why it did not run to its end, if it did not.
    #[serde(default)]
    pub problem: Option<String>,
    /// What the pictures show.
    pub series: Series,
}

/// What a schedule left out of an experiment that a claim reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// Name of the experiment.
    pub experiment: String,
    /// The steps that did not run; empty if the experiment did not run at all.
    pub steps: Vec<String>,
}

/// What became of a violation when a smallest schedule was looked for that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shrunk {
    /// The claim.
    pub claim: ClaimId,
    /// What came of it, in a sentence: how small, or why not.
    pub outcome: String,
    /// File with the smallest schedule that failed, relative to the run's folder; none if there is none.
    pub file: Option<String>,
    /// The command that runs it; empty if there is none.
    pub command: String,
    /// What was tried, in order.
    pub tries: Vec<Try>,
}

/// One try of a reduction: a run of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Try {
    /// What ran: `store-loss: refuse, slow`.
    pub ran: String,
    /// What became of the claim: `violated`, `holds`, `inconclusive: ...`, or why there was no verdict.
    pub observed: String,
    /// Whether the claim was violated.
    pub failed: bool,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
}
