//! What stands around every call of plugin code: its error becomes ours, and the processor's floating-point mode and
//! the process's signals are restored. What happens where a plugin does not return is [`super::exit`]'s and
//! [`super::watchdog`]'s.

use super::{
    exit, watchdog,
    who::{Call, Who},
};
use crate::{Code, Error, Result, interrupt, terminal};
use ldalign_abi::{AbiResult, ErrorCode, abi_stable::std_types::RResult};

impl Who {
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
        let message = terminal::cut(message, LONGEST);
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

/// The most bytes of a plugin's message that are shown.
const LONGEST: usize = 4000;

struct Inside {
    who: Who,
    call: Call,
    mode: FloatMode,
    _watched: watchdog::Watched,
}

impl Inside {
    fn enter(who: Who, call: Call) -> Self {
        exit::enter(who, call);
        Self { who, call, _watched: watchdog::Watched::new(who, call), mode: FloatMode::save() }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.mode.restore();
        exit::leave(self.who, self.call);
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

#[cfg(test)]
mod tests {
    use super::*;

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
