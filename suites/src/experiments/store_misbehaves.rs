//! A store that answers is not yet a store that works: the stub refuses writes, freezes, throttles, and loses acknowledgements.

use super::store_loss::{Loss, expected_of};
use crate::claims::quota::STORE_MISBEHAVES;
use crate::experiment::{Experiment, named};
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{Deployment, StoreKind};
use gatecrash_model::fault::{Fault, FixtureFault};

/// Commands a second that a throttled store still takes: far below what the rounds need (the base tier of a managed
/// object store: 10 to 100).
const THROTTLED_PER_S: u32 = 50;

/// The experiment.
pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: STORE_MISBEHAVES,
    story: "let the store stub refuse writes, freeze, throttle and lose acknowledgements, spend a quota meanwhile, heal, and spend one again",
    needs: &[Capability::Quota, Capability::SharedStore],
    expected: |deployment, scale, demands| expected_of(deployment, scale, demands, 4),
    options: |_| LabOptions { store: Some(StoreKind::Stub), ..LabOptions::default() },
    steps,
    run: |lab| Box::pin(run(lab)),
};

const MISBEHAVES: [(&str, FixtureFault); 4] = [
    ("read-only", FixtureFault::ReadOnly),
    ("freeze", FixtureFault::Freeze),
    ("throttle", FixtureFault::Throttle { per_s: THROTTLED_PER_S }),
    ("lost-acknowledgement", FixtureFault::LostAcknowledgement),
];

fn steps(_: &Deployment) -> Vec<String> {
    named(MISBEHAVES.iter().map(|(variant, _)| *variant))
}

async fn run(lab: Lab) -> Result<(), LabError> {
    let mut loss = Loss::new(&lab)?;
    for (variant, what) in MISBEHAVES {
        let fault = Fault::Fixture { name: loss.store.clone(), endpoint: String::new(), what };
        loss.fault(variant, fault).await?;
    }
    lab.phase("final-reads", "");
    Ok(())
}
