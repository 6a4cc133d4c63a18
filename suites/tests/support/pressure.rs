//! Did other programs keep the machine busy while a trial ran? Asked of the kernel and not of gatecrash: what gatecrash
//! says of a machine that was not busy is held against it.

/// Less of the machine's time than this was free: then somebody waited for it. A trial alone leaves a third and more.
const FREE: f64 = 0.08;

/// Time of all cores since some moment.
#[derive(Debug)]
pub(crate) struct Pressure {
    since: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Time {
    free: u64,
    all: u64,
}

impl Pressure {
    /// From now on.
    pub(crate) fn since_now() -> Self {
        Self { since: now() }
    }

    /// The share of the machine's time that was free until now, if others left hardly any.
    pub(crate) fn free_if_busy(&self) -> Option<f64> {
        let (since, now) = (self.since?, now()?);
        let all = now.all.saturating_sub(since.all);
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds of one trial")]
        let free = (all > 0).then(|| now.free.saturating_sub(since.free) as f64 / all as f64)?;
        (free < FREE).then_some(free)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and guests, which are in user already.
fn now() -> Option<Time> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, idle, waiting, ..] = fields[..] else { return None };
    Some(Time { free: idle + waiting, all: fields.iter().sum() })
}
