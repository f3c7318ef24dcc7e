//! Trying a plugin out in a child process, where an abort, a hang or exit(0) costs nothing.
//!
//! The child loads the library, validates the options, and builds and drops an instance with a host that has no model. It tells each step on
//! stdout in lines that begin with a number only this probe knows, so that neither a plugin's own output nor an early exit(0) passes for success.

use super::{Finder, Kind, Plugin, PluginRecord, Services, call::Call};
use crate::{Error, Result};
use ldalign_sdk::Sample;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fs::File,
    hash::{BuildHasher, Hasher},
    io::{Read, Seek, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::Arc,
};
use wait_timeout::ChildExt;

/// First argument with which a program is asked to run [`probe_main`].
pub const COMMAND: &str = "__probe";

/// What the child is asked to do.
#[derive(Serialize, Deserialize)]
struct Request {
    nonce: String,
    path: PathBuf,
    record: PluginRecord,
}

/// A step the child reports.
#[derive(Debug, Serialize, Deserialize)]
enum Step {
    Begins(Call),
    Refused { code: String, message: String, hint: Option<String> },
    Done,
}

/// Error codes that a child's refusal keeps.
const CODES: [&str; 7] =
    ["plugin/load", "plugin/layout", "plugin/options", "plugin/panic", "plugin/failed", "plugin/output", "file/io"];

/// Runs the probe for a plugin; an error says in which step it failed and how.
pub(super) fn probe(finder: &Finder, path: &Path, record: &PluginRecord) -> Result<()> {
    let broken = |what: &'static str| {
        move |e: std::io::Error| Error::new("plugin/probe", format!("cannot {what} to try the plugin out")).caused_by(e)
    };
    let nonce = format!("{:016x}", std::hash::RandomState::new().build_hasher().finish());
    let request = Request { nonce: nonce.clone(), path: path.to_owned(), record: record.clone() };
    let request = serde_json::to_string(&request).expect("paths and strings become JSON");
    let file = || tempfile::tempfile().map_err(broken("make a temporary file"));
    let (mut out, mut err) = (file()?, file()?);
    let stdio = |f: &File| f.try_clone().map(Stdio::from).map_err(broken("make a temporary file"));
    let mut child = Command::new(&finder.probe_program)
        .args([COMMAND, &request])
        .stdin(Stdio::null())
        .stdout(stdio(&out)?)
        .stderr(stdio(&err)?)
        .spawn()
        .map_err(broken("start a child process"))?;
    let status = child.wait_timeout(finder.probe_limit).map_err(broken("wait for a child process"))?;
    if status.is_none() {
        // Already gone is as good as killed.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |f: &mut File| {
        let mut text = Vec::new();
        f.rewind().and_then(|()| f.read_to_end(&mut text)).map_err(broken("read what it said"))?;
        Ok::<_, Error>(String::from_utf8_lossy(&text).into_owned())
    };
    let (out, err) = (text(&mut out)?, text(&mut err)?);
    let mut steps = out.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(&nonce)?).ok());
    let how = match (steps.next_back(), status) {
        (Some(Step::Done), _) => return Ok(()),
        (Some(Step::Refused { code, message, hint }), _) => {
            let code = CODES.into_iter().find(|c| *c == code).unwrap_or("plugin/probe");
            let refused = Error::new(code, message);
            return Err(match hint {
                Some(hint) => refused.hint(hint),
                None => refused,
            });
        }
        (Some(Step::Begins(call)), Some(status)) => format!("{} in {call}", ended(status)),
        (Some(Step::Begins(call)), None) => format!("did not return from {call} in {:?}", finder.probe_limit),
        (None, _) => {
            let program = finder.probe_program.display();
            return Err(Error::new("plugin/probe", format!("{program} does not try plugins out when asked to: {err}")));
        }
    };
    let said = match err.trim() {
        "" => String::new(),
        said => format!("; it said: {}", said.lines().map(str::trim).collect::<Vec<_>>().join(" / ")),
    };
    Err(Error::new("plugin/probe", format!("{record} {how}{said}"))
        .hint("a fault of the plugin, seen in a child process: tell its author, or choose another"))
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("called exit({code})"),
        (None, Some(libc::SIGABRT)) => "aborted (SIGABRT)".into(),
        (None, Some(libc::SIGSEGV)) => "touched memory it does not own (SIGSEGV)".into(),
        (None, Some(libc::SIGBUS)) => "touched memory that is not there (SIGBUS)".into(),
        (None, Some(libc::SIGILL)) => "used an instruction this processor lacks (SIGILL)".into(),
        (None, signal) => format!("died of signal {}", signal.unwrap_or_default()),
    }
}

/// The child's main, given the arguments after [`COMMAND`]. For the program's `main`, before anything else.
pub fn probe_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let request = args.next().and_then(|a| a.into_string().ok()).and_then(|a| serde_json::from_str(&a).ok());
    let Some(Request { nonce, path, record }) = request else {
        eprintln!("{COMMAND} is for the program's own use");
        return ExitCode::from(2);
    };
    // A plugin that crashes here is an answer, not something to leave a core file for.
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: sets a limit of this process from a valid struct.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
    let say = |step: Step| {
        let line = serde_json::to_string(&step).expect("steps become JSON");
        let mut out = std::io::stdout().lock();
        // With nobody listening there is nothing to say; the newline first ends what a plugin may have left unfinished.
        let _ = writeln!(out, "\n{nonce}{line}").and_then(|()| out.flush());
    };
    match try_out(&path, record, &say) {
        Ok(()) => say(Step::Done),
        Err(e) => {
            say(Step::Refused { code: e.code().into(), message: e.to_string(), hint: e.hint_text().map(str::to_owned) })
        }
    }
    // Not through exit: handlers that the plugin registered have nothing more to add.
    // SAFETY: ends the process; everything said is flushed.
    unsafe { libc::_exit(0) }
}

fn try_out(path: &Path, record: PluginRecord, say: &impl Fn(Step)) -> Result<()> {
    say(Step::Begins(Call::Loading));
    let plugin = Plugin::load(path, record)?;
    say(Step::Begins(Call::Options));
    plugin.validate_options()?;
    say(Step::Begins(Call::New));
    let host = Arc::new(NoModel);
    let close: Box<dyn FnOnce() -> Result<()>> = match plugin.record.kind {
        Kind::Encoder => built(plugin.encoder(host), |i| i.close()),
        Kind::Distance => built(plugin.distance(host), |i| i.close()),
        Kind::Schedule => built(plugin.schedule(host), |i| i.close()),
    }?;
    say(Step::Begins(Call::Drop));
    close()
}

/// How to end an instance, if there is one: a plugin that needs a model says so here, and is built in earnest later.
fn built<I: 'static>(instance: Result<I>, close: fn(I) -> Result<()>) -> Result<Box<dyn FnOnce() -> Result<()>>> {
    match instance {
        Ok(instance) => Ok(Box::new(move || close(instance))),
        Err(e) if e.code() == "plugin/unsupported" => Ok(Box::new(|| Ok(()))),
        Err(e) => Err(e),
    }
}

/// The host a plugin meets in the probe.
struct NoModel;

impl Services for NoModel {
    fn model(&self) -> Option<super::ModelFacts> {
        None
    }
    fn hidden_states(&self, _: &[Sample<'_>], _: usize, _: super::Pooling, _: &mut [f32]) -> Result<()> {
        Err(Error::new("plugin/no-model", "no model is loaded yet"))
    }
    fn seed(&self) -> u64 {
        0
    }
    fn threads(&self) -> usize {
        1
    }
}
