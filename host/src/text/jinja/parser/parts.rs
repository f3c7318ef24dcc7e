//! Parses the statements that have parts of their own: branches, loops, assignments; and the parameters of macros.

use super::Parser;
use crate::text::jinja::{
    Fault,
    ast::{Expr, Loop, StatementKind, Target},
    lexer::Token,
};

impl Parser {
    pub(super) fn condition(&mut self) -> Result<StatementKind, Fault> {
        let (mut branches, mut otherwise) = (vec![], vec![]);
        loop {
            let condition = self.tuple(false, &[])?;
            self.block_end()?;
            branches.push((condition, self.body(&["endif", "elif", "else"])?));
            match self.name()?.as_str() {
                "elif" => continue,
                "else" => otherwise = self.block("endif")?,
                _ => self.block_end()?,
            }
            return Ok(StatementKind::If { branches, otherwise });
        }
    }

    pub(super) fn for_loop(&mut self) -> Result<Loop, Fault> {
        let target = self.targets(&["in"])?;
        if !self.skip_word("in") {
            return Err(self.unexpected("`in`"));
        }
        let iter = self.tuple(false, &["recursive"])?;
        let condition = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_word("recursive");
        self.block_end()?;
        self.loops += 1;
        let body = self.body(&["endfor", "else"]);
        self.loops -= 1;
        let body = body?;
        let otherwise = match self.name()?.as_str() {
            // A recursive loop is a function to jinja2.
            "else" if recursive => self.outside_loops(|parser| parser.block("endfor"))?,
            "else" => self.block("endfor")?,
            _ => {
                self.block_end()?;
                vec![]
            }
        };
        Ok(Loop { target, iter, condition, recursive, body, otherwise })
    }

    pub(super) fn assignment(&mut self) -> Result<StatementKind, Fault> {
        let target = self.targets(&[])?;
        if self.skip("=") {
            let value = self.tuple(true, &[])?;
            self.block_end()?;
            return Ok(StatementKind::Set { target, value });
        }
        let mut filters = vec![];
        while self.skip("|") {
            filters.push(self.filter()?);
        }
        Ok(StatementKind::SetBlock { target, filters, body: self.block("endset")? })
    }

    /// Names with commas between them.
    fn targets(&mut self, ends: &[&str]) -> Result<Target, Fault> {
        let first = self.target()?;
        if !matches!(self.peek(), Some(Token::Operator(","))) {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip(",") {
            if ends.iter().any(|end| self.is_word(end)) {
                break;
            }
            all.push(self.target()?);
        }
        Ok(Target::Tuple(all))
    }

    fn target(&mut self) -> Result<Target, Fault> {
        if self.skip("(") {
            let inner = self.deeper(|parser| parser.targets(&[]))?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.name()?;
        if ["true", "false", "none", "True", "False", "None"].contains(&name.as_str()) {
            return Err(self.fault(format!("`{name}` cannot be assigned to")));
        }
        Ok(if self.skip(".") { Target::Attribute(name, self.name()?) } else { Target::Name(name) })
    }

    /// A macro's parameters, behind the opening bracket.
    pub(super) fn parameters(&mut self) -> Result<Vec<(String, Option<Expr>)>, Fault> {
        let mut parameters: Vec<(String, Option<Expr>)> = vec![];
        while !self.skip(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            let name = self.name()?;
            let default = if self.skip("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(self.fault("a parameter without a default follows one with a default"));
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }
}
