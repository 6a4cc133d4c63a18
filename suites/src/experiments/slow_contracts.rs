//! A replica comes up while the control plane takes long to send contracts: restarted, and brand-new.
//! Does its contract API stay silent until they are there? Read by CON-01.

use crate::experiment::{Experiment, single};
use futures::FutureExt;
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Target, Traffic, TrafficSpec};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy};
use gatecrash_model::fault::{Fault, FixtureFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "slow-contracts",
    story: "the control plane takes 10 s longer to send contracts while one replica restarts and another is brand-new",
    needs: &[Capability::Contracts, Capability::ControlPlane, Capability::ReplicaFaults],
    expected: |_, scale, _| Duration::from_secs(45).mul_f64(scale) + Duration::from_secs(5),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// How much longer contracts take (CON-01, `delay`, and a little more).
const DELAY: Duration = Duration::from_millis(10_500);
/// Requests a second for each API of the replica that starts.
const RATE_PER_S: f64 = 20.0;

async fn story(lab: Lab) -> Result<(), LabError> {
    let contract = lab.route(&[Policy::ClientId], &[Policy::Quota, Policy::Jwt])?;
    let plain = lab.route(&[], &[Policy::ClientId, Policy::Quota])?;
    let replica = lab.replicas().into_iter().next().ok_or_else(|| LabError::Unknown("replica".to_owned()))?;

    lab.phase("steady", "");
    let mut traffic = both(&lab, &contract, &plain, &replica.name);
    lab.hold(lab.scaled(Duration::from_secs(5))).await?;

    lab.phase("inject", "");
    // Ended before the contracts are slow: no download of its last life is still under way when it starts again.
    lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
    lab.kill(&replica.name).await?;
    let delay_ms = u32::try_from(lab.scaled(DELAY).as_millis()).unwrap_or(u32::MAX);
    let slow = lab
        .inject(Fault::Fixture {
            name: CONTROL_PLANE.to_owned(),
            endpoint: "contracts".to_owned(),
            what: FixtureFault::Slow { delay_ms },
        })
        .await?;

    lab.phase("hold", "");
    lab.restart(&replica.name, Disk::Keep).await?;
    if lab.has(Capability::NewReplicas) {
        let new = lab.add_replica(&replica.site, BTreeMap::new()).await?;
        traffic.extend(both(&lab, &contract, &plain, &new.name));
    }
    // Twice the delay: a first download that just missed the list asks once more.
    lab.hold(lab.scaled(DELAY * 2)).await?;

    lab.phase("heal", "");
    lab.heal(slow).await?;

    lab.phase("settle", "");
    lab.hold(lab.scaled(Duration::from_secs(10))).await?;
    for stream in traffic {
        stream.stop().await;
    }
    Ok(())
}

/// Valid clients for the contract API and the plain API of one replica.
fn both(lab: &Lab, contract: &str, plain: &str, replica: &str) -> Vec<Traffic> {
    let of = |stream: &str, route: &str| {
        lab.traffic(TrafficSpec {
            stream: stream.to_owned(),
            targets: vec![(Target::Replica(replica.to_owned()), 1)],
            route: route.to_owned(),
            keys: (1..=5).map(|number| format!("client-{number}")).collect(),
            rate_per_s: RATE_PER_S,
            timeout: None,
        })
    };
    vec![of(stream::CONTRACT, contract), of(stream::CANARY, plain)]
}
