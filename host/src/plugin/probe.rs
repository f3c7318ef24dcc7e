//! Trying a plugin out in a child process, where an abort, a hang or exit(0) costs nothing.
//!
//! The child loads the library, validates the options, and builds and drops an instance with a host that has no model, telling each step.

use super::{Finder, NoModel, Plugin, PluginRecord, call::Call, conformance, load};
use crate::{Code, Error, Result, library::Kind};
use ldalign_conformance::{
    Job,
    child::{self, Voice},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

/// First argument with which a program is asked to run [`probe_main`].
pub const COMMAND: &str = "__probe";

/// What the child is asked to do.
#[derive(Serialize, Deserialize)]
pub(super) enum Question {
    /// Load a plugin and build an instance.
    Try { path: PathBuf, record: PluginRecord },
    /// Load a library and ask it for the schema of a plugin's options.
    Schema { path: PathBuf, kind: String, id: String },
    /// Run one check of the conformance suite on a library.
    Check { path: PathBuf, job: Job },
}

/// A step the child reports.
#[derive(Debug, Serialize, Deserialize)]
enum Step {
    Begins(Call),
    Refused { code: Code, message: String, hint: Option<String> },
    Schema(serde_json::Value),
    Done,
}

/// Error codes that a child's refusal keeps.
const KEPT: [Code; 7] = [
    Code::PluginLoad,
    Code::PluginLayout,
    Code::PluginOptions,
    Code::PluginPanic,
    Code::PluginFailed,
    Code::PluginOutput,
    Code::FileIo,
];

/// Runs the probe for a plugin; an error says in which step it failed and how.
pub(super) fn probe(finder: &Finder, path: &Path, record: &PluginRecord) -> Result<()> {
    let question = Question::Try { path: path.to_owned(), record: record.clone() };
    asked(finder, &question, record).map(drop)
}

/// JSON schema of the options of (kind, id) in a library that [`super::inspect`] has taken, asked in a child process.
///
/// # Errors
/// The library cannot be loaded, knows no such plugin, or ends the child.
pub fn options_schema(finder: &Finder, path: &Path, kind: &str, id: &str) -> Result<serde_json::Value> {
    // Also for dlopen, which searches system directories for a bare name.
    let path = path.canonicalize().map_err(|e| crate::files::io_error(path, "open", e))?;
    let who = format!("{}: {kind} `{id}`", path.display());
    let question = Question::Schema { path, kind: kind.into(), id: id.into() };
    match asked(finder, &question, &who)?.pop() {
        Some(Step::Schema(schema)) => Ok(schema),
        _ => Err(Error::new(Code::PluginProbe, format!("{who}: its options' schema was not told"))),
    }
}

/// Asks a child and returns the steps it told, the last of them before `Done`.
fn asked(finder: &Finder, question: &Question, who: &dyn fmt::Display) -> Result<Vec<Step>> {
    let mut answer = child::ask(question, finder.probe_limit, |text| command(finder, text)).map_err(|e| {
        Error::new(Code::PluginProbe, "cannot start a child process to try the plugin out").caused_by(e)
    })?;
    let how = match answer.said.pop() {
        Some(Step::Done) => return Ok(answer.said),
        Some(Step::Refused { code, message, hint }) => {
            let code = if KEPT.contains(&code) { code } else { Code::PluginProbe };
            let refused = Error::new(code, message);
            return Err(match hint {
                Some(hint) => refused.hint(hint),
                None => refused,
            });
        }
        Some(Step::Begins(call)) => answer.how_it_ended(&call.to_string(), finder.probe_limit),
        Some(Step::Schema(_)) => answer.how_it_ended(&Call::Options.to_string(), finder.probe_limit),
        None => {
            let (program, err) = (finder.probe_program.display(), &answer.stderr);
            return Err(Error::new(
                Code::PluginProbe,
                format!("{program} does not try plugins out when asked to: {err}"),
            ));
        }
    };
    Err(Error::new(Code::PluginProbe, format!("{who} {how}{}", answer.complaint()))
        .hint("a fault of the plugin, seen in a child process: tell its author, or choose another"))
}

/// The program of the child, asked a question.
pub(super) fn command(finder: &Finder, question: &str) -> Command {
    let mut command = Command::new(&finder.probe_program);
    command.args([COMMAND, question]);
    command
}

/// The child's main, given the arguments after [`COMMAND`]. For the program's `main`, before anything else.
pub fn probe_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some((question, voice)) = args.next().and_then(|a| Voice::hear(a.to_str()?)) else {
        crate::progress::say(format_args!("{COMMAND} is for the program's own use"));
        return ExitCode::from(2);
    };
    let say = |step| voice.say(&step);
    let done = match question {
        Question::Try { path, record } => try_out(&path, record, &say),
        Question::Schema { path, kind, id } => schema(&path, &kind, &id, &say),
        Question::Check { path, job } => {
            conformance::answer(&path, &job, &voice);
            voice.end()
        }
    };
    match done {
        Ok(()) => say(Step::Done),
        Err(e) => say(Step::Refused { code: e.code(), message: e.to_string(), hint: e.hint_text().map(str::to_owned) }),
    }
    voice.end()
}

fn schema(path: &Path, kind: &str, id: &str, say: &impl Fn(Step)) -> Result<()> {
    say(Step::Begins(Call::Loading));
    let module = load::open(path).map_err(|e| e.at(path.display()))?;
    say(Step::Begins(Call::Options));
    let failed = |why: String| Error::new(Code::PluginFailed, format!("{}: {kind} `{id}`: {why}", path.display()));
    let text = module.options_schema()(kind.into(), id.into()).into_result().map_err(|e| failed(e.message.into()))?;
    say(Step::Schema(serde_json::from_str(&text).map_err(|e| failed(format!("its options' schema is no JSON: {e}")))?));
    Ok(())
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
        Err(e) if e.code() == Code::PluginUnsupported => Ok(Box::new(|| Ok(()))),
        Err(e) => Err(e),
    }
}
