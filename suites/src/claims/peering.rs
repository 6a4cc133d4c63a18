//! Do gateways that are one group share while they have a quorum, do what is declared without one, and agree again afterwards?
//!
//! Who has a quorum is arithmetic over the layout ([`gatecrash_model::quorum`]) and over what the story did, never what a
//! gateway says of itself.
//!
//! Vocabulary with the experiments: steps are phases `steady`, `inject`, `hold`, `heal`, `settle` and `settled` of a variant.

mod calls;
mod heal;
mod quorum;
#[cfg(test)]
mod tests;
mod without;

use gatecrash_model::Deployment;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// The experiment in which a quorum is left.
pub(crate) const FAILOVER_STORY: &str = "group-failover";
/// The experiment in which the group is in two halves.
pub(crate) const SPLIT_STORY: &str = "group-split";
/// Variant: as many voters as may be lost were killed.
pub(crate) const KILL_MINORITY: &str = "kill-minority";
/// Variant: as many voters as may be lost were cut off the others.
pub(crate) const CUT_MINORITY: &str = "cut-minority";
/// Variant: nothing passes between the sides.
pub(crate) const SPLIT: &str = "split";
/// Variant: nothing of one side reaches the other; what the other says arrives.
pub(crate) const ONE_WAY: &str = "one-way";
/// Variant: the larger side was killed.
pub(crate) const MAJORITY_LOST: &str = "majority-lost";
/// Variant: split and healed several times.
pub(crate) const FLAP: &str = "flap";

/// Variant: this voter alone was killed.
pub(crate) fn kill_one(voter: &str) -> String {
    format!("kill-{voter}")
}

/// The two sides of a split: the last site, and all others before it.
pub(crate) fn sides(deployment: &Deployment) -> [Vec<String>; 2] {
    let mut names: Vec<String> = deployment.sites.iter().map(|site| site.name.clone()).collect();
    let last = names.pop();
    [names, last.into_iter().collect()]
}

/// How many voters these sites have together.
pub(crate) fn voters_of(deployment: &Deployment, sites: &[String]) -> u32 {
    let of = deployment.sites.iter().filter(|site| sites.contains(&site.name));
    of.map(|site| site.replicas).fold(0, u32::saturating_add)
}

/// What it takes to lose voters and to see what the others share.
pub(crate) const LOSSES: &[Capability] = &[
    Capability::Peering,
    Capability::Tokens,
    Capability::TokenRevocation,
    Capability::Quota,
    Capability::ReplicaFaults,
    Capability::NetworkFaults,
];
/// What it takes to split a group between its sites.
pub(crate) const SPLITS: &[Capability] = &[
    Capability::Peering,
    Capability::TwoSites,
    Capability::Tokens,
    Capability::TokenRevocation,
    Capability::Quota,
    Capability::ReplicaFaults,
    Capability::NetworkFaults,
];

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[PAR_01, PAR_02, PAR_03];

/// Least number of judged answers.
const MINIMUM: u64 = 100;

const FAILOVER: Parameter = Parameter {
    name: "failover",
    default: Some(Value::Seconds(20.0)),
    min: 0.1,
    max: 600.0,
    words: &[],
    help: "from the loss of voters until those that are left serve and share again (IBM: a primary is missed for 10 s; twice that)",
};

const HANGS: Parameter = Parameter {
    name: "hangs",
    default: Some(Value::Millis(5000.0)),
    min: 100.0,
    max: 60_000.0,
    words: &[],
    help: "an answer that takes longer counts as none (default: ours; IBM APAR IT43500 is a call that hung for ever)",
};

const MODES: &[&str] = &["closed", "local"];

const PAR_01: Claim = Claim {
    id: "PAR-01",
    statement: "while a quorum exists tokens, revocations and quota are shared; the loss of the primary heals in T",
    source: "seed I20 (gateways share tokens and quota enforcement between sites while there is a quorum); IBM quota enforcement server: 10 s, more than half; APARs IT39661, IT39660",
    level: Level::Core,
    parameters: &[
        FAILOVER,
        Parameter {
            name: "sync",
            default: Some(Value::Seconds(2.0)),
            min: 0.01,
            max: 600.0,
            words: &[],
            help: "from the 200 of a revoke to the last accept at any voter that is left (default: ours)",
        },
        HANGS,
    ],
    needs: LOSSES,
    reads: Reads::Experiments(&[FAILOVER_STORY]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM,
    check: quorum::par_01,
};

const PAR_02: Claim = Claim {
    id: "PAR-02",
    statement: "without a quorum a side does what is declared of each class of state (closed, local), and serves what needs none",
    source: "IBM quota enforcement server, strict mode: on, a replica cannot process the request; off, it writes the threshold to the local data storage; APAR IT43500",
    level: Level::Core,
    parameters: &[
        FAILOVER,
        Parameter {
            name: "quota",
            default: None,
            min: 0.0,
            max: 0.0,
            words: MODES,
            help: "counted requests without a quorum: refused (5xx), or counted by the side alone",
        },
        Parameter {
            name: "revocations",
            default: None,
            min: 0.0,
            max: 0.0,
            words: MODES,
            help: "tokens without a quorum: refused (5xx), or accepted unless the gateway knows of their revocation",
        },
        Parameter {
            name: "tokens",
            default: None,
            min: 0.0,
            max: 0.0,
            words: MODES,
            help: "tokens are not issued without a quorum (5xx), or they are",
        },
        Parameter {
            name: "slo",
            default: Some(Value::Number(99.5)),
            min: 50.0,
            max: 100.0,
            words: &[],
            help: "percent of the requests that need nothing shared which succeed on each side (AVL-05)",
        },
        HANGS,
    ],
    needs: SPLITS,
    reads: Reads::Experiments(&[SPLIT_STORY]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM,
    check: without::par_02,
};

const PAR_03: Claim = Claim {
    id: "PAR-03",
    statement: "after a split heals state converges in T: all revocations of both sides hold everywhere, and no counter is filled again",
    source: "IBM quota enforcement server: what was written locally might be overwritten by the new primary; RFC 7009 section 2",
    level: Level::Core,
    parameters: &[Parameter {
        name: "within",
        default: Some(Value::Seconds(30.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "from the heal to the last accept of a token that was revoked on either side (default: ours)",
    }],
    needs: SPLITS,
    reads: Reads::Experiments(&[SPLIT_STORY]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM,
    check: heal::par_03,
};
