//! Puts the clock of one replica off, and asks the replica what its clock says: by the `Date` of its readiness answer, which every
//! HTTP server has (RFC 9110 section 6.6.1).

use super::{CLOCK_SETTING, Lab, LabError, topology};
use crate::clock;
use crate::runtime::{Signal, State as RunState};
use gatecrash_model::fault::Fault;
use gatecrash_model::history::event::mark;
use gatecrash_model::profile::Scalar;
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

/// `Date` has whole seconds: what it says is right to half of one, and a request takes its time.
const COARSE_MS: i64 = 1_000;
/// How long the question may take.
const WITHIN: Duration = Duration::from_millis(1_000);
/// How long a killed replica may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

impl Lab {
    /// Starts a replica again with a clock that is `offset_ms` ahead (negative: behind), and writes the mark that says so. It is right
    /// again, after one more restart, when the fault was healed by [`Lab::right_clock`].
    ///
    /// # Errors
    /// If the replica does not become ready again, or the runtime fails.
    pub async fn skew_clock(&self, name: &str, offset_ms: i64) -> Result<super::Active, LabError> {
        self.mark(mark::CLOCK_OFFSET, name, offset_ms);
        self.inject(Fault::Clock { name: name.to_owned(), offset_ms }).await
    }

    /// Heals what [`Lab::skew_clock`] did.
    ///
    /// # Errors
    /// As [`Lab::skew_clock`].
    pub async fn right_clock(&self, name: &str, active: super::Active) -> Result<(), LabError> {
        self.heal(active).await?;
        self.mark(mark::CLOCK_OFFSET, name, 0);
        Ok(())
    }

    /// Restarts a replica with this offset, or with none.
    pub(super) async fn set_clock(&self, name: &str, offset_ms: Option<i64>) -> Result<(), LabError> {
        let replica = self.replicas().into_iter().find(|replica| replica.name == name);
        let replica = replica.ok_or_else(|| LabError::Unknown(name.to_owned()))?;
        if let Some(entry) = self.state().replicas.iter_mut().find(|entry| entry.replica.name == name) {
            match offset_ms {
                Some(offset) => entry.settings.insert(CLOCK_SETTING.to_owned(), Scalar::Text(offset.to_string())),
                None => entry.settings.remove(CLOCK_SETTING),
            };
        }
        self.mark(mark::NOT_READY_DECLARED, name, 0);
        self.signal(name, Signal::Kill).await?;
        let began = self.now();
        while let RunState::Running | RunState::Paused = self.inner.kit.runtime.state(&self.inner.network, name).await {
            if self.inner.kit.clock.since(began) > GONE_WITHIN {
                return Err(self.not_ready(name, GONE_WITHIN, "it was killed and still runs".to_owned()).await);
            }
            self.hold(Duration::from_millis(5)).await?;
        }
        self.start_replica(&replica).await?;
        self.wait_ready(name, self.ready_within()).await.map(drop)
    }

    /// Whether the clock of a replica is `offset_ms` ahead, and what it says.
    pub(super) async fn clock_is_off(&self, name: &str, offset_ms: i64) -> (bool, String) {
        let measured = match self.clock_of(name).await {
            Ok(measured) => measured,
            Err(why) => return (false, why),
        };
        let as_set = (measured.saturating_sub(offset_ms)).abs() <= COARSE_MS;
        // An offset that whole seconds cannot tell from none is not shown.
        let telling = offset_ms == 0 || offset_ms.abs() > 2 * COARSE_MS;
        (as_set && telling, format!("its clock is {measured} ms ahead, to a second; set: {offset_ms} ms"))
    }

    /// Milliseconds that the clock of a replica is ahead of this machine's.
    async fn clock_of(&self, name: &str) -> Result<i64, String> {
        let address = self.address_of(name).map_err(|error| error.to_string())?;
        let address = SocketAddr::new(address, topology::ready_port(self.adapter()));
        let url = format!("http://{address}{}", self.adapter().ready.path);
        let response = self.inner.http.get(url).timeout(WITHIN).send().await.map_err(|error| error.to_string())?;
        let (wall_ms, _) = clock::both();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).unwrap_or_default();
        let time = httpdate::parse_http_date(date).map_err(|_| format!("its answer has no `Date`: `{date}`"))?;
        let time = time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_millis()).ok());
        let time = time.ok_or_else(|| format!("`{date}` is before 1970"))?;
        // The middle of the second that it names.
        Ok(time.saturating_add(COARSE_MS / 2).saturating_sub(wall_ms))
    }
}
