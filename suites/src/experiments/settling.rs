//! What comes after a fault: as long as a gateway may take until service is as it was, and long enough afterwards to see that it is
//! (`crate::claims::recovery`).

use crate::claims::recovery::{LEAST, WITHIN};
use gatecrash_engine::lab::{Lab, LabError};
use std::time::Duration;

/// What is looked at from then on. Requests are sent in it, so it is not scaled.
const SEEN: Duration = Duration::from_millis(1_500);

/// How long [`settle`] takes where nothing is told again.
pub(super) fn lasts(scale: f64) -> Duration {
    WITHIN.mul_f64(scale).max(LEAST) + SEEN
}

/// The phase `settle` of `variant`; told again if the harness was late in it, or the machine stood still.
///
/// # Errors
/// If the run is interrupted.
pub(super) async fn settle(lab: &Lab, variant: &str) -> Result<(), LabError> {
    lab.phase("settle", variant);
    let (from, within) = (lab.now(), lab.scaled(WITHIN).max(LEAST));
    lab.hold(within + SEEN).await?;
    if lab.must_repeat_round(from, within, "") {
        lab.hold(within + SEEN).await?;
    }
    Ok(())
}
