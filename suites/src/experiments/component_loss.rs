//! Each component that is no gateway is lost in turn while requests go on: the control plane, each site's way to it, stores, analytics. Read by AVL-06.

use super::canaries::traffic;
use super::sites::rest;
use crate::claims::availability::COMPONENT;
use crate::experiment::Experiment;
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CONTROL_PLANE, StoreScope};
use gatecrash_model::fault::{Fault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "component-loss",
    story: "each component that is no gateway is lost in turn while requests go on",
    needs: &[Capability::NetworkFaults],
    expected: |deployment, scale, _| {
        let components = u32::try_from(components(deployment).len()).unwrap_or(1);
        (HELD.mul_f64(scale).max(LEAST_HELD) + Duration::from_secs(2)) * (components + 1) + Duration::from_secs(3)
    },
    options: |_| LabOptions::default(),
    steps: components,
    run: |lab| story(lab).boxed(),
};

/// How long each is away, and the steady state.
const HELD: Duration = Duration::from_secs(20);
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_secs(2);
/// What everything else is compared with is made of this much.
const LEAST_STEADY: Duration = Duration::from_secs(3);
/// Requests a second over all replicas.
const RATE_PER_S: f64 = 60.0;

async fn story(lab: Lab) -> Result<(), LabError> {
    let held = lab.scaled(HELD).max(LEAST_HELD);
    lab.phase("steady", "");
    let stream = traffic(&lab, &lab.replicas(), RATE_PER_S)?;
    let steady = lab.now();
    lab.hold_window(held.max(LEAST_STEADY)).await?;
    lab.until_steady(steady).await?;
    let steady = (steady, lab.now());
    for component in components(lab.deployment()).into_iter().filter(|component| lab.wants(component)) {
        let links = lab.links("*", &component);
        if links.is_empty() {
            continue;
        }
        rest(&lab).await?;
        lab.mark(COMPONENT, &component, 0);
        lab.phase("inject", &component);
        let away = lab.inject(Fault::Network { links, what: NetworkFault::Blackhole }).await?;
        lab.phase("hold", &component);
        let from = lab.now();
        lab.hold_window(held).await?;
        lab.until_comparable(from, &[steady]).await?;
        lab.phase("heal", &component);
        lab.heal(away).await?;
        lab.phase("settle", &component);
        lab.hold(Duration::from_secs(1)).await?;
    }
    lab.phase("end", "");
    stream.stop().await;
    Ok(())
}

/// The components that gateways depend on and that are none, and no backend either.
fn components(deployment: &Deployment) -> Vec<String> {
    let mut all = Vec::new();
    if deployment.control_plane.is_some() {
        all.push(CONTROL_PLANE.to_owned());
    }
    if deployment.shares_store() {
        all.extend(deployment.sites.first().and_then(|site| deployment.store_of(&site.name)));
    }
    for site in &deployment.sites {
        if deployment.control_plane.is_some() {
            all.push(site.management_ingress());
        }
        if deployment.store.as_ref().is_some_and(|store| store.scope == StoreScope::Site) {
            all.extend(deployment.store_of(&site.name));
        }
        if deployment.site_store {
            all.push(site.site_store());
        }
        if deployment.analytics.is_some() {
            all.push(site.analytics());
        }
    }
    all
}
