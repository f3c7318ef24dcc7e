//! Errors a plugin returns to the host.

use ldalign_abi::ErrorCode;

/// What went wrong, in words for the person who runs the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    code: ErrorCode,
    message: String,
}

impl Error {
    /// Options are wrong: the host stops before it loads a model.
    pub fn options(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::OPTIONS, message: message.into() }
    }
    /// The input cannot be worked on.
    pub fn input(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::INPUT, message: message.into() }
    }
    /// A saved state does not fit this plugin.
    pub fn state(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::STATE, message: message.into() }
    }
    /// What was asked for is not provided.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::UNSUPPORTED, message: message.into() }
    }
    /// The plugin stops because [`crate::Host::cancelled`] says so.
    pub fn cancelled() -> Self {
        Self { code: ErrorCode::CANCELLED, message: "stopped on request".into() }
    }
    /// Something failed inside the plugin.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::FAILED, message: message.into() }
    }
    /// An error with any code.
    pub fn with_code(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// The error's code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }
    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
