//! The profiles that come with gatecrash: what each product declares of each claim.

use crate::claims;
use gatecrash_model::claim::Parameter;
use gatecrash_model::input::InputError;
use gatecrash_model::profile::yaml;
use gatecrash_model::{Claim, Profile};

/// Name and text of each profile that comes with gatecrash, by name.
#[must_use]
pub fn builtin() -> &'static [(&'static str, &'static str)] {
    &[
        ("datapower-kubernetes", include_str!("../profiles/datapower-kubernetes.yaml")),
        ("envoy", include_str!("../profiles/envoy.yaml")),
        ("flex-managed", include_str!("../profiles/flex-managed.yaml")),
        ("flex-self-managed", include_str!("../profiles/flex-self-managed.yaml")),
    ]
}

/// The profile that `text` describes, held to the claims that exist.
///
/// # Errors
/// Every mistake with its place in `text`, which is called `source_name` in the messages.
pub fn parse(source_name: &str, text: &str) -> Result<Profile, InputError> {
    let claims: Vec<Claim> = claims::all();
    let known: Vec<(&str, &[Parameter])> = claims.iter().map(|claim| (claim.id, claim.parameters)).collect();
    yaml::parse(source_name, text, &known)
}
