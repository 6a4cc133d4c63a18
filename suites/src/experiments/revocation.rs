//! How far and how long a revocation reaches: the replicas of its cluster under load and while one
//! restarts, the other sites (also while they are cut off the store that all share), and the other side of a restart. Read
//! by TOK-03, TOK-04 and TOK-06.
//!
//! Where tokens are revoked at the identity provider, only restarts are of interest: each waits until what the provider said before
//! is too old, and other sites, which ask the same provider, are not watched.

use super::introspection::ttl;
use super::token_matrix::one_token;
use super::watches::Watch;
use crate::claims::tokens::{RESTART_ALL, RESTART_ONE, REVOKE, REVOKE_IN_RESTART, SHARED_STORE, WAN_CUT};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Replica, Target, Token, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::fault::{Direction, Fault, NetworkFault};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use gatecrash_model::profile::Scalar;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "revocation",
    story: "tokens are revoked under load and while a replica restarts; then one and all replicas restart; other sites are watched throughout",
    needs: &[Capability::Tokens, Capability::RevocableTokens, Capability::ReplicaFaults],
    expected: |deployment, scale, demands| {
        let at_provider = matches!(deployment.gateway.settings.get("revocation"), Some(Scalar::Text(word)) if word == "introspection");
        let long = deployment.sites.len() > 1 || at_provider;
        let longest = demands.stretched(OBSERVE, "observe", ASKED, scale);
        let longest = longest.max(demands.stretched(CONVERGE, "TOK-04 within", CONVERGED, scale));
        let rounds = demands.stretched(ROUND, "TOK-03 within", ACCEPTED, scale) * 2 + ROUND.mul_f64(scale) * 4;
        let observed = if long { longest.max(rounds) } else { rounds };
        observed + Duration::from_secs(6)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long other sites are watched after the first revocation: what TOK-04 asks for by default, and a little more.
const ASKED: Duration = Duration::from_secs(120);
const OBSERVE: Duration = Duration::from_secs(125);
/// How long the cluster is watched in each round: twice what TOK-03 allows.
const ROUND: Duration = Duration::from_secs(10);
const ACCEPTED: Duration = Duration::from_secs(5);
/// How long a site is watched that was cut off: what TOK-04 allows (`within`), and more.
const CONVERGE: Duration = Duration::from_secs(35);
const CONVERGED: Duration = Duration::from_secs(30);
/// Uses of one token a second at one replica, unscaled; scaled down, time is short and they come faster, up to [`FASTEST_PER_S`].
const POLLS_PER_S: f64 = 10.0;
/// Uses of one token a second at one replica, at most.
const FASTEST_PER_S: f64 = 50.0;
/// Background requests a second.
const LOAD_PER_S: f64 = 20.0;

fn steps(deployment: &Deployment) -> Vec<String> {
    let shared = deployment.sites.len() > 1 && deployment.shares_store();
    let wan = [WAN_CUT].into_iter().filter(|_| shared);
    named([REVOKE_IN_RESTART, RESTART_ONE, RESTART_ALL].into_iter().chain(wan))
}

/// How long other sites are watched at least.
fn converging(lab: &Lab) -> Duration {
    lab.stretched(CONVERGE, "TOK-04 within", CONVERGED)
}

/// How long the cluster is watched after a revocation. (Not after restarts: tokens do not live for ever.)
fn round_of(lab: &Lab) -> Duration {
    lab.stretched(ROUND, "TOK-03 within", ACCEPTED)
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::Quota, Policy::ClientId])?;
    let sites = lab.sites();
    let site = sites.iter().find(|site| site.replicas >= 2).or(sites.first()).map(|site| site.name.clone());
    let site = site.ok_or_else(|| LabError::Unknown("site".to_owned()))?;
    let cluster = lab.replicas_of(&site);
    let at_provider = !lab.has(Capability::TokenRevocation);
    let elsewhere: Vec<Replica> =
        lab.replicas().into_iter().filter(|replica| replica.site != site && !at_provider).collect();
    let round = round_of(&lab) + if at_provider { ttl(&lab) } else { Duration::ZERO };
    let (Some(first), Some(last)) = (cluster.first(), cluster.last()) else { return Err(LabError::Unknown(site)) };
    let fast = Duration::from_secs_f64(1.0 / (POLLS_PER_S / lab.scale()).clamp(POLLS_PER_S, FASTEST_PER_S));
    let slow = Duration::from_secs_f64(1.0 / POLLS_PER_S);

    lab.phase("steady", "");
    let load = lab.traffic(TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets: cluster.iter().map(|replica| (Target::Replica(replica.name.clone()), 1)).collect(),
        route: route.clone(),
        keys: (2..=6).map(|number| format!("client-{number}")).collect(),
        rate_per_s: LOAD_PER_S,
        timeout: None,
    });
    let (Some(at_first), Some(at_last), Some(in_restart)) =
        (token(&lab, first).await?, token(&lab, last).await?, token(&lab, first).await?)
    else {
        lab.note("no token was issued: nothing can be revoked");
        return Ok(());
    };
    let near: Vec<Watch> =
        [&at_first, &at_last, &in_restart].map(|token| Watch::start(&lab, &route, token, &cluster, fast)).into();
    let far = Watch::start(&lab, &route, &at_first, &elsewhere, slow);
    lab.hold(lab.scaled(ROUND)).await?;

    lab.phase("hold", REVOKE);
    let revoked_at = lab.now();
    join_all([revoke(&lab, first, &at_first), revoke(&lab, last, &at_last)]).await;
    // TOK-03 allows half of a round.
    let from = lab.now();
    lab.hold(round).await?;
    if lab.must_repeat(from, round_of(&lab) / 2, "") {
        lab.hold(round).await?;
    }

    if lab.wants(REVOKE_IN_RESTART) {
        // What is revoked while a replica is away must hold there when it is back.
        lab.phase("hold", REVOKE_IN_RESTART);
        lab.mark(mark::NOT_READY_DECLARED, &last.name, 0);
        lab.kill(&last.name).await?;
        revoke(&lab, first, &in_restart).await;
        lab.restart(&last.name, Disk::Keep).await?;
        lab.wait_ready(&last.name, lab.ready_within()).await?;
        lab.hold(round).await?;
    }
    for (variant, ended) in [(RESTART_ONE, std::slice::from_ref(first)), (RESTART_ALL, &cluster)] {
        if lab.wants(variant) {
            lab.phase("hold", variant);
            restart(&lab, ended).await?;
            lab.hold(lab.scaled(ROUND)).await?;
        }
    }
    if lab.wants(WAN_CUT) {
        cut_off(&lab, &route, first, &cluster, &elsewhere, fast).await?;
    }

    lab.phase("settle", "");
    join_all(near.into_iter().map(Watch::stop)).await;
    load.stop().await;
    if !elsewhere.is_empty() {
        let watched = Duration::from_nanos(lab.now().saturating_sub(revoked_at));
        let longest = lab.stretched(OBSERVE, "observe", ASKED).max(converging(&lab));
        lab.hold(longest.saturating_sub(watched)).await?;
    }

    lab.phase("final-reads", "");
    far.stop().await;
    lab.hold(Duration::ZERO).await
}

/// Where sites share a store, the way of the others to it is the WAN: a token is revoked while it is cut.
async fn cut_off(
    lab: &Lab,
    route: &str,
    issuer: &Replica,
    cluster: &[Replica],
    elsewhere: &[Replica],
    every: Duration,
) -> Result<(), LabError> {
    let shared = lab.deployment().shares_store();
    if !shared || elsewhere.is_empty() {
        return Ok(());
    }
    lab.phase("steady", WAN_CUT);
    let Some(revoked) = token(lab, issuer).await? else { return Ok(()) };
    let everywhere: Vec<Replica> = cluster.iter().chain(elsewhere).cloned().collect();
    let watch = Watch::start(lab, route, &revoked, &everywhere, every);
    lab.hold(lab.scaled(ROUND / 2)).await?;
    lab.phase("inject", WAN_CUT);
    let links = elsewhere.iter().flat_map(|replica| lab.links(&replica.name, SHARED_STORE)).collect();
    let what = NetworkFault::Hold { direction: Direction::Both };
    let cut = lab.inject(Fault::Network { links, what }).await?;
    lab.phase("hold", WAN_CUT);
    revoke(lab, issuer, &revoked).await;
    lab.hold(round_of(lab)).await?;
    lab.phase("heal", WAN_CUT);
    lab.heal(cut).await?;
    lab.hold(converging(lab)).await?;
    watch.stop().await;
    Ok(())
}

/// Revokes a token where this deployment does: at a replica, or at the identity provider.
pub(super) async fn revoke(lab: &Lab, replica: &Replica, token: &Token) {
    if lab.has(Capability::TokenRevocation) {
        lab.revoke(stream::TOKEN, &replica.name, token).await;
    } else {
        lab.revoke_at_provider(stream::TOKEN, token).await;
    }
}

async fn token(lab: &Lab, issuer: &Replica) -> Result<Option<Token>, LabError> {
    let material = lab.deployment().site(&issuer.site).map(|site| site.signing.clone()).unwrap_or_default();
    one_token(lab, issuer, &material).await
}

/// Kills all of `replicas`, then starts all of them, then waits until all are ready.
async fn restart(lab: &Lab, replicas: &[Replica]) -> Result<(), LabError> {
    for replica in replicas {
        lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
    }
    try_join_all(replicas.iter().map(|replica| lab.kill(&replica.name))).await?;
    try_join_all(replicas.iter().map(|replica| lab.restart(&replica.name, Disk::Keep))).await?;
    try_join_all(replicas.iter().map(|replica| lab.wait_ready(&replica.name, lab.ready_within()))).await?;
    Ok(())
}
