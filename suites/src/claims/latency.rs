//! What does the latency between gateway and management do: to publishing, at the ingress' timeout, to the data path?

mod data_path;
mod management;
#[cfg(test)]
mod tests;

pub(crate) use data_path::stall;

use crate::claims::configuration::SLO;
use crate::claims::recovery::SETTLE;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Mark: the management links have this added latency from here on; subject: empty, or one of [`UNSTEADY`]; value:
/// microseconds at most, [`NO_PROBE`] after the last.
pub(crate) const LATENCY_US: &str = "management-latency-us";
/// Links that are not just slow: with jitter, and with little bandwidth.
pub(crate) const UNSTEADY: [&str; 2] = ["jitter", "bandwidth"];
/// Phases `hold` in which the latency is beyond the timeout: by a little, and by far.
pub(crate) const BEYOND: [&str; 2] = ["beyond", "far-beyond"];
/// Mark: the lab fetched the configuration as a gateway would; subject: status, `0` for none; value: microseconds.
pub(crate) const FETCHED: &str = "management-fetched-us";
/// Mark: the lab registered as a gateway would; as [`FETCHED`].
pub(crate) const REGISTERED: &str = "management-registered-us";
/// No probe is under way.
pub(crate) const NO_PROBE: i64 = -1;
/// Mark: the upstream links of this site are cut.
pub(crate) const UPSTREAM_CUT: &str = "upstream-cut";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[LAT_01, LAT_02, LAT_03];

const MANAGED: &[Capability] = &[Capability::ControlPlane, Capability::ConfigurationVersion, Capability::NetworkFaults];

const LAT_01: Claim = Claim {
    id: "LAT-01",
    statement: "management works while the latency between gateway and management is below the ingress timeout, steady or not",
    source: "seeds I5, I6 (30 s by default); K5: a limit by a timeout, no promise of use (IBM plans with 80 ms)",
    level: Level::Core,
    parameters: &[Parameter {
        name: "margin",
        default: Some(Value::Seconds(1.0)),
        min: 0.1,
        max: 30.0,
        words: &[],
        help: "how far below the ingress timeout it must still work; at least 0.1 s (default: ours)",
    }],
    needs: MANAGED,
    reads: Reads::Experiments(&["management-latency"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: management::MINIMUM,
    check: management::lat_01,
};

const LAT_02: Claim = Claim {
    id: "LAT-02",
    statement: "with latency beyond the ingress timeout a publish fails cleanly: nothing is half applied, and it takes effect once the latency drops",
    source: "seed I5, the other side; claims.md section 3, rows 8, 20, 24, 27",
    level: Level::Core,
    parameters: &[Parameter {
        name: "converge",
        default: Some(Value::Seconds(60.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "from the drop of the latency to the published version at every replica (default: ours)",
    }],
    needs: MANAGED,
    reads: Reads::Experiments(&["management-latency"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: management::MINIMUM,
    check: management::lat_02,
};

const LAT_03: Claim = Claim {
    id: "LAT-03",
    statement: "latency and success of the data path do not depend on the latency or loss of management; a cut link to one upstream touches its routes only",
    source: "seeds I1, I10; claims.md section 3, rows 16, 22",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "p95_ratio",
            default: Some(Value::Number(1.1)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest p95 in a fault over the p95 before it; 5 ms more than before always pass (default: ours)",
        },
        Parameter {
            name: "other_ratio",
            default: Some(Value::Number(1.05)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "the same for routes of other sites while one site is cut off its upstream (default: ours)",
        },
        Parameter {
            name: "stall",
            default: Some(Value::Millis(1000.0)),
            min: 10.0,
            max: 60_000.0,
            words: &[],
            help: "longest time that a request may take in a fault of management (default: ours)",
        },
        SETTLE,
    ],
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&["data-path"]),
    on_busy_machine: OnBusyMachine::Stands,
    minimum: data_path::MINIMUM,
    check: data_path::lat_03,
};
