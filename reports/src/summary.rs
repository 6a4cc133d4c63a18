//! How is a run said in words? Headline, totals, denominator, numbers, reasons: one place, so that
//! the terminal, the pages and the files never say different things of one run.

use crate::text::plain;
use gatecrash_model::run_record::{ClaimRecord, RunRecord, RunResult};
use gatecrash_model::verdict::{Declared, EventRef, Number, Observed, Standing, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

/// All standings, in the order in which a reader wants to hear of them.
pub const STANDINGS: [Standing; 6] = [
    Standing::Fail,
    Standing::Inconclusive,
    Standing::Pass,
    Standing::LimitConfirmed,
    Standing::Stricter,
    Standing::NotApplicable,
];

/// How many claims have which standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Declared to hold, and held.
    pub pass: u32,
    /// Declared to hold, and broken.
    pub fail: u32,
    /// Documented limits that were seen and measured.
    pub limit_confirmed: u32,
    /// Documented limits that were not seen.
    pub stricter: u32,
    /// Nothing can be said.
    pub inconclusive: u32,
    /// Not about this product, deployment or runtime.
    pub not_applicable: u32,
    /// Judged claims with a timing within 10 % of its limit.
    pub marginal: u32,
}

impl Totals {
    /// The totals of these claims.
    #[must_use]
    pub fn of(claims: &[ClaimRecord]) -> Self {
        let mut totals = Self::default();
        for claim in claims {
            let slot = match claim.standing {
                Standing::Pass => &mut totals.pass,
                Standing::Fail => &mut totals.fail,
                Standing::LimitConfirmed => &mut totals.limit_confirmed,
                Standing::Stricter => &mut totals.stricter,
                Standing::Inconclusive => &mut totals.inconclusive,
                Standing::NotApplicable => &mut totals.not_applicable,
            };
            *slot = slot.saturating_add(1);
            if is_marginal(claim) {
                totals.marginal = totals.marginal.saturating_add(1);
            }
        }
        totals
    }

    /// How many claims stand so.
    #[must_use]
    pub fn count(&self, standing: Standing) -> u32 {
        match standing {
            Standing::Pass => self.pass,
            Standing::Fail => self.fail,
            Standing::LimitConfirmed => self.limit_confirmed,
            Standing::Stricter => self.stricter,
            Standing::Inconclusive => self.inconclusive,
            Standing::NotApplicable => self.not_applicable,
        }
    }

    /// `2 fail, 15 pass, 3 limit-confirmed`: what is not there is not said.
    #[must_use]
    pub fn sentence(&self) -> String {
        let said: Vec<String> = STANDINGS
            .iter()
            .filter(|standing| self.count(**standing) > 0)
            .map(|standing| format!("{} {}", self.count(*standing), standing.as_str()))
            .collect();
        if said.is_empty() { "no claims".to_owned() } else { said.join(", ") }
    }
}

/// The one sentence for a manager.
#[must_use]
pub fn headline(record: &RunRecord) -> String {
    let totals = Totals::of(&record.claims);
    let judged = record.denominator.judged;
    match record.result {
        RunResult::Certified => {
            format!("Certified: {} as `{}` declares.", all_stand(judged), plain(&record.profile))
        }
        RunResult::AsDeclaredScaled => format!(
            "As declared at scale {}: not a certificate. {} as `{}` declares; only scale 1 certifies.",
            amount(record.scale),
            capital(&all_stand(judged)),
            plain(&record.profile)
        ),
        RunResult::NotCertified => format!(
            "Not certified: {} of {} {} broken ({}).",
            totals.fail,
            counted(judged, "judged claim"),
            if totals.fail == 1 { "is" } else { "are" },
            ids(record, Standing::Fail)
        ),
        RunResult::Inconclusive => format!("Inconclusive: {}.", doubts(record, &totals).join("; ")),
    }
}

fn all_stand(judged: u32) -> String {
    if judged == 1 { "the 1 judged claim stands".to_owned() } else { format!("all {judged} judged claims stand") }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// Why a run without a broken claim is no certificate.
fn doubts(record: &RunRecord, totals: &Totals) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(why) = &record.cut_short {
        doubts.push(format!("the run was cut short ({})", plain(why)));
    }
    let judged = record.denominator.judged;
    if judged == 0 {
        doubts.push("nothing was judged".to_owned());
    } else if judged < record.minimum_judged {
        let only = counted(judged, "claim");
        let was = if judged == 1 { "was" } else { "were" };
        doubts.push(format!("only {only} {was} judged, the profile needs {}", record.minimum_judged));
    }
    if totals.inconclusive > 0 {
        doubts.push(format!(
            "{} of {} could not be judged ({})",
            totals.inconclusive,
            counted(record.denominator.applicable, "applicable claim"),
            ids(record, Standing::Inconclusive)
        ));
    }
    if doubts.is_empty() {
        doubts.push("too little is known".to_owned());
    }
    doubts
}

/// Ids of the claims that stand so: the first six, and how many more.
fn ids(record: &RunRecord, standing: Standing) -> String {
    let ids: Vec<String> =
        record.claims.iter().filter(|claim| claim.standing == standing).map(|claim| plain(claim.id.as_str())).collect();
    let shown = ids.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
    if ids.len() > 6 { format!("{shown} and {} more", ids.len() - 6) } else { shown }
}

/// `18 judged of 20 applicable of 23 claims`.
#[must_use]
pub fn denominator(record: &RunRecord) -> String {
    let all = record.denominator;
    format!("{} judged of {} applicable of {}", all.judged, all.applicable, counted(all.all, "claim"))
}

/// `1 claim`, `2 claims`.
#[must_use]
pub fn counted(count: u32, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// A value as people write it: whole if it is whole, else about three digits. Not finite: `unbounded`.
#[must_use]
pub fn amount(value: f64) -> String {
    if !value.is_finite() {
        return "unbounded".to_owned();
    }
    let digits = match value.abs() {
        size if (size - size.round()).abs() < 1e-9 || size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 3,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value with its unit: `812 ms`, `1.8x`, `12 requests`.
#[must_use]
pub fn measured(value: f64, unit: &str) -> String {
    let value = amount(value);
    match unit {
        "" => value,
        "x" => format!("{value}x"),
        unit => format!("{value} {}", plain(unit)),
    }
}

/// A number with its name and limit: `last accept after revoke 812 ms (limit 1000 ms)`.
#[must_use]
pub fn number(number: &Number) -> String {
    let mut text = format!("{} {}", plain(&number.name), measured(number.value, &number.unit));
    if let Some(limit) = number.limit {
        text.push_str(" (limit ");
        text.push_str(&measured(limit, &number.unit));
        if number.marginal {
            text.push_str(", marginal");
        }
        text.push(')');
    }
    text
}

/// The number that decided a claim; for a claim without numbers, how much was looked at or why nothing can be said.
#[must_use]
pub fn decided_by(claim: &ClaimRecord) -> String {
    if let Some(first) = claim.verdict.numbers().first() {
        return number(first);
    }
    match &claim.verdict {
        Verdict::Holds(evidence) => format!("{} observations", evidence.samples),
        Verdict::Violated(counterexample) => format!("{} observations", counterexample.samples),
        Verdict::Inconclusive(reason) | Verdict::NotApplicable(reason) => plain(&reason.code),
    }
}

/// Whether a judged claim has a timing within 10 % of its limit.
#[must_use]
pub fn is_marginal(claim: &ClaimRecord) -> bool {
    claim.standing.is_judged() && claim.verdict.numbers().iter().any(|number| number.marginal)
}

/// The claims of which arithmetic over the topology said something before anything ran.
pub(crate) fn predicted(record: &RunRecord) -> impl Iterator<Item = &ClaimRecord> {
    record.claims.iter().filter(|claim| claim.predicted.is_some())
}

/// What was predicted of a claim, and where it stands.
#[must_use]
pub(crate) fn prediction(claim: &ClaimRecord) -> String {
    format!("{}; it stands: {}", claim.predicted.as_deref().unwrap_or_default(), claim.standing.as_str())
}

/// The claim's verdict in one or two plain sentences, without its numbers.
#[must_use]
pub fn explanation(claim: &ClaimRecord) -> String {
    match &claim.verdict {
        Verdict::Holds(evidence) => {
            let mut text = format!("{} observations, none of them against it.", evidence.samples);
            if claim.standing == Standing::Stricter {
                text.push_str(" The profile documents a limit here; none was seen.");
            }
            text
        }
        Verdict::Violated(counterexample) => plain(&counterexample.explanation),
        Verdict::Inconclusive(reason) | Verdict::NotApplicable(reason) => {
            let because = plain(&reason.text);
            if claim.declared == Declared::NotApplicable && because.is_empty() {
                return plain(&claim.declared_source);
            }
            because
        }
    }
}

/// Why a claim does not apply: the profile's reason if it declares so, else what is missing.
#[must_use]
pub fn not_applicable_because(claim: &ClaimRecord) -> String {
    if claim.declared == Declared::NotApplicable && !claim.declared_source.is_empty() {
        return plain(&claim.declared_source);
    }
    match &claim.verdict {
        Verdict::NotApplicable(reason) | Verdict::Inconclusive(reason) => plain(&reason.text),
        Verdict::Holds(_) | Verdict::Violated(_) => "the profile declares it not applicable".to_owned(),
    }
}

/// `quota events 5121, 5377; restart event 17`, grouped by experiment. Empty if there are none.
#[must_use]
pub fn events(events: &[EventRef]) -> String {
    let mut groups: Vec<(&str, Vec<u64>)> = Vec::new();
    for event in events {
        match groups.iter_mut().find(|(name, _)| *name == event.experiment) {
            Some((_, numbers)) => numbers.push(event.event),
            None => groups.push((&event.experiment, vec![event.event])),
        }
    }
    let said: Vec<String> = groups
        .iter()
        .map(|(name, numbers)| {
            let word = if numbers.len() == 1 { "event" } else { "events" };
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            format!("{} {word} {}", plain(name), numbers.join(", "))
        })
        .collect();
    said.join("; ")
}

/// The word of a declaration, as profiles write it.
#[must_use]
pub fn declared(declared: Declared) -> &'static str {
    match declared {
        Declared::Holds => "holds",
        Declared::DoesNotHold => "does-not-hold",
        Declared::NotApplicable => "not-applicable",
    }
}

/// The word of an observation.
#[must_use]
pub fn observed(observed: Observed) -> &'static str {
    match observed {
        Observed::Holds => "holds",
        Observed::Violated => "violated",
        Observed::Inconclusive => "inconclusive",
        Observed::NotApplicable => "not-applicable",
    }
}

/// What a standing means, in half a sentence.
#[must_use]
pub fn meaning(standing: Standing) -> &'static str {
    match standing {
        Standing::Pass => "declared to hold, and held",
        Standing::Fail => "declared to hold, and broken",
        Standing::LimitConfirmed => "a documented limit, seen and measured",
        Standing::Stricter => "a documented limit that was not seen",
        Standing::Inconclusive => "nothing can be said",
        Standing::NotApplicable => "not about this product, deployment or runtime",
    }
}

/// Wall time, the sum of the times of all experiments, and the second over the first: how much was done side by side.
#[must_use]
pub fn times(record: &RunRecord) -> String {
    let (wall, sum) = (span(record.wall_ms), span(record.experiments_ms));
    if record.wall_ms == 0 {
        return format!("{wall} wall for {sum} of experiments");
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    let ratio = record.experiments_ms as f64 / record.wall_ms as f64;
    format!("{wall} wall for {sum} of experiments ({ratio:.1} times the wall time)")
}

/// A time span as people say it: `840 ms`, `12.3 s`, `4 min 07 s`.
#[must_use]
pub fn span(ms: u64) -> String {
    if ms < 1000 {
        format!("{ms} ms")
    } else if ms < 60_000 {
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    } else {
        format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1000)
    }
}

/// The family's name in words; the three letters themselves if it is not known here.
#[must_use]
pub fn family(letters: &str) -> &str {
    match letters {
        "TOK" => "tokens",
        "QUO" => "quota",
        "CAC" => "cache",
        "CFG" => "configuration",
        "CON" => "contracts",
        "AVL" => "availability",
        "BAL" => "balance",
        "OVL" => "overload",
        "SCL" => "scaling",
        "PAR" => "partitions",
        "LAT" => "latency",
        "DRN" => "drain",
        "SEC" => "security",
        "ANA" => "analytics",
        other => other,
    }
}
