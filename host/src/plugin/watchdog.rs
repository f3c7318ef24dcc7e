//! Plugins that do not return: one that shows no sign of life for the config's `plugin_timeout` ends the run with a
//! message that names it and the call, one that does not hear that a stop was asked for ends it after a moment, and so
//! does one in whose call the process comes to hold more memory than `plugin_memory`.
//!
//! A sign of life is the beginning of a call, and whatever the plugin asks of the host meanwhile. Time is counted in
//! looks, so that none passes while the process is stopped, and none while the host serves a plugin.

use super::{
    exit,
    who::{Call, Who},
};
use crate::{Code, interrupt, machine};
use std::{
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How often the calls are looked at.
const LOOKS: Duration = Duration::from_millis(100);
/// How long a call may go on once a stop was asked for: less than the half minute after which batch systems kill.
const GRACE: Duration = Duration::from_secs(20);

/// The calls of plugins that have not returned.
static CALLS: Mutex<Vec<(u64, Who, Call)>> = Mutex::new(Vec::new());
/// How many signs of life there were.
static SIGNS: AtomicU64 = AtomicU64::new(0);
/// How many services of the host are at work.
static SERVING: AtomicU64 = AtomicU64::new(0);
/// Seconds without one after which a plugin has failed; 0 for no limit.
static LIMIT: AtomicU64 = AtomicU64::new(0);
/// Bytes that the process may hold while a plugin is called; 0 for no limit.
static MEMORY: AtomicU64 = AtomicU64::new(0);

/// A call that has begun, until it is dropped.
pub(super) struct Watched(u64);

impl Watched {
    pub fn new(who: Who, call: Call) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        alive();
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).push((number, who, call));
        Self(number)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, ..)| *number != self.0);
    }
}

/// A plugin has shown a sign of life.
pub fn alive() {
    SIGNS.fetch_add(1, Relaxed);
}

/// A service of the host at work, until it is dropped: the time is the host's.
pub struct Serving(());

impl Serving {
    /// It begins.
    pub fn begin() -> Self {
        SERVING.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        alive();
        SERVING.fetch_sub(1, Relaxed);
    }
}

/// How long a call may show no sign of life; None for no limit.
pub fn call_limit() -> Option<Duration> {
    Some(Duration::from_secs(LIMIT.load(Relaxed))).filter(|limit| !limit.is_zero())
}

/// Watches all calls from here on, with the latest limits of time and bytes; zero for none.
pub(super) fn watch(limit: Duration, memory: u64) {
    static ONCE: Once = Once::new();
    LIMIT.store(limit.as_secs(), Relaxed);
    MEMORY.store(memory, Relaxed);
    ONCE.call_once(|| {
        // Where no thread can be had, calls go unwatched.
        let _ = std::thread::Builder::new().name("watchdog".into()).spawn(look);
    });
}

fn look() {
    // Looks at a call since a stop was asked for, and looks without a sign of life.
    let (mut asked, mut quiet, mut signs) = (None, 0u32, 0);
    loop {
        std::thread::sleep(LOOKS);
        let oldest = CALLS.lock().unwrap_or_else(PoisonError::into_inner).first().copied();
        let Some((number, who, call)) = oldest else {
            (asked, quiet) = (None, 0);
            continue;
        };
        let (limit, call) = (LIMIT.load(Relaxed), Call::ALL[call as usize].1);
        if interrupt::requested() {
            asked = match asked {
                Some((of, looks)) if of == number => Some((of, looks + 1)),
                _ => {
                    let what = " is still in ";
                    exit::say(&["\nstopping: ", who.0, what, call, "; a second signal ends the run at once\n"]);
                    Some((number, 0))
                }
            };
            if asked.is_some_and(|(_, looks)| LOOKS * looks > GRACE) {
                let what = " did not hear that a stop was asked for, in ";
                exit::say(&["\nerror[run/interrupted]: ", who.0, what, call, "; finished work of a run is kept\n"]);
                exit::exit(130);
            }
        }
        let now = SIGNS.load(Relaxed);
        quiet = if now != signs || SERVING.load(Relaxed) > 0 { 0 } else { quiet + 1 };
        signs = now;
        if limit > 0 && (LOOKS * quiet).as_secs() >= limit {
            let seconds = limit.to_string();
            let what = [who.0, " has not returned from ", call, " nor asked anything for ", &seconds, " s"];
            exit::fail(Code::PluginTimeout, &what, "hint: tell its author, choose another, or raise plugin_timeout\n");
        }
        let most = MEMORY.load(Relaxed);
        if most > 0 && machine::resident().is_some_and(|held| held > most) {
            let most = machine::size(most);
            let what = [who.0, " is in ", call, ", and the process holds more than the ", &most, " of plugin_memory"];
            exit::fail(Code::PluginMemory, &what, "hint: tell its author, choose another, or raise plugin_memory\n");
        }
    }
}
