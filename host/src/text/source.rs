//! Where the files lie that say how text becomes tokens: in a directory, or in another file as what they would say.

use crate::{Code, Error, Result, files};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat_template.jinja, generation_config.json and
/// config.json, as far as they are there.
#[derive(Debug, Clone)]
pub enum TextFiles {
    /// A model directory.
    Directory(PathBuf),
    /// A file of another format at this path, as the contents of these files by name.
    Within(PathBuf, Vec<(&'static str, Vec<u8>)>),
}

impl TextFiles {
    /// Where they lie, for messages.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::Directory(dir) => dir,
            Self::Within(path, _) => path,
        }
    }

    /// Where one of them lies, for messages.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join(name),
            Self::Within(path, _) => path.clone(),
        }
    }

    /// The content of one of them, if it is there.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Directory(dir) => {
                let path = dir.join(name);
                path.exists().then(|| files::read(&path)).transpose()
            }
            Self::Within(_, all) => Ok(all.iter().find(|(n, _)| *n == name).map(|(_, bytes)| bytes.clone())),
        }
    }

    /// The content of one that must be there.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        match self.find(name)? {
            Some(bytes) => Ok(bytes),
            // Says that it is not there.
            None => files::read(&self.path(name)),
        }
    }

    /// One that is a JSON object, if it is there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Map<String, Value>>> {
        let Some(bytes) = self.find(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            let what = format!("{} is not a JSON object", self.path(name).display());
            Error::new(Code::TextTokenizer, what).caused_by(e)
        })
    }
}
