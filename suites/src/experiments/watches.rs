//! One token, used at some replicas over and over until the story has seen enough.

use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, Replica, Target, Token};
use gatecrash_model::operation::{Credential, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Uses of one token that go on.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Uses `token` at each of `replicas`, `every` after the answer to the last use.
    pub(crate) fn start(lab: &Lab, route: &str, token: &Token, replicas: &[Replica], every: Duration) -> Self {
        Self::of(lab, route, token, replicas, every, Credential::Valid)
    }

    /// The same, with a token that must be refused.
    pub(crate) fn start_forged(lab: &Lab, route: &str, token: &Token, replicas: &[Replica], every: Duration) -> Self {
        Self::of(lab, route, token, replicas, every, Credential::Forged)
    }

    fn of(
        lab: &Lab,
        route: &str,
        token: &Token,
        replicas: &[Replica],
        every: Duration,
        credential: Credential,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |replica: &Replica| {
            let target = Target::Replica(replica.name.clone());
            let call = Call::new(stream::TOKEN, target, route, "client-1").with(credential);
            let call = call.token(token).timeout(Duration::from_secs(1));
            let (lab, stop) = (lab.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                // Ends with its stop, or with the run: an interrupted hold is an error.
                while !stop.load(Ordering::Relaxed) {
                    lab.call(call.clone()).await;
                    if lab.hold(every).await.is_err() {
                        break;
                    }
                }
            })
        };
        let tasks = replicas.iter().map(watch).collect();
        Self { stop, tasks }
    }

    /// Ends the uses; returns when the last one was answered.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        join_all(std::mem::take(&mut self.tasks)).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An experiment that ends by an error leaves no request behind.
        self.stop.store(true, Ordering::Relaxed);
    }
}
