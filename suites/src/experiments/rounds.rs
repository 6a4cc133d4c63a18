//! How do the quota experiments spend a quota, so that a claim can tell one window from the next?
//!
//! Each round has a key of its own as long as there are keys, and marks with its window before the
//! first request. Requests go to replicas directly: who counted is then known without trusting an answer.

use crate::claims::quota::marks::QUOTA_WINDOW_MS;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, Replica, Target, Traffic, TrafficSpec};
use gatecrash_model::deployment::{Deployment, Policy, WindowAlignment};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use std::time::Duration;

/// How much of a window a round spends over; the claims read the first 85 %.
const SPENT_OVER: f64 = 0.9;

/// Spends quotas, round by round.
pub(super) struct Rounds {
    lab: Lab,
    route: String,
    keys: Vec<String>,
    number: u32,
    /// Q.
    pub(super) quota: f64,
    /// Window in force.
    pub(super) window: Duration,
    alignment: WindowAlignment,
    timeout: Option<Duration>,
}

/// Who is asked, and how often relative to each other.
pub(super) type Split = Vec<(Replica, u32)>;

/// All of `replicas` equally.
pub(super) fn evenly(replicas: &[Replica]) -> Split {
    replicas.iter().map(|replica| (replica.clone(), 1)).collect()
}

/// Nine of ten requests to the first, the rest to the others in turn.
pub(super) fn skewed(replicas: &[Replica]) -> Split {
    let others = u32::try_from(replicas.len()).unwrap_or(u32::MAX).saturating_sub(1).max(1);
    replicas
        .iter()
        .enumerate()
        .map(|(index, replica)| (replica.clone(), if index == 0 { others.saturating_mul(9) } else { 1 }))
        .collect()
}

/// The route with a quota, without contracts if there is such a one.
///
/// # Errors
/// If no route has a quota.
pub(super) fn metered(lab: &Lab) -> Result<String, LabError> {
    lab.route(&[Policy::Quota], &[Policy::ClientId]).or_else(|_| lab.route(&[Policy::Quota], &[]))
}

impl Rounds {
    /// Rounds on the deployment's metered route.
    ///
    /// # Errors
    /// If no route has a quota.
    pub(super) fn new(lab: &Lab) -> Result<Self, LabError> {
        let route = metered(lab)?;
        let keys =
            lab.clients().iter().map(|client| client.id.clone()).filter(|id| id.starts_with("client-")).collect();
        let quota = lab.deployment().quota;
        Ok(Self {
            lab: lab.clone(),
            route,
            keys,
            number: 0,
            quota: f64::from(quota.limit),
            window: quota.window,
            alignment: quota.alignment,
            timeout: None,
        })
    }

    /// From here on a request may take this long.
    pub(super) fn timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// The next key, with a token for it at each site. A token bucket is given a window to fill up again.
    ///
    /// # Errors
    /// If a site gives no token, or the run is interrupted.
    pub(super) async fn next_key(&mut self) -> Result<String, LabError> {
        let at = usize::try_from(self.number).unwrap_or_default();
        self.number = self.number.saturating_add(1);
        // Before the first round nothing was spent.
        if self.alignment == WindowAlignment::TokenBucket && at > 0 {
            self.lab.hold(self.window.mul_f64(1.2)).await?;
        }
        let key = self.keys.get(at % self.keys.len().max(1)).cloned().unwrap_or_default();
        for site in self.lab.sites() {
            self.lab.token(&site.name, &key).await?;
        }
        Ok(key)
    }

    /// Says that the window of `key` begins with the next request.
    pub(super) fn open(&self, key: &str) {
        let window_ms = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        self.lab.mark(QUOTA_WINDOW_MS, key, window_ms);
        self.lab.mark(mark::WINDOW, key, i64::from(self.number));
    }

    /// Asks `split` for `key`, open loop.
    pub(super) fn ask(&self, key: &str, split: &Split, rate_per_s: f64) -> Traffic {
        self.lab.traffic(TrafficSpec {
            stream: stream::QUOTA.to_owned(),
            targets: split.iter().map(|(replica, weight)| (Target::Replica(replica.name.clone()), *weight)).collect(),
            route: self.route.clone(),
            keys: vec![key.to_owned()],
            rate_per_s,
            timeout: self.timeout,
        })
    }

    /// Asks `split` for `key` `count` times at once, and waits for the answers.
    pub(super) async fn burst(&self, key: &str, split: &Split, count: usize) {
        let calls = split.iter().cycle().take(count).map(|(replica, _)| {
            let mut call = Call::new(stream::QUOTA, Target::Replica(replica.name.clone()), &self.route, key);
            call.timeout = self.timeout;
            self.lab.call(call)
        });
        join_all(calls).await;
    }

    /// The rate at which a whole window asks for `quotas` times Q.
    pub(super) fn rate(&self, quotas: f64) -> f64 {
        quotas * self.quota / self.window.as_secs_f64().max(1e-3)
    }

    /// How many quotas a round can have at most, as its claims count them: two where the window's edge is not known.
    pub(super) fn fillings(&self) -> f64 {
        if self.alignment == WindowAlignment::FirstRequest { 1.0 } else { 2.0 }
    }

    /// How long a round asks.
    pub(super) fn lasts(&self) -> Duration {
        self.window.mul_f64(SPENT_OVER)
    }

    /// One whole round: the next key, its window, `quotas` times Q asked of `split`; another one if the harness was late.
    ///
    /// # Errors
    /// As [`Rounds::next_key`].
    pub(super) async fn spend(&mut self, split: &Split, quotas: f64) -> Result<(), LabError> {
        let (key, from) = (self.next_key().await?, self.lab.now());
        self.spend_of(&key, split, quotas).await?;
        if self.lab.must_repeat_round(from, self.window, &key) {
            let key = self.next_key().await?;
            self.spend_of(&key, split, quotas).await?;
        }
        Ok(())
    }

    /// One whole round of `key`.
    ///
    /// # Errors
    /// If the run is interrupted.
    pub(super) async fn spend_of(&self, key: &str, split: &Split, quotas: f64) -> Result<(), LabError> {
        self.open(key);
        self.ask_for(key, split, self.rate(quotas), self.lasts()).await
    }

    /// Asks `split` for `key`, open loop, for so long, and waits for the answers.
    ///
    /// # Errors
    /// If the run is interrupted.
    pub(super) async fn ask_for(
        &self,
        key: &str,
        split: &Split,
        rate_per_s: f64,
        lasts: Duration,
    ) -> Result<(), LabError> {
        let traffic = self.ask(key, split, rate_per_s);
        let held = self.lab.hold(lasts).await;
        traffic.stop().await;
        held
    }
}

/// What `rounds` rounds take, for the plan: windows of `deployment` at `scale`, and the pause of a token bucket.
pub(super) fn expected(deployment: &Deployment, scale: f64, rounds: u32) -> Duration {
    let bucket = matches!(deployment.quota.alignment, WindowAlignment::TokenBucket);
    deployment.quota.window.mul_f64(scale * if bucket { 2.2 } else { 1.0 }).saturating_mul(rounds)
}

/// The replicas of the first site that has at least two, else of the first.
pub(super) fn cluster(lab: &Lab) -> (String, Vec<Replica>) {
    let sites: Vec<(String, Vec<Replica>)> =
        lab.sites().iter().map(|site| (site.name.clone(), lab.replicas_of(&site.name))).collect();
    let several = sites.iter().position(|(_, replicas)| replicas.len() >= 2).unwrap_or_default();
    sites.into_iter().nth(several).unwrap_or_default()
}
