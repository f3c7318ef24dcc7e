//! The one error type of the host: a stable code, a sentence that names the place, and a hint.

mod code;

pub use code::Code;

use crate::terminal;
use std::fmt;

/// The most bytes of a message that are shown: it may quote what somebody wrote, such as a key.
const LONGEST: usize = 16 << 10;

/// Result of everything in the host that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
///
/// The message says what, where (file, row, key, tensor) and what was expected; the hint says what to do.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind with a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, source: None }
    }
    /// Adds what the user can do; what is very long in it, as a name that somebody wrote may be, is cut.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(terminal::cut(&hint.into(), LONGEST).into_owned());
        self
    }
    /// Adds the underlying cause: the error's source, which `{:#}` prints after the message.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
    /// Puts where it happened in front of the message, as in `round 2, train: ...`.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }
    /// The message without code, cause and hint.
    pub fn message(&self) -> &str {
        &self.message
    }
    /// The hint, if any.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// `{}` is the message alone, as for every error that has a [`source`](std::error::Error::source); `{:#}` is the
/// message and all its causes, which is what users see. The middle of a very long one is left out.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self).filter(|_| f.alternate());
        while let Some(e) = cause {
            text.push_str(&format!(": {e}"));
            cause = e.source();
        }
        f.write_str(&terminal::cut(&text, LONGEST))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<candle_core::Error> for Error {
    /// A tensor operation failed: a fault of ours or of the machine, never of a user's file.
    fn from(e: candle_core::Error) -> Self {
        Self::new(Code::EngineTensor, e.to_string().lines().next().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::{error::Error as _, io};

    #[test]
    fn causes_are_sources_and_printed_once_where_they_are_asked_for() {
        let disk = Error::new(Code::FileIo, "cannot read a.json").caused_by(io::Error::other("the disk is gone"));
        let long = Error::new(Code::RunDamaged, "m").hint("k".repeat(99_999));
        let long = long.hint_text().unwrap();
        assert!(long.len() < LONGEST + 100 && long.contains("... (99999 bytes in all) ..."), "{}", long.len());
        let e = Error::new(Code::RunDamaged, "the run is damaged").caused_by(disk).at("round 2").hint("restore it");
        assert_eq!(e.to_string(), "round 2: the run is damaged");
        assert_eq!(format!("{e:#}"), "round 2: the run is damaged: cannot read a.json: the disk is gone");
        let disk = e.source().unwrap();
        assert_eq!(disk.to_string(), "cannot read a.json");
        assert_eq!(disk.source().unwrap().to_string(), "the disk is gone");
        let long = Error::new(Code::DataRow, format!("the key {} is unknown", "k".repeat(1 << 20)));
        assert!(long.to_string().len() < 17_000 && long.to_string().ends_with("kkk is unknown"));
        let alone = Error::new(Code::RunLocked, "in use");
        assert!(alone.source().is_none() && format!("{alone:#}") == "in use");
    }
}
