//! Replicas start while the control plane is a black hole, slow, and refuses: restarted one by one and all at once,
//! brand-new, and with everything wiped. Read by CFG-02/a, CFG-02/b, CFG-02/c and CON-02.

use crate::claims::configuration::{BRAND_NEW, RESTARTED, START_VARIANT, STORE_LOST, WIPED};
use crate::experiment::{Experiment, named};
use crate::experiments::canaries::plain;
use futures::FutureExt;
use futures::future::{join_all, try_join};
use gatecrash_engine::lab::{Active, Call, Disk, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, FixtureFault, NetworkFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, stream};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "start-without-control-plane",
    story: "the control plane is a black hole, then slow, then refuses, while a replica restarts, a new one comes, all restart, and all have lost what was kept",
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationVersion,
        Capability::ReplicaFaults,
        Capability::NetworkFaults,
    ],
    expected: |_, scale, demands| {
        let observed = demands.stretched(OBSERVE, "observe", ASKED, scale);
        let start = demands.stretched(START, "within", WITHIN, scale);
        start + STORE_NEEDED.mul_f64(scale) + observed * 4 + Duration::from_secs(16)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long a start may take (CFG-02, `within`), and a little more.
const START: Duration = Duration::from_secs(62);
const WITHIN: Duration = Duration::from_secs(60);
/// How long the plain API is used once it serves (CON-02, `observe`), and more.
const OBSERVE: Duration = Duration::from_secs(13);
/// What CON-02 asks for by default.
const ASKED: Duration = Duration::from_secs(10);
/// How long a start without the shared store is watched: what it shows decides nothing.
const STORE_NEEDED: Duration = Duration::from_secs(20);
/// How long the plain API is used where only its first answer matters.
const BRIEFLY: Duration = Duration::from_millis(300);
/// Between two rounds of canaries.
const EVERY: Duration = Duration::from_millis(20);

/// Steps in which one replica restarts and a new one comes while the control plane is away in this way.
const BLACKHOLE: &str = "blackhole";
const SLOW: &str = "slow";
/// Steps while it refuses.
const RESTART_ONE: &str = "restart-one";
const NEW: &str = "brand-new";
const RESTART_ALL: &str = "restart-all";
/// The last: what was kept is lost, too.
const WIPE: &str = "wiped";

fn steps(_: &Deployment) -> Vec<String> {
    named([BLACKHOLE, SLOW, RESTART_ONE, NEW, RESTART_ALL, WIPE])
}

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

    for (variant, fault) in [(BLACKHOLE, network(&lab, NetworkFault::Blackhole)), (SLOW, slow(&lab))] {
        if !lab.wants(variant) {
            continue;
        }
        lab.phase("inject", variant);
        let away = lab.inject(fault).await?;
        lab.phase("hold", variant);
        let second = replicas.iter().find(|other| other.site == first.site && other.name != first.name);
        let without_store = second.filter(|_| variant == BLACKHOLE);
        try_join(one_and_new(&lab, &route, &first, version), store_lost(&lab, &route, without_store, version)).await?;
        lab.phase("heal", variant);
        lab.heal(away).await?;
    }

    if [RESTART_ONE, NEW, RESTART_ALL].into_iter().any(|step| lab.wants(step)) {
        refused(&lab, &route, &replicas, version).await?;
    }
    // Whoever started from what was kept has to hear of what comes next: asked of all, before any of them loses it.
    lab.phase("settle", "");
    let next = lab.publish(|_| {}).await?;
    watch(&lab, &route, &replicas, next, patience(&lab), Duration::from_millis(500)).await?;
    if !(lab.has(Capability::ReplicaDisk) && lab.wants(WIPE)) {
        return Ok(());
    }
    // What is kept is written in the background.
    lab.hold(Duration::from_millis(300)).await?;
    let away = wiped(&lab, &route, &first, next).await?;
    lab.phase("heal", WIPE);
    for away in away {
        lab.heal(away).await?;
    }
    lab.phase("settle", WIPE);
    watch(&lab, &route, &replicas, next, patience(&lab), Duration::from_millis(500)).await
}

/// The control plane refuses while one replica restarts, a new one comes, and all restart.
async fn refused(lab: &Lab, route: &str, replicas: &[Replica], version: u32) -> Result<(), LabError> {
    let Some(first) = replicas.first() else { return Ok(()) };
    lab.phase("inject", "refuse");
    let away = lab.inject(network(lab, NetworkFault::Refuse)).await?;
    if lab.wants(RESTART_ONE) {
        lab.phase("hold", RESTART_ONE);
        let one = [first.clone()];
        restart(lab, &one, RESTARTED).await?;
        start(lab, route, &one, version).await?;
    }

    if lab.has(Capability::NewReplicas) && lab.wants(NEW) {
        lab.phase("hold", NEW);
        let new = brand_new(lab, &first.site, BRAND_NEW).await?;
        start(lab, route, std::slice::from_ref(&new), version).await?;
        lab.phase("inject", "");
        lab.remove_replica(&new.name).await?;
    }

    if lab.wants(RESTART_ALL) {
        lab.phase("hold", RESTART_ALL);
        restart(lab, replicas, RESTARTED).await?;
        start(lab, route, replicas, version).await?;
    }

    lab.phase("heal", "");
    lab.heal(away).await
}

fn network(lab: &Lab, what: NetworkFault) -> Fault {
    Fault::Network { links: lab.links("*", CONTROL_PLANE), what }
}

/// A control plane that takes twice as long as the ingress before it waits.
fn slow(lab: &Lab) -> Fault {
    let timeout = lab.deployment().control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.ingress_timeout);
    let delay_ms = u32::try_from((timeout * 2).as_millis()).unwrap_or(u32::MAX).max(1);
    let what = FixtureFault::Slow { delay_ms };
    Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: String::new(), what }
}

/// A replica restarts, and a new one comes, at the same time.
async fn one_and_new(lab: &Lab, route: &str, first: &Replica, version: u32) -> Result<(), LabError> {
    let mut starting = vec![first.clone()];
    restart(lab, &starting, RESTARTED).await?;
    let new = if lab.has(Capability::NewReplicas) { Some(brand_new(lab, &first.site, BRAND_NEW).await?) } else { None };
    starting.extend(new.clone());
    watch(lab, route, &starting, version, patience(lab), BRIEFLY).await?;
    match new {
        Some(new) => lab.remove_replica(&new.name).await,
        None => Ok(()),
    }
}

/// A replica restarts with its disk and without the shared store, too: was the configuration there (K1)?
async fn store_lost(lab: &Lab, route: &str, replica: Option<&Replica>, version: u32) -> Result<(), LabError> {
    let store = replica.and_then(|replica| lab.deployment().store_of(&replica.site));
    let (Some(replica), Some(store)) = (replica, store) else { return Ok(()) };
    let links = lab.links(&replica.name, &store);
    let lost = lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?;
    let one = std::slice::from_ref(replica);
    restart(lab, one, STORE_LOST).await?;
    watch(lab, route, one, version, at_least(lab.scaled(STORE_NEEDED)), BRIEFLY).await?;
    lab.heal(lost).await
}

/// All that was kept is lost while the control plane is away in all three ways. Returns the faults that are in place.
async fn wiped(lab: &Lab, route: &str, first: &Replica, version: u32) -> Result<Vec<Active>, LabError> {
    lab.phase("inject", WIPE);
    let mut away = vec![lab.inject(slow(lab)).await?];
    if lab.has(Capability::Peering) {
        wiped_voters(lab, route, version).await?;
    } else {
        away.extend(wiped_site(lab, route, first, version).await?);
    }
    // What the nearest link does ends first.
    away.reverse();
    Ok(away)
}

/// All replicas of a site have lost their disks and the site its configuration store; one of them finds the control plane
/// refusing, one a black hole, and a new one finds it slow. Returns the faults that are in place.
async fn wiped_site(lab: &Lab, route: &str, first: &Replica, version: u32) -> Result<Vec<Active>, LabError> {
    let all = lab.replicas_of(&first.site);
    let mut away = Vec::new();
    for (replica, what) in all.iter().zip([NetworkFault::Refuse, NetworkFault::Blackhole]) {
        away.push(lab.inject(management(lab, replica, what)).await?);
    }
    lab.phase("hold", WIPE);
    for replica in &all {
        end(lab, replica).await?;
    }
    if lab.deployment().site_store {
        lab.wipe_site_store(&first.site).await?;
    }
    for replica in &all {
        lab.restart(&replica.name, Disk::Wiped).await?;
    }
    let new = brand_new(lab, &first.site, WIPED).await?;
    let starting: Vec<Replica> = all.into_iter().chain([new.clone()]).collect();
    watch(lab, route, &starting, version, patience(lab), BRIEFLY).await?;
    lab.remove_replica(&new.name).await?;
    Ok(away)
}

/// Of a group of gateways one after the other has lost its disk: with a site's, a quorum of them could be gone for good. The first finds the
/// control plane refusing, the next a black hole, the third slow.
async fn wiped_voters(lab: &Lab, route: &str, version: u32) -> Result<(), LabError> {
    let failover = lab.deployment().peering.as_ref().map_or(Duration::ZERO, |peering| peering.failover);
    let ways = [Some(NetworkFault::Refuse), Some(NetworkFault::Blackhole), None];
    for (replica, what) in lab.replicas().iter().zip(ways) {
        lab.phase("inject", WIPE);
        let away = match what {
            Some(what) => Some(lab.inject(management(lab, replica, what)).await?),
            None => None,
        };
        lab.phase("hold", WIPE);
        end(lab, replica).await?;
        lab.restart(&replica.name, Disk::Wiped).await?;
        watch(lab, route, std::slice::from_ref(replica), version, patience(lab), BRIEFLY).await?;
        if let Some(away) = away {
            lab.phase("heal", WIPE);
            lab.heal(away).await?;
        }
        // What it had has to be with it again, before the next loses it.
        lab.hold(failover).await?;
    }
    Ok(())
}

/// The way from `replica` to the control plane, as far as it is its own.
fn management(lab: &Lab, replica: &Replica, what: NetworkFault) -> Fault {
    let ingress = lab.deployment().site(&replica.site).map(|site| site.management_ingress()).unwrap_or_default();
    Fault::Network { links: lab.links(&replica.name, &ingress), what }
}

/// Ends a replica that will have lost what it kept when it starts again.
async fn end(lab: &Lab, replica: &Replica) -> Result<(), LabError> {
    lab.mark(START_VARIANT, &replica.name, WIPED);
    lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
    lab.kill(&replica.name).await
}

/// Starts a replica that never ran. Its name is not known before: the mark comes after the start, and the claims take
/// either order.
async fn brand_new(lab: &Lab, site: &str, variant: i64) -> Result<Replica, LabError> {
    let new = lab.add_replica(site, BTreeMap::new()).await?;
    lab.mark(START_VARIANT, &new.name, variant);
    Ok(new)
}

async fn restart(lab: &Lab, replicas: &[Replica], variant: i64) -> Result<(), LabError> {
    for replica in replicas {
        lab.mark(START_VARIANT, &replica.name, variant);
        lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
        lab.kill(&replica.name).await?;
    }
    for replica in replicas {
        lab.restart(&replica.name, Disk::Keep).await?;
    }
    Ok(())
}

/// Canaries from the start on, until all replicas served for long enough or none can be expected to any more.
async fn start(lab: &Lab, route: &str, replicas: &[Replica], version: u32) -> Result<(), LabError> {
    let after = lab.stretched(OBSERVE, "observe", ASKED).max(Duration::from_secs(1));
    // Where one never serves, the others are watched for as long as is asked all the same.
    let longer = after.saturating_sub(lab.scaled(OBSERVE).max(Duration::from_secs(1)));
    watch(lab, route, replicas, version, patience(lab) + longer, after).await
}

/// How long a start is watched.
fn patience(lab: &Lab) -> Duration {
    at_least(lab.stretched(START, "within", WITHIN))
}

/// A little more than so long, however short that is.
fn at_least(within: Duration) -> Duration {
    (within + Duration::from_millis(300)).max(Duration::from_secs(2))
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
