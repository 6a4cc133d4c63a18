//! When is a token accepted: before, while and after it is valid, at every replica, with all clocks right, with one ahead and with
//! the same one behind. Read by TOK-07.
//!
//! Most tokens are made for one moment (a second before an edge, a second after it and the leeway), so that nobody waits for
//! an edge. Two live on while clocks change: one expires, one becomes valid.

use super::watches::Watch;
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Replica, Target, Validity};
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::Policy;
use gatecrash_model::operation::stream;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "token-times",
    story: "tokens are used before, while and after they are valid, with all clocks right, then with one ahead, then with it behind",
    needs: &[Capability::Tokens, Capability::ReplicaFaults, Capability::ClockOffset],
    expected: |_, scale, _| (LIVES + LEEWAY).mul_f64(scale) + Duration::from_secs(4),
    options: |_| LabOptions::default(),
    steps: |_| named([AHEAD, BEHIND]),
    run: |lab| story(lab).boxed(),
};

/// Steps, and variants of their phases: the clock of one replica is off.
const AHEAD: &str = "ahead";
const BEHIND: &str = "behind";
/// L and S of TOK-07.
const LEEWAY: Duration = Duration::from_secs(60);
const SKEW: Duration = Duration::from_secs(30);
/// How long after the start of the story the token expires that lives through it; as long before its end the other one
/// becomes valid.
const LIVES: Duration = Duration::from_secs(20);
/// How often those two are used at each replica, in a second.
const USES_PER_S: f64 = 20.0;
/// How many times each moment is tried with each state of the clocks.
const ROUNDS: u32 = 3;
/// Who the tokens are for.
const CLIENT: &str = "client-1";
/// `nbf` and `exp` of the tokens that are made for one moment, in seconds from then. A valid one is near one of its edges, as near as
/// the time of a request allows and half of S; an invalid one is two and fifteen seconds beyond the leeway, and beyond any.
const MOMENTS: [(i64, i64); 10] = [
    (-3, 3_600),
    (-15, 3_600),
    (-3_600, 3),
    (-3_600, 15),
    (-3_600, -62),
    (-3_600, -75),
    (-3_600, -330),
    (63, 3_600),
    (75, 3_600),
    (330, 3_600),
];

async fn story(lab: Lab) -> Result<(), LabError> {
    let route = lab.route(&[Policy::Jwt], &[Policy::Quota, Policy::ClientId])?;
    let replicas = lab.replicas();
    // The last one of the first site has others beside it, if any has.
    let skewed = lab.sites().first().and_then(|site| lab.replicas_of(&site.name).pop());
    let skewed = skewed.ok_or_else(|| LabError::Unknown("replica".to_owned()))?;
    let offset = lab.scaled_ms(SKEW);

    lab.phase("steady", "");
    let began = lab.now();
    let lives = lab.scaled_ms(LIVES);
    let expires = Validity { from_ms: -lab.scaled_ms(Duration::from_secs(3_600)), to_ms: lives };
    let begins = Validity { from_ms: lab.scaled_ms(LEEWAY) + lives, to_ms: lab.scaled_ms(Duration::from_secs(3_600)) };
    let every = Duration::from_secs_f64(1.0 / USES_PER_S);
    let mut living = Vec::new();
    for validity in [expires, begins] {
        living.extend(watch_everywhere(&lab, &route, validity, &replicas, every).await?);
    }
    moments(&lab, &route, &replicas).await?;

    for (variant, offset) in [(AHEAD, offset), (BEHIND, -offset)].into_iter().filter(|(variant, _)| lab.wants(variant))
    {
        lab.phase("inject", variant);
        let off = lab.skew_clock(&skewed.name, offset).await?;
        lab.phase("hold", variant);
        moments(&lab, &route, &replicas).await?;
        lab.phase("heal", variant);
        lab.right_clock(&skewed.name, off).await?;
    }

    lab.phase("settle", "");
    let until = lab.scaled(LIVES + LEEWAY + LIVES / 4);
    lab.hold(until.saturating_sub(Duration::from_nanos(lab.now().saturating_sub(began)))).await?;
    join_all(living.into_iter().map(Watch::stop)).await;
    lab.hold(Duration::ZERO).await
}

/// A token that lives on, used at all replicas of each site whose material signed it.
async fn watch_everywhere(
    lab: &Lab,
    route: &str,
    validity: Validity,
    replicas: &[Replica],
    every: Duration,
) -> Result<Vec<Watch>, LabError> {
    let mut watches = Vec::new();
    for site in lab.sites() {
        let token = lab.token_valid(&site.name, CLIENT, validity).await?;
        let there: Vec<Replica> = replicas.iter().filter(|replica| replica.site == site.name).cloned().collect();
        watches.push(Watch::start(lab, route, &token, &there, every));
    }
    Ok(watches)
}

/// Every moment at every replica, each time with tokens of that moment.
async fn moments(lab: &Lab, route: &str, replicas: &[Replica]) -> Result<(), LabError> {
    let second = |seconds: i64| {
        let ms = lab.scaled_ms(Duration::from_secs(seconds.unsigned_abs()));
        if seconds < 0 { -ms } else { ms }
    };
    for _ in 0..ROUNDS {
        for (from, to) in MOMENTS {
            let validity = Validity { from_ms: second(from), to_ms: second(to) };
            try_join_all(lab.sites().iter().map(|site| async move {
                let token = lab.token_valid(&site.name, CLIENT, validity).await?;
                let there = replicas.iter().filter(|replica| replica.site == site.name);
                join_all(there.map(|replica| {
                    let target = Target::Replica(replica.name.clone());
                    lab.call(Call::new(stream::TOKEN, target, route, CLIENT).token(&token))
                }))
                .await;
                Ok::<(), LabError>(())
            }))
            .await?;
        }
    }
    // Nothing to wait for: says whether the run was interrupted meanwhile.
    lab.hold(Duration::ZERO).await
}
