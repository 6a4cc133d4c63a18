//! Replicas start while the control plane is away: restarted one by one and all at once, brand-new, and with
//! everything wiped. Read by CFG-02/a, CFG-02/b, CFG-02/c and CON-02.

use crate::claims::configuration::{BRAND_NEW, RESTARTED, START_VARIANT, WIPED};
use crate::experiment::Experiment;
use crate::experiments::canaries::plain;
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, stream};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "start-without-control-plane",
    story: "the control plane refuses while a replica restarts, a new one comes, all restart, and one has lost all that it kept",
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationVersion,
        Capability::ReplicaFaults,
        Capability::NetworkFaults,
    ],
    expected: |_, scale| (START * 4 + OBSERVE * 4).mul_f64(scale) + Duration::from_secs(12),
    options: |_| LabOptions::default(),
    run: |lab| story(lab).boxed(),
};

/// How long a start may take (CFG-02, `within`), and a little more.
const START: Duration = Duration::from_secs(62);
/// How long the plain API is used once it serves (CON-02, `observe`), and more.
const OBSERVE: Duration = Duration::from_secs(13);
/// Between two rounds of canaries.
const EVERY: Duration = Duration::from_millis(20);

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let replicas = lab.replicas();
    let first = replicas.first().cloned().ok_or_else(|| LabError::Unknown("replica".to_owned()))?;

    lab.phase("steady", "");
    let version = lab.publish(|_| {}).await?;
    let polls = lab.deployment().control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 6);
    for replica in &replicas {
        if lab.wait_version(&replica.name, version, polls + Duration::from_secs(5)).await.is_none() {
            lab.note(format!("`{}` was not seen to have version {version} before the outage", replica.name));
        }
    }
    // What is kept is written in the background.
    lab.hold(Duration::from_millis(300)).await?;
    watch(&lab, &route, &replicas, version, Duration::ZERO, Duration::from_millis(300)).await?;

    lab.phase("inject", "");
    let away = lab.inject(Fault::Network { links: lab.links("*", CONTROL_PLANE), what: NetworkFault::Refuse }).await?;

    lab.phase("hold", "restart-one");
    let one = [first.clone()];
    restart(&lab, &one, Disk::Keep, RESTARTED).await?;
    start(&lab, &route, &one, version).await?;

    if lab.has(Capability::ReplicaDisk) {
        lab.phase("hold", "brand-new");
        // The name is not known before: the mark comes after the start, and the claim takes either order.
        let new = lab.add_replica(&first.site, BTreeMap::new()).await?;
        lab.mark(START_VARIANT, &new.name, BRAND_NEW);
        start(&lab, &route, std::slice::from_ref(&new), version).await?;
        lab.phase("inject", "");
        lab.remove_replica(&new.name).await?;
    }

    lab.phase("hold", "restart-all");
    restart(&lab, &replicas, Disk::Keep, RESTARTED).await?;
    start(&lab, &route, &replicas, version).await?;

    if lab.has(Capability::ReplicaDisk) {
        lab.phase("hold", "wiped");
        lab.mark(START_VARIANT, &first.name, WIPED);
        lab.mark(mark::NOT_READY_DECLARED, &first.name, 0);
        lab.kill(&first.name).await?;
        if lab.deployment().site_store {
            lab.wipe_site_store(&first.site).await?;
        }
        lab.restart(&first.name, Disk::Wiped).await?;
        start(&lab, &route, &one, version).await?;
    }

    lab.phase("heal", "");
    lab.heal(away).await?;
    lab.phase("settle", "");
    watch(&lab, &route, &replicas, version, lab.ready_within(), Duration::from_millis(500)).await
}

async fn restart(lab: &Lab, replicas: &[Replica], disk: Disk, variant: i64) -> Result<(), LabError> {
    for replica in replicas {
        lab.mark(START_VARIANT, &replica.name, variant);
        lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
        lab.kill(&replica.name).await?;
    }
    for replica in replicas {
        lab.restart(&replica.name, disk).await?;
    }
    Ok(())
}

/// Canaries from the start on, until all replicas served for long enough or none can be expected to any more.
async fn start(lab: &Lab, route: &str, replicas: &[Replica], version: u32) -> Result<(), LabError> {
    let patience = (lab.scaled(START) + Duration::from_millis(300)).max(Duration::from_secs(3));
    watch(lab, route, replicas, version, patience, lab.scaled(OBSERVE).max(Duration::from_secs(1))).await
}

/// Asks every replica with a token and without, until all gave `version` and `after` has passed since, or `patience` has.
async fn watch(
    lab: &Lab,
    route: &str,
    replicas: &[Replica],
    version: u32,
    patience: Duration,
    after: Duration,
) -> Result<(), LabError> {
    let began = lab.now();
    let since = |at: u64| Duration::from_nanos(lab.now().saturating_sub(at));
    let mut all_since: Option<u64> = None;
    loop {
        let asked = replicas.iter().map(|replica| {
            let call = |credential| {
                let target = Target::Replica(replica.name.clone());
                Call::new(stream::CANARY, target, route, "client-1").with(credential).timeout(Duration::from_secs(1))
            };
            futures::future::join(lab.call(call(Credential::Valid)), lab.call(call(Credential::Missing)))
        });
        let answers = join_all(asked).await;
        if answers.iter().all(|(valid, _)| valid.answer.is_success() && valid.answer.version >= version) {
            all_since = all_since.or(Some(lab.now()));
        }
        let done = all_since.is_some_and(|at| since(at) >= after);
        if done || all_since.is_none() && since(began) >= patience {
            return Ok(());
        }
        lab.hold(EVERY).await?;
    }
}
