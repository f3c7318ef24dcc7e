//! The child process's side: reads the question and calls the module that answers it.

use super::{
    conformance, probe,
    question::{COMMAND, Question},
};
use ldalign_conformance::child::Voice;
use std::{ffi::OsString, process::ExitCode};

/// The child's main, given the arguments after [`COMMAND`]. For the program's `main`, before anything else.
pub fn probe_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some((question, voice)) = args.next().and_then(|a| Voice::hear(a.to_str()?)) else {
        crate::progress::say(format_args!("{COMMAND} is for the program's own use"));
        return ExitCode::from(2);
    };
    match question {
        Question::Try { path, record, base } => probe::answer(&voice, |say| probe::try_out(&path, record, &base, say)),
        Question::Schema { path, sha256, kind, id } => {
            probe::answer(&voice, |say| probe::schema(&path, &sha256, &kind, &id, say))
        }
        Question::Check { path, sha256, job } => conformance::answer(path, sha256, &job, &voice),
    }
    voice.end()
}
