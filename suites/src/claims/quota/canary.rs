//! Is a quota still enforced while something else is broken? One replica is asked for more than a whole quota:
//! whether it counts by itself or with others, the bound of one counter holds for it.

use super::rounds::{Round, Rule, Tally, against_bound, rounds};
use crate::claims::common::{Phase, count};
use gatecrash_model::deployment::Policy;
use gatecrash_model::verdict::{EventRef, Number, Reason};
use gatecrash_model::{Deployment, History};

const MOST: &str = "most admitted of a quota (in the outage)";
/// Share of Q that a replica must admit before it refuses: counting by estimate is no wrong answer here.
const LEAST_SHARE: f64 = 0.9;

/// What the rounds of some phases showed of one quota.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    /// Admitted and allowed in the round that came nearest to its bound, or went furthest beyond.
    most: Option<(u64, f64)>,
    broken: Option<String>,
    missing: Option<String>,
    /// Events of the first wrong answer.
    pub(crate) events: Vec<EventRef>,
}

impl Canaries {
    /// What the rounds in `holds` showed; nothing is asked for where no route has a quota.
    pub(crate) fn read(deployment: &Deployment, history: &History, holds: &[Phase]) -> Self {
        let mut found = Self::default();
        if !deployment.routes.iter().any(|route| route.policies.contains(&Policy::Quota)) {
            return found;
        }
        let rule = Rule::strict(deployment);
        let rounds = rounds(history, &rule);
        for hold in holds {
            let within = rounds.iter().filter(|round| (hold.from..hold.to).contains(&round.marked));
            if within.filter(|round| found.add(history, &rule, round)).count() == 0 {
                let variant = history.text(hold.variant);
                found.missing.get_or_insert_with(|| format!("no whole quota was asked of one replica in `{variant}`"));
            }
        }
        found
    }

    /// Adds one round; whether it could show anything.
    fn add(&mut self, history: &History, rule: &Rule, round: &Round<'_>) -> bool {
        let replicas = round.units(|seen| seen.asked.target);
        let (true, [replica]) = (round.clean && !round.repeated, replicas.as_slice()) else { return false };
        let tally = Tally::of(round.sure_calls());
        let bound = against_bound(history, rule, (round.first_sent, round.sure), round.event, round.sure_calls());
        if self.most.is_none_or(|(admitted, limit)| count(bound.admitted) - bound.limit > count(admitted) - limit) {
            self.most = Some((bound.admitted, bound.limit));
        }
        let gone = round.sure_calls().find(|seen| seen.status() == 404);
        let possible = count(tally.admitted.saturating_add(tally.silent));
        let wrong = if bound.broken() {
            Some((format!("{} admitted, {:.0} allowed", bound.admitted, bound.limit), bound.over))
        } else if let Some(seen) = gone {
            let event = seen.view.completed().unwrap_or(round.event);
            Some(("its route is gone".to_owned(), vec![history.reference(event)]))
        } else if tally.rejected > 0 && possible < count(rule.quota) * LEAST_SHARE {
            let words = format!("{} refused after {possible} of {} were admitted", tally.rejected, rule.quota);
            Some((words, vec![history.reference(round.event)]))
        } else {
            None
        };
        if wrong.is_some() && round.starved {
            return false;
        }
        if let (Some((what, events)), None) = (wrong, &self.broken) {
            let label = round.label(history);
            self.broken = Some(format!("the quota at `{}` was wrong ({label}): {what}", history.text(*replica)));
            self.events = events;
        }
        tally.demand() > rule.quota.saturating_mul(rule.fillings)
    }

    /// The number of the round that came nearest to its bound.
    pub(crate) fn number(&self) -> Option<Number> {
        self.most.map(|(admitted, limit)| Number::new(MOST, count(admitted), "requests").limit(limit))
    }

    /// What is broken: the name of the number that shows it, and words.
    pub(crate) fn broken(&self) -> Option<(String, String)> {
        self.broken.clone().map(|words| (MOST.to_owned(), words))
    }

    /// A phase in which no round could have shown a quota that is not enforced.
    pub(crate) fn missing(&self) -> Option<Reason> {
        self.missing.clone().map(|words| Reason::new("too-few-samples", words))
    }
}
