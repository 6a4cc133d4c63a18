//! Which calls were answered, by whom, and what did analytics record of them?

use super::{LOST, OUTAGES};
use crate::claims::common::{Phase, cut_at, faults, phase};
use gatecrash_model::claim::Scope;
use gatecrash_model::{History, Name};

/// A call to a gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Its operation.
    pub(super) op: u32,
    /// When it was sent, ns.
    pub(super) sent: u64,
    /// When its client had an answer, ns; `u64::MAX` if never.
    pub(super) ended: u64,
    /// Whose gateway was asked.
    pub(super) site: Name,
    /// Which replica was asked.
    pub(super) replica: Name,
    /// When the analytics of its own site recorded it first, ns; `u64::MAX` if never.
    pub(super) recorded: u64,
    /// Position of its invocation.
    pub(super) event: usize,
}

impl Call {
    /// Whether a gateway answered it.
    pub(super) fn is_answered(&self) -> bool {
        self.ended < u64::MAX
    }

    /// Whether analytics of its own site recorded it at all.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded < u64::MAX
    }
}

/// All calls, and what is wrong with the records.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// In the order of their operations, and so in about the order in which they were sent.
    pub(super) all: Vec<Call>,
    /// Records by site of the analytics: of own calls, of those again, of calls of other sites; with the first event of each fault.
    pub(super) by_site: Vec<Records>,
}

/// What the analytics of one site recorded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records {
    /// The site.
    pub(super) site: Name,
    /// Calls of its own gateways.
    pub(super) own: u64,
    /// Of these, records of a call that was recorded already, and the first such event.
    pub(super) again: (u64, Option<usize>),
    /// Calls of gateways of other sites, and the first such event.
    pub(super) strange: (u64, Option<usize>),
}

/// Reads all calls and records once.
pub(super) fn calls(scope: &Scope<'_>, history: &History) -> Calls {
    let mut found = Calls::default();
    let sites: Vec<(Name, Option<Name>)> = scope
        .deployment
        .sites
        .iter()
        .filter_map(|site| Some((history.name(&site.name)?, history.name(&site.analytics()))))
        .collect();
    let events = history.events();
    for view in history.operations() {
        let Some(asked) = view.operation(events) else { continue };
        if !sites.iter().any(|(site, _)| *site == asked.site) {
            continue;
        }
        let answered = view.outcome(events).filter(|(.., answer)| answer.status != 0);
        found.all.push(Call {
            op: view.op,
            sent: view.sent_at(events),
            ended: answered.map_or(u64::MAX, |(ended, ..)| ended),
            site: asked.site,
            replica: asked.target,
            recorded: u64::MAX,
            event: view.invoked as usize,
        });
    }
    for (site, _) in &sites {
        found.by_site.push(Records { site: *site, own: 0, again: (0, None), strange: (0, None) });
    }
    for (at, op, analytics, _, event) in history.records() {
        let Some(place) = sites.iter().position(|(_, known)| *known == Some(analytics)) else { continue };
        let Some(records) = found.by_site.get_mut(place) else { continue };
        let call = found.all.binary_search_by_key(&op, |call| call.op).ok();
        let Some(call) = call.and_then(|at| found.all.get_mut(at)) else { continue };
        let count = |(times, first): &mut (u64, Option<usize>)| {
            *times = times.saturating_add(1);
            first.get_or_insert(event);
        };
        if call.site != records.site {
            count(&mut records.strange);
            continue;
        }
        records.own = records.own.saturating_add(1);
        if call.is_recorded() {
            count(&mut records.again);
        }
        call.recorded = call.recorded.min(at);
    }
    found
}

/// The site whose analytics are lost.
pub(super) fn lost(history: &History) -> Option<Name> {
    history.marks(LOST).next().map(|(_, site, ..)| site)
}

/// One outage of analytics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// In words.
    pub(super) when: &'static str,
    /// While it lasts.
    pub(super) hold: Phase,
    /// After it, when calls are told of again; `None` if that was not seen to its end: then nobody can tell what is lost.
    pub(super) settle: Option<Phase>,
    /// When analytics were away, ns.
    pub(super) from: u64,
    /// When they were back, ns.
    pub(super) healed: u64,
}

/// The outages that were seen to their end, in their order, and the words of those that were not.
pub(super) fn outages(history: &History, phases: &[Phase]) -> (Vec<Outage>, Vec<&'static str>) {
    let (mut seen, mut missing) = (Vec::new(), Vec::new());
    let faults = faults(history);
    for (variant, when) in OUTAGES {
        let inject = phase(history, phases, "inject", variant);
        let hold = phase(history, phases, "hold", variant);
        let fault = inject.zip(hold).and_then(|(inject, hold)| {
            let of = faults.iter().find(|fault| (inject.from..=hold.from).contains(&fault.from))?;
            Some((hold, of.from, of.healed?))
        });
        // In the last phase of a story that was cut something may still be about to be recorded.
        let settle = phase(history, phases, "settle", variant);
        let cut = cut_at(history).unwrap_or(u64::MAX);
        let settle = settle.filter(|settle| phases.iter().any(|next| (settle.to..cut).contains(&next.from)));
        match fault {
            Some((hold, from, healed)) => seen.push(Outage { when, hold, settle, from, healed }),
            None => missing.push(when),
        }
    }
    (seen, missing)
}
