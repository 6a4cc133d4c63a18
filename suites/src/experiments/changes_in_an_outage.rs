//! Changes are published while the control plane cannot be reached, while its links flap, and it is restored from an older copy. Do they
//! all arrive afterwards? Read by CFG-05.

use super::canaries::traffic;
use super::facts::{Shown, patience, route, told, watch_all};
use crate::claims::configuration::{ABSENT, GUARDED, OPEN};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy};
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::operation::{Credential, stream};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "changes-in-an-outage",
    story: "routes come, change and go while the control plane is away, while its links flap, and when it is restored from an older copy",
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    expected: |deployment, scale, _| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 16);
        (OUTAGE + FLAP * 2 * FLAPS + polls).mul_f64(scale) + Duration::from_secs(8)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long the control plane is away, and how many versions are published meanwhile; a contract is removed besides.
const OUTAGE: Duration = Duration::from_secs(60);
/// How long links are away and there again, and how often.
const FLAP: Duration = Duration::from_secs(5);
const FLAPS: u32 = 4;
/// Whose contract is removed while the control plane is away.
const REMOVED: &str = "late-1";

/// What a version does to one route: its name, its state before and after.
type Change = (&'static str, u16, u16);

/// What is there before.
const BEFORE: &[Change] = &[
    ("flips-1", ABSENT, OPEN),
    ("flips-2", ABSENT, GUARDED),
    ("flips-3", ABSENT, OPEN),
    ("deleted-1", ABSENT, OPEN),
    ("deleted-2", ABSENT, GUARDED),
    ("deleted-3", ABSENT, OPEN),
];

/// What is published in the outage, a version each.
const AWAY: &[Change] = &[
    ("created-1", ABSENT, GUARDED),
    ("flips-1", OPEN, GUARDED),
    ("deleted-1", OPEN, ABSENT),
    ("created-2", ABSENT, OPEN),
    ("flips-2", GUARDED, OPEN),
    ("deleted-2", GUARDED, ABSENT),
    ("created-3", ABSENT, GUARDED),
    ("flips-3", OPEN, GUARDED),
    ("deleted-3", OPEN, ABSENT),
];

/// What is published while links flap, a version each time they are away.
const FLAPPING: [&[Change]; FLAPS as usize] = [
    &[("flapped-1", ABSENT, GUARDED)],
    &[("flapped-2", ABSENT, OPEN), ("created-2", OPEN, GUARDED)],
    &[("flapped-1", GUARDED, ABSENT)],
    &[("flapped-3", ABSENT, GUARDED), ("flapped-2", OPEN, GUARDED)],
];

/// What is published after the copy was made that the control plane is restored from.
const LOST: &[Change] = &[("lost", ABSENT, OPEN), ("flips-2", OPEN, GUARDED)];
/// What is published after that.
const AFTERWARDS: &[Change] = &[("afterwards", ABSENT, GUARDED), ("created-1", GUARDED, ABSENT)];

/// The control plane is away for long; its links flap; it is restored from an older copy.
const OUTAGE_STEP: &str = "outage";
const FLAPPING_STEP: &str = "flapping";
const RESTORED_STEP: &str = "restored";

fn steps(_: &Deployment) -> Vec<String> {
    named([OUTAGE_STEP, FLAPPING_STEP, RESTORED_STEP])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let replicas = lab.replicas();
    let contract = lab.route(&[Policy::ClientId], &[Policy::Quota, Policy::Jwt]).ok();
    let contract = contract.filter(|_| lab.has(Capability::Contracts));
    lab.phase("steady", "");
    let load = traffic(&lab, &replicas, 50.0)?;
    publish(&lab, BEFORE).await?;
    watch_all(&lab, &replicas, &shown(BEFORE), patience(&lab)).await?;
    if let Some(contract) = &contract {
        lab.add_contract(REMOVED).await?;
        until_valid(&lab, contract).await?;
    }

    if lab.wants(OUTAGE_STEP) {
        outage(&lab, &replicas, contract.as_deref()).await?;
    } else {
        // The other steps change what this one would have brought.
        publish(&lab, AWAY).await?;
        watch_all(&lab, &replicas, &shown(AWAY), patience(&lab)).await?;
    }
    if lab.wants(FLAPPING_STEP) {
        flapping(&lab, &replicas).await?;
    }
    if lab.wants(RESTORED_STEP) {
        restored(&lab, &replicas).await?;
    }
    lab.phase("end", "");
    load.stop().await;
    Ok(())
}

/// The control plane is away while a version comes after the other, and a contract goes (on the route `contract`).
async fn outage(lab: &Lab, replicas: &[Replica], contract: Option<&str>) -> Result<(), LabError> {
    lab.phase("inject", OUTAGE_STEP);
    let away = lab.inject(links(lab, NetworkFault::Refuse)).await?;
    lab.phase("hold", OUTAGE_STEP);
    let turns = u32::try_from(AWAY.len() + 2).unwrap_or(u32::MAX);
    for change in AWAY {
        lab.hold(lab.scaled(OUTAGE) / turns).await?;
        publish(lab, std::slice::from_ref(change)).await?;
    }
    lab.hold(lab.scaled(OUTAGE) / turns).await?;
    let mut facts = shown(AWAY);
    if let Some(contract) = contract {
        lab.remove_contract(REMOVED).await?;
        facts.push(Shown::removed(contract, REMOVED));
    }
    lab.hold(lab.scaled(OUTAGE) / turns).await?;
    lab.phase("heal", OUTAGE_STEP);
    lab.heal(away).await?;
    lab.phase("settle", OUTAGE_STEP);
    watch_all(lab, replicas, &facts, patience(lab)).await
}

/// The way to the control plane comes and goes, and a version comes each time that it is away.
async fn flapping(lab: &Lab, replicas: &[Replica]) -> Result<(), LabError> {
    for changes in FLAPPING {
        lab.phase("inject", FLAPPING_STEP);
        let away = lab.inject(links(lab, NetworkFault::Blackhole)).await?;
        lab.phase("hold", FLAPPING_STEP);
        publish(lab, changes).await?;
        lab.hold(lab.scaled(FLAP)).await?;
        lab.phase("heal", FLAPPING_STEP);
        lab.heal(away).await?;
        if changes != FLAPPING[FLAPPING.len() - 1] {
            lab.hold(lab.scaled(FLAP)).await?;
        }
    }
    lab.phase("settle", FLAPPING_STEP);
    watch_all(lab, replicas, &shown(&FLAPPING.concat()), patience(lab)).await
}

/// The control plane is restored from a copy that lacks the last version; then another one comes.
async fn restored(lab: &Lab, replicas: &[Replica]) -> Result<(), LabError> {
    lab.phase("steady", RESTORED_STEP);
    let copy = publish(lab, &[]).await?;
    publish(lab, LOST).await?;
    watch_all(lab, replicas, &shown(LOST), patience(lab)).await?;
    lab.phase("inject", RESTORED_STEP);
    let away = lab.inject(links(lab, NetworkFault::Refuse)).await?;
    let undone: Vec<Change> = LOST.iter().map(|(name, old, new)| (*name, *new, *old)).collect();
    tell(lab, &undone);
    lab.restore_control_plane(copy).await?;
    lab.phase("heal", RESTORED_STEP);
    lab.heal(away).await?;
    lab.phase("settle", RESTORED_STEP);
    watch_all(lab, replicas, &shown(&undone), patience(lab)).await?;
    lab.phase("hold", "afterwards");
    publish(lab, AFTERWARDS).await?;
    lab.phase("settle", "afterwards");
    watch_all(lab, replicas, &shown(AFTERWARDS), patience(lab)).await
}

fn links(lab: &Lab, what: NetworkFault) -> Fault {
    Fault::Network { links: lab.links("*", CONTROL_PLANE), what }
}

fn tell(lab: &Lab, changes: &[Change]) {
    for (name, old, new) in changes {
        told(lab, name, *old, *new);
    }
}

/// Publishes all of `changes` in one version; returns it.
async fn publish(lab: &Lab, changes: &[Change]) -> Result<u32, LabError> {
    tell(lab, changes);
    let publishing = lab.publish(|configuration| {
        configuration.routes.retain(|known| changes.iter().all(|(name, ..)| known.name != *name));
        let there = changes.iter().filter(|(.., new)| *new != ABSENT);
        configuration.routes.extend(there.map(|(name, _, new)| route(name, *new)));
    });
    publishing.await
}

/// What the last of `changes` of each route shows.
fn shown(changes: &[Change]) -> Vec<Shown> {
    let is_last = |at: usize, name: &str| changes.iter().skip(at + 1).all(|(later, ..)| *later != name);
    let last = changes.iter().enumerate().filter(|(at, (name, ..))| is_last(*at, name));
    last.map(|(_, (name, _, new))| Shown::by(name, *new)).collect()
}

/// Asks until every replica lets in the client whose contract will be removed; gives up after more time than any claim allows.
async fn until_valid(lab: &Lab, route: &str) -> Result<(), LabError> {
    let began = lab.now();
    while Duration::from_nanos(lab.now().saturating_sub(began)) < patience(lab) {
        let mut all = true;
        for replica in lab.replicas() {
            let call = Call::new(stream::CONTRACT, Target::Replica(replica.name), route, REMOVED);
            let outcome = lab.call(call.with(Credential::Valid).timeout(Duration::from_secs(1))).await;
            all &= outcome.answer.is_success();
        }
        if all {
            break;
        }
        lab.hold(Duration::from_millis(50)).await?;
    }
    Ok(())
}
