//! The second path: what a fresh connection, the operating system or the fixture's own data port says
//! of a fault, when it was injected, when it ends, and after it was healed.

use super::super::topology::{FIXTURE_PORT, LinkKey, STORE_PORT};
use super::super::{Lab, topology};
use crate::link::Link;
use crate::probe::{Protocol, Seen, probe, transfer};
use crate::resp;
use crate::runtime::{State as RunState, Throttling};
use gatecrash_model::fault::{Direction, Fault, FixtureFault, LinkId, NetworkFault, ReplicaFault};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a probe waits to call something hung or silent.
const HUNG_AFTER: Duration = Duration::from_millis(250);
/// The same for a process that the runtime has seen gone already: the address of a removed container is silent, and the
/// successor waits for this.
const SILENT_AFTER: Duration = Duration::from_millis(40);
/// How long a probe waits for what should answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Longest delay that is measured whole; of a longer one its first part is.
const LONGEST_MEASURED: Duration = Duration::from_millis(500);
/// Shorter delays are not told from a machine that is busy.
const LEAST_DELAY: Duration = Duration::from_millis(50);
/// How long a component that was asked to end may go on as if nothing had been said.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How long the kernel's counts of a limit are looked at: a few periods of a tenth of a second.
const PRESSED_FOR: Duration = Duration::from_millis(400);
/// How often the gone-witness asks before it believes that a fault stayed.
const GONE_ATTEMPTS: u32 = 5;

/// What was there before the fault: open connections that a reset must break, readiness that an end must take away.
#[derive(Debug, Default)]
pub(super) struct Before {
    connections: Vec<TcpStream>,
    ready: bool,
}

fn count(seen: &[(bool, String)]) -> (bool, String) {
    let bitten = seen.iter().filter(|(bites, _)| *bites).count();
    let first = seen
        .iter()
        .find(|(bites, _)| !bites)
        .or_else(|| seen.first())
        .map(|(_, words)| words.clone())
        .unwrap_or_default();
    (!seen.is_empty() && bitten == seen.len(), format!("{bitten} of {} probes: {first}", seen.len()))
}

impl Lab {
    pub(super) async fn before(&self, fault: &Fault) -> Before {
        let mut before = Before::default();
        if let Fault::Replica { name, what: ReplicaFault::Terminate } = fault {
            before.ready = self.is_replica(name) && self.is_ready(name).await;
        }
        if let Fault::Network { links, what: NetworkFault::Reset } = fault {
            for (_, link) in self.found_links(links).unwrap_or_default() {
                if let Ok(Ok(stream)) = tokio::time::timeout(ANSWER_WITHIN, TcpStream::connect(link.address())).await {
                    before.connections.push(stream);
                }
            }
            // The relay dials on; only a connection that reached the far side can be reset there.
            crate::clock::sleep(Duration::from_millis(20)).await;
        }
        before
    }

    /// Whether the fault bites, and what was measured.
    pub(super) async fn bites(&self, fault: &Fault, before: &Before) -> (bool, String) {
        match fault {
            Fault::Network { what: NetworkFault::Reset, .. } => reset_seen(before).await,
            Fault::Network { links, what } => {
                let probes = self.found_links(links).unwrap_or_default();
                let seen =
                    futures::future::join_all(probes.iter().map(|(key, link)| self.network_bites(key, link, *what)))
                        .await;
                count(&seen)
            }
            Fault::Replica { name, what } => self.replica_bites(name, *what, before).await,
            Fault::Clock { name, offset_ms } => self.clock_is_off(name, *offset_ms).await,
            Fault::Fixture { name, endpoint, what } => self.fixture_bites(name, endpoint, *what).await,
        }
    }

    /// Whether the fault is gone, and what was measured. Asked a few times: a heal may take a moment to be seen.
    pub(super) async fn gone(&self, fault: &Fault) -> (bool, String) {
        let mut last = (false, String::new());
        for _ in 0..GONE_ATTEMPTS {
            last = match fault {
                Fault::Network { links, what } => self.network_gone(links, *what).await,
                Fault::Replica { name, what: ReplicaFault::ClosePort } => self.port_is_open(name).await,
                Fault::Replica { name, what: ReplicaFault::Press { .. } } => self.is_free(name).await,
                Fault::Replica { name, .. } => {
                    let state = self.inner.kit.runtime.state(&self.inner.network, name).await;
                    (state == RunState::Running, format!("{state:?}").to_lowercase())
                }
                Fault::Clock { name, .. } => self.clock_is_off(name, 0).await,
                Fault::Fixture { name, endpoint, what } => self.fixture_gone(name, endpoint, *what).await,
            };
            if last.0 {
                return last;
            }
            crate::clock::sleep(Duration::from_millis(50)).await;
        }
        last
    }

    /// The same of a fault whose replica has a successor.
    pub(super) async fn gone_with_its_process(&self, fault: &Fault, successor: &str) -> (bool, String) {
        match fault {
            Fault::Replica { name, what: ReplicaFault::ClosePort } => self.port_is_open(name).await,
            Fault::Replica { what: ReplicaFault::Press { .. }, .. } => self.is_free(successor).await,
            Fault::Replica { .. } => {
                let state = self.inner.kit.runtime.state(&self.inner.network, successor).await;
                (state == RunState::Running, format!("`{successor}`: {state:?}").to_lowercase())
            }
            Fault::Network { .. } | Fault::Clock { .. } | Fault::Fixture { .. } => self.gone(fault).await,
        }
    }

    /// Whether the links to a replica's data port take connections.
    async fn port_is_open(&self, name: &str) -> (bool, String) {
        let links = self.data_links(name).unwrap_or_default();
        let asked = links.iter().map(|(key, link)| async {
            let seen = probe(link.address(), key.protocol(), 0, HUNG_AFTER).await;
            // Whether there is anybody behind the port is another matter.
            (!matches!(seen, Seen::Refused | Seen::Hung), seen.words(HUNG_AFTER))
        });
        count(&futures::future::join_all(asked).await)
    }

    async fn network_bites(&self, key: &LinkKey, link: &Link, what: NetworkFault) -> (bool, String) {
        let (address, protocol) = (link.address(), key.protocol());
        match what {
            NetworkFault::Delay { delay_ms, jitter_ms } => {
                let least = Duration::from_millis(u64::from(delay_ms.saturating_sub(jitter_ms)));
                let most = Duration::from_millis(u64::from(delay_ms.saturating_add(jitter_ms)));
                if most > LONGEST_MEASURED && !least.is_zero() {
                    let first_part = least.min(LONGEST_MEASURED);
                    let seen = probe(address, protocol, 0, first_part).await;
                    return (seen == Seen::Silent, seen.words(first_part));
                }
                let within = most + ANSWER_WITHIN;
                let seen = probe(address, protocol, 0, within).await;
                (matches!(seen, Seen::Answered(after) if after >= least), seen.words(within))
            }
            NetworkFault::Bandwidth { bytes_per_s, direction } => {
                // Enough bytes that the limit alone takes 200 ms; more than a request head may have cannot be sent.
                let bytes = usize::try_from(bytes_per_s / 5).unwrap_or(usize::MAX).min(14 * 1024);
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let least = Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64).mul_f64(0.6);
                if direction == Direction::TowardDialer {
                    let seen = transfer(address, protocol, bytes, least + ANSWER_WITHIN).await;
                    let words =
                        format!("{} bytes toward the dialler in {:.0} ms", seen.bytes, seen.took.as_secs_f64() * 1e3);
                    return (seen.bytes >= bytes && seen.took >= least, words);
                }
                let within = least + ANSWER_WITHIN;
                let seen = probe(address, protocol, bytes, within).await;
                (
                    matches!(seen, Seen::Answered(after) if after >= least),
                    format!("{bytes} bytes: {}", seen.words(within)),
                )
            }
            NetworkFault::Refuse => {
                let seen = probe(address, protocol, 0, HUNG_AFTER).await;
                (seen == Seen::Refused, seen.words(HUNG_AFTER))
            }
            NetworkFault::Hold { direction: Direction::Both } | NetworkFault::Blackhole => {
                let seen = probe(address, protocol, 0, HUNG_AFTER).await;
                (seen == Seen::Hung, seen.words(HUNG_AFTER))
            }
            NetworkFault::Hold { direction: Direction::TowardDialer | Direction::TowardListener } => {
                let seen = probe(address, protocol, 0, HUNG_AFTER).await;
                (seen == Seen::Silent, seen.words(HUNG_AFTER))
            }
            NetworkFault::Reset => (false, "a reset is seen by connections that were open".to_owned()),
        }
    }

    async fn network_gone(&self, links: &[LinkId], what: NetworkFault) -> (bool, String) {
        let probes = self.found_links(links).unwrap_or_default();
        let asked = probes.iter().map(|(key, link)| async {
            let seen = probe(link.address(), key.protocol(), 0, ANSWER_WITHIN).await;
            match what {
                // A shorter one may be the machine's; any answer that came sooner than it shows that it is gone.
                NetworkFault::Delay { delay_ms, jitter_ms } => {
                    let least = Duration::from_millis(u64::from(delay_ms.saturating_sub(jitter_ms)));
                    if let Seen::Answered(after) = seen
                        && least >= LEAST_DELAY
                        && after >= least
                    {
                        return (false, seen.words(ANSWER_WITHIN));
                    }
                }
                NetworkFault::Bandwidth { .. } => {
                    let (bites, words) = self.network_bites(key, link, what).await;
                    if bites {
                        return (false, words);
                    }
                }
                NetworkFault::Refuse | NetworkFault::Reset | NetworkFault::Hold { .. } | NetworkFault::Blackhole => {}
            }
            // A component that is down itself breaks the connection behind the link: the link's fault is gone all the same.
            (matches!(seen, Seen::Answered(_) | Seen::Closed(_)), seen.words(ANSWER_WITHIN))
        });
        count(&futures::future::join_all(asked).await)
    }

    fn data_address(&self, name: &str) -> Option<(SocketAddr, Protocol)> {
        let address = self.address_of(name).ok()?;
        let (port, protocol) = if self.is_replica(name) {
            (topology::data_port(self.adapter()), Protocol::Http)
        } else if name.ends_with("store") {
            (STORE_PORT, Protocol::Resp)
        } else {
            (FIXTURE_PORT, Protocol::Http)
        };
        Some((SocketAddr::new(address, port), protocol))
    }

    fn is_replica(&self, name: &str) -> bool {
        self.replicas().iter().any(|replica| replica.name == name)
    }

    /// Whether a component that was asked to end does: it is gone, refuses new connections, or is no longer ready. One that
    /// goes on as before never heard of it (PID 1 of a container without a handler).
    async fn ends(&self, name: &str, address: SocketAddr, protocol: Protocol, before: &Before) -> (bool, String) {
        let began = self.now();
        loop {
            let after_ms = self.inner.kit.clock.since(began).as_millis();
            let state = self.inner.kit.runtime.state(&self.inner.network, name).await;
            if matches!(state, RunState::Ended(_) | RunState::Absent) {
                return (true, format!("gone after {after_ms} ms"));
            }
            if probe(address, protocol, 0, HUNG_AFTER).await == Seen::Refused {
                return (true, format!("refuses new connections after {after_ms} ms"));
            }
            if before.ready && !self.is_ready(name).await {
                return (true, format!("no longer ready after {after_ms} ms"));
            }
            if self.inner.kit.clock.since(began) >= ENDS_WITHIN {
                return (false, format!("goes on as before after {after_ms} ms"));
            }
            crate::clock::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn replica_bites(&self, name: &str, what: ReplicaFault, before: &Before) -> (bool, String) {
        let state = self.inner.kit.runtime.state(&self.inner.network, name).await;
        let Some((address, protocol)) = self.data_address(name) else { return (false, "it has no address".to_owned()) };
        match what {
            ReplicaFault::Kill => {
                let seen = probe(address, protocol, 0, SILENT_AFTER).await;
                let gone = matches!(state, RunState::Ended(_) | RunState::Absent);
                (
                    gone && !matches!(seen, Seen::Answered(_)),
                    format!("{state:?}, {}", seen.words(SILENT_AFTER)).to_lowercase(),
                )
            }
            ReplicaFault::Pause => {
                let seen = probe(address, protocol, 0, HUNG_AFTER).await;
                (
                    state == RunState::Paused && !matches!(seen, Seen::Answered(_)),
                    format!("{state:?}, {}", seen.words(HUNG_AFTER)).to_lowercase(),
                )
            }
            ReplicaFault::Terminate => self.ends(name, address, protocol, before).await,
            ReplicaFault::Press { .. } => self.is_pressed(name).await,
            ReplicaFault::ClosePort => {
                let links = self.data_links(name).unwrap_or_default();
                let asked = links.iter().map(|(key, link)| async {
                    let seen = probe(link.address(), key.protocol(), 0, HUNG_AFTER).await;
                    (seen == Seen::Refused, seen.words(HUNG_AFTER))
                });
                let (refused, words) = count(&futures::future::join_all(asked).await);
                let ready = !self.is_replica(name) || self.is_ready(name).await;
                let ready_words = if ready { "ready by its own word" } else { "not ready" };
                (
                    refused && ready && state == RunState::Running,
                    format!("{state:?}, {ready_words}, {words}").to_lowercase(),
                )
            }
        }
    }

    /// What the kernel counted of a component's limit while it was looked at.
    async fn throttled(&self, name: &str) -> Option<Throttling> {
        let (runtime, network) = (&self.inner.kit.runtime, &self.inner.network);
        let before = runtime.throttling(network, name).await?;
        crate::clock::sleep(PRESSED_FOR).await;
        let after = runtime.throttling(network, name).await?;
        Some(Throttling {
            periods: after.periods.saturating_sub(before.periods),
            throttled: after.throttled.saturating_sub(before.throttled),
            waited: after.waited.saturating_sub(before.waited),
        })
    }

    /// Whether a component used up its processor time in most periods, and stood still for the rest of each.
    async fn is_pressed(&self, name: &str) -> (bool, String) {
        let Some(Throttling { periods, throttled, waited }) = self.throttled(name).await else {
            return (false, "the kernel counts no limit of its processor time".to_owned());
        };
        let words =
            format!("its time was used up in {throttled} of {periods} periods; {} ms without any", waited.as_millis());
        (throttled > 0 && throttled.saturating_mul(2) > periods, words)
    }

    /// Whether a component's processor time has no limit that it comes to.
    async fn is_free(&self, name: &str) -> (bool, String) {
        match self.throttled(name).await {
            None => (true, "its processor time has no limit".to_owned()),
            // Without a limit the kernel counts no periods.
            Some(counted) => (counted.periods == 0, format!("{} periods of a limit", counted.periods)),
        }
    }

    async fn fixture_bites(&self, name: &str, endpoint: &str, what: FixtureFault) -> (bool, String) {
        let Some((address, protocol)) = self.data_address(name) else { return (false, "it has no address".to_owned()) };
        if protocol == Protocol::Resp {
            return store_bites(address, what).await;
        }
        let path = if endpoint == "contracts" { "/v1/contracts" } else { "/v1/configuration" };
        let within = match what {
            FixtureFault::Slow { delay_ms } => Duration::from_millis(u64::from(delay_ms)).min(LONGEST_MEASURED),
            FixtureFault::Silent => HUNG_AFTER,
            FixtureFault::Unavailable
            | FixtureFault::Garbage
            | FixtureFault::Stale
            | FixtureFault::Truncated
            | FixtureFault::Empty
            | FixtureFault::Wrong
            | FixtureFault::ReadOnly
            | FixtureFault::Freeze
            | FixtureFault::Throttle { .. }
            | FixtureFault::LostAcknowledgement
            | FixtureFault::WrongData => ANSWER_WITHIN,
        };
        let began = crate::clock::monotonic_ns();
        let answer = self.inner.http.get(format!("http://{address}{path}")).timeout(within).send().await;
        let took = Duration::from_nanos(crate::clock::monotonic_ns().saturating_sub(began));
        let (status, timed_out) = match &answer {
            Ok(response) => (response.status().as_u16(), false),
            Err(error) => (0, error.is_timeout()),
        };
        let failed = answer.is_err();
        let body = match answer {
            Ok(response) => response.text().await,
            Err(error) => Err(error),
        };
        let words = format!(
            "status {status} after {:.0} ms, body {}",
            took.as_secs_f64() * 1000.0,
            body.as_ref().map_or("not whole".to_owned(), |body| format!("of {} bytes", body.len()))
        );
        let bites = match what {
            FixtureFault::Unavailable => status == 503,
            FixtureFault::Silent | FixtureFault::Slow { .. } | FixtureFault::Freeze => timed_out || took >= within,
            FixtureFault::Garbage => failed && !timed_out,
            FixtureFault::Truncated => status == 200 && body.is_err(),
            FixtureFault::Stale | FixtureFault::Empty | FixtureFault::Wrong => {
                status == 200 && body.is_ok_and(|body| self.is_not_in_force(endpoint, &body))
            }
            FixtureFault::ReadOnly
            | FixtureFault::Throttle { .. }
            | FixtureFault::LostAcknowledgement
            | FixtureFault::WrongData => false,
        };
        (bites, words)
    }

    /// Whether the body differs from what the control plane should send.
    fn is_not_in_force(&self, endpoint: &str, body: &str) -> bool {
        let state = self.state();
        if endpoint == "contracts" {
            let sent: Option<gatecrash_model::fixture::Contracts> = serde_json::from_str(body).ok();
            return sent.is_none_or(|sent| sent.contracts != state.contracts);
        }
        let sent: Option<gatecrash_model::fixture::Configuration> = serde_json::from_str(body).ok();
        sent.is_none() || sent != state.configuration
    }

    /// Whether a fixture answers, and not as it does with the fault.
    async fn fixture_gone(&self, name: &str, endpoint: &str, what: FixtureFault) -> (bool, String) {
        let Some((address, protocol)) = self.data_address(name) else { return (false, "it has no address".to_owned()) };
        let seen = probe(address, protocol, 0, ANSWER_WITHIN).await;
        if !matches!(seen, Seen::Answered(_)) {
            return (false, seen.words(ANSWER_WITHIN));
        }
        let (bites, words) = self.fixture_bites(name, endpoint, what).await;
        (!bites, words)
    }
}

async fn reset_seen(before: &Before) -> (bool, String) {
    let mut seen = Vec::new();
    for stream in &before.connections {
        let mut byte = [0_u8; 1];
        let read = tokio::time::timeout(ANSWER_WITHIN, async {
            stream.readable().await?;
            stream.try_read(&mut byte)
        });
        let words = match read.await {
            Ok(Ok(0)) => (false, "closed without a reset".to_owned()),
            Ok(Ok(_)) => (false, "a byte came".to_owned()),
            Ok(Err(error)) => (error.kind() == std::io::ErrorKind::ConnectionReset, error.to_string()),
            Err(_) => (false, "still open".to_owned()),
        };
        seen.push(words);
    }
    count(&seen)
}

async fn store_bites(address: SocketAddr, what: FixtureFault) -> (bool, String) {
    let ask = |words: &'static [&'static str], within| async move {
        match resp::command(address, words, within).await {
            Ok(reply) => reply.lines().next().unwrap_or_default().to_owned(),
            Err(error) => format!("no reply: {}", error.kind()),
        }
    };
    match what {
        FixtureFault::ReadOnly => {
            let reply = ask(&["SET", "gatecrash:witness", "1", "PX", "1000"], ANSWER_WITHIN).await;
            (reply.starts_with("-READONLY"), reply)
        }
        FixtureFault::Freeze | FixtureFault::Silent => {
            let reply = ask(&["PING"], HUNG_AFTER).await;
            (reply.contains("timed out"), reply)
        }
        FixtureFault::Slow { delay_ms } => {
            let began = crate::clock::monotonic_ns();
            let reply = ask(&["PING"], ANSWER_WITHIN).await;
            let took = Duration::from_nanos(crate::clock::monotonic_ns().saturating_sub(began));
            let least = Duration::from_millis(u64::from(delay_ms)).min(ANSWER_WITHIN);
            (took >= least, format!("{reply} after {:.0} ms", took.as_secs_f64() * 1000.0))
        }
        FixtureFault::Throttle { per_s } => {
            // One after the other and no more than needed: a crowd of probes would bend what is being measured.
            let tries = usize::try_from(per_s).unwrap_or(usize::MAX).saturating_add(20).min(400);
            let mut replies = Vec::new();
            for _ in 0..tries {
                replies.push(ask(&["GET", "gatecrash:witness"], ANSWER_WITHIN).await);
                if replies.iter().filter(|reply| reply.starts_with("-ERR")).count() >= 3 {
                    break;
                }
            }
            let tries = replies.len();
            let refused = replies.iter().filter(|reply| reply.starts_with("-ERR")).count();
            (refused > 0, format!("{refused} of {tries} commands refused"))
        }
        FixtureFault::LostAcknowledgement => {
            let reply = ask(&["SET", "gatecrash:witness", "1", "PX", "1000"], HUNG_AFTER).await;
            (reply.starts_with("no reply"), reply)
        }
        FixtureFault::WrongData => {
            let reply = ask(&["INCR", "gatecrash:witness"], ANSWER_WITHIN).await;
            (reply.starts_with('-'), reply)
        }
        FixtureFault::Unavailable => {
            let reply = ask(&["PING"], ANSWER_WITHIN).await;
            (reply.starts_with("-LOADING"), reply)
        }
        FixtureFault::Garbage => {
            let reply = ask(&["PING"], ANSWER_WITHIN).await;
            (!reply.starts_with('+'), reply)
        }
        FixtureFault::Stale | FixtureFault::Truncated | FixtureFault::Empty | FixtureFault::Wrong => {
            (false, "no fault of a store".to_owned())
        }
    }
}
