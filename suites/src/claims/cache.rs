//! Is what a gateway keeps served to those whom it is for, and for as long as it may be?
//!
//! Vocabulary with the experiments: all requests are of the stream `cached`, each for a resource `kind/number?variant` ([`kinds`]); marks of
//! `gatecrash_model::history::event::cached` say for which operation the body of each answer was made. So whose response it was, when it was made and what it is
//! of is known from that operation, whatever the gateway says.

mod fresh;
pub(crate) mod kinds;
mod loss;
mod owners;
mod record;
mod shared;
mod stampede;

pub(crate) use shared::STALL;

use crate::claims::recovery::SETTLE;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// Name of the experiment that all claims but CAC-04 read.
pub(crate) const HTTP_CACHE: &str = "http-cache";
/// Name of the experiment of CAC-04.
pub(crate) const CACHE_STORE_LOSS: &str = "cache-store-loss";
/// Phases `hold`, variants: what one replica keeps is asked for at the others; after one was started again; after all were.
pub(crate) const SHARED: [&str; 3] = ["shared", "shared-restart-one", "shared-restart-all"];
/// Phases `hold`, variants: what is one client's is asked for by others; after all replicas were started again.
pub(crate) const OWNERS: [&str; 2] = ["owners", "owners-after-restart"];
/// Mark: many ask at the same moment; subject: the resource; value: how many.
pub(crate) const BURST: &str = "cache-burst";
/// Phases `hold`, variants: how the store is lost.
pub(crate) const LOSSES: [&str; 4] = ["refuse", "blackhole", "slow", "throttled"];
/// Phase `hold`, variant: the upstream cannot be reached, and what was kept has expired.
pub(crate) const UPSTREAM_AWAY: &str = "upstream-away";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[CAC_01, CAC_02, CAC_03, CAC_04, CAC_05];

const READS: Reads = Reads::Experiments(&[HTTP_CACHE]);

/// The policy's TTL, which more than one claim needs.
const TTL: Parameter = Parameter {
    name: "ttl",
    default: Some(Value::Seconds(60.0)),
    min: 1.0,
    max: 86_400.0,
    words: &[],
    help: "for how long the gateway keeps a response at most, whatever that says itself (Flex ttl: 600 s by default; ours is for tests)",
};

const CAC_01: Claim = Claim {
    id: "CAC-01",
    statement: "an entry stored via A is served via B without a backend call, and restarts of A and of all replicas do not lose it",
    source: "seeds M3, M14; Flex HTTP caching policy, distributed and persistCache; claims.md section 3, row 58",
    level: Level::Extended,
    parameters: &[
        TTL,
        Parameter {
            name: "missed",
            default: Some(Value::Number(5.0)),
            min: 0.0,
            max: 100.0,
            words: &[],
            help: "percent of the requests for what was kept that may go to the backend all the same: any cache may drop an entry (default: ours)",
        },
    ],
    needs: &[Capability::HttpCache, Capability::TwoReplicas, Capability::ReplicaFaults],
    reads: READS,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: shared::MINIMUM,
    check: shared::cac_01,
};

const CAC_02: Claim = Claim {
    id: "CAC-02",
    statement: "nothing is served that is older than min(policy TTL, max-age, s-maxage); Age is right; Vary and the query are respected; errors and 429 are not stored",
    source: "RFC 9111 sections 4, 4.1, 4.2, 5.1 and 5.2.2; RFC 6585 section 4; claims.md section 3, rows 57 and 58",
    level: Level::Extended,
    parameters: &[
        TTL,
        Parameter {
            name: "grain",
            default: Some(Value::Millis(1000.0)),
            min: 0.0,
            max: 60_000.0,
            words: &[],
            help: "by how much an answer may be older than it may be, and Age be off: both count whole seconds",
        },
    ],
    needs: &[Capability::HttpCache],
    reads: READS,
    // What is served is older than it was when it was asked for: a slow machine makes nothing older than that.
    on_busy_machine: OnBusyMachine::Stands,
    minimum: fresh::MINIMUM,
    check: fresh::cac_02,
};

const CAC_03: Claim = Claim {
    id: "CAC-03",
    statement: "a response to client A (with Authorization) is never served to B unless public, s-maxage or must-revalidate, nor any to an anonymous or a revoked client",
    source: "RFC 9111 section 3.5; claims.md section 3, rows 57 and 58",
    level: Level::Core,
    parameters: &[Parameter {
        name: "revoked_within",
        default: Some(Value::Seconds(30.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "from the 200 of a revoke until nothing may be served to that token any more (TOK-03 has 5 s, TOK-05 its TTL of 30 s)",
    }],
    needs: &[Capability::HttpCache, Capability::Tokens, Capability::ReplicaFaults],
    reads: READS,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: owners::MINIMUM,
    check: owners::cac_03,
};

const CAC_04: Claim = Claim {
    id: "CAC-04",
    statement: "with the cache's store lost, requests go to the backend, without errors and in bounded time; it is used again when it is back; must-revalidate is never served stale",
    source: "RFC 9111 section 5.2.2.2; availability baseline; claims.md section 3, rows 45 and 47",
    level: Level::Extended,
    parameters: &[
        Parameter {
            name: "slo",
            default: Some(Value::Number(99.5)),
            min: 50.0,
            max: 100.0,
            words: &[],
            help: "percent of the requests that are answered 2xx while the store is lost",
        },
        Parameter {
            name: "extra",
            default: Some(Value::Millis(100.0)),
            min: 0.0,
            max: 60_000.0,
            words: &[],
            help: "D: what p95 may be longer by while the store is lost",
        },
        SETTLE,
    ],
    needs: &[Capability::HttpCache, Capability::SharedStore, Capability::NetworkFaults],
    reads: Reads::Experiments(&[CACHE_STORE_LOSS]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: loss::MINIMUM,
    check: loss::cac_04,
};

const CAC_05: Claim = Claim {
    id: "CAC-05",
    statement: "many concurrent requests for what is not in the cache, has expired or was wiped make at most K backend calls at a time",
    source: "RFC 9111 section 4 (collapsing is allowed, not required: who does not promise it has a limit here, measured); claims.md section 3, row 59",
    level: Level::Extended,
    parameters: &[Parameter {
        name: "calls",
        default: Some(Value::Number(0.0)),
        min: 0.0,
        max: 10_000.0,
        words: &[],
        help: "K, backend calls for one resource at the same time; 0: one for each replica that is asked",
    }],
    needs: &[Capability::HttpCache],
    reads: READS,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: stampede::MINIMUM,
    check: stampede::cac_05,
};

#[cfg(test)]
mod tests;
