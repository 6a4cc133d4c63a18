//! Pressure on the processor of a container: the engine limits what it gets, and a burner inside uses that up.
//!
//! The engine starts the burner in the container's own control group, so no right on this machine is needed for it. In an image that is not ours it
//! runs from the component's folder of files, with its libraries beside it: nothing is asked of the image.

use super::bundle::Bundle;
use super::{DockerRuntime, image, is_status, state_of};
use crate::clock::{Clock, sleep};
use crate::runtime::control_group::PERIOD;
use crate::runtime::files::{self, failed};
use crate::runtime::{Network, Program, RuntimeError, State, burner_config};
use bollard::errors::Error as EngineError;
use bollard::exec::StartExecOptions;
use bollard::models::{ContainerUpdateBody, ExecConfig};
use gatecrash_model::fixture::Role;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Quota of a container without a limit.
const NO_LIMIT: i64 = -1;
/// How long a burner may take to stop: it looks a hundred times a second, if it gets to run.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
/// What the burner is told, in the component's files; it goes on as long as this is there.
const CONFIG: &str = "burner.json";
/// Where the burner is in images that are not ours, in the component's files, with a number: nothing is ever written over there.
const FOLDER: &str = "burner";

pub(super) async fn press(
    runtime: &DockerRuntime,
    network: &Network,
    name: &str,
    millicores: u32,
) -> Result<(), RuntimeError> {
    let state = runtime.look(network, name).await?.as_ref().map_or(State::Absent, state_of);
    if state != State::Running {
        return Err(crate::runtime::process::wrong_state(name, &state, "pressed"));
    }
    release(runtime, network, name).await?;
    let container = DockerRuntime::container(network, name);
    let folder = files::files(network, name);
    // Known before anything can fail: `release` takes all of it away.
    set(runtime, network, name, Some(String::new()));
    let inside = Path::new("/files").join(CONFIG);
    let place = folder.join(CONFIG);
    std::fs::write(&place, burner_config(inside.clone())?)
        .map_err(|source| failed(format!("writing `{}`", place.display()), source))?;
    let mut command = program(runtime, network, name, &folder).await?;
    command.extend(["fixture", Role::Burner.as_str(), "--config"].map(str::to_owned));
    command.push(inside.to_string_lossy().into_owned());
    let docker = &runtime.engine.docker;
    // Whoever the image runs as may not be allowed to read what a harness writes for it alone.
    let config = ExecConfig { cmd: Some(command), user: Some("0".to_owned()), ..Default::default() };
    let made = runtime.call(docker.create_exec(&container, config).await, &container, "making a burner in")?;
    set(runtime, network, name, Some(made.id.clone()));
    // Before the limit: its own start would take a second under it.
    let detached = StartExecOptions { detach: true, ..Default::default() };
    runtime.call(docker.start_exec(&made.id, Some(detached)).await, &container, "starting a burner in")?;
    runtime.call(limit(runtime, &container, Some(millicores)).await, &container, "limiting")
}

pub(super) async fn release(runtime: &DockerRuntime, network: &Network, name: &str) -> Result<(), RuntimeError> {
    let Some(burner) = set(runtime, network, name, None) else { return Ok(()) };
    let container = DockerRuntime::container(network, name);
    let folder = files::files(network, name);
    let _never_written = std::fs::remove_file(folder.join(CONFIG));
    let freed = match limit(runtime, &container, None).await {
        // Removed meanwhile, and its burner with it.
        Err(error) if is_status(&error, 404) => return Ok(()),
        other => runtime.call(other, &container, "taking the limit from"),
    };
    freed.and(stopped(runtime, &burner, &container).await)
}

/// Remembers or forgets the burner of a component; returns the one before.
fn set(runtime: &DockerRuntime, network: &Network, name: &str, burner: Option<String>) -> Option<String> {
    let mut burners = runtime.burners.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (network.id.clone(), name.to_owned());
    match burner {
        Some(burner) => burners.insert(key, burner),
        None => burners.remove(&key),
    }
}

async fn limit(runtime: &DockerRuntime, container: &str, millicores: Option<u32>) -> Result<(), EngineError> {
    let period_us = i64::try_from(PERIOD.as_micros()).unwrap_or(i64::MAX);
    let quota_us = millicores.map_or(NO_LIMIT, |millicores| period_us / 1_000 * i64::from(millicores));
    let limits = ContainerUpdateBody { cpu_period: Some(period_us), cpu_quota: Some(quota_us), ..Default::default() };
    runtime.engine.docker.update_container(container, limits).await
}

/// What starts our executable in the container of a component: it is in our own image, and is put beside what others are told.
async fn program(
    runtime: &DockerRuntime,
    network: &Network,
    name: &str,
    folder: &Path,
) -> Result<Vec<String>, RuntimeError> {
    let ours = match runtime.started_as(network, name) {
        Some((program @ Program::Fixture(_), _)) => Some(program),
        Some((Program::Image { image, .. }, _)) if image == "gatecrash" => Some(Program::Fixture(Role::Burner)),
        Some(_) | None => None,
    };
    if let Some(ours) = ours {
        return Ok(runtime.image(&ours).await?.entry.into_iter().collect());
    }
    static PRESSED: AtomicU32 = AtomicU32::new(1);
    let name = format!("{FOLDER}-{}", PRESSED.fetch_add(1, Ordering::Relaxed));
    let (own, folder): (PathBuf, PathBuf) = (runtime.options.executable.clone(), folder.join(&name));
    image::blocking("copying a burner", move || {
        let bundle = Bundle::of(&own, None)?;
        std::fs::create_dir(&folder).map_err(|source| failed(format!("creating `{}`", folder.display()), source))?;
        bundle.unpack(&folder)?;
        Ok(bundle.command(&format!("/files/{name}")))
    })
    .await
}

/// Waits until the burner has ended; one that never started has.
async fn stopped(runtime: &DockerRuntime, burner: &str, container: &str) -> Result<(), RuntimeError> {
    if burner.is_empty() {
        return Ok(());
    }
    let clock = Clock::start();
    loop {
        match runtime.engine.docker.inspect_exec(burner).await {
            Ok(found) if found.running != Some(true) => return Ok(()),
            Err(error) if is_status(&error, 404) => return Ok(()),
            Err(error) => return runtime.call(Err(error), container, "looking at the burner of"),
            Ok(_) if clock.since(0) > STOPS_WITHIN => {
                let seen = format!("it still runs after {} s", STOPS_WITHIN.as_secs());
                return Err(failed(format!("stopping the burner of `{container}`"), std::io::Error::other(seen)));
            }
            Ok(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}
