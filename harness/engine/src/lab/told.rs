//! What do the headers of an answer tell a client: to close its connection, how much of its quota is left, when to come again?
//! Read for the few calls that ask for it ([`Lab::call_told`]), and written as marks.

use super::Lab;
use crate::client::Transport;
use gatecrash_model::adapter::ResetUnit;
use gatecrash_model::history::event::told;
use hyper::HeaderMap;
use std::time::Duration;

/// What an answer told; nothing of what it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether there was a whole answer.
    pub answered: bool,
    /// `Connection: close`.
    pub closes: bool,
    /// Requests left in the window.
    pub remaining: Option<u64>,
    /// Time to the end of the window.
    pub reset: Option<Duration>,
    /// By how much that may be wrong, for it is told in whole numbers of this: nothing or a second.
    pub grain: Duration,
    /// `Retry-After` in seconds (a date is not read).
    pub retry_after: Option<Duration>,
}

impl Told {
    /// What `transport` tells at `now`, in milliseconds since the epoch; `unit` is what `X-RateLimit-Reset` counts in.
    pub(super) fn of(transport: &Transport, unit: Option<ResetUnit>, now: i64) -> Self {
        let Transport::Answer { headers, .. } = transport else { return Self::default() };
        let (reset, grain) = reset(headers, unit, now).unzip();
        Self {
            answered: true,
            closes: text(headers, "connection")
                .is_some_and(|words| words.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"))),
            remaining: remaining(headers),
            reset,
            grain: grain.unwrap_or_default(),
            retry_after: number(headers, "retry-after").map(Duration::from_secs),
        }
    }

    pub(super) fn write(self, lab: &Lab, op: u32) {
        if !self.answered {
            return;
        }
        let subject = op.to_string();
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        lab.mark(told::CLOSES, &subject, i64::from(self.closes));
        if let Some(remaining) = self.remaining {
            lab.mark(told::REMAINING, &subject, i64::try_from(remaining).unwrap_or(i64::MAX));
        }
        if let Some(reset) = self.reset {
            lab.mark(told::RESET_MS, &subject, millis(reset));
            if !self.grain.is_zero() {
                lab.mark(told::GRAIN_MS, &subject, millis(self.grain));
            }
        }
        if let Some(retry_after) = self.retry_after {
            lab.mark(told::RETRY_AFTER_MS, &subject, millis(retry_after));
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

/// A parameter of the first item of the `RateLimit` field (draft-ietf-httpapi-ratelimit-headers): `"default";r=5;t=30`.
fn parameter(headers: &HeaderMap, key: &str) -> Option<u64> {
    let item = text(headers, "ratelimit")?.split(',').next()?;
    item.split(';').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

fn remaining(headers: &HeaderMap) -> Option<u64> {
    parameter(headers, "r")
        .or_else(|| number(headers, "ratelimit-remaining"))
        .or_else(|| number(headers, "x-ratelimit-remaining"))
}

/// What is told in whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Time to the end of the window, and its grain: seconds in the standard's fields, old and new; in `X-RateLimit-Reset` what the gateway's
/// adapter says.
fn reset(headers: &HeaderMap, unit: Option<ResetUnit>, now: i64) -> Option<(Duration, Duration)> {
    let standard = parameter(headers, "t").or_else(|| number(headers, "ratelimit-reset"));
    if let Some(seconds) = standard {
        return Some((Duration::from_secs(seconds), SECOND));
    }
    // What is over is told as now.
    let until = |at_s: i64| {
        let left = at_s.saturating_mul(1000).saturating_sub(now);
        Duration::from_millis(u64::try_from(left).unwrap_or_default())
    };
    let told = || number(headers, "x-ratelimit-reset");
    match unit? {
        ResetUnit::Ms => told().map(|ms| (Duration::from_millis(ms), Duration::ZERO)),
        ResetUnit::S => told().map(|seconds| (Duration::from_secs(seconds), SECOND)),
        ResetUnit::Epoch => told().map(|at| (until(i64::try_from(at).unwrap_or(i64::MAX)), SECOND)),
        ResetUnit::HttpDate => {
            let date = httpdate::parse_http_date(text(headers, "x-ratelimit-reset")?).ok()?;
            let at = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
            Some((until(i64::try_from(at).unwrap_or(i64::MAX)), SECOND))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use hyper::StatusCode;

    const NOW: i64 = 1_700_000_000_250;

    fn told_in(unit: Option<ResetUnit>, headers: &[(&'static str, &'static str)]) -> Told {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let answer = Transport::Answer { status: StatusCode::OK, headers: map, body: Bytes::new(), first_byte: 0 };
        Told::of(&answer, unit, NOW)
    }

    fn told(headers: &[(&'static str, &'static str)]) -> Told {
        told_in(Some(ResetUnit::Ms), headers)
    }

    #[test]
    fn every_dialect_is_read() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let flex = told(&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", "1500"), ("retry-after", "2")]);
        assert_eq!(
            (flex.remaining, flex.reset, flex.retry_after),
            (Some(7), Some(Duration::from_millis(1500)), seconds(2))
        );
        assert_eq!(flex.grain, Duration::ZERO);
        let old = told(&[("ratelimit-remaining", "3"), ("ratelimit-reset", "9")]);
        assert_eq!((old.remaining, old.reset, old.grain), (Some(3), seconds(9), SECOND));
        let new = told(&[("ratelimit", "\"default\";r=5;t=30")]);
        assert_eq!((new.remaining, new.reset, new.retry_after, new.grain), (Some(5), seconds(30), None, SECOND));
        let date = told(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]);
        assert_eq!(date.retry_after, None);
    }

    #[test]
    fn what_no_standard_says_the_adapter_does() {
        let read = |unit, value| told_in(unit, &[("x-ratelimit-reset", value)]).reset;
        assert_eq!(read(None, "9"), None, "nobody says what it counts in");
        assert_eq!(read(Some(ResetUnit::Ms), "9"), Some(Duration::from_millis(9)));
        assert_eq!(read(Some(ResetUnit::S), "9"), Some(Duration::from_secs(9)));
        assert_eq!(read(Some(ResetUnit::Epoch), "1700000005"), Some(Duration::from_millis(4_750)));
        assert_eq!(read(Some(ResetUnit::Epoch), "1699999999"), Some(Duration::ZERO), "it is over");
        assert_eq!(
            read(Some(ResetUnit::HttpDate), "Tue, 14 Nov 2023 22:13:25 GMT"),
            Some(Duration::from_millis(4_750))
        );
        assert_eq!(read(Some(ResetUnit::HttpDate), "soon"), None);
    }

    #[test]
    fn a_client_is_told_to_close_by_one_word_among_others() {
        assert!(told(&[("connection", "foo, Close")]).closes);
        assert!(!told(&[("connection", "keep-alive")]).closes);
        assert_eq!(Told::of(&Transport::Timeout, None, NOW), Told::default());
    }
}
