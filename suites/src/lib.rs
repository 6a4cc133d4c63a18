//! The experiments and claims of gatecrash, and what plans, runs and judges them.
//!
//! An experiment is a story told to a lab; its history is read by every claim that it can inform.
//! A claim is a pure check over histories.

pub mod certify;
pub mod claims;
pub mod experiment;
pub mod experiments;
pub mod profiles;
pub mod seeds;
