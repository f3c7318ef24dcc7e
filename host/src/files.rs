//! The only place that writes files a run depends on: whole or not at all, on disk before it is said to be, and never
//! on what is somebody else's.
//!
//! [`Claim`] says where a command may write, [`write()`] and its kin write, [`seal()`] and [`Sealed`] make damage
//! known.

mod claim;
mod hash;
mod hashed;
mod journal;
mod lock;
mod seal;
mod write;

pub use claim::Claim;
pub use hash::{Hashing, hex, sha256, sha256_file};
pub use hashed::{HashedPath, hash_path};
pub use journal::{Journal, Sealed};
pub use lock::{hold, hold_directory};
pub use seal::{seal, unseal};
pub use write::{
    Stop, scratch_dir, sweep, write, write_dir, write_json, write_lines, write_sealed, write_stoppable, write_with,
};

use crate::{Code, Error, Result};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// An I/O failure with its path.
pub fn io_error(path: &Path, doing: &str, e: io::Error) -> Error {
    let err = Error::new(Code::FileIo, format!("cannot {doing} {}", path.display()));
    match e.kind() {
        io::ErrorKind::StorageFull => {
            err.hint("free some disk space and run the same command again; finished work is kept").caused_by(e)
        }
        io::ErrorKind::FileTooLarge => {
            err.hint("raise the limit on the size of files (`ulimit -f`), unless a plugin has set it").caused_by(e)
        }
        io::ErrorKind::NotFound => err.hint("check the path: there is nothing there").caused_by(e),
        io::ErrorKind::PermissionDenied => err.hint("check who may read and write it").caused_by(e),
        // Of a number that was open a moment ago.
        _ if e.raw_os_error() == Some(libc::EBADF) => {
            err.hint("something in this process has closed its descriptors: a plugin, or a thread of one").caused_by(e)
        }
        io::ErrorKind::IsADirectory => err.hint("a file is expected, and this is a directory").caused_by(e),
        _ => err.caused_by(e),
    }
}

/// Opens a file to read. A pipe or a device is refused: who reads it may wait without end.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() { Ok(file) } else { Err(special()) }
}

fn special() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a file is expected, and this is a pipe or a device")
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|e| io_error(path, "read", e))?;
    Ok(bytes)
}

/// Reads a JSON file that a run wrote.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| damaged(path).caused_by(e))
}

/// Reads a JSON file that [`write_sealed`] wrote. Fails with `run/damaged` where it is not what was written.
pub fn read_sealed<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = String::from_utf8(read(path)?).map_err(|e| damaged(path).caused_by(e))?;
    let json = unseal(&text).ok_or_else(|| damaged(path).caused_by("its checksum does not fit"))?;
    serde_json::from_str(&json).map_err(|e| damaged(path).caused_by(e))
}

/// The error of a file of ours that is not what was written.
fn damaged(path: &Path) -> Error {
    Error::new(Code::RunDamaged, format!("{} is not what was written there", path.display()))
        .hint("restore the file, or start again in another output_dir")
}

/// The lines of a JSON-lines file that a run wrote, read one at a time.
pub fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<T>> + use<T>> {
    let file = open(path).map_err(|e| io_error(path, "read", e))?;
    let path = path.to_owned();
    Ok(BufReader::new(file).lines().enumerate().map(move |(i, line)| {
        let line = line.map_err(|e| io_error(&path, "read", e))?;
        serde_json::from_str(&line).map_err(|e| {
            let message = format!("{}, line {}: not what was written there", path.display(), i + 1);
            Error::new(Code::RunDamaged, message).hint("start again in another output_dir").caused_by(e)
        })
    }))
}

/// Reads a whole UTF-8 file.
pub fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    open(path).and_then(|mut file| file.read_to_string(&mut text)).map_err(|e| io_error(path, "read", e))?;
    Ok(text)
}

/// Reads a whole text, in UTF-8, that a user hands over: through a pipe too, and so up to a limit.
pub fn read_given(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(GIVEN + 1).read_to_end(&mut bytes))
        .map_err(|e| io_error(path, "read", e))?;
    if bytes.len() as u64 > GIVEN {
        let what = format!("{} has more than {} MiB", path.display(), GIVEN >> 20);
        return Err(Error::new(Code::FileIo, what).hint("a text by a user's hand is expected"));
    }
    String::from_utf8(bytes).map_err(|e| io_error(path, "read", io::Error::new(io::ErrorKind::InvalidData, e)))
}

/// The most bytes of a text that a user hands over.
const GIVEN: u64 = 16 << 20;

/// Makes a directory and its parents.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| io_error(path, "create directory", e))
}

/// The directory that a path lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    map_open(&open(path).map_err(|e| io_error(path, "open", e))?, path)
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
