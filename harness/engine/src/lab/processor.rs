//! How much of the machine does a replica use? What its runtime says of it, for evidence: no verdict depends on it.

use super::Lab;
use gatecrash_model::history::event::mark;
use std::time::Duration;

impl Lab {
    /// Processor time that a component has used since its last start; `None` where its runtime cannot say.
    pub async fn processor_time(&self, name: &str) -> Option<Duration> {
        self.inner.kit.runtime.processor_time(&self.inner.network, name).await
    }

    /// Records the processor time of each replica of a site now; nothing of one that its runtime says nothing about.
    pub async fn record_processor_times(&self, site: &str) {
        for replica in self.replicas_of(site) {
            if let Some(used) = self.processor_time(&replica.name).await {
                self.mark(mark::PROCESSOR_US, &replica.name, i64::try_from(used.as_micros()).unwrap_or(i64::MAX));
            }
        }
    }
}
