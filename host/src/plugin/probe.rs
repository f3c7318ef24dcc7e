//! Trying a plugin out in a child process, where an abort, a hang or exit(0) costs nothing.
//!
//! The child loads the library, validates the options, and builds and drops an instance with a host that has no model,
//! telling each step.

use super::{
    Finder, NoModel, Plugin, PluginRecord, load,
    question::{Question, command},
    who::Call,
};
use crate::{
    Code, Error, Result,
    library::{self, Kind},
};
use ldalign_conformance::child::{self, Voice};
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path, sync::Arc};

/// What the child tells of a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
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
    let question = Question::Try { path: path.to_owned(), record: record.clone(), base: finder.directory.clone() };
    asked(finder, &question, record).map(drop)
}

/// JSON schema of the options of (kind, id) in a library, asked in a child process.
///
/// # Errors
/// The library is refused by [`inspect()`](crate::library::inspect()), cannot be loaded, knows no such plugin, or ends
/// the child.
pub fn options_schema(finder: &Finder, path: &Path, kind: &str, id: &str) -> Result<serde_json::Value> {
    // Also for dlopen, which searches system directories for a bare name.
    let path = path.canonicalize().map_err(|e| crate::files::io_error(path, "open", e))?;
    let who = format!("{}: {kind} `{id}`", path.display());
    let sha256 = library::inspect(&path)?.sha256;
    let question = Question::Schema { path, sha256, kind: kind.into(), id: id.into() };
    match asked(finder, &question, &who)?.pop() {
        Some(Told::Schema(schema)) => Ok(schema),
        _ => Err(Error::new(Code::PluginProbe, format!("{who}: its options' schema was not told"))),
    }
}

/// Asks a child and returns the steps it told, the last of them before `Done`.
fn asked(finder: &Finder, question: &Question, who: &dyn fmt::Display) -> Result<Vec<Told>> {
    let mut answer = child::ask(question, finder.probe_limit, |text| command(finder, text)).map_err(|e| {
        Error::new(Code::PluginProbe, "cannot start a child process to try the plugin out").caused_by(e)
    })?;
    let how = match answer.said.pop() {
        Some(Told::Done) => return Ok(answer.said),
        Some(Told::Refused { code, message, hint }) => {
            let code = if KEPT.contains(&code) { code } else { Code::PluginProbe };
            let refused = Error::new(code, message);
            return Err(match hint {
                Some(hint) => refused.hint(hint),
                None => refused,
            });
        }
        Some(Told::Begins(call)) => answer.how_it_ended(&call.to_string(), finder.probe_limit),
        Some(Told::Schema(_)) => answer.how_it_ended(&Call::Options.to_string(), finder.probe_limit),
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

/// The child's side: does what was asked, and says how that ended.
pub(super) fn answer(voice: &Voice, work: impl FnOnce(&dyn Fn(Told)) -> Result<()>) {
    let say = |told: Told| voice.say(&told);
    match work(&say) {
        Ok(()) => say(Told::Done),
        Err(e) => {
            say(Told::Refused { code: e.code(), message: format!("{e:#}"), hint: e.hint_text().map(str::to_owned) })
        }
    }
}

/// The child's side of [`options_schema`].
pub(super) fn schema(path: &Path, sha256: &str, kind: &str, id: &str, say: &dyn Fn(Told)) -> Result<()> {
    say(Told::Begins(Call::Loading));
    let module = load::open(path, sha256).map_err(|e| e.at(path.display()))?;
    say(Told::Begins(Call::Options));
    let failed = |why: String| Error::new(Code::PluginFailed, format!("{}: {kind} `{id}`: {why}", path.display()));
    let text = module.options_schema()(kind.into(), id.into()).into_result().map_err(|e| failed(e.message.into()))?;
    say(Told::Schema(
        serde_json::from_str(&text).map_err(|e| failed(format!("its options' schema is not JSON: {e}")))?,
    ));
    Ok(())
}

/// The child's side of [`probe`].
pub(super) fn try_out(path: &Path, record: PluginRecord, base: &Path, say: &dyn Fn(Told)) -> Result<()> {
    say(Told::Begins(Call::Loading));
    let plugin = Plugin::load(path, record, base)?;
    say(Told::Begins(Call::Options));
    plugin.validate_options()?;
    say(Told::Begins(Call::New));
    let host = Arc::new(NoModel(plugin.record.clone()));
    let close: Box<dyn FnOnce() -> Result<()>> = match plugin.record.kind {
        Kind::Encoder => built(plugin.encoder(host), |i| i.close()),
        Kind::Distance => built(plugin.distance(host), |i| i.close()),
        Kind::Schedule => built(plugin.schedule(host), |i| i.close()),
    }?;
    say(Told::Begins(Call::Drop));
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
