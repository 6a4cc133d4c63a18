//! What each gateway of a group answered, stretch by stretch.

use super::{sides, voters_of};
use crate::claims::common::{Phase, Seen, decided_by, phases, stream};
use crate::claims::lives::Offences;
use gatecrash_model::operation::{Verb, stream as streams};
use gatecrash_model::quorum::Layout;
use gatecrash_model::verdict::{Counterexample, EventRef, Number, Reason, Verdict};
use gatecrash_model::{Deployment, History, Name};

/// How a call ended, as far as it says something of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Served, or refused by a policy (401, 403, 429).
    Decided,
    /// There is no such route, it was said.
    NoRoute,
    /// 5xx.
    ServerError,
    /// No answer, or one that says nothing.
    Nothing,
}

/// The answer to one call.
pub(super) fn ended(seen: &Seen<'_>) -> Ended {
    match seen.status() {
        200..=299 | 401 | 403 | 429 => Ended::Decided,
        404 => Ended::NoRoute,
        500..=599 => Ended::ServerError,
        _ => Ended::Nothing,
    }
}

/// A history with the steps that were told of it.
pub(super) struct Story<'h> {
    pub(super) history: &'h History,
    phases: Vec<Phase>,
    /// All calls of the streams that the experiments of this family have, in the order in which they were sent.
    calls: Vec<Seen<'h>>,
    /// All revocations that were asked for.
    pub(super) revocations: Vec<Seen<'h>>,
    /// All tokens that gateways were asked for.
    pub(super) issues: Vec<Seen<'h>>,
}

impl<'h> Story<'h> {
    pub(super) fn read(history: &'h History) -> Self {
        let (mut calls, mut revocations, mut issues) = (Vec::new(), Vec::new(), Vec::new());
        for name in [streams::TRAFFIC, streams::TOKEN, streams::QUOTA] {
            for seen in stream(history, name) {
                let of = match seen.asked.verb {
                    Verb::Call => &mut calls,
                    Verb::RevokeToken => &mut revocations,
                    Verb::IssueToken => &mut issues,
                    Verb::Publish | Verb::ChangeContract | Verb::Register | Verb::Fetch | Verb::Ready | Verb::Live => {
                        continue;
                    }
                };
                of.push(seen);
            }
        }
        calls.sort_by_key(|seen| seen.sent);
        Self { history, phases: phases(history), calls, revocations, issues }
    }

    /// The steps that were told, each once, in order.
    pub(super) fn steps(&self) -> Vec<Name> {
        let mut steps: Vec<Name> = Vec::new();
        for phase in &self.phases {
            if self.history.text(phase.phase) == "inject" && !steps.contains(&phase.variant) {
                steps.push(phase.variant);
            }
        }
        steps
    }

    /// The stretch of `phase` in `step`.
    pub(super) fn stretch(&self, phase: &str, step: Name) -> Option<Phase> {
        self.phases.iter().rev().find(|found| self.history.text(found.phase) == phase && found.variant == step).copied()
    }

    /// The calls that were sent in `from..to`.
    pub(super) fn calls(&self, from: u64, to: u64) -> &[Seen<'h>] {
        let begin = self.calls.partition_point(|seen| seen.sent < from);
        let end = self.calls.partition_point(|seen| seen.sent < to);
        self.calls.get(begin..end).unwrap_or_default()
    }

    /// Whether `seen` is of `name`.
    pub(super) fn is(&self, seen: &Seen<'_>, name: &str) -> bool {
        self.history.text(seen.asked.stream) == name
    }

    /// Whether it took longer than `most_ms`.
    pub(super) fn hung(&self, seen: &Seen<'_>, most_ms: f64) -> bool {
        match seen.latency_ms(self.history) {
            Some(taken) => taken > most_ms,
            // What the end of the story cut off says nothing.
            None => false,
        }
    }
}

/// What a check of this family found against its claim, and why it may not be able to tell.
#[derive(Default)]
pub(super) struct Findings {
    offences: Offences,
    /// The first offence in words, and the number that it is about.
    first: Option<(String, &'static str)>,
    pub(super) reason: Option<Reason>,
}

impl Findings {
    /// One more offence, shown by an event if there is one.
    pub(super) fn offend(
        &mut self,
        history: &History,
        event: Option<usize>,
        about: &'static str,
        words: impl FnOnce() -> String,
    ) {
        self.first.get_or_insert_with(|| (words(), about));
        match event {
            Some(event) => self.offences.add(history, event),
            None => self.offences.count = self.offences.count.saturating_add(1),
        }
    }

    /// A window that went over its bound, as these events show.
    pub(super) fn over(&mut self, events: &[EventRef], about: &'static str, words: impl FnOnce() -> String) {
        self.first.get_or_insert_with(|| (words(), about));
        self.offences.count = self.offences.count.saturating_add(1);
        self.offences.events.extend(events.iter().cloned());
    }

    /// The first doubt stands.
    pub(super) fn doubt(&mut self, reason: impl FnOnce() -> Reason) {
        self.reason.get_or_insert_with(reason);
    }

    /// The violation that was found first; `None` if there was none.
    pub(super) fn violated(&mut self, samples: u64, numbers: &[Number]) -> Option<Verdict> {
        let (explanation, about) = self.first.take()?;
        let (events, numbers) = (std::mem::take(&mut self.offences.events), decided_by(numbers.to_vec(), about));
        Some(Verdict::Violated(Counterexample { explanation, events, samples, numbers }))
    }
}

/// The event that ends a call, else the one that began it.
pub(super) fn telling(seen: &Seen<'_>) -> usize {
    seen.view.completed().unwrap_or(seen.view.invoked as usize)
}

/// One side of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Its sites.
    pub(super) sites: Vec<String>,
    /// Whether it has a quorum; `None` where what the split leaves is the gateways' to find out.
    pub(super) quorum: Option<bool>,
}

impl Side {
    /// How it is called in sentences.
    pub(super) fn label(&self) -> String {
        let sites: Vec<String> = self.sites.iter().map(|site| format!("`{site}`")).collect();
        sites.join(", ")
    }

    /// The calls among `calls` that were sent to it.
    pub(super) fn of<'a, 'h: 'a>(
        &'a self,
        history: &'a History,
        calls: &'a [Seen<'h>],
    ) -> impl Iterator<Item = &'a Seen<'h>> + Clone + 'a {
        calls.iter().filter(move |seen| self.has(history, seen))
    }

    /// Whether `seen` was asked of it.
    pub(super) fn has(&self, history: &History, seen: &Seen<'_>) -> bool {
        let site = history.text(seen.asked.site);
        self.sites.iter().any(|of| of == site)
    }
}

/// The sides of `step` that live, with what arithmetic says of their quorum.
pub(super) fn sides_of(deployment: &Deployment, step: &str) -> Vec<Side> {
    let Some(layout) = Layout::of(deployment) else { return Vec::new() };
    let both = sides(deployment);
    let sizes = [voters_of(deployment, &both[0]), voters_of(deployment, &both[1])];
    let side = |at: usize| -> Option<Side> {
        let (sites, size) = (both.get(at)?.clone(), *sizes.get(at)?);
        let quorum = (step != super::ONE_WAY).then_some(size >= layout.quorum());
        Some(Side { sites, quorum })
    };
    // The story takes the larger side away, of two alike the first.
    let lost = if step == super::MAJORITY_LOST { usize::from(sizes[0] < sizes[1]) } else { usize::MAX };
    (0..2).filter(|at| *at != lost).filter_map(side).collect()
}
