//! One site is lost, and the other is in maintenance at the same time; the other way round; then the lost site returns in the middle.
//! Read by AVL-04.

use super::sites::{Clients, rest, wait_back};
use crate::claims::availability::{FIRST_LOST, RETURNS, SECOND_LOST};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::fault::{Fault, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "double-jeopardy",
    story: "one site is lost while the other's replicas are restarted one by one; the other way round; then the lost site returns in the middle",
    needs: &[Capability::TwoSites, Capability::ReplicaFaults, Capability::NetworkFaults],
    expected: |_, scale, _| HELD.mul_f64(scale).max(LEAST_HELD) * 7 + Duration::from_secs(10),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// The steady state, and how long a site stays lost at least.
const HELD: Duration = Duration::from_secs(30);
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_secs(2);
/// Requests a second at each site.
const RATE_PER_S: f64 = 50.0;

fn steps(_: &Deployment) -> Vec<String> {
    named([FIRST_LOST, SECOND_LOST, RETURNS])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let held = lab.scaled(HELD).max(LEAST_HELD);
    let [first, second, ..] = lab.sites() else { return Err(LabError::Unknown("second site".to_owned())) };
    let (first, second) = (first.name.clone(), second.name.clone());
    lab.phase("steady", "");
    let mut clients = Clients::start(&lab, RATE_PER_S)?;
    lab.hold_window(held).await?;
    for (variant, lost, other) in
        [(FIRST_LOST, &first, &second), (SECOND_LOST, &second, &first), (RETURNS, &first, &second)]
    {
        if !lab.wants(variant) {
            continue;
        }
        rest(&lab).await?;
        lab.phase("inject", variant);
        let from = lab.now();
        let links = lab.links_of_site(lost);
        let mut away = Some(lab.inject(Fault::Network { links, what: NetworkFault::Blackhole }).await?);
        lab.phase("hold", variant);
        clients.fail_over(lost, other, from).await?;
        let began = lab.now();
        for (turn, replica) in lab.replicas_of(other).into_iter().enumerate() {
            lab.maintain(&replica).await?;
            if turn == 0
                && variant == RETURNS
                && let Some(away) = away.take()
            {
                lab.heal(away).await?;
                wait_back(&lab, lost).await?;
                clients.send(lost, lost);
            }
        }
        let took = Duration::from_nanos(lab.now().saturating_sub(began));
        lab.hold(held.saturating_sub(took)).await?;
        lab.phase("heal", variant);
        if let Some(away) = away.take() {
            lab.heal(away).await?;
            wait_back(&lab, lost).await?;
            clients.send(lost, lost);
        }
        lab.phase("settle", variant);
        lab.hold(held / 2).await?;
    }
    lab.phase("end", "");
    clients.stop().await;
    Ok(())
}
