//! On which deployment does a defect show? As few and as small ones as the table's needs allow, so that each has one
//! conforming twin whose runs are shared.

use gatecrash_fixtures::expected::Needs;
use gatecrash_model::Deployment;
use gatecrash_model::deployment::yaml;
use gatecrash_model::input::InputError;

/// A deployment of the reference gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Name.
    pub(crate) name: &'static str,
    yaml: &'static str,
    /// Claims that the conforming gateway breaks here, as the deployment's settings say: documented limits.
    pub(crate) limits: &'static [&'static str],
}

impl Shape {
    /// The deployment with these defects switched on.
    ///
    /// # Errors
    /// If the text above is none.
    pub(crate) fn deployment(&self, defects: Vec<String>) -> Result<Deployment, InputError> {
        let mut deployment = yaml::parse(self.name, self.yaml)?;
        deployment.gateway.defects = defects;
        Ok(deployment)
    }
}

/// The deployment for what a defect needs.
pub(crate) fn shape(needs: Needs) -> Shape {
    match needs {
        Needs::Any
        | Needs::SharedState
        | Needs::StoreLoss
        | Needs::Revocation
        | Needs::Contracts
        | Needs::KeptConfiguration => CLUSTER,
        Needs::TwoSites | Needs::SharedStore | Needs::SharedRevocation => SITES,
        Needs::TwoSigning => STRANGERS,
        Needs::TwoClusters => TWINS,
        Needs::PeeredContracts | Needs::KeptOutside => PEERED,
    }
}

/// One cluster with shared state, a configuration on each replica's disk, and contracts that nobody keeps.
const CLUSTER: Shape = Shape {
    name: "cluster",
    yaml: r#"
version: "1.0"
name: cluster
profile: strict
gateway:
  adapter: reference
  settings: {state: redis, contracts: downloaded, revocation: cluster, onStoreLoss: local, keepConfiguration: disk}
sites:
  - {name: eu, zones: [a, b], replicas: 2}
controlPlane: {pollInterval: 5s, ingressTimeout: 30s}
store: {kind: stub, scope: site}
quota: {limit: 100, window: 10s, alignment: first-request}
"#,
    // A wiped disk and a new replica have no configuration; nobody keeps contracts.
    limits: &["CFG-02/b", "CFG-02/c", "CON-02"],
};

/// Two sites with the same signing material and one store.
const SITES: Shape = Shape {
    name: "sites",
    yaml: r#"
version: "1.0"
name: sites
profile: strict
gateway:
  adapter: reference
  settings: {state: redis, contracts: downloaded, revocation: cluster, onStoreLoss: local, keepConfiguration: disk}
sites:
  - {name: eu, zones: [a, b], replicas: 2}
  - {name: us, replicas: 1}
controlPlane: {pollInterval: 5s, ingressTimeout: 30s}
store: {kind: stub, scope: deployment}
quota: {limit: 100, window: 10s, alignment: first-request}
"#,
    limits: &["CFG-02/b", "CFG-02/c", "CON-02"],
};

/// Two sites, each with signing material of its own.
const STRANGERS: Shape = Shape {
    name: "strangers",
    yaml: r#"
version: "1.0"
name: strangers
profile: strict
gateway:
  adapter: reference
  settings: {state: redis, contracts: downloaded, revocation: cluster, onStoreLoss: local, keepConfiguration: disk}
sites:
  - {name: eu, zones: [a, b], replicas: 2, signing: eu}
  - {name: us, replicas: 1, signing: us}
controlPlane: {pollInterval: 5s, ingressTimeout: 30s}
store: {kind: stub, scope: deployment}
quota: {limit: 100, window: 10s, alignment: first-request}
"#,
    limits: &["CFG-02/b", "CFG-02/c", "CON-02"],
};

/// One cluster that keeps configuration and contracts in its store, so that no replica's disk is needed.
const PEERED: Shape = Shape {
    name: "peered",
    yaml: r#"
version: "1.0"
name: peered
profile: strict
gateway:
  adapter: reference
  settings: {state: redis, contracts: peered, revocation: cluster, onStoreLoss: local, keepConfiguration: "disk,store"}
sites:
  - {name: eu, zones: [a, b], replicas: 2}
controlPlane: {pollInterval: 5s, ingressTimeout: 30s}
store: {kind: stub, scope: site}
quota: {limit: 100, window: 10s, alignment: first-request}
"#,
    limits: &[],
};

/// Two sites with two replicas each, each with a store of its own.
const TWINS: Shape = Shape {
    name: "twins",
    yaml: r#"
version: "1.0"
name: twins
profile: strict
gateway:
  adapter: reference
  settings: {state: redis, contracts: downloaded, revocation: cluster, onStoreLoss: local, keepConfiguration: disk}
sites:
  - {name: eu, zones: [a, b], replicas: 2}
  - {name: us, zones: [a, b], replicas: 2}
controlPlane: {pollInterval: 5s, ingressTimeout: 30s}
store: {kind: stub, scope: site}
quota: {limit: 100, window: 10s, alignment: first-request}
"#,
    limits: &["CFG-02/b", "CFG-02/c", "CON-02"],
};
