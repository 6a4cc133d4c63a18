//! Does the last configuration go on serving without the control plane: while it runs, at a start, and faster?

mod changes;
pub(crate) mod long;
#[cfg(test)]
mod long_tests;
mod outage;
mod paired;
mod poison;
#[cfg(test)]
mod poison_tests;
mod reconnect;
#[cfg(test)]
mod reconnect_tests;
mod start;
#[cfg(test)]
mod tests;
mod truth;
mod visible;
#[cfg(test)]
mod visible_tests;

pub(crate) use changes::{ABSENT, CHANGE, FACT, GUARDED, OPEN, fact};
pub(crate) use outage::Stretch;

use crate::claims::common::Seen;
use gatecrash_model::History;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Scope, Value};
use gatecrash_model::operation::Credential;
use gatecrash_model::verdict::Verdict;

/// Mark: this replica's next start is without the control plane; value: [`RESTARTED`], [`WIPED`], [`BRAND_NEW`] or
/// [`STORE_LOST`].
pub(crate) const START_VARIANT: &str = "start-variant";
/// CFG-02/a: its disk was kept.
pub(crate) const RESTARTED: i64 = 1;
/// CFG-02/b: its disk and the site's configuration store were wiped.
pub(crate) const WIPED: i64 = 2;
/// CFG-02/c: it never ran before.
pub(crate) const BRAND_NEW: i64 = 3;
/// No claim of its own: its disk was kept and its link to the shared store is cut (contradiction K1).
pub(crate) const STORE_LOST: i64 = 4;

/// Mark: pairs that follow have this latency to the control plane; subject: variant; value: microseconds.
pub(crate) const PAIR_LATENCY: &str = "pair-latency-us";
/// Mark: this replica's next start is one of a pair; value: [`LOCAL`] or [`REMOTE`].
pub(crate) const START_KIND: &str = "start-kind";
/// It keeps its configuration.
pub(crate) const LOCAL: i64 = 1;
/// It must download its configuration.
pub(crate) const REMOTE: i64 = 2;

/// Mark: the version that was just published has a bad object in it; subject: the route to be asked for; value: the version.
pub(crate) const BAD_OBJECT: &str = "bad-object";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[CFG_01, CFG_02_A, CFG_02_B, CFG_02_C, CFG_03, CFG_04, CFG_05, CFG_06, CFG_07];

/// The share of requests that must succeed (claims.md section 5: 99.9 %).
pub(crate) const SLO: Parameter = Parameter {
    name: "slo",
    default: Some(Value::Number(99.9)),
    min: 50.0,
    max: 100.0,
    words: &[],
    help: "percent of requests that must be answered 2xx (default: ours)",
};

const WITHIN: Parameter = Parameter {
    name: "within",
    default: Some(Value::Seconds(60.0)),
    min: 0.1,
    max: 3600.0,
    words: &[],
    help: "from the start of the process, or from a publication when the control plane is back, to the first correct answer with the last published version (default: ours)",
};

const CFG_01: Claim = Claim {
    id: "CFG-01",
    statement: "running replicas keep serving the last configuration, with its policies, through an outage of the control plane",
    source: "seeds M15, M17; Flex connected mode; Kong and Envoy keep the last configuration; claims.md section 3, rows 7, 12, 19",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "outage",
            default: Some(Value::Seconds(60.0)),
            min: 1.0,
            max: 3600.0,
            words: &[],
            help: "how long the control plane must have been away, all variants together (default: ours)",
        },
        SLO,
        Parameter {
            name: "p95_ratio",
            default: Some(Value::Number(1.2)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest p95 during the outage over the p95 before it; 5 ms more than before always pass (default: ours)",
        },
    ],
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&["control-plane-outage"]),
    on_busy_machine: OnBusyMachine::Stands,
    minimum: outage::MINIMUM,
    check: outage::cfg_01,
};

const CFG_02_A: Claim = Claim {
    id: "CFG-02/a",
    statement: "a replica restarted with its disk while the control plane is away serves the last published configuration, and the next one soon after it is back",
    source: "seeds M15, M17",
    level: Level::Core,
    parameters: &[WITHIN],
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationVersion,
        Capability::ReplicaFaults,
        Capability::NetworkFaults,
    ],
    reads: Reads::Experiments(&["start-without-control-plane"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: 1,
    check: |scope: &Scope<'_>| -> Verdict { start::cfg_02(scope, RESTARTED) },
};

const CFG_02_B: Claim = Claim {
    id: "CFG-02/b",
    statement: "a replica restarted with its disk and its site's configuration store wiped while the control plane is away serves the last published configuration",
    source: "seeds M3, M15, M17 (contradiction K1: where the configuration is)",
    needs: DISK,
    check: |scope: &Scope<'_>| -> Verdict { start::cfg_02(scope, WIPED) },
    ..CFG_02_A
};

const CFG_02_C: Claim = Claim {
    id: "CFG-02/c",
    statement: "a brand-new replica started while the control plane is away serves the last published configuration",
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationVersion,
        Capability::ReplicaFaults,
        Capability::NewReplicas,
        Capability::NetworkFaults,
    ],
    check: |scope: &Scope<'_>| -> Verdict { start::cfg_02(scope, BRAND_NEW) },
    ..CFG_02_A
};

const DISK: &[Capability] = &[
    Capability::ControlPlane,
    Capability::ConfigurationVersion,
    Capability::ReplicaFaults,
    Capability::ReplicaDisk,
    Capability::NetworkFaults,
];

const CFG_03: Claim = Claim {
    id: "CFG-03",
    statement: "a start from the local configuration is faster than one that downloads it from the control plane",
    source: "seed M16 (K6: a comparison of two ways to start, so a paired run and a rank test)",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "starts",
            default: Some(Value::Number(15.0)),
            min: 5.0,
            max: 1000.0,
            words: &[],
            help: "starts of each kind at each latency, at least (default: ours)",
        },
        Parameter {
            name: "p",
            default: Some(Value::Number(0.05)),
            min: 0.0001,
            max: 0.5,
            words: &[],
            help: "one-sided rank test: chance of such samples if both kinds were alike, below this (default: ours)",
        },
        Parameter {
            name: "ratio",
            default: Some(Value::Number(0.9)),
            min: 0.01,
            max: 1.0,
            words: &[],
            help: "median of local starts over median of remote ones, below this (default: ours)",
        },
    ],
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationChoice,
        Capability::ReplicaFaults,
        Capability::NewReplicas,
        Capability::NetworkFaults,
    ],
    reads: Reads::Experiments(&["paired-starts"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: 10,
    check: paired::cfg_03,
};

const CFG_04: Claim = Claim {
    id: "CFG-04",
    statement: "a published change is in force at every replica within T, as a whole, and routes that it does not touch do not notice",
    source: "Kong 5 s, Azure API Management 10 s, Tyk 10 s; claims.md section 3, rows 10 and 27",
    level: Level::Core,
    parameters: &[Parameter {
        name: "within",
        default: Some(Value::Seconds(30.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "from the publication, or the start of a replica, to the change in force there (default: ours)",
    }],
    needs: &[Capability::ControlPlane, Capability::ReplicaFaults],
    reads: Reads::Experiments(&["configuration-changes"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: visible::MINIMUM,
    check: visible::cfg_04,
};

const CFG_05: Claim = Claim {
    id: "CFG-05",
    statement: "once the control plane is back, everything that was published meanwhile (routes that came, changed and went, removed contracts), or lost with it, is in force at every replica within T, without a restart",
    source: "Azure API Management, Tyk, Kong; claims.md section 3, rows 12, 13, 20 and 24",
    level: Level::Core,
    parameters: &[Parameter {
        name: "within",
        default: Some(Value::Seconds(60.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "from the end of the trouble to what was published in force at every replica (default: ours)",
    }],
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&["changes-in-an-outage"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: reconnect::MINIMUM,
    check: reconnect::cfg_05,
};

const CFG_06: Claim = Claim {
    id: "CFG-06",
    statement: "an error, an empty or a partly invalid configuration never takes the place of a good one; one bad object disturbs no other and is never open",
    source: "Tyk MDCB; claims.md section 3, rows 8, 14, 19, 25 and 26",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "within",
            default: Some(Value::Seconds(60.0)),
            min: 0.1,
            max: 3600.0,
            words: &[],
            help: "from the publication of the next good version to it in force at every replica (default: ours)",
        },
    ],
    needs: &[Capability::ControlPlane],
    reads: Reads::Experiments(&["bad-configurations"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: poison::MINIMUM,
    check: poison::cfg_06,
};

const CFG_07: Claim = Claim {
    id: "CFG-07",
    statement: "a long outage of the control plane or the shared store costs no ever more memory, connections or processor time; replicas pause between their calls, and do not all come back at once",
    source: "claims.md section 3, rows 11, 16, 17, 28 and 48 (memory, connections, processor, and a control plane that falls over when all reconnect)",
    level: Level::Extended,
    parameters: &[
        Parameter {
            name: "outage",
            default: Some(Value::Seconds(600.0)),
            min: 1.0,
            max: 3_600.0,
            words: &[],
            help: "how long the control plane must have been away, in the second half with the shared stores (default: ours)",
        },
        Parameter {
            name: "after",
            default: Some(Value::Seconds(60.0)),
            min: 0.0,
            max: 3600.0,
            words: &[],
            help: "from when on what grows counts: what an outage costs at once is no trend (default: ours)",
        },
        Parameter {
            name: "growth",
            default: Some(Value::Number(5.0)),
            min: 0.1,
            max: 100.0,
            words: &[],
            help: "percent a minute by which memory and open files may grow; 1 MiB and 10 files always pass (default: ours)",
        },
        Parameter {
            name: "processor",
            default: Some(Value::Number(2.0)),
            min: 1.0,
            max: 100.0,
            words: &[],
            help: "processor time in the outage over that before it; a twentieth of a core more always passes (default: ours)",
        },
        Parameter {
            name: "pause",
            default: Some(Value::Seconds(1.0)),
            min: 0.0,
            max: 3600.0,
            words: &[],
            help: "least mean time between two calls of a replica for the same while the control plane is away (default: ours)",
        },
        Parameter {
            name: "peak",
            default: Some(Value::Number(0.5)),
            min: 0.01,
            max: 1.0,
            words: &[],
            help: "largest share of all connections that may come back within the same second (default: ours)",
        },
        Parameter {
            name: "second",
            default: Some(Value::Seconds(1.0)),
            min: 0.01,
            max: 60.0,
            words: &[],
            help: "how long that second is (default: ours)",
        },
    ],
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&[long::EXPERIMENT]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: long::MINIMUM,
    check: long::cfg_07,
};

/// What is certainly wrong with the answer to a canary, if anything: what nobody can tell of is not wrong.
pub(crate) fn wrong(seen: &Seen<'_>) -> Option<&'static str> {
    let status = seen.status();
    let success = (200..300).contains(&status);
    if seen.asked.credential.must_refuse() && (seen.arrived.is_some() || success) {
        return Some("was admitted although it must be refused");
    }
    if status == 404 {
        return Some("found no route");
    }
    let valid = matches!(seen.asked.credential, Credential::Valid | Credential::NotNeeded);
    (valid && matches!(status, 401 | 403)).then_some("was refused although it is valid")
}

/// One request in words: `` operation 7 for route `plain` at `eu-1` ``.
pub(crate) fn words(history: &History, seen: &Seen<'_>) -> String {
    format!(
        "operation {} (credential {:?}) for route `{}` at `{}`, status {}",
        seen.view.op,
        seen.asked.credential,
        history.text(seen.asked.route),
        history.text(seen.asked.target),
        seen.status()
    )
}

/// Position of the event that tells most of an operation: its end, else its invocation.
pub(crate) fn telling(seen: &Seen<'_>) -> usize {
    seen.view.completed().unwrap_or(usize::try_from(seen.view.invoked).unwrap_or_default())
}
