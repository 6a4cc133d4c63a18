//! Open-loop traffic: requests are sent when they are due, however slow the answers are.

use super::operations::{Call, Target};
use super::{Lab, Outcome};
use crate::pacer::{Stopper, ticks, until};
use gatecrash_model::operation::{Credential, stream};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};

/// What is sent.
#[derive(Clone, Debug)]
pub struct TrafficSpec {
    /// Stream in the history.
    pub stream: String,
    /// Who is addressed, with weights (90 and 10: nine of ten to the first).
    pub targets: Vec<(Target, u32)>,
    /// Name of the route.
    pub route: String,
    /// Client ids, in turn.
    pub keys: Vec<String>,
    /// Requests a second.
    pub rate_per_s: f64,
    /// How long one may take; `None`: the lab's default.
    pub timeout: Option<Duration>,
}

/// Traffic that is under way.
#[derive(Debug)]
pub struct Traffic {
    stopper: Stopper,
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Requests sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends no more; what was sent is still waited for.
    pub fn halt(&self) {
        self.stopper.stop();
    }

    /// The task alone: it ends with the lab.
    pub(super) fn until_the_end(self) -> JoinHandle<()> {
        self.task
    }

    /// Sends no more, waits for the answers that are due (each is bounded by its timeout), and returns how many were sent.
    pub async fn stop(self) -> u64 {
        self.stopper.stop();
        let _ended = self.task.await;
        self.sent.load(Ordering::Relaxed)
    }
}

impl Lab {
    /// Starts open-loop traffic with valid credentials. It ends with [`Traffic::stop`], or with the lab.
    #[must_use]
    pub fn traffic(&self, spec: TrafficSpec) -> Traffic {
        let calls = self.calls(&spec);
        self.open_loop(spec.rate_per_s, calls, |_| {})
    }

    /// The same, each request answered by the upstream after `delay`.
    #[must_use]
    pub fn traffic_answered_after(&self, spec: TrafficSpec, delay: Duration) -> Traffic {
        let calls = self.calls(&spec).into_iter().map(|call| call.answered_after(delay)).collect();
        self.open_loop(spec.rate_per_s, calls, |_| {})
    }

    /// The same, each request answered by the upstream with `status`.
    #[must_use]
    pub fn traffic_answered_with(&self, spec: TrafficSpec, status: u16) -> Traffic {
        let calls = self.calls(&spec).into_iter().map(|call| call.answered_with(status)).collect();
        self.open_loop(spec.rate_per_s, calls, |_| {})
    }

    /// The same, each request on a connection of its own.
    #[must_use]
    pub fn traffic_on_new_connections(&self, spec: TrafficSpec) -> Traffic {
        let calls = self.calls(&spec).into_iter().map(Call::closing).collect();
        self.open_loop(spec.rate_per_s, calls, |_| {})
    }

    /// Sends `calls` in turn, over and over, at `rate_per_s`, each when it is due.
    #[must_use]
    pub fn traffic_of(&self, rate_per_s: f64, calls: Vec<Call>) -> Traffic {
        self.open_loop(rate_per_s, calls, |_| {})
    }

    /// One round of calls in seed-derived order: every target as often as its weight, keys in turn.
    fn calls(&self, spec: &TrafficSpec) -> Vec<Call> {
        let mut round: Vec<Call> = Vec::new();
        let keys = spec.keys.len().max(1);
        let total: u32 = spec.targets.iter().map(|(_, weight)| *weight).sum();
        // Enough rounds that every key meets every target.
        let rounds = if total == 0 { 0 } else { keys };
        for turn in 0..rounds {
            for (target, weight) in &spec.targets {
                for _ in 0..*weight {
                    let key = spec.keys.get(turn % keys).cloned().unwrap_or_default();
                    let mut call = Call::new(&spec.stream, target.clone(), &spec.route, &key);
                    call.timeout = spec.timeout;
                    round.push(call);
                }
            }
        }
        round.shuffle(&mut ChaCha8Rng::from_seed(self.seed().stream(&format!("traffic {}", spec.stream))));
        let open = self.deployment().routes.iter().any(|route| route.name == spec.route && route.policies.is_empty());
        if open {
            for call in &mut round {
                call.credential = Credential::NotNeeded;
            }
        }
        round
    }

    /// Sends `calls` in turn, over and over, at `rate_per_s`; `done` hears of each outcome.
    pub(super) fn open_loop(
        &self,
        rate_per_s: f64,
        calls: Vec<Call>,
        done: impl Fn(Outcome) + Send + Sync + 'static,
    ) -> Traffic {
        let mut due = ticks(rate_per_s);
        let stopper = due.stopper();
        let sent = Arc::new(AtomicU64::new(0));
        let (lab, counter, ended, done) = (self.clone(), Arc::clone(&sent), due.stopper(), Arc::new(done));
        let task = tokio::spawn(async move {
            let mut under_way = JoinSet::new();
            let mut turn = 0_usize;
            loop {
                let intended = tokio::select! {
                    tick = due.due.recv() => match tick { Some(intended) if !ended.is_stopped() => intended, _ => break },
                    () = lab.inner.stop.cancelled() => break,
                };
                let Some(call) = calls.get(turn % calls.len().max(1)) else { break };
                turn = turn.wrapping_add(1);
                let background = call.stream == stream::MUST_REFUSE || call.stream == stream::CONTRACT;
                if background && !lab.inner.background.load(Ordering::Relaxed) {
                    continue;
                }
                let (lab, call, done) = (lab.clone(), call.clone(), Arc::clone(&done));
                under_way.spawn(async move {
                    let prepared = lab.prepare(&call).await;
                    until(intended);
                    done(lab.send(prepared, intended).await.0);
                });
                counter.fetch_add(1, Ordering::Relaxed);
                while under_way.try_join_next().is_some() {}
            }
            ended.stop();
            while under_way.join_next().await.is_some() {}
        });
        Traffic { stopper, sent, task }
    }
}
