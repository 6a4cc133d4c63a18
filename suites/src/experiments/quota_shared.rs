//! One quota, many counters? Spend it skewed, evenly, in a burst, at all sites at once, while a replica
//! dies, and after one joined.

use super::rounds::{Rounds, cluster, evenly, expected, skewed};
use crate::claims::quota::SHARED;
use crate::experiment::{Experiment, single};
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions};
use gatecrash_model::claim::Capability;
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests at once at the start of a window.
const BURST: usize = 50;

/// The experiment.
pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SHARED,
    story: "spend one quota over the replicas of a cluster (skewed, evenly, in a burst), over all sites, while a replica dies, and after one joined",
    needs: &[Capability::Quota],
    expected: |deployment, scale| expected(deployment, scale, 9) + Duration::from_secs(3),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| Box::pin(run(lab)),
};

async fn run(lab: Lab) -> Result<(), LabError> {
    let mut rounds = Rounds::new(&lab)?;
    let (site, replicas) = cluster(&lab);
    let each = f64::from(u32::try_from(replicas.len()).unwrap_or(u32::MAX));

    lab.phase("steady", "skewed");
    for _ in 0..2 {
        rounds.spend(&skewed(&replicas), 3.0).await?;
    }

    // Every replica is asked for more than the whole quota: what each counts by itself shows in full.
    lab.phase("steady", "even");
    rounds.spend(&evenly(&replicas), 3.0 * each.min(2.0)).await?;

    lab.phase("steady", "burst");
    let key = rounds.next_key().await?;
    rounds.open(&key);
    let split = evenly(&replicas);
    let traffic = rounds.ask(&key, &split, rounds.rate(3.0));
    rounds.burst(&key, &split, BURST).await;
    let held = lab.hold(rounds.lasts()).await;
    traffic.stop().await;
    held?;

    if lab.sites().len() >= 2 {
        lab.phase("steady", "sites");
        let everywhere = evenly(&lab.replicas());
        let sites = f64::from(u32::try_from(lab.sites().len()).unwrap_or(u32::MAX));
        for _ in 0..2 {
            rounds.spend(&everywhere, 2.0 * sites).await?;
        }
    }

    if let (true, Some(victim)) = (lab.has(Capability::ReplicaFaults) && replicas.len() >= 2, replicas.last()) {
        lab.phase("inject", "kill");
        let key = rounds.next_key().await?;
        rounds.open(&key);
        let traffic = rounds.ask(&key, &split, rounds.rate(3.0));
        lab.hold(rounds.window.mul_f64(0.3)).await?;
        lab.kill(&victim.name).await?;
        lab.phase("hold", "kill");
        lab.hold(rounds.window.mul_f64(0.5)).await?;
        traffic.stop().await;

        lab.phase("heal", "kill");
        lab.restart(&victim.name, Disk::Keep).await?;
        lab.wait_ready(&victim.name, lab.ready_within()).await?;
        lab.phase("settle", "kill");
        rounds.spend(&skewed(&replicas), 3.0).await?;
    }

    if lab.has(Capability::NewReplicas) {
        lab.phase("inject", "join");
        let joined = lab.add_replica(&site, BTreeMap::new()).await?;
        lab.wait_ready(&joined.name, lab.ready_within()).await?;
        lab.phase("settle", "join");
        let all = lab.replicas_of(&site);
        rounds.spend(&evenly(&all), 2.0 * (each + 1.0).min(3.0)).await?;
    }
    lab.phase("final-reads", "");
    Ok(())
}
