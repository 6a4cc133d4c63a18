//! What comes after a fault: as long as a gateway may take until service is as it was, by default or by its profile, and long enough afterwards to see that it is
//! (`crate::claims::recovery`).

use crate::claims::recovery::{LEAST, SETTLE, WITHIN};
use gatecrash_engine::lab::{Lab, LabError};
use gatecrash_model::Demands;
use std::time::Duration;

/// What is looked at from then on. Requests are sent in it, so it is not scaled.
const SEEN: Duration = Duration::from_millis(1_500);

/// How long [`settle`] takes where nothing is told again.
pub(super) fn lasts(scale: f64, demands: &Demands) -> Duration {
    demands.stretched(WITHIN, SETTLE.name, WITHIN, scale).max(LEAST) + SEEN
}

/// The phase `settle` of `variant`; told again if the harness was late at its end, or the machine stood still then: as much of it is looked at as there is by default.
///
/// # Errors
/// If the run is interrupted.
pub(super) async fn settle(lab: &Lab, variant: &str) -> Result<(), LabError> {
    lab.phase("settle", variant);
    let within = lab.stretched(WITHIN, SETTLE.name, WITHIN).max(LEAST);
    let by_default = lab.scaled(WITHIN).max(LEAST);
    lab.hold(within.saturating_sub(by_default)).await?;
    let from = lab.now();
    lab.hold(by_default + SEEN).await?;
    if lab.must_repeat_round(from, by_default, "") {
        lab.hold(within + SEEN).await?;
    }
    Ok(())
}
