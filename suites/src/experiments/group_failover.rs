//! A group of gateways loses voters and keeps its quorum: each voter in turn, so that one of them was the primary, then as many at
//! once as may be lost, then as many that are only cut off. Read by PAR-01.

use super::group::{FAILOVER, Group};
use super::rounds::evenly;
use crate::claims::peering::{CUT_MINORITY, FAILOVER_STORY, KILL_MINORITY, LOSSES, kill_one};
use crate::experiment::Experiment;
use futures::FutureExt;
use gatecrash_engine::lab::{Lab, LabError, LabOptions, Replica};
use gatecrash_model::Deployment;
use gatecrash_model::fault::{Direction, Fault, NetworkFault};
use gatecrash_model::quorum::Layout;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: FAILOVER_STORY,
    story: "kill each voter of the group in turn, then as many at once as may be lost, then cut as many off; whoever is left spends a quota and revokes a token",
    needs: LOSSES,
    expected: |deployment, scale, demands| {
        let steps = u32::try_from(steps(deployment).len()).unwrap_or(u32::MAX);
        let once = (WATCHED + REJOINED + deployment.quota.window * 2).mul_f64(scale)
            + demands.stretched(FAILOVER, "failover", FAILOVER, scale);
        (once + Duration::from_secs(1)).saturating_mul(steps)
            + deployment.quota.window.mul_f64(scale)
            + Duration::from_secs(4)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

/// How long tokens are used before a voter is lost.
const BEFORE: Duration = Duration::from_secs(5);
/// How long a revoked token is used: a few times what PAR-01 allows.
const WATCHED: Duration = Duration::from_secs(10);
/// Time after the heal until everybody shares again.
const REJOINED: Duration = Duration::from_secs(10);

/// How voters are lost.
#[derive(Clone, Copy)]
enum Loss {
    Killed,
    CutOff,
}

fn steps(deployment: &Deployment) -> Vec<String> {
    let spare = Layout::of(deployment).map_or(0, |layout| layout.spare());
    let one = deployment.voters().into_iter().filter(|_| spare >= 1).map(|voter| kill_one(&voter));
    let several = [KILL_MINORITY].into_iter().filter(|_| spare >= 2);
    let cut = [CUT_MINORITY].into_iter().filter(|_| spare >= 1);
    one.chain(several.chain(cut).map(str::to_owned)).collect()
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let mut group = Group::new(&lab)?;
    group.begin().await?;
    let told = steps(lab.deployment());
    let spare = Layout::of(lab.deployment()).map_or(0, |layout| layout.spare());
    let voters = group.voters.clone();
    // Those that come last: of two sites the smaller one comes last in most layouts, so this is the loss of a site, too.
    let kept = voters.len().saturating_sub(usize::try_from(spare).unwrap_or_default());
    let minority = voters.get(kept..).unwrap_or_default().to_vec();
    for step in told.iter().filter(|step| lab.wants(step)) {
        match step.as_str() {
            KILL_MINORITY => lose(&mut group, step, &minority, Loss::Killed).await?,
            CUT_MINORITY => lose(&mut group, step, &minority, Loss::CutOff).await?,
            one => {
                let victim: Vec<Replica> =
                    voters.iter().filter(|voter| kill_one(&voter.name) == one).cloned().collect();
                lose(&mut group, step, &victim, Loss::Killed).await?;
            }
        }
    }
    lab.phase("final-reads", "");
    lab.hold(Duration::ZERO).await
}

/// One loss: steady, inject, hold, heal, settle.
async fn lose(group: &mut Group, step: &str, lost: &[Replica], how: Loss) -> Result<(), LabError> {
    let lab = group.lab.clone();
    let left: Vec<Replica> = group.voters.iter().filter(|voter| !lost.contains(voter)).cloned().collect();
    let (Some(first), Some(last)) = (left.first().cloned(), left.last().cloned()) else {
        return Err(LabError::Unknown("voter that is left".to_owned()));
    };
    lab.phase("steady", step);
    let Some(token) = group.token(&first).await? else {
        lab.note("no token was issued: nothing can be revoked");
        return Ok(());
    };
    // What is asked for while a primary is chosen stays below the quota: a refusal would say nothing.
    let key = group.rounds.next_key().await?;
    let asked = group.ask(&left, std::slice::from_ref(&token));
    lab.hold(lab.scaled(BEFORE)).await?;

    lab.phase("inject", step);
    let cut = match how {
        Loss::Killed => {
            group.kill(lost).await?;
            None
        }
        Loss::CutOff => {
            let (out, back) = group.between(lost, &left);
            let links = out.into_iter().chain(back).collect();
            let what = NetworkFault::Hold { direction: Direction::Both };
            Some(lab.inject(Fault::Network { links, what }).await?)
        }
    };
    group.rounds.open(&key);
    let few = group.rounds.ask(&key, &evenly(&left), group.rounds.rate(0.5));
    let held = lab.hold(lab.stretched(FAILOVER, "failover", FAILOVER)).await;
    few.stop().await;
    held?;

    lab.phase("hold", step);
    group.revoke(&last, &token).await;
    group.spend(&left).await?;
    lab.hold(lab.scaled(WATCHED)).await?;

    lab.phase("heal", step);
    match cut {
        Some(cut) => lab.heal(cut).await?,
        None => group.bring_back(lost).await?,
    }
    asked.stop().await;
    lab.hold(lab.scaled(REJOINED)).await?;
    lab.phase("settle", step);
    let back = group.ask(&group.voters.clone(), std::slice::from_ref(&token));
    group.spend(&group.voters.clone()).await?;
    back.stop().await;
    Ok(())
}
