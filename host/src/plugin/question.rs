//! What a child process is asked to do with a library. The child is this same program, started with [`COMMAND`] as its
//! first argument.

use super::{Finder, PluginRecord};
use ldalign_conformance::Job;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, process::Command};

/// First argument with which a program is asked to run [`super::probe_main`].
pub const COMMAND: &str = "__probe";

/// What the child is asked to do.
#[derive(Serialize, Deserialize)]
pub(super) enum Question {
    /// Load a plugin and build an instance.
    Try { path: PathBuf, record: PluginRecord, base: PathBuf },
    /// Load a library and ask it for the schema of a plugin's options.
    Schema { path: PathBuf, sha256: String, kind: String, id: String },
    /// Run one check of the conformance suite on a library.
    Check { path: PathBuf, sha256: String, job: Job },
}

/// The program of the child, asked a question.
pub(super) fn command(finder: &Finder, question: &str) -> Command {
    let mut command = Command::new(&finder.probe_program);
    command.args([COMMAND, question]);
    command
}
