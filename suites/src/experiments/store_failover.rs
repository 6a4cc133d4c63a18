//! The primary of a store is killed, stands still, and becomes a copy by an operator's hand, while a client spends its quota and another asks again and
//! again whose quota is spent. Read by QUO-06.

use super::rounds::{Rounds, cluster, evenly, metered};
use crate::claims::quota::{
    AGAIN, DEMOTED, FROZEN, HANDED_OVER, KILLED, LOSING, NO_REDIS, NOT_WATCHED, STORE_FAILOVER,
};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Active, Call, Disk, Lab, LabError, LabOptions, Replica, Target, Window};
use gatecrash_model::claim::Capability;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: STORE_FAILOVER,
    story: "the primary of the store is killed, stands still, becomes a copy: when do replicas count in the new one, and what did they forget?",
    needs: &[Capability::Quota, Capability::StoreFailover, Capability::TwoReplicas, Capability::ReplicaFaults],
    expected: |_, _, _| Duration::from_secs(75),
    options: |_| LabOptions { store_failover: true, quota_window: Some(WINDOW), ..LabOptions::default() },
    steps: |_| named([KILLED, FROZEN, DEMOTED]),
    run: |lab| story(lab).boxed(),
};

/// No window ends while a store fails over, which takes its time whatever the scale.
const WINDOW: Window = Window { lasts: Duration::from_secs(120), at_least: Duration::from_secs(120) };
/// How long Sentinels may take until they see everything: a node that was the primary comes back as one, and is made a copy ten seconds later.
const WATCHED_WITHIN: Duration = Duration::from_secs(40);
/// What share of the quota is spent before the loss, in how long.
const SPENT: f64 = 0.6;
const SPENT_IN: Duration = Duration::from_millis(1_500);
/// How much of it is asked for afterwards, in how long.
const DEMANDED: f64 = 1.5;
const DEMANDED_IN: Duration = Duration::from_secs(2);
/// From one request of the client that asks again and again to the next, at each replica, at least.
const EVERY: Duration = Duration::from_millis(50);
/// A replica that counts alone must not come to the end of a quota by these requests: it would refuse, and seem to count as before.
const SHARE: f64 = 0.8;
/// How long all replicas must refuse it until they are held to count as before.
const AS_BEFORE: Duration = Duration::from_secs(1);
/// How long that is waited for: what QUO-06 allows, and more, so that what comes late is seen to be late.
const PATIENCE: Duration = Duration::from_secs(19);
/// How long one request may take.
const WITHIN: Duration = Duration::from_secs(2);

async fn story(lab: Lab) -> Result<(), LabError> {
    let mut rounds = Rounds::new(&lab)?;
    let (site, replicas) = cluster(&lab);
    if !lab.deployment().fails_over() {
        lab.mark(NO_REDIS, &site, 0);
        return Ok(());
    }
    for variant in [KILLED, FROZEN, DEMOTED] {
        if !lab.wants(variant) {
            continue;
        }
        lab.phase("steady", variant);
        let store = lab.deployment().store_of(&site).unwrap_or_default();
        if !(lab.wait_copied(&store, WATCHED_WITHIN).await? && lab.wait_watched(&site, WATCHED_WITHIN).await?) {
            lab.mark(NOT_WATCHED, &site, 0);
            return Ok(());
        }
        once(&lab, &mut rounds, &site, &replicas, variant).await?;
    }
    lab.phase("end", "");
    Ok(())
}

/// One loss of a primary.
async fn once(lab: &Lab, rounds: &mut Rounds, site: &str, replicas: &[Replica], variant: &str) -> Result<(), LabError> {
    let (spending, again) = (rounds.next_key().await?, rounds.next_key().await?);
    let Some(primary) = lab.primary_of(site).await else {
        lab.mark(NOT_WATCHED, site, 0);
        return Ok(());
    };
    let route = metered(lab)?;
    // All of one quota, and no less than all: what is refused is counted, too.
    let all = rounds.quota * rounds.fillings() * 1.2;
    join_all((0..whole(all)).map(|number| {
        let replica = replicas.get(number % replicas.len().max(1)).map_or("", |replica| &replica.name);
        ask(lab, replica, &route, &again)
    }))
    .await;
    rounds.open(&spending);
    let quota = rounds.quota * rounds.fillings();
    rounds.ask_for(&spending, &evenly(replicas), quota * SPENT / SPENT_IN.as_secs_f64(), SPENT_IN).await?;

    lab.phase("inject", variant);
    lab.mark(LOSING, &primary, 0);
    let lost = lose(lab, site, &primary, variant).await?;
    lab.phase("hold", variant);
    let every = EVERY.max(PATIENCE.div_f64(quota * SHARE));
    refused(lab, replicas, &route, (&again, every)).await?;
    lab.phase("heal", variant);
    match (variant, lost) {
        (KILLED, _) => lab.restart(&primary, Disk::Keep).await?,
        (_, Some(paused)) => lab.resume(paused).await?,
        (_, None) => {}
    }
    lab.phase("settle", variant);
    rounds.ask_for(&spending, &evenly(replicas), quota * DEMANDED / DEMANDED_IN.as_secs_f64(), DEMANDED_IN).await?;
    refused(lab, replicas, &route, (&again, every)).await
}

async fn lose(lab: &Lab, site: &str, primary: &str, variant: &str) -> Result<Option<Active>, LabError> {
    match variant {
        KILLED => lab.kill(primary).await.map(|()| None),
        FROZEN => lab.pause(primary).await.map(Some),
        _ => {
            match lab.hand_over(site).await {
                Some((new, both)) => lab.mark(HANDED_OVER, &new, i64::from(both)),
                None => lab.mark(HANDED_OVER, primary, 0),
            }
            Ok(None)
        }
    }
}

/// Asks each replica for a client whose quota is spent, until all have refused it for long enough, or nobody waits any more.
async fn refused(lab: &Lab, replicas: &[Replica], route: &str, (key, every): (&str, Duration)) -> Result<(), LabError> {
    let (began, mut since) = (lab.now(), None);
    loop {
        let answers = join_all(replicas.iter().map(|replica| ask(lab, &replica.name, route, key))).await;
        let now = lab.now();
        if answers.iter().all(|refused| *refused) {
            let since = *since.get_or_insert(now);
            if Duration::from_nanos(now.saturating_sub(since)) >= AS_BEFORE {
                return Ok(());
            }
        } else {
            since = None;
        }
        if Duration::from_nanos(now.saturating_sub(began)) >= PATIENCE {
            return Ok(());
        }
        lab.hold(every).await?;
    }
}

/// Whether the replica refuses one more request of this client.
async fn ask(lab: &Lab, replica: &str, route: &str, key: &str) -> bool {
    let call = Call::new(AGAIN, Target::Replica(replica.to_owned()), route, key);
    lab.call(call.timeout(WITHIN)).await.answer.status == lab.adapter().reject_status
}

fn whole(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred requests")]
    let whole = number.ceil().max(0.0) as usize;
    whole
}
