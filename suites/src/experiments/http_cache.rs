//! What a cache keeps is asked for over and over until it has expired, at other replicas, by other clients, after restarts, and by many at the same moment.
//! Read by CAC-01, CAC-02, CAC-03 and CAC-05.

use super::rounds::cluster;
use crate::claims::cache::kinds::{EVERYWHERE, EXPIRING, FOR_ALL, HOT, Kind, NEVER, OWN, POLICY, QUERY, VARY};
use crate::claims::cache::{BURST, HTTP_CACHE, OWNERS, SHARED, STALL};
use crate::experiment::{Experiment, named};
use futures::future::{join_all, try_join_all};
use futures::{FutureExt, StreamExt, stream as of};
use gatecrash_engine::lab::{
    Call, Disk, Lab, LabError, LabOptions, Replica, Resource, Target, Token, Validity, setting,
};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::fixture::SignRequest;
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Credential, stream};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: HTTP_CACHE,
    story: "what may be kept is asked for until it expires, at other replicas, by other clients, after restarts, and by many at once",
    needs: &[Capability::HttpCache, Capability::ReplicaFaults],
    expected: |_, scale, _| TTL.mul_f64(scale) + Duration::from_secs(10),
    steps,
    options: |_| LabOptions::default(),
    run: |lab| story(lab).boxed(),
};

/// The setting that says for how many seconds a response is kept at most, before scaling, and what it is where nobody says it.
const TTL_SETTING: &str = "cacheTtlS";
const TTL: Duration = Duration::from_secs(60);
/// How often what expires is asked for at each replica. Latency of the answers comes on top.
const EVERY: Duration = Duration::from_millis(120);
/// Long enough for what is fresh for a second to expire three times.
const EXPIRES: Duration = Duration::from_millis(3_600);
/// Times that each replica is asked for what may never be served again, and for each representation.
const TIMES: usize = 3;
/// Entries that are asked for elsewhere, and after restarts.
const ENTRIES: usize = 60;
const ENTRIES_IN_RESTART: usize = 30;
/// Requests of one sweep at the same time.
const AT_ONCE: usize = 4;
/// Clients whose answers others ask for.
const CLIENTS: usize = 20;
/// Resources of each kind that are one client's.
const OWNED: usize = 3;
/// Who ask at the same moment.
const MANY: usize = 50;
/// How long the upstream takes then: longer than it takes to send them all.
const SLOW_UPSTREAM: Duration = Duration::from_millis(300);
/// How long any request may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Step: what expires, and what may never be served again.
const FRESH_STEP: &str = "fresh";
/// Step: what the policy's own time bounds.
const POLICY_STEP: &str = "policy";
/// Step: many ask at once.
const BURSTS_STEP: &str = "bursts";

fn steps(_: &Deployment) -> Vec<String> {
    named([FRESH_STEP, OWNERS[0], SHARED[0], POLICY_STEP, BURSTS_STEP, SHARED[1], SHARED[2]])
}

/// What all parts of the story need.
struct Story {
    lab: Lab,
    /// A route without policies.
    open: String,
    /// A route that wants a token; `None` if there is none.
    guarded: Option<String>,
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let open = lab.route(&[], &[Policy::Jwt, Policy::ClientId, Policy::Quota])?;
    let guarded = lab.route(&[Policy::Jwt], &[Policy::ClientId, Policy::Quota]).ok();
    let story = Story { lab: lab.clone(), open, guarded };
    let seconds = setting(lab.deployment(), lab.adapter(), TTL_SETTING).and_then(|said| said.parse().ok());
    let ttl = lab.scaled(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or(TTL));

    lab.phase("steady", "");
    let revoked = story.revoked().await?;
    let from = lab.now();
    let since = || Duration::from_nanos(lab.now().saturating_sub(from));
    let policy = lab.wants(POLICY_STEP).then(|| Asking::start(&story, &[POLICY], EVERY * 2));
    if lab.wants(FRESH_STEP) {
        lab.phase("hold", "fresh");
        // One resource for each replica that is asked for there alone, and one that all are asked for.
        let expiring = Asking::start(&story, &EXPIRING, EVERY);
        story.never().await;
        story.representations().await;
        lab.hold(EXPIRES.saturating_sub(since())).await?;
        expiring.stop().await;
    }
    let owned = if lab.wants(OWNERS[0]) { Some(story.owners(&revoked).await?) } else { None };
    if lab.wants(SHARED[0]) {
        story.everywhere().await?;
    }
    if let Some(policy) = policy {
        // What the policy's TTL bounds is asked for until a good second after it.
        lab.phase("hold", "policy");
        lab.hold((ttl + ttl / 4 + Duration::from_millis(1_300)).saturating_sub(since())).await?;
        policy.stop().await;
    }
    if lab.wants(BURSTS_STEP) {
        story.bursts().await?;
    }
    let (_, replicas) = cluster(&lab);
    let restarts = [(SHARED[1], replicas.get(..1).unwrap_or_default()), (SHARED[2], &replicas[..])];
    for (variant, ended) in restarts.into_iter().filter(|(variant, _)| lab.wants(variant)) {
        story.in_restart(variant, ended).await?;
    }
    if let Some(owned) = &owned {
        lab.phase("hold", OWNERS[1]);
        story.ask_for(owned, &revoked).await?;
    }
    lab.phase("settle", "");
    lab.hold(Duration::ZERO).await
}

/// A resource and whose it is.
struct Owned {
    resource: Resource,
    owner: usize,
}

fn client(number: usize) -> String {
    format!("client-{}", 1 + number % CLIENTS)
}

fn at(replica: &Replica) -> Target {
    Target::Replica(replica.name.clone())
}

impl Story {
    fn call(&self, replica: &Replica, resource: &Resource) -> Call {
        let call = Call::new(stream::CACHED, at(replica), &self.open, "client-1").of(resource).timeout(PATIENCE);
        call.with(Credential::NotNeeded)
    }

    /// A token of each site that is revoked now, if there is a way to.
    async fn revoked(&self) -> Result<Vec<(String, Token)>, LabError> {
        let lab = &self.lab;
        let (here, provider) = (lab.has(Capability::TokenRevocation), lab.has(Capability::TokenIntrospection));
        let mut revoked = Vec::new();
        if self.guarded.is_none() || !(here || provider) {
            return Ok(revoked);
        }
        for site in lab.sites() {
            let lasts = Validity { from_ms: -60_000, to_ms: 6 * 3_600_000 };
            let token = lab.token_valid(&site.name, "client-1", lasts).await?;
            match lab.replicas_of(&site.name).first() {
                Some(replica) if here => drop(lab.revoke(stream::TOKEN, &replica.name, &token).await),
                _ => drop(lab.revoke_at_provider(stream::TOKEN, &token).await),
            }
            revoked.push((site.name.clone(), token));
        }
        Ok(revoked)
    }

    /// What may never be served again, at each replica, several times.
    async fn never(&self) {
        for kind in NEVER {
            let resource = Resource::new(&format!("{}/1", kind.name), kind.says());
            for _ in 0..TIMES {
                join_all(self.lab.replicas().iter().map(|replica| self.lab.call(self.call(replica, &resource)))).await;
            }
        }
    }

    /// Two languages of one resource and two queries of one path, in turn.
    async fn representations(&self) {
        let resource = |kind: Kind, number: usize| Resource::new(&format!("{}/{number}", kind.name), kind.says());
        for number in 0..TIMES {
            let (vary, query) = (resource(VARY, number), resource(QUERY, number));
            let all =
                [vary.in_language("de"), vary.in_language("fr"), query.with_query("n=1"), query.with_query("n=2")];
            for _ in 0..2 {
                for one in &all {
                    join_all(self.lab.replicas().iter().map(|replica| self.lab.call(self.call(replica, one)))).await;
                }
            }
        }
    }

    /// What each replica brings is asked for at the others of its site.
    async fn everywhere(&self) -> Result<(), LabError> {
        self.lab.phase("hold", SHARED[0]);
        let from = self.lab.now();
        self.sweep("a").await;
        if self.lab.must_repeat_round(from, STALL, "") {
            self.sweep("b").await;
        }
        self.lab.hold(Duration::ZERO).await
    }

    async fn sweep(&self, round: &str) {
        for site in self.lab.sites() {
            let there = self.lab.replicas_of(&site.name);
            let entries = (0..ENTRIES).map(|number| {
                let name = format!("{}/{round}-{}-{number}", EVERYWHERE.name, site.name);
                (number, Resource::new(&name, EVERYWHERE.says()))
            });
            let there = &there;
            of::iter(entries)
                .for_each_concurrent(AT_ONCE, |(number, resource)| async move {
                    let first = number % there.len().max(1);
                    for turn in 0..there.len() {
                        if let Some(replica) = there.get((first + turn) % there.len()) {
                            self.lab.call(self.call(replica, &resource)).await;
                        }
                    }
                })
                .await;
        }
    }

    /// What `ended` bring is asked for when they were killed and started again.
    async fn in_restart(&self, variant: &str, ended: &[Replica]) -> Result<(), LabError> {
        self.lab.phase("hold", variant);
        let from = self.lab.now();
        self.restart(&format!("{variant}-a"), ended).await?;
        if self.lab.must_repeat_round(from, STALL, "") {
            self.restart(&format!("{variant}-b"), ended).await?;
        }
        Ok(())
    }

    async fn restart(&self, round: &str, ended: &[Replica]) -> Result<(), LabError> {
        let lab = &self.lab;
        let entries: Vec<Resource> = (0..ENTRIES_IN_RESTART)
            .map(|number| Resource::new(&format!("{}/{round}-{number}", EVERYWHERE.name), EVERYWHERE.says()))
            .collect();
        let ask = |turn: usize| {
            let calls: Vec<Call> = entries
                .iter()
                .enumerate()
                .filter_map(|(number, resource)| {
                    let replica = ended.get((number + turn) % ended.len().max(1))?;
                    Some(self.call(replica, resource))
                })
                .collect();
            of::iter(calls).for_each_concurrent(AT_ONCE, |call| async move { drop(lab.call(call).await) })
        };
        ask(0).await;
        for replica in ended {
            lab.mark(mark::NOT_READY_DECLARED, &replica.name, 0);
        }
        try_join_all(ended.iter().map(|replica| lab.kill(&replica.name))).await?;
        try_join_all(ended.iter().map(|replica| lab.restart(&replica.name, Disk::Keep))).await?;
        try_join_all(ended.iter().map(|replica| lab.wait_ready(&replica.name, lab.ready_within()))).await?;
        // What is ready connects to its store meanwhile.
        lab.hold(Duration::from_millis(300)).await?;
        ask(1).await;
        lab.hold(Duration::ZERO).await
    }

    /// Each of some clients asks for something of its own; then others do.
    async fn owners(&self, revoked: &[(String, Token)]) -> Result<Vec<Owned>, LabError> {
        self.lab.phase("hold", OWNERS[0]);
        let owned: Vec<Owned> = OWN
            .iter()
            .chain(&FOR_ALL)
            .flat_map(|kind| (0..OWNED).map(move |number| (kind, number)))
            .enumerate()
            .map(|(owner, (kind, number))| Owned {
                resource: Resource::new(&format!("{}/{number}", kind.name), kind.says()),
                owner,
            })
            .collect();
        self.ask_for(&owned, revoked).await?;
        Ok(owned)
    }

    /// The owner asks, and while its answer is under way another client does; then others, who have no token, and whose was revoked.
    async fn ask_for(&self, owned: &[Owned], revoked: &[(String, Token)]) -> Result<(), LabError> {
        let Some(guarded) = &self.guarded else { return Ok(()) };
        let lab = &self.lab;
        for site in lab.sites() {
            let there = lab.replicas_of(&site.name);
            let forged = SignRequest {
                client: "client-1".to_owned(),
                signing: "nobody".to_owned(),
                expires_in_s: 7_200,
                ..SignRequest::default()
            };
            let forged = lab.sign(&forged).await?;
            let revoked = revoked.iter().find(|(name, _)| *name == site.name).map(|(_, token)| token);
            let ask = |replica: &Replica, one: &Owned, by: usize| {
                Call::new(stream::CACHED, at(replica), guarded, &client(by)).of(&one.resource).timeout(PATIENCE)
            };
            let (there, forged) = (&there, &forged);
            of::iter(owned)
                .for_each_concurrent(AT_ONCE, |one| async move {
                    let Some(first) = there.get(one.owner % there.len().max(1)) else { return };
                    let slow = |by: usize| lab.call(ask(first, one, by).answered_after(Duration::from_millis(60)));
                    futures::join!(slow(one.owner), async {
                        let _interrupted = lab.hold(Duration::from_millis(15)).await;
                        slow(one.owner + 1).await
                    });
                    for replica in there {
                        lab.call(ask(replica, one, one.owner + 2)).await;
                        lab.call(ask(replica, one, 0).with(Credential::Missing)).await;
                        lab.call(ask(replica, one, 0).with(Credential::Forged).token(forged)).await;
                        if let Some(token) = revoked {
                            lab.call(ask(replica, one, 0).with(Credential::Revoked).token(token)).await;
                        }
                    }
                })
                .await;
        }
        lab.hold(Duration::ZERO).await
    }

    /// Many ask at once for what is not there, for what has expired, and for what was wiped.
    async fn bursts(&self) -> Result<(), LabError> {
        self.lab.phase("hold", "bursts");
        let from = self.lab.now();
        self.burst_round("a").await?;
        if self.lab.must_repeat_round(from, STALL, "") {
            self.burst_round("b").await?;
        }
        Ok(())
    }

    async fn burst_round(&self, round: &str) -> Result<(), LabError> {
        let [soon, long] = HOT.map(|kind| Resource::new(&format!("{}/{round}", kind.name), kind.says()));
        let (site, _) = cluster(&self.lab);
        let store = self.lab.deployment().store_of(&site);
        self.burst(&soon).await;
        let before = match &store {
            Some(store) => self.lab.store_keys(store).await?,
            None => BTreeSet::new(),
        };
        self.burst(&long).await;
        if let Some(store) = &store {
            // What it brought is removed, as a store that was emptied would have lost it; a cache in memory keeps it.
            let brought = self.lab.store_keys(store).await?.difference(&before).cloned().collect();
            self.lab.remove_keys(store, &brought).await?;
            self.burst(&long).await;
        }
        self.lab.hold(Duration::from_millis(1_100)).await?;
        self.burst(&soon).await;
        self.lab.hold(Duration::ZERO).await
    }

    async fn burst(&self, resource: &Resource) {
        let (_, replicas) = cluster(&self.lab);
        self.lab.mark(BURST, &resource.name, i64::try_from(MANY).unwrap_or(i64::MAX));
        let calls = replicas.iter().cycle().take(if replicas.is_empty() { 0 } else { MANY });
        join_all(calls.map(|replica| self.lab.call(self.call(replica, resource).answered_after(SLOW_UPSTREAM)))).await;
    }
}

/// Resources that are asked for at every replica, over and over.
struct Asking {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Asking {
    fn start(story: &Story, kinds: &[Kind], every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for replica in story.lab.replicas() {
            let calls: Vec<Call> = kinds
                .iter()
                .map(|kind| Resource::new(&format!("{}/{}", kind.name, replica.site), kind.says()))
                .map(|resource| story.call(&replica, &resource))
                .collect();
            let (lab, stop) = (story.lab.clone(), Arc::clone(&stop));
            tasks.push(tokio::spawn(async move {
                // Ends with its stop, or with the run: an interrupted hold is an error.
                while !stop.load(Ordering::Relaxed) {
                    for call in &calls {
                        lab.call(call.clone()).await;
                    }
                    if lab.hold(every).await.is_err() {
                        break;
                    }
                }
            }));
        }
        Self { stop, tasks }
    }

    /// Ends it; returns when the last request was answered.
    async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        join_all(std::mem::take(&mut self.tasks)).await;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // An experiment that ends by an error leaves no request behind.
        self.stop.store(true, Ordering::Relaxed);
    }
}
