//! How many quota decisions a second do three gateways make that decide by a quorum of their own, in processes? Against the same gateways that count in
//! the store that a user would run beside them instead. Every request is a decision: the upstream and the harness are in the number, too.

use crate::machine::Outcome;
use crate::stage::{SCALE, Stage, Where, tokio};
use crate::table::Row;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabOptions, Target};
use gatecrash_fixtures::adapters;
use gatecrash_model::deployment::{self, Policy};
use gatecrash_model::operation::stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LASTS: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(2);
/// Clients that ask again as soon as they are answered, over all three.
const CLIENTS: usize = 48;
const TARGET_PER_S: f64 = 2_000.0;
/// More than can be asked for: all are admitted.
const QUOTA: &str = "quota: {limit: 1000000, window: 600s, alignment: first-request}\n";
const PEERED: &str =
    "gateway: {adapter: reference, settings: {state: peering, revocation: none}}\npeering: {failover: 10s}\n";
const STORED: &str = "gateway: {adapter: reference, settings: {state: redis, revocation: none}}\nstore: {kind: redis, scope: deployment}\n";

/// The rate of both.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    let runtime = tokio()?;
    let peered = runtime.block_on(decisions("peered", PEERED))?;
    let stored = runtime.block_on(decisions("stored", STORED))?;
    let row = Row::new("peering: quota decisions by a quorum of 3, in processes", format!("{peered:.0}/s"))
        .against(format!("counted in the store stub: {stored:.0}/s"))
        .ratio(peered / stored)
        .target(format!(">= {TARGET_PER_S:.0}/s"), peered >= TARGET_PER_S);
    Ok(vec![row])
}

/// Decisions a second of three gateways.
async fn decisions(name: &str, kind: &str) -> Outcome<f64> {
    let stage = Stage::set(Where::Process).await?.ok_or("processes can always be started")?;
    let text = format!(
        "version: \"1.0\"\nname: bench\nprofile: none\n{kind}sites:\n  - {{name: lab, zones: [a, b, c], replicas: 3}}\n{QUOTA}"
    );
    let deployment = deployment::yaml::parse("bench", &text)?.scaled(SCALE);
    let adapter = adapters::builtin().iter().find(|known| known.name == "reference").ok_or("no reference adapter")?;
    let kit = stage.kit(adapter.adapter()?);
    let lab = Lab::bring_up(kit, deployment, name, LabOptions { quiet: true, ..LabOptions::default() }).await?;
    let route = lab.route(&[Policy::Quota], &[Policy::ClientId])?;
    let (admitted, other) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (lab, route, over) = (lab.clone(), route.clone(), Arc::clone(&over));
            let (admitted, other) = (Arc::clone(&admitted), Arc::clone(&other));
            tokio::spawn(async move {
                let replica = format!("lab-{}", number % 3 + 1);
                while !over.load(Ordering::Relaxed) {
                    let call = Call::new(stream::QUOTA, Target::Replica(replica.clone()), &route, "client-1");
                    let ended = lab.call(call).await;
                    let counted = if ended.answer.is_success() { &admitted } else { &other };
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    lab.hold(WARM_UP).await?;
    let (from, before) = (lab.now(), admitted.load(Ordering::Relaxed));
    lab.hold(LASTS).await?;
    let (to, after) = (lab.now(), admitted.load(Ordering::Relaxed));
    over.store(true, Ordering::Relaxed);
    join_all(clients).await;
    lab.finish().await?;
    stage.strike().await?;
    let (all, refused) = (admitted.load(Ordering::Relaxed), other.load(Ordering::Relaxed));
    if refused > all / 100 {
        return Err(format!("`{name}`: {refused} of {} requests were not admitted", all + refused).into());
    }
    Ok((after - before) as f64 / Duration::from_nanos(to - from).as_secs_f64())
}
