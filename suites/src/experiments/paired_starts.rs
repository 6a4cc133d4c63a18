//! Two replicas start in turns, one from what it kept and one from the control plane, which is some way off, then far
//! off. Read by CFG-03.

use crate::claims::configuration::{LOCAL, PAIR_LATENCY, REMOTE, START_KIND};
use crate::experiment::{Experiment, single};
use crate::experiments::canaries::plain;
use futures::FutureExt;
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use gatecrash_model::profile::Scalar;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "paired-starts",
    story: "two replicas start 15 times each in turns, one with a kept configuration, one that downloads it over a slow link; again over a slower one",
    needs: &[
        Capability::ControlPlane,
        Capability::ConfigurationChoice,
        Capability::ReplicaFaults,
        Capability::NewReplicas,
        Capability::NetworkFaults,
    ],
    expected: |_, scale, _| {
        let start =
            |(_, latency): (&str, Duration)| Duration::from_millis(40) + latency.mul_f64(scale).max(LEAST_LATENCY);
        Duration::from_secs(1) + LATENCIES.into_iter().map(start).sum::<Duration>() * PAIRS
    },
    options: |_| LabOptions { quiet: true, ..LabOptions::default() },
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// Starts of each kind.
const PAIRS: u32 = 15;
/// Latencies of the control plane.
const LATENCIES: [(&str, Duration); 2] = [("near", Duration::from_millis(100)), ("far", Duration::from_secs(1))];
/// Less would be lost among the differences between two starts of a process.
const LEAST_LATENCY: Duration = Duration::from_millis(50);
/// Between two canaries.
const EVERY: Duration = Duration::from_millis(5);

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let site = lab.sites().first().map(|site| site.name.clone()).unwrap_or_default();

    lab.phase("steady", "");
    let local = lab.add_replica(&site, BTreeMap::new()).await?;
    let none = BTreeMap::from([("keepConfiguration".to_owned(), Scalar::Text("none".to_owned()))]);
    let remote = lab.add_replica(&site, none).await?;
    for replica in [&local, &remote] {
        lab.wait_ready(&replica.name, lab.ready_within()).await?;
    }
    // What is kept is written in the background.
    lab.hold(Duration::from_millis(500)).await?;

    for (variant, latency) in LATENCIES {
        lab.phase("inject", variant);
        let latency = lab.scaled(latency).max(LEAST_LATENCY);
        lab.mark(PAIR_LATENCY, variant, i64::try_from(latency.as_micros()).unwrap_or(i64::MAX));
        let what = NetworkFault::delay(latency);
        let far = lab.inject(Fault::Network { links: lab.links("*", CONTROL_PLANE), what }).await?;
        lab.phase("hold", variant);
        for pair in 0..PAIRS {
            // Who is first changes from pair to pair: what grows over time hits both.
            let mut kinds = [(&local, LOCAL), (&remote, REMOTE)];
            if pair % 2 == 1 {
                kinds.reverse();
            }
            for (replica, kind) in kinds {
                once(&lab, &route, replica, kind).await?;
            }
        }
        lab.phase("heal", variant);
        lab.heal(far).await?;
    }
    Ok(())
}

/// One start, with canaries from its beginning to its first answer.
async fn once(lab: &Lab, route: &str, replica: &Replica, kind: i64) -> Result<(), LabError> {
    lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
    lab.kill(&replica.name).await?;
    lab.mark(START_KIND, &replica.name, kind);
    lab.restart(&replica.name, Disk::Keep).await?;
    let began = lab.now();
    while Duration::from_nanos(lab.now().saturating_sub(began)) < lab.ready_within() {
        let call = Call::new(stream::CANARY, Target::Replica(replica.name.clone()), route, "client-1");
        if lab.call(call.timeout(Duration::from_secs(1))).await.answer.is_success() {
            return Ok(());
        }
        lab.hold(EVERY).await?;
    }
    Ok(())
}
