//! Control groups of our own in the kernel's processor hierarchy, version 1 or 2 (cgroups(7)): a group gets so much processor time in each period,
//! and whoever is in it stands still once that is used up.
//!
//! Groups are made next to or below the one that this process is in, and only where that changes nothing of anybody else's: controllers that are not
//! given to a folder's children are not given to them by us. A group's name says whose it is, as the environment of a process does.

use super::Throttling;
use crate::reaper::clean::{Kind, Removed};
use crate::reaper::proc::Identity;
use rustix::fs::{Access, access};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Length of a period, the usual one of the kernel and of engines: what is left of it once the quota is used up is how long a group stands still.
pub(super) const PERIOD: Duration = Duration::from_millis(100);
/// First word of each name.
const PREFIX: &str = "gatecrash";
/// Run in the name of a group that is only made to see whether one can be, and its limit.
const LOOK: &str = "look";
const LOOK_MILLICORES: u32 = 100;
/// How long a group may take to be empty once its processes were killed or moved.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);
/// No machine has more groups than this; a listing ends there.
const MOST_GROUPS: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    version: Version,
    /// Folder in which they are made.
    base: PathBuf,
    /// Folder of the group that this process, and so every component, is in.
    home: PathBuf,
}

/// A mounted hierarchy: its folder, and which part of the hierarchy that is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    version: Version,
    folder: PathBuf,
    root: String,
}

/// Whether the controllers in this list, divided by commas, are those of the processor.
fn has_processor(list: &str) -> bool {
    list.split(',').any(|controller| controller == "cpu")
}

/// The processor's hierarchy by `/proc/self/mountinfo` (proc_pid_mountinfo(5)); version 1 where both are mounted, as it has the controller then.
fn mounted(mounts: &str) -> Option<Mounted> {
    let one = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, folder) = (place.next()?.to_owned(), PathBuf::from(place.next()?));
        let mut kind = kind.split(' ');
        let version = match (kind.next()?, kind.nth(1)?) {
            ("cgroup", options) if has_processor(options) => Version::One,
            ("cgroup2", _) => Version::Two,
            _ => return None,
        };
        Some(Mounted { version, folder, root })
    };
    let all: Vec<Mounted> = mounts.lines().filter_map(one).collect();
    let first = all.iter().find(|mounted| mounted.version == Version::One);
    first.or_else(|| all.first()).cloned()
}

/// Path of the group that a process is in by its `/proc/PID/cgroup`, from the hierarchy's root.
fn path_of(groups: &str, version: Version) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_it = match version {
            Version::One => has_processor(controllers),
            Version::Two => id == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    })
}

/// Where groups might be made: below our own, and in version 2, where no group has both processes and children with limits, next to it. Nowhere
/// else: whoever limits the place that this process is in limits its groups, too.
fn candidate(mounts: &str, groups: &str) -> Option<Hierarchy> {
    let Mounted { version, folder, root } = mounted(mounts)?;
    let path = path_of(groups, version)?;
    let root = root.trim_end_matches('/');
    let below = match path.strip_prefix(root) {
        Some(below) if below.is_empty() || below.starts_with('/') => below.trim_start_matches('/'),
        // Above what is mounted here: nobody can be moved back there.
        Some(_) | None => return None,
    };
    if below.split('/').any(|part| part == "..") {
        return None;
    }
    let home = if below.is_empty() { folder.clone() } else { folder.join(below) };
    let is_beside = version == Version::Two && home != folder;
    let base = home.parent().filter(|_| is_beside).unwrap_or(&home).to_owned();
    Some(Hierarchy { version, base, home })
}

impl Hierarchy {
    /// Where this process can make groups.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub(super) fn find() -> Result<Self, String> {
        let read = |place: &str| std::fs::read_to_string(place).map_err(|error| format!("reading {place}: {error}"));
        let found = candidate(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let found = found.ok_or("no hierarchy of control groups for the processor is mounted where this process is")?;
        found.look().map_err(|error| format!("control groups of our own cannot be used: {error}"))?;
        Ok(found)
    }

    /// Makes a group with a limit and removes it.
    fn look(&self) -> io::Result<()> {
        // Who moves a process must be allowed to write above where it is and where it goes, and there, too.
        for folder in [&self.base, &self.home] {
            let place = folder.join("cgroup.procs");
            access(&place, Access::WRITE_OK).map_err(|error| named(&place, error.into()))?;
        }
        let made = self.make(LOOK, "", LOOK_MILLICORES)?;
        let counted = made.throttling().ok_or_else(|| io::Error::other("the kernel counts nothing of its limit"));
        std::fs::remove_dir(&made.folder).map_err(|error| named(&made.folder, error))?;
        counted.map(drop)
    }

    /// A group of this harness for a component of a network, whose id begins with the run's: with so many thousandths of a core.
    pub(super) fn make(&self, network: &str, name: &str, millicores: u32) -> io::Result<Group> {
        let Identity { pid, started } = Identity::own();
        let folder = self.base.join(format!("{PREFIX}-{pid}-{started}-{network}-{name}"));
        std::fs::create_dir(&folder).map_err(|error| named(&folder, error))?;
        let period_us = PERIOD.as_micros();
        let quota_us = period_us * u128::from(millicores) / 1_000;
        let limited = match self.version {
            Version::One => set(&folder, "cpu.cfs_period_us", &period_us.to_string())
                .and_then(|()| set(&folder, "cpu.cfs_quota_us", &quota_us.to_string())),
            Version::Two => set(&folder, "cpu.max", &format!("{quota_us} {period_us}")),
        };
        if let Err(error) = limited {
            let _nothing_is_in_it = std::fs::remove_dir(&folder);
            return Err(error);
        }
        Ok(Group { folder, home: self.home.clone() })
    }
}

/// The same error, with the place at which it was met.
fn named(place: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", place.display()))
}

/// Writes into a file of a group: the kernel made them all, or the controller is not there.
fn set(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    let place = folder.join(file);
    let opened = std::fs::File::options().write(true).open(&place);
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| named(&place, error))
}

/// A group that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    folder: PathBuf,
    /// Whoever is still in it at its end goes back there.
    home: PathBuf,
}

impl Group {
    /// Moves a process into it, with all its threads; what it starts from now on is in it, too.
    pub(super) fn enter(&self, pid: u32) -> io::Result<()> {
        std::fs::write(self.folder.join("cgroup.procs"), pid.to_string())
    }

    /// Processes in it; none if it is gone.
    pub(super) fn members(&self) -> Vec<u32> {
        let inside = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        inside.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// What the kernel has counted of it; `None` if it is gone.
    pub(super) fn throttling(&self) -> Option<Throttling> {
        parse_stat(&std::fs::read_to_string(self.folder.join("cpu.stat")).ok()?)
    }

    /// Moves whoever is in it back, and removes it.
    pub(super) async fn close(&self) -> io::Result<()> {
        let clock = crate::clock::Clock::start();
        loop {
            for pid in self.members() {
                // It may have ended meanwhile: then the group is empty in the end.
                let _moved = std::fs::write(self.home.join("cgroup.procs"), pid.to_string());
            }
            match std::fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if clock.since(0) > EMPTY_WITHIN => return Err(named(&self.folder, error)),
                Err(_) => crate::clock::sleep(Duration::from_millis(2)).await,
                Ok(()) => return Ok(()),
            }
        }
    }
}

/// `cpu.stat`: periods, those in which the group stood still, and for how long, in nanoseconds (version 1) or microseconds (version 2).
fn parse_stat(text: &str) -> Option<Throttling> {
    let number = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    };
    let waited = number("throttled_time")
        .map(Duration::from_nanos)
        .or_else(|| number("throttled_usec").map(Duration::from_micros))?;
    Some(Throttling { periods: number("nr_periods")?, throttled: number("nr_throttled")?, waited })
}

/// A group that some run made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Who made it.
    pub(crate) harness: Identity,
    /// For which run.
    pub(crate) run: String,
}

impl Left {
    /// Whose it is by its name.
    fn of(folder: &Path) -> Option<Self> {
        let mut words = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_prefix('-')?.splitn(4, '-');
        let harness = Identity { pid: words.next()?.parse().ok()?, started: words.next()?.parse().ok()? };
        Some(Self { folder: folder.to_owned(), harness, run: words.next()?.to_owned() })
    }

    /// As it is reported: by the last part of its place.
    pub(crate) fn as_removed(&self) -> Removed {
        let name = self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Removed { kind: Kind::ControlGroup, run: self.run.clone(), name }
    }

    /// Removes it; an error while somebody is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Every group that `run` made, wherever on this machine; `None` for all runs.
pub(crate) fn left(run: Option<&str>) -> Vec<Left> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let Some(mounted) = mounted(&mounts) else { return Vec::new() };
    left_in(&mounted.folder, run)
}

fn left_in(top: &Path, run: Option<&str>) -> Vec<Left> {
    let (mut folders, mut seen, mut found) = (vec![top.to_owned()], 0, Vec::new());
    while let Some(folder) = folders.pop().filter(|_| seen < MOST_GROUPS) {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
        for folder in below {
            seen += 1;
            match Left::of(&folder) {
                Some(left) => found.push(left),
                None => folders.push(folder),
            }
        }
    }
    found.retain(|left| run.is_none_or(|run| run == left.run));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const ONE: &str = "25 30 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
                       26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
                       30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
                       31 25 0:28 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset\n";
    const TWO: &str = "24 20 0:21 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const IN_A_CONTAINER: &str = "30 25 0:27 /docker/c0 /sys/fs/cgroup/cpu rw master:9 - cgroup cgroup rw,cpu\n";

    #[test_case(ONE, "4:cpu,cpuacct:/\n0::/x\n", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"; "version 1, at the root")]
    #[test_case(ONE, "5:cpuset:/y\n4:cpu,cpuacct:/a/b\n", "/sys/fs/cgroup/cpu,cpuacct/a/b", "/sys/fs/cgroup/cpu,cpuacct/a/b"; "version 1, below")]
    #[test_case(TWO, "0::/\n", "/sys/fs/cgroup", "/sys/fs/cgroup"; "version 2, at the root")]
    #[test_case(TWO, "0::/u/app/shell\n", "/sys/fs/cgroup/u/app", "/sys/fs/cgroup/u/app/shell"; "version 2, below: never in a group with processes")]
    #[test_case(IN_A_CONTAINER, "4:cpu:/docker/c0/a\n", "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpu/a"; "a part of the hierarchy")]
    fn groups_are_made_where_they_may_be(mounts: &str, groups: &str, base: &str, home: &str) {
        let found = candidate(mounts, groups).unwrap();
        assert_eq!((found.base.as_path(), found.home.as_path()), (Path::new(base), Path::new(home)));
    }

    #[test_case("", "0::/\n"; "none is mounted")]
    #[test_case(ONE, "0::/\n"; "not in it")]
    #[test_case(IN_A_CONTAINER, "4:cpu:/docker/c01\n"; "another one whose name begins alike")]
    #[test_case(TWO, "0::/../other\n"; "above what is mounted")]
    fn where_they_may_not_be_none_is_made(mounts: &str, groups: &str) {
        assert_eq!(candidate(mounts, groups), None);
    }

    #[test]
    fn both_versions_count_alike() {
        let one = "nr_periods 12\nnr_throttled 11\nthrottled_time 900000000\n";
        let two = "usage_usec 7\nuser_usec 7\nsystem_usec 0\nnr_periods 12\nnr_throttled 11\nthrottled_usec 900000\n";
        let counted = Throttling { periods: 12, throttled: 11, waited: Duration::from_millis(900) };
        assert_eq!(parse_stat(one), Some(counted));
        assert_eq!(parse_stat(two), Some(counted));
        assert_eq!(parse_stat("usage_usec 7\n"), None, "without a limit nothing is counted");
    }

    #[test]
    fn a_name_says_whose_a_group_is() {
        let top = tempfile::tempdir().unwrap();
        for name in ["gatecrash-7-9-r1-lab-eu-1", "a/gatecrash-7-9-r2-lab-eu-1", "gatecrash-7-x-r1-lab", "other"] {
            std::fs::create_dir_all(top.path().join(name)).unwrap();
        }
        let ours = left_in(top.path(), Some("r1"));
        assert_eq!(ours.len(), 1, "{ours:?}");
        assert_eq!(ours[0].harness, Identity { pid: 7, started: 9 });
        assert_eq!(left_in(top.path(), None).len(), 2);
        ours[0].remove().unwrap();
        ours[0].remove().unwrap();
        assert_eq!(left_in(top.path(), Some("r1")), []);
    }

    #[test]
    fn without_the_kernels_files_there_is_no_limit() {
        let top = tempfile::tempdir().unwrap();
        let base = top.path().to_owned();
        for (version, file) in [(Version::One, "cpu.cfs_period_us"), (Version::Two, "cpu.max")] {
            let error =
                Hierarchy { version, home: base.clone(), base: base.clone() }.make("r1-lab", "eu-1", 150).unwrap_err();
            assert!(error.to_string().contains(file), "{error}");
            assert_eq!(left_in(&base, None), [], "nothing is left of it");
        }
    }
}
