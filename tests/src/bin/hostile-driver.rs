//! `hostile-driver TARGET SEED FROM TO SECONDS`: has an entry point read inputs, within bounds that end this process.
//!
//! Says on stdout `at N` before each, `panic N WHAT` where one panics, `taken N` and `refused N` after it.

use ldalign_tests::hostile::{MEMORY, corpus, mutated, target};
use std::{cell::RefCell, io::Write, panic, process::ExitCode};

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

fn limit(what: libc::__rlimit_resource_t, most: u64) {
    let most = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: sets a limit of this process from a valid struct.
    assert_eq!(unsafe { libc::setrlimit(what, &most) }, 0);
}

/// Ends this process by a signal unless it is called again before: by its own time, and by a clock for one that waits.
fn begin(seconds: u32) {
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: seconds.into(), tv_usec: 0 },
    };
    // SAFETY: sets timers of this process from a valid struct.
    unsafe {
        libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut());
        libc::alarm(12 * seconds);
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize| args.get(i).and_then(|text| text.parse::<u64>().ok());
    let target = args.first().and_then(|name| target(name));
    let (Some(target), Some(seed), Some(from), Some(to), Some(seconds)) =
        (target, number(1), number(2), number(3), number(4))
    else {
        eprintln!("expected TARGET SEED FROM TO SECONDS");
        return ExitCode::from(2);
    };
    let (corpus, _) = corpus::of(target.name);
    limit(libc::RLIMIT_CORE, 0);
    limit(libc::RLIMIT_AS, MEMORY);
    panic::set_hook(Box::new(|info| LAST.with(|last| *last.borrow_mut() = info.to_string())));
    let mut out = std::io::stdout();
    let mut say = |text: String| writeln!(out, "{text}").and_then(|()| out.flush()).expect("somebody listens");
    for n in from..to {
        // The corpus as it is comes first.
        let input = corpus.get(n as usize).cloned().unwrap_or_else(|| mutated(&corpus, seed, n));
        say(format!("at {n}"));
        begin(seconds as u32);
        match panic::catch_unwind(|| (target.read)(&input)) {
            Ok(taken) => say(format!("{} {n}", if taken { "taken" } else { "refused" })),
            Err(_) => say(format!("panic {n} {}", LAST.with(|last| last.borrow().replace('\n', " / ")))),
        }
    }
    ExitCode::SUCCESS
}
