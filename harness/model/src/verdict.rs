//! What follows from a history for one claim ([`Verdict`]), and what that means once it is held
//! against the profile's declaration ([`Standing`]).

use serde::{Deserialize, Serialize};

/// One measured number that helped to decide, with its unit and the limit it was held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Number {
    /// What was measured: `last accept after revoke`.
    pub name: String,
    /// The value, in `unit`.
    pub value: f64,
    /// `ms`, `requests`, `%`, `x`; empty for a plain count.
    pub unit: String,
    /// The limit, in the same unit, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// A timing within 10 % of its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marginal: bool,
}

impl Number {
    /// A number without a limit.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { name: name.into(), value, unit: unit.to_owned(), limit: None, marginal: false }
    }

    /// The same number with its limit; a time (`ms`, `s`) within 10 % of it is flagged marginal, unless that is zero.
    #[must_use]
    pub fn limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        let timed = self.unit == "ms" || self.unit == "s";
        self.marginal = timed && limit.abs() > 0.0 && (self.value - limit).abs() <= limit.abs() * 0.1;
        self
    }
}

/// An event of a saved history: which experiment, which line (1 is the first event after the header).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EventRef {
    /// Experiment name.
    pub experiment: String,
    /// Event number in that experiment's history.
    pub event: u64,
}

/// Why a claim holds: how much was looked at, and the numbers that decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Evidence {
    /// How many observations could have broken the claim; never 0 for `Holds`.
    pub samples: u64,
    /// Numbers, the deciding one first.
    pub numbers: Vec<Number>,
    /// Anything a reader should know, one sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How a claim was broken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Counterexample {
    /// What happened, in plain words, with names and times.
    pub explanation: String,
    /// The first offending events (at most a few), enough to see it again.
    pub events: Vec<EventRef>,
    /// How many observations were made, and so what share broke it.
    pub samples: u64,
    /// Numbers, the deciding one (for a documented limit: the measured size of the limit) first.
    pub numbers: Vec<Number>,
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reason {
    /// Short and stable: `fault-not-proven`, `no-steady-state`, `too-few-samples`, `not-run`, `harness-late`, `gap`, `no-replica-identity`.
    pub code: String,
    /// The reason in plain words, with the numbers.
    pub text: String,
}

impl Reason {
    /// A reason from its stable code and its words.
    #[must_use]
    pub fn new(code: &str, text: impl Into<String>) -> Self {
        Self { code: code.to_owned(), text: text.into() }
    }
}

/// What follows from the histories for one claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "observed")]
pub enum Verdict {
    /// Looked at, and not broken.
    Holds(Evidence),
    /// Broken, with the events that show it.
    Violated(Counterexample),
    /// Nothing can be said.
    Inconclusive(Reason),
    /// The deployment, adapter or runtime lacks what the claim is about.
    NotApplicable(Reason),
}

impl Verdict {
    /// `holds`, unless nothing was looked at: then `inconclusive` (`too-few-samples`).
    #[must_use]
    pub fn holds(minimum: u64, evidence: Evidence) -> Self {
        if evidence.samples < minimum.max(1) {
            let text = format!("{} observations; at least {} are needed", evidence.samples, minimum.max(1));
            return Self::Inconclusive(Reason::new("too-few-samples", text));
        }
        Self::Holds(evidence)
    }

    /// `inconclusive`, from a code and words.
    #[must_use]
    pub fn inconclusive(code: &str, text: impl Into<String>) -> Self {
        Self::Inconclusive(Reason::new(code, text))
    }

    /// The verdict over both: violated, then inconclusive, then holds, then not-applicable wins.
    /// Two that hold (or are violated) are added up: samples summed, numbers and events joined.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Violated(mut a), Self::Violated(b)) => {
                a.explanation = join_sentences(a.explanation, &b.explanation);
                a.events.extend(b.events);
                a.samples = a.samples.saturating_add(b.samples);
                a.numbers.extend(b.numbers);
                Self::Violated(a)
            }
            (Self::Violated(a), Self::Holds(_) | Self::Inconclusive(_) | Self::NotApplicable(_))
            | (Self::Holds(_) | Self::Inconclusive(_) | Self::NotApplicable(_), Self::Violated(a)) => Self::Violated(a),
            (Self::Inconclusive(mut a), Self::Inconclusive(b)) => {
                if !a.text.contains(&b.text) {
                    a.text = join_sentences(a.text, &b.text);
                }
                Self::Inconclusive(a)
            }
            (Self::Inconclusive(a), Self::Holds(_) | Self::NotApplicable(_))
            | (Self::Holds(_) | Self::NotApplicable(_), Self::Inconclusive(a)) => Self::Inconclusive(a),
            (Self::Holds(mut a), Self::Holds(b)) => {
                a.samples = a.samples.saturating_add(b.samples);
                a.numbers.extend(b.numbers);
                a.notes.extend(b.notes);
                Self::Holds(a)
            }
            (Self::Holds(a), Self::NotApplicable(_)) | (Self::NotApplicable(_), Self::Holds(a)) => Self::Holds(a),
            (Self::NotApplicable(a), Self::NotApplicable(_)) => Self::NotApplicable(a),
        }
    }

    /// The verdict over all of them; over none, `inconclusive` (`nothing-judged`).
    #[must_use]
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts
            .into_iter()
            .reduce(Self::and)
            .unwrap_or_else(|| Self::inconclusive("nothing-judged", "there was nothing to judge"))
    }

    /// The word for it.
    #[must_use]
    pub fn observed(&self) -> Observed {
        match self {
            Self::Holds(_) => Observed::Holds,
            Self::Violated(_) => Observed::Violated,
            Self::Inconclusive(_) => Observed::Inconclusive,
            Self::NotApplicable(_) => Observed::NotApplicable,
        }
    }

    /// The numbers, if it has any; the deciding one first.
    #[must_use]
    pub fn numbers(&self) -> &[Number] {
        match self {
            Self::Holds(evidence) => &evidence.numbers,
            Self::Violated(counterexample) => &counterexample.numbers,
            Self::Inconclusive(_) | Self::NotApplicable(_) => &[],
        }
    }
}

fn join_sentences(mut first: String, second: &str) -> String {
    if !first.is_empty() && !second.is_empty() {
        first.push_str("; ");
    }
    first.push_str(second);
    first
}

/// A verdict without its evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observed {
    /// See [`Verdict::Holds`].
    Holds,
    /// See [`Verdict::Violated`].
    Violated,
    /// See [`Verdict::Inconclusive`].
    Inconclusive,
    /// See [`Verdict::NotApplicable`].
    NotApplicable,
}

/// What a profile says of a claim, after its expressions are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Declared {
    /// The product promises it.
    Holds,
    /// The product documents that it does not.
    DoesNotHold,
    /// The product has nothing that the claim is about.
    NotApplicable,
}

/// A verdict held against its declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Declared to hold, and it held.
    Pass,
    /// Declared to hold, and it was broken.
    Fail,
    /// Declared not to hold, and it did not; the size of the limit was measured.
    LimitConfirmed,
    /// Declared not to hold, and it held: better than documented, or not looked at hard enough. No failure.
    Stricter,
    /// Nothing can be said.
    Inconclusive,
    /// Not about this product, deployment or runtime.
    NotApplicable,
}

impl Standing {
    /// The one table of declared against observed.
    #[must_use]
    pub fn of(declared: Declared, observed: Observed) -> Self {
        match (declared, observed) {
            (Declared::NotApplicable, _) | (_, Observed::NotApplicable) => Self::NotApplicable,
            (_, Observed::Inconclusive) => Self::Inconclusive,
            (Declared::Holds, Observed::Holds) => Self::Pass,
            (Declared::Holds, Observed::Violated) => Self::Fail,
            (Declared::DoesNotHold, Observed::Holds) => Self::Stricter,
            (Declared::DoesNotHold, Observed::Violated) => Self::LimitConfirmed,
        }
    }

    /// As printed: `pass`, `fail`, `limit-confirmed`, `stricter`, `inconclusive`, `not-applicable`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::LimitConfirmed => "limit-confirmed",
            Self::Stricter => "stricter",
            Self::Inconclusive => "inconclusive",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// Whether something was judged: it counts in the numerator of the denominator line.
    #[must_use]
    pub fn is_judged(self) -> bool {
        match self {
            Self::Pass | Self::Fail | Self::LimitConfirmed | Self::Stricter => true,
            Self::Inconclusive | Self::NotApplicable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(samples: u64) -> Verdict {
        Verdict::Holds(Evidence { samples, numbers: vec![Number::new("n", 1.0, "")], notes: vec!["seen".to_owned()] })
    }

    fn violated(samples: u64) -> Verdict {
        let events = vec![EventRef { experiment: "x".to_owned(), event: samples }];
        Verdict::Violated(Counterexample { explanation: "broken".to_owned(), events, samples, numbers: Vec::new() })
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        let reason = || ("[a-c]", "[a-c ]{0,8}").prop_map(|(code, text)| Reason::new(&code, text));
        prop_oneof![
            (1..100_u64).prop_map(holds),
            (1..100_u64).prop_map(violated),
            reason().prop_map(Verdict::Inconclusive),
            reason().prop_map(Verdict::NotApplicable),
        ]
    }

    /// Which of two wins: the table of style.md, section 2.
    fn rank(verdict: &Verdict) -> u8 {
        match verdict {
            Verdict::Violated(_) => 3,
            Verdict::Inconclusive(_) => 2,
            Verdict::Holds(_) => 1,
            Verdict::NotApplicable(_) => 0,
        }
    }

    fn samples(verdict: &Verdict) -> u64 {
        match verdict {
            Verdict::Holds(evidence) => evidence.samples,
            Verdict::Violated(counterexample) => counterexample.samples,
            Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => 0,
        }
    }

    #[test]
    fn nothing_merged_is_inconclusive_and_nothing_seen_never_holds() {
        assert_eq!(Verdict::all([]), Verdict::inconclusive("nothing-judged", "there was nothing to judge"));
        for minimum in [0, 1, 20] {
            assert_eq!(Verdict::holds(minimum, Evidence::default()).observed(), Observed::Inconclusive);
        }
        assert_eq!(
            Verdict::holds(3, Evidence { samples: 2, ..Evidence::default() }).observed(),
            Observed::Inconclusive
        );
        assert_eq!(Verdict::holds(3, Evidence { samples: 3, ..Evidence::default() }).observed(), Observed::Holds);
    }

    #[test]
    fn two_of_a_kind_add_up_their_evidence() {
        let Verdict::Holds(both) = holds(2).and(holds(3)) else { panic!() };
        assert_eq!((both.samples, both.numbers.len(), both.notes.len()), (5, 2, 2));
        let Verdict::Violated(both) = violated(2).and(violated(3)) else { panic!() };
        assert_eq!((both.samples, both.explanation.as_str(), both.events.len()), (5, "broken; broken", 2));
    }

    proptest! {
        #[test]
        fn the_worst_wins_in_whatever_order(all in prop::collection::vec(any_verdict(), 1..8), turn in 0..8_usize) {
            let merged = Verdict::all(all.clone());
            prop_assert_eq!(rank(&merged), all.iter().map(rank).max().unwrap_or_default());
            let mut turned = all.clone();
            turned.rotate_left(turn.min(all.len()));
            prop_assert_eq!(Verdict::all(turned).observed(), merged.observed());
        }

        #[test]
        fn merging_is_associative_and_loses_no_sample(a in any_verdict(), b in any_verdict(), c in any_verdict()) {
            let left = a.clone().and(b.clone()).and(c.clone());
            let right = a.clone().and(b.clone().and(c.clone()));
            prop_assert_eq!(left.observed(), right.observed());
            prop_assert_eq!(samples(&left), samples(&right));
            let kind: u64 = [&a, &b, &c].into_iter().filter(|one| one.observed() == left.observed()).map(samples).sum();
            prop_assert_eq!(samples(&left), kind);
        }

        #[test]
        fn merging_commutes_and_doubt_or_absence_never_make_it_better(a in any_verdict(), b in any_verdict()) {
            prop_assert_eq!(a.clone().and(b.clone()).observed(), b.clone().and(a.clone()).observed());
            let doubted = a.clone().and(Verdict::inconclusive("gap", "lost"));
            prop_assert!(doubted.observed() != Observed::Holds);
            prop_assert_eq!(doubted.observed() == Observed::Violated, a.observed() == Observed::Violated);
            let absent = a.clone().and(Verdict::NotApplicable(Reason::new("not-applicable", "no sites")));
            prop_assert_eq!(absent.observed(), a.observed());
        }

        #[test]
        fn a_standing_is_a_failure_only_of_what_was_declared_to_hold_and_broken(verdict in any_verdict()) {
            for declared in [Declared::Holds, Declared::DoesNotHold, Declared::NotApplicable] {
                let standing = Standing::of(declared, verdict.observed());
                let failed = declared == Declared::Holds && verdict.observed() == Observed::Violated;
                prop_assert_eq!(standing == Standing::Fail, failed);
                let judged = declared != Declared::NotApplicable
                    && matches!(verdict.observed(), Observed::Holds | Observed::Violated);
                prop_assert_eq!(standing.is_judged(), judged);
            }
        }
    }
}
