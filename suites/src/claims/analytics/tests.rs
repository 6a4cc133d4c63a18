use super::{BLACKHOLE, CLAIMS, EXPERIMENT, LOST, REFUSE, SITE, SLOW};
use crate::claims::sample::{anything, doubt_never_accuses, doubted_effects_never_accuse, explanation, judge, reason};
use gatecrash_model::Verdict;
use gatecrash_model::history::FaultStage;
use gatecrash_model::history::build::{HistoryBuilder, call};
use gatecrash_model::history::event::mark;
use gatecrash_model::verdict::Observed;
use proptest::prelude::*;

/// A call as the story has it.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ms: u64,
    site: &'static str,
    /// Number among the calls of its outage, and how many these are; `None` outside.
    outage: Option<(u64, u64)>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// How long it takes; 0: it fails.
    takes_ms: u64,
    /// After so long analytics of the own site record it; `None`: never. In an outage, from when they are back.
    recorded: Option<u64>,
    /// The same analytics record it again.
    again: bool,
    /// Those of the other site record it.
    strange: bool,
}

const FINE: Fate = Fate { takes_ms: 1, recorded: Some(200), again: false, strange: false };

/// What the sample deployment has.
const BUFFER: u64 = 100;
const BATCH: u64 = 20;

/// The conforming gateway: in an outage it keeps the batch under way and the youngest.
fn conforming(asked: Asked) -> Fate {
    match asked.outage {
        Some((number, all)) if number >= BATCH && number.saturating_add(BUFFER) < all => {
            Fate { recorded: None, ..FINE }
        }
        Some((number, _)) => Fate { recorded: Some(number), ..FINE },
        None => FINE,
    }
}

/// A call each 100 ms at `eu-1` and at `us-1`. 20 s steady; three outages of `eu-analytics`, 20.5 s each; then `eu` is lost for 20 s.
fn story(fate: impl Fn(Asked) -> Fate) -> HistoryBuilder {
    let mut history = HistoryBuilder::new(EXPERIMENT);
    history.at_ms(0).phase("steady", "").mark(mark::MEMORY_KIB, "eu-1", 8 * 1024);
    history.at_ms(19_000).mark(LOST, "eu", 0);
    // From when analytics are away until calls are told of again, ms.
    let mut outages = Vec::new();
    for (from, variant) in [(20_000, REFUSE), (60_000, BLACKHOLE), (100_000, SLOW)] {
        history.at_ms(from).phase("inject", variant);
        history.proven_fault(variant, "eu-1->eu-analytics", from + 10, from + 20_100);
        history.at_ms(from + 100).phase("hold", variant);
        history.at_ms(from + 20_090).mark(mark::MEMORY_KIB, "eu-1", 9 * 1024).phase("heal", variant);
        history.at_ms(from + 21_000).phase("settle", variant);
        history.at_ms(from + 26_000).phase("rest", "");
        outages.push((from + 10, from + 20_500));
    }
    history.at_ms(140_000).phase("inject", SITE);
    history.proven_fault("blackhole", "eu-1->eu-analytics", 140_010, 160_100);
    history.at_ms(140_100).phase("hold", SITE).at_ms(160_090).phase("heal", SITE);
    history.at_ms(161_000).phase("settle", SITE).at_ms(166_000).phase("end", "");
    history.at_ms(240_000).mark("waited", "", 0);
    for ms in (0..166_000).step_by(100) {
        for site in ["eu", "us"] {
            if site == "eu" && (140_000..161_000).contains(&ms) {
                continue;
            }
            // What was sent shortly before is not recorded yet.
            let of = outages.iter().find(|(from, until)| site == "eu" && (from - 200..*until).contains(&ms));
            let outage = of.map(|(from, until)| {
                let first = (from - 200).div_ceil(100) * 100;
                ((ms - first) / 100, (until - first).div_ceil(100))
            });
            let fate = fate(Asked { ms, site, outage });
            let asked = call("traffic", &format!("{site}-1"), "plain", "client-1");
            history.takes_ns = fate.takes_ms.max(1) * 1_000_000;
            history.at_ms(ms);
            let op = if fate.takes_ms == 0 { history.gateway_error(asked, 503) } else { history.ok(asked) };
            let (own, other) = if site == "eu" { ("eu", "us") } else { ("us", "eu") };
            if let Some(after) = fate.recorded {
                let at = of.map_or(ms, |(_, until)| *until) + after;
                history.at_ms(at).recorded(&format!("{own}-analytics"), &format!("{site}-1"), op);
                if fate.again {
                    history.at_ms(at + 1).recorded(&format!("{own}-analytics"), &format!("{site}-1"), op);
                }
            }
            if fate.strange {
                history.at_ms(ms + 200).recorded(&format!("{other}-analytics"), &format!("{site}-1"), op);
            }
        }
    }
    history
}

fn violated(id: &str, fate: impl Fn(Asked) -> Fate, words: &str, number: &str) {
    let verdict = judge(CLAIMS, id, &[&story(fate).build()]);
    assert!(explanation(&verdict).contains(words), "{verdict:?}");
    assert_eq!(verdict.numbers()[0].name, number, "{verdict:?}");
}

#[test]
fn a_gateway_that_keeps_the_youngest_holds_all_but_the_guarantee() {
    let history = story(conforming).build();
    let verdict = judge(CLAIMS, "ANA-01", &[&history]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.samples, 1_600);
    let verdict = judge(CLAIMS, "ANA-02/a", &[&history]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    let value = |name: &str| evidence.numbers.iter().find(|number| number.name == name).map(|number| number.value);
    assert_eq!(value("lost (analytics refuse)"), Some(86.0));
    assert_eq!(value("kept in memory (analytics slow)"), Some(120.0));
    assert_eq!(value("kept although older than a lost one (analytics slow)"), Some(20.0));
    assert_eq!(value("memory that a replica gained"), Some(1.0));
    assert!(evidence.notes.is_empty(), "{evidence:?}");
    violated(
        "ANA-02/b",
        conforming,
        "258 of 618 calls in the outages were never recorded",
        "calls that were never recorded",
    );
}

#[test]
fn each_site_must_record_its_own_calls_once() {
    let lossy = |site: &'static str, from: u64, to: u64| {
        move |asked: Asked| match asked.site == site && (from..to).contains(&asked.ms) {
            true => Fate { recorded: None, ..FINE },
            false => conforming(asked),
        }
    };
    violated("ANA-01", lossy("us", 5_000, 5_100), "`us` did not record 1 of 200", "recorded by `us` (nothing lost)");
    violated(
        "ANA-01",
        lossy("us", 145_000, 150_000),
        "(a whole site lost at another site)",
        "recorded by `us` (a whole site lost at another site)",
    );
    violated(
        "ANA-01",
        lossy("eu", 162_000, 163_000),
        "`eu` did not record 10 of 50",
        "recorded by `eu` (after: a whole site lost)",
    );
    let late = |asked: Asked| match asked.site == "us" && asked.ms == 5_000 {
        true => Fate { recorded: Some(60_200), ..FINE },
        false => conforming(asked),
    };
    violated("ANA-01", late, "within 60.0 s", "recorded by `us` (nothing lost)");
    let again = |asked: Asked| Fate { again: asked.ms.is_multiple_of(5_000), ..conforming(asked) };
    violated("ANA-01", again, "more than once", "recorded again by `eu`");
    let strange = |asked: Asked| Fate { strange: asked.ms == 9_000 && asked.site == "eu", ..conforming(asked) };
    violated("ANA-01", strange, "`us` was told of 1 calls of other", "calls of other sites recorded by `us`");
}

#[test]
fn an_outage_costs_no_request_and_no_latency() {
    let during = |takes_ms: u64| {
        move |asked: Asked| match asked.site == "eu" && (61_000..80_000).contains(&asked.ms) {
            true => Fate { takes_ms, ..conforming(asked) },
            false => conforming(asked),
        }
    };
    violated("ANA-02/a", during(0), "analytics a black hole: 5.", "success (analytics a black hole)");
    violated("ANA-02/a", during(9), "analytics a black hole: p95 was 9.0 ms", "p95 (analytics a black hole)");
    let after = |asked: Asked| match asked.site == "eu" && (121_000..122_000).contains(&asked.ms) {
        true => Fate { takes_ms: 0, ..conforming(asked) },
        false => conforming(asked),
    };
    violated("ANA-02/a", after, "after: analytics slow: ", "success (after: analytics slow)");
}

#[test]
fn what_is_lost_is_bounded_and_the_oldest_and_memory_is_too() {
    let in_outage = |keeps: fn(u64, u64) -> bool| {
        move |asked: Asked| match asked.outage {
            Some((number, all)) => Fate { recorded: keeps(number, all).then_some(number), ..FINE },
            None => conforming(asked),
        }
    };
    violated("ANA-02/a", in_outage(|number, all| number + 50 >= all), "may lose 128", "lost (analytics refuse)");
    violated("ANA-02/a", in_outage(|_, _| true), "kept 206 calls", "kept in memory (analytics refuse)");
    let newest = in_outage(|number, _| number < 110);
    violated("ANA-02/a", newest, "kept 110 that are older", "kept although older than a lost one (analytics refuse)");
    let mut grown = story(conforming);
    grown.at_ms(80_000).mark(mark::MEMORY_KIB, "eu-1", 30 * 1024);
    let verdict = judge(CLAIMS, "ANA-02/a", &[&grown.build()]);
    assert!(explanation(&verdict).contains("`eu-1` grew by 22.0 MiB"), "{verdict:?}");
}

#[test]
fn nothing_that_is_lost_keeps_the_guarantee() {
    let all = |asked: Asked| Fate { recorded: Some(asked.outage.map_or(200, |(number, _)| number)), ..FINE };
    let verdict = judge(CLAIMS, "ANA-02/b", &[&story(all).build()]);
    assert_eq!(verdict.observed(), Observed::Holds, "{verdict:?}");
}

#[test]
fn an_unproven_outage_a_gap_a_late_harness_and_a_buffer_that_was_never_full_show_nothing() {
    let mut unproven = story(conforming);
    unproven.at_ms(70_000).fault(2, FaultStage::NotWitnessed, BLACKHOLE, "eu-1->eu-analytics");
    let unproven = unproven.build();
    for id in ["ANA-01", "ANA-02/a"] {
        assert_eq!(reason(&judge(CLAIMS, id, &[&unproven])).0, "fault-not-proven");
    }
    let mut gap = story(|asked| Fate { recorded: None, ..conforming(asked) });
    gap.at_ms(70_000).gap("eu-analytics");
    let gap = gap.build();
    for claim in CLAIMS {
        assert_eq!(reason(&judge(CLAIMS, claim.id, &[&gap])).0, "gap");
    }
    let mut late = story(|asked| Fate { takes_ms: u64::from(asked.ms / 1_000 != 70), ..conforming(asked) });
    late.at_ms(70_500).late(300_000);
    assert_eq!(reason(&judge(CLAIMS, "ANA-02/a", &[&late.build()])).0, "harness-late");
    let mut few = HistoryBuilder::new(EXPERIMENT);
    few.at_ms(0).phase("steady", "").at_ms(19_000).mark(LOST, "eu", 0);
    few.at_ms(500).ok(call("traffic", "eu-1", "plain", "client-1"));
    assert_eq!(reason(&judge(CLAIMS, "ANA-02/b", &[&few.build()])).0, "too-few-samples");
}

#[test]
fn a_call_that_nobody_waited_for_is_left_open() {
    let mut history = HistoryBuilder::new(EXPERIMENT);
    history.at_ms(0).phase("steady", "");
    for ms in (0..30_000).step_by(100) {
        for site in ["eu", "us"] {
            history.at_ms(ms);
            let op = history.ok(call("traffic", &format!("{site}-1"), "plain", "client-1"));
            if ms != 20_000 {
                history.at_ms(ms + 5).recorded(&format!("{site}-analytics"), &format!("{site}-1"), op);
            }
        }
    }
    let verdict = judge(CLAIMS, "ANA-01", &[&history.build()]);
    assert_eq!(reason(&verdict), ("too-few-samples", "`eu`: 1 calls were not waited for (nothing lost)"));
}

#[test]
fn runtimes_that_see_no_memory_are_told_of() {
    let history = story(conforming).build();
    let events = history.events().iter().filter(|event| {
        !matches!(event.kind, gatecrash_model::history::EventKind::Mark { name, .. } if history.text(name) == mark::MEMORY_KIB)
    });
    let (header, names) = (history.header().clone(), history.names().clone());
    let blind = gatecrash_model::History::new(header, names, events.copied().collect(), true);
    let verdict = judge(CLAIMS, "ANA-02/a", &[&blind]);
    let Verdict::Holds(evidence) = &verdict else { panic!("{verdict:?}") };
    assert_eq!(evidence.notes, ["the runtime did not see how much memory a replica has"]);
}

#[test]
fn doubted_effects_never_accuse_analytics_and_forgotten_answers_none_of_loss() {
    let history = story(conforming).build();
    for claim in CLAIMS {
        doubted_effects_never_accuse(CLAIMS, claim.id, &history);
    }
    let mut short = HistoryBuilder::new(EXPERIMENT);
    short.at_ms(0).phase("steady", "");
    for ms in (0..1_000).step_by(100) {
        short.at_ms(ms);
        let op = short.ok(call("traffic", "eu-1", "plain", "client-1"));
        short.at_ms(ms + 5).recorded("eu-analytics", "eu-1", op);
    }
    doubt_never_accuses(CLAIMS, "ANA-01", &short.build());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn analytics_are_judged_over_anything(history in anything(EXPERIMENT)) {
        for claim in CLAIMS {
            prop_assert_ne!(judge(CLAIMS, claim.id, &[&history]).observed(), Observed::Holds, "60 steps are too few");
        }
    }
}
