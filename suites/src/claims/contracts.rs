//! Do contracts decide who may use an API, and only who: at start, without the control plane, while they change?
//!
//! The contract API is every route with the `client-id` policy; a plain route has none. Unknown clients can
//! be told from known ones only with the contracts at hand; a missing or flawed credential can be refused without.

mod clients;
mod start;

use gatecrash_model::Deployment;
use gatecrash_model::History;
use gatecrash_model::Name;
use gatecrash_model::claim::{Capability, Claim, Level, OnBusyMachine, Parameter, Reads, Value};
use gatecrash_model::deployment::Policy;

/// Stream of the uses that watch a changing contract.
pub(crate) const CONTRACT_CHANGE: &str = "contract-change";

/// The claims of this family.
pub(crate) const CLAIMS: &[Claim] = &[CON_01, CON_02, CON_03, CON_04];

/// Least number of judged requests of CON-01.
const MINIMUM_START: u64 = 10;
/// Least number of judged requests of CON-03.
const MINIMUM_CLIENTS: u64 = 100;
/// Least number of judged requests of CON-04.
const MINIMUM_CHANGES: u64 = 50;

const CON_01: Claim = Claim {
    id: "CON-01",
    statement: "at start, an API that uses contracts accepts no traffic until they are downloaded",
    source: "seeds M19, M20; Mule Gatekeeper blocks with 503 until contracts are loaded",
    level: Level::Core,
    parameters: &[Parameter {
        name: "delay",
        default: Some(Value::Seconds(10.0)),
        min: 1.0,
        max: 60.0,
        words: &[],
        help: "how much longer the control plane takes to send contracts, at least (default: ours)",
    }],
    needs: &[Capability::Contracts, Capability::ControlPlane, Capability::ReplicaFaults],
    reads: Reads::Experiments(&["slow-contracts"]),
    on_busy_machine: OnBusyMachine::Stands,
    minimum: MINIMUM_START,
    check: start::con_01,
};

const CON_02: Claim = Claim {
    id: "CON-02",
    statement: "with the control plane down at start, APIs that use contracts still come up",
    source: "seed M18: contracts are not stored locally (the limitation)",
    level: Level::Core,
    parameters: &[Parameter {
        name: "observe",
        default: Some(Value::Seconds(10.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "how long the plain API must have served before `the contract API did not come up` is said (default: ours)",
    }],
    needs: &[Capability::Contracts, Capability::ControlPlane, Capability::ReplicaFaults, Capability::NetworkFaults],
    reads: Reads::Experiments(&["start-without-control-plane"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: 2,
    check: start::con_02,
};

const CON_03: Claim = Claim {
    id: "CON-03",
    statement: "an unknown or removed client is never admitted, and a valid one is never refused with 401 or 403, at any time including start, reload and loss of the control plane",
    source: "seed M20; Mule Gatekeeper: before the contracts, `a request with valid credentials was rejected`",
    level: Level::Core,
    parameters: &[Parameter {
        name: "within",
        default: Some(Value::Seconds(60.0)),
        min: 0.1,
        max: 3600.0,
        words: &[],
        help: "how long after its removal a client may still be admitted, and after its addition still refused (default: ours, as CON-04)",
    }],
    needs: &[Capability::Contracts],
    reads: Reads::Every,
    on_busy_machine: OnBusyMachine::Stands,
    minimum: MINIMUM_CLIENTS,
    check: clients::con_03,
};

const CON_04: Claim = Claim {
    id: "CON-04",
    statement: "adding or removing a contract takes effect within T in steady state; existing contracts stay valid while the control plane is down",
    source: "Flex SLA page, high-availability strategies; claims.md section 3, row 35",
    level: Level::Core,
    parameters: &[
        Parameter {
            name: "within",
            default: Some(Value::Seconds(60.0)),
            min: 0.1,
            max: 3600.0,
            words: &[],
            help: "from the change at the control plane to its effect at every replica (default: ours; Flex does not document its polling)",
        },
        Parameter {
            name: "outage",
            default: Some(Value::Seconds(300.0)),
            min: 1.0,
            max: 3600.0,
            words: &[],
            help: "how long the control plane must have been away, at least (default: ours)",
        },
    ],
    needs: &[Capability::Contracts, Capability::ControlPlane, Capability::NetworkFaults],
    reads: Reads::Experiments(&["contract-changes"]),
    on_busy_machine: OnBusyMachine::Excused,
    minimum: MINIMUM_CHANGES,
    check: clients::con_04,
};

/// For each name of the history, whether it is a route for which `of` is true.
fn routes_where(deployment: &Deployment, history: &History, of: impl Fn(&[Policy]) -> bool) -> Vec<bool> {
    let mut is = vec![false; history.names().len()];
    for route in deployment.routes.iter().filter(|route| of(&route.policies)) {
        if let Some(slot) = history.name(&route.name).and_then(|name| is.get_mut(name.index())) {
            *slot = true;
        }
    }
    is
}

/// Whether a flag is set for a name.
fn is_set(flags: &[bool], name: Name) -> bool {
    flags.get(name.index()).copied().unwrap_or_default()
}
