//! Which replicas does their ingress use? Those that are ready, but for those that an operator took out: the first step of
//! every maintenance, as Kubernetes takes a pod out of its endpoints.

use super::{Lab, LabError, Replica};
use gatecrash_model::fault::LinkId;
use std::time::Duration;

/// How often a wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Lab {
    /// Whether the ingress of its site uses a replica now, as its event stream says.
    #[must_use]
    pub fn is_in_rotation(&self, replica: &Replica) -> bool {
        let backends = format!("{}-ingress", replica.site);
        self.state().in_rotation.get(&backends).is_some_and(|backends| backends.contains(&replica.name))
    }

    /// Waits until the ingress of its site uses a replica; `false` if it does not in time.
    ///
    /// # Errors
    /// `Interrupted`, or the history could not be written.
    pub async fn wait_in_rotation(&self, replica: &Replica, within: Duration) -> Result<bool, LabError> {
        let began = self.now();
        while !self.is_in_rotation(replica) {
            if self.inner.kit.clock.since(began) >= within {
                return Ok(false);
            }
            self.hold(LOOK_EVERY).await?;
        }
        Ok(true)
    }

    /// Tells the ingress of its site not to use a replica, whether it is ready or not.
    ///
    /// # Errors
    /// If the ingress does not answer.
    pub async fn withdraw(&self, replica: &Replica) -> Result<(), LabError> {
        self.state().withdrawn.insert(replica.name.clone());
        self.tell_ingress(replica).await
    }

    /// Tells the ingress of its site to use a replica again as soon as it is ready.
    ///
    /// # Errors
    /// If the ingress does not answer.
    pub async fn reinstate(&self, replica: &Replica) -> Result<(), LabError> {
        self.state().withdrawn.remove(&replica.name);
        self.tell_ingress(replica).await
    }

    async fn tell_ingress(&self, replica: &Replica) -> Result<(), LabError> {
        let site = self.deployment().site(&replica.site).cloned();
        self.set_backends(&site.ok_or_else(|| LabError::Unknown(replica.site.clone()))?).await
    }

    /// Maintenance of one replica: taken out of rotation, ended with SIGTERM once what it had is answered, started again with its
    /// disk, and given back when it is ready.
    ///
    /// # Errors
    /// `NotReady` if it does not end, does not become ready, or is not taken up again; if the runtime fails.
    pub async fn maintain(&self, replica: &Replica) -> Result<(), LabError> {
        self.withdraw(replica).await?;
        self.hold(self.scaled(Duration::from_secs(1)).max(Duration::from_millis(200))).await?;
        self.terminate(&replica.name).await?;
        if self.wait_gone(&replica.name, self.ready_within()).await?.is_none() {
            let last = "it was asked to end and runs".to_owned();
            return Err(self.not_ready(&replica.name, self.ready_within(), last).await);
        }
        self.restart(&replica.name, super::Disk::Keep).await?;
        self.wait_ready(&replica.name, self.ready_within()).await?;
        self.reinstate(replica).await?;
        if self.wait_in_rotation(replica, self.ready_within()).await? {
            return Ok(());
        }
        let last = format!("it is ready, and `{}-ingress` did not take it up", replica.site);
        Err(self.not_ready(&replica.name, self.ready_within(), last).await)
    }

    /// All links that lead to a component or that it dials: cut, they leave it alone in the world.
    #[must_use]
    pub fn links_around(&self, name: &str) -> Vec<LinkId> {
        let mut links = self.links(name, "*");
        links.extend(self.links("*", name));
        links.sort();
        links.dedup();
        links
    }

    /// All links into, out of and inside a site: its replicas', the client's to its ingress, its management's.
    #[must_use]
    pub fn links_of_site(&self, site: &str) -> Vec<LinkId> {
        let mut links: Vec<LinkId> =
            self.replicas_of(site).iter().flat_map(|replica| self.links_around(&replica.name)).collect();
        for name in [format!("{site}-ingress"), format!("{site}-management")] {
            links.extend(self.links_around(&name));
        }
        links.sort();
        links.dedup();
        links
    }
}
