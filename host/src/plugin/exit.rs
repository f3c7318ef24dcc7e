//! The end of the process while plugins are in it: one that ends it leaves a message that names the plugin, and never
//! the status 0. Nothing can undo abort or exit in process; what a run has finished is on disk already.

use super::who::{Call, Who};
use crate::Code;
use std::{
    ffi::c_int,
    os::fd::IntoRawFd,
    sync::{
        Once,
        atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static WHO: AtomicPtr<String> = AtomicPtr::new(std::ptr::null_mut());
static CALL: AtomicU8 = AtomicU8::new(0);
/// Whether plugins are loaded here.
static WATCHING: AtomicBool = AtomicBool::new(false);
/// The process in which they are: a child that a plugin forks may end as it likes.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// What the modes of the host's files leave out.
static UMASK: AtomicU32 = AtomicU32::new(0o077);
/// A descriptor that is open as long as nobody closes those of others, and the pipe that it leads to.
static SENTINEL: (AtomicI32, [AtomicU64; 2]) = (AtomicI32::new(-1), [const { AtomicU64::new(0) }; 2]);
/// Whether the program has not come to its end.
static AT_WORK: AtomicBool = AtomicBool::new(false);

/// EX_SOFTWARE
pub(super) const FAULT: c_int = 70;

/// Plugin code begins to run.
pub(super) fn enter(who: Who, call: Call) {
    WHO.store(std::ptr::from_ref(who.0).cast_mut(), SeqCst);
    CALL.store(call as u8, SeqCst);
    CALLS.fetch_add(1, SeqCst);
}

/// Plugin code has returned.
pub(super) fn leave(who: Who, call: Call) {
    restore_signals();
    if WATCHING.load(SeqCst) {
        // SAFETY: sets a number of the process.
        unsafe { libc::umask(UMASK.load(SeqCst)) };
    }
    check_descriptors(who, call);
    CALLS.fetch_sub(1, SeqCst);
}

/// Ends the process where its descriptors were closed: what is written next could go into any file that has come by the
/// number of another.
fn check_descriptors(who: Who, call: Call) {
    let (descriptor, pipe) = (SENTINEL.0.load(SeqCst), SENTINEL.1.each_ref().map(|part| part.load(SeqCst)));
    if descriptor >= 0 && file_of(descriptor) != Some(pipe) {
        let what = [" closed descriptors that are not its own in ", Call::ALL[call as usize].1];
        fail(Code::PluginDescriptors, &[who.0, what[0], what[1]], "");
    }
}

/// The file that a descriptor leads to, by its device and its number there; None where it is closed.
fn file_of(descriptor: c_int) -> Option<[u64; 2]> {
    // SAFETY: an all-zero stat is valid, and is filled in.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        (libc::fstat(descriptor, &mut found) == 0).then_some([found.st_dev, found.st_ino])
    }
}

/// Ends the process by a plugin's fault.
pub(super) fn fail(code: Code, what: &[&str], hint: &str) -> ! {
    say(&["\nerror[", code.as_str(), "]: "]);
    say(what);
    say(&["; finished work of a run is kept\n", hint]);
    exit(FAULT)
}

/// From here on an end of the process with status 0 is nobody's but a plugin's, until [`expect_exit`].
pub fn guard_exit() {
    AT_WORK.store(true, SeqCst);
}

/// The program has done what it was asked for, or has failed: it ends.
pub fn expect_exit() {
    AT_WORK.store(false, SeqCst);
}

/// What a program puts in place of the C library's `_exit`, so that a plugin which calls that does not end a run as if
/// it were finished.
pub fn exit(status: c_int) -> ! {
    let status = if status == 0 && WATCHING.load(SeqCst) && is_plugins("called _exit") { FAULT } else { status };
    // SAFETY: ends the process.
    unsafe { libc::syscall(libc::SYS_exit_group, status) };
    unreachable!("the process has ended")
}

/// Whether a plugin ends the process, which is said.
fn is_plugins(what: &str) -> bool {
    // SAFETY: asks for a number.
    if PROCESS.load(SeqCst) != unsafe { libc::getpid() } {
        return false;
    }
    if last_words(what) {
        return true;
    }
    let at_work = AT_WORK.load(SeqCst);
    if at_work {
        let code = Code::PluginExit.as_str();
        say(&["\nerror[", code, "]: a plugin, or a thread of one, ", what, "; finished work of a run is kept\n"]);
    }
    at_work
}

/// Makes a plugin that ends the process leave a message and a status other than 0.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (i, signal) in KEPT.into_iter().enumerate() {
            // SAFETY: asks for the action of a signal, into memory of its type.
            unsafe { libc::sigaction(signal, std::ptr::null(), OURS.as_ptr(i as i32)) };
        }
        // SAFETY: `at_exit` takes nothing and does not unwind.
        unsafe { libc::atexit(at_exit) };
        for signal in SIGNALS {
            // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe and runs on the alternate stack,
            // if the thread has one, for a stack overflow.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_ONSTACK;
                libc::sigaction(signal, &action, BEFORE.as_ptr(signal));
            }
        }
        // SAFETY: a number of the process is asked for by being set, and is put back.
        unsafe {
            let mask = libc::umask(0o077);
            libc::umask(mask);
            UMASK.store(mask, SeqCst);
        }
        // Where none can be had, closed descriptors go unseen here.
        if let Ok((reader, _)) = std::io::pipe() {
            let descriptor = reader.into_raw_fd();
            let pipe = file_of(descriptor).unwrap_or_default();
            SENTINEL.1.iter().zip(pipe).for_each(|(part, number)| part.store(number, SeqCst));
            SENTINEL.0.store(descriptor, SeqCst);
        }
        // SAFETY: asks for a number.
        PROCESS.store(unsafe { libc::getpid() }, SeqCst);
        WATCHING.store(true, SeqCst);
    });
}

/// Signals by which a run is stopped: plugins may not keep them.
const KEPT: [i32; 2] = [libc::SIGINT, libc::SIGTERM];

/// Puts back the actions of the signals by which a run is stopped, where a plugin has changed them.
fn restore_signals() {
    if !WATCHING.load(SeqCst) {
        return;
    }
    for (i, signal) in KEPT.into_iter().enumerate() {
        // SAFETY: an all-zero sigaction is valid; `OURS` was written by `watch`.
        unsafe {
            let ours = OURS.as_ptr(i as i32);
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut now);
            if now.sa_sigaction != (*ours).sa_sigaction {
                libc::sigaction(signal, ours, std::ptr::null_mut());
            }
        }
    }
}

const SIGNALS: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// The actions that were in place before, such as Rust's own report of a stack overflow; written once, before the
/// handlers exist.
struct Actions(std::cell::UnsafeCell<[std::mem::MaybeUninit<libc::sigaction>; 32]>);

// SAFETY: each entry is written by `watch` before the handler that reads it is installed for that signal.
unsafe impl Sync for Actions {}

static BEFORE: Actions = Actions(std::cell::UnsafeCell::new([std::mem::MaybeUninit::zeroed(); 32]));
/// The actions of [`KEPT`] before any plugin was called.
static OURS: Actions = Actions(std::cell::UnsafeCell::new([std::mem::MaybeUninit::zeroed(); 32]));

impl Actions {
    fn as_ptr(&self, signal: i32) -> *mut libc::sigaction {
        // SAFETY: the signals used here are below 32; all-zero is a valid sigaction.
        unsafe { (*self.0.get())[signal as usize].as_mut_ptr() }
    }
}

extern "C" fn at_exit() {
    if is_plugins("called exit") {
        exit(FAULT);
    }
}

extern "C" fn on_signal(signal: i32) {
    last_words(match signal {
        libc::SIGABRT => "aborted",
        libc::SIGSEGV => "touched memory it does not own (SIGSEGV)",
        libc::SIGBUS => "touched memory that is not there (SIGBUS)",
        libc::SIGILL => "used an instruction this processor lacks (SIGILL)",
        _ => "divided by zero (SIGFPE)",
    });
    // SAFETY: async-signal-safe. The action before ours comes back: a fault repeats into it on return, an abort is
    // raised again.
    unsafe {
        libc::sigaction(signal, BEFORE.as_ptr(signal), std::ptr::null_mut());
        if signal == libc::SIGABRT {
            libc::raise(signal);
        }
    }
}

/// Writes who did `what`, if plugin code is running. Uses only what a signal handler may.
fn last_words(what: &str) -> bool {
    let who = WHO.load(SeqCst);
    if CALLS.load(SeqCst) == 0 || who.is_null() {
        return false;
    }
    // SAFETY: points to a leaked string.
    let who = unsafe { &*who };
    let call = Call::ALL[CALL.load(SeqCst) as usize % Call::ALL.len()].1;
    say(&[
        "\nerror[",
        Code::PluginExit.as_str(),
        "]: ",
        who,
        " ",
        what,
        " in ",
        call,
        "; finished work of a run is kept\n",
    ]);
    true
}

/// Writes to stderr. Uses only what a signal handler may.
pub(super) fn say(parts: &[&str]) {
    for part in parts {
        // SAFETY: writes a valid buffer to stderr; a failure leaves nothing to do.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
}
