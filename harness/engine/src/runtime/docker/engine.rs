//! The engine's API beside testcontainers: connecting with a negotiated version, and everything of ours by label.

use crate::clock::{Clock, sleep};
use crate::executable::{on_path, search_path};
use crate::reaper::clean::{Kind, Removed};
use crate::reaper::proc::Identity;
use crate::runtime::files::failed;
use crate::runtime::{RUN_LABEL, RuntimeError};
use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters as query;
use futures::future::join_all;
use std::collections::HashMap;
use std::time::Duration;

/// Label with the harness that made an object: `<pid>:<start>`.
pub const HARNESS_LABEL: &str = "gatecrash.harness";
/// Label with the id of the network that an object belongs to.
pub const NETWORK_LABEL: &str = "gatecrash.network";
/// Label of the images that we made; its value is the executable's name.
pub const IMAGE_LABEL: &str = "gatecrash.image";

/// How long an engine may take to say which it is. One that is not there refuses at once; one that is busy removing containers
/// starts two programs before it answers, and was seen to take more than 2 s.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a start may be under way that nobody waits for.
const STARTED_WITHIN: Duration = Duration::from_millis(800);
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(60);

/// An engine that answered.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Its API, with the negotiated version.
    pub docker: Docker,
    /// Engine and API version in words.
    pub description: String,
}

/// Connects to the engine of `DOCKER_HOST`, else of the usual socket, and negotiates the version; at most 10 s.
///
/// # Errors
/// [`RuntimeError::NoEngine`].
pub async fn connect() -> Result<Engine, RuntimeError> {
    let answered = tokio::time::timeout(ANSWER_WITHIN, async {
        let docker = Docker::connect_with_defaults()?.with_timeout(CALL_WITHIN).negotiate_version().await?;
        let version = docker.version().await?;
        Ok::<_, EngineError>((docker, version))
    });
    let seen = match answered.await {
        Ok(Ok((docker, version))) => {
            let description = format!(
                "engine {} (API {}, spoken {}), storage and network as found",
                version.version.unwrap_or_default(),
                version.api_version.unwrap_or_default(),
                docker.client_version(),
            );
            return Ok(Engine { docker, description });
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
    };
    let installed = match on_path("dockerd", &search_path()) {
        Some(place) => format!("{seen} (`{}` is installed, but does not answer)", place.display()),
        None => seen,
    };
    Err(RuntimeError::NoEngine { address: "DOCKER_HOST or unix:///var/run/docker.sock".to_owned(), seen: installed })
}

/// Why the processor time of a container cannot be limited, by what the engine says of its machine; `None` if it can.
pub(super) async fn lacks_limits(docker: &Docker) -> Option<String> {
    match tokio::time::timeout(ANSWER_WITHIN, docker.info()).await {
        Ok(Ok(info)) if info.cpu_cfs_quota == Some(true) => None,
        Ok(Ok(_)) => Some("the engine cannot limit the processor time of a container".to_owned()),
        Ok(Err(error)) => Some(format!("the engine did not say what it can limit: {error}")),
        Err(_) => Some(format!("the engine did not say what it can limit within {} s", ANSWER_WITHIN.as_secs())),
    }
}

/// A container or network of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// [`Kind::Container`] or [`Kind::Network`].
    pub kind: Kind,
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Run.
    pub run: String,
    /// Who made it, if it says so.
    pub harness: Option<Identity>,
    /// Whether it is paused: the engine does not kill what is.
    pub paused: bool,
    /// Whether it was made and does not run yet: its start may be under way, though nobody waits for that any more.
    pub starting: bool,
}

impl Labelled {
    /// As it is reported.
    #[must_use]
    pub fn as_removed(&self) -> Removed {
        Removed { kind: self.kind, run: self.run.clone(), name: self.name.clone() }
    }
}

/// `{"label": [..]}`, the filter of listings.
pub(super) fn by_label(label: String) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label])])
}

/// Every container (in whatever state) and network with the label of `run`; `None` for all runs.
///
/// # Errors
/// What the engine answered.
pub async fn labelled(docker: &Docker, run: Option<&str>) -> Result<Vec<Labelled>, RuntimeError> {
    labelled_by(docker, run.map_or_else(|| RUN_LABEL.to_owned(), |run| format!("{RUN_LABEL}={run}"))).await
}

/// Every container and network with a label: `name` or `name=value`.
pub(super) async fn labelled_by(docker: &Docker, label: String) -> Result<Vec<Labelled>, RuntimeError> {
    let containers =
        query::ListContainersOptions { all: true, filters: Some(by_label(label.clone())), ..Default::default() };
    let networks = query::ListNetworksOptions { filters: Some(by_label(label)) };
    let (containers, networks) =
        futures::join!(docker.list_containers(Some(containers)), docker.list_networks(Some(networks)));
    let containers = containers.map_err(|error| failed("listing containers".to_owned(), error))?;
    let networks = networks.map_err(|error| failed("listing networks".to_owned(), error))?;
    let mut found = Vec::new();
    for container in containers {
        let names = container.names.unwrap_or_default();
        let name = names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default();
        let mut one = object(Kind::Container, container.id, name, &container.labels.unwrap_or_default());
        one.paused = container.state == Some(ContainerSummaryStateEnum::PAUSED);
        one.starting = container.state == Some(ContainerSummaryStateEnum::CREATED);
        found.push(one);
    }
    for network in networks {
        let name = network.name.unwrap_or_default();
        found.push(object(Kind::Network, network.id, name, &network.labels.unwrap_or_default()));
    }
    Ok(found)
}

/// Waits until no container with a label is being started any more; at most 0.8 s, for one may never be. An engine (20.10) that starts some containers of a
/// network while others of it end may lose count of what is in it, and then never removes that network again.
pub(crate) async fn started_all(docker: &Docker, label: String) -> Result<(), RuntimeError> {
    let clock = Clock::start();
    while labelled_by(docker, label.clone()).await?.iter().any(|object| object.starting) {
        if clock.since(0) > STARTED_WITHIN {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn object(kind: Kind, id: Option<String>, name: String, labels: &HashMap<String, String>) -> Labelled {
    Labelled {
        kind,
        id: id.unwrap_or_default(),
        name,
        run: labels.get(RUN_LABEL).cloned().unwrap_or_default(),
        harness: labels.get(HARNESS_LABEL).and_then(|text| text.parse().ok()),
        paused: false,
        starting: false,
    }
}

/// Removes containers, all at once, then networks; returns what was there. What is gone already is no error.
///
/// # Errors
/// The first thing that could not be removed; the others are removed nevertheless.
pub async fn remove(docker: &Docker, objects: &[Labelled]) -> Result<Vec<Removed>, RuntimeError> {
    let (containers, networks): (Vec<&Labelled>, Vec<&Labelled>) =
        objects.iter().partition(|object| object.kind == Kind::Container);
    let mut results =
        join_all(containers.iter().map(|object| remove_container(docker, &object.id, object.paused))).await;
    results.extend(join_all(networks.iter().map(|object| remove_network(docker, &object.id))).await);
    results.into_iter().collect::<Result<Vec<()>, RuntimeError>>()?;
    Ok(objects.iter().map(Labelled::as_removed).collect())
}

/// Removes a container, whatever it does. One that is gone is no error.
pub(super) async fn remove_container(docker: &Docker, id: &str, paused: bool) -> Result<(), RuntimeError> {
    if paused {
        // Fails if it was resumed or removed meanwhile: then removing it tells.
        let _not_paused_any_more = docker.unpause_container(id).await;
    }
    let options = query::RemoveContainerOptions { force: true, v: true, ..Default::default() };
    match docker.remove_container(id, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if is_status(&error, 404) => Ok(()),
        // Somebody else removes it; bounded by the second listing of whoever asked.
        Err(error) if is_status(&error, 409) && error.to_string().contains("in progress") => Ok(()),
        Err(error) => Err(failed(format!("removing container `{id}`"), error)),
    }
}

/// Removes a network without containers. One that is gone is no error.
pub(super) async fn remove_network(docker: &Docker, id: &str) -> Result<(), RuntimeError> {
    if remove_unused_network(docker, id).await? {
        return Ok(());
    }
    let seen = std::io::Error::other("the engine says that something is in it; if nothing is, only its restart helps");
    Err(failed(format!("removing network `{id}`"), seen))
}

/// The same; `false` if the engine says that something is in it. It may have lost count: then only its restart helps.
///
/// # Errors
/// What the engine answered.
pub async fn remove_unused_network(docker: &Docker, id: &str) -> Result<bool, RuntimeError> {
    match docker.remove_network(id).await {
        Ok(()) => Ok(true),
        Err(error) if is_status(&error, 404) => Ok(true),
        Err(error) if is_status(&error, 403) && error.to_string().contains("active endpoints") => Ok(false),
        Err(error) => Err(failed(format!("removing network `{id}`"), error)),
    }
}

/// Whether the engine answered with this HTTP status.
pub(super) fn is_status(error: &EngineError, status: u16) -> bool {
    matches!(error, EngineError::DockerResponseServerError { status_code, .. } if *status_code == status)
}

/// An image that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnImage {
    /// `name:tag`.
    pub reference: String,
    /// When, in seconds since the epoch.
    pub created_s: u64,
}

/// Every image that we made.
///
/// # Errors
/// What the engine answered.
pub async fn own_images(docker: &Docker) -> Result<Vec<OwnImage>, RuntimeError> {
    let options = query::ListImagesOptions { filters: Some(by_label(IMAGE_LABEL.to_owned())), ..Default::default() };
    let images = docker.list_images(Some(options)).await.map_err(|error| failed("listing images".to_owned(), error))?;
    let own = images.into_iter().flat_map(|image| {
        let created_s = u64::try_from(image.created).unwrap_or_default();
        image.repo_tags.into_iter().map(move |reference| OwnImage { reference, created_s })
    });
    Ok(own.collect())
}

/// Removes an image; `false` if a container uses it or it is gone.
///
/// # Errors
/// What the engine answered.
pub async fn remove_image(docker: &Docker, reference: &str) -> Result<bool, RuntimeError> {
    match docker.remove_image(reference, None::<query::RemoveImageOptions>, None).await {
        Ok(_) => Ok(true),
        Err(error) if is_status(&error, 409) || is_status(&error, 404) => Ok(false),
        Err(error) => Err(failed(format!("removing image `{reference}`"), error)),
    }
}
