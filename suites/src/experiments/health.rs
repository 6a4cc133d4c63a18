//! A site is asked for twice what it can do, then for what its upstream cannot answer, then without its store, while its replicas are asked for their
//! health all the time. Read by OVL-04.

use super::canaries::plain;
use super::overload::{CONCURRENCY, SERVICE, bounded};
use super::rounds::cluster;
use super::samples::Samples;
use super::settling::{lasts, settle};
use crate::claims::overload::{AFTERWARDS, HEALTH, STORE_AWAY, STORE_HUNG, STRESS, UPSTREAM_FAILS};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, Target, Traffic, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: HEALTH,
    story: "a site is asked for twice what it can do, then for what its upstream cannot answer, then without its store; its health is asked for throughout",
    needs: &[Capability::Concurrency, Capability::NetworkFaults],
    expected: |deployment, scale, demands| {
        let stores = u32::from(deployment.store.is_some()) * 2;
        STEADY.mul_f64(scale).max(LEAST)
            + (HELD.mul_f64(scale).max(LEAST) + REST) * (2 + stores)
            + lasts(scale, demands)
            + Duration::from_secs(4)
    },
    steps,
    options: |_| bounded(),
    run: |lab| story(lab).boxed(),
};

/// Requests a second that no replica notices, over the site.
const LOW: f64 = 30.0;
const STEADY: Duration = Duration::from_secs(10);
/// How long each trouble lasts. What is judged in it is not scaled: an answer within a second, from the second second on.
const HELD: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_secs(3);
/// Between two troubles.
const REST: Duration = Duration::from_millis(1500);
/// As often as claims.md asks of readiness (DRN-03), and fast enough to see a flap.
const PROBE_EVERY: Duration = Duration::from_millis(100);
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// The status of an upstream that can do nothing.
const FAILS_WITH: u16 = 503;

fn steps(deployment: &Deployment) -> Vec<String> {
    let store = [STORE_AWAY, STORE_HUNG].into_iter().filter(|_| deployment.store.is_some());
    named([STRESS, UPSTREAM_FAILS].into_iter().chain(store))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let (site, replicas) = cluster(&lab);
    let held = lab.scaled(HELD).max(LEAST);
    let spec = TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets: vec![(Target::Ingress(site.clone()), 1)],
        route: plain(&lab)?,
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: LOW,
        timeout: None,
    };
    let health = lab.watch_health(&replicas, PROBE_EVERY);
    let samples = Samples::start(&lab, &site, SAMPLE_EVERY);
    let mut halted: Vec<Traffic> = Vec::new();

    lab.phase("steady", "");
    let low = lab.traffic_answered_after(spec.clone(), SERVICE);
    lab.hold_window(lab.scaled(STEADY).max(LEAST)).await?;
    low.halt();
    halted.push(low);

    // What a replica can do follows from how many requests it may have at the upstream, and for how long.
    let twice = CONCURRENCY / SERVICE.as_secs_f64() * 2.0 * f64::from(u32::try_from(replicas.len()).unwrap_or(1));
    for variant in [STRESS, UPSTREAM_FAILS].into_iter().filter(|variant| lab.wants(variant)) {
        lab.phase("hold", variant);
        let stress = if variant == STRESS {
            lab.traffic_answered_after(TrafficSpec { rate_per_s: twice, ..spec.clone() }, SERVICE)
        } else {
            lab.traffic_answered_with(spec.clone(), FAILS_WITH)
        };
        lab.hold_window(held).await?;
        stress.halt();
        halted.push(stress);
        lab.phase("settle", "");
        lab.hold(REST).await?;
    }

    let low = lab.traffic_answered_after(spec, SERVICE);
    if let Some(store) = lab.deployment().store_of(&site) {
        let links = lab.links("*", &store);
        let losses = [(STORE_AWAY, NetworkFault::Refuse), (STORE_HUNG, NetworkFault::Blackhole)];
        for (variant, what) in losses.into_iter().filter(|(variant, _)| lab.wants(variant)) {
            lab.phase("inject", variant);
            let away = lab.inject(Fault::Network { links: links.clone(), what }).await?;
            lab.phase("hold", variant);
            lab.hold_window(held).await?;
            lab.phase("heal", variant);
            lab.heal(away).await?;
            lab.phase("settle", variant);
            lab.hold(REST).await?;
        }
    }
    settle(&lab, AFTERWARDS).await?;
    low.halt();
    halted.push(low);
    lab.phase("end", "");
    health.stop().await;
    samples.stop().await;
    for traffic in halted {
        traffic.stop().await;
    }
    Ok(())
}
