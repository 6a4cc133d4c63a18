//! The folders of a component on the host, the same in every runtime: `<work>/<name>/{files,disk}` and `<folder>/<name>.log`.
//!
//! What components are told and what they keep holds secrets and tokens: the work folder goes with the lab, and the reaper and
//! `sweep` remove that of a killed run. Logs stay.

use super::{Network, RuntimeError};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folder below that of a run in which components' files and disks live while it runs.
pub const WORK: &str = "work";

/// How often the removal of a folder is tried again while somebody still writes into it.
const REMOVAL_ROUNDS: u32 = 10;

/// Makes the folders of a lab below that of its run: the one that stays and the work folder, both as absolute paths.
///
/// # Errors
/// [`RuntimeError::Failed`] with the path.
pub fn of_lab(run: &Path, lab: &str) -> Result<(PathBuf, PathBuf), RuntimeError> {
    let make = |folder: PathBuf| {
        std::fs::create_dir_all(&folder)
            .map_err(|source| failed(format!("creating `{}`", folder.display()), source))?;
        // Components run elsewhere, and an engine mounts absolute paths only.
        std::fs::canonicalize(&folder).map_err(|source| failed(format!("resolving `{}`", folder.display()), source))
    };
    Ok((make(run.join(lab))?, make(run.join(WORK).join(lab))?))
}

/// Removes the work folder of a lab; one that is gone is no error.
///
/// # Errors
/// [`RuntimeError::Failed`] with the path.
pub async fn remove_work(network: &Network) -> Result<(), RuntimeError> {
    let doing = || format!("removing `{}`", network.work.display());
    let mut round = 0;
    loop {
        let work = network.work.clone();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(work)).await;
        match removed.map_err(|source| failed(doing(), source))? {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            // A child of a killed component may write one last file.
            Err(source) if source.kind() == std::io::ErrorKind::DirectoryNotEmpty && round < REMOVAL_ROUNDS => {
                round += 1;
                crate::clock::sleep(Duration::from_millis(20)).await;
            }
            other => return other.map_err(|source| failed(doing(), source)),
        }
    }
}

/// Where the files of `name` are on the host.
#[must_use]
pub fn files(network: &Network, name: &str) -> PathBuf {
    network.work.join(name).join("files")
}

/// Where the local disk of `name` is on the host.
#[must_use]
pub fn disk(network: &Network, name: &str) -> PathBuf {
    network.work.join(name).join("disk")
}

/// Where stdout and stderr of `name` are on the host.
#[must_use]
pub fn log(network: &Network, name: &str) -> PathBuf {
    network.folder.join(format!("{name}.log"))
}

/// Makes the folders and writes the files anew: what an earlier start wrote is gone, the disk stays.
///
/// # Errors
/// [`RuntimeError::Failed`] with the path; a path that leads out of the folder is refused.
pub fn write(network: &Network, name: &str, contents: &[(String, Vec<u8>)]) -> Result<(), RuntimeError> {
    let files = files(network, name);
    let disk = disk(network, name);
    empty(&files)?;
    std::fs::create_dir_all(&disk).map_err(|source| failed(format!("creating `{}`", disk.display()), source))?;
    for (path, bytes) in contents {
        let relative = Path::new(path);
        if !relative.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            let refused = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it leads out of the files folder");
            return Err(failed(format!("writing file `{path}` of `{name}`"), refused));
        }
        let place = files.join(relative);
        let written = match place.parent() {
            Some(parent) if parent != files => std::fs::create_dir_all(parent),
            Some(_) | None => Ok(()),
        };
        written
            .and_then(|()| std::fs::write(&place, bytes))
            .map_err(|source| failed(format!("writing `{}`", place.display()), source))?;
    }
    Ok(())
}

/// Leaves an empty folder. The folder itself is kept where it exists: containers have it mounted.
///
/// # Errors
/// [`RuntimeError::Failed`] with the path.
pub fn empty(folder: &Path) -> Result<(), RuntimeError> {
    let tell = |source| failed(format!("emptying `{}`", folder.display()), source);
    std::fs::create_dir_all(folder).map_err(tell)?;
    for entry in std::fs::read_dir(folder).map_err(tell)? {
        let entry = entry.map_err(tell)?;
        let is_folder = entry.file_type().map_err(tell)?.is_dir();
        let removed =
            if is_folder { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        removed.map_err(tell)?;
    }
    Ok(())
}

/// The last `lines` lines of a file, read from its end: at most 64 KiB. Empty if there is none.
#[must_use]
pub fn tail(place: &Path, lines: usize) -> String {
    const MOST: u64 = 64 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(place)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), lines)
}

/// The last `lines` lines of a text.
#[must_use]
pub fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Says what a component that ended right after its start ended of: [`RuntimeError::Taken`] if its log says that an
/// address is in use, else [`RuntimeError::Start`]. `how` is the text of [`super::State::Ended`].
#[must_use]
pub fn early_end(component: &str, address: &str, how: &str, log: &str) -> RuntimeError {
    let said = log.to_ascii_lowercase();
    let taken = ["address already in use", "address in use", "eaddrinuse", "addrinuse", "is taken"];
    if taken.iter().any(|words| said.contains(words)) {
        let seen = if log.is_empty() { how.to_owned() } else { last_lines(log, 5) };
        return RuntimeError::Taken { component: component.to_owned(), address: address.to_owned(), seen };
    }
    let log = if log.is_empty() { "its log is empty".to_owned() } else { format!("its log ends with:\n{log}") };
    RuntimeError::Start { component: component.to_owned(), seen: format!("it ended with {how}; {log}") }
}

/// An error of the operating system, with what was tried.
pub(crate) fn failed(doing: String, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RuntimeError {
    RuntimeError::Failed { doing, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assert_matches::assert_matches;

    #[test]
    fn files_are_written_anew_and_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let network = Network {
            id: "n".to_owned(),
            gateway: std::net::Ipv4Addr::LOCALHOST.into(),
            folder: folder.path().to_owned(),
            work: folder.path().join(WORK),
        };
        write(&network, "a", &[("old".to_owned(), b"1".to_vec()), ("sub/x".to_owned(), b"2".to_vec())]).unwrap();
        std::fs::write(disk(&network, "a").join("kept"), "3").unwrap();
        write(&network, "a", &[("new".to_owned(), b"4".to_vec())]).unwrap();
        assert!(!files(&network, "a").join("old").exists());
        assert!(!files(&network, "a").join("sub").exists());
        assert_eq!(std::fs::read(files(&network, "a").join("new")).unwrap(), b"4");
        assert!(disk(&network, "a").join("kept").exists());
        let error = write(&network, "a", &[("../escape".to_owned(), Vec::new())]).unwrap_err();
        assert_matches!(error, RuntimeError::Failed { .. });
        assert!(!folder.path().join("work/a/escape").exists());
    }

    #[tokio::test]
    async fn the_work_folder_goes_and_the_logs_stay() {
        let run = tempfile::tempdir().unwrap();
        let (folder, work) = of_lab(run.path(), "lab").unwrap();
        let network = Network { id: "n".to_owned(), gateway: std::net::Ipv4Addr::LOCALHOST.into(), folder, work };
        write(&network, "a", &[("secret".to_owned(), b"1".to_vec())]).unwrap();
        std::fs::write(log(&network, "a"), "said").unwrap();
        for _twice in 0..2 {
            remove_work(&network).await.unwrap();
            assert!(!network.work.exists());
            assert_eq!(tail(&log(&network, "a"), 1), "said");
        }
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("log");
        assert_eq!(tail(&place, 3), "");
        std::fs::write(&place, "1\n2\n3\n4\n").unwrap();
        assert_eq!(tail(&place, 2), "3\n4");
        assert_eq!(tail(&place, 9), "1\n2\n3\n4");
    }

    #[test]
    fn an_early_end_says_what_it_ended_of() {
        let log = "Error: Address already in use (os error 98)";
        assert_matches!(early_end("eu-1", "127.1.2.3", "exit code 1", log), RuntimeError::Taken { .. });
        assert_matches!(
            early_end("eu-1", "127.1.2.3", "exit code 3", "address 127.1.2.3:8080 is taken"),
            RuntimeError::Taken { .. }
        );
        assert_matches!(early_end("eu-1", "127.1.2.3", "signal 11", ""), RuntimeError::Start { seen, .. } if seen.contains("signal 11"));
    }
}
