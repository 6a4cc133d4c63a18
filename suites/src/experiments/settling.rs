//! What comes after a fault: as long as a gateway may take until service is as it was, and long enough afterwards to see that it is
//! (`crate::claims::recovery`).

use gatecrash_engine::lab::{Lab, LabError};
use std::time::Duration;

/// Time after the end of a fault by which service must be as it was (`settle` of the claims that ask it).
const SETTLE: Duration = Duration::from_secs(10);
/// What is looked at from then on. Requests are sent in it, so it is not scaled.
const SEEN: Duration = Duration::from_millis(1_500);

/// How long [`settle`] takes where nothing is told again.
pub(super) fn lasts(scale: f64) -> Duration {
    SETTLE.mul_f64(scale) + SEEN
}

/// The phase `settle` of `variant`.
///
/// # Errors
/// If the run is interrupted.
pub(super) async fn settle(lab: &Lab, variant: &str) -> Result<(), LabError> {
    lab.phase("settle", variant);
    lab.hold(lab.scaled(SETTLE)).await?;
    lab.hold_window(SEEN).await
}
