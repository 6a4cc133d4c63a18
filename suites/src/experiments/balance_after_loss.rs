//! Requests go through the ingress of a cluster, on kept connections and each on one of its own. A replica is killed and, after a while, replaced;
//! then all replicas are restarted, one after the other. Read by BAL-02.
//!
//! The two streams have rates without a small common multiple: two that come strictly in turn would each see but every other replica of a perfect round robin.

use super::canaries::plain;
use super::rounds::cluster;
use super::uses::Uses;
use crate::claims::balance::{EVEN_WINDOW, KEPT_CONNECTIONS, LEAST_WINDOW, NEW_CONNECTIONS, ROLLED, SHIFT};
use crate::claims::losses::{KILLED, NOT_REPLACED};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Replica, Target, TrafficSpec};
use gatecrash_model::Demands;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Deployment;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SHIFT,
    story: "a replica is killed and replaced, then all are restarted one after the other, while requests go through the ingress on new and on kept connections",
    needs: &[Capability::TwoReplicas, Capability::ReplicaFaults],
    expected,
    steps,
    options: |_| LabOptions { platform: true, ..LabOptions::default() },
    run: |lab| story(lab).boxed(),
};

/// Steady state.
const STEADY: Duration = Duration::from_secs(20);
const LEAST_STEADY: Duration = Duration::from_secs(2);
/// How long nobody comes in the place of the one that was killed: the spike is to be seen.
const SPIKE: Duration = Duration::from_secs(10);
const LEAST_SPIKE: Duration = Duration::from_secs(2);
/// How long a successor is waited for.
const PATIENCE: Duration = Duration::from_secs(75);
/// What BAL-02 allows until shares are even again on new connections, and on kept ones.
const RECOVERS: Duration = Duration::from_secs(30);
const RECOVERS_KEPT: Duration = Duration::from_secs(60);
/// After the last window that counts.
const REST: Duration = Duration::from_millis(300);
/// Requests a second, each on a connection of its own.
const NEW_PER_S: f64 = 100.0;
/// Requests a second on kept connections, and how long each takes: so many connections are in use.
const KEPT_PER_S: f64 = 70.0;
const KEPT_TAKES: Duration = Duration::from_millis(200);
/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(5);
/// How often processor times are asked for.
const PROCESSOR_EVERY: Duration = Duration::from_secs(1);
const LEAST_PROCESSOR_EVERY: Duration = Duration::from_millis(400);

fn window(scale: f64) -> Duration {
    EVEN_WINDOW.mul_f64(scale).max(LEAST_WINDOW)
}

/// How long shares are watched that must be even within so long.
fn watched(recovers: Duration, scale: f64) -> Duration {
    recovers + window(scale) + REST
}

fn expected(deployment: &Deployment, scale: f64, demands: &Demands) -> Duration {
    let found = deployment.platform.as_ref().map_or(Duration::ZERO, |platform| platform.probe_period);
    let replicas = deployment.sites.iter().map(|site| site.replicas).max().unwrap_or(1);
    // Out of rotation, 5 s of withdrawal, a start.
    let restart = Duration::from_secs(6).mul_f64(scale) + Duration::from_millis(600);
    STEADY.mul_f64(scale).max(LEAST_STEADY)
        + SPIKE.mul_f64(scale).max(LEAST_SPIKE)
        + found.mul_f64(scale)
        + watched(demands.stretched(RECOVERS, "recovers", RECOVERS, scale), scale)
        + restart * replicas
        + watched(demands.stretched(RECOVERS_KEPT, "recovers_kept", RECOVERS_KEPT, scale), scale)
        + Duration::from_secs(4)
}

fn steps(_: &Deployment) -> Vec<String> {
    named([KILLED, ROLLED])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let (site, replicas) = cluster(&lab);
    let spec = |stream: &str, rate_per_s: f64| TrafficSpec {
        stream: stream.to_owned(),
        targets: vec![(Target::Ingress(site.clone()), 1)],
        route: route.clone(),
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s,
        timeout: Some(WITHIN),
    };
    lab.phase("steady", "");
    let processors = processors(&lab, &site);
    let kept = lab.traffic_answered_after(spec(KEPT_CONNECTIONS, KEPT_PER_S), KEPT_TAKES);
    let new = lab.traffic_on_new_connections(spec(NEW_CONNECTIONS, NEW_PER_S));
    lab.hold_window(lab.scaled(STEADY).max(LEAST_STEADY)).await?;
    if let Some(first) = replicas.first().filter(|_| lab.wants(KILLED)) {
        lab.phase("inject", KILLED);
        let from = lab.now();
        lab.kill(&first.name).await?;
        lab.phase("hold", KILLED);
        lab.hold(lab.scaled(SPIKE).max(LEAST_SPIKE)).await?;
        replace(&lab, first, from).await?;
        lab.phase("settle", KILLED);
        lab.hold(watched(lab.stretched(RECOVERS, "recovers", RECOVERS), lab.scale())).await?;
    }
    if lab.wants(ROLLED) {
        lab.phase("hold", ROLLED);
        for replica in lab.replicas_of(&site) {
            lab.maintain(&replica).await?;
        }
        lab.phase("settle", ROLLED);
        lab.hold(watched(lab.stretched(RECOVERS_KEPT, "recovers_kept", RECOVERS_KEPT), lab.scale())).await?;
    }
    lab.phase("end", "");
    processors.stop().await;
    for traffic in [kept, new] {
        traffic.stop().await;
    }
    Ok(())
}

/// Has the platform put another one in the place of `lost`; without one, or if it does not, the replica itself is started again. Nobody acts afterwards.
async fn replace(lab: &Lab, lost: &Replica, from: u64) -> Result<(), LabError> {
    let mut successor = None;
    if lab.has(Capability::Platform) {
        lab.start_platform();
        let patience = lab.scaled(PATIENCE);
        successor = lab.wait_replaced(&lost.name, from, patience).await?;
        if successor.is_none() {
            lab.mark(NOT_REPLACED, &lost.name, i64::try_from(patience.as_millis()).unwrap_or(i64::MAX));
        }
        lab.stop_platform().await;
        // It may have come to it in the last moment.
        successor = successor.or_else(|| lab.successor_of(&lost.name, from));
    }
    if successor.is_none() {
        lab.restart(&lost.name, Disk::Keep).await?;
    }
    let back = successor.unwrap_or_else(|| lost.clone());
    lab.wait_ready(&back.name, lab.ready_within()).await?;
    lab.wait_in_rotation(&back, lab.ready_within()).await?;
    Ok(())
}

/// Looks at the processor times of the replicas of a site.
fn processors(lab: &Lab, site: &str) -> Uses {
    let site = site.to_owned();
    let every = lab.scaled(PROCESSOR_EVERY).max(LEAST_PROCESSOR_EVERY);
    Uses::start(lab, every, move |lab| {
        let replicas = lab.replicas_of(&site);
        async move { drop(lab.record_processor_times(&replicas).await) }
    })
}
