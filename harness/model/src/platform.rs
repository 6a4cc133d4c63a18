//! When is a replica dead or hung, and when does a platform put another one in its place? The decisions alone: the engine looks,
//! kills and starts.
//!
//! A process that has ended is dead, and that is certain at the first look. One that runs is probed: so many failed probes in a row
//! make it hung. A replica that was just started is not held to its probes until it answered one, but it must do that in time.

pub mod scaling;

use crate::deployment::Platform;
use std::time::Duration;

/// Defect: nothing is probed; only a process that has ended is replaced.
pub const NO_LIVENESS_PROBE: &str = "platform.no-liveness-probe";
/// Defect: the admin port is probed and nothing else.
pub const ADMIN_PORT_ONLY: &str = "platform.admin-port-only";
/// Defect: the successor comes so late ([`SLOW`]).
pub const SLOW_RESPAWN: &str = "platform.slow-respawn";
/// Defect: one lost replica is replaced, and none after it.
pub const RESPAWNS_ONCE: &str = "platform.respawns-once";
/// Defect: the successor is put beside a replica that is left, in that one's zone.
pub const ONE_ZONE: &str = "platform.one-zone";
/// Defects that a platform has, by the names under which a deployment switches them on.
pub const DEFECTS: [&str; 9] = [
    NO_LIVENESS_PROBE,
    ADMIN_PORT_ONLY,
    SLOW_RESPAWN,
    RESPAWNS_ONCE,
    ONE_ZONE,
    scaling::LATE,
    scaling::NO_MAXIMUM,
    scaling::ONE_ZONE,
    scaling::NEVER_BACK,
];
/// What [`SLOW_RESPAWN`] waits after it has found a replica lost, before scaling.
pub const SLOW: Duration = Duration::from_secs(90);

/// By what a platform decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many failed probes in a row make a replica count as hung; at least 1.
    pub threshold: u32,
    /// How long a replica that was started may take until it answers its first probe.
    pub start_within: Duration,
    /// Whether running replicas are probed at all.
    pub probes: bool,
    /// Whether their data port is probed, too.
    pub probes_data: bool,
    /// From finding a replica lost to putting another one in its place.
    pub respawn_after: Duration,
    /// How many lost replicas are replaced; `None` for all.
    pub respawns: Option<u32>,
    /// Whether a successor is put where the lost one was, rather than beside one that is left.
    pub keeps_zone: bool,
}

impl Rules {
    /// The rules of `platform` with these defects of the deployment (those of others are ignored). `start_within` is not scaled:
    /// programs do not start faster.
    #[must_use]
    pub fn new(platform: &Platform, start_within: Duration, defects: &[String], scale: f64) -> Self {
        let has = |name: &str| defects.iter().any(|defect| defect == name);
        let slow = Duration::try_from_secs_f64(SLOW.as_secs_f64() * scale).unwrap_or(SLOW);
        Self {
            threshold: platform.probe_threshold.max(1),
            start_within,
            probes: !has(NO_LIVENESS_PROBE),
            probes_data: !has(ADMIN_PORT_ONLY),
            respawn_after: if has(SLOW_RESPAWN) { slow } else { Duration::ZERO },
            respawns: has(RESPAWNS_ONCE).then_some(1),
            keeps_zone: !has(ONE_ZONE),
        }
    }

    /// Whether a platform that replaced so many replicas may replace another one.
    #[must_use]
    pub fn may_replace(&self, replaced: u32) -> bool {
        self.respawns.is_none_or(|most| replaced < most)
    }

    /// The zone of the successor of a replica that was in `lost`, where those of its site that are left are in `left` (in order).
    #[must_use]
    pub fn zone<'z>(&self, lost: &'z str, left: &[&'z str]) -> &'z str {
        if self.keeps_zone { lost } else { left.first().copied().unwrap_or(lost) }
    }
}

/// What one look at a replica shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its process or container has ended.
    Ended,
    /// It runs, and was probed.
    Probed {
        /// Its admin listener gave the answer that means alive.
        live: bool,
        /// Its data port took a connection.
        open: bool,
    },
    /// The runtime could not say: that is no fault of the replica.
    Nothing,
}

/// Why a replica is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Its process has ended.
    Dead,
    /// It runs, and failed so many probes in a row.
    Hung {
        /// How many.
        failed: u32,
    },
    /// It was started, and never answered a probe.
    NeverCameUp,
}

impl Finding {
    /// Whether it must be killed before another one can take its place.
    #[must_use]
    pub fn runs(self) -> bool {
        match self {
            Self::Dead => false,
            Self::Hung { .. } | Self::NeverCameUp => true,
        }
    }

    /// In words, for the history.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Dead => "its process had ended".to_owned(),
            Self::Hung { failed } => format!("it failed {failed} probes in a row"),
            Self::NeverCameUp => "it never answered a probe".to_owned(),
        }
    }
}

/// One replica as its platform knows it.
///
/// ```
/// use gatecrash_model::deployment::{Platform, Successor};
/// use gatecrash_model::platform::{Finding, Rules, Seen, Watch};
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// let platform =
///     Platform { probe_period: second, probe_timeout: second, probe_threshold: 2, successor: Successor::New, autoscale: None };
/// let rules = Rules::new(&platform, 30 * second, &[], 1.0);
/// let mut watch = Watch::running();
/// let silent = Seen::Probed { live: false, open: true };
/// assert_eq!(watch.look(1_000_000_000, silent, &rules), None);
/// assert_eq!(watch.look(2_000_000_000, silent, &rules), Some(Finding::Hung { failed: 2 }));
/// assert_eq!(watch.due(2_000_000_000, &rules), Some(Finding::Hung { failed: 2 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// When it was started, ns; `None` for one that answered a probe since.
    starting: Option<u64>,
    failed: u32,
    found: Option<(u64, Finding)>,
}

impl Watch {
    /// Over a replica that was there before its platform.
    #[must_use]
    pub fn running() -> Self {
        Self { starting: None, failed: 0, found: None }
    }

    /// Over a replica that was started at `at` (ns).
    #[must_use]
    pub fn started(at: u64) -> Self {
        Self { starting: Some(at), failed: 0, found: None }
    }

    /// Takes what a look at `at` (ns) shows. The finding, if this look makes the replica count as lost; one that is lost stays so.
    pub fn look(&mut self, at: u64, seen: Seen, rules: &Rules) -> Option<Finding> {
        if self.found.is_some() {
            return None;
        }
        let finding = match seen {
            Seen::Nothing => None,
            Seen::Ended => Some(Finding::Dead),
            Seen::Probed { .. } if !rules.probes => None,
            Seen::Probed { live, open } if live && (open || !rules.probes_data) => {
                (self.starting, self.failed) = (None, 0);
                None
            }
            Seen::Probed { .. } => self.failed_probe(at, rules),
        };
        self.found = finding.map(|finding| (at, finding));
        finding
    }

    fn failed_probe(&mut self, at: u64, rules: &Rules) -> Option<Finding> {
        if let Some(since) = self.starting {
            let waited = Duration::from_nanos(at.saturating_sub(since));
            return (waited >= rules.start_within).then_some(Finding::NeverCameUp);
        }
        self.failed = self.failed.saturating_add(1);
        (self.failed >= rules.threshold).then_some(Finding::Hung { failed: self.failed })
    }

    /// Why another one is to be put in its place at `at` (ns); `None` while it is not lost, or it is not time yet.
    #[must_use]
    pub fn due(&self, at: u64, rules: &Rules) -> Option<Finding> {
        let (found, finding) = self.found?;
        (Duration::from_nanos(at.saturating_sub(found)) >= rules.respawn_after).then_some(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Successor;

    const S: u64 = 1_000_000_000;
    const GOOD: Seen = Seen::Probed { live: true, open: true };
    const SILENT: Seen = Seen::Probed { live: false, open: true };
    const CLOSED: Seen = Seen::Probed { live: true, open: false };

    fn rules(defects: &[&str]) -> Rules {
        let platform = Platform {
            probe_period: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(1),
            probe_threshold: 3,
            successor: Successor::Same,
            autoscale: None,
        };
        let defects: Vec<String> = defects.iter().map(|defect| (*defect).to_owned()).collect();
        Rules::new(&platform, Duration::from_secs(30), &defects, 0.1)
    }

    /// What `looks`, one each second from the first on, make of a replica that runs.
    fn findings(looks: &[Seen], rules: &Rules) -> Vec<Option<Finding>> {
        let mut watch = Watch::running();
        (1_u64..).zip(looks).map(|(second, seen)| watch.look(second.saturating_mul(S), *seen, rules)).collect()
    }

    #[test]
    fn an_ended_process_is_dead_at_the_first_look_and_is_found_once() {
        let found = findings(&[GOOD, Seen::Ended, Seen::Ended], &rules(&[]));
        assert_eq!(found, [None, Some(Finding::Dead), None]);
        assert!(!Finding::Dead.runs());
    }

    #[test]
    fn failed_probes_must_come_in_a_row() {
        for failed in [SILENT, CLOSED] {
            let found = findings(&[failed, failed, GOOD, failed, failed, failed, failed], &rules(&[]));
            assert_eq!(found[5], Some(Finding::Hung { failed: 3 }));
            assert_eq!(found.iter().flatten().count(), 1, "{found:?}");
        }
        // Either port counts, and what nobody could see is neither.
        let found = findings(&[SILENT, CLOSED, Seen::Nothing, SILENT], &rules(&[]));
        assert_eq!(found, [None, None, None, Some(Finding::Hung { failed: 3 })]);
        assert!(Finding::Hung { failed: 3 }.runs());
    }

    #[test]
    fn a_start_has_its_own_time_and_ends_with_the_first_good_probe() {
        let rules = rules(&[]);
        let mut watch = Watch::started(S);
        assert_eq!(watch.look(2 * S, SILENT, &rules), None);
        assert_eq!(watch.look(30 * S, SILENT, &rules), None);
        let mut late = watch;
        assert_eq!(late.look(31 * S, SILENT, &rules), Some(Finding::NeverCameUp));
        assert!(Finding::NeverCameUp.runs());
        assert_eq!(watch.look(31 * S, GOOD, &rules), None);
        let after = [32 * S, 33 * S, 34 * S].map(|at| watch.look(at, SILENT, &rules));
        assert_eq!(after, [None, None, Some(Finding::Hung { failed: 3 })]);
        // One that ends while it starts need not be waited for.
        assert_eq!(Watch::started(S).look(2 * S, Seen::Ended, &rules), Some(Finding::Dead));
    }

    #[test]
    fn a_lost_replica_is_replaced_at_once() {
        let rules = rules(&[]);
        let mut watch = Watch::running();
        assert_eq!(watch.due(S, &rules), None);
        watch.look(S, Seen::Ended, &rules);
        assert_eq!(watch.due(S, &rules), Some(Finding::Dead));
    }

    #[test]
    fn each_defect_shows_and_those_of_others_do_not() {
        let blind = rules(&[NO_LIVENESS_PROBE]);
        assert_eq!(findings(&[SILENT, SILENT, SILENT, CLOSED, Seen::Ended], &blind)[..4], [None; 4]);
        assert_eq!(findings(&[Seen::Ended], &blind), [Some(Finding::Dead)]);

        let half = rules(&[ADMIN_PORT_ONLY]);
        assert_eq!(findings(&[CLOSED, CLOSED, CLOSED], &half), [None; 3]);
        assert_eq!(findings(&[SILENT, SILENT, SILENT], &half)[2], Some(Finding::Hung { failed: 3 }));

        let slow = rules(&[SLOW_RESPAWN]);
        assert_eq!(slow.respawn_after, Duration::from_secs(9), "scaled");
        let mut watch = Watch::running();
        assert_eq!(watch.look(S, Seen::Ended, &slow), Some(Finding::Dead));
        assert_eq!((watch.due(9 * S, &slow), watch.due(10 * S, &slow)), (None, Some(Finding::Dead)));

        let once = rules(&[RESPAWNS_ONCE]);
        assert_eq!((once.may_replace(0), once.may_replace(1)), (true, false));
        assert!(rules(&[]).may_replace(9));

        let beside = rules(&[ONE_ZONE]);
        assert_eq!(beside.zone("a", &["b", "c"]), "b");
        assert_eq!(beside.zone("a", &[]), "a", "nobody is left");
        assert_eq!(rules(&[]).zone("a", &["b", "c"]), "a");

        assert_eq!(rules(&["quota.per-replica"]), rules(&[]));
    }
}
