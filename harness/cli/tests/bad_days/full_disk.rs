//! The disk is full while a history is recorded: said, healed, removed, exit 70.

use crate::watch::{BINARY, Place, Running};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a run may take until it sees that its disk is full and has ended.
const END_WITHIN: Duration = Duration::from_secs(60);
/// What is run there: its histories have several megabytes.
const RUN: &str = "certify flex-managed --runtime process --seed 7 --only QUO-01 --only CFG-01 --out disk/out";

/// Without any right: the limit of the shell for the size of a file.
pub(crate) fn a_file_that_may_not_grow() {
    let place = Place::new();
    let mut command = place.command("/bin/sh");
    // 200 blocks are 100 or 200 KiB, by the shell.
    command.args(["-c", &format!("ulimit -f 200; exec \"$0\" {RUN}"), BINARY]);
    let mut running = Running::start(command);
    ends_with_70(&mut running, &place, "File too large");
}

/// Why no disk can be filled here; `None` if one can: a small one, in a mount namespace of its own.
pub(crate) fn namespaces_missing() -> Option<String> {
    let tried = unshare("mount -t tmpfs -o size=64k none /mnt").stdin(Stdio::null()).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(format!("no disk of its own: {}", said.lines().next().unwrap_or("unshare failed")))
        }
        Err(error) => Some(format!("no disk of its own: unshare: {error}")),
    }
}

/// A shell that may mount: root's own, or a user's who is root in a namespace.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    command.args(if is_root { &["-m"][..] } else { &["-U", "-r", "-m"] });
    command.args(["--", "/bin/sh", "-c", script, BINARY]);
    command
}

pub(crate) fn no_space_left() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("disk")).expect("a folder");
    // What is on that disk is gone with its namespace: it is listed before.
    let script = format!(
        "mount -t tmpfs -o size=1m none disk && \"$0\" {RUN}; code=$?; find disk/out -path '*/work*' > left; df disk > df; exit $code"
    );
    let mut command = unshare(&script);
    command.current_dir(place.path()).env("TMPDIR", place.path().join("tmp")).stdin(Stdio::null());
    let mut running = Running::start(command);
    ends_with_70(&mut running, &place, "No space left on device");
    assert_eq!(std::fs::read_to_string(place.path().join("left")).expect("a listing"), "", "left on the full disk");
}

fn ends_with_70(running: &mut Running, place: &Place, words: &str) {
    let status = running.wait(END_WITHIN);
    let said = running.said();
    assert_eq!(status.code(), Some(70), "{said}");
    assert!(said.contains("the run could not be saved: experiment `"), "{said}");
    assert!(said.contains("history-") && said.contains(words) && said.contains("--out"), "{said}");
    assert_eq!(place.processes(), Vec::<String>::new());
    assert_eq!(place.temporary(), Vec::<PathBuf>::new());
}
