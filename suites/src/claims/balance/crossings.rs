//! Which requests for a backend of their own site arrived at that of another one? Arrivals say it: each names its upstream.

use super::{OWN, REMOTE};
use crate::claims::common::{Phase, Seen, nanos};
use crate::claims::configuration::words;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::{EventKind, OperationView};
use gatecrash_model::verdict::EventRef;
use gatecrash_model::{Deployment, History, Name};
use std::time::Duration;

/// Arrivals of a history by where they belong.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    /// Local requests that arrived in their own site.
    pub(super) stayed: u64,
    /// Local requests that arrived in another site although their own backend was there.
    pub(super) strayed: u64,
    /// The same while their own backend was away, or had just come back: nobody forbids that.
    pub(super) failed_over: u64,
    /// Remote requests that arrived in another site, and in their own.
    pub(super) remote: u64,
    pub(super) remote_at_home: u64,
    /// The first that strayed, in words.
    pub(super) first: String,
    /// The first few that strayed.
    pub(super) events: Vec<EventRef>,
}

/// When the own backend was away: from before the fault until a gateway had `recovers` to find it again, ns.
pub(super) fn own_away(history: &History, phases: &[Phase], recovers: Duration) -> Option<(u64, u64)> {
    let mut own = phases.iter().filter(|phase| history.text(phase.variant) == OWN);
    let from = own.clone().next()?.from;
    let healed = own.find(|phase| history.text(phase.phase) == "settle").map_or(u64::MAX, |phase| phase.from);
    Some((from, healed.saturating_add(nanos(recovers))))
}

/// Whether `upstream` is that of the site called `site`; `None` if it is of no site.
fn is_of(deployment: &Deployment, history: &History, upstream: Name, site: Name) -> Option<bool> {
    let upstream = history.text(upstream);
    let of = deployment.sites.iter().find(|of| of.upstream() == upstream)?;
    Some(of.name == history.text(site))
}

/// The operation with this id: they are in the order of their ids.
fn operation(history: &History, op: u32) -> Option<&OperationView> {
    let all = history.operations();
    all.get(all.binary_search_by_key(&op, |view| view.op).ok()?)
}

impl Crossings {
    /// Reads all arrivals; `away` is when the own backend could not be reached, ns.
    pub(super) fn read(scope: &Scope<'_>, history: &History, away: Option<(u64, u64)>) -> Self {
        let mut found = Self::default();
        let (events, remote) = (history.events(), history.name(REMOTE));
        let in_trouble = |at: u64| away.is_some_and(|(from, to)| (from..to).contains(&at));
        for (position, event) in events.iter().enumerate() {
            let EventKind::Arrived { op, upstream, .. } = event.kind else { continue };
            let Some(view) = operation(history, op) else { continue };
            let Some(asked) = view.operation(events) else { continue };
            // Calibration enters no site.
            if scope.deployment.site(history.text(asked.site)).is_none() {
                continue;
            }
            let Some(at_home) = is_of(scope.deployment, history, upstream, asked.site) else { continue };
            let count = match (Some(asked.stream) == remote, at_home) {
                (true, true) => &mut found.remote_at_home,
                (true, false) => &mut found.remote,
                (false, true) => &mut found.stayed,
                (false, false) if in_trouble(view.sent_at(events)) || in_trouble(event.at) => &mut found.failed_over,
                (false, false) => {
                    let outcome = view.outcome(events);
                    let sent = view.sent_at(events);
                    if found.events.is_empty() {
                        let seen = Seen { view, asked, sent, outcome, arrived: Some(event.at) };
                        found.first = format!("{} arrived at `{}`", words(history, &seen), history.text(upstream));
                    }
                    if found.events.len() < 3 {
                        found.events.push(history.reference(position));
                    }
                    &mut found.strayed
                }
            };
            *count = count.saturating_add(1);
        }
        found
    }
}
