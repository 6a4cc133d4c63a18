//! May a test leave a claim open? Only for what the machine can be the reason of, and in the end only where the kernel says that it was busy.

use crate::pressure::Pressure;
use gatecrash_model::Verdict;

/// Why a claim may be left open for the machine's sake: too little was seen, too late, or on a machine that was not the same throughout; or a
/// replica that nobody had hurt answered its probes too late.
const FOR_THE_MACHINE: [&str; 6] =
    ["machine-busy", "harness-late", "no-steady-state", "too-few-samples", "platform-acted", "replica-out"];

/// Whether `verdict` is left open for the machine's sake.
pub(crate) fn is_for_the_machine(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Inconclusive(reason) if FOR_THE_MACHINE.contains(&reason.code.as_str()))
}

/// Whether `verdict` is left open for the machine's sake, and the machine was busy; then says so.
#[expect(clippy::print_stderr, reason = "test programs with a main of their own")]
pub(crate) fn left_open(claim: &str, verdict: &Verdict, pressure: &Pressure) -> bool {
    let Verdict::Inconclusive(reason) = verdict else { return false };
    let Some(free) = pressure.free_if_busy().filter(|_| is_for_the_machine(verdict)) else { return false };
    let (free, code, text) = (free * 100.0, &reason.code, &reason.text);
    eprintln!("{claim} is LEFT OPEN, {free:.0} % of the machine's time was free: {code}: {text}");
    true
}
