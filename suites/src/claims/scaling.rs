//! SCL: does a cluster keep what it promises while it grows and shrinks?

mod sizes;
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

/// Name of the experiment that asks a small and a large replica for all that they can do.
pub(crate) const SIZES: &str = "sizes";
/// Stream: requests of clients that each ask again as soon as they are answered.
pub(crate) const SATURATING: &str = "saturating";
/// Mark: this replica (subject) is small (value 0) or large (value 1).
pub(crate) const SIZE: &str = "replica-size";

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[SCL_02, SCL_03];

const SCL_02: Claim = Claim {
    id: "SCL-02",
    statement: "a large replica can do more than a small one",
    source: "seed M12 (Large: more capacity for each replica)",
    level: Level::Core,
    parameters: &[Parameter {
        name: "ratio",
        default: Some(Value::Number(1.2)),
        min: 1.0,
        max: 1000.0,
        words: &[],
        help: "times what a small one can do, on average over the runs (default: ours; no vendor says how much more)",
    }],
    needs: &[Capability::Sizes, Capability::NewReplicas],
    reads: Reads::Experiments(&[SIZES]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sizes::MINIMUM,
    check: sizes::scl_02,
};

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
    needs: &[Capability::Quota, Capability::TwoReplicas, Capability::ReplicaFaults, Capability::NewReplicas],
    reads: Reads::Experiments(&[SCALING]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: steps::MINIMUM,
    check: steps::scl_03,
};
