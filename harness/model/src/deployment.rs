//! What is under test, checked: sites, zones, replicas, control plane, shared state, routes.
//! After parsing there is no invalid one: [`yaml`] holds the form as written, its limits and the one conversion.

pub mod yaml;

use crate::profile::Scalar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A deployment under test. Made by [`yaml::parse`] only, which checks every field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    /// Its name: letters, digits and dashes, 1 to 40.
    pub name: String,
    /// Profile: the name of one that comes with gatecrash, or a path (relative to the deployment file) ending in `.yaml`.
    pub profile: String,
    /// Gateway product and its settings.
    pub gateway: Gateway,
    /// 1 to 8 sites with distinct names.
    pub sites: Vec<Site>,
    /// Control plane and how it is reached; `None` if the gateway has none.
    #[serde(default)]
    pub control_plane: Option<ControlPlane>,
    /// Shared state; `None` if replicas share none.
    #[serde(default)]
    pub store: Option<Store>,
    /// The group that the gateways of all sites are among themselves, which keeps their shared state; `None` if they are none.
    #[serde(default)]
    pub peering: Option<Peering>,
    /// Whether sites have a configuration store of their own (the private space's Kubernetes service of Flex).
    #[serde(default)]
    pub site_store: bool,
    /// The platform that runs the replicas and replaces one that is lost; `None`: nobody does.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Where gateways tell of each call, one for each site; `None`: nobody is told.
    #[serde(default)]
    pub analytics: Option<Analytics>,
    /// 1 to 32 routes with distinct names and paths.
    pub routes: Vec<Route>,
    /// The quota of routes with the `quota` policy.
    pub quota: Quota,
}

/// The gateway under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Adapter: the name of one that comes with gatecrash (`reference`, `envoy`), or a path ending in `.yaml`.
    pub adapter: String,
    /// Settings that the adapter declares (for the reference gateway: `contracts`, `revocation`, `onStoreLoss`, ...).
    #[serde(default)]
    pub settings: BTreeMap<String, Scalar>,
    /// Defects to switch on; only the reference gateway has any.
    #[serde(default)]
    pub defects: Vec<String>,
}

/// One site: a cluster of gateway replicas behind an ingress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// Its name: letters, digits and dashes, 1 to 20.
    pub name: String,
    /// Its zones, 1 to 8; replicas are spread over them in turn.
    pub zones: Vec<String>,
    /// Replicas at the start, 1 to 64; they are called `<site>-1`, `<site>-2`, ...
    pub replicas: u32,
    /// Name of the token signing material; sites with the same name accept each other's tokens.
    pub signing: String,
}

/// The control plane (manager, Anypoint, ...), as the mock that we run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlane {
    /// How often a replica asks for a new configuration and contracts. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub poll_interval: Duration,
    /// Timeout of the ingress between gateway and control plane (I5, I6: 30 s). Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub ingress_timeout: Duration,
}

/// Shared state of the replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Store {
    /// What runs.
    pub kind: StoreKind,
    /// One for each site, or one for all.
    pub scope: StoreScope,
    /// How it fails over; `None`: what is lost is lost until it is back. Only Redis does, and only in the stories that are about it: in all others it
    /// is one node.
    #[serde(default)]
    pub failover: Option<StoreFailover>,
}

/// A store of two Redis nodes, of which the second has a copy of the first, and of three Sentinels, which decide by majority when the first is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreFailover {
    /// How long a node must be silent until a Sentinel holds it to be lost. Never scaled: what Sentinels do beside has times of its own.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub down_after: Duration,
}

/// What Sentinels call the nodes that they watch.
pub const SENTINEL_MASTER: &str = "store";
/// Name that nodes and Sentinels of stores have as the dialling end of a link: each is reached by all others over one of its own.
pub const STORE_PEERS: &str = "store-peers";
/// Sentinels of a store that fails over: the fewest of which one may be lost.
const SENTINELS: u32 = 3;

/// Which store runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// Real Redis; in `process` without a `redis-server` on PATH the stub stands in, and the report says so.
    Redis,
    /// The stub that speaks Redis' protocol and can misbehave.
    Stub,
}

/// Who shares a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StoreScope {
    /// Each site has its own: `<site>-store`.
    Site,
    /// All sites share one: `store`.
    Deployment,
}

/// Shared state that the gateways keep themselves: all replicas of all sites are the voters of one group, and what more than half of
/// them have is decided. See [`crate::quorum`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peering {
    /// How long nothing is heard of a primary until the others choose another one. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub failover: Duration,
}

impl Peering {
    /// How long gateways that are all ready may take until they have chosen their first primary. Before, each decides alone.
    #[must_use]
    pub fn formed_within(&self) -> Duration {
        self.failover.saturating_mul(2)
    }
}

/// What runs the replicas, as a cloud does: it probes each of them, and puts another one in the place of one that is dead or hung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// How often each replica is looked at. One whose process has ended is replaced at the next look. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub probe_period: Duration,
    /// How long a probe may take, at most the period. Scaled, but never less than half a second.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub probe_timeout: Duration,
    /// So many failed probes in a row make a replica count as hung: it is killed and replaced. 1 to 100.
    pub probe_threshold: u32,
    /// Who comes in the place of a lost replica.
    pub successor: Successor,
    /// How it adds replicas when they are busy, and takes them away again; `None`: each site keeps as many as it starts with.
    #[serde(default)]
    pub autoscale: Option<Autoscale>,
}

/// How a platform scales the replicas of a site by the processor time that they use, as a Kubernetes horizontal pod autoscaler does:
/// `wanted = ceil(replicas * used / target)`, between the number at the start and a maximum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscale {
    /// Replicas of a site at most: no fewer than any site starts with, and at most 64. Never scaled.
    pub max_replicas: u32,
    /// What share of its request a replica is to use on average, in percent, 1 to 100. Never scaled.
    pub cpu_percent: u32,
    /// What a replica requests, in thousandths of a core, 10 to 64,000. Never scaled.
    pub cpu_request_millicores: u32,
    /// How often it is decided. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub period: Duration,
    /// Fewer replicas must have been enough for so long before one is taken away. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub stabilization: Duration,
}

/// Who comes in the place of a lost replica, in its zone in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Successor {
    /// The same name with its disk, as a pod of a `StatefulSet`.
    Same,
    /// A new name with an empty disk, as a pod of a `Deployment`: whatever the lost one kept for itself is lost with it.
    New,
}

/// Analytics: each site has one of its own, and its gateways tell it of each call that they answered, in batches and never while a
/// request waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Analytics {
    /// Calls that a replica keeps at most for an analytics that does not take them, 1 to 1,000,000; beyond that the oldest are lost. Never scaled.
    pub buffer_events: u32,
    /// Calls in one message at most, 1 to 10,000 and no more than `bufferEvents`. Never scaled.
    pub batch_events: u32,
    /// How long a call waits at most until it is sent. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub flush_interval: Duration,
}

/// A route of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Path prefix, beginning with `/`.
    pub path: String,
    /// Policies in the order in which they run; none: the route is open.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// Whose upstream its requests go to. A deployment's own routes are local; see [`Deployment::with_remote_route`].
    #[serde(default, skip_serializing_if = "RouteBackend::is_local")]
    #[schemars(skip)]
    pub backend: RouteBackend,
}

/// Whose upstream a route's requests go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteBackend {
    /// That of the site that the request entered.
    #[default]
    Local,
    /// That of the site next to it ([`Deployment::next_site`]).
    Remote,
}

impl RouteBackend {
    /// Whether it is the own site's. (By reference: serde asks that way.)
    #[must_use]
    pub fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// A policy of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A bearer JWT is required.
    Jwt,
    /// A client id and secret with a contract are required (headers `client_id` and `client_secret`).
    ClientId,
    /// Requests are counted by client and limited by the deployment's quota.
    Quota,
    /// One that no gateway can build: published on purpose by an experiment (SEC-02), never part of a deployment.
    #[schemars(skip)]
    Unbuildable,
}

/// A quota: so many requests in a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Requests in a window, 1 to 1,000,000. Never scaled.
    pub limit: u32,
    /// Window. Scaled.
    #[serde(with = "yaml::duration_ms")]
    #[schemars(with = "u64")]
    pub window: Duration,
    /// Where windows begin.
    pub alignment: WindowAlignment,
}

/// Where quota windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WindowAlignment {
    /// At the first request of a key after the last window (Flex).
    FirstRequest,
    /// At multiples of the window since the epoch (Kong).
    Calendar,
    /// A token bucket (Envoy's local rate limit): at most 2Q in any window.
    TokenBucket,
}

impl Site {
    /// Names of its replicas at the start: `<site>-1`, ...
    #[must_use]
    pub fn replica_names(&self) -> Vec<String> {
        (1..=self.replicas).map(|index| format!("{}-{index}", self.name)).collect()
    }

    /// Zone of replica number `index` (from 1).
    #[must_use]
    pub fn zone_of(&self, index: u32) -> &str {
        let zones = self.zones.len().max(1);
        let at = usize::try_from(index.saturating_sub(1)).unwrap_or_default().checked_rem(zones).unwrap_or_default();
        self.zones.get(at).map_or("", String::as_str)
    }

    /// How many of its zones have a replica at the start.
    #[must_use]
    pub fn used_zones(&self) -> usize {
        self.zones.len().min(usize::try_from(self.replicas).unwrap_or(usize::MAX))
    }

    /// Name of its ingress.
    #[must_use]
    pub fn ingress(&self) -> String {
        format!("{}-ingress", self.name)
    }

    /// Name of its upstream.
    #[must_use]
    pub fn upstream(&self) -> String {
        format!("{}-upstream", self.name)
    }

    /// Name of its configuration store.
    #[must_use]
    pub fn site_store(&self) -> String {
        format!("{}-config", self.name)
    }

    /// Name of its analytics.
    #[must_use]
    pub fn analytics(&self) -> String {
        format!("{}-analytics", self.name)
    }

    /// Name of the ingress between its gateways and the control plane.
    #[must_use]
    pub fn management_ingress(&self) -> String {
        format!("{}-management", self.name)
    }
}

/// Name of the control plane component.
pub const CONTROL_PLANE: &str = "control-plane";
/// Name of the identity provider component.
pub const IDENTITY: &str = "identity";
/// Name of the component that forwards calibration requests to an upstream: a path that no fault touches.
pub const CALIBRATION: &str = "calibration";
/// Name that the harness has as the dialling end of a link.
pub const CLIENT: &str = "client";
/// Name that the platform has as the dialling end of a link: its probes of data ports go over links of their own.
pub const PLATFORM: &str = "platform";

impl Deployment {
    /// The site called `name`.
    #[must_use]
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// Whether one store serves all sites.
    #[must_use]
    pub fn shares_store(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.scope == StoreScope::Deployment)
    }

    /// Name of the store that replicas of `site` use; `None` if there is none.
    #[must_use]
    pub fn store_of(&self, site: &str) -> Option<String> {
        self.store.as_ref().map(|store| match store.scope {
            StoreScope::Site => format!("{site}-store"),
            StoreScope::Deployment => "store".to_owned(),
        })
    }

    /// Names of the nodes of the store that replicas of `site` use, the first primary first; none without a store, one that does not fail over is its only one.
    #[must_use]
    pub fn store_nodes_of(&self, site: &str) -> Vec<String> {
        let Some(store) = self.store_of(site) else { return Vec::new() };
        let second = self.fails_over().then(|| format!("{store}-2"));
        std::iter::once(store).chain(second).collect()
    }

    /// Names of the Sentinels of the store that replicas of `site` use; none if it does not fail over.
    #[must_use]
    pub fn sentinels_of(&self, site: &str) -> Vec<String> {
        let store = self.store_of(site).filter(|_| self.fails_over());
        store.iter().flat_map(|store| (1..=SENTINELS).map(move |number| format!("{store}-sentinel-{number}"))).collect()
    }

    /// Whether its stores fail over.
    #[must_use]
    pub fn fails_over(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.failover.is_some())
    }

    /// How its platform scales; `None` if it has none, or one that does not.
    #[must_use]
    pub fn autoscale(&self) -> Option<&Autoscale> {
        self.platform.as_ref().and_then(|platform| platform.autoscale.as_ref())
    }

    /// The voters of the group of gateways, in order of site and number; none without `peering`.
    #[must_use]
    pub fn voters(&self) -> Vec<String> {
        let sites = self.peering.iter().flat_map(|_| &self.sites);
        sites.flat_map(Site::replica_names).collect()
    }

    /// The first route that has all of `with` and none of `without`.
    #[must_use]
    pub fn route_with(&self, with: &[Policy], without: &[Policy]) -> Option<&Route> {
        self.routes.iter().find(|route| {
            with.iter().all(|policy| route.policies.contains(policy))
                && without.iter().all(|policy| !route.policies.contains(policy))
        })
    }

    /// The site next to the one called `name`, and after the last the first; `None` if there is no other.
    #[must_use]
    pub fn next_site(&self, name: &str) -> Option<&Site> {
        let at = self.sites.iter().position(|site| site.name == name)?;
        self.sites.iter().cycle().nth(at.saturating_add(1)).filter(|next| next.name != name)
    }

    /// The route whose backend is in another site; `None` if there is none.
    #[must_use]
    pub fn remote_route(&self) -> Option<&Route> {
        self.routes.iter().find(|route| route.backend == RouteBackend::Remote)
    }

    /// The deployment with one route more, the last, whose backend is in another site: guarded as its plain route is, under a name and a path
    /// of its own. The same deployment if it has one site.
    #[must_use]
    pub fn with_remote_route(mut self) -> Self {
        if self.sites.len() < 2 {
            return self;
        }
        let others = [Policy::ClientId, Policy::Quota];
        let plain = self.route_with(&[Policy::Jwt], &others).or_else(|| self.route_with(&[], &others));
        let policies = plain.map(|route| route.policies.clone()).unwrap_or_default();
        let taken = |name: &str| self.routes.iter().any(|route| route.name == name || route.path == format!("/{name}"));
        let name = std::iter::once("remote".to_owned())
            .chain((2_u32..).map(|number| format!("remote-{number}")))
            .find(|name| !taken(name))
            .unwrap_or_default();
        let path = format!("/{name}");
        self.routes.push(Route { name, path, policies, backend: RouteBackend::Remote });
        self
    }

    /// All durations multiplied by `scale`; counts, rates and quotas stay.
    #[must_use]
    pub fn scaled(&self, scale: f64) -> Self {
        let mut scaled = self.clone();
        let by = |duration: Duration| Duration::try_from_secs_f64(duration.as_secs_f64() * scale).unwrap_or(duration);
        scaled.quota.window = by(self.quota.window);
        if let Some(control_plane) = &mut scaled.control_plane {
            control_plane.poll_interval = by(control_plane.poll_interval);
            control_plane.ingress_timeout = by(control_plane.ingress_timeout);
        }
        if let Some(peering) = &mut scaled.peering {
            peering.failover = by(peering.failover);
        }
        if let Some(platform) = &mut scaled.platform {
            platform.probe_period = by(platform.probe_period);
            platform.probe_timeout = by(platform.probe_timeout);
            if let Some(autoscale) = &mut platform.autoscale {
                autoscale.period = by(autoscale.period);
                autoscale.stabilization = by(autoscale.stabilization);
            }
        }
        if let Some(analytics) = &mut scaled.analytics {
            analytics.flush_interval = by(analytics.flush_interval);
        }
        scaled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(sites: &str, routes: &str) -> Deployment {
        let text =
            format!("version: \"1.0\"\nname: edge\nprofile: a\ngateway: {{adapter: x}}\nsites: [{sites}]\n{routes}");
        yaml::parse("edge.yaml", &text).unwrap_or_else(|error| panic!("{error}"))
    }

    const SITES: &str = "{name: eu, replicas: 1}, {name: us, replicas: 1}, {name: asia, replicas: 1}";

    #[test]
    fn sites_are_next_to_each_other_in_a_ring() {
        let three = deployment(SITES, "");
        let next = |name| three.next_site(name).map(|site| site.name.as_str());
        assert_eq!([next("eu"), next("us"), next("asia"), next("mars")], [Some("us"), Some("asia"), Some("eu"), None]);
        assert_eq!(deployment("{name: eu, replicas: 1}", "").next_site("eu"), None);
    }

    #[test]
    fn the_remote_route_is_guarded_as_the_plain_one_under_a_name_that_is_free() {
        let whole = deployment(SITES, "").with_remote_route();
        let remote = whole.remote_route().unwrap();
        assert_eq!((remote.name.as_str(), remote.path.as_str()), ("remote", "/remote"));
        assert_eq!(remote.policies, [Policy::Jwt]);
        let routes = "routes: [{name: remote, path: /a}, {name: b, path: /remote-2}]\n";
        let taken = deployment(SITES, routes).with_remote_route();
        assert_eq!(taken.remote_route().map(|route| route.path.as_str()), Some("/remote-3"));
        assert_eq!(taken.routes.len(), 3);
        assert_eq!(taken.remote_route().map(|route| route.policies.len()), Some(0));
    }

    #[test]
    fn one_site_has_no_remote_route_and_local_ones_do_not_name_their_backend() {
        let one = deployment("{name: eu, replicas: 1}", "").with_remote_route();
        assert_eq!(one.remote_route(), None);
        assert!(!serde_json::to_string(&one.routes).unwrap().contains("backend"));
        let whole = deployment(SITES, "").with_remote_route();
        let text = serde_json::to_string(&whole.routes).unwrap();
        assert!(text.contains(r#""backend":"remote""#), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Route>>(&text).unwrap(), whole.routes);
    }
}
