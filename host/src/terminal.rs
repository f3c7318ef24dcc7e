//! Text on its way to a terminal. What others wrote (row keys, tensors' names, a plugin's messages, a model's words)
//! may hold characters that a terminal obeys: they are shown, not sent.

use std::{
    borrow::Cow,
    io::{self, Write},
};

/// The text with control characters, all but line break and tab, and those that turn the direction of writing as
/// escapes, `\u001b`. `colours` lets sequences pass that do no more than colour, as our own do.
pub fn printable(text: &str, colours: bool) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return text.into();
    }
    let (mut out, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(c) = rest.chars().next() {
        let own = if colours { colour(rest) } else { 0 };
        match own {
            0 if commands(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            0 => out.push(c),
            _ => out.push_str(&rest[..own]),
        }
        rest = &rest[own.max(c.len_utf8())..];
    }
    out.into()
}

/// The text with its middle left out where it has more than `longest` bytes, as a key that somebody wrote may have.
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return text.into();
    }
    let end = text.ceil_char_boundary(text.len() - longest / 4);
    let begin = text.floor_char_boundary(longest - longest / 4);
    format!("{}... ({} bytes in all) ...{}", &text[..begin], text.len(), &text[end..]).into()
}

/// Whether a terminal obeys the character: controls, and embeddings, overrides and isolates of Unicode's bidirectional
/// algorithm (UAX 9).
fn commands(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes of the sequence that the text begins with, if that selects a colour and nothing else.
fn colour(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let length = parameters.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
    if length <= 8 && parameters[length..].starts_with('m') { 2 + length + 1 } else { 0 }
}

/// A writer of whole pieces of text, each made [printable].
pub struct Printable<W> {
    inner: W,
    colours: bool,
}

impl<W> Printable<W> {
    /// Writes to `inner`.
    pub fn new(inner: W, colours: bool) -> Self {
        Self { inner, colours }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(printable(&String::from_utf8_lossy(bytes), self.colours).as_bytes())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert!(matches!(cut("short", 5), Cow::Borrowed("short")));
        let text = cut(&("é".repeat(5000) + "the end"), 4000).into_owned();
        assert!(text.len() < 4100 && text.contains("é... (10007 bytes in all) ...é"), "{text}");
        assert!(text.ends_with("éthe end"), "{text}");
    }

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        let plain = "Grüße, שלום\n\ta → b";
        assert!(matches!(printable(plain, false), Cow::Borrowed(text) if text == plain));
        assert_eq!(
            printable("a\x1b]0;title\x07b\x1b[2J\r\u{9b}K\u{202e}x\u{2069}\x7f", true),
            "a\\u001b]0;title\\u0007b\\u001b[2J\\u000d\\u009bK\\u202ex\\u2069\\u007f"
        );
        let coloured = "\x1b[1;31merror\x1b[0m: \x1b[8;1H";
        assert_eq!(printable(coloured, true), "\x1b[1;31merror\x1b[0m: \\u001b[8;1H");
        assert!(!printable(coloured, false).contains('\x1b'));
        // JSON stays JSON, of the same text.
        let json = serde_json::to_string("a\u{202e}b\u{9b}").unwrap();
        assert_eq!(serde_json::from_str::<String>(&printable(&json, false)).unwrap(), "a\u{202e}b\u{9b}");
        let mut out = vec![];
        Printable::new(&mut out, false).write_all("é\x1b[1m".as_bytes()).unwrap();
        assert_eq!(out, "é\\u001b[1m".as_bytes());
    }
}
