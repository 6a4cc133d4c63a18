//! Short literal histories for tests of checks.
//!
//! ```
//! use gatecrash_model::history::build::{HistoryBuilder, call};
//! let mut history = HistoryBuilder::new("quota");
//! history.at_ms(10).ok(call("quota", "eu-1", "metered", "alice"));
//! history.at_ms(20).rejected(call("quota", "eu-1", "metered", "alice"), 429);
//! let history = history.build();
//! assert_eq!(history.operations().len(), 2);
//! assert!(history.operations()[0].admitted());
//! assert!(!history.operations()[1].admitted());
//! ```

use super::event::{Event, EventKind, FaultStage, ReplicaState};
use super::{Header, History, format};
use crate::name::Names;
use crate::operation::{Answer, Credential, Definite, Effect, Indefinite, Operation, Verb};

/// A valid call of `key` for `route` at `target`; the site is the target's name up to its last dash.
#[must_use]
pub fn call(stream: &str, target: &str, route: &str, key: &str) -> Operation<String> {
    Operation {
        stream: stream.to_owned(),
        verb: Verb::Call,
        target: target.to_owned(),
        site: target.rsplit_once('-').map_or(target, |(site, _)| site).to_owned(),
        route: route.to_owned(),
        key: key.to_owned(),
        token: String::new(),
        credential: Credential::Valid,
    }
}

/// The same operation with this credential.
#[must_use]
pub fn with(mut operation: Operation<String>, credential: Credential) -> Operation<String> {
    operation.credential = credential;
    operation
}

/// The same operation with this token digest.
#[must_use]
pub fn token(mut operation: Operation<String>, token: &str) -> Operation<String> {
    token.clone_into(&mut operation.token);
    operation
}

/// Builds a history event by event.
#[derive(Debug)]
pub struct HistoryBuilder {
    header: Header,
    events: Vec<Event<String>>,
    now: u64,
    next: u32,
    faults: u32,
    /// How long each operation takes, in nanoseconds; 1 ms unless set.
    pub takes_ns: u64,
    complete: bool,
}

impl HistoryBuilder {
    /// An empty history of `experiment`.
    #[must_use]
    pub fn new(experiment: &str) -> Self {
        let header = Header {
            format: format::FORMAT.to_owned(),
            experiment: experiment.to_owned(),
            seed: 1,
            runtime: "process".to_owned(),
            scale: 1.0,
        };
        Self { header, events: Vec::new(), now: 0, next: 1, faults: 1, takes_ns: 1_000_000, complete: true }
    }

    /// Sets the time of what follows, in milliseconds since the run started.
    pub fn at_ms(&mut self, ms: u64) -> &mut Self {
        self.now = ms.saturating_mul(1_000_000);
        self
    }

    /// Leaves the closing mark out, as a cut file would.
    pub fn cut(&mut self) -> &mut Self {
        self.complete = false;
        self
    }

    fn push(&mut self, at: u64, kind: EventKind<String>) -> &mut Self {
        self.events.push(Event { at, kind });
        self
    }

    /// An operation with the given end (`None`: it never completes) and admission; returns its id.
    pub fn operation(
        &mut self,
        operation: Operation<String>,
        outcome: Option<(Effect, Answer<String>)>,
        admitted: bool,
    ) -> u32 {
        let op = self.next;
        self.next = self.next.saturating_add(1);
        let (route, target) = (operation.route.clone(), operation.site.clone());
        self.push(self.now, EventKind::Invoked { op, process: 1, late_us: 0, operation });
        if admitted {
            let upstream = format!("{target}-upstream");
            let at = self.now.saturating_add(self.takes_ns / 2);
            self.push(at, EventKind::Arrived { op, upstream, route });
        }
        if let Some((effect, answer)) = outcome {
            let at = self.now.saturating_add(self.takes_ns);
            self.push(at, EventKind::Completed { op, effect, answer });
        }
        op
    }

    /// Operation `op` arrived at `upstream`, half of [`Self::takes_ns`] from now.
    pub fn arrived(&mut self, op: u32, upstream: &str, route: &str) -> &mut Self {
        let (upstream, route) = (upstream.to_owned(), route.to_owned());
        self.push(self.now.saturating_add(self.takes_ns / 2), EventKind::Arrived { op, upstream, route })
    }

    /// An operation that was admitted and answered 200 by its target.
    pub fn ok(&mut self, operation: Operation<String>) -> u32 {
        let answer = Answer { status: 200, replica: operation.target.clone(), ..Answer::default() };
        let admitted = operation.verb == Verb::Call;
        self.operation(operation, Some((Effect::Ok, answer)), admitted)
    }

    /// An operation answered with a rejecting status, without admission.
    pub fn rejected(&mut self, operation: Operation<String>, status: u16) -> u32 {
        let answer = Answer { status, replica: operation.target.clone(), ..Answer::default() };
        self.operation(operation, Some((Effect::Failed(Definite::Rejected), answer)), false)
    }

    /// An operation answered 5xx by the gateway itself.
    pub fn gateway_error(&mut self, operation: Operation<String>, status: u16) -> u32 {
        let answer = Answer { status, replica: operation.target.clone(), ..Answer::default() };
        self.operation(operation, Some((Effect::Unknown(Indefinite::GatewayError), answer)), false)
    }

    /// An operation whose connection was refused.
    pub fn refused(&mut self, operation: Operation<String>) -> u32 {
        self.operation(operation, Some((Effect::Failed(Definite::Refused), Answer::default())), false)
    }

    /// An operation without an answer in time; `admitted` says whether the upstream saw it.
    pub fn unknown(&mut self, operation: Operation<String>, admitted: bool) -> u32 {
        self.operation(operation, Some((Effect::Unknown(Indefinite::Timeout), Answer::default())), admitted)
    }

    /// A request that arrived before arrives once more.
    pub fn arrived_again(&mut self, op: u32, upstream: &str, route: &str) -> &mut Self {
        let (upstream, route) = (upstream.to_owned(), route.to_owned());
        self.push(self.now, EventKind::Arrived { op, upstream, route })
    }

    /// A phase mark.
    pub fn phase(&mut self, phase: &str, variant: &str) -> &mut Self {
        self.push(self.now, EventKind::Phase { phase: phase.to_owned(), variant: variant.to_owned() })
    }

    /// A fact.
    pub fn mark(&mut self, name: &str, subject: &str, value: i64) -> &mut Self {
        self.push(self.now, EventKind::Mark { name: name.to_owned(), subject: subject.to_owned(), value })
    }

    /// One stage of a fault.
    pub fn fault(&mut self, fault: u32, stage: FaultStage, kind: &str, target: &str) -> &mut Self {
        let (kind, target) = (kind.to_owned(), target.to_owned());
        self.push(self.now, EventKind::Fault { fault, stage, kind, target, detail: String::new() })
    }

    /// A fault that was injected and witnessed at `from_ms`, healed and witnessed gone at `to_ms`; returns its number.
    pub fn proven_fault(&mut self, kind: &str, target: &str, from_ms: u64, to_ms: u64) -> u32 {
        let fault = self.faults;
        self.faults = self.faults.saturating_add(1);
        self.at_ms(from_ms).fault(fault, FaultStage::Planned, kind, target);
        self.fault(fault, FaultStage::Injected, kind, target).fault(fault, FaultStage::Witnessed, kind, target);
        self.at_ms(to_ms).fault(fault, FaultStage::Healed, kind, target);
        self.fault(fault, FaultStage::WitnessedGone, kind, target);
        fault
    }

    /// A component's life.
    pub fn replica(&mut self, replica: &str, state: ReplicaState) -> &mut Self {
        let site = replica.rsplit_once('-').map_or(replica, |(site, _)| site).to_owned();
        let (replica, detail) = (replica.to_owned(), String::new());
        self.push(self.now, EventKind::Replica { replica, site, state, detail })
    }

    /// A call to the control plane, the site store or the identity provider.
    pub fn contact(&mut self, component: &str, peer: &str, what: &str, status: u16, version: u32) -> &mut Self {
        let (component, peer, what) = (component.to_owned(), peer.to_owned(), what.to_owned());
        self.push(self.now, EventKind::Contact { component, peer, what, status, version })
    }

    /// Analytics recorded an operation that a replica told them of.
    pub fn recorded(&mut self, analytics: &str, replica: &str, op: u32) -> &mut Self {
        let (analytics, replica) = (analytics.to_owned(), replica.to_owned());
        self.push(self.now, EventKind::Recorded { op, analytics, replica })
    }

    /// The harness was late by so much.
    pub fn late(&mut self, late_us: u32) -> &mut Self {
        self.push(self.now, EventKind::Late { late_us })
    }

    /// A hole in the record.
    pub fn gap(&mut self, component: &str) -> &mut Self {
        let (component, what) = (component.to_owned(), "lost".to_owned());
        self.push(self.now, EventKind::Gap { component, what })
    }

    /// The history.
    #[must_use]
    pub fn build(mut self) -> History {
        self.events.sort_by_key(|event| event.at);
        if self.complete {
            let at = self.events.last().map_or(0, |event| event.at);
            self.push(at, EventKind::End);
        }
        let mut names = Names::default();
        let events = self.events.into_iter().map(|event| event.map_names(|text| names.intern(&text))).collect();
        History::new(self.header, names, events, self.complete)
    }
}
