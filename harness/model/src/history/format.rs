//! Histories as JSON lines: a header, then one event a line, then the closing mark.
//!
//! The format has a version `major.minor`. A reader refuses another major; a line that is not whole or
//! not JSON stops the reading, and the error says at which line: what stands before it is kept, and
//! the history is not complete, so that nothing over it is judged as held.

use super::event::{Event, EventKind};
use super::{Header, History};
use crate::name::Names;
use crate::operation::{Answer, Operation};
use std::io::{self, BufRead, Write};

/// Format version that this writes.
pub const FORMAT: &str = "1.1";

/// Why a history could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file itself could not be read.
    #[error("line {line}: cannot be read")]
    Io {
        /// Line, from 1.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The first line is no header of ours.
    #[error("line 1: no history header of format {FORMAT}")]
    Header(#[source] serde_json::Error),
    /// Another major version.
    #[error("line 1: format `{found}`; this reads {FORMAT}")]
    Format {
        /// What the header says.
        found: String,
    },
    /// A line that is not whole or no event.
    #[error("line {line}: cut or damaged; {events} events before it were read")]
    Line {
        /// Line, from 1.
        line: u64,
        /// Events read before it.
        events: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file ends without its closing mark.
    #[error("line {line}: the history ends without its closing mark; {events} events were read")]
    Unfinished {
        /// Last line, from 1.
        line: u64,
        /// Events read.
        events: u64,
    },
}

impl<N> Event<N> {
    /// The same event with other names: text to numbers, or back.
    pub fn map_names<M>(self, mut name: impl FnMut(N) -> M) -> Event<M> {
        let kind = match self.kind {
            EventKind::Invoked { op, process, late_us, operation } => EventKind::Invoked {
                op,
                process,
                late_us,
                operation: Operation {
                    stream: name(operation.stream),
                    verb: operation.verb,
                    target: name(operation.target),
                    site: name(operation.site),
                    route: name(operation.route),
                    key: name(operation.key),
                    token: name(operation.token),
                    credential: operation.credential,
                },
            },
            EventKind::Completed { op, effect, answer } => EventKind::Completed {
                op,
                effect,
                answer: Answer {
                    status: answer.status,
                    replica: name(answer.replica),
                    version: answer.version,
                    first_byte_us: answer.first_byte_us,
                },
            },
            EventKind::Arrived { op, upstream, route } => {
                EventKind::Arrived { op, upstream: name(upstream), route: name(route) }
            }
            EventKind::Recorded { op, analytics, replica } => {
                EventKind::Recorded { op, analytics: name(analytics), replica: name(replica) }
            }
            EventKind::Fault { fault, stage, kind, target, detail } => {
                EventKind::Fault { fault, stage, kind: name(kind), target: name(target), detail: name(detail) }
            }
            EventKind::Phase { phase, variant } => EventKind::Phase { phase: name(phase), variant: name(variant) },
            EventKind::Mark { name: mark, subject, value } => {
                EventKind::Mark { name: name(mark), subject: name(subject), value }
            }
            EventKind::Replica { replica, site, state, detail } => {
                EventKind::Replica { replica: name(replica), site: name(site), state, detail: name(detail) }
            }
            EventKind::Contact { component, peer, what, status, version } => {
                EventKind::Contact { component: name(component), peer: name(peer), what: name(what), status, version }
            }
            EventKind::Gap { component, what } => EventKind::Gap { component: name(component), what: name(what) },
            EventKind::Late { late_us } => EventKind::Late { late_us },
            EventKind::Note { text } => EventKind::Note { text: name(text) },
            EventKind::End => EventKind::End,
        };
        Event { at: self.at, kind }
    }
}

/// What was read, and why it is not the whole history, if it is not.
#[derive(Debug)]
pub struct Read {
    /// The history as far as it could be read; incomplete if there is a problem.
    pub history: History,
    /// The problem, if any.
    pub problem: Option<ReadError>,
}

/// Reads a history.
///
/// # Errors
/// Only if there is no header of ours; all later damage is in [`Read::problem`].
pub fn read(mut from: impl BufRead) -> Result<Read, ReadError> {
    let mut line = String::new();
    let mut number = 1_u64;
    from.read_line(&mut line).map_err(|source| ReadError::Io { line: number, source })?;
    let header: Header = serde_json::from_str(&line).map_err(ReadError::Header)?;
    if header.format.split('.').next() != FORMAT.split('.').next() {
        return Err(ReadError::Format { found: header.format });
    }
    let mut names = Names::default();
    let mut events: Vec<Event> = Vec::new();
    let count = |events: &[Event]| u64::try_from(events.len()).unwrap_or(u64::MAX);
    let mut complete = false;
    let problem = loop {
        line.clear();
        number = number.saturating_add(1);
        match from.read_line(&mut line) {
            Ok(0) if complete => break None,
            Ok(0) => {
                break Some(ReadError::Unfinished { line: number.saturating_sub(1), events: count(&events) });
            }
            Ok(_) => {}
            Err(source) => {
                break Some(ReadError::Io { line: number, source });
            }
        }
        let event: Event<String> = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(source) => {
                break Some(ReadError::Line { line: number, events: count(&events), source });
            }
        };
        let event = event.map_names(|text| names.intern(&text));
        complete = matches!(event.kind, EventKind::End);
        events.push(event);
    };
    Ok(Read { history: History::new(header, names, events, complete && problem.is_none()), problem })
}

/// Writes the header line.
///
/// # Errors
/// As `to` fails (a full disk, for one).
pub fn write_header(mut to: impl Write, header: &Header) -> io::Result<()> {
    serde_json::to_writer(&mut to, header)?;
    to.write_all(b"\n")
}

/// Writes one event line.
///
/// # Errors
/// As `to` fails (a full disk, for one).
pub fn write_event<N: serde::Serialize>(mut to: impl Write, event: &Event<N>) -> io::Result<()> {
    serde_json::to_writer(&mut to, event)?;
    to.write_all(b"\n")
}

/// Writes a whole history (tests and benchmarks; a run writes as it goes).
///
/// # Errors
/// As `to` fails.
pub fn write(mut to: impl Write, history: &History) -> io::Result<()> {
    write_header(&mut to, history.header())?;
    for event in history.events() {
        write_event(&mut to, &event.map_names(|name| history.text(name)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::build::{HistoryBuilder, call};
    use assert_matches::assert_matches;
    use proptest::prelude::*;

    fn sample() -> History {
        let mut history = HistoryBuilder::new("quota");
        history.at_ms(0).phase("steady", "");
        history.at_ms(5).ok(call("quota", "eu-1", "metered", "alice"));
        history.at_ms(9).unknown(call("quota", "eu-2", "metered", "a \"quoted\" name\n"), true);
        history.proven_fault("refuse", "eu-1->eu-store", 20, 40);
        history.at_ms(45).recorded("eu-analytics", "eu-1", 1);
        history.at_ms(50).mark("window", "alice", -3).gap("eu-upstream").contact(
            "control-plane",
            "eu-1",
            "config",
            200,
            7,
        );
        history.build()
    }

    fn bytes(history: &History) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, history).unwrap();
        out
    }

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 64, "an event has {} bytes", size_of::<Event>());
    }

    #[test]
    fn what_is_written_reads_back_and_writes_the_same() {
        let written = bytes(&sample());
        let back = read(written.as_slice()).unwrap();
        assert!(back.problem.is_none() && back.history.is_complete());
        assert_eq!(back.history.events().len(), sample().events().len());
        assert_eq!(bytes(&back.history), written);
    }

    #[test]
    fn a_cut_line_is_named_and_nothing_before_it_is_lost() {
        let written = bytes(&sample());
        let text = String::from_utf8(written).unwrap();
        let kept: usize = text.split_inclusive('\n').take(3).map(str::len).sum();
        let back = read(&text.as_bytes()[..kept + 9]).unwrap();
        assert_matches!(back.problem, Some(ReadError::Line { line: 4, events: 2, .. }));
        assert!(!back.history.is_complete());
        assert_eq!(back.history.events().len(), 2);
    }

    #[test]
    fn a_missing_end_is_said() {
        let text = String::from_utf8(bytes(&sample())).unwrap();
        let lines = text.lines().count();
        let kept: usize = text.split_inclusive('\n').take(lines - 1).map(str::len).sum();
        let back = read(&text.as_bytes()[..kept]).unwrap();
        assert_matches!(back.problem, Some(ReadError::Unfinished { .. }));
        assert!(!back.history.is_complete());
    }

    #[test]
    fn another_major_is_refused_and_another_minor_is_read() {
        let text = String::from_utf8(bytes(&sample())).unwrap();
        let written = format!("\"{FORMAT}\"");
        let other = text.replacen(&written, "\"2.0\"", 1);
        assert_matches!(read(other.as_bytes()), Err(ReadError::Format { found }) if found == "2.0");
        let newer = text.replacen(&written, "\"1.7\"", 1);
        assert!(read(newer.as_bytes()).unwrap().problem.is_none());
        assert_matches!(read(&b"[]\n"[..]), Err(ReadError::Header(_)));
        assert_matches!(read(&b""[..]), Err(ReadError::Header(_)));
    }

    proptest! {
        #[test]
        fn any_history_reads_back(steps in prop::collection::vec((0_u64..10_000, 0_u8..5, "\\PC{0,12}"), 0..40)) {
            let mut history = HistoryBuilder::new("any");
            for (ms, kind, text) in steps {
                history.at_ms(ms);
                match kind {
                    0 => { history.ok(call("traffic", "eu-1", "open", &text)); }
                    1 => { history.rejected(call("quota", &text, "metered", "k"), 429); }
                    2 => { history.unknown(call("quota", "eu-1", &text, "k"), ms % 2 == 0); }
                    3 => { history.phase(&text, "x"); }
                    _ => { history.mark("window", &text, -5); }
                }
            }
            let written = bytes(&history.build());
            let back = read(written.as_slice()).unwrap();
            prop_assert!(back.problem.is_none());
            prop_assert_eq!(bytes(&back.history), written);
        }

        #[test]
        fn a_file_cut_anywhere_is_never_complete(at in 0_usize..2000) {
            let written = bytes(&sample());
            let cut = written.get(..at.checked_rem(written.len().saturating_sub(1)).unwrap()).unwrap();
            // The very last newline is not part of an event: a file that lacks only it is whole.
            if let Ok(back) = read(cut) {
                prop_assert!(!back.history.is_complete());
                prop_assert!(back.problem.is_some());
            }
        }
    }
}
