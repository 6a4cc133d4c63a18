//! TOK-01 and TOK-02: the matrix issuer x acceptor, and what re-keying a site does to it.
//!
//! Each use is judged by the signing material of its token when that was made, and of the acceptor when it
//! was asked: the same material must accept (TOK-01), different material must refuse (TOK-02).

use super::{ISSUED, MINIMUM, SIGNED};
use crate::claims::common::{count, decided_by, doubt, unless};
use crate::claims::lives::{Decision, Lives, Offences, decide, ended_at, status, telling_event};
use gatecrash_model::claim::Scope;
use gatecrash_model::history::OperationView;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Operation, Verb, stream};
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};
use gatecrash_model::{Deployment, History, Name};
use std::collections::BTreeMap;

/// Where a token comes from.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// Replica that issued it; the empty name if the harness signed it.
    replica: Name,
    /// Position of the site in the deployment.
    site: usize,
    /// When it was made, ns.
    at: u64,
}

/// Signing material: its name in the deployment, or the event that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Material<'a> {
    Deployed(&'a str),
    Rekeyed(usize),
}

/// One cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CellKey {
    site: usize,
    issuer: Name,
    acceptor: Name,
    same: bool,
    issuer_down: bool,
    /// The acceptor's site was re-keyed before it was asked.
    after_rekey: bool,
    /// The token is older than that re-keying.
    before_rekey: bool,
}

/// What was seen in one cell.
#[derive(Clone, Debug, Default)]
struct Cell {
    accepted: u64,
    refused: u64,
    not_401: u64,
    errors: u64,
    undecided: u64,
}

impl Cell {
    fn decided(&self) -> u64 {
        self.accepted.saturating_add(self.refused).saturating_add(self.errors)
    }
}

/// The whole matrix of one history.
struct Matrix<'a> {
    deployment: &'a Deployment,
    cells: BTreeMap<CellKey, Cell>,
    /// Same material, refused.
    refused: Offences,
    first_refused: String,
    /// Different material: accepted, or answered 5xx.
    split: Offences,
    first_split: String,
    /// Site by site, what marks said: (when, position of the mark).
    rekeyed: Vec<Vec<(u64, usize)>>,
}

impl<'a> Matrix<'a> {
    fn read(deployment: &'a Deployment, history: &History) -> Self {
        let site_of = |name: Name| deployment.sites.iter().position(|site| site.name == history.text(name));
        let mut rekeyed = vec![Vec::new(); deployment.sites.len()];
        for (at, subject, _, position) in history.marks(mark::REKEYED) {
            if let Some(times) = site_of(subject).and_then(|site| rekeyed.get_mut(site)) {
                times.push((at, position));
            }
        }
        let mut matrix = Self {
            deployment,
            cells: BTreeMap::new(),
            refused: Offences::default(),
            first_refused: String::new(),
            split: Offences::default(),
            first_split: String::new(),
            rekeyed,
        };
        let origins = matrix.origins(history);
        let lives = Lives::new(history);
        let events = history.events();
        let token_stream = history.name(stream::TOKEN);
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if operation.verb != Verb::Call || Some(operation.stream) != token_stream {
                continue;
            }
            let Some(origin) = origins.get(operation.token.index()).copied().flatten() else { continue };
            let Some(site) = site_of(operation.site) else { continue };
            matrix.add(history, &lives, view, operation, origin, site);
        }
        matrix
    }

    /// Where tokens come from, by the index of their names.
    fn origins(&self, history: &History) -> Vec<Option<Origin>> {
        let events = history.events();
        let mut origins = vec![None; history.names().len()];
        for (_, token, value, _) in history.marks(ISSUED) {
            let Ok(op) = u32::try_from(value) else { continue };
            let Ok(found) = history.operations().binary_search_by_key(&op, |view| view.op) else { continue };
            let Some(view) = history.operations().get(found) else { continue };
            let Some(operation) = view.operation(events) else { continue };
            let site = self.deployment.sites.iter().position(|site| site.name == history.text(operation.site));
            if let (Some(site), Some(origin)) = (site, origins.get_mut(token.index())) {
                *origin = Some(Origin { replica: operation.target, site, at: view.sent_at(events) });
            }
        }
        for (at, token, value, _) in history.marks(SIGNED) {
            let site = usize::try_from(value).ok().filter(|site| *site < self.deployment.sites.len());
            if let (Some(site), Some(origin)) = (site, origins.get_mut(token.index())) {
                *origin = Some(Origin { replica: Name::NONE, site, at });
            }
        }
        origins
    }

    fn last_rekey(&self, site: usize, at: u64) -> Option<(u64, usize)> {
        self.rekeyed.get(site).and_then(|times| times.iter().rev().find(|(when, _)| *when <= at)).copied()
    }

    fn material(&self, site: usize, at: u64) -> Material<'a> {
        match self.last_rekey(site, at) {
            Some((_, position)) => Material::Rekeyed(position),
            None => Material::Deployed(self.deployment.sites.get(site).map_or("", |site| &site.signing)),
        }
    }

    fn add(
        &mut self,
        history: &History,
        lives: &Lives,
        view: &OperationView,
        operation: &Operation<Name>,
        origin: Origin,
        site: usize,
    ) {
        let events = history.events();
        let (sent, ended) = (view.sent_at(events), ended_at(view, events));
        let material = self.material(site, sent);
        if ended != u64::MAX && self.material(site, ended) != material {
            return; // Re-keyed while the request was under way: either answer is right.
        }
        let same = material == self.material(origin.site, origin.at);
        let issuer_down = if origin.replica.is_none() {
            self.is_site_gone(history, lives, origin.site, sent, ended)
        } else {
            lives.is_gone(origin.replica, sent, ended)
        };
        let key = CellKey {
            site: origin.site,
            issuer: origin.replica,
            acceptor: operation.target,
            same,
            issuer_down,
            after_rekey: self.last_rekey(site, sent).is_some(),
            before_rekey: self.last_rekey(site, sent).is_some_and(|(when, _)| origin.at < when),
        };
        let decision = decide(view, events);
        let cell = self.cells.entry(key).or_default();
        match decision {
            Decision::Accepted => cell.accepted = cell.accepted.saturating_add(1),
            Decision::Refused => {
                cell.refused = cell.refused.saturating_add(1);
                cell.not_401 = cell.not_401.saturating_add(u64::from(status(view, events) != 401));
            }
            Decision::ServerError => cell.errors = cell.errors.saturating_add(1),
            Decision::Undecided => cell.undecided = cell.undecided.saturating_add(1),
        }
        let offends = match decision {
            Decision::Refused => same,
            Decision::Accepted | Decision::ServerError => !same,
            Decision::Undecided => false,
        };
        if offends {
            self.offend(history, view, operation, key, decision);
        }
    }

    fn offend(
        &mut self,
        history: &History,
        view: &OperationView,
        operation: &Operation<Name>,
        key: CellKey,
        decision: Decision,
    ) {
        let events = history.events();
        let (offences, first) = if key.same {
            (&mut self.refused, &mut self.first_refused)
        } else {
            (&mut self.split, &mut self.first_split)
        };
        if offences.count == 0 {
            let site = self.deployment.sites.get(key.site).map_or("", |site| &site.name);
            let issuer = if key.issuer.is_none() { site } else { history.text(key.issuer) };
            let down = if key.issuer_down { ", which was down," } else { "" };
            let age = if key.before_rekey { " made before the re-keying" } else { "" };
            *first = format!(
                "a token of `{issuer}`{down}{age} was {} at `{}` (status {}, token {})",
                match decision {
                    Decision::Accepted => "accepted",
                    Decision::Refused => "refused",
                    Decision::ServerError => "answered with a server error",
                    Decision::Undecided => "not decided",
                },
                history.text(operation.target),
                status(view, events),
                history.text(operation.token),
            );
        }
        offences.add(history, telling_event(view, events));
    }

    fn is_site_gone(&self, history: &History, lives: &Lives, site: usize, from: u64, to: u64) -> bool {
        let Some(site) = self.deployment.sites.get(site) else { return false };
        (1..=site.replicas).all(|index| {
            history.name(&format!("{}-{index}", site.name)).is_some_and(|name| lives.is_gone(name, from, to))
        })
    }

    fn total(&self, of: impl Fn(&CellKey) -> bool, what: impl Fn(&Cell) -> u64) -> u64 {
        self.cells.iter().filter(|(key, _)| of(key)).fold(0, |sum, (_, cell)| sum.saturating_add(what(cell)))
    }

    /// Too many uses that nobody could judge.
    fn undecided(&self, of: impl Fn(&CellKey) -> bool + Copy, what: impl Fn(&Cell) -> u64) -> Option<Reason> {
        let undecided = self.total(of, what);
        let all = self.total(of, |cell| cell.undecided.saturating_add(cell.decided()));
        (undecided.saturating_mul(10) > all).then(|| {
            Reason::new("too-few-samples", format!("{undecided} of {all} uses were neither accepted nor refused"))
        })
    }
}

/// A token is accepted wherever the material is the same.
pub(super) fn tok_01(scope: &Scope<'_>) -> Verdict {
    let replicas: u32 = scope.deployment.sites.iter().fold(0, |sum, site| sum.saturating_add(site.replicas));
    if replicas < 2 {
        return Verdict::NotApplicable(Reason::new("one-replica", "there is no second replica to accept a token"));
    }
    let history = match scope.history("token-matrix") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let matrix = Matrix::read(scope.deployment, history);
    let of = |key: &CellKey| key.same && key.issuer != key.acceptor;
    let judged = matrix.total(of, |cell| cell.accepted.saturating_add(cell.refused));
    let numbers = vec![
        Number::new("refused with the same material", count(matrix.refused.count), "requests").limit(0.0),
        Number::new("accepted", count(matrix.total(of, |cell| cell.accepted)), "requests"),
        Number::new(
            "accepted while the issuer was down",
            count(matrix.total(|key| of(key) && key.issuer_down, |cell| cell.accepted)),
            "requests",
        ),
    ];
    if matrix.refused.count > 0 {
        return Verdict::Violated(Counterexample {
            explanation: format!(
                "{} of {judged} uses were refused; first: {}",
                matrix.refused.count, matrix.first_refused
            ),
            events: matrix.refused.events,
            samples: judged,
            numbers,
        });
    }
    let held = Verdict::holds(MINIMUM, Evidence { samples: judged, numbers, notes: Vec::new() });
    let undecided = || matrix.undecided(of, |cell| cell.undecided.saturating_add(cell.errors));
    unless(held, doubt(history).or_else(undecided).or_else(|| missing_cell(&matrix, history)))
}

/// An ordered pair of replicas with the same material, or a dead issuer, that nobody looked at.
fn missing_cell(matrix: &Matrix<'_>, history: &History) -> Option<Reason> {
    let sites = &matrix.deployment.sites;
    let seen = |issuer: Name, site: usize, acceptor: Option<Name>, down: bool| {
        matrix.cells.iter().any(|(key, cell)| {
            key.same
                && key.issuer == issuer
                && key.site == site
                && acceptor.is_none_or(|acceptor| key.acceptor == acceptor)
                && (!down || key.issuer_down)
                && key.issuer != key.acceptor
                && cell.accepted > 0
        })
    };
    let mut issuers: Vec<(usize, Name)> = matrix.cells.keys().map(|key| (key.site, key.issuer)).collect();
    issuers.dedup();
    for (site, issuer) in issuers {
        let Some(from) = sites.get(site) else { continue };
        let issuer_name = if issuer.is_none() { from.name.as_str() } else { history.text(issuer) };
        let peers = sites.iter().filter(|other| other.signing == from.signing);
        let acceptors: Vec<String> =
            peers.clone().flat_map(|peer| peer.replica_names()).filter(|name| name != issuer_name).collect();
        for acceptor in &acceptors {
            let acceptor_name = history.name(acceptor);
            if acceptor_name.is_none() || !seen(issuer, site, acceptor_name, false) {
                let text = format!("no token of `{issuer_name}` was seen to be accepted at `{acceptor}`");
                return Some(Reason::new("too-few-samples", text));
            }
        }
        let others = peers.filter(|peer| peer.name != from.name).count() > 0;
        // While the only one that has the material is down, nobody is there who should accept.
        if (others || !issuer.is_none() && !acceptors.is_empty()) && !seen(issuer, site, None, true) {
            let text = format!("no use of a token of `{issuer_name}` was seen while `{issuer_name}` was down");
            return Some(Reason::new("fault-not-proven", text));
        }
    }
    None
}

/// In the numbers of TOK-02.
const ERRORS: &str = "answered 5xx";

/// A token is refused, as 401, wherever the material is different.
pub(super) fn tok_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("token-matrix") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let matrix = Matrix::read(scope.deployment, history);
    let of = |key: &CellKey| !key.same;
    let judged = matrix.total(of, Cell::decided);
    let accepted = matrix.total(of, |cell| cell.accepted);
    let old = matrix.total(|key| of(key) && key.before_rekey, |cell| cell.refused);
    let numbers = vec![
        Number::new("accepted with different material", count(accepted), "requests").limit(0.0),
        Number::new(ERRORS, count(matrix.total(of, |cell| cell.errors)), "requests").limit(0.0),
        Number::new("refused", count(matrix.total(of, |cell| cell.refused)), "requests"),
        Number::new("older than the re-keying, refused", count(old), "requests"),
    ];
    if matrix.split.count > 0 {
        let text = format!(
            "{} of {judged} uses with different material were accepted or answered 5xx; first: {}",
            matrix.split.count, matrix.first_split
        );
        let numbers = if accepted == 0 { decided_by(numbers, ERRORS) } else { numbers };
        let events = matrix.split.events;
        return Verdict::Violated(Counterexample { explanation: text, events, samples: judged, numbers });
    }
    let not_401 = matrix.total(of, |cell| cell.not_401);
    let notes = if not_401 > 0 {
        vec![format!("{not_401} refusals said 403; RFC 6750 has 401 for an invalid token")]
    } else {
        Vec::new()
    };
    let held = Verdict::holds(MINIMUM, Evidence { samples: judged, numbers, notes });
    unless(
        held,
        doubt(history)
            .or_else(|| matrix.undecided(of, |cell| cell.undecided))
            .or_else(|| missing_split(&matrix, history)),
    )
}

/// What would make a clean record say nothing: no re-keying, no control, a replica without a foreign token.
fn missing_split(matrix: &Matrix<'_>, history: &History) -> Option<Reason> {
    let sites = &matrix.deployment.sites;
    let Some(site) = matrix.rekeyed.iter().position(|times| !times.is_empty()) else {
        return Some(Reason::new("fault-not-proven", "no site was re-keyed"));
    };
    let name = sites.get(site).map_or("", |site| &site.name);
    let at_rekeyed = |key: &CellKey| history.text(key.acceptor).rsplit_once('-').is_some_and(|(of, _)| of == name);
    let control = |key: &CellKey| key.same && key.after_rekey && key.site == site && at_rekeyed(key);
    if matrix.total(control, |cell| cell.accepted) == 0 {
        let text = format!("after the re-keying, `{name}` was never seen to accept a token of its own");
        return Some(Reason::new("no-steady-state", text));
    }
    if matrix.total(|key| !key.same && key.before_rekey && key.site == site && at_rekeyed(key), |cell| cell.refused)
        == 0
    {
        let text = format!("no token that `{name}` made before it was re-keyed was used there afterwards");
        return Some(Reason::new("too-few-samples", text));
    }
    let replicas = sites.iter().flat_map(|site| site.replica_names());
    for replica in replicas.filter(|_| sites.len() > 1) {
        let acceptor = history.name(&replica);
        let foreign = |key: &CellKey| !key.same && Some(key.acceptor) == acceptor;
        if acceptor.is_none() || matrix.total(foreign, Cell::decided) == 0 {
            let text = format!("no token with different material was used at `{replica}`");
            return Some(Reason::new("too-few-samples", text));
        }
    }
    None
}

#[cfg(test)]
mod tests;
