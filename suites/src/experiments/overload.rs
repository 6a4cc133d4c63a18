//! One site is asked for more and more, until it is asked for twice what it can do; then for half of that again. Once more with a replica
//! killed at the peak. Then each replica gets a neighbour that takes most of its processor time. Read by OVL-01, OVL-02 and OVL-03.
//!
//! What a replica can do is set by its concurrency and by how long the upstream takes, so that a site can be overloaded without overloading
//! the machine that it shares with whoever measures.

use super::canaries::plain;
use super::rounds::{Rounds, cluster, evenly};
use crate::claims::overload::{AFTER_KILL, AFTER_PEAK, AFTER_PRESSURE, KILLED, OFFERED, OVER, PEAK, PRESSED, STEPS};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::{join_all, try_join, try_join_all};
use gatecrash_engine::clock;
use gatecrash_engine::lab::{Call, Disk, Lab, LabError, LabOptions, Replica, Target, Traffic, TrafficSpec};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::operation::stream;
use gatecrash_model::profile::Scalar;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "overload",
    story: "a site is asked for more and more up to twice what it can do, then for half of that; once more with a replica killed at the peak, and once with little processor time for its replicas",
    needs: &[Capability::Concurrency, Capability::ReplicaFaults],
    expected: |_, scale, demands| {
        let stretch = |lasts: Duration, least: Duration| lasts.mul_f64(scale).max(least);
        let steps = stretch(STEP, LEAST_STEP) * u32::try_from(STEPS).unwrap_or(10);
        let peaks = stretch(PEAKS, LEAST_PEAK) * 2 + stretch(PEAKS / 2, LEAST_PEAK / 2);
        let pressed = stretch(PRESSURE, LEAST_PRESSURE) + WITNESSED * 3;
        steps
            + peaks
            + pressed
            + (demands.stretched(T_REC, "OVL-03 within", T_REC, scale) + LOOK) * 3
            + SATURATED * 2
            + Duration::from_secs(5)
    },
    options: |_| bounded(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// Requests that a replica may have at the upstream, and how long each is there: 100 a second.
pub(super) const CONCURRENCY: f64 = 2.0;
pub(super) const SERVICE: Duration = Duration::from_millis(20);
/// Requests that may wait at a replica: for a quarter of a second.
const QUEUE: f64 = 25.0;
/// Steps of the ramp, from half to one and a half times what the site can do.
const STEP: Duration = Duration::from_secs(20);
const LEAST_STEP: Duration = Duration::from_millis(1500);
/// How long it is asked for twice as much, and half as long for one and a half times as much.
const PEAKS: Duration = Duration::from_secs(60);
const LEAST_PEAK: Duration = Duration::from_secs(4);
/// How long OVL-03 gives it to recover, and for how long more it is looked at.
const T_REC: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_secs(2);
/// How long it is asked by as many as can wait, to see what it can do.
const SATURATED: Duration = Duration::from_millis(1500);
const AT_ONCE: usize = 24;
/// How long its replicas are pressed, and to how many thousandths of a core each: a replica and its burner get to run for a fifth of the time. All
/// replicas together have half of the machine at most, so that whoever measures has the rest.
const PRESSURE: Duration = Duration::from_secs(20);
const LEAST_PRESSURE: Duration = Duration::from_secs(2);
const MILLICORES: u32 = 200;
const LEAST_MILLICORES: u32 = 20;
/// How long the witness of pressure looks, which it does three times.
const WITNESSED: Duration = Duration::from_millis(500);
/// Requests a second that no site notices.
const LOW: f64 = 40.0;
/// Quotas that a replica is asked for at the peak.
const QUOTAS: f64 = 1.6;

/// A lab whose replicas can do so much and no more.
pub(super) fn bounded() -> LabOptions {
    let settings = [("concurrency", CONCURRENCY), ("queue", QUEUE)];
    let settings = settings.into_iter().map(|(name, number)| (name.to_owned(), Scalar::Number(number))).collect();
    LabOptions { settings, ..LabOptions::default() }
}

/// Step: it is asked for more than it can do, and recovers.
const PEAK_STEP: &str = "peak";

fn steps(_: &Deployment) -> Vec<String> {
    named([PEAK_STEP, KILLED, PRESSED])
}

/// What each of so many replicas is pressed to on a machine with so many cores.
fn share(replicas: usize, cores: usize) -> u32 {
    let half = u32::try_from(cores.saturating_mul(500) / replicas.max(1)).unwrap_or(u32::MAX);
    half.clamp(LEAST_MILLICORES, MILLICORES)
}

struct Story {
    lab: Lab,
    site: String,
    route: String,
    running: Option<Traffic>,
    halted: Vec<Traffic>,
}

impl Story {
    /// From here on the site is asked for so many a second, in a phase of this name.
    fn ask(&mut self, phase: &str, variant: &str, rate_per_s: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a rate in thousandths is far below 2^63")]
        let thousandths = (rate_per_s * 1000.0) as i64;
        self.halted.extend(self.running.take().inspect(Traffic::halt));
        self.lab.phase(phase, variant);
        self.lab.mark(OFFERED, variant, thousandths);
        let spec = TrafficSpec {
            stream: stream::TRAFFIC.to_owned(),
            targets: vec![(Target::Ingress(self.site.clone()), 1)],
            route: self.route.clone(),
            keys: (1..=10).map(|number| format!("client-{number}")).collect(),
            rate_per_s,
            timeout: None,
        };
        self.running = Some(self.lab.traffic_answered_after(spec, SERVICE));
    }

    /// What the site can do: requests a second that were answered 2xx, asked by as many as can wait.
    async fn saturate(&mut self) -> Result<f64, LabError> {
        self.halted.extend(self.running.take().inspect(Traffic::halt));
        self.lab.phase("hold", "saturated");
        let until = self.lab.now().saturating_add(u64::try_from(SATURATED.as_nanos()).unwrap_or(u64::MAX));
        let began = self.lab.now();
        let (lab, site, route) = (&self.lab, &self.site, &self.route);
        let asking = (0..AT_ONCE).map(|number| async move {
            let mut answered = 0_u32;
            while lab.now() < until {
                let key = format!("client-{}", 1 + number % 10);
                let call = Call::new(stream::MANAGEMENT, Target::Ingress(site.clone()), route, &key);
                let outcome = lab.call(call.answered_after(SERVICE).timeout(Duration::from_secs(5))).await;
                answered += u32::from(outcome.answer.is_success());
                if !outcome.answer.is_success() {
                    // Who is refused at once must not become a load of its own.
                    clock::sleep(SERVICE).await;
                }
            }
            answered
        });
        let answered: u32 = join_all(asking).await.into_iter().sum();
        let took = Duration::from_nanos(self.lab.now().saturating_sub(began)).as_secs_f64();
        // What is still waiting is none of the next step's.
        self.lab.hold(Duration::from_millis(300)).await?;
        Ok(f64::from(answered) / took.max(0.1))
    }

    /// Half as much again as the site can do, twice as much, and half as much.
    async fn peak(&mut self, capacity: f64, replicas: &[Replica]) -> Result<(), LabError> {
        let lab = self.lab.clone();
        self.ask("hold", OVER, capacity * 1.5);
        lab.hold(self.lasts(PEAKS / 2, LEAST_PEAK / 2)).await?;
        self.ask("hold", PEAK, capacity * 2.0);
        let mut rounds = Rounds::new(&lab).ok();
        let key = match &mut rounds {
            Some(rounds) => Some(rounds.next_key().await?),
            None => None,
        };
        let spent = spend(rounds.as_ref().zip(key.as_deref()), replicas.first());
        try_join(lab.hold(self.lasts(PEAKS, LEAST_PEAK)), spent).await?;
        self.ask("settle", AFTER_PEAK, capacity / 2.0);
        lab.hold(recovering(&lab)).await
    }

    /// Half of what the site can do, while each of its replicas has little processor time, and afterwards.
    async fn pressed(&mut self, capacity: f64, replicas: &[Replica]) -> Result<(), LabError> {
        let lab = self.lab.clone();
        self.ask("hold", "before-pressure", LOW);
        let millicores = share(replicas.len(), std::thread::available_parallelism().map_or(1, usize::from));
        let pressing = join_all(replicas.iter().map(|replica| lab.press(&replica.name, millicores))).await;
        let mut pressed = Vec::new();
        let mut why = None;
        for pressing in pressing {
            match pressing {
                Ok(active) => pressed.push(active),
                Err(LabError::Runtime(error)) => why = Some(error),
                Err(error) => return Err(error),
            }
        }
        if why.is_none() {
            self.ask("hold", PRESSED, capacity / 2.0);
            lab.hold(self.lasts(PRESSURE, LEAST_PRESSURE)).await?;
        }
        try_join_all(pressed.into_iter().map(|active| lab.heal(active))).await?;
        if let Some(why) = why {
            // The rest of the story says as much as without this part.
            lab.note(format!("nobody is pressed: {why}"));
            return Ok(());
        }
        self.ask("settle", AFTER_PRESSURE, capacity / 2.0);
        lab.hold(recovering(&lab)).await
    }

    /// How long a stretch of this length lasts here.
    fn lasts(&self, stretch: Duration, least: Duration) -> Duration {
        self.lab.scaled(stretch).max(least)
    }
}

/// How long a site is looked at that has time to recover.
fn recovering(lab: &Lab) -> Duration {
    lab.stretched(T_REC, "OVL-03 within", T_REC) + LOOK
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let (site, replicas) = cluster(&lab);
    let route = plain(&lab)?;
    let mut story = Story { lab: lab.clone(), site, route, running: None, halted: Vec::new() };
    story.ask("steady", "", LOW);
    lab.hold_window(story.lasts(STEP, Duration::from_secs(2))).await?;
    let capacity = story.saturate().await?.max(LOW);

    for step in 0..STEPS {
        let share = 0.5
            + f64::from(u32::try_from(step).unwrap_or_default()) / (f64::from(u32::try_from(STEPS).unwrap_or(2)) - 1.0);
        story.ask("hold", &format!("step-{}", step + 1), capacity * share);
        lab.hold(story.lasts(STEP, LEAST_STEP)).await?;
    }
    if lab.wants(PEAK_STEP) {
        story.peak(capacity, &replicas).await?;
    }
    if let (Some(killed), true) = (replicas.last(), replicas.len() >= 2 && lab.wants(KILLED)) {
        let peak = story.lasts(PEAKS, LEAST_PEAK);
        story.ask("hold", KILLED, capacity * 2.0);
        lab.hold(peak / 3).await?;
        lab.kill(&killed.name).await?;
        lab.restart(&killed.name, Disk::Keep).await?;
        lab.hold(peak / 3 * 2).await?;
        // It is none of overload's if it does not come back.
        lab.wait_ready(&killed.name, lab.ready_within()).await?;
        story.ask("settle", AFTER_KILL, capacity / 2.0);
        lab.hold(recovering(&lab)).await?;
    }
    if lab.has(Capability::ProcessorPressure) && lab.wants(PRESSED) {
        story.pressed(capacity, &replicas).await?;
    }
    lab.phase("end", "");
    for traffic in story.running.into_iter().chain(story.halted) {
        traffic.stop().await;
    }
    Ok(())
}

/// Asks one replica for more than a whole quota of this key.
async fn spend(round: Option<(&Rounds, &str)>, replica: Option<&Replica>) -> Result<(), LabError> {
    let (Some((rounds, key)), Some(replica)) = (round, replica) else { return Ok(()) };
    rounds.spend_of(key, &evenly(std::slice::from_ref(replica)), QUOTAS * rounds.fillings()).await
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn replicas_are_pressed_to_half_of_the_machine_at_most() {
        assert_eq!(share(2, 2), 200);
        assert_eq!(share(10, 2), 100);
        assert_eq!(share(10, 16), 200);
        assert_eq!(share(64, 2), 20);
    }
}
