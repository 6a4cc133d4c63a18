//! What a cloud does for its replicas: looks at each of them, kills one that hangs, and starts another one in the place of one that
//! is lost, in its zone. When that is decided is [`gatecrash_model::platform`]'s to say.
//!
//! It looks where a kubelet does: at the process, at the admin listener by its own address, and at the data port over a link of its
//! own, which a fault can close. It acts in labs that want it ([`super::LabOptions::platform`]), from [`Lab::start_platform`] on, and is stopped before
//! anything else when a lab ends. The ingress learns nothing from it but the list of replicas: what is in rotation it sees by its own probes.

use super::scaling::Scaling;
use super::topology::{self, LinkKey};
use super::{Lab, LabError, Replica};
use crate::clock;
use crate::probe::{Protocol, Seen as Probed, probe};
use crate::runtime::{Signal, State as RunState};
use futures::future::{join, join_all};
use gatecrash_model::deployment::{PLATFORM, Site, Successor};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::event::mark;
use gatecrash_model::platform::{Finding, Rules, Seen, Watch};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A probe is never given less, however short the scale makes it: a busy machine is no hung replica.
const LEAST_TIMEOUT: Duration = Duration::from_millis(500);
/// A harness later than this share of a probe's time does not know why nobody answered.
const LATE_SHARE: u32 = 4;
/// How long the platform may take to stop: it finishes the start that it is at, which the runtime bounds.
const STOPS_WITHIN: Duration = Duration::from_secs(40);
/// How often a wait looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A platform that acts.
pub(super) struct Acting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// One replica in the place of another.
#[derive(Clone, Debug)]
pub(super) struct Succession {
    lost: String,
    successor: Replica,
    at: u64,
}

impl Lab {
    /// Whether the deployment has a platform and this lab wants it.
    pub(super) fn has_platform(&self) -> bool {
        self.inner.options.platform && self.deployment().platform.is_some()
    }

    /// Lets the deployment's platform act from now on; does nothing if it has none, if the lab does not want it, or while it acts already.
    pub fn start_platform(&self) {
        let Some(platform) = self.deployment().platform.clone().filter(|_| self.has_platform()) else { return };
        let mut state = self.state();
        if state.platform.is_some() {
            return;
        }
        let rules = Rules::new(&platform, self.ready_within(), &self.deployment().gateway.defects, self.scale());
        let stop = CancellationToken::new();
        let shift = Shift {
            lab: self.clone(),
            rules,
            period: platform.probe_period,
            timeout: platform.probe_timeout.max(LEAST_TIMEOUT),
            successor: platform.successor,
            watches: state.replicas.iter().map(|entry| (entry.replica.name.clone(), Watch::running())).collect(),
            replaced: 0,
            scaling: platform.autoscale.filter(|_| self.inner.options.autoscale).map(|rules| Scaling::new(self, rules)),
        };
        let task = tokio::spawn(shift.work(stop.clone()));
        state.platform = Some(Acting { stop, task });
    }

    /// Ends what [`Lab::start_platform`] began; returns when it does nothing any more.
    pub async fn stop_platform(&self) {
        let Some(Acting { stop, mut task }) = self.state().platform.take() else { return };
        stop.cancel();
        if tokio::time::timeout(STOPS_WITHIN, &mut task).await.is_err() {
            tracing::warn!("the platform did not stop within {} s", STOPS_WITHIN.as_secs());
            task.abort();
        }
    }

    /// Who was put in the place of `lost` since `since` (ns); `None` if nobody was yet.
    #[must_use]
    pub fn successor_of(&self, lost: &str, since: u64) -> Option<Replica> {
        let state = self.state();
        let found = state.successors.iter().find(|known| known.lost == lost && known.at >= since);
        found.map(|known| known.successor.clone())
    }

    /// Waits until somebody was put in the place of `lost` since `since` (ns), and is ready and in rotation; `None` if that does not come within
    /// `within`.
    ///
    /// # Errors
    /// `Interrupted`, or the history could not be written.
    pub async fn wait_replaced(&self, lost: &str, since: u64, within: Duration) -> Result<Option<Replica>, LabError> {
        let began = self.now();
        loop {
            if let Some(successor) = self.successor_of(lost, since)
                && self.is_ready(&successor.name).await
                && self.is_in_rotation(&successor)
            {
                return Ok(Some(successor));
            }
            if self.inner.kit.clock.since(began) >= within {
                return Ok(None);
            }
            self.hold(LOOK_EVERY).await?;
        }
    }

    /// One look at a replica; each probe within `timeout`. What is not answered while the harness itself was late says nothing of the replica.
    async fn look_at(&self, name: &str, timeout: Duration) -> Seen {
        let from = self.now();
        match self.inner.kit.runtime.state(&self.inner.network, name).await {
            RunState::Ended(_) => Seen::Ended,
            // The engine did not answer, or the replica was removed meanwhile.
            RunState::Absent => Seen::Nothing,
            RunState::Running | RunState::Paused => {
                let (live, open) = join(self.is_live(name, timeout), self.is_open(name, timeout)).await;
                let late = self.inner.lateness.since(from) > timeout / LATE_SHARE;
                if late && !(live && open) { Seen::Nothing } else { Seen::Probed { live, open } }
            }
        }
    }

    /// Whether the replica says that it lives, at its own address. Without a liveness of its own any answer of its readiness is one.
    async fn is_live(&self, name: &str, timeout: Duration) -> bool {
        let (ready, live) = (&self.adapter().ready, self.adapter().live.as_ref());
        let probe = live.unwrap_or(ready);
        let port = self.adapter().ports.get(&probe.port).copied();
        let Ok(address) = self.address_of(name) else { return false };
        let address = SocketAddr::new(address, port.unwrap_or_else(|| topology::data_port(self.adapter())));
        let answer = self.inner.http.get(format!("http://{address}{}", probe.path)).timeout(timeout).send().await;
        answer.is_ok_and(|answer| live.is_none_or(|live| answer.status().as_u16() == live.status))
    }

    /// Whether its data port takes a connection; what is said on it does not matter.
    async fn is_open(&self, name: &str, timeout: Duration) -> bool {
        let key = LinkKey::new(PLATFORM, name, topology::data_port(self.adapter()));
        let Some(address) = self.state().links.get(&key).map(crate::link::Link::address) else { return false };
        // A relay accepts before it knows; whether anybody is behind it is told by what comes, if only its end.
        match probe(address, Protocol::Http, 0, timeout).await {
            Probed::Answered(_) | Probed::Silent => true,
            Probed::Refused | Probed::Hung | Probed::Closed(_) => false,
        }
    }

    /// Writes in which of the zones of `site` the replica is.
    pub(super) fn mark_zone(&self, site: &Site, replica: &Replica) {
        let number = site.zones.iter().position(|zone| *zone == replica.zone).map_or(0, |at| at.saturating_add(1));
        self.mark(mark::SUCCESSOR_ZONE, &replica.name, i64::try_from(number).unwrap_or_default());
    }

    /// Puts another one in the place of `lost`.
    async fn replace(
        &self,
        lost: &Replica,
        finding: Finding,
        successor: Successor,
        rules: &Rules,
    ) -> Result<(), LabError> {
        // Not between a fault and its witness.
        let _turn = self.inner.acting.lock().await;
        let (network, runtime) = (&self.inner.network, &self.inner.kit.runtime);
        let site = self.deployment().site(&lost.site).cloned().ok_or_else(|| LabError::Unknown(lost.site.clone()))?;
        match runtime.state(network, &lost.name).await {
            RunState::Running | RunState::Paused if finding.runs() => {
                runtime.signal(network, &lost.name, Signal::Kill).await?;
                self.event(&lost.name, ReplicaState::Gone, &format!("killed by the platform: {}", finding.words()));
            }
            // Somebody else started it again meanwhile.
            RunState::Running | RunState::Paused => return Ok(()),
            RunState::Ended(how) => {
                self.event(&lost.name, ReplicaState::Gone, &format!("found by the platform: {how}"));
            }
            RunState::Absent => {}
        }
        self.free(&lost.name).await?;
        let next = match successor {
            Successor::Same => lost.clone(),
            Successor::New => {
                let settings = self.settings_of(&lost.name);
                let left = self.replicas_of(&site.name);
                let left: Vec<&str> =
                    left.iter().filter(|one| one.name != lost.name).map(|one| one.zone.as_str()).collect();
                let zone = rules.zone(&lost.zone, &left).to_owned();
                self.enter(&site, self.next_index(&site), &zone, settings).await?
            }
        };
        self.mark(mark::SUCCESSOR, &next.name, i64::from(lost.index));
        self.mark_zone(&site, &next);
        let by = format!("by the platform, in the place of `{}`, zone `{}`", lost.name, next.zone);
        let at = self.now();
        let started = self.start_by(&next, &by).await;
        if started.is_err() && next.name != lost.name {
            // Another name is tried next: this one must not be waited for.
            drop(self.take_out(&next.name));
        }
        started?;
        self.replaced_faults_are_over(&lost.name, &next.name).await;
        self.state().successors.push(Succession { lost: lost.name.clone(), successor: next.clone(), at });
        if next.name != lost.name {
            let gone = self.take_out(&lost.name);
            self.attend(&next).await?;
            match gone {
                // Tells the ingress the new list, too.
                Some(gone) => self.dispose(gone).await?,
                None => self.set_backends(&site).await?,
            }
        }
        Ok(())
    }
}

/// The platform at work.
struct Shift {
    lab: Lab,
    rules: Rules,
    period: Duration,
    timeout: Duration,
    successor: Successor,
    watches: BTreeMap<String, Watch>,
    /// How many it has replaced since it began to act.
    replaced: u32,
    scaling: Option<Scaling>,
}

impl Shift {
    /// Looks at all replicas once a period, replaces those that are lost, and scales if it does, until `stop`.
    async fn work(mut self, stop: CancellationToken) {
        let mut due = self.lab.now();
        loop {
            due = due.saturating_add(u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX)).max(self.lab.now());
            let pause = Duration::from_nanos(due.saturating_sub(self.lab.now()));
            tokio::select! { () = clock::sleep(pause) => {} () = stop.cancelled() => return }
            let replicas = self.lab.replicas();
            tokio::select! { () = self.look(&replicas) => {} () = stop.cancelled() => return }
            for replica in replicas {
                if stop.is_cancelled() {
                    return;
                }
                // Not given up in the middle: what was started must be known.
                self.act(&replica).await;
            }
            // In turn with the rest: one that is asked to end is not lost.
            if let Some(scaling) = self.scaling.as_mut().filter(|_| !stop.is_cancelled()) {
                scaling.look(&self.lab).await;
            }
        }
    }

    async fn look(&mut self, replicas: &[Replica]) {
        self.watches.retain(|name, _| replicas.iter().any(|replica| replica.name == *name));
        let seen = join_all(replicas.iter().map(|replica| self.lab.look_at(&replica.name, self.timeout))).await;
        let now = self.lab.now();
        for (replica, seen) in replicas.iter().zip(seen) {
            let watch = self.watches.entry(replica.name.clone()).or_insert_with(|| Watch::started(now));
            let Some(finding) = watch.look(now, seen, &self.rules) else { continue };
            let failed = match finding {
                Finding::Hung { failed } => i64::from(failed),
                Finding::Dead | Finding::NeverCameUp => 0,
            };
            self.lab.mark(mark::FOUND_LOST, &replica.name, failed);
        }
    }

    /// Replaces the replica, if it is lost and it is time.
    async fn act(&mut self, replica: &Replica) {
        let now = self.lab.now();
        let Some(finding) = self.watches.get(&replica.name).and_then(|watch| watch.due(now, &self.rules)) else {
            return;
        };
        if !self.rules.may_replace(self.replaced) {
            return;
        }
        if let Err(error) = self.lab.replace(replica, finding, self.successor, &self.rules).await {
            // Tried again after the next period; a story that waits for it gives up by itself.
            self.lab.mark(mark::PLATFORM_TROUBLE, &replica.name, 0);
            self.lab.note(format!("the platform could not replace `{}`: {error}", replica.name));
            return;
        }
        self.replaced = self.replaced.saturating_add(1);
        self.watches.remove(&replica.name);
        if self.successor == Successor::Same {
            self.watches.insert(replica.name.clone(), Watch::started(self.lab.now()));
        }
    }
}
