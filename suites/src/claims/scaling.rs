//! SCL: does a cluster keep what it promises while it grows and shrinks?

mod steps;
#[cfg(test)]
mod tests;

use super::quota::SYNC_INTERVAL;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Name of the experiment that adds a replica to a cluster and takes it away again, in one window of a quota.
pub(crate) const SCALING: &str = "scaling";
/// Stream: open-loop requests through the ingress meanwhile.
pub(crate) const SCALED: &str = "scaled";
/// Stream: requests through the ingress that their upstream answers late.
pub(crate) const SCALED_SLOW: &str = "scaled-slow";
/// Stream: a token from before, used at the new replica.
pub(crate) const SCALED_TOKEN: &str = "scaled-token";
/// Stream: a token that was revoked before, used at the new replica.
pub(crate) const SCALED_REVOKED: &str = "scaled-revoked";
/// Mark: this replica (subject) is new, and in rotation.
pub(crate) const ADDED: &str = "replica-added";
/// Mark: this replica (subject) was asked to end, and is gone.
pub(crate) const REMOVED: &str = "replica-removed";

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[SCL_03];

const SCL_03: Claim = Claim {
    id: "SCL-03",
    statement: "a replica that is added and one that is taken away change nothing for clients: the quota of the window stays one, tokens and revocations hold at the new one, and no request fails",
    source: "claims.md section 5 (SCL-03); documentation of KrakenD and Tyk: limits that are divided by the number of replicas",
    level: Level::Extended,
    parameters: &[
        SYNC_INTERVAL,
        Parameter {
            name: "budget",
            default: Some(Value::Number(0.0)),
            min: 0.0,
            max: 1_000_000.0,
            words: &[],
            help: "requests that may fail (default: that of DRN-01)",
        },
    ],
    needs: &[Capability::Quota, Capability::TwoReplicas, Capability::ReplicaFaults],
    reads: Reads::Experiments(&[SCALING]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: steps::MINIMUM,
    check: steps::scl_03,
};
