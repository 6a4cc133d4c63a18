//! Tokens whose `nbf` and `exp` are chosen to the millisecond, and told in the history as times of the run.

use super::{Lab, LabError, Token};
use crate::clock;
use gatecrash_model::fixture::SignRequest;
use gatecrash_model::history::event::mark;
use std::time::Duration;

/// From when to when a token is valid, counted from now. Negative is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `nbf`, in milliseconds from now.
    pub from_ms: i64,
    /// `exp`, in milliseconds from now.
    pub to_ms: i64,
}

impl Lab {
    /// A token of `client` with the signing material that `site` has now, valid as `validity` says; from the identity
    /// provider stub, no checked operation. Two marks say when it is valid.
    ///
    /// # Errors
    /// If the site does not exist or the stub does not answer.
    pub async fn token_valid(&self, site: &str, client: &str, validity: Validity) -> Result<Token, LabError> {
        let signing = self.state().signing.get(site).cloned().ok_or_else(|| LabError::Unknown(site.to_owned()))?;
        let (wall_ms, stamp) = clock::both();
        let request = SignRequest {
            client: client.to_owned(),
            signing,
            expires_at_ms: Some(wall_ms.saturating_add(validity.to_ms)),
            not_before_ms: Some(wall_ms.saturating_add(validity.from_ms)),
            ..self.sign_request()
        };
        let token = self.sign(&request).await?;
        let now = self.inner.kit.clock.signed(stamp);
        let in_run = |ms: i64| now.saturating_add(ms.saturating_mul(1_000_000));
        self.mark(mark::TOKEN_NBF, token.digest(), in_run(validity.from_ms));
        self.mark(mark::TOKEN_EXP, token.digest(), in_run(validity.to_ms));
        Ok(token)
    }

    /// `duration` in whole milliseconds, scaled.
    #[must_use]
    pub fn scaled_ms(&self, duration: Duration) -> i64 {
        i64::try_from(self.scaled(duration).as_millis()).unwrap_or(i64::MAX)
    }
}
