//! Stands before the C library and lets the n-th file operation below a directory go wrong.
//!
//! `FAULT_DIR` is the directory, `FAULT_N` the operation, from 1, `FAULT_MODE` what becomes of it: `eio` and `enospc`
//! fail it, `kill` ends the process before it, `done` after it, `torn` after half of what is written, and `lost` says
//! that it was done and does nothing. `FAULT_LOG` is a file that gets a line for each operation.
//!
//! With `FAULT_BYTES`, the disk is full once so many bytes were written below the directory: the write that comes to it
//! is cut short there, and those after it fail.

use libc::{c_char, c_int, c_void, mode_t, off_t, size_t, ssize_t};
use std::{
    ffi::CStr,
    sync::atomic::{AtomicI64, Ordering},
};

/// The function that this one stands before.
macro_rules! real {
    ($name:literal as $type:ty) => {{
        // SAFETY: the C library has a function of this name and type.
        unsafe { std::mem::transmute::<*mut c_void, $type>(libc::dlsym(libc::RTLD_NEXT, $name.as_ptr())) }
    }};
}

#[derive(PartialEq)]
enum Fault {
    None,
    Fails,
    Before,
    After,
    Torn,
    Lost,
}

fn variable(name: &CStr) -> Option<&'static str> {
    // SAFETY: nothing changes the environment while the program runs.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: the environment's strings end in 0.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_str().unwrap_or_default())
}

fn below(path: &str) -> bool {
    variable(c"FAULT_DIR").is_some_and(|dir| path.strip_prefix(dir).is_some_and(|r| r.is_empty() || r.starts_with('/')))
}

fn named(path: *const c_char) -> &'static str {
    // SAFETY: a path that the caller gave; it lives for the call.
    unsafe { CStr::from_ptr(path) }.to_str().unwrap_or_default()
}

fn path_of(fd: c_int) -> String {
    let (link, mut buffer) = (format!("/proc/self/fd/{fd}\0"), [0u8; 4096]);
    // SAFETY: reads a link into a buffer of this size.
    let n = unsafe { libc::readlink(link.as_ptr().cast(), buffer.as_mut_ptr().cast(), buffer.len()) };
    String::from_utf8_lossy(&buffer[..n.max(0) as usize]).into_owned()
}

/// Counts an operation and says what becomes of it.
fn fault(operation: &str, path: &str) -> Fault {
    static COUNT: AtomicI64 = AtomicI64::new(0);
    if !below(path) {
        return Fault::None;
    }
    let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    if let Some(log) = variable(c"FAULT_LOG") {
        let (open, write) = (real!(c"open64" as OpenFn), real!(c"write" as WriteFn));
        let (log, line) = (format!("{log}\0"), format!("{operation} {path}\n"));
        let fd = open(log.as_ptr().cast(), libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND, 0o644);
        write(fd, line.as_ptr().cast(), line.len());
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(fd) };
    }
    if variable(c"FAULT_N").and_then(|n| n.parse().ok()) != Some(number) {
        return Fault::None;
    }
    match variable(c"FAULT_MODE") {
        Some("eio") => fail(libc::EIO),
        Some("enospc") => fail(libc::ENOSPC),
        Some("kill") => Fault::Before,
        Some("done") => Fault::After,
        Some("torn") => Fault::Torn,
        Some("lost") => Fault::Lost,
        _ => Fault::None,
    }
}

fn fail(number: c_int) -> Fault {
    // SAFETY: this thread's error number.
    unsafe { *libc::__errno_location() = number };
    Fault::Fails
}

/// How many of the next `n` bytes have room on the disk; none where it is full.
fn room(n: size_t) -> Option<size_t> {
    static WRITTEN: AtomicI64 = AtomicI64::new(0);
    let Some(most) = variable(c"FAULT_BYTES").and_then(|bytes| bytes.parse::<i64>().ok()) else { return Some(n) };
    let before = WRITTEN.fetch_add(n as i64, Ordering::SeqCst);
    let room = (most - before).clamp(0, n as i64) as size_t;
    (room > 0 || n == 0).then_some(room)
}

fn die() -> ! {
    // SAFETY: ends this process, which can do nothing about it.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {}
}

/// Does an operation as its fault says, or fails with -1.
fn act(operation: &str, path: &str, real: impl FnOnce() -> c_int) -> c_int {
    match fault(operation, path) {
        Fault::None => real(),
        Fault::Fails => -1,
        Fault::Before => die(),
        Fault::Lost => 0,
        Fault::After | Fault::Torn => {
            real();
            die()
        }
    }
}

type OpenFn = extern "C" fn(*const c_char, c_int, mode_t) -> c_int;
type WriteFn = extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;

fn opened(path: *const c_char, flags: c_int, real: impl FnOnce() -> c_int) -> c_int {
    let writes = flags & (libc::O_CREAT | libc::O_WRONLY | libc::O_RDWR) != 0;
    if !writes {
        return real();
    }
    match fault("open", named(path)) {
        Fault::Fails => -1,
        Fault::Before => die(),
        // A descriptor cannot be made up.
        Fault::None | Fault::Lost => real(),
        Fault::After | Fault::Torn => {
            real();
            die()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(path, flags, || real!(c"open" as OpenFn)(path, flags, mode))
}

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    opened(path, flags, || real!(c"open64" as OpenFn)(path, flags, mode))
}

#[unsafe(no_mangle)]
extern "C" fn write(fd: c_int, bytes: *const c_void, n: size_t) -> ssize_t {
    let real = real!(c"write" as WriteFn);
    if fd <= 2 {
        return real(fd, bytes, n);
    }
    let path = path_of(fd);
    match fault(&format!("write {n}"), &path) {
        Fault::None if below(&path) => match room(n) {
            Some(n) => real(fd, bytes, n),
            None => {
                fail(libc::ENOSPC);
                -1
            }
        },
        Fault::None => real(fd, bytes, n),
        Fault::Fails => -1,
        Fault::Before => die(),
        Fault::Lost => n as ssize_t,
        fault => {
            real(fd, bytes, if fault == Fault::Torn { n / 2 } else { n });
            die()
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    act("fsync", &path_of(fd), || real!(c"fsync" as extern "C" fn(c_int) -> c_int)(fd))
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    act("fdatasync", &path_of(fd), || real!(c"fdatasync" as extern "C" fn(c_int) -> c_int)(fd))
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    act("ftruncate", &path_of(fd), || real!(c"ftruncate64" as extern "C" fn(c_int, off_t) -> c_int)(fd, length))
}

#[unsafe(no_mangle)]
extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    act("rename", named(to), || real!(c"rename" as extern "C" fn(*const c_char, *const c_char) -> c_int)(from, to))
}

#[unsafe(no_mangle)]
extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    act("mkdir", named(path), || real!(c"mkdir" as extern "C" fn(*const c_char, mode_t) -> c_int)(path, mode))
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    act("unlink", named(path), || real!(c"unlink" as extern "C" fn(*const c_char) -> c_int)(path))
}

#[unsafe(no_mangle)]
extern "C" fn unlinkat(fd: c_int, path: *const c_char, flags: c_int) -> c_int {
    let place = if named(path).starts_with('/') { String::new() } else { path_of(fd) + "/" } + named(path);
    act("unlinkat", &place, || {
        real!(c"unlinkat" as extern "C" fn(c_int, *const c_char, c_int) -> c_int)(fd, path, flags)
    })
}

#[unsafe(no_mangle)]
extern "C" fn rmdir(path: *const c_char) -> c_int {
    act("rmdir", named(path), || real!(c"rmdir" as extern "C" fn(*const c_char) -> c_int)(path))
}
