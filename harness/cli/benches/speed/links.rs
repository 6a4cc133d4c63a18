//! What does a link cost, and how exact is it? Against a plain 64 KiB tokio relay in the same run, rounds interleaved,
//! medians: request rate and CPU per request at 50 keep-alive connections, bulk; then the error of a 100 ms delay at
//! 2,000 requests a second, open loop, and the burst of a 125 kB/s limit.
//!
//! Clients and servers share core 0, the relay has core 1, where there are two.

use crate::machine::{self, Outcome, median, ms, pin, quantile};
use crate::table::Row;
use gatecrash_engine::clock::monotonic_ns;
use gatecrash_engine::link::{Link, Links};
use gatecrash_model::Seed;
use gatecrash_model::fault::{Direction, LinkId, NetworkFault};
use rustix::thread::gettid;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REQUEST_BYTES: usize = 200;
const RESPONSE_BYTES: usize = 400;
const ROUNDS: usize = 7;
const ROUND_NS: u64 = 1_500_000_000;
const BULK_BYTES: u64 = 1 << 30;
const BULK_ROUNDS: usize = 3;
/// Runs of the delay; the median of their quantiles counts.
const DELAY_RUNS: usize = 3;

/// All that is promised of a link.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    pin(gettid(), 0);
    let server = server()?;
    let baseline = baseline(server)?;
    let links = Links::start(Seed(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = runtime.block_on(links.open(LinkId::new("client", "server"), LOCAL, server))?;
    machine::pin_all("links", 1)?;
    machine::pin_all("baseline", 1)?;
    let mut rows = rates(&runtime, baseline, &link)?;
    rows.extend(bulk(baseline, &link)?);
    rows.extend(delays(&runtime, baseline, &link)?);
    rows.extend(bursts(&runtime, &link)?);
    links.stop();
    Ok(rows)
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

/// Measures both `rounds` times in turn, the one that begins changing; the medians of theirs, ours, and ours over theirs.
fn compare<const N: usize>(
    rounds: usize,
    mut theirs: impl FnMut() -> Outcome<[f64; N]>,
    mut ours: impl FnMut() -> Outcome<[f64; N]>,
) -> Outcome<[(f64, f64, f64); N]> {
    let (mut plain, mut linked) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            plain.push(theirs()?);
            linked.push(ours()?);
        } else {
            linked.push(ours()?);
            plain.push(theirs()?);
        }
    }
    Ok(std::array::from_fn(|at| {
        let of = |all: &[[f64; N]]| median(all.iter().map(|round| round[at]).collect());
        let ratios = plain.iter().zip(&linked).map(|(plain, linked)| linked[at] / plain[at]).collect();
        (of(&plain), of(&linked), median(ratios))
    }))
}

/// Requests a second and CPU microseconds per request of a relay thread.
async fn rate(address: SocketAddr, thread: &str) -> Outcome<[f64; 2]> {
    let cpu = machine::cpu(thread)?;
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
    let cpu_us = (machine::cpu(thread)? - cpu).as_secs_f64() * 1e6;
    Ok([requests / seconds, cpu_us / requests])
}

fn rates(runtime: &tokio::runtime::Runtime, baseline: SocketAddr, link: &Link) -> Outcome<Vec<Row>> {
    let [rate, cpu] = compare(
        ROUNDS,
        || runtime.block_on(rate(baseline, "baseline")),
        || runtime.block_on(rate(link.address(), "links")),
    )?;
    Ok(vec![
        Row::new("link: requests/s at 50 connections", format!("{:.0}", rate.1))
            .against(format!("tokio relay 64 KiB: {:.0}", rate.0))
            .ratio(rate.2)
            .target(">= 1.00x", rate.2 >= 1.0),
        Row::new("link: CPU per request", format!("{:.2} us", cpu.1))
            .against(format!("tokio relay 64 KiB: {:.2} us", cpu.0))
            .ratio(cpu.2)
            .target("<= 1.00x", cpu.2 <= 1.0),
    ])
}

fn bulk(baseline: SocketAddr, link: &Link) -> Outcome<Vec<Row>> {
    let transfer = |address: SocketAddr, thread: &str| -> Outcome<[f64; 2]> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"b")?;
        let (cpu, start) = (machine::cpu(thread)?, monotonic_ns());
        let (mut buffer, mut received) = (vec![0; 256 << 10], 0_u64);
        while received < BULK_BYTES {
            received += stream.read(&mut buffer)? as u64;
        }
        let seconds = Duration::from_nanos(monotonic_ns() - start).as_secs_f64();
        let cpu_ms = (machine::cpu(thread)? - cpu).as_secs_f64() * 1e3;
        let megabytes = received as f64 / 1e6;
        Ok([megabytes / seconds, cpu_ms / (megabytes / 1e3)])
    };
    let [rate, cpu] = compare(BULK_ROUNDS, || transfer(baseline, "baseline"), || transfer(link.address(), "links"))?;
    Ok(vec![
        Row::new("link: bulk", format!("{:.0} MB/s", rate.1)).against(format!("{:.0} MB/s", rate.0)).ratio(rate.2),
        Row::new("link: CPU per GB", format!("{:.0} ms", cpu.1)).against(format!("{:.0} ms", cpu.0)).ratio(cpu.2),
    ])
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
                latencies.push(ms(now.saturating_sub(stamp)));
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn delays(runtime: &tokio::runtime::Runtime, baseline: SocketAddr, link: &Link) -> Outcome<Vec<Row>> {
    // The sender must wake on time, or its lateness would be taken for the link's.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let runs = |address: SocketAddr, count: usize| -> Outcome<[f64; 2]> {
        let runs = (0..count).map(|_| open_loop(address)).collect::<Outcome<Vec<_>>>()?;
        Ok([50, 99].map(|percent| median(runs.iter().map(|run| quantile(run, percent)).collect())))
    };
    let plain = runs(baseline, 1)?;
    let linked = runs(link.address(), 1)?;
    let delay = NetworkFault::delay(Duration::from_millis(100));
    runtime.block_on(link.apply(delay))?;
    let delayed = runs(link.address(), DELAY_RUNS)?;
    runtime.block_on(link.heal(delay))?;
    let row = |at: usize, name: &str, most: f64| {
        let error = delayed[at] - 100.0;
        Row::new(format!("link: 100 ms delay at 2,000 requests/s, {name}"), format!("{error:+.3} ms"))
            .against(format!("no delay: tokio relay {:.3} ms, link {:.3} ms", plain[at], linked[at]))
            .target(format!("within +{most} ms"), (0.0..=most).contains(&error))
    };
    Ok(vec![row(0, "median", 0.3), row(1, "p99", 1.0)])
}

fn bursts(runtime: &tokio::runtime::Runtime, link: &Link) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
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
        runtime.block_on(link.heal(limit))?;
        let mean = bins.iter().sum::<f64>() / 60.0;
        let burst = bins.iter().copied().fold(0.0, f64::max) / mean;
        let error = (mean / (f64::from(bytes_per_s) / 20.0) - 1.0) * 100.0;
        let ours = format!("{burst:.3}x (mean {error:+.2} %, first byte {:.2} ms)", ms(first.unwrap_or_default()));
        let row = Row::new(format!("link: burst at {} kB/s", bytes_per_s / 1_000), ours);
        rows.push(if bytes_per_s == 125_000 { row.target("<= 1.2x", burst <= 1.2) } else { row });
    }
    Ok(rows)
}
