//! SCL: does a cluster keep what it promises while it grows and shrinks?

mod auto;
#[cfg(test)]
mod auto_tests;
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

/// Name of the experiment in which replicas are kept busy until a platform adds one.
pub(crate) const AUTOSCALING: &str = "autoscaling";
/// Steps of it: with the control plane there, and with it away.
pub(crate) const THERE: &str = "control-plane-there";
pub(crate) const AWAY: &str = "control-plane-away";
/// Stream: requests through the ingress that keep replicas busy.
pub(crate) const BUSY: &str = "busy";
/// Mark: the replicas of this site (subject) use this share of what they request (value: percent), or are more already.
pub(crate) const LOADED: &str = "load-reached";
/// Mark: more requests there will not be, and the replicas of this site (subject) use no more than this share of what they request (value: percent).
pub(crate) const LOAD_SHORT: &str = "load-short";

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[SCL_01, SCL_02, SCL_03];

const SCL_01: Claim = Claim {
    id: "SCL-01",
    statement: "busy replicas get one more, in a zone of its own, without errors while it joins, and never more than there may be; without the load there are as few as before",
    source: "seed M13 (Large: up to three replicas over three zones, by CPU), I18 and I21 (DataPower on Linux: no Kubernetes facilities); Kong issues 6935 and 13076",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "maximum",
            default: Some(Value::Number(3.0)),
            min: 1.0,
            max: 64.0,
            words: &[],
            help: "replicas that a site may have (default: that of a Large managed Flex Gateway)",
        },
        Parameter {
            name: "out",
            default: Some(Value::Seconds(180.0)),
            min: 1.0,
            max: 3600.0,
            words: &[],
            help: "from busy replicas to one more that serves (default: ours; no vendor says how long)",
        },
        Parameter {
            name: "in",
            default: Some(Value::Seconds(600.0)),
            min: 1.0,
            max: 7200.0,
            words: &[],
            help: "from the end of the load to as few as before (default: ours; twice what a Kubernetes autoscaler waits)",
        },
        Parameter {
            name: "errors",
            default: Some(Value::Number(0.01)),
            min: 0.0,
            max: 1.0,
            words: &[],
            help: "share of the requests that may fail while a replica joins (default: ours)",
        },
    ],
    needs: &[Capability::ReplicaFaults],
    reads: Reads::Experiments(&[AUTOSCALING]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: auto::MINIMUM,
    check: auto::scl_01,
};

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
