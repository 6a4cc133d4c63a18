//! Both sites serve; the first is killed and comes back; then only the way between the sites is cut. Read by AVL-05.

use super::sites::{Clients, rest, wait_back};
use crate::claims::availability::{KILL, LINK};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::try_join_all;
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CLIENT;
use gatecrash_model::fault::{Fault, LinkId, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "site-loss",
    story: "two sites serve; one is killed whole and comes back; then only the way between the sites is cut",
    needs: &[Capability::TwoSites, Capability::ReplicaFaults, Capability::NetworkFaults],
    expected: |_, scale, _| HELD.mul_f64(scale).max(LEAST_HELD) * 5 + Duration::from_secs(7),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long each stretch lasts.
const HELD: Duration = Duration::from_secs(20);
/// Less would be too few requests: the whole windows of a second are counted.
const LEAST_HELD: Duration = Duration::from_millis(2500);
/// Requests a second at each site.
const RATE_PER_S: f64 = 50.0;

/// Sites that share nothing have no way between them that could be cut.
fn steps(deployment: &Deployment) -> Vec<String> {
    let share = deployment.peering.is_some() || deployment.shares_store();
    if share { named([KILL, LINK]) } else { Vec::new() }
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let held = lab.scaled(HELD).max(LEAST_HELD);
    let [first, second, ..] = lab.sites() else { return Err(LabError::Unknown("second site".to_owned())) };
    let (lost, other) = (first.name.clone(), second.name.clone());
    lab.phase("steady", "");
    let mut clients = Clients::start(&lab, RATE_PER_S)?;
    lab.hold_window(held).await?;

    if lab.wants(KILL) {
        kill(&lab, &mut clients, &lost, &other, held).await?;
    }

    if lab.wants(LINK) {
        cut(&lab, held).await?;
    }
    lab.phase("end", "");
    clients.stop().await;
    Ok(())
}

/// The site `lost` is killed whole, its clients go to `other`, and it comes back; so long (`held`) each time.
async fn kill(lab: &Lab, clients: &mut Clients, lost: &str, other: &str, held: Duration) -> Result<(), LabError> {
    rest(lab).await?;
    lab.phase("inject", KILL);
    let from = lab.now();
    let links = lab.links(CLIENT, &format!("{lost}-ingress"));
    let unreachable = lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?;
    let replicas = lab.replicas_of(lost);
    try_join_all(replicas.iter().map(|replica| lab.kill(&replica.name))).await?;
    lab.phase("hold", KILL);
    clients.fail_over(lost, other, from).await?;
    lab.hold_window(held).await?;
    lab.phase("heal", KILL);
    try_join_all(replicas.iter().map(|replica| lab.restart(&replica.name, Disk::Keep))).await?;
    wait_back(lab, lost).await?;
    lab.heal(unreachable).await?;
    clients.send(lost, lost);
    lab.phase("settle", KILL);
    lab.hold_window(held).await?;
    Ok(())
}

/// The ways between the sites are cut, if they share anything.
async fn cut(lab: &Lab, held: Duration) -> Result<(), LabError> {
    let between = between_sites(lab);
    if between.is_empty() {
        lab.note("the sites share nothing: there is no link between them that could be cut");
        return Ok(());
    }
    rest(lab).await?;
    lab.phase("inject", LINK);
    let cut = lab.inject(Fault::Network { links: between, what: NetworkFault::Blackhole }).await?;
    lab.phase("hold", LINK);
    lab.hold_window(held).await?;
    lab.phase("heal", LINK);
    lab.heal(cut).await?;
    lab.phase("settle", LINK);
    lab.hold_window(held).await?;
    Ok(())
}

/// The ways between the sites: those of all sites but the first to what they share, which is at the first, and those between gateways that are a group.
fn between_sites(lab: &Lab) -> Vec<LinkId> {
    let replicas = lab.replicas();
    let mut all = Vec::new();
    for from in &replicas {
        for to in replicas.iter().filter(|to| to.site != from.site) {
            all.extend(lab.links(&from.name, &to.name));
        }
    }
    if let (Some(first), true) = (lab.sites().first(), lab.deployment().shares_store()) {
        let store = lab.deployment().store_of(&first.name).unwrap_or_default();
        let others = replicas.iter().filter(|replica| replica.site != first.name);
        all.extend(others.flat_map(|replica| lab.links(&replica.name, &store)));
    }
    all
}
