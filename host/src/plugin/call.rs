//! What stands around every call of plugin code: its error becomes ours, the processor's floating-point mode is
//! restored, and if the plugin ends the process, a message on the way out names the plugin.

use super::PluginRecord;
use crate::{Code, Error, Result, interrupt};
use ldalign_abi::{AbiResult, ErrorCode, abi_stable::std_types::RResult};
use std::{
    fmt,
    sync::{
        Once,
        atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
};

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub(super) enum Call {
    /// dlopen and the root module.
    Loading,
    Options,
    New,
    Shape,
    Fit,
    Encode,
    Distances,
    BeginRound,
    Weights,
    Save,
    Load,
    Drop,
}

impl Call {
    const ALL: [(Call, &str); 12] = [
        (Call::Loading, "loading"),
        (Call::Options, "options"),
        (Call::New, "new"),
        (Call::Shape, "shape"),
        (Call::Fit, "fit"),
        (Call::Encode, "encode"),
        (Call::Distances, "distances"),
        (Call::BeginRound, "begin_round"),
        (Call::Weights, "weights"),
        (Call::Save, "save"),
        (Call::Load, "load"),
        (Call::Drop, "Drop"),
    ];
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// The name of a loaded plugin in messages. Lives as long as the process, as the library does.
#[derive(Clone, Copy)]
pub(super) struct Who(&'static String);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Who {
    pub fn new(record: &PluginRecord) -> Self {
        Self(Box::leak(Box::new(record.to_string())))
    }
    /// Runs plugin code that answers with a result.
    pub fn call<T>(self, call: Call, code: impl FnOnce() -> AbiResult<T>) -> Result<T> {
        match self.inside(call, code) {
            RResult::ROk(value) => Ok(value),
            RResult::RErr(e) => Err(self.error(call, e.code, e.message.as_str())),
        }
    }
    /// Runs plugin code.
    pub fn inside<T>(self, call: Call, code: impl FnOnce() -> T) -> T {
        let _inside = Inside::enter(self, call);
        code()
    }
    fn error(self, call: Call, code: ErrorCode, message: &str) -> Error {
        match code {
            ErrorCode::PANIC => Error::new(Code::PluginPanic, format!("{self} panicked in {call}: {message}"))
                .hint("a fault of the plugin: tell its author, or choose another; finished work of a run is kept"),
            ErrorCode::OPTIONS => Error::new(Code::PluginOptions, format!("{self}: options: {message}")),
            ErrorCode::UNSUPPORTED => {
                Error::new(Code::PluginUnsupported, format!("{self} cannot do {call}: {message}"))
            }
            ErrorCode::CANCELLED if interrupt::requested() => interrupt::stopped(),
            _ => Error::new(Code::PluginFailed, format!("{self} failed in {call}: {message}")),
        }
    }
}

// ---- the process while plugin code runs

static CALLS: AtomicUsize = AtomicUsize::new(0);
static WHO: AtomicPtr<String> = AtomicPtr::new(std::ptr::null_mut());
static CALL: AtomicU8 = AtomicU8::new(0);

struct Inside(FloatMode);

impl Inside {
    fn enter(who: Who, call: Call) -> Self {
        WHO.store(std::ptr::from_ref(who.0).cast_mut(), SeqCst);
        CALL.store(call as u8, SeqCst);
        CALLS.fetch_add(1, SeqCst);
        Self(FloatMode::save())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.restore();
        CALLS.fetch_sub(1, SeqCst);
    }
}

/// Rounding and denormal handling. Code built with -ffast-math changes them for the thread that loads it.
#[cfg(target_arch = "x86_64")]
struct FloatMode(u32);

#[cfg(target_arch = "x86_64")]
impl FloatMode {
    fn save() -> Self {
        let mut mode = 0u32;
        // SAFETY: stores the 32-bit control register to a local; baseline SSE on x86_64.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut mode, options(nostack, preserves_flags)) };
        Self(mode)
    }
    fn restore(&self) {
        // SAFETY: loads what `save` stored, hence a valid value without reserved bits.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &self.0, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
struct FloatMode;

#[cfg(not(target_arch = "x86_64"))]
impl FloatMode {
    fn save() -> Self {
        Self
    }
    fn restore(&self) {}
}

/// Makes a plugin that ends the process during a call leave a message and a status other than 0. Nothing can undo abort
/// or exit in process; what a run has finished is on disk already.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
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
    });
}

const SIGNALS: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// The actions that were in place before, such as Rust's own report of a stack overflow; written once, before the
/// handlers exist.
struct Actions(std::cell::UnsafeCell<[std::mem::MaybeUninit<libc::sigaction>; 32]>);

// SAFETY: each entry is written by `watch` before the handler that reads it is installed for that signal.
unsafe impl Sync for Actions {}

static BEFORE: Actions = Actions(std::cell::UnsafeCell::new([std::mem::MaybeUninit::zeroed(); 32]));

impl Actions {
    fn as_ptr(&self, signal: i32) -> *mut libc::sigaction {
        // SAFETY: the signals used here are below 32; all-zero is a valid sigaction.
        unsafe { (*self.0.get())[signal as usize].as_mut_ptr() }
    }
}

extern "C" fn at_exit() {
    if last_words("called exit") {
        // SAFETY: ends the process at once; 70 is EX_SOFTWARE.
        unsafe { libc::_exit(70) };
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
    for part in ["\nerror[plugin/exit]: ", who, " ", what, " in ", call, "; finished work of a run is kept\n"] {
        // SAFETY: writes a valid buffer to stderr; a failure leaves nothing to do.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_listed_in_their_order() {
        for (i, (call, _)) in Call::ALL.iter().enumerate() {
            assert_eq!(*call as usize, i);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_floating_point_mode_is_put_back() {
        const FLUSH_TO_ZERO: u32 = 1 << 15;
        let who = Who(Box::leak(Box::new("test".into())));
        let before = FloatMode::save().0;
        let during = who.inside(Call::New, || {
            FloatMode(before | FLUSH_TO_ZERO).restore();
            FloatMode::save().0
        });
        assert_eq!((during, FloatMode::save().0), (before | FLUSH_TO_ZERO, before));
    }
}
