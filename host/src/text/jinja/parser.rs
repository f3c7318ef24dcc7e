//! Tokens to statements.

mod expression;
mod parts;
mod postfix;

use super::{
    Fault,
    ast::{Call, Expr, Macro, Statement, StatementKind},
    lexer::{Piece, Token},
};

/// How high the tree of an expression may be, and how deep statements may lie in each other: what is walked by
/// recursion must fit a thread's stack. Published templates have some twenty of either.
const HIGHEST: usize = 150;

/// Parses a whole template.
pub fn parse(pieces: Vec<Piece>) -> Result<Vec<Statement>, Fault> {
    let mut parser = Parser { pieces, at: 0, depth: 0, height: 0, loops: 0 };
    let body = parser.body(&[])?;
    Ok(body)
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
    /// How deep the parser is in itself.
    depth: usize,
    /// Of the expression that was parsed last.
    height: usize,
    /// Loops around, within the macro.
    loops: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.pieces.get(self.at).map(|piece| &piece.token)
    }

    fn line(&self) -> u32 {
        let at = self.at.min(self.pieces.len().saturating_sub(1));
        self.pieces.get(at).map_or(1, |piece| piece.line)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(message).at(self.line())
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let found = match self.peek() {
            None => "the end of the template".into(),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Operator(operator)) => format!("`{operator}`"),
            Some(Token::Str(text)) => format!("{text:?}"),
            Some(Token::Int(number)) => number.to_string(),
            Some(Token::Float(number)) => number.to_string(),
            Some(Token::BlockEnd | Token::PrintEnd) => "the end of the tag".into(),
            Some(Token::Text(_) | Token::BlockBegin | Token::PrintBegin) => "the next tag".into(),
        };
        self.fault(format!("expected {expected}, found {found}"))
    }

    /// Takes an operator if it is the next token.
    fn skip(&mut self, operator: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Operator(o)) if *o == operator);
        self.at += usize::from(found);
        found
    }

    /// Takes a word if it is the next token.
    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if name == word)
    }

    fn expect(&mut self, operator: &str) -> Result<(), Fault> {
        if self.skip(operator) { Ok(()) } else { Err(self.unexpected(&format!("`{operator}`"))) }
    }

    fn name(&mut self) -> Result<String, Fault> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("a name")),
        }
    }

    fn block_end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(Token::BlockEnd) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.unexpected("the end of the tag")),
        }
    }

    /// Parses one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.depth += 1;
        if self.depth > HIGHEST {
            return Err(self.fault("it is nested too deep"));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a block that begins with one of these words, which is then the next token.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Statement>, Fault> {
        let mut body = vec![];
        loop {
            let line = self.line();
            let kind = match self.next() {
                None if ends.is_empty() => return Ok(body),
                None => return Err(self.fault(format!("expected `{}`, found the end of the template", ends[0]))),
                Some(Token::Text(text)) => StatementKind::Text(text),
                Some(Token::PrintBegin) => {
                    let value = self.tuple(true, &[])?;
                    match self.next() {
                        Some(Token::PrintEnd) => StatementKind::Print(value),
                        _ => {
                            self.at -= 1;
                            return Err(self.unexpected("the end of the tag"));
                        }
                    }
                }
                Some(Token::BlockBegin) => {
                    if ends.iter().any(|end| self.is_word(end)) {
                        return Ok(body);
                    }
                    self.deeper(Self::statement)?
                }
                Some(_) => return Err(self.fault("unexpected token")),
            };
            body.push(Statement { line, kind });
        }
    }

    /// A body with the end of its opening tag and its closing tag.
    fn block(&mut self, end: &str) -> Result<Vec<Statement>, Fault> {
        self.block_end()?;
        let body = self.body(&[end])?;
        self.at += 1;
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self) -> Result<StatementKind, Fault> {
        let word = self.name()?;
        Ok(match word.as_str() {
            "if" => self.condition()?,
            "for" => StatementKind::For(Box::new(self.for_loop()?)),
            "set" => self.assignment()?,
            "with" => {
                let mut variables = vec![];
                while !matches!(self.peek(), Some(Token::BlockEnd)) {
                    if !variables.is_empty() {
                        self.expect(",")?;
                    }
                    let name = self.name()?;
                    self.expect("=")?;
                    variables.push((name, self.expression()?));
                }
                StatementKind::With { variables, body: self.block("endwith")? }
            }
            "macro" => {
                let name = self.name()?;
                self.expect("(")?;
                let parameters = self.parameters()?;
                let body = self.outside_loops(|parser| parser.block("endmacro"))?;
                StatementKind::Macro(Box::new(Macro { name, parameters, body }))
            }
            "call" => {
                let parameters = if self.skip("(") { self.parameters()? } else { vec![] };
                let call = self.expression()?;
                if !matches!(call, Expr::Call(..)) {
                    return Err(self.unexpected("a call"));
                }
                let body = self.outside_loops(|parser| parser.block("endcall"))?;
                StatementKind::CallBlock { call, caller: Box::new(Macro { name: "caller".into(), parameters, body }) }
            }
            "filter" => {
                let mut filters = vec![self.filter()?];
                while self.skip("|") {
                    filters.push(self.filter()?);
                }
                StatementKind::Filter { filters, body: self.block("endfilter")? }
            }
            "generation" => StatementKind::Body(self.outside_loops(|parser| parser.block("endgeneration"))?),
            "break" | "continue" if self.loops > 0 => {
                self.block_end()?;
                if word == "break" { StatementKind::Break } else { StatementKind::Continue }
            }
            "break" | "continue" => return Err(self.fault(format!("`{word}` is outside of a loop"))),
            other => return Err(self.fault(format!("the tag `{other}` is not supported"))),
        })
    }

    fn outside_loops<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let loops = std::mem::take(&mut self.loops);
        let parsed = parse(self);
        self.loops = loops;
        parsed
    }

    /// A filter's name and arguments.
    fn filter(&mut self) -> Result<Call, Fault> {
        let name = self.name()?;
        if self.skip("(") { self.arguments(name) } else { Ok(Call { name, args: vec![], named: vec![] }) }
    }
}
