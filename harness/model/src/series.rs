//! What a picture of an experiment shows: phases and fault bands over success rate, latency, and
//! admitted-versus-quota per replica, in bins. Made from a history, so that `check` makes the same.
//!
//! One pass over operations and one over other events; latencies are kept by bin until their quantiles are taken.

use crate::history::event::mark;
use crate::history::{EventKind, FaultStage, History, OperationView};
use crate::name::Name;
use crate::operation::{Credential, Verb, stream};
use crate::stats::quantile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The series of one experiment. Times are milliseconds since the experiment's first event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Length of the experiment.
    pub span_ms: u64,
    /// Width of a bin.
    pub bin_ms: u64,
    /// Phases in order.
    pub phases: Vec<Band>,
    /// Faults, from injected to healed.
    pub faults: Vec<Band>,
    /// Valid requests of each bin.
    pub traffic: Vec<Bin>,
    /// Admitted requests of each bin on quota routes, for each replica.
    pub admitted: Vec<Admitted>,
    /// Quota windows of the experiment's `window` marks, in order, with what was admitted in each.
    #[serde(default)]
    pub windows: Vec<Window>,
}

/// A stretch of time with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Band {
    /// Name: phase and variant, or fault and target.
    pub name: String,
    /// Start.
    pub from_ms: u64,
    /// End.
    pub to_ms: u64,
    /// For a fault: whether it was witnessed at its start and gone at its end.
    #[serde(default)]
    pub proven: bool,
    /// For a fault: what its witnesses said.
    #[serde(default)]
    pub detail: String,
    /// Event number of its start.
    pub event: u64,
}

/// One bin of valid requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bin {
    /// Requests that should have been sent in this bin.
    pub sent: u32,
    /// Of these, answered 2xx.
    pub succeeded: u32,
    /// Median latency in milliseconds from the intended start, where the unanswered count as infinite;
    /// `None` if it is infinite or nothing was sent.
    pub p50_ms: Option<f64>,
    /// 95th percentile, likewise.
    pub p95_ms: Option<f64>,
}

/// Admitted quota requests at one replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Admitted {
    /// Replica that answered; the addressed component where no replica named itself.
    pub replica: String,
    /// Admitted in each bin.
    pub bins: Vec<u32>,
}

/// One quota window of one key: from its mark to the key's next mark, or to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Quota key.
    pub key: String,
    /// Number of the round.
    pub round: i64,
    /// Start.
    pub from_ms: u64,
    /// End.
    pub to_ms: u64,
    /// Requests of the key that arrived at an upstream in this stretch, by the replica that answered.
    pub admitted: BTreeMap<String, u32>,
    /// Event number of its mark.
    pub event: u64,
}

/// Nanoseconds in a millisecond.
const MS: u64 = 1_000_000;

impl Series {
    /// The series of a history, in at most `bins` bins (at least one). An empty history has an empty series.
    ///
    /// ```
    /// use gatecrash_model::history::build::{HistoryBuilder, call};
    /// use gatecrash_model::series::Series;
    /// let mut history = HistoryBuilder::new("latency");
    /// for ms in 0..100 {
    ///     history.at_ms(ms * 10).ok(call("traffic", "eu-1", "open", "alice"));
    /// }
    /// let fault = history.proven_fault("delay", "eu-1->eu-store", 200, 600);
    /// let series = Series::of(&history.build(), 10);
    /// assert_eq!(series.traffic.iter().map(|bin| bin.succeeded).sum::<u32>(), 100);
    /// assert!(series.faults[0].proven);
    /// assert_eq!((series.faults[0].from_ms, series.faults[0].to_ms), (200, 600));
    /// ```
    #[must_use]
    pub fn of(history: &History, bins: u32) -> Self {
        let (Some(first), Some(last)) = (history.events().first(), history.events().last()) else {
            return Self::default();
        };
        let span_ms = last.at.saturating_sub(first.at).div_ceil(MS).max(1);
        let bin_ms = span_ms.div_ceil(u64::from(bins.max(1))).max(1);
        let scale = Scale { start: first.at, span_ms, bin_ms };
        let mut series = Self {
            span_ms,
            bin_ms,
            phases: phases(history, &scale),
            faults: faults(history, &scale),
            traffic: Vec::new(),
            admitted: Vec::new(),
            windows: windows(history, &scale),
        };
        series.read_operations(history, &scale);
        series
    }

    fn read_operations(&mut self, history: &History, scale: &Scale) {
        let traffic = history.name(stream::TRAFFIC);
        let quota = history.name(stream::QUOTA);
        let mut latencies: Vec<Latencies> = vec![Latencies::default(); scale.bins()];
        let mut by_replica: BTreeMap<Name, Vec<u32>> = BTreeMap::new();
        let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (position, window) in self.windows.iter().enumerate() {
            by_key.entry(window.key.clone()).or_default().push(position);
        }
        for view in history.operations() {
            let Some(operation) = view.operation(history.events()) else {
                continue;
            };
            if Some(operation.stream) == traffic && operation.verb == Verb::Call && is_valid(operation.credential) {
                if let Some(bin) = latencies.get_mut(scale.bin(view.intended_at(history.events()))) {
                    bin.add(history, view);
                }
            } else if Some(operation.stream) == quota
                && let Some((at, _)) = view.arrival(history.events())
            {
                let answered = view.outcome(history.events()).map_or(Name::NONE, |(_, _, answer)| answer.replica);
                let replica = if answered.is_none() { operation.target } else { answered };
                let bins = by_replica.entry(replica).or_insert_with(|| vec![0; scale.bins()]);
                if let Some(count) = bins.get_mut(scale.bin(at)) {
                    *count = count.saturating_add(1);
                }
                let key = by_key.get(history.text(operation.key));
                if let Some(window) = key.and_then(|of_key| self.window_at(of_key, scale.ms(at))) {
                    let count = window.admitted.entry(history.text(replica).to_owned()).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        if latencies.iter().any(|bin| bin.sent > 0) {
            self.traffic = latencies.into_iter().map(Latencies::bin).collect();
        }
        self.admitted = by_replica
            .into_iter()
            .map(|(replica, bins)| Admitted { replica: history.text(replica).to_owned(), bins })
            .collect();
        self.admitted.sort_by(|a, b| a.replica.cmp(&b.replica));
    }

    /// The last of these windows (in order of their starts) that has begun at `ms`.
    fn window_at(&mut self, of_key: &[usize], ms: u64) -> Option<&mut Window> {
        let begun = of_key.partition_point(|at| self.windows.get(*at).is_some_and(|window| window.from_ms <= ms));
        let at = of_key.get(begun.checked_sub(1)?)?;
        self.windows.get_mut(*at)
    }
}

fn is_valid(credential: Credential) -> bool {
    credential == Credential::Valid || credential == Credential::NotNeeded
}

/// From run time to bins.
struct Scale {
    start: u64,
    span_ms: u64,
    bin_ms: u64,
}

impl Scale {
    fn ms(&self, at: u64) -> u64 {
        (at.saturating_sub(self.start) / MS).min(self.span_ms)
    }

    fn bins(&self) -> usize {
        usize::try_from(self.span_ms.div_ceil(self.bin_ms.max(1))).unwrap_or(1).max(1)
    }

    fn bin(&self, at: u64) -> usize {
        let bin = self.ms(at).checked_div(self.bin_ms).unwrap_or(0);
        usize::try_from(bin).unwrap_or(usize::MAX).min(self.bins().saturating_sub(1))
    }
}

#[derive(Clone, Default)]
struct Latencies {
    sent: u32,
    succeeded: u32,
    unanswered: usize,
    answered_ms: Vec<f64>,
}

impl Latencies {
    fn add(&mut self, history: &History, view: &OperationView) {
        self.sent = self.sent.saturating_add(1);
        let Some((at, _, answer)) = view.outcome(history.events()).filter(|(_, _, answer)| answer.status > 0) else {
            self.unanswered = self.unanswered.saturating_add(1);
            return;
        };
        if answer.is_success() {
            self.succeeded = self.succeeded.saturating_add(1);
        }
        self.answered_ms.push(at.saturating_sub(view.intended_at(history.events())) as f64 / 1e6);
    }

    fn bin(mut self) -> Bin {
        let p50_ms = quantile(&mut self.answered_ms, self.unanswered, 0.5);
        let p95_ms = quantile(&mut self.answered_ms, self.unanswered, 0.95);
        Bin { sent: self.sent, succeeded: self.succeeded, p50_ms, p95_ms }
    }
}

fn phases(history: &History, scale: &Scale) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    for (position, event) in history.others() {
        let EventKind::Phase { phase, variant } = event.kind else {
            continue;
        };
        let from_ms = scale.ms(event.at);
        if let Some(before) = bands.last_mut() {
            before.to_ms = from_ms;
        }
        let (phase, variant) = (history.text(phase), history.text(variant));
        let name = if variant.is_empty() { phase.to_owned() } else { format!("{phase} ({variant})") };
        let event = history.reference(position).event;
        bands.push(Band { name, from_ms, to_ms: scale.span_ms, proven: false, detail: String::new(), event });
    }
    bands
}

/// What was seen of one fault.
struct Seen {
    band: Band,
    healed: bool,
    witnessed: bool,
    gone: bool,
    doubted: bool,
}

fn faults(history: &History, scale: &Scale) -> Vec<Band> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut current: BTreeMap<u32, usize> = BTreeMap::new();
    for (position, event) in history.others() {
        let EventKind::Fault { fault, stage, kind, target, detail } = event.kind else {
            continue;
        };
        let now = scale.ms(event.at);
        if stage == FaultStage::Injected {
            let name = format!("{} {}", history.text(kind), history.text(target));
            let event = history.reference(position).event;
            let band = Band { name, from_ms: now, to_ms: scale.span_ms, proven: false, detail: String::new(), event };
            current.insert(fault, seen.len());
            seen.push(Seen { band, healed: false, witnessed: false, gone: false, doubted: false });
            continue;
        }
        let Some(found) = current.get(&fault).and_then(|at| seen.get_mut(*at)) else {
            continue;
        };
        match stage {
            FaultStage::Planned | FaultStage::Injected => {}
            FaultStage::Witnessed => found.witnessed = true,
            FaultStage::NotWitnessed | FaultStage::NotGone => found.doubted = true,
            FaultStage::Healed => {
                found.healed = true;
                found.band.to_ms = now;
            }
            FaultStage::WitnessedGone => {
                found.gone = true;
                if !found.healed {
                    found.band.to_ms = now;
                }
            }
        }
        let words = history.text(detail);
        if stage != FaultStage::Planned && stage != FaultStage::Healed && !words.is_empty() {
            if !found.band.detail.is_empty() {
                found.band.detail.push_str("; ");
            }
            found.band.detail.push_str(words);
        }
    }
    seen.into_iter()
        .map(|mut found| {
            found.band.proven = found.witnessed && found.gone && !found.doubted;
            found.band
        })
        .collect()
}

fn windows(history: &History, scale: &Scale) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open: BTreeMap<Name, usize> = BTreeMap::new();
    for (at, key, round, position) in history.marks(mark::WINDOW) {
        let from_ms = scale.ms(at);
        if let Some(before) = open.get(&key).and_then(|position| windows.get_mut(*position)) {
            before.to_ms = from_ms;
        }
        open.insert(key, windows.len());
        windows.push(Window {
            key: history.text(key).to_owned(),
            round,
            from_ms,
            to_ms: scale.span_ms,
            admitted: BTreeMap::new(),
            event: history.reference(position).event,
        });
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::build::{HistoryBuilder, call, with};

    #[test]
    fn an_empty_history_has_an_empty_series() {
        let mut history = HistoryBuilder::new("none");
        history.cut();
        assert_eq!(Series::of(&history.build(), 10), Series::default());
    }

    #[test]
    fn traffic_is_binned_by_intended_time_and_the_unanswered_are_infinite() {
        let mut history = HistoryBuilder::new("latency");
        history.takes_ns = 5 * MS;
        for ms in 0..10 {
            history.at_ms(ms * 10).ok(call(stream::TRAFFIC, "eu-1", "open", "a"));
        }
        for ms in 10..20 {
            history.at_ms(ms * 10).unknown(call(stream::TRAFFIC, "eu-1", "open", "a"), true);
        }
        // Not traffic of this picture: a bad credential, another stream.
        history.ok(with(call(stream::TRAFFIC, "eu-1", "open", "a"), Credential::Expired));
        history.ok(call("canary", "eu-1", "open", "a"));
        history.at_ms(200).phase("end", "");
        let series = Series::of(&history.build(), 2);
        assert_eq!((series.span_ms, series.bin_ms), (200, 100));
        let expected = [
            Bin { sent: 10, succeeded: 10, p50_ms: Some(5.0), p95_ms: Some(5.0) },
            Bin { sent: 10, succeeded: 0, p50_ms: None, p95_ms: None },
        ];
        assert_eq!(series.traffic, expected);
    }

    #[test]
    fn a_fault_is_proven_only_if_it_was_seen_to_bite_and_to_go() {
        let mut history = HistoryBuilder::new("faults");
        history.at_ms(0).phase("steady", "");
        history.proven_fault("refuse", "eu-1->eu-store", 100, 200);
        history.at_ms(250).fault(7, FaultStage::Injected, "kill", "eu-1");
        history.at_ms(300).fault(7, FaultStage::NotWitnessed, "kill", "eu-1");
        history.at_ms(350).fault(8, FaultStage::Planned, "pause", "eu-2");
        history.at_ms(400).phase("final-reads", "second");
        let series = Series::of(&history.build(), 4);
        let band = |name: &str, from_ms, to_ms, proven, event| Band {
            name: name.to_owned(),
            from_ms,
            to_ms,
            proven,
            detail: String::new(),
            event,
        };
        let faults = [band("refuse eu-1->eu-store", 100, 200, true, 3), band("kill eu-1", 250, 400, false, 7)];
        assert_eq!(series.faults, faults);
        let phases = [band("steady", 0, 400, false, 1), band("final-reads (second)", 400, 400, false, 10)];
        assert_eq!(series.phases, phases);
    }

    #[test]
    fn admitted_is_counted_by_replica_and_by_window() {
        let mut history = HistoryBuilder::new("quota");
        history.at_ms(0).mark(mark::WINDOW, "alice", 1);
        history.at_ms(10).ok(call(stream::QUOTA, "eu-1", "metered", "alice"));
        history.at_ms(20).ok(call(stream::QUOTA, "eu-2", "metered", "alice"));
        history.at_ms(30).rejected(call(stream::QUOTA, "eu-2", "metered", "alice"), 429);
        history.at_ms(100).mark(mark::WINDOW, "alice", 2);
        history.at_ms(110).unknown(call(stream::QUOTA, "eu-1", "metered", "alice"), true);
        history.at_ms(120).ok(call(stream::QUOTA, "eu-1", "metered", "bob"));
        let series = Series::of(&history.build(), 2);
        let total = |replica: &str| -> u32 {
            series.admitted.iter().filter(|one| one.replica == replica).flat_map(|one| &one.bins).sum()
        };
        assert_eq!((total("eu-1"), total("eu-2")), (3, 1));
        let counts: Vec<_> = series.windows.iter().map(|window| (window.round, window.admitted.clone())).collect();
        let count = |replica: &str, count| (replica.to_owned(), count);
        assert_eq!(
            counts,
            [(1, BTreeMap::from([count("eu-1", 1), count("eu-2", 1)])), (2, BTreeMap::from([count("eu-1", 1)]))]
        );
    }
}
