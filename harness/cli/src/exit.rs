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
        let result = match record.result {
            RunResult::Certified | RunResult::AsDeclaredScaled => Self::AsDeclared,
            RunResult::NotCertified => Self::Failed,
            RunResult::Inconclusive => Self::Inconclusive,
        };
        let cut = match record.cut_short.as_deref() {
            None => Self::AsDeclared,
            Some("interrupted") => Self::Interrupted,
            Some(_) => Self::Fault,
        };
        result.max(cut)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_precedence_is_70_130_3_1_2() {
        let mut all =
            [Exit::Failed, Exit::Interrupted, Exit::AsDeclared, Exit::Fault, Exit::Inconclusive, Exit::Preflight];
        all.sort_by(|left, right| right.cmp(left));
        assert_eq!(all.map(Exit::code), [70, 130, 3, 1, 2, 0]);
    }

    #[test]
    fn usage_is_64() {
        assert_eq!(Exit::Usage.code(), 64);
    }
}
