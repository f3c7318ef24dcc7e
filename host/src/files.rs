//! The only place that writes files a run depends on: whole or not at all, and on disk before it is said to be.

mod journal;

pub use journal::Journal;

use crate::{Code, Error, Result};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

/// An I/O failure with its path.
pub fn io_error(path: &Path, doing: &str, e: io::Error) -> Error {
    let err = Error::new(Code::FileIo, format!("cannot {doing} {}", path.display()));
    match e.kind() {
        io::ErrorKind::StorageFull => {
            err.hint("free some disk space and run the same command again; finished work is kept").caused_by(e)
        }
        io::ErrorKind::NotFound => err.hint("check the path: there is nothing there").caused_by(e),
        io::ErrorKind::PermissionDenied => err.hint("check who may read and write it").caused_by(e),
        io::ErrorKind::IsADirectory => err.hint("a file is expected, and this is a directory").caused_by(e),
        _ => err.caused_by(e),
    }
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| io_error(path, "read", e))
}

/// Reads a JSON file that a run wrote.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).map_err(|e| io_error(path, "read", e))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|e| match e.is_io() {
        true => io_error(path, "read", e.into()),
        false => Error::new(Code::RunDamaged, format!("{} is not what was written there", path.display()))
            .hint("restore the file, or start again in another output_dir")
            .caused_by(e),
    })
}

/// The lines of a JSON-lines file that a run wrote, read one at a time.
pub fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<T>> + use<T>> {
    let file = File::open(path).map_err(|e| io_error(path, "read", e))?;
    let path = path.to_owned();
    Ok(BufReader::new(file).lines().enumerate().map(move |(i, line)| {
        let line = line.map_err(|e| io_error(&path, "read", e))?;
        serde_json::from_str(&line).map_err(|e| {
            let message = format!("{}, line {}: not what was written there", path.display(), i + 1);
            Error::new(Code::RunDamaged, message).hint("start again in another output_dir").caused_by(e)
        })
    }))
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

/// Reads a whole UTF-8 file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| io_error(path, "read", e))
}

/// Makes a directory and its parents.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| io_error(path, "create directory", e))
}

/// Path of the temporary twin from which `path` is renamed.
fn twin(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// The directory that a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent = parent(path);
    File::open(parent).and_then(|d| d.sync_all()).map_err(|e| io_error(parent, "sync directory", e))
}

/// Writes `path` through `fill`: a reader finds the old file or the whole new one, also after a power cut.
pub fn write_with(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let tmp = twin(path);
    let written = (|| {
        let mut out = io::BufWriter::with_capacity(1 << 20, File::create(&tmp)?);
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

/// Fills a fresh directory and renames it into place: `path` is absent or whole.
pub fn write_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let tmp = twin(path);
    remove_dir(&tmp)?;
    make_dir(&tmp)?;
    if let Err(e) = fill(&tmp) {
        let _ = fs::remove_dir_all(&tmp);
        return Err(e);
    }
    // The files inside were synced by their writers; the directory's entries are synced here.
    File::open(&tmp).and_then(|d| d.sync_all()).map_err(|e| io_error(&tmp, "sync directory", e))?;
    remove_dir(path)?;
    fs::rename(&tmp, path).map_err(|e| io_error(path, "rename into place", e))?;
    sync_parent(path)
}

/// Removes a directory tree if it is there.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, "remove", e)),
        _ => Ok(()),
    }
}

/// Removes a file if it is there.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, "remove", e)),
        _ => Ok(()),
    }
}

/// A whole file as bytes, read on demand.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    map_open(&File::open(path).map_err(|e| io_error(path, "open", e))?, path)
}

/// A whole open file as bytes, read on demand.
pub fn map_open(file: &File, path: &Path) -> Result<memmap2::Mmap> {
    // SAFETY: files of a run are replaced by rename, never changed in place, while the run's lock is held.
    unsafe { memmap2::Mmap::map(file) }.map_err(|e| io_error(path, "map", e))
}

/// Gives the pages of a mapped file that were read so far back to the system, which counts them as this process's
/// memory; what is read again comes from the file again.
pub fn release(map: &memmap2::Mmap) {
    // SAFETY: a shared, read-only mapping of a file has the same contents before and after. A system that refuses keeps
    // its pages.
    let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
}

/// SHA-256 of some bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hex, read in pieces.
pub fn sha256_file(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|e| io_error(path, "read", e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut hash, mut buf) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buf).map_err(|e| io_error(path, "read", e))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buf[..n]),
        }
    }
}

/// Hashes what is written through it.
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W> Hashing<W> {
    /// Hashes from here on.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new() }
    }
    /// The writer, and the SHA-256 of all that passed.
    pub fn finish(self) -> (W, [u8; 32]) {
        (self.inner, self.hash.finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    use std::fmt;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
}
