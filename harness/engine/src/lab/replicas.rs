//! Gateway replicas: started from what the adapter renders, watched, killed, restarted, added.

use super::bring_up::spawn_program;
use super::secrets::{AUDIENCE, ISSUER, gateway_client, signing_secret};
use super::topology::{self, FIXTURE_PORT, LinkKey, SENTINEL_PORT, STORE_PORT};
use super::traffic::Traffic;
use super::{Lab, LabError, Running};
use crate::link::Link;
use crate::runtime::{Component, Signal, State as RunState, files};
use gatecrash_model::adapter::render::{Context, LinkContext, PeerContext, ReplicaContext};
use gatecrash_model::deployment::{CLIENT, IDENTITY, Site};
use gatecrash_model::fault::{LinkId, ReplicaFault};
use gatecrash_model::history::{EventKind, ReplicaState};
use gatecrash_model::profile::Scalar;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// A gateway replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its name: `eu-1`.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its zone.
    pub zone: String,
    /// Its number in the site, from 1.
    pub index: u32,
}

/// What becomes of the local disk at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It stays.
    Keep,
    /// It is emptied while the replica is down.
    Wiped,
}

/// A replica and what belongs to it.
pub(super) struct Entry {
    pub(super) replica: Replica,
    pub(super) settings: BTreeMap<String, Scalar>,
    streams: Vec<Traffic>,
}

/// How often the readiness of each replica is asked for.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// How often a wait asks.
const POLL_EVERY: Duration = Duration::from_millis(4);
/// How often a wait asks the runtime whether the component still runs: in containers each question goes to the engine.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one readiness probe may take.
const PROBE_WITHIN: Duration = Duration::from_millis(1000);

impl Lab {
    /// The replicas that there are now, in order of site and number.
    #[must_use]
    pub fn replicas(&self) -> Vec<Replica> {
        self.state().replicas.iter().map(|entry| entry.replica.clone()).collect()
    }

    /// The replicas of one site.
    #[must_use]
    pub fn replicas_of(&self, site: &str) -> Vec<Replica> {
        self.replicas().into_iter().filter(|replica| replica.site == site).collect()
    }

    /// Opens the links of a replica and enters it into the lab; does not start it.
    pub(super) async fn enter(
        &self,
        site: &Site,
        index: u32,
        zone: &str,
        settings: BTreeMap<String, Scalar>,
    ) -> Result<Replica, LabError> {
        let replica =
            Replica { name: format!("{}-{index}", site.name), site: site.name.clone(), zone: zone.to_owned(), index };
        let platform = self.has_platform();
        let keys = topology::replica_links(self.deployment(), self.adapter(), site, &replica.name, platform);
        self.open_links(keys).await?;
        let entry = Entry { replica: replica.clone(), settings, streams: Vec::new() };
        let mut state = self.state();
        state.replicas.push(entry);
        state.replicas.sort_by(|a, b| (&a.replica.site, a.replica.index).cmp(&(&b.replica.site, b.replica.index)));
        Ok(replica)
    }

    pub(super) async fn open_links(&self, keys: Vec<LinkKey>) -> Result<(), LabError> {
        let data = topology::data_port(self.adapter());
        let opened = keys.into_iter().map(|key| async move {
            // Two ports of one component have links of their own; the second names its port.
            let second = key.port != data && ![FIXTURE_PORT, STORE_PORT, SENTINEL_PORT].contains(&key.port);
            let to = if second { format!("{}:{}", key.to, key.port) } else { key.to.clone() };
            // Until the component runs its link leads nowhere; where it will live is known in `process` only.
            let target = match self.address_of(&key.to) {
                Ok(address) => SocketAddr::new(address, key.port),
                Err(_) => SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 1),
            };
            let link =
                self.inner.kit.links.open(LinkId::new(&key.from, &to), self.inner.network.gateway, target).await?;
            Ok::<(LinkKey, Link), LabError>((key, link))
        });
        let opened = futures::future::try_join_all(opened).await?;
        self.state().links.extend(opened);
        Ok(())
    }

    /// Tells every link to `name` where it lives now.
    pub(super) fn moved(&self, name: &str, address: std::net::IpAddr) {
        let started_at = self.now();
        let mut state = self.state();
        state.components.insert(name.to_owned(), Running { address, started_at });
        for (key, link) in &state.links {
            if key.to == name {
                link.set_target(SocketAddr::new(address, key.port));
            }
        }
    }

    fn component(&self, replica: &Replica) -> Result<Component, LabError> {
        let (overrides, signing) = {
            let state = self.state();
            let entry = state.replicas.iter().find(|entry| entry.replica.name == replica.name);
            let overrides = entry.map(|entry| entry.settings.clone()).unwrap_or_default();
            (overrides, state.signing.get(&replica.site).cloned().unwrap_or_default())
        };
        let adapter = self.adapter();
        let placement = self.inner.kit.runtime.place(&self.inner.network, &replica.name);
        let mut settings: BTreeMap<String, Scalar> = adapter
            .settings
            .iter()
            .filter_map(|(name, setting)| setting.default.clone().map(|value| (name.clone(), value)))
            .collect();
        settings.extend(self.deployment().gateway.settings.clone());
        settings.extend(self.inner.options.settings.clone());
        settings.extend(overrides);
        let context = Context {
            replica: ReplicaContext {
                name: replica.name.clone(),
                site: replica.site.clone(),
                zone: replica.zone.clone(),
                index: replica.index,
            },
            listen: placement.listen.to_string(),
            ports: adapter.ports.clone(),
            files: placement.files,
            disk: placement.disk,
            link: self.link_context(replica),
            peers: self.peer_contexts(&replica.name),
            deployment: self.deployment(),
            settings,
            defects: self.deployment().gateway.defects.clone(),
            signing_secret: signing_secret(self.inner.kit.seed, &signing),
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            clients: self.clients().iter().filter(|client| !client.id.starts_with("outsider")).cloned().collect(),
            gateway_client: gateway_client(self.inner.kit.seed),
            tools: self.inner.kit.tools.clone(),
            here: adapter.folder.clone(),
            scale: self.scale(),
        };
        spawn_program(adapter, &context, self.inner.kit.runtime.name()).map_err(|why| LabError::Render {
            adapter: adapter.name.clone(),
            replica: replica.name.clone(),
            why,
        })
    }

    fn link_context(&self, replica: &Replica) -> BTreeMap<String, LinkContext> {
        let Some(site) = self.deployment().site(&replica.site) else { return BTreeMap::new() };
        let mut roles =
            vec![("upstream", site.upstream(), FIXTURE_PORT), ("identity", IDENTITY.to_owned(), FIXTURE_PORT)];
        if let Some(upstream) = topology::remote_upstream(self.deployment(), site) {
            roles.push(("remoteUpstream", upstream, FIXTURE_PORT));
        }
        let nodes = self.deployment().store_nodes_of(&site.name).into_iter();
        roles.extend(["store", "storeCopy"].into_iter().zip(nodes).map(|(role, node)| (role, node, STORE_PORT)));
        let sentinels = self.deployment().sentinels_of(&site.name).into_iter();
        let numbered = ["sentinel1", "sentinel2", "sentinel3"].into_iter().zip(sentinels);
        roles.extend(numbered.map(|(role, sentinel)| (role, sentinel, SENTINEL_PORT)));
        if self.deployment().site_store {
            roles.push(("siteStore", site.site_store(), FIXTURE_PORT));
        }
        if self.deployment().analytics.is_some() {
            roles.push(("analytics", site.analytics(), FIXTURE_PORT));
            let other = topology::other_analytics(self.deployment(), site);
            roles.extend(other.map(|other| ("otherAnalytics", other, FIXTURE_PORT)));
        }
        if self.deployment().control_plane.is_some() {
            roles.push(("controlPlane", site.management_ingress(), FIXTURE_PORT));
        }
        let keys = roles.into_iter().map(|(role, to, port)| (role, LinkKey::new(&replica.name, &to, port)));
        // What Sentinels call the nodes is where these reach each other.
        let announced = topology::store_peers(self.deployment()).into_iter();
        let nodes = self.deployment().store_nodes_of(&site.name);
        let announced = announced.filter_map(|key| {
            let role = ["storeAnnounced", "storeCopyAnnounced"];
            Some((*role.get(nodes.iter().position(|node| *node == key.to)?)?, key))
        });
        let state = self.state();
        let mut context = BTreeMap::new();
        for (role, key) in keys.chain(announced) {
            if let Some(link) = state.links.get(&key) {
                let address = link.address();
                let link =
                    LinkContext { address: address.to_string(), host: address.ip().to_string(), port: address.port() };
                context.insert(role.to_owned(), link);
            }
        }
        context
    }

    /// All voters of the group, in the order of the deployment, each with the link by which `replica` dials it.
    fn peer_contexts(&self, replica: &str) -> Vec<PeerContext> {
        let keys = topology::peers(self.deployment(), self.adapter(), replica);
        let state = self.state();
        let address = |voter: &str| {
            let key = keys.iter().find(|key| key.to == voter)?;
            state.links.get(key).map(|link| link.address().to_string())
        };
        let voters = self.deployment().voters().into_iter();
        voters.map(|voter| PeerContext { address: address(&voter).unwrap_or_default(), replica: voter }).collect()
    }

    pub(super) fn event(&self, name: &str, state: ReplicaState, detail: &str) {
        let site = self
            .replicas()
            .into_iter()
            .find(|replica| replica.name == name)
            .map(|replica| replica.site)
            .unwrap_or_default();
        let (replica, detail) = (name.to_owned(), detail.to_owned());
        self.inner.recorder.now(EventKind::Replica { replica, site, state, detail });
    }

    /// Starts the program of a replica that does not run.
    pub(super) async fn start_replica(&self, replica: &Replica) -> Result<(), LabError> {
        self.start_by(replica, "").await
    }

    /// The same; `by` says in the history who does it, if it is not the story.
    pub(super) async fn start_by(&self, replica: &Replica, by: &str) -> Result<(), LabError> {
        let component = self.component(replica)?;
        self.event(&replica.name, ReplicaState::Starting, by);
        let started = self.inner.kit.runtime.start(&self.inner.network, &component).await;
        let address = started.map_err(|error| error.with_hint(self.adapter().obtain.as_deref()))?;
        self.moved(&replica.name, address);
        self.mark(gatecrash_model::history::event::mark::RUNNING, &replica.name, 0);
        Ok(())
    }

    /// Starts the streams that every experiment runs, and the watch over readiness.
    pub(super) async fn attend(&self, replica: &Replica) -> Result<(), LabError> {
        if !self.inner.options.quiet {
            let streams = self.start_background(&replica.name, &replica.site).await?;
            if let Some(entry) = self.state().replicas.iter_mut().find(|entry| entry.replica.name == replica.name) {
                entry.streams = streams;
            }
        }
        let (lab, name) = (self.clone(), replica.name.clone());
        let stop = self.inner.stop.clone();
        let task = tokio::spawn(async move {
            let (mut was, mut start) = (None, lab.started_at(&name));
            while !stop.is_cancelled() && lab.replicas().iter().any(|replica| replica.name == name) {
                let started = lab.started_at(&name);
                let is = lab.is_ready(&name).await;
                // One that was started again and is ready before anybody saw it unready is ready anew.
                if started != start {
                    start = started;
                    was = was.map(|was| was && !is);
                }
                if was != Some(is) && (is || was.is_some()) {
                    lab.event(&name, if is { ReplicaState::Ready } else { ReplicaState::NotReady }, "");
                }
                was = Some(is);
                tokio::select! { () = crate::clock::sleep(WATCH_EVERY) => {} () = stop.cancelled() => {} }
            }
        });
        self.keep_task(task);
        Ok(())
    }

    /// When a component was last started, ns; `None` if it never was.
    pub(super) fn started_at(&self, name: &str) -> Option<u64> {
        self.state().components.get(name).map(|running| running.started_at)
    }

    /// One probe of a replica's readiness, at its own address: no link, no fault in between.
    pub async fn is_ready(&self, name: &str) -> bool {
        self.readiness(name).await.is_ok()
    }

    async fn readiness(&self, name: &str) -> Result<(), String> {
        let address = self.address_of(name).map_err(|error| error.to_string())?;
        let probe = &self.adapter().ready;
        let address = SocketAddr::new(address, topology::ready_port(self.adapter()));
        let answer = self.inner.http.get(format!("http://{address}{}", probe.path)).timeout(PROBE_WITHIN).send().await;
        match answer {
            Ok(response) if response.status().as_u16() == probe.status => Ok(()),
            Ok(response) => Err(format!("status {} on {address}{}", response.status().as_u16(), probe.path)),
            Err(error) => Err(describe(&error, &format!("{address}{}", probe.path))),
        }
    }

    /// Waits until a replica is ready; returns the time since its last start.
    ///
    /// # Errors
    /// `NotReady` after `within`, with the last status and the last lines of its log; `Interrupted`.
    pub async fn wait_ready(&self, name: &str, within: Duration) -> Result<Duration, LabError> {
        let began = self.now();
        let mut looked = Duration::ZERO;
        loop {
            let last = match self.readiness(name).await {
                Ok(()) => {
                    let started = self.state().components.get(name).map_or(began, |running| running.started_at);
                    return Ok(self.inner.kit.clock.since(started));
                }
                Err(last) => last,
            };
            let waited = self.inner.kit.clock.since(began);
            if waited >= looked + LOOK_EVERY {
                looked = waited;
                if let RunState::Ended(how) = self.inner.kit.runtime.state(&self.inner.network, name).await {
                    return Err(self.ended_early(name, &how).await);
                }
            }
            if waited >= within {
                return Err(self.not_ready(name, within, last).await);
            }
            self.hold(POLL_EVERY).await?;
        }
    }

    pub(super) async fn not_ready(&self, name: &str, within: Duration, last: String) -> LabError {
        let log = self.inner.kit.runtime.log_tail(&self.inner.network, name, 8).await;
        let log = log.lines().map(|line| format!("\n    {name}: {line}")).collect();
        LabError::NotReady { name: name.to_owned(), within_s: within.as_secs_f64(), last, log }
    }

    /// What to say of a component that ended while it was to become ready: why, with the last lines of its log.
    pub(super) async fn ended_early(&self, name: &str, how: &str) -> LabError {
        let address = self.address_of(name).map(|address| address.to_string()).unwrap_or_default();
        let log = self.inner.kit.runtime.log_tail(&self.inner.network, name, 8).await;
        files::early_end(name, &address, how, &log).into()
    }

    /// Waits until a component that was asked to end is gone, and writes that it is; `None` if it still runs after `within`.
    ///
    /// # Errors
    /// `Interrupted`.
    pub async fn wait_gone(&self, name: &str, within: Duration) -> Result<Option<Duration>, LabError> {
        let began = self.now();
        loop {
            let state = self.inner.kit.runtime.state(&self.inner.network, name).await;
            let waited = self.inner.kit.clock.since(began);
            match state {
                RunState::Ended(how) => {
                    self.event(name, ReplicaState::Gone, &how);
                    return Ok(Some(waited));
                }
                RunState::Absent => {
                    self.event(name, ReplicaState::Gone, "");
                    return Ok(Some(waited));
                }
                RunState::Running | RunState::Paused => {}
            }
            if waited >= within {
                return Ok(None);
            }
            self.hold(LOOK_EVERY.min(within)).await?;
        }
    }

    async fn fault_replica(&self, name: &str, what: ReplicaFault) -> Result<super::Active, LabError> {
        self.inject(gatecrash_model::fault::Fault::Replica { name: name.to_owned(), what }).await
    }

    /// Closes the data port of a replica to everybody, while its process runs; healed by [`Lab::heal`], or with its process.
    ///
    /// # Errors
    /// If a link fails.
    pub async fn close_port(&self, name: &str) -> Result<super::Active, LabError> {
        self.fault_replica(name, ReplicaFault::ClosePort).await
    }

    /// Kills a component with SIGKILL; returns when it is witnessed gone.
    ///
    /// # Errors
    /// If the runtime fails.
    pub async fn kill(&self, name: &str) -> Result<(), LabError> {
        self.fault_replica(name, ReplicaFault::Kill).await.map(drop)
    }

    /// Asks a component to end with SIGTERM; does not wait for the end.
    ///
    /// # Errors
    /// If the runtime fails.
    pub async fn terminate(&self, name: &str) -> Result<(), LabError> {
        self.fault_replica(name, ReplicaFault::Terminate).await.map(drop)
    }

    /// Pauses a component; healed by [`Lab::resume`].
    ///
    /// # Errors
    /// If the runtime fails.
    pub async fn pause(&self, name: &str) -> Result<super::Active, LabError> {
        self.fault_replica(name, ReplicaFault::Pause).await
    }

    /// Presses on the processor of a component, as [`ReplicaFault::Press`] has it; healed by [`Lab::heal`], or with its process. Only where there
    /// is [`Capability::ProcessorPressure`](gatecrash_model::claim::Capability::ProcessorPressure).
    ///
    /// # Errors
    /// If `millicores` is out of range, or the runtime fails.
    pub async fn press(&self, name: &str, millicores: u32) -> Result<super::Active, LabError> {
        self.fault_replica(name, ReplicaFault::Press { millicores }).await
    }

    /// Lets a paused component go on.
    ///
    /// # Errors
    /// If the runtime fails.
    pub async fn resume(&self, active: super::Active) -> Result<(), LabError> {
        self.heal(active).await
    }

    pub(super) async fn signal(&self, name: &str, signal: Signal) -> Result<(), LabError> {
        let state = match signal {
            Signal::Kill => ReplicaState::Gone,
            Signal::Terminate => ReplicaState::Terminating,
            Signal::Pause => ReplicaState::Paused,
            Signal::Resume => ReplicaState::Resumed,
        };
        self.inner.kit.runtime.signal(&self.inner.network, name, signal).await?;
        self.event(name, state, "");
        Ok(())
    }

    /// Starts an ended component again, with its disk as it is or emptied. Replicas are rendered anew. Does
    /// not wait until it is ready. A fault that ended it is over from here on.
    ///
    /// # Errors
    /// If the component still runs, or the runtime fails.
    pub async fn restart(&self, name: &str, disk: Disk) -> Result<(), LabError> {
        if disk == Disk::Wiped {
            self.inner.kit.runtime.wipe_disk(&self.inner.network, name).await?;
            self.event(name, ReplicaState::DiskWiped, "");
        }
        self.ended_faults_lasted(name).await;
        // What pressed on the one that ended does not press on this one.
        self.inner.kit.runtime.release(&self.inner.network, name).await?;
        let replica = self.replicas().into_iter().find(|replica| replica.name == name);
        if let Some(replica) = replica {
            self.start_replica(&replica).await?;
        } else {
            self.event(name, ReplicaState::Starting, "");
            let address = self.inner.kit.runtime.start_again(&self.inner.network, name).await?;
            self.moved(name, address);
        }
        self.ended_faults_are_over(name).await;
        Ok(())
    }

    /// Starts a brand-new replica: a new name, an empty disk, and `settings` over the deployment's. Does not
    /// wait until it is ready; the site's ingress takes it up when it is.
    ///
    /// # Errors
    /// If the site does not exist, or the runtime fails.
    pub async fn add_replica(&self, site: &str, settings: BTreeMap<String, Scalar>) -> Result<Replica, LabError> {
        let site = self.deployment().site(site).cloned().ok_or_else(|| LabError::Unknown(site.to_owned()))?;
        let index = self.next_index(&site);
        let replica = self.enter(&site, index, site.zone_of(index), settings).await?;
        self.start_replica(&replica).await?;
        self.attend(&replica).await?;
        self.set_backends(&site).await?;
        Ok(replica)
    }

    /// The number of the next new replica of a site. Names are never used twice: what was removed had a disk.
    pub(super) fn next_index(&self, site: &Site) -> u32 {
        let state = self.state();
        let used = state
            .links
            .keys()
            .filter(|key| key.from == CLIENT)
            .filter_map(|key| key.to.strip_prefix(&format!("{}-", site.name))?.parse::<u32>().ok());
        used.max().unwrap_or_default() + 1
    }

    /// Removes a replica for good.
    ///
    /// # Errors
    /// If the runtime fails.
    pub async fn remove_replica(&self, name: &str) -> Result<(), LabError> {
        let entry = self.take_out(name).ok_or_else(|| LabError::Unknown(name.to_owned()))?;
        self.faults_are_forgotten(name);
        self.dispose(entry).await
    }

    /// Takes a replica out of the lab; it is still in the ingress' list, and may run.
    pub(super) fn take_out(&self, name: &str) -> Option<Entry> {
        let mut state = self.state();
        let at = state.replicas.iter().position(|entry| entry.replica.name == name)?;
        Some(state.replicas.remove(at))
    }

    /// The settings of a replica over the deployment's.
    pub(super) fn settings_of(&self, name: &str) -> BTreeMap<String, Scalar> {
        let state = self.state();
        let found = state.replicas.iter().find(|entry| entry.replica.name == name);
        found.map(|entry| entry.settings.clone()).unwrap_or_default()
    }

    /// Removes what is left of a replica that was taken out.
    pub(super) async fn dispose(&self, entry: Entry) -> Result<(), LabError> {
        let name = &entry.replica.name;
        if let Some(site) = self.deployment().site(&entry.replica.site).cloned() {
            self.set_backends(&site).await?;
        }
        for stream in entry.streams {
            stream.stop().await;
        }
        self.inner.kit.runtime.remove(&self.inner.network, name).await?;
        self.state().components.remove(name);
        self.event(name, ReplicaState::Gone, "removed");
        Ok(())
    }

    /// Gives a site new signing material and restarts its replicas with it, one after the other.
    ///
    /// # Errors
    /// If a replica does not become ready again, or the runtime fails.
    pub async fn rekey(&self, site: &str, material: &str) -> Result<(), LabError> {
        self.state().signing.insert(site.to_owned(), material.to_owned());
        for replica in self.replicas_of(site) {
            self.kill(&replica.name).await?;
            self.restart(&replica.name, Disk::Keep).await?;
            self.wait_ready(&replica.name, self.ready_within()).await?;
        }
        self.mark(gatecrash_model::history::event::mark::REKEYED, site, 0);
        Ok(())
    }

    /// How long a replica may take to become ready, from the adapter. Not scaled: programs do not start faster.
    #[must_use]
    pub fn ready_within(&self) -> Duration {
        Duration::from_secs(u64::from(self.adapter().ready_within_s.max(1)))
    }
}

fn describe(error: &reqwest::Error, what: &str) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() { format!("no answer in time on {what}") } else { format!("{cause} on {what}") }
}
