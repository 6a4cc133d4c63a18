//! Histories of `replica-loss` for tests: two replicas of `eu`, lost one after the other and replaced.

use super::losses::{AGAIN, CLOSED, HUNG, KILLED, NOT_REPLACED, ON_NEW, REPLICA_LOSS};
use super::serving::{SAMPLE, SERVING};
use gatecrash_model::history::ReplicaState;
use gatecrash_model::history::build::{HistoryBuilder, call, with};
use gatecrash_model::history::event::mark;
use gatecrash_model::operation::{Answer, Credential, Effect, Indefinite};

/// A replica that is lost; times in ms.
#[derive(Clone, Copy)]
pub(crate) struct Lost {
    pub(crate) variant: &'static str,
    pub(crate) victim: &'static str,
    pub(crate) at: u64,
    pub(crate) found: Option<u64>,
    /// Its successor, its start.
    pub(crate) successor: Option<(&'static str, u64)>,
    /// When that one serves.
    pub(crate) serves: Option<u64>,
    /// When the story brings the lost one back.
    pub(crate) gave_up: Option<u64>,
}

/// When the story ends, ms.
pub(crate) const END: u64 = 170_000;
/// How long an ingress goes on sending requests to one that is lost, ms.
const UNNOTICED: u64 = 1_000;

fn lost(variant: &'static str, victim: &'static str, at: u64, found: u64, successor: &'static str) -> Lost {
    Lost {
        variant,
        victim,
        at,
        found: Some(found),
        successor: Some((successor, found + 10)),
        serves: Some(found + 300),
        gave_up: None,
    }
}

/// Each is replaced in time.
pub(crate) fn all() -> [Lost; 4] {
    [
        lost(KILLED, "eu-1", 20_000, 26_000, "eu-3"),
        lost(AGAIN, "eu-3", 28_000, 36_000, "eu-4"),
        lost(HUNG, "eu-4", 80_000, 111_000, "eu-5"),
        lost(CLOSED, "eu-2", 125_000, 156_000, "eu-6"),
    ]
}

/// The same, but that this one is never replaced, and brought back after 75 s.
pub(crate) fn never(variant: &str) -> Vec<Lost> {
    // Later ones come so much later.
    let mut later = 0;
    let mut told = Vec::new();
    for mut one in all() {
        for time in [&mut one.at].into_iter().chain(one.found.as_mut()).chain(one.serves.as_mut()) {
            *time += later;
        }
        one.successor = one.successor.map(|(name, at)| (name, at + later));
        if one.variant == variant {
            (one.found, one.successor, one.serves) = (None, None, None);
            one.gave_up = Some(one.at + 75_000);
            later = 75_000;
        }
        told.push(one);
    }
    // Whoever was to be lost in the place of the successor that never came is the victim itself.
    told
}

/// Who is there at `ms`, whether it serves, and whether the ingress uses it.
fn there(losses: &[Lost], ms: u64) -> [(&'static str, bool, bool); 2] {
    let mut there = [("eu-1", true, true), ("eu-2", true, true)];
    for one in losses.iter().filter(|one| one.at <= ms) {
        let Some(slot) = there.iter_mut().find(|(name, ..)| *name == one.victim) else { continue };
        let unnoticed = ms < one.at + UNNOTICED;
        *slot = (one.victim, false, unnoticed);
        if let Some((name, _)) = one.successor.filter(|(_, started)| *started <= ms) {
            let serves = one.serves.is_some_and(|serves| serves <= ms);
            *slot = (name, serves, serves);
        } else if one.gave_up.is_some_and(|gave_up| gave_up <= ms) {
            *slot = (one.victim, true, true);
        }
    }
    there
}

/// Who answers the `turn`th request of a stream at `ms`, by round robin; nobody if it goes to one that is lost.
pub(crate) fn in_turn(losses: &[Lost], ms: u64, turn: u64) -> Option<&'static str> {
    let there = there(losses, ms);
    let used: Vec<_> = there.iter().filter(|(.., used)| *used).collect();
    let (name, serves, _) = used.get(usize::try_from(turn).ok()? % used.len().max(1))?;
    serves.then_some(*name)
}

/// A story of these losses, in which `answers` says who answers the nth request of a stream at a time (ms).
pub(crate) fn replica_loss(losses: &[Lost], answers: impl Fn(u64, u64) -> Option<&'static str>) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(REPLICA_LOSS);
    let end =
        losses.iter().filter_map(|one| one.serves.or(one.gave_up)).max().unwrap_or_default().max(END - 13_000) + 13_000;
    for name in ["eu-1", "eu-2"] {
        history.at_ms(0).replica(name, ReplicaState::Starting).replica(name, ReplicaState::Ready);
        history.contact("eu-ingress", name, "in-rotation", 0, 0);
    }
    history.at_ms(1).phase("steady", "");
    for one in losses {
        tell(&mut history, one);
    }
    history.at_ms(end).phase("end", "");
    for (turn, ms) in (2..end).step_by(20).enumerate() {
        let turn = u64::try_from(turn).unwrap();
        for name in ["traffic", ON_NEW] {
            let operation = call(name, "eu-ingress", "plain", "client-1");
            history.at_ms(ms);
            if let Some(replica) = answers(ms, turn) {
                let answer = Answer { status: 200, replica: replica.to_owned(), ..Answer::default() };
                history.operation(operation, Some((Effect::Ok, answer)), true);
            } else {
                let answer = Answer { status: 502, ..Answer::default() };
                history.operation(operation, Some((Effect::Unknown(Indefinite::GatewayError), answer)), false);
            }
        }
    }
    for ms in (100..end).step_by(1_000) {
        for (name, serves, _) in there(losses, ms) {
            history.at_ms(ms).mark(SAMPLE, name, 1);
            let asked = call(SERVING, name, "plain", "client-6");
            let without = with(asked.clone(), Credential::Missing);
            if serves {
                history.ok(asked);
                history.rejected(without, 401);
            } else {
                history.refused(asked);
                history.refused(without);
            }
        }
    }
    history
}

fn tell(history: &mut HistoryBuilder, one: &Lost) {
    let kind = match one.variant {
        HUNG => "pause",
        CLOSED => "close-port",
        _ => "kill",
    };
    let gone = one.successor.map(|(_, at)| at).or(one.gave_up).unwrap_or(one.at + 1);
    history.at_ms(one.at).phase("inject", one.variant);
    history.proven_fault(kind, one.victim, one.at + 1, gone);
    history.at_ms(one.at + 50).phase("hold", one.variant);
    history.at_ms(one.at + UNNOTICED).contact("eu-ingress", one.victim, "out-of-rotation", 0, 0);
    if let Some(found) = one.found {
        history.at_ms(found).mark(mark::FOUND_LOST, one.victim, 3);
    }
    if let Some((name, at)) = one.successor {
        let number = one.victim.rsplit_once('-').unwrap().1.parse().unwrap();
        history.at_ms(at).mark(mark::SUCCESSOR, name, number);
        history.replica(name, ReplicaState::Starting);
        if let Some(serves) = one.serves {
            history.at_ms(serves).replica(name, ReplicaState::Ready);
            history.contact("eu-ingress", name, "in-rotation", 0, 0);
        }
    }
    if let Some(gave_up) = one.gave_up {
        history.at_ms(gave_up).mark(NOT_REPLACED, one.victim, 75_000);
        history.at_ms(gave_up + 1).replica(one.victim, ReplicaState::Ready);
        history.contact("eu-ingress", one.victim, "in-rotation", 0, 0);
    }
    if let Some(served) = one.serves.or(one.gave_up).filter(|_| one.variant != KILLED) {
        history.at_ms(served + 10).phase("settle", one.variant);
    }
}
