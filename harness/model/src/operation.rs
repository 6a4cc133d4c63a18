//! One checked request: what was asked ([`Operation`]), whether it happened ([`Effect`]) and what
//! the client saw ([`Answer`]). Safety claims read effects and arrivals, availability and latency
//! claims read answers.
//!
//! Types are generic over the name: `Name` in memory, text on disk.

use serde::{Deserialize, Serialize};

/// What an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// A request for a route of the gateway; its arrival at the upstream is its admission.
    Call,
    /// A token is asked for (RFC 6749 section 4.4).
    IssueToken,
    /// A token is revoked (RFC 7009).
    RevokeToken,
    /// A configuration is published at the control plane.
    Publish,
    /// A contract is added or removed at the control plane.
    ChangeContract,
    /// A replica registers at the control plane.
    Register,
    /// A replica fetches its configuration or contracts.
    Fetch,
    /// Readiness is asked for.
    Ready,
    /// Liveness is asked for.
    Live,
}

/// What the request carries, and so what must happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// A credential that is good.
    Valid,
    /// None at all.
    Missing,
    /// A token past `exp` by more than any leeway.
    Expired,
    /// A token that claims `alg: none`.
    AlgNone,
    /// A token signed with another secret.
    Forged,
    /// A client id that no contract knows.
    UnknownClient,
    /// A client whose contract was removed.
    RemovedClient,
    /// A token that was revoked.
    Revoked,
    /// A token of a site with other signing material.
    OtherMaterial,
    /// The route needs none.
    NotNeeded,
}

impl Credential {
    /// Whether a request with this credential must never reach the upstream, at any time.
    #[must_use]
    pub fn must_refuse(self) -> bool {
        match self {
            Self::Missing | Self::Expired | Self::AlgNone | Self::Forged | Self::UnknownClient => true,
            Self::Valid | Self::NotNeeded | Self::RemovedClient | Self::Revoked | Self::OtherMaterial => false,
        }
    }
}

/// One checked request as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<N> {
    /// Which stream of requests this belongs to: one of [`stream`], or an experiment's own.
    pub stream: N,
    /// What is asked.
    pub verb: Verb,
    /// The component that was addressed: a replica (`eu-1`), an ingress (`eu-ingress`), `control-plane`.
    pub target: N,
    /// The site of the target; empty for what has none.
    pub site: N,
    /// Name of the route; empty for what is no call.
    pub route: N,
    /// Who asks: the client id, and so the quota key.
    pub key: N,
    /// Digest of the token used, made or revoked; empty if none.
    pub token: N,
    /// What the request carries.
    pub credential: Credential,
}

/// The streams that more than one claim reads.
pub mod stream {
    /// Open-loop background traffic with valid credentials on unmetered routes.
    pub const TRAFFIC: &str = "traffic";
    /// Requests that must be refused, aimed at replicas directly, on unmetered keys, in every experiment.
    pub const MUST_REFUSE: &str = "must-refuse";
    /// Valid clients on contract routes, aimed at replicas directly (the other half of CON-03).
    pub const CONTRACT: &str = "contract";
    /// Requests that spend quota.
    pub const QUOTA: &str = "quota";
    /// Policy canaries: one request for each policy with its expected answer.
    pub const CANARY: &str = "canary";
    /// What is asked of token and revocation endpoints, and the uses that check it.
    pub const TOKEN: &str = "token";
    /// Requests for what a cache may keep: an answer need not arrive at an upstream, and its body says for which operation it was made.
    pub const CACHED: &str = "cached";
    /// Requests that pass no gateway and no fault: how fast the machine is.
    pub const CALIBRATION: &str = "calibration";
    /// Readiness and liveness of replicas, asked at their own addresses.
    pub const HEALTH: &str = "health";
    /// Management operations: publish, register, fetch.
    pub const MANAGEMENT: &str = "management";
}

/// Whether the operation happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "effect", content = "why")]
pub enum Effect {
    /// It took effect.
    Ok,
    /// It certainly did not.
    Failed(Definite),
    /// Nobody can tell. When in doubt, this.
    Unknown(Indefinite),
}

/// Why an operation certainly did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Definite {
    /// The connection was refused; no byte left.
    Refused,
    /// No connection within the time allowed; no byte left.
    ConnectTimeout,
    /// The gateway answered that it rejects the request (401, 403, 429, its own reject status, 404, other 4xx).
    Rejected,
}

/// Why nobody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Indefinite {
    /// No answer within the time allowed after the first byte left.
    Timeout,
    /// The connection broke after the first byte left, or in the middle of the answer.
    Broken,
    /// The gateway itself answered 5xx: what happened behind it is not known.
    GatewayError,
    /// The answer was not HTTP, or not whole.
    Malformed,
    /// The harness stopped before an answer came.
    Abandoned,
}

/// What the client saw. All zero and empty when nothing came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<N> {
    /// HTTP status; 0 if none came.
    #[serde(default)]
    pub status: u16,
    /// Replica that answered, from the adapter's replica header; empty if it did not say.
    pub replica: N,
    /// Version of the configuration that answered, from the adapter's version header; 0 if it did not say.
    #[serde(default)]
    pub version: u32,
    /// Time of the first byte, in microseconds after the invocation; 0 if none came.
    #[serde(default)]
    pub first_byte_us: u32,
}

impl<N> Answer<N> {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}
