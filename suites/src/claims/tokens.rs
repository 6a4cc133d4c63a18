//! Is a token accepted where it must be, refused where it must be, and does a revocation reach and stay?
//!
//! Vocabulary with the experiments: uses are calls on the stream `token`; a mark [`ISSUED`] or [`SIGNED`]
//! says where each token of the matrix comes from; a revocation is the operation itself, answered 2xx.

mod introspection;
mod keys;
mod matrix;
mod revocation;
mod times;

use super::recovery::SETTLE;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};

/// A token of the matrix was issued by a gateway; subject: its digest; value: the operation that issued it.
pub(crate) const ISSUED: &str = "token-issued";
/// A token of the matrix was signed by the harness; subject: its digest; value: position of the site whose material signed it.
pub(crate) const SIGNED: &str = "token-signed";
/// Phase `hold`, variant: revocation under load in a quiet cluster.
pub(crate) const REVOKE: &str = "revoke";
/// Phase `hold`, variant: revocation while one replica restarts.
pub(crate) const REVOKE_IN_RESTART: &str = "revoke-in-restart";
/// Phase `hold`, variant: one replica was restarted after the revocation.
pub(crate) const RESTART_ONE: &str = "restart-one";
/// Phase `hold`, variant: all replicas of the cluster were restarted after the revocation.
pub(crate) const RESTART_ALL: &str = "restart-all";

/// Phase, variant: revocation while the other sites are cut off the store that all share.
pub(crate) const WAN_CUT: &str = "wan-cut";
/// Phase, variant: revocation at the identity provider, which all replicas can reach.
pub(crate) const PROVIDER_REVOKE: &str = "revoke-at-provider";
/// Phase, variant: no replica can reach the identity provider.
pub(crate) const PROVIDER_AWAY: &str = "provider-away";
/// Phase, variant: a key is published beside another one, and that one is removed later.
pub(crate) const ROTATE: &str = "rotate";
/// Phase `hold`, variant: the old key was removed.
pub(crate) const KEY_REMOVED: &str = "key-removed";
/// Phase, variant: the way of all replicas to the identity provider refuses connections.
pub(crate) const JWKS_REFUSED: &str = "jwks-refused";
/// Phase, variant: the way of all replicas to the identity provider is a black hole.
pub(crate) const JWKS_SILENT: &str = "jwks-silent";
/// Component: the store of a deployment whose sites share one.
pub(crate) const SHARED_STORE: &str = "store";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[TOK_01, TOK_02, TOK_03, TOK_04, TOK_05, TOK_06, TOK_07, TOK_08];

/// Least number of judged uses of the matrix.
const MINIMUM: u64 = 50;
/// Least number of judged uses of revoked tokens.
const MINIMUM_REVOKED: u64 = 20;
/// Least number of judged uses of tokens near the edges of their validity.
const MINIMUM_TIMED: u64 = 100;
/// Least number of judged uses of tokens of published keys.
const MINIMUM_KEYS: u64 = 100;
const MATRIX: Reads = Reads::Experiments(&["token-matrix"]);
const REVOCATION: Reads = Reads::Experiments(&["revocation"]);

const TOK_01: Claim = Claim {
    id: "TOK-01",
    statement: "a token issued at gateway/site A is accepted at every other one that has the same signing material, also while A is down",
    source: "seed I14: the OAuth secret must be the same, so both gateways enforce all tokens",
    level: Level::Core,
    parameters: &[],
    needs: &[Capability::Tokens, Capability::ReplicaFaults],
    reads: MATRIX,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: MINIMUM,
    check: matrix::tok_01,
};

const TOK_02: Claim = Claim {
    id: "TOK-02",
    statement: "with different signing material the token is refused, as 401",
    source: "seed I14, negative control; RFC 6750 section 3.1",
    level: Level::Core,
    parameters: &[],
    needs: &[Capability::Tokens, Capability::TokenRekey, Capability::ReplicaFaults],
    reads: MATRIX,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: MINIMUM,
    check: matrix::tok_02,
};

const TOK_03: Claim = Claim {
    id: "TOK-03",
    statement: "after a revoke at any replica, all replicas of that cluster refuse within T",
    source: "DataPower gateway-peering shares revocations within a cluster; RFC 7009 section 2; claims.md section 3, rows 33, 36, 38",
    level: Level::Core,
    parameters: &[Parameter {
        name: "within",
        default: Some(Value::Seconds(5.0)),
        min: 0.1,
        max: 600.0,
        words: &[],
        help: "from the 200 of the revoke to the last accept at any replica of the cluster (default: ours; no vendor says it)",
    }],
    needs: &[Capability::Tokens, Capability::TokenRevocation, Capability::TwoReplicas, Capability::ReplicaFaults],
    reads: REVOCATION,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_REVOKED,
    check: revocation::tok_03,
};

const TOK_04: Claim = Claim {
    id: "TOK-04",
    statement: "a revoke at site A is effective at site B within T, and one made while B was cut off within T of the heal",
    source: "seeds I15, I20; RFC 7009 section 2",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "within",
            default: Some(Value::Seconds(30.0)),
            min: 0.1,
            max: 3600.0,
            words: &[],
            help: "from the 200 of the revoke to the last accept at another site (default: ours; no vendor says it)",
        },
        Parameter {
            name: "observe",
            default: Some(Value::Seconds(120.0)),
            min: 0.1,
            max: 3600.0,
            words: &[],
            help: "how long the other site is watched: `not seen in N s`, never `never`",
        },
    ],
    needs: &[Capability::Tokens, Capability::TokenRevocation, Capability::TwoSites],
    reads: REVOCATION,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_REVOKED,
    check: revocation::tok_04,
};

const TOK_05: Claim = Claim {
    id: "TOK-05",
    statement: "with introspection, a revoked token lives at most min(cache TTL, exp), also while the identity provider is away; soon after it is back, tokens are good that nobody could check",
    source: "Flex OAuth token introspection policy, validatedTokenTTL; RFC 7662 section 4; claims.md section 3, row 38",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "ttl",
            default: Some(Value::Seconds(30.0)),
            min: 0.0,
            max: 86_400.0,
            words: &[],
            help: "for how long a gateway may keep what the provider said of a token (Flex validatedTokenTTL: 600 s by default; ours is for tests)",
        },
        Parameter {
            name: "poll",
            default: Some(Value::Millis(100.0)),
            min: 0.0,
            max: 10_000.0,
            words: &[],
            help: "one poll: what a revoked token may live longer than the TTL, for the time in which an answer of the provider is under way",
        },
        Parameter {
            name: "leeway",
            default: Some(Value::Seconds(0.0)),
            min: 0.0,
            max: 300.0,
            words: &[],
            help: "how long after exp what was said of a token may be kept; RFC 7662 has none (that of TOK-07 is for clocks that differ; none does here)",
        },
        Parameter {
            name: "grain",
            default: Some(Value::Seconds(1.0)),
            min: 0.1,
            max: 60.0,
            words: &[],
            help: "how soon after exp nothing is judged: NumericDate has whole seconds",
        },
        SETTLE,
    ],
    needs: &[Capability::Tokens, Capability::TokenIntrospection, Capability::NetworkFaults],
    reads: Reads::Experiments(&["introspection"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_REVOKED,
    check: introspection::tok_05,
};

const TOK_06: Claim = Claim {
    id: "TOK-06",
    statement: "revocations survive the restart of a replica and of the whole cluster",
    source: "DataPower token manager: data must persist across a restart; claims.md section 3, row 37",
    level: Level::Core,
    parameters: &[],
    needs: &[Capability::Tokens, Capability::RevocableTokens, Capability::ReplicaFaults],
    reads: REVOCATION,
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_REVOKED,
    check: revocation::tok_06,
};

const TOK_07: Claim = Claim {
    id: "TOK-07",
    statement: "exp and nbf of a token are enforced within leeway L at every replica, also at one whose clock is off by S",
    source: "RFC 7519 sections 4.1.4 and 4.1.5; claims.md section 3, row 40",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "leeway",
            default: Some(Value::Seconds(60.0)),
            min: 0.0,
            max: 300.0,
            words: &[],
            help: "L: how long before nbf and after exp a token may be accepted, the error of the replica's clock included (RFC 7519: no more than a few minutes)",
        },
        Parameter {
            name: "skew",
            default: Some(Value::Seconds(30.0)),
            min: 0.0,
            max: 300.0,
            words: &[],
            help: "S: how far the clock of a replica may be off, so that it still accepts each valid token (default: ours)",
        },
        Parameter {
            name: "grain",
            default: Some(Value::Seconds(1.0)),
            min: 0.1,
            max: 60.0,
            words: &[],
            help: "how near to an edge nothing is judged: NumericDate has whole seconds",
        },
    ],
    needs: &[Capability::Tokens, Capability::ReplicaFaults, Capability::ClockOffset],
    reads: Reads::Experiments(&["token-times"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_TIMED,
    check: times::tok_07,
};

const TOK_08: Claim = Claim {
    id: "TOK-08",
    statement: "rotating published keys loses no valid token, a new key is in use and a removed one out of use within T, also when the identity provider was away",
    source: "Flex JWT validation policy: keys are cached, used on while they cannot be fetched, 503 if none was ever loaded; RFC 7517, RFC 8725; claims.md section 3, row 39",
    level: Level::Core,
    parameters: &[Parameter {
        name: "margin",
        default: Some(Value::Seconds(5.0)),
        min: 0.1,
        max: 600.0,
        words: &[],
        help: "T is the time for which fetched keys are fresh, which the story sets, and this much for fetching them (default: ours)",
    }],
    needs: &[Capability::Tokens, Capability::PublishedKeys, Capability::NetworkFaults, Capability::ReplicaFaults],
    reads: Reads::Experiments(&["key-rotation"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_KEYS,
    check: keys::tok_08,
};
