//! TOK-07: are `exp` and `nbf` of a token enforced at every replica, and no more strictly than clocks can be kept?
//!
//! Times are those of the run, whatever the clock of a replica says: a token is valid in `[nbf, exp)`. Each replica whose clock is
//! off by S at most accepts it there, and refuses it before `nbf - L` and from `exp + L` on; in between either answer
//! is right, so that is where replicas may disagree. A use is judged only if all of it, from its sending to its answer, lies on one
//! side, by `grain` at least: a busy machine decides nothing.

use super::MINIMUM_TIMED;
use crate::claims::common::{FaultWindow, count, decided_by, doubt, faults, nanos, seconds, unless};
use crate::claims::lives::{Decision, Offences, decide, ended_at, status, telling_event};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::OperationView;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Operation, Verb, stream};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};

/// In the numbers: what must be accepted and was not.
const REFUSED_VALID: &str = "valid and refused";
/// In the numbers: what must be refused and was not.
const ACCEPTED_INVALID: &str = "beyond the leeway and accepted";

/// From when to when a token is valid, ns since the run started.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    nbf: Option<i64>,
    exp: Option<i64>,
}

/// What is allowed, ns.
#[derive(Clone, Copy, Debug)]
struct Rule {
    leeway: i64,
    skew: i64,
    grain: i64,
}

/// What a use is about: which edge it is near, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Valid for less than S before it expires, or since it became valid.
    Valid { near_nbf: bool, near_exp: bool },
    /// Sooner than L before it is valid.
    TooEarly,
    /// Later than L after it expired.
    TooLate,
    /// So near to an edge that either answer is right.
    Open,
}

/// How the clock of the replica was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Right,
    Ahead,
    Behind,
    /// It is being set, or it is off by more than the rule allows for.
    Unsaid,
}

/// How many uses were decided as they must be, by clock and side.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    after_nbf: u64,
    before_exp: u64,
    too_early: u64,
    too_late: u64,
}

/// What a history says.
struct Record<'h> {
    history: &'h History,
    rule: Rule,
    faults: Vec<FaultWindow>,
    /// When a replica's clock was set: when, replica, ms ahead; in order.
    set: Vec<(u64, Name, i64)>,
    /// Right, ahead, behind.
    cells: [Cell; 3],
    samples: u64,
    undecided: u64,
    valid: Offences,
    invalid: Offences,
    told: String,
    /// Furthest beyond an edge that a use was accepted, ns.
    furthest: i64,
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

fn magnitude(ns: i64) -> u64 {
    ns.unsigned_abs()
}

impl Rule {
    fn of(scope: &Scope<'_>) -> Self {
        let ns = |name| signed(nanos(scope.parameters.duration(name)));
        Self { leeway: ns("leeway"), skew: ns("skew"), grain: ns("grain") }
    }

    /// Where a use that was sent and decided then stands.
    fn side(&self, (nbf, exp): (i64, i64), sent: i64, decided: i64) -> Side {
        let inside = |edge: i64| edge.saturating_add(self.grain);
        let before = |edge: i64| edge.saturating_sub(self.grain);
        if sent >= inside(nbf) && decided <= before(exp) {
            Side::Valid {
                near_nbf: decided.saturating_sub(nbf) <= self.skew,
                near_exp: exp.saturating_sub(sent) <= self.skew,
            }
        } else if decided <= before(nbf.saturating_sub(self.leeway)) {
            Side::TooEarly
        } else if sent >= inside(exp.saturating_add(self.leeway)) {
            Side::TooLate
        } else {
            Side::Open
        }
    }
}

impl<'h> Record<'h> {
    fn read(history: &'h History, rule: Rule) -> Self {
        let mut times = vec![Times::default(); history.names().len()];
        for (_, token, value, _) in history.marks(mark::TOKEN_NBF) {
            if let Some(times) = times.get_mut(token.index()) {
                times.nbf = Some(value);
            }
        }
        for (_, token, value, _) in history.marks(mark::TOKEN_EXP) {
            if let Some(times) = times.get_mut(token.index()) {
                times.exp = Some(value);
            }
        }
        let mut record = Self {
            history,
            rule,
            faults: faults(history),
            set: history.marks(mark::CLOCK_OFFSET).map(|(at, replica, ms, _)| (at, replica, ms)).collect(),
            cells: [Cell::default(); 3],
            samples: 0,
            undecided: 0,
            valid: Offences::default(),
            invalid: Offences::default(),
            told: String::new(),
            furthest: 0,
        };
        let events = history.events();
        let wanted = history.name(stream::TOKEN);
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if operation.verb != Verb::Call || Some(operation.stream) != wanted || operation.token.is_none() {
                continue;
            }
            if let Some(Times { nbf: Some(nbf), exp: Some(exp) }) = times.get(operation.token.index()) {
                record.add(view, operation, (*nbf, *exp));
            }
        }
        record
    }

    fn add(&mut self, view: &OperationView, operation: &Operation<Name>, times: (i64, i64)) {
        let events = self.history.events();
        let sent = view.sent_at(events);
        // What arrived was decided by then, whenever its answer came.
        let arrived = view.arrival(events).map_or(u64::MAX, |(at, _)| at);
        let decided = ended_at(view, events).min(arrived);
        let side = self.rule.side(times, signed(sent), signed(decided));
        if side == Side::Open || self.offset(operation.target, sent, decided).is_none() {
            return;
        }
        let clock = self.clock(operation.target, sent, decided);
        let decision = decide(view, events);
        if decision == Decision::ServerError {
            self.undecided = self.undecided.saturating_add(1);
        }
        if !matches!(decision, Decision::Accepted | Decision::Refused) {
            return;
        }
        self.samples = self.samples.saturating_add(1);
        match (side, decision) {
            (Side::Valid { .. }, Decision::Refused) => {
                self.offend(view, operation, times, true);
                self.valid.add(self.history, telling_event(view, events));
            }
            (Side::TooEarly | Side::TooLate, Decision::Accepted) => {
                self.offend(view, operation, times, false);
                self.invalid.add(self.history, telling_event(view, events));
            }
            _ => self.count(clock, side),
        }
    }

    fn count(&mut self, clock: Clock, side: Side) {
        let cell = match clock {
            Clock::Right => self.cells.first_mut(),
            Clock::Ahead => self.cells.get_mut(1),
            Clock::Behind => self.cells.get_mut(2),
            Clock::Unsaid => None,
        };
        let Some(cell) = cell else { return };
        match side {
            Side::Valid { near_nbf, near_exp } => {
                cell.after_nbf = cell.after_nbf.saturating_add(u64::from(near_nbf));
                cell.before_exp = cell.before_exp.saturating_add(u64::from(near_exp));
            }
            Side::TooEarly => cell.too_early = cell.too_early.saturating_add(1),
            Side::TooLate => cell.too_late = cell.too_late.saturating_add(1),
            Side::Open => {}
        }
    }

    /// By how much the clock of a replica was off for all of a use, ns; `None` if that is more than the rule allows for at any time of it.
    fn offset(&self, replica: Name, from: u64, to: u64) -> Option<i64> {
        let mut at_first = 0_i64;
        let mut most = 0_i64;
        for (at, _, ms) in self.set.iter().filter(|(at, of, _)| *of == replica && *at <= to) {
            let ns = ms.saturating_mul(1_000_000);
            if *at <= from {
                at_first = ns;
            } else {
                most = most.max(ns.saturating_abs());
            }
        }
        (most.max(at_first.saturating_abs()) <= self.rule.skew).then_some(at_first)
    }

    fn clock(&self, replica: Name, from: u64, to: u64) -> Clock {
        let Some(offset) = self.offset(replica, from, to) else { return Clock::Unsaid };
        let of_clock = |fault: &&FaultWindow| fault.target == replica && self.history.text(fault.kind) == "clock";
        if offset == 0 {
            return Clock::Right;
        }
        // To count, it must be S, or nearly so, and proven.
        let enough = offset.saturating_abs().saturating_mul(10) >= self.rule.skew.saturating_mul(9);
        let covers = |fault: &FaultWindow| fault.from <= from && fault.healed.is_none_or(|end| to <= end);
        let proven = self.faults.iter().filter(of_clock).any(|fault| covers(fault) && fault.proven());
        match (proven && enough, offset > 0) {
            (false, _) => Clock::Unsaid,
            (true, true) => Clock::Ahead,
            (true, false) => Clock::Behind,
        }
    }

    fn offend(&mut self, view: &OperationView, operation: &Operation<Name>, (nbf, exp): (i64, i64), valid: bool) {
        let events = self.history.events();
        let (sent, decided) = (signed(view.sent_at(events)), signed(ended_at(view, events)));
        let beyond = if sent >= exp { sent.saturating_sub(exp) } else { nbf.saturating_sub(decided) };
        if !valid {
            self.furthest = self.furthest.max(beyond);
        }
        // What was accepted and must not weighs more, and is told first.
        if self.invalid.count > 0 || (valid && self.valid.count > 0) {
            return;
        }
        let replica = self.history.text(operation.target);
        let offset = self.offset(operation.target, view.sent_at(events), view.sent_at(events)).unwrap_or_default();
        let off = match offset {
            0 => String::new(),
            off => format!(
                ", whose clock was {:.3} s {},",
                seconds(magnitude(off)),
                if off > 0 { "ahead" } else { "behind" }
            ),
        };
        let token = self.history.text(operation.token);
        self.told = if valid {
            let (since, left) = (sent.saturating_sub(nbf), exp.saturating_sub(sent));
            format!(
                "`{replica}`{off} refused token {token} (status {}), which was valid since {:.3} s and for another {:.3} s",
                status(view, events),
                seconds(magnitude(since)),
                seconds(magnitude(left)),
            )
        } else {
            let when = if sent >= exp { "after it expired" } else { "before it was valid" };
            let beyond = seconds(magnitude(beyond));
            format!("`{replica}`{off} accepted token {token} {beyond:.3} s {when}")
        };
    }

    /// Which part of the rule nobody saw at work.
    fn unseen(&self) -> Option<Reason> {
        let clocks = ["right", "ahead", "behind"];
        self.cells.iter().zip(clocks).find_map(|(cell, clock)| {
            let sides = [
                (cell.after_nbf, "accepted just after `nbf`"),
                (cell.before_exp, "accepted just before `exp`"),
                (cell.too_early, "refused before `nbf` and the leeway"),
                (cell.too_late, "refused after `exp` and the leeway"),
            ];
            let (_, side) = sides.into_iter().find(|(seen, _)| *seen == 0)?;
            let off = if clock == "right" { "" } else { " by S, proven" };
            let text = format!("no token was seen {side} at a replica whose clock was {clock}{off}");
            Some(Reason::new(if clock == "right" { "too-few-samples" } else { "fault-not-proven" }, text))
        })
    }
}

/// `exp` and `nbf` hold within L at every replica, also where its clock is off by S.
pub(super) fn tok_07(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("token-times") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let rule = Rule::of(scope);
    let record = Record::read(history, rule);
    let samples = record.samples;
    let numbers = vec![
        Number::new(ACCEPTED_INVALID, count(record.invalid.count), "requests").limit(0.0),
        Number::new(REFUSED_VALID, count(record.valid.count), "requests").limit(0.0),
        Number::new("furthest beyond an edge and accepted", seconds(magnitude(record.furthest)), "s"),
        Number::new("leeway", seconds(magnitude(rule.leeway)), "s"),
        Number::new("clocks off by", seconds(magnitude(rule.skew)), "s"),
    ];
    let offences = record.invalid.count.saturating_add(record.valid.count);
    if offences > 0 {
        let numbers = if record.invalid.count > 0 { numbers } else { decided_by(numbers, REFUSED_VALID) };
        let mut events = record.invalid.events;
        events.extend(record.valid.events);
        let explanation = format!("{offences} of {samples} uses were decided against the rule; first: {}", record.told);
        return Verdict::Violated(Counterexample { explanation, events, samples, numbers });
    }
    let held = Verdict::holds(MINIMUM_TIMED, Evidence { samples, numbers, notes: Vec::new() });
    let undecided = || {
        let all = samples.saturating_add(record.undecided);
        (record.undecided.saturating_mul(10) > all)
            .then(|| Reason::new("too-few-samples", format!("{} of {all} uses were answered 5xx", record.undecided)))
    };
    let replicas = scope.deployment.sites.iter().flat_map(|site| site.replica_names());
    let unused = || {
        let missing = replicas.clone().find(|replica| history.name(replica).is_none())?;
        Some(Reason::new("too-few-samples", format!("no token was used at `{missing}`")))
    };
    unless(held, doubt(history).or_else(|| record.unseen()).or_else(undecided).or_else(unused))
}

#[cfg(test)]
mod tests;
