//! What does a link cost, and how exact is it? Against a plain 64 KiB tokio relay in the same run, rounds interleaved,
//! medians: request rate and CPU per request at 50 keep-alive connections, bulk; then the error of a 100 ms delay at
//! 2,000 requests a second, open loop, and the burst of a 125 kB/s limit.
//!
//! Clients and servers share core 0, the relay has core 1, where there are two.
#![expect(clippy::print_stdout, reason = "its output is the table")]

use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::link::{Link, Links};
use gatecrash_model::Seed;
use gatecrash_model::fault::{Direction, LinkId, NetworkFault};
use rustix::thread::{CpuSet, Pid, gettid, sched_setaffinity};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REQUEST_BYTES: usize = 200;
const RESPONSE_BYTES: usize = 400;
const ROUNDS: usize = 5;
const ROUND_NS: u64 = 2_000_000_000;
const BULK_BYTES: u64 = 2 << 30;

fn main() -> Outcome<()> {
    pin(gettid(), 0);
    let server = server()?;
    let baseline = baseline(server)?;
    let links = Links::start(Seed(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = runtime.block_on(links.open(LinkId::new("client", "server"), LOCAL, server))?;
    for (tid, name) in threads()? {
        if (name == "links" || name == "baseline")
            && let Some(pid) = Pid::from_raw(tid)
        {
            pin(pid, 1);
        }
    }
    println!("{:<44} {:>12} {:>12} {:>8}", "", "tokio 64 KiB", "link", "ratio");
    rates(&runtime, baseline, &link)?;
    bulk(baseline, &link)?;
    delays(&runtime, baseline, server, &link)?;
    bursts(&runtime, &link)?;
    links.stop();
    Ok(())
}

fn pin(thread: Pid, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    // With one core there is nothing to choose.
    let _one_core = sched_setaffinity(Some(thread), &cores);
}

/// The threads of this process with their names.
fn threads() -> Outcome<Vec<(i32, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        let name = std::fs::read_to_string(path.join("comm"))?.trim().to_owned();
        let tid = path.file_name().and_then(|tid| tid.to_str()).unwrap_or_default().parse()?;
        found.push((tid, name));
    }
    Ok(found)
}

/// CPU time of the thread called `name`, in nanoseconds.
fn cpu_ns(name: &str) -> Outcome<u64> {
    for (tid, found) in threads()? {
        if found == name {
            let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat"))?;
            return Ok(text.split_whitespace().next().unwrap_or_default().parse()?);
        }
    }
    Err(format!("no thread `{name}`").into())
}

/// Answers by the first byte of a connection: `r` requests, `e` echo, `b` a bulk of bytes.
fn server() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((LOCAL, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("server".to_owned()).spawn(move || {
        pin(gettid(), 0);
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(async move {
                    // A client that leaves ends its connection here.
                    let _client_left = serve(stream).await;
                });
            }
            #[expect(unreachable_code, reason = "the type of the block")]
            Ok::<(), std::io::Error>(())
        })
    })?;
    Ok(address)
}

async fn serve(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    match stream.read_u8().await? {
        b'r' => {
            let (mut request, response) = ([0; REQUEST_BYTES], [1; RESPONSE_BYTES]);
            loop {
                stream.read_exact(&mut request).await?;
                stream.write_all(&response).await?;
            }
        }
        b'e' => {
            let mut buffer = vec![0; 4096];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(buffer.get(..count).unwrap_or_default()).await?;
            }
        }
        _ => {
            let chunk = vec![1; 256 << 10];
            loop {
                stream.write_all(&chunk).await?;
            }
        }
    }
}

/// The relay that a link is compared with.
fn baseline(target: SocketAddr) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((LOCAL, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("baseline".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (mut dialer, _) = listener.accept().await?;
                dialer.set_nodelay(true)?;
                tokio::spawn(async move {
                    let mut listening = tokio::net::TcpStream::connect(target).await?;
                    listening.set_nodelay(true)?;
                    tokio::io::copy_bidirectional_with_sizes(&mut dialer, &mut listening, 64 << 10, 64 << 10).await
                });
            }
            #[expect(unreachable_code, reason = "the type of the block")]
            Ok::<(), std::io::Error>(())
        })
    })?;
    Ok(address)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn row(what: &str, baseline: f64, link: f64, digits: usize) {
    println!("{what:<44} {baseline:>12.digits$} {link:>12.digits$} {:>8.2}", link / baseline);
}

/// Requests a second and CPU microseconds per request of a relay thread.
async fn rate(address: SocketAddr, thread: &str) -> Outcome<(f64, f64)> {
    let cpu = cpu_ns(thread)?;
    let start = monotonic_ns();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..50 {
        clients.spawn(async move {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream.write_u8(b'r').await?;
            let (request, mut response) = ([1; REQUEST_BYTES], [0; RESPONSE_BYTES]);
            let mut count = 0_u32;
            while monotonic_ns() - start < ROUND_NS {
                stream.write_all(&request).await?;
                stream.read_exact(&mut response).await?;
                count += 1;
            }
            Ok::<u32, std::io::Error>(count)
        });
    }
    let mut requests = 0.0;
    while let Some(count) = clients.join_next().await {
        requests += f64::from(count??);
    }
    let seconds = Duration::from_nanos(monotonic_ns() - start).as_secs_f64();
    let cpu_us = Duration::from_nanos(cpu_ns(thread)? - cpu).as_secs_f64() * 1e6;
    Ok((requests / seconds, cpu_us / requests))
}

fn rates(runtime: &tokio::runtime::Runtime, baseline: SocketAddr, link: &Link) -> Outcome<()> {
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(runtime.block_on(rate(baseline, "baseline"))?);
        ours.push(runtime.block_on(rate(link.address(), "links"))?);
    }
    let of = |rounds: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    row("requests/s at 50 connections", of(&plain, |r| r.0), of(&ours, |r| r.0), 0);
    row("relay CPU us/request", of(&plain, |r| r.1), of(&ours, |r| r.1), 2);
    Ok(())
}

fn bulk(baseline: SocketAddr, link: &Link) -> Outcome<()> {
    let transfer = |address: SocketAddr, thread: &str| -> Outcome<(f64, f64)> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"b")?;
        let (cpu, start) = (cpu_ns(thread)?, monotonic_ns());
        let (mut buffer, mut received) = (vec![0; 256 << 10], 0_u64);
        while received < BULK_BYTES {
            received += stream.read(&mut buffer)? as u64;
        }
        let seconds = Duration::from_nanos(monotonic_ns() - start).as_secs_f64();
        let cpu_ms = Duration::from_nanos(cpu_ns(thread)? - cpu).as_secs_f64() * 1e3;
        let megabytes = 2_147.483_648;
        Ok((megabytes / seconds, cpu_ms / (megabytes / 1e3)))
    };
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        plain.push(transfer(baseline, "baseline")?);
        ours.push(transfer(link.address(), "links")?);
    }
    let of = |rounds: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
    row("bulk MB/s", of(&plain, |r| r.0), of(&ours, |r| r.0), 0);
    row("relay CPU ms/GB", of(&plain, |r| r.1), of(&ours, |r| r.1), 1);
    Ok(())
}

/// Latencies in milliseconds of 2,000 requests a second over 50 connections, sent on schedule whatever comes back, and
/// measured from the moment they were sent.
fn open_loop(address: SocketAddr) -> Outcome<Vec<f64>> {
    const PER_S: u64 = 2_000;
    const SECONDS: u64 = 4;
    const STAMP_BYTES: usize = 8;
    let mut streams = Vec::new();
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
    for index in 0..50_u64 {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(b"e")?;
        let reader = stream.try_clone()?;
        let data = rustix::event::epoll::EventData::new_u64(index);
        rustix::event::epoll::add(&epoll, &reader, data, rustix::event::epoll::EventFlags::IN)?;
        streams.push((stream, reader, Vec::<u8>::new()));
    }
    let start = monotonic_ns() + 10_000_000;
    let mut latencies = Vec::new();
    let mut events = Vec::with_capacity(64);
    let (total, mut sent) = (PER_S * SECONDS, 0);
    while (latencies.len() as u64) < total {
        let mut now = monotonic_ns();
        if now > start + (SECONDS + 20) * 1_000_000_000 {
            return Err(format!("{} of {total} answers after {} s", latencies.len(), SECONDS + 20).into());
        }
        while sent < total && start + sent * 1_000_000_000 / PER_S <= now {
            if let Some((stream, _, _)) = streams.get_mut(usize::try_from(sent % 50)?) {
                stream.write_all(&monotonic_ns().to_ne_bytes())?;
            }
            sent += 1;
            now = monotonic_ns();
        }
        let due = if sent < total { start + sent * 1_000_000_000 / PER_S } else { now + 100_000_000 };
        let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::try_from(due.saturating_sub(now))? };
        events.clear();
        rustix::event::epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
        for event in &events {
            let Some((_, reader, kept)) = streams.get_mut(usize::try_from(event.data.u64())?) else { continue };
            let mut buffer = [0; 4096];
            let count = reader.read(&mut buffer)?;
            let now = monotonic_ns();
            kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
            let whole = kept.len() / STAMP_BYTES * STAMP_BYTES;
            for stamp in kept.drain(..whole).collect::<Vec<_>>().chunks_exact(STAMP_BYTES) {
                let stamp = u64::from_ne_bytes(stamp.try_into()?);
                latencies.push(Duration::from_nanos(now.saturating_sub(stamp)).as_secs_f64() * 1e3);
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn quantile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

fn delays(runtime: &tokio::runtime::Runtime, baseline: SocketAddr, server: SocketAddr, link: &Link) -> Outcome<()> {
    // The sender must wake on time, or its lateness would be taken for the link's.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    println!("\n2,000 requests/s, open loop, 50 connections: latency in ms");
    for (what, address) in [("direct", server), ("tokio 64 KiB", baseline), ("link, no delay", link.address())] {
        let latencies = open_loop(address)?;
        println!("{what:<44} p50 {:>8.3}  p99 {:>8.3}", quantile(&latencies, 50), quantile(&latencies, 99));
    }
    let delay = NetworkFault::delay(Duration::from_millis(100));
    runtime.block_on(link.apply(delay))?;
    for _ in 0..3 {
        let latencies = open_loop(link.address())?;
        println!(
            "{:<44} p50 {:>+8.3}  p99 {:>+8.3}  (least {:+.3})",
            "link, error of a 100 ms delay",
            quantile(&latencies, 50) - 100.0,
            quantile(&latencies, 99) - 100.0,
            quantile(&latencies, 0) - 100.0
        );
    }
    runtime.block_on(link.heal(delay))?;
    Ok(())
}

fn bursts(runtime: &tokio::runtime::Runtime, link: &Link) -> Outcome<()> {
    println!("\nlimits: mean error, burst (most in a bin of 50 ms over the mean), first byte");
    for bytes_per_s in [125_000_u32, 1_000_000, 10_000_000] {
        let limit = NetworkFault::Bandwidth { bytes_per_s: bytes_per_s.into(), direction: Direction::TowardDialer };
        runtime.block_on(link.apply(limit))?;
        let mut stream = TcpStream::connect(link.address())?;
        let start = monotonic_ns();
        stream.write_all(b"b")?;
        let (mut bins, mut buffer, mut first) = (vec![0.0_f64; 60], vec![0; 256 << 10], None);
        loop {
            let count = stream.read(&mut buffer)?;
            let at = monotonic_ns() - start;
            let first = *first.get_or_insert(at);
            let Some(bin) = bins.get_mut(usize::try_from((at - first) / 50_000_000)?) else { break };
            *bin += f64::from(u32::try_from(count)?);
        }
        let mean = bins.iter().sum::<f64>() / 60.0;
        let wanted = f64::from(bytes_per_s) / 20.0;
        let most = bins.iter().copied().fold(0.0, f64::max);
        let first_ms = Duration::from_nanos(first.unwrap_or_default()).as_secs_f64() * 1e3;
        println!(
            "{:<44} mean {:>+6.2} %  burst {:.3}  first byte {first_ms:.2} ms",
            format!("link, {bytes_per_s} bytes/s"),
            (mean / wanted - 1.0) * 100.0,
            most / mean
        );
        runtime.block_on(link.heal(limit))?;
    }
    Ok(())
}
