//! Is a protected route ever served without its policies? One claim, read in every history.

mod broken;

use super::common::{count, ms, record_doubt};
use super::lives::{Lives, Offences, status};
use super::recovery::SETTLE;
use gatecrash_model::History;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Reads, Scope};
use gatecrash_model::operation::stream;
use gatecrash_model::verdict::{Counterexample, Evidence, Number, Reason, Verdict};

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[SEC_01, SEC_02];

const SEC_01: Claim = Claim {
    id: "SEC-01",
    statement: "at no instant (start, reload, reconnect, scale-out, partial config) is a protected route served without its policies",
    source: "Mule Gatekeeper; RFC 9068 section 4 (negative set); claims.md section 3, rows 2, 8, 10, 32",
    level: Level::Core,
    parameters: &[],
    needs: &[],
    reads: Reads::Every,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: 100,
    check: sec_01,
};

/// Name of the experiment in which a policy cannot be built, and then what policies need is away.
pub(crate) const BROKEN_POLICY: &str = "broken-policy";
/// Its steps, and variants of their phases: a policy cannot be built, the shared store is away, the identity provider is.
pub(crate) const POLICY: &str = "policy";
pub(crate) const STORE: &str = "store";
pub(crate) const PROVIDER: &str = "provider";
/// Mark: a configuration was published in which a policy of this route cannot be built.
pub(crate) const BROKEN_ROUTE: &str = "broken-route";

const SEC_02: Claim = Claim {
    id: "SEC-02",
    statement: "a route whose policy cannot be built, or whose policy needs what is away, fails closed, and serves again when it is mended; its siblings go on",
    source: "Flex: \"Plugin configured to fail closed\"; claims.md section 3, rows 29, 30, 31",
    level: Level::Core,
    parameters: &[SETTLE],
    needs: &[Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&[BROKEN_POLICY]),
    on_busy_machine: OnBusyMachine::Stands,
    minimum: broken::MINIMUM,
    check: broken::sec_02,
};

/// Requests that must be refused and were admitted, over all histories.
#[derive(Default)]
struct Tally {
    judged: u64,
    offences: Offences,
    /// Milliseconds since the replica's start, or since the run's where no start was seen.
    earliest_ms: Option<f64>,
    latest_ms: Option<f64>,
    first: String,
    /// Answered 2xx although no arrival was recorded: nothing is proven either way.
    unexplained: u64,
    doubt: Option<Reason>,
}

fn sec_01(scope: &Scope<'_>) -> Verdict {
    let mut tally = Tally::default();
    for history in scope.histories {
        let lives = Lives::new(history);
        tally.read(history, &lives);
        if tally.doubt.is_none() {
            tally.doubt = record_doubt(history);
        }
    }
    tally.verdict(scope.histories.is_empty())
}

impl Tally {
    fn read(&mut self, history: &History, lives: &Lives) {
        let events = history.events();
        // What a cache answers without asking who is there is CAC-03's: nothing of it arrives, and all of it is explained.
        let cached = history.name(stream::CACHED);
        for view in history.operations() {
            let Some(operation) = view.operation(events) else { continue };
            if !operation.credential.must_refuse() {
                continue;
            }
            let status = status(view, events);
            let Some((at, position)) = view.arrival(events) else {
                self.judged = self.judged.saturating_add(u64::from(status != 0));
                let unexplained = (200..300).contains(&status) && Some(operation.stream) != cached;
                self.unexplained = self.unexplained.saturating_add(u64::from(unexplained));
                continue;
            };
            self.judged = self.judged.saturating_add(1);
            let start = lives.started_before(operation.target, view.sent_at(events));
            let since = ms(at.saturating_sub(start.unwrap_or_default()));
            if self.offences.count == 0 {
                let of = if start.is_some() { "its start" } else { "the start of the run" };
                self.first = format!(
                    "in `{}`, operation {} with credential {:?} for route `{}` at `{}` reached the upstream {since:.1} ms after {of}",
                    history.experiment(),
                    view.op,
                    operation.credential,
                    history.text(operation.route),
                    history.text(operation.target),
                );
            }
            self.offences.add(history, position);
            self.earliest_ms = Some(self.earliest_ms.map_or(since, |least| least.min(since)));
            self.latest_ms = Some(self.latest_ms.map_or(since, |greatest| greatest.max(since)));
        }
    }

    fn verdict(self, nothing_ran: bool) -> Verdict {
        if let (Some(earliest), Some(latest)) = (self.earliest_ms, self.latest_ms) {
            let count_of = self.offences.count;
            return Verdict::Violated(Counterexample {
                explanation: format!(
                    "{count_of} of {} requests that must be refused were admitted, {earliest:.1} to {latest:.1} ms after the start of their replica (a window of {:.1} ms); first: {}",
                    self.judged,
                    latest - earliest,
                    self.first,
                ),
                events: self.offences.events,
                samples: self.judged,
                numbers: vec![
                    Number::new("admitted that must be refused", count(count_of), "requests").limit(0.0),
                    Number::new("earliest since the replica's start", earliest, "ms"),
                    Number::new("latest since the replica's start", latest, "ms"),
                    Number::new("width of the window", latest - earliest, "ms"),
                ],
            });
        }
        if nothing_ran {
            return Verdict::inconclusive("not-run", "no experiment has a history");
        }
        if let Some(reason) = self.doubt {
            return Verdict::Inconclusive(reason);
        }
        if self.unexplained > 0 {
            let text = format!(
                "{} requests that must be refused were answered 2xx, and no upstream recorded their arrival",
                self.unexplained
            );
            return Verdict::inconclusive("gap", text);
        }
        Verdict::holds(
            SEC_01.minimum,
            Evidence {
                samples: self.judged,
                numbers: vec![Number::new("admitted that must be refused", 0.0, "requests").limit(0.0)],
                notes: Vec::new(),
            },
        )
    }
}

#[cfg(test)]
mod tests;
