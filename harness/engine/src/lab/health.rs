//! What do replicas say of their health, all the time? Each is asked where a kubelet asks: at its own address, past every link.

use super::topology;
use super::{Lab, Replica};
use crate::clock;
use gatecrash_model::history::EventKind;
use gatecrash_model::operation::{Answer, Credential, Definite, Effect, Indefinite, Operation, Verb, stream};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long an answer is waited for: longer than any probe of a cloud waits by default (1 s).
const PATIENCE: Duration = Duration::from_secs(3);

/// Probes that go on until they are stopped, or dropped.
#[derive(Debug)]
pub struct HealthWatch {
    stop: CancellationToken,
    probes: JoinSet<()>,
}

impl HealthWatch {
    /// Asks no more; returns when the last answer came, within 3 s.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.probes.join_next().await.is_some() {}
    }
}

impl Lab {
    /// Asks each of `replicas` for its readiness, and for its liveness where the adapter has one, `every` so often or up to twice as often, by the
    /// seed. Operations of the stream `health`: `ok` is the answer that means yes, `failed` any other.
    #[must_use]
    pub fn watch_health(&self, replicas: &[Replica], every: Duration) -> HealthWatch {
        let stop = self.inner.stop.child_token();
        let mut probes = JoinSet::new();
        let adapter = self.adapter();
        let asked = [(Verb::Ready, Some(&adapter.ready)), (Verb::Live, adapter.live.as_ref())];
        for replica in replicas {
            for (verb, probe) in asked.iter().filter_map(|(verb, probe)| Some((*verb, (*probe)?))) {
                let port = adapter.ports.get(&probe.port).copied().unwrap_or_else(|| topology::data_port(adapter));
                let asks = Asks {
                    lab: self.clone(),
                    replica: replica.clone(),
                    verb,
                    port,
                    path: probe.path.clone(),
                    yes: probe.status,
                };
                let stop = stop.clone();
                let mut random =
                    ChaCha8Rng::from_seed(self.seed().stream(&format!("health {} {}", asks.replica.name, asks.path)));
                probes.spawn(async move {
                    while !stop.is_cancelled() {
                        let began = asks.lab.now();
                        asks.ask().await;
                        let took = Duration::from_nanos(asks.lab.now().saturating_sub(began));
                        // At its own pace: one that asks again as soon as it is answered takes the place in a queue that it has just left, and
                        // never finds it full.
                        let (next, rest) = (random.random_range(0.5..1.0), random.random_range(0.0..0.5));
                        let pause = every.mul_f64(next).saturating_sub(took).max(every.mul_f64(rest));
                        tokio::select! { () = clock::sleep(pause) => {} () = stop.cancelled() => {} }
                    }
                });
            }
        }
        HealthWatch { stop, probes }
    }
}

/// One question, asked again and again.
struct Asks {
    lab: Lab,
    replica: Replica,
    verb: Verb,
    port: u16,
    path: String,
    /// The status that means yes.
    yes: u16,
}

impl Asks {
    async fn ask(&self) {
        let inner = &self.lab.inner;
        // Nobody is at the address of a replica that was removed: it is asked for nothing.
        let Ok(address) = self.lab.address_of(&self.replica.name) else { return };
        let address = SocketAddr::new(address, self.port);
        let operation = Operation {
            stream: stream::HEALTH.to_owned(),
            verb: self.verb,
            target: self.replica.name.clone(),
            site: self.replica.site.clone(),
            route: String::new(),
            key: String::new(),
            token: String::new(),
            credential: Credential::NotNeeded,
        };
        let (op, process) = (self.lab.next_op(), inner.next_process.fetch_add(1, Ordering::Relaxed));
        inner.recorder.now(EventKind::Invoked { op, process, late_us: 0, operation });
        let answer = inner.http.get(format!("http://{address}{}", self.path)).timeout(PATIENCE).send().await;
        let (effect, status) = match answer {
            Ok(answer) if answer.status().as_u16() == self.yes => (Effect::Ok, self.yes),
            Ok(answer) => (Effect::Failed(Definite::Rejected), answer.status().as_u16()),
            Err(error) if error.is_timeout() => (Effect::Unknown(Indefinite::Timeout), 0),
            Err(error) if error.is_connect() => (Effect::Failed(Definite::Refused), 0),
            Err(_) => (Effect::Unknown(Indefinite::Broken), 0),
        };
        inner.recorder.now(EventKind::Completed { op, effect, answer: Answer { status, ..Answer::default() } });
    }
}
