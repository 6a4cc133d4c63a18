//! OVL-02: does latency rise with load, gradually, and before errors do? OVL-03: is service as before soon after, and do policies hold throughout?

use super::seen::{Broken, Load, PRESSURE, doubt, ended_within, load, loads, steps, verdict};
use super::{AFTER_KILL, AFTER_PEAK, AFTER_PRESSURE, KILLED, OVER, PEAK, PRESSED, STEPS};
use crate::claims::common::{Latencies, Phase, count, latency_limit, nanos, seconds, stream, unproven};
use crate::claims::quota::Canaries;
use gatecrash_model::History;
use gatecrash_model::calm::ENOUGH;
use gatecrash_model::claim::Scope;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::stats::rank_correlation;
use gatecrash_model::verdict::{EventRef, Evidence, Number, Reason, Verdict};
use std::time::Duration;

/// Share of requests that must fail for errors to have risen.
const RISEN: f64 = 0.01;
/// Latency has risen once its p95 is so many times that at low load.
const SLOWER: f64 = 2.0;
/// Stretches in which recovery is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// Share of requests that must succeed in each of them.
const SERVED: f64 = 0.99;

const RHO: &str = "rank correlation of load and p95";
const RATIO: &str = "largest p95 over that of the step before, below capacity";
const ERRORS: &str = "steps in which errors rose before latency did";

fn p95(load: &Load) -> f64 {
    load.latencies.clone().p95().unwrap_or(f64::INFINITY)
}

/// Whether no more failed than [`RISEN`], or a single one: two requests meet at low load, too.
fn succeeds(load: &Load) -> bool {
    let failed = load.errors.saturating_add(load.broken);
    load.sent > 0 && (failed <= 1 || load.share(failed) <= RISEN)
}

/// p95 at low load, ms; why there is none.
fn base(history: &History, loads: &[Load]) -> Result<f64, Reason> {
    let low = load(history, loads, "steady", "");
    let base = low.filter(|low| succeeds(low)).map(p95).filter(|base| base.is_finite());
    base.ok_or_else(|| Reason::new("no-steady-state", "not all requests but one in a hundred succeeded at low load"))
}

pub(super) fn ovl_02(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("overload") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let loads = loads(history);
    let base = match base(history, &loads) {
        Ok(base) => base,
        Err(reason) => return Verdict::Inconclusive(doubt(history).unwrap_or(reason)),
    };
    let steps = steps(history, &loads);
    let p95s: Vec<f64> = steps.iter().map(|step| p95(step)).collect();
    let offered: Vec<f64> = steps.iter().map(|step| step.offered).collect();
    let (least, most) = (scope.parameters.number("rho"), scope.parameters.number("step_ratio"));
    let usable = latency_limit(base, scope.parameters.number("capacity_ratio"));
    let within = steps.iter().zip(&p95s).take_while(|(step, p95)| **p95 <= usable && step.share(step.errors) <= RISEN);
    let below = within.count();
    let capacity = below.checked_sub(1).and_then(|last| offered.get(last)).copied().unwrap_or_default();
    // What has not risen is as good as equal: which of the low loads the machine was slower under says nothing of the gateway.
    let flat = latency_limit(p95s.iter().copied().fold(base, f64::min), SLOWER);
    let risen: Vec<f64> = p95s.iter().map(|p95| p95.max(flat)).collect();
    let above = p95s.iter().filter(|p95| **p95 > flat).count();
    let rho = rank_correlation(&offered, &risen).unwrap_or_default();
    let jump = |pair: &[f64]| -> f64 {
        let [before, after] = pair else { return 1.0 };
        if *after <= latency_limit(*before, most) {
            (after / before.max(1e-9)).min(most)
        } else {
            after / before.max(1e-9)
        }
    };
    // The step that is capacity is not below it: what a site can just do is as slow as capacity may be.
    let ratio = p95s.get(..below.saturating_sub(1)).unwrap_or_default().windows(2).map(jump).fold(1.0, f64::max);
    let slow = p95s.iter().position(|p95| *p95 > latency_limit(base, SLOWER));
    let failing = steps.iter().position(|step| step.share(step.errors.saturating_add(step.broken)) > RISEN);
    let early = failing.filter(|failing| slow.is_none_or(|slow| *failing < slow));
    let samples = steps.iter().map(|step| step.sent).fold(0, u64::saturating_add);
    let mut numbers = vec![
        Number::new(RHO, rho, "").limit(least),
        Number::new(RATIO, ratio, "").limit(most),
        Number::new(ERRORS, f64::from(u8::from(early.is_some())), "").limit(0.0),
        Number::new("capacity", capacity, "/s"),
        Number::new("p95 at low load", base, "ms"),
    ];
    for (step, p95) in steps.iter().zip(&p95s).filter(|(_, p95)| p95.is_finite()) {
        numbers.push(Number::new(format!("p95 at {:.0} a second", step.offered), *p95, "ms"));
    }
    let event = |at: usize| -> Option<EventRef> { steps.get(at).map(|step| history.reference(step.phase.event)) };
    let mut broken: Vec<Broken> = Vec::new();
    if let Some(at) = early {
        let (share, offered) = steps
            .get(at)
            .map_or((0.0, 0.0), |step| (step.share(step.errors.saturating_add(step.broken)), step.offered));
        let text = format!("at {offered:.0} a second {:.1} % failed, and nothing had become slower yet", share * 100.0);
        broken.push((
            ERRORS.to_owned(),
            text,
            steps.get(at).and_then(|step| step.first_error.clone()).or_else(|| event(at)),
        ));
    }
    if ratio > most {
        broken.push((
            RATIO.to_owned(),
            format!("below capacity the p95 became {ratio:.1} times as long from one step to the next"),
            event(0),
        ));
    }
    if rho < least && steps.len() == STEPS && above != 1 {
        broken.push((RHO.to_owned(), format!("the p95 does not rise with load: rank correlation {rho:.2}"), event(0)));
    }
    let few = |text: String| Reason::new("too-few-samples", text);
    let missing = if steps.len() < STEPS {
        Some(few(format!("{} of {STEPS} steps were seen", steps.len())))
    } else if slow.is_none() && failing.is_none() {
        Some(few("no step was more than the site can do".to_owned()))
    } else if above == 1 {
        // One of ten cannot be told from one that is slow by chance.
        Some(few("one step only was more than the site can do".to_owned()))
    } else {
        None
    };
    let (from, to) = match (steps.first(), steps.last()) {
        (Some(first), Some(last)) => (first.phase.from, last.phase.to),
        _ => (0, 0),
    };
    verdict(history, broken, (from, to), Evidence { samples, numbers, notes: Vec::new() }, missing)
}

const ENDED: &str = "replicas that ended under pressure";
const ADMITTED: &str = "admitted without a credential under overload";

/// When service was as before in `settle`, ns from its beginning: the first stretch in which it was, and in the next one too. `None` if it never was.
fn recovered(history: &History, settle: Phase, limit_ms: f64) -> Option<u64> {
    let look = nanos(LOOK);
    let stretches = settle.to.saturating_sub(settle.from) / look;
    let mut all: Vec<(u64, u64, Latencies)> = Vec::new();
    for seen in stream(history, streams::TRAFFIC) {
        let at = seen.view.intended_at(history.events());
        let Some(since) = at.checked_sub(settle.from) else { continue };
        let Ok(stretch) = usize::try_from(since / look) else { continue };
        if since / look >= stretches || seen.is_given_up() {
            continue;
        }
        all.resize_with(all.len().max(stretch.saturating_add(1)), Default::default);
        let Some((sent, succeeded, latencies)) = all.get_mut(stretch) else { continue };
        *sent = sent.saturating_add(1);
        if seen.outcome.is_some_and(|(_, _, answer)| answer.is_success()) {
            *succeeded = succeeded.saturating_add(1);
            latencies.add(seen.latency_ms(history));
        } else {
            latencies.add(None);
        }
    }
    let as_before = |(sent, succeeded, latencies): &mut (u64, u64, Latencies)| {
        *sent > 0 && count(*succeeded) >= count(*sent) * SERVED && latencies.p95().is_some_and(|p95| p95 <= limit_ms)
    };
    let good: Vec<bool> = all.iter_mut().map(as_before).collect();
    let first = good.windows(2).position(|pair| pair == [true, true])?;
    Some(u64::try_from(first).unwrap_or(u64::MAX).saturating_mul(look))
}

/// Requests that must be refused and were admitted in one of `held`, with the first.
fn admitted(history: &History, held: &[Phase]) -> (u64, Option<EventRef>, u64) {
    let (mut number, mut first, mut asked) = (0_u64, None, 0_u64);
    for seen in stream(history, streams::MUST_REFUSE) {
        if !seen.asked.credential.must_refuse() || !held.iter().any(|phase| (phase.from..phase.to).contains(&seen.sent))
        {
            continue;
        }
        asked = asked.saturating_add(1);
        if let Some((_, position)) = seen.view.arrival(history.events()) {
            number = number.saturating_add(1);
            first.get_or_insert_with(|| history.reference(position));
        }
    }
    (number, first, asked)
}

/// Why nothing is said of what came after pressure: it was not shown to bite, or not to be gone. On a busy machine that is the machine's.
fn pressure_doubt(history: &History, pressed: &Load) -> Option<Reason> {
    let doubt = unproven(history, |fault| history.text(fault.kind) == PRESSURE)?;
    let calm = history.calm().share(pressed.phase.from, pressed.phase.to);
    if calm.is_some_and(|calm| calm < ENOUGH) { Some(Reason::new("machine-busy", doubt.text)) } else { Some(doubt) }
}

pub(super) fn ovl_03(scope: &Scope<'_>) -> Verdict {
    let history = match scope.history("overload") {
        Ok(history) => history,
        Err(verdict) => return verdict,
    };
    let loads = loads(history);
    let base = match base(history, &loads) {
        Ok(base) => base,
        Err(reason) => return Verdict::Inconclusive(doubt(history).unwrap_or(reason)),
    };
    let limit = latency_limit(base, scope.parameters.number("p95_ratio"));
    let within = nanos(scope.parameters.duration("within"));
    let several = scope.deployment.sites.iter().any(|site| site.replicas >= 2);
    let (mut numbers, mut broken, mut missing) = (Vec::new(), Vec::<Broken>::new(), None);
    let (mut samples, mut edges, mut slow) = (0_u64, (u64::MAX, 0_u64), (u64::MAX, 0_u64));
    let pressed = load(history, &loads, "hold", PRESSED);
    let unpressed = pressed.and_then(|pressed| pressure_doubt(history, pressed));
    missing = missing.or_else(|| unpressed.clone());
    for (variant, when) in [
        (AFTER_PEAK, "after twice the capacity"),
        (AFTER_KILL, "after that and a kill"),
        (AFTER_PRESSURE, "after pressure on the processors"),
    ] {
        let Some(settle) = load(history, &loads, "settle", variant) else {
            let told = match variant {
                AFTER_KILL => several,
                AFTER_PRESSURE => pressed.is_some(),
                _ => true,
            };
            if told {
                let text = format!("nothing was seen {when}");
                missing = missing.or_else(|| Some(Reason::new("too-few-samples", text)));
            }
            continue;
        };
        if variant == AFTER_PRESSURE && unpressed.is_some() {
            // What is slow then may be ours.
            continue;
        }
        samples = samples.saturating_add(settle.sent);
        edges = (edges.0.min(settle.phase.from), edges.1.max(settle.phase.to));
        let name = format!("service as before {when}");
        let length = settle.phase.to.saturating_sub(settle.phase.from);
        let recovered = recovered(history, settle.phase, limit);
        let took = recovered.unwrap_or(length);
        numbers.push(Number::new(&name, seconds(took), "s").limit(seconds(within)));
        if recovered.is_none() && length < within {
            missing = missing.or_else(|| {
                Some(Reason::new("too-few-samples", format!("{when}: it was not looked at for long enough")))
            });
        } else if took > within || recovered.is_none() {
            let text = format!(
                "{when}, asked for {:.0} a second, service was not as before for {:.2} s and more",
                settle.offered,
                seconds(took)
            );
            broken.push((name, text, Some(history.reference(settle.phase.event))));
            slow = (slow.0.min(settle.phase.from), slow.1.max(settle.phase.to));
        }
    }
    // Whether the machine was calm is asked of the time that is accused.
    let edges = if broken.is_empty() { edges } else { slow };
    if let Some(pressed) = pressed {
        let until = load(history, &loads, "settle", AFTER_PRESSURE).unwrap_or(pressed).phase.to;
        if let Some((replica, event)) = ended_within(history, scope.deployment, (pressed.phase.from, until)) {
            let text = format!("`{replica}` ended while its processor was pressed, or soon after");
            broken.push((ENDED.to_owned(), text, Some(event)));
        }
    }
    let held: Vec<Phase> = [OVER, PEAK, KILLED, PRESSED]
        .iter()
        .filter_map(|variant| load(history, &loads, "hold", variant))
        .map(|load| load.phase)
        .collect();
    let (let_in, first, asked) = admitted(history, &held);
    let quota = Canaries::read(scope.deployment, history, &held);
    numbers.push(Number::new(ADMITTED, count(let_in), "requests").limit(0.0));
    numbers.extend(quota.number());
    numbers.push(Number::new("must be refused, under overload", count(asked), "requests"));
    numbers.push(Number::new("p95 at low load", base, "ms"));
    let under_pressure = pressed.map(p95).filter(|p95| p95.is_finite());
    numbers.extend(under_pressure.map(|p95| Number::new("p95 under pressure on the processors", p95, "ms")));
    if let_in > 0 {
        broken.push((
            ADMITTED.to_owned(),
            format!("{let_in} of {asked} requests that must be refused were admitted under overload"),
            first,
        ));
    }
    if let Some((name, words)) = quota.broken() {
        broken.push((name, words, quota.events.first().cloned()));
    }
    if asked == 0 {
        missing = missing.or_else(|| Some(Reason::new("too-few-samples", "no policy was tried under overload")));
    }
    let mut notes = if several { Vec::new() } else { vec!["one replica: none was killed".to_owned()] };
    if pressed.is_none() {
        notes.push("nobody pressed on the processors".to_owned());
    }
    verdict(history, broken, edges, Evidence { samples, numbers, notes }, missing)
}
