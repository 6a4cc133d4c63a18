//! The events of a history. Generic over the name: [`Name`] in memory, text on disk.

use crate::name::Name;
use crate::operation::{Answer, Effect, Operation};
use serde::{Deserialize, Serialize};

/// One event: when, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<N = Name> {
    /// Nanoseconds since the run started, monotonic.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind<N>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum EventKind<N = Name> {
    /// An operation was sent. `at` is when its first byte could leave.
    Invoked {
        /// Id of the operation in this experiment, from 1, dense.
        op: u32,
        /// Logical client that sent it.
        process: u32,
        /// How many microseconds before `at` it should have been sent (open loop); latency counts from there.
        late_us: u32,
        /// What was asked.
        #[serde(flatten)]
        operation: Operation<N>,
    },
    /// An operation ended, as the client saw it.
    Completed {
        /// Its id.
        op: u32,
        /// Whether it happened.
        #[serde(flatten)]
        effect: Effect,
        /// What the client saw.
        #[serde(flatten)]
        answer: Answer<N>,
    },
    /// A request arrived at an upstream that we own: it was admitted. `at` is the upstream's own stamp.
    Arrived {
        /// Id of the operation; 0 for a request without an id of ours.
        op: u32,
        /// Which upstream.
        upstream: N,
        /// Path as it arrived.
        route: N,
    },
    /// Analytics recorded that a call was answered. `at` is their own stamp.
    Recorded {
        /// Id of the operation; 0 for a request without an id of ours.
        op: u32,
        /// Which analytics.
        analytics: N,
        /// Replica that told them.
        replica: N,
    },
    /// A fault went from one stage to the next.
    Fault {
        /// Number of the fault in this experiment, from 1.
        fault: u32,
        /// Which stage it reached.
        stage: FaultStage,
        /// `refuse`, `kill`, ...
        kind: N,
        /// `eu-1->eu-store`, `eu-1`, ...
        target: N,
        /// What the witness measured, in words.
        detail: N,
    },
    /// The story entered a new phase: `bring-up`, `steady`, `inject`, `hold`, `heal`, `settle`, `final-reads`, `end`, [`CUT`].
    Phase {
        /// Name of the phase.
        phase: N,
        /// Which variant or round of the story; empty if there is one only.
        variant: N,
    },
    /// A fact that a check needs: a version was published, a token was revoked, a window began.
    Mark {
        /// What the fact is about: one of the constants in [`mark`].
        name: N,
        /// Whom it is about: a replica, a key, a token digest.
        subject: N,
        /// Its value; 0 if the fact is all.
        value: i64,
    },
    /// A component's life.
    Replica {
        /// Component name.
        replica: N,
        /// Its site; empty for what has none.
        site: N,
        /// What became of it.
        state: ReplicaState,
        /// More in words; empty if the state says all.
        detail: N,
    },
    /// Somebody called the control plane, the site store or the identity provider.
    Contact {
        /// Who was called.
        component: N,
        /// Who called: a replica's name; empty if it did not say.
        peer: N,
        /// `config`, `contracts`, `register`, `status`, ...
        what: N,
        /// HTTP status it was given; 0 if it got none.
        status: u16,
        /// Version that it was given or told; 0 if none.
        version: u32,
    },
    /// The record misses something from here backwards.
    Gap {
        /// Whose record: an upstream, the control plane, the recorder.
        component: N,
        /// What is missing, in words.
        what: N,
    },
    /// The harness itself was late by this much: timing verdicts over this stretch may not be sharp.
    Late {
        /// Microseconds.
        late_us: u32,
    },
    /// Anything a reader should know. No check reads it.
    Note {
        /// The words.
        text: N,
    },
    /// The last event: the history is whole.
    End,
}

/// How far a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultStage {
    /// It will be injected.
    Planned,
    /// It is in place, as far as the injector knows.
    Injected,
    /// A second path showed that it bites.
    Witnessed,
    /// A second path showed that it does not bite: claims over it cannot hold.
    NotWitnessed,
    /// It was taken away.
    Healed,
    /// A second path showed that it is gone.
    WitnessedGone,
    /// A second path still sees it after the heal.
    NotGone,
}

/// What became of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// Its process or container was asked to start.
    Starting,
    /// Its readiness signal turned true.
    Ready,
    /// Its readiness signal turned false, or stopped.
    NotReady,
    /// It was paused.
    Paused,
    /// It goes on.
    Resumed,
    /// It was asked to end.
    Terminating,
    /// Its process or container is gone.
    Gone,
    /// Its local disk was emptied.
    DiskWiped,
}

/// The phase that begins where a story ends early, because it was interrupted or could not go on: nothing is watched from here on, only ended.
pub const CUT: &str = "cut";

/// Marks of what an answer's headers told its client, of the few operations that are read for it; subject: the operation's id.
pub mod told {
    /// There was a whole answer; value 1 if it told its client to close the connection, else 0.
    pub const CLOSES: &str = "told-close";
    /// Requests that are left in the window.
    pub const REMAINING: &str = "told-remaining";
    /// Milliseconds to the end of the window.
    pub const RESET_MS: &str = "told-reset-ms";
    /// That time is told in whole numbers of this: milliseconds; there is none where it is told to the millisecond.
    pub const GRAIN_MS: &str = "told-grain-ms";
    /// Milliseconds after which to come again.
    pub const RETRY_AFTER_MS: &str = "told-retry-after-ms";
}

/// Marks of requests for what a cache may keep (stream `cached`).
pub mod cached {
    /// A request for a resource is sent; subject: the resource; value: the operation.
    pub const ASKED: &str = "cache-asked";
    /// The body of an answer says for which operation the upstream made it; subject: the operation that got it; value: that operation.
    pub const MADE_FOR: &str = "cache-made-for";
    /// The answer had an `Age`; subject: the operation; value: seconds.
    pub const AGE_S: &str = "cache-age-s";
}

/// Names of marks that more than one file must agree on. An experiment may have marks of its own.
pub mod mark {
    /// The process of this replica (subject) runs, as its runtime says: what an engine needs to start a container is over.
    pub const RUNNING: &str = "running";
    /// A configuration was published; subject: what changed; value: its version.
    pub const PUBLISHED: &str = "published";
    /// The control plane was restored from a copy: what was published after this version is lost; value: the version.
    pub const RESTORED: &str = "restored";
    /// A token was revoked and the 200 received; subject: token digest.
    pub const REVOKED: &str = "revoked";
    /// A contract was added; subject: client id.
    pub const CONTRACT_ADDED: &str = "contract-added";
    /// A contract was removed; subject: client id.
    pub const CONTRACT_REMOVED: &str = "contract-removed";
    /// A restart after which a replica may legally be refused traffic for a while; subject: replica.
    pub const NOT_READY_DECLARED: &str = "not-ready-declared";
    /// A quota window of this experiment begins; subject: key; value: round number.
    pub const WINDOW: &str = "window";
    /// From when on a token is valid; subject: its digest; value: nanoseconds since the run started, negative before.
    pub const TOKEN_NBF: &str = "token-nbf";
    /// When a token expires; subject and value as of [`TOKEN_NBF`].
    pub const TOKEN_EXP: &str = "token-exp";
    /// A replica's clock is set; subject: replica; value: milliseconds that it is ahead, 0 from when it is right again.
    pub const CLOCK_OFFSET: &str = "clock-offset";
    /// The identity provider is told to publish a key, and was; subject: the key's id; value: its number. A key without these marks was there
    /// from the start.
    pub const KEY_PUBLISHING: &str = "key-publishing";
    /// See [`KEY_PUBLISHING`].
    pub const KEY_PUBLISHED: &str = "key-published";
    /// The identity provider is told not to publish a key any more, and does not; subject and value as of [`KEY_PUBLISHING`].
    pub const KEY_REMOVING: &str = "key-removing";
    /// See [`KEY_REMOVING`].
    pub const KEY_REMOVED: &str = "key-removed";
    /// A token was signed; subject: its digest; value: the number of its key, or -1 if nobody who knows that key signed it.
    pub const TOKEN_KEY: &str = "token-key";
    /// For how long gateways may hold the published keys to be fresh; value: milliseconds, scaled.
    pub const JWKS_TTL: &str = "jwks-ttl";
    /// Signing material of a site was changed; subject: site.
    pub const REKEYED: &str = "rekeyed";
    /// The harness was too late in the window before: it is repeated; subject: quota key, or empty for the rest of the phase;
    /// value: microseconds that it was late.
    pub const PROLONGED: &str = "prolonged";
    /// The platform found a replica lost; subject: replica; value: failed probes in a row, 0 for one whose process had ended.
    pub const FOUND_LOST: &str = "found-lost";
    /// The platform starts a successor; subject: the successor, which may have the name of the one that it replaces; value: the number
    /// (in its site) of the replica that it replaces.
    pub const SUCCESSOR: &str = "successor";
    /// Where the platform starts a replica; subject: the replica; value: number of the zone in its site's list, from 1; 0 where sites have no zones.
    pub const SUCCESSOR_ZONE: &str = "successor-zone";
    /// What share of its request a replica of this site (subject) uses on average, as the platform sees it; value: percent.
    pub const USED_PERCENT: &str = "used-percent";
    /// The platform starts a replica more, as the others are busy; subject: the replica; value: how many its site has with it.
    pub const SCALED_OUT: &str = "scaled-out";
    /// The platform takes a replica away, as fewer are enough; subject: the replica; value: how many its site has without it.
    pub const SCALED_IN: &str = "scaled-in";
    /// The platform could not do what it wanted: that is the harness' trouble; subject: replica.
    pub const PLATFORM_TROUBLE: &str = "platform-trouble";
    /// Processor time that a replica (subject) has used since its last start; value: microseconds.
    pub const PROCESSOR_US: &str = "processor-us";
    /// Memory that a replica's process or container has; subject: replica; value: KiB.
    pub const MEMORY_KIB: &str = "memory-kib";
    /// Files, sockets and pipes that a replica's process has open; subject: replica; value: their number.
    pub const OPEN_FILES: &str = "open-files";
    /// Connections that clients, and the ingress for them, have open to a replica's data port, by its links; subject: replica; value: their
    /// number. Written before [`OPEN_FILES`], of which they are a part.
    pub const CLIENT_CONNECTIONS: &str = "client-connections";
    /// Steady state was reached (value 1) or not (value 0); subject: why not.
    pub const STEADY: &str = "steady";
}
