//! Faults with their witnesses: planned, injected, witnessed by a second path at the start and at the
//! end, healed, witnessed gone. Each stage is an event. A fault that did not bite is recorded as such;
//! it is no error, but no claim over it can hold.

mod witness;

use super::{Lab, LabError};
use crate::link::Link;
use crate::runtime::{RuntimeError, Signal, State as RunState};
use gatecrash_model::deployment::CALIBRATION;
use gatecrash_model::fault::{Fault, LinkId, NetworkFault, ReplicaFault};
use gatecrash_model::history::{EventKind, FaultStage};
use std::sync::atomic::Ordering;

/// A fault that is in place. It is over when [`Lab::heal`] returned; the lab heals what is left at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a fault is over when it was healed"]
pub struct Active {
    number: u32,
    fault: Fault,
}

impl Active {
    /// What it is.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl Lab {
    /// Links between components by name; `*` stands for any. `links("eu-1", "eu-store")`, `links("*", "control-plane")`.
    #[must_use]
    pub fn links(&self, from: &str, to: &str) -> Vec<LinkId> {
        let matches = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        let state = self.state();
        // Calibration must stay without faults, or it says nothing.
        let touchable = |key: &super::topology::LinkKey| key.from != CALIBRATION && key.to != CALIBRATION;
        let found =
            state.links.iter().filter(|(key, _)| touchable(key) && matches(from, &key.from) && matches(to, &key.to));
        found.map(|(_, link)| link.id().clone()).collect()
    }

    fn found_links(&self, ids: &[LinkId]) -> Result<Vec<(super::topology::LinkKey, Link)>, LabError> {
        let state = self.state();
        let mut found = Vec::new();
        for id in ids {
            let link = state.links.iter().find(|(_, link)| link.id() == id);
            let (key, link) = link.ok_or_else(|| LabError::Unknown(format!("link {id}")))?;
            found.push((key.clone(), link.clone()));
        }
        if found.is_empty() {
            return Err(LabError::Unknown("link of the fault".to_owned()));
        }
        Ok(found)
    }

    /// The links to the data port of a replica, whoever dials it.
    pub(super) fn data_links(&self, name: &str) -> Result<Vec<(super::topology::LinkKey, Link)>, LabError> {
        let data = super::topology::data_port(self.adapter());
        let state = self.state();
        let found: Vec<_> = state
            .links
            .iter()
            .filter(|(key, _)| key.to == name && key.port == data)
            .map(|(key, link)| (key.clone(), link.clone()))
            .collect();
        if found.is_empty() { Err(LabError::Unknown(name.to_owned())) } else { Ok(found) }
    }

    fn stage(&self, number: u32, fault: &Fault, stage: FaultStage, detail: String) {
        self.inner.recorder.now(EventKind::Fault {
            fault: number,
            stage,
            kind: fault.kind(),
            target: fault.target(),
            detail,
        });
    }

    /// Asks the witness of a fault that is over whether it is gone.
    async fn look_after(&self, number: u32, fault: &Fault) {
        let (gone, detail) = self.gone(fault).await;
        self.stage(number, fault, if gone { FaultStage::WitnessedGone } else { FaultStage::NotGone }, detail);
    }

    /// Injects a fault and asks its witness whether it bites.
    ///
    /// # Errors
    /// If it could not be injected at all; what was injected of it is taken away again.
    pub async fn inject(&self, fault: Fault) -> Result<Active, LabError> {
        if let Fault::Replica { name, what } = &fault {
            what.check().map_err(|source| LabError::Illegal { name: name.clone(), source })?;
            let presses = |fault: &Fault| matches!(fault, Fault::Replica { what: ReplicaFault::Press { .. }, .. });
            if presses(&fault) && self.faults_of(name).iter().any(|(_, held)| presses(held)) {
                // Either would end with the other.
                let state = "pressed already".to_owned();
                return Err(RuntimeError::State { component: name.clone(), state, verb: "pressed" }.into());
            }
        }
        // Where a platform acts, it waits for the witness: what is replaced at once would seem never to have been lost.
        let _turn = if self.has_platform() { Some(self.inner.acting.lock().await) } else { None };
        let number = self.inner.next_fault.fetch_add(1, Ordering::Relaxed);
        self.stage(number, &fault, FaultStage::Planned, String::new());
        let before = self.before(&fault).await;
        self.state().faults.insert(number, fault.clone());
        if let Err(error) = self.apply(&fault).await {
            // A partial injection must not stay: the first error is the one to tell.
            let _second = self.undo(&fault).await;
            self.state().faults.remove(&number);
            return Err(error);
        }
        self.stage(number, &fault, FaultStage::Injected, String::new());
        let (bites, detail) = self.bites(&fault, &before).await;
        self.stage(number, &fault, if bites { FaultStage::Witnessed } else { FaultStage::NotWitnessed }, detail);
        if matches!(fault, Fault::Network { what: NetworkFault::Reset, .. }) {
            // A reset is over as soon as it happened.
            self.state().faults.remove(&number);
            self.stage(number, &fault, FaultStage::Healed, String::new());
            self.look_after(number, &fault).await;
        }
        Ok(Active { number, fault })
    }

    /// Asks the witness once more, takes the fault away, and asks whether it is gone.
    ///
    /// # Errors
    /// If it could not be healed.
    pub async fn heal(&self, active: Active) -> Result<(), LabError> {
        let Active { number, fault } = active;
        if !self.state().faults.contains_key(&number) {
            return Ok(());
        }
        // What was killed is asked when it is started again.
        let at_its_end = !matches!(fault, Fault::Replica { what: ReplicaFault::Kill | ReplicaFault::Terminate, .. });
        if at_its_end {
            let (bites, detail) = self.bites(&fault, &witness::Before::default()).await;
            self.stage(
                number,
                &fault,
                if bites { FaultStage::Witnessed } else { FaultStage::NotWitnessed },
                format!("at its end: {detail}"),
            );
        }
        self.undo(&fault).await?;
        self.state().faults.remove(&number);
        self.stage(number, &fault, FaultStage::Healed, String::new());
        self.look_after(number, &fault).await;
        Ok(())
    }

    /// Heals what is left, without witnesses of the end: the experiment is over.
    pub(super) async fn heal_everything(&self) -> Result<(), LabError> {
        let left: Vec<(u32, Fault)> = std::mem::take(&mut self.state().faults).into_iter().collect();
        let mut first = Ok(());
        for (number, fault) in left {
            let undone = self.undo(&fault).await;
            self.stage(number, &fault, FaultStage::Healed, "at the end of the experiment".to_owned());
            first = first.and(undone);
        }
        first
    }

    /// What was done to a replica.
    fn faults_of(&self, name: &str) -> Vec<(u32, Fault)> {
        let of = |fault: &Fault| matches!(fault, Fault::Replica { name: lost, .. } if lost == name);
        let state = self.state();
        state.faults.iter().filter(|(_, fault)| of(fault)).map(|(number, fault)| (*number, fault.clone())).collect()
    }

    /// A replica's process is gone, and with it all that was done to it: takes away what of that is on links or beside it.
    pub(super) async fn free(&self, name: &str) -> Result<(), LabError> {
        for (_, fault) in self.faults_of(name) {
            if matches!(fault, Fault::Replica { what: ReplicaFault::ClosePort | ReplicaFault::Press { .. }, .. }) {
                self.undo(&fault).await?;
            }
        }
        Ok(())
    }

    /// `successor` was started in the place of a replica: what was done to that one is over.
    pub(super) async fn replaced_faults_are_over(&self, name: &str, successor: &str) {
        for (number, fault) in self.faults_of(name) {
            self.state().faults.remove(&number);
            self.stage(number, &fault, FaultStage::Healed, format!("replaced by `{successor}`"));
            let (gone, detail) = self.gone_with_its_process(&fault, successor).await;
            self.stage(number, &fault, if gone { FaultStage::WitnessedGone } else { FaultStage::NotGone }, detail);
        }
    }

    /// What was done to a replica that is removed for good stays done: nothing of it is healed.
    pub(super) fn faults_are_forgotten(&self, name: &str) {
        for (number, _) in self.faults_of(name) {
            self.state().faults.remove(&number);
        }
    }

    /// What ended a component that is about to be started again: whether it stayed ended, as the runtime sees it.
    pub(super) async fn ended_faults_lasted(&self, name: &str) {
        for (number, fault) in self.faults_of(name) {
            if !matches!(fault, Fault::Replica { what: ReplicaFault::Kill | ReplicaFault::Terminate, .. }) {
                continue;
            }
            let state = self.inner.kit.runtime.state(&self.inner.network, name).await;
            let stage = match state {
                RunState::Ended(_) | RunState::Absent => FaultStage::Witnessed,
                RunState::Running | RunState::Paused => FaultStage::NotWitnessed,
            };
            self.stage(number, &fault, stage, format!("at its end: {state:?}").to_lowercase());
        }
    }

    /// A component that was started again is no longer killed.
    pub(super) async fn ended_faults_are_over(&self, name: &str) {
        let over: Vec<(u32, Fault)> = {
            let mut state = self.state();
            let is_over = |fault: &Fault| matches!(fault, Fault::Replica { name: killed, what: ReplicaFault::Kill | ReplicaFault::Terminate | ReplicaFault::Press { .. } } if killed == name);
            let over: Vec<(u32, Fault)> = state
                .faults
                .iter()
                .filter(|(_, fault)| is_over(fault))
                .map(|(number, fault)| (*number, fault.clone()))
                .collect();
            for (number, _) in &over {
                state.faults.remove(number);
            }
            over
        };
        for (number, fault) in over {
            self.stage(number, &fault, FaultStage::Healed, "started again".to_owned());
            self.look_after(number, &fault).await;
        }
    }

    async fn apply(&self, fault: &Fault) -> Result<(), LabError> {
        match fault {
            Fault::Network { links, what } => {
                for (_, link) in self.found_links(links)? {
                    link.apply(*what).await?;
                }
                Ok(())
            }
            Fault::Replica { name, what } => {
                let signal = match what {
                    ReplicaFault::Kill => Signal::Kill,
                    ReplicaFault::Terminate => Signal::Terminate,
                    ReplicaFault::Pause => Signal::Pause,
                    ReplicaFault::ClosePort => {
                        for (_, link) in self.data_links(name)? {
                            link.apply(NetworkFault::Refuse).await?;
                        }
                        return Ok(());
                    }
                    ReplicaFault::Press { millicores } => {
                        return Ok(self.inner.kit.runtime.press(&self.inner.network, name, *millicores).await?);
                    }
                };
                self.signal(name, signal).await
            }
            Fault::Clock { name, offset_ms } => self.set_clock(name, Some(*offset_ms)).await,
            Fault::Fixture { name, endpoint, what } => self.set_fixture_fault(name, endpoint, Some(*what)).await,
        }
    }

    async fn undo(&self, fault: &Fault) -> Result<(), LabError> {
        match fault {
            Fault::Network { links, what } => {
                for (_, link) in self.found_links(links)? {
                    link.heal(*what).await?;
                }
                Ok(())
            }
            Fault::Replica { name, what: ReplicaFault::Pause } => {
                // One that ended meanwhile needs no healing.
                match self.inner.kit.runtime.state(&self.inner.network, name).await {
                    RunState::Paused => self.signal(name, Signal::Resume).await,
                    RunState::Running | RunState::Ended(_) | RunState::Absent => Ok(()),
                }
            }
            Fault::Replica { name, what: ReplicaFault::ClosePort } => {
                for (_, link) in self.data_links(name)? {
                    link.heal(NetworkFault::Refuse).await?;
                }
                Ok(())
            }
            Fault::Replica { name, what: ReplicaFault::Press { .. } } => {
                Ok(self.inner.kit.runtime.release(&self.inner.network, name).await?)
            }
            Fault::Replica { what: ReplicaFault::Kill | ReplicaFault::Terminate, .. } => Ok(()),
            Fault::Clock { name, .. } => self.set_clock(name, None).await,
            Fault::Fixture { name, endpoint, .. } => self.set_fixture_fault(name, endpoint, None).await,
        }
    }
}
