//! Experiments that begin and end together. Nobody's story begins before every lab is up, and no lab is removed before every
//! story has ended: what starts or stops a dozen processes is no part of anyone's story.

use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What one of them has to pass, from [`together`]. Whoever drops it, in whatever way it ended, keeps nobody waiting.
#[derive(Debug)]
pub(super) struct Companion {
    begin: Gate,
    end: Gate,
}

/// Opens when the last one has come to it.
#[derive(Debug)]
struct Gate {
    opened: CancellationToken,
    /// Dropped by who has come; the last one opens.
    closed: Option<Arc<DropGuard>>,
}

/// So many that begin and end together.
pub(super) fn together(companions: usize) -> Vec<Companion> {
    let gates = || {
        let opened = CancellationToken::new();
        let closed = Arc::new(opened.clone().drop_guard());
        let gates = (0..companions).map(|_| Gate { opened: opened.clone(), closed: Some(Arc::clone(&closed)) });
        gates.collect::<Vec<_>>()
    };
    gates().into_iter().zip(gates()).map(|(begin, end)| Companion { begin, end }).collect()
}

impl Companion {
    /// Waits until every lab is up, or was given up: as long as the slowest takes, which is bounded.
    pub(super) async fn begin(&mut self) {
        self.begin.pass().await;
    }

    /// Waits until every story has ended; each of them is bounded.
    pub(super) async fn end(&mut self) {
        self.end.pass().await;
    }
}

impl Gate {
    async fn pass(&mut self) {
        self.closed = None;
        self.opened.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn nobody_passes_before_the_last_one_has_come() {
        let mut all = together(3).into_iter();
        let [mut first, mut second, mut third] = std::array::from_fn(|_| all.next().unwrap());
        timeout(SOON, first.begin()).await.unwrap_err();
        timeout(SOON, second.begin()).await.unwrap_err();
        timeout(SOON, third.begin()).await.unwrap();
        timeout(SOON, first.begin()).await.unwrap();
        timeout(SOON, second.begin()).await.unwrap();
        timeout(SOON, first.end()).await.unwrap_err();
        timeout(SOON, second.end()).await.unwrap_err();
        timeout(SOON, third.end()).await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_come_up_or_panics_keeps_nobody_waiting() {
        let mut all = together(3).into_iter();
        let [mut first, second, third] = std::array::from_fn(|_| all.next().unwrap());
        drop(second);
        let broken = tokio::spawn(async move {
            let _third = third;
            panic!("a test's panic");
        });
        broken.await.unwrap_err();
        timeout(SOON, first.begin()).await.unwrap();
        timeout(SOON, first.end()).await.unwrap();
    }

    #[tokio::test]
    async fn one_alone_waits_for_nobody() {
        let mut alone = together(1).remove(0);
        timeout(SOON, alone.begin()).await.unwrap();
        timeout(SOON, alone.end()).await.unwrap();
    }
}
