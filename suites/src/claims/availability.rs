//! Does service go on when replicas, zones, sites or other components are lost, and maintenance comes on top?
//!
//! All of these read the answers that clients got: a request without one counts against service. Losses of a machine that was
//! busy are told apart by the lateness of the harness, whose requests have a second at least.

mod always;
#[cfg(test)]
mod always_tests;
#[cfg(test)]
mod component_tests;
mod components;
mod replaced;
#[cfg(test)]
mod replaced_tests;
mod seen;
mod sites;
#[cfg(test)]
mod tests;
mod zone;
#[cfg(test)]
mod zone_tests;

use super::losses::REPLICA_LOSS;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Mark: the clients of this site (subject) were moved to another (1), or back (0).
pub(crate) const MOVED: &str = "clients-moved";
/// Variant of `site-loss`: one site is killed.
pub(crate) const KILL: &str = "kill";
/// Variant of `site-loss`: the way between the sites is cut.
pub(crate) const LINK: &str = "link";
/// Variant of `double-jeopardy`: the first site is lost, the second in maintenance.
pub(crate) const FIRST_LOST: &str = "first-lost";
/// The other way round.
pub(crate) const SECOND_LOST: &str = "second-lost";
/// The first site is lost and returns in the middle of the second's maintenance.
pub(crate) const RETURNS: &str = "returns";

/// Mark: this component (subject) is lost next; the phases about it have its name as their variant.
pub(crate) const COMPONENT: &str = "lost-component";
/// Mark: this replica (subject) is in the zone that is lost next.
pub(crate) const ZONE: &str = "lost-zone";
/// Variant of `zone-loss`: nothing gets into the zone or out of it.
pub(crate) const WHOLE: &str = "zone";
/// Variant of `zone-loss`: it is cut off from the shared store only.
pub(crate) const FROM_STORE: &str = "zone-from-store";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[AVL_01, AVL_02, AVL_03, AVL_04, AVL_05, AVL_06];

/// The share of requests that must succeed: that of AVL-04 in the catalogue. Elsewhere it has 99.9 %, which a few hundred requests of a scaled run
/// cannot tell from one that failed by itself.
const SLO: Parameter = Parameter {
    name: "slo",
    default: Some(Value::Number(99.5)),
    min: 50.0,
    max: 100.0,
    words: &[],
    help: "percent of requests that must be answered 2xx (default: ours)",
};

const FAILOVER: Parameter = Parameter {
    name: "failover",
    default: Some(Value::Seconds(10.0)),
    min: 0.5,
    max: 600.0,
    words: &[],
    help: "from the loss of a site until its clients are served by another (default: ours)",
};

const SILENCE: Parameter = Parameter {
    name: "silence",
    default: Some(Value::Millis(1000.0)),
    min: 100.0,
    max: 60_000.0,
    words: &[],
    help: "longest time without any success after the failover (default: ours)",
};

const SITES: &[Capability] = &[Capability::TwoSites, Capability::ReplicaFaults, Capability::NetworkFaults];

const AVL_01: Claim = Claim {
    id: "AVL-01",
    statement: "at least R replicas serve at all times, in different zones where there are several: fewer only within T after a loss",
    source: "seeds M4, M5 (K2: read literally it cannot hold while one of R is replaced); claims.md section 3, rows 6, 21, 65",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "replicas",
            default: Some(Value::Number(2.0)),
            min: 1.0,
            max: 64.0,
            words: &[],
            help: "R: replicas of a site that must serve (default: seed M4)",
        },
        Parameter {
            name: "respawn",
            default: Some(Value::Seconds(60.0)),
            min: 1.0,
            max: 3_600.0,
            words: &[],
            help: "T: from the loss of a replica until R serve again; experiments watch for a quarter more (default: ours)",
        },
        Parameter {
            name: "zones",
            default: Some(Value::Number(2.0)),
            min: 1.0,
            max: 64.0,
            words: &[],
            help: "zones, of those that the site uses, in which replicas must serve whenever all do; 1 asks for nothing (default: seed M5)",
        },
    ],
    needs: &[Capability::TwoReplicas, Capability::ReplicaFaults, Capability::NetworkFaults],
    reads: Reads::Experiments(&[REPLICA_LOSS]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: always::avl_01,
};

const AVL_02: Claim = Claim {
    id: "AVL-02",
    statement: "replicas are spread over two zones or more, so the loss of one zone, or of its way to the store, keeps service",
    source: "seed M5; claims.md section 3, rows 64, 72",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "gap",
            default: Some(Value::Seconds(5.0)),
            min: 0.1,
            max: 600.0,
            words: &[],
            help: "from the loss of the zone until service is whole again; never held to less than 2 s (default: ours)",
        },
        Parameter {
            name: "loss",
            default: Some(Value::Number(2.0)),
            min: 0.0,
            max: 100.0,
            words: &[],
            help: "percent of the requests in the gap that may be lost beyond the share of the lost zone itself (default: ours)",
        },
    ],
    needs: &[Capability::TwoReplicas, Capability::NetworkFaults],
    reads: Reads::Experiments(&["zone-loss"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: zone::avl_02,
};

const AVL_03: Claim = Claim {
    id: "AVL-03",
    statement: "a replica that is dead or hung, or whose port is closed, is replaced, and another one serves in its place within T",
    source: "seeds M7, I18, I21; claims.md section 3, rows 6, 21, 65",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "respawn",
            default: Some(Value::Seconds(60.0)),
            min: 1.0,
            max: 3_600.0,
            words: &[],
            help: "T: from the loss of a replica to the first correct answer of its successor; experiments watch for a quarter more (default: ours)",
        },
        Parameter {
            name: "detection",
            default: Some(Value::Seconds(5.0)),
            min: 0.1,
            max: 600.0,
            words: &[],
            help: "from the loss of a replica on, its share of requests may be lost for this long: what a load balancer needs to notice; never held to less than 1 s (default: two probes of 1 s each of one that hangs, and the pauses between them)",
        },
    ],
    needs: &[Capability::TwoReplicas, Capability::ReplicaFaults, Capability::NetworkFaults],
    reads: Reads::Experiments(&[REPLICA_LOSS]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: replaced::avl_03,
};

const AVL_04: Claim = Claim {
    id: "AVL-04",
    statement: "double jeopardy: with one whole site lost, rolling maintenance of the other keeps service, and so does the return of the lost one in the middle",
    source: "seeds I11, I19; claims.md section 3, rows 1, 66",
    level: Level::Core,
    parameters: &[SLO, FAILOVER, SILENCE],
    needs: SITES,
    reads: Reads::Experiments(&["double-jeopardy"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: sites::avl_04,
};

const AVL_05: Claim = Claim {
    id: "AVL-05",
    statement: "two sites are enough, both serve at the same time, and neither needs the other or a witness",
    source: "seeds I4, I12, I13, I19; claims.md section 3, row 72",
    level: Level::Core,
    parameters: &[
        SLO,
        FAILOVER,
        SILENCE,
        Parameter {
            name: "share",
            default: Some(Value::Number(30.0)),
            min: 0.0,
            max: 50.0,
            words: &[],
            help: "percent of all successes that each of two sites must have while both are there; a fair share of 50 / sites in general (default: ours)",
        },
    ],
    needs: SITES,
    reads: Reads::Experiments(&["site-loss"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: sites::avl_05,
};

const AVL_06: Claim = Claim {
    id: "AVL-06",
    statement: "the loss of any one component that is no gateway leaves the data path as it was",
    source: "seeds I1, I7; claims.md section 3, rows 16, 22, 70, 72",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "p95_ratio",
            default: Some(Value::Number(1.1)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest p95 in a loss over the p95 before it; 5 ms more than before always pass (default: ours)",
        },
    ],
    needs: &[Capability::NetworkFaults],
    reads: Reads::Experiments(&["component-loss"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: components::avl_06,
};
