//! What a product promises: each claim declared, with a basis and parameters.
//!
//! `holds` with `basis: documented | expected` (H and h of the claim table), `does-not-hold` (a documented
//! limit, in bounded form), `not-applicable`, or an expression over the deployment's named settings (P).

pub mod yaml;

use crate::adapter::render::{engine, why};
use crate::claim::ClaimId;
use crate::deployment::{Deployment, StoreKind, StoreScope};
use crate::verdict::Declared;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A scalar of YAML: what a setting or a parameter may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A word, or a duration such as `10s`.
    Text(String),
}

/// A profile, checked. Made by [`yaml::parse`] only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The product, with the version of the documents that the declarations come from.
    pub product: String,
    /// Least number of judged claims for a certificate; fewer is `inconclusive`.
    pub minimum_judged: u32,
    /// What each claim is declared; a claim that is not named is `not-applicable` (`not declared by the profile`).
    pub claims: BTreeMap<ClaimId, Declaration>,
}

/// What a profile says of one claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// What is declared.
    pub declared: DeclaredAs,
    /// Where it comes from.
    pub basis: Basis,
    /// Vendor sentence or page, or why it is not applicable; empty if there is none.
    pub source: String,
    /// Parameters of the claim that differ from its defaults: windows in seconds, latencies in milliseconds.
    pub parameters: BTreeMap<String, Scalar>,
}

/// A declaration as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredAs {
    /// The same for every deployment.
    Always(Declared),
    /// Depends on the deployment's settings.
    When {
        /// Expression over `settings`, `store` (`redis`, `stub`, `none`), `storeScope` (`site`, `deployment`, `none`),
        /// `sites`, `replicas`, `zones` (that have a replica, at the site with most), `platform`, `autoscale`, `storeFailover` and `peering` (whether there is one);
        /// in minijinja's syntax.
        condition: String,
        /// If it is true.
        then: Declared,
        /// If it is not.
        otherwise: Declared,
    },
}

/// Where a declaration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The vendor says so.
    Documented,
    /// Nobody says so; it is what a user would expect.
    Expected,
}

/// A declaration held against one deployment: conditions decided, parameters filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What is declared for this deployment.
    pub declared: Declared,
    /// Where it comes from.
    pub basis: Basis,
    /// Vendor sentence or page, or why it is not applicable.
    pub source: String,
    /// Parameters that differ from the claim's defaults: windows in seconds, latencies in milliseconds, words.
    pub parameters: BTreeMap<String, Scalar>,
}

impl Resolved {
    fn not_applicable(basis: Basis, reason: String) -> Self {
        Self { declared: Declared::NotApplicable, basis, source: reason, parameters: BTreeMap::new() }
    }
}

/// What conditions are evaluated over.
#[derive(Serialize)]
struct Facts<'a> {
    settings: &'a BTreeMap<String, Scalar>,
    store: &'static str,
    #[serde(rename = "storeScope")]
    store_scope: &'static str,
    sites: usize,
    replicas: u32,
    zones: usize,
    platform: bool,
    autoscale: bool,
    #[serde(rename = "storeFailover")]
    store_failover: bool,
    peering: bool,
}

impl Profile {
    /// What is declared of `claim` for `deployment` under `settings` (the adapter's defaults and the deployment's,
    /// [`crate::adapter::Adapter::settings_of`]). Total: what is not declared, or depends on a setting that is not set,
    /// is not applicable, and `source` says why.
    #[must_use]
    pub fn declared(&self, claim: &ClaimId, deployment: &Deployment, settings: &BTreeMap<String, Scalar>) -> Resolved {
        let Some(declaration) = self.claims.get(claim) else {
            let reason = format!("not declared by profile `{}`", self.name);
            return Resolved::not_applicable(Basis::Documented, reason);
        };
        let declared = match &declaration.declared {
            DeclaredAs::Always(declared) => *declared,
            DeclaredAs::When { condition, then, otherwise } => match is_true(condition, deployment, settings) {
                Ok(true) => *then,
                Ok(false) => *otherwise,
                Err(reason) => return Resolved::not_applicable(declaration.basis, reason),
            },
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in &declaration.parameters {
            let from = if let Scalar::Text(word) = value { yaml::setting_of(word) } else { None };
            let Some(setting) = from else {
                parameters.insert(name.clone(), value.clone());
                continue;
            };
            let Some(set) = settings.get(setting) else {
                let reason = format!("parameter `{name}` is setting `{setting}`, which the deployment does not set");
                return Resolved::not_applicable(declaration.basis, reason);
            };
            parameters.insert(name.clone(), set.clone());
        }
        Resolved { declared, basis: declaration.basis, source: declaration.source.clone(), parameters }
    }
}

/// Whether `condition` is true; why not, if it uses a setting that is not set or cannot be evaluated.
fn is_true(condition: &str, deployment: &Deployment, settings: &BTreeMap<String, Scalar>) -> Result<bool, String> {
    let engine = engine();
    let expression = engine.compile_expression(condition).map_err(|error| why(&error, condition))?;
    let mut used: Vec<String> = expression.undeclared_variables(true).into_iter().collect();
    used.sort();
    for name in used {
        if let Some(setting) = yaml::setting_of(&name)
            && !settings.contains_key(setting)
        {
            return Err(format!("`{condition}` depends on setting `{setting}`, which the deployment does not set"));
        }
    }
    let facts = Facts {
        settings,
        store: match deployment.store.as_ref().map(|store| store.kind) {
            Some(StoreKind::Redis) => "redis",
            Some(StoreKind::Stub) => "stub",
            None => "none",
        },
        store_scope: match deployment.store.as_ref().map(|store| store.scope) {
            Some(StoreScope::Site) => "site",
            Some(StoreScope::Deployment) => "deployment",
            None => "none",
        },
        sites: deployment.sites.len(),
        replicas: deployment.sites.iter().map(|site| site.replicas).fold(0, u32::saturating_add),
        zones: deployment.sites.iter().map(crate::deployment::Site::used_zones).max().unwrap_or_default(),
        platform: deployment.platform.is_some(),
        autoscale: deployment.autoscale().is_some(),
        store_failover: deployment.fails_over(),
        peering: deployment.peering.is_some(),
    };
    let value = expression
        .eval(minijinja::Value::from(minijinja::value::Serde(&facts)))
        .map_err(|error| format!("`{condition}` cannot be decided: {}", why(&error, condition)))?;
    Ok(value.is_true())
}
