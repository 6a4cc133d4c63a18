//! Versions are published that change two routes at once, under load and while a replica restarts. Read by CFG-04.

use super::canaries::traffic;
use crate::claims::configuration::{ABSENT, CHANGE, FACT, GUARDED, OPEN, fact};
use crate::experiment::Experiment;
use futures::FutureExt;
use futures::future::{join_all, try_join};
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Policy, Route};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::Credential;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "configuration-changes",
    story: "versions that add a guarded route and change the policy of another are published under load, one while a replica restarts",
    needs: &[Capability::ControlPlane, Capability::ReplicaFaults],
    expected: |deployment, scale| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 6);
        (STEADY + polls).mul_f64(scale) + Duration::from_secs(6)
    },
    options: |_| LabOptions::default(),
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(20);
/// How long a change is waited for: what CFG-04 allows, and more, so that a late one is seen to be late.
const PATIENCE: Duration = Duration::from_secs(40);
/// Time between two looks at a replica: 20 a second.
const LOOK: Duration = Duration::from_millis(50);
/// Looks after a replica gave all new answers, so that one that goes back is seen.
const LOOKS_AFTER: u32 = 12;
/// Changes under load; one more comes while a replica restarts.
const CHANGES: u32 = 4;
/// The route whose policy each change turns round. It is there from the first change on.
const COUPLED: &str = "coupled";

async fn story(lab: Lab) -> Result<(), LabError> {
    let replicas = lab.replicas();
    lab.phase("steady", "");
    let load = traffic(&lab, &replicas, 50.0)?;
    lab.hold_window(lab.scaled(STEADY).max(Duration::from_secs(1))).await?;

    for change in 1..=CHANGES {
        lab.phase("hold", "under-load");
        let facts = publish(&lab, change).await?;
        join_all(replicas.iter().map(|replica| watch(&lab, replica, &facts)))
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
    }

    if let Some((restarted, others)) = replicas.split_last() {
        lab.phase("inject", "restart");
        lab.mark(mark::NOT_READY_DECLARED, &restarted.name, 0);
        lab.kill(&restarted.name).await?;
        let facts = publish(&lab, CHANGES + 1).await?;
        lab.phase("hold", "restart");
        let again = async {
            lab.restart(&restarted.name, Disk::Keep).await?;
            lab.wait_ready(&restarted.name, lab.ready_within()).await?;
            watch(&lab, restarted, &facts).await
        };
        let watched = join_all(others.iter().map(|replica| watch(&lab, replica, &facts)));
        try_join(again, async { watched.await.into_iter().collect::<Result<(), _>>() }).await?;
    }
    lab.phase("settle", "");
    lab.hold(Duration::from_millis(300)).await?;
    load.stop().await;
    Ok(())
}

/// What a change does to a route, and what a request without credentials is answered once it did.
struct Told {
    route: String,
    new: u16,
}

/// Publishes a change of two routes in one version: a new guarded route comes, and the coupled one turns its policy round.
async fn publish(lab: &Lab, change: u32) -> Result<Vec<Told>, LabError> {
    let added = format!("added-{change}");
    let (old, new) = match change {
        1 => (ABSENT, OPEN),
        even if even % 2 == 0 => (OPEN, GUARDED),
        _ => (GUARDED, OPEN),
    };
    lab.mark(FACT, &added, fact(ABSENT, GUARDED));
    lab.mark(FACT, COUPLED, fact(old, new));
    let route = |name: &str, state| Route {
        name: name.to_owned(),
        path: format!("/{name}"),
        policies: if state == GUARDED { vec![Policy::Jwt] } else { Vec::new() },
    };
    lab.publish(|configuration| {
        configuration.routes.retain(|route| route.name != COUPLED);
        configuration.routes.extend([route(COUPLED, new), route(&added, GUARDED)]);
    })
    .await?;
    Ok(vec![Told { route: added, new: GUARDED }, Told { route: COUPLED.to_owned(), new }])
}

/// Looks at a replica until it showed all facts for a while; gives up after more time than the claim allows.
async fn watch(lab: &Lab, replica: &Replica, facts: &[Told]) -> Result<(), LabError> {
    let (began, patience) = (lab.now(), lab.scaled(PATIENCE));
    let mut looks = 0;
    while looks < LOOKS_AFTER && Duration::from_nanos(lab.now().saturating_sub(began)) < patience {
        let asked = facts.iter().map(|told| {
            let call = Call::new(CHANGE, Target::Replica(replica.name.clone()), &told.route, "client-1");
            lab.call(call.with(Credential::NotNeeded).timeout(Duration::from_secs(1)))
        });
        let answers = join_all(asked).await;
        let all = answers.iter().zip(facts).all(|(outcome, told)| outcome.answer.status == told.new);
        looks = if all { looks + 1 } else { 0 };
        lab.hold(LOOK).await?;
    }
    Ok(())
}
