//! BAL-01: how many requests did each replica answer, over new connections and over ones that stay?
//!
//! Shares are those of the answers, which name their replica; what nobody answered is taken as if it had gone to whoever got least. A
//! replica that its ingress took out, or that was not ready, explains an uneven count: then nothing is said.

use super::{KEPT, NEW};
use crate::claims::common::{Phase, Seen, count, decided_by, doubt, len, phases, record_doubt, stream, unless};
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Site;
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::operation::stream as streams;
use gatecrash_model::stats::evenness;
use gatecrash_model::verdict::{Counterexample, EventRef, Evidence, Number, Reason, Verdict};
use gatecrash_model::{History, Name};

/// Share of `requests` that must have been answered, and of what was sent, before anything is said.
const ANSWERED: f64 = 0.98;
/// Dispersion up to which counts look like round robin; about 1 is what chance gives.
const ROUND_ROBIN: f64 = 0.2;
/// Dispersion from which counts are more uneven than chance.
const UNEVEN: f64 = 3.0;

/// What one site's replicas answered in one way of connecting.
struct Shares {
    replicas: Vec<(String, Option<Name>, String)>,
    counts: Vec<u64>,
    sent: u64,
    last: Option<usize>,
    run: u64,
    longest_run: u64,
    first: Option<EventRef>,
}

impl Shares {
    fn of(history: &History, site: &Site) -> Self {
        let replicas: Vec<(String, Option<Name>, String)> = (1..=site.replicas)
            .zip(site.replica_names())
            .map(|(index, name)| (name.clone(), history.name(&name), site.zone_of(index).to_owned()))
            .collect();
        let counts = vec![0; replicas.len()];
        Self { replicas, counts, sent: 0, last: None, run: 0, longest_run: 0, first: None }
    }

    fn add(&mut self, history: &History, seen: &Seen<'_>) {
        if seen.is_given_up() {
            return;
        }
        self.sent = self.sent.saturating_add(1);
        let named = seen.outcome.map(|(_, _, answer)| answer.replica);
        let Some(at) = self.replicas.iter().position(|(_, name, _)| name.is_some() && *name == named) else { return };
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(1);
        }
        self.run = if self.last == Some(at) { self.run.saturating_add(1) } else { 1 };
        self.longest_run = self.longest_run.max(self.run);
        self.last = Some(at);
        let position = seen.view.completed().unwrap_or_default();
        self.first.get_or_insert_with(|| history.reference(position));
    }

    fn answered(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Counts by zone, if all zones have as many replicas and there are several.
    fn zones(&self) -> Option<Vec<(String, u64)>> {
        let mut zones: Vec<(String, u64, u32)> = Vec::new();
        for ((_, _, zone), count) in self.replicas.iter().zip(&self.counts) {
            if let Some(known) = zones.iter_mut().find(|(known, ..)| known == zone) {
                known.1 = known.1.saturating_add(*count);
                known.2 = known.2.saturating_add(1);
            } else {
                zones.push((zone.clone(), *count, 1));
            }
        }
        let equal = zones.windows(2).all(|pair| matches!(pair, [a, b] if a.2 == b.2));
        (zones.len() >= 2 && equal).then(|| zones.into_iter().map(|(zone, count, _)| (zone, count)).collect())
    }

    fn words(&self) -> String {
        let each = self.replicas.iter().zip(&self.counts).map(|((name, ..), count)| format!("`{name}` {count}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Largest count over the fair share of `sent`.
fn ratio(counts: &[u64], sent: u64) -> f64 {
    let most = counts.iter().copied().max().unwrap_or_default();
    if sent == 0 { 0.0 } else { count(most) * count(len(counts.len())) / count(sent) }
}

/// chi2/(k - 1): below 1 is more even than chance.
fn dispersion(counts: &[u64]) -> f64 {
    let total = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let parts = count(len(counts.len()));
    let mean = count(total) / parts.max(1.0);
    if mean <= 0.0 || counts.len() < 2 {
        return 0.0;
    }
    counts.iter().map(|one| (count(*one) - mean).powi(2) / mean).sum::<f64>() / (parts - 1.0)
}

/// The first replica of `site` that was out of rotation, or not ready, at any time from the start until the end of `phase` and not back at its
/// start.
fn was_out(history: &History, site: &Site, phase: Phase) -> Option<String> {
    let (ingress, names) = (history.name(&site.ingress()), site.replica_names());
    let mut out: Vec<Option<Name>> = Vec::new();
    for (_, event) in history.others() {
        let turned = if let EventKind::Contact { component, peer, what, .. } = event.kind {
            match history.text(what) {
                "out-of-rotation" if Some(component) == ingress => Some((peer, true)),
                "in-rotation" if Some(component) == ingress => Some((peer, false)),
                _ => None,
            }
        } else if let EventKind::Replica { replica, state, .. } = event.kind {
            match state {
                ReplicaState::NotReady | ReplicaState::Paused | ReplicaState::Terminating | ReplicaState::Gone => {
                    Some((replica, true))
                }
                ReplicaState::Ready | ReplicaState::Resumed => Some((replica, false)),
                ReplicaState::Starting | ReplicaState::DiskWiped => None,
            }
        } else {
            None
        };
        let Some((who, is_out)) = turned else { continue };
        if event.at > phase.to || !names.iter().any(|name| name == history.text(who)) {
            continue;
        }
        if is_out && event.at >= phase.from {
            return Some(history.text(who).to_owned());
        }
        if is_out {
            out.push(Some(who));
        } else if event.at < phase.from {
            out.retain(|known| *known != Some(who));
        }
    }
    out.first().copied().flatten().map(|who| history.text(who).to_owned())
}

pub(super) fn bal_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("balance") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let wanted = scope.parameters.number("requests");
    let (limit, p_limit) = (scope.parameters.number("ratio"), scope.parameters.number("p"));
    let sites: Vec<&Site> = scope.deployment.sites.iter().filter(|site| site.replicas >= 2).collect();
    let (mut numbers, mut notes, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let mut problems: Vec<(String, String)> = Vec::new();
    let (mut doubts, mut samples): (Option<Reason>, u64) = (None, 0);
    for way in [NEW, KEPT] {
        let is = |phase: &&Phase| history.text(phase.phase) == "hold" && history.text(phase.variant) == way;
        let within: Option<Phase> = phases.iter().find(is).copied();
        let mut all: Vec<Shares> = sites.iter().map(|site| Shares::of(history, site)).collect();
        for seen in stream(history, streams::TRAFFIC) {
            let at = seen.view.intended_at(history.events());
            let site = history.text(seen.asked.site);
            if within.is_none_or(|phase| !(phase.from..phase.to).contains(&at)) {
                continue;
            }
            if let Some(shares) = sites.iter().position(|known| known.name == site).and_then(|at| all.get_mut(at)) {
                shares.add(history, &seen);
            }
        }
        let answered = all.iter().fold(0_u64, |sum, shares| sum.saturating_add(shares.answered()));
        let sent = all.iter().fold(0_u64, |sum, shares| sum.saturating_add(shares.sent));
        samples = samples.saturating_add(answered);
        // Sites with one replica have a part of the requests, too.
        let part = count(len(sites.len())) / count(len(scope.deployment.sites.len().max(1)));
        if count(answered) < wanted * part * ANSWERED || count(answered) < count(sent) * ANSWERED {
            let text = format!("{way}: {answered} of {sent} requests had an answer that names a replica");
            doubts = doubts.or(Some(Reason::new("too-few-samples", text)));
            continue;
        }
        for (site, shares) in sites.iter().zip(&all) {
            if let Some(out) = within.and_then(|phase| was_out(history, site, phase)) {
                let text = format!("{way}: `{out}` was not in rotation all the time, which explains any share");
                doubts = doubts.or(Some(Reason::new("replica-out", text)));
                continue;
            }
            let name = |what: &str| format!("{what} ({}, {way})", site.name);
            let (most, p) = (ratio(&shares.counts, shares.sent), evenness(&shares.counts).unwrap_or(1.0));
            let spread = dispersion(&shares.counts);
            numbers.push(Number::new(name("largest share over fair share"), most, "").limit(limit));
            numbers.push(Number::new(name("chi-square p"), p, "").limit(p_limit));
            numbers.push(Number::new(name("dispersion"), spread, ""));
            numbers.push(Number::new(name("longest run at one replica"), count(shares.longest_run), ""));
            let decided = if most > limit {
                Some(name("largest share over fair share"))
            } else {
                (p <= p_limit).then(|| name("chi-square p"))
            };
            if let Some(decided) = decided {
                let text = format!(
                    "{way}, `{}`: {} (largest share {most:.2} of the fair one, {limit:.2} allowed; chi-square p {p:.2e})",
                    site.name,
                    shares.words()
                );
                problems.push((decided, text));
                events.extend(shares.first.clone());
            }
            let label = match spread {
                spread if spread < ROUND_ROBIN => "like round robin",
                spread if spread < UNEVEN => "like chance, not like round robin (a warning only)",
                _ => "more uneven than chance",
            };
            notes.push(format!("{way}, `{}`: {label}: {}", site.name, shares.words()));
            match shares.zones() {
                Some(zones) => {
                    let counts: Vec<u64> = zones.iter().map(|(_, count)| *count).collect();
                    let most = ratio(&counts, shares.sent);
                    numbers.push(Number::new(name("largest share of a zone over fair share"), most, "").limit(limit));
                    if most > limit {
                        problems.push((
                            name("largest share of a zone over fair share"),
                            format!("{way}, `{}`: zones {zones:?}", site.name),
                        ));
                        events.extend(shares.first.clone());
                    }
                }
                None => notes.push(format!(
                    "{way}, `{}`: zones are not compared: they have different numbers of replicas, or there is one (K3)",
                    site.name
                )),
            }
        }
    }
    if let Some((decided, _)) = problems.first() {
        if let Some(doubt) = record_doubt(history) {
            return Verdict::Inconclusive(doubt);
        }
        let numbers = decided_by(numbers, decided);
        let explanation: Vec<String> = problems.into_iter().map(|(_, words)| words).collect();
        events.truncate(3);
        return Verdict::Violated(Counterexample { explanation: explanation.join("; "), events, samples, numbers });
    }
    let held = Verdict::holds(100, Evidence { samples, numbers, notes });
    unless(held, doubt(history).or(doubts))
}
