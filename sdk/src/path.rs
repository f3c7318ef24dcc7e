//! Options that name files and programs. The host knows them by the `format` in the options' schema, makes them
//! absolute from the config's directory, and records what lies there.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    ops::Deref,
    path::{Path, PathBuf},
};

/// A file or directory that an option names. A relative one starts at the directory of the config, and a run's manifest
/// has the SHA-256 of what lies there: with other contents the run is not continued.
///
/// Its `format` in the schema is `path`. A field with `#[schemars(extend("format" = "script"))]` says that the file is
/// code, which `locked` forbids. A list of paths works as well.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct InputPath(PathBuf);

/// A program that an option names: looked for on the `PATH`, or with a `/` a file, which starts at the directory of the
/// config where it is relative. Its bytes are not recorded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Program(String);

impl From<PathBuf> for InputPath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<&str> for Program {
    fn from(program: &str) -> Self {
        Self(program.into())
    }
}

impl Deref for InputPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Deref for Program {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

macro_rules! text_of_format {
    ($type:ident, $format:literal) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

text_of_format!(InputPath, "path");
text_of_format!(Program, "program");
