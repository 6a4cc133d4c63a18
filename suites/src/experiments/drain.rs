//! A replica is asked to end while it is used in every way: requests in flight that take long, new connections, kept ones, and
//! others through the ingress. Read by DRN-01.

use super::canaries::plain;
use super::rounds::cluster;
use crate::claims::draining::{DRAIN, FRESH, IN_FLIGHT, INGRESS, KEEP_ALIVE};
use crate::experiment::{Experiment, single};
use futures::FutureExt;
use futures::future::{join, join_all, join3};
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target, TrafficSpec};
use gatecrash_model::claim::Capability;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: DRAIN,
    story: "a replica gets SIGTERM while requests are in flight and new and kept connections are used; it starts again; and another one",
    needs: &[Capability::ReplicaFaults],
    expected: |_, scale, _| Duration::from_secs(5 + 30).mul_f64(scale) + Duration::from_secs(5),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// How many SIGTERMs there are.
const STOPS: u32 = 2;
/// How many more, at most, because the harness was late while it waited for readiness to turn false.
const REPEATED: u32 = 2;
/// Readiness must be false so soon (DRN-01, `unready`, and the looks of the harness): the shortest window of the story.
const UNREADY: Duration = Duration::from_millis(1_000);
const LOOK: Duration = Duration::from_millis(100);
/// Requests in flight take 1 s, 2 s and so on up to this: Flex gives an upstream 15 s.
const LONGEST_S: u32 = 12;
/// How long a process is waited for: what DRN-01 allows (`stop`), and more, so that a late end is seen to be late.
const PATIENCE: Duration = Duration::from_secs(35);
const STOP: Duration = Duration::from_secs(30);
/// Requests are in flight for so long when SIGTERM comes.
const UNDER_WAY: Duration = Duration::from_millis(60);
/// Pause between two requests of one client.
const EVERY: Duration = Duration::from_millis(15);
/// Requests a second through the ingress.
const INGRESS_PER_S: f64 = 40.0;
/// How long a request may take that is not slow on purpose: whether it is lost is what counts, not when it is answered.
const WITHIN: Duration = Duration::from_secs(5);
/// Clients with a kept connection.
const KEPT: usize = 3;

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let (site, replicas) = cluster(&lab);
    let others = lab.traffic(TrafficSpec {
        stream: INGRESS.to_owned(),
        targets: vec![(Target::Ingress(site), 1)],
        route: route.clone(),
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: INGRESS_PER_S,
        timeout: Some(WITHIN),
    });
    lab.phase("steady", "");
    lab.hold(lab.scaled(Duration::from_secs(5))).await?;
    let mut left = STOPS;
    let mut repeats = REPEATED;
    for replica in replicas.iter().cycle() {
        if left == 0 {
            break;
        }
        left -= 1;
        lab.phase("inject", &replica.name);
        let from = lab.now();
        let over = AtomicBool::new(false);
        let (ended, (), ()) = join3(
            async {
                let ended = end(&lab, &route, replica).await;
                over.store(true, Ordering::Relaxed);
                ended
            },
            fresh(&lab, &route, replica, &over),
            kept(&lab, &route, replica, &over),
        )
        .await;
        ended?;
        if repeats > 0 && lab.must_repeat(from, lab.scaled(UNREADY) + LOOK, &replica.name) {
            repeats -= 1;
            left += 1;
        }
        lab.phase("heal", &replica.name);
        lab.restart(&replica.name, Disk::Keep).await?;
        lab.wait_ready(&replica.name, lab.ready_within()).await?;
        lab.wait_rotation().await?;
        lab.phase("settle", &replica.name);
        lab.hold(lab.scaled(Duration::from_secs(2))).await?;
    }
    others.stop().await;
    Ok(())
}

/// SIGTERM while requests are in flight; ends when they and the process have.
async fn end(lab: &Lab, route: &str, replica: &Replica) -> Result<(), LabError> {
    let targets = [Target::Replica(replica.name.clone()), Target::Ingress(replica.site.clone())];
    let calls = (1..=LONGEST_S).flat_map(|seconds| targets.iter().map(move |target| (seconds, target.clone())));
    let in_flight = join_all(calls.map(|(seconds, target)| {
        let delay = lab.scaled(Duration::from_secs(u64::from(seconds)));
        let call = Call::new(IN_FLIGHT, target, route, &format!("client-{}", seconds % 5 + 1));
        lab.call(
            call.answered_after(delay)
                .timeout(delay + lab.stretched(PATIENCE, "stop", STOP).max(Duration::from_secs(2))),
        )
    }));
    let stopped = async {
        lab.hold(UNDER_WAY).await?;
        lab.terminate(&replica.name).await?;
        lab.phase("hold", &replica.name);
        if lab.wait_gone(&replica.name, lab.stretched(PATIENCE, "stop", STOP)).await?.is_none() {
            lab.note(format!("`{}` does not end: it is killed", replica.name));
            lab.kill(&replica.name).await?;
        }
        Ok(())
    };
    join(in_flight, stopped).await.1
}

/// One connection after the other to the replica that ends, until `over`.
async fn fresh(lab: &Lab, route: &str, replica: &Replica, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let call = Call::new(FRESH, Target::Replica(replica.name.clone()), route, "client-1");
        lab.call(call.closing().timeout(Duration::from_secs(1))).await;
        if lab.hold(EVERY).await.is_err() {
            return;
        }
    }
}

/// Clients that keep their connections to the replica that ends, until `over`.
async fn kept(lab: &Lab, route: &str, replica: &Replica, over: &AtomicBool) {
    let clients = (1..=KEPT).map(|number| async move {
        while !over.load(Ordering::Relaxed) {
            let client = format!("client-{number}");
            let call = Call::new(KEEP_ALIVE, Target::Replica(replica.name.clone()), route, &client);
            lab.call_told(call.timeout(Duration::from_secs(1))).await;
            if lab.hold(EVERY).await.is_err() {
                return;
            }
        }
    });
    join_all(clients).await;
}
