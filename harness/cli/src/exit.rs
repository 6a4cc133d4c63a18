//! What does the exit code of `gatecrash` mean? All of them, and which one wins.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | everything as declared |
//! | 1 | a claim that is declared to hold was broken |
//! | 2 | inconclusive, or nothing was judged |
//! | 3 | preflight: something that a run needs is not there, nothing was started |
//! | 64 | wrong usage or bad input |
//! | 70 | our own fault, a full disk included |
//! | 130 | interrupted |
//!
//! Where several apply: 70, 130, 3, 1, 2. `make` turns every failure into its own 2.

use gatecrash_model::run_record::{RunRecord, RunResult};
use std::process::ExitCode;

/// How a command ended. Ordered: of two, the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 0: everything as declared, or the command did what was asked.
    AsDeclared,
    /// 2: inconclusive, or nothing was judged.
    Inconclusive,
    /// 1: a claim failed.
    Failed,
    /// 3: something that a run needs is not there.
    Preflight,
    /// 130: interrupted.
    Interrupted,
    /// 70: our own fault.
    Fault,
    /// 64: wrong usage or bad input; nothing else can have happened.
    Usage,
}

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::AsDeclared => 0,
            Self::Failed => 1,
            Self::Inconclusive => 2,
            Self::Preflight => 3,
            Self::Usage => 64,
            Self::Fault => 70,
            Self::Interrupted => 130,
        }
    }

    /// What follows from a run: its result, and why it was cut short if it was.
    #[must_use]
    pub fn of(record: &RunRecord) -> Self {
        after(record.result, record.cut_short.as_deref())
    }
}

fn after(result: RunResult, cut_short: Option<&str>) -> Exit {
    let result = match result {
        RunResult::Certified | RunResult::AsDeclaredScaled => Exit::AsDeclared,
        RunResult::NotCertified => Exit::Failed,
        RunResult::Inconclusive => Exit::Inconclusive,
    };
    let cut = match cut_short {
        None => Exit::AsDeclared,
        Some(RunRecord::INTERRUPTED) => Exit::Interrupted,
        Some(_) => Exit::Fault,
    };
    result.max(cut)
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, after};
    use crate::Error;
    use gatecrash_model::run_record::RunResult;
    use gatecrash_suites::certify::CertifyError;

    #[test]
    fn the_precedence_is_70_130_3_1_2() {
        let mut all =
            [Exit::Failed, Exit::Interrupted, Exit::AsDeclared, Exit::Fault, Exit::Inconclusive, Exit::Preflight];
        all.sort_by(|left, right| right.cmp(left));
        assert_eq!(all.map(Exit::code), [70, 130, 3, 1, 2, 0]);
    }

    #[test]
    fn what_cut_a_run_short_is_told_before_what_it_found() {
        for (result, whole) in [
            (RunResult::Certified, 0),
            (RunResult::AsDeclaredScaled, 0),
            (RunResult::NotCertified, 1),
            (RunResult::Inconclusive, 2),
        ] {
            assert_eq!(after(result, None).code(), whole);
            assert_eq!(after(result, Some("interrupted")).code(), 130);
            assert_eq!(after(result, Some("disk-full")).code(), 70);
        }
    }

    #[test]
    fn what_kept_a_run_from_a_record_has_a_code() {
        let code = |error: CertifyError| Error::from(error).exit().code();
        assert_eq!(code(CertifyError::Preflight(String::new())), 3);
        assert_eq!(code(CertifyError::Disk(String::new())), 70);
        assert_eq!(code(CertifyError::Harness(String::new())), 70);
    }

    #[test]
    fn usage_is_64() {
        assert_eq!(Exit::Usage.code(), 64);
    }
}
