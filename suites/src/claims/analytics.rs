//! What do analytics learn of the calls that gateways answered, and what does it cost the gateways if analytics are away?
//!
//! The ground truth are the answers that clients got: each of them is a call that the analytics of the answering gateway's site must record,
//! once. What analytics recorded they say themselves, on a stream that no fault touches.

mod outage;
mod seen;
mod sites;
#[cfg(test)]
mod tests;

use super::configuration::SLO;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// The experiment.
pub(crate) const EXPERIMENT: &str = "analytics";
/// Mark: the analytics of this site (subject) are away in what follows, and this site is lost at the end.
pub(crate) const LOST: &str = "analytics-lost";
/// Variant: the analytics of the site refuse.
pub(crate) const REFUSE: &str = "refuse";
/// Variant: they are a black hole.
pub(crate) const BLACKHOLE: &str = "blackhole";
/// Variant: they take longer than gateways wait.
pub(crate) const SLOW: &str = "slow";
/// Variant: the whole site is lost, gateways and analytics.
pub(crate) const SITE: &str = "site";
/// The variants in which analytics are away and their gateways are not, with words.
const OUTAGES: [(&str, &str); 3] =
    [(REFUSE, "analytics refuse"), (BLACKHOLE, "analytics a black hole"), (SLOW, "analytics slow")];

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[ANA_01, ANA_02_A, ANA_02_B];

const READS: Reads = Reads::Experiments(&[EXPERIMENT]);

const ANA_01: Claim = Claim {
    id: "ANA-01",
    statement: "analytics are active-active: each site records all calls of its own gateways, once, while the other is up or down",
    source: "seeds I13, I19 (which does not name analytics); IBM: one gateway service, one analytics service",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "flush",
            default: Some(Value::Seconds(60.0)),
            min: 0.1,
            max: 3_600.0,
            words: &[],
            help: "from the answer of a call until it must be recorded (default: ours)",
        },
        Parameter {
            name: "completeness",
            default: Some(Value::Number(99.9)),
            min: 50.0,
            max: 100.0,
            words: &[],
            help: "percent of the calls of a site that its analytics must record (default: ours)",
        },
        Parameter {
            name: "duplicates",
            default: Some(Value::Number(0.1)),
            min: 0.0,
            max: 100.0,
            words: &[],
            help: "percent of what analytics record that may be recorded again (default: ours)",
        },
    ],
    needs: &[Capability::Analytics, Capability::TwoSites, Capability::ReplicaFaults, Capability::NetworkFaults],
    reads: READS,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: sites::MINIMUM,
    check: sites::ana_01,
};

const ANA_02_A: Claim = Claim {
    id: "ANA-02/a",
    statement: "an outage of analytics costs no request, no latency and bounded memory; what is lost is bounded by the buffer, and the oldest",
    source: "IBM analytics: delivery of every record is not guaranteed, the oldest are discarded on overrun; Kong keeps 100,000; claims.md section 3, row 69",
    level: Level::Core,
    parameters: &[
        SLO,
        Parameter {
            name: "p95_ratio",
            default: Some(Value::Number(1.1)),
            min: 1.0,
            max: 10.0,
            words: &[],
            help: "largest p95 in an outage over the p95 before it; 5 ms more than before always pass (default: ours)",
        },
        Parameter {
            name: "memory",
            default: Some(Value::Number(16.0)),
            min: 1.0,
            max: 100_000.0,
            words: &[],
            help: "MiB by which a replica may grow in the outages, where its runtime can see it (default: ours; what a full buffer needs is the product's to say)",
        },
    ],
    needs: &[Capability::Analytics, Capability::NetworkFaults],
    reads: READS,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: outage::MINIMUM,
    check: outage::ana_02_a,
};

const ANA_02_B: Claim = Claim {
    id: "ANA-02/b",
    statement: "every call is recorded in the end, also after an outage of analytics in which more were answered than a buffer holds",
    source: "IBM analytics: unsent records are not retained and retried for ever, so that delivery of every record is not guaranteed",
    level: Level::Extended,
    parameters: &[],
    needs: &[Capability::Analytics, Capability::NetworkFaults],
    reads: READS,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: outage::MINIMUM,
    check: outage::ana_02_b,
};
