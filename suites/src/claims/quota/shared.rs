//! QUO-01 to QUO-04: is there one counter, for the replicas of a cluster and for all sites; is nothing counted
//! twice; and what bounds those that count by themselves?

use super::SHARED;
use super::rounds::{Round, Rule, Tally, against_bound, late_round, rounds, starved};
use crate::claims::common::{Seen, count, doubt, len, record_doubt, unless};
use gatecrash_model::claim::Scope;
use gatecrash_model::profile::Scalar;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Verdict};
use gatecrash_model::{History, Name};

/// Most events that a counterexample names.
const MOST_EVENTS: usize = 9;

/// Windows judged so far, for a verdict.
#[derive(Debug, Default)]
struct Judged {
    windows: u64,
    broken: u64,
    worst: Option<Worst>,
    events: Vec<EventRef>,
    skipped: u64,
    /// The first window that went over its bound while the machine stood still, unless it was repeated.
    starved: Option<String>,
}

#[derive(Debug)]
struct Worst {
    admitted: u64,
    limit: f64,
    whose: String,
}

impl Judged {
    /// Adds one window; `counts` says whether its demand could have broken the bound.
    fn add(
        &mut self,
        round: &Round<'_>,
        (admitted, limit): (u64, f64),
        over: &[EventRef],
        counts: bool,
        whose: impl FnOnce() -> String,
    ) {
        if !over.is_empty() && round.starved {
            if !round.repeated {
                self.starved.get_or_insert_with(whose);
            }
            return;
        }
        if !over.is_empty() {
            self.broken = self.broken.saturating_add(1);
            self.events.extend(over.iter().take(MOST_EVENTS.saturating_sub(self.events.len())).cloned());
        } else if !counts {
            return;
        }
        self.windows = self.windows.saturating_add(1);
        let excess = count(admitted) - limit;
        if self.worst.as_ref().is_none_or(|worst| excess > count(worst.admitted) - worst.limit) {
            self.worst = Some(Worst { admitted, limit, whose: whose() });
        }
    }

    /// The numbers of the worst window, what decided first.
    fn numbers(&self, quota: u64) -> Vec<Number> {
        let Some(worst) = &self.worst else { return Vec::new() };
        let over = (count(worst.admitted) - count(quota)).max(0.0) / count(quota).max(1.0) * 100.0;
        vec![
            Number::new("most admitted in a window", count(worst.admitted), "requests").limit(worst.limit),
            Number::new("worst overshoot", over, "%"),
            Number::new("admitted of Q", count(worst.admitted) / count(quota).max(1.0), "x"),
        ]
    }

    /// The verdict; `minimum` windows are needed for holds.
    fn verdict(self, history: &History, quota: u64, minimum: u64, rounds: &[Round<'_>]) -> Verdict {
        let numbers = self.numbers(quota);
        if let (Some(worst), true) = (&self.worst, self.broken > 0) {
            return Verdict::Violated(Counterexample {
                explanation: format!(
                    "{} of {} windows went over their bound; worst: {}: {} admitted, at most {:.0} allowed (Q = {quota})",
                    self.broken, self.windows, worst.whose, worst.admitted, worst.limit
                ),
                events: self.events,
                samples: self.windows,
                numbers,
            });
        }
        let mut notes = Vec::new();
        if self.skipped > 0 {
            notes.push(format!("{} rounds left out: their key was not quiet for a window before", self.skipped));
        }
        let holds = Verdict::holds(minimum, Evidence { samples: self.windows, numbers, notes });
        let busy = self.starved.map(|whose| starved(history, &whose));
        unless(holds, doubt(history).or_else(|| late_round(history, rounds)).or(busy))
    }
}

fn site(seen: &Seen<'_>) -> Name {
    seen.asked.site
}

fn replica(seen: &Seen<'_>) -> Name {
    seen.asked.target
}

/// QUO-01: in every window each site admitted at most the bound.
pub(super) fn one_counter(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SHARED) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let rounds = rounds(history, &rule);
    let mut judged = Judged::default();
    for round in &rounds {
        if !round.clean {
            judged.skipped = judged.skipped.saturating_add(1);
            continue;
        }
        for unit in round.units(site) {
            let calls = round.sure_calls().filter(|seen| site(seen) == unit);
            let found = against_bound(history, &rule, (round.first_sent, round.sure), round.event, calls.clone());
            // One replica alone cannot show whether a counter is shared.
            let mut replicas = calls.clone().map(replica);
            let first = replicas.next();
            let several = replicas.any(|other| Some(other) != first);
            let counts = several && Tally::of(calls).demand() >= rule.quota.saturating_mul(rule.fillings);
            judged.add(round, (found.admitted, found.limit), &found.over, counts, || {
                format!("site `{}`, {}", history.text(unit), round.label(history))
            });
        }
    }
    judged.verdict(history, rule.quota, 3, &rounds)
}

/// QUO-02: in every window with demand of at least Q, at least Q x (1 - e) were admitted.
pub(super) fn no_double_count(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SHARED) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let rounds = rounds(history, &rule);
    let mut tight: Option<(f64, u64, f64)> = None;
    let (mut windows, mut broken, mut events, mut worst) = (0_u64, 0_u64, Vec::new(), String::new());
    for round in rounds.iter().filter(|round| round.clean) {
        let tally = Tally::of(round.sure_calls());
        // The rejected are what is judged: nobody was refused in a window whose demand did not reach Q.
        if tally.demand() < rule.quota || tally.rejected == 0 {
            continue;
        }
        windows = windows.saturating_add(1);
        let least = least_admitted(scope, &rule, round);
        let possible = tally.admitted.saturating_add(tally.silent);
        let spare = count(possible) - least;
        if tight.is_none_or(|(known, ..)| spare < known) {
            tight = Some((spare, possible, least));
            worst = round.label(history);
        }
        if spare < 0.0 {
            broken = broken.saturating_add(1);
            if events.len() < MOST_EVENTS {
                events.push(history.reference(round.event));
                let refused = round.sure_calls().find(|seen| seen.arrived.is_none() && seen.status() != 0);
                events.extend(refused.and_then(|seen| seen.view.completed()).map(|at| history.reference(at)));
            }
        }
    }
    let mut numbers = Vec::new();
    if let Some((_, possible, least)) = tight {
        numbers.push(Number::new("least admitted in a window", count(possible), "requests").limit(least));
        numbers.push(Number::new("admitted of Q", count(possible) / count(rule.quota).max(1.0), "x"));
    }
    if broken > 0 {
        // Here an arrival that the record missed looks like a violation: doubt about the record weighs more.
        if let Some(reason) = record_doubt(history) {
            return Verdict::Inconclusive(reason);
        }
        let explanation = format!(
            "{broken} of {windows} windows left quota unspent while requests were rejected; worst: {worst}: {} could have been admitted at most, {} wanted",
            numbers.first().map_or(0.0, |number| number.value),
            numbers.first().and_then(|number| number.limit).unwrap_or_default(),
        );
        return Verdict::Violated(Counterexample { explanation, events, samples: windows, numbers });
    }
    let holds = Verdict::holds(3, Evidence { samples: windows, numbers, notes: Vec::new() });
    unless(holds, doubt(history).or_else(|| late_round(history, &rounds)))
}

/// The least number of admissions that a window with its demand must have.
fn least_admitted(scope: &Scope<'_>, rule: &Rule, round: &Round<'_>) -> f64 {
    let most = count(rule.quota) * (1.0 - scope.parameters.number("e"));
    if scope.parameters.word("split_rule") != "per-replica" {
        return most;
    }
    let replicas = round.units(replica);
    let share = most / count(len(replicas.len())).max(1.0);
    replicas
        .iter()
        .map(|unit| share.min(count(Tally::of(round.sure_calls().filter(|seen| replica(seen) == *unit)).demand())))
        .sum()
}

/// QUO-03: in every window in which two sites or more were each asked for Q, all sites together admitted at most
/// the bound. Sites that share nothing admit sites x Q: the first number is the factor, and above 1.5 the documented
/// limit is confirmed. Between the bound and 1.5 Q the claim is broken too, and a note says that this is less than
/// sites that share nothing would show.
pub(super) fn sites_share(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SHARED) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let rounds = rounds(history, &rule);
    let mut judged = Judged::default();
    for round in &rounds {
        let sites = round.units(site);
        if sites.len() < 2 {
            continue;
        }
        if !round.clean {
            judged.skipped = judged.skipped.saturating_add(1);
            continue;
        }
        let calls = round.sure_calls();
        let found = against_bound(history, &rule, (round.first_sent, round.sure), round.event, calls.clone());
        let asked = |unit: &Name| Tally::of(calls.clone().filter(|seen| site(seen) == *unit)).demand() >= rule.quota;
        let counts = sites.iter().filter(|unit| asked(unit)).count() >= 2;
        judged.add(round, (found.admitted, found.limit), &found.over, counts, || {
            format!("{} sites, {}", sites.len(), round.label(history))
        });
    }
    match judged.verdict(history, rule.quota, 1, &rounds) {
        Verdict::Violated(mut found) => {
            // The measured size of the limit decides, so it stands first.
            if let Some(at) = found.numbers.iter().position(|number| number.unit == "x") {
                let factor = found.numbers.remove(at).limit(1.5);
                if factor.value <= 1.5 {
                    found.explanation.push_str("; less than the 1.5 Q that sites without a common counter show");
                }
                found.numbers.insert(0, factor);
            }
            Verdict::Violated(found)
        }
        other @ (Verdict::Holds(_) | Verdict::Inconclusive(_) | Verdict::NotApplicable(_)) => other,
    }
}

/// QUO-04: in every window each unit admitted at most the bound, and so all together at most units x the bound.
pub(super) fn units_bounded(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SHARED) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let by_site = match scope.parameters.word("unit") {
        "site" => true,
        "replica" => false,
        _ => store_counts(scope),
    };
    let of: fn(&Seen<'_>) -> Name = if by_site { site } else { replica };
    let rounds = rounds(history, &rule);
    let mut judged = Judged::default();
    let (mut factor, mut most_units, mut total_limit) = (0.0_f64, 0_usize, 0.0_f64);
    for round in &rounds {
        if !round.clean {
            judged.skipped = judged.skipped.saturating_add(1);
            continue;
        }
        let units = round.units(of);
        let (mut total, mut allowed) = (0_u64, 0.0);
        for unit in &units {
            let calls = round.sure_calls().filter(|seen| of(seen) == *unit);
            let found = against_bound(history, &rule, (round.first_sent, round.sure), round.event, calls.clone());
            let counts = Tally::of(calls).demand() >= rule.quota.saturating_mul(rule.fillings);
            total = total.saturating_add(found.admitted);
            allowed += found.limit;
            judged.add(round, (found.admitted, found.limit), &found.over, counts, || {
                let kind = if by_site { "site" } else { "replica" };
                format!("{kind} `{}`, {}", history.text(*unit), round.label(history))
            });
        }
        if count(total) / count(rule.quota).max(1.0) > factor {
            factor = count(total) / count(rule.quota).max(1.0);
            total_limit = allowed / count(rule.quota).max(1.0);
        }
        most_units = most_units.max(units.len());
    }
    let number = Number::new("total admitted of Q, all units", factor, "x").limit(total_limit);
    let units = Number::new("units", count(len(most_units)), "");
    match judged.verdict(history, rule.quota, 2, &rounds) {
        Verdict::Holds(mut evidence) => {
            evidence.numbers.insert(0, number);
            evidence.numbers.push(units);
            Verdict::Holds(evidence)
        }
        Verdict::Violated(mut found) => {
            found.numbers.extend([number, units]);
            Verdict::Violated(found)
        }
        other @ (Verdict::Inconclusive(_) | Verdict::NotApplicable(_)) => other,
    }
}

/// Whether a store counts the quota, or the group of gateways: there is one, and the gateway is not told to count in memory.
fn store_counts(scope: &Scope<'_>) -> bool {
    let in_memory = scope.deployment.gateway.settings.get("state") == Some(&Scalar::Text("memory".to_owned()));
    (scope.deployment.store.is_some() || scope.deployment.peering.is_some()) && !in_memory
}
