//! The control plane is away for ten minutes, in the second half of them the shared stores, too, while requests go on; then all are back. Read by CFG-07.

use super::canaries::{on_route, traffic};
use super::rounds::metered;
use super::uses::Uses;
use crate::claims::configuration::long::{CONTROL_PLANE as AWAY, EXPERIMENT as NAME, STORE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::try_join_all;
use futures::join;
use gatecrash_engine::lab::{Active, Lab, LabError, LabOptions, Replica};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, FixtureFault, NetworkFault};
use gatecrash_model::operation::stream;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: NAME,
    story: "the control plane is away for long, in the second half the shared stores, too, while requests go on: what do gateways use, how often do they ask, and do they come back at once?",
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    expected: |_, scale, demands| {
        let outage = demands.stretched(HALF * 2, "outage", HALF * 2, scale);
        outage + BACK.mul_f64(scale) + STEADY.mul_f64(scale).max(LEAST_STEADY) + Duration::from_secs(8)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// What the use in the outage is compared with is made of this much.
const STEADY: Duration = Duration::from_secs(20);
/// Processor times come in hundredths of seconds.
const LEAST_STEADY: Duration = Duration::from_secs(4);
/// Half of the outage that CFG-07 asks for by default.
const HALF: Duration = Duration::from_secs(300);
/// How long replicas have to come back: a few times the longest pause between two calls.
const BACK: Duration = Duration::from_secs(90);
/// With three connections to the control plane each they are the twenty of the catalogue: fewer might come back at once by chance.
const REPLICAS: usize = 7;
/// How often is looked at what replicas use.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looking costs, too.
const LEAST_LOOK: Duration = Duration::from_millis(400);
/// Requests a second on the route that needs neither store nor control plane, and on the one that asks the store.
const RATE_PER_S: f64 = 40.0;
const METERED_PER_S: f64 = 10.0;

fn steps(deployment: &Deployment) -> Vec<String> {
    // Without a store there is one outage, and one story.
    if deployment.store.is_some() { named([AWAY, STORE]) } else { Vec::new() }
}

async fn story(lab: Lab) -> Result<(), LabError> {
    crowd(&lab).await?;
    let replicas = lab.replicas();
    lab.phase("steady", "");
    let mut streams = vec![traffic(&lab, &replicas, RATE_PER_S)?];
    // Quotas run out: what is asked here only keeps the store in use.
    if let Ok(route) = metered(&lab) {
        streams.push(on_route(&lab, &replicas, stream::QUOTA, &route, METERED_PER_S));
    }
    let uses = all_uses(&lab, replicas);
    lab.hold_window(lab.scaled(STEADY).max(LEAST_STEADY)).await?;

    lab.phase("inject", AWAY);
    let what = FixtureFault::Unavailable;
    let away = lab.inject(Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: String::new(), what }).await?;
    if lab.wants(AWAY) {
        lab.phase("hold", AWAY);
        // Where there is no store to lose, it is the control plane all the time.
        let held = if lab.deployment().store.is_some() { HALF } else { HALF * 2 };
        lab.hold_window(lab.stretched(held, "outage", HALF * 2)).await?;
    }
    let lost = if lab.deployment().store.is_some() && lab.wants(STORE) { lose_stores(&lab).await? } else { Vec::new() };
    if !lost.is_empty() {
        lab.phase("hold", STORE);
        lab.hold_window(lab.stretched(HALF, "outage", HALF * 2)).await?;
    }
    lab.phase("heal", "");
    for lost in lost {
        lab.heal(lost).await?;
    }
    lab.heal(away).await?;
    lab.phase("settle", "");
    lab.hold_window(lab.scaled(BACK).max(Duration::from_secs(1))).await?;
    lab.phase("end", "");
    uses.stop().await;
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// More replicas, until there are as many as are needed, where some can be added.
async fn crowd(lab: &Lab) -> Result<(), LabError> {
    let Some(site) = lab.sites().first().filter(|_| lab.has(Capability::NewReplicas)) else { return Ok(()) };
    let mut more = Vec::new();
    for _one in lab.replicas().len()..REPLICAS {
        more.push(lab.add_replica(&site.name, BTreeMap::new()).await?);
    }
    try_join_all(more.iter().map(|new| lab.wait_ready(&new.name, lab.ready_within()))).await?;
    Ok(())
}

/// Every store refuses its gateways.
async fn lose_stores(lab: &Lab) -> Result<Vec<Active>, LabError> {
    let stores: BTreeSet<String> =
        lab.sites().iter().filter_map(|site| lab.deployment().store_of(&site.name)).collect();
    lab.phase("inject", STORE);
    let mut lost = Vec::new();
    for store in stores {
        let links = lab.links("*", &store);
        lost.push(lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?);
    }
    Ok(lost)
}

/// Looks at all that replicas use.
fn all_uses(lab: &Lab, replicas: Vec<Replica>) -> Uses {
    Uses::start(lab, lab.scaled(LOOK_EVERY).max(LEAST_LOOK), move |lab| {
        let replicas = replicas.clone();
        async move {
            join!(
                lab.record_processor_times(&replicas),
                lab.measure_memory(&replicas),
                lab.count_open_files(&replicas)
            );
        }
    })
}
