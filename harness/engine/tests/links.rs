//! Does each fault of a link do what it says, over real sockets, and is it gone after the heal? Times are asserted from
//! below only: a busy machine makes things later, never earlier.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by it as tests do")]

use assert_matches::assert_matches;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::link::{Link, LinkError, Links};
use gatecrash_engine::probe::{Protocol, transfer};
use gatecrash_model::Seed;
use gatecrash_model::fault::{Direction, LinkId, NetworkFault};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 1, 1));
/// How long something that must come may take.
const LONG: Duration = Duration::from_secs(20);
/// How long something that must not come is waited for.
const SHORT: Duration = Duration::from_millis(300);
const HOLD: NetworkFault = NetworkFault::Hold { direction: Direction::Both };

struct Bench {
    runtime: tokio::runtime::Runtime,
    links: Links,
    link: Link,
}

impl Bench {
    fn to(target: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let links = Links::start(Seed(7)).unwrap();
        let link = runtime.block_on(links.open(LinkId::new("a", "b"), LOCAL, target)).unwrap();
        Self { runtime, links, link }
    }

    fn apply(&self, fault: NetworkFault) {
        self.runtime.block_on(self.link.apply(fault)).unwrap();
    }

    fn heal(&self, fault: NetworkFault) {
        self.runtime.block_on(self.link.heal(fault)).unwrap();
    }

    /// A connection through the link, with both of its ends.
    fn pair(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let dialer = self.dial();
        let (listening, _) = listener.accept().unwrap();
        for stream in [&dialer, &listening] {
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.set_write_timeout(Some(LONG)).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        (dialer, listening)
    }

    fn dial(&self) -> TcpStream {
        TcpStream::connect_timeout(&self.link.address(), LONG).unwrap()
    }

    /// The connect that must not come about within [`SHORT`].
    fn hangs(&self) {
        let outcome = TcpStream::connect_timeout(&self.link.address(), SHORT);
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    fn wait(&self, what: &str, done: impl Fn(&Link) -> bool) {
        let start = monotonic_ns();
        while !done(&self.link) {
            assert!(monotonic_ns() - start < 20_000_000_000, "{what}: {:?}", self.link.counters());
            thread::yield_now();
        }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind((LOCAL, 0)).unwrap()
}

fn bench() -> (Bench, TcpListener) {
    let listener = listener();
    (Bench::to(listener.local_addr().unwrap()), listener)
}

/// Bytes whose order shows.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Nothing comes for a while: no byte, no FIN, no RST.
fn silent(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(LONG)).unwrap();
}

/// A real RST comes, after at most a few bytes.
fn is_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn works(bench: &Bench, listener: &TcpListener) {
    let (mut dialer, mut listening) = bench.pair(listener);
    dialer.write_all(b"ping").unwrap();
    assert_eq!(read(&mut listening, 4), b"ping");
    listening.write_all(b"pong").unwrap();
    assert_eq!(read(&mut dialer, 4), b"pong");
}

#[test]
fn bytes_and_half_closes_pass_and_are_counted() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    let sent = pattern(5_000_000);
    let expected = sent.clone();
    let mut writer = dialer.try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    listening.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == expected);
    listening.write_all(b"the other half is open").unwrap();
    drop(listening);
    let mut answer = String::new();
    dialer.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "the other half is open");
    bench.wait("both halves closed", |link| link.counters().open == 0);
    let counters = bench.link.counters();
    assert_eq!((counters.accepted, counters.connected, counters.reset), (1, 1, 0));
    assert_eq!((counters.toward_listener_bytes, counters.toward_dialer_bytes), (5_000_000, 22));
    assert_eq!((counters.held_bytes, counters.dropped_bytes), (0, 0));
}

#[test]
fn a_delay_is_added_once_per_round_trip_toward_the_dialer_only() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(NetworkFault::Delay { delay_ms: 150, jitter_ms: 50 });
    for _ in 0..5 {
        let start = monotonic_ns();
        dialer.write_all(b"ping").unwrap();
        assert_eq!(read(&mut listening, 4), b"ping");
        let there = monotonic_ns();
        listening.write_all(b"pong").unwrap();
        assert_eq!(read(&mut dialer, 4), b"pong");
        let back = monotonic_ns();
        assert!(back - there >= 100_000_000, "back after {} ns", back - there);
        assert!(there - start < back - start);
    }
    bench.heal(NetworkFault::delay(Duration::ZERO));
    let quickest = (0..20).map(|_| {
        let start = monotonic_ns();
        listening.write_all(b"pong").unwrap();
        read(&mut dialer, 4);
        monotonic_ns() - start
    });
    assert!(quickest.min().unwrap() < 100_000_000);
}

#[test]
fn a_delay_line_holds_many_chunks_at_once_and_keeps_their_order() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(NetworkFault::Delay { delay_ms: 400, jitter_ms: 400 });
    let sent = pattern(4 << 20);
    let expected = sent.clone();
    let writing = thread::spawn(move || listening.write_all(&sent).map(|()| listening).unwrap());
    // Chunks of at most 64 KiB: a line that sleeps for each in turn never has this many under way.
    bench.wait("a megabyte under way", |link| link.counters().held_bytes >= 1 << 20);
    assert!(read(&mut dialer, 4 << 20) == expected);
    drop(writing.join().unwrap());
    assert_eq!(dialer.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_rate_is_never_exceeded_and_gone_after_the_heal() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(NetworkFault::Bandwidth { bytes_per_s: 125_000, direction: Direction::TowardDialer });
    let start = monotonic_ns();
    let writing = thread::spawn(move || listening.write_all(&vec![1; 400_000]).map(|()| listening).unwrap());
    let mut received = 0;
    let mut buffer = [0; 8192];
    while received < 100_000 {
        received += dialer.read(&mut buffer).unwrap();
        let elapsed_ns = u128::from(monotonic_ns() - start);
        // The mean, and 5 ms for what may go at once.
        let allowed = (elapsed_ns + 5_000_000) * 125_000 / 1_000_000_000 + 1;
        assert!(received as u128 <= allowed, "{received} bytes after {elapsed_ns} ns");
    }
    assert!(monotonic_ns() - start >= 790_000_000);
    bench.heal(NetworkFault::Bandwidth { bytes_per_s: 0, direction: Direction::Both });
    read(&mut dialer, 400_000 - received);
    drop(writing.join().unwrap());
    // The other direction was never limited.
    works(&bench, &listener);
}

#[test]
fn refused_means_refused_and_nobody_else_gets_the_port() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    for _ in 0..20 {
        bench.apply(NetworkFault::Refuse);
        for _ in 0..5 {
            assert_eq!(TcpStream::connect(bench.link.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        assert_eq!(TcpListener::bind(bench.link.address()).unwrap_err().kind(), ErrorKind::AddrInUse);
        bench.heal(NetworkFault::Refuse);
        works(&bench, &listener);
    }
    is_reset(&mut dialer);
    is_reset(&mut listening);
    assert!(bench.link.counters().reset >= 1);
}

#[test]
fn a_reset_is_a_real_one_on_both_sides_and_new_connections_pass() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(NetworkFault::Reset);
    is_reset(&mut dialer);
    is_reset(&mut listening);
    assert_eq!(bench.link.counters().reset, 1);
    works(&bench, &listener);
}

#[test]
fn what_a_partition_holds_is_delivered_byte_for_byte() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(HOLD);
    let (there, back) = (pattern(3_000_000), pattern(2_000_000));
    let (sent, answered) = (there.clone(), back.clone());
    let (mut to, mut fro) = (dialer.try_clone().unwrap(), listening.try_clone().unwrap());
    let writing = thread::spawn(move || {
        to.write_all(&sent).unwrap();
        to.shutdown(Shutdown::Write).unwrap();
    });
    let answering = thread::spawn(move || fro.write_all(&answered).unwrap());
    silent(&mut listening);
    silent(&mut dialer);
    assert!(bench.link.counters().held_bytes > 0);
    for _ in 0..3 {
        bench.hangs();
    }
    bench.heal(HOLD);
    let reading = thread::spawn(move || {
        let mut received = Vec::new();
        listening.read_to_end(&mut received).unwrap();
        received
    });
    assert!(read(&mut dialer, back.len()) == back);
    assert!(reading.join().unwrap() == there);
    writing.join().unwrap();
    answering.join().unwrap();
    assert_eq!(bench.link.counters().dropped_bytes, 0);
    works(&bench, &listener);
}

#[test]
fn a_partition_holds_a_reset_behind_its_bytes() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(HOLD);
    dialer.write_all(b"last words").unwrap();
    bench.wait("bytes held", |link| link.counters().held_bytes == 10);
    rustix::net::sockopt::set_socket_linger(&dialer, Some(Duration::ZERO)).unwrap();
    drop(dialer);
    silent(&mut listening);
    bench.heal(HOLD);
    assert_eq!(read(&mut listening, 10), b"last words");
    is_reset(&mut listening);
}

#[test]
fn a_connect_that_hung_comes_through_after_the_heal() {
    let (bench, listener) = bench();
    bench.apply(HOLD);
    let address = bench.link.address();
    let dialing: Vec<_> =
        (0..10).map(|_| thread::spawn(move || TcpStream::connect_timeout(&address, LONG).is_ok())).collect();
    bench.hangs();
    assert_eq!(bench.link.counters().accepted, 0);
    assert!(dialing.iter().all(|dialing| !dialing.is_finished()));
    bench.heal(HOLD);
    for dialing in dialing {
        assert!(dialing.join().unwrap());
    }
    bench.wait("ten accepted", |link| link.counters().accepted == 10);
    drop(listener);
}

#[test]
fn a_one_way_hold_lets_the_other_way_pass() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    let toward_dialer = NetworkFault::Hold { direction: Direction::TowardDialer };
    bench.apply(toward_dialer);
    dialer.write_all(b"ping").unwrap();
    assert_eq!(read(&mut listening, 4), b"ping");
    listening.write_all(b"pong").unwrap();
    silent(&mut dialer);
    bench.apply(NetworkFault::Hold { direction: Direction::TowardListener });
    assert_eq!(read(&mut dialer, 4), b"pong");
    dialer.write_all(b"ping").unwrap();
    silent(&mut listening);
    listening.write_all(b"news").unwrap();
    assert_eq!(read(&mut dialer, 4), b"news");
    bench.heal(toward_dialer);
    assert_eq!(read(&mut listening, 4), b"ping");
}

#[test]
fn a_black_hole_swallows_and_its_connections_are_reset_at_the_end() {
    let (bench, listener) = bench();
    let (mut dialer, mut listening) = bench.pair(&listener);
    bench.apply(NetworkFault::Blackhole);
    dialer.write_all(&pattern(200_000)).unwrap();
    bench.wait("bytes dropped", |link| link.counters().dropped_bytes == 200_000);
    silent(&mut listening);
    silent(&mut dialer);
    for _ in 0..3 {
        bench.hangs();
    }
    bench.heal(NetworkFault::Blackhole);
    is_reset(&mut dialer);
    is_reset(&mut listening);
    works(&bench, &listener);
}

#[test]
fn many_connects_at_once_all_hang() {
    let (bench, _listener) = bench();
    bench.apply(NetworkFault::Blackhole);
    let address = bench.link.address();
    let dialing: Vec<_> = (0..50).map(|_| thread::spawn(move || TcpStream::connect_timeout(&address, SHORT))).collect();
    for dialing in dialing {
        assert_eq!(dialing.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

#[test]
fn a_target_that_refuses_is_seen_as_a_reset_and_a_moved_one_is_found() {
    // An address that no other test uses, so that nobody takes the port once it is free.
    let dead = TcpListener::bind((Ipv4Addr::new(127, 83, 1, 2), 0)).unwrap();
    let address = dead.local_addr().unwrap();
    drop(dead);
    let bench = Bench::to(address);
    // The RST may overtake the return of connect; then connect says so itself.
    match TcpStream::connect_timeout(&bench.link.address(), LONG) {
        Ok(mut dialer) => {
            dialer.set_read_timeout(Some(LONG)).unwrap();
            is_reset(&mut dialer);
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!((bench.link.counters().connect_failures, bench.link.counters().connected), (1, 0));
    let moved = listener();
    bench.link.set_target(moved.local_addr().unwrap());
    works(&bench, &moved);
}

#[test]
fn resets_pass_through_in_both_directions() {
    let (bench, listener) = bench();
    for turned in [false, true] {
        let (dialer, listening) = bench.pair(&listener);
        let (dying, mut other) = if turned { (listening, dialer) } else { (dialer, listening) };
        rustix::net::sockopt::set_socket_linger(&dying, Some(Duration::ZERO)).unwrap();
        drop(dying);
        is_reset(&mut other);
    }
    bench.wait("both closed", |link| link.counters().open == 0);
    assert_eq!(bench.link.counters().reset, 0);
}

#[test]
fn numbers_out_of_range_are_refused_and_a_stopped_relay_says_so() {
    let (bench, listener) = bench();
    let outcome = bench.runtime.block_on(bench.link.apply(NetworkFault::Delay { delay_ms: 5, jitter_ms: 6 }));
    assert_matches!(outcome, Err(LinkError::Illegal { source, .. }) if source.what == "jitter_ms");
    let taken = bench.runtime.block_on(bench.links.open_at(LinkId::new("c", "d"), bench.link.address(), LOCAL_TARGET));
    assert_matches!(taken, Err(LinkError::Listen { source, .. }) if source.kind() == ErrorKind::AddrInUse);
    let (mut dialer, _listening) = bench.pair(&listener);
    bench.links.stop();
    assert_eq!(dialer.read(&mut [0; 1]).unwrap(), 0);
    assert_matches!(bench.runtime.block_on(bench.link.apply(HOLD)), Err(LinkError::Stopped { .. }));
    assert_matches!(TcpStream::connect(bench.link.address()), Err(error) if error.kind() == ErrorKind::ConnectionRefused);
}

const LOCAL_TARGET: SocketAddr = SocketAddr::new(LOCAL, 1);

#[test]
fn a_closed_link_closes_its_connections_and_its_port() {
    let (bench, listener) = bench();
    let (mut dialer, _listening) = bench.pair(&listener);
    bench.runtime.block_on(bench.link.close());
    assert_eq!(dialer.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(TcpStream::connect(bench.link.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

/// Answers each request on each connection: 100 bytes for every blank line, or a whole echo for what is not HTTP.
fn answering(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let (mut buffer, mut text) = ([0_u8; 4096], Vec::new());
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    text.extend_from_slice(&buffer[..read]);
                    let answer = if text.starts_with(b"GET") {
                        let heads = text.windows(4).filter(|window| window == b"\r\n\r\n").count();
                        let rest = text.windows(4).rposition(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
                        text.drain(..rest);
                        vec![b'a'; heads * 100]
                    } else {
                        std::mem::take(&mut text)
                    };
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn a_transfer_shows_a_limit_toward_the_dialler_and_that_there_is_none() {
    let listener = listener();
    let bench = Bench::to(listener.local_addr().unwrap());
    answering(listener);
    let limit = NetworkFault::Bandwidth { bytes_per_s: 20_000, direction: Direction::TowardDialer };
    // The probe needs timers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for protocol in [Protocol::Http, Protocol::Resp] {
        let transfer = || runtime.block_on(transfer(bench.link.address(), protocol, 4_000, LONG));
        let free = transfer();
        assert!(free.bytes >= 4_000, "{protocol:?}: {free:?}");
        bench.apply(limit);
        let limited = transfer();
        assert!(limited.bytes >= 4_000 && limited.took >= Duration::from_millis(120), "{protocol:?}: {limited:?}");
        bench.heal(limit);
        assert!(transfer().bytes >= 4_000, "{protocol:?}");
    }
    bench.links.stop();
}
