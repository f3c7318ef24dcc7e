//! The one error type of the host: a stable code, a sentence that names the place, and a hint.

mod code;

pub use code::Code;

use std::fmt;

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
    /// Adds what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Adds the underlying cause; its text is printed after the message.
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(e) = cause {
            write!(f, ": {e}")?;
            cause = e.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    /// A tensor operation failed: a fault of ours or of the machine, never of a user's file.
    fn from(e: candle_core::Error) -> Self {
        Self::new(Code::EngineTensor, e.to_string().lines().next().unwrap_or_default().to_owned())
    }
}
