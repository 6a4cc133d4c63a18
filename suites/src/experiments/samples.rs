//! Do the replicas of a site serve, all the time? Each is asked, over and over, for every route without a quota.

use crate::claims::serving::{SAMPLE, SERVING};
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, Outcome, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::operation::Credential;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// How long an answer may take: a replica that is slower does not serve. Not scaled.
const WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether there is a new replica.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Samples that are taken.
pub(super) struct Samples {
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
    /// When the last good sample of each replica began, ns.
    good: Good,
}

type Good = Arc<Mutex<BTreeMap<String, u64>>>;

impl Samples {
    /// Takes one of each replica of `site` every so often, of those that come later, too.
    pub(super) fn start(lab: &Lab, site: &str, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let good = Good::default();
        let (lab, site, stopped, told) = (lab.clone(), site.to_owned(), Arc::clone(&stop), Arc::clone(&good));
        let task = tokio::spawn(async move {
            let mut known = BTreeSet::new();
            let mut samplers = JoinSet::new();
            // Ends with its stop, or with the run: an interrupted hold is an error.
            while !stopped.load(Ordering::Relaxed) {
                for replica in lab.replicas_of(&site) {
                    if known.insert(replica.name.clone()) {
                        samplers.spawn(sample(
                            lab.clone(),
                            replica.name,
                            every,
                            Arc::clone(&stopped),
                            Arc::clone(&told),
                        ));
                    }
                }
                if lab.hold(LOOK_EVERY).await.is_err() {
                    break;
                }
            }
            while samplers.join_next().await.is_some() {}
        });
        Self { stop, task: Some(task), good }
    }

    /// Waits until a sample of `replica` that began from `since` (ns) on was good; whether one was within `within`.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub(super) async fn wait_good(
        &self,
        lab: &Lab,
        replica: &str,
        since: u64,
        within: Duration,
    ) -> Result<bool, LabError> {
        let began = lab.now();
        loop {
            let last = self.good.lock().unwrap_or_else(PoisonError::into_inner).get(replica).copied();
            if last.is_some_and(|at| at >= since) {
                return Ok(true);
            }
            if Duration::from_nanos(lab.now().saturating_sub(began)) >= within {
                return Ok(false);
            }
            lab.hold(LOOK_EVERY).await?;
        }
    }

    /// Takes no more; returns when the last one is answered.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            let _ended = task.await;
        }
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        // An experiment that ends by an error leaves no request behind.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Samples one replica for as long as the lab has it.
async fn sample(lab: Lab, replica: String, every: Duration, stopped: Arc<AtomicBool>, good: Good) {
    let calls = calls(&lab, &replica);
    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) && lab.replicas().iter().any(|known| known.name == replica) {
        number += 1;
        let began = lab.now();
        lab.mark(SAMPLE, &replica, number);
        let outcomes = join_all(calls.iter().map(|call| lab.call(call.clone()))).await;
        let right = |(call, outcome): (&Call, &Outcome)| {
            if call.credential.must_refuse() {
                (400..500).contains(&outcome.answer.status)
            } else {
                outcome.answer.is_success()
            }
        };
        if calls.iter().zip(&outcomes).all(right) {
            good.lock().unwrap_or_else(PoisonError::into_inner).insert(replica.clone(), began);
        }
        let took = Duration::from_nanos(lab.now().saturating_sub(began));
        if lab.hold(every.saturating_sub(took)).await.is_err() {
            return;
        }
    }
}

/// What one sample asks: each route without a quota with what it needs, and each that needs something without it.
fn calls(lab: &Lab, replica: &str) -> Vec<Call> {
    let mut all = Vec::new();
    for route in &lab.deployment().routes {
        let contract = route.policies.contains(&Policy::ClientId);
        if route.policies.contains(&Policy::Quota) || contract && !lab.has(Capability::Contracts) {
            continue;
        }
        let call = Call::new(SERVING, Target::Replica(replica.to_owned()), &route.name, "client-6").timeout(WITHIN);
        if route.policies.is_empty() {
            all.push(call.with(Credential::NotNeeded));
            continue;
        }
        all.push(call.clone());
        all.push(call.with(Credential::Missing));
    }
    all
}
