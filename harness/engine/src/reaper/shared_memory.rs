//! What a process leaves in shared memory that was killed before it could remove it.
//!
//! libfaketime, which puts the clock of a gateway off, makes two objects that are named by the process id, and removes them in its destructor: after
//! SIGKILL they would stay until the machine starts again.

use std::path::Path;

/// Where the system keeps shared memory and semaphores.
const SHARED: &str = "/dev/shm";

/// Names of what the process `pid` may have left.
fn names(pid: u32) -> [String; 2] {
    [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")]
}

/// Removes what the process `pid` left, which has ended or is ending; nothing is left by most.
pub(crate) fn remove(pid: u32) {
    remove_in(Path::new(SHARED), pid);
}

fn remove_in(shared: &Path, pid: u32) {
    for name in names(pid) {
        // Not there: it left nothing. Anything else will be there for who removes the next process of this number.
        let _gone = std::fs::remove_file(shared.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::{names, remove_in};

    #[test]
    fn what_one_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in names(70).into_iter().chain(names(7)) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_in(folder.path(), 7);
        let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, names(70).map(std::ffi::OsString::from));
        remove_in(folder.path(), 7);
    }
}
