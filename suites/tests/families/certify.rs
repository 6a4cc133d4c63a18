//! Certifies a deployment that comes with gatecrash for some claims, and holds every one of them to its profile.

use crate::doubt;
use crate::left_open::{is_for_the_machine, left_open};
use crate::pressure::Pressure;
use crate::room::{self, Told};
use gatecrash_engine::clock::Clock;
use gatecrash_engine::priority;
use gatecrash_engine::reaper::{Reaper, ReaperOptions};
use gatecrash_engine::runtime::docker::DockerRuntime;
use gatecrash_engine::runtime::process::ProcessRuntime;
use gatecrash_engine::runtime::{Runtime, RuntimeOptions};
use gatecrash_fixtures::adapters;
use gatecrash_model::run_record::{ClaimRecord, RunRecord};
use gatecrash_model::verdict::Standing;
use gatecrash_model::{Seed, deployment};
use gatecrash_suites::certify::{Progress, Request, Stage, plan, run};
use gatecrash_suites::profiles;
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Some claims of one family.
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is certified: a deployment that comes with gatecrash, with the profile that it names.
    pub(crate) deployment: &'static str,
    /// Scale of the run in processes.
    pub(crate) scale: f64,
    /// All claims that must stand.
    pub(crate) claims: &'static [&'static str],
    /// Those that must stand in containers, too.
    pub(crate) in_containers: &'static [&'static str],
    /// Whether no stub can stand in for Redis.
    pub(crate) needs_redis: bool,
}

/// Why there is no real Redis; `None` if there is one.
pub(crate) fn lacks_redis() -> Option<String> {
    let looked = executor().ok()?.block_on(async {
        let folder = tempfile::tempdir().ok()?;
        let runtime = ProcessRuntime::new(options(folder.path()).ok()?).with_tools(tools());
        Some(runtime.has_redis().await.err())
    });
    looked.unwrap_or_else(|| Some("no temporary folder".to_owned()))
}

/// What runs one certification.
pub(crate) fn executor() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(priority::put_ahead).build()
}

/// Every claim of the family, in processes, with so many experiments side by side: one where families are, which is as much as two cores carry.
pub(crate) fn in_processes(family: &Family, at_once: usize) -> Result<(), Failed> {
    room::tell(family.name, |last| {
        let (folder, pressure) = (tempfile::tempdir()?, Pressure::since_now());
        let options = options(folder.path())?;
        let request = request(family.deployment, family.claims, family.scale)?;
        let certified = executor()?.block_on(async {
            let runtime = ProcessRuntime::new(options.clone());
            let runtime = Arc::new(if family.needs_redis { runtime.with_tools(tools()) } else { runtime });
            certify(&request, runtime, &options, at_once).await
        })?;
        let mut told = stands(family.claims, &certified, last.then_some(&pressure));
        told.wrong.extend(doubt::accuses(&certified, folder.path())?);
        Ok(told)
    })
}

/// Some of its claims, in containers.
pub(crate) fn in_containers(family: &Family) -> Result<(), Failed> {
    room::tell(family.name, |last| {
        let (folder, pressure) = (tempfile::tempdir()?, Pressure::since_now());
        let options = options(folder.path())?;
        let request = request(family.deployment, family.in_containers, 0.1)?;
        let certified = executor()?.block_on(async {
            let docker = DockerRuntime::new(options.clone(), tools()).await.map_err(|error| error.to_string())?;
            certify(&request, Arc::new(docker), &options, 1).await
        })?;
        Ok(stands(family.in_containers, &certified, last.then_some(&pressure)))
    })
}

/// Where `make images` puts what it fetches.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools")
}

/// A run of its own in `folder`, of which this program plays every part.
fn options(folder: &Path) -> Result<RuntimeOptions, Failed> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    Ok(RuntimeOptions {
        run: format!("r{:08x}{number:x}", std::process::id()),
        folder: folder.join("labs"),
        executable: std::env::current_exe()?,
        start_within: Duration::from_secs(30),
    })
}

fn request(name: &str, claims: &[&str], scale: f64) -> Result<Request, Failed> {
    let found = adapters::deployments().iter().find(|deployment| deployment.name == name);
    let found = found.ok_or_else(|| format!("no deployment is called `{name}`"))?;
    let deployment = deployment::yaml::parse(found.name, found.yaml).map_err(|error| error.to_string())?;
    let adapter = adapters::builtin().iter().find(|adapter| adapter.name == deployment.gateway.adapter);
    let adapter = adapter.ok_or("no such adapter")?.adapter().map_err(|error| error.to_string())?;
    let profile = profiles::builtin().iter().find(|(name, _)| *name == deployment.profile);
    let (name, text) = profile.ok_or("no such profile")?;
    let profile = profiles::parse(name, text).map_err(|error| error.to_string())?;
    let only = claims.iter().map(|claim| (*claim).to_owned()).collect();
    Ok(Request { deployment, profile, adapter, seed: Seed(7), scale, only, parts: None })
}

async fn certify(
    request: &Request,
    runtime: Arc<dyn Runtime>,
    options: &RuntimeOptions,
    parallel: usize,
) -> Result<RunRecord, Failed> {
    // Labs have a folder of their own in that of the run.
    let folder = options.folder.parent().ok_or("the labs have no folder around them")?;
    // A test that is killed leaves nothing behind, as the command line does not.
    let reaper = Reaper::start(&ReaperOptions {
        executable: options.executable.clone(),
        run: options.run.clone(),
        engine: runtime.name() == "docker",
        delete: vec![folder.to_owned()],
        log: None,
    })?;
    let planned = plan(request, &runtime.capabilities(), parallel);
    let stage = Stage {
        runtime,
        run: options.run.clone(),
        folder: folder.to_owned(),
        tools: tools().display().to_string(),
        clock: Clock::start(),
        interrupt: tokio_util::sync::CancellationToken::new(),
        parallel,
        version: "test".to_owned(),
        started: String::new(),
        repeat: "gatecrash certify".to_owned(),
    };
    let certified = run(request, &planned, stage, Arc::new(|_: Progress| {})).await;
    let left = reaper.finish().await?;
    if !left.is_empty() {
        return Err(format!("the run left something behind: {left:?}").into());
    }
    certified.map_err(|error| error.to_string().into())
}

/// What is wrong where each of `claims` should have been judged and stand as it is declared. What the machine may be the reason of is open; in the
/// end (`last`) only if it was not busy.
fn stands(claims: &[&str], record: &RunRecord, last: Option<&Pressure>) -> Told {
    let fine = |known: &ClaimRecord| matches!(known.standing, Standing::Pass | Standing::LimitConfirmed);
    let mut told = Told::default();
    for claim in claims {
        let Some(known) = record.claims.iter().find(|known| known.id.as_str() == *claim) else {
            told.wrong.push(format!("{claim} was not planned"));
            continue;
        };
        if fine(known) || last.is_some_and(|pressure| left_open(claim, &known.verdict, pressure)) {
            continue;
        }
        let words = format!("{claim}: {:?}: {:?}", known.standing, known.verdict);
        if is_for_the_machine(&known.verdict) { told.open.push(words) } else { told.wrong.push(words) }
    }
    if !told.wrong.is_empty() {
        told.wrong.extend(record.experiments.iter().filter_map(|experiment| {
            experiment.problem.as_ref().map(|problem| format!("experiment `{}`: {problem}", experiment.name))
        }));
    }
    told
}
