//! DRN: does a replica end, restart and start without losing a request?

mod failures;
mod readiness;
mod stop;
#[cfg(test)]
mod tests;

use gatecrash_model::claim::{Capability, Claim, Level, Parameter, Reads, Value};

/// Name of the experiment that ends replicas with SIGTERM while they are used in every way.
pub(crate) const DRAIN: &str = "drain";

/// Name of the experiment that starts a replica while the control plane is slow or sends half a configuration.
pub(crate) const READINESS: &str = "ready-means-serving";

/// Stream: requests that their upstream answers late, sent before SIGTERM.
pub(crate) const IN_FLIGHT: &str = "drain-in-flight";
/// Stream: requests to the replica that ends, each on a connection of its own.
pub(crate) const FRESH: &str = "drain-fresh";
/// Stream: requests to the replica that ends over connections that are kept alive.
pub(crate) const KEEP_ALIVE: &str = "drain-keep-alive";
/// Stream: open-loop requests through the ingress of its site.
pub(crate) const INGRESS: &str = "drain-ingress";

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[DRN_01, DRN_03];

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
    minimum: stop::MINIMUM,
    check: stop::drn_01,
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
    minimum: readiness::MINIMUM,
    check: readiness::drn_03,
};
