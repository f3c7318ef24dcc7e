//! Writing: a reader finds the old file or the whole new one, whatever happens.

use super::{io_error, make_dir, parent, remove_dir, remove_file, seal};
use crate::{Error, Result};
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Path of a temporary twin from which `path` is renamed: one that nobody can know before.
fn twin(path: &Path) -> PathBuf {
    let random = RandomState::new().build_hasher().finish();
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{random:016x}{TWIN}"));
    path.with_file_name(name)
}

/// How twins' names end.
const TWIN: &str = ".partial";

fn is_twin(name: &OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(TWIN));
    let random = stem.and_then(|stem| stem.rsplit_once('.')).map_or("", |(_, random)| random);
    random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Removes what processes that were killed have left of files and directories, in a directory that this process holds
/// and in some folders of it, there or not. Nowhere else: what lies deeper may be another process's.
pub fn sweep(directory: &Path, folders: &[&str]) -> Result<()> {
    let folders = folders.iter().map(|folder| directory.join(folder));
    std::iter::once(directory.to_owned()).chain(folders).try_for_each(|folder| sweep_level(&folder))
}

fn sweep_level(directory: &Path) -> Result<()> {
    let fail = |e| io_error(directory, "list", e);
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fail)?,
    };
    for entry in entries {
        let entry = entry.map_err(fail)?;
        if is_twin(&entry.file_name()) {
            let is_dir = entry.file_type().map_err(fail)?.is_dir();
            if is_dir { remove_dir(&entry.path())? } else { remove_file(&entry.path())? }
        }
    }
    Ok(())
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = parent(path);
    File::open(parent).and_then(|d| d.sync_all()).map_err(|e| io_error(parent, "sync directory", e))
}

/// Writes `path` through `fill`: a reader finds the old file or the whole new one, also after a power cut.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let tmp = twin(path);
    let written = (|| {
        let mut out = io::BufWriter::with_capacity(1 << 20, File::create_new(&tmp)?);
        fill(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()
    })();
    if let Err(e) = written.and_then(|()| fs::rename(&tmp, path)) {
        let _ = fs::remove_file(&tmp);
        return Err(io_error(path, "write", e));
    }
    sync_parent(path)
}

/// Why a file was not written to its end.
pub enum Stop {
    /// The disk failed.
    Disk(io::Error),
    /// What was to be written could not be had.
    Source(Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Disk(e)
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Source(e)
    }
}

impl From<serde_json::Error> for Stop {
    /// Of a value written to the disk.
    fn from(e: serde_json::Error) -> Self {
        Self::Disk(e.into())
    }
}

/// [`write_with`] for a `fill` that can fail for reasons of its own, which come through as they are.
pub fn write_stoppable(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<(), Stop>) -> Result<()> {
    let mut failed = None;
    let written = write_with(path, |out| {
        fill(out).map_err(|stop| match stop {
            Stop::Disk(e) => e,
            Stop::Source(e) => {
                failed = Some(e);
                io::Error::other("its source has failed")
            }
        })
    });
    failed.map_or(written, Err)
}

/// Writes bytes atomically.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |w| w.write_all(bytes))
}

/// Writes a value as indented JSON, atomically.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    write_with(path, |w| {
        serde_json::to_writer_pretty(&mut *w, value)?;
        w.write_all(b"\n")
    })
}

/// Writes a value that is a map as JSON that says of itself whether it was damaged, atomically; see [`seal()`].
pub fn write_sealed<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    write_with(path, |w| w.write_all(seal(&format!("{}\n", serde_json::to_string_pretty(value)?)).as_bytes()))
}

/// Fills a fresh directory and renames it into place: `path` is absent or whole.
pub fn write_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let tmp = twin(path);
    make_dir(parent(path))?;
    fs::create_dir(&tmp).map_err(|e| io_error(&tmp, "create directory", e))?;
    let done = fill(&tmp).and_then(|()| {
        // The files inside were synced by their writers; the directory's entries are synced here.
        File::open(&tmp).and_then(|d| d.sync_all()).map_err(|e| io_error(&tmp, "sync directory", e))?;
        remove_dir(path)?;
        fs::rename(&tmp, path).map_err(|e| io_error(path, "rename into place", e))
    });
    if let Err(e) = done {
        let _ = fs::remove_dir_all(&tmp);
        return Err(e);
    }
    sync_parent(path)
}

/// A directory in `directory` that is gone when it is dropped; what a process that was killed has left is
/// [swept](sweep).
pub fn scratch_dir(directory: &Path) -> Result<tempfile::TempDir> {
    let twin = twin(&directory.join("scratch"));
    let mut scratch = tempfile::Builder::new();
    scratch.prefix(twin.file_name().unwrap_or_default()).rand_bytes(0);
    scratch.tempdir_in(directory).map_err(|e| io_error(directory, "make a temporary directory in", e))
}

/// Writes a JSON-lines file, whole or not at all.
pub fn write_lines<T: serde::Serialize>(path: &Path, values: &[T]) -> Result<()> {
    write_with(path, |out| {
        values.iter().try_for_each(|value| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Code;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let p = dir.path().join("f");
        write(&p, b"old").unwrap();
        assert!(
            write_with(&p, |w| {
                w.write_all(b"new")?;
                Err(io::Error::other("boom"))
            })
            .is_err()
        );
        assert_eq!(fs::read(&p).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_dir(&dir.path().join("d"), |_| Err(Error::new(Code::FileIo, "boom"))).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_planted_link_is_not_followed_and_twins_of_the_dead_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (p, victim) = (dir.path().join("f"), dir.path().join("victim"));
        write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("f.partial")).unwrap();
        std::os::unix::fs::symlink(&victim, &p).unwrap();
        write(&p, b"new").unwrap();
        assert_eq!((fs::read(&victim).unwrap(), fs::read(&p).unwrap()), (b"precious".to_vec(), b"new".to_vec()));
        let (left, whole) = (dir.path().join("sub"), twin(&dir.path().join("d")));
        fs::create_dir_all(left.join("deep")).unwrap();
        fs::create_dir(&whole).unwrap();
        write(&whole.join("in it"), b"").unwrap();
        write(&twin(&left.join("deep/x.json")), b"half").unwrap();
        write(&left.join(".mine.partial"), b"").unwrap();
        write(&twin(&left.join("y.json")), b"another's").unwrap();
        std::mem::forget(scratch_dir(dir.path()).unwrap());
        sweep(dir.path(), &["sub/deep", "not there"]).unwrap();
        let names = |dir: &Path| {
            let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(dir.path()), ["f", "f.partial", "sub", "victim"]);
        // What is named is swept, and nothing else.
        assert_eq!(names(&left).len(), 3);
        assert_eq!(names(&left.join("deep")).len(), 0);
    }
}
