//! What do replicas use while a story goes on? Looked at beside it, again and again.

use gatecrash_engine::lab::Lab;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Looks until this is stopped, or dropped.
pub(super) struct Uses {
    stop: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Uses {
    /// Begins to `look`, and pauses for `every` after each time.
    pub(super) fn start<F>(lab: &Lab, every: Duration, look: impl Fn(Lab) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (lab, stopped) = (lab.clone(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            // Ends with its stop, or with the run: an interrupted hold is an error.
            while !stopped.load(Ordering::Relaxed) {
                look(lab.clone()).await;
                if lab.hold(every).await.is_err() {
                    break;
                }
            }
        });
        Self { stop, task: Some(task) }
    }

    /// Returns when nobody looks any more.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.take() {
            let _ended = task.await;
        }
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        // An experiment that ends by an error looks no more.
        self.stop.store(true, Ordering::Relaxed);
    }
}
