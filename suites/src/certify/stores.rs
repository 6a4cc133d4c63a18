//! Which store stood behind the gateways? Said in every report, because a verdict about the stub is none about Redis.

use super::PlannedExperiment;
use gatecrash_engine::lab::RedisOfRun;
use gatecrash_engine::runtime::Runtime;
use gatecrash_model::Deployment;
use gatecrash_model::deployment::StoreKind;

/// Asks for a Redis where `deployment` has one, and only there: containers may have to make an image for it.
pub(super) async fn redis(deployment: &Deployment, runtime: &dyn Runtime) -> RedisOfRun {
    if deployment.store.as_ref().is_none_or(|store| store.kind != StoreKind::Redis) {
        return RedisOfRun::StandIn("the deployment has none".to_owned());
    }
    match runtime.has_redis().await {
        Ok(found) => RedisOfRun::Real(found),
        Err(why) => RedisOfRun::StandIn(why),
    }
}

/// One sentence for the store of the deployment, one for the experiments that want the stub whatever it has; none
/// without a store.
pub(super) fn sentences(deployment: &Deployment, experiments: &[PlannedExperiment], redis: &RedisOfRun) -> Vec<String> {
    let Some(store) = &deployment.store else { return Vec::new() };
    let sentence = match (store.kind, redis) {
        (StoreKind::Stub, _) => "store: the store stub, as the deployment says".to_owned(),
        (StoreKind::Redis, RedisOfRun::Real(found)) => format!("store: {found}"),
        (StoreKind::Redis, RedisOfRun::StandIn(why)) => format!("store: the store stub stands in for Redis ({why})"),
    };
    let mut sentences = vec![sentence];
    let with_stub: Vec<String> = experiments
        .iter()
        .map(|planned| &planned.experiment)
        .filter(|experiment| (experiment.options)(deployment).store == Some(StoreKind::Stub))
        .map(|experiment| format!("`{}`", experiment.name))
        .collect();
    if matches!((store.kind, redis), (StoreKind::Redis, RedisOfRun::Real(_))) && !with_stub.is_empty() {
        let names = with_stub.join(", ");
        sentences.push(format!("store of {names}: the store stub, which misbehaves as no Redis does on command"));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments;
    use gatecrash_model::Demands;
    use gatecrash_model::deployment::{Store, StoreScope};
    use gatecrash_model::schedule::Part;
    use std::time::Duration;

    fn deployment(kind: Option<StoreKind>) -> Deployment {
        let yaml = "version: \"1.0\"\nname: test\nprofile: test\ngateway: {adapter: reference}\nsites:\n  - {name: eu, replicas: 2}\n";
        let mut deployment = gatecrash_model::deployment::yaml::parse("test.yaml", yaml).unwrap();
        deployment.store = kind.map(|kind| Store { kind, scope: StoreScope::Site, failover: None });
        deployment
    }

    fn all() -> Vec<PlannedExperiment> {
        experiments::all()
            .into_iter()
            .map(|experiment| PlannedExperiment {
                experiment,
                expected: Duration::ZERO,
                part: Part::Whole,
                demands: Demands::default(),
            })
            .collect()
    }

    #[test]
    fn the_store_that_was_there_is_named() {
        let real = RedisOfRun::Real("Redis 7.0.15, `/usr/bin/redis-server`".to_owned());
        let none = RedisOfRun::StandIn("`redis-server` is not on PATH".to_owned());
        let said = |kind, redis: &RedisOfRun, experiments: &[PlannedExperiment]| {
            sentences(&deployment(kind), experiments, redis)
        };
        assert_eq!(
            said(Some(StoreKind::Redis), &real, &all()),
            [
                "store: Redis 7.0.15, `/usr/bin/redis-server`",
                "store of `store-misbehaves`, `cache-store-loss`: the store stub, which misbehaves as no Redis does on command",
            ]
        );
        assert_eq!(
            said(Some(StoreKind::Redis), &real, &[]),
            ["store: Redis 7.0.15, `/usr/bin/redis-server`"],
            "no experiment with the stub"
        );
        assert_eq!(
            said(Some(StoreKind::Redis), &none, &all()),
            ["store: the store stub stands in for Redis (`redis-server` is not on PATH)"]
        );
        assert_eq!(said(Some(StoreKind::Stub), &none, &all()), ["store: the store stub, as the deployment says"]);
        assert_eq!(said(None, &none, &all()), Vec::<String>::new());
    }
}
