//! Does the suite see? The reference gateway in processes: as it is, and with its defects switched on,
//! certified for the claims that the defect must break (`fixtures/src/expected.rs`).
//!
//! A run without a defect must hold what it judges; a run with one must break all that the table says it must.

use gatecrash_engine::clock::Clock;
use gatecrash_engine::runtime::process::ProcessRuntime;
use gatecrash_engine::runtime::{Runtime, RuntimeOptions};
use gatecrash_fixtures::adapters;
use gatecrash_fixtures::expected::{Row, expected};
use gatecrash_model::profile::{Basis, Declaration, DeclaredAs, Scalar};
use gatecrash_model::run_record::RunRecord;
use gatecrash_model::verdict::{Declared, Observed};
use gatecrash_model::{ClaimId, Deployment, Profile, Seed, deployment};
use gatecrash_suites::certify::{Progress, Request, Stage, plan, run};
use gatecrash_suites::claims;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Defects that are held in every run of the tests. The others are listed as ignored, so that nobody takes them
/// for held; `cargo test -p gatecrash-suites --test discernment -- --ignored` tries them.
const HELD: &[&str] = &[
    "tokens.refuse-other-site",
    "tokens.accept-any-signature",
    "tokens.server-error-on-bad-signature",
    "tokens.accept-alg-none",
    "tokens.ignore-exp",
    "quota.per-replica",
    "quota.double-count",
    "contracts.reject-before-download",
];

fn main() -> ExitCode {
    if let Some(code) = gatecrash_fixtures::dispatch::as_fixture(std::env::args_os()) {
        return code;
    }
    let mut arguments = Arguments::from_args();
    // Each trial starts a whole deployment and judges times.
    arguments.test_threads = Some(1);
    let mut trials = vec![
        Trial::test("conforming::tokens", || conforming("datapower-kubernetes", &["TOK-01", "TOK-02"])),
        Trial::test("conforming::quota", || conforming("flex-managed", &["QUO-01", "QUO-02"])),
        Trial::test("conforming::contracts", || conforming("flex-managed", &["CON-01", "CON-03", "SEC-01"])),
    ];
    for row in expected() {
        let name = row.defect.name();
        let held = HELD.contains(&name);
        trials.push(Trial::test(format!("defect::{name}"), move || caught(&row)).with_ignored_flag(!held));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The deployment on which a defect shows.
fn deployment_for(row: &Row) -> Result<Deployment, Failed> {
    let contracts = row.must().any(|claim| claim.starts_with("CON-"));
    let mut deployment = builtin(if contracts { "flex-managed" } else { "datapower-kubernetes" })?;
    deployment.gateway.defects = vec![row.defect.name().to_owned()];
    Ok(deployment)
}

fn builtin(name: &str) -> Result<Deployment, Failed> {
    let found = adapters::deployments().iter().find(|deployment| deployment.name == name);
    let found = found.ok_or_else(|| format!("no deployment is called `{name}`"))?;
    Ok(deployment::yaml::parse(found.name, found.yaml).map_err(|error| error.to_string())?)
}

/// A profile that declares each claim to hold: what is observed is what the table speaks of.
fn strict(deployment: &Deployment) -> Profile {
    let mode = deployment.gateway.settings.get("onStoreLoss").cloned().unwrap_or(Scalar::Text("closed".to_owned()));
    let declaration = |id: &str| Declaration {
        declared: DeclaredAs::Always(Declared::Holds),
        basis: Basis::Expected,
        source: String::new(),
        parameters: if id == "QUO-07" { BTreeMap::from([("mode".to_owned(), mode.clone())]) } else { BTreeMap::new() },
    };
    let claims = claims::all().iter().map(|claim| (claim.claim_id(), declaration(claim.id))).collect();
    Profile { name: "strict".to_owned(), product: "reference gateway".to_owned(), minimum_judged: 1, claims }
}

fn certify(deployment: Deployment, only: &[&str]) -> Result<RunRecord, Failed> {
    let found = adapters::builtin().iter().find(|adapter| adapter.name == "reference").ok_or("no reference adapter")?;
    let adapter = found.adapter().map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir()?;
    let run_id = format!("r{:08x}", std::process::id());
    let request = Request {
        profile: strict(&deployment),
        deployment,
        adapter,
        seed: Seed(7),
        scale: 0.1,
        only: only.iter().map(|claim| (*claim).to_owned()).collect(),
    };
    let options = RuntimeOptions {
        run: run_id.clone(),
        folder: folder.path().join("labs"),
        executable: std::env::current_exe()?,
        start_within: Duration::from_secs(20),
    };
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    executor.block_on(async {
        let runtime: Arc<dyn Runtime> = Arc::new(ProcessRuntime::new(options));
        let planned = plan(&request, &runtime.capabilities(), 1);
        let stage = Stage {
            runtime,
            run: run_id,
            folder: folder.path().to_owned(),
            tools: "target/tools".to_owned(),
            clock: Clock::start(),
            interrupt: tokio_util::sync::CancellationToken::new(),
            parallel: 1,
            version: "test".to_owned(),
            started: String::new(),
            repeat: "gatecrash certify".to_owned(),
        };
        let progress = Arc::new(|progress: Progress| {
            if let Progress::Finished { experiment, problem: Some(problem), .. } = progress {
                tracing::warn!(experiment, problem, "did not come to its end");
            }
        });
        run(&request, &planned, stage, progress).await.map_err(|error| Failed::from(error.to_string()))
    })
}

fn observed(record: &RunRecord, claim: &str) -> Option<Observed> {
    let id = ClaimId::new(claim);
    record.claims.iter().find(|known| known.id == id).map(|known| known.verdict.observed())
}

fn conforming(deployment: &str, only: &[&str]) -> Result<(), Failed> {
    let record = certify(builtin(deployment)?, only)?;
    for claim in only {
        if observed(&record, claim) != Some(Observed::Holds) {
            return Err(format!("{claim} of the conforming gateway: {:?}", verdicts(&record)).into());
        }
    }
    Ok(())
}

fn caught(row: &Row) -> Result<(), Failed> {
    let must: Vec<&str> = row.must().collect();
    if must.is_empty() {
        return Err("the table names no claim that must break".into());
    }
    // A claim that reads every history would ask for all experiments; one of them shows it.
    let alone = must.iter().all(|claim| ["SEC-01", "CON-03"].contains(claim));
    let only: Vec<&str> = must.iter().copied().chain(alone.then_some("TOK-01")).collect();
    let record = certify(deployment_for(row)?, &only)?;
    for claim in must {
        if observed(&record, claim) != Some(Observed::Violated) {
            return Err(format!("{claim} does not see `{}`: {:?}", row.defect.name(), verdicts(&record)).into());
        }
    }
    Ok(())
}

fn verdicts(record: &RunRecord) -> Vec<String> {
    record.claims.iter().map(|claim| format!("{}: {:?}", claim.id, claim.verdict)).collect()
}
