//! All experiments, one story per file.

mod analytics;
mod autoscaling;
mod bad_configurations;
mod balance;
mod balance_after_loss;
mod broken_policy;
mod cache_store_loss;
mod canaries;
mod changes_in_an_outage;
mod component_loss;
mod configuration_changes;
mod contract_changes;
mod control_plane_outage;
mod data_path;
mod double_jeopardy;
mod drain;
mod facts;
mod group;
mod group_failover;
mod group_split;
mod health;
mod http_cache;
mod introspection;
mod key_rotation;
mod long_outage;
mod management_latency;
mod overload;
mod paired_starts;
mod quota_restart;
mod quota_shared;
mod quota_told;
mod ready_means_serving;
mod replica_loss;
mod revocation;
mod rolling_restart;
mod rounds;
mod samples;
mod scaling;
mod settling;
mod site_local;
mod site_loss;
mod sites;
mod sizes;
mod slow_contracts;
mod start_without_control_plane;
mod store_failover;
mod store_loss;
mod store_misbehaves;
mod token_matrix;
mod token_times;
mod uses;
mod watches;
mod zone_loss;

use crate::experiment::Experiment;

/// Every experiment there is, in the order in which a run starts them: the longest first, so that the
/// shorter ones fill the gaps; at the end those that nothing may begin or end beside.
#[must_use]
pub fn all() -> Vec<Experiment> {
    vec![
        long_outage::EXPERIMENT,
        management_latency::EXPERIMENT,
        contract_changes::EXPERIMENT,
        start_without_control_plane::EXPERIMENT,
        changes_in_an_outage::EXPERIMENT,
        group_failover::EXPERIMENT,
        group_split::EXPERIMENT,
        sizes::EXPERIMENT,
        revocation::EXPERIMENT,
        introspection::EXPERIMENT,
        key_rotation::EXPERIMENT,
        double_jeopardy::EXPERIMENT,
        site_loss::EXPERIMENT,
        zone_loss::EXPERIMENT,
        replica_loss::EXPERIMENT,
        balance_after_loss::EXPERIMENT,
        store_failover::EXPERIMENT,
        store_loss::EXPERIMENT,
        store_misbehaves::EXPERIMENT,
        autoscaling::EXPERIMENT,
        overload::EXPERIMENT,
        scaling::EXPERIMENT,
        health::EXPERIMENT,
        http_cache::EXPERIMENT,
        cache_store_loss::EXPERIMENT,
        token_matrix::EXPERIMENT,
        bad_configurations::EXPERIMENT,
        rolling_restart::EXPERIMENT,
        ready_means_serving::EXPERIMENT,
        drain::EXPERIMENT,
        quota_told::EXPERIMENT,
        broken_policy::EXPERIMENT,
        token_times::EXPERIMENT,
        quota_shared::EXPERIMENT,
        quota_restart::EXPERIMENT,
        paired_starts::EXPERIMENT,
        slow_contracts::EXPERIMENT,
        balance::EXPERIMENT,
        configuration_changes::EXPERIMENT,
        control_plane_outage::EXPERIMENT,
        component_loss::EXPERIMENT,
        site_local::EXPERIMENT,
        data_path::EXPERIMENT,
        analytics::EXPERIMENT,
    ]
}

/// Whether an experiment compares percentiles of a few milliseconds. Another lab that starts a dozen processes or containers
/// meanwhile moves them more than what they are there to find; one that only sends its requests does not.
#[must_use]
pub fn compares_latencies(experiment: &Experiment) -> bool {
    [
        control_plane_outage::EXPERIMENT.name,
        component_loss::EXPERIMENT.name,
        site_local::EXPERIMENT.name,
        data_path::EXPERIMENT.name,
        analytics::EXPERIMENT.name,
    ]
    .contains(&experiment.name)
}
