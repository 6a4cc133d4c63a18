//! Which components a deployment has, and who dials whom: pure.

use crate::probe::Protocol;
use crate::runtime::{Program, RedisAs};
use gatecrash_model::adapter::{Adapter, PEER_PORT};
use gatecrash_model::deployment::{
    CALIBRATION, CLIENT, CONTROL_PLANE, Deployment, IDENTITY, PLATFORM, STORE_PEERS, Site,
};
use gatecrash_model::fixture::Role;
use std::collections::BTreeSet;

/// Port that fixtures listen on.
pub(super) const FIXTURE_PORT: u16 = 8080;
/// Port of stores.
pub(super) const STORE_PORT: u16 = 6379;
/// Port of Sentinels.
pub(super) const SENTINEL_PORT: u16 = 26_379;

/// A link: who dials whom, on which port. Two ports of one component have two links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkKey {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) port: u16,
}

impl LinkKey {
    pub(super) fn new(from: &str, to: &str, port: u16) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), port }
    }

    pub(super) fn protocol(&self) -> Protocol {
        if [STORE_PORT, SENTINEL_PORT].contains(&self.port) { Protocol::Resp } else { Protocol::Http }
    }
}

/// A component that is no gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Support {
    pub(super) name: String,
    pub(super) site: String,
    pub(super) program: Program,
}

/// Everything but the gateways: stores, upstreams, control plane, identity, ingresses.
pub(super) fn support(deployment: &Deployment, redis: bool) -> Vec<Support> {
    let fixture =
        |name: String, site: &str, role| Support { name, site: site.to_owned(), program: Program::Fixture(role) };
    let store = || if redis { Program::Redis(RedisAs::Alone) } else { Program::Fixture(Role::Store) };
    let mut all =
        vec![fixture(IDENTITY.to_owned(), "", Role::Identity), fixture(CALIBRATION.to_owned(), "", Role::Ingress)];
    if deployment.control_plane.is_some() {
        all.push(fixture(CONTROL_PLANE.to_owned(), "", Role::ControlPlane));
    }
    for site in &deployment.sites {
        all.push(fixture(site.upstream(), &site.name, Role::Upstream));
        all.push(fixture(site.ingress(), &site.name, Role::Ingress));
        if deployment.site_store {
            all.push(fixture(site.site_store(), &site.name, Role::SiteStore));
        }
        if deployment.analytics.is_some() {
            all.push(fixture(site.analytics(), &site.name, Role::Analytics));
        }
        if deployment.control_plane.is_some() {
            all.push(fixture(site.management_ingress(), &site.name, Role::Ingress));
        }
    }
    all.extend(stores(deployment).into_iter().map(|name| Support { name, site: String::new(), program: store() }));
    all
}

/// The nodes of all stores.
pub(super) fn stores(deployment: &Deployment) -> BTreeSet<String> {
    deployment.sites.iter().flat_map(|site| deployment.store_nodes_of(&site.name)).collect()
}

/// The Sentinels of all stores.
pub(super) fn sentinels(deployment: &Deployment) -> BTreeSet<String> {
    deployment.sites.iter().flat_map(|site| deployment.sentinels_of(&site.name)).collect()
}

/// The links over which nodes and Sentinels of stores reach each other; none where no store fails over.
pub(super) fn store_peers(deployment: &Deployment) -> Vec<LinkKey> {
    if !deployment.fails_over() {
        return Vec::new();
    }
    let nodes = stores(deployment).into_iter().map(|node| LinkKey::new(STORE_PEERS, &node, STORE_PORT));
    let sentinels =
        sentinels(deployment).into_iter().map(|sentinel| LinkKey::new(STORE_PEERS, &sentinel, SENTINEL_PORT));
    nodes.chain(sentinels).collect()
}

/// Links that do not depend on a replica.
pub(super) fn support_links(deployment: &Deployment) -> Vec<LinkKey> {
    let mut all = vec![LinkKey::new(CLIENT, CALIBRATION, FIXTURE_PORT), LinkKey::new(CLIENT, IDENTITY, FIXTURE_PORT)];
    all.extend(calibrated(deployment));
    all.extend(store_peers(deployment));
    for site in &deployment.sites {
        all.push(LinkKey::new(CLIENT, &site.ingress(), FIXTURE_PORT));
        if deployment.control_plane.is_some() {
            all.push(LinkKey::new(&site.management_ingress(), CONTROL_PLANE, FIXTURE_PORT));
        }
    }
    all
}

/// The link from the calibration's forwarder to its upstream.
pub(super) fn calibrated(deployment: &Deployment) -> Option<LinkKey> {
    deployment.sites.first().map(|site| LinkKey::new(CALIBRATION, &site.upstream(), FIXTURE_PORT))
}

/// Links of one replica: those that lead to it, the platform's among them if it acts, and those that it dials.
pub(super) fn replica_links(
    deployment: &Deployment,
    adapter: &Adapter,
    site: &Site,
    replica: &str,
    platform: bool,
) -> Vec<LinkKey> {
    let data = data_port(adapter);
    let ready = ready_port(adapter);
    let mut all = vec![LinkKey::new(CLIENT, replica, data), LinkKey::new(&site.ingress(), replica, data)];
    if ready != data {
        all.push(LinkKey::new(&site.ingress(), replica, ready));
    }
    if platform {
        all.push(LinkKey::new(PLATFORM, replica, data));
    }
    all.push(LinkKey::new(replica, &site.upstream(), FIXTURE_PORT));
    if let Some(upstream) = remote_upstream(deployment, site) {
        all.push(LinkKey::new(replica, &upstream, FIXTURE_PORT));
    }
    all.push(LinkKey::new(replica, IDENTITY, FIXTURE_PORT));
    all.extend(peers(deployment, adapter, replica));
    let nodes = deployment.store_nodes_of(&site.name).into_iter();
    all.extend(nodes.map(|node| LinkKey::new(replica, &node, STORE_PORT)));
    let sentinels = deployment.sentinels_of(&site.name).into_iter();
    all.extend(sentinels.map(|sentinel| LinkKey::new(replica, &sentinel, SENTINEL_PORT)));
    if deployment.site_store {
        all.push(LinkKey::new(replica, &site.site_store(), FIXTURE_PORT));
    }
    if deployment.analytics.is_some() {
        all.push(LinkKey::new(replica, &site.analytics(), FIXTURE_PORT));
        all.extend(other_analytics(deployment, site).map(|other| LinkKey::new(replica, &other, FIXTURE_PORT)));
    }
    if deployment.control_plane.is_some() {
        all.push(LinkKey::new(replica, &site.management_ingress(), FIXTURE_PORT));
    }
    all
}

/// The links over which a replica dials the voters of the group that the gateways are, but for itself.
pub(super) fn peers(deployment: &Deployment, adapter: &Adapter, replica: &str) -> Vec<LinkKey> {
    let Some(port) = adapter.ports.get(PEER_PORT) else { return Vec::new() };
    let others = deployment.voters().into_iter().filter(|voter| voter != replica);
    others.map(|voter| LinkKey::new(replica, &voter, *port)).collect()
}

/// The upstream of the next site, if there is a route whose backend it is.
pub(super) fn remote_upstream(deployment: &Deployment, site: &Site) -> Option<String> {
    deployment.remote_route()?;
    deployment.next_site(&site.name).map(Site::upstream)
}

/// The analytics that a gateway of `site` could mistake for its own: those of the first other site. Who tells them anything is seen.
pub(super) fn other_analytics(deployment: &Deployment, site: &Site) -> Option<String> {
    let other = deployment.sites.iter().find(|other| other.name != site.name)?;
    deployment.analytics.as_ref().map(|_| other.analytics())
}

/// Port of the gateway's data listener.
pub(super) fn data_port(adapter: &Adapter) -> u16 {
    adapter.ports.get("data").copied().unwrap_or(FIXTURE_PORT)
}

/// Port of its readiness.
pub(super) fn ready_port(adapter: &Adapter) -> u16 {
    adapter.ports.get(&adapter.ready.port).copied().unwrap_or_else(|| data_port(adapter))
}
