//! All replicas of a cluster are restarted, one after the other and over and over, while requests go through its ingress: each is asked
//! to end, has ended, is started, ready and in rotation before the next is asked. Read by DRN-02.

use super::canaries::{plain, slow};
use super::quota_restart::lengthen;
use super::rounds::{Rounds, cluster, evenly, metered};
use crate::claims::draining::{ROLLED, ROLLED_QUOTA, ROLLED_SLOW, ROLLED_TOKEN, ROLLING, SPENT_MS};
use crate::experiment::{Experiment, single};
use futures::FutureExt;
use futures::future::join;
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target, Token, TrafficSpec};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Policy, WindowAlignment};
use gatecrash_model::operation::stream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: ROLLING,
    story: "every replica of a cluster is asked to end and started again, one after the other, over and over, while requests go through its ingress",
    needs: &[Capability::ReplicaFaults, Capability::TwoReplicas],
    expected: |_, scale, _| lasts(scale) + Duration::from_secs(6),
    options: |_| LabOptions::default(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// Requests a second through the ingress.
const PER_S: f64 = 200.0;
/// How long requests go on: 20,000 of them, and a few more.
const LASTS: Duration = Duration::from_secs(105);
/// The least number of requests (DRN-02), and a few more.
const LEAST: f64 = 1_050.0;
/// How long slow requests take.
const SLOW: Duration = Duration::from_secs(8);
/// Clients that send slow requests, one after the other.
const SLOW_CLIENTS: usize = 6;
/// How long a process is waited for.
const PATIENCE: Duration = Duration::from_secs(35);
/// How long a request may take that is not slow on purpose: whether it is lost is what counts, not when it is answered.
const WITHIN: Duration = Duration::from_secs(5);
/// The client whose token must outlive the restarts.
const CLIENT: &str = "client-7";
/// Share of a window in which a spent quota is asked for.
const SHARE: f64 = 0.85;

fn lasts(scale: f64) -> Duration {
    LASTS.mul_f64(scale).max(Duration::from_secs_f64(LEAST / PER_S))
}

/// What must outlive the restarts.
struct State {
    token: Option<(String, Token)>,
    /// Route and key of a quota that is spent.
    quota: Option<String>,
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = plain(&lab)?;
    let (site, replicas) = cluster(&lab);
    lab.phase("steady", "");
    let state = state(&lab, &replicas).await?;
    let traffic = lab.traffic(TrafficSpec {
        stream: ROLLED.to_owned(),
        targets: vec![(Target::Ingress(site.clone()), 1)],
        route: route.clone(),
        keys: (1..=5).map(|number| format!("client-{number}")).collect(),
        rate_per_s: PER_S,
        timeout: Some(WITHIN),
    });
    let over = AtomicBool::new(false);
    let (rolled, ()) = join(
        async {
            let rolled = roll(&lab, &replicas, &state).await;
            over.store(true, Ordering::Relaxed);
            rolled
        },
        slow(&lab, ROLLED_SLOW, &site, &over, (SLOW_CLIENTS, lab.scaled(SLOW), WITHIN)),
    )
    .await;
    traffic.stop().await;
    rolled
}

/// A token that a replica issued, and a quota that is spent.
async fn state(lab: &Lab, replicas: &[Replica]) -> Result<State, LabError> {
    let mut state = State { token: None, quota: None };
    let Some(first) = replicas.first() else { return Ok(state) };
    if let Ok(route) = lab.route(&[Policy::Jwt], &[Policy::ClientId, Policy::Quota]) {
        let (_, token) = lab.issue(stream::TOKEN, &first.name, CLIENT).await;
        state.token = token.map(|token| (route, token));
    }
    let shared = lab.has(Capability::Quota) && lab.has(Capability::SharedStore);
    if shared && lab.deployment().quota.alignment == WindowAlignment::FirstRequest {
        let mut rounds = Rounds::new(lab)?;
        lengthen(lab, &mut rounds, replicas).await?;
        let key = rounds.next_key().await?;
        let began = lab.now();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a quota is a count")]
        rounds.burst(&key, &evenly(replicas), (rounds.quota * 1.2) as usize).await;
        let left = rounds.window.mul_f64(SHARE).saturating_sub(Duration::from_nanos(lab.now().saturating_sub(began)));
        lab.mark(SPENT_MS, &key, i64::try_from(left.as_millis()).unwrap_or_default());
        state.quota = Some(key);
    }
    Ok(state)
}

/// Restarts every replica in turn until the time is over and each was restarted.
async fn roll(lab: &Lab, replicas: &[Replica], state: &State) -> Result<(), LabError> {
    let (began, lasts) = (lab.now(), lasts(lab.scale()));
    let metered = metered(lab);
    let mut left = replicas.len();
    for replica in replicas.iter().cycle() {
        if left == 0 && Duration::from_nanos(lab.now().saturating_sub(began)) >= lasts {
            return Ok(());
        }
        left = left.saturating_sub(1);
        lab.phase("inject", &replica.name);
        lab.terminate(&replica.name).await?;
        if lab.wait_gone(&replica.name, lab.scaled(PATIENCE)).await?.is_none() {
            lab.kill(&replica.name).await?;
        }
        lab.restart(&replica.name, Disk::Keep).await?;
        lab.wait_ready(&replica.name, lab.ready_within()).await?;
        lab.wait_rotation().await?;
        lab.phase("settle", &replica.name);
        let target = || Target::Replica(replica.name.clone());
        if let Some((route, token)) = &state.token {
            lab.call(Call::new(ROLLED_TOKEN, target(), route, CLIENT).token(token)).await;
        }
        if let (Some(key), Ok(route)) = (&state.quota, &metered) {
            lab.call(Call::new(ROLLED_QUOTA, target(), route, key)).await;
        }
        lab.hold(lab.scaled(Duration::from_secs(2))).await?;
    }
    Ok(())
}
