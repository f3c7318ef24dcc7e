//! A template's source as texts and tokens, with white space trimmed as jinja2 trims it.

use super::{Fault, characters::is_space};

/// A piece of a template with its line.
#[derive(Debug)]
pub struct Piece {
    pub line: u32,
    pub token: Token,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Text(String),
    PrintBegin,
    PrintEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i128),
    Float(f64),
    Operator(&'static str),
}

/// Longer ones first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":", "|", "(", ")", "[",
    "]", "{", "}", ";",
];

/// Splits a source.
pub fn lex(source: &str) -> Result<Vec<Piece>, Fault> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { rest: source, line: 1, line_starts: true, pieces: vec![] };
    while !lexer.rest.is_empty() {
        lexer.text()?;
    }
    Ok(lexer.pieces)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    /// Whether what was read last ends a line.
    line_starts: bool,
    pieces: Vec<Piece>,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, token: Token) {
        self.pieces.push(Piece { line: self.line, token });
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(message).at(self.line)
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count() as u32;
        if !taken.is_empty() {
            self.line_starts = taken.ends_with('\n');
        }
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.take(self.rest.len() - self.rest.trim_start_matches(is_space).len());
    }

    /// Text up to the next tag, and the tag.
    fn text(&mut self) -> Result<(), Fault> {
        let is_tag = |at: &usize| self.rest[at + 1..].starts_with(['{', '%', '#']);
        let at = self.rest.match_indices('{').map(|(at, _)| at).find(is_tag).unwrap_or(self.rest.len());
        let starts = self.line_starts;
        let text = self.take(at);
        let Some(kind) = self.rest.chars().nth(1) else {
            self.push_text(text);
            return Ok(());
        };
        let sign = self.rest[2..].chars().next().filter(|c| ['-', '+'].contains(c));
        self.push_text(trim_end(text, starts, sign, kind != '{'));
        self.take(2 + sign.map_or(0, char::len_utf8));
        match kind {
            '#' => self.comment(),
            '%' => self.block(),
            _ => {
                self.push(Token::PrintBegin);
                self.tag("}}", Token::PrintEnd)
            }
        }
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(Token::Text(text.to_owned()));
        }
    }

    fn comment(&mut self) -> Result<(), Fault> {
        let end = self.rest.find("#}").ok_or_else(|| self.fault("a comment has no end"))?;
        let sign = self.rest[..end].chars().next_back().filter(|c| ['-', '+'].contains(c));
        self.take(end + 2);
        self.after_block(sign);
        Ok(())
    }

    /// Behind a block's end, the line's end is dropped.
    fn after_block(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_space(),
            None if self.rest.starts_with('\n') => drop(self.take(1)),
            _ => {}
        }
    }

    fn block(&mut self) -> Result<(), Fault> {
        if let Some((length, trims)) = keyword(self.rest, "raw") {
            return self.raw(length, trims);
        }
        self.push(Token::BlockBegin);
        self.tag("%}", Token::BlockEnd)
    }

    /// Everything up to `endraw` is text.
    fn raw(&mut self, length: usize, trims: Option<char>) -> Result<(), Fault> {
        self.take(length);
        if trims == Some('-') {
            self.skip_space();
        }
        let starts = self.line_starts;
        let mut from = 0;
        loop {
            let at = self.rest[from..].find("{%").ok_or_else(|| self.fault("`raw` has no `endraw`"))? + from;
            let inner = &self.rest[at + 2..];
            let sign = inner.chars().next().filter(|c| ['-', '+'].contains(c));
            let signed = sign.map_or(0, char::len_utf8);
            if let Some((length, trims)) = keyword(&inner[signed..], "endraw") {
                let text = self.take(at);
                self.push_text(trim_end(text, starts, sign, true));
                self.take(2 + signed + length);
                self.after_block(trims);
                return Ok(());
            }
            from = at + 2;
        }
    }

    /// The tokens of a tag up to its end, which brackets that are open hide.
    fn tag(&mut self, end: &str, token: Token) -> Result<(), Fault> {
        let mut open = vec![];
        loop {
            self.skip_space();
            if open.is_empty() {
                let signed = |sign: &str| self.rest.strip_prefix(sign).is_some_and(|rest| rest.starts_with(end));
                let sign = ['-', '+'].into_iter().find(|sign| signed(sign.encode_utf8(&mut [0; 4])));
                let sign = sign.filter(|sign| *sign == '-' || end == "%}");
                if sign.is_some() || self.rest.starts_with(end) {
                    self.take(end.len() + sign.map_or(0, char::len_utf8));
                    self.push(token.clone());
                    match (sign, end) {
                        (sign, "%}") => self.after_block(sign),
                        (Some(_), _) => self.skip_space(),
                        _ => {}
                    }
                    return Ok(());
                }
            }
            self.one(&mut open)?;
        }
    }

    fn one(&mut self, open: &mut Vec<&'static str>) -> Result<(), Fault> {
        let first = self.rest.chars().next().ok_or_else(|| self.fault("a tag has no end"))?;
        if first.is_alphabetic() || first == '_' {
            let length = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let name = self.take(length).to_owned();
            self.push(Token::Name(name));
        } else if first.is_ascii_digit() {
            self.number()?;
        } else if first == '"' || first == '\'' {
            self.string(first)?;
        } else {
            let operator = OPERATORS.into_iter().find(|operator| self.rest.starts_with(operator));
            let operator = operator.ok_or_else(|| self.fault(format!("unexpected character {first:?}")))?;
            match operator {
                "(" => open.push(")"),
                "[" => open.push("]"),
                "{" => open.push("}"),
                ")" | "]" | "}" if open.pop() != Some(operator) => {
                    return Err(self.fault(format!("unexpected `{operator}`")));
                }
                _ => {}
            }
            self.push(Token::Operator(operator));
            self.take(operator.len());
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let is_digit = |c: char| c.is_ascii_digit() || c == '_';
        let whole = self.rest.find(|c| !is_digit(c)).unwrap_or(self.rest.len());
        let mut length = whole;
        let digits = |from: usize| {
            let rest = &self.rest[from..];
            rest.starts_with(|c: char| c.is_ascii_digit()).then(|| rest.find(|c| !is_digit(c)).unwrap_or(rest.len()))
        };
        if self.rest[length..].starts_with('.') {
            length += digits(length + 1).map_or(0, |n| n + 1);
        }
        if self.rest[length..].starts_with(['e', 'E']) {
            let signed = length + 1 + usize::from(self.rest[length + 1..].starts_with(['+', '-']));
            length = digits(signed).map_or(length, |n| signed + n);
        }
        if self.rest[length..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return Err(self.fault("a number of a base other than 10 is not supported"));
        }
        let text = self.rest[..length].replace('_', "");
        let token = match length == whole {
            true => text.parse().map(Token::Int).map_err(|_| self.fault(format!("{text} is too large")))?,
            false => text.parse().map(Token::Float).map_err(|_| self.fault(format!("{text} is no number")))?,
        };
        self.push(token);
        self.take(length);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Fault> {
        let mut escaped = false;
        let end = self.rest[1..].find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.ok_or_else(|| self.fault("a string has no end"))? + 1;
        let text = unescape(&self.rest[1..end]).map_err(|e| e.at(self.line))?;
        self.push(Token::Str(text));
        self.take(end + 1);
        Ok(())
    }
}

/// Text before a tag: all white space at its end goes with `-`, and before blocks what a line begins with.
fn trim_end(text: &str, line_starts: bool, sign: Option<char>, is_block: bool) -> &str {
    if sign == Some('-') {
        return text.trim_end_matches(is_space);
    }
    let line = text.rfind('\n').map_or(0, |at| at + 1);
    let blank = text[line..].chars().all(is_space);
    match sign.is_none() && is_block && (line > 0 || line_starts) && blank {
        true => &text[..line],
        false => text,
    }
}

/// Whether a block's inside is one word: the bytes up to behind the block's end, and its sign.
fn keyword(inside: &str, word: &str) -> Option<(usize, Option<char>)> {
    let inner = inside.trim_start_matches(is_space).strip_prefix(word)?.trim_start_matches(is_space);
    let sign = inner.chars().next().filter(|c| ['-', '+'].contains(c));
    let rest = inner[sign.map_or(0, char::len_utf8)..].strip_prefix("%}")?;
    Some((inside.len() - rest.len(), sign))
}

/// Python's escapes.
fn unescape(text: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(kind) = rest.chars().next() else { break };
        rest = &rest[kind.len_utf8()..];
        let code = |digits: Option<&str>| {
            let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
            code.ok_or_else(|| Fault::new(format!("`\\{kind}` is not followed by a character's code")))
        };
        let width = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match kind {
            '\n' => {}
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'v' => out.push('\x0b'),
            '\\' | '\'' | '"' => out.push(kind),
            'x' | 'u' | 'U' => {
                out.push(code(rest.get(..width))?);
                rest = &rest[width..];
            }
            '0'..='7' | 'N' => return Err(Fault::new(format!("the escape `\\{kind}` is not supported"))),
            other => out.extend(['\\', other]),
        }
    }
    Ok(out + rest)
}
