//! What do a deployment and its profile say that cannot both be so? Each file is right by itself, so neither tells.

use crate::claims;
use gatecrash_model::adapter::Adapter;
use gatecrash_model::claim::ClaimId;
use gatecrash_model::profile::Scalar;
use gatecrash_model::verdict::Declared;
use gatecrash_model::{Deployment, Profile};
use std::collections::BTreeMap;

/// Two places of which one must give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// Keys that lead to the place in the profile.
    pub in_profile: Vec<&'static str>,
    /// What is wrong with it, and what is legal beside that deployment.
    pub what: String,
    /// Keys that lead to the place in the deployment.
    pub in_deployment: Vec<&'static str>,
    /// What stands there, or holds by default.
    pub against: String,
}

/// All of them, in the order of the claims.
///
/// A counter that is synchronised less often than its window ends is never one counter: a bound that allows for that allows everything.
#[must_use]
pub fn contradictions(deployment: &Deployment, profile: &Profile, adapter: &Adapter) -> Vec<Contradiction> {
    let settings = adapter.settings_of(deployment, &BTreeMap::new());
    let window_s = deployment.quota.window.as_secs_f64();
    let all = claims::all().into_iter().filter_map(|claim| {
        let name = crate::claims::quota::SYNC_INTERVAL.name;
        claim.parameters.iter().find(|parameter| parameter.name == name)?;
        let resolved = profile.declared(&ClaimId::new(claim.id), deployment, &settings);
        let said = match resolved.parameters.get(name) {
            Some(Scalar::Number(said)) if resolved.declared != Declared::NotApplicable && *said > window_s => *said,
            Some(_) | None => return None,
        };
        Some(Contradiction {
            in_profile: vec!["claims", claim.id, "parameters", name],
            what: format!(
                "`{name}` of {} is {said} s, longer than the window of the quota that it shares; legal are 0 to {window_s} s",
                claim.id
            ),
            in_deployment: vec!["quota", "window"],
            against: format!("the `window` of the quota is {window_s} s"),
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatecrash_fixtures::adapters;

    fn of(sync_interval: &str, quota: &str) -> Vec<Contradiction> {
        let yaml = format!(
            "version: \"1.0\"\nname: edge\nprofile: mine\ngateway: {{adapter: reference, settings: {{every: 15}}}}\nsites: [{{name: eu, replicas: 2}}]\n{quota}"
        );
        let deployment = gatecrash_model::deployment::yaml::parse("edge.yaml", &yaml).unwrap();
        let yaml = format!(
            "version: \"1.0\"\nname: mine\nproduct: ours\nminimumJudged: 1\nclaims:\n  QUO-01: {{declared: holds, basis: expected, parameters: {{sync_interval: {sync_interval}}}}}\n  QUO-04: {{declared: not-applicable, source: \"none\"}}\n"
        );
        let profile = crate::profiles::parse("mine.yaml", &yaml).unwrap();
        let reference = adapters::builtin().iter().find(|adapter| adapter.name == "reference").unwrap();
        contradictions(&deployment, &profile, &reference.adapter().unwrap())
    }

    #[test]
    fn a_counter_is_synchronised_within_its_window() {
        let window = "quota: {limit: 100, window: 10s}\n";
        assert_eq!(of("10s", window), []);
        let [found] = &of("10500ms", window)[..] else { panic!("one") };
        assert!(found.what.contains("QUO-01 is 10.5 s") && found.what.contains("0 to 10 s"), "{found:?}");
        assert_eq!(found.in_profile, ["claims", "QUO-01", "parameters", "sync_interval"]);
        assert!(found.against.contains("10 s"), "{found:?}");
        // By a setting, and against the default window.
        assert_eq!(of("settings.every", "").len(), usize::from(default_window_s() < 15.0));
        assert_eq!(of("0s", ""), []);
    }

    fn default_window_s() -> f64 {
        let text = "version: \"1.0\"\nname: edge\nprofile: mine\ngateway: {adapter: reference}\nsites: [{name: eu, replicas: 2}]\n";
        gatecrash_model::deployment::yaml::parse("edge.yaml", text).unwrap().quota.window.as_secs_f64()
    }
}
