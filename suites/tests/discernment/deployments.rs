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
    /// Settings of the gateway that differ between shapes.
    settings: &'static str,
    /// Sites, one line each.
    sites: &'static [&'static str],
    /// Whose the store is; empty: there is none, and the gateways are one group.
    scope: &'static str,
    /// How the store fails over, which only a real Redis does; empty: it does not, and is the stub.
    failover: &'static str,
    /// Its platform, or its analytics; empty for neither.
    platform: &'static str,
    /// Claims that the conforming gateway breaks here, as the deployment's settings say: documented limits.
    pub(crate) limits: &'static [&'static str],
}

impl Shape {
    /// Whether it can only be told where there is a real Redis.
    pub(crate) fn needs_redis(&self) -> bool {
        !self.failover.is_empty()
    }

    /// The deployment with these defects switched on.
    ///
    /// # Errors
    /// If the text below is none.
    pub(crate) fn deployment(&self, defects: Vec<String>) -> Result<Deployment, InputError> {
        let Self { name, settings, scope, failover, platform, .. } = self;
        let sites = self.sites.join("\n  - ");
        let (state, shared) = if scope.is_empty() {
            ("peering", "peering: {failover: 10s}".to_owned())
        } else if failover.is_empty() {
            ("redis", format!("store: {{kind: stub, scope: {scope}}}"))
        } else {
            ("redis", format!("store: {{kind: redis, scope: {scope}, failover: {failover}}}"))
        };
        let text = format!(
            r#"
version: "1.0"
name: {name}
profile: strict
gateway:
  adapter: reference
  settings: {{state: {state}, onStoreLoss: local, {settings}}}
sites:
  - {sites}
controlPlane: {{pollInterval: 5s, ingressTimeout: 30s}}
{shared}
{platform}
quota: {{limit: 100, window: 10s, alignment: first-request}}
"#
        );
        let mut deployment = yaml::parse(self.name, &text)?;
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
        | Needs::KeptConfiguration
        | Needs::ProcessorPressure
        | Needs::Platform => CLUSTER,
        Needs::TwoSites | Needs::SharedStore | Needs::SharedRevocation => SITES,
        Needs::TwoSigning => STRANGERS,
        Needs::TwoClusters => TWINS,
        Needs::ThreeReplicas => THREE,
        Needs::Autoscale => SCALED,
        Needs::StoreFailover => SENTINELS,
        Needs::PeeredContracts | Needs::KeptOutside => PEERED,
        Needs::Introspection => PROVIDER,
        Needs::Cache => CACHE,
        Needs::Analytics => OBSERVED,
        Needs::Peering => GROUP,
    }
}

/// Configurations are on each replica's disk, and nobody keeps contracts.
const DOWNLOADED: &str = "contracts: downloaded, revocation: cluster, keepConfiguration: disk";
/// What follows from that: a wiped disk and a new replica have no configuration, and contracts are away with the control plane.
const LIMITS: &[&str] = &["CFG-02/b", "CFG-02/c", "CON-02"];

/// One cluster with a store of its own, and a platform that puts a new replica in the place of a lost one.
const CLUSTER: Shape = Shape {
    name: "cluster",
    settings: DOWNLOADED,
    sites: &["{name: eu, zones: [a, b], replicas: 2}"],
    scope: "site",
    failover: "",
    platform: "platform: {probePeriod: 10s, probeThreshold: 3, successor: new}",
    limits: LIMITS,
};

/// Two sites with the same signing material and one store.
const SITES: Shape = Shape {
    name: "sites",
    sites: &["{name: eu, zones: [a, b], replicas: 2}", "{name: us, replicas: 1}"],
    scope: "deployment",
    platform: "",
    ..CLUSTER
};

/// Two sites, each with signing material of its own.
const STRANGERS: Shape = Shape {
    name: "strangers",
    sites: &["{name: eu, zones: [a, b], replicas: 2, signing: eu}", "{name: us, replicas: 1, signing: us}"],
    ..SITES
};

/// One cluster that keeps configuration and contracts in its store, so that no replica's disk is needed. No platform runs it.
pub(crate) const PEERED: Shape = Shape {
    name: "peered",
    settings: "contracts: peered, revocation: cluster, keepConfiguration: \"disk,store\"",
    platform: "",
    limits: &["AVL-01", "AVL-03"],
    ..CLUSTER
};

/// One cluster of three replicas: with two, whoever is left takes everything, evenly or not.
const THREE: Shape = Shape { name: "three", sites: &["{name: eu, zones: [a, b, c], replicas: 3}"], ..CLUSTER };

/// One cluster whose platform scales it from two replicas to three. It is never told whole but for what is about that, and a replica more has no
/// configuration while the control plane is away.
const SCALED: Shape = Shape {
    name: "scaled",
    sites: &["{name: eu, zones: [a, b, c], replicas: 2}"],
    platform: "platform: {probePeriod: 10s, autoscale: {maxReplicas: 3, stabilization: 60s}}",
    ..CLUSTER
};

/// One cluster whose store is Redis with a copy and Sentinels.
const SENTINELS: Shape = Shape { name: "sentinels", failover: "{downAfter: 1s}", platform: "", ..CLUSTER };

/// One cluster that asks the identity provider about tokens.
const PROVIDER: Shape = Shape {
    name: "provider",
    settings: "contracts: downloaded, revocation: introspection, keepConfiguration: disk",
    platform: "",
    ..CLUSTER
};

/// One cluster that keeps responses in its store, as RFC 9111 has it.
const CACHE: Shape = Shape {
    name: "cache",
    settings: "contracts: downloaded, revocation: cluster, keepConfiguration: disk, cache: shared",
    platform: "",
    ..CLUSTER
};

/// Two sites with two replicas each, each with a store of its own.
const TWINS: Shape = Shape {
    name: "twins",
    sites: &["{name: eu, zones: [a, b], replicas: 2}", "{name: us, zones: [a, b], replicas: 2}"],
    platform: "",
    ..CLUSTER
};

/// Two sites with one replica and analytics each. What a full buffer loses is lost.
const OBSERVED: Shape = Shape {
    name: "observed",
    sites: &["{name: eu, replicas: 1}", "{name: us, replicas: 1}"],
    platform: "analytics: {bufferEvents: 200, batchEvents: 20, flushInterval: 5s}",
    limits: &["CFG-02/b", "CFG-02/c", "CON-02", "ANA-02/b"],
    ..CLUSTER
};

/// Two sites whose gateways are one group: the first alone has a quorum. No platform runs it.
const GROUP: Shape = Shape {
    name: "group",
    settings: "contracts: downloaded, revocation: peering, keepConfiguration: disk",
    sites: &["{name: eu, replicas: 3}", "{name: us, replicas: 2}"],
    scope: "",
    failover: "",
    platform: "",
    limits: &["CFG-02/b", "CFG-02/c", "CON-02", "AVL-01", "AVL-03"],
};
