//! Requests for the own site and for the next one, at all sites: while the own backend is away for a moment, then while the links between the
//! sites are slow and cut. Read by BAL-03.

use crate::claims::balance::{CUT, HEALED, OWN, REMOTE, SITE_LOCAL, SLOW};
use crate::experiment::{Experiment, named};
use crate::experiments::canaries::{on_route, traffic};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Site;
use gatecrash_model::fault::{Fault, LinkId, NetworkFault};
use gatecrash_model::profile::Scalar;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SITE_LOCAL,
    story: "each site serves its own backend and the next one's; the own one is away for a moment, then the links between the sites are slow, a black hole, and cut",
    needs: &[Capability::RemoteBackend, Capability::TwoSites, Capability::NetworkFaults],
    expected: |_, scale, demands| {
        let stretch = |lasts: Duration, least: Duration| lasts.mul_f64(scale).max(least);
        stretch(OWN_AWAY, LEAST_OWN_AWAY)
            + demands.stretched(RECOVERS, "recovers", RECOVERS, scale) * 2
            + stretch(HELD, LEAST_STEADY)
            + stretch(HELD, LEAST_HELD) * 4
            + Duration::from_secs(6)
    },
    steps,
    options: |_| LabOptions {
        settings: [("remoteBackend".to_owned(), Scalar::Text("on".to_owned()))].into(),
        remote_route: true,
        ..LabOptions::default()
    },
    run: |lab| story(lab).boxed(),
};

/// How long each fault lasts, the steady state, and the look at the end.
const HELD: Duration = Duration::from_secs(15);
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_millis(1500);
/// What everything else is compared with is made of this much.
const LEAST_STEADY: Duration = Duration::from_millis(2500);
/// How long the own backend is away: a few requests of each replica fail.
const OWN_AWAY: Duration = Duration::from_secs(3);
const LEAST_OWN_AWAY: Duration = Duration::from_millis(400);
/// How long a gateway has after a heal, as BAL-03 gives it by default.
const RECOVERS: Duration = Duration::from_secs(5);
/// What a link between sites is slowed by (claims.md section 5); a latency, never scaled.
const DELAY: Duration = Duration::from_millis(200);
/// The shortest window that is judged here (`stall` of BAL-03); a latency, never scaled.
const STALL: Duration = Duration::from_secs(1);
/// Requests a second for the own site, and for the next one, over all replicas.
const LOCAL_PER_S: f64 = 60.0;
const REMOTE_PER_S: f64 = 40.0;

fn steps(_: &Deployment) -> Vec<String> {
    named([SLOW, CUT[0], CUT[1]])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.deployment().remote_route().map(|route| route.name.clone());
    let route = route.ok_or_else(|| LabError::Unknown("route with a remote backend".to_owned()))?;
    let held = lab.scaled(HELD).max(LEAST_HELD);
    let streams =
        [traffic(&lab, &lab.replicas(), LOCAL_PER_S)?, on_route(&lab, &lab.replicas(), REMOTE, &route, REMOTE_PER_S)];

    // First of all, so that whoever leaves its site because of it is seen in everything that follows.
    lab.phase("inject", OWN);
    let own = links(&lab, |_, site| Some(site.upstream()));
    let away = lab.inject(Fault::Network { links: own, what: NetworkFault::Refuse }).await?;
    lab.phase("hold", OWN);
    lab.hold(lab.scaled(OWN_AWAY).max(LEAST_OWN_AWAY)).await?;
    lab.phase("heal", OWN);
    lab.heal(away).await?;
    lab.phase("settle", OWN);
    lab.hold(lab.stretched(RECOVERS, "recovers", RECOVERS)).await?;

    lab.phase("steady", "");
    let steady = lab.now();
    hold(&lab, held.max(LEAST_STEADY)).await?;
    lab.until_steady(steady).await?;
    let steady = (steady, lab.now());
    let faults = [NetworkFault::delay(DELAY), NetworkFault::Blackhole, NetworkFault::Refuse];
    for (variant, what) in [SLOW, CUT[0], CUT[1]].into_iter().zip(faults).filter(|(variant, _)| lab.wants(variant)) {
        lab.phase("inject", variant);
        let between = links(&lab, |lab, site| lab.deployment().next_site(&site.name).map(Site::upstream));
        let active = lab.inject(Fault::Network { links: between, what }).await?;
        lab.phase("hold", variant);
        let from = lab.now();
        hold(&lab, held).await?;
        lab.until_comparable(from, &[steady]).await?;
        lab.phase("heal", variant);
        lab.heal(active).await?;
    }
    lab.phase("settle", HEALED);
    lab.hold(lab.stretched(RECOVERS, "recovers", RECOVERS)).await?;
    lab.phase("hold", HEALED);
    hold(&lab, held).await?;
    lab.phase("end", "");
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// The links from the replicas of each site to the upstream that is asked for.
fn links(lab: &Lab, upstream: impl Fn(&Lab, &Site) -> Option<String>) -> Vec<LinkId> {
    let mut all = Vec::new();
    for site in lab.sites() {
        let Some(upstream) = upstream(lab, site) else { continue };
        for replica in lab.replicas_of(&site.name) {
            all.extend(lab.links(&replica.name, &upstream));
        }
    }
    all
}

/// Lets a stretch pass; again if the harness was later than a tenth of what BAL-03 calls a stall.
async fn hold(lab: &Lab, held: Duration) -> Result<(), LabError> {
    let from = lab.now();
    lab.hold(held).await?;
    if lab.must_repeat(from, STALL, "") { lab.hold(held).await } else { Ok(()) }
}
