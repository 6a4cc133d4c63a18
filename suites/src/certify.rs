//! Plans a certification, runs its experiments side by side, and judges the saved histories.
//!
//! [`plan`] is pure. [`run`] tells each story in a lab of its own and saves what it saw; only then
//! `judge` reads the files back, so that [`check`] of a saved run comes to the same verdicts.

mod contradictions;
mod judge;
mod planning;
mod stores;
mod together;

pub use contradictions::{Contradiction, contradictions};
pub use judge::{CheckError, Checked, check, decide, save};
pub use planning::{Plan, PlannedClaim, PlannedExperiment, plan, takes};

use futures::FutureExt as _;
use gatecrash_engine::clock::Clock;
use gatecrash_engine::lab::{Kit, Lab, LabError, RedisOfRun};
use gatecrash_engine::link::Links;
use gatecrash_engine::machine::{Place, Room};
use gatecrash_engine::recorder;
use gatecrash_engine::runtime::{Program, Runtime};
use gatecrash_model::adapter::Adapter;
use gatecrash_model::fixture::Role;
use gatecrash_model::history::event::CUT;
use gatecrash_model::run_record::{ExperimentRecord, RunRecord};
use gatecrash_model::schedule::{Part, Parts};
use gatecrash_model::series::Series;
use gatecrash_model::{Deployment, Profile, Seed};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use together::{Companion, together};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What is to be certified.
#[derive(Clone, Debug)]
pub struct Request {
    /// The deployment, unscaled.
    pub deployment: Deployment,
    /// What its product promises.
    pub profile: Profile,
    /// How to run and speak to its gateway.
    pub adapter: Adapter,
    /// Seed of the run.
    pub seed: Seed,
    /// Every window and fault is this much shorter or longer; only 1 certifies.
    pub scale: f64,
    /// Claims to judge: ids or patterns (`QUO-*`); empty for all.
    pub only: Vec<String>,
    /// What runs of the experiments that these claims read; `None` for all of them.
    pub parts: Option<Parts>,
}

/// Where it is certified.
#[derive(Clone)]
pub struct Stage {
    /// Runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Run id.
    pub run: String,
    /// Folder of the run, which exists: histories and `run.json` go here.
    pub folder: PathBuf,
    /// Folder with fetched tools.
    pub tools: String,
    /// Clock of the run.
    pub clock: Clock,
    /// Cancelled on Ctrl-C.
    pub interrupt: CancellationToken,
    /// Experiments that run at the same time, at least 1.
    pub parallel: usize,
    /// Version of gatecrash.
    pub version: String,
    /// Wall time of the start, RFC 3339.
    pub started: String,
    /// Command that repeats the run, to which `--only ID` is added.
    pub repeat: String,
}

/// What happens while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// An experiment began.
    Started {
        /// Its name.
        experiment: String,
    },
    /// An experiment ended.
    Finished {
        /// Its name.
        experiment: String,
        /// How long it took.
        wall: Duration,
        /// Why it did not come to its end, if it did not.
        problem: Option<String>,
    },
}

/// Why there is no record of a run.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The deployment could not be brought up as described: nothing of this is a verdict.
    #[error("{0}")]
    Preflight(String),
    /// The histories could not be written.
    #[error("{0}")]
    Disk(String),
    /// Our own fault.
    #[error("{0}")]
    Harness(String),
}

/// The error and its causes, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

/// How an experiment ended.
#[derive(Debug)]
enum Ended {
    Whole,
    Interrupted,
    /// The run was over before its turn came.
    NotBegun,
    /// The deployment did not come up, before anything was asked of it.
    Preflight(String),
    Disk(String),
    /// It stopped in the middle: what was seen stands, nothing of it holds.
    Cut(String),
    Panicked(String),
}

/// What an experiment holds while it is told: the right to run, and its place on the machine.
struct Turn {
    _turn: Option<Arc<OwnedSemaphorePermit>>,
    _place: Option<Place>,
}

struct Told {
    name: &'static str,
    story: &'static str,
    ended: Ended,
    wall: Duration,
    events: u64,
}

/// Runs the plan and judges what was saved.
///
/// # Errors
/// See [`CertifyError`]; everything that was started is removed first. An interrupted run has a record.
pub async fn run(
    request: &Request,
    plan: &Plan,
    stage: Stage,
    progress: Arc<dyn Fn(Progress) + Send + Sync>,
) -> Result<RunRecord, CertifyError> {
    // Making and pulling images takes long, and may be interrupted: then no experiment begins, which is told as ever.
    if let Some(prepared) = stage.interrupt.run_until_cancelled(prepare(&stage)).await {
        prepared?;
    }
    let began = stage.clock.now();
    let links = Links::start(request.seed).map_err(|error| CertifyError::Harness(chain(&error)))?;
    let looked_for = stage.interrupt.run_until_cancelled(stores::redis(&request.deployment, stage.runtime.as_ref()));
    let redis = looked_for.await.unwrap_or_else(|| RedisOfRun::StandIn("the run was interrupted".to_owned()));
    let stores = stores::sentences(&request.deployment, &plan.experiments, &redis);
    let kit = Kit {
        runtime: Arc::clone(&stage.runtime),
        redis,
        links: links.clone(),
        clock: stage.clock,
        seed: request.seed,
        adapter: request.adapter.clone(),
        folder: stage.folder.clone(),
        tools: stage.tools.clone(),
        scale: request.scale,
        interrupt: stage.interrupt.child_token(),
    };
    let places = stage.parallel.max(1);
    let turns = Arc::new(Semaphore::new(places));
    let room = Arc::new(Room::default());
    // What stops the labs: the user, or a lab that shows that no other can do better.
    let stop = kit.interrupt.clone();
    let mut under_way = JoinSet::new();
    let mut begin = |planned: &PlannedExperiment, turn: Turn, companion: Option<Companion>| {
        let (planned, kit, stop) = (planned.clone(), kit.clone(), stop.clone());
        let (deployment, progress) = (request.deployment.scaled(request.scale), Arc::clone(&progress));
        under_way.spawn(async move {
            let experiment = planned.experiment;
            if kit.interrupt.is_cancelled() {
                let (name, story, wall) = (experiment.name, experiment.story, Duration::ZERO);
                return Told { name, story, ended: Ended::NotBegun, wall, events: 0 };
            }
            progress(Progress::Started { experiment: experiment.name.to_owned() });
            let told = tell(planned, kit, deployment, companion).await;
            // What cannot be brought up once will not come up in the next lab: stop early, remove all. Said before the
            // next one has its turn.
            if told.is_fatal() {
                stop.cancel();
            }
            drop(turn);
            let problem = told.problem();
            progress(Progress::Finished { experiment: told.name.to_owned(), wall: told.wall, problem });
            told
        });
    };
    let (batches, any_time) = planning::batches(&plan.experiments, places);
    for planned in any_time {
        // Taken here, not in the task: tasks begin in any order, and the longest experiment must not come last.
        let turn = Arc::clone(&turns).acquire_owned().await.ok();
        // And none begins beside others before the machine has room for it.
        let place = kit.interrupt.run_until_cancelled(room.enter()).await;
        begin(planned, Turn { _turn: turn.map(Arc::new), _place: place }, None);
    }
    for batch in batches {
        // Every place: when all of the others have ended, and until the last of these has.
        let every = u32::try_from(places).unwrap_or(u32::MAX);
        let turn = Arc::clone(&turns).acquire_many_owned(every).await.ok().map(Arc::new);
        for (planned, companion) in batch.iter().zip(together(batch.len())) {
            begin(planned, Turn { _turn: turn.clone(), _place: None }, Some(companion));
        }
    }
    let mut all: Vec<Told> = Vec::new();
    let mut broken = None;
    while let Some(ended) = under_way.join_next().await {
        match ended {
            Ok(told) => all.push(told),
            Err(error) => {
                stop.cancel();
                broken.get_or_insert(format!("an experiment's task failed: {error}"));
            }
        }
    }
    links.stop();
    let interrupted = stage.interrupt.is_cancelled();
    if let Some(error) = broken.map(CertifyError::Harness).or_else(|| fatal(&all, interrupted)) {
        return Err(error);
    }
    let order = |name: &str| plan.experiments.iter().position(|planned| planned.experiment.name == name);
    all.sort_by_key(|told| order(told.name));
    let experiments = all.iter().map(Told::record).collect();
    let wall = stage.clock.since(began);
    let mut record = judge::blank(request, plan, &stage, experiments, wall, interrupted);
    record.environment.extend(stores);
    let (mut record, _damage) = judge::judge(record, &stage.folder);
    // Whoever interrupts is told so, also if there was nothing left to heal.
    if stage.interrupt.is_cancelled() && !interrupted {
        record.interrupt();
    }
    judge::save(&record, &stage.folder).map_err(CertifyError::Disk)?;
    Ok(record)
}

/// What keeps a run from a record, the gravest first: our own fault; then an interrupt, which has a record; then what
/// the deployment lacks.
fn fatal(all: &[Told], interrupted: bool) -> Option<CertifyError> {
    let fault = all.iter().find_map(|told| match &told.ended {
        Ended::Disk(why) => Some(CertifyError::Disk(format!("experiment `{}`: {why}", told.name))),
        Ended::Panicked(why) => Some(CertifyError::Harness(format!("experiment `{}` panicked: {why}", told.name))),
        Ended::Whole | Ended::Interrupted | Ended::NotBegun | Ended::Preflight(_) | Ended::Cut(_) => None,
    });
    if fault.is_some() || interrupted {
        return fault;
    }
    all.iter().find_map(|told| match &told.ended {
        Ended::Preflight(why) => Some(CertifyError::Preflight(why.clone())),
        Ended::Whole | Ended::Interrupted | Ended::NotBegun | Ended::Disk(_) | Ended::Panicked(_) | Ended::Cut(_) => {
            None
        }
    })
}

/// Makes sure before the first experiment that what every lab needs can be started: making an image takes seconds,
/// and is no part of anyone's story. What else is missing is told by the first lab that needs it.
async fn prepare(stage: &Stage) -> Result<(), CertifyError> {
    let fixtures = [Program::Fixture(Role::Upstream)];
    let prepared = stage.runtime.prepare(&fixtures).await;
    prepared.map_err(|error| {
        let error = LabError::from(error);
        if is_disk(&error) { CertifyError::Disk(chain(&error)) } else { CertifyError::Preflight(chain(&error)) }
    })
}

impl Told {
    /// Whether the other experiments need not be told: nothing of this run becomes a certificate.
    fn is_fatal(&self) -> bool {
        match self.ended {
            Ended::Preflight(_) | Ended::Disk(_) | Ended::Panicked(_) => true,
            Ended::Whole | Ended::Interrupted | Ended::NotBegun | Ended::Cut(_) => false,
        }
    }

    fn problem(&self) -> Option<String> {
        match &self.ended {
            Ended::Whole => None,
            Ended::Interrupted => Some("interrupted".to_owned()),
            Ended::NotBegun => Some("interrupted before it began".to_owned()),
            Ended::Preflight(why) | Ended::Disk(why) | Ended::Cut(why) | Ended::Panicked(why) => Some(why.clone()),
        }
    }

    fn record(&self) -> ExperimentRecord {
        ExperimentRecord {
            name: self.name.to_owned(),
            story: self.story.to_owned(),
            history: format!("history-{}.jsonl", self.name),
            wall_ms: u64::try_from(self.wall.as_millis()).unwrap_or(u64::MAX),
            events: self.events,
            problem: self.problem(),
            series: Series::default(),
        }
    }
}

async fn tell(planned: PlannedExperiment, kit: Kit, deployment: Deployment, mut companion: Option<Companion>) -> Told {
    let experiment = planned.experiment;
    let clock = kit.clock;
    let began = clock.now();
    // Who waits for its companions runs beside nobody meanwhile: that is none of its time.
    let mut waited = Duration::ZERO;
    let told = |ended, events, waited: Duration| Told {
        name: experiment.name,
        story: experiment.story,
        ended,
        wall: clock.since(began).saturating_sub(waited),
        events,
    };
    let mut options = (experiment.options)(&deployment);
    options.demands = planned.demands;
    options.steps = match planned.part {
        Part::Whole => None,
        Part::Steps(steps) => Some(steps),
    };
    let lab = match Lab::bring_up(kit, deployment, experiment.name, options).await {
        Ok(lab) => lab,
        Err(error) => return told(ended_by(&error, true), 0, waited),
    };
    if let Some(companion) = &mut companion {
        let up = clock.now();
        companion.begin().await;
        waited += clock.since(up);
    }
    let story = AssertUnwindSafe((experiment.run)(lab.clone())).catch_unwind().await;
    if let (Some(companion), Ok(Ok(()))) = (&mut companion, &story) {
        lab.phase("end", "");
        let ended = clock.now();
        companion.end().await;
        waited += clock.since(ended);
    }
    if !matches!(story, Ok(Ok(()))) {
        lab.phase(CUT, "");
    }
    // Healing and removal come before anything is said about how the story went.
    let finished = lab.finish().await;
    let ended = match story {
        Ok(Ok(())) => Ended::Whole,
        Ok(Err(error)) => ended_by(&error, false),
        Err(panic) => Ended::Panicked(panic_words(panic.as_ref())),
    };
    match finished {
        Ok(finished) => told(ended, finished.events, waited),
        // A story over a full disk fails for many reasons; this is the one to tell.
        Err(error) if matches!(ended, Ended::Whole) || is_disk(&error) => told(ended_by(&error, false), 0, waited),
        Err(error) => {
            tracing::warn!(experiment = experiment.name, error = chain(&error), "the lab did not end cleanly");
            told(ended, 0, waited)
        }
    }
}

/// Whether our own disk is the reason: a history that could not be written, or no space for anything else.
fn is_disk(error: &LabError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| recorder::is_full(error.kind())) {
            return true;
        }
        cause = error.source();
    }
    matches!(error, LabError::Record(_))
}

fn ended_by(error: &LabError, at_bring_up: bool) -> Ended {
    if is_disk(error) {
        return Ended::Disk(chain(error));
    }
    match error {
        LabError::Interrupted => Ended::Interrupted,
        LabError::Record(_) => Ended::Disk(chain(error)),
        LabError::Runtime(_)
        | LabError::Link(_)
        | LabError::Control(_)
        | LabError::Render { .. }
        | LabError::NotReady { .. }
        | LabError::Illegal { .. }
        | LabError::Unknown(_)
            if at_bring_up =>
        {
            Ended::Preflight(chain(error))
        }
        LabError::Runtime(_)
        | LabError::Link(_)
        | LabError::Control(_)
        | LabError::Render { .. }
        | LabError::NotReady { .. }
        | LabError::Illegal { .. }
        | LabError::Unknown(_) => Ended::Cut(chain(error)),
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_matches::assert_matches;
    use gatecrash_engine::runtime::RuntimeError;

    fn told(ended: Ended) -> Told {
        Told { name: "story", story: "", ended, wall: Duration::ZERO, events: 0 }
    }

    fn disk() -> Told {
        told(Ended::Disk("no space".to_owned()))
    }

    fn preflight() -> Told {
        told(Ended::Preflight("not ready".to_owned()))
    }

    #[test]
    fn our_fault_is_told_before_an_interrupt_and_that_before_preflight() {
        assert_matches!(fatal(&[], false), None);
        assert_matches!(fatal(&[told(Ended::Whole), told(Ended::Cut("x".to_owned()))], false), None);
        assert_matches!(fatal(&[told(Ended::Interrupted), preflight()], false), Some(CertifyError::Preflight(_)));
        // An interrupted run has a record, whatever was not ready.
        assert_matches!(fatal(&[told(Ended::NotBegun), preflight()], true), None);
        // In whatever order they ended.
        for all in [[preflight(), disk()], [disk(), preflight()]] {
            assert_matches!(fatal(&all, false), Some(CertifyError::Disk(why)) if why.contains("`story`"));
            assert_matches!(fatal(&all, true), Some(CertifyError::Disk(_)));
        }
        let panicked = told(Ended::Panicked("words".to_owned()));
        assert_matches!(fatal(&[preflight(), panicked], true), Some(CertifyError::Harness(_)));
    }

    #[test]
    fn a_bypass_is_preflight_before_the_story_and_cuts_it_later() {
        let bypass =
            || LabError::from(RuntimeError::Bypass { from: "isolation-probe".to_owned(), to: "eu-1".to_owned() });
        assert_matches!(ended_by(&bypass(), true), Ended::Preflight(why) if why.contains("can bypass its links"));
        assert_matches!(ended_by(&bypass(), false), Ended::Cut(_));
    }

    #[test]
    fn a_full_disk_is_ours_wherever_it_shows() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let doing = "writing a file".to_owned();
        let somewhere = LabError::Runtime(RuntimeError::Failed { doing: doing.clone(), source: full().into() });
        assert_matches!(ended_by(&somewhere, true), Ended::Disk(why) if why.contains("writing a file: "));
        assert_matches!(ended_by(&somewhere, false), Ended::Disk(_));
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let other = || LabError::Runtime(RuntimeError::Failed { doing: doing.clone(), source: denied().into() });
        assert_matches!(ended_by(&other(), true), Ended::Preflight(_));
        assert_matches!(ended_by(&other(), false), Ended::Cut(_));
    }
}
