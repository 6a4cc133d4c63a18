//! Why could a command not do what was asked, and what exit code is that?

use crate::exit::Exit;
use gatecrash_suites::certify::{CertifyError, CheckError};

/// What kept a command from its result. A broken claim is no error: it is in the run record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the user wrote is wrong: a file with its place, a name with the known ones. Exit 64.
    #[error("{0}")]
    Input(String),
    /// Something that a run needs is not there; nothing was certified. Exit 3.
    #[error("{0}")]
    Preflight(String),
    /// Our own fault, a full disk included. Exit 70.
    #[error("{0}")]
    Fault(String),
}

impl Error {
    /// Its exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::Usage,
            Self::Preflight(_) => Exit::Preflight,
            Self::Fault(_) => Exit::Fault,
        }
    }

    /// Our fault while `doing` something.
    pub(crate) fn fault(doing: &str, error: &dyn std::error::Error) -> Self {
        Self::Fault(format!("{doing}: {}", chain(error)))
    }
}

impl From<CertifyError> for Error {
    fn from(error: CertifyError) -> Self {
        match error {
            CertifyError::Preflight(what) => Self::Preflight(what),
            CertifyError::Disk(what) => Self::Fault(format!(
                "the run could not be saved: {what}\neverything was healed and removed; free space, or name another folder with `--out`"
            )),
            CertifyError::Harness(what) => Self::Fault(what),
        }
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        Self::Input(chain(&error))
    }
}

/// An error and its sources, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Some errors print their source themselves.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
