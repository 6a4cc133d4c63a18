//! Traffic and policy canaries for experiments that watch the data path.

use gatecrash_engine::lab::{Call, Lab, LabError, Replica, Target, Traffic, TrafficSpec};
use gatecrash_model::deployment::Policy;
use gatecrash_model::operation::{Credential, stream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Clients of the streams.
fn keys() -> Vec<String> {
    (1..=5).map(|number| format!("client-{number}")).collect()
}

/// Valid requests on the plain route over `replicas`, so many a second in all.
///
/// # Errors
/// If there is no plain route.
pub(super) fn traffic(lab: &Lab, replicas: &[Replica], rate_per_s: f64) -> Result<Traffic, LabError> {
    Ok(on_route(lab, replicas, stream::TRAFFIC, &plain(lab)?, rate_per_s))
}

/// Valid requests of `stream` on `route` over `replicas`, so many a second in all.
pub(super) fn on_route(lab: &Lab, replicas: &[Replica], stream: &str, route: &str, rate_per_s: f64) -> Traffic {
    lab.traffic(TrafficSpec {
        stream: stream.to_owned(),
        targets: replicas.iter().map(|replica| (Target::Replica(replica.name.clone()), 1)).collect(),
        route: route.to_owned(),
        keys: keys(),
        rate_per_s,
        timeout: None,
    })
}

/// The route without contracts and quota, with tokens if there is one.
///
/// # Errors
/// If there is none.
pub(super) fn plain(lab: &Lab) -> Result<String, LabError> {
    lab.route(&[Policy::Jwt], &[Policy::ClientId, Policy::Quota])
        .or_else(|_| lab.route(&[], &[Policy::ClientId, Policy::Quota]))
}

/// Valid canaries on every route without a quota, so many a second each. Flawed ones come with [`missing`], or the
/// lab's own must-refuse stream.
pub(super) fn canaries(lab: &Lab, replicas: &[Replica], rate_per_s: f64) -> Vec<Traffic> {
    let routes = lab.deployment().routes.iter().filter(|route| !route.policies.contains(&Policy::Quota));
    let valid = routes.map(|route| {
        lab.traffic(TrafficSpec {
            stream: stream::CANARY.to_owned(),
            targets: replicas.iter().map(|replica| (Target::Replica(replica.name.clone()), 1)).collect(),
            route: route.name.clone(),
            keys: keys(),
            rate_per_s,
            timeout: None,
        })
    });
    valid.collect()
}

/// Asks every replica for each protected route without any credential, once.
pub(super) async fn missing(lab: &Lab, replicas: &[Replica]) {
    let protected = |route: &&gatecrash_model::deployment::Route| {
        route.policies.contains(&Policy::Jwt) || route.policies.contains(&Policy::ClientId)
    };
    let routes: Vec<String> =
        lab.deployment().routes.iter().filter(protected).map(|route| route.name.clone()).collect();
    for replica in replicas {
        let calls = routes.iter().map(|route| {
            let target = Target::Replica(replica.name.clone());
            let call = Call::new(stream::CANARY, target, route, "client-1").with(Credential::Missing);
            lab.call(call.timeout(Duration::from_secs(1)))
        });
        futures::future::join_all(calls).await;
    }
}

/// Clients of the plain route whose requests take long at the upstream, one after the other, until `over`: how many, how long, and how long more an answer may take.
pub(super) async fn slow(
    lab: &Lab,
    stream: &str,
    site: &str,
    over: &AtomicBool,
    (clients, delay, within): (usize, Duration, Duration),
) {
    let Ok(route) = plain(lab) else { return };
    let route = route.as_str();
    let clients = (0..clients).map(|number| async move {
        while !over.load(Ordering::Relaxed) {
            let key = format!("client-{}", number + 1);
            let call = Call::new(stream, Target::Ingress(site.to_owned()), route, &key);
            lab.call(call.answered_after(delay).timeout(delay + within)).await;
        }
    });
    futures::future::join_all(clients).await;
}
