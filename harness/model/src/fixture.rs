//! What the harness and its fixtures say to each other: configurations with which fixtures are started,
//! requests on their control listeners, and the lines of their event streams.
//!
//! Every fixture is started as `gatecrash fixture ROLE --config FILE` (ROLE as [`Role::as_str`]; FILE is the
//! JSON of its configuration here), binds exactly the addresses that it is told, writes one line
//! `ready` to stdout when all listeners are bound, logs to stderr, and ends on SIGTERM.
//!
//! Control listener of every fixture but the gateway (never faulted, dialled by the harness only):
//! - `GET /control/events`: [`StreamLine`]s as JSON lines, from the first on, until the client leaves; a
//!   heartbeat every 100 ms.
//! - `PUT /control/fault` with `{"endpoint": "", "fault": {"mode": "silent"}}` ([`FaultRequest`]); `fault: null` heals.
//! - `GET /control/health`: 200.
//!
//! And by role:
//! - control plane: `PUT /control/configuration` ([`Configuration`]: published as the next version; answers
//!   `{"version": 18}`), `PUT /control/contracts` (the list of [`Contract`]; answers its version),
//!   `POST /control/roll-back` (the version before is served again), `POST /control/restore` with `{"version": 3}` (a copy of that version is put back:
//!   what was published later is lost, its numbers are given again, in the next term).
//! - identity: `POST /control/sign` ([`SignRequest`]; answers `{"token": "..."}`), `PUT /control/keys/KID` and `DELETE /control/keys/KID` (that key
//!   is in the published set from now on, or no longer; both answer `{"published": ["key-1"]}`).
//! - site store: `DELETE /control/configuration` (wipes it).
//! - ingress: `PUT /control/backends` (list of [`Backend`]).
//! - store (stub): `DELETE /control/keys` (flush).
//!
//! What gateways call, over links:
//! - control plane: `GET /v1/configuration`, `GET /v1/contracts` (with `x-gateway-replica`; `ETag` is the
//!   quoted version, `"2.17"` in the second term and later; `If-None-Match` gives 304), `POST /v1/register` ([`Registration`]),
//!   `POST /v1/status` ([`Status`]).
//! - site store: `GET /v1/configuration` and `PUT /v1/configuration` (body is a [`Configuration`]; 404 before the first PUT).
//! - analytics: `POST /v1/events` ([`Batch`]). A batch that was taken already is answered 200 and not recorded again.
//! - identity: `POST /token`, `POST /revoke`, `POST /introspect` (RFC 6749, 7009, 7662), `GET` of [`JWKS_PATH`] (RFC 7517).
//! - other gateways, at their `peer_listen`: paths below `/peer/`, which are theirs alone.
//!
//! Requests of the harness carry `x-gatecrash-op: <id>`; gateways pass request headers on, so the
//! upstream finds the id. An upstream answers 200 with a small JSON body, `cache-control: no-store`;
//! below some paths it says what the query asks it to say of what may be kept ([`crate::cacheable`]).

use crate::deployment::{Policy, Quota, Route};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Header with the id of an operation.
pub const OP_HEADER: &str = "x-gatecrash-op";
/// Header with milliseconds that an upstream waits before it answers a request, at most [`LONGEST_DELAY_MS`].
pub const DELAY_HEADER: &str = "x-gatecrash-delay-ms";
/// Header with the status that an upstream answers a request with, 200 to 599.
pub const STATUS_HEADER: &str = "x-gatecrash-status";
/// The longest that an upstream waits because a request says so.
pub const LONGEST_DELAY_MS: u64 = 60_000;
/// Header in which a gateway replica names itself to control planes, and the reference gateway to clients.
pub const REPLICA_HEADER: &str = "x-gateway-replica";
/// Header in which the reference gateway says which configuration version answered.
pub const VERSION_HEADER: &str = "x-config-version";
/// Header with the client id on routes with the `client-id` policy.
pub const CLIENT_ID_HEADER: &str = "client_id";
/// Header with the client secret on routes with the `client-id` policy.
pub const CLIENT_SECRET_HEADER: &str = "client_secret";

/// Path at which the identity provider publishes its signing keys, a JSON Web Key Set (RFC 7517 section 5).
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// What a fixture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The reference gateway.
    Gateway,
    /// The mock control plane.
    ControlPlane,
    /// The identity provider stub.
    Identity,
    /// A site's configuration store.
    SiteStore,
    /// The store stub (Redis' protocol).
    Store,
    /// An ingress.
    Ingress,
    /// An upstream.
    Upstream,
    /// A site's analytics.
    Analytics,
    /// Dials addresses and says which answered: proves that a container cannot bypass its links.
    Probe,
    /// Uses all the processor time that it gets: presses on whoever shares its control group.
    Burner,
}

impl Role {
    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::ControlPlane => "control-plane",
            Self::Identity => "identity",
            Self::SiteStore => "site-store",
            Self::Store => "store",
            Self::Ingress => "ingress",
            Self::Upstream => "upstream",
            Self::Analytics => "analytics",
            Self::Probe => "probe",
            Self::Burner => "burner",
        }
    }
}

/// A client of the gateway: OAuth client and holder of a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// Client id.
    pub id: String,
    /// Client secret.
    pub secret: String,
    /// Whether it has a contract from the start.
    pub contract: bool,
}

/// A contract: this client may use the APIs that ask for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contract {
    /// Client id.
    pub client: String,
    /// Client secret.
    pub secret: String,
}

/// A gateway replica that decides together with others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Name of the replica.
    pub replica: String,
    /// `host:port` at which the replica that is configured reaches it, a link; not used of its own entry.
    pub address: String,
}

/// A gateway configuration: what a control plane publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Term of the control plane, from 1: how often it was set up or restored from a copy. A version of a later term is newer than any of
    /// an earlier one, whatever its number.
    #[serde(default = "first_term")]
    pub term: u32,
    /// Version within the term; set by the control plane when it is published.
    pub version: u32,
    /// Routes with their policies.
    pub routes: Vec<Route>,
    /// Quota of the routes with the `quota` policy.
    pub quota: Quota,
}

/// The term of a control plane that was never restored.
#[must_use]
pub fn first_term() -> u32 {
    1
}

impl Configuration {
    /// Term and version: of two configurations the one with the higher pair is the newer one.
    #[must_use]
    pub fn age(&self) -> (u32, u32) {
        (self.term, self.version)
    }
}

/// The contracts as the control plane sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contracts {
    /// Version of the list.
    pub version: u32,
    /// The list.
    pub contracts: Vec<Contract>,
}

/// A replica registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Replica.
    pub replica: String,
    /// Site.
    pub site: String,
}

/// A replica says what it runs (ack), or why it refused a version (nack).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Replica.
    pub replica: String,
    /// Version in force; 0 if none.
    pub configuration: u32,
    /// Version of the contracts in force; 0 if none.
    pub contracts: u32,
    /// Why a newer one was refused, if it was.
    #[serde(default)]
    pub refused: Option<String>,
}

/// A call that a gateway answered, as analytics are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// Id of the operation, from [`OP_HEADER`]; 0 if the request had none.
    pub op: u32,
    /// Path without the query.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
}

/// Some calls, in the order in which they were answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Replica that answered them.
    pub replica: String,
    /// Which life of the replica: numbers begin anew with each.
    pub life: u64,
    /// Number of the batch in that life. One that is sent again keeps its number and its calls.
    pub number: u64,
    /// The calls.
    pub calls: Vec<Told>,
}

/// Body of `PUT /control/fault`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRequest {
    /// `configuration`, `contracts`, `register`, `status`; empty for all.
    #[serde(default)]
    pub endpoint: String,
    /// What to do; `None` heals the endpoint.
    pub fault: Option<crate::fault::FixtureFault>,
}

/// Body of `POST /control/sign`: a token with any flaw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignRequest {
    /// Client id (`sub` and `client_id`).
    pub client: String,
    /// Name of the signing material; one that the stub does not know gets a secret of its own (a forged token).
    pub signing: String,
    /// `exp` relative to now, in seconds; negative for an expired token.
    pub expires_in_s: i64,
    /// `alg: none` without a signature.
    #[serde(default)]
    pub alg_none: bool,
    /// `exp` in milliseconds since the epoch, in place of `expires_in_s`.
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
    /// `nbf` in milliseconds since the epoch; `None`: now, or before `exp`.
    #[serde(default)]
    pub not_before_ms: Option<i64>,
    /// Key that signs, ES256, whether it is published or not; `None`: HS256 with the secret of `signing`.
    #[serde(default)]
    pub key: Option<String>,
    /// `kid` that a token of `key` says it is signed with; `None`: that key's.
    #[serde(default)]
    pub kid: Option<String>,
    /// Not signed with `key` at all, but HS256 with its public half as the secret (RFC 8725 section 2.1).
    #[serde(default)]
    pub confused: Option<KeyForm>,
}

/// How the bytes of a public key are written, for whoever takes them for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    /// `SubjectPublicKeyInfo` as PEM, with its last line end.
    Pem,
    /// `SubjectPublicKeyInfo` as DER.
    Der,
    /// The uncompressed point (SEC 1 section 2.3.3).
    Point,
}

impl KeyForm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pem, Self::Der, Self::Point];
}

/// A backend of an ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Replica, or `control-plane`.
    pub name: String,
    /// Zone.
    pub zone: String,
    /// `host:port` of the link to its data port.
    pub address: String,
    /// `host:port` of the link to its readiness port; empty: no probe, always ready.
    pub probe_address: String,
    /// Path of its readiness.
    pub probe_path: String,
    /// Status that means ready.
    pub probe_status: u16,
}

fn default_concurrency() -> u32 {
    256
}

fn default_queue() -> u32 {
    1024
}

fn default_tokens() -> String {
    "shared-secret".to_owned()
}

fn default_cache() -> String {
    "off".to_owned()
}

fn default_cache_key() -> String {
    "full".to_owned()
}

fn default_cache_order() -> String {
    "after-policies".to_owned()
}

/// A node of a store that fails over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreNode {
    /// What Sentinels call it: `host:port`.
    pub announced: String,
    /// `host:port` at which this replica reaches it.
    pub address: String,
}

/// Configuration of the reference gateway. Rendered by the adapter `reference`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// Name of the replica.
    pub replica: String,
    /// Its site.
    pub site: String,
    /// `host:port` of the data listener.
    pub listen: String,
    /// `host:port` of the admin listener (`/ready`, `/live`).
    pub admin: String,
    /// Folder that survives restarts.
    pub disk: String,
    /// `http://` address of the control plane; empty: none, and `routes` and `quota` below hold.
    pub control_plane: String,
    /// `host:port` of the store; empty: state in memory.
    pub store: String,
    /// The nodes of a store that fails over, and its Sentinels; empty: `store` is the only one.
    #[serde(default)]
    pub store_nodes: Vec<StoreNode>,
    /// `host:port` of each Sentinel.
    #[serde(default)]
    pub sentinels: Vec<String>,
    /// `http://` address of the site's configuration store; empty: none.
    pub site_store: String,
    /// `http://` address of the identity provider; empty: none.
    #[serde(default)]
    pub identity: String,
    /// Credentials with which the gateway asks the identity provider (RFC 7662 section 2.1).
    #[serde(default)]
    pub gateway_client: Option<Client>,
    /// `http://` address of the site's analytics; empty: none.
    #[serde(default)]
    pub analytics: String,
    /// `http://` address of another site's analytics, which a gateway has no business with; empty: none.
    #[serde(default)]
    pub other_analytics: String,
    /// Calls that are kept for analytics that do not take them; beyond that the oldest are lost.
    #[serde(default)]
    pub analytics_buffer: u32,
    /// Calls in one message to analytics.
    #[serde(default)]
    pub analytics_batch: u32,
    /// Milliseconds after which a call is sent to analytics at the latest, and after which what failed is sent again.
    #[serde(default)]
    pub analytics_flush_ms: u64,
    /// Milliseconds that one message to analytics may take.
    #[serde(default)]
    pub analytics_timeout_ms: u64,
    /// `http://` address of the upstream.
    pub upstream: String,
    /// `http://` address of the upstream of the next site, for routes whose backend is there; empty: none.
    #[serde(default)]
    pub remote_upstream: String,
    /// Milliseconds between two polls of the control plane.
    pub poll_interval_ms: u64,
    /// Milliseconds that one call to the control plane may take.
    pub management_timeout_ms: u64,
    /// Milliseconds that a store command may take before `on_store_loss` decides.
    pub store_timeout_ms: u64,
    /// Milliseconds after SIGTERM for which connections are still accepted: the time that load balancers have to withdraw the replica.
    pub withdraw_ms: u64,
    /// Milliseconds after SIGTERM that requests in flight have to finish.
    pub drain_ms: u64,
    /// Requests that may be at the upstream at the same time; more wait for their turn.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// Requests that may wait for their turn; more are answered 503.
    #[serde(default = "default_queue")]
    pub queue: u32,
    /// `closed` (503), `open` (not counted), `local` (counted by the replica), `error` (500).
    pub on_store_loss: String,
    /// `memory`, `redis` or `peering` (a quorum of the replicas themselves).
    pub state: String,
    /// `host:port` that other replicas call; empty: none do.
    #[serde(default)]
    pub peer_listen: String,
    /// All replicas that decide together, of all sites, this one among them.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Milliseconds that a decision of the peers may take before it counts as lost; 0: not used.
    #[serde(default)]
    pub peer_timeout_ms: u64,
    /// Milliseconds without a leader after which the peers look for another one (they do within twice that), and after which one that hears
    /// of nobody is out of touch; 0: not used.
    #[serde(default)]
    pub peer_failover_ms: u64,
    /// What becomes of tokens that may be revoked, and of revocations, at a replica that is out of touch with the quorum: `closed` (503) or
    /// `local` (by what it knows, and told to the others later).
    #[serde(default)]
    pub on_quorum_loss_revocations: String,
    /// Whether a replica that is out of touch with the quorum issues tokens: `closed` (503) or `local` (it does).
    #[serde(default)]
    pub on_quorum_loss_tokens: String,
    /// Where the last configuration is kept besides memory: any of `disk`, `site-store`, `store`.
    pub keep_configuration: Vec<String>,
    /// `downloaded` (never stored) or `peered` (kept in the store of the cluster).
    pub contracts: String,
    /// `cluster` (shared by the store, kept there), `peering` (shared by the peers), `introspection` (the identity provider is asked) or `none`.
    pub revocation: String,
    /// Milliseconds for which an answer of the identity provider about a token holds; 0: it is asked each time.
    #[serde(default)]
    pub introspection_ttl_ms: u64,
    /// Milliseconds that the identity provider may take of one request before it counts as away; 0: not used.
    #[serde(default)]
    pub introspection_timeout_ms: u64,
    /// What tokens are checked with: `shared-secret` (HS256), or `jwks` (ES256, with the keys that the identity provider publishes).
    #[serde(default = "default_tokens")]
    pub tokens: String,
    /// Milliseconds for which a fetched set of keys is fresh; 0: not used.
    #[serde(default)]
    pub jwks_ttl_ms: u64,
    /// Milliseconds that the identity provider may take to give its keys before it counts as away; 0: not used.
    #[serde(default)]
    pub jwks_timeout_ms: u64,
    /// Milliseconds by which `exp` and `nbf` are taken less strictly (RFC 7519 section 4.1.4: for clocks that are not one).
    #[serde(default)]
    pub leeway_ms: u64,
    /// Milliseconds by which the replica's clock is ahead of the machine's; negative: behind.
    #[serde(default)]
    pub clock_offset_ms: i64,
    /// Whether responses are kept, below paths with [`crate::cacheable::CACHED_SEGMENT`]: `off`, `shared` (in the store, by all replicas) or `local` (by each replica).
    #[serde(default = "default_cache")]
    pub cache: String,
    /// By what a kept response is found: `full` (RFC 9111) or `path` (the path alone, whoever asks).
    #[serde(default = "default_cache_key")]
    pub cache_key: String,
    /// Where the cache stands: `after-policies` (all policies run on a hit) or `before-policies` (none does).
    #[serde(default = "default_cache_order")]
    pub cache_order: String,
    /// Milliseconds for which a response is kept at most; 0: not used.
    #[serde(default)]
    pub cache_ttl_ms: u64,
    /// Whether requests of a replica for the same thing wait for the one that is at the upstream already.
    #[serde(default)]
    pub cache_coalesce: bool,
    /// Signing secret, base64url without padding.
    pub signing_secret: String,
    /// `iss` of tokens.
    pub issuer: String,
    /// `aud` of tokens.
    pub audience: String,
    /// OAuth clients.
    pub clients: Vec<Client>,
    /// Status for over-quota requests.
    pub reject_status: u16,
    /// How clients are told of their quota.
    #[serde(default)]
    pub rate_limit: RateLimitHeaders,
    /// Routes that hold without a control plane.
    pub routes: Vec<Route>,
    /// Quota that holds without a control plane.
    pub quota: Quota,
    /// Switched-on defects.
    pub defects: Vec<String>,
    /// `--scale`: internal periods shrink with everything else.
    pub scale: f64,
}

/// Configuration of the mock control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneConfig {
    /// Component name.
    pub name: String,
    /// `host:port` that gateways call.
    pub listen: String,
    /// `host:port` of the control listener.
    pub control: String,
    /// First configuration (version 1).
    pub configuration: Configuration,
    /// First contracts (version 1).
    pub contracts: Vec<Contract>,
}

/// Configuration of the identity provider stub.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityConfig {
    /// Component name.
    pub name: String,
    /// `host:port` that clients and gateways call.
    pub listen: String,
    /// `host:port` of the control listener.
    pub control: String,
    /// Signing secrets by the name of the material, base64url without padding.
    pub secrets: std::collections::BTreeMap<String, String>,
    /// Material that `/token` signs with.
    pub signing: String,
    /// Keys that are published from the start.
    #[serde(default)]
    pub keys: Vec<String>,
    /// `iss` of tokens.
    pub issuer: String,
    /// `aud` of tokens.
    pub audience: String,
    /// OAuth clients.
    pub clients: Vec<Client>,
}

/// Configuration of the fixtures that need no more than names and addresses: site store, store stub, upstream, analytics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlainConfig {
    /// Component name.
    pub name: String,
    /// `host:port` that others call.
    pub listen: String,
    /// `host:port` of the control listener.
    pub control: String,
}

/// Configuration of an ingress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressConfig {
    /// Component name.
    pub name: String,
    /// `host:port` that clients call.
    pub listen: String,
    /// `host:port` of the control listener.
    pub control: String,
    /// Milliseconds after which a request is given up with 504.
    pub timeout_ms: u64,
    /// Milliseconds between two readiness probes of a backend.
    pub probe_interval_ms: u64,
    /// Failed probes in a row that withdraw a backend.
    pub probe_threshold: u32,
    /// Backends at the start.
    pub backends: Vec<Backend>,
    /// Switched-on defects: those of an ingress; it knows those of gateways and does without them.
    #[serde(default)]
    pub defects: Vec<String>,
}

/// The headers in which a gateway tells a client of its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitHeaders {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, the last in milliseconds.
    #[default]
    Flex,
    /// `RateLimit-Limit`, `-Remaining` and `-Reset`, the last in seconds (draft-ietf-httpapi-ratelimit-headers-03).
    #[serde(rename = "draft-03")]
    Draft03,
    /// `RateLimit-Policy: "default";q=100` and `RateLimit: "default";r=5;t=30`, `t` in seconds (the same draft, since -08).
    #[serde(rename = "draft-08")]
    Draft08,
}

/// Configuration of a probe, which has no control listener: what it is asked comes from the harness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeConfig {
    /// `host:port` of the listener that takes `POST /probe` with [`Probing`], and answers [`Probed`].
    pub listen: String,
}

/// What a probe is to dial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probing {
    /// `ip:port` each; all are dialled at once.
    pub targets: Vec<String>,
    /// Milliseconds that each connection may take.
    pub timeout_ms: u64,
    /// `ip:port` of what must answer. Dialled beside the targets, and for ten times as long: how long it takes tells what a connection takes here and now.
    pub control: String,
}

/// What a probe found, in the order of its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// What became of each.
    pub probed: Vec<Dialled>,
    /// What became of the control.
    pub control: Dialled,
}

/// What became of one connection that a probe tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dialled {
    /// `ip:port`.
    pub target: String,
    /// Whether it connected.
    pub connected: bool,
    /// Why not; empty if it connected.
    pub why: String,
    /// How long that took, in microseconds.
    pub took_us: u64,
}

/// Configuration of a burner, which has no control listener either: it computes on one thread until it is told to stop, and ends with exit
/// code 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BurnerConfig {
    /// It goes on as long as this file is there, as it sees it.
    pub while_there: PathBuf,
    /// Seconds after which it stops by itself, should nobody be left to remove the file.
    pub at_most_s: u64,
}

/// One line of `GET /control/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamLine {
    /// Number of the line, from 1, dense: a hole means that lines were lost.
    pub n: u64,
    /// `CLOCK_MONOTONIC` in nanoseconds, stamped when it happened.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: StreamEvent,
}

/// What a fixture tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum StreamEvent {
    /// A request arrived (upstream).
    Arrived {
        /// Operation id; 0 if the request had none.
        op: u32,
        /// Path.
        path: String,
    },
    /// A call was recorded (analytics).
    Recorded {
        /// Replica that told of it.
        peer: String,
        /// Operation id; 0 if the request had none.
        op: u32,
    },
    /// Somebody called (control plane, site store, identity).
    Contact {
        /// Replica that called; empty if it did not say.
        peer: String,
        /// `configuration`, `contracts`, `register`, `status`, ...
        what: String,
        /// Status given; 0 if none.
        status: u16,
        /// Version given or told; 0 if none.
        version: u32,
    },
    /// A backend's readiness changed (ingress).
    Backend {
        /// Its name.
        name: String,
        /// Whether it is in rotation now.
        ready: bool,
    },
    /// Nothing happened; the stream is alive.
    Heartbeat,
}

/// Whether a route with `policies` refuses requests without credentials.
#[must_use]
pub fn is_protected(policies: &[Policy]) -> bool {
    policies.iter().any(|policy| match policy {
        Policy::Jwt | Policy::ClientId => true,
        Policy::Quota | Policy::Unbuildable => false,
    })
}
