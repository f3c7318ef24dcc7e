//! Progress of long work: a bar on a terminal, a line now and then elsewhere; always on stderr.

use crate::terminal::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on no progress is shown.
pub fn quiet() {
    QUIET.store(true, Relaxed);
}

/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// A line on stderr. Where nobody reads it any more work goes on, which `eprintln!` would end in a panic.
pub fn say(line: fmt::Arguments) {
    let _ = writeln!(io::stderr(), "{}", printable(&line.to_string(), io::stderr().is_terminal()));
}

/// One piece of work with a known number of parts.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    start: (Instant, u64),
    last: Instant,
}

impl Progress {
    /// Starts reporting `name` at `done` of `total` parts (`done` > 0 after a resume).
    pub fn new(name: impl Into<String>, done: u64, total: u64) -> Self {
        let name = printable(&name.into(), false).into_owned();
        let bar = (io::stderr().is_terminal() && !QUIET.load(Relaxed)).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{prefix:<24} {bar:28} {pos}/{len} {elapsed}<{eta} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
            bar.set_prefix(name.clone());
            bar.set_position(done);
            bar
        });
        let now = Instant::now();
        Self { name, bar, total, done, start: (now, done), last: now }
    }
    /// `n` more parts are done; `note` is shown beside them.
    pub fn advance(&mut self, n: u64, note: &str) {
        self.done += n;
        if let Some(bar) = &self.bar {
            bar.set_message(printable(note, false).into_owned());
            bar.set_position(self.done);
        } else if self.last.elapsed() >= EVERY && !QUIET.load(Relaxed) {
            self.last = Instant::now();
            let rate = (self.done - self.start.1) as f64 / self.start.0.elapsed().as_secs_f64();
            let left = self.total.saturating_sub(self.done) as f64 / rate.max(1e-9);
            say(format_args!("{}: {}/{} ({left:.0} s left) {note}", self.name, self.done, self.total));
        }
    }
    /// Parts done.
    pub fn done(&self) -> u64 {
        self.done
    }
    /// Ends the work with a last line.
    pub fn finish(self, note: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if QUIET.load(Relaxed) {
            return;
        }
        let seconds = self.start.0.elapsed().as_secs_f64();
        say(format_args!("{}: {}/{} in {seconds:.1} s {note}", self.name, self.done, self.total));
    }
}
