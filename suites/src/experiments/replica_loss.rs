//! Replicas of a cluster are lost: one is killed, its successor is killed as soon as it serves, one hangs, one has its data port closed. The
//! deployment's platform puts others in their places; where there is none, or it does not, the story does so itself in the end. Read by
//! AVL-01 and AVL-03.

use super::canaries::plain;
use super::rounds::cluster;
use super::samples::Samples;
use crate::claims::losses::{AGAIN, CLOSED, HUNG, KILLED, NOT_REPLACED, ON_NEW, REPLICA_LOSS};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Active, Disk, Lab, LabError, LabOptions, Replica, Target, TrafficSpec};
use gatecrash_model::Demands;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Deployment;
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: REPLICA_LOSS,
    story: "a replica is killed, its successor is killed as soon as it serves, one hangs, one has its data port closed; the platform replaces each",
    needs: &[Capability::TwoReplicas, Capability::ReplicaFaults, Capability::NetworkFaults],
    expected,
    options: |_| LabOptions { platform: true, ..LabOptions::default() },
    steps,
    run: |lab| story(lab).boxed(),
};

/// Steady state.
const STEADY: Duration = Duration::from_secs(20);
const LEAST_STEADY: Duration = Duration::from_secs(2);
/// After the successor of the one that was killed again serves: long enough to see that nobody is lost again.
const EVEN: Duration = Duration::from_secs(30);
const LEAST_EVEN: Duration = Duration::from_millis(2_500);
/// After any other loss: what was lost by it is told by then.
const SETTLE: Duration = Duration::from_secs(10);
const LEAST_SETTLE: Duration = Duration::from_secs(1);
/// How long a successor is waited for: what AVL-03 allows, and more, so that a late one is seen to be late.
const PATIENCE: Duration = Duration::from_secs(75);
const RESPAWN: Duration = Duration::from_secs(60);
/// Requests a second through the ingress on new connections, and as many on kept ones.
const PER_S: f64 = 100.0;
/// How long a request may take: whether it is lost is what counts, not when it is answered.
const WITHIN: Duration = Duration::from_secs(5);
/// From one sample of a replica to the next: at least as often as AVL-01 asks for, and often enough to time a start.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const LEAST_SAMPLE_EVERY: Duration = Duration::from_millis(100);
const MOST_SAMPLE_EVERY: Duration = Duration::from_millis(250);

fn expected(deployment: &Deployment, scale: f64, demands: &Demands) -> Duration {
    let scaled = |duration: Duration, least: Duration| duration.mul_f64(scale).max(least);
    let patience = demands.stretched(PATIENCE, "respawn", RESPAWN, scale);
    let lost = deployment.platform.as_ref().map_or(patience * 3, |platform| {
        // Two that are dead, found in the middle of a period, and two that hang.
        (platform.probe_period * (1 + 2 * platform.probe_threshold)).mul_f64(scale)
    });
    let quiet = scaled(STEADY, LEAST_STEADY) + scaled(EVEN, LEAST_EVEN) + scaled(SETTLE, LEAST_SETTLE) * 2;
    lost + quiet + Duration::from_secs(4)
}

/// Who is killed again is the successor of the one that was killed: that step brings the first with it.
fn steps(_: &Deployment) -> Vec<String> {
    named([KILLED, AGAIN, HUNG, CLOSED])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let (site, replicas) = cluster(&lab);
    let spec = |stream: &str| TrafficSpec {
        stream: stream.to_owned(),
        targets: vec![(Target::Ingress(site.clone()), 1)],
        route: route.clone(),
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: PER_S,
        timeout: Some(WITHIN),
    };
    lab.phase("steady", "");
    let samples = Samples::start(&lab, &site, sample_every(&lab));
    let (kept, new) = (lab.traffic(spec(stream::TRAFFIC)), lab.traffic_on_new_connections(spec(ON_NEW)));
    lab.hold_window(lab.scaled(STEADY).max(LEAST_STEADY)).await?;
    lab.start_platform();
    let settle = lab.scaled(SETTLE).max(LEAST_SETTLE);
    if let Some(first) = replicas.first().filter(|_| lab.wants(KILLED) || lab.wants(AGAIN)) {
        // Who came in the place of nobody cannot be killed again.
        if let Some(successor) = lose(&lab, &samples, KILLED, first).await?.filter(|_| lab.wants(AGAIN)) {
            lose(&lab, &samples, AGAIN, &successor).await?;
            lab.phase("settle", AGAIN);
            lab.hold(lab.scaled(EVEN).max(LEAST_EVEN) + settle).await?;
        } else {
            lab.phase("settle", KILLED);
            lab.hold(settle).await?;
        }
    }
    let mut before = None;
    for variant in [HUNG, CLOSED].into_iter().filter(|variant| lab.wants(variant)) {
        // Each time one that was not touched last.
        let victims = lab.replicas_of(&site);
        let Some(victim) = victims.iter().rfind(|replica| Some(&replica.name) != before.as_ref()) else { break };
        let successor = lose(&lab, &samples, variant, victim).await?;
        before = successor.map(|successor| successor.name).or_else(|| Some(victim.name.clone()));
        lab.phase("settle", variant);
        lab.hold(settle).await?;
    }
    lab.stop_platform().await;
    lab.phase("end", "");
    samples.stop().await;
    for traffic in [kept, new] {
        traffic.stop().await;
    }
    Ok(())
}

fn sample_every(lab: &Lab) -> Duration {
    lab.scaled(SAMPLE_EVERY).clamp(LEAST_SAMPLE_EVERY, MOST_SAMPLE_EVERY)
}

/// Loses a replica, and waits for its successor to be ready and in rotation, and for a good sample of it. `None` if none comes: then the replica itself is brought back.
async fn lose(lab: &Lab, samples: &Samples, variant: &str, victim: &Replica) -> Result<Option<Replica>, LabError> {
    lab.phase("inject", variant);
    let from = lab.now();
    let active = match variant {
        HUNG => Some(lab.pause(&victim.name).await?),
        CLOSED => Some(lab.close_port(&victim.name).await?),
        _ => {
            lab.kill(&victim.name).await?;
            None
        }
    };
    lab.phase("hold", variant);
    let patience = lab.stretched(PATIENCE, "respawn", RESPAWN);
    if let Some(successor) = lab.wait_replaced(&victim.name, from, patience).await? {
        // What is ready may not serve yet: whoever is lost next must have been seen to.
        samples.wait_good(lab, &successor.name, lab.now(), patience).await?;
        lab.hold(sample_every(lab) * 2).await?;
        return Ok(Some(successor));
    }
    lab.mark(NOT_REPLACED, &victim.name, i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
    bring_back(lab, victim, from, active).await
}

/// Does without the platform what it did not do.
async fn bring_back(lab: &Lab, lost: &Replica, from: u64, active: Option<Active>) -> Result<Option<Replica>, LabError> {
    lab.stop_platform().await;
    // It may have come to it in the last moment.
    let successor = lab.successor_of(&lost.name, from);
    match (&successor, active) {
        (Some(_), _) => {}
        (None, Some(active)) => lab.heal(active).await?,
        (None, None) => lab.restart(&lost.name, Disk::Keep).await?,
    }
    let back = successor.clone().unwrap_or_else(|| lost.clone());
    lab.wait_ready(&back.name, lab.ready_within()).await?;
    lab.wait_in_rotation(&back, lab.ready_within()).await?;
    lab.start_platform();
    Ok(successor)
}
