//! The control plane answers with errors, nothing, half a configuration and nonsense, and publishes versions with one bad object in them; then a good one. Read by CFG-06.

use super::canaries::{canaries, missing, traffic};
use super::facts::{Shown, patience, route, told, watch_all};
use crate::claims::configuration::{ABSENT, BAD_OBJECT, CHANGE, GUARDED, OPEN};
use crate::experiment::{Experiment, named};
use futures::FutureExt;
use futures::future::join_all;
use gatecrash_engine::lab::{Call, Lab, LabError, LabOptions, Replica, Target};
use gatecrash_model::Deployment;
use gatecrash_model::claim::Capability;
use gatecrash_model::deployment::{CONTROL_PLANE, Route};
use gatecrash_model::fault::{Fault, FixtureFault};
use gatecrash_model::operation::Credential;
use std::time::Duration;

pub(crate) const EXPERIMENT: Experiment = Experiment {
    name: "bad-configurations",
    story: "the control plane sends an error, an empty list, half a configuration and nonsense, then versions with one bad route among good ones, then a good one",
    needs: &[Capability::ControlPlane],
    expected: |deployment, scale, _| {
        let polls = deployment.control_plane.as_ref().map_or(Duration::ZERO, |plane| plane.poll_interval * 24);
        (STEADY + polls).mul_f64(scale) + Duration::from_secs(6)
    },
    options: |_| LabOptions::default(),
    steps,
    run: |lab| story(lab).boxed(),
};

const STEADY: Duration = Duration::from_secs(10);
/// How often each replica is sure to have asked for its configuration in each variant.
const POLLS: u32 = 3;
/// Less would be too few requests.
const LEAST_HELD: Duration = Duration::from_secs(1);

/// What the control plane sends in place of a configuration.
const ANSWERS: [(&str, FixtureFault); 4] = [
    ("error", FixtureFault::Unavailable),
    ("empty", FixtureFault::Empty),
    ("truncated", FixtureFault::Truncated),
    ("nonsense", FixtureFault::Wrong),
];

/// What a version has in it that is wrong, in the order in which it is published.
const OBJECTS: [&str; 3] = ["invalid-route", "two-on-one-path", "one-name-twice"];

fn steps(_: &Deployment) -> Vec<String> {
    named(ANSWERS.iter().map(|(variant, _)| *variant).chain(OBJECTS))
}

async fn story(lab: Lab) -> Result<(), LabError> {
    let replicas = lab.replicas();
    lab.phase("steady", "");
    let mut streams = vec![traffic(&lab, &replicas, 50.0)?];
    streams.extend(canaries(&lab, &replicas, 10.0));
    lab.hold_window(lab.scaled(STEADY).max(LEAST_HELD)).await?;

    for (variant, what) in ANSWERS.into_iter().filter(|(variant, _)| lab.wants(variant)) {
        lab.phase("inject", variant);
        let fault = Fault::Fixture { name: CONTROL_PLANE.to_owned(), endpoint: "configuration".to_owned(), what };
        let active = lab.inject(fault).await?;
        lab.phase("hold", variant);
        hold(&lab, &replicas, &[]).await?;
        lab.phase("heal", variant);
        lab.heal(active).await?;
        settle(&lab, &replicas, variant, &[]).await?;
    }

    let bad = |name: &str, path: &str, state| Route { path: path.to_owned(), ..route(name, state) };
    let [invalid, twice, same_name] = OBJECTS;
    let objects: [(&str, &str, Vec<Route>); 3] = [
        (invalid, "invalid", vec![bad("invalid", "invalid", GUARDED)]),
        (twice, "twice", vec![route("twice", GUARDED), bad("twice-open", "/twice", OPEN)]),
        (same_name, "named", vec![route("named", GUARDED), bad("named", "/named/below", OPEN)]),
    ];
    for (variant, asked, routes) in objects.into_iter().filter(|(variant, ..)| lab.wants(variant)) {
        lab.phase("inject", variant);
        let version = lab.publish(|configuration| configuration.routes.extend(routes.iter().cloned())).await?;
        lab.mark(BAD_OBJECT, asked, i64::from(version));
        lab.phase("hold", variant);
        hold(&lab, &replicas, &[asked]).await?;
        lab.phase("heal", variant);
        let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
        settle(&lab, &replicas, variant, &names).await?;
    }
    lab.phase("end", "");
    for stream in streams {
        stream.stop().await;
    }
    Ok(())
}

/// Until every replica has asked for its configuration a few times, with requests that no policy may let in, for protected routes and for `bad` ones.
async fn hold(lab: &Lab, replicas: &[Replica], bad: &[&str]) -> Result<(), LabError> {
    let plane = lab.deployment().control_plane.as_ref();
    // A gateway that got no good answer may wait twice as long, and then four times.
    let polls = plane.map_or(Duration::ZERO, |plane| plane.poll_interval * (POLLS + 1));
    let (began, held) = (lab.now(), polls.max(LEAST_HELD));
    while Duration::from_nanos(lab.now().saturating_sub(began)) < held {
        missing(lab, replicas).await;
        for replica in replicas {
            let calls = bad.iter().map(|route| {
                let call = Call::new(CHANGE, Target::Replica(replica.name.clone()), route, "client-1");
                lab.call(call.with(Credential::NotNeeded).timeout(Duration::from_secs(1)))
            });
            join_all(calls).await;
        }
        lab.hold(Duration::from_millis(100)).await?;
    }
    Ok(())
}

/// A good version is published, without the routes of these names and with a new one, and waited for.
async fn settle(lab: &Lab, replicas: &[Replica], variant: &str, bad: &[&str]) -> Result<(), LabError> {
    let mended = format!("good-after-{variant}");
    told(lab, &mended, ABSENT, GUARDED);
    lab.publish(|configuration| {
        configuration.routes.retain(|known| !bad.contains(&known.name.as_str()));
        configuration.routes.push(route(&mended, GUARDED));
    })
    .await?;
    lab.phase("settle", variant);
    watch_all(lab, replicas, &[Shown::by(&mended, GUARDED)], patience(lab)).await
}
