//! The identity provider publishes the keys that gateways check tokens with, and rotates them under polling of every replica: a new key beside
//! the old one, then without it; a key is published while every replica's way to the provider refuses connections, and one more is, and one removed, while that
//! way is a black hole. In the first outage a replica of each site is started anew, so that it has no key. Throughout, tokens are
//! used that no key signed. Read by TOK-08.
//!
//! The experiment sets what gateways check tokens with and for how long fetched keys are fresh, so any deployment whose adapter has these settings is judged; and
//! that nobody is asked about tokens besides: what follows from that is TOK-05's.

use super::watches::Watch;
use crate::claims::tokens::{JWKS_REFUSED, JWKS_SILENT, KEY_REMOVED, ROTATE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use gatecrash_engine::lab::{
    Active, Disk, Forgery, JWKS, JWKS_TTL_SETTING, Lab, LabError, LabOptions, Replica, TOKENS_SETTING,
};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Deployment, IDENTITY, Policy};
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::fixture::KeyForm;
use gatecrash_model::history::event::mark;
use gatecrash_model::profile::Scalar;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "key-rotation",
    story: "published signing keys are rotated, also while gateways cannot reach the provider, which refuses and then is silent; replicas start without it",
    needs: &[Capability::Tokens, Capability::PublishedKeys, Capability::NetworkFaults, Capability::ReplicaFaults],
    expected: |_, scale, _| {
        let (ttl, within) = (TTL.mul_f64(scale), (TTL + MARGIN).mul_f64(scale));
        ttl * 2 + within * 5 + Duration::from_secs(8)
    },
    // The new key is what the others build on.
    steps: |_| named([KEY_REMOVED, JWKS_REFUSED, JWKS_SILENT]),
    options,
    run: |lab| story(lab).boxed(),
};

/// For how long fetched keys are fresh, before scaling. Ours, for tests: Flex has 60 minutes, which a run would have to wait out.
const TTL: Duration = Duration::from_secs(15);
/// How much longer than that a change of the keys may take (TOK-08, `margin`, by default).
const MARGIN: Duration = Duration::from_secs(5);
/// Who the tokens are for.
const CLIENT: &str = "client-1";
/// Uses of one token a second at one replica, unscaled; scaled down, time is short and they come faster, up to [`FASTEST_PER_S`].
const POLLS_PER_S: f64 = 4.0;
/// Uses of one token a second at one replica, at most.
const FASTEST_PER_S: f64 = 10.0;
/// Uses of one forged token a second at one replica.
const FORGED_PER_S: f64 = 2.0;
/// Long enough for a few uses of each token.
const A_MOMENT: Duration = Duration::from_millis(700);

fn options(_: &Deployment) -> LabOptions {
    let text = |word: &str| Scalar::Text(word.to_owned());
    let settings = [
        (TOKENS_SETTING, text(JWKS)),
        (JWKS_TTL_SETTING, Scalar::Number(TTL.as_secs_f64())),
        ("revocation", text("none")),
    ];
    let settings: BTreeMap<String, Scalar> =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    LabOptions { settings, ..LabOptions::default() }
}

struct Story {
    lab: Lab,
    route: String,
    every: Duration,
    /// Tokens of each key, used at all replicas.
    used: BTreeMap<u32, Watch>,
}

impl Story {
    /// From here on a token of this key is used at every replica.
    async fn using(&mut self, key: u32) -> Result<(), LabError> {
        let token = self.lab.token_of_key(CLIENT, key).await?;
        let watch = Watch::start(&self.lab, &self.route, &token, &self.lab.replicas(), self.every);
        self.used.insert(key, watch);
        Ok(())
    }

    /// No token of this key is used any more.
    async fn unused(&mut self, key: u32) {
        if let Some(watch) = self.used.remove(&key) {
            watch.stop().await;
        }
    }

    /// For how long fetched keys are fresh, and by when a change of them has reached every replica.
    fn ttl(&self) -> Duration {
        self.lab.scaled(TTL)
    }

    fn within(&self) -> Duration {
        self.lab.scaled(TTL + MARGIN)
    }

    /// No replica reaches the provider any more.
    async fn cut_off(&self, variant: &str, what: NetworkFault) -> Result<Active, LabError> {
        self.lab.phase("inject", variant);
        let links = self.lab.replicas().iter().flat_map(|replica| self.lab.links(&replica.name, IDENTITY)).collect();
        let cut = self.lab.inject(Fault::Network { links, what }).await?;
        self.lab.phase("hold", variant);
        Ok(cut)
    }

    /// Every replica reaches the provider again, and has the time to learn what it missed.
    async fn back(&self, variant: &str, cut: Active) -> Result<(), LabError> {
        self.lab.phase("heal", variant);
        self.lab.heal(cut).await?;
        self.lab.phase("settle", variant);
        self.lab.hold(self.within() + A_MOMENT).await
    }
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::Quota, Policy::ClientId])?;
    let every = Duration::from_secs_f64(1.0 / (POLLS_PER_S / lab.scale()).clamp(POLLS_PER_S, FASTEST_PER_S));
    let ttl_ms = i64::try_from(lab.scaled(TTL).as_millis()).unwrap_or(i64::MAX);
    lab.mark(mark::JWKS_TTL, "", ttl_ms);
    let mut story = Story { lab: lab.clone(), route, every, used: BTreeMap::new() };

    lab.phase("steady", "");
    story.using(1).await?;
    let forged = forged(&story).await?;
    lab.hold(A_MOMENT).await?;

    lab.phase("hold", ROTATE);
    lab.publish_key(2).await?;
    story.using(2).await?;
    lab.hold((story.ttl() * 2).max(story.within() + A_MOMENT)).await?;
    if lab.wants(KEY_REMOVED) {
        lab.phase("hold", KEY_REMOVED);
        lab.remove_key(1).await?;
        lab.hold(story.within() + A_MOMENT).await?;
        story.unused(1).await;
    }

    if lab.wants(JWKS_REFUSED) {
        let cut = story.cut_off(JWKS_REFUSED, NetworkFault::Refuse).await?;
        lab.publish_key(3).await?;
        story.using(3).await?;
        start_anew(&lab).await?;
        lab.hold(story.ttl() + A_MOMENT).await?;
        story.back(JWKS_REFUSED, cut).await?;
    }

    if lab.wants(JWKS_SILENT) {
        let cut = story.cut_off(JWKS_SILENT, NetworkFault::Blackhole).await?;
        lab.publish_key(4).await?;
        story.using(4).await?;
        lab.remove_key(2).await?;
        lab.hold(story.ttl() + A_MOMENT).await?;
        story.back(JWKS_SILENT, cut).await?;
    }

    lab.phase("end", "");
    let Story { used, .. } = story;
    join_all(used.into_values().chain(forged).map(Watch::stop)).await;
    lab.hold(Duration::ZERO).await
}

/// Tokens that say key 0 signed them, which is never removed, and are signed otherwise; used at every replica.
async fn forged(story: &Story) -> Result<Vec<Watch>, LabError> {
    let Story { lab, route, .. } = story;
    let every = Duration::from_secs_f64(1.0 / FORGED_PER_S);
    let forgeries = KeyForm::ALL.into_iter().map(Forgery::Confused).chain([Forgery::Stranger]);
    let tokens = try_join_all(forgeries.map(|forgery| lab.forged_token(CLIENT, 0, forgery))).await?;
    let replicas = lab.replicas();
    Ok(tokens.iter().map(|token| Watch::start_forged(lab, route, token, &replicas, every)).collect())
}

/// The last replica of each site is started anew, with nothing that it could have kept keys in.
async fn start_anew(lab: &Lab) -> Result<(), LabError> {
    let disk = if lab.has(Capability::ReplicaDisk) { Disk::Wiped } else { Disk::Keep };
    let last = |site: &str| lab.replicas_of(site).pop();
    let started: Vec<Replica> = lab.sites().iter().filter_map(|site| last(&site.name)).collect();
    for replica in &started {
        lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
        lab.kill(&replica.name).await?;
        lab.restart(&replica.name, disk).await?;
    }
    for replica in &started {
        lab.wait_ready(&replica.name, lab.ready_within()).await?;
    }
    Ok(())
}
