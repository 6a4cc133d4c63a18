//! Clients of all sites, each site's through its own ingress, and what a global load balancer does when a site is lost: it
//! moves that site's clients to another one, and back.

use crate::claims::availability::MOVED;
use crate::experiments::canaries::plain;
use gatecrash_engine::lab::{Lab, LabError, Target, Traffic, TrafficSpec};
use gatecrash_model::operation::stream;
use std::time::Duration;

/// What the global load balancer takes to notice and move: half of the failover gap that the claims allow.
const FAILOVER: Duration = Duration::from_secs(5);
/// Longer than any answer takes that is not lost.
const REST: Duration = Duration::from_millis(500);
/// Clients of a site; there are 15 whose contract and credentials are never touched.
const CLIENTS: usize = 5;

/// Open-loop requests on the plain route, so many a second at each site.
pub(super) struct Clients {
    lab: Lab,
    route: String,
    rate_per_s: f64,
    streams: Vec<(String, Traffic)>,
    halted: Vec<Traffic>,
}

impl Clients {
    /// All clients at their own sites.
    ///
    /// # Errors
    /// If there is no plain route.
    pub(super) fn start(lab: &Lab, rate_per_s: f64) -> Result<Self, LabError> {
        let mut clients =
            Self { lab: lab.clone(), route: plain(lab)?, rate_per_s, streams: Vec::new(), halted: Vec::new() };
        for site in lab.sites() {
            let stream = clients.at(&site.name, &site.name);
            clients.streams.push((site.name.clone(), stream));
        }
        Ok(clients)
    }

    /// The clients of `home` at `site`.
    fn at(&self, home: &str, site: &str) -> Traffic {
        let number = self.lab.sites().iter().position(|known| known.name == home).unwrap_or_default();
        let first = number * CLIENTS % 15;
        self.lab.traffic(TrafficSpec {
            stream: stream::TRAFFIC.to_owned(),
            targets: vec![(Target::Ingress(site.to_owned()), 1)],
            route: self.route.clone(),
            keys: (1..=CLIENTS).map(|client| format!("client-{}", first + client)).collect(),
            rate_per_s: self.rate_per_s,
            timeout: None,
        })
    }

    /// Sends the clients of `home` to `site` from here on. Mark [`MOVED`].
    pub(super) fn send(&mut self, home: &str, site: &str) {
        let stream = self.at(home, site);
        self.lab.mark(MOVED, home, i64::from(home != site));
        if let Some((_, running)) = self.streams.iter_mut().find(|(known, _)| known == home) {
            let before = std::mem::replace(running, stream);
            before.halt();
            self.halted.push(before);
        }
    }

    /// Notices at its pace that `lost` is gone, since `from` (ns), and sends its clients to `other`.
    ///
    /// # Errors
    /// If the run is interrupted.
    pub(super) async fn fail_over(&mut self, lost: &str, other: &str, from: u64) -> Result<(), LabError> {
        let passed = Duration::from_nanos(self.lab.now().saturating_sub(from));
        self.lab.hold(self.lab.scaled(FAILOVER).saturating_sub(passed)).await?;
        self.send(lost, other);
        Ok(())
    }

    /// Ends all streams.
    pub(super) async fn stop(self) {
        for (_, stream) in self.streams {
            stream.stop().await;
        }
        for stream in self.halted {
            stream.stop().await;
        }
    }
}

/// A moment that is judged nowhere: what was sent before it is answered before the fault that follows.
///
/// # Errors
/// If the run is interrupted.
pub(super) async fn rest(lab: &Lab) -> Result<(), LabError> {
    lab.phase("rest", "");
    lab.hold(REST).await
}

/// Waits until the ingress of `site` uses all of its replicas.
///
/// # Errors
/// `NotReady` if a replica does not come back.
pub(super) async fn wait_back(lab: &Lab, site: &str) -> Result<(), LabError> {
    for replica in lab.replicas_of(site) {
        lab.wait_ready(&replica.name, lab.ready_within()).await?;
        if !lab.wait_in_rotation(&replica, lab.ready_within()).await? {
            return Err(LabError::NotReady {
                name: replica.name,
                within_s: lab.ready_within().as_secs_f64(),
                last: format!("it is ready, and `{site}-ingress` did not take it up"),
                log: String::new(),
            });
        }
    }
    Ok(())
}
