//! Versions are published over an ever slower management link, up to the timeout of its ingress, beyond it,
//! and after the latency dropped. Read by LAT-01 and LAT-02.

use crate::claims::latency::{LATENCY_US, NO_PROBE};
use crate::experiment::Experiment;
use crate::experiments::canaries::canaries;
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Active, Lab, LabError, LabOptions};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "management-latency",
    story: "versions are published with management latencies of 0, 1, 5, 15, 29 and 31 s of a 30 s timeout, then of 1 s",
    needs: &[Capability::ControlPlane, Capability::ConfigurationVersion, Capability::NetworkFaults],
    expected: |deployment, scale| {
        let plane = deployment.control_plane.as_ref();
        let (timeout, poll) = plane.map_or_else(Default::default, |plane| (plane.ingress_timeout, plane.poll_interval));
        (timeout * 6 + poll * 10).mul_f64(scale) + Duration::from_secs(8)
    },
    options: |_| LabOptions::default(),
    run: |lab| story(lab).boxed(),
};

/// Latencies that are tried, in thirtieths of the timeout (seconds of the 30 s that are the default).
const TRIED: [u32; 5] = [0, 1, 5, 15, 29];
/// Tries between the largest latency that works and the least that does not.
const BISECTIONS: u32 = 2;
/// How long the version may take after the drop (LAT-02, `converge`), and a little more.
const CONVERGE: Duration = Duration::from_secs(60);

async fn story(lab: Lab) -> Result<(), LabError> {
    let plane = lab.deployment().control_plane.clone().ok_or_else(|| LabError::Unknown(CONTROL_PLANE.to_owned()))?;
    let timeout = plane.ingress_timeout;
    lab.phase("steady", "");
    let watched = canaries(&lab, &lab.replicas(), 4.0);
    let (mut good, mut bad) = (Duration::ZERO, None);
    for thirtieths in TRIED {
        let latency = timeout * thirtieths / 30;
        if probe(&lab, latency, plane.poll_interval).await? {
            good = latency;
        } else {
            bad = Some(latency);
            break;
        }
    }
    for _ in 0..BISECTIONS {
        let Some(least_bad) = bad else { break };
        let latency = (good + least_bad) / 2;
        if probe(&lab, latency, plane.poll_interval).await? {
            good = latency;
        } else {
            bad = Some(latency);
        }
    }
    lab.mark(LATENCY_US, "", NO_PROBE);

    lab.phase("inject", "beyond");
    let beyond = delay(&lab, timeout * 31 / 30).await?;
    lab.phase("hold", "beyond");
    let version = lab.publish(|_| {}).await?;
    // A call that was under way may time out first; the next one is certainly about this version.
    everywhere(&lab, version, timeout * 2 + plane.poll_interval * 2).await;

    lab.phase("heal", "beyond");
    if let Some(beyond) = beyond {
        lab.heal(beyond).await?;
    }
    lab.phase("settle", "dropped");
    let slow = delay(&lab, timeout / 30).await?;
    everywhere(&lab, version, lab.scaled(CONVERGE) + Duration::from_secs(1)).await;
    lab.hold(Duration::from_millis(500)).await?;
    if let Some(slow) = slow {
        lab.heal(slow).await?;
    }
    for stream in watched {
        stream.stop().await;
    }
    Ok(())
}

/// Publishes with this latency; whether every replica got it.
async fn probe(lab: &Lab, latency: Duration, poll: Duration) -> Result<bool, LabError> {
    lab.phase("inject", "probe");
    let active = delay(lab, latency).await?;
    lab.phase("hold", "probe");
    lab.mark(LATENCY_US, "", i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
    let version = lab.publish(|_| {}).await?;
    let converged = everywhere(lab, version, latency * 3 + poll * 3 + Duration::from_secs(2)).await;
    lab.mark(LATENCY_US, "", NO_PROBE);
    lab.phase("heal", "probe");
    if let Some(active) = active {
        lab.heal(active).await?;
    }
    Ok(converged)
}

async fn delay(lab: &Lab, latency: Duration) -> Result<Option<Active>, LabError> {
    if latency.is_zero() {
        return Ok(None);
    }
    let fault = Fault::Network { links: lab.links("*", CONTROL_PLANE), what: NetworkFault::delay(latency) };
    lab.inject(fault).await.map(Some)
}

/// Whether every replica answered with `version` in time.
async fn everywhere(lab: &Lab, version: u32, within: Duration) -> bool {
    let replicas = lab.replicas();
    let waits = replicas.iter().map(|replica| lab.wait_version(&replica.name, version, within));
    join_all(waits).await.iter().all(Option::is_some)
}
