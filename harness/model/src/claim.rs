//! A claim: one checkable sentence with a source, its parameters, what it needs, which
//! experiments' histories it reads, and the check itself.
//!
//! The check is synchronous, total and deterministic; it does no I/O and never panics.

use crate::deployment::Deployment;
use crate::history::History;
use crate::verdict::{Reason, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Id of a claim or of a variant of one: `QUO-01`, `CFG-02/b`. Never re-used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct ClaimId(pub String);

impl ClaimId {
    /// The id with this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The three letters of the family: `QUO`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Must or may: what a core profile cannot leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Every profile must judge it, or say why it is not about the product.
    Core,
    /// May be left out.
    Extended,
}

impl Level {
    /// `core` or `extended`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Extended => "extended",
        }
    }
}

/// What a deployment, its adapter or the runtime must be able to do for a claim to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// The gateway checks tokens (bearer JWT with a shared secret).
    Tokens,
    /// The gateway issues tokens itself.
    TokenIssue,
    /// The gateway can be re-keyed.
    TokenRekey,
    /// Tokens can be revoked at a replica.
    TokenRevocation,
    /// The gateway asks the identity provider about tokens: its setting `revocation` is `introspection`.
    TokenIntrospection,
    /// Tokens can be revoked somewhere: at a replica, or at the identity provider that the gateway asks.
    RevocableTokens,
    /// The gateway can check tokens with the keys that the identity provider publishes: its adapter has the settings `tokens` and `jwksTtlS`.
    PublishedKeys,
    /// A replica can be given a clock that is off: its adapter has the setting `clockOffsetMs`.
    ClockOffset,
    /// A replica's concurrency can be bounded: its adapter has the settings `concurrency` and `queue`.
    Concurrency,
    /// A replica can be small or large: its adapter has the setting `size`, and its concurrency can be bounded.
    Sizes,
    /// A route can have its backend in another site: the gateway's adapter has the setting `remoteBackend`.
    RemoteBackend,
    /// The gateway keeps responses and serves them again: its setting `cache` is there, and is not `off`.
    HttpCache,
    /// The gateway counts quota.
    Quota,
    /// There is a shared store that counts quota and can fail.
    SharedStore,
    /// The shared store has a second node, to which it fails over.
    StoreFailover,
    /// The gateways of all sites are one group, which keeps what they share.
    Peering,
    /// There are at least two sites.
    TwoSites,
    /// A site has at least two replicas.
    TwoReplicas,
    /// A platform replaces replicas that are lost.
    Platform,
    /// Gateways tell an analytics of their own site of each call: the deployment has `analytics`.
    Analytics,
    /// The gateway takes its configuration from the control plane.
    ControlPlane,
    /// The gateway answers with the version of its configuration.
    ConfigurationVersion,
    /// The gateway can be started with its configuration kept locally, and without.
    ConfigurationChoice,
    /// The gateway enforces client ids by contracts.
    Contracts,
    /// The runtime can kill, pause and restart replicas.
    ReplicaFaults,
    /// The runtime can wipe a replica's local disk and start a brand-new replica.
    ReplicaDisk,
    /// A brand-new replica can join: the runtime can start one, and the gateways are no group, whose voters are fixed.
    NewReplicas,
    /// The runtime can fault links.
    NetworkFaults,
    /// The runtime can press on the processor of a replica: it may make control groups.
    ProcessorPressure,
}

/// A parameter of a claim: `quo_01.window`, with its default and legal range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Name without the claim: `window`.
    pub name: &'static str,
    /// Default; `None` means that no vendor documents it and the profile must say it, or the claim is not applicable.
    pub default: Option<Value>,
    /// Least legal value, in the unit of `default`.
    pub min: f64,
    /// Greatest legal value.
    pub max: f64,
    /// Legal words, for a parameter that is a word; empty otherwise.
    pub words: &'static [&'static str],
    /// One line of help, with the source of the default.
    pub help: &'static str,
}

/// A parameter's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A window or other time span in seconds: multiplied by `--scale`.
    Seconds(f64),
    /// A latency in milliseconds: never scaled.
    Millis(f64),
    /// A plain number, ratio or count: never scaled.
    Number(f64),
    /// One of the legal words.
    Word(&'static str),
}

/// Parameters of one claim, resolved: profile over default, scaled where they are windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Numbers by name: seconds for windows, milliseconds for latencies.
    pub numbers: BTreeMap<String, f64>,
    /// Words by name.
    pub words: BTreeMap<String, String>,
}

impl Parameters {
    /// The number called `name`; 0 if there is none (claims declare all that they read, a test holds that).
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    /// The window called `name`.
    #[must_use]
    pub fn duration(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.number(name)).unwrap_or_default()
    }

    /// The latency called `name`.
    #[must_use]
    pub fn latency(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.number(name) / 1000.0).unwrap_or_default()
    }

    /// The word called `name`; empty if there is none.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        self.words.get(name).map_or("", String::as_str)
    }
}

/// Which histories a claim reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Those of these experiments.
    Experiments(&'static [&'static str]),
    /// Every history (safety claims).
    Every,
}

/// What a violation is worth that was seen on a machine which could not carry the experiment (stood still for half a second, or again and again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBusyMachine {
    /// It stands: the claim counts what must never happen, whenever, or looks for stalls in each of its windows itself.
    Stands,
    /// It may be the machine's: the claim judges times, and is inconclusive then.
    Excused,
}

/// What a check is given: histories in plan order, the resolved parameters, the deployment.
pub struct Scope<'a> {
    /// Resolved parameters.
    pub parameters: &'a Parameters,
    /// What was under test.
    pub deployment: &'a Deployment,
    /// `--scale`.
    pub scale: f64,
    /// Histories that the claim reads, in plan order. An experiment that did not run is missing.
    pub histories: &'a [&'a History],
}

impl Scope<'_> {
    /// The history of `experiment`, or why the claim cannot be judged.
    ///
    /// # Errors
    /// `not-run` if there is no such history.
    pub fn history(&self, experiment: &str) -> Result<&History, Verdict> {
        self.histories.iter().find(|history| history.experiment() == experiment).copied().ok_or_else(|| {
            Verdict::Inconclusive(Reason::new("not-run", format!("experiment `{experiment}` has no history")))
        })
    }
}

/// One checkable sentence.
#[derive(Clone, Copy)]
pub struct Claim {
    /// `QUO-01`, or `CFG-02/b` for a variant that is declared separately.
    pub id: &'static str,
    /// The observable statement.
    pub statement: &'static str,
    /// Where it comes from: seed sentence, vendor page, RFC section, issue row.
    pub source: &'static str,
    /// Must or may.
    pub level: Level,
    /// Parameters with defaults and ranges.
    pub parameters: &'static [Parameter],
    /// What must be there for it to apply.
    pub needs: &'static [Capability],
    /// Which histories it reads.
    pub reads: Reads,
    /// What a busy machine makes of a violation.
    pub on_busy_machine: OnBusyMachine,
    /// Least number of observations for `holds`.
    pub minimum: u64,
    /// The check.
    pub check: fn(&Scope<'_>) -> Verdict,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Claim {
    /// The id as a [`ClaimId`].
    #[must_use]
    pub fn claim_id(&self) -> ClaimId {
        ClaimId::new(self.id)
    }
}
