//! CAC-03: is a response served to somebody whom it is not for?
//!
//! Whose it was is told by its body: it names the operation that it was made for, and so the client and the token. `public`, `s-maxage` and `must-revalidate`
//! say that it may be served to other clients (RFC 9111 section 3.5). They do not say that a gateway need not ask who is there: whoever has no valid
//! credential for a route that needs one gets nothing of it from the cache either.

use super::OWNERS;
use super::record::{Record, Use};
use crate::claims::common::{count, doubt, nanos, phases, unless};
use crate::claims::lives::Offences;
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::Credential;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Least number of judged requests.
pub(super) const MINIMUM: u64 = 50;

/// In the numbers.
pub(super) const TO_OTHERS: &str = "served to another client";
pub(super) const TO_ANONYMOUS: &str = "served to nobody in particular";
pub(super) const TO_REVOKED: &str = "served to a revoked client";
const NAMES: [&str; 3] = [TO_OTHERS, TO_ANONYMOUS, TO_REVOKED];

/// Who asks, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Client = 0,
    Anonymous = 1,
    Revoked = 2,
}

#[derive(Default)]
struct Found {
    samples: u64,
    offences: [Offences; 3],
    told: [String; 3],
    /// Answers 2xx that did not arrive, and whose body says nothing of itself.
    unexplained: u64,
    /// Served again to another client although nobody forbids it.
    allowed: u64,
    /// Who was judged, at which replica, and after all were started again.
    seen: BTreeSet<(Who, Name)>,
    after_restart: u64,
}

/// A response to one client never goes to another, or to nobody in particular.
pub(super) fn cac_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(super::HTTP_CACHE) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let record = Record::read(history);
    let within = nanos(scope.parameters.duration("revoked_within"));
    let revoked: BTreeMap<Name, u64> =
        history.marks(mark::REVOKED).map(|(at, token, ..)| (token, at.saturating_add(within))).collect();
    let restarted =
        phases(history).iter().find(|phase| history.text(phase.variant) == OWNERS[1]).map(|phase| phase.from);
    let mut found = Found::default();
    for one in record.uses().filter(|one| one.kind.is_owned()) {
        let who = match one.credential {
            Credential::Valid => Who::Client,
            Credential::Revoked if revoked.get(&one.token).is_some_and(|at| one.sent > *at) => Who::Revoked,
            // What it may still be let in with is TOK-03's and TOK-05's.
            Credential::Revoked | Credential::NotNeeded => continue,
            Credential::Missing
            | Credential::Expired
            | Credential::AlgNone
            | Credential::Forged
            | Credential::UnknownClient
            | Credential::RemovedClient
            | Credential::OtherMaterial => Who::Anonymous,
        };
        found.judge(&record, one, who, restarted);
    }
    found.verdict(&record, scope, revoked.is_empty())
}

impl Found {
    fn judge(&mut self, record: &Record<'_>, one: &Use, who: Who, restarted: Option<u64>) {
        let another = record.made_for_another(one);
        // Another may have it that says so, if it is a client; its own it may have anyway.
        let breach = another.filter(|another| match who {
            Who::Client => another.key != one.key && !one.kind.for_all,
            Who::Anonymous | Who::Revoked => one.is_success(),
        });
        if let (Some(another), Some(offences), Some(told)) =
            (breach, self.offences.get_mut(who as usize), self.told.get_mut(who as usize))
        {
            if offences.count == 0 {
                let text = |name| record.history.text(name);
                let to = match who {
                    Who::Client => format!("client `{}`", text(one.key)),
                    Who::Anonymous => format!("somebody with credential {:?}", one.credential),
                    Who::Revoked => format!("client `{}`, whose token was revoked,", text(one.key)),
                };
                *told = format!(
                    "{} was answered {} to {to} with what was made for client `{}` (operation {})",
                    record.words(one),
                    one.status,
                    text(another.key),
                    another.op,
                );
            }
            offences.add(record.history, one.event);
        }
        if one.status == 0 {
            return;
        }
        if one.is_success() && one.arrived.is_none() && another.is_none() {
            self.unexplained = self.unexplained.saturating_add(1);
            return;
        }
        self.samples = self.samples.saturating_add(1);
        self.seen.insert((who, one.target));
        if restarted.is_some_and(|at| one.sent > at) {
            self.after_restart = self.after_restart.saturating_add(1);
        }
        if who == Who::Client && breach.is_none() && another.is_some_and(|another| another.key != one.key) {
            self.allowed = self.allowed.saturating_add(1);
        }
    }

    fn verdict(self, record: &Record<'_>, scope: &Scope<'_>, nobody_revoked: bool) -> Verdict {
        let counts: Vec<u64> = self.offences.iter().map(|offences| offences.count).collect();
        let number = |which: usize| {
            let name = NAMES.get(which).copied().unwrap_or_default();
            Number::new(name, count(counts.get(which).copied().unwrap_or_default()), "responses").limit(0.0)
        };
        // What broke it comes first, the gravest before all: whoever has no credential at all.
        let mut order = [1, 2, 0];
        order.sort_by_key(|which| counts.get(*which).copied().unwrap_or_default() == 0);
        let mut numbers: Vec<Number> = order.iter().map(|which| number(*which)).collect();
        numbers.push(Number::new("served to another client, as they say", count(self.allowed), "responses"));
        numbers.push(Number::new("asked after all replicas were started again", count(self.after_restart), "requests"));
        if counts.iter().any(|count| *count > 0) {
            let told: Vec<&str> = order
                .iter()
                .filter_map(|which| self.told.get(*which))
                .map(String::as_str)
                .filter(|told| !told.is_empty())
                .collect();
            let mut events: Vec<_> = order
                .iter()
                .filter_map(|which| self.offences.get(*which))
                .flat_map(|offences| offences.events.clone())
                .collect();
            events.truncate(3);
            let explanation = told.join("; ");
            return Verdict::Violated(Counterexample { explanation, events, samples: self.samples, numbers });
        }
        let missing = self.missing(record, scope, nobody_revoked);
        let notes = nobody_revoked.then(|| "nobody's token was revoked: the gateway has no way to".to_owned());
        let evidence = Evidence { samples: self.samples, numbers, notes: notes.into_iter().collect() };
        unless(Verdict::holds(MINIMUM, evidence), doubt(record.history).or(missing))
    }

    /// Who never asked where.
    fn missing(&self, record: &Record<'_>, scope: &Scope<'_>, nobody_revoked: bool) -> Option<Reason> {
        let few = |text: String| Some(Reason::new("too-few-samples", text));
        if self.unexplained > 0 {
            return few(format!("{} answers 2xx did not say whom they were made for", self.unexplained));
        }
        if self.after_restart == 0 {
            return few("nobody asked after all replicas were started again".to_owned());
        }
        for replica in scope.deployment.sites.iter().flat_map(gatecrash_model::deployment::Site::replica_names) {
            let asked = |who| record.history.name(&replica).is_some_and(|name| self.seen.contains(&(who, name)));
            let all = [
                (Who::Client, "another client", true),
                (Who::Anonymous, "anybody without a credential", true),
                (Who::Revoked, "a revoked client", !nobody_revoked),
            ];
            if let Some((_, who, _)) = all.into_iter().find(|(who, _, needed)| *needed && !asked(*who)) {
                return few(format!("`{replica}` was never seen to be asked by {who}"));
            }
        }
        None
    }
}
