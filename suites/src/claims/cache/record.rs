//! The requests for what may be kept, each with what it was answered and whose answer that was.

use super::kinds::Kind;
use crate::claims::common::{Seen, stream};
use gatecrash_model::history::event::cached;
use gatecrash_model::operation::{Credential, stream as streams};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) op: u32,
    /// What was asked for, its representation included.
    pub(super) resource: Name,
    pub(super) kind: Kind,
    pub(super) target: Name,
    pub(super) key: Name,
    pub(super) token: Name,
    pub(super) credential: Credential,
    /// When it was sent, ns.
    pub(super) sent: u64,
    /// When it was answered, ns; `None` if it never was.
    pub(super) ended: Option<u64>,
    /// 0 if it was not answered.
    pub(super) status: u16,
    /// When it arrived at the upstream, ns; `None` if it did not.
    pub(super) arrived: Option<u64>,
    /// For which operation the body was made; `None` if it did not say.
    pub(super) made_for: Option<u32>,
    /// Its `Age`.
    pub(super) age_s: Option<i64>,
    /// Position of the event that shows it best.
    pub(super) event: usize,
}

impl Use {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// All of them.
pub(super) struct Record<'h> {
    pub(super) history: &'h History,
    by_op: BTreeMap<u32, Use>,
}

impl<'h> Record<'h> {
    pub(super) fn read(history: &'h History) -> Self {
        let by_subject = |name: &str| -> BTreeMap<u32, i64> {
            let marks = history.marks(name);
            marks.filter_map(|(_, subject, value, _)| Some((history.text(subject).parse().ok()?, value))).collect()
        };
        let (made_for, ages) = (by_subject(cached::MADE_FOR), by_subject(cached::AGE_S));
        let resources: BTreeMap<u32, Name> = history
            .marks(cached::ASKED)
            .filter_map(|(_, resource, op, _)| Some((u32::try_from(op).ok()?, resource)))
            .collect();
        let read = |seen: &Seen<'_>| {
            let op = seen.view.op;
            let resource = *resources.get(&op)?;
            let kind = Kind::of(history.text(resource))?;
            Some(Use {
                op,
                resource,
                kind,
                target: seen.asked.target,
                key: seen.asked.key,
                token: seen.asked.token,
                credential: seen.asked.credential,
                sent: seen.sent,
                ended: seen.outcome.map(|(ended, ..)| ended),
                status: seen.status(),
                arrived: seen.arrived,
                made_for: made_for.get(&op).and_then(|made_for| u32::try_from(*made_for).ok()),
                age_s: ages.get(&op).copied(),
                event: seen.view.completed().unwrap_or(seen.view.invoked as usize),
            })
        };
        let uses = stream(history, streams::CACHED).filter_map(|seen| read(&seen));
        Self { history, by_op: uses.map(|found| (found.op, found)).collect() }
    }

    /// All requests, in the order of their ids.
    pub(super) fn uses(&self) -> impl Iterator<Item = &Use> {
        self.by_op.values()
    }

    /// The request that the answer to `found` was made for, if that is another one; `None` also where nobody can tell.
    pub(super) fn made_for_another(&self, found: &Use) -> Option<&Use> {
        if found.status == 0 {
            return None;
        }
        found.made_for.filter(|made_for| *made_for != found.op).and_then(|made_for| self.by_op.get(&made_for))
    }

    /// `operation 17 for vary/1?de at eu-2`.
    pub(super) fn words(&self, found: &Use) -> String {
        let text = |name| self.history.text(name);
        format!("operation {} for `{}` at `{}`", found.op, text(found.resource), text(found.target))
    }
}
