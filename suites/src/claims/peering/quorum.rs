//! PAR-01: with a quorum left, do those that are left serve again within T, share one counter, and know of each other's revocations?

use super::calls::{Ended, Findings, Story, ended, telling};
use super::{FAILOVER_STORY, MINIMUM};
use crate::claims::common::{Phase, count, doubt, late_doubt, len, ms, nanos, seconds, unless};
use crate::claims::lives::{Decision, decide};
use crate::claims::quota::{Rule, Tally, against_bound, rounds, starved};
use gatecrash_model::Name;
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Evidence, Number, Reason, Verdict};

/// What all steps together showed.
#[derive(Default)]
struct Shown {
    samples: u64,
    /// From the loss to the last answer that was none, ns.
    gap: u64,
    /// From a revocation to the last accept, ns.
    lag: u64,
    most_admitted: u64,
    windows: u64,
    revoked: u64,
    findings: Findings,
}

const GAP: &str = "loss of voters to the last answer that was none";
const LAG: &str = "last accept after the revoke";
const ADMITTED: &str = "most admitted in a window";
const MISSING: &str = "answers that a route is not there, or none in time";

/// The check.
pub(super) fn par_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(FAILOVER_STORY) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let story = Story::read(history);
    let (failover, sync) = (scope.parameters.duration("failover"), scope.parameters.duration("sync"));
    let mut shown = Shown::default();
    let mut missing = 0_u64;
    let steps = story.steps();
    for step in &steps {
        let (Some(inject), Some(hold)) = (story.stretch("inject", *step), story.stretch("hold", *step)) else {
            continue;
        };
        missing = missing.saturating_add(answers(&story, &mut shown, inject, hold, nanos(failover), scope));
        revocation(&story, &mut shown, *step, hold, nanos(sync));
    }
    counters(&story, &mut shown, scope);
    let limit = Rule::strict(scope.deployment).quota;
    let numbers = vec![
        Number::new(GAP, seconds(shown.gap), "s").limit(failover.as_secs_f64()),
        Number::new(ADMITTED, count(shown.most_admitted), "requests").limit(count(limit)),
        Number::new(LAG, ms(shown.lag), "ms").limit(ms(nanos(sync))),
        Number::new(MISSING, count(missing), "").limit(0.0),
        Number::new("losses of voters", count(len(steps.len())), ""),
    ];
    if let Some(violated) = shown.findings.violated(shown.samples, &numbers) {
        return violated;
    }
    let unshown = steps.is_empty() || shown.windows == 0 || shown.revoked == 0;
    let few = unshown.then(|| {
        let text = format!(
            "{} losses of voters, {} windows and {} revocations were seen: each is needed once at least",
            steps.len(),
            shown.windows,
            shown.revoked
        );
        Reason::new("too-few-samples", text)
    });
    let held = Verdict::holds(MINIMUM, Evidence { samples: shown.samples, numbers, notes: Vec::new() });
    let window = scope.deployment.quota.window;
    let late = steps.iter().find_map(|step| {
        let hold = story.stretch("hold", *step)?;
        late_doubt(history, window, hold.from, hold.to)
    });
    unless(held, doubt(history).or(few).or(shown.findings.reason).or(late))
}

/// What those that are left answered from the loss to the heal. Returns how often a route was missing or an answer too late.
fn answers(story: &Story<'_>, shown: &mut Shown, inject: Phase, hold: Phase, failover: u64, scope: &Scope<'_>) -> u64 {
    let history = story.history;
    let step = history.text(hold.variant);
    let hangs = scope.parameters.number("hangs");
    let mut missing = 0_u64;
    let again = inject.from.saturating_add(failover);
    for seen in story.calls(inject.from, hold.to) {
        let name = history.text(seen.asked.target);
        let after = seen.sent.saturating_sub(inject.from);
        let event = telling(seen);
        if story.hung(seen, hangs) || ended(seen) == Ended::NoRoute {
            missing = missing.saturating_add(1);
            let how = if ended(seen) == Ended::NoRoute {
                "said that there is no such route".to_owned()
            } else {
                format!("took longer than {hangs:.0} ms")
            };
            shown.findings.offend(history, Some(event), MISSING, || {
                format!("{step}: `{name}`, asked {:.3} s after voters were lost, {how}", seconds(after))
            });
            continue;
        }
        let failed = matches!(ended(seen), Ended::ServerError | Ended::Nothing);
        // What the end of the story cut off says nothing.
        if seen.is_given_up() {
            continue;
        }
        shown.samples = shown.samples.saturating_add(1);
        if failed {
            shown.gap = shown.gap.max(after);
            if seen.sent >= again {
                let status = seen.status();
                let how = if status == 0 { "no answer".to_owned() } else { format!("status {status}") };
                shown.findings.offend(history, Some(event), GAP, || {
                    format!(
                        "{step}: {how} of `{name}` {:.3} s after voters were lost, with a quorum left",
                        seconds(after)
                    )
                });
            }
        }
    }
    missing
}

/// Whether a token that was revoked at one of those that are left was refused at all of them.
fn revocation(story: &Story<'_>, shown: &mut Shown, step: Name, hold: Phase, sync: u64) {
    let (history, events) = (story.history, story.history.events());
    let label = history.text(step);
    for asked in story.revocations.iter().filter(|asked| (hold.from..hold.to).contains(&asked.sent)) {
        let Some((at, _, answer)) = asked.outcome else { continue };
        let where_at = history.text(asked.asked.target);
        if !answer.is_success() {
            let status = answer.status;
            if (500..600).contains(&status) {
                let event = telling(asked);
                shown.findings.offend(history, Some(event), LAG, || {
                    format!("{label}: `{where_at}` did not take a revocation (status {status}), with a quorum left")
                });
            } else {
                shown.findings.doubt(|| {
                    Reason::new("too-few-samples", format!("{label}: the revocation at `{where_at}` was not answered"))
                });
            }
            continue;
        }
        shown.revoked = shown.revoked.saturating_add(1);
        let uses = story.calls(0, hold.to).iter().filter(|seen| seen.asked.token == asked.asked.token);
        let mut refused: Vec<Name> = Vec::new();
        let mut users: Vec<Name> = Vec::new();
        for seen in uses {
            let (target, decision) = (seen.asked.target, decide(seen.view, events));
            if seen.sent < at {
                if decision == Decision::Accepted && !users.contains(&target) {
                    users.push(target);
                }
                continue;
            }
            shown.samples = shown.samples.saturating_add(1);
            match decision {
                Decision::Accepted => {
                    let lag = seen.sent.saturating_sub(at);
                    shown.lag = shown.lag.max(lag);
                    if lag > sync {
                        let event = telling(seen);
                        shown.findings.offend(history, Some(event), LAG, || {
                            let name = history.text(target);
                            format!(
                                "{label}: a token that was revoked at `{where_at}` was accepted at `{name}` {:.3} s later",
                                seconds(lag)
                            )
                        });
                    }
                }
                Decision::Refused if !refused.contains(&target) => refused.push(target),
                Decision::Refused | Decision::ServerError | Decision::Undecided => {}
            }
        }
        if let Some(silent) = users.iter().find(|user| !refused.contains(user)) {
            let name = history.text(*silent);
            shown.findings.doubt(|| {
                Reason::new("too-few-samples", format!("{label}: the revoked token was never refused at `{name}`"))
            });
        }
        if users.is_empty() {
            shown.findings.doubt(|| {
                Reason::new("no-steady-state", format!("{label}: the token was accepted nowhere before it was revoked"))
            });
        }
    }
}

/// Whether those that are left have one counter, and all of them afterwards.
fn counters(story: &Story<'_>, shown: &mut Shown, scope: &Scope<'_>) {
    let history = story.history;
    let rule = Rule::strict(scope.deployment);
    for round in rounds(history, &rule) {
        let phase = history.text(round.phase);
        if !round.clean || !["hold", "settle"].contains(&phase) {
            continue;
        }
        let found = against_bound(history, &rule, (round.first_sent, round.sure), round.event, round.sure_calls());
        let first = round.sure_calls().next().map(|seen| seen.asked.target);
        let several = round.sure_calls().any(|seen| Some(seen.asked.target) != first);
        let demand = Tally::of(round.sure_calls()).demand();
        shown.samples = shown.samples.saturating_add(demand);
        if found.broken() {
            if round.starved {
                if !round.repeated {
                    shown.findings.doubt(|| starved(history, &round.label(history)));
                }
                continue;
            }
            let label = history.text(round.variant);
            shown.findings.over(&found.over, ADMITTED, || {
                format!(
                    "{label}: those that have a quorum admitted {} in one window, at most {:.0} allowed (Q = {})",
                    found.admitted, found.limit, rule.quota
                )
            });
        } else if several && demand >= rule.quota.saturating_mul(rule.fillings) {
            shown.windows = shown.windows.saturating_add(1);
        }
        shown.most_admitted = shown.most_admitted.max(found.admitted);
    }
}
