//! QUO-07: when the store that counts is lost, does the gateway do what is declared, fast, and does it enforce
//! again afterwards? One verdict for each way in which a store is lost, and within it one for the
//! outage and one for the time after the heal.
//!
//! The declared mode is contradicted by what is certain only: arrivals, and answers with a status. Requests whose end is not known
//! contradict nothing; where too many are left to tell, the variant is inconclusive.

use super::marks::STORE_CORRUPTED;
use super::rounds::{Count, Round, Rule, Tally, against_bound, rounds};
use super::{REVOCATIONS_ALONE, STORE_LOSS, STORE_MISBEHAVES};
use crate::claims::common::{
    LATENCY_FLOOR_MS, Phase, Seen, count, doubt, last_phase, late_doubt, len, ms, nanos, phases, stream, unless,
};
use crate::claims::pace::Paces;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};
use std::collections::BTreeMap;
use std::time::Duration;

/// Share of requests that may do otherwise without deciding the mode.
const STRAY: f64 = 0.05;
/// Share of requests that must show the mode for `holds`.
const SHOWN: f64 = 0.9;

/// How the store is lost.
struct Variant {
    name: &'static str,
    experiment: &'static str,
    /// The store may still count some or all requests: the mode, or enforcement as before, or a mixture is right.
    partly: bool,
    /// How many windows the outage may touch: a counter that is corrupted must exist before.
    windows: u64,
}

const VARIANTS: &[Variant] = &[
    Variant { name: "refuse", experiment: STORE_LOSS, partly: false, windows: 1 },
    Variant { name: "blackhole", experiment: STORE_LOSS, partly: false, windows: 1 },
    Variant { name: "slow", experiment: STORE_LOSS, partly: true, windows: 1 },
    Variant { name: "wrong-data", experiment: STORE_LOSS, partly: true, windows: 2 },
    Variant { name: "read-only", experiment: STORE_MISBEHAVES, partly: false, windows: 1 },
    Variant { name: "freeze", experiment: STORE_MISBEHAVES, partly: false, windows: 1 },
    Variant { name: "throttle", experiment: STORE_MISBEHAVES, partly: true, windows: 1 },
    Variant { name: "lost-acknowledgement", experiment: STORE_MISBEHAVES, partly: true, windows: 1 },
];

/// Revocations alone are wrong: a gateway whose store holds them goes on counting.
const ALONE: Variant = Variant { name: REVOCATIONS_ALONE, experiment: STORE_LOSS, partly: false, windows: 1 };

/// What a gateway does without its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Closed,
    Open,
    Local,
    Error,
}

impl Mode {
    fn named(word: &str) -> Option<Self> {
        match word {
            "closed" => Some(Self::Closed),
            "open" => Some(Self::Open),
            "local" => Some(Self::Local),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// What the outage showed of one replica.
struct AtReplica {
    name: Name,
    tally: Tally,
    bound: Count,
}

/// What the requests of the outage showed.
struct Outage {
    sent: u64,
    admitted: u64,
    /// Answered without admission: with 500, with another 5xx, with a rejection or any other status.
    error_500: u64,
    other_5xx: u64,
    refused: u64,
    replicas: Vec<AtReplica>,
    total: Count,
    paces: Paces,
    hung: u64,
    first: Option<usize>,
    /// First answer of each kind, for counterexamples: an admission, a 500, another 5xx, a refusal.
    examples: [Option<usize>; 4],
}

/// The check.
pub(super) fn declared_mode(scope: &Scope<'_>) -> Verdict {
    let word = scope.parameters.word("mode");
    let Some(mode) = Mode::named(word) else {
        let text = "the profile does not say what the gateway does without its store (parameter `mode`)";
        return Verdict::NotApplicable(Reason::new("mode-not-declared", text));
    };
    let rule = Rule::of(scope);
    let mut verdicts = Vec::new();
    for experiment in [STORE_LOSS, STORE_MISBEHAVES] {
        let history = match scope.history(experiment) {
            Ok(history) => history,
            Err(verdict) => {
                verdicts.push(verdict);
                continue;
            }
        };
        let rounds = rounds(history, &rule);
        let phases = phases(history);
        let of = Told { history, rounds: &rounds, phases: &phases, rule: &rule, scope, mode, word };
        verdicts.extend(
            VARIANTS.iter().filter(|variant| variant.experiment == experiment).map(|variant| of.judge(variant)),
        );
        verdicts.extend(of.alone());
    }
    Verdict::all(verdicts)
}

/// One history, ready to be judged variant by variant.
struct Told<'a, 'h> {
    history: &'h History,
    rounds: &'a [Round<'h>],
    phases: &'a [Phase],
    rule: &'a Rule,
    scope: &'a Scope<'a>,
    mode: Mode,
    word: &'a str,
}

impl Told<'_, '_> {
    fn judge(&self, variant: &Variant) -> Verdict {
        let missing = |what: &str| {
            let text = format!("{}: {what}", variant.name);
            Verdict::inconclusive("too-few-samples", text)
        };
        // A variant in which the harness was late was told again: its last time is judged.
        let Some(hold) = self.last("hold", variant) else {
            return missing("the store was not lost in this way");
        };
        let Some(settle) = self.last("settle", variant).filter(|settle| settle.from >= hold.from) else {
            return missing("nothing was seen after the heal");
        };
        let mut outages = self.outages(variant, hold);
        outages.retain(|outage| outage.sent >= self.rule.quota);
        if outages.is_empty() {
            return missing("fewer than Q requests were sent while the store was lost");
        }
        let (base_ms, unsteady) = self.base(variant);
        let during = Verdict::all(outages.into_iter().map(|outage| self.during(variant, outage, base_ms)));
        let after = self.after(variant, settle);
        let late = late_doubt(self.history, Duration::from_nanos(self.window()), hold.from, settle.to);
        let doubt = unsteady.or_else(|| self.not_corrupted(variant, hold)).or_else(|| doubt(self.history)).or(late);
        unless(during.and(after), doubt)
    }

    /// Wrong data are put in by commands, not by a fault: their proof is the number of keys that were changed.
    fn not_corrupted(&self, variant: &Variant, hold: Phase) -> Option<Reason> {
        if !["wrong-data", REVOCATIONS_ALONE].contains(&variant.name) {
            return None;
        }
        let last = self.history.marks(STORE_CORRUPTED).filter(|(at, ..)| *at <= hold.from).last();
        (last.is_none_or(|(_, _, keys, _)| keys < 1))
            .then(|| Reason::new("fault-not-proven", format!("{}: no key of the store was changed", variant.name)))
    }

    fn window(&self) -> u64 {
        self.rounds.iter().map(|round| round.window).max().unwrap_or_default()
    }

    /// The last stretch of `phase` in `variant`.
    fn last(&self, phase: &str, variant: &Variant) -> Option<Phase> {
        last_phase(self.history, self.phases, phase, variant.name)
    }

    /// The rounds of the last time that `phase` was told in `variant`.
    fn of_phase<'s>(&'s self, variant: &'s Variant, phase: &'s str) -> impl Iterator<Item = &'s Round<'s>> {
        let last = self.last(phase, variant);
        self.rounds.iter().filter(move |round| {
            let of = (self.history.text(round.variant), self.history.text(round.phase));
            of == (variant.name, phase) && last.is_some_and(|last| round.event > last.event)
        })
    }

    /// p95 before the fault, and why there was no steady state: the quota was not enforced, or never reached.
    fn base(&self, variant: &Variant) -> (Option<f64>, Option<Reason>) {
        let mut paces = Paces::default();
        let mut enforced = false;
        for round in self.of_phase(variant, "steady") {
            for seen in round.sure_calls() {
                paces.add(self.history, seen);
            }
            let tally = Tally::of(round.sure_calls());
            let within = round.clean && !self.bound(round, round.sure_calls()).broken();
            enforced |= within && tally.rejected > 0 && tally.demand() >= self.rule.quota;
        }
        let base = paces.base().or_else(|| paces.all.p95());
        let unsteady = (!enforced || base.is_none()).then(|| {
            let text = format!("{}: the quota was not seen enforced before the store was lost", variant.name);
            Reason::new("no-steady-state", text)
        });
        (base, unsteady)
    }

    fn bound<'s, 'c: 's>(&self, round: &Round<'_>, calls: impl Iterator<Item = &'s Seen<'c>> + Clone) -> Count {
        against_bound(self.history, self.rule, (round.first_sent, round.sure), round.event, calls)
    }

    /// The requests sent from `t` after the fault on, to its end, of each client: each has a quota of its own.
    fn outages(&self, variant: &Variant, hold: Phase) -> Vec<Outage> {
        let from = hold.from.saturating_add(nanos(self.scope.parameters.duration("t")));
        let mut clients: BTreeMap<Name, Vec<Seen<'_>>> = BTreeMap::new();
        for seen in stream(self.history, streams::QUOTA).filter(|seen| (from..hold.to).contains(&seen.sent)) {
            clients.entry(seen.asked.key).or_default().push(seen);
        }
        clients.into_values().filter_map(|calls| self.outage(variant, hold, calls)).collect()
    }

    /// What these requests of one client show.
    fn outage(&self, variant: &Variant, hold: Phase, mut calls: Vec<Seen<'_>>) -> Option<Outage> {
        let begin = calls.iter().map(|seen| seen.sent).min()?;
        // A replica that counts by itself began its window with the first of these: beyond it nothing is certain.
        let until = match self.window() {
            0 => hold.to,
            window => hold.to.min(begin.saturating_add(window / 100 * 85)),
        };
        calls.retain(|seen| seen.sent < until);
        let rule = Rule { fillings: self.rule.fillings.saturating_mul(variant.windows), ..*self.rule };
        let against = |wanted: Option<Name>| {
            let chosen = calls.iter().filter(move |seen| wanted.is_none_or(|name| seen.asked.target == name));
            against_bound(self.history, &rule, (begin, until), hold.event, chosen)
        };
        let mut names: Vec<Name> = Vec::new();
        let mut outage = Outage {
            sent: len(calls.len()),
            admitted: 0,
            error_500: 0,
            other_5xx: 0,
            refused: 0,
            replicas: Vec::new(),
            total: against(None),
            paces: Paces::default(),
            hung: 0,
            first: None,
            examples: [None; 4],
        };
        let hang_ms = self.scope.parameters.number("hang");
        for seen in &calls {
            let target = seen.asked.target;
            if names.last() != Some(&target) && !names.contains(&target) {
                names.push(target);
            }
            let latency = seen.latency_ms(self.history);
            outage.paces.add(self.history, seen);
            if latency.is_some_and(|latency| latency >= hang_ms) {
                outage.hung = outage.hung.saturating_add(1);
                outage.first = outage.first.or(seen.view.completed()).or(Some(seen.view.invoked as usize));
            }
            let admitted = seen.view.arrival(self.history.events()).map(|(_, at)| at);
            let (slot, kind, event) = match (admitted, seen.status()) {
                (Some(at), _) => (&mut outage.admitted, 0_usize, Some(at)),
                (None, 0) => continue,
                (None, 500) => (&mut outage.error_500, 1, seen.view.completed()),
                (None, 501..=599) => (&mut outage.other_5xx, 2, seen.view.completed()),
                (None, _) => (&mut outage.refused, 3, seen.view.completed()),
            };
            *slot = slot.saturating_add(1);
            if let Some(example) = outage.examples.get_mut(kind) {
                *example = example.or(event);
            }
        }
        outage.replicas = names
            .into_iter()
            .map(|name| AtReplica {
                name,
                tally: Tally::of(calls.iter().filter(|seen| seen.asked.target == name)),
                bound: against(Some(name)),
            })
            .collect();
        Some(outage)
    }

    /// The verdict over the outage: mode, latency, no hang.
    fn during(&self, variant: &Variant, mut outage: Outage, base_ms: Option<f64>) -> Verdict {
        let d_ms = self.scope.parameters.number("d").max(LATENCY_FLOOR_MS);
        let above = |p95: f64| base_ms.map(|base| (p95 - base).max(0.0));
        let limit = base_ms.map_or(f64::INFINITY, |base| base + d_ms);
        let decides = outage.paces.held_against(limit);
        let busy = decides.is_none();
        let added = decides.and_then(above);
        let observed = outage.label(self.rule);
        let mut numbers = vec![Number::new(
            format!("{}: admitted while the store was lost", variant.name),
            count(outage.admitted) / count(outage.sent).max(1.0) * 100.0,
            "%",
        )];
        // An infinite number has no place in a report: what has none is told by the hang.
        if let Some(added) = added.filter(|added| added.is_finite()) {
            numbers.push(Number::new(format!("{}: added to the p95", variant.name), added, "ms").limit(d_ms));
        }
        let mut broken: Vec<String> = Vec::new();
        let mut events: Vec<EventRef> = Vec::new();
        if let Some((why, example)) = outage.contradicts(self.mode, variant, self.history) {
            broken.push(format!("declared `{}`, but {why} (observed: {observed})", self.word));
            events.extend(example.map(|at| self.history.reference(at)));
        }
        if let (Some(base), Some(p95)) = (base_ms, decides.filter(|p95| *p95 > limit)) {
            broken.push(format!("p95 went from {base:.1} ms to {p95:.1} ms, at most {d_ms:.0} ms may be added"));
        }
        if outage.hung > 0 {
            let hang = self.scope.parameters.number("hang");
            broken.push(format!("{} requests took {hang:.0} ms or longer", outage.hung));
            events.extend(outage.first.map(|at| self.history.reference(at)));
        }
        if !broken.is_empty() {
            let explanation = format!("{}: {}", variant.name, broken.join("; "));
            return Verdict::Violated(Counterexample { explanation, events, samples: outage.sent, numbers });
        }
        if let Some(unclear) = outage.unclear(self.mode, variant, self.rule) {
            return Verdict::inconclusive(
                "mode-unclear",
                format!("{}: {unclear} (observed: {observed})", variant.name),
            );
        }
        if busy {
            let text =
                format!("{}: the machine was busy through most of the outage, by its calibration stream", variant.name);
            return Verdict::inconclusive("machine-busy", text);
        }
        let notes = vec![format!("{}: observed {observed}", variant.name)];
        Verdict::holds(self.rule.quota, Evidence { samples: outage.sent, numbers, notes })
    }

    /// Of what the store holds revocations alone are wrong: the quota is enforced as ever. `None` where the store holds none.
    fn alone(&self) -> Option<Verdict> {
        let variant = &ALONE;
        let hold = self.last("hold", variant)?;
        let during = self.enforced(variant, "hold", hold.from);
        let (_, unsteady) = self.base(variant);
        let settle = self.last("settle", variant).filter(|settle| settle.from >= hold.from);
        let after = settle.map_or_else(
            || Verdict::inconclusive("too-few-samples", format!("{}: nothing was seen after the heal", variant.name)),
            |settle| self.after(variant, settle),
        );
        let to = settle.unwrap_or(hold).to;
        let late = late_doubt(self.history, Duration::from_nanos(self.window()), hold.from, to);
        let doubt = unsteady.or_else(|| self.not_corrupted(variant, hold)).or_else(|| doubt(self.history)).or(late);
        let name = format!("{}: requests while revocations alone were wrong", variant.name);
        let number = Number::new(name, count(during.sent), "");
        let during = during.verdict(
            number,
            || format!("{}: the quota was not enforced while revocations alone were wrong", variant.name),
            || format!("{}: no window with demand above Q was seen while revocations alone were wrong", variant.name),
            format!("{}: enforced while revocations alone were wrong", variant.name),
        );
        Some(unless(during.and(after), doubt))
    }

    /// The verdict over the settling: from `t_heal` after the heal on, the quota is enforced and nothing is 5xx.
    fn after(&self, variant: &Variant, settle: Phase) -> Verdict {
        let due = settle.from.saturating_add(nanos(self.scope.parameters.duration("t_heal")));
        let limit_ms = self.scope.parameters.number("t_heal") * 1000.0;
        let seen = self.enforced(variant, "settle", due);
        let sign_ms = ms(seen.last_sign.unwrap_or(settle.from).saturating_sub(settle.from));
        let number = Number::new(format!("{}: last sign of the loss after the heal", variant.name), sign_ms, "ms");
        seen.verdict(
            number.limit(limit_ms),
            || format!("{}: settle: {limit_ms:.0} ms after the heal the quota was not enforced", variant.name),
            || {
                format!(
                    "{}: settle: no window with demand above Q was seen later than {limit_ms:.0} ms after the heal",
                    variant.name
                )
            },
            format!("{}: enforced again after the heal", variant.name),
        )
    }

    /// Whether the rounds of `phase` that began at `due` (ns) or later enforce the quota, without errors.
    fn enforced(&self, variant: &Variant, phase: &str, due: u64) -> Enforced {
        let mut seen = Enforced::default();
        for round in self.of_phase(variant, phase).filter(|round| round.clean) {
            let bound = self.bound(round, round.sure_calls());
            let tally = Tally::of(round.sure_calls());
            let total = len(round.sure_calls().count());
            let failed = |seen: &&Seen<'_>| seen.arrived.is_none() && seen.status() >= 500;
            let last_failed = round.sure_calls().filter(failed).last();
            let failures = len(round.sure_calls().filter(failed).count());
            let failing = count(failures) > count(total) * STRAY;
            if failing {
                seen.last_sign = seen.last_sign.max(Some(last_failed.map_or(0, Seen::ended).min(round.sure)));
            }
            if bound.broken() {
                seen.last_sign = seen.last_sign.max(Some(round.sure));
            }
            if round.first_sent < due {
                continue;
            }
            if (bound.broken() || failing) && round.starved {
                continue;
            }
            if bound.broken() || failing {
                let why = if failing {
                    format!("{failures} of {total} requests were answered 5xx")
                } else {
                    format!("{} were admitted in a window, at most {:.0} allowed", bound.admitted, bound.limit)
                };
                let mut events = bound.over;
                events.extend(last_failed.and_then(|seen| seen.view.completed()).map(|at| self.history.reference(at)));
                seen.broken.get_or_insert((why, events));
            }
            if tally.demand() >= self.rule.quota && tally.rejected > 0 {
                seen.judged = seen.judged.saturating_add(1);
                seen.sent = seen.sent.saturating_add(total);
            }
        }
        seen
    }
}

/// How a quota was enforced in some rounds.
#[derive(Default)]
struct Enforced {
    /// Rounds that could show it, and their requests.
    judged: u64,
    sent: u64,
    /// When it was last seen not to be, or errors instead, ns; also before it is due.
    last_sign: Option<u64>,
    /// Why it was not when it was due.
    broken: Option<(String, Vec<EventRef>)>,
}

impl Enforced {
    fn verdict(
        self,
        number: Number,
        broken: impl FnOnce() -> String,
        few: impl FnOnce() -> String,
        note: String,
    ) -> Verdict {
        let (samples, numbers) = (self.sent, vec![number]);
        if let Some((why, events)) = self.broken {
            let explanation = format!("{}: {why}", broken());
            return Verdict::Violated(Counterexample { explanation, events, samples: samples.max(1), numbers });
        }
        if self.judged == 0 {
            return Verdict::inconclusive("too-few-samples", few());
        }
        Verdict::holds(1, Evidence { samples, numbers, notes: vec![note] })
    }
}

impl Outage {
    fn share(&self, part: u64) -> f64 {
        count(part) / count(self.sent).max(1.0)
    }

    /// What was observed, in one word and the counts.
    fn label(&self, rule: &Rule) -> String {
        let word = if self.share(self.admitted) >= SHOWN {
            "open"
        } else if self.share(self.error_500) >= SHOWN {
            "error"
        } else if self.share(self.error_500.saturating_add(self.other_5xx).saturating_add(self.refused)) >= SHOWN
            && self.share(self.admitted) <= STRAY
        {
            "closed"
        } else if self.refused > 0 && self.counted_by_each(rule) {
            "local"
        } else if self.refused > 0 && !self.total.broken() {
            "enforced"
        } else {
            "a mixture"
        };
        format!(
            "{word}: of {} sent {} were admitted, {} answered 500, {} another 5xx, {} refused",
            self.sent, self.admitted, self.error_500, self.other_5xx, self.refused
        )
    }

    /// Whether each replica that was asked for more than Q admitted about Q.
    fn counted_by_each(&self, rule: &Rule) -> bool {
        let least = count(rule.quota) * SHOWN;
        let asked: Vec<&AtReplica> =
            self.replicas.iter().filter(|at| at.tally.demand() >= rule.quota.saturating_mul(rule.fillings)).collect();
        asked.len() >= 2 && asked.iter().all(|at| !at.bound.broken() && count(at.tally.admitted) >= least)
    }

    /// Why what is certain cannot be `mode`, with an event that shows it.
    fn contradicts(&self, mode: Mode, variant: &Variant, history: &History) -> Option<(String, Option<usize>)> {
        let [admission, error_500, other_5xx, refusal] = self.examples;
        let failed = self.error_500.saturating_add(self.other_5xx);
        let let_through = || {
            let too_many = if variant.partly { self.total.broken() } else { self.share(self.admitted) > STRAY };
            too_many.then(|| (format!("{} of {} requests were admitted", self.admitted, self.sent), admission))
        };
        let failing = || {
            let text = || format!("{failed} of {} requests were answered 5xx", self.sent);
            (self.share(failed) > STRAY).then(|| (text(), error_500.or(other_5xx)))
        };
        match mode {
            Mode::Closed => let_through().or_else(|| {
                let text = || format!("{} of {} requests were answered 500", self.error_500, self.sent);
                (self.share(self.error_500) > STRAY).then(|| (text(), error_500))
            }),
            Mode::Error => let_through().or_else(|| {
                let others = self.other_5xx.saturating_add(if variant.partly { 0 } else { self.refused });
                let text = || format!("{others} of {} requests were refused with another status than 500", self.sent);
                (self.share(others) > STRAY).then(|| (text(), other_5xx.or(refusal)))
            }),
            Mode::Open => failing().or_else(|| {
                let text = || format!("{} of {} requests were refused", self.refused, self.sent);
                (!variant.partly && self.share(self.refused) > STRAY).then(|| (text(), refusal))
            }),
            Mode::Local => failing().or_else(|| {
                // Partly lost: what the store counted comes on top of what the replica counted, so at most twice the bound.
                let fair = |at: &&AtReplica| {
                    let limit = if variant.partly { at.bound.limit * 2.0 } else { at.bound.limit };
                    at.bound.broken() && count(at.bound.admitted) > limit
                };
                self.replicas.iter().find(fair).map(|at| {
                    let text = format!(
                        "replica `{}` admitted {} in a window, at most {:.0} allowed",
                        history.text(at.name),
                        at.bound.admitted,
                        at.bound.limit
                    );
                    (text, admission)
                })
            }),
        }
    }

    /// Why it is not clear that it was `mode`; `None` if it is.
    fn unclear(&self, mode: Mode, variant: &Variant, rule: &Rule) -> Option<String> {
        let answered =
            [self.admitted, self.error_500, self.other_5xx, self.refused].into_iter().fold(0, u64::saturating_add);
        if self.share(answered) < SHOWN {
            return Some(format!("{answered} of {} requests have a known end; 90 % are needed", self.sent));
        }
        if variant.partly {
            return None;
        }
        let refused = self.error_500.saturating_add(self.other_5xx).saturating_add(self.refused);
        let shown = match mode {
            Mode::Closed => self.share(refused) >= SHOWN,
            Mode::Error => self.share(self.error_500) >= SHOWN,
            Mode::Open => self.share(self.admitted) >= SHOWN && self.total.broken(),
            Mode::Local => self.refused > 0 && self.counted_by_each(rule),
        };
        (!shown).then(|| "what was seen fits the declared mode and others as well".to_owned())
    }
}
