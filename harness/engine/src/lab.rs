//! What an experiment holds: a deployment that runs, the links between its components, checked
//! operations, open-loop traffic, faults with their witnesses, and the history that all of it goes to.
//!
//! [`Lab::bring_up`] starts everything and waits until it is ready; [`Lab::finish`] heals every fault,
//! stops the streams, closes the history and removes what was started. Durations of the deployment are
//! scaled already; those that an experiment chooses pass through [`Lab::scaled`].

mod analytics;
mod background;
mod bring_up;
mod cached;
mod calibration;
mod clocks;
mod failover;
mod faults;
mod followers;
mod health;
mod keys;
mod lateness;
mod management;
mod operations;
mod platform;
mod processor;
mod replicas;
mod rotation;
mod scaling;
mod secrets;
mod timed_tokens;
mod told;
mod topology;
mod traffic;

pub use cached::Resource;
pub use faults::Active;
pub use health::HealthWatch;
pub use keys::{Forgery, JWKS, JWKS_TTL_SETTING, TOKENS_SETTING};
pub use lateness::LATE;
pub use management::Managed;
pub use operations::{Call, Outcome, Target};
pub use replicas::{Disk, Replica};
pub use secrets::Token;
pub use timed_tokens::Validity;
pub use told::Told;
pub use traffic::{Traffic, TrafficSpec};

use crate::client::Client;
use crate::clock::Clock;
use crate::control::{Control, ControlError};
use crate::link::{Link, LinkError, Links};
use crate::recorder::{RecordError, Recorder};
use crate::runtime::{Network, Runtime, RuntimeError};
use gatecrash_model::Demands;
use gatecrash_model::adapter::Adapter;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Deployment, Site, StoreKind};
use gatecrash_model::fixture;
use gatecrash_model::history::EventKind;
use gatecrash_model::profile::Scalar;
use gatecrash_model::seed::Seed;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What stands behind `store: {kind: redis}`: asked once in a run, so that all of its labs and its report agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisOfRun {
    /// This Redis, in words.
    Real(String),
    /// The store stub, because there is no Redis, for this reason.
    StandIn(String),
}

/// What all labs of a run share.
#[derive(Clone)]
pub struct Kit {
    /// Where components run.
    pub runtime: Arc<dyn Runtime>,
    /// Which Redis they have.
    pub redis: RedisOfRun,
    /// The relay of all links.
    pub links: Links,
    /// The clock of the run.
    pub clock: Clock,
    /// Seed of the run.
    pub seed: Seed,
    /// How to run and speak to the gateway.
    pub adapter: Adapter,
    /// Folder of the run: histories go here.
    pub folder: PathBuf,
    /// Folder with fetched tools (`envoy`, `redis`), for templates.
    pub tools: String,
    /// `--scale`.
    pub scale: f64,
    /// Cancelled on Ctrl-C: every wait of a lab ends.
    pub interrupt: CancellationToken,
}

/// What an experiment wants of its lab beyond the deployment.
#[derive(Clone, Debug, Default)]
pub struct LabOptions {
    /// Settings over the deployment's.
    pub settings: BTreeMap<String, Scalar>,
    /// Another store than the deployment's (the stub, which can misbehave).
    pub store: Option<StoreKind>,
    /// Another quota window than the deployment's, from the start.
    pub quota_window: Option<Window>,
    /// Whether the must-refuse and contract streams stay away (timing experiments on very few requests).
    pub quiet: bool,
    /// Whether the deployment's platform may act, if it has one: from [`Lab::start_platform`] on. Experiments that kill and pause
    /// replicas for themselves must not be disturbed.
    pub platform: bool,
    /// Whether that platform may scale, too, if it does so. Experiments that count replicas, or compare what they do, must not be disturbed.
    pub autoscale: bool,
    /// Whether the store fails over, if it does so and is a real Redis. In all other labs it is one node.
    pub store_failover: bool,
    /// Whether there is one route more, whose backend is the upstream of the next site, and a link from each replica to that one. Only where
    /// there are two sites; no other lab has either, so that no other story meets them.
    pub remote_route: bool,
    /// The steps of the story that are told; `None` for all.
    pub steps: Option<BTreeSet<String>>,
    /// How long claims ask stretches of the story to be: see [`Lab::stretched`].
    pub demands: Demands,
}

/// A window as an experiment wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How long, before scaling.
    pub lasts: Duration,
    /// Never shorter than this, whatever the scale.
    pub at_least: Duration,
}

impl Window {
    /// How long it is at `scale`.
    #[must_use]
    pub fn at(self, scale: f64) -> Duration {
        Duration::try_from_secs_f64(self.lasts.as_secs_f64() * scale).unwrap_or(self.lasts).max(self.at_least)
    }
}

/// Why a lab could not do what it was asked: never a verdict.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The runtime failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A fixture did not do what it was told.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The history could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The adapter's templates could not be rendered.
    #[error("adapter `{adapter}` cannot be rendered for `{replica}`: {why}")]
    Render {
        /// Adapter.
        adapter: String,
        /// Replica.
        replica: String,
        /// Why, with template and line.
        why: String,
    },
    /// A component did not become ready.
    #[error("`{name}` not ready after {within_s:.1} s; last status: {last}{log}")]
    NotReady {
        /// Component.
        name: String,
        /// How long was waited.
        within_s: f64,
        /// What was seen last.
        last: String,
        /// The last lines of its log, each on a line of its own.
        log: String,
    },
    /// A number of a fault is outside its range.
    #[error("fault of `{name}`")]
    Illegal {
        /// The component.
        name: String,
        /// Which number.
        source: gatecrash_model::fault::IllegalFault,
    },
    /// The experiment named something that the deployment does not have.
    #[error("the deployment has no `{0}`")]
    Unknown(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// A running deployment under test. Copies are the same lab.
#[derive(Clone)]
pub struct Lab {
    inner: Arc<Inner>,
}

struct Inner {
    kit: Kit,
    experiment: String,
    deployment: Deployment,
    options: LabOptions,
    network: Network,
    recorder: Recorder,
    client: Client,
    http: reqwest::Client,
    clients: Vec<fixture::Client>,
    next_op: AtomicU32,
    next_fault: AtomicU32,
    next_process: AtomicU32,
    background: AtomicBool,
    lateness: lateness::Lateness,
    calibrated: calibration::Calibrated,
    slow_refusals: calibration::SlowRefusals,
    stop: CancellationToken,
    state: Mutex<State>,
    /// Held by whoever is about to inject or to replace: a witness looks at a replica that nobody replaces meanwhile.
    acting: tokio::sync::Mutex<()>,
    tokens: tokio::sync::Mutex<BTreeMap<(String, String), Token>>,
}

#[derive(Default)]
struct State {
    /// Address and last start of each component.
    components: BTreeMap<String, Running>,
    replicas: Vec<replicas::Entry>,
    links: BTreeMap<topology::LinkKey, Link>,
    /// Signing material of each site.
    signing: BTreeMap<String, String>,
    contracts: Vec<fixture::Contract>,
    configuration: Option<fixture::Configuration>,
    /// What was published before, in order.
    earlier: Vec<fixture::Configuration>,
    /// Faults that are in place.
    faults: BTreeMap<u32, gatecrash_model::fault::Fault>,
    /// Backends in rotation, by ingress.
    in_rotation: BTreeMap<String, BTreeSet<String>>,
    /// Replicas that their ingress is not to use.
    withdrawn: BTreeSet<String>,
    /// What runs the replicas, while it does.
    platform: Option<platform::Acting>,
    /// Who came in whose place, in order.
    successors: Vec<platform::Succession>,
    /// Which calls were answered, and which of them analytics recorded.
    calls: analytics::Calls,
    /// Latest stamp heard on each event stream.
    heard: BTreeMap<String, u64>,
    /// It came up, and every component of it was proven to be reached through links only.
    isolated: bool,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    address: IpAddr,
    started_at: u64,
}

impl Lab {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere does not make the addresses and links less true; healing must go on.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under test, scaled.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// The adapter of its gateway.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.inner.kit.adapter
    }

    /// Whether adapter, runtime and topology have what `capability` says.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        capabilities(&self.inner.deployment, &self.inner.kit.adapter, &self.inner.kit.runtime.capabilities())
            .contains(&capability)
    }

    /// `--scale`.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.inner.kit.scale
    }

    /// `duration`, scaled.
    #[must_use]
    pub fn scaled(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() * self.inner.kit.scale).unwrap_or(duration)
    }

    /// How long a stretch of the story is that takes `usual`, enough for a claim whose `parameter` is `default`: scaled, and longer where a claim over
    /// this experiment asks for more ([`gatecrash_model::Demands::stretched`]).
    #[must_use]
    pub fn stretched(&self, usual: Duration, parameter: &str, default: Duration) -> Duration {
        self.inner.options.demands.stretched(usual, parameter, default, self.inner.kit.scale)
    }

    /// Seed of this experiment.
    #[must_use]
    pub fn seed(&self) -> Seed {
        self.inner.kit.seed.derive(&self.inner.experiment)
    }

    /// Nanoseconds since the run started.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.inner.kit.clock.now()
    }

    /// The sites.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.inner.deployment.sites
    }

    /// The clients: `client-1`.. with OAuth credentials and a contract, `former-1`.. whose contract is removed at the start,
    /// `late-1`.. with OAuth credentials only, `outsider-1`.. with neither.
    #[must_use]
    pub fn clients(&self) -> &[fixture::Client] {
        &self.inner.clients
    }

    /// Whether this step of the story is to be told: every one, unless a schedule leaves it out.
    #[must_use]
    pub fn wants(&self, step: &str) -> bool {
        self.inner.options.steps.as_ref().is_none_or(|steps| steps.contains(step))
    }

    /// The story enters a phase.
    pub fn phase(&self, phase: &str, variant: &str) {
        tracing::debug!(experiment = self.inner.experiment, phase, variant, "phase");
        self.inner.recorder.now(EventKind::Phase { phase: phase.to_owned(), variant: variant.to_owned() });
    }

    /// Records a fact for the checks.
    pub fn mark(&self, name: &str, subject: &str, value: i64) {
        self.inner.recorder.now(EventKind::Mark { name: name.to_owned(), subject: subject.to_owned(), value });
    }

    /// Records something a reader should know.
    pub fn note(&self, text: impl Into<String>) {
        self.inner.recorder.now(EventKind::Note { text: text.into() });
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// `Interrupted` on Ctrl-C; the first write to the history that failed.
    pub async fn hold(&self, duration: Duration) -> Result<(), LabError> {
        tokio::select! {
            () = crate::clock::sleep(duration) => {}
            () = self.inner.kit.interrupt.cancelled() => return Err(LabError::Interrupted),
        }
        Ok(self.inner.recorder.check()?)
    }

    fn address_of(&self, name: &str) -> Result<IpAddr, LabError> {
        self.state()
            .components
            .get(name)
            .map(|running| running.address)
            .ok_or_else(|| LabError::Unknown(name.to_owned()))
    }

    fn control(&self, name: &str) -> Result<Control, LabError> {
        Ok(Control::new(self.inner.http.clone(), self.address_of(name)?))
    }

    fn next_op(&self) -> u32 {
        self.inner.next_op.fetch_add(1, Ordering::Relaxed)
    }

    fn keep_task(&self, task: JoinHandle<()>) {
        self.state().tasks.push(task);
    }
}

/// The setting that puts a replica's clock off, in milliseconds.
const CLOCK_SETTING: &str = "clockOffsetMs";

/// The setting that makes a replica small or large.
const SIZE_SETTING: &str = "size";

/// The setting with which routes may have their backend in another site.
const REMOTE_SETTING: &str = "remoteBackend";

/// What an adapter can do if it has all of these settings, and this machine what they need.
const BY_SETTINGS: [(Capability, &[&str]); 5] = [
    (Capability::PublishedKeys, &[TOKENS_SETTING, JWKS_TTL_SETTING]),
    (Capability::ClockOffset, &[CLOCK_SETTING]),
    (Capability::Concurrency, &["concurrency", "queue"]),
    (Capability::Sizes, &["concurrency", "queue", SIZE_SETTING]),
    (Capability::RemoteBackend, &[REMOTE_SETTING]),
];

/// Value of the setting `revocation` with which the gateway asks the identity provider about tokens.
const INTROSPECTION: &str = "introspection";

/// What adapter, runtime and topology together can do.
#[must_use]
pub fn capabilities(deployment: &Deployment, adapter: &Adapter, runtime: &[Capability]) -> BTreeSet<Capability> {
    let mut all: BTreeSet<Capability> = adapter.capabilities.iter().chain(runtime).copied().collect();
    if deployment.sites.len() >= 2 {
        all.insert(Capability::TwoSites);
    }
    if deployment.sites.iter().any(|site| site.replicas >= 2) {
        all.insert(Capability::TwoReplicas);
    }
    if deployment.platform.is_some() {
        all.insert(Capability::Platform);
    }
    if deployment.peering.is_some() {
        all.insert(Capability::Peering);
    } else if all.contains(&Capability::ReplicaDisk) {
        all.insert(Capability::NewReplicas);
    }
    if deployment.analytics.is_some() {
        all.insert(Capability::Analytics);
    }
    if deployment.store.is_none() {
        all.remove(&Capability::SharedStore);
    }
    if deployment.fails_over() && all.contains(&Capability::SharedStore) {
        all.insert(Capability::StoreFailover);
    }
    if deployment.control_plane.is_none() {
        for needed in [Capability::ControlPlane, Capability::ConfigurationChoice, Capability::Contracts] {
            all.remove(&needed);
        }
    }
    if adapter.version_header.is_none() {
        all.remove(&Capability::ConfigurationVersion);
    }
    let usable = |name: &&str| adapter.settings.contains_key(*name) && !adapter.unmet.contains_key(*name);
    all.extend(
        BY_SETTINGS.iter().filter(|(_, settings)| settings.iter().all(usable)).map(|(capability, _)| *capability),
    );
    if setting(deployment, adapter, TOKENS_SETTING).as_deref() == Some(JWKS) {
        // Whoever issues tokens has the private key: that is the identity provider alone.
        all.remove(&Capability::TokenIssue);
        all.remove(&Capability::TokenRekey);
    }
    if adapter.token.is_none() {
        all.remove(&Capability::TokenIssue);
    }
    let revocation = setting(deployment, adapter, "revocation");
    if adapter.revocation.is_none() || revocation.as_deref().is_some_and(|word| !["cluster", "peering"].contains(&word))
    {
        all.remove(&Capability::TokenRevocation);
    }
    if revocation.as_deref() == Some(INTROSPECTION) {
        all.insert(Capability::TokenIntrospection);
    }
    if setting(deployment, adapter, "cache").is_some_and(|word| word != "off") {
        all.insert(Capability::HttpCache);
    }
    if all.contains(&Capability::TokenRevocation) || all.contains(&Capability::TokenIntrospection) {
        all.insert(Capability::RevocableTokens);
    }
    all
}

/// Why an adapter that could have `capability` does not have it on this machine, if that is so.
#[must_use]
pub fn unmet(adapter: &Adapter, capability: Capability) -> Option<&str> {
    let (_, settings) = BY_SETTINGS.iter().find(|(of, _)| *of == capability)?;
    settings.iter().find_map(|name| adapter.unmet.get(*name)).map(String::as_str)
}

/// The effective value of a setting as a word: the deployment's, else the adapter's default.
#[must_use]
pub fn setting(deployment: &Deployment, adapter: &Adapter, name: &str) -> Option<String> {
    let value = deployment
        .gateway
        .settings
        .get(name)
        .or_else(|| adapter.settings.get(name).and_then(|setting| setting.default.as_ref()))?;
    Some(match value {
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => value.clone(),
    })
}
