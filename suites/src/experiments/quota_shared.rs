//! One quota, many counters? Spend it skewed, evenly, in a burst, at all sites at once, while a replica
//! dies, and after one joined.

use super::rounds::{Rounds, cluster, evenly, expected, skewed};
use crate::claims::quota::SHARED;
use crate::experiment::{Experiment, named};
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use std::collections::BTreeMap;
use std::time::Duration;

/// Steps, and variants of their phases.
const SKEWED: &str = "skewed";
const EVEN: &str = "even";
const BURSTS: &str = "burst";
const SITES: &str = "sites";
const KILL: &str = "kill";
const JOIN: &str = "join";

/// Requests at once at the start of a window.
const BURST: usize = 50;

/// The experiment.
pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SHARED,
    story: "spend one quota over the replicas of a cluster (skewed, evenly, in a burst), over all sites, while a replica dies, and after one joined",
    needs: &[Capability::Quota],
    expected: |deployment, scale, _| expected(deployment, scale, 9) + Duration::from_secs(3),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| Box::pin(run(lab)),
};

fn steps(deployment: &Deployment) -> Vec<String> {
    let sites = (deployment.sites.len() >= 2).then_some(SITES);
    let kill = deployment.sites.iter().any(|site| site.replicas >= 2).then_some(KILL);
    // Nobody joins a group.
    let join = deployment.peering.is_none().then_some(JOIN);
    named([SKEWED, EVEN, BURSTS].into_iter().chain(sites).chain(kill).chain(join))
}

async fn run(lab: Lab) -> Result<(), LabError> {
    let mut rounds = Rounds::new(&lab)?;
    let (site, replicas) = cluster(&lab);
    let each = f64::from(u32::try_from(replicas.len()).unwrap_or(u32::MAX));

    let split = evenly(&replicas);

    if lab.wants(SKEWED) {
        lab.phase("steady", SKEWED);
        for _ in 0..2 {
            rounds.spend(&skewed(&replicas), 3.0).await?;
        }
    }

    if lab.wants(EVEN) {
        // Every replica is asked for more than the whole quota: what each counts by itself shows in full.
        lab.phase("steady", EVEN);
        rounds.spend(&split, 3.0 * each.min(2.0)).await?;
    }

    if lab.wants(BURSTS) {
        lab.phase("steady", BURSTS);
        let key = rounds.next_key().await?;
        rounds.open(&key);
        let traffic = rounds.ask(&key, &split, rounds.rate(3.0));
        rounds.burst(&key, &split, BURST).await;
        let held = lab.hold(rounds.lasts()).await;
        traffic.stop().await;
        held?;
    }

    if lab.sites().len() >= 2 && lab.wants(SITES) {
        lab.phase("steady", SITES);
        let everywhere = evenly(&lab.replicas());
        let sites = f64::from(u32::try_from(lab.sites().len()).unwrap_or(u32::MAX));
        for _ in 0..2 {
            rounds.spend(&everywhere, 2.0 * sites).await?;
        }
    }

    let can_lose = lab.has(Capability::ReplicaFaults) && replicas.len() >= 2;
    if let Some(victim) = replicas.last().filter(|_| can_lose && lab.wants(KILL)) {
        lab.phase("inject", KILL);
        let key = rounds.next_key().await?;
        rounds.open(&key);
        let traffic = rounds.ask(&key, &split, rounds.rate(3.0));
        lab.hold(rounds.window.mul_f64(0.3)).await?;
        lab.kill(&victim.name).await?;
        lab.phase("hold", KILL);
        lab.hold(rounds.window.mul_f64(0.5)).await?;
        traffic.stop().await;

        lab.phase("heal", KILL);
        lab.restart(&victim.name, Disk::Keep).await?;
        lab.wait_ready(&victim.name, lab.ready_within()).await?;
        lab.phase("settle", KILL);
        rounds.spend(&skewed(&replicas), 3.0).await?;
    }

    if lab.has(Capability::NewReplicas) && lab.wants(JOIN) {
        lab.phase("inject", JOIN);
        let joined = lab.add_replica(&site, BTreeMap::new()).await?;
        lab.wait_ready(&joined.name, lab.ready_within()).await?;
        lab.phase("settle", JOIN);
        let all = lab.replicas_of(&site);
        rounds.spend(&evenly(&all), 2.0 * (each + 1.0).min(3.0)).await?;
    }
    lab.phase("final-reads", "");
    Ok(())
}
