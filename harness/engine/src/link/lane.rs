//! How do the bytes of one direction get from one socket to the other? A lane reads from its source, keeps what may not
//! go on yet (held by the gate, delayed, or waiting for its rate), and passes on bytes, FIN and RST in that order.
//! With the gate open and nothing kept, bytes go straight through one shared buffer, or through a pipe once they come in bulk.

use super::counters::{Cells, add, take};
use super::pipes::{Pipe, Pipes};
use super::shape::{Delay, Pacer};
use rand_chacha::ChaCha8Rng;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Bytes a held lane takes in before it leaves the rest in the kernel.
const HOLD_BYTES: usize = 1 << 20;
/// The same for a lane that waits for its rate or for a slow reader.
const QUEUE_BYTES: usize = 64 << 10;
/// Reads of one lane before other connections get their turn.
const TURN_READS: usize = 16;

/// What a gate does with the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
    #[default]
    Open,
    /// Kept, and passed on when the gate opens.
    Held,
    /// Read and thrown away.
    Dropped,
}

/// Gate and shaper of one direction of a link; every connection of the link goes through them.
#[derive(Debug)]
pub(super) struct Shaper {
    pub(super) gate: Gate,
    pub(super) delay: Option<Delay>,
    pub(super) pacer: Option<Pacer>,
    pub(super) random: ChaCha8Rng,
}

/// One end of a relayed connection. The flags mirror edge-triggered readiness: they are cleared only by a short or
/// refused system call.
#[derive(Debug)]
pub(super) struct Side {
    /// None until the target has been dialled.
    pub(super) fd: Option<OwnedFd>,
    pub(super) connected: bool,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// FIN or RST has come: a short read is no sign that there is nothing more to read.
    pub(super) hung_up: bool,
    /// A write found the connection reset; the kernel says so only once.
    pub(super) reset: bool,
}

impl Side {
    pub(super) fn new(fd: Option<OwnedFd>, connected: bool) -> Self {
        Self { fd, connected, readable: false, writable: connected, hung_up: false, reset: false }
    }
}

/// How a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Rst,
}

#[derive(Debug)]
struct Chunk {
    due_ns: u64,
    bytes: Vec<u8>,
    sent: usize,
}

/// What the caller has to do after a lane was pumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until an event.
    Wait,
    /// More right away, after the others had their turn.
    Again,
    /// Nothing before this time.
    At(u64),
    /// The RST of the source is to be passed on: reset the whole connection.
    Reset,
}

/// What a lane needs of the relay while it is pumped.
pub(super) struct Io<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) pipes: &'a mut Pipes,
    pub(super) cells: &'a Cells,
    pub(super) now_ns: u64,
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Bytes on their way through the kernel; they precede the queue.
    pipe: Option<Pipe>,
    queue: VecDeque<Chunk>,
    queued: usize,
    last_due_ns: u64,
    end: Option<(End, u64)>,
    /// Its end has been passed on, or its destination is dead: what still comes is thrown away.
    pub(super) done: bool,
    /// The earliest timer that is set for it, zero for none.
    pub(super) timer_ns: u64,
    /// The last read filled the buffer: the next goes through a pipe.
    bulk: bool,
}

enum Sent {
    All,
    /// The destination takes no more now.
    Full,
    /// Not before this time.
    At(u64),
    Dead,
}

impl Lane {
    /// Ends the lane as if its source had sent a RST now: the target could not be reached.
    pub(super) fn fail(&mut self, now_ns: u64) {
        self.end = Some((End::Rst, now_ns.max(self.last_due_ns)));
    }

    /// Whether the time matters to what it does next: asking for it costs one in a hundred of a small message.
    pub(super) fn needs_time(&self, shaper: &Shaper) -> bool {
        shaper.delay.is_some() || shaper.pacer.is_some() || self.last_due_ns != 0 || self.end.is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Its source has died. Where its FIN has come already no read will say so; else the next read does.
    pub(super) fn source_died(&mut self, now_ns: u64) {
        if self.end.is_some() {
            self.fail(now_ns);
            self.done = false;
        }
    }

    /// Throws away all that is kept.
    pub(super) fn discard(&mut self, cells: &Cells) {
        let piped = self.pipe.take().map_or(0, |pipe| pipe.held());
        self.queue.clear();
        add(&cells.dropped, self.queued.saturating_add(piped));
        take(&cells.held, self.queued.saturating_add(piped));
        self.queued = 0;
    }

    /// Moves what may move. `number` is 0 toward the listener, 1 toward the dialler.
    pub(super) fn pump(
        &mut self,
        number: usize,
        from: &mut Side,
        to: &mut Side,
        shaper: &mut Shaper,
        io: &mut Io<'_>,
    ) -> Next {
        if self.done || shaper.gate == Gate::Dropped {
            return self.sink(from, shaper, io);
        }
        let mut wake = None;
        for _ in 0..TURN_READS {
            if shaper.gate == Gate::Open && to.connected {
                match self.send_kept(number, to, shaper, io) {
                    Sent::All => wake = None,
                    Sent::Full => wake = Some(Next::Wait),
                    Sent::At(due_ns) => wake = Some(Next::At(due_ns)),
                    Sent::Dead => return self.destination_died(from, to, shaper, io),
                }
            }
            let straight = wake.is_none()
                && shaper.gate == Gate::Open
                && to.connected
                && to.writable
                && shaper.delay.is_none()
                && shaper.pacer.is_none()
                && self.queue.is_empty()
                && self.pipe.is_none();
            let room = match (shaper.gate, &shaper.delay) {
                (Gate::Held, _) => HOLD_BYTES,
                (Gate::Open | Gate::Dropped, Some(_)) => Delay::IN_FLIGHT_BYTES,
                (Gate::Open | Gate::Dropped, None) => QUEUE_BYTES,
            };
            if self.end.is_some() || !from.readable || (!straight && self.queued >= room) {
                return self.rest(to, shaper, io, wake.unwrap_or(Next::Wait));
            }
            let alive = if straight && self.bulk {
                self.splice(number, from, to, io)
            } else {
                self.take_in(number, straight, from, to, shaper, io)
            };
            if !alive {
                return self.destination_died(from, to, shaper, io);
            }
        }
        let next = self.rest(to, shaper, io, wake.unwrap_or(Next::Wait));
        // What the last read brought has not been looked at yet.
        if next == Next::Wait && wake.is_none() { Next::Again } else { next }
    }

    /// What is left to do once nothing more can be read: the end, when all before it has gone.
    fn rest(&mut self, to: &Side, shaper: &Shaper, io: &Io<'_>, next: Next) -> Next {
        if shaper.gate != Gate::Open || self.pipe.is_some() || !self.queue.is_empty() {
            return next;
        }
        match self.end {
            Some((_, due_ns)) if due_ns > io.now_ns => Next::At(due_ns),
            Some((End::Rst, _)) => Next::Reset,
            Some((End::Fin, _)) if to.connected => {
                if let Some(fd) = &to.fd {
                    let _reset_already = rustix::net::shutdown(fd, rustix::net::Shutdown::Write);
                }
                self.done = true;
                Next::Wait
            }
            Some((End::Fin, _)) | None => next,
        }
    }

    /// Sends what was kept, as far as it is due and its rate allows.
    fn send_kept(&mut self, number: usize, to: &mut Side, shaper: &mut Shaper, io: &Io<'_>) -> Sent {
        let Some(fd) = &to.fd else { return Sent::Full };
        if let Some(pipe) = &mut self.pipe {
            if !to.writable {
                return Sent::Full;
            }
            match pipe.drain(fd) {
                Ok(moved) => {
                    add(&io.cells.passed[number], moved);
                    take(&io.cells.held, moved);
                }
                Err(_) => return Sent::Dead,
            }
            if pipe.held() > 0 {
                to.writable = false;
                return Sent::Full;
            }
            self.pipe = None;
        }
        while let Some(chunk) = self.queue.front_mut() {
            if chunk.due_ns > io.now_ns {
                return Sent::At(chunk.due_ns);
            }
            if !to.writable {
                return Sent::Full;
            }
            let rest = chunk.bytes.get(chunk.sent..).unwrap_or_default();
            let allowed = match &mut shaper.pacer {
                None => rest.len(),
                Some(pacer) => match pacer.allow(io.now_ns, rest.len()) {
                    0 => return Sent::At(pacer.wake_ns()),
                    allowed => allowed,
                },
            };
            let part = rest.get(..allowed).unwrap_or(rest);
            match rustix::net::send(fd, part, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    if let Some(pacer) = &mut shaper.pacer {
                        pacer.pay(sent);
                    }
                    if sent < part.len() {
                        to.writable = false;
                    }
                    chunk.sent += sent;
                    self.queued -= sent;
                    add(&io.cells.passed[number], sent);
                    take(&io.cells.held, sent);
                    if chunk.sent == chunk.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(Errno::AGAIN) => to.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => return Sent::Dead,
            }
        }
        Sent::All
    }

    /// Reads once and sends at once or keeps it. False when the destination is dead.
    fn take_in(
        &mut self,
        number: usize,
        straight: bool,
        from: &mut Side,
        to: &mut Side,
        shaper: &mut Shaper,
        io: &mut Io<'_>,
    ) -> bool {
        let Some(count) = self.read(from, shaper, io) else { return true };
        let mut sent = 0;
        if straight && let Some(fd) = &to.fd {
            let bytes = io.scratch.get(..count).unwrap_or_default();
            match rustix::net::send(fd, bytes, SendFlags::NOSIGNAL) {
                Ok(passed) => sent = passed,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => {
                    add(&io.cells.dropped, count);
                    return false;
                }
            }
            add(&io.cells.passed[number], sent);
            to.writable = sent == count;
            self.bulk = count == io.scratch.len();
        }
        if sent < count {
            let due_ns = self.due_ns(shaper, io.now_ns);
            let bytes = io.scratch.get(sent..count).unwrap_or_default().to_vec();
            self.queued += bytes.len();
            add(&io.cells.held, bytes.len());
            self.queue.push_back(Chunk { due_ns, bytes, sent: 0 });
        }
        true
    }

    /// Moves bytes in bulk without copying them. False when the destination is dead.
    fn splice(&mut self, number: usize, from: &mut Side, to: &mut Side, io: &mut Io<'_>) -> bool {
        self.bulk = false;
        let (Some(source), Some(fd)) = (&from.fd, &to.fd) else { return true };
        // Out of pipes: the next read goes through the buffer.
        let Some(mut pipe) = io.pipes.take() else { return true };
        // Its end, its emptiness and its errors are seen by the next plain read, which tells them apart.
        if let Ok(filled) = pipe.fill(source) {
            self.bulk = filled >= io.scratch.len();
        }
        match pipe.drain(fd) {
            Ok(moved) => add(&io.cells.passed[number], moved),
            Err(_) => {
                add(&io.cells.dropped, pipe.held());
                return false;
            }
        }
        if pipe.held() == 0 {
            io.pipes.give(pipe);
        } else {
            to.writable = false;
            add(&io.cells.held, pipe.held());
            self.pipe = Some(pipe);
        }
        true
    }

    /// Reads once into the shared buffer; none when there was nothing, or the end.
    fn read(&mut self, from: &mut Side, shaper: &mut Shaper, io: &mut Io<'_>) -> Option<usize> {
        let Some(fd) = &from.fd else {
            from.readable = false;
            return None;
        };
        let length = io.scratch.len();
        match rustix::net::recv(fd, &mut *io.scratch, RecvFlags::empty()) {
            Ok((0, _)) => {
                from.readable = false;
                let end = if from.reset { End::Rst } else { End::Fin };
                self.end = Some((end, self.due_ns(shaper, io.now_ns)));
                None
            }
            Ok((count, _)) => {
                if count < length && !from.hung_up {
                    from.readable = false;
                }
                Some(count)
            }
            Err(Errno::AGAIN) => {
                from.readable = false;
                None
            }
            Err(Errno::INTR) => None,
            Err(_) => {
                from.readable = false;
                self.end = Some((End::Rst, self.due_ns(shaper, io.now_ns)));
                None
            }
        }
    }

    fn due_ns(&mut self, shaper: &mut Shaper, now_ns: u64) -> u64 {
        let due_ns = match &shaper.delay {
            Some(delay) => delay.due_ns(now_ns, &mut shaper.random),
            None => now_ns,
        };
        self.last_due_ns = self.last_due_ns.max(due_ns);
        self.last_due_ns
    }

    /// The destination is gone: nothing more can be delivered. The RST that killed it travels back by the other lane.
    fn destination_died(&mut self, from: &mut Side, to: &mut Side, shaper: &mut Shaper, io: &mut Io<'_>) -> Next {
        self.discard(io.cells);
        self.done = true;
        to.reset = true;
        to.hung_up = true;
        to.readable = true;
        self.sink(from, shaper, io)
    }

    /// Reads and throws away.
    fn sink(&mut self, from: &mut Side, shaper: &mut Shaper, io: &mut Io<'_>) -> Next {
        for _ in 0..TURN_READS {
            if self.end.is_some() || !from.readable {
                return Next::Wait;
            }
            if let Some(count) = self.read(from, shaper, io) {
                add(&io.cells.dropped, count);
            }
        }
        if from.readable { Next::Again } else { Next::Wait }
    }
}
