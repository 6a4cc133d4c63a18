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
use gatecrash_model::fixture::{Dialled, ProbeConfig, Probed, Probing, Role};
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
/// How long the harness dials one component again, which need not listen any more.
const AGAIN_WITHIN: Duration = Duration::from_millis(500);
/// How long the harness dials one component.
const DIAL_WITHIN: Duration = Duration::from_secs(2);
/// How long the probe dials one target, in milliseconds. It counts only if the control took less than half of that: a connection on one machine takes
/// less than one, and where it takes longer, all are dialled again with the next.
const PATIENCE_MS: [u64; 5] = [100, 200, 400, 800, 1600];
/// How long the probe may take to listen, and to answer.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// How long the harness waits before it dials again a probe that does not listen yet, and how often it asks the engine what became of it.
const DIAL_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
    let mut looked = Duration::ZERO;
    loop {
        let seen = match tokio::time::timeout(DIAL_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", DIAL_WITHIN.as_secs()),
        };
        let waited = clock.since(0);
        if waited >= looked + LOOK_EVERY {
            looked = waited;
            let ended = matches!(runtime.state(network, PROBE).await, State::Ended(_));
            if ended || waited > PROBE_WITHIN {
                return Err(unasked(runtime, network, &format!("the probe does not listen: {seen}")).await);
            }
        }
        sleep(DIAL_EVERY).await;
    }
}

/// The harness reaches all of them, and the probe none.
pub(super) async fn prove(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<(), RuntimeError> {
    let dialled = join_all(addresses.iter().map(|component| dial(component, DIAL_WITHIN))).await;
    dialled.into_iter().collect::<Result<Vec<()>, RuntimeError>>()?;
    probe(runtime, network, addresses).await
}

/// The probe reaches none of those that the harness reaches; those are returned. Of what does not listen now nothing is shown.
pub(super) async fn prove_again(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<Vec<String>, RuntimeError> {
    let dialled = join_all(addresses.iter().map(|component| dial(component, AGAIN_WITHIN))).await;
    let listening: Vec<(String, IpAddr, u16)> = addresses
        .iter()
        .zip(dialled)
        .filter(|(_, dialled)| dialled.is_ok())
        .map(|(component, _)| component.clone())
        .collect();
    probe(runtime, network, &listening).await?;
    Ok(listening.into_iter().map(|(name, ..)| name).collect())
}

/// The probe reaches none of them.
async fn probe(
    runtime: &DockerRuntime,
    network: &Network,
    addresses: &[(String, IpAddr, u16)],
) -> Result<(), RuntimeError> {
    let asked = prepare(runtime, network).await?;
    let listener = TcpListener::bind((network.gateway, 0)).await;
    let reachable = listener.and_then(|listener| Ok((listener.local_addr()?.to_string(), listener)));
    let (control, _listening) =
        reachable.map_err(|source| failed(format!("listening on the bridge address {}", network.gateway), source))?;
    let targets: Vec<String> = addresses.iter().map(|(_, address, port)| format!("{address}:{port}")).collect();
    let mut seen = String::new();
    for timeout_ms in PATIENCE_MS {
        let probing = Probing { targets: targets.clone(), timeout_ms, control: control.clone() };
        let found = match ask(asked, &probing).await {
            Ok(found) => found,
            Err(error) => {
                let seen = format!("the probe did not say what it reached: {}", chain(&error));
                return Err(unasked(runtime, network, &seen).await);
            }
        };
        if let Some(reached) = judge(&probing, &found, addresses)? {
            return Err(RuntimeError::Bypass { from: PROBE.to_owned(), to: reached.to_owned() });
        }
        let Dialled { connected, why, took_us, .. } = found.control;
        if connected && took_us < timeout_ms.saturating_mul(500) {
            return Ok(());
        }
        seen = if connected {
            format!(
                "the probe took {took_us} us to reach the bridge address {control}: too long to say what it does not reach"
            )
        } else {
            format!(
                "the probe did not reach the bridge address {control} on which the links listen: {why} (a firewall on this machine?)"
            )
        };
    }
    Err(RuntimeError::Start { component: PROBE.to_owned(), seen })
}

/// The component that the probe reached, if there is one.
///
/// # Errors
/// The probe did not try every target: then nothing is known.
fn judge<'a>(
    probing: &Probing,
    found: &Probed,
    addresses: &'a [(String, IpAddr, u16)],
) -> Result<Option<&'a str>, RuntimeError> {
    for (target, (name, ..)) in probing.targets.iter().zip(addresses) {
        match found.probed.iter().find(|dialled| dialled.target == *target) {
            Some(dialled) if dialled.connected => return Ok(Some(name)),
            Some(_) => {}
            None => {
                let seen = format!("the probe did not say whether it reached {target}");
                return Err(RuntimeError::Start { component: PROBE.to_owned(), seen });
            }
        }
    }
    Ok(None)
}

async fn ask(probe: SocketAddr, probing: &Probing) -> Result<Probed, reqwest::Error> {
    let http = reqwest::Client::builder().no_proxy().timeout(PROBE_WITHIN).build()?;
    let asked = http.post(format!("http://{probe}/probe")).json(probing);
    asked.send().await?.error_for_status()?.json().await
}

/// The probe is of no use; with its state and the end of its log.
async fn unasked(runtime: &DockerRuntime, network: &Network, seen: &str) -> RuntimeError {
    let state = runtime.state(network, PROBE).await;
    let log = runtime.log_tail(network, PROBE, 10).await;
    let seen = format!("{seen}; it is {state:?}; its log ends with:\n{log}");
    RuntimeError::Start { component: PROBE.to_owned(), seen }
}

async fn dial((name, address, port): &(String, IpAddr, u16), within: Duration) -> Result<(), RuntimeError> {
    let seen = match tokio::time::timeout(within, TcpStream::connect((*address, *port))).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} ms", within.as_millis()),
    };
    Err(RuntimeError::Unreachable { component: name.clone(), address: format!("{address}:{port}"), seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_matches::assert_matches;

    fn dialled(target: &str, connected: bool) -> Dialled {
        Dialled { target: target.to_owned(), connected, why: String::new(), took_us: 100 }
    }

    #[test]
    fn whoever_is_reached_is_named_and_what_was_not_tried_is_not_known() {
        let addresses = ["eu-1", "eu-2"].map(|name| (name.to_owned(), IpAddr::from([10, 213, 0, 2]), 8080));
        let probing =
            Probing { targets: vec!["a".to_owned(), "b".to_owned()], timeout_ms: 100, control: "c".to_owned() };
        let found =
            |a: bool, b: bool| Probed { probed: vec![dialled("a", a), dialled("b", b)], control: dialled("c", true) };
        assert_matches!(judge(&probing, &found(false, false), &addresses), Ok(None));
        assert_matches!(judge(&probing, &found(false, true), &addresses), Ok(Some("eu-2")));
        assert_matches!(judge(&probing, &found(true, true), &addresses), Ok(Some("eu-1")));
        let half = Probed { probed: vec![dialled("a", false)], control: dialled("c", true) };
        assert_matches!(judge(&probing, &half, &addresses), Err(RuntimeError::Start { seen, .. }) if seen.contains("it reached b"));
    }
}
