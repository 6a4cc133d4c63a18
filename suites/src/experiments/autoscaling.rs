//! Replicas are kept busy until the platform adds one, and then busier; the load goes, and so does what was added; and the same while the control plane is
//! away. Where nothing scales, it is only seen that nobody comes. Read by SCL-01.

use super::canaries::plain;
use super::rounds::cluster;
use crate::claims::scaling::{AUTOSCALING, AWAY, BUSY, LOAD_SHORT, LOADED, THERE};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions, Replica, Target, Traffic, TrafficSpec};
use gatecrash_engine::machine::CoreTime;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::CONTROL_PLANE;
use gatecrash_model::fault::{Fault, NetworkFault};
use gatecrash_model::{Demands, Deployment};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: AUTOSCALING,
    story: "replicas are kept busy until the platform adds one, with the control plane there and away; the load goes, and so does what was added",
    needs: &[Capability::ReplicaFaults],
    expected,
    options: |_| LabOptions { platform: true, autoscale: true, ..LabOptions::default() },
    steps,
    run: |lab| story(lab).boxed(),
};

/// What replicas use without the load: two looks of the platform.
const STEADY: Duration = Duration::from_secs(20);
const LEAST_STEADY: Duration = Duration::from_secs(2);
/// What share of its request a replica is to use (SCL-01), in percent.
const LOAD: f64 = 80.0;
/// What a replica requests where no platform says so, in thousandths of a core.
const REQUEST: u32 = 100;
/// Processor times come in hundredths of seconds: what is used is told over a second, whatever the scale.
const LOOK: Duration = Duration::from_secs(1);
/// Requests a second through the ingress: at first, and at most, in all and for each replica, whichever is more; a slow machine carries less.
const FIRST_PER_S: f64 = 60.0;
const MOST_PER_S: f64 = 1_500.0;
const MOST_PER_S_EACH: f64 = 1_000.0;
/// With less of the machine's time free more requests keep nobody busier: they wait, each with the connections that it has open.
const LEAST_FREE: f64 = 0.1;
/// How long a load may wait for time that others have taken.
const PATIENCE: Duration = Duration::from_secs(15);
/// The load grows by at least and at most so many times from one look to the next.
const GROWS: (f64, f64) = (1.15, 2.5);
/// How long a request may take: whether it is lost is what counts.
const WITHIN: Duration = Duration::from_secs(5);
/// How long one more, and as few as before, are waited for: what SCL-01 allows, and more, so that what comes late is seen to be late.
const OUT: Duration = Duration::from_secs(225);
const ALLOWED_OUT: Duration = Duration::from_secs(180);
const IN: Duration = Duration::from_secs(750);
const ALLOWED_IN: Duration = Duration::from_secs(600);
/// How long the load goes on when the new one serves, and when all there may be are busy: a few looks of the platform.
const JOINED: Duration = Duration::from_secs(45);
/// What was in flight is told by then.
const SETTLE: Duration = Duration::from_secs(10);
const LEAST_SETTLE: Duration = Duration::from_secs(1);

fn steps(deployment: &Deployment) -> Vec<String> {
    if deployment.autoscale().is_some() && deployment.control_plane.is_some() {
        named([THERE, AWAY])
    } else {
        Vec::new()
    }
}

fn expected(deployment: &Deployment, scale: f64, demands: &Demands) -> Duration {
    let Some(rules) = deployment.autoscale() else {
        return demands.stretched(OUT, "out", ALLOWED_OUT, scale) + STEADY.mul_f64(scale).max(LEAST_STEADY) + LOOK * 5;
    };
    let round = (JOINED + rules.period * 3 + rules.stabilization).mul_f64(scale) + LOOK * 6;
    let rounds = u32::try_from(steps(deployment).len()).unwrap_or(1).max(1);
    STEADY.mul_f64(scale).max(LEAST_STEADY) + round * rounds + Duration::from_secs(4)
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let (site, replicas) = cluster(&lab);
    // What every story asks all the time is a load, too: on a slow machine enough for one replica more. It goes when the load does.
    lab.background(false);
    lab.phase("steady", "");
    lab.start_platform();
    lab.hold_window(lab.scaled(STEADY).max(LEAST_STEADY)).await?;
    let can_be_away = steps(lab.deployment()).iter().any(|step| step == AWAY) && lab.has(Capability::NetworkFaults);
    if !can_be_away || lab.wants(THERE) {
        round(&lab, THERE, &site, replicas.len()).await?;
    }
    if can_be_away && lab.wants(AWAY) {
        round(&lab, AWAY, &site, replicas.len()).await?;
    }
    lab.stop_platform().await;
    lab.phase("end", "");
    Ok(())
}

/// Busy replicas, one more, and as many as before.
async fn round(lab: &Lab, variant: &str, site: &str, before: usize) -> Result<(), LabError> {
    let away = if variant == AWAY {
        lab.phase("inject", variant);
        let links = lab.links("*", CONTROL_PLANE);
        Some(lab.inject(Fault::Network { links, what: NetworkFault::Refuse }).await?)
    } else {
        None
    };
    lab.background(true);
    lab.phase("hold", variant);
    let mut load = Load::new(lab, site)?;
    load.raise(lab, |there| there > before).await?;
    let more = load.wait(lab, lab.stretched(OUT, "out", ALLOWED_OUT), |there| there.len() > before).await?;
    if let Some(away) = away {
        // Long enough that a replica without a configuration is asked for something, if anybody asks it.
        lab.hold(lab.scaled(JOINED)).await?;
        lab.phase("heal", variant);
        lab.heal(away).await?;
        lab.phase("hold", variant);
    }
    if more && load.serve(lab, lab.stretched(OUT, "out", ALLOWED_OUT)).await? {
        if variant == THERE {
            let most = lab.deployment().autoscale().map_or(0, |rules| rules.max_replicas);
            load.raise(lab, |there| u32::try_from(there).is_ok_and(|there| there > most)).await?;
        }
        lab.hold(lab.scaled(JOINED)).await?;
    }
    lab.background(false);
    lab.phase("settle", variant);
    if lab.deployment().autoscale().is_some() {
        load.stop().await;
        let quiet = Load::new(lab, site)?;
        quiet.wait(lab, lab.stretched(IN, "in", ALLOWED_IN), |there| there.len() <= before).await?;
        lab.hold(lab.scaled(SETTLE).max(LEAST_SETTLE)).await?;
        quiet.stop().await;
    } else {
        load.stop().await;
    }
    Ok(())
}

/// Requests through the ingress, more and more of them.
struct Load {
    site: String,
    route: String,
    per_s: f64,
    streams: Vec<Traffic>,
}

impl Load {
    /// A little: enough to see what is lost.
    fn new(lab: &Lab, site: &str) -> Result<Self, LabError> {
        let mut load = Self { site: site.to_owned(), route: plain(lab)?, per_s: 0.0, streams: Vec::new() };
        load.grow(lab, FIRST_PER_S);
        Ok(load)
    }

    fn grow(&mut self, lab: &Lab, more_per_s: f64) {
        self.per_s += more_per_s;
        self.streams.push(lab.traffic(TrafficSpec {
            stream: BUSY.to_owned(),
            targets: vec![(Target::Ingress(self.site.clone()), 1)],
            route: self.route.clone(),
            keys: (1..=5).map(|number| format!("client-{number}")).collect(),
            rate_per_s: more_per_s,
            timeout: Some(WITHIN),
        }));
    }

    /// Until replicas use as much as they are to, or `enough` of them are there. Marked, and so is that no load was enough for that, or none that
    /// the machine carries.
    async fn raise(&mut self, lab: &Lab, enough: impl Fn(usize) -> bool) -> Result<(), LabError> {
        let mut waited = Duration::ZERO;
        loop {
            let machine = CoreTime::now();
            let (there, percent) = used(lab, &self.site).await?;
            let free = machine.and_then(|before| before.free_until(CoreTime::now()?));
            #[expect(clippy::cast_possible_truncation, reason = "a share of a core in percent")]
            let told = percent.round() as i64;
            if percent >= LOAD || enough(there) {
                lab.mark(LOADED, &self.site, told);
                return Ok(());
            }
            let is_full = free.is_some_and(|free| free < LEAST_FREE);
            if is_full && waited < PATIENCE {
                // Others may need the machine just now: they end, and this load stays.
                waited += LOOK;
                continue;
            }
            let most_per_s = MOST_PER_S.max(MOST_PER_S_EACH * f64::from(u32::try_from(there).unwrap_or(1)));
            if self.per_s >= most_per_s || is_full {
                lab.mark(LOAD_SHORT, &self.site, told);
                return Ok(());
            }
            let times = (LOAD * 1.1 / percent.max(1.0)).clamp(GROWS.0, GROWS.1);
            let more = (self.per_s * (times - 1.0)).min(most_per_s - self.per_s).max(1.0);
            self.grow(lab, more);
        }
    }

    /// Whether the replicas of the site become `as_wanted` within so long.
    async fn wait(
        &self,
        lab: &Lab,
        within: Duration,
        as_wanted: impl Fn(&[Replica]) -> bool,
    ) -> Result<bool, LabError> {
        let from = lab.now();
        loop {
            if as_wanted(&lab.replicas_of(&self.site)) {
                return Ok(true);
            }
            if Duration::from_nanos(lab.now().saturating_sub(from)) >= within {
                return Ok(false);
            }
            lab.hold(LOOK / 20).await?;
        }
    }

    /// Whether the ingress uses all replicas of the site, each within so long.
    async fn serve(&self, lab: &Lab, within: Duration) -> Result<bool, LabError> {
        for replica in lab.replicas_of(&self.site) {
            if !lab.wait_in_rotation(&replica, within).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn stop(self) {
        for stream in self.streams {
            stream.stop().await;
        }
    }
}

/// How many replicas the site has, and what share of its request each uses on average for the time of a look, in percent.
async fn used(lab: &Lab, site: &str) -> Result<(usize, f64), LabError> {
    let replicas = lab.replicas_of(site);
    let (before, from) = (lab.record_processor_times(&replicas).await, lab.now());
    lab.hold(LOOK).await?;
    let (after, to) = (lab.record_processor_times(&replicas).await, lab.now());
    let elapsed = Duration::from_nanos(to.saturating_sub(from)).as_secs_f64();
    let used = before.into_iter().zip(after).map(|(before, after)| {
        let more = after.zip(before).and_then(|(after, before)| after.checked_sub(before));
        more.unwrap_or_default().as_secs_f64() / elapsed
    });
    let request = lab.deployment().autoscale().map_or(REQUEST, |rules| rules.cpu_request_millicores);
    let mean = used.sum::<f64>() / f64::from(u32::try_from(replicas.len()).unwrap_or(1).max(1));
    Ok((lab.replicas_of(site).len(), mean * 1_000.0 / f64::from(request) * 100.0))
}
