//! ANA-01: do the analytics of each site record all calls of its own gateways, once, whatever becomes of the other site?

use super::seen::{Call, calls, lost};
use super::{EXPERIMENT, OUTAGES, SITE};
use crate::claims::case::Case;
use crate::claims::common::{Phase, count, end_of, judged, late_doubt, len, nanos, phase, phases, seconds};
use gatecrash_model::claim::Scope;
use gatecrash_model::verdict::{Number, Verdict};
use gatecrash_model::{History, Name};

/// Least number of calls that are judged.
pub(super) const MINIMUM: u64 = 200;

/// A stretch that is judged: when, in words; which sites.
struct Stretch {
    when: String,
    phase: Option<Phase>,
    /// Not this one: it has lost something.
    but: Option<Name>,
}

fn stretches(history: &History, phases: &[Phase], lost: Option<Name>) -> Vec<Stretch> {
    let of = |name: &str, variant: &str| phase(history, phases, name, variant).map(|found| judged(history, found));
    let mut all = vec![Stretch { when: "nothing lost".to_owned(), phase: of("steady", ""), but: None }];
    for (variant, words) in OUTAGES.into_iter().chain([(SITE, "a whole site lost")]) {
        all.push(Stretch { when: format!("{words} at another site"), phase: of("hold", variant), but: lost });
        all.push(Stretch { when: format!("after: {words}"), phase: of("settle", variant), but: None });
    }
    all
}

/// What became of the calls of one site in one stretch.
#[derive(Default)]
struct Told {
    all: u64,
    missing: u64,
    first: Option<usize>,
    /// Not recorded, and nobody waited long enough.
    open: u64,
}

fn told(all: &[Call], site: Name, phase: Phase, flush: u64, end: u64) -> Told {
    let mut told = Told::default();
    for call in all.iter().filter(|call| call.site == site && (phase.from..phase.to).contains(&call.sent)) {
        told.all = told.all.saturating_add(1);
        // What was never answered may have been lost on its way to the gateway.
        if !call.is_answered() {
            continue;
        }
        let due = call.ended.saturating_add(flush);
        if call.recorded <= due {
            continue;
        }
        if !call.is_recorded() && end < due {
            told.open = told.open.saturating_add(1);
            continue;
        }
        told.missing = told.missing.saturating_add(1);
        told.first.get_or_insert(call.event);
    }
    told
}

pub(super) fn ana_01(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history(EXPERIMENT) {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let (needed, allowed) = (scope.parameters.number("completeness"), scope.parameters.number("duplicates"));
    let flush = nanos(scope.parameters.duration("flush"));
    let calls = calls(scope, history);
    let (mut found, mut samples, mut certain) = (Case::default(), 0_u64, false);
    for stretch in stretches(history, &phases, lost(history)) {
        let Stretch { when, phase: Some(phase), but } = stretch else {
            found.few(format!("it was never seen: {}", stretch.when));
            continue;
        };
        for records in calls.by_site.iter().filter(|records| Some(records.site) != but) {
            let site = history.text(records.site);
            let told = told(&calls.all, records.site, phase, flush, end_of(history));
            if told.all == 0 {
                found.few(format!("`{site}`: nothing was asked ({when})"));
                continue;
            }
            if told.open > 0 {
                found.few(format!("`{site}`: {} calls were not waited for ({when})", told.open));
            }
            samples = samples.saturating_add(told.all);
            let share = 100.0 - count(told.missing) / count(told.all) * 100.0;
            let name = format!("recorded by `{site}` ({when})");
            found.numbers.push(Number::new(&name, share, "%").limit(needed));
            if share < needed {
                let text = format!(
                    "`{site}` did not record {} of {} calls of its own gateways within {:.1} s ({when})",
                    told.missing,
                    told.all,
                    seconds(flush)
                );
                found.break_by(name, text, told.first.map(|event| history.reference(event)));
            }
        }
    }
    for records in &calls.by_site {
        let site = history.text(records.site);
        let (again, first) = records.again;
        if records.own > 0 {
            let share = count(again) / count(records.own) * 100.0;
            let name = format!("recorded again by `{site}`");
            found.numbers.push(Number::new(&name, share, "%").limit(allowed));
            if share > allowed {
                certain = true;
                let text = format!("`{site}` recorded {again} of {} calls more than once", records.own);
                found.break_by(name, text, first.map(|event| history.reference(event)));
            }
        }
        let (strange, first) = records.strange;
        let name = format!("calls of other sites recorded by `{site}`");
        found.numbers.push(Number::new(&name, count(strange), "").limit(0.0));
        if strange > 0 {
            certain = true;
            let text = format!("`{site}` was told of {strange} calls of other sites' gateways");
            found.break_by(name, text, first.map(|event| history.reference(event)));
        }
    }
    if len(calls.by_site.len()) < 2 {
        found.few("there were no calls at two sites");
    }
    // A harness that stood still may have recorded too late; no lateness makes a call one of another site, or two of it.
    let within = scope.parameters.duration("flush");
    found.verdict(history, (samples, MINIMUM), || {
        if certain { None } else { late_doubt(history, within, 0, end_of(history)) }
    })
}
