//! How long until a whole deployment is ready, and until a killed replica's successor is? Two sites of two replicas with
//! control plane, identity, stores, ingresses and upstreams, as an experiment brings them up.
//!
//! Processes: the successor is held against the gateway's own start, the same command on the same files by hand. Containers: the
//! deployment against as many bare ones through testcontainers in parallel, the successor against the engine API alone.

use crate::machine::{Outcome, median, ms};
use crate::stage::{EXECUTABLE, Stage, Where, built_in, tokio};
use crate::table::Row;
use bollard::query_parameters as query;
use futures::future::join_all;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::lab::{Disk, Lab, LabOptions};
use gatecrash_engine::runtime::docker::engine;
use gatecrash_engine::runtime::files::WORK;
use gatecrash_model::fixture::{PlainConfig, Role};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testcontainers::core::Mount;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEPLOYMENT: &str = "datapower-kubernetes";
/// Which replica is killed.
const VICTIM: &str = "eu-1";
const PROCESS_ROUNDS: usize = 7;
const DOCKER_ROUNDS: usize = 3;
const KILLS: usize = 9;
const DOCKER_KILLS: usize = 5;
/// Where a bare container listens.
const BARE_PORT: u16 = 8080;

/// Both, in processes.
pub(crate) fn processes() -> Outcome<Vec<Row>> {
    tokio()?.block_on(async {
        let Some(stage) = Stage::set(Where::Process).await? else { return Ok(Vec::new()) };
        let mut took = Vec::new();
        for round in 0..PROCESS_ROUNDS {
            let (lab, after) = up(&stage, &format!("up-{round}")).await?;
            took.push(after);
            lab.finish().await?;
        }
        let (lab, _) = up(&stage, "kills").await?;
        let place = Component::find(stage.folder(), VICTIM)?;
        let (mut own, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..KILLS {
            ours.push(successor(&lab).await?);
            lab.kill(VICTIM).await?;
            own.push(place.own_start().await?);
            lab.restart(VICTIM, Disk::Keep).await?;
            lab.wait_ready(VICTIM, lab.ready_within()).await?;
        }
        lab.finish().await?;
        stage.strike().await?;
        let (took, own, ours) = (median(took), median(own), median(ours));
        Ok(vec![
            Row::new("process: 2 x 2 replicas and all beside them ready", format!("{took:.0} ms"))
                .target("<= 500 ms", took <= 500.0),
            Row::new("process: kill of a replica to its successor ready", format!("{ours:.1} ms"))
                .against(format!("the gateway's own start: {own:.1} ms"))
                .ratio(ours / own)
                .target("<= 20 ms beyond it", ours - own <= 20.0),
        ])
    })
}

/// Brings the deployment up; how many milliseconds that took.
async fn up(stage: &Stage, experiment: &str) -> Outcome<(Lab, f64)> {
    let (deployment, adapter) = built_in(DEPLOYMENT)?;
    let began = monotonic_ns();
    let lab = Lab::bring_up(stage.kit(adapter), deployment, experiment, LabOptions::default()).await?;
    Ok((lab, ms(monotonic_ns() - began)))
}

/// Kills the victim and starts it again; how many milliseconds until it was ready.
async fn successor(lab: &Lab) -> Outcome<f64> {
    let began = monotonic_ns();
    lab.kill(VICTIM).await?;
    lab.restart(VICTIM, Disk::Keep).await?;
    lab.wait_ready(VICTIM, lab.ready_within()).await?;
    Ok(ms(monotonic_ns() - began))
}

/// The files of a gateway process, to start it by hand.
struct Component {
    config: PathBuf,
    admin: SocketAddr,
}

impl Component {
    /// The newest of this name in the labs of the run in `folder`.
    fn find(folder: &Path, name: &str) -> Outcome<Self> {
        let mut found = Vec::new();
        for lab in std::fs::read_dir(folder.join(WORK))? {
            let config = lab?.path().join(name).join("files/gateway.json");
            if config.is_file() {
                found.push((std::fs::metadata(&config)?.modified()?, config));
            }
        }
        let (_, config) = found.into_iter().max().ok_or_else(|| format!("no files of `{name}`"))?;
        let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&config)?)?;
        let admin = text.get("admin").and_then(serde_json::Value::as_str).unwrap_or_default().parse()?;
        Ok(Self { config, admin })
    }

    /// Milliseconds from its start to its readiness, asked for without a pause.
    async fn own_start(&self) -> Outcome<f64> {
        let began = monotonic_ns();
        let mut child = Command::new(EXECUTABLE)
            .args(["fixture", "gateway", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = answer(self.admin, "/ready").await;
        let took = ms(monotonic_ns() - began);
        child.kill()?;
        child.wait()?;
        ready.map(|()| took)
    }
}

/// Asks until the answer is 200, at most 30 s.
async fn answer(address: SocketAddr, path: &str) -> Outcome<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    let began = monotonic_ns();
    while ms(monotonic_ns() - began) < 30_000.0 {
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await?;
            Ok::<bool, std::io::Error>(head.ends_with(b"200"))
        };
        if tokio::time::timeout(Duration::from_secs(1), asked).await.is_ok_and(|answer| answer.is_ok_and(|ready| ready))
        {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err(format!("{address}{path} was not ready after 30 s").into())
}

/// Both, in containers; says so where no engine answers.
pub(crate) fn containers() -> Outcome<Vec<Row>> {
    tokio()?.block_on(async {
        let Some(stage) = Stage::set(Where::Docker).await? else {
            return Ok(vec![Row::new("docker: not measured", "no engine answers")]);
        };
        // The first makes the image.
        let (lab, _) = up(&stage, "image").await?;
        lab.finish().await?;
        let (mut took, mut bare, mut ratios, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for round in 0..DOCKER_ROUNDS {
            let (lab, after) = up(&stage, &format!("up-{round}")).await?;
            count = running(&stage).await?;
            lab.finish().await?;
            let plain = bare_containers(&stage, count).await?;
            took.push(after);
            bare.push(plain);
            ratios.push(after / plain);
        }
        let (lab, _) = up(&stage, "kills").await?;
        let (mut engine_alone, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..DOCKER_KILLS {
            ours.push(successor(&lab).await?);
            engine_alone.push(by_engine(&stage, &lab).await?);
        }
        lab.finish().await?;
        stage.strike().await?;
        let (ratio, alone, ours) = (median(ratios), median(engine_alone), median(ours));
        Ok(vec![
            Row::new(format!("docker: the same, {count} containers"), format!("{:.0} ms", median(took)))
                .against(format!("{count} bare ones by testcontainers: {:.0} ms", median(bare)))
                .ratio(ratio)
                .target("<= 1.3x", ratio <= 1.3),
            Row::new("docker: kill of a replica to its successor ready", format!("{ours:.0} ms"))
                .against(format!("the engine API alone: {alone:.0} ms"))
                .ratio(ours / alone)
                .target("<= 1.2x", ours / alone <= 1.2),
        ])
    })
}

/// How many containers this run has now.
async fn running(stage: &Stage) -> Outcome<usize> {
    let label = format!("{}={}", gatecrash_engine::runtime::RUN_LABEL, stage.run());
    let filters = std::collections::HashMap::from([("label".to_owned(), vec![label])]);
    let options = query::ListContainersOptions { filters: Some(filters), ..Default::default() };
    Ok(engine::connect().await?.docker.list_containers(Some(options)).await?.len())
}

/// Milliseconds until `count` containers of our image, as testcontainers starts them, all answer.
async fn bare_containers(stage: &Stage, count: usize) -> Outcome<f64> {
    let docker = engine::connect().await?.docker;
    let images = engine::own_images(&docker).await?;
    let image = images.iter().find(|image| image.reference.starts_with("gatecrash:")).ok_or("no image of ours")?;
    let (name, tag) = image.reference.rsplit_once(':').ok_or("an image without a tag")?;
    let files = stage.folder().join("bare");
    std::fs::create_dir_all(&files)?;
    let (listen, control) = (format!("0.0.0.0:{BARE_PORT}"), format!("0.0.0.0:{}", BARE_PORT + 1));
    let config = PlainConfig { name: "bare".to_owned(), listen, control };
    std::fs::write(files.join("fixture.json"), serde_json::to_vec(&config)?)?;
    let began = monotonic_ns();
    let one = || async {
        let container: ContainerAsync<GenericImage> = GenericImage::new(name, tag)
            .with_entrypoint("/gatecrash")
            .with_cmd(["fixture", Role::Upstream.as_str(), "--config", "/files/fixture.json"])
            .with_mount(Mount::bind_mount(files.to_string_lossy(), "/files"))
            // Without a name it is looked up as `default`, which older engines do not know.
            .with_network("bridge")
            // The reaper takes them too if this ends early.
            .with_label(gatecrash_engine::runtime::RUN_LABEL, stage.run())
            .start()
            .await?;
        let address = SocketAddr::new(container.get_bridge_ip_address().await?, BARE_PORT);
        answer(address, "/").await?;
        Outcome::Ok(container)
    };
    let all: Vec<_> = join_all((0..count).map(|_| one())).await.into_iter().collect::<Outcome<_>>()?;
    let took = ms(monotonic_ns() - began);
    join_all(all.into_iter().map(ContainerAsync::rm)).await.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(took)
}

/// Kills and starts the victim's container by the engine API; milliseconds until it is ready.
async fn by_engine(stage: &Stage, lab: &Lab) -> Outcome<f64> {
    let docker = engine::connect().await?.docker;
    let label = format!("{}={}", gatecrash_engine::runtime::RUN_LABEL, stage.run());
    let filters = std::collections::HashMap::from([("label".to_owned(), vec![label])]);
    let options = query::ListContainersOptions { filters: Some(filters), ..Default::default() };
    let all = docker.list_containers(Some(options)).await?;
    let ends = format!("-{VICTIM}");
    let name = all.into_iter().flat_map(|found| found.names.unwrap_or_default()).find(|name| name.ends_with(&ends));
    let name = name.ok_or("the victim has no container")?;
    let name = name.trim_start_matches('/');
    let began = monotonic_ns();
    docker.kill_container(name, Some(query::KillContainerOptions { signal: "SIGKILL".to_owned() })).await?;
    docker.start_container(name, None::<query::StartContainerOptions>).await?;
    let found = docker.inspect_container(name, None::<query::InspectContainerOptions>).await?;
    let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let address = networks.values().find_map(|on| on.ip_address.clone()).unwrap_or_default().parse()?;
    answer(SocketAddr::new(address, lab.adapter().ports.get("admin").copied().unwrap_or(8081)), "/ready").await?;
    Ok(ms(monotonic_ns() - began))
}
