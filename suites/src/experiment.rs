//! An experiment: a story told to a lab, and what it takes to tell it.

use futures::future::BoxFuture;
use gatecrash_engine::lab::{Lab, LabError, LabOptions};
use gatecrash_model::claim::Capability;
use gatecrash_model::{Demands, Deployment};
use std::time::Duration;

/// One story. Its history is read by every claim that names it.
#[derive(Clone, Copy)]
pub struct Experiment {
    /// Name: letters and dashes.
    pub name: &'static str,
    /// The story in one sentence.
    pub story: &'static str,
    /// What must be there for it to be told.
    pub needs: &'static [Capability],
    /// Expected wall time for a deployment (unscaled) at a scale, with what claims ask of its stretches.
    pub expected: fn(&Deployment, f64, &Demands) -> Duration,
    /// What it wants of its lab.
    pub options: fn(&Deployment) -> LabOptions,
    /// The steps that can be left out one by one, in the order in which they are told; none for a story that is told whole. Each brings what
    /// it needs: its own steady state, its heal, its settling. The story asks [`Lab::wants`]. Which there are may depend on the deployment; a
    /// step that the gateway or the runtime cannot do is not told, whether it is wanted or not.
    pub steps: fn(&Deployment) -> Vec<String>,
    /// The story.
    pub run: fn(Lab) -> BoxFuture<'static, Result<(), LabError>>,
}

/// The steps of a story that is told whole or not at all.
pub(crate) fn single(_: &Deployment) -> Vec<String> {
    Vec::new()
}

/// Names of steps as [`Experiment::steps`] gives them.
pub(crate) fn named<'a>(steps: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    steps.into_iter().map(str::to_owned).collect()
}

impl std::fmt::Debug for Experiment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Experiment").field("name", &self.name).finish_non_exhaustive()
    }
}
