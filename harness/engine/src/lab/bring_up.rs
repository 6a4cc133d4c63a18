//! From a deployment to a running lab, and back to nothing.

use super::keys::keys_at_start;
use super::replicas::LOOK_EVERY;
use super::secrets::{AUDIENCE, ISSUER, clients, gateway_client, signing_secret};
use super::topology::{self, FIXTURE_PORT, Support};
use super::{Inner, Kit, Lab, LabError, LabOptions, RedisOfRun};
use crate::client::Client;
use crate::control::CONTROL_PORT;
use crate::recorder::Recorder;
use crate::runtime::{Component, Program, RedisAs, RuntimeError, State};
use futures::future::try_join_all;
use gatecrash_model::adapter::Adapter;
use gatecrash_model::adapter::render::Context;
use gatecrash_model::deployment::{CALIBRATION, CONTROL_PLANE, Deployment, IDENTITY, Site, StoreKind};
use gatecrash_model::fixture::{
    Backend, Configuration, Contract, ControlPlaneConfig, IdentityConfig, IngressConfig, PlainConfig, Role,
};
use gatecrash_model::history::{Header, format};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a fixture may take until its control listener answers.
const FIXTURE_WITHIN: Duration = Duration::from_secs(20);
/// How long the proof of isolation may take at the end of a story.
const AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// How often an ingress probes its backends, before scaling.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What a lab leaves behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Events in the history.
    pub events: u64,
}

impl Lab {
    /// Starts everything that `deployment` (scaled) has, waits until it is ready, and starts the streams that
    /// every experiment runs. If anything fails, everything is removed again.
    ///
    /// # Errors
    /// What could not be started, or did not become ready, with the last lines of its log.
    pub async fn bring_up(
        kit: Kit,
        deployment: Deployment,
        experiment: &str,
        options: LabOptions,
    ) -> Result<Self, LabError> {
        let mut deployment = deployment;
        if let (Some(kind), Some(store)) = (options.store, deployment.store.as_mut()) {
            store.kind = kind;
        }
        // The stub that stands in for Redis has no second node.
        let stands_in = matches!(kit.redis, RedisOfRun::StandIn(_));
        if let Some(store) = deployment.store.as_mut().filter(|_| stands_in || !options.store_failover) {
            store.failover = None;
        }
        if let Some(window) = options.quota_window {
            deployment.quota.window = window.at(kit.scale);
        }
        if options.remote_route {
            deployment = deployment.with_remote_route();
        }
        let network = kit.runtime.network(experiment).await?;
        let header = Header {
            format: format::FORMAT.to_owned(),
            experiment: experiment.to_owned(),
            seed: kit.seed.derive(experiment).0,
            runtime: kit.runtime.name().to_owned(),
            scale: kit.scale,
        };
        let path = kit.folder.join(format!("history-{experiment}.jsonl"));
        let recorder = Recorder::create(&path, &header, kit.clock)?;
        let connect_within = Duration::from_secs(1).max(Duration::from_secs_f64(5.0 * kit.scale).mul_f64(0.8));
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(4).build().unwrap_or_default();
        let signing = deployment.sites.iter().map(|site| (site.name.clone(), site.signing.clone())).collect();
        let clients = clients(kit.seed);
        let contracts: Vec<Contract> = clients
            .iter()
            .filter(|client| client.contract)
            .map(|client| Contract { client: client.id.clone(), secret: client.secret.clone() })
            .collect();
        let configuration = deployment.control_plane.as_ref().map(|_| Configuration {
            term: 1,
            version: 1,
            routes: deployment.routes.clone(),
            quota: deployment.quota,
        });
        let state = super::State { signing, contracts, configuration, ..super::State::default() };
        let inner = Inner {
            kit,
            experiment: experiment.to_owned(),
            deployment,
            options,
            network,
            recorder,
            client: Client::new(connect_within),
            http,
            clients,
            next_op: AtomicU32::new(1),
            next_fault: AtomicU32::new(1),
            next_process: AtomicU32::new(1),
            background: AtomicBool::new(true),
            lateness: super::lateness::Lateness::default(),
            calibrated: super::calibration::Calibrated::default(),
            slow_refusals: super::calibration::SlowRefusals::default(),
            stop: CancellationToken::new(),
            state: Mutex::new(state),
            acting: tokio::sync::Mutex::new(()),
            tokens: tokio::sync::Mutex::new(BTreeMap::new()),
        };
        let lab = Self { inner: Arc::new(inner) };
        let began = tokio::select! {
            began = lab.start_all() => began,
            () = lab.inner.kit.interrupt.cancelled() => Err(LabError::Interrupted),
        };
        match began {
            Ok(()) => Ok(lab),
            Err(error) => {
                // The first error is the one to tell, unless it came of a disk that takes no history; what is left the
                // reaper takes.
                match lab.finish().await {
                    Err(second @ LabError::Record(_)) => return Err(second),
                    Err(second) => tracing::warn!(%second, "tear-down after a failed bring-up"),
                    Ok(_) => {}
                }
                Err(error)
            }
        }
    }

    async fn start_all(&self) -> Result<(), LabError> {
        self.phase("bring-up", "");
        let redis = match self.deployment().store.as_ref().map(|store| store.kind) {
            Some(StoreKind::Redis) => match &self.inner.kit.redis {
                RedisOfRun::Real(_) => true,
                RedisOfRun::StandIn(why) => {
                    self.note(format!("the store stub stands in for Redis: {why}"));
                    false
                }
            },
            Some(StoreKind::Stub) | None => false,
        };
        let support = topology::support(self.deployment(), redis);
        // What gateways depend on, the ingress before the control plane included, may have to be there when they start. Nothing waits
        // for the other ingresses and the probe but the traffic.
        let managing: Vec<String> = self.sites().iter().map(Site::management_ingress).collect();
        let (beside, first): (Vec<Support>, Vec<Support>) = support
            .into_iter()
            .partition(|part| part.program == Program::Fixture(Role::Ingress) && !managing.contains(&part.name));
        self.open_links(topology::support_links(self.deployment())).await?;
        for site in self.sites().to_vec() {
            for index in 1..=site.replicas {
                self.enter(&site, index, site.zone_of(index), BTreeMap::new()).await?;
            }
        }
        let runtime = &self.inner.kit.runtime;
        let probe = async { Ok::<_, LabError>(runtime.prepare_isolation(&self.inner.network).await?) };
        futures::try_join!(self.start_gateways(&first), self.start_supports(&beside), probe)?;
        futures::try_join!(self.prove_isolation(), self.begin_traffic())?;
        self.state().isolated = true;
        match &self.deployment().peering {
            Some(peering) => self.hold(peering.formed_within()).await,
            None => Ok(()),
        }
    }

    /// Starts what gateways depend on, then all gateways, and waits until these are ready.
    async fn start_gateways(&self, first: &[Support]) -> Result<(), LabError> {
        self.start_supports(first).await?;
        self.start_sentinels().await?;
        let replicas = self.replicas();
        try_join_all(replicas.iter().map(|replica| self.start_replica(replica))).await?;
        try_join_all(replicas.iter().map(|replica| self.wait_ready(&replica.name, self.ready_within()))).await.map(drop)
    }

    /// Starts fixtures and stores, and follows their events.
    async fn start_supports(&self, parts: &[Support]) -> Result<(), LabError> {
        try_join_all(parts.iter().map(|part| self.start_support(part))).await?;
        for part in parts {
            if let Program::Fixture(role) = part.program
                && role != Role::Store
            {
                self.follow(&part.name)?;
            }
        }
        Ok(())
    }

    /// Gives the ingresses their backends, starts what runs beside every story, and waits until all replicas are in rotation.
    async fn begin_traffic(&self) -> Result<(), LabError> {
        for site in self.sites() {
            self.set_backends(site).await?;
        }
        let replicas = self.replicas();
        try_join_all(replicas.iter().map(|replica| self.attend(replica))).await?;
        self.remove_former().await?;
        self.watch_lateness();
        self.calibrate();
        self.wait_rotation().await
    }

    /// Waits until every ingress has all of its site's replicas in rotation.
    ///
    /// # Errors
    /// `NotReady` with the first that is missing; `Interrupted`.
    pub async fn wait_rotation(&self) -> Result<(), LabError> {
        let began = self.now();
        loop {
            let missing = {
                let state = self.state();
                let missing = state.replicas.iter().find(|entry| {
                    let ingress = format!("{}-ingress", entry.replica.site);
                    !state.in_rotation.get(&ingress).is_some_and(|backends| backends.contains(&entry.replica.name))
                });
                missing.map(|entry| entry.replica.clone())
            };
            let Some(missing) = missing else { return Ok(()) };
            if self.inner.kit.clock.since(began) > FIXTURE_WITHIN {
                let last = format!("`{}` is ready but `{}-ingress` did not take it up", missing.name, missing.site);
                return Err(self.not_ready(&missing.name, FIXTURE_WITHIN, last).await);
            }
            self.hold(Duration::from_millis(5)).await?;
        }
    }

    async fn prove_isolation(&self) -> Result<(), LabError> {
        Ok(self.inner.kit.runtime.prove_isolation(&self.inner.network, &self.listening()).await?)
    }

    /// Proves isolation once more, at the end of a story: of all that listens now, replicas that came later among them. Its history says of which that was, or why
    /// it could not be asked. A lab that never came up, or was interrupted, has something else to tell.
    ///
    /// # Errors
    /// A way around a link.
    async fn still_isolated(&self) -> Result<(), LabError> {
        if !self.state().isolated || self.inner.kit.interrupt.is_cancelled() {
            return Ok(());
        }
        let components = self.listening();
        let asked = self.inner.kit.runtime.still_isolated(&self.inner.network, &components);
        let told = match tokio::time::timeout(AGAIN_WITHIN, asked).await {
            Ok(Ok(None)) => return Ok(()),
            Ok(Ok(Some(proven))) => format!("reached through links only, at the end as well: {}", proven.join(", ")),
            Ok(Err(error @ RuntimeError::Bypass { .. })) => {
                self.note(format!("at the end: {error}"));
                return Err(error.into());
            }
            Ok(Err(error)) => {
                format!("isolation was not proven again at the end: {}", crate::reaper::clean::chain(&error))
            }
            Err(_) => {
                format!("isolation was not proven again at the end: no answer within {} s", AGAIN_WITHIN.as_secs())
            }
        };
        self.note(told);
        Ok(())
    }

    /// Every component, with the port at which others find it.
    fn listening(&self) -> Vec<(String, std::net::IpAddr, u16)> {
        let data = topology::data_port(self.adapter());
        let state = self.state();
        let is_replica = |name: &str| state.replicas.iter().any(|entry| entry.replica.name == name);
        let stores = topology::stores(self.deployment());
        let sentinels = topology::sentinels(self.deployment());
        let port = |name: &str| {
            if is_replica(name) {
                data
            } else if stores.contains(name) {
                topology::STORE_PORT
            } else if sentinels.contains(name) {
                topology::SENTINEL_PORT
            } else {
                FIXTURE_PORT
            }
        };
        state.components.iter().map(|(name, running)| (name.clone(), running.address, port(name))).collect()
    }

    pub(super) async fn start_support(&self, part: &Support) -> Result<(), LabError> {
        let placement = self.inner.kit.runtime.place(&self.inner.network, &part.name);
        let mut files = Vec::new();
        if let Program::Fixture(role) = part.program {
            let listen = placement.listen;
            let port = if role == Role::Store { topology::STORE_PORT } else { FIXTURE_PORT };
            let text = self.fixture_config(part, role, format!("{listen}:{port}"), format!("{listen}:{CONTROL_PORT}"));
            files.push(("fixture.json".to_owned(), text.into_bytes()));
        }
        let mut program = part.program.clone();
        let mut port = topology::STORE_PORT;
        if let Program::Redis(what) = &mut program {
            *what = self.redis_as(&part.name, what);
            if *what == RedisAs::Sentinel {
                port = topology::SENTINEL_PORT;
                files.push(("sentinel.conf".to_owned(), self.sentinel_file(&part.name).into_bytes()));
            }
        }
        let component = Component { name: part.name.clone(), program, environment: BTreeMap::new(), files };
        let address = self.inner.kit.runtime.start(&self.inner.network, &component).await?;
        self.moved(&part.name, address);
        let began = self.now();
        let mut looked = Duration::ZERO;
        loop {
            let (up, last) = if let Program::Fixture(_) = part.program {
                (self.control(&part.name)?.is_healthy().await, "its control listener does not answer")
            } else {
                let store = std::net::SocketAddr::new(address, port);
                let pong = crate::resp::command(store, &["PING"], Duration::from_secs(1)).await;
                (pong.is_ok_and(|reply| reply.starts_with("+PONG")), "it does not answer PING")
            };
            if up {
                return Ok(());
            }
            let waited = self.inner.kit.clock.since(began);
            if waited < looked + LOOK_EVERY {
                self.hold(Duration::from_millis(3)).await?;
                continue;
            }
            looked = waited;
            match self.inner.kit.runtime.state(&self.inner.network, &part.name).await {
                State::Ended(how) => return Err(self.ended_early(&part.name, &how).await),
                State::Absent => return Err(self.not_ready(&part.name, waited, "it is gone".to_owned()).await),
                State::Running | State::Paused if waited > FIXTURE_WITHIN => {
                    return Err(self.not_ready(&part.name, waited, last.to_owned()).await);
                }
                State::Running | State::Paused => {}
            }
        }
    }

    fn fixture_config(&self, part: &Support, role: Role, listen: String, control: String) -> String {
        let name = part.name.clone();
        let seed = self.inner.kit.seed;
        let value = match role {
            Role::ControlPlane => {
                let state = self.state();
                let configuration = state.configuration.clone().unwrap_or_else(|| Configuration {
                    term: 1,
                    version: 1,
                    routes: self.deployment().routes.clone(),
                    quota: self.deployment().quota,
                });
                serde_json::to_value(ControlPlaneConfig {
                    name,
                    listen,
                    control,
                    configuration,
                    contracts: state.contracts.clone(),
                })
            }
            Role::Identity => {
                let mut materials: Vec<String> =
                    self.deployment().sites.iter().map(|site| site.signing.clone()).collect();
                materials.extend(self.deployment().sites.iter().map(|site| format!("{}-rekeyed", site.name)));
                materials.push("rekeyed".to_owned());
                let secrets =
                    materials.iter().map(|material| (material.clone(), signing_secret(seed, material))).collect();
                let signing = materials.first().cloned().unwrap_or_default();
                let clients = self.clients().iter().filter(|client| !client.id.starts_with("outsider")).cloned();
                let known = clients.chain([gateway_client(seed)]).collect();
                let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
                serde_json::to_value(IdentityConfig {
                    name,
                    listen,
                    control,
                    secrets,
                    signing,
                    keys: keys_at_start(),
                    issuer,
                    audience,
                    clients: known,
                })
            }
            Role::Ingress => serde_json::to_value(self.ingress_config(part, listen, control)),
            Role::Gateway
            | Role::SiteStore
            | Role::Store
            | Role::Upstream
            | Role::Analytics
            | Role::Probe
            | Role::Burner => serde_json::to_value(PlainConfig { name, listen, control }),
        };
        value.map(|value| value.to_string()).unwrap_or_default()
    }

    fn ingress_config(&self, part: &Support, listen: String, control: String) -> IngressConfig {
        let probe_interval = self.scaled(PROBE_INTERVAL).max(Duration::from_millis(50));
        let site = self.deployment().site(&part.site);
        let management = site.is_some_and(|site| site.management_ingress() == part.name);
        let mut timeout = Duration::from_secs(60);
        let mut backends = Vec::new();
        // Only what stands before the gateways is under test with them.
        let before_gateways = site.is_some_and(|site| site.ingress() == part.name);
        let defects = if before_gateways { self.deployment().gateway.defects.clone() } else { Vec::new() };
        if management {
            timeout =
                self.deployment().control_plane.as_ref().map_or(timeout, |control_plane| control_plane.ingress_timeout);
        }
        // What stands behind an ingress that has one backend, which is never probed.
        let behind = if management {
            Some(topology::LinkKey::new(&part.name, CONTROL_PLANE, FIXTURE_PORT))
        } else if part.name == CALIBRATION {
            topology::calibrated(self.deployment())
        } else {
            None
        };
        if let Some(key) = behind {
            let address = self.state().links.get(&key).map(|link| link.address().to_string()).unwrap_or_default();
            let (zone, probe_address, probe_path) = (String::new(), String::new(), String::new());
            backends.push(Backend { name: key.to, zone, address, probe_address, probe_path, probe_status: 200 });
        }
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        IngressConfig {
            name: part.name.clone(),
            listen,
            control,
            timeout_ms: millis(timeout),
            probe_interval_ms: millis(probe_interval),
            probe_threshold: 2,
            backends,
            defects,
        }
    }

    /// Ends the lab: heals every fault, stops every stream, closes the history, removes what was started.
    /// Goes on through errors and tells the gravest.
    ///
    /// # Errors
    /// The first of: a history that could not be written, a way around a link, a component that could not be removed, a fault that could not be healed.
    pub async fn finish(&self) -> Result<Finished, LabError> {
        // First of all: what is healed and removed from here on must not be replaced.
        self.stop_platform().await;
        let healed = self.heal_everything().await;
        self.catch_up().await;
        self.inner.stop.cancel();
        let tasks = std::mem::take(&mut self.state().tasks);
        for task in tasks {
            let _ended = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
        // What was under way was abandoned by `stop`; let those completions reach the history.
        crate::clock::sleep(Duration::from_millis(20)).await;
        let isolated = self.still_isolated().await;
        let events = self.inner.recorder.finish().await;
        let links = std::mem::take(&mut self.state().links);
        futures::future::join_all(links.values().map(crate::link::Link::close)).await;
        let torn_down = self.inner.kit.runtime.tear_down(&self.inner.network).await;
        let events = events?;
        isolated?;
        torn_down?;
        healed?;
        Ok(Finished { events })
    }
}

/// The component of a replica, as the adapter renders it for this runtime.
pub(super) fn spawn_program(adapter: &Adapter, context: &Context<'_>, runtime: &str) -> Result<Component, String> {
    let rendered =
        if runtime == "docker" { adapter.render_container(context) } else { adapter.render_process(context) };
    let rendered = rendered.map_err(|error| error.to_string())?;
    let program = if runtime == "docker" {
        let Some(container) = &adapter.container else { return Err("it cannot be started as a container".to_owned()) };
        Program::Image {
            image: container.image.clone(),
            from_executable: rendered.from_executable,
            arguments: rendered.command,
            init: container.init,
        }
    } else {
        Program::Command(rendered.command)
    };
    let mut files = rendered.files;
    for (path, place) in rendered.copies {
        let bytes = std::fs::read(&place).map_err(|why| format!("file `{path}`: `{place}` cannot be read: {why}"))?;
        files.push((path, bytes));
    }
    Ok(Component { name: context.replica.name.clone(), program, environment: rendered.environment, files })
}

impl Lab {
    /// Name of the identity provider stub's component.
    #[must_use]
    pub fn identity(&self) -> &'static str {
        IDENTITY
    }
}
