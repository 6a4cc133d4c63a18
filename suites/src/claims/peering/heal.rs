//! PAR-03: after the heal, is everything revoked that either side revoked, and was no counter filled again?
//!
//! A revocation that was answered 2xx holds everywhere from the heal and T on, for good: one that is accepted again is lost. What is
//! admitted in the window of the heal is bounded by a quota for each side; what is admitted in the next one, by one quota.

use super::calls::{Findings, Story, sides_of, telling};
use super::{MINIMUM, SPLIT_STORY};
use crate::claims::common::{Seen, count, doubt, len, nanos, seconds, unless};
use crate::claims::lives::{Decision, decide};
use crate::claims::quota::{Round, Rule, Tally, against_bound, rounds, starved};
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Evidence, Number, Reason, Verdict};

const LAG: &str = "last accept of a revoked token after the heal";
const TOTAL: &str = "most admitted over a heal";
const AGAIN: &str = "most admitted in a window after the heal";

#[derive(Default)]
struct Shown {
    samples: u64,
    revocations: u64,
    lag: u64,
    total: u64,
    again: u64,
    windows: u64,
    findings: Findings,
}

/// The check.
pub(super) fn par_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SPLIT_STORY) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let story = Story::read(history);
    let within = nanos(scope.parameters.duration("within"));
    let rule = Rule::strict(scope.deployment);
    let rounds = rounds(history, &rule);
    let mut shown = Shown::default();
    for step in story.steps() {
        revoked(&story, &mut shown, step, within);
        counted(&story, &mut shown, step, &rule, &rounds, scope);
    }
    let numbers = vec![
        Number::new(LAG, seconds(shown.lag), "s").limit(seconds(within)),
        Number::new(TOTAL, count(shown.total), "requests").limit(count(rule.of_counters(2).quota)),
        Number::new(AGAIN, count(shown.again), "requests").limit(count(rule.quota)),
        Number::new("revocations while apart", count(shown.revocations), ""),
        Number::new("heals with a window over them", count(shown.windows), ""),
    ];
    if let Some(violated) = shown.findings.violated(shown.samples, &numbers) {
        return violated;
    }
    let few = (shown.revocations == 0 || shown.windows == 0).then(|| {
        let text = format!(
            "{} revocations and {} windows over a heal were seen: each is needed once at least",
            shown.revocations, shown.windows
        );
        Reason::new("too-few-samples", text)
    });
    let held = Verdict::holds(MINIMUM, Evidence { samples: shown.samples, numbers, notes: Vec::new() });
    unless(held, doubt(history).or(few).or(shown.findings.reason))
}

/// Whether what was revoked in `step` is refused everywhere from the heal and T on.
fn revoked(story: &Story<'_>, shown: &mut Shown, step: Name, within: u64) {
    let (history, events) = (story.history, story.history.events());
    let (Some(hold), Some(settle)) = (story.stretch("hold", step), story.stretch("settle", step)) else { return };
    let label = history.text(step);
    for asked in story.revocations.iter().filter(|asked| (hold.from..hold.to).contains(&asked.sent)) {
        let Some((at, _, answer)) = asked.outcome else { continue };
        if !answer.is_success() {
            continue;
        }
        shown.revocations = shown.revocations.saturating_add(1);
        let healed = settle.from.max(at);
        let mut refused: Vec<Name> = Vec::new();
        let mut users: Vec<Name> = Vec::new();
        for seen in story.calls(hold.from.min(at), settle.to) {
            if seen.asked.token != asked.asked.token {
                continue;
            }
            let target = seen.asked.target;
            if !users.contains(&target) {
                users.push(target);
            }
            if seen.sent < healed {
                continue;
            }
            shown.samples = shown.samples.saturating_add(1);
            let late = seen.sent >= healed.saturating_add(within);
            match decide(seen.view, events) {
                Decision::Accepted => {
                    let lag = seen.sent.saturating_sub(healed);
                    shown.lag = shown.lag.max(lag);
                    if late {
                        shown.findings.offend(history, Some(telling(seen)), LAG, || {
                            let (whose, name) = (history.text(asked.asked.target), history.text(target));
                            format!(
                                "{label}: a token that was revoked at `{whose}` while the sides were apart was accepted at `{name}` {:.3} s after the heal",
                                seconds(lag)
                            )
                        });
                    }
                }
                Decision::Refused if late && !refused.contains(&target) => refused.push(target),
                Decision::Refused | Decision::ServerError | Decision::Undecided => {}
            }
        }
        if let Some(silent) = users.iter().find(|user| !refused.contains(user)) {
            let name = history.text(*silent);
            shown.findings.doubt(|| {
                let text = format!("{label}: a revoked token was never seen refused at `{name}` after the heal and T");
                Reason::new("too-few-samples", text)
            });
        }
    }
}

/// Whether the window of the heal stays below a quota for each side, and the next one below one.
fn counted(story: &Story<'_>, shown: &mut Shown, step: Name, rule: &Rule, rounds: &[Round<'_>], scope: &Scope<'_>) {
    let history = story.history;
    let label = history.text(step);
    // Whoever was killed counted before it was, or afterwards: it is a side, too.
    let sides = len(sides_of(scope.deployment, label).len()).max(2);
    let apart = rule.of_counters(sides);
    for round in rounds.iter().filter(|round| round.variant == step && round.clean) {
        let (rule, about) = match history.text(round.phase) {
            "hold" => (&apart, TOTAL),
            "settled" => (rule, AGAIN),
            _ => continue,
        };
        let found = against_bound(history, rule, (round.first_sent, round.sure), round.event, round.sure_calls());
        let demand = Tally::of(round.sure_calls()).demand();
        shown.samples = shown.samples.saturating_add(demand);
        let most = if about == TOTAL { &mut shown.total } else { &mut shown.again };
        *most = (*most).max(found.admitted);
        if found.broken() {
            if round.starved {
                shown.findings.doubt(|| starved(history, &round.label(history)));
                continue;
            }
            shown.findings.over(&found.over, about, || {
                let what = if about == TOTAL { "in the window of the heal" } else { "in a window after the heal" };
                format!(
                    "{label}: {} were admitted {what}, at most {:.0} allowed (Q = {})",
                    found.admitted, found.limit, scope.deployment.quota.limit
                )
            });
        } else if about == TOTAL && demand >= rule.quota && spans_heal(story, step, round) {
            shown.windows = shown.windows.saturating_add(1);
        }
    }
}

/// Whether the round was asked before the heal and after it.
fn spans_heal(story: &Story<'_>, step: Name, round: &Round<'_>) -> bool {
    let Some(settle) = story.stretch("settle", step) else { return false };
    let sent = |seen: &Seen<'_>| seen.sent;
    let (first, last) = (round.sure_calls().map(sent).min(), round.sure_calls().map(sent).max());
    first.is_some_and(|first| first < settle.from) && last.is_some_and(|last| last > settle.from)
}
