//! The control plane is away in five ways while requests and policy canaries go on. Read by CFG-01.

use super::rounds::{Rounds, evenly};
use crate::experiment::{Experiment, named};
use crate::experiments::canaries::{canaries, missing, traffic};
use futures::FutureExt;
use futures::future::try_join;
use gatecrash_engine::lab::{Active, Lab, LabError, LabOptions, Replica};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, FixtureFault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "control-plane-outage",
    story: "the control plane answers 503, refuses, answers garbage, is a black hole and is silent while requests go on",
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    expected: |_, scale, demands| {
        let variant = demands.stretched(VARIANT, "outage", OUTAGE, scale);
        (STEADY + SETTLE).mul_f64(scale) + variant * 5 + Duration::from_secs(8)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(20);
/// What CFG-01 asks for by default.
const OUTAGE: Duration = Duration::from_secs(60);
/// A fifth of it, and a little more.
const VARIANT: Duration = Duration::from_millis(12_500);
const SETTLE: Duration = Duration::from_secs(20);
/// What everything else is compared with is made of this much.
const LEAST_STEADY: Duration = Duration::from_secs(3);
/// Quotas that one replica is asked for in each variant: enough that it must refuse, however windows are aligned.
const QUOTAS: f64 = 1.6;

/// What the control plane does, in this order: the first comes while replicas still ask often, and the first
/// four follow each other without a gap, so that the outage is a long one for the replicas.
const VARIANTS: [&str; 5] = ["503", "refuse", "garbage", "blackhole", "silent"];

fn steps(_: &Deployment) -> Vec<String> {
    named(VARIANTS)
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let replicas = lab.replicas();
    lab.phase("steady", "");
    let mut streams = vec![traffic(&lab, &replicas, 50.0)?];
    streams.extend(canaries(&lab, &replicas, 4.0));
    let steady = lab.now();
    lab.hold_window(lab.scaled(STEADY).max(LEAST_STEADY)).await?;
    lab.until_steady(steady).await?;
    let steady = (steady, lab.now());

    // Not every gateway counts quotas.
    let mut rounds = Rounds::new(&lab).ok();
    let mut before: Option<Active> = None;
    let variants = VARIANTS.into_iter().enumerate().filter(|(_, variant)| lab.wants(variant));
    for (turn, variant) in variants {
        // A token for it is asked for while the last fault is in place as before: what is asked is not what is judged.
        let key = next_key(&mut rounds).await?;
        if variant == "silent"
            && let Some(before) = before.take()
        {
            // Behind a healed link nobody could tell silence from a black hole.
            lab.phase("heal", "");
            lab.heal(before).await?;
        }
        lab.phase("inject", variant);
        let active = lab.inject(fault(&lab, variant)).await?;
        if let Some(before) = before.replace(active) {
            lab.heal(before).await?;
        }
        lab.phase("hold", variant);
        let (one, from) = (replicas.get(turn % replicas.len().max(1)), lab.now());
        try_join(ask(&lab, &replicas), spend(rounds.as_ref().zip(key.as_deref()), one)).await?;
        if lab.must_repeat(from, lab.stretched(VARIANT, "outage", OUTAGE), "") {
            let key = next_key(&mut rounds).await?;
            try_join(ask(&lab, &replicas), spend(rounds.as_ref().zip(key.as_deref()), one)).await?;
        }
        lab.until_comparable(from, &[steady]).await?;
    }
    lab.phase("heal", "");
    if let Some(before) = before {
        lab.heal(before).await?;
    }
    lab.phase("settle", "");
    lab.hold_window(lab.scaled(SETTLE).max(Duration::from_secs(1))).await?;
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// A fresh key for a quota, where quotas are counted.
async fn next_key(rounds: &mut Option<Rounds>) -> Result<Option<String>, LabError> {
    match rounds {
        Some(rounds) => rounds.next_key().await.map(Some),
        None => Ok(None),
    }
}

/// Asks for protected routes without credentials through one variant.
async fn ask(lab: &Lab, replicas: &[Replica]) -> Result<(), LabError> {
    let began = lab.now();
    while Duration::from_nanos(lab.now().saturating_sub(began)) < lab.stretched(VARIANT, "outage", OUTAGE) {
        missing(lab, replicas).await;
        lab.hold(Duration::from_millis(200)).await?;
    }
    Ok(())
}

/// Asks one replica for more than a whole quota of this key.
async fn spend(round: Option<(&Rounds, &str)>, replica: Option<&Replica>) -> Result<(), LabError> {
    let (Some((rounds, key)), Some(replica)) = (round, replica) else { return Ok(()) };
    rounds.spend_of(key, &evenly(std::slice::from_ref(replica)), QUOTAS * rounds.fillings()).await
}

fn fault(lab: &Lab, variant: &str) -> Fault {
    let fixture = |what| Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: String::new(), what };
    let network = |what| Fault::Network { links: lab.links("*", CONTROL_PLANE), what };
    match variant {
        "503" => fixture(FixtureFault::Unavailable),
        "refuse" => network(NetworkFault::Refuse),
        "garbage" => fixture(FixtureFault::Garbage),
        "blackhole" => network(NetworkFault::Blackhole),
        _ => fixture(FixtureFault::Silent),
    }
}
