//! Colour, where it is wanted: on a terminal, unless NO_COLOR is set.

use std::io::{self, IsTerminal};

/// What a piece of text is, not how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A failure.
    Bad,
    /// Advice.
    Note,
    /// A heading.
    Strong,
    /// Tokens that are context only. `bool`: every other one is shaded otherwise, so that their bounds show.
    Context(bool),
    /// Tokens that are learnt.
    Chosen(bool),
    /// Tokens that are unlearnt.
    Rejected(bool),
    /// A learnt or unlearnt token that ends a response.
    End,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// For text on stdout.
    pub fn stdout() -> Self {
        Self(io::stdout().is_terminal() && wanted())
    }
    /// For text on stderr.
    pub fn stderr() -> Self {
        Self(io::stderr().is_terminal() && wanted())
    }
    /// Whether it colours at all.
    pub fn is_on(self) -> bool {
        self.0
    }
    /// The text in its style.
    pub fn style(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bad => "1;31",
            Style::Note => "36",
            Style::Strong => "1",
            Style::Context(odd) => ["2", "90"][usize::from(odd)],
            Style::Chosen(odd) => ["32", "92"][usize::from(odd)],
            Style::Rejected(odd) => ["31", "91"][usize::from(odd)],
            Style::End => "7",
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// https://no-color.org
fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
