//! Brings the components of a deployment up and down, gives their addresses, kills, pauses and
//! restarts them. What a runtime cannot do is said by [`Runtime::capabilities`], never silently skipped.

pub(crate) mod control_group;
pub mod docker;
pub mod files;
pub mod process;

use futures::future::BoxFuture;
use gatecrash_model::claim::Capability;
use gatecrash_model::fixture::{BurnerConfig, Role};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a component is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// One of our fixtures: `gatecrash fixture ROLE --config FILES/fixture.json`; the file is among the component's files.
    Fixture(Role),
    /// Any program as a process: program and arguments (`process` runtime only). The program `gatecrash` is this harness' own executable.
    Command(Vec<String>),
    /// Any image as a container (`docker` runtime only).
    Image {
        /// Reference; `gatecrash` is the image of this harness' own executable.
        image: String,
        /// Host executable from which the image is made if the reference exists nowhere.
        from_executable: Option<String>,
        /// Arguments after the entry point.
        arguments: Vec<String>,
        /// An init process as PID 1.
        init: bool,
    },
    /// Real Redis without persistence of its own choice: `redis-server --bind LISTEN --save "" --appendonly no`.
    /// Only where [`Runtime::has_redis`] says so.
    Redis(RedisAs),
}

/// What a `redis-server` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAs {
    /// A store by itself, on port 6379.
    Alone,
    /// One of several nodes, on port 6379, of which one is the primary.
    Node {
        /// Where the others reach it.
        announced: SocketAddr,
        /// Whose copy it is at its start; `None` for the primary.
        copy_of: Option<SocketAddr>,
    },
    /// A Sentinel, which watches such nodes: as its file `sentinel.conf` says, into which it writes what it learns.
    Sentinel,
}

impl RedisAs {
    /// Arguments of `redis-server` that binds `listen` and finds its files and its disk at these places. No protected mode: it has no password, and
    /// answers links only.
    pub(super) fn arguments(&self, listen: &str, files: &str, disk: &str) -> Vec<String> {
        let mut words: Vec<String> = match self {
            Self::Sentinel => vec![format!("{files}/sentinel.conf"), "--sentinel".to_owned()],
            Self::Alone | Self::Node { .. } => {
                ["--port", "6379", "--save", "", "--appendonly", "no"].map(str::to_owned).to_vec()
            }
        };
        words.extend(["--bind", listen, "--protected-mode", "no", "--dir", disk].map(str::to_owned));
        if let Self::Node { announced, copy_of } = self {
            let (host, port) = (announced.ip().to_string(), announced.port().to_string());
            words.extend(["--replica-announce-ip", &host, "--replica-announce-port", &port].map(str::to_owned));
            // A copy is made as soon as one is asked for, and not five seconds later.
            words.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
            if let Some(first) = copy_of {
                words.extend(["--replicaof".to_owned(), first.ip().to_string(), first.port().to_string()]);
            }
        }
        words
    }
}

/// A component to start.
#[derive(Clone, Debug)]
pub struct Component {
    /// Name, unique in its network.
    pub name: String,
    /// What runs.
    pub program: Program,
    /// Environment beside the run's own marker.
    pub environment: BTreeMap<String, String>,
    /// Files, relative to its files folder. Written anew at every start.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Where a component will live; known before it starts, so that configurations can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Address that it binds: its own loopback address, or `0.0.0.0` in a container.
    pub listen: IpAddr,
    /// Its files folder as it sees it.
    pub files: String,
    /// Its local disk as it sees it; survives restarts, emptied by [`Runtime::wipe_disk`].
    pub disk: String,
}

/// The network of one lab: components and the links between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Id, unique among concurrent runs; part of every object's name.
    pub id: String,
    /// Address on which the harness' links listen: components can reach it, and nothing else.
    pub gateway: IpAddr,
    /// Folder of this lab on the host: logs `<name>.log`. It stays.
    pub folder: PathBuf,
    /// Folder of its components' files and disks on the host. Secrets are in it: it is removed with the lab.
    pub work: PathBuf,
}

/// What a component's process or container is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Runs.
    Running,
    /// Stopped by SIGSTOP or the engine's pause.
    Paused,
    /// Ended; with its exit code or signal in words.
    Ended(String),
    /// Never started, or removed.
    Absent,
}

/// A signal to a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// Stop without ending (SIGSTOP, or the engine's pause).
    Pause,
    /// Go on after a pause.
    Resume,
}

/// What a limit of processor time did so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which there was something to do.
    pub periods: u64,
    /// Of these, in how many the component stood still because its time was used up.
    pub throttled: u64,
    /// For how long in all; added up over cores.
    pub waited: Duration,
}

/// Seconds after which a burner stops by itself, should nobody be left to stop it.
const BURNER_AT_MOST_S: u64 = 1_800;

/// What a burner is told that finds its own file at `place`.
fn burner_config(place: PathBuf) -> Result<Vec<u8>, RuntimeError> {
    serde_json::to_vec(&BurnerConfig { while_there: place, at_most_s: BURNER_AT_MOST_S })
        .map_err(|source| files::failed("writing a burner's configuration".to_owned(), source))
}

/// Why a runtime could not do what it was asked. All of these are preflight problems or our own fault, never a verdict.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No engine answers.
    #[error(
        "no container engine answers at `{address}`: {seen}\nstart one (for example `dockerd`), or use `--runtime process`"
    )]
    NoEngine {
        /// Where it was looked for.
        address: String,
        /// What was seen.
        seen: String,
    },
    /// An image is missing and cannot be made.
    #[error("image `{image}` is neither local nor can it be pulled or made: {seen}")]
    NoImage {
        /// Reference.
        image: String,
        /// What was seen.
        seen: String,
    },
    /// A program is missing.
    #[error("program `{program}` of `{component}` was not found: {seen}")]
    NoProgram {
        /// Component.
        component: String,
        /// Program.
        program: String,
        /// What was seen, and the command that makes it.
        seen: String,
    },
    /// A component did not start, or ended at once.
    #[error("`{component}` did not start: {seen}")]
    Start {
        /// Component.
        component: String,
        /// What was seen, with the last lines of its log.
        seen: String,
    },
    /// An address or port is taken.
    #[error("address `{address}` of `{component}` is taken: {seen}")]
    Taken {
        /// Component.
        component: String,
        /// Address.
        address: String,
        /// What was seen.
        seen: String,
    },
    /// A container reached another without its link.
    #[error("`{from}` can bypass its links: it reached `{to}` directly")]
    Bypass {
        /// Who.
        from: String,
        /// Whom.
        to: String,
    },
    /// The harness cannot reach a container's address.
    #[error("the harness cannot reach `{component}` at {address}: {seen}; only a local Linux engine is supported")]
    Unreachable {
        /// Component.
        component: String,
        /// Address.
        address: String,
        /// What was seen.
        seen: String,
    },
    /// The component does not exist or is not in the state that the call needs.
    #[error("`{component}` is {state}; it cannot be {verb}")]
    State {
        /// Component.
        component: String,
        /// Its state in words.
        state: String,
        /// What was asked.
        verb: &'static str,
    },
    /// The engine answered with an error, or the operating system did.
    #[error("{doing}")]
    Failed {
        /// What was tried, on which object.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RuntimeError {
    /// The same error; where a program or an image is missing, `hint` (how to get it) on a line of its own at its end.
    #[must_use]
    pub fn with_hint(self, hint: Option<&str>) -> Self {
        let Some(hint) = hint else { return self };
        match self {
            Self::NoImage { image, seen } => Self::NoImage { image, seen: format!("{seen}\n{hint}") },
            Self::NoProgram { component, program, seen } => {
                Self::NoProgram { component, program, seen: format!("{seen}\n{hint}") }
            }
            other @ (Self::NoEngine { .. }
            | Self::Start { .. }
            | Self::Taken { .. }
            | Self::Bypass { .. }
            | Self::Unreachable { .. }
            | Self::State { .. }
            | Self::Failed { .. }) => other,
        }
    }
}

/// Brings a deployment up and down. Calls are concurrent; each is bounded in time.
pub trait Runtime: Send + Sync {
    /// `process` or `docker`.
    fn name(&self) -> &'static str;

    /// What it can do beyond starting: [`Capability::ReplicaFaults`], [`Capability::ReplicaDisk`], [`Capability::NetworkFaults`],
    /// [`Capability::ProcessorPressure`].
    fn capabilities(&self) -> Vec<Capability>;

    /// One sentence each for the report: engine and API version, what was found.
    fn environment(&self) -> Vec<String>;

    /// Which Redis [`Program::Redis`] would start: its version or image, and where it comes from. An image may be made for it.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn has_redis(&self) -> BoxFuture<'_, Result<String, String>>;

    /// Makes sure that all of these can be started: executables found, images there or made.
    fn prepare<'a>(&'a self, programs: &'a [Program]) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// A network for the lab called `lab`, with a folder of its own.
    fn network<'a>(&'a self, lab: &'a str) -> BoxFuture<'a, Result<Network, RuntimeError>>;

    /// Where the component called `name` will live. The same name has the same placement.
    fn place(&self, network: &Network, name: &str) -> Placement;

    /// Starts a component and returns its address once the process or container runs (not yet ready).
    fn start<'a>(
        &'a self,
        network: &'a Network,
        component: &'a Component,
    ) -> BoxFuture<'a, Result<IpAddr, RuntimeError>>;

    /// Sends a signal; returns when it was delivered (for `Kill`, when the process is gone; at most 10 s).
    fn signal<'a>(
        &'a self,
        network: &'a Network,
        name: &'a str,
        signal: Signal,
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// Starts an ended component again, with its files and disk as they are; its address may have changed.
    fn start_again<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<IpAddr, RuntimeError>>;

    /// Removes a component for good (killing it if it runs).
    fn remove<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// Empties the local disk of a component that does not run.
    fn wipe_disk<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// What the component is doing.
    fn state<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, State>;

    /// Processor time that the component has used since it was started last, user and system; `None` where nobody can say.
    fn processor_time<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<Duration>>;

    /// Bytes of memory that the component has now; `None` if that cannot be seen.
    fn memory<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>>;

    /// Files, sockets and pipes that the component has open now; `None` if that cannot be seen.
    fn open_files<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<u64>>;

    /// Presses on the processor of a component that runs: from here on it and a burner of ours share so many thousandths of a core (at least
    /// 10). Only where there is [`Capability::ProcessorPressure`]. What was pressed before is released first.
    fn press<'a>(
        &'a self,
        network: &'a Network,
        name: &'a str,
        millicores: u32,
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// Takes the pressure away, also from one that has ended; nothing is done to one that is not pressed.
    fn release<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// What the kernel counts of the limit of a component's processor time; `None` where it has no limit, or nobody can say.
    fn throttling<'a>(&'a self, network: &'a Network, name: &'a str) -> BoxFuture<'a, Option<Throttling>>;

    /// The last lines of its log, joined by newlines; empty if there is none.
    fn log_tail<'a>(&'a self, network: &'a Network, name: &'a str, lines: usize) -> BoxFuture<'a, String>;

    /// Starts what [`Self::prove_isolation`] needs, so that it can come up beside the components; nothing in `process`.
    fn prepare_isolation<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// Proves that the harness reaches all components, and that these cannot reach each other but through links (`docker`); nothing
    /// to prove in `process`. All of them are listening.
    fn prove_isolation<'a>(
        &'a self,
        network: &'a Network,
        addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;

    /// Proves it once more of those that listen now, and names them: components may have come or gone since. `None` where there is nothing to prove.
    fn still_isolated<'a>(
        &'a self,
        network: &'a Network,
        addresses: &'a [(String, IpAddr, u16)],
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, RuntimeError>>;

    /// Removes every component and the network; returns when nothing is left. Safe to call twice.
    fn tear_down<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<(), RuntimeError>>;
}

/// What every runtime is given.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Run id, in every name, label and environment: `r` and 8 lower-case letters or digits.
    pub run: String,
    /// Folder of the run on the host; labs get folders below it, and below its [`files::WORK`].
    pub folder: PathBuf,
    /// This harness' own executable that dispatches `fixture`.
    pub executable: PathBuf,
    /// How long one start may take.
    pub start_within: Duration,
}

/// Environment variable that marks every process of a run; the reaper looks for it.
pub const RUN_VARIABLE: &str = "GATECRASH_RUN";
/// Label that every container and network of a run carries; its value is the run id.
pub const RUN_LABEL: &str = "gatecrash.run";
