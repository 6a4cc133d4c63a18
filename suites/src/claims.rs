//! All claims, one file per family, ordered by id.

pub(crate) mod analytics;
pub(crate) mod availability;
pub(crate) mod balance;
pub(crate) mod busy;
pub(crate) mod cache;
mod case;
mod common;
pub(crate) mod configuration;
pub(crate) mod contracts;
pub(crate) mod draining;
pub(crate) mod latency;
mod lives;
pub(crate) mod losses;
pub(crate) mod overload;
mod pace;
pub(crate) mod peering;
pub(crate) mod predicted;
#[cfg(test)]
mod properties;
pub(crate) mod quota;
pub(crate) mod recovery;
#[cfg(test)]
mod respawns;
#[cfg(test)]
mod sample;
pub(crate) mod scaling;
pub(crate) mod security;
pub(crate) mod serving;
mod stalls;
pub(crate) mod tokens;

use gatecrash_model::Claim;

/// The families.
const FAMILIES: &[&[Claim]] = &[
    analytics::CLAIMS,
    availability::CLAIMS,
    balance::CLAIMS,
    cache::CLAIMS,
    configuration::CLAIMS,
    contracts::CLAIMS,
    draining::CLAIMS,
    latency::CLAIMS,
    overload::CLAIMS,
    peering::CLAIMS,
    quota::CLAIMS,
    scaling::CLAIMS,
    security::CLAIMS,
    tokens::CLAIMS,
];

/// Every claim there is, ordered by id.
#[must_use]
pub fn all() -> Vec<Claim> {
    let mut all: Vec<Claim> = FAMILIES.concat();
    all.sort_by_key(|claim| claim.id);
    all
}
