//! Did the data path become slower, or did the machine? Latencies are compared over slices in which the calibration stream,
//! which passes no gateway and no fault, was as fast as in its better ones; what it became slower by all the same is
//! allowed for, and decides nothing.

use super::common::{Latencies, Phase, Service, latency_limit, stream};
pub(crate) use super::overload::calm;
use gatecrash_model::History;
use gatecrash_model::calm::Calm;
use gatecrash_model::operation::stream as streams;
use gatecrash_model::verdict::Reason;

/// Least number of calm requests that a p95 is made of.
pub(crate) const LEAST: usize = 20;
/// Least share of the requests of a stretch that must have been calm: one in so many.
const ONE_IN: u64 = 4;
/// A request through a gateway waits for the machine about so many times as often as one of calibration.
const HOPS: f64 = 4.0;

/// p95 (ms) of calibration in the calm slices of `within`.
fn calibrated(history: &History, calm: &Calm, within: &[Phase]) -> Option<f64> {
    let mut latencies = Latencies::default();
    for seen in stream(history, streams::CALIBRATION) {
        let at = seen.view.intended_at(history.events());
        if within.iter().any(|phase| (phase.from..phase.to).contains(&at)) && calm.is_calm(at) {
            latencies.add(seen.latency_ms(history));
        }
    }
    latencies.p95()
}

/// What a comparison says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Within the limit.
    Kept,
    /// Beyond it, and the machine does not explain that.
    Slower,
    /// The machine was too busy to tell (`machine-busy`).
    Busy(Reason),
}

/// A p95 in faults, held against the one before them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    /// In the faults, ms; `None` if nothing was calm.
    pub(crate) p95: Option<f64>,
    /// The most that it may be, ms.
    pub(crate) limit: f64,
    /// What that says.
    pub(crate) pace: Pace,
}

/// Holds the p95 of `during`, seen in `within`, against `ratio` times `base` ms, which were seen in `before`. `None` if nothing was sent.
pub(crate) fn compare(
    history: &History,
    calm: &Calm,
    (during, within): (&mut Service, &[Phase]),
    (base, before): (f64, &[Phase]),
    ratio: f64,
) -> Option<Compared> {
    if during.sent == 0 {
        return None;
    }
    let limit = latency_limit(base, ratio);
    // A busy machine makes nothing faster: what is fast enough with all requests is. Only then the calm ones decide.
    if let Some(p95) = during.all.p95().filter(|p95| *p95 <= limit) {
        return Some(Compared { p95: Some(p95), limit, pace: Pace::Kept });
    }
    let p95 = during.latencies.p95();
    let calm_requests = u64::try_from(during.latencies.len()).unwrap_or(u64::MAX);
    let busy = |what: String| Pace::Busy(Reason::new("machine-busy", format!("`{}`: {what}", history.experiment())));
    // A slow stretch is told from few requests only if the machine took the others.
    let few = calm_requests < during.sent
        && (calm_requests.saturating_mul(ONE_IN) < during.sent || during.latencies.len() < LEAST);
    let pace = match p95 {
        _ if few => busy(format!(
            "{calm_requests} of {} requests were sent while the machine was calm, by its calibration stream",
            during.sent
        )),
        Some(p95) if p95 > limit => {
            let by_machine = match (calibrated(history, calm, within), calibrated(history, calm, before)) {
                (Some(now), Some(then)) => (now - then).max(0.0) * HOPS,
                _ => 0.0,
            };
            if p95 > limit + by_machine {
                Pace::Slower
            } else {
                busy(format!(
                    "p95 was {p95:.1} ms where {limit:.1} ms are allowed; up to {by_machine:.1} ms of that are the machine's, by its calibration stream"
                ))
            }
        }
        Some(_) => Pace::Kept,
        None => busy("no request was sent while the machine was calm, by its calibration stream".to_owned()),
    };
    Some(Compared { p95, limit, pace })
}
