//! Asking a child process, where an abort, a hang or exit(0) of a plugin costs nothing.
//!
//! The question travels as one JSON text, in an argument or a variable as the asker likes. The child answers on stdout,
//! in lines that begin with a number only this question knows, so that neither a plugin's own output nor an early
//! exit(0) passes for an answer.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    hash::{BuildHasher, Hasher},
    io::{self, Read, Seek, Write},
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, process::ExitStatusExt},
    },
    process::{Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};
use wait_timeout::ChildExt;

/// Bytes of each file that a child may write, and so of its stdout and of its stderr.
const WRITES: u64 = 256 << 20;

/// Exit status of a child that can say nothing more, since what it answers with was closed.
const MUTE: i32 = 75;

/// How often a child's memory is looked at.
const LOOKS: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
struct Envelope<Q> {
    nonce: String,
    question: Q,
}

/// What came of a question.
pub struct Answer<S> {
    /// What the child said, in order.
    pub said: Vec<S>,
    /// How it ended; None where it was stopped at the limit.
    pub ended: Option<ExitStatus>,
    /// Whether it was stopped because it took half of the machine's memory.
    pub exhausts: bool,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Runs the command that `ask` makes of the question's text, for no longer than `limit`.
///
/// # Errors
/// The child cannot be started, waited for, or listened to.
pub fn ask<Q: Serialize, S: DeserializeOwned>(
    question: &Q,
    limit: Duration,
    ask: impl FnOnce(&str) -> Command,
) -> io::Result<Answer<S>> {
    ask_within(question, limit, most_memory(), ask)
}

fn ask_within<Q: Serialize, S: DeserializeOwned>(
    question: &Q,
    limit: Duration,
    most: u64,
    ask: impl FnOnce(&str) -> Command,
) -> io::Result<Answer<S>> {
    let nonce = format!("{:016x}", std::hash::RandomState::new().build_hasher().finish());
    let text = serde_json::to_string(&Envelope { nonce: nonce.clone(), question })?;
    // Files, not pipes: a child that says much cannot block on a parent that waits for its end.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = ask(&text).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?).spawn()?;
    let begin = Instant::now();
    let (ended, exhausts) = loop {
        let ended = child.wait_timeout(LOOKS.min(limit))?;
        let exhausts = ended.is_none() && held(child.id()) > most;
        if ended.is_some() || exhausts || begin.elapsed() >= limit {
            break (ended, exhausts);
        }
    };
    if ended.is_none() {
        // Already gone is as good as killed.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |f: &mut File| {
        let mut text = Vec::new();
        // The limit of the child itself holds from its first answer on only.
        f.rewind().and_then(|()| f.take(WRITES).read_to_end(&mut text))?;
        io::Result::Ok(String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    };
    let (out, stderr) = (text(&mut out)?, text(&mut err)?);
    let said = out.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(&nonce)?).ok()).collect();
    Ok(Answer { said, ended, exhausts, stderr })
}

impl<S> Answer<S> {
    /// How a child that did not finish in a call came to its end, in words that follow the plugin's name.
    pub fn how_it_ended(&self, call: &str, limit: Duration) -> String {
        if self.exhausts {
            return format!("took half of the machine's memory in {call}");
        }
        let Some(status) = self.ended else { return format!("did not return from {call} in {limit:?}") };
        match (status.code(), status.signal()) {
            (Some(MUTE), _) => format!("closed descriptors that are not its own in {call}"),
            (Some(code), _) => format!("called exit({code}) in {call}"),
            (None, Some(libc::SIGABRT)) => format!("aborted (SIGABRT) in {call}"),
            (None, Some(libc::SIGSEGV)) => format!("touched memory it does not own (SIGSEGV) in {call}"),
            (None, Some(libc::SIGBUS)) => format!("touched memory that is not there (SIGBUS) in {call}"),
            (None, Some(libc::SIGILL)) => format!("used an instruction this processor lacks (SIGILL) in {call}"),
            (None, Some(libc::SIGXFSZ)) => format!("wrote more than {} MiB in {call}", WRITES >> 20),
            (None, signal) => format!("died of signal {} in {call}", signal.unwrap_or_default()),
        }
    }
    /// The end of what it wrote to stderr as an addition to a message: empty, or `; it said: ...` in one line.
    pub fn complaint(&self) -> String {
        let said = self.stderr.trim();
        let start = said.char_indices().rev().nth(1999).map_or(0, |(at, _)| at);
        match &said[start..] {
            "" => String::new(),
            said => format!("; it said: {}", said.lines().map(str::trim).collect::<Vec<_>>().join(" / ")),
        }
    }
}

/// The most bytes that a child may hold in RAM: half of the machine's. A limit of the system would count addresses, of
/// which an allocator may reserve as many as it can get.
fn most_memory() -> u64 {
    // SAFETY: asks for a figure of the system.
    let pages = u64::try_from(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) });
    pages.map_or(u64::MAX, |pages| pages * crate::memory::page() as u64 / 2)
}

/// Bytes that a process holds in RAM; 0 where the system does not say.
fn held(process: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{process}/statm")).ok();
    let pages = pages.and_then(|s| s.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * crate::memory::page() as u64
}

/// The child's side of a question.
pub struct Voice {
    nonce: String,
    /// A copy of stdout, which a plugin or a check may close or redirect.
    out: Mutex<File>,
    /// The file that it leads to, by device and number.
    place: (u64, u64),
}

fn place(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|data| (data.dev(), data.ino()))
}

impl Voice {
    /// The question of a text that [`ask`] made, and the voice to answer with; None for any other text.
    pub fn hear<Q: DeserializeOwned>(text: &str) -> Option<(Q, Voice)> {
        let Envelope { nonce, question } = serde_json::from_str(text).ok()?;
        let out = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
        // A plugin that crashes here is an answer, not something to leave a core file for.
        // One that prints without end fills no disk: the signal that the asker may ignore ends it.
        // SAFETY: the signal has its default action from here on.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
        for (what, most) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_FSIZE, WRITES)] {
            let most = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: sets a limit of this process from a valid struct.
            unsafe { libc::setrlimit(what, &most) };
        }
        let place = place(&out).ok()?;
        Some((question, Voice { nonce, out: Mutex::new(out), place }))
    }
    /// Says something, or ends the process where its copy of stdout was closed or has become another file.
    pub fn say<S: Serialize>(&self, step: &S) {
        let line = serde_json::to_string(step).unwrap_or_default();
        let mut out = self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if place(&out).ok() != Some(self.place) {
            // SAFETY: ends the process.
            unsafe { libc::_exit(MUTE) }
        }
        // With nobody listening there is nothing to say; the newline first ends what a plugin may have left unfinished.
        let _ = out.write_all(format!("\n{}{line}\n", self.nonce).as_bytes());
    }
    /// Ends the process, but not through exit: handlers that the plugin registered have nothing more to add.
    pub fn end(self) -> ! {
        // SAFETY: ends the process; everything said is written.
        unsafe { libc::_exit(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a shell that runs a script, which may hold 64 MiB.
    fn shell(script: &str) -> Answer<()> {
        let limit = Duration::from_secs(60);
        let command = |_: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            shell
        };
        ask_within(&"", limit, 64 << 20, command).expect("a shell starts")
    }

    #[test]
    fn a_child_that_takes_too_much_memory_is_stopped() {
        let said = |answer: &Answer<()>| answer.how_it_ended("new", Duration::from_secs(60));
        let greedy = shell("x=$(head -c 200000000 /dev/zero | tr '\\0' a); sleep 60");
        assert!(greedy.exhausts && greedy.ended.is_none(), "{}", said(&greedy));
        assert_eq!(said(&greedy), "took half of the machine's memory in new");
        let modest = shell("exit 3");
        assert_eq!((modest.exhausts, said(&modest).as_str()), (false, "called exit(3) in new"));
    }
}
