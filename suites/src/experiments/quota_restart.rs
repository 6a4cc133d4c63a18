//! Does a counter outlive the replicas that count? In one long window: spend 40 %, replace every replica one by one, spend on.

use super::rounds::{Rounds, Split, cluster, evenly};
use crate::claims::quota::{ALL_BUT_ONE, RESTART};
use crate::experiment::{Experiment, named};
use gatecrash_engine::lab::{Disk, Lab, LabError, LabOptions, Replica, Window};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::WindowAlignment;
use std::time::Duration;

/// The long window. Replacing replicas takes its time whatever the scale: it is never shorter than 8 s.
const WINDOW: Window = Window { lasts: Duration::from_secs(60), at_least: Duration::from_secs(8) };

/// The other step, and variant of its phases.
const ROLLING: &str = "rolling";

/// The experiment.
pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: RESTART,
    story: "in one long window: spend 40 % of a quota, replace every replica one by one, spend on; then kill all but one",
    needs: &[Capability::Quota, Capability::ReplicaFaults],
    expected: |deployment, scale, _| {
        let bucket = matches!(deployment.quota.alignment, WindowAlignment::TokenBucket);
        WINDOW.at(scale).mul_f64(if bucket { 2.0 } else { 0.8 }) + Duration::from_secs(4)
    },
    options: |deployment| LabOptions {
        // Without a control plane nobody could lengthen it later: the gateways start with it.
        quota_window: deployment.control_plane.is_none().then_some(WINDOW),
        ..LabOptions::default()
    },
    steps,
    run: |lab| Box::pin(run(lab)),
};

/// One replica cannot be all but one.
fn steps(deployment: &Deployment) -> Vec<String> {
    let several = deployment.sites.iter().any(|site| site.replicas >= 2);
    if several { named([ROLLING, ALL_BUT_ONE]) } else { Vec::new() }
}

async fn run(lab: Lab) -> Result<(), LabError> {
    let mut rounds = Rounds::new(&lab)?;
    let (_, replicas) = cluster(&lab);
    lengthen(&lab, &mut rounds, &replicas).await?;
    let story = Story { lab: &lab, replicas: &replicas, split: evenly(&replicas) };
    if lab.wants(ROLLING) && story.rolling(&mut rounds).await? {
        story.rolling(&mut rounds).await?;
    }
    if replicas.len() >= 2 && lab.wants(ALL_BUT_ONE) && story.all_but_one(&mut rounds).await? {
        story.all_but_one(&mut rounds).await?;
    }
    lab.phase("final-reads", "");
    Ok(())
}

/// What both replacements need.
struct Story<'a> {
    lab: &'a Lab,
    replicas: &'a [Replica],
    split: Split,
}

/// Rates of a round: 40 % in a twelfth of the window, and later 2 Q in a sixth of it: most of the window is for the replacement.
struct Rates {
    short: Duration,
    before: f64,
    after: f64,
}

impl Rates {
    fn of(rounds: &Rounds) -> Self {
        let short = rounds.window / 12;
        Self { short, before: 0.4 * rounds.quota / short.as_secs_f64(), after: rounds.quota / short.as_secs_f64() }
    }
}

impl Story<'_> {
    /// Spends 40 % of a quota, replaces every replica one by one, spends on. Whether it must be told again: the harness was late,
    /// or the machine stood still.
    async fn rolling(&self, rounds: &mut Rounds) -> Result<bool, LabError> {
        let (lab, Rates { short, before, after }) = (self.lab, Rates::of(rounds));
        lab.phase("steady", ROLLING);
        let key = rounds.next_key().await?;
        let from = lab.now();
        rounds.open(&key);
        rounds.ask_for(&key, &self.split, before, short).await?;
        lab.phase("inject", ROLLING);
        for replica in self.replicas {
            lab.kill(&replica.name).await?;
            lab.restart(&replica.name, Disk::Keep).await?;
            lab.wait_ready(&replica.name, lab.ready_within()).await?;
        }
        lab.phase("settle", ROLLING);
        rounds.ask_for(&key, &self.split, after, short * 2).await?;
        Ok(lab.must_repeat_round(from, rounds.window, &key))
    }

    /// Spends 40 % of a quota, kills all replicas but one, spends on, starts them again, spends on. Whether it must be told again.
    async fn all_but_one(&self, rounds: &mut Rounds) -> Result<bool, LabError> {
        let (lab, Rates { short, before, after }) = (self.lab, Rates::of(rounds));
        lab.phase("steady", ALL_BUT_ONE);
        let key = rounds.next_key().await?;
        let from = lab.now();
        rounds.open(&key);
        rounds.ask_for(&key, &self.split, before, short).await?;
        lab.phase("inject", ALL_BUT_ONE);
        for replica in self.replicas.iter().skip(1) {
            lab.kill(&replica.name).await?;
        }
        lab.phase("hold", ALL_BUT_ONE);
        rounds.ask_for(&key, &self.split, after / 2.0, short).await?;
        lab.phase("heal", ALL_BUT_ONE);
        for replica in self.replicas.iter().skip(1) {
            lab.restart(&replica.name, Disk::Keep).await?;
        }
        for replica in self.replicas.iter().skip(1) {
            lab.wait_ready(&replica.name, lab.ready_within()).await?;
        }
        lab.phase("settle", ALL_BUT_ONE);
        rounds.ask_for(&key, &self.split, after, short).await?;
        Ok(lab.must_repeat_round(from, rounds.window, &key))
    }
}

/// Publishes a long window where there is a control plane, and makes sure that it is in force at every replica.
/// If that cannot be seen, the deployment's own window stays the one that is marked: shorter than what is in force can
/// hide a violation, but never make one.
pub(super) async fn lengthen(lab: &Lab, rounds: &mut Rounds, replicas: &[Replica]) -> Result<(), LabError> {
    lengthen_to(lab, rounds, replicas, WINDOW).await
}

/// The same with another window.
pub(super) async fn lengthen_to(
    lab: &Lab,
    rounds: &mut Rounds,
    replicas: &[Replica],
    window: Window,
) -> Result<(), LabError> {
    if lab.deployment().control_plane.is_none() {
        return Ok(());
    }
    if !lab.has(Capability::ControlPlane) || !lab.has(Capability::ConfigurationVersion) {
        lab.note("the window cannot be changed: the deployment's own is used");
        return Ok(());
    }
    let window = window.at(lab.scale());
    let version = lab.publish(|configuration| configuration.quota.window = window).await?;
    let poll = lab.deployment().control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval);
    for replica in replicas {
        let within = poll.saturating_mul(4) + Duration::from_secs(2);
        if lab.wait_version(&replica.name, version, within).await.is_none() {
            lab.note(format!("`{}` did not show version {version}: the deployment's own window is used", replica.name));
            return Ok(());
        }
    }
    rounds.window = window;
    Ok(())
}
