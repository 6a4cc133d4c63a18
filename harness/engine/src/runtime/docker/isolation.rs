//! Proves that containers reach each other through links only, and that the harness reaches them all.
//!
//! A probe container on the same network dials every component directly: none may answer. It also dials a listener of ours on
//! the bridge's address, which must answer: a probe that reaches nothing at all would prove nothing.

use super::DockerRuntime;
use crate::clock::{Clock, sleep};
use crate::runtime::files::failed;
use crate::runtime::{Component, Network, Program, Runtime as _, RuntimeError, State};
use futures::future::join_all;
use gatecrash_model::fixture::{ProbeConfig, Role};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Name of the probe among the components.
const PROBE: &str = "isolation-probe";
/// How long the harness dials one component.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// How long the probe dials one target: far more than a connection on one machine needs.
const PROBE_MS: u64 = 300;
/// How long the whole probe may take beside its dialling.
const PROBE_WITHIN: Duration = Duration::from_secs(20);

/// The line of the probe's stdout that tells what it found.
#[derive(Deserialize)]
struct Found {
    probed: Vec<Dialled>,
}

/// What became of one target.
#[derive(Deserialize)]
struct Dialled {
    target: String,
    connected: bool,
}

pub(super) async fn prove(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<(), RuntimeError> {
    let dialled = join_all(addresses.iter().map(|(name, address, port)| dial(name, *address, *port))).await;
    dialled.into_iter().collect::<Result<Vec<()>, RuntimeError>>()?;

    let listener = TcpListener::bind((network.gateway, 0)).await;
    let reachable = listener.and_then(|listener| Ok((listener.local_addr()?.to_string(), listener)));
    let (control, _listening) =
        reachable.map_err(|source| failed(format!("listening on the bridge address {}", network.gateway), source))?;
    let mut targets: Vec<String> = addresses.iter().map(|(_, address, port)| format!("{address}:{port}")).collect();
    targets.push(control.clone());
    let config = ProbeConfig { targets: targets.clone(), timeout_ms: PROBE_MS };
    let config =
        serde_json::to_vec(&config).map_err(|source| failed("writing the probe's configuration".to_owned(), source))?;
    let component = Component {
        name: PROBE.to_owned(),
        program: Program::Fixture(Role::Probe),
        environment: BTreeMap::new(),
        files: vec![("fixture.json".to_owned(), config)],
    };
    let answered = ask(runtime, network, &component, targets.len()).await;
    let removed = runtime.remove(network, PROBE).await;
    let found = answered?;
    removed?;

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

async fn dial(name: &str, address: IpAddr, port: u16) -> Result<(), RuntimeError> {
    let seen = match tokio::time::timeout(DIAL_WITHIN, TcpStream::connect((address, port))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DIAL_WITHIN.as_secs()),
    };
    Err(RuntimeError::Unreachable { component: name.to_owned(), address: format!("{address}:{port}"), seen })
}

async fn ask(
    runtime: &DockerRuntime,
    network: &Network,
    component: &Component,
    targets: usize,
) -> Result<Found, RuntimeError> {
    let tell = |seen: String| RuntimeError::Start { component: PROBE.to_owned(), seen };
    let start = runtime.start(network, component).await;
    let state = match start {
        Ok(_) => {
            let clock = Clock::start();
            let dialling = Duration::from_millis(PROBE_MS).saturating_mul(u32::try_from(targets).unwrap_or(u32::MAX));
            loop {
                let state = runtime.state(network, PROBE).await;
                if matches!(state, State::Ended(_)) || clock.since(0) > PROBE_WITHIN.saturating_add(dialling) {
                    break state;
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        // It may be quicker than the first look at it; then its log tells.
        Err(error) => match runtime.state(network, PROBE).await {
            State::Ended(how) => State::Ended(how),
            State::Running | State::Paused | State::Absent => return Err(error),
        },
    };
    let said = runtime.read_log(&DockerRuntime::container(network, PROBE), 100, false).await;
    let found = said.lines().rev().find_map(|line| serde_json::from_str::<Found>(line).ok());
    match (found, state) {
        (Some(found), State::Ended(_)) => Ok(found),
        (_, state) => {
            let log = runtime.log_tail(network, PROBE, 10).await;
            Err(tell(format!("the probe did not say what it reached; it is {state:?}; its log ends with:\n{log}")))
        }
    }
}
