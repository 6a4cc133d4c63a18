//! What a cloud does when its replicas are busy: adds some, and takes them away when fewer are enough. How many there should be is
//! [`gatecrash_model::platform::scaling`]'s to say; here is looked at what they use, started and ended.

use super::{Lab, LabError, Replica};
use crate::runtime::Signal;
use gatecrash_model::deployment::{Autoscale, Site};
use gatecrash_model::history::event::mark;
use gatecrash_model::platform::scaling::{Scaler, first_to_go};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a replica that was asked to end may take: Kubernetes' own 30 s, and what it takes to see the end. Scaled.
const GRACE: Duration = Duration::from_secs(35);
/// How long a killed one may take.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// All sites as their platform scales them.
pub(super) struct Scaling {
    rules: Autoscale,
    sites: Vec<(Site, Scaler)>,
    /// When each replica was looked at last, and what it had used since its start.
    seen: BTreeMap<String, (u64, Duration)>,
    /// When it is looked again, ns.
    due: u64,
}

impl Scaling {
    pub(super) fn new(lab: &Lab, rules: Autoscale) -> Self {
        let defects = &lab.deployment().gateway.defects;
        let scaler = |site: &Site| Scaler::new(&rules, site.replicas, defects, lab.scale());
        let sites = lab.sites().iter().map(|site| (site.clone(), scaler(site))).collect();
        Self { rules, sites, seen: BTreeMap::new(), due: 0 }
    }

    /// Looks at what replicas use, if it is time, and starts or ends some.
    pub(super) async fn look(&mut self, lab: &Lab) {
        let now = lab.now();
        if now < self.due {
            return;
        }
        self.due = now.saturating_add(u64::try_from(self.rules.period.as_nanos()).unwrap_or(u64::MAX));
        let used = self.used(lab).await;
        for (site, scaler) in &mut self.sites {
            let there = lab.replicas_of(&site.name);
            // One that was not there before has used nothing yet, as an autoscaler has it.
            let (Some(running), Some(sum)) = (
                u32::try_from(there.len()).ok().filter(|running| *running > 0),
                there.iter().filter_map(|one| used.get(&one.name)).copied().reduce(|sum, one| sum + one),
            ) else {
                continue;
            };
            let mean = sum / f64::from(running);
            let request = f64::from(self.rules.cpu_request_millicores) / 1_000.0;
            #[expect(clippy::cast_possible_truncation, reason = "a share of a core in percent")]
            let percent = (mean / request * 100.0).round() as i64;
            lab.mark(mark::USED_PERCENT, &site.name, percent);
            let wanted = scaler.look(now, running, mean);
            if let Err(error) = scale(lab, site, scaler, &there, (wanted, percent)).await {
                // Tried again after the next period; a story that waits for it gives up by itself.
                lab.mark(mark::PLATFORM_TROUBLE, &site.name, 0);
                lab.note(format!("the platform could not scale `{}`: {error}", site.name));
            }
        }
    }

    /// Shares of a core that replicas have used since they were looked at last.
    async fn used(&mut self, lab: &Lab) -> BTreeMap<String, f64> {
        let replicas = lab.replicas();
        let times = lab.record_processor_times(&replicas).await;
        let now = lab.now();
        let mut used = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for (replica, time) in replicas.into_iter().zip(times) {
            let Some(time) = time else { continue };
            if let Some((at, before)) = self.seen.get(&replica.name)
                // Whoever was started again begins anew.
                && let Some(more) = time.checked_sub(*before)
                && now > *at
            {
                let elapsed = Duration::from_nanos(now.saturating_sub(*at));
                used.insert(replica.name.clone(), more.as_secs_f64() / elapsed.as_secs_f64());
            }
            seen.insert(replica.name, (now, time));
        }
        self.seen = seen;
        used
    }
}

/// Makes the replicas of a site as many as are wanted, for they use so many percent of what they request.
async fn scale(
    lab: &Lab,
    site: &Site,
    scaler: &Scaler,
    there: &[Replica],
    (wanted, percent): (u32, i64),
) -> Result<(), LabError> {
    let mut there: Vec<Replica> = there.to_vec();
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    while there.len() < wanted {
        let zones: Vec<&str> = there.iter().map(|replica| replica.zone.as_str()).collect();
        let zone = scaler.zone(site, &zones).to_owned();
        let with = i64::try_from(there.len().saturating_add(1)).unwrap_or(i64::MAX);
        let new = lab.scale_out(site, &zone, with, percent).await?;
        there.push(new);
    }
    while there.len() > wanted {
        let known: Vec<(u32, &str)> = there.iter().map(|replica| (replica.index, replica.zone.as_str())).collect();
        let Some(first) = first_to_go(&known) else { break };
        let Some(at) = there.iter().position(|replica| replica.index == first) else { break };
        let last = there.remove(at);
        lab.scale_in(&last, i64::try_from(there.len()).unwrap_or(i64::MAX)).await?;
    }
    Ok(())
}

impl Lab {
    async fn scale_out(&self, site: &Site, zone: &str, with: i64, percent: i64) -> Result<Replica, LabError> {
        // Not between a fault and its witness.
        let _turn = self.inner.acting.lock().await;
        let new = self.enter(site, self.next_index(site), zone, BTreeMap::new()).await?;
        self.mark(mark::SCALED_OUT, &new.name, with);
        self.mark_zone(site, &new);
        let by = format!("by the platform, zone `{zone}`: replicas use {percent} % of what they request");
        if let Err(error) = self.start_by(&new, &by).await {
            // Another name is tried next: this one must not be waited for.
            drop(self.take_out(&new.name));
            return Err(error);
        }
        self.attend(&new).await?;
        self.set_backends(site).await?;
        Ok(new)
    }

    /// As a pod is taken away: asked to end, killed if it does not.
    async fn scale_in(&self, last: &Replica, without: i64) -> Result<(), LabError> {
        {
            let _turn = self.inner.acting.lock().await;
            self.mark(mark::SCALED_IN, &last.name, without);
            self.signal(&last.name, Signal::Terminate).await?;
        }
        if self.wait_gone(&last.name, self.scaled(GRACE)).await?.is_none() {
            self.signal(&last.name, Signal::Kill).await?;
            self.wait_gone(&last.name, KILLED_WITHIN).await?;
        }
        self.remove_replica(&last.name).await
    }
}
