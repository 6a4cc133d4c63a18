//! How much of the machine does a replica use? What its runtime says of it: processor, memory, open files.

use super::{Lab, Replica};
use gatecrash_model::history::event::mark;
use std::time::Duration;

impl Lab {
    /// Processor time that a component has used since its last start; `None` where its runtime cannot say.
    pub async fn processor_time(&self, name: &str) -> Option<Duration> {
        self.inner.kit.runtime.processor_time(&self.inner.network, name).await
    }

    /// Records the processor time of each of these replicas now; nothing of one that its runtime says nothing about.
    pub async fn record_processor_times(&self, replicas: &[Replica]) {
        for replica in replicas {
            if let Some(used) = self.processor_time(&replica.name).await {
                self.mark(mark::PROCESSOR_US, &replica.name, i64::try_from(used.as_micros()).unwrap_or(i64::MAX));
            }
        }
    }

    /// Measures the memory of these replicas now. Written as marks [`mark::MEMORY_KIB`]; none for one whose runtime cannot see it.
    pub async fn measure_memory(&self, replicas: &[Replica]) {
        for replica in replicas {
            if let Some(bytes) = self.inner.kit.runtime.memory(&self.inner.network, &replica.name).await {
                self.mark(mark::MEMORY_KIB, &replica.name, i64::try_from(bytes / 1024).unwrap_or(i64::MAX));
            }
        }
    }

    /// Counts what these replicas have open now. Written as marks [`mark::OPEN_FILES`]; none for one whose runtime cannot see it.
    pub async fn count_open_files(&self, replicas: &[Replica]) {
        for replica in replicas {
            if let Some(open) = self.inner.kit.runtime.open_files(&self.inner.network, &replica.name).await {
                self.mark(mark::OPEN_FILES, &replica.name, i64::try_from(open).unwrap_or(i64::MAX));
            }
        }
    }
}
