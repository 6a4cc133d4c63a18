//! A rich run record for tests and for looking at pages: every standing, proven and unproven faults, quota windows,
//! an outage, texts that try to break out of their report.

use gatecrash_model::claim::{ClaimId, Level};
use gatecrash_model::deployment::{
    ControlPlane, Deployment, Gateway, Platform, Policy, Quota, Route, RouteBackend, Site, Store, StoreKind,
    StoreScope, Successor, WindowAlignment,
};
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::profile::{Basis, Scalar};
use gatecrash_model::run_record::{ClaimRecord, Denominator, ExperimentRecord, RunRecord, RunResult};
use gatecrash_model::seed::Seed;
use gatecrash_model::series::Series;
use gatecrash_model::verdict::{Counterexample, Declared, EventRef, Evidence, Number, Reason, Standing, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// Words that no report may let out of their place.
pub(crate) const HOSTILE: &str = "</script><script>alert(1)</script> & \"quoted\" | `code` \u{1b}[31m ]]> <img src=x>";

/// A run of 8 claims and 3 experiments, with everything that a report must be able to say.
pub(crate) fn sample() -> RunRecord {
    let claims = claims();
    let standings: Vec<Standing> = claims.iter().map(|claim| claim.standing).collect();
    RunRecord {
        schema_version: "1.0".to_owned(),
        result: RunResult::of(&standings, 4, 0.1, false),
        seed: Seed(7),
        runtime: "process".to_owned(),
        denominator: denominator(&standings),
        claims,
        run: "20261122-040000-7".to_owned(),
        gatecrash: "0.1.0".to_owned(),
        scale: 0.1,
        cut_short: None,
        environment: vec!["store: stub (no `redis-server` on PATH)".to_owned(), "2 processor cores".to_owned()],
        started: "2026-11-22T04:00:00Z".to_owned(),
        wall_ms: 74_321,
        experiments_ms: 131_800,
        deployment: deployment(),
        profile: "flex-managed".to_owned(),
        product: "Flex Gateway 1.9, managed".to_owned(),
        minimum_judged: 4,
        experiments: experiments(),
        left_out: Vec::new(),
        shrunk: Vec::new(),
    }
}

/// The same run with these claims only, and the result that follows.
pub(crate) fn only(ids: &[&str], minimum: u32, scale: f64) -> RunRecord {
    let mut record = sample();
    record.claims.retain(|claim| ids.contains(&claim.id.as_str()));
    let standings: Vec<Standing> = record.claims.iter().map(|claim| claim.standing).collect();
    record.minimum_judged = minimum;
    record.scale = scale;
    record.denominator = denominator(&standings);
    record.result = RunResult::of(&standings, minimum, scale, false);
    record
}

fn denominator(standings: &[Standing]) -> Denominator {
    let count = |which: &dyn Fn(&Standing) -> bool| {
        u32::try_from(standings.iter().filter(|standing| which(standing)).count()).unwrap_or(u32::MAX)
    };
    Denominator {
        judged: count(&|standing| standing.is_judged()),
        applicable: count(&|standing| *standing != Standing::NotApplicable),
        all: count(&|_| true),
    }
}

fn claim(id: &str, statement: &str, declared: Declared, verdict: Verdict, experiments: &[&str]) -> ClaimRecord {
    ClaimRecord {
        id: ClaimId::new(id),
        statement: statement.to_owned(),
        source: "Flex Gateway documentation, shared storage".to_owned(),
        level: Level::Core,
        declared,
        basis: if declared == Declared::Holds { Basis::Expected } else { Basis::Documented },
        declared_source: match declared {
            Declared::Holds => String::new(),
            Declared::DoesNotHold => "quota is not synchronised between sites".to_owned(),
            Declared::NotApplicable => "the product issues no tokens of its own".to_owned(),
        },
        standing: Standing::of(declared, verdict.observed()),
        verdict,
        predicted: None,
        parameters: BTreeMap::from([
            ("window".to_owned(), Scalar::Number(1.0)),
            ("on_store_loss".to_owned(), Scalar::Text("local".to_owned())),
        ]),
        experiments: experiments.iter().map(|name| (*name).to_owned()).collect(),
        repeat: format!("gatecrash certify flex-managed.yaml --only {id} --seed 7 --scale 0.1 --runtime process"),
    }
}

fn holds(samples: u64, numbers: Vec<Number>, notes: &[&str]) -> Verdict {
    Verdict::Holds(Evidence { samples, numbers, notes: notes.iter().map(|note| (*note).to_owned()).collect() })
}

fn claims() -> Vec<ClaimRecord> {
    let overshoot = Counterexample {
        explanation:
            "`eu-1` and `eu-2` admitted 131 requests of `alice` in the window that began at 2.004 s; the quota is 100"
                .to_owned(),
        events: vec![
            EventRef { experiment: "quota".to_owned(), event: 1411 },
            EventRef { experiment: "quota".to_owned(), event: 1502 },
        ],
        samples: 12,
        numbers: vec![
            Number::new("worst overshoot", 31.0, "%").limit(0.0),
            Number::new("admitted in the worst window", 131.0, "requests").limit(100.0),
        ],
    };
    let factor = Counterexample {
        explanation: "both sites admitted their full quota in one window".to_owned(),
        events: vec![EventRef { experiment: "quota".to_owned(), event: 901 }],
        samples: 12,
        numbers: vec![Number::new("admitted over both sites", 2.0, "x").limit(1.5)],
    };
    vec![
        claim(
            "CFG-01",
            "a replica keeps serving its last configuration while the control plane is down",
            Declared::Holds,
            holds(
                4200,
                vec![Number::new("served during the outage", 100.0, "%").limit(99.9)],
                &["the outage was seen by every replica", HOSTILE],
            ),
            &["control-plane-outage"],
        ),
        claim(
            "CFG-02/b",
            "a replica that restarts while the control plane is down comes up from its local configuration",
            Declared::Holds,
            Verdict::inconclusive(
                "fault-not-proven",
                "the outage was not witnessed from `eu-2`: 3 of 3 probes answered",
            ),
            &["control-plane-outage"],
        ),
        claim(
            "LAT-01",
            "a slow shared store does not slow requests that need none of it",
            Declared::Holds,
            holds(1980, vec![Number::new("p95 with the slow store", 9.6, "ms").limit(10.0)], &[]),
            &["store-latency"],
        ),
        claim(
            "QUO-01",
            "replicas of one cluster share one counter",
            Declared::Holds,
            Verdict::Violated(overshoot),
            &["quota"],
        ),
        claim("QUO-03", "sites share one counter", Declared::DoesNotHold, Verdict::Violated(factor), &["quota"]),
        claim(
            "QUO-05",
            "counters survive the restart of a replica inside a window",
            Declared::DoesNotHold,
            holds(14, vec![Number::new("refilled", 0.0, "requests").limit(0.0)], &[]),
            &["quota"],
        ),
        claim(
            "SEC-01",
            "no protected route is ever served without its policies",
            Declared::Holds,
            holds(61_200, vec![Number::new("must-refuse requests that arrived", 0.0, "").limit(0.0)], &[]),
            &["quota", "store-latency", "control-plane-outage"],
        ),
        claim(
            "TOK-01",
            "a token issued by one replica is accepted by all replicas of the site",
            Declared::NotApplicable,
            Verdict::NotApplicable(Reason::new("capability", "the gateway issues no tokens (`token-issue`)")),
            &[],
        ),
    ]
}

fn deployment() -> Deployment {
    let site = |name: &str| Site {
        name: name.to_owned(),
        zones: vec!["a".to_owned(), "b".to_owned()],
        replicas: 2,
        signing: "shared".to_owned(),
    };
    let route = |name: &str, policies: &[Policy]| Route {
        name: name.to_owned(),
        path: format!("/{name}"),
        policies: policies.to_vec(),
        backend: RouteBackend::Local,
    };
    Deployment {
        name: "flex-managed".to_owned(),
        profile: "flex-managed".to_owned(),
        gateway: Gateway {
            adapter: "reference".to_owned(),
            settings: BTreeMap::new(),
            defects: vec!["quota.local-counter".to_owned()],
        },
        sites: vec![site("eu"), site("us")],
        control_plane: Some(ControlPlane {
            poll_interval: Duration::from_secs(5),
            ingress_timeout: Duration::from_secs(30),
        }),
        store: Some(Store { kind: StoreKind::Redis, scope: StoreScope::Site, failover: None }),
        peering: None,
        site_store: true,
        platform: Some(Platform {
            probe_period: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(1),
            probe_threshold: 3,
            successor: Successor::New,
            autoscale: None,
        }),
        analytics: None,
        routes: vec![route("open", &[]), route("metered", &[Policy::ClientId, Policy::Quota])],
        quota: Quota { limit: 100, window: Duration::from_secs(10), alignment: WindowAlignment::FirstRequest },
    }
}

fn experiments() -> Vec<ExperimentRecord> {
    let ran = |name: &str, story: &str, series: Series, events, problem: Option<&str>| ExperimentRecord {
        name: name.to_owned(),
        story: story.to_owned(),
        history: format!("history-{name}.jsonl"),
        wall_ms: series.span_ms,
        events,
        problem: problem.map(str::to_owned),
        series,
    };
    vec![
        ran(
            "quota",
            "Demand of three quotas in each window while a replica is killed and comes back.",
            quota(),
            5120,
            None,
        ),
        ran(
            "store-latency",
            "The shared store slows down, then one replica loses it, and traffic goes on.",
            store(),
            22_410,
            None,
        ),
        ran(
            "control-plane-outage",
            "The control plane goes away; replicas restart without it.",
            outage(),
            8433,
            Some("replica `eu-2` was not ready after 6 s; last status: connection refused"),
        ),
    ]
}

/// Spread without a random generator: the golden ratio's fractions, 0 to 99.
fn spread(at: u64) -> u64 {
    at * 61 % 100
}

fn quota() -> Series {
    let mut history = HistoryBuilder::new("quota");
    history.at_ms(0).phase("steady", "");
    for round in 0..5_u64 {
        let start = 1000 * (round + 1);
        history.at_ms(start).phase("window", &format!("round {}", round + 1));
        history.at_ms(start).mark(mark::WINDOW, "alice", i64::try_from(round).unwrap_or_default() + 1);
        for at in 0..300_u64 {
            history.at_ms(start + at * 3);
            let target = if spread(at) < 60 { "eu-1" } else { "eu-2" };
            let operation = call("quota", target, "metered", "alice");
            if at < if round == 2 { 131 } else { 100 - round } {
                history.ok(operation);
            } else {
                history.rejected(operation, 429);
            }
        }
    }
    for at in 0..1200_u64 {
        history.at_ms(at * 5).takes_ns = (1 + spread(at) / 40) * 1_000_000;
        if (620..660).contains(&at) && at % 2 == 0 {
            history.refused(call("traffic", "eu-1", "open", "bob"));
        } else {
            history.ok(call("traffic", "eu-2", "open", "bob"));
        }
    }
    history.proven_fault("kill", "eu-1", 3100, 3320);
    history.at_ms(6000).phase("final-reads", "");
    Series::of(&history.build(), 120)
}

fn store() -> Series {
    let mut history = HistoryBuilder::new("store-latency");
    history.at_ms(0).phase("steady", "");
    for at in 0..2400_u64 {
        let ms = at * 5;
        let slow = if (3000..6000).contains(&ms) { 40 } else { 0 };
        history.at_ms(ms).takes_ns = (2 + spread(at) / 12 + slow) * 1_000_000;
        let operation = call("traffic", "eu-1", "open", "bob");
        if (7000..8500).contains(&ms) && at % 3 == 0 {
            history.unknown(operation, false);
        } else if (8500..8800).contains(&ms) {
            history.gateway_error(operation, 503);
        } else {
            history.ok(operation);
        }
    }
    history.proven_fault("delay 40 ms", "eu-1->eu-store", 3000, 6000);
    history.proven_fault("delay 40 ms", "eu-2->eu-store", 3000, 6000);
    history.at_ms(7000).fault(9, FaultStage::Injected, "blackhole", "eu-1->eu-upstream");
    history.at_ms(7050).fault(9, FaultStage::NotWitnessed, "blackhole", "eu-1->eu-upstream");
    history.at_ms(8800).fault(9, FaultStage::Healed, "blackhole", "eu-1->eu-upstream");
    for (ms, phase) in [(3000, "hold"), (6000, "heal"), (7000, "inject"), (8800, "settle"), (11_000, "final-reads")] {
        history.at_ms(ms).phase(phase, "");
    }
    Series::of(&history.build(), 120)
}

fn outage() -> Series {
    let mut history = HistoryBuilder::new("control-plane-outage");
    history.at_ms(0).phase("bring-up", "");
    for round in 0..6_u64 {
        history.at_ms(200 + round * 150).phase("inject", &format!("variant {round}"));
        history.proven_fault("refuse", "eu-management->control-plane", 220 + round * 150, 300 + round * 150);
    }
    for at in 0..90_u64 {
        history.at_ms(at * 12).ok(call("quota", if at % 2 == 0 { "eu-1" } else { "us-1" }, "metered", "carol"));
    }
    Series::of(&history.build(), 120)
}
