//! AVL-02: how long do clients notice that a zone is gone, and how much do they lose that the zone did not have?

use super::seen::{Found, lost_at, phase_of, requests, within};
use super::sites::{steady, verdict};
use super::{FROM_STORE, WHOLE};
use crate::claims::common::{count, len, ms, nanos, phases};
use crate::claims::lives::Lives;
use gatecrash_model::claim::Scope;
use gatecrash_model::deployment::Site;
use gatecrash_model::verdict::{Number, Reason, Verdict};
use std::time::Duration;

/// A gap is never held to less: an ingress needs two probes to be sure, however short they are.
const LEAST_GAP: Duration = Duration::from_secs(2);

pub(super) fn avl_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("zone-loss") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let Some(site) = scope.deployment.sites.iter().find(|site| site.used_zones() >= 2) else {
        let text = "no site has replicas in two zones: the loss of one takes the site away";
        return Verdict::NotApplicable(Reason::new("one-zone", text));
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let gap = nanos(scope.parameters.duration("gap").max(LEAST_GAP));
    let all = requests(history);
    let mut found = Found::default();
    let mut notes = vec![spread(site)];
    steady(history, &phases, &all, slo, &mut found);
    let lives = Lives::new(history);
    let (zone, replicas) = (site.zone_of(1), site.replica_names());
    let others: Vec<_> = (1..=site.replicas)
        .zip(&replicas)
        .filter(|(index, _)| site.zone_of(*index) != zone)
        .filter_map(|(_, name)| history.name(name))
        .collect();
    let inside = count(u64::from(site.replicas).saturating_sub(len(others.len())));
    let share = inside / count(u64::from(site.replicas.max(1)));
    let mut stretches = vec![(WHOLE, "a zone lost", share)];
    if scope.deployment.store.is_some() {
        stretches.push((FROM_STORE, "a zone cut off from the store", 0.0));
    } else {
        notes.push("there is no shared store that a zone could be cut off from".to_owned());
    }
    for (variant, when, own) in stretches {
        let (hold, lost) = (phase_of(history, &phases, "hold", variant), lost_at(history, &phases, variant));
        let (Some(hold), Some(lost)) = (hold, lost) else {
            found.few(format!("it was never seen: {when}"));
            continue;
        };
        let until = lost.saturating_add(gap);
        found.success(history, when, within(&all, until, hold.to), slo);
        if let Some(settle) = phase_of(history, &phases, "settle", variant) {
            found.success(history, &format!("after: {when}"), within(&all, settle.from, settle.to), slo);
        } else {
            found.few(format!("nothing was seen after: {when}"));
        }
        let early = within(&all, lost, until);
        let failed = len(early.iter().filter(|asked| !asked.ok).count());
        let part = if early.is_empty() { 0.0 } else { count(failed) / count(len(early.len())) * 100.0 };
        let allowed = own * 100.0 + scope.parameters.number("loss");
        let name = format!("lost in the gap ({when})");
        found.numbers.push(Number::new(&name, part, "%").limit(allowed));
        if part > allowed {
            let text = format!("{when}: {part:.1} % of the requests in the gap were lost; {allowed:.1} % are allowed");
            found.break_by(history, name, text, early.iter().find(|asked| !asked.ok).map(|asked| asked.event));
        }
        let last = within(&all, lost, hold.to).iter().rev().find(|asked| !asked.ok);
        let noticed = last.map_or(0.0, |asked| ms(asked.at.saturating_sub(lost)) / 1000.0);
        found.numbers.push(Number::new(format!("gap ({when})"), noticed, "s"));
        // Not a sentence about clients: if nobody was left to serve, the loss was not that of a zone alone.
        let left = others
            .iter()
            .any(|name| lives.gone_in(*name, lost, hold.to).is_none() && !lives.is_gone(*name, lost, hold.to));
        if !left {
            found.few(format!("{when}: no replica of another zone was there all the time"));
        }
    }
    verdict(history, found, notes)
}

/// Which replica is in which zone.
fn spread(site: &Site) -> String {
    let each = (1..=site.replicas).zip(site.replica_names()).map(|(index, name)| {
        let zone = site.zone_of(index);
        format!("`{name}` in `{zone}`")
    });
    format!("zones: {}", each.collect::<Vec<_>>().join(", "))
}
