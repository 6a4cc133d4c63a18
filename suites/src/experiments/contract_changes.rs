//! Contracts are added and removed while everything works; then the control plane is away, and those who
//! have a contract must not notice. Read by CON-04, and by CON-03 for removed clients.

use super::facts::patience;
use crate::claims::contracts::CONTRACT_CHANGE;
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Target, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy};
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::operation::{Credential, stream};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "contract-changes",
    story: "contracts are added and removed in steady state; then the control plane is cut off while valid clients go on",
    needs: &[Capability::Contracts, Capability::ControlPlane, Capability::NetworkFaults],
    expected: |deployment, scale, demands| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 6);
        let outage = demands.stretched(OUTAGE, "outage", ASKED, scale);
        outage + (polls + Duration::from_secs(15)).mul_f64(scale) + Duration::from_secs(4)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long the control plane is away: what CON-04 asks for by default, and a little more.
const ASKED: Duration = Duration::from_secs(300);
const OUTAGE: Duration = Duration::from_secs(305);
/// Clients whose contracts come and go.
const CLIENTS: [&str; 2] = ["late-1", "late-2"];
/// Uses of a changing client a second at each replica.
const POLLS_PER_S: f64 = 20.0;
/// Rounds of uses after all replicas gave the new answer.
const ROUNDS_AFTER: u32 = 10;
/// Requests a second of valid clients during the outage, over all replicas.
const VALID_PER_S: f64 = 20.0;

/// Step: contracts come and go while everything is there.
const CHANGES: &str = "changes";
/// Step: the control plane is away.
const AWAY: &str = "outage";

fn steps(_: &Deployment) -> Vec<String> {
    named([CHANGES, AWAY])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::ClientId], &[Policy::Quota, Policy::Jwt])?;

    lab.phase("steady", "");
    for client in CLIENTS.into_iter().filter(|_| lab.wants(CHANGES)) {
        // Nobody knows this client yet.
        ask_all(&lab, &route, client, Credential::UnknownClient).await;
        lab.phase("hold", "added");
        lab.add_contract(client).await?;
        until_all(&lab, &route, client, Credential::Valid).await?;
        lab.phase("hold", "removed");
        lab.remove_contract(client).await?;
        until_all(&lab, &route, client, Credential::RemovedClient).await?;
    }

    if lab.wants(AWAY) {
        outage(&lab, &route).await?;
    }

    // The removed stay out once the control plane is back.
    lab.phase("final-reads", "");
    for client in CLIENTS {
        ask_all(&lab, &route, client, Credential::RemovedClient).await;
    }
    Ok(())
}

/// Valid clients go on while the control plane is away, and when it is back.
async fn outage(lab: &Lab, route: &str) -> Result<(), LabError> {
    let targets = lab.replicas().into_iter().map(|replica| (Target::Replica(replica.name), 1)).collect();
    let valid = lab.traffic(TrafficSpec {
        stream: stream::CONTRACT.to_owned(),
        targets,
        route: route.to_owned(),
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: VALID_PER_S,
        timeout: None,
    });
    lab.phase("inject", AWAY);
    let away = lab.inject(Fault::Network { links: lab.links("*", CONTROL_PLANE), what: NetworkFault::Refuse }).await?;
    lab.phase("hold", AWAY);
    lab.hold(lab.stretched(OUTAGE, "outage", ASKED)).await?;

    lab.phase("heal", AWAY);
    lab.heal(away).await?;
    lab.phase("settle", "");
    lab.hold(lab.scaled(Duration::from_secs(5))).await?;
    valid.stop().await;
    Ok(())
}

/// Asks for a client at every replica once; how many answered 2xx, and how many were asked.
async fn ask_all(lab: &Lab, route: &str, client: &str, credential: Credential) -> (usize, usize) {
    let replicas = lab.replicas();
    let asked = replicas.iter().map(|replica| {
        let call = Call::new(CONTRACT_CHANGE, Target::Replica(replica.name.clone()), route, client).with(credential);
        lab.call(call.timeout(Duration::from_secs(1)))
    });
    let accepted = join_all(asked).await.iter().filter(|outcome| outcome.answer.is_success()).count();
    (accepted, replicas.len())
}

/// Asks until every replica gives the answer that the change is to bring, and a few rounds more; gives up
/// after more time than any claim allows.
async fn until_all(lab: &Lab, route: &str, client: &str, credential: Credential) -> Result<(), LabError> {
    let (began, patience) = (lab.now(), patience(lab));
    let mut rounds = 0;
    while rounds < ROUNDS_AFTER && Duration::from_nanos(lab.now().saturating_sub(began)) < patience {
        let (accepted, all) = ask_all(lab, route, client, credential).await;
        let wanted = if credential == Credential::Valid { all } else { 0 };
        rounds = if accepted == wanted { rounds + 1 } else { 0 };
        lab.hold(Duration::from_secs_f64(1.0 / POLLS_PER_S)).await?;
    }
    Ok(())
}
