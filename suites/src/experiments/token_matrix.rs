//! Which replica accepts whose tokens: every issuer against every acceptor, again with each issuing site
//! down, and again after one site was re-keyed. Read by TOK-01 and TOK-02.

use crate::claims::tokens::{ISSUED, SIGNED};
use crate::experiment::{Experiment, single};
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, stream};
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target, Token};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::fixture::SignRequest;
use gatecrash_model::operation::{Credential, stream as streams};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "token-matrix",
    story: "each replica's tokens at each other one; again with the issuing site down; then one site gets new signing material",
    needs: &[Capability::Tokens, Capability::ReplicaFaults],
    expected: |_, _, _| Duration::from_secs(12),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// Tokens for each ordered pair of replicas, where pairs are few.
const TOKENS_PER_PAIR: usize = 50;
/// Uses of one whole matrix, at most.
const USES_AT_MOST: usize = 3200;
/// How long a replica that was given new material may take until it issues tokens.
const ISSUES_WITHIN: Duration = Duration::from_secs(5);
/// Uses that are under way at the same time.
const AT_ONCE: usize = 8;
/// Who the tokens are for.
const CLIENT: &str = "client-1";
/// Signing material that no site had before.
const NEW_MATERIAL: &str = "rekeyed";

/// A token with where it comes from.
struct Made {
    token: Token,
    /// Replica that issued it, or whose site's material signed it.
    issuer: Replica,
    material: String,
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::Quota, Policy::ClientId])?;
    let replicas = lab.replicas();
    let per_issuer = (USES_AT_MOST / (replicas.len() * replicas.len()).max(1)).clamp(1, TOKENS_PER_PAIR);
    let last = lab.sites().last().map(|site| site.name.clone()).unwrap_or_default();

    lab.phase("steady", "");
    let mut tokens = Vec::new();
    for replica in &replicas {
        tokens.extend(make(&lab, replica, per_issuer, &material(&lab, &replica.site, &last, false)).await?);
    }
    use_all(&lab, &route, tokens.iter(), &replicas, |site| material(&lab, site, &last, false)).await?;

    // The issuer is down: its whole site where there is another, else the replica itself.
    for issuers in issuers_in_turn(&lab) {
        lab.phase("inject", "issuer-down");
        try_join_all(issuers.iter().map(|issuer| lab.kill(&issuer.name))).await?;
        lab.phase("hold", "issuer-down");
        let theirs = tokens.iter().filter(|made| issuers.iter().any(|issuer| issuer.name == made.issuer.name));
        let others: Vec<Replica> = replicas.iter().filter(|other| !issuers.contains(other)).cloned().collect();
        use_all(&lab, &route, theirs, &others, |site| material(&lab, site, &last, false)).await?;
        lab.phase("heal", "issuer-down");
        try_join_all(issuers.iter().map(|issuer| lab.restart(&issuer.name, Disk::Keep))).await?;
        try_join_all(issuers.iter().map(|issuer| lab.wait_ready(&issuer.name, lab.ready_within()))).await?;
    }

    if lab.has(Capability::TokenRekey) {
        lab.phase("inject", "rekey");
        lab.rekey(&last, NEW_MATERIAL).await?;
        lab.phase("hold", "rekeyed");
        for replica in lab.replicas_of(&last) {
            issues(&lab, &replica).await?;
            tokens.extend(make(&lab, &replica, per_issuer, NEW_MATERIAL).await?);
        }
        use_all(&lab, &route, tokens.iter(), &replicas, |site| material(&lab, site, &last, true)).await?;
    }
    lab.phase("settle", "");
    lab.hold(lab.scaled(Duration::from_secs(2))).await
}

/// Who goes down together: a whole site where another one has its signing material, else each replica that has
/// another beside it. Nobody but itself could take the tokens of one that is alone.
fn issuers_in_turn(lab: &Lab) -> Vec<Vec<Replica>> {
    let sites = &lab.deployment().sites;
    let mut turns = Vec::new();
    for site in sites {
        let replicas = lab.replicas_of(&site.name);
        if sites.iter().any(|other| other.name != site.name && other.signing == site.signing) {
            turns.push(replicas);
        } else if replicas.len() > 1 {
            turns.extend(replicas.into_iter().map(|replica| vec![replica]));
        }
    }
    turns
}

/// Name of the signing material that `site` has, `rekeyed` saying whether that of `last` was changed.
fn material(lab: &Lab, site: &str, last: &str, rekeyed: bool) -> String {
    if rekeyed && site == last {
        return NEW_MATERIAL.to_owned();
    }
    lab.deployment().site(site).map(|site| site.signing.clone()).unwrap_or_default()
}

/// Waits until a replica that has just started issues tokens: one that is not in touch with its group yet may be told to issue none. What does not
/// come in time is not there, as the check will see.
async fn issues(lab: &Lab, issuer: &Replica) -> Result<(), LabError> {
    let from = lab.now();
    let passed = || Duration::from_nanos(lab.now().saturating_sub(from));
    while lab.has(Capability::TokenIssue) && passed() < ISSUES_WITHIN {
        if lab.issue(streams::MANAGEMENT, &issuer.name, CLIENT).await.1.is_some() {
            break;
        }
        lab.hold(Duration::from_millis(50)).await?;
    }
    Ok(())
}

/// Tokens of `issuer`, each with the mark that says where it comes from. A replica that refuses to issue gives fewer.
async fn make(lab: &Lab, issuer: &Replica, so_many: usize, material: &str) -> Result<Vec<Made>, LabError> {
    let mut made = Vec::new();
    for _ in 0..so_many {
        if let Some(token) = one_token(lab, issuer, material).await? {
            made.push(Made { token, issuer: issuer.clone(), material: material.to_owned() });
        }
    }
    Ok(made)
}

/// One token of `issuer`: by its own endpoint where the gateway issues tokens, else signed with `material`.
pub(crate) async fn one_token(lab: &Lab, issuer: &Replica, material: &str) -> Result<Option<Token>, LabError> {
    if lab.has(Capability::TokenIssue) {
        let (outcome, token) = lab.issue(streams::TOKEN, &issuer.name, CLIENT).await;
        if let Some(token) = &token {
            lab.mark(ISSUED, token.digest(), i64::from(outcome.op));
        }
        return Ok(token);
    }
    let (client, signing) = (CLIENT.to_owned(), material.to_owned());
    let token = lab.sign(&SignRequest { client, signing, expires_in_s: 3600, ..SignRequest::default() }).await?;
    let site = lab.sites().iter().position(|site| site.name == issuer.site).unwrap_or_default();
    lab.mark(SIGNED, token.digest(), i64::try_from(site).unwrap_or_default());
    Ok(Some(token))
}

/// Uses every token once at every acceptor, a few at a time.
async fn use_all(
    lab: &Lab,
    route: &str,
    tokens: impl Iterator<Item = &Made>,
    acceptors: &[Replica],
    material_of: impl Fn(&str) -> String,
) -> Result<(), LabError> {
    let mut calls = Vec::new();
    for made in tokens {
        for acceptor in acceptors {
            let credential = if made.material == material_of(&acceptor.site) {
                Credential::Valid
            } else {
                Credential::OtherMaterial
            };
            let target = Target::Replica(acceptor.name.clone());
            calls.push(Call::new(streams::TOKEN, target, route, CLIENT).with(credential).token(&made.token));
        }
    }
    stream::iter(calls).for_each_concurrent(AT_ONCE, |call| async { drop(lab.call(call).await) }).await;
    // Nothing to wait for: says whether the run was interrupted meanwhile.
    lab.hold(Duration::ZERO).await
}
