//! Three clients, each alone on its key and at one replica, do what answers tell them: they spend their quota, come back when they may,
//! and spend it on both sides of an edge. Read by QUO-08.

use super::rounds::{Rounds, cluster, metered};
use crate::claims::quota::marks::QUOTA_WINDOW_MS;
use crate::claims::quota::{AT_ONCE, LONE, TOLD};
use crate::experiment::{Experiment, single};
use futures::future::try_join_all;
use futures::{FutureExt, StreamExt, stream};
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Target, Told};
use gatecrash_model::claim::Capability;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: TOLD,
    story: "three lone clients spend their quotas, come back when they were told to, and spend them on both sides of an edge",
    needs: &[Capability::Quota],
    expected: |deployment, scale, _| deployment.quota.window.mul_f64(scale * 4.5) + Duration::from_secs(5),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// How many clients there are.
const CLIENTS: usize = 3;
/// Requests of one client at the same time.
const TOGETHER: usize = 8;
/// Requests that a client sends one after the other before its quota is spent.
const LAST: u32 = 12;
/// After a reset a client waits so much longer: what QUO-08 allows (`e`), and more.
const MARGIN: Duration = Duration::from_millis(150);
/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(2);

struct Client<'a> {
    lab: &'a Lab,
    route: &'a str,
    replica: String,
    key: String,
    quota: u32,
    window: Duration,
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = metered(&lab)?;
    let (_, replicas) = cluster(&lab);
    let mut rounds = Rounds::new(&lab)?;
    let (quota, window) = (lab.deployment().quota.limit, rounds.window);
    let mut clients = Vec::new();
    for replica in replicas.iter().cycle().take(CLIENTS) {
        let key = rounds.next_key().await?;
        clients.push(Client { lab: &lab, route: &route, replica: replica.name.clone(), key, quota, window });
    }
    lab.phase("steady", "");
    let from = lab.now();
    try_join_all(clients.iter().map(Client::tell)).await?;
    let mut anew = Vec::new();
    for client in clients.iter().filter(|client| lab.must_repeat_round(from, window, &client.key)) {
        anew.push(Client { key: rounds.next_key().await?, replica: client.replica.clone(), ..*client });
    }
    try_join_all(anew.iter().map(Client::tell)).await.map(drop)
}

impl Client<'_> {
    fn call(&self, stream: &str) -> Call {
        Call::new(stream, Target::Replica(self.replica.clone()), self.route, &self.key).timeout(WITHIN)
    }

    /// Asks so often, a few at the same time: all of them at once would be a load that has a store seem lost.
    async fn at_once(&self, count: u32) {
        let ask = |_| async { drop(self.lab.call(self.call(AT_ONCE)).await) };
        stream::iter(0..count).for_each_concurrent(TOGETHER, ask).await;
    }

    /// One request; what it was told, and whether it was served.
    async fn ask(&self) -> (Told, bool) {
        let (outcome, told) = self.lab.call_told(self.call(LONE)).await;
        (told, outcome.answer.is_success())
    }

    /// When the window ends as an answer has it, from now on; a window where it told nothing.
    fn left(&self, told: Told) -> Duration {
        told.reset.or(told.retry_after).unwrap_or(self.window).min(self.window * 2)
    }

    /// When it has ended for certain, however coarsely that was told.
    fn over(&self, told: Told) -> Duration {
        self.left(told) + told.grain + MARGIN
    }

    async fn tell(&self) -> Result<(), LabError> {
        let lab = self.lab;
        lab.mark(QUOTA_WINDOW_MS, &self.key, i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX));
        self.at_once(self.quota.saturating_sub(LAST)).await;
        for _ in 0..LAST.saturating_mul(2) {
            let (told, served) = self.ask().await;
            if !served {
                lab.hold(self.left(told) / 2).await?;
                break;
            }
        }
        // Half of the window is left: still rejected, and told when to come.
        let (told, _) = self.ask().await;
        lab.hold(self.over(told)).await?;
        self.ask().await;
        self.at_once(self.quota).await;

        // The next window, its quota spent late, and that of the one after it early.
        let (told, _) = self.ask().await;
        lab.hold(self.over(told)).await?;
        let (told, _) = self.ask().await;
        let (over, spend) = (self.over(told), self.left(told).mul_f64(0.6) + told.grain * 2);
        let opened = lab.now();
        lab.hold(spend).await?;
        self.at_once(self.quota).await;
        let spent = Duration::from_nanos(lab.now().saturating_sub(opened));
        lab.hold(over.saturating_sub(spent)).await?;
        self.ask().await;
        self.at_once(self.quota.saturating_add(LAST)).await;
        Ok(())
    }
}
