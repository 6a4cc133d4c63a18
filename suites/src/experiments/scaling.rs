//! A replica is added to a cluster and taken away again, in one window of a quota, while requests go through the ingress. Read by SCL-03.

use super::canaries::{plain, slow};
use super::quota_restart::lengthen_to;
use super::revocation::revoke;
use super::rounds::{Rounds, cluster, evenly};
use crate::claims::scaling::{ADDED, REMOVED, SCALED, SCALED_REVOKED, SCALED_SLOW, SCALED_TOKEN, SCALING};
use crate::experiment::{Experiment, single};
use futures::FutureExt;
use futures::future::{join, join_all};
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Replica, Target, Token, TrafficSpec, Window};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::operation::stream;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Coming and going takes its time whatever the scale: the window is never shorter than 12 s.
const WINDOW: Window = Window { lasts: Duration::from_secs(60), at_least: Duration::from_secs(12) };

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SCALING,
    story: "in one window of a quota a replica is added and taken away again while requests go through the ingress",
    needs: &[Capability::Quota, Capability::TwoReplicas, Capability::ReplicaFaults, Capability::NewReplicas],
    expected: |_, scale, _| WINDOW.at(scale).mul_f64(0.6) + Duration::from_secs(5),
    steps: single,
    options: |deployment| LabOptions {
        // Without a control plane nobody could lengthen it later: the gateways start with it.
        quota_window: deployment.control_plane.is_none().then_some(WINDOW),
        ..LabOptions::default()
    },
    run: |lab| story(lab).boxed(),
};

/// Requests a second through the ingress.
const PER_S: f64 = 100.0;
/// How long slow requests take, and how many there are at a time.
const SLOW: Duration = Duration::from_secs(8);
const SLOW_CLIENTS: usize = 12;
/// How long a request may take that is not slow on purpose: whether it is lost is what counts.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a replica that was asked to end is waited for.
const PATIENCE: Duration = Duration::from_secs(35);
/// The client whose tokens are used at the new replica, and how often. Tokens are revoked by whom they were given to (RFC 7009 section 2.1).
const CLIENT: &str = "client-1";
const USES: usize = 5;

async fn story(lab: Lab) -> Result<(), LabError> {
    let mut rounds = Rounds::new(&lab)?;
    let (site, replicas) = cluster(&lab);
    lengthen_to(&lab, &mut rounds, &replicas, WINDOW).await?;
    lab.phase("steady", "");
    let tokens = tokens(&lab, &replicas).await?;
    let traffic = lab.traffic(TrafficSpec {
        stream: SCALED.to_owned(),
        targets: vec![(Target::Ingress(site.clone()), 1)],
        route: plain(&lab)?,
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: PER_S,
        timeout: Some(WITHIN),
    });
    let over = AtomicBool::new(false);
    let (scaled, ()) = join(
        async {
            let scaled = async {
                if once(&lab, &mut rounds, &site, &replicas, &tokens).await? {
                    once(&lab, &mut rounds, &site, &replicas, &tokens).await?;
                }
                Ok(())
            }
            .await;
            over.store(true, Ordering::Relaxed);
            scaled
        },
        slow(&lab, SCALED_SLOW, &site, &over, (SLOW_CLIENTS, lab.scaled(SLOW), WITHIN)),
    )
    .await;
    traffic.stop().await;
    scaled
}

/// Tokens from before: one that is good, one that was revoked, and the route that asks for them.
struct Tokens {
    route: Option<String>,
    good: Option<Token>,
    revoked: Option<Token>,
}

async fn tokens(lab: &Lab, replicas: &[Replica]) -> Result<Tokens, LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::ClientId, Policy::Quota]).ok();
    let (Some(first), true) = (replicas.first(), route.is_some()) else {
        return Ok(Tokens { route: None, good: None, revoked: None });
    };
    let (_, good) = lab.issue(stream::TOKEN, &first.name, CLIENT).await;
    let mut revoked = None;
    if lab.has(Capability::RevocableTokens) {
        revoked = lab.issue(stream::TOKEN, &first.name, CLIENT).await.1;
        if let Some(token) = &revoked {
            revoke(lab, first, token).await;
        }
    }
    Ok(Tokens { route, good, revoked })
}

/// One window: spends 40 % of a quota, adds a replica, spends on with it, takes it away, spends on. Whether it must be told again.
async fn once(
    lab: &Lab,
    rounds: &mut Rounds,
    site: &str,
    replicas: &[Replica],
    tokens: &Tokens,
) -> Result<bool, LabError> {
    let short = rounds.window / 15;
    let rate = |quotas: f64| quotas * rounds.quota * rounds.fillings() / short.as_secs_f64();
    let rates = (rate(0.4), rate(0.5), rate(1.0));
    let key = rounds.next_key().await?;
    let from = lab.now();
    rounds.open(&key);
    let few = evenly(replicas);
    rounds.ask_for(&key, &few, rates.0, short).await?;

    lab.phase("inject", "out");
    let new = lab.add_replica(site, BTreeMap::new()).await?;
    lab.wait_ready(&new.name, lab.ready_within()).await?;
    lab.wait_in_rotation(&new, lab.ready_within()).await?;
    lab.mark(ADDED, &new.name, 0);
    lab.phase("hold", "out");
    use_tokens(lab, &new, tokens).await;
    let many: Vec<Replica> = replicas.iter().chain(std::iter::once(&new)).cloned().collect();
    rounds.ask_for(&key, &evenly(&many), rates.1, short).await?;

    lab.phase("inject", "in");
    lab.terminate(&new.name).await?;
    if lab.wait_gone(&new.name, lab.scaled(PATIENCE)).await?.is_none() {
        lab.kill(&new.name).await?;
    }
    lab.remove_replica(&new.name).await?;
    lab.mark(REMOVED, &new.name, 0);
    lab.phase("settle", "");
    rounds.ask_for(&key, &few, rates.2, short).await?;
    Ok(lab.must_repeat_round(from, rounds.window, &key))
}

async fn use_tokens(lab: &Lab, new: &Replica, tokens: &Tokens) {
    let Some(route) = &tokens.route else { return };
    for (stream, token) in [(SCALED_TOKEN, &tokens.good), (SCALED_REVOKED, &tokens.revoked)] {
        let Some(token) = token else { continue };
        let uses = (0..USES).map(|_| {
            let call = Call::new(stream, Target::Replica(new.name.clone()), route, CLIENT);
            lab.call(call.token(token).timeout(WITHIN))
        });
        join_all(uses).await;
    }
}
