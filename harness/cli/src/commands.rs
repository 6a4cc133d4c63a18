//! The verbs of the command line, one file each. Data goes to stdout, text and progress to stderr.

mod certify;
mod check;
mod doctor;
mod explain;
mod list;
mod plan;
mod sweep;

use crate::args::{Arguments, Verb};
use crate::error::Error;
use crate::exit::Exit;
use clap::Parser as _;
use gatecrash_engine::priority;
use std::io::{IsTerminal as _, Write as _};

/// The command line of this process.
pub(crate) fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _nobody_listens = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::AsDeclared };
        }
    };
    log();
    priority::put_ahead();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().on_thread_start(priority::put_ahead).build() {
        Ok(runtime) => runtime,
        Err(error) => return told(&Error::fault("starting", &error)),
    };
    let ended = runtime.block_on(Box::pin(run(arguments.verb)));
    // What still hangs then belongs to nobody.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| told(&error))
}

async fn run(verb: Verb) -> Result<Exit, Error> {
    match verb {
        Verb::Certify { certify, shrink } => Box::pin(certify::run(certify, shrink)).await,
        Verb::Plan(certify) => plan::run(certify).await,
        Verb::List { sentences, defects } => list::run(sentences, defects),
        Verb::Explain { claim } => explain::run(&claim),
        Verb::Check { run } => check::run(&run),
        Verb::Sweep { dry_run, unknown } => sweep::run(dry_run, unknown).await,
        Verb::Doctor => doctor::run().await,
    }
}

fn told(error: &Error) -> Exit {
    say(&error.to_string());
    error.exit()
}

/// Warnings go to stderr; `GATECRASH_LOG` (`debug`, `gatecrash_engine=trace`) asks for more.
fn log() {
    let asked = std::env::var_os("GATECRASH_LOG").and_then(|asked| asked.into_string().ok());
    let filter = asked.unwrap_or_else(|| "error".to_owned());
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    // Already set: by a test that runs commands in its own process.
    let _already_set = logging;
}

/// A line for people, on stderr. Whoever closed it does not want to know.
fn say(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Data, on stdout.
///
/// # Errors
/// A stdout that takes nothing more, unless it was closed: who reads only the first lines (`| head`) has what they wanted.
fn put(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::fault("writing to stdout", &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Columns of the terminal, 120 where there is none, and whether it wants colours.
fn look() -> (usize, bool) {
    if !std::io::stdout().is_terminal() {
        return (120, false);
    }
    let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
    (width, std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
}
