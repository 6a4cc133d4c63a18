//! What does a gateway do without the store that counts? Refuse it, swallow it, slow it down, and fill it with wrong data: in the place of counters, and
//! in the place of revocations alone.

use super::revocation::revoke;
use super::rounds::{Rounds, Split, cluster, evenly, expected};
use super::token_matrix::one_token;
use crate::claims::quota::marks::STORE_CORRUPTED;
use crate::claims::quota::{REVOCATIONS_ALONE, STORE_LOSS};
use crate::experiment::{Experiment, named};
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::Demands;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Deployment;
use gatecrash_model::fault::{Fault, NetworkFault};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the store's answers take longer; never scaled, it is a latency.
const SLOWER_MS: u32 = 500;
/// Time until the mode is in force (`t` of QUO-07).
const IN_FORCE: Duration = Duration::from_secs(2);
/// Time after the heal until the quota is enforced again (`t_heal` of QUO-07).
const ENFORCED_AGAIN: Duration = Duration::from_secs(10);
/// How long a request may take: longer than what QUO-07 calls hanging.
const PATIENCE: Duration = Duration::from_millis(5_500);
/// Requests at each replica that make a counter exist before it is corrupted.
const SEEDED: usize = 5;
/// The variant that is no fault of the injector's.
const WRONG_DATA: &str = "wrong-data";

/// The experiment.
pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: STORE_LOSS,
    story: "lose the store four times (refused, swallowed, slow, wrong data), spend a quota without it, heal, and spend one again; once more with wrong data for revocations alone",
    needs: &[Capability::Quota, Capability::SharedStore, Capability::NetworkFaults],
    expected: |deployment, scale, demands| expected_of(deployment, scale, demands, 5),
    options: |_| LabOptions::default(),
    steps,
    run: |lab| Box::pin(run(lab)),
};

/// The ways of losing the store that are the injector's.
const NETWORK: [(&str, NetworkFault); 3] = [
    ("refuse", NetworkFault::Refuse),
    ("blackhole", NetworkFault::Blackhole),
    ("slow", NetworkFault::Delay { delay_ms: SLOWER_MS, jitter_ms: 0 }),
];

fn steps(_: &Deployment) -> Vec<String> {
    named(NETWORK.iter().map(|(variant, _)| *variant).chain([WRONG_DATA, REVOCATIONS_ALONE]))
}

async fn run(lab: Lab) -> Result<(), LabError> {
    let mut loss = Loss::new(&lab)?;
    let links = lab.links("*", &loss.store);
    for (variant, what) in NETWORK {
        loss.fault(variant, Fault::Network { links: links.clone(), what }).await?;
    }

    if lab.wants(WRONG_DATA) {
        let from = wrong_data(&lab, &mut loss).await?;
        if loss.must_repeat(from, WRONG_DATA) {
            wrong_data(&lab, &mut loss).await?;
        }
    }
    if lab.wants(REVOCATIONS_ALONE) && lab.has(Capability::TokenRevocation) {
        let from = revocations_alone(&lab, &mut loss).await?;
        if from.is_some_and(|from| loss.must_repeat(from, REVOCATIONS_ALONE)) {
            revocations_alone(&lab, &mut loss).await?;
        }
    }
    lab.phase("final-reads", "");
    Ok(())
}

/// The whole story with revocations of the wrong type, and nothing else; returns when they were lost (ns), `None` if the store holds none.
async fn revocations_alone(lab: &Lab, loss: &mut Loss) -> Result<Option<u64>, LabError> {
    let (site, replicas) = cluster(lab);
    let signing = lab.deployment().site(&site).map(|site| site.signing.clone()).unwrap_or_default();
    let Some(replica) = replicas.first() else { return Ok(None) };
    let Some(token) = one_token(lab, replica, &signing).await? else { return Ok(None) };
    loss.steady(REVOCATIONS_ALONE).await?;
    let key = loss.rounds.next_key().await?;
    // Which keys those are is what a revocation brings, as for counters.
    let before = lab.store_keys(&loss.store).await?;
    revoke(lab, replica, &token).await;
    let revocations: BTreeSet<String> = lab.store_keys(&loss.store).await?.difference(&before).cloned().collect();
    if revocations.is_empty() {
        lab.note(format!("`{}` holds no revocations", loss.store));
        return Ok(None);
    }
    lab.phase("inject", REVOCATIONS_ALONE);
    let corrupted = lab.corrupt_keys(&loss.store, &revocations).await?;
    lab.mark(STORE_CORRUPTED, &loss.store, i64::try_from(corrupted).unwrap_or(i64::MAX));
    let from = loss.hold(REVOCATIONS_ALONE, &key).await?;
    lab.phase("heal", REVOCATIONS_ALONE);
    lab.remove_keys(&loss.store, &revocations).await?;
    loss.settle(REVOCATIONS_ALONE).await?;
    Ok(Some(from))
}

/// The whole story with counters of the wrong type; returns when the store was lost (ns).
async fn wrong_data(lab: &Lab, loss: &mut Loss) -> Result<u64, LabError> {
    let variant = WRONG_DATA;
    loss.steady(variant).await?;
    lab.phase("inject", variant);
    // Only a counter that exists can be made wrong, and only counters may be: contracts, revocations and configurations live in
    // the same store. Which keys count is what the first requests of a client bring, whatever the gateway calls them.
    let key = loss.rounds.next_key().await?;
    let before = lab.store_keys(&loss.store).await?;
    loss.rounds.burst(&key, &loss.split, SEEDED * loss.split.len()).await;
    let counters = lab.store_keys(&loss.store).await?.difference(&before).cloned().collect();
    let corrupted = lab.corrupt_keys(&loss.store, &counters).await?;
    lab.mark(STORE_CORRUPTED, &loss.store, i64::try_from(corrupted).unwrap_or(i64::MAX));
    let from = loss.hold(variant, &key).await?;
    lab.phase("heal", variant);
    lab.remove_keys(&loss.store, &counters).await?;
    loss.settle(variant).await?;
    Ok(from)
}

/// What `variants` ways of losing the store take, for the plan.
pub(super) fn expected_of(deployment: &Deployment, scale: f64, demands: &Demands, variants: u32) -> Duration {
    let again = demands.stretched(ENFORCED_AGAIN, "t_heal", ENFORCED_AGAIN, scale);
    let once = expected(deployment, scale, 4) + IN_FORCE.mul_f64(scale) + again + Duration::from_millis(300);
    once.saturating_mul(variants)
}

/// The story of one loss: steady, inject, hold, heal, settle.
pub(super) struct Loss {
    lab: Lab,
    /// Name of the store that is lost.
    pub(super) store: String,
    rounds: Rounds,
    split: Split,
    quotas: f64,
}

impl Loss {
    /// The store of the first site with two replicas, and all its replicas, each asked for 1.5 Q.
    ///
    /// # Errors
    /// If there is no store or no route with a quota.
    pub(super) fn new(lab: &Lab) -> Result<Self, LabError> {
        let mut rounds = Rounds::new(lab)?;
        rounds.timeout(PATIENCE);
        let (site, replicas) = cluster(lab);
        let store = lab.deployment().store_of(&site).ok_or_else(|| LabError::Unknown("store".to_owned()))?;
        let each = f64::from(u32::try_from(replicas.len()).unwrap_or(u32::MAX));
        Ok(Self { lab: lab.clone(), store, rounds, split: evenly(&replicas), quotas: (1.5 * each).max(3.0) })
    }

    /// The whole story with one fault, if that step is wanted; once more if the harness was late, or the machine busy, from the loss to the end.
    ///
    /// # Errors
    /// If the fault cannot be injected or healed, or the run is interrupted.
    pub(super) async fn fault(&mut self, variant: &str, fault: Fault) -> Result<(), LabError> {
        if !self.lab.wants(variant) {
            return Ok(());
        }
        let from = self.once(variant, fault.clone()).await?;
        if self.must_repeat(from, variant) {
            self.once(variant, fault).await?;
        }
        Ok(())
    }

    fn must_repeat(&self, from: u64, variant: &str) -> bool {
        self.lab.must_repeat_round(from, self.rounds.window, variant)
    }

    /// The whole story with one fault; returns when the store was lost (ns).
    async fn once(&mut self, variant: &str, fault: Fault) -> Result<u64, LabError> {
        self.steady(variant).await?;
        // A token for the key of the outage is asked for while all is well.
        let key = self.rounds.next_key().await?;
        self.lab.phase("inject", variant);
        let active = self.lab.inject(fault).await?;
        let from = self.hold(variant, &key).await?;
        self.lab.phase("heal", variant);
        self.lab.heal(active).await?;
        self.settle(variant).await?;
        Ok(from)
    }

    async fn steady(&mut self, variant: &str) -> Result<(), LabError> {
        self.lab.phase("steady", variant);
        self.rounds.spend(&self.split, self.quotas).await
    }

    async fn hold(&mut self, variant: &str, key: &str) -> Result<u64, LabError> {
        let from = self.lab.now();
        self.lab.phase("hold", variant);
        self.lab.hold(self.lab.scaled(IN_FORCE)).await?;
        self.rounds.spend_of(key, &self.split, self.quotas).await?;
        Ok(from)
    }

    async fn settle(&mut self, variant: &str) -> Result<(), LabError> {
        self.lab.phase("settle", variant);
        let healed = self.lab.now();
        self.rounds.spend(&self.split, self.quotas).await?;
        let passed = Duration::from_nanos(self.lab.now().saturating_sub(healed));
        self.lab.hold(self.lab.stretched(ENFORCED_AGAIN, "t_heal", ENFORCED_AGAIN).saturating_sub(passed)).await?;
        self.rounds.spend(&self.split, self.quotas).await
    }
}
