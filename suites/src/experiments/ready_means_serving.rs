//! A replica starts without a configuration of its own while the control plane is slow, sends half a configuration, and is slow to send
//! contracts. Is it ready before it serves? Read by DRN-03.

use super::canaries::{canaries, missing, plain};
use super::rounds::cluster;
use crate::claims::draining::READINESS;
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Replica, Target, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, FixtureFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: READINESS,
    story: "a replica that has no configuration of its own starts while the control plane is slow, sends half of it, and is slow with contracts",
    needs: &[Capability::ControlPlane, Capability::ReplicaFaults],
    expected: |_, scale, _| (STEADY + (AWAY + FAULT + AFTER) * 3).mul_f64(scale) + Duration::from_secs(6),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(5);
/// The replica is away for so long before it starts: its ingress has noticed.
const AWAY: Duration = Duration::from_secs(4);
/// How long the control plane is wrong.
const FAULT: Duration = Duration::from_secs(10);
/// How long a replica is watched once it is ready (DRN-03, `after`).
const AFTER: Duration = Duration::from_secs(31);
/// Canaries a second on each route of the replica.
const CANARIES_PER_S: f64 = 20.0;
/// Requests a second through its ingress.
const INGRESS_PER_S: f64 = 40.0;

/// What the control plane does to which of its endpoints while a replica starts; the delay is that of the story.
const STARTS: [(&str, &str, bool); 3] = [
    ("slow-configuration", "configuration", true),
    ("half-configuration", "configuration", false),
    ("slow-contracts", "contracts", true),
];

fn steps(_: &Deployment) -> Vec<String> {
    named(STARTS.iter().map(|(variant, ..)| *variant))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let (site, replicas) = cluster(&lab);
    let replica = replicas.into_iter().next().ok_or_else(|| LabError::Unknown("replica".to_owned()))?;
    lab.phase("steady", "");
    let mut streams = canaries(&lab, std::slice::from_ref(&replica), CANARIES_PER_S);
    streams.push(lab.traffic(TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets: vec![(Target::Ingress(site), 1)],
        route: plain(&lab)?,
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: INGRESS_PER_S,
        timeout: None,
    }));
    lab.hold(lab.scaled(STEADY)).await?;
    let delay_ms = u32::try_from(lab.scaled(FAULT).as_millis()).unwrap_or(u32::MAX).max(1);
    for (variant, endpoint, is_slow) in STARTS.into_iter().filter(|(variant, ..)| lab.wants(variant)) {
        let what = if is_slow { FixtureFault::Slow { delay_ms } } else { FixtureFault::Truncated };
        lab.phase("inject", variant);
        start(&lab, &replica, endpoint, what, variant).await?;
    }
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// One start with its fault; ends when the replica was ready for long enough.
async fn start(
    lab: &Lab,
    replica: &Replica,
    endpoint: &str,
    what: FixtureFault,
    variant: &str,
) -> Result<(), LabError> {
    let wiped = lab.has(Capability::ReplicaDisk);
    lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
    lab.kill(&replica.name).await?;
    lab.hold(lab.scaled(AWAY)).await?;
    if wiped && lab.deployment().site_store {
        lab.wipe_site_store(&replica.site).await?;
    }
    let fault = Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: endpoint.to_owned(), what };
    let active = lab.inject(fault).await?;
    lab.phase("hold", variant);
    lab.restart(&replica.name, if wiped { Disk::Wiped } else { Disk::Keep }).await?;
    lab.hold(lab.scaled(FAULT)).await?;
    lab.phase("heal", variant);
    lab.heal(active).await?;
    lab.wait_ready(&replica.name, lab.ready_within()).await?;
    lab.wait_rotation().await?;
    lab.phase("settle", variant);
    missing(lab, std::slice::from_ref(replica)).await;
    lab.hold(lab.scaled(AFTER)).await?;
    missing(lab, std::slice::from_ref(replica)).await;
    Ok(())
}
