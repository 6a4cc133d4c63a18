//! The claims, family by family, as anyone runs them with cargo: the reference gateway with the profile of the product that
//! it stands for, in processes, without containers and without a network; and some claims of each family in containers,
//! where an engine answers.
//!
//! A family passes when every one of its claims was judged and stands as its profile declares: it holds, or the documented
//! limit is confirmed. What could not be judged for the machine's sake is told again with nothing beside it, and fails then, unless other programs keep
//! the machine busy: then a claim may be left open, which is said, and is never wrong. In processes the saved histories are judged once more, as they are and with effects
//! doubted: neither may accuse.

mod certify;
#[path = "../support/doubt.rs"]
mod doubt;
#[path = "../support/left_open.rs"]
mod left_open;
#[path = "../support/pressure.rs"]
mod pressure;
#[path = "../support/room.rs"]
mod room;

use certify::Family;
use gatecrash_engine::reaper;
use gatecrash_engine::runtime::docker::engine;
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

/// Trials side by side where the arguments do not say, if the machine has room for so many: most of the time a trial waits.
const SIDE_BY_SIDE: usize = 4;
/// Of those that others disturb: fewer.
const QUIETLY: usize = 2;
/// In containers, and where milliseconds are compared: what others start keeps the engine, and with it every container, busy.
const ALONE: usize = 1;
/// Milliseconds are compared by all claims of this family: nothing at all runs beside it, and so many of its experiments beside each other, as they begin
/// and end together.
const COMPARES: (&str, usize) = ("comparisons", 3);
/// Families that others disturb in processes, too: counters are judged, and in a stall of 60 ms a store seems lost; and what
/// a site can do at most is found out, or replicas are kept busy.
const DISTURBED: [&str; 4] = ["large", "quota", "latency", "overload"];

/// The families: first those that others disturb, then the longest first. Quotas and revocations are judged over
/// windows of a second and less: those are not made any shorter. In containers only those are told that what containers add may change: shared state,
/// what is kept and downloaded at a start, and addresses; all of the others are by `make certify-all`.
static FAMILIES: [Family; 21] = [
    Family {
        name: "comparisons",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["CFG-01", "LAT-03", "AVL-06", "BAL-03", "ANA-01", "ANA-02/a", "ANA-02/b"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "large",
        deployment: "flex-managed-large",
        scale: 0.1,
        claims: &["SCL-01", "SCL-02", "BAL-01"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "overload",
        deployment: "flex-managed",
        scale: 0.05,
        claims: &["OVL-01", "OVL-02", "OVL-03", "OVL-04"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "quota",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["QUO-01", "QUO-02", "QUO-03", "QUO-04", "QUO-05", "QUO-07", "QUO-08"],
        in_containers: &["QUO-01", "QUO-02", "QUO-03", "QUO-04"],
        needs_redis: false,
    },
    Family {
        name: "latency",
        deployment: "datapower-kubernetes",
        scale: 0.05,
        claims: &["LAT-01", "LAT-02"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "store-failover",
        deployment: "flex-self-managed",
        scale: 0.1,
        claims: &["QUO-06"],
        in_containers: &[],
        needs_redis: true,
    },
    Family {
        name: "peering",
        deployment: "datapower-linux",
        scale: 0.1,
        claims: &["PAR-01", "PAR-02", "PAR-03"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "contracts",
        deployment: "flex-managed",
        scale: 0.05,
        claims: &["CON-01", "CON-02", "CON-03", "CON-04"],
        in_containers: &["CON-01", "CFG-01"],
        needs_redis: false,
    },
    Family {
        name: "availability",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["AVL-01", "AVL-02", "AVL-03"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "losses",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["AVL-04", "AVL-05"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "balance",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["BAL-01", "BAL-02"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "draining",
        deployment: "flex-managed",
        scale: 0.1,
        claims: &["DRN-01", "DRN-02", "DRN-03"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "tokens",
        deployment: "datapower-kubernetes",
        scale: 0.1,
        claims: &["TOK-01", "TOK-02", "TOK-03", "TOK-04", "TOK-06", "TOK-07"],
        in_containers: &["TOK-01", "TOK-02"],
        needs_redis: false,
    },
    Family {
        name: "provider",
        deployment: "flex-managed",
        scale: 0.1,
        claims: &["TOK-05", "TOK-06", "TOK-08"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "cache",
        deployment: "flex-managed",
        scale: 0.1,
        claims: &["CAC-01", "CAC-02", "CAC-03", "CAC-04", "CAC-05"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "configuration",
        deployment: "flex-managed",
        scale: 0.05,
        claims: &["CFG-02/a", "CFG-02/b", "CFG-02/c", "CFG-03", "CFG-04", "CFG-05", "CFG-06"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "long-outage",
        deployment: "flex-managed",
        scale: 0.05,
        claims: &["CFG-07"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "scaling",
        deployment: "flex-managed",
        scale: 0.1,
        claims: &["SCL-02", "SCL-03"],
        in_containers: &[],
        needs_redis: false,
    },
    // The other layouts of the three systems, each by what it is there for.
    Family {
        name: "multicloud",
        deployment: "datapower-multicloud",
        scale: 0.1,
        claims: &["TOK-01", "QUO-03", "QUO-04"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "three-sites",
        deployment: "datapower-linux-three-sites",
        scale: 0.05,
        claims: &["PAR-02", "PAR-03"],
        in_containers: &[],
        needs_redis: false,
    },
    Family {
        name: "security",
        deployment: "flex-self-managed",
        scale: 0.1,
        // Alone it would read every experiment that there is: these are its starts, and its downloads.
        claims: &["SEC-01", "SEC-02", "CON-01", "CON-03", "TOK-01"],
        in_containers: &["SEC-01", "CON-01"],
        needs_redis: false,
    },
];

#[expect(clippy::print_stderr, reason = "a test program with a main of its own")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let ["fixture", "reaper"] =
        words.get(1..3).unwrap_or_default().iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        return reaper::main(words.get(3..).unwrap_or_default());
    }
    if let Some(code) = gatecrash_fixtures::dispatch::as_fixture(std::env::args_os()) {
        return code;
    }
    let arguments = Arguments::from_args();
    let missing = match certify::executor() {
        Ok(executor) => executor.block_on(engine::connect()).err().map(|why| why.to_string()),
        Err(why) => Some(why.to_string()),
    };
    if let Some(why) = &missing {
        eprintln!("the claims are not tried in containers: {why}");
    }
    let without_redis = certify::lacks_redis();
    if let Some(why) = &without_redis {
        eprintln!("the claims that only a real Redis shows are not tried in processes: {why}");
    }
    let in_processes = |family: &'static Family| {
        let trial = Trial::test(format!("process::{}", family.name), move || {
            let at_once = if family.name == COMPARES.0 { COMPARES.1 } else { 1 };
            certify::in_processes(family, at_once)
        });
        let skipped = family.needs_redis && without_redis.is_some();
        trial.with_kind(if skipped { "no real Redis" } else { "" }).with_ignored_flag(skipped)
    };
    let kind = if missing.is_some() { "no engine answers" } else { "" };
    let in_containers = |family: &'static Family| {
        let trial = Trial::test(format!("docker::{}", family.name), move || certify::in_containers(family));
        trial.with_kind(kind).with_ignored_flag(missing.is_some())
    };
    let (compare, others): (Vec<_>, Vec<_>) = FAMILIES.iter().partition(|family| family.name == COMPARES.0);
    let (disturbed, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|family| DISTURBED.contains(&family.name));
    let contained = FAMILIES.iter().filter(|family| !family.in_containers.is_empty());
    let groups: [(usize, Vec<Trial>); 4] = [
        (ALONE, compare.into_iter().map(in_processes).collect()),
        (QUIETLY, disturbed.into_iter().map(in_processes).collect()),
        (SIDE_BY_SIDE, others.into_iter().map(in_processes).collect()),
        (ALONE, contained.map(in_containers).collect()),
    ];
    if room::run(&arguments, groups) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
