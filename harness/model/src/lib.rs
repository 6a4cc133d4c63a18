//! The words of gatecrash as types: what is under test, what is promised, what was done to it,
//! what was seen, and what follows from that.
//!
//! Everything here is pure: no sockets, no clock, no environment, no threads. Text goes in
//! (YAML, JSON lines), checked values come out; a history goes in, a verdict comes out.
#![warn(clippy::arithmetic_side_effects)]

pub mod adapter;
pub mod cacheable;
pub mod calm;
pub mod claim;
pub mod demands;
pub mod deployment;
pub mod fault;
pub mod fixture;
pub mod history;
pub mod input;
pub mod name;
pub mod operation;
pub mod platform;
pub mod profile;
pub mod quorum;
pub mod run_record;
pub mod schedule;
pub mod seed;
pub mod series;
pub mod shrink;
pub mod stats;
pub mod verdict;

pub use claim::{Claim, ClaimId};
pub use demands::Demands;
pub use deployment::Deployment;
pub use history::History;
pub use name::{Name, Names};
pub use profile::Profile;
pub use run_record::RunRecord;
pub use schedule::Schedule;
pub use seed::Seed;
pub use verdict::Verdict;
