//! One run of a deployment, with a defect or as its twin, held to the table.

use crate::deployments::{Shape, shape};
use crate::left_open::{is_for_the_machine, left_open};
use crate::pressure::Pressure;
use crate::room::{self, Told};
use crate::{doubt, record};
use gatecrash_engine::clock::Clock;
use gatecrash_engine::priority;
use gatecrash_engine::reaper::{Reaper, ReaperOptions};
use gatecrash_engine::runtime::process::ProcessRuntime;
use gatecrash_engine::runtime::{Runtime, RuntimeOptions};
use gatecrash_fixtures::adapters;
use gatecrash_fixtures::expected::{Cell, Row};
use gatecrash_model::claim::Reads;
use gatecrash_model::profile::{Basis, Declaration, DeclaredAs, Scalar};
use gatecrash_model::run_record::{ClaimRecord, RunRecord};
use gatecrash_model::schedule::{Part, Parts};
use gatecrash_model::verdict::{Declared, Observed};
use gatecrash_model::{Demands, Deployment, Profile, Seed, Verdict};
use gatecrash_suites::certify::{self, Progress, Request, Stage, plan, run};
use gatecrash_suites::{claims, experiments};
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The scale of all runs, and their seed.
const SCALE: f64 = 0.1;
pub(crate) const SEED: u64 = 7;
/// What shows a claim that reads every history and nothing else: a replica restarts and one is new, and all routes are asked
/// for what must be refused, often enough for a verdict.
const SHOWS_ANY: &str = "slow-contracts";

/// The experiments that a row's `Must` claims read.
pub(crate) fn experiments(row: &Row) -> Vec<&'static str> {
    let must: Vec<&str> = row.must().collect();
    let read: BTreeSet<&'static str> = claims::all()
        .iter()
        .filter(|claim| must.contains(&claim.id))
        .flat_map(|claim| match claim.reads {
            Reads::Every => &[][..],
            Reads::Experiments(names) => names,
        })
        .copied()
        .collect();
    if read.is_empty() { vec![SHOWS_ANY] } else { read.into_iter().collect() }
}

/// About how long the trial of a row takes; nothing where its deployment cannot be made, which the trial says.
pub(crate) fn takes(row: &Row) -> Duration {
    let told = experiments(row);
    let Ok(deployment) = shape(row.needs).deployment(Vec::new()) else { return Duration::ZERO };
    let Ok(parts) = parts(row, &deployment, &told) else { return Duration::ZERO };
    let all = experiments::all().into_iter().filter(|known| told.contains(&known.name));
    let each = all.filter_map(|known| {
        let part = parts.as_ref().map_or(Some(&Part::Whole), |parts| parts.get(known.name))?;
        Some(certify::takes(&known, part, &deployment, SCALE, &Demands::default()))
    });
    // They run side by side.
    each.max().unwrap_or_default()
}

/// What of them runs: the steps at which the defect shows, nothing where it is named without any, and the rest whole.
fn parts(row: &Row, deployment: &Deployment, experiments: &[&'static str]) -> Result<Option<Parts>, Failed> {
    let mut parts: Parts = experiments.iter().map(|experiment| ((*experiment).to_owned(), Part::Whole)).collect();
    for (named, shows_at) in row.shows_at {
        let experiment =
            experiments::all().into_iter().find(|known| known.name == *named && parts.contains_key(*named));
        let there = experiment.map(|known| (known.steps)(deployment)).unwrap_or_default();
        if let Some(none) = shows_at.iter().find(|step| !there.iter().any(|known| known == *step)) {
            return Err(format!("`{named}` has no step `{none}`: {there:?}").into());
        }
        if shows_at.is_empty() {
            parts.remove(*named);
        } else {
            parts.insert((*named).to_owned(), Part::Steps(shows_at.iter().map(|step| (*step).to_owned()).collect()));
        }
    }
    Ok((!row.shows_at.is_empty()).then_some(parts))
}

/// Runs the twin: everything that is judged must hold, but for the limits of the deployment. A claim that reads every
/// history may be left open for want of samples, unless a row asks for it (`must`).
pub(crate) fn conforms(shape: &Shape, experiments: &[&'static str], must: &BTreeSet<&str>) -> Result<(), Failed> {
    room::tell(shape.name, |last| {
        let pressure = Pressure::since_now();
        let (record, folder) = certify(shape.deployment(Vec::new())?, experiments, None)?;
        record::conforming(&format!("{}: {}", shape.name, experiments.join(", ")), false, shape.limits, &record);
        let mut told = Told { wrong: doubt::accuses(&record, folder.path())?, open: Vec::new() };
        for claim in &record.claims {
            let id = claim.id.as_str();
            let wanted = if shape.limits.contains(&id) { Observed::Violated } else { Observed::Holds };
            let observed = claim.verdict.observed();
            let open = reads_every(claim) && is_too_few(&claim.verdict) || observed == Observed::NotApplicable;
            if observed == wanted || open && !must.contains(id) {
                continue;
            }
            missed(&mut told, id, Some(&claim.verdict), last.then_some(&pressure), "without a defect");
        }
        Ok(explained(told, last, &record, folder))
    })
}

/// Notes a claim that was judged otherwise than it must be; as open if the machine may be the reason, and not at all if it was, in the end.
fn missed(told: &mut Told, claim: &str, verdict: Option<&Verdict>, last: Option<&Pressure>, what: &str) {
    let is_open = verdict.is_some_and(is_for_the_machine);
    if verdict.zip(last).is_some_and(|(verdict, pressure)| left_open(claim, verdict, pressure)) {
        return;
    }
    let words = format!("{claim} {what}: {verdict:?}");
    if is_open { told.open.push(words) } else { told.wrong.push(words) }
}

/// Runs the twin once more, with both cores kept busy if `busy`: nothing may be violated but the limits of the deployment; what cannot be told may be left open.
pub(crate) fn raises_no_alarm(shape: &Shape, experiments: &[&'static str], busy: bool) -> Result<(), Failed> {
    room::tell(shape.name, |last| {
        let burning = if busy { Burning::start()? } else { Burning::default() };
        let certified = certify(shape.deployment(Vec::new())?, experiments, None);
        burning.stop();
        let (record, folder) = certified?;
        record::conforming(&format!("{}: {}", shape.name, experiments.join(", ")), busy, shape.limits, &record);
        let violated = record.claims.iter().filter(|claim| claim.verdict.observed() == Observed::Violated);
        let wrong = violated.filter(|claim| !shape.limits.contains(&claim.id.as_str()));
        let wrong = wrong.map(|claim| format!("{} without a defect: {:?}", claim.id, claim.verdict)).collect();
        Ok(explained(Told { wrong, open: Vec::new() }, last, &record, folder))
    })
}

/// Processes that keep two cores busy.
#[derive(Default)]
struct Burning(Vec<std::process::Child>);

impl Burning {
    fn start() -> std::io::Result<Self> {
        // Bounded by themselves, should nobody be left to stop them.
        let burn = "end=$(($(date +%s) + 300)); while [ $(date +%s) -lt $end ]; do i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; done";
        let one = || std::process::Command::new("sh").args(["-c", burn]).spawn();
        Ok(Self(vec![one()?, one()?]))
    }

    fn stop(self) {
        for mut burning in self.0 {
            let _already_ended = burning.kill();
            let _reaped = burning.wait();
        }
    }
}

fn reads_every(claim: &ClaimRecord) -> bool {
    claims::all().iter().any(|known| known.id == claim.id.as_str() && known.reads == Reads::Every)
}

fn is_too_few(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Inconclusive(reason) if reason.code == "too-few-samples")
}

/// Runs the deployment with the defect of `row`: what must be violated is, and nothing that must not.
pub(crate) fn is_caught(row: &Row) -> Result<(), Failed> {
    if row.must().next().is_none() {
        return Err("the table names no claim that must break".into());
    }
    let shape = shape(row.needs);
    if let Some(limit) = row.must().find(|claim| shape.limits.contains(claim)) {
        return Err(format!("{limit} must see it, and is broken on `{}` without it: a limit", shape.name).into());
    }
    let deployment = shape.deployment(vec![row.defect.name().to_owned()])?;
    let experiments = experiments(row);
    let parts = parts(row, &deployment, &experiments)?;
    room::tell(row.defect.name(), |last| {
        let pressure = Pressure::since_now();
        let (record, folder) = certify(deployment.clone(), &experiments, parts.clone())?;
        record::defect(row, shape.limits, &record);
        let mut told = Told::default();
        for claim in row.must() {
            let judged = record.claims.iter().find(|known| known.id.as_str() == claim).map(|known| &known.verdict);
            if judged.is_none_or(|verdict| verdict.observed() != Observed::Violated) {
                missed(&mut told, claim, judged, last.then_some(&pressure), "does not see it");
            }
        }
        for claim in record.claims.iter().filter(|claim| claim.verdict.observed() == Observed::Violated) {
            let id = claim.id.as_str();
            if row.cell(id) == Cell::MustNot && !shape.limits.contains(&id) {
                told.wrong.push(format!("{id} is raised and must not be: {:?}", claim.verdict));
            }
        }
        Ok(explained(told, last, &record, folder))
    })
}

/// With what the run says about itself, if something is wrong or was left open in the end (`last`); then the histories are kept.
fn explained(mut told: Told, last: bool, record: &RunRecord, folder: TempDir) -> Told {
    let words = if told.wrong.is_empty() && last { &mut told.open } else { &mut told.wrong };
    if !words.is_empty() {
        words.extend(record.experiments.iter().filter_map(|experiment| {
            experiment.problem.as_ref().map(|problem| format!("experiment `{}`: {problem}", experiment.name))
        }));
        words.push(format!("the histories are in `{}`", folder.keep().display()));
    }
    told
}

/// A profile that declares each claim to hold: what is observed is what the table speaks of.
fn strict(deployment: &Deployment) -> Profile {
    let setting = |name: &str, default: &str| {
        deployment.gateway.settings.get(name).cloned().unwrap_or(Scalar::Text(default.to_owned()))
    };
    // What nobody documents a profile must say; these say it as the deployment does.
    let parameters = |id: &str| match id {
        "QUO-07" => BTreeMap::from([("mode".to_owned(), setting("onStoreLoss", "closed"))]),
        "PAR-02" => BTreeMap::from([
            ("quota".to_owned(), setting("onStoreLoss", "closed")),
            ("revocations".to_owned(), setting("onQuorumLossRevocations", "local")),
            ("tokens".to_owned(), setting("onQuorumLossTokens", "local")),
        ]),
        _ => BTreeMap::new(),
    };
    let declaration = |id: &str| Declaration {
        declared: DeclaredAs::Always(Declared::Holds),
        basis: Basis::Expected,
        source: String::new(),
        parameters: parameters(id),
    };
    let claims = claims::all().iter().map(|claim| (claim.claim_id(), declaration(claim.id))).collect();
    Profile { name: "strict".to_owned(), product: "reference gateway".to_owned(), minimum_judged: 1, claims }
}

/// The claims that these experiments inform in full.
fn informed(experiments: &[&str]) -> Vec<String> {
    let all = claims::all().into_iter();
    let informed = all.filter(|claim| match claim.reads {
        Reads::Every => true,
        Reads::Experiments(names) => names.iter().all(|name| experiments.contains(name)),
    });
    informed.map(|claim| claim.id.to_owned()).collect()
}

/// The runtime of all trials: what `make redis` fetched is there.
fn process(options: RuntimeOptions) -> ProcessRuntime {
    ProcessRuntime::new(options).with_tools(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools"))
}

/// Why there is no real Redis; `None` if there is one.
pub(crate) fn lacks_redis() -> Option<String> {
    let options = RuntimeOptions {
        run: String::new(),
        folder: std::env::temp_dir(),
        executable: std::env::current_exe().ok()?,
        start_within: Duration::ZERO,
    };
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    executor.block_on(process(options).has_redis()).err()
}

fn certify(deployment: Deployment, experiments: &[&str], parts: Option<Parts>) -> Result<(RunRecord, TempDir), Failed> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let found = adapters::builtin().iter().find(|adapter| adapter.name == "reference").ok_or("no reference adapter")?;
    let adapter = found.adapter().map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir()?;
    let run_id = format!("r{:08x}{:02x}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let request = Request {
        profile: strict(&deployment),
        deployment,
        adapter,
        seed: Seed(SEED),
        scale: SCALE,
        only: informed(experiments),
        parts,
    };
    let wanted = request.parts.as_ref().map_or(experiments.len(), BTreeMap::len);
    let options = RuntimeOptions {
        run: run_id.clone(),
        folder: folder.path().join("labs"),
        executable: std::env::current_exe()?,
        start_within: Duration::from_secs(20),
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let executor = builder.enable_all().on_thread_start(priority::put_ahead).build()?;
    let record = executor.block_on(async {
        // A test that is killed leaves no process behind, as the command line does not.
        let reaper = Reaper::start(&ReaperOptions {
            executable: options.executable.clone(),
            run: options.run.clone(),
            engine: false,
            delete: vec![options.folder.clone()],
            log: None,
        })?;
        let runtime: Arc<dyn Runtime> = Arc::new(process(options));
        let parallel = experiments.len();
        let planned = plan(&request, &runtime.capabilities(), parallel);
        let stage = Stage {
            runtime,
            run: run_id,
            folder: folder.path().to_owned(),
            tools: "target/tools".to_owned(),
            clock: Clock::start(),
            interrupt: tokio_util::sync::CancellationToken::new(),
            parallel,
            version: "test".to_owned(),
            started: String::new(),
            repeat: "gatecrash certify".to_owned(),
        };
        let certified = run(&request, &planned, stage, Arc::new(|_: Progress| {})).await;
        let left = reaper.finish().await?;
        if !left.is_empty() {
            return Err(Failed::from(format!("the run left something behind: {left:?}")));
        }
        certified.map_err(|error| Failed::from(error.to_string()))
    })?;
    if record.experiments.len() != wanted {
        return Err(format!("of {experiments:?} {} were run", record.experiments.len()).into());
    }
    Ok((record, folder))
}
