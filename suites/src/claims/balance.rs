//! Do replicas get equal shares: always, and again after one of them was lost? And do requests stay in the site whose backend they are for?

mod after_loss;
#[cfg(test)]
mod after_loss_tests;
mod crossings;
mod even;
mod site_local;
#[cfg(test)]
mod site_local_tests;
#[cfg(test)]
mod tests;

use crate::claims::configuration::SLO;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};
use std::time::Duration;

/// Variant of the phase `hold` in which each request has a connection of its own.
pub(crate) const NEW: &str = "new-connections";
/// Variant in which connections stay.
pub(crate) const KEPT: &str = "keep-alive";

/// Name of the experiment with routes to backends of the own site and of the next one.
pub(crate) const SITE_LOCAL: &str = "site-local-backends";
/// Stream of the requests whose backend is in the next site.
pub(crate) const REMOTE: &str = "remote";
/// Variant in which the links to the backend of the own site refuse.
pub(crate) const OWN: &str = "own";
/// Variant in which the links between sites are slow.
pub(crate) const SLOW: &str = "delay";
/// Variants in which the links between sites carry nothing.
pub(crate) const CUT: [&str; 2] = ["blackhole", "refuse"];
/// Variant in which the links between sites are as they were.
pub(crate) const HEALED: &str = "healed";

/// Name of the experiment in which a replica is lost, and all are restarted, while shares are watched.
pub(crate) const SHIFT: &str = "balance-after-loss";
/// Variant of it: all replicas were restarted, one after the other. (The other one is `losses::KILLED`.)
pub(crate) const ROLLED: &str = "rolling-restart";
/// Stream of it: each request on a connection of its own.
pub(crate) const NEW_CONNECTIONS: &str = "share-new";
/// Stream of it: requests on kept connections.
pub(crate) const KEPT_CONNECTIONS: &str = "share-kept";
/// Over how much time shares are compared: long enough for a few hundred requests. Scaled, and never less than the other.
pub(crate) const EVEN_WINDOW: Duration = Duration::from_secs(5);
pub(crate) const LEAST_WINDOW: Duration = Duration::from_secs(1);

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[BAL_01, BAL_02, BAL_03];

const BAL_01: Claim = Claim {
    id: "BAL-01",
    statement: "traffic through the ingress is even over replicas, and over zones that have as many of them, by round robin",
    source: "seeds M2, M6, I8 (K3: even by replica and by zone conflict where zones differ); claims.md section 3, rows 60, 62",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "requests",
            default: Some(Value::Number(3000.0)),
            min: 100.0,
            max: 3000.0,
            words: &[],
            help: "answered requests in each way of connecting, over all sites (default: ours)",
        },
        Parameter {
            name: "ratio",
            default: Some(Value::Number(1.1)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest share of a replica over its fair share (default: ours)",
        },
        Parameter {
            name: "p",
            default: Some(Value::Number(0.001)),
            min: 0.000_001,
            max: 0.1,
            words: &[],
            help: "chi-square test: chance of counts so uneven if all shares were alike, above this (default: ours)",
        },
    ],
    needs: &[Capability::TwoReplicas],
    reads: Reads::Experiments(&["balance"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: 100,
    check: even::bal_01,
};

const BAL_03: Claim = Claim {
    id: "BAL-03",
    statement: "a request for a backend of its own site stays in the site; slow and cut links between sites touch only the routes that need them, and those only as long as they last",
    source: "seeds I3, I10; claims.md section 3, rows 16, 45, 48",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "p95_ratio",
            default: Some(Value::Number(1.05)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest p95 of local routes in a fault over the p95 before it; 5 ms more than before always pass (default: ours)",
        },
        Parameter {
            name: "stall",
            default: Some(Value::Millis(1000.0)),
            min: 10.0,
            max: 60_000.0,
            words: &[],
            help: "longest time that a request on a local route may take in a fault (default: ours)",
        },
        Parameter {
            name: "recovers",
            default: Some(Value::Seconds(5.0)),
            min: 0.1,
            max: 3600.0,
            words: &[],
            help: "after its own backend was away, how long a gateway may still serve a local route from another site (default: ours)",
        },
    ],
    needs: &[Capability::RemoteBackend, Capability::TwoSites, Capability::NetworkFaults],
    reads: Reads::Experiments(&[SITE_LOCAL]),
    on_busy_machine: OnBusyMachine::Stands,
    minimum: site_local::MINIMUM,
    check: site_local::bal_03,
};

const BAL_02: Claim = Claim {
    id: "BAL-02",
    statement: "after the loss of a replica the others take its share for as long as it is missing, and shares are even again within T after another one is ready; after a restart of all, too",
    source: "seeds M8, M9; claims.md section 3, rows 60, 61",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "spike",
            default: Some(Value::Number(1.25)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest share of a replica while one of k is missing, over the k / (k - 1) of a fair one that it has to take (default: ours)",
        },
        Parameter {
            name: "ratio",
            default: Some(Value::Number(1.15)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest share of a replica over its fair share, for shares to be even (default: ours)",
        },
        Parameter {
            name: "recovers",
            default: Some(Value::Seconds(30.0)),
            min: 1.0,
            max: 3_600.0,
            words: &[],
            help: "T: from the readiness of the new replica until shares are even, each request on a connection of its own (default: ours)",
        },
        Parameter {
            name: "recovers_kept",
            default: Some(Value::Seconds(60.0)),
            min: 1.0,
            max: 3_600.0,
            words: &[],
            help: "T on connections that are kept (default: ours)",
        },
        Parameter {
            name: "starved",
            default: Some(Value::Number(0.5)),
            min: 0.0,
            max: 1.0,
            words: &[],
            help: "a new replica with less than this of its fair share is starved (default: ours)",
        },
        Parameter {
            name: "flooded",
            default: Some(Value::Number(1.5)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "a new replica with more than this of its fair share is flooded (default: ours)",
        },
        Parameter {
            name: "unfair",
            default: Some(Value::Seconds(10.0)),
            min: 1.0,
            max: 600.0,
            words: &[],
            help: "for how long a new replica may be starved or flooded; never held to less than 1 s (default: ours)",
        },
    ],
    needs: &[Capability::TwoReplicas, Capability::ReplicaFaults],
    reads: Reads::Experiments(&[SHIFT]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: after_loss::MINIMUM,
    check: after_loss::bal_02,
};
