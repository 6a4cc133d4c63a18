//! Requests through each site's ingress, each on a connection of its own, then over connections that stay. Read by BAL-01.

use crate::claims::balance::{KEPT, NEW};
use crate::experiment::{Experiment, single};
use crate::experiments::canaries::plain;
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Site;
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "balance",
    story: "3,000 requests through the ingresses on new connections, then 3,000 over 50 connections that stay",
    needs: &[Capability::TwoReplicas],
    expected: |_, _, _| ROUND * (2 * ROUNDS) + Duration::from_secs(4),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// Requests at once at all sites together, and so the connections that stay.
const AT_ONCE: u32 = 50;
/// Rounds of requests in each way. Counts and rates never scale.
const ROUNDS: u32 = 60;
/// From one round to the next, at least.
const ROUND: Duration = Duration::from_millis(80);
/// How long a request may take: long enough that a busy machine loses none.
const PATIENCE: Duration = Duration::from_secs(5);

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    // New connections first: nothing is open yet that one of them could be sent on.
    for way in [NEW, KEPT] {
        lab.phase("hold", way);
        let sites = u32::try_from(lab.sites().len()).unwrap_or(1).max(1);
        try_join_all(lab.sites().iter().map(|site| ask(&lab, site, &route, way, AT_ONCE.div_ceil(sites)))).await?;
    }
    lab.phase("settle", "");
    lab.hold(Duration::from_millis(200)).await
}

/// Asks a site's ingress so many times at once, round by round.
async fn ask(lab: &Lab, site: &Site, route: &str, way: &str, at_once: u32) -> Result<(), LabError> {
    for _ in 0..ROUNDS {
        let began = lab.now();
        let calls = (1..=at_once).map(|number| {
            let target = Target::Ingress(site.name.clone());
            let call = Call::new(stream::TRAFFIC, target, route, &format!("client-{}", 1 + number % 15));
            let call = call.timeout(PATIENCE);
            lab.call(if way == NEW { call.closing() } else { call })
        });
        join_all(calls).await;
        let took = Duration::from_nanos(lab.now().saturating_sub(began));
        lab.hold(ROUND.saturating_sub(took)).await?;
    }
    Ok(())
}
