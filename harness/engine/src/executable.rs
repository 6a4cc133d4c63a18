//! Which executable can act as a fixture, and where programs are found.

use std::path::{Path, PathBuf};

/// No executable that can act as a fixture.
#[derive(Debug, thiserror::Error)]
#[error(
    "no `gatecrash` executable that can run fixtures was found; looked at: {looked}\nbuild it with `cargo build -p gatecrash`, or name it in GATECRASH_BIN"
)]
pub struct NoExecutable {
    looked: String,
}

/// What the caller knows about executables; only the command line reads the environment.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// This process' own executable, if its `main` dispatches `fixture`.
    pub own: Option<PathBuf>,
    /// Value of GATECRASH_BIN. If it is given, nothing else is tried: a wrong path is an error, not a hint.
    pub named: Option<PathBuf>,
    /// This process' executable even if it cannot act as a fixture: the search goes on beside it and, for
    /// test executables in `target/PROFILE/deps`, in the folder above.
    pub beside: Option<PathBuf>,
    /// Folder with `debug` and `release` (usually `target` of the workspace).
    pub target: Option<PathBuf>,
    /// Value of PATH.
    pub path: Option<std::ffi::OsString>,
}

/// The executable that is started as `EXECUTABLE fixture ROLE --config FILE`: the own one, else the named one, else
/// beside the running one, else in the target folder (the newer of debug and release), else on PATH.
///
/// # Errors
/// [`NoExecutable`] with the places looked at and the command that builds one.
pub fn find(candidates: &Candidates) -> Result<PathBuf, NoExecutable> {
    if let Some(own) = &candidates.own {
        return Ok(own.clone());
    }
    let mut looked = Vec::new();
    if let Some(named) = &candidates.named {
        if is_executable(named) {
            return Ok(named.clone());
        }
        return Err(NoExecutable {
            looked: format!("GATECRASH_BIN `{}`, which is no executable file", named.display()),
        });
    }
    if let Some(folder) = candidates.beside.as_deref().and_then(Path::parent) {
        let mut folders = vec![folder];
        if folder.file_name().is_some_and(|name| name == "deps" || name == "examples") {
            folders.extend(folder.parent());
        }
        for folder in folders {
            let beside = folder.join("gatecrash");
            if is_executable(&beside) {
                return Ok(beside);
            }
            looked.push(beside.display().to_string());
        }
    }
    if let Some(target) = &candidates.target {
        let both = [target.join("debug/gatecrash"), target.join("release/gatecrash")];
        looked.extend(both.iter().map(|place| place.display().to_string()));
        let newest = both.into_iter().filter(|place| is_executable(place)).max_by_key(|place| {
            std::fs::metadata(place).and_then(|found| found.modified()).unwrap_or(std::time::UNIX_EPOCH)
        });
        if let Some(newest) = newest {
            return Ok(newest);
        }
    }
    if let Some(found) = candidates.path.as_deref().and_then(|path| on_path("gatecrash", path)) {
        return Ok(found);
    }
    looked.push("PATH".to_owned());
    Err(NoExecutable { looked: looked.join(", ") })
}

/// The file called `program` in one of the folders of `path`, or `program` itself if it has a slash, absolute: whoever starts
/// it may do so from another folder. `None` if no executable file is there.
#[must_use]
pub fn on_path(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        let itself = std::path::absolute(program).ok()?;
        return is_executable(&itself).then_some(itself);
    }
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|place| is_executable(place))
}

/// Folders in which programs are looked for: PATH, and where distributions keep daemons.
#[must_use]
pub fn search_path() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
    path
}

fn is_executable(place: &Path) -> bool {
    place.is_file() && rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn executable(place: &Path) {
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, "").unwrap();
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_test_executable_finds_the_binary_in_the_folder_above_deps() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let candidates = Candidates {
            beside: Some(target.join("debug/deps/some-test")),
            target: Some(target.clone()),
            ..Candidates::default()
        };
        let error = find(&candidates).unwrap_err().to_string();
        assert!(error.contains("cargo build -p gatecrash"), "{error}");
        assert!(error.contains("debug/deps/gatecrash"), "{error}");
        executable(&target.join("release/gatecrash"));
        assert_eq!(find(&candidates).unwrap(), target.join("release/gatecrash"));
        executable(&target.join("debug/gatecrash"));
        assert_eq!(find(&candidates).unwrap(), target.join("debug/gatecrash"));
    }

    #[test]
    fn a_wrong_name_is_an_error_not_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        executable(&folder.path().join("gatecrash"));
        let candidates = Candidates {
            named: Some(folder.path().join("nothing")),
            beside: Some(folder.path().join("test")),
            ..Candidates::default()
        };
        assert!(find(&candidates).unwrap_err().to_string().contains("GATECRASH_BIN"));
    }

    #[test]
    fn a_file_that_may_not_be_run_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        assert_eq!(on_path("tool", folder.path().as_os_str()), None);
        executable(&folder.path().join("tool"));
        assert_eq!(on_path("tool", folder.path().as_os_str()), Some(folder.path().join("tool")));
    }
}
