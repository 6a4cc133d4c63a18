//! DRN: does a replica end, restart and start without losing a request?

mod failures;
mod readiness;
mod rolling;
mod stop;
#[cfg(test)]
mod tests;

pub(crate) use failures::Failures;

use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Name of the experiment that ends replicas with SIGTERM while they are used in every way.
pub(crate) const DRAIN: &str = "drain";

/// Name of the experiment that starts a replica while the control plane is slow or sends half a configuration.
pub(crate) const READINESS: &str = "ready-means-serving";

/// Name of the experiment that restarts all replicas, one after the other, over and over.
pub(crate) const ROLLING: &str = "rolling-restart";

/// Stream: open-loop requests through the ingresses while replicas restart.
pub(crate) const ROLLED: &str = "rolling";
/// Stream: requests through the ingresses that their upstream answers late, while replicas restart.
pub(crate) const ROLLED_SLOW: &str = "rolling-slow";
/// Stream: a token that was issued before the restarts, used at each replica after its own.
pub(crate) const ROLLED_TOKEN: &str = "rolling-token";
/// Stream: a quota that was spent before the restarts, asked for at each replica after its own.
pub(crate) const ROLLED_QUOTA: &str = "rolling-quota";
/// Mark: this key's quota window began, and its quota is spent; value: milliseconds for which it must stay so.
pub(crate) const SPENT_MS: &str = "quota-spent-ms";

/// Stream: requests that their upstream answers late, sent before SIGTERM.
pub(crate) const IN_FLIGHT: &str = "drain-in-flight";
/// Stream: requests to the replica that ends, each on a connection of its own.
pub(crate) const FRESH: &str = "drain-fresh";
/// Stream: requests to the replica that ends over connections that are kept alive.
pub(crate) const KEEP_ALIVE: &str = "drain-keep-alive";
/// Stream: open-loop requests through the ingress of its site.
pub(crate) const INGRESS: &str = "drain-ingress";

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[DRN_01, DRN_02, DRN_03];

const fn window(name: &'static str, seconds: f64, help: &'static str) -> Parameter {
    Parameter { name, default: Some(Value::Seconds(seconds)), min: 0.1, max: 3600.0, words: &[], help }
}

const DRN_01: Claim = Claim {
    id: "DRN-01",
    statement: "on SIGTERM a replica is unready at once, accepts until it is withdrawn, finishes what is in flight, tells its clients to close, and exits before it would be killed",
    source: "Flex: drain 25 s, stop 30 s; claims.md section 3, rows 63, 64, 65",
    level: Level::Core,
    parameters: &[
        window(
            "unready",
            1.0,
            "from SIGTERM to readiness being false, and to answers that tell clients to close (default: ours)",
        ),
        window(
            "detection",
            2.0,
            "from SIGTERM on, connections are accepted for this long: probe period x threshold of the load balancer (default: 1 s x 2, as the ingress of the harness has it)",
        ),
        window("stop", 30.0, "from SIGTERM to the end of the process: later it would be killed (default: Flex)"),
    ],
    needs: &[Capability::ReplicaFaults],
    reads: Reads::Experiments(&[DRAIN]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: stop::MINIMUM,
    check: stop::drn_01,
};

const DRN_02: Claim = Claim {
    id: "DRN-02",
    statement: "a rolling restart loses no request and no state: tokens stay valid, spent quotas stay spent",
    source: "seeds I11, M1; claims.md section 3, rows 1, 63",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "requests",
            default: Some(Value::Number(20_000.0)),
            min: 1_000.0,
            max: 10_000_000.0,
            words: &[],
            help: "requests during the restarts, at least, at scale 1; at a smaller scale that share of them, and 1,000 at least: the report prints how many there were, and 3/n as the upper bound (default: ours)",
        },
        Parameter {
            name: "budget",
            default: Some(Value::Number(0.0)),
            min: 0.0,
            max: 1_000_000.0,
            words: &[],
            help: "requests that may fail (default: none)",
        },
    ],
    needs: &[Capability::ReplicaFaults, Capability::TwoReplicas],
    reads: Reads::Experiments(&[ROLLING]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: rolling::MINIMUM,
    check: rolling::drn_02,
};

const DRN_03: Claim = Claim {
    id: "DRN-03",
    statement: "a replica that is not fully configured gets no traffic: from the moment at which it is ready, every route gives its right answers",
    source: "Flex readiness; claims.md section 3, rows 1, 2, 3",
    level: Level::Core,
    parameters: &[window(
        "after",
        30.0,
        "from the moment at which a replica is seen ready its answers are judged for this long; what an API with contracts refuses before its contracts came is CON-01's matter (default: ours)",
    )],
    needs: &[Capability::ControlPlane, Capability::ReplicaFaults],
    reads: Reads::Experiments(&[READINESS]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: readiness::MINIMUM,
    check: readiness::drn_03,
};
