//! What a plugin must leave as it found it in its process: signals, working directory, floating-point mode, threads,
//! memory, stdout.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    os::fd::{AsRawFd, FromRawFd},
    path::PathBuf,
    time::{Duration, Instant},
};

/// A picture of the process.
#[derive(PartialEq)]
pub struct Process {
    directory: Option<PathBuf>,
    /// Of this thread: rounding, denormals, which floating-point exceptions trap. Not the flags that arithmetic raises.
    float_mode: u32,
    /// Handler and flags by signal.
    signals: Vec<(usize, i32)>,
    blocked: [bool; 32],
}

impl Process {
    /// As it is now.
    pub fn now() -> Self {
        let signals = (1..32).map(|signal| {
            // SAFETY: an all-zero sigaction is valid; asks without changing.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut action);
                (action.sa_sigaction, action.sa_flags)
            }
        });
        let mut blocked = [false; 32];
        // SAFETY: an all-zero set is valid; asks without changing.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
            (1..32).for_each(|signal| blocked[signal as usize] = libc::sigismember(&set, signal) == 1);
        }
        Self { directory: std::env::current_dir().ok(), float_mode: float_mode(), signals: signals.collect(), blocked }
    }
    /// What differs from an earlier picture, in words; None where nothing does.
    pub fn changed_since(&self, before: &Self) -> Option<String> {
        let mut changes = Vec::new();
        if self.directory != before.directory {
            changes.push("the working directory".to_owned());
        }
        if self.float_mode != before.float_mode {
            changes.push(format!("the floating-point mode (MXCSR {:#x} to {:#x})", before.float_mode, self.float_mode));
        }
        let signals = self.signals.iter().zip(&before.signals).zip(1..).filter(|((now, then), _)| now != then);
        changes.extend(signals.map(|(_, signal)| format!("the action of signal {signal}")));
        if self.blocked != before.blocked {
            changes.push("which signals are blocked".to_owned());
        }
        (!changes.is_empty()).then(|| changes.join(", "))
    }
}

#[cfg(target_arch = "x86_64")]
fn float_mode() -> u32 {
    const EXCEPTION_FLAGS: u32 = 0x3f;
    let mut mode = 0u32;
    // SAFETY: stores the 32-bit control register to a local; baseline SSE on x86_64.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack, preserves_flags)) };
    mode & !EXCEPTION_FLAGS
}

#[cfg(not(target_arch = "x86_64"))]
fn float_mode() -> u32 {
    0
}

/// Threads of the process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.count())
}

/// Waits for threads that are about to end: their number once it is at most `expected`, or after a second.
pub fn threads_settled(expected: usize) -> usize {
    let start = Instant::now();
    loop {
        let now = threads();
        if now <= expected || start.elapsed() > Duration::from_secs(1) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Memory in use.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes that the C allocator has given out.
    pub heap: u64,
    /// Bytes of the process in RAM: also what has an allocator of its own.
    pub resident: u64,
}

impl Memory {
    /// As it is now.
    pub fn now() -> Self {
        #[cfg(target_env = "gnu")]
        let heap = {
            // SAFETY: reads the allocator's statistics.
            let info = unsafe { libc::mallinfo2() };
            (info.uordblks + info.hblkhd) as u64
        };
        #[cfg(not(target_env = "gnu"))]
        let heap = 0;
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.and_then(|s| s.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
        Self { heap, resident: pages * crate::memory::page() as u64 }
    }
}

/// Time that all threads of this process have been at work.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time; the clock exists on every system that there are plugins for.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What is written to stdout while `run` runs, besides its result. Text that stays in a buffer of the writer is not
/// seen.
pub fn printed<T>(run: impl FnOnce() -> T) -> std::io::Result<(T, String)> {
    let mut caught = tempfile::tempfile()?;
    let flush = || {
        // A failure leaves nothing to do.
        let _ = std::io::stdout().flush();
        // SAFETY: flushes all of C's streams.
        unsafe { libc::fflush(std::ptr::null_mut()) };
    };
    flush();
    // SAFETY: duplicates a descriptor of this process, which is then owned by the file alone.
    let stdout = unsafe { File::from_raw_fd(libc::dup(1)) };
    // SAFETY: both descriptors are open.
    unsafe { libc::dup2(caught.as_raw_fd(), 1) };
    let result = run();
    flush();
    // SAFETY: both descriptors are open.
    unsafe { libc::dup2(stdout.as_raw_fd(), 1) };
    let mut text = Vec::new();
    caught.rewind()?;
    caught.read_to_end(&mut text)?;
    Ok((result, String::from_utf8_lossy(&text).into_owned()))
}
