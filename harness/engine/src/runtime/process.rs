//! Child processes on loopback addresses of their own.
//!
//! A network is a leased /24 of 127/8; the links listen on its `.1`, every component gets an address of its own. Nothing
//! isolates processes from each other: the configurations that the lab renders name links only.

mod child;
mod lease;
mod logs;
mod pressure;

use super::control_group::Hierarchy;
use super::files::{self, failed};
use super::{
    Component, Network, Placement, Program, RUN_VARIABLE, Runtime, RuntimeError, RuntimeOptions, Signal, State,
    Throttling,
};
use crate::executable;
use crate::reaper::proc::{self, HARNESS_VARIABLE, Identity};
use child::Child;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use gatecrash_model::claim::Capability;
use lease::Lease;
use logs::{Log, Logs};
use pressure::Pressed;
use rustix::process::Signal as Os;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Host numbers that components get: `.1` is the links', `.254` the lease.
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 253;
/// How long a stopped process may take until the kernel shows it stopped, and the other way round.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);
/// How long `redis-server --version` may take.
const VERSION_WITHIN: Duration = Duration::from_secs(5);

const GONE: &str = "started: its network is gone";

/// Runs components as child processes.
#[derive(Debug)]
pub struct ProcessRuntime {
    options: RuntimeOptions,
    tools: Option<PathBuf>,
    harness: String,
    networks: Mutex<BTreeMap<String, Leased>>,
    pressed: Mutex<Pressed>,
}

#[derive(Debug)]
struct Leased {
    lease: Lease,
    logs: Logs,
    hosts: BTreeMap<String, u8>,
    started: BTreeMap<String, Started>,
}

#[derive(Clone, Debug)]
struct Started {
    component: Component,
    child: Child,
    log: Log,
}

impl ProcessRuntime {
    /// A runtime that starts fixtures from `options.executable`.
    #[must_use]
    pub fn new(options: RuntimeOptions) -> Self {
        Self {
            options,
            tools: None,
            harness: Identity::own().to_string(),
            networks: Mutex::new(BTreeMap::new()),
            pressed: Mutex::new(BTreeMap::new()),
        }
    }

    /// Looks for programs below this folder too (`<tools>/redis/redis-server`, made by `make images`).
    #[must_use]
    pub fn with_tools(mut self, tools: PathBuf) -> Self {
        self.tools = Some(tools);
        self
    }

    /// Process id of a component that was started, for measurements; `None` if it never was.
    #[must_use]
    pub fn pid(&self, network: &Network, name: &str) -> Option<u32> {
        self.started(network, name).map(|started| started.child.pid())
    }

    fn networks(&self) -> MutexGuard<'_, BTreeMap<String, Leased>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, network: &Network, name: &str) -> Option<Started> {
        self.networks().get(&network.id)?.started.get(name).cloned()
    }

    /// Address of a component; the same name has the same. Past the last host number all share it, and the bind fails.
    fn address(&self, network: &Network, name: &str) -> Ipv4Addr {
        let mut networks = self.networks();
        let Some(leased) = networks.get_mut(&network.id) else { return Ipv4Addr::LOCALHOST };
        let next = leased.hosts.values().max().map_or(FIRST_HOST, |last| last.saturating_add(1).min(LAST_HOST));
        let host = *leased.hosts.entry(name.to_owned()).or_insert(next);
        leased.lease.host(host)
    }

    fn spawn(&self, network: &Network, component: &Component) -> Result<IpAddr, RuntimeError> {
        let name = &component.name;
        let address = self.address(network, name);
        let launch = self.launch(network, component, address)?;
        let Some(logs) = self.networks().get(&network.id).map(|leased| leased.logs.clone()) else {
            return Err(absent(name, GONE));
        };
        let place = files::log(network, name);
        let (log, [out, err]) =
            logs.open(&place).map_err(|source| failed(format!("opening log `{}`", place.display()), source))?;
        let mut command = tokio::process::Command::new(&launch.program);
        // A program with a slash, a group and no hooks: what posix_spawn can do, so nothing of the harness is copied.
        command
            .args(&launch.arguments)
            .env(RUN_VARIABLE, &self.options.run)
            .env(HARNESS_VARIABLE, &self.harness)
            .envs(launch.environment)
            .envs(&component.environment)
            .current_dir(network.work.join(name))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true);
        // A proxy meant for the user's own traffic must not come between our components.
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let child = Child::spawn(command).map_err(|error| RuntimeError::Start {
            component: name.clone(),
            seen: format!("`{}`: {error}", launch.program.display()),
        })?;
        let mut networks = self.networks();
        let Some(leased) = networks.get_mut(&network.id) else {
            // Torn down meanwhile; dropping the reaping task with the runtime or the reaper ends it, but say it now.
            let _already_gone = child.send(Os::KILL);
            return Err(absent(name, GONE));
        };
        leased.started.insert(name.clone(), Started { component: component.clone(), child, log });
        Ok(address.into())
    }

    fn launch(&self, network: &Network, component: &Component, listen: Ipv4Addr) -> Result<Launch, RuntimeError> {
        let missing = |program: &str, seen: &str| RuntimeError::NoProgram {
            component: component.name.clone(),
            program: program.to_owned(),
            seen: seen.to_owned(),
        };
        match &component.program {
            Program::Fixture(role) => {
                let config = files::files(network, &component.name).join("fixture.json");
                let config = config.to_string_lossy().into_owned();
                let arguments = ["fixture", role.as_str(), "--config", &config].map(str::to_owned).to_vec();
                Ok(Launch { program: self.options.executable.clone(), arguments, environment: Vec::new() })
            }
            Program::Command(words) => {
                let Some((program, arguments)) = words.split_first() else {
                    return Err(missing("", "its command is empty"));
                };
                let place = self.find(program).ok_or_else(|| missing(program, not_found(program)))?;
                Ok(Launch { program: place, arguments: arguments.to_vec(), environment: Vec::new() })
            }
            Program::Image { image, .. } => {
                Err(missing(image, "it is an image, and this is the runtime `process`; use `--runtime docker`"))
            }
            Program::Redis(what) => {
                let redis = self.redis().map_err(|seen| missing("redis-server", &seen))?;
                let place = |folder: PathBuf| folder.to_string_lossy().into_owned();
                let disk = place(files::disk(network, &component.name));
                let files = place(files::files(network, &component.name));
                let arguments = what.arguments(&listen.to_string(), &files, &disk);
                Ok(Launch { program: redis.0, arguments, environment: redis.1 })
            }
        }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        if program == "gatecrash" {
            return Some(self.options.executable.clone());
        }
        executable::on_path(program, &executable::search_path())
    }

    fn redis(&self) -> Result<(PathBuf, Vec<(String, String)>), String> {
        if let Some(place) = executable::on_path("redis-server", &executable::search_path()) {
            return Ok((place, Vec::new()));
        }
        let folder = self.tools.as_deref().map(|tools| tools.join("redis"));
        let found = folder.and_then(|folder| {
            let place = folder.join("redis-server");
            let place = executable::on_path(&place.to_string_lossy(), std::ffi::OsStr::new(""))?;
            Some((place, library_path(&folder.join("lib"))))
        });
        found.ok_or_else(|| "`redis-server` is not on PATH; `make images` fetches it".to_owned())
    }
}

/// Version of the `redis-server` at `place`, which shows that it runs here at all.
async fn redis_version(place: &Path, environment: Vec<(String, String)>) -> Result<String, String> {
    let asked = tokio::process::Command::new(place)
        .arg("--version")
        .envs(environment)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = match tokio::time::timeout(VERSION_WITHIN, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("`redis-server` does not start: {error}")),
        Err(_) => return Err("`redis-server --version` gives no answer".to_owned()),
    };
    // Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=...
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
    version.filter(|_| answer.status.success()).map(str::to_owned).ok_or_else(|| {
        let said = String::from_utf8_lossy(&answer.stderr);
        format!("`redis-server --version` fails ({}): {}", answer.status, said.trim())
    })
}

fn library_path(folder: &Path) -> Vec<(String, String)> {
    vec![("LD_LIBRARY_PATH".to_owned(), folder.to_string_lossy().into_owned())]
}

/// Where this process can make control groups, or why it cannot: looked for once.
static GROUPS: LazyLock<Result<Hierarchy, String>> = LazyLock::new(Hierarchy::find);

/// Why no component can be pressed by this process; `None` if one can.
#[must_use]
pub fn lacks_pressure() -> Option<&'static str> {
    GROUPS.as_ref().err().map(String::as_str)
}

struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// Where a program was looked for: a name on PATH, a path where it says.
fn not_found(program: &str) -> &'static str {
    if program.contains('/') { "there is no such executable file" } else { "it is not on PATH" }
}

fn absent(name: &str, verb: &'static str) -> RuntimeError {
    RuntimeError::State { component: name.to_owned(), state: "absent".to_owned(), verb }
}

pub(super) fn wrong_state(name: &str, state: &State, verb: &'static str) -> RuntimeError {
    let state = match state {
        State::Running => "running".to_owned(),
        State::Paused => "paused".to_owned(),
        State::Ended(how) => format!("ended with {how}"),
        State::Absent => "absent".to_owned(),
    };
    RuntimeError::State { component: name.to_owned(), state, verb }
}

/// Bytes of the resident set by a `/proc/PID/status`; `None` without the line (a process that has ended).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl Runtime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    fn capabilities(&self) -> Vec<Capability> {
        let mut all = vec![Capability::ReplicaFaults, Capability::ReplicaDisk, Capability::NetworkFaults];
        if lacks_pressure().is_none() {
            all.push(Capability::ProcessorPressure);
        }
        all
    }

    fn environment(&self) -> Vec<String> {
        let mut all = vec!["processes on loopback addresses".to_owned()];
        all.extend(lacks_pressure().map(|why| format!("no pressure on processors: {why}")));
        all
    }

    fn has_redis(&self) -> BoxFuture<'_, Result<String, String>> {
        async move {
            let (place, environment) = self.redis()?;
            // Reports travel: paths of this machine are nobody else's business.
            let from = if environment.is_empty() { "on PATH" } else { "that `make redis` fetched" };
            let version = redis_version(&place, environment).await?;
            Ok(format!("Redis {version}, `redis-server` {from}"))
        }
        .boxed()
    }

    fn prepare<'a>(&'a self, programs: &'a [Program]) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let missing = |program: &str, seen: String| RuntimeError::NoProgram {
                component: "deployment".to_owned(),
                program: program.to_owned(),
                seen,
            };
            for program in programs {
                match program {
                    Program::Fixture(_) => {
                        let own = &self.options.executable;
                        if !own.is_file() {
                            let seen = format!("`{}` is no file; `cargo build -p gatecrash` makes it", own.display());
                            return Err(missing("gatecrash", seen));
                        }
                    }
                    Program::Command(words) => {
                        let program = words.first().map(String::as_str).unwrap_or_default();
                        self.find(program).ok_or_else(|| missing(program, not_found(program).to_owned()))?;
                    }
                    Program::Image { image, .. } => {
                        let seen = "it is an image, and this is the runtime `process`; use `--runtime docker`";
                        return Err(missing(image, seen.to_owned()));
                    }
                    Program::Redis(_) => {
                        self.redis().map_err(|seen| missing("redis-server", seen))?;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn network<'a>(&'a self, lab: &'a str) -> BoxFuture<'a, Result<Network, RuntimeError>> {
        async move {
            let id = format!("{}-{lab}", self.options.run);
            if self.networks().contains_key(&id) {
                let twice = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "this run has a lab of that name");
                return Err(failed(format!("making network `{id}`"), twice));
            }
            let (folder, work) = files::of_lab(&self.options.folder, lab)?;
            let lease = Lease::take(&id).map_err(|source| {
                failed(format!("leasing loopback addresses for network `{id}` in 127.16.0.0 to 127.239.255.0"), source)
            })?;
            let gateway = lease.host(1).into();
            let logs =
                Logs::start().map_err(|source| failed(format!("starting the logs of network `{id}`"), source))?;
            let leased = Leased { lease, logs, hosts: BTreeMap::new(), started: BTreeMap::new() };
            self.networks().insert(id.clone(), leased);
            Ok(Network { id, gateway, folder, work })
        }
        .boxed()
    }

    fn place(&self, network: &Network, name: &str) -> Placement {
        Placement {
            listen: self.address(network, name).into(),
            files: files::files(network, name).to_string_lossy().into_owned(),
            disk: files::disk(network, name).to_string_lossy().into_owned(),
        }
    }

    fn start<'a>(
        &'a self,
        network: &'a Network,
        component: &'a Component,
    ) -> BoxFuture<'a, Result<IpAddr, RuntimeError>> {
        async move {
            if let Some(before) = self.started(network, &component.name) {
                let state = before.child.state();
                if !matches!(state, State::Ended(_)) {
                    return Err(wrong_state(&component.name, &state, "started"));
                }
            }
            files::write(network, &component.name, &component.files)?;
            self.spawn(network, component)
        }
        .boxed()
    }

    fn signal<'a>(
        &'a self,
        network: &'a Network,
        name: &'a str,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let (verb, os) = match signal {
                Signal::Kill => ("killed", Os::KILL),
                Signal::Terminate => ("terminated", Os::TERM),
                Signal::Pause => ("paused", Os::STOP),
                Signal::Resume => ("resumed", Os::CONT),
            };
            let Some(started) = self.started(network, name) else { return Err(absent(name, verb)) };
            let child = started.child;
            let before = child.state();
            let fits = match signal {
                Signal::Kill | Signal::Terminate => matches!(before, State::Running | State::Paused),
                Signal::Pause => before == State::Running,
                Signal::Resume => before == State::Paused,
            };
            if !fits {
                return Err(wrong_state(name, &before, verb));
            }
            if signal == Signal::Kill {
                return child.kill(name).await;
            }
            child
                .send(os)
                .map_err(|error| failed(format!("sending {os:?} to `{name}` (pid {})", child.pid()), error))?;
            let wanted = match signal {
                Signal::Pause => State::Paused,
                Signal::Resume => State::Running,
                Signal::Kill | Signal::Terminate => return Ok(()),
            };
            settle(name, &child, &wanted, verb).await
        }
        .boxed()
    }

    fn start_again<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<IpAddr, RuntimeError>> {
        async move {
            let Some(before) = self.started(network, name) else { return Err(absent(name, "started again")) };
            let state = before.child.state();
            if !matches!(state, State::Ended(_)) {
                return Err(wrong_state(name, &state, "started again"));
            }
            self.spawn(network, &before.component)
        }
        .boxed()
    }

    fn remove<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let Some(started) = self.started(network, name) else { return Ok(()) };
            started.child.kill(name).await?;
            self.release(network, name).await?;
            started.log.caught_up().await;
            if let Some(leased) = self.networks().get_mut(&network.id) {
                leased.started.remove(name);
            }
            Ok(())
        }
        .boxed()
    }

    fn wipe_disk<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            if let Some(started) = self.started(network, name) {
                let state = started.child.state();
                if !matches!(state, State::Ended(_)) {
                    return Err(wrong_state(name, &state, "wiped"));
                }
            }
            files::empty(&files::disk(network, name))
        }
        .boxed()
    }

    fn state<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, State> {
        async move { self.started(network, name).map_or(State::Absent, |started| started.child.state()) }.boxed()
    }

    fn processor_time<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<Duration>> {
        async move {
            let child = self.started(network, name)?.child;
            // The number of one that ended may be somebody else's by now.
            if let State::Ended(_) = child.state() { None } else { proc::processor_time(child.pid()) }
        }
        .boxed()
    }

    /// Its resident set; one that was swapped out would look smaller.
    fn memory<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move {
            let started = self.started(network, name)?;
            if started.child.state() != State::Running {
                return None;
            }
            resident(&std::fs::read_to_string(format!("/proc/{}/status", started.child.pid())).ok()?)
        }
        .boxed()
    }

    fn open_files<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>> {
        async move {
            let child = self.started(network, name)?.child;
            if child.state() == State::Running { proc::open_files(child.pid()) } else { None }
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
        async move { pressure::throttling(self, network, name) }.boxed()
    }

    fn log_tail<'a>(&'a self, network: &'a Network, name: &'a str, lines: usize) -> BoxFuture<'a, String> {
        async move {
            if let Some(started) = self.started(network, name) {
                started.log.caught_up().await;
            }
            files::tail(&files::log(network, name), lines)
        }
        .boxed()
    }

    // Processes of one machine can always dial each other: nothing is claimed, so nothing is proved.

    fn prepare_isolation<'a>(&'a self, _network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move { Ok(()) }.boxed()
    }

    fn prove_isolation<'a>(
        &'a self,
        _network: &'a Network,
        _addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move { Ok(()) }.boxed()
    }

    fn still_isolated<'a>(
        &'a self,
        _network: &'a Network,
        _addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RuntimeError>> {
        async move { Ok(None) }.boxed()
    }

    fn tear_down<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>> {
        async move {
            let all = match self.networks().get(&network.id) {
                Some(leased) => leased.started.clone(),
                None => return Ok(()),
            };
            let killed = join_all(all.iter().map(|(name, started)| started.child.kill(name))).await;
            let killed = killed.into_iter().collect::<Result<(), RuntimeError>>();
            killed.and(pressure::release_all(self, network).await)?;
            // Logs stay, and are whole.
            join_all(all.values().map(|started| started.log.caught_up())).await;
            self.networks().remove(&network.id);
            files::remove_work(network).await
        }
        .boxed()
    }
}

/// Waits until the kernel shows the state: a stop signal is delivered when its target next runs, not when it is sent.
async fn settle(name: &str, child: &Child, wanted: &State, verb: &'static str) -> Result<(), RuntimeError> {
    let clock = crate::clock::Clock::start();
    let mut pause = Duration::from_micros(50);
    loop {
        let state = child.state();
        if state == *wanted {
            return Ok(());
        }
        if matches!(state, State::Ended(_)) || clock.since(0) >= STOPPED_WITHIN {
            return Err(wrong_state(name, &state, verb));
        }
        crate::clock::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests;
