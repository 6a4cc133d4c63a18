//! PAR-02: does each side of a split do what is declared, class by class, and serve what needs nothing shared?
//!
//! A side with a quorum goes on as before, one without does what its mode says. Where bytes pass one way only, the gateways find out who
//! is left of the group: both are right then, as long as no side admits more than a quota and nobody hangs.

use super::calls::{Ended, Findings, Side, Story, ended, sides_of, telling};
use super::{MINIMUM, SPLIT_STORY};
use crate::claims::common::{Phase, Seen, count, doubt, late_doubt, len, unless};
use crate::claims::quota::{Round, Rule, against_bound, rounds, starved};
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Evidence, Number, Reason, Verdict};

/// Share of answers that may be otherwise without deciding the mode.
const STRAY: f64 = 0.05;

/// What a class of state does without a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Closed,
    Local,
}

impl Mode {
    fn of(word: &str) -> Option<Self> {
        match word {
            "closed" => Some(Self::Closed),
            "local" => Some(Self::Local),
            _ => None,
        }
    }
}

const SERVED: &str = "success of what needs nothing shared (worst side)";
const ADMITTED: &str = "most admitted by a side in a window";
const HUNG: &str = "answers that came too late or never";
const OTHER: &str = "answers other than the declared mode gives (worst side)";

#[derive(Default)]
struct Shown {
    samples: u64,
    sides: u64,
    without: u64,
    hung: u64,
    served: Option<f64>,
    most_admitted: u64,
    otherwise: f64,
    findings: Findings,
}

/// The check.
pub(super) fn par_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(SPLIT_STORY) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let modes = ["quota", "revocations", "tokens"].map(|class| Mode::of(scope.parameters.word(class)));
    let [Some(quota), Some(revocations), Some(tokens)] = modes else {
        let text = "what happens without a quorum is declared neither `closed` nor `local` for each class of state";
        return Verdict::NotApplicable(Reason::new("mode-not-declared", text));
    };
    let story = Story::read(history);
    let rule = Rule::strict(scope.deployment);
    let rounds = rounds(history, &rule);
    let mut shown = Shown::default();
    for step in story.steps() {
        let Some(hold) = story.stretch("hold", step) else { continue };
        let label = history.text(step).to_owned();
        for side in sides_of(scope.deployment, &label) {
            let of = OneSide { story: &story, side: &side, hold, label: &label, scope };
            shown.sides = shown.sides.saturating_add(1);
            shown.without = shown.without.saturating_add(u64::from(side.quorum == Some(false)));
            of.served(&mut shown);
            of.class(&mut shown, "tokens in use", of.uses(), expected(side.quorum, revocations));
            of.class(&mut shown, "tokens asked for", of.issues(), expected(side.quorum, tokens));
            of.counted(&mut shown, &rule, &rounds, expected(side.quorum, quota));
        }
    }
    let numbers = vec![
        Number::new(SERVED, shown.served.unwrap_or_default() * 100.0, "%").limit(scope.parameters.number("slo")),
        Number::new(ADMITTED, count(shown.most_admitted), "requests").limit(count(rule.quota)),
        Number::new(OTHER, shown.otherwise * 100.0, "%").limit(STRAY * 100.0),
        Number::new(HUNG, count(shown.hung), "").limit(0.0),
        Number::new("sides", count(shown.sides), ""),
        Number::new("sides without a quorum", count(shown.without), ""),
    ];
    if let Some(violated) = shown.findings.violated(shown.samples, &numbers) {
        return violated;
    }
    let few = (shown.without == 0).then(|| Reason::new("too-few-samples", "no side was without a quorum"));
    let held = Verdict::holds(MINIMUM, Evidence { samples: shown.samples, numbers, notes: Vec::new() });
    let late = story.steps().into_iter().find_map(|step| {
        let hold = story.stretch("hold", step)?;
        late_doubt(history, scope.deployment.quota.window, hold.from, hold.to)
    });
    unless(held, doubt(history).or(few).or(shown.findings.reason).or(late))
}

/// What answers of a class must be: those of a group that decides, refusals (5xx), or either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Decisions,
    Refusals,
    Either,
}

fn expected(quorum: Option<bool>, mode: Mode) -> Expected {
    match (quorum, mode) {
        (Some(true), _) | (Some(false) | None, Mode::Local) => Expected::Decisions,
        (Some(false), Mode::Closed) => Expected::Refusals,
        (None, Mode::Closed) => Expected::Either,
    }
}

/// One side while it is apart.
struct OneSide<'a, 'h> {
    story: &'a Story<'h>,
    side: &'a Side,
    hold: Phase,
    label: &'a str,
    scope: &'a Scope<'a>,
}

impl<'h> OneSide<'_, 'h> {
    /// `split, `aws` (no quorum)`.
    fn called(&self) -> String {
        let quorum = match self.side.quorum {
            Some(true) => " (with a quorum)",
            Some(false) => " (without a quorum)",
            None => "",
        };
        format!("{}: {}{quorum}", self.label, self.side.label())
    }

    fn calls(&self) -> impl Iterator<Item = &Seen<'h>> {
        self.side.of(self.story.history, self.story.calls(self.hold.from, self.hold.to))
    }

    /// Uses of tokens that nobody had revoked when they were sent, and in whose time nobody did.
    fn uses(&self) -> Vec<&Seen<'h>> {
        let revoked = |seen: &Seen<'_>| {
            self.story
                .revocations
                .iter()
                .any(|asked| asked.asked.token == seen.asked.token && asked.sent <= seen.ended())
        };
        self.calls().filter(|seen| self.story.is(seen, streams::TOKEN) && !revoked(seen)).collect()
    }

    fn issues(&self) -> Vec<&Seen<'h>> {
        let within = |seen: &&Seen<'h>| (self.hold.from..self.hold.to).contains(&seen.sent);
        self.story.issues.iter().filter(within).filter(|seen| self.side.has(self.story.history, seen)).collect()
    }

    /// What needs nothing shared is served, and nothing hangs.
    fn served(&self, shown: &mut Shown) {
        let hangs = self.scope.parameters.number("hangs");
        let (mut sent, mut good) = (0_u64, 0_u64);
        let mut bad: Option<usize> = None;
        for seen in self.calls() {
            let event = telling(seen);
            if self.story.hung(seen, hangs) {
                shown.hung = shown.hung.saturating_add(1);
                let name = self.story.history.text(seen.asked.target);
                shown.findings.offend(self.story.history, Some(event), HUNG, || {
                    format!("{}: an answer of `{name}` took longer than {hangs:.0} ms", self.called())
                });
            }
            if self.story.is(seen, streams::TRAFFIC) && seen.outcome.is_some() {
                sent = sent.saturating_add(1);
                if (200..300).contains(&seen.status()) {
                    good = good.saturating_add(1);
                } else {
                    bad = bad.or(Some(event));
                }
            }
        }
        shown.samples = shown.samples.saturating_add(sent);
        if sent == 0 {
            shown
                .findings
                .doubt(|| Reason::new("too-few-samples", format!("{}: nothing was asked of it", self.called())));
            return;
        }
        let success = count(good) / count(sent);
        shown.served = Some(shown.served.map_or(success, |least| least.min(success)));
        // One may be lost to the moment in which the sides part.
        let slo = self.scope.parameters.number("slo") / 100.0;
        if success < slo && sent.saturating_sub(good) > 1 {
            shown.findings.offend(self.story.history, bad, SERVED, || {
                format!("{}: {good} of {sent} requests succeeded that need nothing shared", self.called())
            });
        }
    }

    /// Whether the answers of a class are those that its mode gives.
    fn class(&self, shown: &mut Shown, class: &str, answers: Vec<&Seen<'h>>, expected: Expected) {
        let known: Vec<&Seen<'h>> = answers.into_iter().filter(|seen| seen.outcome.is_some()).collect();
        if known.is_empty() {
            shown.findings.doubt(|| Reason::new("too-few-samples", format!("{}: no {class} were seen", self.called())));
            return;
        }
        shown.samples = shown.samples.saturating_add(len(known.len()));
        let good = |seen: &&Seen<'h>| match expected {
            Expected::Decisions => (200..300).contains(&seen.status()),
            Expected::Refusals => (500..600).contains(&seen.status()),
            Expected::Either => (200..300).contains(&seen.status()) || (500..600).contains(&seen.status()),
        };
        let others: Vec<&&Seen<'h>> = known.iter().filter(|seen| !good(seen)).collect();
        let share = count(len(others.len())) / count(len(known.len()));
        shown.otherwise = shown.otherwise.max(share);
        if share <= STRAY {
            return;
        }
        let first = others.first();
        let event = first.map(|seen| telling(seen));
        let status = first.map_or(0, |seen| seen.status());
        shown.findings.offend(self.story.history, event, OTHER, || {
            let meant = match expected {
                Expected::Decisions => "accepted",
                Expected::Refusals => "refused with 5xx, as `closed` has it",
                Expected::Either => "accepted or refused with 5xx",
            };
            format!(
                "{}: {} of {} {class} were not {meant} (the first was answered {status})",
                self.called(),
                others.len(),
                known.len()
            )
        });
    }

    /// Whether what is counted is counted as the mode says.
    fn counted(&self, shown: &mut Shown, rule: &Rule, rounds: &[Round<'h>], expected: Expected) {
        let history = self.story.history;
        let of_step = |round: &&Round<'h>| (self.hold.from..self.hold.to).contains(&round.marked);
        let Some(round) = rounds.iter().filter(of_step).find(|round| round.clean) else {
            shown.findings.doubt(|| Reason::new("too-few-samples", format!("{}: no quota was spent", self.called())));
            return;
        };
        let until = self.hold.to.min(round.sure);
        let calls = || round.calls.iter().filter(|seen| seen.sent < until && self.side.has(history, seen));
        let sent = len(calls().count());
        shown.samples = shown.samples.saturating_add(sent);
        if sent < rule.quota {
            let text = || format!("{}: {sent} counted requests were sent, fewer than Q", self.called());
            shown.findings.doubt(|| Reason::new("too-few-samples", text()));
            return;
        }
        let found = against_bound(history, rule, (round.first_sent, until), round.event, calls());
        shown.most_admitted = shown.most_admitted.max(found.admitted);
        if found.broken() {
            if round.starved {
                shown.findings.doubt(|| starved(history, &round.label(history)));
                return;
            }
            shown.findings.over(&found.over, ADMITTED, || {
                format!(
                    "{}: {} admitted in one window, at most {:.0} allowed (Q = {})",
                    self.called(),
                    found.admitted,
                    found.limit,
                    rule.quota
                )
            });
            return;
        }
        let refusals: Vec<&Seen<'h>> = calls().filter(|seen| ended(seen) == Ended::ServerError).collect();
        let refused = count(len(refusals.len())) / count(sent);
        let admitted = count(found.admitted) / count(sent);
        let (otherwise, words) = match expected {
            Expected::Decisions => (refused, "refused with 5xx, as `closed` has it"),
            Expected::Refusals => (admitted, "admitted, although it has no quorum and is `closed`"),
            Expected::Either => (0.0, ""),
        };
        shown.otherwise = shown.otherwise.max(otherwise);
        if otherwise > STRAY {
            let event = match expected {
                Expected::Decisions => refusals.first().and_then(|seen| seen.view.completed()),
                Expected::Refusals | Expected::Either => {
                    calls().find_map(|seen| Some(seen.view.arrival(history.events())?.1))
                }
            };
            shown.findings.offend(self.story.history, event, OTHER, || {
                format!("{}: {:.0} % of {sent} counted requests were {words}", self.called(), otherwise * 100.0)
            });
        }
        // Counted by itself, a side lets somebody in.
        if expected == Expected::Decisions && found.admitted == 0 {
            shown.findings.offend(self.story.history, Some(round.event), OTHER, || {
                format!("{}: of {sent} counted requests none was admitted", self.called())
            });
        }
    }
}
