//! What analytics were told: which calls were answered and which of them are recorded.

use super::{Lab, LabError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Operations by what is known of them, by their ids. Empty in a deployment without analytics.
#[derive(Debug, Default)]
pub(super) struct Calls {
    answered: BTreeSet<u32>,
    recorded: BTreeSet<u32>,
    /// The youngest that each replica told of.
    youngest: BTreeMap<String, u32>,
}

impl Calls {
    /// How many calls of `from..to` were answered and are not recorded.
    fn missing(&self, from: u32, to: u32) -> usize {
        if from >= to {
            return 0;
        }
        self.answered.range(from..to).filter(|op| !self.recorded.contains(op)).count()
    }
}

impl Lab {
    /// A gateway answered this call.
    pub(super) fn is_answered(&self, op: u32) {
        if self.deployment().analytics.is_some() {
            self.state().calls.answered.insert(op);
        }
    }

    /// Analytics recorded this call, of which `replica` told them.
    pub(super) fn is_recorded(&self, replica: &str, op: u32) {
        let calls = &mut self.state().calls;
        calls.recorded.insert(op);
        if let Some(youngest) = calls.youngest.get_mut(replica) {
            *youngest = op.max(*youngest);
        } else {
            calls.youngest.insert(replica.to_owned(), op);
        }
    }

    /// The id that the next operation gets.
    #[must_use]
    pub fn next_operation(&self) -> u32 {
        self.inner.next_op.load(Ordering::Relaxed)
    }

    /// Waits until analytics recorded every call that was answered so far, from operation `from` on: at most `within`. What is still missing then the
    /// claims say.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub async fn until_recorded(&self, from: u32, within: Duration) -> Result<(), LabError> {
        let (began, to) = (self.now(), self.next_operation());
        loop {
            let missing = self.state().calls.missing(from, to);
            if missing == 0 || self.inner.kit.clock.since(began) >= within {
                tracing::debug!(missing, "waited for analytics");
                return Ok(());
            }
            self.hold(LOOK_EVERY).await?;
        }
    }

    /// Waits until each of these replicas told analytics of a call that was sent from now on: at most `within`. One that tells in the order of its
    /// calls has told all that it kept by then.
    ///
    /// # Errors
    /// As [`Lab::hold`].
    pub async fn until_telling(&self, replicas: &[super::Replica], within: Duration) -> Result<(), LabError> {
        let (began, from) = (self.now(), self.next_operation());
        loop {
            let all = {
                let youngest = &self.state().calls.youngest;
                replicas.iter().all(|replica| youngest.get(&replica.name).is_some_and(|youngest| *youngest >= from))
            };
            if all || self.inner.kit.clock.since(began) >= within {
                tracing::debug!(all, "waited for replicas that tell analytics again");
                return Ok(());
            }
            self.hold(LOOK_EVERY).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_was_answered_in_the_stretch_and_not_recorded() {
        let mut calls = Calls::default();
        calls.answered.extend([1, 2, 5, 9]);
        calls.recorded.extend([2, 3]);
        assert_eq!((calls.missing(0, 10), calls.missing(2, 9), calls.missing(3, 5)), (3, 1, 0));
        assert_eq!(calls.missing(9, 2), 0);
    }
}
