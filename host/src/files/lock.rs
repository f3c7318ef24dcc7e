//! Files that a process holds while it works in a directory.

use super::io_error;
use crate::{Code, Error, Result};
use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Opens a file to hold or to add to, made where there is none. A link, a pipe or a device in its place is refused: it
/// may be somebody else's.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let own = File::options().read(true).append(true).create(true).custom_flags(FLAGS).open(path)?;
    if own.metadata()?.is_file() { Ok(own) } else { Err(super::special()) }
}

const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Holds `path` until the file is dropped, and waits for whoever holds it now.
pub fn hold(path: &Path) -> Result<File> {
    let file = open_own(path).map_err(|e| io_error(path, "open", e))?;
    file.lock().map_err(|e| io_error(path, "lock", e))?;
    Ok(file)
}

/// Holds the file `.lock` of a directory until the file is dropped. Fails with `run/locked` where another process does.
pub fn hold_directory(directory: &Path) -> Result<File> {
    let path = directory.join(".lock");
    let file = open_own(&path).map_err(|e| io_error(&path, "open", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(e)) => Err(io_error(&path, "lock", e)),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(Code::RunLocked, format!("{} is in use by another ldalign process", directory.display()))
                .hint("wait for it to end, or choose another directory for the output"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_has_one_holder_and_a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let held = hold_directory(dir.path()).unwrap();
        assert_eq!(hold_directory(dir.path()).unwrap_err().code(), Code::RunLocked);
        drop(held);
        hold_directory(dir.path()).unwrap();

        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        fs::remove_file(dir.path().join(".lock")).unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(".lock")).unwrap();
        assert_eq!(hold_directory(dir.path()).unwrap_err().code(), Code::FileIo);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
