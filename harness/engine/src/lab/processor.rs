//! How much of the machine does a replica use? What its runtime says of it: processor, memory, open files.

use super::{Lab, Replica};
use futures::future::join_all;
use gatecrash_model::history::event::mark;
use std::time::Duration;

impl Lab {
    /// Records the processor time that each of these replicas has used since its last start, and returns it in their order; nothing of one that
    /// its runtime says nothing about.
    pub async fn record_processor_times(&self, replicas: &[Replica]) -> Vec<Option<Duration>> {
        let (runtime, network) = (&self.inner.kit.runtime, &self.inner.network);
        let used = replicas.iter().map(|one| runtime.processor_time(network, &one.name));
        // An engine takes its time for each answer: none waits for another.
        let used = join_all(used).await;
        self.mark_each(mark::PROCESSOR_US, replicas, used.iter().map(|used| used.map(|used| used.as_micros())));
        used
    }

    /// Measures the memory of these replicas now. Written as marks [`mark::MEMORY_KIB`]; none for one whose runtime cannot see it.
    pub async fn measure_memory(&self, replicas: &[Replica]) {
        let (runtime, network) = (&self.inner.kit.runtime, &self.inner.network);
        let has = join_all(replicas.iter().map(|one| runtime.memory(network, &one.name))).await;
        self.mark_each(
            mark::MEMORY_KIB,
            replicas,
            has.into_iter().map(|has| has.map(|bytes| u128::from(bytes / 1024))),
        );
    }

    /// Counts what these replicas have open now, and what of it are connections of their clients: how many of those there are is up to the
    /// clients. Written as marks [`mark::CLIENT_CONNECTIONS`] and [`mark::OPEN_FILES`]; none of the latter for one whose runtime cannot see it.
    pub async fn count_open_files(&self, replicas: &[Replica]) {
        let (runtime, network) = (&self.inner.kit.runtime, &self.inner.network);
        let open = join_all(replicas.iter().map(|one| runtime.open_files(network, &one.name))).await;
        let of_clients = replicas.iter().map(|one| {
            let links = self.data_links(&one.name).ok()?;
            Some(links.iter().map(|(_, link)| u128::from(link.counters().open)).sum())
        });
        self.mark_each(mark::CLIENT_CONNECTIONS, replicas, of_clients);
        self.mark_each(mark::OPEN_FILES, replicas, open.into_iter().map(|open| open.map(u128::from)));
    }

    fn mark_each(&self, name: &str, replicas: &[Replica], values: impl Iterator<Item = Option<u128>>) {
        for (replica, value) in replicas.iter().zip(values) {
            if let Some(value) = value {
                self.mark(name, &replica.name, i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
    }
}
