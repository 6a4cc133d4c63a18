//! What must be true of each route, by what was told of it, and which answers in a stretch of time show something else? For claims
//! on what follows once a trouble of the control plane is over.

use super::changes::{CHANGE, FACT, Shows, state_shown};
use super::{telling, words};
use crate::claims::common::{Seen, seconds, stream};
use crate::claims::lives::Offences;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::Credential;
use gatecrash_model::{History, Name};
use std::collections::{BTreeMap, BTreeSet};

/// What must be true at a moment.
pub(super) struct Truth {
    /// State of each route.
    routes: BTreeMap<Name, u16>,
    /// Clients whose contract was removed.
    removed: BTreeSet<Name>,
    /// What was told since a moment: route or client.
    fresh: BTreeSet<Name>,
}

impl Truth {
    /// By everything that was told until `at` (ns); fresh is what was told after `since`.
    pub(super) fn at(history: &History, since: u64, at: u64) -> Self {
        let mut truth = Self { routes: BTreeMap::new(), removed: BTreeSet::new(), fresh: BTreeSet::new() };
        for (_, route, value, _) in history.marks(FACT).filter(|(told, ..)| *told <= at) {
            truth.routes.insert(route, u16::try_from(value % 1000).unwrap_or_default());
        }
        for (_, client, ..) in history.marks(mark::CONTRACT_REMOVED).filter(|(told, ..)| *told <= at) {
            truth.removed.insert(client);
        }
        for name in [FACT, mark::CONTRACT_REMOVED] {
            let told = history.marks(name).filter(|(told, ..)| (since..=at).contains(told));
            truth.fresh.extend(told.map(|(_, subject, ..)| subject));
        }
        truth
    }

    /// What is asked by `seen`, and whether its answer shows the truth; `None` if nothing is known of it.
    fn shown(&self, seen: &Seen<'_>) -> Option<(Name, Shows)> {
        if seen.asked.credential == Credential::RemovedClient {
            let client = self.removed.get(&seen.asked.key)?;
            let shows = match seen.status() {
                0 => Shows::Nothing,
                401 | 403 => Shows::New,
                200..300 => Shows::Admitted,
                _ => Shows::Neither,
            };
            return Some((*client, shows));
        }
        let state = self.routes.get(&seen.asked.route)?;
        let shows = state_shown(*state, seen);
        Some((seen.asked.route, shows))
    }
}

/// Answers of one kind: how many, the first in words.
#[derive(Debug, Default)]
pub(super) struct Kind {
    /// How many, and where.
    pub(super) offences: Offences,
    /// The first in words.
    pub(super) first: Option<String>,
}

impl Kind {
    /// Adds one, with what is wrong with it.
    pub(super) fn add(&mut self, history: &History, seen: &Seen<'_>, what: &str) {
        self.offences.add(history, telling(seen));
        self.first.get_or_insert_with(|| format!("{} {what}", words(history, seen)));
    }
}

/// What a stretch of time showed of the truth at its beginning.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The longest after which an answer still did not show it, or the first showed it, ns.
    pub(super) longest: u64,
    /// Later than allowed: an answer of another state.
    pub(super) late: Kind,
    /// Later than allowed: served although it is to be served no more, or to nobody without a credential.
    pub(super) open: Kind,
    /// Later than allowed: no answer.
    pub(super) silent: Kind,
    /// Requests that showed something.
    pub(super) samples: u64,
    /// What was told since the last stretch and never seen at some replica, in words.
    pub(super) unseen: Option<String>,
}

/// Holds the answers to what was sent in `from..to` (ns) against the truth at `from`, of which what was told after `since` must be seen; later
/// than `within` (ns) nothing else may be.
pub(super) fn shown(history: &History, since: u64, (from, to): (u64, u64), within: u64) -> Shown {
    let truth = Truth::at(history, since, from);
    let mut found = Shown::default();
    let mut first: BTreeMap<(Name, Name), u64> = BTreeMap::new();
    let replicas: BTreeSet<Name> = stream(history, CHANGE).map(|seen| seen.asked.target).collect();
    for seen in stream(history, CHANGE).filter(|seen| (from..to).contains(&seen.sent)) {
        let Some((subject, shows)) = truth.shown(&seen) else { continue };
        let waited = seen.sent.saturating_sub(from);
        let late = waited > within;
        let after = || format!("{:.2} s after the trouble was over", seconds(waited));
        match shows {
            Shows::New => {
                let ended = first.entry((subject, seen.asked.target)).or_insert(u64::MAX);
                *ended = (*ended).min(seen.ended());
            }
            Shows::Nothing => {
                if late && !seen.is_given_up() {
                    found.silent.add(history, &seen, &format!("had no answer {}", after()));
                }
                continue;
            }
            Shows::Admitted | Shows::Old | Shows::Neither => {
                found.longest = found.longest.max(waited);
                if late && shows == Shows::Admitted {
                    found.open.add(history, &seen, &format!("was served {}", after()));
                } else if late {
                    found.late.add(history, &seen, &format!("did not show what was published {}", after()));
                }
            }
        }
        found.samples = found.samples.saturating_add(1);
    }
    let waits = first.values().map(|ended| ended.saturating_sub(from));
    found.longest = found.longest.max(waits.max().unwrap_or_default());
    found.unseen = truth.fresh.iter().find_map(|subject| {
        let missing = replicas.iter().find(|replica| !first.contains_key(&(*subject, **replica)))?;
        Some(format!(
            "what was published of `{}` was never seen at `{}`",
            history.text(*subject),
            history.text(*missing)
        ))
    });
    if found.unseen.is_none() && replicas.is_empty() {
        found.unseen = Some("no replica was asked".to_owned());
    }
    found
}
