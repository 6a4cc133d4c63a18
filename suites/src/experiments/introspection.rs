//! Tokens are revoked at the identity provider, which gateways ask about each token: under polling of every replica; then gateways
//! cannot reach the provider any more, and hold what it said before: of a token that is revoked meanwhile, of one that expires meanwhile,
//! and nothing at all of those that nobody used before. Read by TOK-05.

use super::settling::{lasts, settle};
use super::watches::Watch;
use crate::claims::tokens::{PROVIDER_AWAY, PROVIDER_REVOKE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Lab, LabError, LabOptions, Replica, Token, Validity, setting};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{IDENTITY, Policy};
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::operation::stream;
use gatecrash_model::profile::Scalar;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "introspection",
    story: "tokens are revoked at the identity provider that gateways ask; then it is away while one is revoked, one expires and others are new",
    needs: &[Capability::Tokens, Capability::TokenIntrospection, Capability::NetworkFaults],
    expected: |deployment, scale, demands| {
        let said = deployment.gateway.settings.get(TTL);
        let seconds = if let Some(Scalar::Number(seconds)) = said { *seconds } else { TTL_S };
        Duration::try_from_secs_f64(seconds * 3.2 * scale).unwrap_or_default()
            + lasts(scale, demands)
            + Duration::from_secs(8)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// The setting that says for how many seconds what the provider said holds, before scaling.
const TTL: &str = "introspectionTtlS";
/// What it is where nobody says it (TOK-05, `ttl`).
const TTL_S: f64 = 30.0;
/// Who the tokens are for.
const CLIENT: &str = "client-1";
/// Uses of one token a second at one replica, unscaled; scaled down, time is short and they come faster, up to [`FASTEST_PER_S`].
const POLLS_PER_S: f64 = 10.0;
/// Uses of one token a second at one replica, at most.
const FASTEST_PER_S: f64 = 20.0;
/// Tokens of each site that are revoked while the provider is there, each first used another while before: what is kept of one of them
/// was said nearly as long ago as it may be, and of another just now.
const REVOKED: u32 = 3;
/// Tokens of each site that nobody used before the provider is away.
const NEW: u32 = 2;
/// Long enough for a few uses of each token, and for a fault to be witnessed.
const A_MOMENT: Duration = Duration::from_millis(500);
/// Long enough for a few uses that each wait in vain for the provider, as long as a client waits.
const IN_VAIN: Duration = Duration::from_secs(3);

fn steps(_: &Deployment) -> Vec<String> {
    named([PROVIDER_REVOKE, PROVIDER_AWAY])
}

/// For how long what the provider said holds, scaled.
pub(super) fn ttl(lab: &Lab) -> Duration {
    let seconds = setting(lab.deployment(), lab.adapter(), TTL).and_then(|said| said.parse().ok()).unwrap_or(TTL_S);
    lab.scaled(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::Quota, Policy::ClientId])?;
    let ttl = ttl(&lab);
    let every = Duration::from_secs_f64(1.0 / (POLLS_PER_S / lab.scale()).clamp(POLLS_PER_S, FASTEST_PER_S));

    lab.phase("steady", "");
    if lab.wants(PROVIDER_REVOKE) {
        there(&lab, &route, every).await?;
    }
    if lab.wants(PROVIDER_AWAY) {
        let from = lab.now();
        away(&lab, &route, every).await?;
        // Where the harness came too late it is told once more: what was said before may have been too old.
        if lab.must_repeat(from, ttl, PROVIDER_AWAY) {
            away(&lab, &route, every).await?;
        }
    }
    lab.hold(Duration::ZERO).await
}

/// Tokens are revoked while the provider can be asked.
async fn there(lab: &Lab, route: &str, every: Duration) -> Result<(), LabError> {
    let ttl = ttl(lab);
    let mut revoked = Vec::new();
    for number in 0..REVOKED {
        revoked.push(Used::by_all(lab, route, LASTS, every).await?);
        if number + 1 < REVOKED {
            lab.hold(ttl / REVOKED).await?;
        }
    }
    lab.hold(A_MOMENT).await?;

    lab.phase("hold", PROVIDER_REVOKE);
    revoke(lab, &revoked).await;
    let (from, hold) = (lab.now(), ttl + ttl / 4 + A_MOMENT);
    lab.hold(hold).await?;
    if lab.must_repeat(from, ttl, "") {
        lab.hold(hold).await?;
    }
    join_all(revoked.into_iter().map(Used::stop)).await;
    Ok(())
}

/// Nobody can ask the provider: about a token that is revoked meanwhile, one that expires meanwhile, and new ones.
async fn away(lab: &Lab, route: &str, every: Duration) -> Result<(), LabError> {
    let ttl = ttl(lab);
    lab.phase("steady", PROVIDER_AWAY);
    let revoked = vec![Used::by_all(lab, route, LASTS, every).await?];
    // Expires when the provider is away, and before what it said is too old.
    let soon = i64::try_from((ttl * 3 / 4).as_millis()).unwrap_or(i64::MAX);
    let expiring = Used::by_all(lab, route, Validity { to_ms: soon, ..LASTS }, every).await?;
    lab.hold(A_MOMENT.min(ttl / 8)).await?;
    lab.phase("inject", PROVIDER_AWAY);
    let links = lab.replicas().iter().flat_map(|replica| lab.links(&replica.name, IDENTITY)).collect();
    let cut = lab.inject(Fault::Network { links, what: NetworkFault::Blackhole }).await?;
    lab.phase("hold", PROVIDER_AWAY);
    revoke(lab, &revoked).await;
    let mut new = Vec::new();
    for _ in 0..NEW {
        new.push(Used::by_all(lab, route, LASTS, every).await?);
    }
    lab.hold(ttl + ttl / 4 + IN_VAIN).await?;
    lab.phase("heal", PROVIDER_AWAY);
    lab.heal(cut).await?;
    settle(lab, PROVIDER_AWAY).await?;
    join_all(revoked.into_iter().chain(new).chain([expiring]).map(Used::stop)).await;
    Ok(())
}

/// Valid for longer than any story.
const LASTS: Validity = Validity { from_ms: -60_000, to_ms: 6 * 3_600_000 };

/// A token of each site, used at all replicas of that site.
struct Used {
    tokens: Vec<Token>,
    watches: Vec<Watch>,
}

impl Used {
    async fn by_all(lab: &Lab, route: &str, validity: Validity, every: Duration) -> Result<Self, LabError> {
        let mut used = Self { tokens: Vec::new(), watches: Vec::new() };
        for site in lab.sites() {
            let token = lab.token_valid(&site.name, CLIENT, validity).await?;
            let there: Vec<Replica> = lab.replicas_of(&site.name);
            used.watches.push(Watch::start(lab, route, &token, &there, every));
            used.tokens.push(token);
        }
        Ok(used)
    }

    async fn stop(self) {
        join_all(self.watches.into_iter().map(Watch::stop)).await;
    }
}

async fn revoke(lab: &Lab, all: &[Used]) {
    let tokens = all.iter().flat_map(|used| &used.tokens);
    join_all(tokens.map(|token| lab.revoke_at_provider(stream::TOKEN, token))).await;
}
