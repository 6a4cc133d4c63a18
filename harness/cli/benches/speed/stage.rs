//! A runtime with its reaper, and what labs need of it: as a certification makes them.

use crate::machine::Outcome;
use gatecrash_engine::clock::{Clock, monotonic_ns};
use gatecrash_engine::lab::{Kit, RedisOfRun};
use gatecrash_engine::link::Links;
use gatecrash_engine::reaper::{Reaper, ReaperOptions};
use gatecrash_engine::runtime::docker::DockerRuntime;
use gatecrash_engine::runtime::process::ProcessRuntime;
use gatecrash_engine::runtime::{Runtime, RuntimeError, RuntimeOptions};
use gatecrash_fixtures::adapters;
use gatecrash_model::adapter::Adapter;
use gatecrash_model::{Deployment, Seed, deployment};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The executable that acts as fixtures and gateways.
pub(crate) const EXECUTABLE: &str = env!("CARGO_BIN_EXE_gatecrash");
/// Scale of the labs: the default of `certify`.
pub(crate) const SCALE: f64 = 0.1;
const START_WITHIN: Duration = Duration::from_secs(30);

/// Where labs can be brought up.
pub(crate) struct Stage {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) links: Links,
    run: String,
    reaper: Reaper,
    folder: PathBuf,
}

/// The runtimes that are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    Process,
    Docker,
}

impl Stage {
    /// A runtime under a reaper; none where containers are asked for and no engine answers.
    pub(crate) async fn set(on: Where) -> Outcome<Option<Self>> {
        let run = format!("r{:08x}", monotonic_ns() & 0xffff_ffff);
        let folder = std::env::current_dir()?.join("target/bench").join(&run);
        std::fs::create_dir_all(&folder)?;
        let executable = PathBuf::from(EXECUTABLE);
        let options = RuntimeOptions {
            run: run.clone(),
            folder: folder.clone(),
            executable: executable.clone(),
            start_within: START_WITHIN,
        };
        let tools = std::env::current_dir()?.join("target/tools");
        let runtime: Arc<dyn Runtime> = match on {
            Where::Process => Arc::new(ProcessRuntime::new(options).with_tools(tools)),
            Where::Docker => match DockerRuntime::new(options, tools).await {
                Ok(runtime) => Arc::new(runtime),
                Err(RuntimeError::NoEngine { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        let reaper =
            ReaperOptions { executable, run: run.clone(), engine: on == Where::Docker, delete: Vec::new(), log: None };
        let reaper = Reaper::start(&reaper)?;
        Ok(Some(Self { runtime, links: Links::start(Seed(1))?, run, reaper, folder }))
    }

    /// What a lab of this stage is made of.
    pub(crate) fn kit(&self, adapter: Adapter) -> Kit {
        Kit {
            runtime: Arc::clone(&self.runtime),
            redis: RedisOfRun::StandIn("the same store wherever this is measured".to_owned()),
            links: self.links.clone(),
            clock: Clock::start(),
            seed: Seed(1),
            adapter,
            folder: self.folder.clone(),
            tools: "target/tools".to_owned(),
            scale: SCALE,
            interrupt: CancellationToken::new(),
        }
    }

    /// Run id, in the label of every object.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// Folder with the histories.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what is left, and the folder.
    pub(crate) async fn strike(self) -> Outcome<()> {
        self.links.stop();
        let left = self.reaper.finish().await?;
        std::fs::remove_dir_all(&self.folder)?;
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}").into()) }
    }
}

/// A deployment that comes with gatecrash, with its adapter, scaled.
pub(crate) fn built_in(name: &str) -> Outcome<(Deployment, Adapter)> {
    let found = adapters::deployments().iter().find(|known| known.name == name);
    let found = found.ok_or_else(|| format!("no deployment `{name}`"))?;
    let deployment = deployment::yaml::parse(name, found.yaml)?;
    let adapter = adapters::builtin().iter().find(|known| known.name == deployment.gateway.adapter);
    let adapter = adapter.ok_or_else(|| format!("no adapter `{}`", deployment.gateway.adapter))?.adapter()?;
    Ok((deployment.scaled(SCALE), adapter))
}

/// A runtime of tokio as the command line has it.
pub(crate) fn tokio() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
