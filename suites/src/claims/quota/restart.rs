//! QUO-05: does a counter survive when every replica is replaced in the middle of its window?

use super::rounds::{Round, Rule, Tally, against_bound, rounds, starved};
use super::{ALL_BUT_ONE, RESTART};
use crate::claims::common::{count, doubt, late_doubt, len, unless};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::operation::Effect;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Verdict};
use gatecrash_model::{History, Name};
use std::time::Duration;

/// What a round showed of the replacement.
struct Replacement {
    /// Replicas that were asked before.
    replicas: usize,
    /// Of these, those that went and answered again.
    replaced: usize,
    /// When the last one was gone, ns.
    last_gone: u64,
}

/// The judged rounds are those in which every replica that was asked before went away and answered again, all
/// inside the sure part of the window, with at least Q asked for after the last one went.
pub(super) fn survives_replacement(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(RESTART) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let rounds = rounds(history, &rule);
    // With the share of its bound that each admitted: the round that came nearest to it decides, so it comes first.
    let mut verdicts: Vec<(f64, Verdict)> = Vec::new();
    let mut why_not: Vec<String> = Vec::new();
    for round in &rounds {
        let replacement = replacement(history, round);
        if replacement.replaced == 0 {
            continue;
        }
        if !round.clean {
            why_not.push(format!("{}: the key was not quiet for a window before", round.label(history)));
            continue;
        }
        let found = against_bound(history, &rule, (round.first_sent, round.sure), round.event, round.sure_calls());
        let after = round.sure_calls().filter(|seen| seen.sent > replacement.last_gone);
        let before = round.sure_calls().filter(|seen| seen.sent <= replacement.last_gone);
        let spent = Tally::of(before).admitted;
        let demand = Tally::of(after).demand();
        let share = count(found.admitted) / found.limit.max(1.0);
        // Of a bucket, what came beyond its size and one filling: the least that a restart gave back.
        let refilled = found.admitted.saturating_sub(rule.quota.saturating_mul(rule.fillings));
        let numbers = vec![
            Number::new("admitted in the window", count(found.admitted), "requests").limit(found.limit),
            Number::new("refilled", count(refilled), "requests"),
            Number::new("spent before the last replica went", count(spent), "requests"),
            Number::new("replicas replaced", count(len(replacement.replaced)), ""),
        ];
        if found.broken() {
            let explanation = format!(
                "{}: {} admitted in one window over the replacement of {} replicas, at most {:.0} allowed: {refilled} were refilled",
                round.label(history),
                found.admitted,
                replacement.replaced,
                found.limit
            );
            if round.starved && round.repeated {
                continue;
            }
            if round.starved {
                verdicts.push((share, Verdict::Inconclusive(starved(history, &round.label(history)))));
                continue;
            }
            let events = found.over;
            verdicts.push((share, Verdict::Violated(Counterexample { explanation, events, samples: 1, numbers })));
            continue;
        }
        // "Kill all but one" leaves one on purpose; everything else replaces all.
        let spared = usize::from(history.text(round.variant) == ALL_BUT_ONE);
        let whole = replacement.replaced + spared >= replacement.replicas;
        let enough = demand.saturating_add(spent) >= rule.quota.saturating_mul(rule.fillings) && demand > 0;
        if !whole || !enough || spent == 0 {
            why_not.push(format!(
                "{}: {} of {} replicas were replaced in the sure part of the window, {spent} spent before and {demand} asked for after (Q = {})",
                round.label(history),
                replacement.replaced,
                replacement.replicas,
                rule.quota
            ));
            continue;
        }
        let holds = Verdict::holds(1, Evidence { samples: 1, numbers, notes: Vec::new() });
        let late = late_doubt(history, Duration::from_nanos(round.window), round.first_sent, round.sure);
        verdicts.push((share, unless(holds, doubt(history).or(late))));
    }
    if verdicts.is_empty() {
        if why_not.is_empty() {
            why_not.push("no window with a replacement was seen".to_owned());
        }
        return unless(Verdict::inconclusive("too-few-samples", why_not.join("; ")), None);
    }
    verdicts.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Verdict::all(verdicts.into_iter().map(|(_, verdict)| verdict))
}

/// Which of the replicas that answered in the round went and answered again before its sure part was over.
fn replacement(history: &History, round: &Round<'_>) -> Replacement {
    let mut gone: Vec<(Name, u64)> = Vec::new();
    for (_, found) in history.others() {
        if let EventKind::Replica { replica, state: ReplicaState::Gone, .. } = found.kind
            && (round.first_sent..round.sure).contains(&found.at)
        {
            gone.push((replica, found.at));
        }
    }
    let first_gone = gone.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX);
    let mut asked: Vec<Name> = Vec::new();
    for seen in round.sure_calls().filter(|seen| seen.sent < first_gone) {
        if !asked.contains(&seen.asked.target) {
            asked.push(seen.asked.target);
        }
    }
    gone.retain(|(name, _)| asked.contains(name));
    let mut replaced: Vec<Name> = Vec::new();
    for seen in round.sure_calls() {
        let target = seen.asked.target;
        let answered = seen.arrived.is_some()
            || seen
                .outcome
                .is_some_and(|(_, effect, answer)| answer.status != 0 && !matches!(effect, Effect::Unknown(_)));
        if answered && !replaced.contains(&target) && gone.iter().any(|(name, at)| *name == target && *at < seen.sent) {
            replaced.push(target);
        }
    }
    Replacement {
        replicas: asked.len(),
        replaced: replaced.len(),
        last_gone: gone.iter().map(|(_, at)| *at).max().unwrap_or_default(),
    }
}
