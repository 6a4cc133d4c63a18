//! Does a replica serve? It is asked again and again, at its own address, for every route without a quota, with a credential and
//! without: one sample is good if all its answers are right. That is more than readiness, and what readiness is held to.

use super::common::stream;
use gatecrash_model::operation::Verb;
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// Stream: the requests of the samples.
pub(crate) const SERVING: &str = "serving";
/// Mark: a sample of this replica (subject) begins; value: its number. Its requests are those of the replica until its next one.
pub(crate) const SAMPLE: &str = "sample";

/// One sample of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Whom it asked.
    pub(crate) replica: Name,
    /// When it began, ns.
    pub(crate) from: u64,
    /// When its last answer came, ns.
    pub(crate) to: u64,
    /// Whether every answer was right, and there was one.
    pub(crate) good: bool,
    /// When the first request was sent that had no right answer, ns.
    pub(crate) failed_at: Option<u64>,
    /// Position of the event that shows it: of the first wrong answer, else of the mark.
    pub(crate) event: usize,
}

/// The samples that asked for anything, in order of their starts; none of which a request was given up.
pub(crate) fn samples(history: &History) -> Vec<Sample> {
    let mut begun: BTreeMap<Name, Vec<(Sample, Option<u64>)>> = BTreeMap::new();
    for (at, replica, _, event) in history.marks(SAMPLE) {
        let sample = Sample { replica, from: at, to: at, good: true, failed_at: None, event };
        begun.entry(replica).or_default().push((sample, Some(0)));
    }
    for seen in stream(history, SERVING) {
        let Some(of_replica) = begun.get_mut(&seen.asked.target) else { continue };
        let number = of_replica.partition_point(|(sample, _)| sample.from <= seen.sent);
        let Some((sample, asked)) = number.checked_sub(1).and_then(|number| of_replica.get_mut(number)) else {
            continue;
        };
        *asked = asked.filter(|_| !seen.is_given_up()).map(|asked| asked.saturating_add(1));
        let status = seen.status();
        let right = if seen.asked.verb != Verb::Call {
            false
        } else if seen.asked.credential.must_refuse() {
            (400..500).contains(&status) && seen.arrived.is_none()
        } else {
            (200..300).contains(&status)
        };
        if let Some((ended, ..)) = seen.outcome {
            sample.to = sample.to.max(ended);
        }
        if !right {
            sample.good = false;
            if sample.failed_at.is_none_or(|known| seen.sent < known) {
                sample.failed_at = Some(seen.sent);
                sample.event = seen.view.completed().unwrap_or(sample.event);
            }
        }
    }
    let asked = begun.into_values().flatten().filter(|(_, asked)| asked.is_some_and(|asked| asked > 0));
    let mut all: Vec<Sample> = asked.map(|(sample, _)| sample).collect();
    all.sort_by_key(|sample| (sample.from, sample.replica));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::history::build::{HistoryBuilder, call, with};
    use gatecrash_model::operation::Credential;

    /// What samples say, each as (start, end, good) in ms.
    fn told(history: &History) -> Vec<(u64, u64, bool)> {
        samples(history).iter().map(|one| (one.from / 1_000_000, one.to / 1_000_000, one.good)).collect()
    }

    fn begin(history: &mut HistoryBuilder, ms: u64, replica: &str) {
        history.at_ms(ms).mark(SAMPLE, replica, 1);
    }

    #[test]
    fn a_sample_is_good_if_every_answer_is_right_and_none_if_one_was_not_waited_for() {
        let mut history = HistoryBuilder::new("x");
        let plain = || call(SERVING, "eu-1", "plain", "client-1");
        let without = || with(plain(), Credential::Missing);
        begin(&mut history, 10, "eu-1");
        history.ok(plain());
        history.rejected(without(), 401);
        begin(&mut history, 20, "eu-1");
        history.ok(plain());
        history.at_ms(21).ok(without());
        begin(&mut history, 30, "eu-1");
        history.gateway_error(plain(), 503);
        begin(&mut history, 40, "eu-1");
        history.ok(plain());
        history.gateway_error(without(), 503);
        begin(&mut history, 50, "eu-1");
        history.ok(plain());
        history.operation(without(), None, false);
        let history = history.build();
        assert_eq!(told(&history), [(10, 11, true), (20, 22, false), (30, 31, false), (40, 41, false)]);
        assert_eq!(samples(&history)[1].failed_at, Some(21_000_000));
    }

    #[test]
    fn samples_belong_to_their_replica_and_one_that_asked_nothing_is_none() {
        let mut history = HistoryBuilder::new("x");
        begin(&mut history, 10, "eu-1");
        begin(&mut history, 11, "eu-2");
        history.at_ms(12).ok(call(SERVING, "eu-1", "plain", "client-1"));
        history.at_ms(13).refused(call(SERVING, "eu-2", "plain", "client-1"));
        history.at_ms(14).ok(call("traffic", "eu-2", "plain", "client-1"));
        begin(&mut history, 20, "eu-2");
        let history = history.build();
        assert_eq!(told(&history), [(10, 13, true), (11, 14, false)]);
    }
}
