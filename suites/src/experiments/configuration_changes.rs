//! Versions are published that change two routes at once, under load and while a replica restarts. Read by CFG-04.

use super::canaries::traffic;
use super::facts::{Shown, route, told, watch, watch_all};
use crate::claims::configuration::{ABSENT, GUARDED, OPEN};
use crate::experiment::{Experiment, single};
use futures::FutureExt;
use futures::future::try_join;
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions};
use gatecrash_model::claim::Capability;
use gatecrash_model::history::event::mark;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "configuration-changes",
    story: "versions that add a guarded route and change the policy of another are published under load, one while a replica restarts",
    needs: &[Capability::ControlPlane, Capability::ReplicaFaults],
    expected: |deployment, scale, _| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 6);
        (STEADY + polls).mul_f64(scale) + Duration::from_secs(6)
    },
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(20);
/// How long a change is waited for: what CFG-04 allows, and more, so that a late one is seen to be late.
const PATIENCE: Duration = Duration::from_secs(40);
/// What it is enough for.
const WITHIN: Duration = Duration::from_secs(30);
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
        watch_all(&lab, &replicas, &facts, patience(&lab)).await?;
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
            watch(&lab, restarted, &facts, patience(&lab)).await
        };
        try_join(again, watch_all(&lab, others, &facts, patience(&lab))).await?;
    }
    lab.phase("settle", "");
    lab.hold(Duration::from_millis(300)).await?;
    load.stop().await;
    Ok(())
}

/// Publishes a change of two routes in one version: a new guarded route comes, and the coupled one turns its policy round.
async fn publish(lab: &Lab, change: u32) -> Result<Vec<Shown>, LabError> {
    let added = format!("added-{change}");
    let (old, new) = match change {
        1 => (ABSENT, OPEN),
        even if even % 2 == 0 => (OPEN, GUARDED),
        _ => (GUARDED, OPEN),
    };
    told(lab, &added, ABSENT, GUARDED);
    told(lab, COUPLED, old, new);
    lab.publish(|configuration| {
        configuration.routes.retain(|route| route.name != COUPLED);
        configuration.routes.extend([route(COUPLED, new), route(&added, GUARDED)]);
    })
    .await?;
    Ok(vec![Shown::by(&added, GUARDED), Shown::by(COUPLED, new)])
}

fn patience(lab: &Lab) -> Duration {
    lab.stretched(PATIENCE, "within", WITHIN)
}
