//! Everything of gatecrash that touches the world.
//!
//! [`runtime`] brings components up and down as processes or containers; [`link`] carries every
//! connection between them and every network fault; [`lab`] is what an experiment holds: replicas,
//! links, faults with their witnesses, clients and traffic, and the [`recorder`], the only writer of
//! the history. [`reaper`] removes what a killed harness left behind. [`clock`] is the only clock.

pub mod client;
pub mod clock;
pub mod control;
pub mod executable;
pub mod lab;
pub mod link;
pub mod machine;
pub mod pacer;
pub mod priority;
pub mod probe;
pub mod reaper;
pub mod recorder;
pub mod resp;
pub mod runtime;
