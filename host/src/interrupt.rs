//! SIGINT and SIGTERM set a flag, which long work looks at between its steps.

use crate::{Code, Error, Result};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(Arc::default)
}

/// Installs the handlers: the first signal asks for a clean stop, the second ends the process at once. A limit on the
/// size of files is an error of the write that meets it, not a signal that ends the process.
pub fn install() -> std::io::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Order matters: the second signal finds the flag set by the first.
        signal_hook::flag::register_conditional_shutdown(signal, 130, flag().clone())?;
        signal_hook::flag::register(signal, flag().clone())?;
    }
    // SAFETY: the signal is ignored from here on.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    Ok(())
}

/// Whether a stop was asked for.
pub fn requested() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Fails with [`Code::RunInterrupted`] if a stop was asked for. Call it where everything done so far is safe on disk.
pub fn check() -> Result<()> {
    if requested() { Err(stopped()) } else { Ok(()) }
}

/// The error of work that ends because a stop was asked for.
pub fn stopped() -> Error {
    Error::new(Code::RunInterrupted, "stopped by a signal").hint("run the same command again to go on from here")
}
