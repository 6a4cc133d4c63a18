//! Requests go on while management is slow, slower than its ingress waits, then away, and while one site is cut off its
//! upstream. Read by LAT-03.

use crate::claims::latency::UPSTREAM_CUT;
use crate::experiment::{Experiment, named};
use crate::experiments::canaries::traffic;
use crate::experiments::settling::{lasts, settle};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "data-path",
    story: "requests go on while management is slow, slower than its timeout, then away; then one site is cut off its upstream",
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    expected: |_, scale, demands| (HELD * 5).mul_f64(scale) + lasts(scale, demands) + Duration::from_secs(8),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long each fault lasts, and the steady state.
const HELD: Duration = Duration::from_secs(20);
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_secs(2);
/// What everything else is compared with is made of this much.
const LEAST_STEADY: Duration = Duration::from_secs(3);
/// The shortest window that is judged here (`stall` of LAT-03); a latency, never scaled.
const STALL: Duration = Duration::from_secs(1);
/// Requests a second over all replicas.
const RATE_PER_S: f64 = 60.0;

/// Management is slow, slower than its ingress waits, and away.
const MANAGEMENT: [&str; 3] = ["delay", "timeout", "blackhole"];
/// One site is cut off its upstream; the others show that it is this site only.
const UPSTREAM: &str = "upstream";

fn steps(deployment: &Deployment) -> Vec<String> {
    named(MANAGEMENT.into_iter().chain((deployment.sites.len() >= 2).then_some(UPSTREAM)))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let plane = lab.deployment().control_plane.clone().ok_or_else(|| LabError::Unknown(CONTROL_PLANE.to_owned()))?;
    let held = lab.scaled(HELD).max(LEAST_HELD);
    lab.phase("steady", "");
    let stream = traffic(&lab, &lab.replicas(), RATE_PER_S)?;
    let steady = lab.now();
    hold(&lab, held.max(LEAST_STEADY)).await?;
    lab.until_steady(steady).await?;
    let steady = (steady, lab.now());

    let slow = NetworkFault::delay(plane.ingress_timeout / 2);
    let slower = NetworkFault::delay(plane.ingress_timeout * 2);
    for (variant, what) in MANAGEMENT.into_iter().zip([slow, slower, NetworkFault::Blackhole]) {
        if !lab.wants(variant) {
            continue;
        }
        lab.phase("inject", variant);
        let active = lab.inject(Fault::Network { links: lab.links("*", CONTROL_PLANE), what }).await?;
        lab.phase("hold", variant);
        compared(&lab, held, steady).await?;
        lab.phase("heal", variant);
        lab.heal(active).await?;
    }

    let cut = lab.sites().first().filter(|_| lab.sites().len() >= 2 && lab.wants(UPSTREAM)).cloned();
    if let Some(site) = cut {
        lab.phase("inject", UPSTREAM);
        let links = lab.links("*", &site.upstream());
        let active = lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?;
        lab.mark(UPSTREAM_CUT, &site.name, 0);
        lab.phase("hold", UPSTREAM);
        compared(&lab, held, steady).await?;
        lab.phase("heal", UPSTREAM);
        lab.heal(active).await?;
    }
    settle(&lab, "").await?;
    stream.stop().await;
    Ok(())
}

/// Lets a stretch pass; again if the harness was later than a tenth of what LAT-03 calls a stall.
async fn hold(lab: &Lab, held: Duration) -> Result<(), LabError> {
    let from = lab.now();
    lab.hold(held).await?;
    if lab.must_repeat(from, STALL, "") { lab.hold(held).await } else { Ok(()) }
}

/// Lets a stretch pass whose latencies are compared with those of the steady one.
async fn compared(lab: &Lab, held: Duration, steady: (u64, u64)) -> Result<(), LabError> {
    let from = lab.now();
    hold(lab, held).await?;
    lab.until_comparable(from, &[steady]).await
}
