//! An executable with its shared libraries as a tar: what a FROM-scratch image of it holds.
//!
//! Which libraries those are is asked of the executable's own loader (`ld.so --list`), so that the answer is the loader's, not ours.

use crate::runtime::RuntimeError;
use crate::runtime::files::failed;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of an image: place in the image to place on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Absolute place of the executable in the image.
    pub(super) entry: String,
    /// Its loader, which is one of the files; none for a static executable.
    loader: Option<String>,
    files: BTreeMap<String, PathBuf>,
}

impl Bundle {
    /// The executable at `place` (links followed, name kept) and its libraries, which are looked for in `libraries` first.
    pub(super) fn of(place: &Path, libraries: Option<&Path>) -> Result<Self, RuntimeError> {
        let tell = |source| failed(format!("reading executable `{}`", place.display()), source);
        let real = std::fs::canonicalize(place).map_err(tell)?;
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let entry = format!("/{name}");
        let mut files = BTreeMap::from([(entry.clone(), real.clone())]);
        let header = head(&real).map_err(tell)?;
        let loader = interpreter(&header);
        if let Some(loader) = &loader {
            let listed = list(loader, &real, libraries)?;
            let home = listed.iter().find(|(name, _)| name.starts_with("libc.so")).and_then(|(_, path)| path.parent());
            let home = home.unwrap_or(Path::new("/lib")).to_owned();
            for (name, found) in &listed {
                // All in the folder of the C library, where every loader looks by itself.
                files.insert(home.join(name).to_string_lossy().into_owned(), found.clone());
            }
            files.insert(loader.clone(), PathBuf::from(loader));
        }
        Ok(Self { entry, loader, files })
    }

    /// Hash over names and contents, 16 hexadecimal digits.
    pub(super) fn digest(&self) -> Result<String, RuntimeError> {
        let mut hash = Sha256::new();
        for (inside, outside) in &self.files {
            hash.update(inside.as_bytes());
            hash.update([0]);
            let mut file = std::fs::File::open(outside)
                .map_err(|source| failed(format!("reading `{}`", outside.display()), source))?;
            std::io::copy(&mut file, &mut hash)
                .map_err(|source| failed(format!("reading `{}`", outside.display()), source))?;
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Writes all files into `folder`, without folders below it: what to run there, and how it finds its libraries, is in [`Bundle::command`].
    pub(super) fn unpack(&self, folder: &Path) -> Result<(), RuntimeError> {
        let mut written = BTreeSet::new();
        for (inside, outside) in &self.files {
            // A loader may be listed among the libraries, too.
            if !written.insert(file_name(inside)) {
                continue;
            }
            let place = folder.join(file_name(inside));
            let copy = || -> std::io::Result<()> {
                // Copied, never linked, and never over anything: these are files of the whole machine.
                let mut from = std::fs::File::open(outside)?;
                let mut to = std::fs::File::options().write(true).create_new(true).mode(0o755).open(&place)?;
                std::io::copy(&mut from, &mut to).map(drop)
            };
            copy()
                .map_err(|error| failed(format!("copying `{}` to `{}`", outside.display(), place.display()), error))?;
        }
        Ok(())
    }

    /// Program and first arguments that start it where [`Bundle::unpack`] has put it, as `folder` is called by whoever starts it.
    pub(super) fn command(&self, folder: &str) -> Vec<String> {
        let place = |inside: &str| format!("{folder}/{}", file_name(inside));
        let mut words = Vec::new();
        if let Some(loader) = &self.loader {
            words.extend([place(loader), "--library-path".to_owned(), folder.to_owned()]);
        }
        words.push(place(&self.entry));
        words
    }

    /// The files as a tar, in memory. The executable goes in without symbols where `strip` is installed: a debug build is
    /// several times smaller then, and every layer is written to disk once.
    pub(super) fn tar(&self, scratch: &Path) -> Result<Vec<u8>, RuntimeError> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.follow_symlinks(true);
        for (inside, outside) in &self.files {
            let lean = (*inside == self.entry).then(|| strip(outside, scratch)).flatten();
            let source = lean.as_deref().unwrap_or(outside);
            let path = inside.trim_start_matches('/');
            let added = std::fs::File::open(source).and_then(|mut file| {
                let mut header = tar::Header::new_gnu();
                header.set_size(file.metadata()?.len());
                header.set_mode(0o755);
                tar.append_data(&mut header, path, &mut file)
            });
            added.map_err(|error| failed(format!("packing `{}`", outside.display()), error))?;
            if let Some(lean) = lean {
                let _left_in_the_run_folder = std::fs::remove_file(lean);
            }
        }
        tar.into_inner().map_err(|error| failed(format!("packing `{}`", self.entry), error))
    }
}

fn file_name(inside: &str) -> &str {
    inside.rsplit('/').next().unwrap_or(inside)
}

fn strip(executable: &Path, scratch: &Path) -> Option<PathBuf> {
    let tool = crate::executable::on_path("strip", &crate::executable::search_path())?;
    let lean = scratch.join(format!("{}.stripped", executable.file_name()?.to_string_lossy()));
    let stripped = Command::new(tool).arg("-o").arg(&lean).arg(executable).output().ok()?;
    (stripped.status.success() && lean.is_file()).then_some(lean)
}

/// The first bytes of a file: ELF header, program headers and the name of the loader live there.
fn head(place: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(place)?.take(64 * 1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Path of the loader in an ELF file of 64 bit, little endian (elf(5): `PT_INTERP`); `None` for a static executable.
fn interpreter(elf: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = elf.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    };
    let place = |value: u64| usize::try_from(value).ok();
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (headers, size, count) = (place(number(32, 8)?)?, place(number(54, 2)?)?, place(number(56, 2)?)?);
    for index in 0..count {
        let header = headers.checked_add(size.checked_mul(index)?)?;
        if number(header, 4)? == PT_INTERP {
            let (start, length) = (place(number(header + 8, 8)?)?, place(number(header + 32, 8)?)?);
            let text = elf.get(start..start.checked_add(length)?)?;
            return Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        }
    }
    None
}

/// Libraries by the name that the executable asks for, as its loader finds them.
fn list(loader: &str, executable: &Path, libraries: Option<&Path>) -> Result<Vec<(String, PathBuf)>, RuntimeError> {
    let mut command = Command::new(loader);
    if let Some(folder) = libraries {
        command.arg("--library-path").arg(folder);
    }
    let doing = || format!("asking `{loader}` for the libraries of `{}`", executable.display());
    let output = command.arg("--list").arg(executable).output().map_err(|source| failed(doing(), source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("not found") {
        let seen = format!("{}{}", text, String::from_utf8_lossy(&output.stderr));
        return Err(failed(doing(), std::io::Error::other(seen.trim().to_owned())));
    }
    Ok(parse_list(&text))
}

/// Lines as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f..)`; the loader itself and the kernel's own have no arrow.
fn parse_list(text: &str) -> Vec<(String, PathBuf)> {
    let lines = text.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
        // A library may be asked for by path; its file name is what the folder gets.
        let name = name.rsplit('/').next().unwrap_or(name);
        Some((name.to_owned(), PathBuf::from(path)))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_the_libraries_of_a_real_program() {
        let elf = head(&std::fs::canonicalize("/bin/sh").unwrap()).unwrap();
        let loader = interpreter(&elf).unwrap();
        assert!(Path::new(&loader).exists(), "{loader}");
        let bundle = Bundle::of(Path::new("/bin/sh"), None).unwrap();
        assert_eq!(bundle.entry, "/sh");
        assert!(bundle.files.contains_key(&loader));
        assert!(bundle.files.keys().any(|inside| inside.contains("libc.so")), "{:?}", bundle.files);
        assert_eq!(bundle.digest().unwrap().len(), 16);
        let folder = tempfile::tempdir().unwrap();
        let bytes = bundle.tar(folder.path()).unwrap();
        let names: Vec<_> = tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        assert!(names.contains(&PathBuf::from("sh")), "{names:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left in the scratch folder");
    }

    #[test]
    fn an_unpacked_program_runs_with_the_libraries_beside_it() {
        let bundle = Bundle::of(Path::new("/bin/sh"), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        bundle.unpack(folder.path()).unwrap();
        let words = bundle.command(folder.path().to_str().unwrap());
        assert!(words.len() > 1 && words.iter().all(|word| !word.starts_with("/bin")), "{words:?}");
        let said = Command::new(&words[0]).args(&words[1..]).args(["-c", "echo here"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "here\n");
    }

    #[test]
    fn lists_are_read() {
        let text =
            "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/libm.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(parse_list(text), [("libm.so.6".to_owned(), PathBuf::from("/lib/libm.so.6"))]);
    }

    #[test]
    fn what_is_no_program_has_no_loader() {
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(interpreter(b"\x7fELF\x02\x01"), None);
    }
}
