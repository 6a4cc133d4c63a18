//! What an operator does during an experiment: publishes, adds and removes contracts, wipes and corrupts stores.

use super::operations::{Call, Target};
use super::topology::{FIXTURE_PORT, STORE_PORT};
use super::{Lab, LabError};
use crate::resp;
use gatecrash_model::deployment::{CONTROL_PLANE, Policy, Site};
use gatecrash_model::fault::FixtureFault;
use gatecrash_model::fixture::{Backend, Configuration, Contract, FaultRequest, Registration};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::stream;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// What a gateway asks of its control plane, and the lab in its stead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// The configuration is fetched.
    Fetch,
    /// A replica is registered.
    Register,
}

impl Lab {
    /// Asks the control plane through the ingress that a site's gateways have in between. Written as a mark of `name`:
    /// subject: the status, `0` if there was no answer within `within`; value: microseconds that it took.
    ///
    /// # Errors
    /// If the site or its ingress does not exist.
    pub async fn manage(&self, site: &str, name: &str, what: Managed, within: Duration) -> Result<u16, LabError> {
        let ingress = self.deployment().site(site).map(Site::management_ingress);
        let address = self.address_of(&ingress.ok_or_else(|| LabError::Unknown(site.to_owned()))?)?;
        let base = format!("http://{}", SocketAddr::new(address, FIXTURE_PORT));
        let registration = Registration { replica: format!("{site}-nobody"), site: site.to_owned() };
        let request = match what {
            Managed::Fetch => self.inner.http.get(format!("{base}/v1/configuration")),
            Managed::Register => self
                .inner
                .http
                .post(format!("{base}/v1/register"))
                .body(serde_json::to_vec(&registration).unwrap_or_default()),
        };
        let began = self.now();
        let status = match request.timeout(within).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                response.bytes().await.map_or(0, |_| status)
            }
            Err(_) => 0,
        };
        let took = self.inner.kit.clock.since(began);
        self.mark(name, &status.to_string(), i64::try_from(took.as_micros()).unwrap_or(i64::MAX));
        Ok(status)
    }

    /// Publishes a changed configuration at the control plane; returns its version.
    ///
    /// # Errors
    /// If there is no control plane or it does not take it.
    pub async fn publish(&self, change: impl FnOnce(&mut Configuration)) -> Result<u32, LabError> {
        let mut configuration =
            self.state().configuration.clone().ok_or_else(|| LabError::Unknown(CONTROL_PLANE.to_owned()))?;
        change(&mut configuration);
        let version = self.control(CONTROL_PLANE)?.publish(&configuration).await?;
        configuration.version = version;
        {
            let mut state = self.state();
            let before = state.configuration.replace(configuration);
            state.earlier.extend(before);
        }
        self.mark(mark::PUBLISHED, "", i64::from(version));
        Ok(version)
    }

    /// Restores the control plane from a copy that was made when `version` was the last: all that was published later is lost. Written as
    /// a mark [`mark::RESTORED`].
    ///
    /// # Errors
    /// If there is no control plane, or it never had that version.
    pub async fn restore_control_plane(&self, version: u32) -> Result<(), LabError> {
        let copy = {
            let state = self.state();
            let mut all = state.earlier.iter().chain(&state.configuration);
            all.rfind(|earlier| earlier.version == version).cloned()
        };
        let mut copy = copy.ok_or_else(|| LabError::Unknown(format!("version {version}")))?;
        copy.version = self.control(CONTROL_PLANE)?.restore(version).await?;
        {
            let mut state = self.state();
            copy.term = state.configuration.as_ref().map_or(1, |lost| lost.term).saturating_add(1);
            let lost = state.configuration.replace(copy);
            state.earlier.extend(lost);
        }
        self.mark(mark::RESTORED, "", i64::from(version));
        Ok(())
    }

    /// Adds the contract of a client; returns the version of the list.
    ///
    /// # Errors
    /// If the client is not known, there is no control plane, or it does not take it.
    pub async fn add_contract(&self, client: &str) -> Result<u32, LabError> {
        let secret = self.clients().iter().find(|known| known.id == client).map(|known| known.secret.clone());
        let secret = secret.ok_or_else(|| LabError::Unknown(client.to_owned()))?;
        let contracts = {
            let mut state = self.state();
            state.contracts.push(Contract { client: client.to_owned(), secret });
            state.contracts.clone()
        };
        let version = self.control(CONTROL_PLANE)?.contracts(&contracts).await?;
        self.mark(mark::CONTRACT_ADDED, client, i64::from(version));
        Ok(version)
    }

    /// Removes the contract of a client; returns the version of the list.
    ///
    /// # Errors
    /// If there is no control plane or it does not take it.
    pub async fn remove_contract(&self, client: &str) -> Result<u32, LabError> {
        let contracts = {
            let mut state = self.state();
            state.contracts.retain(|contract| contract.client != client);
            state.contracts.clone()
        };
        let version = self.control(CONTROL_PLANE)?.contracts(&contracts).await?;
        self.mark(mark::CONTRACT_REMOVED, client, i64::from(version));
        Ok(version)
    }

    /// Asks a replica until it answers with this version of the configuration or a later one; `None` if it does not in time.
    pub async fn wait_version(&self, replica: &str, at_least: u32, within: Duration) -> Option<Duration> {
        let route = self.route(&[], &[Policy::Quota, Policy::ClientId]).ok()?;
        let began = self.now();
        while self.inner.kit.clock.since(began) <= within {
            let call = Call::new(stream::MANAGEMENT, Target::Replica(replica.to_owned()), &route, "client-1")
                .timeout(Duration::from_secs(1));
            if self.call(call).await.answer.version >= at_least {
                return Some(self.inner.kit.clock.since(began));
            }
            self.hold(Duration::from_millis(10)).await.ok()?;
        }
        None
    }

    /// Wipes what a site's configuration store keeps.
    ///
    /// # Errors
    /// If the site has none or it does not answer.
    pub async fn wipe_site_store(&self, site: &str) -> Result<(), LabError> {
        let name =
            self.deployment().site(site).map(Site::site_store).ok_or_else(|| LabError::Unknown(site.to_owned()))?;
        Ok(self.control(&name)?.wipe_configuration().await?)
    }

    async fn store_command(&self, store: &str, words: &[&str]) -> Result<String, LabError> {
        let address = SocketAddr::new(self.address_of(store)?, STORE_PORT);
        resp::command(address, words, Duration::from_secs(5)).await.map_err(|source| {
            let doing = format!("`{}` on `{store}` at {address}", words.join(" "));
            LabError::Runtime(crate::runtime::RuntimeError::Failed { doing, source: Box::new(source) })
        })
    }

    /// The keys that a store holds now.
    ///
    /// # Errors
    /// If it does not answer, or with more than one reply carries (256 KiB).
    pub async fn store_keys(&self, store: &str) -> Result<BTreeSet<String>, LabError> {
        let reply = self.store_command(store, &["KEYS", "*"]).await?;
        let keys = resp::texts(&reply).ok_or_else(|| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "the reply is no whole list");
            let doing = format!("listing the keys of `{store}`");
            LabError::Runtime(crate::runtime::RuntimeError::Failed { doing, source: Box::new(source) })
        })?;
        Ok(keys.into_iter().collect())
    }

    /// Gives these keys of a store the wrong type, as another program's data would; all others stay as they are. Undone by
    /// [`Lab::remove_keys`]. Returns how many were changed: one that is written again in the very moment is not.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn corrupt_keys(&self, store: &str, keys: &BTreeSet<String>) -> Result<usize, LabError> {
        let mut changed = 0_usize;
        for key in keys {
            // What is a set becomes a text, and everything else a set.
            let members = self.store_command(store, &["SMEMBERS", key]).await?;
            let is_set = members.starts_with('*') && !members.starts_with("*0");
            self.store_command(store, &["DEL", key]).await?;
            let put = if is_set { ["SET", key, "gatecrash"] } else { ["SADD", key, "gatecrash"] };
            let done = self.store_command(store, &put).await?;
            changed = changed.saturating_add(usize::from(done.starts_with(":1") || done.starts_with("+OK")));
        }
        Ok(changed)
    }

    /// Removes these keys of a store.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn remove_keys(&self, store: &str, keys: &BTreeSet<String>) -> Result<(), LabError> {
        for key in keys {
            self.store_command(store, &["DEL", key]).await?;
        }
        Ok(())
    }

    pub(super) async fn set_fixture_fault(
        &self,
        name: &str,
        endpoint: &str,
        fault: Option<FixtureFault>,
    ) -> Result<(), LabError> {
        let request = FaultRequest { endpoint: endpoint.to_owned(), fault };
        Ok(self.control(name)?.fault(&request).await?)
    }

    /// Tells a site's ingress its backends.
    pub(super) async fn set_backends(&self, site: &Site) -> Result<(), LabError> {
        let adapter = self.adapter();
        let (data, ready) = (super::topology::data_port(adapter), super::topology::ready_port(adapter));
        let mut backends = Vec::new();
        for replica in self.replicas_of(&site.name) {
            let state = self.state();
            if state.withdrawn.contains(&replica.name) {
                continue;
            }
            let address = |port| {
                let key = super::topology::LinkKey::new(&site.ingress(), &replica.name, port);
                state.links.get(&key).map(|link| link.address().to_string()).unwrap_or_default()
            };
            backends.push(Backend {
                name: replica.name.clone(),
                zone: replica.zone.clone(),
                address: address(data),
                probe_address: address(ready),
                probe_path: adapter.ready.path.clone(),
                probe_status: adapter.ready.status,
            });
        }
        Ok(self.control(&site.ingress())?.backends(&backends).await?)
    }
}
