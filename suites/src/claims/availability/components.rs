//! AVL-06: does the data path notice that any other component is lost?

use super::seen::Found;
use super::{COMPONENT, sites};
use crate::claims::common::{doubt, judged, len, phase, phases, steady, unless};
use crate::claims::configuration::Stretch;
use crate::claims::pace::{Compared, Pace, compare};
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::{Number, Reason, Verdict};

pub(super) fn avl_06(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("component-loss") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let phases = phases(history);
    let slo = scope.parameters.number("slo") / 100.0;
    let ratio = scope.parameters.number("p95_ratio");
    let steadily = phase(history, &phases, "steady", "").map(|steadily| judged(history, steadily));
    let before = steadily
        .ok_or_else(|| Reason::new("no-steady-state", "there was no steady phase"))
        .and_then(|steadily| steady(history, streams::TRAFFIC, (steadily.from, steadily.to), slo));
    let base = before.clone().ok().and_then(|mut service| service.paces.base());
    let mut found = Found::default();
    let (mut busy, mut lost): (Option<Reason>, Vec<String>) = (None, Vec::new());
    for (_, component, ..) in history.marks(COMPONENT) {
        let component = history.text(component);
        if lost.iter().any(|known| known == component) {
            continue;
        }
        lost.push(component.to_owned());
        for (name, when) in [("hold", format!("`{component}` lost")), ("settle", format!("`{component}` back"))] {
            let Some(within) = phase(history, &phases, name, component).map(|phase| judged(history, phase)) else {
                found.few(format!("it was never seen: {when}"));
                continue;
            };
            let within = [within];
            let mut seen = Stretch::read(history, &within, |_| true);
            if seen.service.sent == 0 {
                found.few(format!("nothing was asked: {when}"));
                continue;
            }
            found.samples = found.samples.saturating_add(seen.service.sent);
            found.numbers.extend(seen.numbers(slo, &when));
            if let Some(broken) = seen.broken(slo, &when) {
                found.broken.push(broken);
                found.events.append(&mut seen.events);
            }
            // What comes back may be waited for: the time after it is held to success alone.
            let Some(base) = base.filter(|_| name == "hold") else { continue };
            let compared = compare(history, (&mut seen.traffic, &within), (base, steadily.as_slice()), ratio);
            let Some(Compared { p95, limit, pace }) = compared else { continue };
            let number = format!("p95 ({when})");
            found.numbers.extend(p95.map(|p95| Number::new(&number, p95, "ms").limit(limit)));
            let p95 = p95.unwrap_or(f64::INFINITY);
            match pace {
                Pace::Kept => {}
                Pace::Slower => {
                    let text = format!("{when}: p95 was {p95:.1} ms; {limit:.1} ms are allowed");
                    found.break_by(history, number, text, within.first().map(|phase| phase.event));
                }
                Pace::Busy(reason) => busy = busy.or(Some(reason)),
            }
        }
    }
    if lost.is_empty() {
        found.few("no component was lost");
    }
    found.missing = before.err().or(found.missing);
    let words = format!("lost in turn, {} of them: {}", len(lost.len()), lost.join(", "));
    let base = base.map(|base| Number::new("p95 before the losses", base, "ms"));
    found.numbers.extend(base);
    unless(sites::verdict(history, found, vec![words]), doubt(history).or(busy))
}
