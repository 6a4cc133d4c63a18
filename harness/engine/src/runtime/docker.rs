//! Containers through testcontainers and the engine API.
//!
//! testcontainers starts the containers; the engine API does what it lacks: labelled internal networks with explicit subnets,
//! signals, and removal that does not depend on `Drop`. Components of a lab share one bridge on which they reach the bridge's
//! own address only, where the links listen; no port is published, the harness dials container addresses.

mod bundle;
pub mod engine;
mod image;
mod isolation;
mod pressure;
mod subnets;

use super::files::{self, early_end, failed};
use super::{
    Component, Network, Placement, Program, RUN_LABEL, RUN_VARIABLE, RedisAs, Runtime, RuntimeError, RuntimeOptions,
    Signal, State, Throttling,
};
use crate::clock::{Clock, sleep};
use crate::executable;
use crate::reaper::clean::Kind;
use crate::reaper::proc::{self, HARNESS_VARIABLE, Identity};
use bollard::errors::Error as EngineError;
use bollard::models::{ContainerInspectResponse, ContainerStatsResponse, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters as query;
use engine::{Engine, HARNESS_LABEL, NETWORK_LABEL, is_status};
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use gatecrash_model::claim::Capability;
use image::Image;
use rustix::process::{Pid, Signal as Os};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use testcontainers::core::{AccessMode, Mount};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerRequest, GenericImage, ImageExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a killed container may take until the engine says that it does not run.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How many subnets are offered to the engine.
const SUBNETS: usize = 32;
/// How often a tear-down lists again what is left.
const TEAR_DOWN_ROUNDS: usize = 5;
/// How many containers are made or removed at the same time, over all labs. Each costs the engine and the kernel a tenth of a
/// second of a core; a dozen at once keep the links and gateways of the other labs waiting for longer than a store's timeout.
const TURNS: usize = 3;
/// How long the engine may take to say what a container uses.
const STATS_WITHIN: Duration = Duration::from_secs(5);
/// Lines of a container's log that are kept on the host.
const KEPT_LINES: usize = 20_000;

/// Runs components as containers.
#[derive(Debug)]
pub struct DockerRuntime {
    options: RuntimeOptions,
    tools: PathBuf,
    engine: Engine,
    harness: String,
    /// By the program's name; `Err` says why there is none.
    images: tokio::sync::Mutex<BTreeMap<String, Image>>,
    /// What every container was started as, by network id and component name.
    started: Mutex<BTreeMap<(String, String), Spec>>,
    /// The burner beside each component that is pressed, by network id and component name: number of its execution.
    burners: Mutex<BTreeMap<(String, String), String>>,
    /// Why no component can be pressed; `None` if one can.
    lacks_limits: Option<String>,
    /// Where the probe of each network listens, by network id.
    probes: Mutex<BTreeMap<String, isolation::Probe>>,
    turns: Semaphore,
}

/// What a container keeps for its life: program and environment. Files and disk are folders of the host.
type Spec = (Program, BTreeMap<String, String>);

impl DockerRuntime {
    /// Connects to the engine, at most 10 s, and asks it what it can limit, at most as long. `tools`: folder with `redis/redis-server`, made by `make images`.
    ///
    /// # Errors
    /// [`RuntimeError::NoEngine`].
    pub async fn new(options: RuntimeOptions, tools: PathBuf) -> Result<Self, RuntimeError> {
        let engine = engine::connect().await?;
        let lacks_limits = engine::lacks_limits(&engine.docker).await;
        Ok(Self {
            options,
            tools,
            engine,
            harness: Identity::own().to_string(),
            images: tokio::sync::Mutex::default(),
            started: Mutex::default(),
            burners: Mutex::default(),
            lacks_limits,
            probes: Mutex::default(),
            turns: Semaphore::new(TURNS),
        })
    }

    /// Name of the container of a component.
    #[must_use]
    pub fn container(network: &Network, name: &str) -> String {
        format!("gc-{}-{name}", network.id)
    }

    /// What the engine counts of a container, once; `None` if it does not say within 5 s.
    async fn stats(&self, network: &Network, name: &str) -> Option<ContainerStatsResponse> {
        let options = query::StatsOptions { stream: false, one_shot: true };
        let mut stats = Box::pin(self.engine.docker.stats(&Self::container(network, name), Some(options)));
        tokio::time::timeout(STATS_WITHIN, stats.next()).await.ok()??.ok()
    }

    fn started_as(&self, network: &Network, name: &str) -> Option<Spec> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get(&(network.id.clone(), name.to_owned())).cloned()
    }

    fn labels(&self, network: &str) -> HashMap<String, String> {
        HashMap::from([
            (RUN_LABEL.to_owned(), self.options.run.clone()),
            (HARNESS_LABEL.to_owned(), self.harness.clone()),
            (NETWORK_LABEL.to_owned(), network.to_owned()),
        ])
    }

    /// Folder for a temporary file: it goes with the run's work folder.
    fn scratch(&self) -> Result<PathBuf, RuntimeError> {
        let scratch = self.options.folder.join(files::WORK);
        std::fs::create_dir_all(&scratch)
            .map_err(|source| failed(format!("creating `{}`", scratch.display()), source))?;
        Ok(scratch)
    }

    /// The image of a program, found or made once.
    async fn image(&self, program: &Program) -> Result<Image, RuntimeError> {
        let key = match program {
            Program::Fixture(_) => "gatecrash",
            Program::Image { image, .. } => image,
            Program::Redis(_) => "redis",
            Program::Command(words) => {
                return Err(RuntimeError::NoProgram {
                    component: "deployment".to_owned(),
                    program: words.join(" "),
                    seen: "it is a command of this machine, and this is the runtime `docker`; use `--runtime process`"
                        .to_owned(),
                });
            }
        };
        // Held while an image is made: the second that wants it waits instead of making it again.
        let mut images = self.images.lock().await;
        if let Some(image) = images.get(key) {
            return Ok(image.clone());
        }
        let docker = &self.engine.docker;
        let made = match program {
            Program::Redis(_) => self.redis().await?,
            Program::Image { image, .. } if image != "gatecrash" => {
                let executable = match program {
                    Program::Image { from_executable, .. } => from_executable.as_deref(),
                    Program::Fixture(_) | Program::Command(_) | Program::Redis(_) => None,
                };
                self.foreign(image, executable).await?
            }
            Program::Fixture(_) | Program::Image { .. } | Program::Command(_) => {
                let own = &self.options.executable;
                image::image_from_executable(docker, "gatecrash", own, None, &self.scratch()?).await?
            }
        };
        images.insert(key.to_owned(), made.clone());
        Ok(made)
    }

    /// A foreign image: local, else made from an executable of this machine, else pulled. Made before pulled: whoever has the
    /// executable named what it is, and no registry has images of that name for certain.
    async fn foreign(&self, reference: &str, executable: Option<&str>) -> Result<Image, RuntimeError> {
        let docker = &self.engine.docker;
        let image = Image::named(reference, None);
        if image::is_local(docker, &image.reference()).await? {
            return Ok(image);
        }
        if let Some(place) = executable.and_then(|wanted| executable::on_path(wanted, &executable::search_path())) {
            let name = place.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
            let repository = format!("gatecrash-{name}");
            return image::image_from_executable(docker, &repository, &place, None, &self.scratch()?).await;
        }
        match (image::pull(docker, reference).await, executable) {
            (Ok(()), _) => Ok(image),
            (Err(RuntimeError::NoImage { image, seen }), Some(wanted)) => Err(RuntimeError::NoImage {
                image,
                seen: format!("executable `{wanted}`, from which it would be made, is not there; {seen}"),
            }),
            (Err(error), _) => Err(error),
        }
    }

    /// Redis: a local image, else made from what `make images` fetched or from this machine's own, else pulled. Made before pulled: whoever
    /// fetched the tools did so because a registry is out of reach.
    async fn redis(&self) -> Result<Image, RuntimeError> {
        let docker = &self.engine.docker;
        let entry = Some("redis-server".to_owned());
        if let Some(local) = image::local_of(docker, "redis").await? {
            return Ok(Image::named(&local, entry));
        }
        let folder = self.tools.join("redis");
        let fetched = folder.join("redis-server");
        let libraries = folder.join("lib");
        let (place, libraries) = match executable::on_path("redis-server", &executable::search_path()) {
            Some(place) => (Some(place), None),
            None if fetched.is_file() => (Some(fetched), Some(libraries.as_path())),
            None => (None, None),
        };
        if let Some(place) = place {
            return image::image_from_executable(docker, "gatecrash-redis", &place, libraries, &self.scratch()?).await;
        }
        match image::pull(docker, "redis:7").await {
            Ok(()) => Ok(Image::named("redis:7", entry)),
            Err(error) => Err(RuntimeError::NoImage {
                image: "redis".to_owned(),
                seen: format!("{error}; `redis-server` is not on PATH; `make images` fetches it"),
            }),
        }
    }

    fn request(&self, network: &Network, component: &Component, image: &Image) -> ContainerRequest<GenericImage> {
        let (arguments, init) = match &component.program {
            Program::Fixture(role) => {
                (["fixture", role.as_str(), "--config", "/files/fixture.json"].map(str::to_owned).to_vec(), false)
            }
            Program::Image { arguments, init, .. } => (arguments.clone(), *init),
            Program::Redis(what) => (what.arguments("0.0.0.0", "/files", "/disk"), true),
            Program::Command(words) => (words.clone(), false),
        };
        let name = &component.name;
        let mut generic = GenericImage::new(image.name.clone(), image.tag.clone());
        if let Some(entry) = &image.entry {
            generic = generic.with_entrypoint(entry);
        }
        // What it is told is its own to read, but for a Sentinel, which writes what it learns into its configuration.
        let writes = component.program == Program::Redis(RedisAs::Sentinel);
        let access = if writes { AccessMode::ReadWrite } else { AccessMode::ReadOnly };
        let ours = match &component.program {
            Program::Fixture(_) => true,
            Program::Image { image, .. } => image == "gatecrash",
            Program::Command(_) | Program::Redis(_) => false,
        };
        let bind = |host: PathBuf, inside: &str| Mount::bind_mount(host.to_string_lossy(), inside);
        let mut request = generic
            .with_cmd(arguments)
            .with_container_name(Self::container(network, name))
            .with_network(network_name(&network.id))
            .with_labels(self.labels(&network.id))
            .with_mount(bind(files::files(network, name), "/files").with_access_mode(access))
            .with_mount(bind(files::disk(network, name), "/disk"))
            .with_startup_timeout(self.options.start_within)
            .with_host_config_modifier(move |host| {
                // Nothing is published: the harness dials the container's address.
                host.publish_all_ports = Some(false);
                host.init = Some(init);
                if ours {
                    // This very program, which runs without a container as well: a filter of system calls would only slow it down.
                    host.security_opt = Some(vec!["seccomp=unconfined".to_owned()]);
                }
            })
            // The marker in the environment too: the reaper then kills at once what the engine would kill one by one.
            .with_env_var(RUN_VARIABLE, &self.options.run)
            .with_env_var(HARNESS_VARIABLE, &self.harness);
        for (variable, value) in &component.environment {
            request = request.with_env_var(variable, value);
        }
        request
    }

    async fn create(&self, network: &Network, component: &Component) -> Result<IpAddr, RuntimeError> {
        let name = &component.name;
        let image = self.image(&component.program).await?;
        let spec = (component.program.clone(), component.environment.clone());
        if let Some(before) = self.started_as(network, name) {
            let state = self.look(network, name).await?.map_or(State::Absent, |found| state_of(&found));
            match state {
                // Starting a container again costs half of making it anew.
                State::Ended(_) if before == spec => {
                    files::write(network, name, &component.files)?;
                    return self.again(network, name).await;
                }
                State::Ended(_) | State::Absent => {}
                State::Running | State::Paused => {
                    return Err(super::process::wrong_state(name, &state, "started"));
                }
            }
            let _turn = self.turn().await;
            engine::remove_container(&self.engine.docker, &Self::container(network, name), false).await?;
        }
        files::write(network, name, &component.files)?;
        self.started.lock().unwrap_or_else(PoisonError::into_inner).insert((network.id.clone(), name.clone()), spec);
        let turn = self.turn().await;
        let started = Box::pin(self.request(network, component, &image).start()).await;
        drop(turn);
        match started {
            Ok(container) => {
                // Its Drop would block a worker thread on the engine, and panic outside a runtime. We remove by name, the reaper by label.
                std::mem::forget(container);
            }
            Err(error) => {
                let seen = crate::reaper::clean::chain(&error);
                let log = self.log(network, name, 20).await;
                // It may have been created before it failed to start.
                engine::remove_container(&self.engine.docker, &Self::container(network, name), false).await?;
                let seen = if log.is_empty() { seen } else { format!("{seen}; its log ends with:\n{log}") };
                return Err(RuntimeError::Start { component: name.clone(), seen });
            }
        }
        self.address(network, name).await
    }

    /// Waits for a turn at making or removing a container. A container that is started again does not wait: restarts are timed.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so there always is one.
        self.turns.acquire().await.ok()
    }

    /// Starts a container that ended.
    async fn again(&self, network: &Network, name: &str) -> Result<IpAddr, RuntimeError> {
        let container = Self::container(network, name);
        let started = self.engine.docker.start_container(&container, None::<query::StartContainerOptions>).await;
        self.call(started, &container, "starting")?;
        self.address(network, name).await
    }

    /// Id of a container and number of its first process, as the engine says; `None` if it does not say within 5 s, or it does not run.
    async fn process(&self, network: &Network, name: &str) -> Option<(String, u32)> {
        let found = tokio::time::timeout(STATS_WITHIN, self.look(network, name)).await.ok()?.ok()??;
        let pid = found.state?.pid?;
        Some((found.id?, u32::try_from(pid).ok().filter(|pid| *pid > 0)?))
    }

    async fn look(&self, network: &Network, name: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        let container = Self::container(network, name);
        match self.engine.docker.inspect_container(&container, None::<query::InspectContainerOptions>).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_status(&error, 404) => Ok(None),
            Err(error) => Err(failed(format!("looking at container `{container}`"), error)),
        }
    }

    /// Its address on our network; an error if it ended already.
    async fn address(&self, network: &Network, name: &str) -> Result<IpAddr, RuntimeError> {
        let Some(found) = self.look(network, name).await? else {
            return Err(super::process::wrong_state(name, &State::Absent, "started"));
        };
        if let State::Ended(how) = state_of(&found) {
            return Err(early_end(name, "0.0.0.0", &how, &self.log(network, name, 20).await));
        }
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.get(&network_name(&network.id)).and_then(|on| on.ip_address.clone()).unwrap_or_default();
        address.parse().map_err(|_| RuntimeError::Start {
            component: name.to_owned(),
            seen: format!("the engine gave it address {address:?} on network `{}`", network_name(&network.id)),
        })
    }

    async fn log(&self, network: &Network, name: &str, lines: usize) -> String {
        self.read_log(&Self::container(network, name), lines).await
    }

    /// The last lines of a container's log; what cannot be read is left out.
    async fn read_log(&self, container: &str, lines: usize) -> String {
        let options = query::LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), ..Default::default() };
        let mut output = Box::pin(self.engine.docker.logs(container, Some(options)));
        let mut bytes = Vec::new();
        while let Some(Ok(part)) = output.next().await {
            bytes.extend_from_slice(&part.into_bytes());
        }
        files::last_lines(&String::from_utf8_lossy(&bytes), lines)
    }

    /// Keeps a container's log on the host before the container is removed.
    async fn save_log(&self, network: &Network, name: &str) {
        let text = self.log(network, name, KEPT_LINES).await;
        if !text.is_empty() {
            let place = files::log(network, name);
            if let Err(error) = std::fs::write(&place, text) {
                tracing::warn!(%error, place = %place.display(), "a container's log was not kept");
            }
        }
    }

    async fn kill(&self, network: &Network, name: &str, paused: Option<i64>) -> Result<(), RuntimeError> {
        let container = Self::container(network, name);
        let docker = &self.engine.docker;
        if let Some(pid) = paused {
            // The engine kills nothing that is paused. A SIGKILL that waits for it when it is resumed leaves it no time to do anything.
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _needs_root = rustix::process::kill_process(pid, Os::KILL);
            }
            self.call(docker.unpause_container(&container).await, &container, "resuming")?;
        }
        let options = query::KillContainerOptions { signal: "SIGKILL".to_owned() };
        match docker.kill_container(&container, Some(options)).await {
            // Not running: it was quicker.
            Err(error) if is_status(&error, 409) => {}
            result => self.call(result, &container, "killing")?,
        }
        let clock = Clock::start();
        loop {
            let state = self.look(network, name).await?.map_or(State::Absent, |found| state_of(&found));
            if matches!(state, State::Ended(_) | State::Absent) {
                return Ok(());
            }
            if clock.since(0) > GONE_WITHIN {
                return Err(super::process::wrong_state(name, &state, "killed within 10 s"));
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn call<T>(&self, result: Result<T, EngineError>, container: &str, doing: &str) -> Result<T, RuntimeError> {
        result.map_err(|error| failed(format!("{doing} container `{container}`"), error))
    }

    async fn send(&self, network: &Network, name: &str, signal: Signal) -> Result<(), RuntimeError> {
        let verb = match signal {
            Signal::Kill => "killed",
            Signal::Terminate => "terminated",
            Signal::Pause => "paused",
            Signal::Resume => "resumed",
        };
        let found = self.look(network, name).await?;
        let state = found.as_ref().map_or(State::Absent, state_of);
        let fits = match signal {
            Signal::Kill => matches!(state, State::Running | State::Paused),
            Signal::Terminate | Signal::Pause => state == State::Running,
            Signal::Resume => state == State::Paused,
        };
        if !fits {
            return Err(super::process::wrong_state(name, &state, verb));
        }
        let container = Self::container(network, name);
        let docker = &self.engine.docker;
        match signal {
            Signal::Kill => {
                let pid = found.and_then(|found| found.state).and_then(|state| state.pid).unwrap_or_default();
                self.kill(network, name, (state == State::Paused).then_some(pid)).await
            }
            Signal::Terminate => {
                let options = query::KillContainerOptions { signal: "SIGTERM".to_owned() };
                self.call(docker.kill_container(&container, Some(options)).await, &container, "terminating")
            }
            Signal::Pause => self.call(docker.pause_container(&container).await, &container, "pausing"),
            Signal::Resume => self.call(docker.unpause_container(&container).await, &container, "resuming"),
        }
    }

    async fn make_network(&self, lab: &str) -> Result<Network, RuntimeError> {
        let id = format!("{}-{lab}", self.options.run);
        let (folder, work) = files::of_lab(&self.options.folder, lab)?;
        let docker = &self.engine.docker;
        let existing = docker.list_networks(None::<query::ListNetworksOptions>).await;
        let existing = existing.map_err(|error| failed("listing networks".to_owned(), error))?;
        let name = network_name(&id);
        if existing.iter().any(|network| network.name.as_deref() == Some(name.as_str())) {
            let twice = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "this run has a lab of that name");
            return Err(failed(format!("making network `{name}`"), twice));
        }
        let mut taken = subnets::routes();
        let ranges = existing.into_iter().filter_map(|network| network.ipam?.config).flatten();
        taken.extend(ranges.filter_map(|range| subnets::Subnet::parse(&range.subnet?)));
        let mut last = "every subnet of 10.213.0.0/16 is taken by other networks or routes".to_owned();
        for subnet in subnets::candidates(&id, &taken).into_iter().take(SUBNETS) {
            let gateway = subnet.gateway();
            match docker.create_network(self.network_request(&name, &id, &subnet.to_string(), gateway)).await {
                Ok(_) => return Ok(Network { id, gateway: gateway.into(), folder, work }),
                // Taken meanwhile by a concurrent run, or by something that only the engine knows.
                Err(error) if error.to_string().to_lowercase().contains("overlap") => last = error.to_string(),
                Err(error) => return Err(failed(format!("making network `{name}` ({subnet})"), error)),
            }
        }
        Err(failed(format!("making network `{name}`"), std::io::Error::other(last)))
    }

    fn network_request(&self, name: &str, id: &str, subnet: &str, gateway: Ipv4Addr) -> NetworkCreateRequest {
        let range =
            IpamConfig { subnet: Some(subnet.to_owned()), gateway: Some(gateway.to_string()), ..Default::default() };
        NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            // No way out; and with ICC off no way to each other, only to the bridge's own address.
            internal: Some(true),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])),
            ipam: Some(Ipam { config: Some(vec![range]), ..Default::default() }),
            labels: Some(self.labels(id)),
            ..Default::default()
        }
    }

    async fn remove_all(&self, network: &Network) -> Result<(), RuntimeError> {
        let docker = &self.engine.docker;
        let label = format!("{NETWORK_LABEL}={}", network.id);
        let mut left = Vec::new();
        // Whoever was interrupted waits for none of its starts.
        engine::started_all(docker, label.clone()).await?;
        for round in 0..TEAR_DOWN_ROUNDS {
            left = engine::labelled_by(docker, label.clone()).await?;
            if left.is_empty() {
                self.started.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| *id != network.id);
                self.burners.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _), _| *id != network.id);
                self.probes.lock().unwrap_or_else(PoisonError::into_inner).remove(&network.id);
                return files::remove_work(network).await;
            }
            if round == 0 {
                let prefix = Self::container(network, "");
                let names = left.iter().filter_map(|object| object.name.strip_prefix(&prefix));
                join_all(names.map(|name| self.save_log(network, name))).await;
            }
            let containers = left.iter().filter(|object| object.kind == Kind::Container);
            let removed = containers.map(|container| async {
                let _turn = self.turn().await;
                engine::remove_container(docker, &container.id, container.paused).await
            });
            join_all(removed).await.into_iter().collect::<Result<Vec<()>, RuntimeError>>()?;
            left.retain(|object| object.kind == Kind::Network);
            engine::remove(docker, &left).await?;
        }
        let names: Vec<&str> = left.iter().map(|object| object.name.as_str()).collect();
        let seen = format!("still there after {TEAR_DOWN_ROUNDS} rounds: {}", names.join(", "));
        Err(failed(format!("tearing down `{}`", network.id), std::io::Error::other(seen)))
    }
}

fn network_name(id: &str) -> String {
    format!("gc-{id}")
}

fn state_of(found: &ContainerInspectResponse) -> State {
    let Some(state) = &found.state else { return State::Absent };
    if state.paused == Some(true) {
        return State::Paused;
    }
    if state.running == Some(true) {
        return State::Running;
    }
    let code = state.exit_code.unwrap_or_default();
    // The engine tells a signal as a shell would: 128 and its number.
    State::Ended(if code > 128 { format!("signal {}", code.saturating_sub(128)) } else { format!("exit code {code}") })
}

impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn capabilities(&self) -> Vec<Capability> {
        let mut all = vec![Capability::ReplicaFaults, Capability::ReplicaDisk, Capability::NetworkFaults];
        if self.lacks_limits.is_none() {
            all.push(Capability::ProcessorPressure);
        }
        all
    }

    fn environment(&self) -> Vec<String> {
        let mut all = vec![
            self.engine.description.clone(),
            "containers on internal networks without traffic between containers".to_owned(),
        ];
        all.extend(self.lacks_limits.as_ref().map(|why| format!("no pressure on processors: {why}")));
        all
    }

    fn has_redis(&self) -> BoxFuture<'_, Result<String, String>> {
        async move {
            let image = self
                .image(&Program::Redis(RedisAs::Alone))
                .await
                .map_err(|error| crate::reaper::clean::chain(&error))?;
            Ok(format!("Redis, image `{}:{}`", image.name, image.tag))
        }
        .boxed()
    }

    fn prepare<'a>(&'a self, programs: &'a [Program]) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            for program in programs {
                self.image(program).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn network<'a>(&'a self, lab: &'a str) -> BoxFuture<'a, Result<Network, RuntimeError>> {
        self.make_network(lab).boxed()
    }

    fn place(&self, _network: &Network, _name: &str) -> Placement {
        Placement { listen: Ipv4Addr::UNSPECIFIED.into(), files: "/files".to_owned(), disk: "/disk".to_owned() }
    }

    fn start<'a>(
        &'a self,
        network: &'a Network,
        component: &'a Component,
    ) -> BoxFuture<'a, Result<IpAddr, RuntimeError>> {
        self.create(network, component).boxed()
    }

    fn signal<'a>(
        &'a self,
        network: &'a Network,
        name: &'a str,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        self.send(network, name, signal).boxed()
    }

    fn start_again<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<IpAddr, RuntimeError>> {
        async move {
            let state = self.look(network, name).await?.as_ref().map_or(State::Absent, state_of);
            if !matches!(state, State::Ended(_)) {
                return Err(super::process::wrong_state(name, &state, "started again"));
            }
            self.again(network, name).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let Some(found) = self.look(network, name).await? else { return Ok(()) };
            self.save_log(network, name).await;
            let paused = state_of(&found) == State::Paused;
            engine::remove_container(&self.engine.docker, &Self::container(network, name), paused).await?;
            // Its burner went with it.
            pressure::release(self, network, name).await
        }
        .boxed()
    }

    fn wipe_disk<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let state = self.look(network, name).await?.as_ref().map_or(State::Absent, state_of);
            if matches!(state, State::Running | State::Paused) {
                return Err(super::process::wrong_state(name, &state, "wiped"));
            }
            files::empty(&files::disk(network, name))
        }
        .boxed()
    }

    fn state<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, State> {
        async move {
            match self.look(network, name).await {
                Ok(found) => found.as_ref().map_or(State::Absent, state_of),
                Err(error) => {
                    tracing::warn!(%error, name, "the engine did not say the state of a container");
                    State::Absent
                }
            }
        }
        .boxed()
    }

    fn processor_time<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<Duration>> {
        async move {
            let told = self.stats(network, name).await?;
            // The engine counts nanoseconds; 0 is what it says of a container that does not run.
            let used = told.cpu_stats?.cpu_usage?.total_usage.filter(|used| *used > 0)?;
            Some(Duration::from_nanos(used))
        }
        .boxed()
    }

    /// What the engine counts for the container without what it keeps of files that nobody uses now, as `docker stats` prints it.
    fn memory<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move {
            let memory = self.stats(network, name).await?.memory_stats?;
            let files = memory.stats.as_ref().and_then(|stats| stats.get("inactive_file")).copied().unwrap_or_default();
            memory.usage.map(|usage| usage.saturating_sub(files)).filter(|bytes| *bytes > 0)
        }
        .boxed()
    }

    /// Where the engine is that of this machine, and we may look: nothing is counted of a process that is not known to be the container's.
    fn open_files<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move {
            let (id, pid) = self.process(network, name).await?;
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            if groups.contains(&id) { proc::open_files(pid) } else { None }
        }
        .boxed()
    }

    fn press<'a>(
        &'a self,
        network: &'a Network,
        name: &'a str,
        millicores: u32,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        pressure::press(self, network, name, millicores).boxed()
    }

    fn release<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        pressure::release(self, network, name).boxed()
    }

    fn throttling<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<Throttling>> {
        async move {
            let counted = self.stats(network, name).await?.cpu_stats?.throttling_data?;
            let waited = Duration::from_nanos(counted.throttled_time?);
            Some(Throttling { periods: counted.periods?, throttled: counted.throttled_periods?, waited })
        }
        .boxed()
    }

    fn log_tail<'a>(&'a self, network: &'a Network, name: &'a str, lines: usize) -> BoxFuture<'a, String> {
        async move {
            let text = self.log(network, name, lines).await;
            if text.is_empty() { files::tail(&files::log(network, name), lines) } else { text }
        }
        .boxed()
    }

    fn prepare_isolation<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move { isolation::prepare(self, network).await.map(drop) }.boxed()
    }

    fn prove_isolation<'a>(
        &'a self,
        network: &'a Network,
        addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        isolation::prove(self, network, addresses).boxed()
    }

    fn still_isolated<'a>(
        &'a self,
        network: &'a Network,
        addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RuntimeError>> {
        async move { isolation::prove_again(self, network, addresses).await.map(Some) }.boxed()
    }

    fn tear_down<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>> {
        self.remove_all(network).boxed()
    }
}

/// The image of an executable of this machine, made FROM scratch if the engine does not have it: `repository:<hash>`.
///
/// # Errors
/// As [`DockerRuntime::new`]; a library that is missing; what the engine answered.
pub async fn image_from_executable(repository: &str, place: &Path, scratch: &Path) -> Result<String, RuntimeError> {
    let engine = engine::connect().await?;
    let image = image::image_from_executable(&engine.docker, repository, place, None, scratch).await?;
    Ok(image.reference())
}
