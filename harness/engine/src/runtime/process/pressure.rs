//! Pressure on the processor of a process: it and a burner of ours, in a control group of their own.

use super::{GROUPS, ProcessRuntime, absent, wrong_state};
use crate::reaper::proc;
use crate::runtime::control_group::Group;
use crate::runtime::files::{self, failed};
use crate::runtime::{Component, Network, Program, Runtime as _, RuntimeError, State, Throttling, burner_config};
use gatecrash_model::fixture::Role;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// How often processes are looked for that a component started while it was being moved.
const ROUNDS: u32 = 20;

/// Control groups of components that are pressed, by network id and name.
pub(super) type Pressed = BTreeMap<(String, String), Group>;

/// Name of the burner that presses on a component.
fn burner(name: &str) -> String {
    format!("{name}-burner")
}

pub(super) async fn press(
    runtime: &ProcessRuntime,
    network: &Network,
    name: &str,
    millicores: u32,
) -> Result<(), RuntimeError> {
    let tell = |source| failed(format!("pressing on the processor of `{name}`"), source);
    let Some(started) = runtime.started(network, name) else { return Err(absent(name, "pressed")) };
    let state = started.child.state();
    if state != State::Running {
        return Err(wrong_state(name, &state, "pressed"));
    }
    release(runtime, network, name).await?;
    let groups = GROUPS.as_ref().map_err(|why| tell(std::io::Error::other(why.clone())))?;
    let group = groups.make(&network.id, name, millicores).map_err(tell)?;
    // Known before anything else can fail: `release` takes all of it away.
    set(runtime, network, name, Some(group.clone()));
    let burner = burner(name);
    let config = burner_config(files::files(network, &burner).join("fixture.json"))?;
    let component = Component {
        name: burner.clone(),
        program: Program::Fixture(Role::Burner),
        environment: BTreeMap::new(),
        files: vec![("fixture.json".to_owned(), config)],
    };
    runtime.start(network, &component).await?;
    let Some(pid) = runtime.pid(network, &burner) else { return Err(absent(&burner, "pressed")) };
    group.enter(pid).map_err(tell)?;
    // With all that it started; what it starts from then on is in the group by itself.
    for _ in 0..ROUNDS {
        let inside = group.members();
        let outside: Vec<u32> =
            proc::in_group(started.child.pid()).into_iter().filter(|pid| !inside.contains(pid)).collect();
        if outside.is_empty() {
            return Ok(());
        }
        for pid in outside {
            match group.enter(pid) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                moved => moved.map_err(tell)?,
            }
        }
    }
    Err(tell(std::io::Error::other(format!("it started processes faster than they could be moved, {ROUNDS} times"))))
}

pub(super) async fn release(runtime: &ProcessRuntime, network: &Network, name: &str) -> Result<(), RuntimeError> {
    let Some(group) = set(runtime, network, name, None) else { return Ok(()) };
    let stopped = runtime.remove(network, &burner(name)).await;
    let closed = group.close().await;
    if closed.is_err() {
        // Whoever asks again tries again.
        set(runtime, network, name, Some(group));
    }
    stopped.and(closed.map_err(|source| failed(format!("releasing the processor of `{name}`"), source)))
}

/// What the group of a component counted, as long as the component is in it: one that was started again is not.
pub(super) fn throttling(runtime: &ProcessRuntime, network: &Network, name: &str) -> Option<Throttling> {
    let group = {
        let pressed = runtime.pressed.lock().unwrap_or_else(PoisonError::into_inner);
        pressed.get(&(network.id.clone(), name.to_owned())).cloned()?
    };
    group.members().contains(&runtime.pid(network, name)?).then(|| group.throttling())?
}

/// Releases all components of a network, each whatever becomes of the others; the first error.
pub(super) async fn release_all(runtime: &ProcessRuntime, network: &Network) -> Result<(), RuntimeError> {
    let names: Vec<String> = {
        let pressed = runtime.pressed.lock().unwrap_or_else(PoisonError::into_inner);
        pressed.keys().filter(|(of, _)| *of == network.id).map(|(_, name)| name.clone()).collect()
    };
    let mut first = Ok(());
    for name in &names {
        first = first.and(release(runtime, network, name).await);
    }
    first
}

/// Remembers or forgets the group of a component; returns the one before.
fn set(runtime: &ProcessRuntime, network: &Network, name: &str, group: Option<Group>) -> Option<Group> {
    let mut pressed = runtime.pressed.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (network.id.clone(), name.to_owned());
    match group {
        Some(group) => pressed.insert(key, group),
        None => pressed.remove(&key),
    }
}
