//! The analytics of the first site refuse, are a black hole, and are slow while requests go on; then the whole first site is lost. Read by ANA-01 and ANA-02.

use super::canaries::plain;
use super::sites::rest;
use crate::claims::analytics::{BLACKHOLE, EXPERIMENT as NAME, LOST, REFUSE, SITE, SLOW};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Target, Traffic, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Site;
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: NAME,
    story: "the analytics of one site refuse, are a black hole and are slow while requests go on at all sites; then that whole site is lost",
    needs: &[Capability::Analytics, Capability::NetworkFaults],
    expected: |deployment, scale, _| {
        let held = HELD.mul_f64(scale).max(LEAST_HELD);
        let whole_site = if deployment.sites.len() >= 2 { held + Duration::from_secs(3) } else { Duration::ZERO };
        (held + Duration::from_secs(2)) * 4 + whole_site + Duration::from_secs(4)
    },
    steps,
    options: |_| LabOptions::default(),
    run: |lab| story(lab).boxed(),
};

/// How long each stretch lasts: three of them are the half of the outage that ANA-02 asks for.
const HELD: Duration = Duration::from_secs(20);
/// Less would be too few requests, and would not fill a buffer.
const LEAST_HELD: Duration = Duration::from_secs(2);
/// What everything else is compared with is made of this much.
const LEAST_STEADY: Duration = Duration::from_secs(3);
/// How long analytics may take until they have recorded a call (ANA-01, `flush`).
const FLUSH: Duration = Duration::from_secs(60);
/// What a message to slow analytics takes longer; a latency, never scaled: twice what gateways wait for.
const DELAY: Duration = Duration::from_secs(2);
/// Calls that are sent after a fault: when they are recorded, what was kept before them is, too.
const AFTER: Duration = Duration::from_millis(500);
/// Requests a second at each site, beside those that every experiment has.
const RATE_PER_S: f64 = 60.0;

fn steps(deployment: &Deployment) -> Vec<String> {
    let site = [SITE].into_iter().filter(|_| deployment.sites.len() >= 2);
    named([REFUSE, BLACKHOLE, SLOW].into_iter().chain(site))
}

fn flush(lab: &Lab) -> Duration {
    lab.stretched(FLUSH, "flush", FLUSH)
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let held = lab.scaled(HELD).max(LEAST_HELD);
    let first = lab.sites().first().cloned().ok_or_else(|| LabError::Unknown("site".to_owned()))?;
    lab.phase("steady", "");
    let mut streams = Vec::new();
    for site in lab.sites() {
        streams.push((site.name.clone(), requests(&lab, &site.name)?));
    }
    let (began, from) = (lab.next_operation(), lab.now());
    lab.hold_window(held.max(LEAST_STEADY)).await?;
    lab.until_steady(from).await?;
    let steady = (from, lab.now());
    lab.measure_memory(&lab.replicas_of(&first.name)).await;
    lab.until_recorded(began, flush(&lab)).await?;
    lab.mark(LOST, &first.name, 0);
    let faults =
        [(REFUSE, NetworkFault::Refuse), (BLACKHOLE, NetworkFault::Blackhole), (SLOW, NetworkFault::delay(DELAY))];
    let mut last = began;
    for (variant, what) in faults.into_iter().filter(|(variant, _)| lab.wants(variant)) {
        last = without_analytics(&lab, &first, (variant, what), (held, steady)).await?;
    }
    if lab.sites().len() >= 2 && lab.wants(SITE) && lab.has(Capability::ReplicaFaults) {
        last = without_site(&lab, &first, held, &mut streams).await?;
    }
    lab.phase("end", "");
    join_all(streams.into_iter().map(|(_, stream)| stream.stop())).await;
    // What was sent up to the end is answered by now, and is waited for as what came before it.
    lab.hold(AFTER).await?;
    lab.until_recorded(last, flush(&lab)).await
}

/// Requests at the replicas of a site.
fn requests(lab: &Lab, site: &str) -> Result<Traffic, LabError> {
    let targets = lab.replicas_of(site).into_iter().map(|replica| (Target::Replica(replica.name), 1)).collect();
    Ok(lab.traffic(TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets,
        route: plain(lab)?,
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: RATE_PER_S,
        timeout: None,
    }))
}

/// One outage of the site's analytics, which is compared with the steady stretch, and what comes after it. Returns the first operation of that.
async fn without_analytics(
    lab: &Lab,
    site: &Site,
    (variant, what): (&str, NetworkFault),
    (held, steady): (Duration, (u64, u64)),
) -> Result<u32, LabError> {
    rest(lab).await?;
    lab.phase("inject", variant);
    let away = lab.inject(Fault::Network { links: lab.links("*", &site.analytics()), what }).await?;
    lab.phase("hold", variant);
    let from = lab.now();
    lab.hold_window(held).await?;
    lab.until_comparable(from, &[steady]).await?;
    lab.measure_memory(&lab.replicas_of(&site.name)).await;
    lab.phase("heal", variant);
    lab.heal(away).await?;
    lab.until_telling(&lab.replicas_of(&site.name), flush(lab)).await?;
    settle(lab, variant).await
}

/// The site is lost with its gateways and its analytics, and comes back; the others go on. Returns as [`without_analytics`].
async fn without_site(
    lab: &Lab,
    site: &Site,
    held: Duration,
    streams: &mut Vec<(String, Traffic)>,
) -> Result<u32, LabError> {
    // Its clients go away before it: what they would get is for other claims.
    let (of_site, others): (Vec<_>, Vec<_>) = streams.drain(..).partition(|(name, _)| *name == site.name);
    *streams = others;
    join_all(of_site.into_iter().map(|(_, stream)| stream.stop())).await;
    rest(lab).await?;
    lab.phase("inject", SITE);
    let what = NetworkFault::Blackhole;
    let away = lab.inject(Fault::Network { links: lab.links("*", &site.analytics()), what }).await?;
    let replicas = lab.replicas_of(&site.name);
    try_join_all(replicas.iter().map(|replica| lab.kill(&replica.name))).await?;
    lab.phase("hold", SITE);
    lab.hold_window(held).await?;
    lab.phase("heal", SITE);
    try_join_all(replicas.iter().map(|replica| lab.restart(&replica.name, Disk::Keep))).await?;
    try_join_all(replicas.iter().map(|replica| lab.wait_ready(&replica.name, lab.ready_within()))).await?;
    lab.heal(away).await?;
    streams.push((site.name.clone(), requests(lab, &site.name)?));
    lab.until_telling(&replicas, flush(lab)).await?;
    settle(lab, SITE).await
}

/// Lets some requests follow, and waits until they are recorded, for as long as that may take. Returns the first operation of them.
async fn settle(lab: &Lab, variant: &str) -> Result<u32, LabError> {
    lab.phase("settle", variant);
    let first = lab.next_operation();
    lab.hold(AFTER).await?;
    lab.until_recorded(first, flush(lab)).await?;
    Ok(first)
}
