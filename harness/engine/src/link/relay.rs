//! Who moves the bytes? One thread per `Links`: epoll with nanosecond timeouts, edge-triggered sockets, a heap of timers.
//! It owns all sockets; commands come through an inbox and are answered once they are in force.

use super::counters::{Cells, add, take};
use super::faults::{Accept, Faults};
use super::lane::{Gate, Io, Lane, Next, Shaper, Side};
use super::pipes::Pipes;
use super::shape::{Delay, Pacer};
use super::slots::{Key, Slots, Token};
use super::socket;
use gatecrash_model::fault::NetworkFault;
use rand_chacha::ChaCha8Rng;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot::Sender;

/// What one read takes at most.
const SCRATCH_BYTES: usize = 64 << 10;
/// Connections accepted before others get their turn.
const TURN_ACCEPTS: usize = 64;
/// After running out of file descriptors.
const ACCEPT_AGAIN_NS: u64 = 10_000_000;

/// What a handle and the relay share about one link.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Mutex<SocketAddr>,
    pub(super) cells: Cells,
}

/// What is asked of the relay; each is answered once it is in force.
pub(super) enum Command {
    Open {
        listen: SocketAddr,
        shared: Arc<Shared>,
        random: Box<[ChaCha8Rng; 2]>,
        reply: Sender<io::Result<(Key, SocketAddr)>>,
    },
    Change {
        link: Key,
        change: Change,
        reply: Sender<io::Result<()>>,
    },
    Close {
        link: Key,
        reply: Sender<()>,
    },
    Stop,
}

/// A change of the faults of a link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Apply(NetworkFault),
    Heal(NetworkFault),
    HealAll,
}

/// Where commands wait for the relay.
#[derive(Debug)]
pub(super) struct Inbox {
    /// None once the relay has ended: what is sent then is dropped, and its sender told so by that.
    commands: Mutex<Option<VecDeque<Command>>>,
    bell: OwnedFd,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open { .. } => "Open",
            Self::Change { .. } => "Change",
            Self::Close { .. } => "Close",
            Self::Stop => "Stop",
        })
    }
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        Ok(Self { commands: Mutex::new(Some(VecDeque::new())), bell: rustix::event::eventfd(0, flags)? })
    }

    pub(super) fn send(&self, command: Command) {
        match &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(commands) => commands.push_back(command),
            None => return,
        }
        // The bell can only be full, and then it rings already.
        let _rings_already = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn receive(&self) -> VecDeque<Command> {
        let _quiet_already = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// However the relay ends, nobody waits for an answer any more.
impl Drop for Relay {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

#[derive(Debug)]
struct LinkState {
    listener: OwnedFd,
    address: SocketAddr,
    shared: Arc<Shared>,
    faults: Faults,
    shapers: [Shaper; 2],
    accept: Accept,
    filler: Option<OwnedFd>,
}

#[derive(Debug)]
struct Connection {
    link: Key,
    sides: [Side; 2],
    lanes: [Lane; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Lane(Key, usize),
    Accept(Key),
}

/// The state of the relay thread.
pub(super) struct Relay {
    epoll: OwnedFd,
    inbox: Arc<Inbox>,
    alarm: OwnedFd,
    /// What the alarm is set to, zero when it has gone off.
    alarm_ns: u64,
    links: Slots<LinkState>,
    connections: Slots<Connection>,
    /// Due time, then order of setting: lanes that wait for one pacer take turns.
    timers: BinaryHeap<Reverse<(u64, u64, Timer)>>,
    timers_set: u64,
    again: Vec<(Key, usize)>,
    scratch: Vec<u8>,
    pipes: Pipes,
}

impl Relay {
    pub(super) fn new(inbox: Arc<Inbox>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &inbox.bell, EventData::new_u64(Token::Wake.bits()), EventFlags::IN)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &alarm, EventData::new_u64(Token::Alarm.bits()), EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            epoll,
            inbox,
            alarm,
            alarm_ns: 0,
            links: Slots::new(),
            connections: Slots::new(),
            timers: BinaryHeap::new(),
            timers_set: 0,
            again: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            pipes: Pipes::default(),
        })
    }

    /// Relays until told to stop. Returns the error that made it impossible to go on.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            self.set_alarm()?;
            let poll = Timespec { tv_sec: 0, tv_nsec: 0 };
            let timeout = if self.again.is_empty() { None } else { Some(&poll) };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                match Token::from_bits(data.u64()) {
                    Token::Wake => {
                        for command in self.inbox.receive() {
                            if let Command::Stop = command {
                                return Ok(());
                            }
                            self.obey(command);
                        }
                    }
                    Token::Alarm => self.alarm_ns = 0,
                    Token::Listener(link) => self.accept(link),
                    Token::Side(connection, side) => self.ready(connection, side, flags),
                }
            }
            self.fire();
            for (connection, lane) in std::mem::take(&mut self.again) {
                self.pump(connection, lane);
            }
        }
    }

    /// Sets the alarm to the earliest timer. `epoll_pwait2` would do without it, but rustix rounds timeouts up to whole
    /// milliseconds, as `epoll_wait` does; a timerfd is exact.
    fn set_alarm(&mut self) -> io::Result<()> {
        let Some(Reverse((due_ns, _, _))) = self.timers.peek() else { return Ok(()) };
        if *due_ns == self.alarm_ns {
            return Ok(());
        }
        self.alarm_ns = *due_ns;
        // Zero would disarm it.
        let due_ns = (*due_ns).max(1);
        let at = Timespec {
            tv_sec: i64::try_from(due_ns / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(due_ns % 1_000_000_000).unwrap_or(0),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        rustix::time::timerfd_settime(&self.alarm, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    fn fire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now_ns = socket::now_ns();
        while let Some(Reverse((due_ns, _, timer))) = self.timers.peek().copied() {
            if due_ns > now_ns {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::Lane(key, lane) => {
                    if let Some(connection) = self.connections.get(key) {
                        connection.lanes[lane].timer_ns = 0;
                        self.pump(key, lane);
                    }
                }
                Timer::Accept(link) => self.arm(link),
            }
        }
    }

    fn set_timer(&mut self, due_ns: u64, timer: Timer) {
        self.timers_set += 1;
        self.timers.push(Reverse((due_ns, self.timers_set, timer)));
    }

    fn obey(&mut self, command: Command) {
        // A caller that no longer waits does not want the answer.
        match command {
            Command::Open { listen, shared, random, reply } => {
                let _gone = reply.send(self.open(listen, shared, *random));
            }
            Command::Change { link, change, reply } => {
                let _gone = reply.send(self.change(link, change));
            }
            Command::Close { link, reply } => {
                for connection in self.connections.keys(|connection| connection.link == link) {
                    self.close(connection, false);
                }
                self.links.remove(link);
                let _gone = reply.send(());
            }
            Command::Stop => {}
        }
    }

    fn open(
        &mut self,
        listen: SocketAddr,
        shared: Arc<Shared>,
        random: [ChaCha8Rng; 2],
    ) -> io::Result<(Key, SocketAddr)> {
        let (listener, address) = socket::reserve(listen)?;
        socket::listen(&listener)?;
        let shapers = random.map(|random| Shaper { gate: Gate::Open, delay: None, pacer: None, random });
        let state = LinkState {
            listener,
            address,
            shared,
            faults: Faults::default(),
            shapers,
            accept: Accept::Yes,
            filler: None,
        };
        let key = self.links.insert(state);
        self.watch(key)?;
        Ok((key, address))
    }

    fn watch(&mut self, link: Key) -> io::Result<()> {
        let Some(state) = self.links.get(link) else { return Ok(()) };
        Ok(epoll::add(&self.epoll, &state.listener, EventData::new_u64(Token::Listener(link).bits()), EventFlags::IN)?)
    }

    /// Listens for connections again after a pause.
    fn arm(&mut self, link: Key) {
        if self.links.get(link).is_some_and(|state| state.accept == Accept::Yes) {
            let _watched_already = self.watch(link);
        }
    }

    fn unwatch(&mut self, link: Key) {
        if let Some(state) = self.links.get(link) {
            let _not_watched = epoll::delete(&self.epoll, &state.listener);
        }
    }

    fn change(&mut self, link: Key, change: Change) -> io::Result<()> {
        let Some(state) = self.links.get(link) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "link is closed"));
        };
        let old = state.faults;
        let (new, reset) = match change {
            Change::Apply(fault) => (old.with(fault), matches!(fault, NetworkFault::Reset | NetworkFault::Refuse)),
            Change::Heal(fault) => (old.without(fault), false),
            Change::HealAll => (Faults::default(), false),
        };
        let surfaced = old.blackhole && !new.blackhole;
        state.faults = new;
        for (lane, shaper) in state.shapers.iter_mut().enumerate() {
            shaper.gate = new.gate(lane);
            if new.delay != old.delay && lane == 1 {
                shaper.delay = new.delay.map(|(delay_ms, jitter_ms)| Delay::new(delay_ms, jitter_ms));
            }
            if new.rate(lane) != old.rate(lane) {
                shaper.pacer = new.rate(lane).map(Pacer::new);
            }
        }
        if reset || surfaced {
            for connection in self.connections.keys(|connection| connection.link == link) {
                self.reset(connection);
            }
        }
        self.accept_as(link, new.accept(), surfaced)?;
        for connection in self.connections.keys(|connection| connection.link == link) {
            if new.blackhole {
                self.discard(connection);
            }
            self.dial(connection);
            self.pump(connection, 0);
            self.pump(connection, 1);
        }
        Ok(())
    }

    /// Brings the listener from one way of treating new connections to another. What waits to be accepted counts as
    /// established: it is accepted before the fault, and reset where a black hole ends.
    fn accept_as(&mut self, link: Key, accept: Accept, surfaced: bool) -> io::Result<()> {
        let Some(was) = self.links.get(link).map(|state| state.accept) else { return Ok(()) };
        if was == accept {
            return Ok(());
        }
        match was {
            Accept::Yes => {
                self.drain(link, accept == Accept::Refused);
                self.unwatch(link);
            }
            Accept::Stalled => self.drain(link, surfaced || accept == Accept::Refused),
            Accept::Refused => {}
        }
        let Some(state) = self.links.get(link) else { return Ok(()) };
        state.accept = accept;
        state.filler = None;
        match accept {
            Accept::Yes => {
                socket::listen(&state.listener)?;
                self.watch(link)
            }
            Accept::Stalled => {
                state.filler = Some(socket::stall(&state.listener, state.address)?);
                Ok(())
            }
            Accept::Refused => socket::refuse(&state.listener),
        }
    }

    fn accept(&mut self, link: Key) {
        for _ in 0..TURN_ACCEPTS {
            if !self.accept_one(link, false) {
                return;
            }
        }
    }

    /// Accepts all that wait, without leaving the filler among them.
    fn drain(&mut self, link: Key, reset: bool) {
        for _ in 0..usize::from(u16::MAX) {
            if !self.accept_one(link, reset) {
                return;
            }
        }
    }

    fn accept_one(&mut self, link: Key, reset: bool) -> bool {
        let Some(state) = self.links.get(link) else { return false };
        let cells = &state.shared.cells;
        let (fd, peer) = match socket::accept(&state.listener) {
            Ok(accepted) => accepted,
            Err(Errno::INTR | Errno::CONNABORTED) => return true,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                add(&cells.accept_failures, 1);
                self.unwatch(link);
                self.set_timer(socket::now_ns().saturating_add(ACCEPT_AGAIN_NS), Timer::Accept(link));
                return false;
            }
            Err(_) => return false,
        };
        let filler = state.filler.as_ref().and_then(|filler| socket::local(filler).ok());
        if filler.is_some() && peer == filler {
            return true;
        }
        add(&cells.accepted, 1);
        if reset {
            add(&cells.reset, 1);
            socket::reset(fd);
            return true;
        }
        add(&cells.open, 1);
        socket::no_delay(&fd);
        let sides = [Side::new(Some(fd), true), Side::new(None, false)];
        let key = self.connections.insert(Connection { link, sides, lanes: Default::default() });
        if self.register(key, 0).is_err() {
            self.close(key, true);
        } else {
            self.dial(key);
        }
        true
    }

    fn register(&mut self, key: Key, side: usize) -> io::Result<()> {
        let Some(fd) = self.connections.get(key).and_then(|connection| connection.sides[side].fd.as_ref()) else {
            return Ok(());
        };
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(Token::Side(key, side).bits()), flags)?)
    }

    /// Dials the target, unless that is done or the gate would hold the SYN.
    fn dial(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(state) = self.links.get(connection.link) else { return };
        if connection.sides[1].fd.is_some() || connection.lanes[1].has_ended() || state.shapers[0].gate != Gate::Open {
            return;
        }
        let target = *state.shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        let dialled = socket::dial(target);
        if let Ok((_, true)) = &dialled {
            add(&state.shared.cells.connected, 1);
        }
        let dialled = dialled.and_then(|(fd, connected)| {
            if let Some(connection) = self.connections.get(key) {
                connection.sides[1] = Side::new(Some(fd), connected);
            }
            self.register(key, 1)
        });
        if dialled.is_err() {
            self.unreachable(key);
        }
    }

    /// The target did not take the connection: the dialler sees a RST, not an accepted connection that ends in peace.
    fn unreachable(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        if let Some(state) = self.links.get(connection.link) {
            add(&state.shared.cells.connect_failures, 1);
        }
        connection.lanes[1].fail(socket::now_ns());
        self.pump(key, 1);
    }

    fn ready(&mut self, key: Key, number: usize, flags: EventFlags) {
        let Some(connection) = self.connections.get(key) else { return };
        let gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let side = &mut connection.sides[number];
        let mut woken = false;
        if !side.connected {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return;
            }
            if !side.fd.as_ref().is_some_and(socket::connected) {
                side.fd = None;
                return self.unreachable(key);
            }
            side.connected = true;
            if let Some(state) = self.links.get(connection.link) {
                add(&state.shared.cells.connected, 1);
            }
        }
        if flags.intersects(EventFlags::RDHUP) || gone {
            side.hung_up = true;
        }
        let readable = flags.intersects(EventFlags::IN | EventFlags::RDHUP) || gone;
        side.readable |= readable;
        if !side.writable && (flags.contains(EventFlags::OUT) || gone) {
            side.writable = true;
            woken = true;
        }
        if flags.contains(EventFlags::ERR) {
            connection.lanes[number].source_died(socket::now_ns());
        }
        if readable {
            self.pump(key, number);
        }
        if woken {
            self.pump(key, 1 - number);
        }
    }

    fn pump(&mut self, key: Key, lane: usize) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(state) = self.links.get(connection.link) else { return };
        let [dialer, target] = &mut connection.sides;
        let (from, to) = if lane == 0 { (dialer, target) } else { (target, dialer) };
        let was_reset = to.reset;
        let (moved, shaper) = (&mut connection.lanes[lane], &mut state.shapers[lane]);
        let mut io = Io {
            scratch: &mut self.scratch,
            pipes: &mut self.pipes,
            cells: &state.shared.cells,
            // Where nothing was ever delayed everything is due at once, and any time will do.
            now_ns: if moved.needs_time(shaper) { socket::now_ns() } else { 0 },
        };
        let next = moved.pump(lane, from, to, shaper, &mut io);
        let died = to.reset && !was_reset;
        match next {
            Next::Wait => {}
            Next::Again => self.again.push((key, lane)),
            Next::At(due_ns) => {
                let timer_ns = &mut connection.lanes[lane].timer_ns;
                if *timer_ns == 0 || *timer_ns > due_ns {
                    *timer_ns = due_ns;
                    self.set_timer(due_ns, Timer::Lane(key, lane));
                }
            }
            Next::Reset => return self.close(key, true),
        }
        if died {
            connection_died(&mut self.connections, key, 1 - lane);
            return self.pump(key, 1 - lane);
        }
        if let Some(connection) = self.connections.get(key)
            && connection.lanes.iter().all(|lane| lane.done)
        {
            let reset = connection.sides.iter().any(|side| side.reset);
            self.close(key, reset);
        }
    }

    fn discard(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(state) = self.links.get(connection.link) else { return };
        for lane in &mut connection.lanes {
            lane.discard(&state.shared.cells);
        }
    }

    /// A fault resets the connection.
    fn reset(&mut self, key: Key) {
        let link = self.connections.get(key).map(|connection| connection.link);
        if let Some(state) = link.and_then(|link| self.links.get(link)) {
            add(&state.shared.cells.reset, 1);
        }
        self.close(key, true);
    }

    fn close(&mut self, key: Key, reset: bool) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        if let Some(state) = self.links.get(connection.link) {
            let cells = &state.shared.cells;
            take(&cells.open, 1);
            connection.lanes.iter_mut().for_each(|lane| lane.discard(cells));
        }
        for fd in connection.sides.into_iter().filter_map(|side| side.fd) {
            if reset {
                socket::reset(fd);
            }
        }
    }
}

/// What comes from a dead side can only be its end.
fn connection_died(connections: &mut Slots<Connection>, key: Key, lane: usize) {
    if let Some(connection) = connections.get(key) {
        connection.lanes[lane].source_died(socket::now_ns());
    }
}
