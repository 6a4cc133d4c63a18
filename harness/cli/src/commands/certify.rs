//! `gatecrash certify`: run, judge, report.

use super::{look, plan, put, say};
use crate::args::Certify;
use crate::error::Error;
use crate::execute;
use crate::exit::Exit;
use crate::load;
use crate::prepare::{Asked, Prepared, prepare};
use crate::shrink::Shrinking;
use crate::times::short;
use gatecrash_engine::recorder::FILE_LIMIT_SIGNAL;
use gatecrash_suites::certify::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the command line asks, with what the schedule says that it names.
///
/// # Errors
/// A schedule that is none.
pub(super) fn asked(certify: Certify) -> Result<Asked, Error> {
    let asked = Asked {
        deployment: certify.deployment.unwrap_or_default(),
        runtime: certify.runtime,
        seed: certify.seed,
        scale: certify.scale,
        only: certify.only,
        profile: certify.profile,
        out: certify.out,
        parallel: certify.parallel,
        schedule: None,
        is_binary: true,
    };
    match certify.schedule {
        Some(file) => Ok(asked.of_schedule(&file, load::schedule(&file)?)),
        None => Ok(asked),
    }
}

pub(super) async fn run(certify: Certify, shrink: bool) -> Result<Exit, Error> {
    let interrupt = CancellationToken::new();
    watch_signals(&interrupt)?;
    let asked = asked(certify)?;
    let prepared = tokio::select! {
        prepared = prepare(&asked) => prepared?,
        // Nothing was started, and nothing written.
        () = interrupt.cancelled() => return Ok(Exit::Interrupted),
    };
    introduce(&prepared);
    let show = Show::new(prepared.plan.experiments.len());
    let shown = Arc::clone(&show);
    let folder = prepared.folder.clone();
    let named = prepared.shown_folder.clone();
    let shrinking = shrink.then(|| Shrinking::of(&asked, &prepared));
    let tell = Arc::new(move |progress| shown.tell(progress));
    let done = Box::pin(execute::execute(prepared, interrupt.clone(), tell)).await;
    show.end();
    let mut done = done?;
    let shrunk = match shrinking {
        Some(shrinking) => Box::pin(shrinking.shrink(&mut done.record, &interrupt, &|line: &str| say(line))).await,
        None => Ok(()),
    };

    for left in &done.left {
        say(&format!("left by the tear-down, removed now: {left}"));
    }
    let (width, colour) = look();
    put(&gatecrash_reports::terminal::render_in(&done.record, Some(&named), width, colour))?;
    summarize_job(&folder)?;
    shrunk?;
    // The run may have come to its end, and what is done with it not.
    let interrupted = if interrupt.is_cancelled() { Exit::Interrupted } else { Exit::AsDeclared };
    Ok(Exit::of(&done.record).max(interrupted))
}

/// Seed first, then where it runs and what will happen.
fn introduce(prepared: &Prepared) {
    say(&format!("seed {}", prepared.request.seed.0));
    say(&plan::text(prepared));
}

/// The first SIGINT or SIGTERM heals and tears down; the second ends this process, and the reaper does the rest.
fn watch_signals(interrupt: &CancellationToken) -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::fault("listening for signals", &error));
    let (mut interrupted, mut terminated) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    // A file that may not grow is a write that fails, like a full disk, not the death of this process.
    let _handled_from_now_on = listen(SignalKind::from_raw(FILE_LIMIT_SIGNAL))?;
    let interrupt = interrupt.clone();
    // Ends with the process.
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
            if second {
                say("interrupted again: ending now; the reaper removes what is left");
                leave();
            }
            say("interrupted: healing and tearing down; again to end at once");
            interrupt.cancel();
        }
    });
    Ok(())
}

#[expect(clippy::exit, reason = "the user asked twice; the reaper outside this process cleans up")]
fn leave() {
    std::process::exit(i32::from(Exit::Interrupted.code()));
}

/// What is shown while experiments run: a bar on a terminal, lines otherwise.
struct Show {
    bar: Option<ProgressBar>,
    running: Mutex<BTreeSet<String>>,
}

impl Show {
    fn new(experiments: usize) -> Arc<Self> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(u64::try_from(experiments).unwrap_or(u64::MAX));
            let style = ProgressStyle::with_template("{spinner} {elapsed} {pos} of {len} experiments {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Arc::new(Self { bar, running: Mutex::default() })
    }

    fn tell(&self, progress: Progress) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match progress {
            Progress::Started { experiment } => {
                let line = self.bar.is_none().then(|| format!("started  {experiment}"));
                running.insert(experiment);
                line
            }
            Progress::Finished { experiment, wall, problem } => {
                running.remove(&experiment);
                if let Some(bar) = &self.bar {
                    bar.inc(1);
                }
                let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
                Some(format!("finished {experiment} in {}{problem}", short(wall)))
            }
        };
        match (&self.bar, line) {
            (Some(bar), line) => {
                bar.set_message(running.iter().cloned().collect::<Vec<_>>().join(", "));
                if let Some(line) = line {
                    bar.println(line);
                }
            }
            (None, Some(line)) => say(&line),
            (None, None) => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Appends `summary.md` to the summary page of a CI job, where there is one.
fn summarize_job(folder: &Path) -> Result<(), Error> {
    let Some(page) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|page| !page.is_empty()) else { return Ok(()) };
    let summary = folder.join("summary.md");
    let append = || {
        let text = std::fs::read(&summary)?;
        std::fs::File::options().create(true).append(true).open(&page)?.write_all(&text)
    };
    append()
        .map_err(|error| Error::Fault(format!("appending the summary to `{}`: {error}", Path::new(&page).display())))
}
