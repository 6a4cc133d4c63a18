//! Which faults is a link under, and what do they come to? Faults of different kinds combine, one of the same kind
//! replaces; together they are one gate per direction, one way to treat new connections, and the shapers.

use super::lane::Gate;
use gatecrash_model::fault::{Direction, NetworkFault};

/// How a link treats new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    /// They are accepted.
    Yes,
    /// They hang.
    Stalled,
    /// They are refused.
    Refused,
}

/// The faults in force on one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) delay: Option<(u32, u32)>,
    pub(super) bandwidth: Option<(u64, Direction)>,
    pub(super) refuse: bool,
    pub(super) hold: Option<Direction>,
    pub(super) blackhole: bool,
}

impl Faults {
    /// The faults with one more. A reset is an event, not a state.
    pub(super) fn with(mut self, fault: NetworkFault) -> Self {
        match fault {
            NetworkFault::Delay { delay_ms, jitter_ms } => self.delay = Some((delay_ms, jitter_ms)),
            NetworkFault::Bandwidth { bytes_per_s, direction } => self.bandwidth = Some((bytes_per_s, direction)),
            NetworkFault::Refuse => self.refuse = true,
            NetworkFault::Reset => {}
            NetworkFault::Hold { direction } => self.hold = Some(direction),
            NetworkFault::Blackhole => self.blackhole = true,
        }
        self
    }

    /// The faults without those of this kind.
    pub(super) fn without(mut self, fault: NetworkFault) -> Self {
        match fault {
            NetworkFault::Delay { .. } => self.delay = None,
            NetworkFault::Bandwidth { .. } => self.bandwidth = None,
            NetworkFault::Refuse => self.refuse = false,
            NetworkFault::Reset => {}
            NetworkFault::Hold { .. } => self.hold = None,
            NetworkFault::Blackhole => self.blackhole = false,
        }
        self
    }

    /// The gate of a lane: 0 toward the listener, 1 toward the dialler.
    pub(super) fn gate(&self, lane: usize) -> Gate {
        if self.blackhole {
            Gate::Dropped
        } else if self.hold.is_some_and(|direction| covers(direction, lane)) {
            Gate::Held
        } else {
            Gate::Open
        }
    }

    /// Bytes a second of a lane, where it is limited.
    pub(super) fn rate(&self, lane: usize) -> Option<u64> {
        self.bandwidth.filter(|(_, direction)| covers(*direction, lane)).map(|(bytes_per_s, _)| bytes_per_s)
    }

    pub(super) fn accept(&self) -> Accept {
        if self.refuse {
            Accept::Refused
        } else if self.blackhole || self.hold == Some(Direction::Both) {
            Accept::Stalled
        } else {
            Accept::Yes
        }
    }
}

fn covers(direction: Direction, lane: usize) -> bool {
    match direction {
        Direction::TowardListener => lane == 0,
        Direction::TowardDialer => lane == 1,
        Direction::Both => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_different_kinds_combine_and_one_of_the_same_kind_replaces() {
        let both = Faults::default()
            .with(NetworkFault::Delay { delay_ms: 5, jitter_ms: 0 })
            .with(NetworkFault::Hold { direction: Direction::Both })
            .with(NetworkFault::Delay { delay_ms: 9, jitter_ms: 1 });
        assert_eq!(both.delay, Some((9, 1)));
        assert_eq!((both.gate(0), both.gate(1), both.accept()), (Gate::Held, Gate::Held, Accept::Stalled));
        let refused = both.with(NetworkFault::Refuse);
        assert_eq!(refused.accept(), Accept::Refused);
        let healed = refused
            .without(NetworkFault::Hold { direction: Direction::TowardDialer })
            .without(NetworkFault::Refuse)
            .without(NetworkFault::Delay { delay_ms: 0, jitter_ms: 0 });
        assert_eq!(healed, Faults::default());
    }

    #[test]
    fn one_way_faults_leave_the_other_way_and_new_connections_alone() {
        let held = Faults::default().with(NetworkFault::Hold { direction: Direction::TowardDialer });
        assert_eq!((held.gate(0), held.gate(1), held.accept()), (Gate::Open, Gate::Held, Accept::Yes));
        let slow = Faults::default()
            .with(NetworkFault::Bandwidth { bytes_per_s: 2_000, direction: Direction::TowardListener });
        assert_eq!((slow.rate(0), slow.rate(1)), (Some(2_000), None));
    }
}
