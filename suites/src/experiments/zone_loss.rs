//! A zone of a site is lost whole, comes back, then is cut off from the shared store only. Read by AVL-02.

use super::canaries::plain;
use super::sites::{rest, wait_back};
use crate::claims::availability::{FROM_STORE, WHOLE, ZONE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions, Target, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Site;
use gatecrash_model::fault::{Fault, LinkId, NetworkFault};
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "zone-loss",
    story: "a zone is a black hole, comes back, and is then cut off from the shared store only",
    needs: &[Capability::TwoReplicas, Capability::NetworkFaults],
    expected: |_, scale, _| HELD.mul_f64(scale).max(LEAST_HELD) * 2 + Duration::from_secs(9),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long the zone is away each time.
const HELD: Duration = Duration::from_secs(40);
/// Long enough that something is left after the gap, whose least is fixed.
const LEAST_HELD: Duration = Duration::from_secs(4);
/// Steady state, and after each loss.
const AROUND: Duration = Duration::from_secs(20);
/// Less would be too few requests.
const LEAST_AROUND: Duration = Duration::from_secs(2);
/// Requests a second through the ingress.
const RATE_PER_S: f64 = 100.0;

/// The site that loses a zone.
fn site_of(deployment: &Deployment) -> Option<&Site> {
    deployment.sites.iter().find(|site| site.used_zones() >= 2)
}

/// Without a shared store there is one loss only.
fn steps(deployment: &Deployment) -> Vec<String> {
    let store = site_of(deployment).and_then(|site| deployment.store_of(&site.name));
    if store.is_some() { named([WHOLE, FROM_STORE]) } else { Vec::new() }
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let (held, around) = (lab.scaled(HELD).max(LEAST_HELD), lab.scaled(AROUND).max(LEAST_AROUND));
    // A deployment without such a site is not judged: there is nothing to lose then.
    let Some(site) = site_of(lab.deployment()).cloned() else {
        lab.note("no site has replicas in two zones");
        return Ok(());
    };
    let zone = site.zone_of(1).to_owned();
    let inside: Vec<String> = lab
        .replicas_of(&site.name)
        .into_iter()
        .filter(|replica| replica.zone == zone)
        .map(|replica| replica.name)
        .collect();
    lab.phase("steady", "");
    let traffic = lab.traffic(TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets: vec![(Target::Ingress(site.name.clone()), 1)],
        route: plain(&lab)?,
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: RATE_PER_S,
        timeout: None,
    });
    lab.hold_window(around).await?;
    let whole: Vec<LinkId> = inside.iter().flat_map(|name| lab.links_around(name)).collect();
    let store = lab.deployment().store_of(&site.name);
    let from_store: Vec<LinkId> =
        store.iter().flat_map(|store| inside.iter().flat_map(|name| lab.links(name, store))).collect();
    for (variant, links) in [(WHOLE, whole), (FROM_STORE, from_store)] {
        if links.is_empty() || !lab.wants(variant) {
            continue;
        }
        for name in &inside {
            lab.mark(ZONE, name, 0);
        }
        rest(&lab).await?;
        lab.phase("inject", variant);
        let away = lab.inject(Fault::Network { links, what: NetworkFault::Blackhole }).await?;
        lab.phase("hold", variant);
        lab.hold(held).await?;
        lab.phase("heal", variant);
        lab.heal(away).await?;
        wait_back(&lab, &site.name).await?;
        lab.phase("settle", variant);
        lab.hold_window(around).await?;
    }
    lab.phase("end", "");
    traffic.stop().await;
    Ok(())
}
