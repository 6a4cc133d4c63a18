//! All experiments, one story per file.

mod canaries;
mod configuration_changes;
mod contract_changes;
mod control_plane_outage;
mod data_path;
mod management_latency;
mod paired_starts;
mod quota_restart;
mod quota_shared;
mod revocation;
mod rounds;
mod slow_contracts;
mod start_without_control_plane;
mod store_loss;
mod store_misbehaves;
mod token_matrix;

use crate::experiment::Experiment;

/// Every experiment there is, in the order in which a run starts them: the longest first, so that the
/// shorter ones fill the gaps; at the end those that nothing may run beside.
#[must_use]
pub fn all() -> Vec<Experiment> {
    vec![
        management_latency::EXPERIMENT,
        contract_changes::EXPERIMENT,
        start_without_control_plane::EXPERIMENT,
        revocation::EXPERIMENT,
        store_loss::EXPERIMENT,
        store_misbehaves::EXPERIMENT,
        token_matrix::EXPERIMENT,
        quota_shared::EXPERIMENT,
        quota_restart::EXPERIMENT,
        paired_starts::EXPERIMENT,
        slow_contracts::EXPERIMENT,
        configuration_changes::EXPERIMENT,
        control_plane_outage::EXPERIMENT,
        data_path::EXPERIMENT,
    ]
}

/// Whether nothing may run beside an experiment: those that compare percentiles of a few milliseconds. Another lab that
/// starts a dozen processes or containers moves them more than what they are there to find.
pub(crate) fn runs_alone(experiment: &Experiment) -> bool {
    [control_plane_outage::EXPERIMENT.name, data_path::EXPERIMENT.name].contains(&experiment.name)
}
