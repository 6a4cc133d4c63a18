//! What can be done to a deployment: kinds, targets by role, units in names, legal ranges.
//! The engine injects, witnesses and heals; this says what is meant, and it is the plan that is recorded.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Which bytes or connections of a directed link are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the component that dials to the one that listens.
    TowardListener,
    /// From the component that listens back to the one that dialled.
    TowardDialer,
    /// Both.
    Both,
}

/// A directed link between two components of one deployment: who dials whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId {
    /// Component that dials: a replica, an ingress, or `client` (the harness).
    pub from: String,
    /// Component that listens.
    pub to: String,
}

impl LinkId {
    /// The link on which `from` dials `to`.
    #[must_use]
    pub fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// What is done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkFault {
    /// Each round trip takes `delay_ms` longer (once, toward the dialler), give or take `jitter_ms`
    /// drawn uniformly. Legal: delay 0 to 600,000, jitter at most the delay. Connects are not delayed.
    Delay {
        /// Added milliseconds.
        delay_ms: u32,
        /// Plus or minus this many milliseconds, uniformly drawn.
        jitter_ms: u32,
    },
    /// At most this many bytes a second pass. Legal: 1,000 to 1,000,000,000.
    Bandwidth {
        /// Bytes a second, in the direction given.
        bytes_per_s: u64,
        /// Which direction is limited.
        direction: Direction,
    },
    /// New connections are refused; established ones are reset.
    Refuse,
    /// Established connections get a real RST; new ones are accepted as before.
    Reset,
    /// A partition: bytes, FIN and RST are held and delivered when healed; new connections hang.
    Hold {
        /// Which direction is held; new connections hang only when it is `Both`.
        direction: Direction,
    },
    /// A black hole: established connections go silent, new connects hang. Bytes sent into it are lost
    /// with their connection, which is reset when healed.
    Blackhole,
}

/// What is done to a replica's process or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaFault {
    /// SIGKILL.
    Kill,
    /// SIGTERM: the component may drain.
    Terminate,
    /// SIGSTOP: it hangs. Healed by SIGCONT.
    Pause,
    /// Its data port is closed to everybody, whoever dials it: new connections are refused, those that there are are reset. Its
    /// process runs, and its other ports answer. (The links to the port refuse, so that any gateway can have it.)
    ClosePort,
    /// Pressure on its processor, in a control group of its own: it and a burner that never rests share so many thousandths of a core.
    /// What the burner leaves of each tenth of a second it has, and then it stands still. Legal: 10 to 1,000.
    Press {
        /// Thousandths of a core, for both together.
        millicores: u32,
    },
}

impl ReplicaFault {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The quantity that is out of range, with its legal values.
    pub fn check(self) -> Result<(), IllegalFault> {
        match self {
            Self::Press { millicores } if !(10..=1_000).contains(&millicores) => {
                Err(IllegalFault { what: "millicores", value: millicores.into(), legal: "10 to 1,000" })
            }
            Self::Kill | Self::Terminate | Self::Pause | Self::ClosePort | Self::Press { .. } => Ok(()),
        }
    }
}

/// How the control plane or a fixture misbehaves; sent to the fixture over the control path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "mode")]
pub enum FixtureFault {
    /// Answers 503.
    Unavailable,
    /// Accepts and never answers.
    Silent,
    /// Answers with bytes that are no HTTP (as a TLS alert would be).
    Garbage,
    /// Answers after this many milliseconds more. Legal: 1 to 600,000.
    Slow {
        /// Added milliseconds.
        delay_ms: u32,
    },
    /// Answers with the first version it ever had.
    Stale,
    /// Announces the whole length and sends half of it.
    Truncated,
    /// Answers 200 with an empty configuration or list.
    Empty,
    /// Answers 200 with a body of the wrong shape.
    Wrong,
    /// Store only: refuses writes, keeps connections open (`READONLY`).
    ReadOnly,
    /// Store only: stops answering, keeps connections.
    Freeze,
    /// Store only: answers errors above this many commands a second.
    Throttle {
        /// Commands a second that still pass.
        per_s: u32,
    },
    /// Store only: applies the write and drops the reply with the connection.
    LostAcknowledgement,
    /// Store only: every counter reads as text, every key has the wrong type.
    WrongData,
}

/// A fault with its target: what is planned, recorded before it is injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "on")]
pub enum Fault {
    /// Something on directed links.
    Network {
        /// The links, all at once.
        links: Vec<LinkId>,
        /// What is done.
        what: NetworkFault,
    },
    /// Something to one component's process or container.
    Replica {
        /// Component name (replica, store, control plane: whatever runs).
        name: String,
        /// What is done.
        what: ReplicaFault,
    },
    /// A replica's clock is off: it is started again with another one (its setting `clockOffsetMs`).
    Clock {
        /// Replica.
        name: String,
        /// Milliseconds ahead; negative: behind.
        offset_ms: i64,
    },
    /// A fixture misbehaves on purpose.
    Fixture {
        /// Component name.
        name: String,
        /// Which of its endpoints (`config`, `contracts`, `register`); empty for all.
        endpoint: String,
        /// What is done.
        what: FixtureFault,
    },
}

/// A fault whose numbers are outside their legal range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{what}` is {value}; legal: {legal}")]
pub struct IllegalFault {
    /// The quantity, with its unit in the name.
    pub what: &'static str,
    /// Its value.
    pub value: u64,
    /// The legal range in words.
    pub legal: &'static str,
}

impl NetworkFault {
    /// A fixed delay without jitter, in whole milliseconds (rounded down; at most 600 s).
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self::Delay { delay_ms: u32::try_from(delay.as_millis()).unwrap_or(u32::MAX), jitter_ms: 0 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The quantity that is out of range, with its legal values.
    pub fn check(self) -> Result<(), IllegalFault> {
        match self {
            Self::Delay { delay_ms, jitter_ms } => {
                if delay_ms > 600_000 {
                    return Err(IllegalFault { what: "delay_ms", value: delay_ms.into(), legal: "0 to 600,000" });
                }
                if jitter_ms > delay_ms {
                    return Err(IllegalFault { what: "jitter_ms", value: jitter_ms.into(), legal: "0 to delay_ms" });
                }
                Ok(())
            }
            Self::Bandwidth { bytes_per_s, .. } => {
                if (1_000..=1_000_000_000).contains(&bytes_per_s) {
                    Ok(())
                } else {
                    Err(IllegalFault { what: "bytes_per_s", value: bytes_per_s, legal: "1,000 to 1,000,000,000" })
                }
            }
            Self::Refuse | Self::Reset | Self::Hold { .. } | Self::Blackhole => Ok(()),
        }
    }

    /// Short name for histories and reports.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Delay { .. } => "delay",
            Self::Bandwidth { .. } => "bandwidth",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Hold { .. } => "hold",
            Self::Blackhole => "blackhole",
        }
    }
}

impl Fault {
    /// Short name for histories and reports: `refuse`, `kill`, `silent`.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Network { what, .. } => what.kind().to_owned(),
            Self::Replica { what, .. } => match what {
                ReplicaFault::Kill => "kill".to_owned(),
                ReplicaFault::Terminate => "terminate".to_owned(),
                ReplicaFault::Pause => "pause".to_owned(),
                ReplicaFault::ClosePort => "close-port".to_owned(),
                ReplicaFault::Press { .. } => "pressure".to_owned(),
            },
            Self::Clock { .. } => "clock".to_owned(),
            Self::Fixture { what, .. } => serde_json::to_value(what)
                .ok()
                .and_then(|value| value.get("mode").and_then(|mode| mode.as_str().map(str::to_owned)))
                .unwrap_or_default(),
        }
    }

    /// What it is aimed at, for histories and reports: `eu-1->eu-store`, several joined by commas.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Network { links, .. } => links.iter().map(LinkId::to_string).collect::<Vec<_>>().join(", "),
            Self::Replica { name, .. } | Self::Clock { name, .. } => name.clone(),
            Self::Fixture { name, endpoint, .. } if endpoint.is_empty() => name.clone(),
            Self::Fixture { name, endpoint, .. } => format!("{name} ({endpoint})"),
        }
    }
}
