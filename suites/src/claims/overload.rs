//! What do clients get while they ask for more than a site can do, and afterwards?

mod health;
#[cfg(test)]
mod health_tests;
mod ramp;
mod seen;
#[cfg(test)]
mod tests;

use super::recovery::SETTLE;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Mark: what is offered from here on; subject: variant of the phase; value: requests a second in thousandths.
pub(crate) const OFFERED: &str = "offered-per-s";
/// Steps of the ramp: phases `hold` in `step-1` and so on.
pub(crate) const STEPS: usize = 10;
/// Phases `hold` at one and a half times and twice what the site can do; the second one again with a replica killed in it.
pub(crate) const OVER: &str = "one-and-a-half";
pub(crate) const PEAK: &str = "twice";
pub(crate) const KILLED: &str = "twice-and-a-kill";
/// Phases `settle` at half of what the site can do.
pub(crate) const AFTER_PEAK: &str = "after-twice";
pub(crate) const AFTER_KILL: &str = "after-the-kill";
/// Phase `hold` at half of what the site can do, while each replica is pressed by a neighbour on its processor; and the `settle` after it, at the same.
pub(crate) const PRESSED: &str = "pressed";
pub(crate) const AFTER_PRESSURE: &str = "after-the-pressure";

/// The experiment in which health is asked for throughout.
pub(crate) const HEALTH: &str = "health-under-stress";
/// Its phases `hold`: at twice the capacity, while the upstream answers errors only, while the store refuses and while it is silent.
pub(crate) const STRESS: &str = "twice";
pub(crate) const UPSTREAM_FAILS: &str = "upstream-fails";
pub(crate) const STORE_AWAY: &str = "store-refuse";
pub(crate) const STORE_HUNG: &str = "store-blackhole";
/// Phase `settle`, variant: all of them are over.
pub(crate) const AFTERWARDS: &str = "afterwards";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[OVL_01, OVL_02, OVL_03, OVL_04];

const fn number(name: &'static str, default: f64, min: f64, max: f64, help: &'static str) -> Parameter {
    Parameter { name, default: Some(Value::Number(default)), min, max, words: &[], help }
}

const OVERLOADED: &[Capability] = &[Capability::Concurrency, Capability::ReplicaFaults];

const OVL_01: Claim = Claim {
    id: "OVL-01",
    statement: "overload does not abruptly stop traffic: a site that is asked for twice what it can do goes on serving most of that, in every second, and refuses no connection",
    source: "seed M10",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "window",
            default: Some(Value::Seconds(1.0)),
            min: 0.1,
            max: 60.0,
            words: &[],
            help: "no stretch of this length without a success; at least 0.25 s (default: ours)",
        },
        number(
            "goodput",
            0.7,
            0.1,
            1.0,
            "least goodput at twice the capacity over the best of all loads (default: ours)",
        ),
        number("broken", 1.0, 0.0, 50.0, "largest percentage of refused and broken connections (default: ours)"),
    ],
    needs: OVERLOADED,
    reads: Reads::Experiments(&["overload"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: seen::MINIMUM,
    check: seen::ovl_01,
};

const OVL_02: Claim = Claim {
    id: "OVL-02",
    statement: "latency rises gradually with load, and before errors do",
    source: "seed M11",
    level: Level::Core,
    parameters: &[
        number(
            "rho",
            0.6,
            0.0,
            1.0,
            "least rank correlation (Spearman) of load and p95 over the steps (default: ours)",
        ),
        number(
            "step_ratio",
            5.0,
            1.0,
            100.0,
            "largest p95 over that of the step before, below capacity; 5 ms more always pass (default: ours)",
        ),
        number(
            "capacity_ratio",
            5.0,
            1.5,
            100.0,
            "capacity is the largest load with a p95 of at most so many times that at low load (default: ours)",
        ),
    ],
    needs: OVERLOADED,
    reads: Reads::Experiments(&["overload"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: seen::MINIMUM,
    check: ramp::ovl_02,
};

const OVL_03: Claim = Claim {
    id: "OVL-03",
    statement: "once the load is half of what a site can do, service is as before within T, also if a replica was killed at the peak, and once its processors are its own again; policies hold throughout",
    source: "seed M11: until CPU subsides",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "within",
            default: Some(Value::Seconds(30.0)),
            min: 0.5,
            max: 3600.0,
            words: &[],
            help: "from the drop of the load, or the end of the pressure, to service as before (default: ours)",
        },
        number("p95_ratio", 1.5, 1.0, 10.0, "largest p95 over that at low load; 5 ms more always pass (default: ours)"),
    ],
    needs: OVERLOADED,
    reads: Reads::Experiments(&["overload"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: seen::MINIMUM,
    check: ramp::ovl_03,
};

const OVL_04: Claim = Claim {
    id: "OVL-04",
    statement: "in overload, and while the upstream or the store is lost, health answers are quick and true: a replica that runs lives, one that serves everything is ready and one that serves nothing is not; retries stay within a budget; soon afterwards every replica serves, and says so",
    source: "claims.md rows 21, 23, 67 and 68: health that followed a store, or waited with the requests; retries that were a storm",
    level: Level::Extended,
    parameters: &[
        number("p99_ms", 1000.0, 1.0, 60_000.0, "largest p99 of health answers; never scaled (default: ours)"),
        number("retries", 1.25, 1.0, 10.0, "most arrivals at upstreams for each request of a client (default: ours)"),
        number(
            "follows_ms",
            1000.0,
            0.0,
            60_000.0,
            "until readiness has followed what is served; never scaled (default: that of DRN-01)",
        ),
        SETTLE,
    ],
    needs: &[Capability::Concurrency, Capability::NetworkFaults],
    reads: Reads::Experiments(&[HEALTH]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: seen::MINIMUM,
    check: health::ovl_04,
};
