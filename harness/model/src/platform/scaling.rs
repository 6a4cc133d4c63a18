//! How many replicas does a platform want, by the processor time that they use? The decision alone, as a Kubernetes horizontal pod autoscaler makes it.
//!
//! `wanted = ceil(replicas * used / target)`, unless that is within a tenth of what there is; at once when it is more, and when it is less only if it
//! was no more for all of the time that [`Autoscale::stabilization`] says.

use crate::deployment::{Autoscale, Site};
use std::collections::VecDeque;
use std::time::Duration;

/// Defect: a replica more comes so late ([`LATE_BY`]).
pub const LATE: &str = "platform.scales-late";
/// Defect: there is no maximum.
pub const NO_MAXIMUM: &str = "platform.scales-without-maximum";
/// Defect: what is added is put into the first zone.
pub const ONE_ZONE: &str = "platform.scales-into-one-zone";
/// Defect: what was added is never taken away.
pub const NEVER_BACK: &str = "platform.never-scales-in";
/// What [`LATE`] waits while more are wanted, before scaling.
pub const LATE_BY: Duration = Duration::from_secs(300);
/// Use that differs from its target by no more than this share of it changes nothing.
const TOLERANCE: f64 = 0.1;
/// Without a maximum there is one all the same: the machine is shared.
const BEYOND: u32 = 2;

/// One site as its platform scales it.
///
/// ```
/// use gatecrash_model::deployment::Autoscale;
/// use gatecrash_model::platform::scaling::Scaler;
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// let rules = Autoscale {
///     max_replicas: 3,
///     cpu_percent: 50,
///     cpu_request_millicores: 100,
///     period: 15 * second,
///     stabilization: 300 * second,
/// };
/// let mut scaler = Scaler::new(&rules, 2, &[], 1.0);
/// // Two replicas that use 80 ms of each second want to be four; three there may be.
/// assert_eq!(scaler.look(0, 2, 0.08), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler {
    least: u32,
    most: u32,
    target: f64,
    stabilization: Duration,
    late_by: Duration,
    into_one_zone: bool,
    never_back: bool,
    /// What was wanted lately: ns, replicas.
    wanted: VecDeque<(u64, u32)>,
    /// Since when more are wanted than there are, ns.
    more_since: Option<u64>,
}

impl Scaler {
    /// For a site that starts with `least` replicas, with these defects of the deployment (those of others are ignored).
    #[must_use]
    pub fn new(rules: &Autoscale, least: u32, defects: &[String], scale: f64) -> Self {
        let has = |name: &str| defects.iter().any(|defect| defect == name);
        let late_by = Duration::try_from_secs_f64(LATE_BY.as_secs_f64() * scale).unwrap_or(LATE_BY);
        let most = rules.max_replicas.max(least);
        Self {
            least,
            most: if has(NO_MAXIMUM) { most.saturating_add(BEYOND) } else { most },
            target: f64::from(rules.cpu_request_millicores) / 1_000.0 * f64::from(rules.cpu_percent) / 100.0,
            stabilization: rules.stabilization,
            late_by: if has(LATE) { late_by } else { Duration::ZERO },
            into_one_zone: has(ONE_ZONE),
            never_back: has(NEVER_BACK),
            wanted: VecDeque::new(),
            more_since: None,
        }
    }

    /// How many replicas there should be at `at` (ns), of `running` that use `used` of a core each on average.
    pub fn look(&mut self, at: u64, running: u32, used: f64) -> u32 {
        let wanted = self.wanted(running, used);
        let since = at.checked_sub(u64::try_from(self.stabilization.as_nanos()).unwrap_or(u64::MAX));
        let before =
            |seen: Option<&(u64, u32)>| seen.is_some_and(|(time, _)| since.is_some_and(|since| *time <= since));
        // The last one before the stretch stands for its beginning.
        while before(self.wanted.get(1)) {
            self.wanted.pop_front();
        }
        let known = before(self.wanted.front());
        self.wanted.push_back((at, wanted));
        if wanted > running {
            let more_since = *self.more_since.get_or_insert(at);
            let waited = Duration::from_nanos(at.saturating_sub(more_since));
            return if waited >= self.late_by { wanted } else { running };
        }
        self.more_since = None;
        if self.never_back || !known {
            return running;
        }
        let most_wanted = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(running);
        most_wanted.min(running)
    }

    fn wanted(&self, running: u32, used: f64) -> u32 {
        let share = used / self.target;
        if !share.is_finite() || (share - 1.0).abs() <= TOLERANCE {
            return running.clamp(self.least, self.most);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
        let wanted = (f64::from(running) * share).ceil().clamp(0.0, 1_000.0) as u32;
        wanted.clamp(self.least, self.most)
    }

    /// The zone of a new replica, where those of its site are in `there`: one with fewest.
    #[must_use]
    pub fn zone<'s>(&self, site: &'s Site, there: &[&str]) -> &'s str {
        let fewest = site.zones.iter().min_by_key(|zone| count(there, zone));
        let zone = if self.into_one_zone { site.zones.first() } else { fewest };
        zone.map_or("", String::as_str)
    }
}

/// Which of these replicas (number in the site, zone) goes first: the newest of a zone that has most.
#[must_use]
pub fn first_to_go(replicas: &[(u32, &str)]) -> Option<u32> {
    let zones: Vec<&str> = replicas.iter().map(|(_, zone)| *zone).collect();
    replicas.iter().max_by_key(|(number, zone)| (count(&zones, zone), *number)).map(|(number, _)| *number)
}

fn count(there: &[&str], zone: &str) -> usize {
    there.iter().filter(|other| **other == zone).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    /// Two replicas at the start, four at most; the target is a tenth of a core.
    fn scaler(defects: &[&str]) -> Scaler {
        let rules = Autoscale {
            max_replicas: 4,
            cpu_percent: 50,
            cpu_request_millicores: 200,
            period: Duration::from_secs(15),
            stabilization: Duration::from_secs(60),
        };
        let defects: Vec<String> = defects.iter().map(|defect| (*defect).to_owned()).collect();
        Scaler::new(&rules, 2, &defects, 0.1)
    }

    fn site(zones: &[&str]) -> Site {
        Site {
            name: "eu".to_owned(),
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            replicas: 2,
            signing: "a".to_owned(),
        }
    }

    /// What three replicas come to that use so much at one look after the other, 15 s apart.
    fn looks(scaler: &mut Scaler, used: &[f64]) -> Vec<u32> {
        (0_u64..).step_by(15).zip(used).map(|(at, used)| scaler.look(at.saturating_mul(S), 3, *used)).collect()
    }

    #[test]
    fn busy_replicas_get_company_at_once_and_never_more_than_there_may_be() {
        assert_eq!(scaler(&[]).look(0, 2, 0.12), 3);
        assert_eq!(scaler(&[]).look(0, 2, 0.16), 4);
        assert_eq!(scaler(&[]).look(0, 2, 9.0), 4);
        assert_eq!(scaler(&[]).look(0, 4, 9.0), 4);
    }

    #[test]
    fn what_is_nearly_right_changes_nothing() {
        for used in [0.091, 0.1, 0.109] {
            assert_eq!(scaler(&[]).look(0, 3, used), 3, "{used}");
        }
        assert_eq!(scaler(&[]).look(0, 2, f64::NAN), 2);
    }

    #[test]
    fn one_goes_when_fewer_were_enough_all_the_time() {
        assert_eq!(looks(&mut scaler(&[]), &[0.01; 6]), [3, 3, 3, 3, 2, 2], "a minute, and no less");
        // One busy moment begins it anew.
        let mut once_busy = scaler(&[]);
        let wanted = looks(&mut once_busy, &[0.01, 0.01, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01]);
        assert_eq!(wanted, [3, 3, 3, 3, 3, 3, 3, 2]);
        // Never fewer than at the start.
        assert_eq!(once_busy.look(1_000 * S, 2, 0.0), 2);
    }

    #[test]
    fn new_ones_go_to_a_zone_with_fewest_and_the_newest_of_a_full_one_leaves_first() {
        let three = site(&["a", "b", "c"]);
        assert_eq!(scaler(&[]).zone(&three, &["a", "b"]), "c");
        assert_eq!(scaler(&[]).zone(&three, &["a", "c"]), "b");
        assert_eq!(scaler(&[]).zone(&three, &["a", "b", "c"]), "a");
        assert_eq!(scaler(&[]).zone(&site(&[]), &[]), "");
        assert_eq!(first_to_go(&[(1, "a"), (2, "b"), (3, "c")]), Some(3));
        assert_eq!(first_to_go(&[(1, "a"), (4, "a"), (5, "c")]), Some(4));
        assert_eq!(first_to_go(&[]), None);
    }

    #[test]
    fn each_defect_shows_and_those_of_others_do_not() {
        let mut late = scaler(&[LATE]);
        assert_eq!([late.look(0, 2, 0.5), late.look(29 * S, 2, 0.5), late.look(30 * S, 2, 0.5)], [2, 2, 4], "scaled");
        assert_eq!(scaler(&[NO_MAXIMUM]).look(0, 4, 9.0), 6);
        assert_eq!(scaler(&[ONE_ZONE]).zone(&site(&["a", "b"]), &["a"]), "a");
        let mut stays = scaler(&[NEVER_BACK]);
        assert_eq!([stays.look(0, 3, 0.0), stays.look(500 * S, 3, 0.0)], [3, 3]);
        assert_eq!(scaler(&["quota.per-replica"]), scaler(&[]));
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_between_what_there_is_at_first_and_the_maximum(
            looks in prop::collection::vec((1_u64..100, 0_u32..8, 0.0_f64..2.0), 0..40),
        ) {
            let (mut scaler, mut at) = (scaler(&[]), 0);
            for (pause, running, used) in looks {
                at = pause.saturating_mul(S).saturating_add(at);
                let wanted = scaler.look(at, running, used);
                prop_assert!(wanted <= running.max(4) && wanted >= running.min(2), "{wanted} of {running}");
            }
        }
    }
}
