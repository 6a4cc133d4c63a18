//! Versions are published over an ever slower management link, up to the timeout of its ingress, over an unsteady and a
//! narrow one, beyond the timeout, after the latency dropped, and around the edge. Read by LAT-01 and LAT-02.

use crate::claims::latency::{BEYOND, FETCHED, LATENCY_US, NO_PROBE, REGISTERED, UNSTEADY};
use crate::experiment::{Experiment, named};
use crate::experiments::canaries::canaries;
use futures::FutureExt;
use futures::future::{join_all, try_join};
use gatecrash_engine::lab::{Active, Lab, LabError, LabOptions, Managed};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Direction, Fault, FixtureFault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "management-latency",
    story: "versions are published with management latencies of 0, 1, 5, 15 and 29 s of a 30 s timeout, with jitter, over 64 kB/s, with 31 and 60 s, then with 1 s, and around the edge",
    needs: &[Capability::ControlPlane, Capability::ConfigurationVersion, Capability::NetworkFaults],
    expected: |deployment, scale, _| {
        let plane = deployment.control_plane.as_ref();
        let (timeout, poll) = plane.map_or_else(Default::default, |plane| (plane.ingress_timeout, plane.poll_interval));
        (timeout * 11 + poll * 20).mul_f64(scale) + Duration::from_secs(10)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// Latencies that are tried, in thirtieths of the timeout (seconds of the 30 s that are the default).
const TRIED: [u32; 5] = [0, 1, 5, 15, 29];
/// The unsteady link: half of the timeout, give or take a third of it.
const JITTER: (u32, u32) = (15, 10);
/// The narrow link; a rate, never scaled.
const NARROW_BYTES_PER_S: u64 = 64_000;
/// The edge is looked for until it is known to a sixtieth of the timeout (0.5 s of 30 s).
const EDGE: u32 = 60;
/// Tries to find it: from the whole timeout to a sixtieth are six halvings.
const BISECTIONS: u32 = 6;
/// How long the version may take after the drop (LAT-02, `converge`), and a little more.
const CONVERGE: Duration = Duration::from_secs(60);

/// Step: versions beyond the timeout, and the drop after them.
const BEYOND_STEP: &str = "beyond-the-timeout";
/// Step: the edge is looked for, from what the other steps told of it.
const EDGE_STEP: &str = "edge";

/// The step in which the latency is so many thirtieths of the timeout.
fn latency_step(thirtieths: u32) -> String {
    format!("latency-{thirtieths}")
}

fn steps(_: &Deployment) -> Vec<String> {
    let mut all: Vec<String> = TRIED.into_iter().map(latency_step).collect();
    all.extend(named(UNSTEADY.into_iter().chain([BEYOND_STEP, EDGE_STEP])));
    all
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let plane = lab.deployment().control_plane.clone().ok_or_else(|| LabError::Unknown(CONTROL_PLANE.to_owned()))?;
    let (timeout, poll) = (plane.ingress_timeout, plane.poll_interval);
    lab.phase("steady", "");
    let watched = canaries(&lab, &lab.replicas(), 4.0);
    let (mut good, mut bad) = (Duration::ZERO, timeout * 31 / 30);
    for thirtieths in TRIED.into_iter().filter(|thirtieths| lab.wants(&latency_step(*thirtieths))) {
        let latency = timeout * thirtieths / 30;
        if probe(&lab, "", delay(latency), latency, poll).await? {
            good = latency;
        } else {
            bad = latency;
            break;
        }
    }
    let millis = |thirtieths| u32::try_from((timeout * thirtieths / 30).as_millis()).unwrap_or(u32::MAX);
    let jitter = NetworkFault::Delay { delay_ms: millis(JITTER.0), jitter_ms: millis(JITTER.1) };
    let narrow = NetworkFault::Bandwidth { bytes_per_s: NARROW_BYTES_PER_S, direction: Direction::Both };
    let [unsteady, thin] = UNSTEADY;
    if lab.wants(unsteady) {
        probe(&lab, unsteady, Some(jitter), timeout * (JITTER.0 + JITTER.1) / 30, poll).await?;
    }
    if lab.wants(thin) {
        probe(&lab, thin, Some(narrow), Duration::ZERO, poll).await?;
    }
    if lab.wants(BEYOND_STEP) {
        beyond(&lab, timeout, poll).await?;
    }

    let bisections = if lab.wants(EDGE_STEP) { BISECTIONS } else { 0 };
    for _ in 0..bisections {
        if bad.saturating_sub(good) <= timeout / EDGE + Duration::from_millis(1) {
            break;
        }
        let latency = (good + bad) / 2;
        if probe(&lab, "", delay(latency), latency, poll).await? {
            good = latency;
        } else {
            bad = latency;
        }
    }
    for stream in watched {
        stream.stop().await;
    }
    Ok(())
}

/// Publishes beyond the timeout, by a little and by far, and lets the latency drop.
async fn beyond(lab: &Lab, timeout: Duration, poll: Duration) -> Result<(), LabError> {
    let [little, far] = BEYOND;
    lab.phase("inject", little);
    let late = lab.inject(network(lab, NetworkFault::delay(timeout * 31 / 30))).await?;
    lab.phase("hold", little);
    // A call that was under way may time out first; the next one is certainly about this version.
    published(lab, timeout * 2 + poll * 2).await?;

    // The control plane itself takes as long: between two delays of one link something could get through.
    lab.phase("inject", far);
    let delay_ms = u32::try_from((timeout * 2).as_millis()).unwrap_or(u32::MAX).max(1);
    let what = FixtureFault::Slow { delay_ms };
    let later = lab.inject(Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: String::new(), what }).await?;
    lab.heal(late).await?;
    lab.phase("hold", far);
    let version = published(lab, timeout + poll * 2).await?;

    lab.phase("heal", far);
    let slow = lab.inject(network(lab, NetworkFault::delay(timeout / 30))).await?;
    lab.heal(later).await?;
    lab.phase("settle", "dropped");
    everywhere(lab, version, lab.stretched(CONVERGE, "converge", CONVERGE) + Duration::from_secs(1)).await?;
    lab.hold(Duration::from_millis(500)).await?;
    lab.phase("heal", "dropped");
    lab.heal(slow).await
}

/// Publishes beyond the timeout, and asks what the ingress says meanwhile.
async fn published(lab: &Lab, within: Duration) -> Result<u32, LabError> {
    let version = lab.publish(|_| {}).await?;
    try_join(everywhere(lab, version, within), ask(lab, within)).await?;
    Ok(version)
}

/// Publishes over a link with this fault, which adds up to `latency`; whether every replica got it.
async fn probe(
    lab: &Lab,
    variant: &str,
    what: Option<NetworkFault>,
    latency: Duration,
    poll: Duration,
) -> Result<bool, LabError> {
    lab.phase("inject", "probe");
    let active: Option<Active> = match what {
        Some(what) => Some(lab.inject(network(lab, what)).await?),
        None => None,
    };
    lab.phase("hold", "probe");
    lab.mark(LATENCY_US, variant, i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
    let version = lab.publish(|_| {}).await?;
    // The call under way brings the old version, the next one this; after failures a gateway waits a few intervals.
    let within = latency * 2 + poll * 5 + Duration::from_millis(500);
    let (converged, ()) = try_join(everywhere(lab, version, within), ask(lab, within)).await?;
    lab.mark(LATENCY_US, "", NO_PROBE);
    lab.phase("heal", "probe");
    if let Some(active) = active {
        lab.heal(active).await?;
    }
    Ok(converged)
}

fn delay(latency: Duration) -> Option<NetworkFault> {
    (!latency.is_zero()).then(|| NetworkFault::delay(latency))
}

fn network(lab: &Lab, what: NetworkFault) -> Fault {
    Fault::Network { links: lab.links("*", CONTROL_PLANE), what }
}

/// Fetches and registers at each site as its gateways would, side by side.
async fn ask(lab: &Lab, within: Duration) -> Result<(), LabError> {
    let asked = lab.sites().iter().flat_map(|site| {
        [(FETCHED, Managed::Fetch), (REGISTERED, Managed::Register)]
            .map(|(name, what)| lab.manage(&site.name, name, what, within))
    });
    join_all(asked).await.into_iter().try_for_each(|status| status.map(drop))
}

/// Whether every replica answered with `version` in time.
async fn everywhere(lab: &Lab, version: u32, within: Duration) -> Result<bool, LabError> {
    let replicas = lab.replicas();
    let waits = replicas.iter().map(|replica| lab.wait_version(&replica.name, version, within));
    let all = join_all(waits).await.iter().all(Option::is_some);
    // Says whether the run was interrupted meanwhile.
    lab.hold(Duration::ZERO).await?;
    Ok(all)
}
