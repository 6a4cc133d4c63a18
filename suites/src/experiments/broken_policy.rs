//! A policy of a protected route cannot be built; then the store that policies ask is away, then the identity provider where they ask it.
//! Who gets in, and do the other routes go on? Read by SEC-02.

use super::canaries::canaries;
use super::settling::{lasts, settle};
use crate::claims::security::{BROKEN_POLICY, BROKEN_ROUTE, POLICY, PROVIDER, STORE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{IDENTITY, Policy};
use gatecrash_model::fault::{Fault, LinkId, NetworkFault};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: BROKEN_POLICY,
    story: "a configuration is published with a policy that no gateway can build, and taken back; then the shared store is away, then the identity provider that gateways ask",
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    expected: |deployment, scale, demands| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 6);
        (STEADY + HOLD * 3 + polls).mul_f64(scale) + lasts(scale, demands) * 3 + Duration::from_secs(6)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(10);
const HOLD: Duration = Duration::from_secs(20);
/// Canaries a second on each route.
const PER_S: f64 = 20.0;

/// Whether the provider is asked is the gateway's to say: where it is not, that step does nothing.
fn steps(deployment: &Deployment) -> Vec<String> {
    let store = deployment.store.is_some().then_some(STORE);
    named([POLICY].into_iter().chain(store).chain([PROVIDER]))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let replicas = lab.replicas();
    // The one that the must-refuse stream of every experiment asks for.
    let route =
        lab.route(&[Policy::Jwt], &[Policy::Quota]).or_else(|_| lab.route(&[Policy::ClientId], &[Policy::Quota]))?;
    lab.phase("steady", "");
    let streams = canaries(&lab, &replicas, PER_S);
    lab.hold(lab.scaled(STEADY)).await?;

    if lab.wants(POLICY) {
        publish_broken(&lab, &route).await?;
    }

    let stores: BTreeSet<String> =
        lab.sites().iter().filter_map(|site| lab.deployment().store_of(&site.name)).collect();
    let links: Vec<_> = stores.iter().flat_map(|store| lab.links("*", store)).collect();
    if !links.is_empty() && lab.wants(STORE) {
        refuse(&lab, STORE, links).await?;
    }
    if lab.has(Capability::TokenIntrospection) && lab.wants(PROVIDER) {
        let asking = replicas.iter().flat_map(|replica| lab.links(&replica.name, IDENTITY));
        refuse(&lab, PROVIDER, asking.collect()).await?;
    }
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// Publishes a policy that cannot be built on `route`, and takes it back.
async fn publish_broken(lab: &Lab, route: &str) -> Result<(), LabError> {
    lab.phase("inject", POLICY);
    let kept = std::sync::Mutex::new(Vec::new());
    let version = lab
        .publish(|configuration| {
            for broken in configuration.routes.iter_mut().filter(|found| found.name == route) {
                kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone_from(&broken.policies);
                broken.policies.push(Policy::Unbuildable);
            }
        })
        .await?;
    lab.mark(BROKEN_ROUTE, route, i64::from(version));
    lab.phase("hold", POLICY);
    lab.hold(polls(lab) + lab.scaled(HOLD)).await?;
    lab.phase("heal", POLICY);
    let kept = kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    lab.publish(|configuration| {
        for mended in configuration.routes.iter_mut().filter(|found| found.name == route) {
            mended.policies.clone_from(&kept);
        }
    })
    .await?;
    lab.hold(polls(lab)).await?;
    settle(lab, POLICY).await
}

/// What policies need is away for a while.
async fn refuse(lab: &Lab, variant: &str, links: Vec<LinkId>) -> Result<(), LabError> {
    lab.phase("inject", variant);
    let away = lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?;
    lab.phase("hold", variant);
    lab.hold(lab.scaled(HOLD)).await?;
    lab.phase("heal", variant);
    lab.heal(away).await?;
    settle(lab, variant).await
}

/// Until every replica has asked for its configuration.
fn polls(lab: &Lab) -> Duration {
    let plane = lab.deployment().control_plane.as_ref();
    plane.map_or(Duration::ZERO, |plane| plane.poll_interval * 2) + Duration::from_millis(200)
}
