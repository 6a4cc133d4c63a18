//! Is open-loop traffic sent when it is due, and is a frozen server's harm told in full? A lab sends 2,000 requests a second through
//! its client link to a small server that answers at once, or is frozen for the first 200 ms of every 2 s of the machine's
//! monotonic clock. So the truth is arithmetic: a request that was due in a freeze is answered at its end.
//!
//! What is judged is the history on disk, from which the claims judge too.

use crate::machine::{Outcome, ms, quantile};
use crate::stage::{SCALE, Stage, Where, tokio};
use crate::table::Row;
use gatecrash_engine::clock::{Clock, monotonic_ns};
use gatecrash_engine::lab::{Lab, LabOptions, Target, TrafficSpec};
use gatecrash_model::adapter;
use gatecrash_model::deployment;
use gatecrash_model::history::{EventKind, History, format};
use gatecrash_model::operation::stream;
use rustix::time::Timespec;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const RATE: f64 = 2_000.0;
/// Whole periods, so that each run has the same share of freezes.
const LASTS: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);
const PERIOD_NS: u64 = 2_000_000_000;
const FROZEN_NS: u64 = 200_000_000;
/// The header with the moment at which the server answered; the history keeps it as the name of a replica.
const ANSWERED: &str = "x-answered";

/// Rate, lateness, and the tail under freezes.
pub(crate) fn measure() -> Outcome<Vec<Row>> {
    let runtime = tokio()?;
    let steady = runtime.block_on(run("steady"))?;
    let frozen = runtime.block_on(run("frozen"))?;
    let ticks = runtime.block_on(plain_ticks())?;
    let off = (steady.rate / RATE - 1.0) * 100.0;
    let late = |percent| quantile(&steady.late_us, percent);
    let truth = quantile(&frozen.truth_ms, 95) + quantile(&steady.latency_ms, 50);
    let told = quantile(&frozen.latency_ms, 95);
    let wrong = (told / truth - 1.0) * 100.0;
    Ok(vec![
        Row::new("traffic: rate at 2,000 requests/s", format!("{:.1}/s ({off:+.2} %)", steady.rate))
            .target("within 0.5 %", off.abs() <= 0.5),
        Row::new("traffic: start lateness, median / p99", format!("{:.0} / {:.0} us", late(50), late(99)))
            .against(format!("ticks of tokio: {:.0} / {:.0} us", quantile(&ticks, 50), quantile(&ticks, 99)))
            .target("<= 50 / 300 us", late(50) <= 50.0 && late(99) <= 300.0),
        Row::new("traffic: p95, server frozen 200 ms of every 2 s", format!("{told:.1} ms ({wrong:+.1} %)"))
            .against(format!(
                "truth by arithmetic: {truth:.1} ms; the server's own stamps: {:.1} ms",
                quantile(&frozen.served_ms, 95)
            ))
            .ratio(told / truth)
            .target("within 3 %", wrong.abs() <= 3.0),
    ])
}

/// What a run showed; everything sorted.
struct Shown {
    rate: f64,
    late_us: Vec<f64>,
    latency_ms: Vec<f64>,
    /// What each request had to wait for the end of a freeze.
    truth_ms: Vec<f64>,
    /// From the moment it was due until the server answered.
    served_ms: Vec<f64>,
}

async fn run(how: &str) -> Outcome<Shown> {
    let stage = Stage::set(Where::Process).await?.ok_or("processes can always be started")?;
    let me = std::env::current_exe()?.display().to_string();
    let text = format!(
        "version: \"1.0\"\nname: bench\nprocess:\n  command: [{me:?}, serve, {how}, \"{{{{ listen }}}}:{{{{ ports.data }}}}\"]\n\
         files: []\nports: {{data: 8080}}\nready: {{port: data, path: /, status: 200}}\nrejectStatus: 429\nreplicaHeader: {ANSWERED}\n\
         capabilities: []\nlacks:{LACKS}\n"
    );
    let adapter = adapter::yaml::parse("bench", &text, &mut |path| Err(format!("no template `{path}`")))?;
    let text = "version: \"1.0\"\nname: bench\nprofile: none\ngateway: {adapter: bench}\n\
        sites:\n  - {name: lab, replicas: 1}\nquota: {limit: 100, window: 10s, alignment: first-request}\n";
    let deployment = deployment::yaml::parse("bench", text)?.scaled(SCALE);
    let open = deployment.routes.iter().find(|route| route.policies.is_empty());
    let route = open.ok_or("no open route")?.name.clone();
    let kit = stage.kit(adapter);
    let clock = kit.clock;
    let lab = Lab::bring_up(kit, deployment, "traffic", LabOptions { quiet: true, ..LabOptions::default() }).await?;
    let spec = TrafficSpec {
        stream: stream::TRAFFIC.to_owned(),
        targets: vec![(Target::Replica("lab-1".to_owned()), 1)],
        route,
        keys: vec!["client-1".to_owned()],
        rate_per_s: RATE,
        timeout: Some(Duration::from_secs(5)),
    };
    let traffic = lab.traffic(spec);
    lab.hold(WARM_UP).await?;
    let from = lab.now();
    lab.hold(LASTS).await?;
    let to = from + u64::try_from(LASTS.as_nanos())?;
    lab.hold(Duration::from_millis(300)).await?;
    traffic.stop().await;
    lab.finish().await?;
    let file = std::fs::File::open(stage.folder().join("history-traffic.jsonl"))?;
    let read = format::read(std::io::BufReader::new(file))?;
    let frozen = how == "frozen";
    let shown = shown(&read.history, clock, from, to, |at| if frozen { wait(clock.to_monotonic(at)) } else { 0 })?;
    stage.strike().await?;
    Ok(shown)
}

const LACKS: &str = "
  tokens: no
  token-issue: no
  token-rekey: no
  token-revocation: no
  quota: no
  shared-store: no
  control-plane: no
  configuration-version: no
  configuration-choice: no
  contracts: no";

/// How long the server stays frozen from this moment on.
fn wait(monotonic: u64) -> u64 {
    FROZEN_NS.saturating_sub(monotonic % PERIOD_NS)
}

/// Judges the requests that were due in `from..to`.
fn shown(history: &History, clock: Clock, from: u64, to: u64, wait: impl Fn(u64) -> u64) -> Outcome<Shown> {
    let events = history.events();
    let wanted = history.name(stream::TRAFFIC);
    let (mut late_us, mut latency_ms, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let (mut truth_ms, mut served_ms) = (Vec::new(), Vec::new());
    for view in history.operations() {
        let due = view.intended_at(events);
        let ours = view.operation(events).is_some_and(|operation| Some(operation.stream) == wanted);
        if !ours || !(from..to).contains(&due) {
            continue;
        }
        sent.push(view.sent_at(events));
        if let Some(EventKind::Invoked { late_us: late, .. }) =
            events.get(view.invoked as usize).map(|event| event.kind)
        {
            late_us.push(f64::from(late));
        }
        let (ended, _, answer) = view.outcome(events).ok_or("a request without an end")?;
        if answer.status != 200 {
            return Err(format!("a request was answered with status {}", answer.status).into());
        }
        latency_ms.push(ms(ended.saturating_sub(due)));
        truth_ms.push(ms(wait(due)));
        let answered = clock.of_monotonic(history.text(answer.replica).parse()?);
        served_ms.push(ms(answered.saturating_sub(due)));
    }
    sent.sort_unstable();
    let (first, last) = (sent.first().ok_or("nothing was sent")?, sent.last().ok_or("nothing was sent")?);
    let rate = (sent.len() as f64 - 1.0) / Duration::from_nanos(last - first).as_secs_f64();
    for all in [&mut late_us, &mut latency_ms, &mut truth_ms, &mut served_ms] {
        all.sort_by(f64::total_cmp);
    }
    Ok(Shown { rate, late_us, latency_ms, truth_ms, served_ms })
}

/// How late tokio's own interval ticks, in microseconds, sorted.
async fn plain_ticks() -> Outcome<Vec<f64>> {
    let every = Duration::from_secs_f64(1.0 / RATE);
    let step = u64::try_from(every.as_nanos())?;
    let (start, first) = (monotonic_ns(), tokio::time::Instant::now());
    let mut interval = tokio::time::interval_at(first + every, every);
    let mut late = Vec::new();
    for tick in 1..=4_000_u64 {
        interval.tick().await;
        late.push(ms(monotonic_ns().saturating_sub(start + tick * step)) * 1e3);
    }
    late.sort_by(f64::total_cmp);
    Ok(late)
}

/// The server: one thread, which does nothing at all while it is frozen.
pub(crate) fn serve(how: &str, listen: &str) -> Outcome<()> {
    let listen: SocketAddr = listen.parse()?;
    let frozen = how == "frozen";
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        if frozen {
            tokio::spawn(freeze());
        }
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                // A client that leaves ends its connection here.
                let _client_left = answer(stream).await;
            });
        }
    })
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut kept) = ([0; 4096], 0);
    loop {
        let Some(free) = buffer.get_mut(kept..).filter(|free| !free.is_empty()) else { return Ok(()) };
        let count = stream.read(free).await?;
        if count == 0 {
            return Ok(());
        }
        kept += count;
        // One request at a time is under way on a connection of ours, and it has no body.
        if buffer.get(..kept).is_some_and(|head| head.ends_with(b"\r\n\r\n")) {
            kept = 0;
            let head = format!("HTTP/1.1 200 OK\r\n{ANSWERED}: {}\r\ncontent-length: 2\r\n\r\nok", monotonic_ns());
            stream.write_all(head.as_bytes()).await?;
        }
    }
}

/// Stops the only thread from each multiple of the period until 200 ms after it.
async fn freeze() {
    loop {
        let begin = (monotonic_ns() / PERIOD_NS + 1) * PERIOD_NS;
        let early = begin.saturating_sub(monotonic_ns()).saturating_sub(3_000_000);
        gatecrash_engine::clock::sleep(Duration::from_nanos(early)).await;
        let end = begin + FROZEN_NS;
        while monotonic_ns() < begin {
            tokio::task::yield_now().await;
        }
        let end = Timespec {
            tv_sec: i64::try_from(end / 1_000_000_000).unwrap_or_default(),
            tv_nsec: i64::try_from(end % 1_000_000_000).unwrap_or_default(),
        };
        // A signal ends it early; none is sent.
        let _whole = rustix::thread::clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &end);
    }
}
