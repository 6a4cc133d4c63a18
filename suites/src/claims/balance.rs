//! Do replicas get equal shares: always, and again after one of them was lost?

mod even;
#[cfg(test)]
mod tests;

use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Variant of the phase `hold` in which each request has a connection of its own.
pub(crate) const NEW: &str = "new-connections";
/// Variant in which connections stay.
pub(crate) const KEPT: &str = "keep-alive";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[BAL_01];

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
