//! A group of gateways in two halves: split both ways, one way only, without the larger half, and split again and again. On both sides a quota is
//! spent and a token revoked while they are apart; the heal comes in the middle of the window. Read by PAR-02 and PAR-03.

use super::group::{FAILOVER, Group};
use crate::claims::peering::{FLAP, MAJORITY_LOST, ONE_WAY, SPLIT, SPLIT_STORY, SPLITS, sides};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Active, Lab, LabError, LabOptions, Replica, Token, Window};
use gatecrash_model::Deployment;
use gatecrash_model::fault::{Direction, Fault, LinkId, NetworkFault};
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: SPLIT_STORY,
    story: "split the group between the sites (both ways, one way, without the larger side, again and again); each side spends a quota and revokes a token; heal in the middle of the window",
    needs: SPLITS,
    expected: |_, scale, demands| {
        let once = (BEFORE + WINDOW * 2).mul_f64(scale)
            + demands.stretched(FAILOVER, "failover", FAILOVER, scale)
            + demands.stretched(CONVERGED, "PAR-03 within", AGREED, scale);
        (once + Duration::from_secs(2)).saturating_mul(4) + WINDOW.mul_f64(scale) + Duration::from_secs(4)
    },
    options: |_| LabOptions {
        quota_window: Some(Window { lasts: WINDOW, at_least: Duration::ZERO }),
        ..LabOptions::default()
    },
    steps,
    run: |lab| story(lab).boxed(),
};

/// The window of the quota: the heal comes in its middle.
const WINDOW: Duration = Duration::from_secs(40);
/// Share of the window for which the sides are apart.
const APART: f64 = 0.45;
/// Share of the window in which the quota is asked for.
const ASKED: f64 = 0.9;
/// How long tokens are used before the split.
const BEFORE: Duration = Duration::from_secs(5);
/// Time after the heal until both sides agree (`within` of PAR-03), and a little more.
const CONVERGED: Duration = Duration::from_secs(35);
const AGREED: Duration = Duration::from_secs(30);
/// How long each of the short splits lasts, and each of the pauses between them.
const SHORT: Duration = Duration::from_secs(4);
/// How many of them.
const SHORT_SPLITS: usize = 5;

fn steps(_: &Deployment) -> Vec<String> {
    named([SPLIT, ONE_WAY, MAJORITY_LOST, FLAP])
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let mut group = Group::new(&lab)?;
    group.begin().await?;
    let [one, other] = sides(lab.deployment());
    let of = |sites: &[String]| -> Vec<Replica> {
        group.voters.iter().filter(|voter| sites.contains(&voter.site)).cloned().collect()
    };
    let (one, other) = (of(&one), of(&other));
    for step in [SPLIT, ONE_WAY, MAJORITY_LOST, FLAP] {
        if lab.wants(step) {
            apart(&mut group, step, [&one, &other]).await?;
        }
    }
    lab.phase("final-reads", "");
    lab.hold(Duration::ZERO).await
}

/// What keeps the sides apart.
enum Apart {
    Cut(Vec<Active>),
    Lost(Vec<Replica>),
}

fn hold(links: Vec<LinkId>, direction: Direction) -> Fault {
    Fault::Network { links, what: NetworkFault::Hold { direction } }
}

/// Both ways, or so that nothing of `one` reaches `other` while what `other` says arrives.
async fn cut(group: &Group, one_way: bool, [one, other]: [&[Replica]; 2]) -> Result<Vec<Active>, LabError> {
    let (out, back) = group.between(one, other);
    if !one_way {
        let links = out.into_iter().chain(back).collect();
        return Ok(vec![group.lab.inject(hold(links, Direction::Both)).await?]);
    }
    let out = group.lab.inject(hold(out, Direction::TowardListener)).await?;
    let back = group.lab.inject(hold(back, Direction::TowardDialer)).await?;
    Ok(vec![out, back])
}

async fn apart(group: &mut Group, step: &str, [one, other]: [&[Replica]; 2]) -> Result<(), LabError> {
    let lab = group.lab.clone();
    let lost: &[Replica] = match step {
        MAJORITY_LOST if one.len() >= other.len() => one,
        MAJORITY_LOST => other,
        _ => &[],
    };
    let asked_sides: Vec<&[Replica]> =
        [one, other].into_iter().filter(|side| lost.is_empty() || *side != lost).collect();
    let asked_replicas: Vec<Replica> = asked_sides.iter().flat_map(|side| side.iter().cloned()).collect();

    lab.phase("steady", step);
    let mut tokens: Vec<(Replica, Token)> = Vec::new();
    for side in &asked_sides {
        let Some(at) = side.first() else { continue };
        if let Some(token) = group.token(at).await? {
            tokens.push((at.clone(), token));
        }
    }
    // One that nobody revokes: whether it is accepted says how tokens are decided.
    let valid = match asked_replicas.first() {
        Some(at) => group.token(at).await?,
        None => None,
    };
    let used: Vec<Token> = tokens.iter().map(|(_, token)| token.clone()).chain(valid).collect();
    let key = group.rounds.next_key().await?;
    let asked = group.ask(&asked_replicas, &used);
    lab.hold(lab.scaled(BEFORE)).await?;

    lab.phase("inject", step);
    let apart = match step {
        MAJORITY_LOST => {
            group.kill(lost).await?;
            Apart::Lost(lost.to_vec())
        }
        FLAP => {
            for _ in 1..SHORT_SPLITS {
                let short = cut(group, false, [one, other]).await?;
                lab.hold(lab.scaled(SHORT)).await?;
                heal(group, Apart::Cut(short)).await?;
                lab.hold(lab.scaled(SHORT)).await?;
            }
            Apart::Cut(cut(group, false, [one, other]).await?)
        }
        _ => Apart::Cut(cut(group, step == ONE_WAY, [one, other]).await?),
    };
    lab.hold(lab.stretched(FAILOVER, "failover", FAILOVER)).await?;

    lab.phase("hold", step);
    // Each side is asked for one and a half quotas while they are apart.
    let window = group.rounds.window;
    let sides = f64::from(u32::try_from(asked_sides.len()).unwrap_or(u32::MAX));
    let rate = group.rounds.rate(1.5 * sides / APART);
    group.rounds.open(&key);
    let spending = group.rounds.ask(&key, &weighed(&asked_sides), rate);
    join_all(tokens.iter().map(|(at, token)| group.revoke(at, token))).await;
    // Who issues tokens says whether it does without a quorum.
    for side in &asked_sides {
        if let Some(at) = side.last() {
            group.token(at).await?;
        }
    }
    lab.hold(window.mul_f64(APART)).await?;

    lab.phase("heal", step);
    heal(group, apart).await?;
    lab.phase("settle", step);
    let healed = lab.now();
    lab.hold(window.mul_f64(ASKED - APART)).await?;
    spending.stop().await;
    let passed = Duration::from_nanos(lab.now().saturating_sub(healed));
    lab.hold(lab.stretched(CONVERGED, "PAR-03 within", AGREED).saturating_sub(passed)).await?;
    asked.stop().await;

    // And whether all of them share again.
    lab.phase("settled", step);
    let voters = group.voters.clone();
    group.spend(&voters).await
}

/// Both sides equally, however many gateways each has.
fn weighed(sides: &[&[Replica]]) -> Vec<(Replica, u32)> {
    let most = sides.iter().map(|side| side.len()).product::<usize>().max(1);
    let weight = |side: &[Replica]| u32::try_from(most / side.len().max(1)).unwrap_or(1).max(1);
    sides.iter().flat_map(|side| side.iter().map(move |replica| (replica.clone(), weight(side)))).collect()
}

async fn heal(group: &Group, apart: Apart) -> Result<(), LabError> {
    match apart {
        Apart::Cut(cuts) => {
            for cut in cuts {
                group.lab.heal(cut).await?;
            }
        }
        Apart::Lost(lost) => group.bring_back(&lost).await?,
    }
    Ok(())
}
