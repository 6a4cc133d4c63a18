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
        ("datapower-linux", include_str!("../profiles/datapower-linux.yaml")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_model::profile::DeclaredAs;
    use gatecrash_model::verdict::Declared;
    use std::collections::BTreeSet;

    /// A claim that a profile does not name is nowhere promised and nowhere denied: that is an oversight, not a declaration.
    #[test]
    fn every_profile_that_comes_with_gatecrash_declares_every_claim() {
        let all: BTreeSet<String> = claims::all().iter().map(|claim| claim.id.to_owned()).collect();
        for (name, text) in builtin() {
            let profile = parse(name, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(profile.name, *name);
            let declared: BTreeSet<String> = profile.claims.keys().map(|id| id.as_str().to_owned()).collect();
            let missing: Vec<&String> = all.difference(&declared).collect();
            assert_eq!(missing, Vec::<&String>::new(), "`{name}` does not declare them");
            let least = usize::try_from(profile.minimum_judged).unwrap();
            let applicable =
                profile.claims.values().filter(|declaration| !never_applies(&declaration.declared)).count();
            assert!(least <= applicable, "`{name}` asks for {least} judged claims of {applicable} applicable ones");
        }
    }

    fn never_applies(declared: &DeclaredAs) -> bool {
        match declared {
            DeclaredAs::Always(declared) => *declared == Declared::NotApplicable,
            DeclaredAs::When { then, otherwise, .. } => {
                (*then, *otherwise) == (Declared::NotApplicable, Declared::NotApplicable)
            }
        }
    }
}
