//! What did clients get in a stretch of time: how much of what they asked for, how long nothing, from which site?

use crate::claims::common::{Phase, count, faults, judged, late_doubt, len, record_doubt, seconds, stream};
use crate::claims::configuration::telling;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{EventRef, Number, Reason};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// A harness that was later than a tenth of this may have lost requests by itself: they have a second at least.
const CERTAIN: Duration = Duration::from_millis(2500);

/// A request that is older, ns, is not under way: it hangs.
pub(super) const YOUNG: u64 = 1_000_000_000;

/// One request that should succeed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it should have been sent, ns.
    pub(super) at: u64,
    /// When its client had an answer, or waited no longer, ns.
    pub(super) ended: u64,
    /// Whether it was answered 2xx.
    pub(super) ok: bool,
    /// Whose ingress it was sent to.
    pub(super) site: Name,
    /// Position of the event that tells most of it.
    pub(super) event: usize,
}

/// All requests of the clients that were not given up, in the order in which they should have been sent.
pub(super) fn requests(history: &History) -> Vec<Asked> {
    requests_of(history, &[streams::TRAFFIC])
}

/// Those of these streams, in the order in which they should have been sent.
pub(super) fn requests_of(history: &History, names: &[&str]) -> Vec<Asked> {
    let mut all: Vec<Asked> = names
        .iter()
        .flat_map(|name| stream(history, name))
        .filter(|seen| !seen.is_given_up())
        .map(|seen| Asked {
            at: seen.view.intended_at(history.events()),
            ended: seen.ended(),
            ok: seen.outcome.is_some_and(|(_, _, answer)| answer.is_success()),
            site: seen.asked.site,
            event: telling(&seen),
        })
        .collect();
    all.sort_by_key(|asked| asked.at);
    all
}

/// The part of `all` in `from..to` (ns).
pub(super) fn within(all: &[Asked], from: u64, to: u64) -> &[Asked] {
    let first = all.partition_point(|asked| asked.at < from);
    let end = all.partition_point(|asked| asked.at < to).max(first);
    all.get(first..end).unwrap_or_default()
}

/// Share of success, 0 to 1; `None` if nothing was asked.
pub(super) fn success(asked: &[Asked]) -> Option<f64> {
    let ok = asked.iter().filter(|asked| asked.ok).count();
    (!asked.is_empty()).then(|| count(len(ok)) / count(len(asked.len())))
}

/// Longest time in `from..to` without a success, ns, and where it began.
pub(super) fn silence(asked: &[Asked], from: u64, to: u64) -> (u64, u64) {
    let mut longest = (0, from);
    let mut last = from;
    for at in asked.iter().filter(|asked| asked.ok).map(|asked| asked.at).chain([to]) {
        let length = at.saturating_sub(last);
        if length > longest.0 {
            longest = (length, last);
        }
        last = at;
    }
    longest
}

/// The phases called `name` in `variant`, from their repetitions on.
pub(super) fn phase_of(history: &History, phases: &[Phase], name: &str, variant: &str) -> Option<Phase> {
    let found = crate::claims::common::phase(history, phases, name, variant)?;
    Some(judged(history, found))
}

/// When the last of the faults that were injected in the phase `inject` of `variant` was in place; its start if there is none.
pub(super) fn lost_at(history: &History, phases: &[Phase], variant: &str) -> Option<u64> {
    let inject = crate::claims::common::phase(history, phases, "inject", variant)?;
    let injected = faults(history).into_iter().map(|fault| fault.from);
    Some(injected.filter(|at| (inject.from..=inject.to).contains(at)).max().unwrap_or(inject.from))
}

/// What a check finds, and what it says of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Name of the number that shows it, and words.
    pub(super) broken: Vec<(String, String)>,
    /// The first events that show it.
    pub(super) events: Vec<EventRef>,
    /// All numbers.
    pub(super) numbers: Vec<Number>,
    /// Requests that were judged.
    pub(super) samples: u64,
    /// Why it cannot hold, the first reason.
    pub(super) missing: Option<Reason>,
}

impl Found {
    /// Why nothing can be said.
    pub(super) fn few(&mut self, text: impl Into<String>) {
        if self.missing.is_none() {
            self.missing = Some(Reason::new("too-few-samples", text));
        }
    }

    /// Success of what was asked in `when`, held against `slo` (0 to 1).
    pub(super) fn success(&mut self, history: &History, when: &str, asked: &[Asked], slo: f64) {
        self.samples = self.samples.saturating_add(len(asked.len()));
        let Some(share) = success(asked) else {
            self.few(format!("nothing was asked {when}"));
            return;
        };
        let name = format!("success ({when})");
        self.numbers.push(Number::new(&name, share * 100.0, "%").limit(slo * 100.0));
        if share < slo {
            let text = format!(
                "{when}: {:.2} % of {} requests succeeded; {:.2} % are needed",
                share * 100.0,
                asked.len(),
                slo * 100.0
            );
            self.break_by(history, name, text, asked.iter().find(|asked| !asked.ok).map(|asked| asked.event));
        }
    }

    /// The longest time without any success in `from..to`, held against `allowed` (ns).
    pub(super) fn silence(
        &mut self,
        history: &History,
        when: &str,
        all: &[Asked],
        (from, to): (u64, u64),
        allowed: u64,
    ) {
        let asked = within(all, from, to);
        let (longest, began) = silence(asked, from, to);
        let name = format!("longest time without a success ({when})");
        self.numbers.push(Number::new(&name, seconds(longest), "s").limit(seconds(allowed)));
        if longest > allowed && !asked.is_empty() {
            let text = format!("{when}: nothing succeeded for {:.2} s", seconds(longest));
            let event = asked.iter().find(|asked| asked.at >= began && !asked.ok).or(asked.first());
            self.break_by(history, name, text, event.map(|asked| asked.event));
        }
    }

    /// Something is broken.
    pub(super) fn break_by(&mut self, history: &History, name: String, text: String, event: Option<usize>) {
        self.broken.push((name, text));
        self.events.extend(event.map(|event| history.reference(event)));
    }
}

/// Why a lost request in `from..to` may be the harness' own: the record is not whole, or it was late itself.
pub(super) fn uncertain(history: &History, from: u64, to: u64) -> Option<Reason> {
    record_doubt(history).or_else(|| late_doubt(history, CERTAIN, from, to))
}
