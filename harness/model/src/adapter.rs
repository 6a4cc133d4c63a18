//! How to speak to and configure a gateway product: pure text in, text out.
//!
//! An adapter is a YAML file: how a replica is started (command or image), which files are rendered
//! from which templates, its ports, readiness, reject status, headers, token and revocation endpoints.
//! The reference gateway and Envoy are two such files; a user writes a third without any Rust.

use crate::claim::Capability;
use crate::profile::Scalar;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod rehearse;
pub mod render;
pub mod yaml;

/// Name of the port at which a gateway listens for the others of its group.
pub const PEER_PORT: &str = "peer";

/// An adapter, checked. Made by [`yaml::parse`] only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adapter {
    /// Its name.
    pub name: String,
    /// Folder of its file on this machine, absolute; empty for one that comes with gatecrash, and until the reader of the file
    /// says it.
    #[serde(skip)]
    pub folder: String,
    /// How a replica is started as a process; `None`: it cannot be.
    pub process: Option<ProcessStart>,
    /// How a replica is started as a container; `None`: it cannot be.
    pub container: Option<ContainerStart>,
    /// What to do where its program or image is missing, one sentence: the end of the error that says so.
    #[serde(default)]
    pub obtain: Option<String>,
    /// Files rendered for each replica, relative to its files folder.
    pub files: Vec<FileTemplate>,
    /// Files of this machine that each replica gets as they are.
    #[serde(default)]
    pub copies: Vec<FileCopy>,
    /// Listening ports by name; `data` must be one, and [`PEER_PORT`] is one where gateways can be a group. Replicas have addresses of their own, so the numbers are fixed.
    pub ports: BTreeMap<String, u16>,
    /// The readiness signal.
    pub ready: Probe,
    /// The liveness signal, which depends on nothing but the replica itself; `None`: any answer where readiness is asked for.
    #[serde(default)]
    pub live: Option<Probe>,
    /// Status with which over-quota requests are refused.
    pub reject_status: u16,
    /// What `X-RateLimit-Reset` counts in: no standard says it. `None`: it is not read.
    #[serde(default)]
    pub reset_unit: Option<ResetUnit>,
    /// Response header in which a replica names itself.
    pub replica_header: Option<String>,
    /// Response header with the version of the configuration in force.
    pub version_header: Option<String>,
    /// Token endpoint of the gateway; `None`: tokens are signed by the harness' identity provider stub.
    pub token: Option<Endpoint>,
    /// Revocation endpoint (RFC 7009).
    pub revocation: Option<Endpoint>,
    /// What the product can do; the rest makes claims not-applicable, with [`Adapter::lacks`] as the reason.
    pub capabilities: Vec<Capability>,
    /// Why it lacks what it lacks: capability to sentence.
    pub lacks: BTreeMap<Capability, String>,
    /// Settings it understands, with their defaults and legal values.
    pub settings: BTreeMap<String, Setting>,
    /// Settings that this machine lacks something for ([`Setting::needs`]), each with a sentence that says what; found by
    /// [`Adapter::look_around`].
    #[serde(skip)]
    pub unmet: BTreeMap<String, String>,
    /// Seconds that a replica may take to become ready. Not scaled.
    pub ready_within_s: u32,
}

/// What a gateway says in `X-RateLimit-Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResetUnit {
    /// Milliseconds to the end of the window (Flex).
    Ms,
    /// Seconds to it (Kong, APISIX, Envoy).
    S,
    /// The second since the epoch at which it ends (Tyk).
    Epoch,
    /// The same as an HTTP date (RFC 9110, section 5.6.7).
    HttpDate,
}

/// A replica as a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStart {
    /// Program and arguments, each a template. The program is a path (a relative one from where gatecrash runs), a name on
    /// PATH, or `gatecrash` (this harness' own executable, for fixtures).
    pub command: Vec<String>,
    /// Environment, each value a template.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// A replica as a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStart {
    /// Image: a local or pullable reference, or `gatecrash` (the image made from this harness' own executable).
    pub image: String,
    /// A host executable from which the image is made FROM scratch with its shared libraries, if the
    /// engine does not have the reference. A template.
    #[serde(default)]
    pub from_executable: Option<String>,
    /// Arguments after the entry point, each a template.
    pub arguments: Vec<String>,
    /// Environment, each value a template.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Whether an init process is PID 1 (foreign programs do not handle SIGTERM as PID 1).
    #[serde(default)]
    pub init: bool,
}

/// A file rendered for each replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileTemplate {
    /// Where, relative to the replica's files folder.
    pub path: String,
    /// The template's text.
    pub template: String,
    /// The file that the text came from, as the adapter names it; `None`: it stands in the adapter.
    #[serde(default)]
    pub source: Option<String>,
}

impl FileTemplate {
    /// What messages call it: the file in which a mistake is to be mended, else the path that it is rendered to.
    #[must_use]
    pub fn called(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.path)
    }
}

/// A file of this machine that each replica gets as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileCopy {
    /// Where, relative to the replica's files folder.
    pub path: String,
    /// Where it is on this machine: a template.
    pub copy: String,
    /// Expression over what templates see; the file is left out where it is false. `None`: always there.
    #[serde(default)]
    pub when: Option<String>,
}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Port by name.
    pub port: String,
    /// Path.
    pub path: String,
    /// Status that means ready.
    pub status: u16,
}

/// An endpoint of the gateway on its `data` port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Path.
    pub path: String,
}

/// A setting that an adapter understands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Default; `None`: what depends on it is not applicable until a deployment says it.
    pub default: Option<Scalar>,
    /// Legal words; empty: any value of the default's kind.
    #[serde(default)]
    pub words: Vec<String>,
    /// A file of this machine without which the setting cannot be used: a template over `tools` and `here`. Experiments
    /// that would use it are left out, with the reason.
    #[serde(default)]
    pub needs: Option<String>,
    /// What to do where that file is missing, one sentence: the end of the reason.
    #[serde(default)]
    pub obtain: Option<String>,
    /// One line of help.
    pub help: String,
}
