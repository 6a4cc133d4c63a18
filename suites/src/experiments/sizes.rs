//! A small and a large replica are asked in turn for all that they can do, several times. Read by SCL-02.
//!
//! What a replica can do is set by its concurrency and by how long the upstream takes, as in `overload`: the machine is not what is measured.

use super::canaries::plain;
use super::overload::{SERVICE, bounded};
use super::rounds::cluster;
use crate::claims::scaling::{SATURATING, SIZE, SIZES};
use crate::experiment::{Experiment, single};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, Replica, Target};
use gatecrash_model::claim::Capability;
use gatecrash_model::profile::Scalar;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SIZES,
    story: "a small and a large replica are asked in turn for all that they can do, five times",
    needs: &[Capability::Sizes, Capability::NewReplicas],
    expected: |_, scale, _| (ASKED.mul_f64(scale).max(LEAST) + BETWEEN) * (2 * RUNS) + Duration::from_secs(4),
    options: |_| bounded(),
    steps: single,
    run: |lab| story(lab).boxed(),
};

/// How often each is asked (n of SCL-02).
const RUNS: u32 = 5;
/// How long each time.
const ASKED: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_millis(1200);
/// What is still under way is none of the other's.
const BETWEEN: Duration = Duration::from_millis(150);
/// Clients that ask again as soon as they are answered: more than a large replica can have at the upstream, fewer than a small one lets wait.
const CLIENTS: usize = 16;

async fn story(lab: Lab) -> Result<(), LabError> {
    let (site, _) = cluster(&lab);
    let route = plain(&lab)?;
    let small = add(&lab, &site, "small", 0).await?;
    let large = add(&lab, &site, "large", 1).await?;
    for run in 1..=RUNS {
        // Whoever goes first finds the machine as the last run left it: they take turns.
        let order = if run % 2 == 1 { [&small, &large] } else { [&large, &small] };
        for replica in order {
            lab.phase("hold", &format!("{}-run-{run}", replica.name));
            saturate(&lab, &route, replica).await;
            lab.phase("settle", "");
            lab.hold(BETWEEN).await?;
        }
    }
    lab.phase("end", "");
    Ok(())
}

async fn add(lab: &Lab, site: &str, size: &str, value: i64) -> Result<Replica, LabError> {
    let settings = BTreeMap::from([("size".to_owned(), Scalar::Text(size.to_owned()))]);
    let replica = lab.add_replica(site, settings).await?;
    lab.wait_ready(&replica.name, lab.ready_within()).await?;
    lab.mark(SIZE, &replica.name, value);
    Ok(replica)
}

/// Each client asks again as soon as it is answered, for so long.
async fn saturate(lab: &Lab, route: &str, replica: &Replica) {
    let lasts = lab.scaled(ASKED).max(LEAST);
    let until = lab.now().saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
    let asking = (0..CLIENTS).map(|number| async move {
        while lab.now() < until {
            let call = Call::new(
                SATURATING,
                Target::Replica(replica.name.clone()),
                route,
                &format!("client-{}", 1 + number % 10),
            );
            let outcome = lab.call(call.answered_after(SERVICE).timeout(Duration::from_secs(5))).await;
            // Who is refused at once must not become a load of its own.
            if !outcome.answer.is_success() && lab.hold(SERVICE).await.is_err() {
                return;
            }
        }
    });
    join_all(asking).await;
}
