//! Published changes as facts about routes, and how replicas are watched until they show them. What a fact is: `claims/configuration/changes.rs`.

use crate::claims::configuration::{CHANGE, FACT, GUARDED, fact};
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, Replica, Target};
use gatecrash_model::deployment::{Policy, Route, RouteBackend};
use gatecrash_model::operation::Credential;
use std::time::Duration;

/// Time between two looks at a replica: 20 a second.
const LOOK: Duration = Duration::from_millis(50);
/// Looks after a replica gave all new answers, so that one that goes back is seen.
const LOOKS_AFTER: u32 = 12;

/// How long a change is waited for: what CFG-05, CFG-06 and CON-04 allow, and more, so that a late one is seen to be late.
const PATIENCE: Duration = Duration::from_secs(75);
const WITHIN: Duration = Duration::from_secs(60);

/// How long a change is waited for, longer where a profile gives a gateway longer (`within`).
pub(super) fn patience(lab: &Lab) -> Duration {
    lab.stretched(PATIENCE, "within", WITHIN)
}

/// What a request is to be answered once a change is in force.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    route: String,
    key: String,
    credential: Credential,
    answers: Vec<u16>,
}

impl Shown {
    /// A request without credentials for `route` shows its state: absent, guarded or open.
    pub(super) fn by(route: &str, state: u16) -> Self {
        let (route, key) = (route.to_owned(), "client-1".to_owned());
        Self { route, key, credential: Credential::NotNeeded, answers: vec![state] }
    }

    /// A client whose contract was removed is refused on `route`.
    pub(super) fn removed(route: &str, client: &str) -> Self {
        let (route, key) = (route.to_owned(), client.to_owned());
        Self { route, key, credential: Credential::RemovedClient, answers: vec![401, 403] }
    }
}

/// Tells what the version that is published next does to `route`.
pub(super) fn told(lab: &Lab, route: &str, old: u16, new: u16) {
    lab.mark(FACT, route, fact(old, new));
}

/// A route of this name that is guarded or open.
pub(super) fn route(name: &str, state: u16) -> Route {
    let policies = if state == GUARDED { vec![Policy::Jwt] } else { Vec::new() };
    Route { name: name.to_owned(), path: format!("/{name}"), policies, backend: RouteBackend::Local }
}

/// Looks at a replica until it showed all of `facts` for a while; gives up after `patience`.
pub(super) async fn watch(lab: &Lab, replica: &Replica, facts: &[Shown], patience: Duration) -> Result<(), LabError> {
    let began = lab.now();
    let mut looks = 0;
    while looks < LOOKS_AFTER && Duration::from_nanos(lab.now().saturating_sub(began)) < patience {
        let asked = facts.iter().map(|shown| {
            let call = Call::new(CHANGE, Target::Replica(replica.name.clone()), &shown.route, &shown.key);
            lab.call(call.with(shown.credential).timeout(Duration::from_secs(1)))
        });
        let answers = join_all(asked).await;
        let all = answers.iter().zip(facts).all(|(outcome, shown)| shown.answers.contains(&outcome.answer.status));
        looks = if all { looks + 1 } else { 0 };
        lab.hold(LOOK).await?;
    }
    Ok(())
}

/// Looks at all of `replicas` at the same time, as [`watch`] does.
pub(super) async fn watch_all(
    lab: &Lab,
    replicas: &[Replica],
    facts: &[Shown],
    patience: Duration,
) -> Result<(), LabError> {
    let watched = join_all(replicas.iter().map(|replica| watch(lab, replica, facts, patience))).await;
    watched.into_iter().collect()
}
