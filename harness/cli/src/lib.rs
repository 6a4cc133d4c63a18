//! Crashes API gateways on purpose, and says, with evidence, which of their promises survived.
//!
//! The command line (`gatecrash certify deployment.yaml`) and this library share their code. In a test of your own:
//!
//! ```no_run
//! # async fn test() -> Result<(), gatecrash::Error> {
//! let record = gatecrash::certify("deployment.yaml").only("QUO-*").seed(7).run().await?;
//! assert_eq!(gatecrash::Exit::of(&record), gatecrash::Exit::AsDeclared, "{}", gatecrash::summary(&record));
//! # Ok(())
//! # }
//! ```
//!
//! A run needs the `gatecrash` executable, which acts as the parts of a deployment that are not the gateway: build it
//! with `cargo build -p gatecrash`, install it, or name it in `GATECRASH_BIN`.

mod args;
mod commands;
mod error;
mod execute;
mod exit;
mod load;
mod prepare;
mod shrink;
mod times;

pub use args::RuntimeChoice;
pub use error::Error;
pub use exit::Exit;
pub use gatecrash_model::run_record::{ClaimRecord, RunRecord, RunResult};
pub use gatecrash_model::verdict::{Standing, Verdict};

use prepare::Asked;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// `--scale` where nothing else is said: quick, and no certificate.
pub(crate) const DEFAULT_SCALE: f64 = 0.1;

/// Acts as a fixture or as the reaper if `args` (the whole command line, program first) asks for it; `None` if it does not.
pub fn as_fixture(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "fixture") && args.get(2).is_some_and(|word| word == "reaper") {
        let words: Vec<String> = args.into_iter().skip(3).map(|word| word.to_string_lossy().into_owned()).collect();
        return Some(gatecrash_engine::reaper::main(&words));
    }
    gatecrash_fixtures::dispatch::as_fixture(args)
}

/// The command line of this process, from its arguments to its exit code.
#[must_use]
pub fn command_line() -> ExitCode {
    commands::main().into()
}

/// Certifies the deployment in the file `deployment`, or the one of that name that comes with gatecrash, once it is
/// [run](Certify::run): process or container runtime, whichever there is, at scale 0.1, all claims.
pub fn certify(deployment: impl AsRef<Path>) -> Certify {
    Certify {
        asked: Asked {
            deployment: deployment.as_ref().to_owned(),
            runtime: RuntimeChoice::Auto,
            seed: None,
            scale: DEFAULT_SCALE,
            only: Vec::new(),
            profile: None,
            out: None,
            parallel: None,
            schedule: None,
            is_binary: false,
        },
    }
}

/// A run as text for people: headline, table, counterexamples, reasons.
#[must_use]
pub fn summary(record: &RunRecord) -> String {
    gatecrash_reports::terminal::render(record, 120, false)
}

/// A certification to be run; made by [`certify`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `run`"]
pub struct Certify {
    asked: Asked,
}

impl Certify {
    /// Only claims whose id matches `pattern` (`*` stands for anything); several calls add up.
    pub fn only(mut self, pattern: &str) -> Self {
        self.asked.only.push(pattern.to_owned());
        self
    }

    /// Where components run.
    pub fn runtime(mut self, runtime: RuntimeChoice) -> Self {
        self.asked.runtime = runtime;
        self
    }

    /// Seed of every random draw; drawn if it is not given. It is in the record.
    pub fn seed(mut self, seed: u64) -> Self {
        self.asked.seed = Some(seed);
        self
    }

    /// Factor for all windows and faults, 0.01 to 1. Only 1 certifies.
    pub fn scale(mut self, scale: f64) -> Self {
        self.asked.scale = scale;
        self
    }

    /// Profile instead of the deployment's: a name, or a path ending in `.yaml`.
    pub fn profile(mut self, profile: &str) -> Self {
        self.asked.profile = Some(profile.to_owned());
        self
    }

    /// Folder for histories and reports; `target/gatecrash/<run>` if it is not given.
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.asked.out = Some(folder.into());
        self
    }

    /// Experiments at the same time; from the number of cores if it is not given.
    pub fn parallel(mut self, experiments: u16) -> Self {
        self.asked.parallel = Some(experiments.max(1));
        self
    }

    /// Runs the experiments, judges the claims, writes the reports. A broken claim is no error; it is in the record.
    ///
    /// # Errors
    /// [`Error::Input`], [`Error::Preflight`] or [`Error::Fault`]: whatever kept it from a record.
    pub async fn run(self) -> Result<RunRecord, Error> {
        let prepared = prepare::prepare(&self.asked).await?;
        let done = Box::pin(execute::execute(prepared, CancellationToken::new(), Arc::new(|_| {}))).await?;
        Ok(done.record)
    }
}
