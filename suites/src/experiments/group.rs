//! What do gateways that are one group show of what they share? A quota that is spent over some of them, and a token that one of
//! them revokes and all use.

use super::revocation::revoke;
use super::rounds::{Rounds, evenly};
use super::token_matrix::one_token;
use super::watches::Watch;
use futures::future::try_join_all;
use gatecrash_engine::lab::{Disk, Lab, LabError, Replica, Target, Token, Traffic, TrafficSpec};
use gatecrash_model::deployment::Policy;
use gatecrash_model::fault::LinkId;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use std::time::Duration;

/// How long a request may take: longer than what the claims call hanging.
const PATIENCE: Duration = Duration::from_millis(5_500);
/// Requests a second on the open route, over all gateways that are asked.
const OPEN_PER_S: f64 = 50.0;
/// Time between two uses of a token at one gateway.
const USED_EVERY: Duration = Duration::from_millis(20);
/// Time that a new primary may need (`failover` of PAR-01, and of PAR-02).
pub(super) const FAILOVER: Duration = Duration::from_secs(20);

/// Asks a group.
pub(super) struct Group {
    pub(super) lab: Lab,
    pub(super) rounds: Rounds,
    /// All voters, in the order of the deployment.
    pub(super) voters: Vec<Replica>,
    guarded: String,
    open: String,
}

/// What goes on while a group is asked: requests that need nothing shared, and uses of tokens.
pub(super) struct Asked {
    open: Traffic,
    watches: Vec<Watch>,
}

impl Asked {
    /// Returns when everything was answered.
    pub(super) async fn stop(self) {
        self.open.stop().await;
        for watch in self.watches {
            watch.stop().await;
        }
    }
}

impl Group {
    /// The group of `lab`.
    ///
    /// # Errors
    /// If a route is missing: an open one, one with tokens, one with a quota.
    pub(super) fn new(lab: &Lab) -> Result<Self, LabError> {
        let mut rounds = Rounds::new(lab)?;
        rounds.timeout(PATIENCE);
        let others = [Policy::Quota, Policy::ClientId];
        let guarded = lab.route(&[Policy::Jwt], &others)?;
        let open = lab.route(&[], &[Policy::Jwt, Policy::Quota, Policy::ClientId])?;
        let names = lab.deployment().voters();
        let at = |replica: &Replica| names.iter().position(|name| *name == replica.name);
        let mut voters: Vec<Replica> = lab.replicas().into_iter().filter(|replica| at(replica).is_some()).collect();
        voters.sort_by_key(at);
        Ok(Self { lab: lab.clone(), rounds, voters, guarded, open })
    }

    /// Spends a quota over all of the group, before anything happens to it.
    ///
    /// # Errors
    /// As [`Group::spend`].
    pub(super) async fn begin(&mut self) -> Result<(), LabError> {
        self.lab.phase("steady", "");
        self.spend(&self.voters.clone()).await
    }

    /// A token that `issuer` issued, if it does.
    ///
    /// # Errors
    /// If the identity provider, where it signs tokens, does not answer.
    pub(super) async fn token(&self, issuer: &Replica) -> Result<Option<Token>, LabError> {
        let material = self.lab.deployment().site(&issuer.site).map(|site| site.signing.clone()).unwrap_or_default();
        one_token(&self.lab, issuer, &material).await
    }

    /// Begins to ask `replicas`: their open route, and each of `tokens` at each of them.
    pub(super) fn ask(&self, replicas: &[Replica], tokens: &[Token]) -> Asked {
        let open = self.lab.traffic(TrafficSpec {
            stream: stream::TRAFFIC.to_owned(),
            targets: replicas.iter().map(|replica| (Target::Replica(replica.name.clone()), 1)).collect(),
            route: self.open.clone(),
            keys: vec!["client-1".to_owned()],
            rate_per_s: OPEN_PER_S,
            timeout: Some(PATIENCE),
        });
        let watch = |token| Watch::start(&self.lab, &self.guarded, token, replicas, USED_EVERY);
        Asked { open, watches: tokens.iter().map(watch).collect() }
    }

    /// Spends one and a half quotas over `replicas`.
    ///
    /// # Errors
    /// If the run is interrupted, or there is no token for the key.
    pub(super) async fn spend(&mut self, replicas: &[Replica]) -> Result<(), LabError> {
        self.rounds.spend(&evenly(replicas), 1.5).await
    }

    /// Revokes `token` at `replica`.
    pub(super) async fn revoke(&self, replica: &Replica, token: &Token) {
        revoke(&self.lab, replica, token).await;
    }

    /// Kills voters, all at once.
    ///
    /// # Errors
    /// If the runtime fails.
    pub(super) async fn kill(&self, voters: &[Replica]) -> Result<(), LabError> {
        for voter in voters {
            self.lab.mark(mark::NOT_READY_DECLARED, &voter.name, 0);
        }
        try_join_all(voters.iter().map(|voter| self.lab.kill(&voter.name))).await.map(drop)
    }

    /// Starts voters that were killed, with their disks, and waits until they are ready.
    ///
    /// # Errors
    /// If the runtime fails, or one does not become ready.
    pub(super) async fn bring_back(&self, voters: &[Replica]) -> Result<(), LabError> {
        let lab = &self.lab;
        try_join_all(voters.iter().map(|voter| lab.restart(&voter.name, Disk::Keep))).await?;
        try_join_all(voters.iter().map(|voter| lab.wait_ready(&voter.name, lab.ready_within()))).await.map(drop)
    }

    /// The links by which `some` and `others` dial each other, first those of `some`.
    pub(super) fn between(&self, some: &[Replica], others: &[Replica]) -> (Vec<LinkId>, Vec<LinkId>) {
        let of = |from: &[Replica], to: &[Replica]| -> Vec<LinkId> {
            from.iter().flat_map(|from| to.iter().flat_map(|to| self.lab.links(&from.name, &to.name))).collect()
        };
        (of(some, others), of(others, some))
    }
}
