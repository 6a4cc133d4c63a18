//! QUO: is a quota what it says, over replicas, sites, restarts and the loss of what counts it?
//!
//! A request was admitted if it arrived at the upstream, whatever the status said. An experiment spends a quota
//! in rounds, each with a key of its own (or after a pause of more than a window), so that one round is one
//! window however the gateway aligns them: [`rounds`] says how that is read without ever blaming the gateway
//! for what the harness cannot know. The bound is `Q + sum(r_i x s) + C`: `s` the declared sync interval, `C` the
//! requests in flight while the last fifth of the quota was spent, which alone could still be decided on an old count.

mod canary;
mod contract;
mod failover;
#[cfg(test)]
mod failover_tests;
pub(crate) mod marks;
mod restart;
mod rounds;
mod shared;
mod store_loss;
#[cfg(test)]
mod tests;

pub(crate) use canary::Canaries;
pub(crate) use rounds::{Round, Rule, Tally, against_bound, rounds, starved};

use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Name of the experiment that spends quotas over replicas and sites.
pub(crate) const SHARED: &str = "quota-shared";
/// Name of the experiment that replaces all replicas in the middle of a window.
pub(crate) const RESTART: &str = "quota-restart";
/// Its step, and variant of its phases, in which one replica is left.
pub(crate) const ALL_BUT_ONE: &str = "all-but-one";
/// Name of the experiment that takes the store away.
pub(crate) const STORE_LOSS: &str = "store-loss";
/// Its last step, where the store holds revocations, too: of all that is in it these alone are wrong.
pub(crate) const REVOCATIONS_ALONE: &str = "wrong-revocations";
/// Name of the experiment in which the store stub misbehaves.
pub(crate) const STORE_MISBEHAVES: &str = "store-misbehaves";

/// Name of the experiment in which the primary of a store is lost, and another node takes its place.
pub(crate) const STORE_FAILOVER: &str = "store-failover";
/// Steps of it: the primary is killed, stands still, becomes a copy that keeps its connections.
pub(crate) const KILLED: &str = "killed";
pub(crate) const FROZEN: &str = "frozen";
pub(crate) const DEMOTED: &str = "demoted";
/// Stream: a client whose quota was spent before asks again and again.
pub(crate) const AGAIN: &str = "quota-again";
/// Mark: the primary (subject) is about to be lost.
pub(crate) const LOSING: &str = "store-losing";
/// Mark: this node (subject) is the primary after an operator made it so; value 1 if both nodes say so.
pub(crate) const HANDED_OVER: &str = "store-handed-over";
/// Mark: the store of this site (subject) is the stub that stands in for Redis, and has no second node: nothing was tried.
pub(crate) const NO_REDIS: &str = "store-without-redis";
/// Mark: the store of this site (subject) had no copy, or its Sentinels were not ready to fail over: nothing was tried.
pub(crate) const NOT_WATCHED: &str = "store-not-watched";

/// Name of the experiment in which lone clients do what answers tell them.
pub(crate) const TOLD: &str = "quota-told";
/// Stream: a lone client asks, one request after the other.
pub(crate) const LONE: &str = "quota-lone";
/// Stream: a lone client spends a whole quota at once.
pub(crate) const AT_ONCE: &str = "quota-at-once";

/// `s` of the bound.
pub(crate) const SYNC_INTERVAL: Parameter = Parameter {
    name: "sync_interval",
    default: Some(Value::Seconds(0.0)),
    min: 0.0,
    max: 3600.0,
    words: &[],
    help: "seconds between two synchronisations of a counter; 0 is strict (Kong: sync_rate; ours: 0)",
};

/// The claims of this family, ordered by id.
pub(crate) const CLAIMS: &[Claim] = &[
    Claim {
        id: "QUO-01",
        statement: "replicas of one cluster share one counter: admitted in a window <= Q + sum(r_i x s) + C",
        source: "seed M14 (replicas use the shared store for distributed rate limiting), IBM gateway peering; bound: Kong rate-limiting strategies",
        level: Level::Core,
        parameters: &[SYNC_INTERVAL],
        needs: &[Capability::Quota, Capability::TwoReplicas],
        reads: Reads::Experiments(&[SHARED]),
        on_busy_machine: OnBusyMachine::Stands,
        minimum: 3,
        check: shared::one_counter,
    },
    Claim {
        id: "QUO-02",
        statement: "no request is counted twice: with demand >= Q, admitted >= Q x (1 - e)",
        source: "issue row 43 (double count)",
        level: Level::Extended,
        parameters: &[
            Parameter {
                name: "e",
                default: Some(Value::Number(0.02)),
                min: 0.0,
                max: 0.5,
                words: &[],
                help: "share of Q that may be left unspent: 0.02 for strict counting, 0.10 for estimated (ours)",
            },
            Parameter {
                name: "split_rule",
                default: Some(Value::Word("none")),
                min: 0.0,
                max: 0.0,
                words: &["none", "per-replica"],
                help: "`per-replica`: each replica has its share Q / k of the quota (Tyk DRL)",
            },
        ],
        needs: &[Capability::Quota, Capability::TwoReplicas],
        reads: Reads::Experiments(&[SHARED]),
        on_busy_machine: OnBusyMachine::Stands,
        minimum: 3,
        check: shared::no_double_count,
    },
    Claim {
        id: "QUO-03",
        statement: "sites share one counter: admitted in a window over both sites <= Q + sum(r_i x s) + C",
        source: "seed I16 (quota not synced between the gateways), I20 (shared while there is a quorum); Flex multi-region",
        level: Level::Core,
        parameters: &[SYNC_INTERVAL],
        needs: &[Capability::Quota, Capability::TwoSites],
        reads: Reads::Experiments(&[SHARED]),
        on_busy_machine: OnBusyMachine::Stands,
        minimum: 1,
        check: shared::sites_share,
    },
    Claim {
        id: "QUO-04",
        statement: "units without a common counter are each bounded by Q: each <= Q + bound, total <= units x (Q + bound)",
        source: "seed I17 (each cluster has its own quota); KrakenD cluster throttling; Flex rate limiting (\"scoped to replicas\")",
        level: Level::Core,
        parameters: &[
            SYNC_INTERVAL,
            Parameter {
                name: "unit",
                default: Some(Value::Word("auto")),
                min: 0.0,
                max: 0.0,
                words: &["auto", "site", "replica"],
                help: "what counts by itself; `auto`: sites where a store counts, replicas else",
            },
        ],
        needs: &[Capability::Quota],
        reads: Reads::Experiments(&[SHARED]),
        on_busy_machine: OnBusyMachine::Stands,
        minimum: 2,
        check: shared::units_bounded,
    },
    Claim {
        id: "QUO-05",
        statement: "counters survive the replacement of all replicas inside a window: admitted <= Q + sum(r_i x s) + C",
        source: "issue rows 44 and 55 (counters reset at restart)",
        level: Level::Core,
        parameters: &[SYNC_INTERVAL],
        needs: &[Capability::Quota, Capability::TwoReplicas, Capability::ReplicaFaults],
        reads: Reads::Experiments(&[RESTART]),
        on_busy_machine: OnBusyMachine::Stands,
        minimum: 1,
        check: restart::survives_replacement,
    },
    Claim {
        id: "QUO-06",
        statement: "when the store fails over, every replica counts in the new primary in time, without a restart, and no count is lost but what was not copied yet",
        source: "IBM gateway peering (failover within 10 s); APISIX limit-count with Redis Sentinel; issue rows 45 (READONLY for ever after a failover) and 46",
        level: Level::Extended,
        parameters: &[
            Parameter {
                name: "within",
                default: Some(Value::Millis(15_000.0)),
                min: 1.0,
                max: 600_000.0,
                words: &[],
                help: "from the loss of the primary until every replica counts as before; never scaled, for Sentinels have times of their own (IBM 10 s; ours 15 s)",
            },
            Parameter {
                name: "lag",
                default: Some(Value::Millis(1_000.0)),
                min: 0.0,
                max: 60_000.0,
                words: &[],
                help: "what was counted so long before the loss may not be copied yet (Redis copies after it answers; ours 1 s)",
            },
        ],
        needs: &[Capability::Quota, Capability::StoreFailover, Capability::TwoReplicas, Capability::ReplicaFaults],
        reads: Reads::Experiments(&[STORE_FAILOVER]),
        on_busy_machine: OnBusyMachine::Excused,
        minimum: failover::MINIMUM,
        check: failover::quo_06,
    },
    Claim {
        id: "QUO-07",
        statement: "loss of the store gives the declared mode within T, adds <= D to the p95, hangs no request, and enforcement is back within T_heal",
        source: "IBM strict mode; Kong fault_tolerant; APISIX allow_degradation; issue rows 45 to 52 (one store, four outcomes)",
        level: Level::Core,
        parameters: &[
            Parameter {
                name: "mode",
                default: None,
                min: 0.0,
                max: 0.0,
                words: &["closed", "open", "local", "error"],
                help: "refused (not 500), served uncounted, counted by each replica, or 500; vendors do not document it",
            },
            Parameter {
                name: "t",
                default: Some(Value::Seconds(2.0)),
                min: 0.0,
                max: 600.0,
                words: &[],
                help: "seconds after which the mode is in force (ours)",
            },
            Parameter {
                name: "d",
                default: Some(Value::Millis(100.0)),
                min: 1.0,
                max: 60_000.0,
                words: &[],
                help: "milliseconds that the p95 may grow by while the store is lost (ours)",
            },
            Parameter {
                name: "hang",
                default: Some(Value::Millis(5_000.0)),
                min: 100.0,
                max: 600_000.0,
                words: &[],
                help: "milliseconds that no request may take (ours)",
            },
            Parameter {
                name: "t_heal",
                default: Some(Value::Seconds(10.0)),
                min: 0.0,
                max: 3_600.0,
                words: &[],
                help: "seconds after the heal by which the quota is enforced again (ours)",
            },
        ],
        needs: &[Capability::Quota, Capability::SharedStore, Capability::TwoReplicas, Capability::NetworkFaults],
        reads: Reads::Experiments(&[STORE_LOSS, STORE_MISBEHAVES]),
        on_busy_machine: OnBusyMachine::Excused,
        minimum: 1,
        check: store_loss::declared_mode,
    },
    Claim {
        id: "QUO-08",
        statement: "what a client is told of its window is true: a reset restores all of Q, twice Q at most around an edge, rejections have their status, Remaining invites no rejection",
        source: "Flex rate limiting; RFC 6585 section 4; draft-ietf-httpapi-ratelimit-headers; claims.md section 3, row 56",
        level: Level::Extended,
        parameters: &[
            Parameter {
                name: "e",
                default: Some(Value::Millis(100.0)),
                min: 1.0,
                max: 60_000.0,
                words: &[],
                help: "so long after the reset that it was told, a request must be admitted, and so long before it none (default: ours)",
            },
            Parameter {
                name: "reject_status",
                default: Some(Value::Number(429.0)),
                min: 400.0,
                max: 599.0,
                words: &[],
                help: "status of a request over quota (default: RFC 6585)",
            },
        ],
        needs: &[Capability::Quota],
        reads: Reads::Experiments(&[TOLD]),
        on_busy_machine: OnBusyMachine::Excused,
        minimum: contract::MINIMUM,
        check: contract::quo_08,
    },
];
