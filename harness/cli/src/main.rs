//! The binary: a fixture if it is asked for one (before anything else is set up, so that fixtures start within
//! milliseconds), else the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    gatecrash::as_fixture(std::env::args_os()).unwrap_or_else(gatecrash::command_line)
}
