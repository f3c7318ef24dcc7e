//! What an instance owes from its making to its end: it comes and goes without a trace.

use super::{fail, library::silent};
use crate::{
    memory::At,
    process::{self, Memory, Process},
    subject::{Context, Stop},
    suite::{About, Check},
};
use std::time::{Duration, Instant};

const fn check(id: &'static str, sentence: &'static str, run: fn(&Context<'_>) -> Result<(), Stop>) -> Check {
    Check { id, sentence, about: About::Plugin, run }
}

/// The checks of this file.
pub const CHECKS: &[Check] = &[
    check("instance/life", "An instance is built, learns, works and ends", |c| match life(c) {
        // Whatever is skipped for want of an instance, or of latents that it takes, is a fault once: nothing else would
        // show it.
        Err(Stop::Skip(why)) if c.missing_options()?.is_empty() => fail(why),
        lived => lived,
    }),
    check(
        "instance/ends-elsewhere",
        "An instance may work and end on another thread than the one that built it",
        |c| {
            let mut subject = c.learned(c.host())?;
            std::thread::scope(|scope| {
                let used = scope.spawn(move || {
                    subject.run(&[0, 1], At::PLAIN)?;
                    subject.close()
                });
                used.join().expect("a guarded call does not panic")
            })?;
            Ok(())
        },
    ),
    check("instance/closed", "Calls after the end of an instance are refused", |c| {
        let mut subject = c.learned(c.host())?;
        subject.close()?;
        match subject.run(&[0], At::PLAIN) {
            Err(_) => Ok(()),
            Ok(_) => fail("it works on after it was closed"),
        }
    }),
    check("instance/prints-nothing", "Nothing is written to stdout, which carries the host's data", |c| {
        c.module()?;
        silent(|| life(c))
    }),
    check("instance/leaves-process-alone", "No signal, working directory or floating-point mode is changed", |c| {
        c.module()?;
        let before = Process::now();
        let mut subject = c.build(c.host())?;
        let same = |what: &str| match Process::now().changed_since(&before) {
            Some(changes) => fail(format!("{what} changed {changes}")),
            None => Ok(()),
        };
        same("building, or a first call,")?;
        subject.learn()?;
        same("learning")?;
        subject.run(&[0, 1, 2], At::PLAIN)?;
        same("working")?;
        subject.close()?;
        drop(subject);
        same("the end")
    }),
    check("instance/threads-end", "Threads that an instance starts end with it", |c| {
        // A pool that the library makes once and keeps is no fault; so the first instance does not count.
        life(c)?;
        let before = process::threads();
        let lives = 4;
        (0..lives).try_for_each(|_| life(c))?;
        match process::threads_settled(before) {
            now if now > before => fail(format!("{lives} instances came and went, {} threads stayed", now - before)),
            _ => Ok(()),
        }
    }),
    check(
        "instance/memory",
        "Building, using and ending instances over and over takes no more and more memory",
        memory,
    ),
];

/// Builds an instance, lets it learn and work, and ends it.
fn life(c: &Context<'_>) -> Result<(), Stop> {
    let mut subject = c.learned(c.host())?;
    let picks: Vec<usize> = (0..subject.items()).collect();
    subject.run(&picks, At::PLAIN)?;
    Ok(subject.close()?)
}

/// Windows in each of which a leak must show: what fills up once, such as a cache, is none.
const WINDOWS: usize = 4;
/// Lives in a window, unless the first window's worth takes too long.
const LIVES: usize = 2000;
/// Of the processor and on the clock: neither a machine that is busy with other things nor many threads at once must
/// leave too few lives for a leak to show.
const TIME: Duration = Duration::from_millis(300);
/// On the clock in any case, for plugins that wait: all windows must fit a check's time limit.
const PATIENCE: Duration = Duration::from_secs(2);

fn memory(c: &Context<'_>) -> Result<(), Stop> {
    let (start, worked) = (Instant::now(), process::cpu_time());
    let in_time = || {
        let (clock, worked) = (start.elapsed(), process::cpu_time().saturating_sub(worked));
        clock < PATIENCE && (clock < TIME || worked < TIME)
    };
    let mut each = 0;
    // What is allocated once is, before the first window.
    while each < LIVES && in_time() || each < 2 {
        life(c)?;
        each += 1;
    }
    let mut grown = Vec::with_capacity(WINDOWS);
    for _ in 0..WINDOWS {
        let before = Memory::now();
        (0..each).try_for_each(|_| life(c))?;
        let after = Memory::now();
        grown.push((after.heap.saturating_sub(before.heap), after.resident.saturating_sub(before.resident)));
    }
    let heap = grown.iter().map(|g| g.0).min().unwrap_or(0);
    let resident = grown.iter().map(|g| g.1).min().unwrap_or(0);
    // A few lives prove little: what is freed later, as by epochs, looks like a leak. Resident memory comes in pages.
    match heap > (8 * each as u64).max(16 << 10) || resident > (64 * each as u64).max(1 << 20) {
        true => fail(format!(
            "each instance leaves at least {} bytes behind, over {} of them",
            heap.max(resident) / each as u64,
            WINDOWS * each
        )),
        false => Ok(()),
    }
}
