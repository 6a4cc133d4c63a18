//! Proves that containers reach each other through links only, and that the harness reaches them all.
//!
//! A probe container on the same network dials every component directly: none may answer. It also dials a listener of ours on
//! the bridge's address, which must answer: a probe that reaches nothing at all would prove nothing. It comes up beside the components and
//! stays as long as they do, so that it can be asked again.

use super::DockerRuntime;
use crate::clock::{Clock, sleep};
use crate::reaper::clean::chain;
use crate::runtime::files::failed;
use crate::runtime::{Component, Network, Program, Runtime as _, RuntimeError, State};
use futures::future::join_all;
use gatecrash_model::fixture::{ProbeConfig, Probed, Probing, Role};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

/// Where a probe listens, as soon as it does.
pub(super) type Probe = Arc<OnceCell<SocketAddr>>;

/// Name of the probe among the components.
const PROBE: &str = "isolation-probe";
/// Where it listens in its container.
const PORT: u16 = 8080;
/// How long the harness dials one component.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// How long the probe dials one target: far more than a connection on one machine needs.
const PROBE_MS: u64 = 300;
/// How long the probe may take to listen, and to answer.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// How long the harness waits before it asks again a probe that does not listen yet.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Starts the probe of a network, once, and waits until it listens.
pub(super) async fn prepare(runtime: &DockerRuntime, network: &Network) -> Result<SocketAddr, RuntimeError> {
    let probe = Arc::clone(
        runtime.probes.lock().unwrap_or_else(PoisonError::into_inner).entry(network.id.clone()).or_default(),
    );
    probe.get_or_try_init(|| start(runtime, network)).await.copied()
}

async fn start(runtime: &DockerRuntime, network: &Network) -> Result<SocketAddr, RuntimeError> {
    let config = serde_json::to_vec(&ProbeConfig { listen: format!("0.0.0.0:{PORT}") })
        .map_err(|source| failed("writing the probe's configuration".to_owned(), source))?;
    let component = Component {
        name: PROBE.to_owned(),
        program: Program::Fixture(Role::Probe),
        environment: BTreeMap::new(),
        files: vec![("fixture.json".to_owned(), config)],
    };
    let address = SocketAddr::new(runtime.start(network, &component).await?, PORT);
    let clock = Clock::start();
    loop {
        let seen = match tokio::time::timeout(DIAL_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", DIAL_WITHIN.as_secs()),
        };
        let state = runtime.state(network, PROBE).await;
        if !matches!(state, State::Running) || clock.since(0) > PROBE_WITHIN {
            return Err(unasked(runtime, network, &format!("the probe does not listen: {seen}")).await);
        }
        sleep(ASK_EVERY).await;
    }
}

/// The harness reaches all of them, and the probe none.
pub(super) async fn prove(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<(), RuntimeError> {
    let dialled = join_all(addresses.iter().map(|(name, address, port)| dial(name, *address, *port))).await;
    dialled.into_iter().collect::<Result<Vec<()>, RuntimeError>>()?;
    probe(runtime, network, addresses).await
}

/// The probe reaches none of them.
pub(super) async fn probe(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<(), RuntimeError> {
    let asked = prepare(runtime, network).await?;
    let listener = TcpListener::bind((network.gateway, 0)).await;
    let reachable = listener.and_then(|listener| Ok((listener.local_addr()?.to_string(), listener)));
    let (control, _listening) =
        reachable.map_err(|source| failed(format!("listening on the bridge address {}", network.gateway), source))?;
    let mut targets: Vec<String> = addresses.iter().map(|(_, address, port)| format!("{address}:{port}")).collect();
    targets.push(control.clone());
    let found = match ask(asked, targets.clone()).await {
        Ok(found) => found,
        Err(error) => {
            let seen = format!("the probe did not say what it reached: {}", chain(&error));
            return Err(unasked(runtime, network, &seen).await);
        }
    };

    // A target that the probe left out was not tried, so nothing is known of it.
    for (target, name) in targets.iter().zip(addresses.iter().map(|(name, ..)| name.as_str()).chain(["the bridge"])) {
        let connected = found.probed.iter().find(|dialled| dialled.target == *target).map(|dialled| dialled.connected);
        let is_control = *target == control;
        let seen = match connected {
            Some(connected) if connected == is_control => continue,
            Some(true) => return Err(RuntimeError::Bypass { from: PROBE.to_owned(), to: name.to_owned() }),
            Some(false) => format!(
                "the probe did not reach the bridge address {control} on which the links listen (a firewall on this machine?)"
            ),
            None => format!("the probe did not say whether it reached {target}"),
        };
        return Err(RuntimeError::Start { component: PROBE.to_owned(), seen });
    }
    Ok(())
}

async fn ask(probe: SocketAddr, targets: Vec<String>) -> Result<Probed, reqwest::Error> {
    let http = reqwest::Client::builder().no_proxy().timeout(PROBE_WITHIN).build()?;
    let asked = http.post(format!("http://{probe}/probe")).json(&Probing { targets, timeout_ms: PROBE_MS });
    asked.send().await?.error_for_status()?.json().await
}

/// The probe is of no use; with its state and the end of its log.
async fn unasked(runtime: &DockerRuntime, network: &Network, seen: &str) -> RuntimeError {
    let state = runtime.state(network, PROBE).await;
    let log = runtime.log_tail(network, PROBE, 10).await;
    let seen = format!("{seen}; it is {state:?}; its log ends with:\n{log}");
    RuntimeError::Start { component: PROBE.to_owned(), seen }
}

async fn dial(name: &str, address: IpAddr, port: u16) -> Result<(), RuntimeError> {
    let seen = match tokio::time::timeout(DIAL_WITHIN, TcpStream::connect((address, port))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DIAL_WITHIN.as_secs()),
    };
    Err(RuntimeError::Unreachable { component: name.to_owned(), address: format!("{address}:{port}"), seen })
}
