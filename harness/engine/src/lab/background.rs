//! The streams that every experiment runs: requests that must be refused (no credential, flawed tokens, unknown and removed
//! clients), and valid holders of contracts, aimed at every replica directly, on routes without quota. SEC-01 and CON-03 read them.

use super::operations::{Call, Target};
use super::traffic::Traffic;
use super::{Lab, LabError};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::fixture::SignRequest;
use gatecrash_model::operation::{Credential, stream};
use std::sync::atomic::Ordering;

/// Requests a second that must be refused, over the replicas of the deployment (SEC-01).
const MUST_REFUSE_PER_S: f64 = 200.0;
/// Requests a second of valid contract holders, over the replicas of the deployment (CON-03).
const CONTRACT_PER_S: f64 = 50.0;

/// Clients whose contract is removed when everything runs, by the first word of their names.
const FORMER: &str = "former";

impl Lab {
    /// Removes the contracts of the former clients: from the time on at which that must be in effect, nobody may let them in.
    pub(super) async fn remove_former(&self) -> Result<(), LabError> {
        if self.inner.options.quiet || !self.has(Capability::Contracts) {
            return Ok(());
        }
        let former = self.clients().iter().filter(|client| client.id.split('-').next() == Some(FORMER));
        for client in former.map(|client| client.id.clone()).collect::<Vec<_>>() {
            self.remove_contract(&client).await?;
        }
        Ok(())
    }

    /// Whether the must-refuse and contract streams run; they do from the start unless the experiment is quiet.
    pub fn background(&self, on: bool) {
        self.inner.background.store(on, Ordering::Relaxed);
    }

    /// Starts the streams for one replica.
    pub(super) async fn start_background(&self, replica: &str, site: &str) -> Result<Vec<Traffic>, LabError> {
        let target = || Target::Replica(replica.to_owned());
        let signing = self.state().signing.get(site).cloned().ok_or_else(|| LabError::Unknown(site.to_owned()))?;
        // What joins later is asked as often as those that were there from the start.
        let replicas: u32 = self.sites().iter().map(|site| site.replicas).sum();
        let share = 1.0 / f64::from(replicas.max(1));
        let mut streams = Vec::new();
        let mut refused = Vec::new();
        if self.has(Capability::Tokens)
            && let Some(route) =
                self.deployment().route_with(&[Policy::Jwt], &[Policy::Quota]).map(|route| route.name.clone())
        {
            let client = "client-20";
            let sign = |signing: &str, expires_in_s, alg_none| SignRequest {
                client: client.to_owned(),
                signing: signing.to_owned(),
                expires_in_s,
                alg_none,
                ..self.sign_request()
            };
            let forged = self.forged(sign("nobody", 7200, false));
            let flaws = [
                (Credential::Expired, sign(&signing, -7200, false)),
                (Credential::AlgNone, sign(&signing, 7200, true)),
                (Credential::Forged, forged),
            ];
            refused.push(Call::new(stream::MUST_REFUSE, target(), &route, client).with(Credential::Missing));
            for (credential, request) in flaws {
                let token = self.sign(&request).await?;
                refused.push(Call::new(stream::MUST_REFUSE, target(), &route, client).with(credential).token(&token));
            }
        }
        if self.has(Capability::Contracts)
            && let Some(route) =
                self.deployment().route_with(&[Policy::ClientId], &[Policy::Quota]).map(|route| route.name.clone())
        {
            for client in self.clients() {
                let credential = match client.id.split('-').next() {
                    Some("outsider") => Credential::UnknownClient,
                    Some(FORMER) => Credential::RemovedClient,
                    _ => continue,
                };
                refused.push(Call::new(stream::MUST_REFUSE, target(), &route, &client.id).with(credential));
            }
            refused.push(Call::new(stream::MUST_REFUSE, target(), &route, "client-20").with(Credential::Missing));
            let valid = (16..=20)
                .map(|number| Call::new(stream::CONTRACT, target(), &route, &format!("client-{number}")))
                .collect();
            streams.push(self.open_loop(CONTRACT_PER_S * share, valid, |_| {}));
        }
        if !refused.is_empty() {
            let (lab, site) = (self.clone(), site.to_owned());
            streams
                .push(self.open_loop(MUST_REFUSE_PER_S * share, refused, move |outcome| lab.refused(&site, &outcome)));
        }
        Ok(streams)
    }
}
