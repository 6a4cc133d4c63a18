//! The store that a cache is in is lost four times while requests go on (refused, swallowed, slow, throttled); then the upstream is away while what was kept
//! has expired. Read by CAC-04.

use super::rounds::cluster;
use super::settling::{lasts, settle};
use super::sites::rest;
use crate::claims::cache::kinds::{EXPIRING, Kind, STEADY};
use crate::claims::cache::{CACHE_STORE_LOSS, LOSSES, UPSTREAM_AWAY};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Replica, Resource, Target};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Policy, StoreKind};
use gatecrash_model::fault::{Fault, FixtureFault, NetworkFault};
use gatecrash_model::operation::{Credential, stream};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: CACHE_STORE_LOSS,
    story: "the store that a cache is in is lost four times while requests go on; then the upstream is away, and what was kept has expired",
    needs: &[Capability::HttpCache, Capability::SharedStore, Capability::NetworkFaults],
    expected: |_, scale, demands| {
        (HELD.mul_f64(scale).max(LEAST_HELD) + lasts(scale, demands) + Duration::from_secs(1)) * 5
            + Duration::from_secs(5)
    },
    steps,
    // Only the stub can throttle.
    options: |_| LabOptions { store: Some(StoreKind::Stub), ..LabOptions::default() },
    run: |lab| story(lab).boxed(),
};

/// How long the store is away each time, and the steady state.
const HELD: Duration = Duration::from_secs(15);
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_millis(1_500);
const LEAST_STEADY: Duration = Duration::from_secs(3);
/// Requests a second over all replicas.
const RATE_PER_S: f64 = 80.0;
/// What the store's answers take longer; never scaled, it is a latency.
const SLOWER: Duration = Duration::from_millis(500);
/// Commands a second that a throttled store still does.
const THROTTLED_PER_S: u32 = 10;
/// Resources that are asked for.
const RESOURCES: usize = 5;
/// Beyond what `must-revalidate, max-age=1` allows, and the second that ages are told in.
const EXPIRED: Duration = Duration::from_millis(2_300);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3);

fn steps(_: &Deployment) -> Vec<String> {
    named(LOSSES.into_iter().chain([UPSTREAM_AWAY]))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let open = lab.route(&[], &[Policy::Jwt, Policy::ClientId, Policy::Quota])?;
    let (site, replicas) = cluster(&lab);
    let store = lab.deployment().store_of(&site).ok_or_else(|| LabError::Unknown("store".to_owned()))?;
    let held = lab.scaled(HELD).max(LEAST_HELD);
    let [.., must] = EXPIRING;
    let resources =
        |kind: Kind| (0..RESOURCES).map(move |number| Resource::new(&format!("{}/{number}", kind.name), kind.says()));
    let ask = |replica: &Replica, resource: &Resource| {
        let call = Call::new(stream::CACHED, Target::Replica(replica.name.clone()), &open, "client-1").of(resource);
        call.with(Credential::NotNeeded).timeout(PATIENCE)
    };
    let calls: Vec<Call> = resources(STEADY)
        .chain(resources(must))
        .flat_map(|resource| replicas.iter().map(|replica| ask(replica, &resource)).collect::<Vec<_>>())
        .collect();

    lab.phase("steady", "");
    let traffic = lab.traffic_of(RATE_PER_S, calls);
    let steady = lab.now();
    lab.hold_window(held.max(LEAST_STEADY)).await?;
    lab.until_steady(steady).await?;
    let steady = (steady, lab.now());
    for variant in LOSSES.into_iter().filter(|variant| lab.wants(variant)) {
        let what = match variant {
            "refuse" => Some(NetworkFault::Refuse),
            "blackhole" => Some(NetworkFault::Blackhole),
            "slow" => Some(NetworkFault::delay(SLOWER)),
            _ => None,
        };
        let fault = match what {
            Some(what) => Fault::Network { links: lab.links("*", &store), what },
            None => Fault::Fixture {
                name: store.clone(),
                endpoint: String::new(),
                what: FixtureFault::Throttle { per_s: THROTTLED_PER_S },
            },
        };
        rest(&lab).await?;
        lab.phase("inject", variant);
        let away = lab.inject(fault).await?;
        lab.phase("hold", variant);
        let from = lab.now();
        lab.hold_window(held).await?;
        lab.until_comparable(from, &[steady]).await?;
        lab.phase("heal", variant);
        lab.heal(away).await?;
        settle(&lab, variant).await?;
    }
    lab.phase("end", "");
    traffic.stop().await;
    if !lab.wants(UPSTREAM_AWAY) {
        return Ok(());
    }

    lab.phase("steady", UPSTREAM_AWAY);
    let sweep = || async {
        for resource in resources(must) {
            join_all(replicas.iter().map(|replica| lab.call(ask(replica, &resource)))).await;
        }
    };
    sweep().await;
    lab.phase("inject", UPSTREAM_AWAY);
    let upstream = lab.sites().iter().find(|known| known.name == site).map(gatecrash_model::deployment::Site::upstream);
    let upstream = upstream.ok_or_else(|| LabError::Unknown("upstream".to_owned()))?;
    let links = replicas.iter().flat_map(|replica| lab.links(&replica.name, &upstream)).collect();
    let away = lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?;
    lab.hold(EXPIRED).await?;
    lab.phase("hold", UPSTREAM_AWAY);
    sweep().await;
    lab.phase("heal", UPSTREAM_AWAY);
    lab.heal(away).await?;
    settle(&lab, UPSTREAM_AWAY).await?;
    sweep().await;
    lab.hold(Duration::ZERO).await
}
