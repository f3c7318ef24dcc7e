//! What a config may say of a script.

use ldalign_sdk::{Error, InputPath, PluginOptions, Program};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the script is, and how it is run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The script, a Python file of which a class is used; or with `command` any file.
    #[schemars(extend("format" = "script"))]
    pub script: InputPath,
    /// Name of the class: `Encoder`, `Distance` or `Schedule`, unless given.
    #[serde(default)]
    pub class: Option<String>,
    /// Arguments that the class is made with.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Python 3.9 or newer, such as `.venv/bin/python`; `python3` unless given.
    #[serde(default)]
    pub interpreter: Option<Program>,
    /// Words in front of the script's path that run it in another language, which speaks the protocol by itself; none
    /// for a program.
    #[serde(default)]
    #[schemars(extend("format" = "command"))]
    pub command: Option<Vec<String>>,
    /// Further files and directories that the script reads, such as modules beside it.
    #[serde(default)]
    #[schemars(extend("items" = { "type": "string", "format": "script" }))]
    pub files: Vec<InputPath>,
    /// Seconds after which a call that neither returns nor asks the host for anything has failed; those of
    /// `plugin_timeout` unless given.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub timeout: Option<u64>,
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if self.command.is_some() && self.interpreter.is_some() {
            return Err(Error::options("`command` runs the script without Python: it does not go with `interpreter`"));
        }
        if self.timeout == Some(0) {
            return Err(Error::options("timeout 0 leaves no time for a call: at least 1"));
        }
        let all = std::iter::once(("script", &self.script)).chain(self.files.iter().map(|file| ("files", file)));
        for (option, path) in all {
            if !path.exists() {
                return Err(Error::options(format!("{option}: there is no {}", path.display())));
            }
        }
        if !self.script.is_file() {
            return Err(Error::options(format!("script: {} is no file", self.script.display())));
        }
        Ok(())
    }
}
