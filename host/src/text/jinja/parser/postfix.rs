//! What stands behind a value: attributes, items, calls, filters and tests.

use super::Parser;
use crate::text::jinja::{
    Fault,
    ast::{Call, Expr},
    lexer::Token,
};

impl Parser {
    /// Attributes, items and calls behind a value.
    pub fn postfix(&mut self, mut value: Expr) -> Result<Expr, Fault> {
        loop {
            let height = self.height;
            value = if self.skip(".") {
                match self.next() {
                    Some(Token::Name(name)) => Expr::Attribute(Box::new(value), name),
                    Some(Token::Int(index)) => Expr::Item(Box::new(value), Box::new(Expr::Int(index))),
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected("a name or a number"));
                    }
                }
            } else if self.skip("[") {
                self.subscript(value)?
            } else if self.skip("(") {
                Expr::Call(Box::new(value), Box::new(self.arguments(String::new())?))
            } else {
                return Ok(value);
            };
            self.grow(height)?;
        }
    }

    /// An index or a slice, behind the opening bracket.
    fn subscript(&mut self, value: Expr) -> Result<Expr, Fault> {
        let is_end = |parser: &Self| matches!(parser.peek(), Some(Token::Operator(":" | "]")));
        let first = if is_end(self) { None } else { Some(self.tuple(true, &[])?) };
        let mut height = self.height;
        if !matches!(self.peek(), Some(Token::Operator(":"))) {
            self.expect("]")?;
            let index = first.ok_or_else(|| self.unexpected("an index"))?;
            return Ok(Expr::Item(Box::new(value), Box::new(index)));
        }
        let mut parts = [first, None, None];
        for part in &mut parts[1..] {
            if !self.skip(":") {
                break;
            }
            if !is_end(self) {
                *part = Some(self.expression()?);
                height = height.max(self.height);
            }
        }
        self.expect("]")?;
        self.height = height;
        Ok(Expr::Slice(Box::new(value), Box::new(parts)))
    }

    /// Filters, tests and calls behind a value.
    pub fn filters(&mut self, mut value: Expr) -> Result<Expr, Fault> {
        loop {
            let height = self.height;
            value = if self.skip("|") {
                self.height = 0;
                Expr::Filter(Box::new(value), Box::new(self.filter()?))
            } else if self.skip_word("is") {
                self.height = 0;
                self.test(value)?
            } else if self.skip("(") {
                Expr::Call(Box::new(value), Box::new(self.arguments(String::new())?))
            } else {
                return Ok(value);
            };
            self.grow(height)?;
        }
    }

    fn test(&mut self, value: Expr) -> Result<Expr, Fault> {
        let negated = self.skip_word("not");
        let name = self.name()?;
        let call = if self.skip("(") {
            self.arguments(name)?
        } else {
            let has_argument = match self.peek() {
                Some(Token::Name(name)) => !["else", "or", "and", "is", "if", "in", "not"].contains(&name.as_str()),
                Some(Token::Str(_) | Token::Int(_) | Token::Float(_)) => true,
                Some(Token::Operator(operator)) => ["[", "{"].contains(operator),
                _ => false,
            };
            let args = match has_argument {
                true => {
                    let primary = self.primary()?;
                    vec![self.postfix(primary)?]
                }
                false => vec![],
            };
            Call { name, args, named: vec![] }
        };
        Ok(Expr::Test { value: Box::new(value), call: Box::new(call), negated })
    }

    /// Arguments of a call, behind the opening bracket.
    pub fn arguments(&mut self, name: String) -> Result<Call, Fault> {
        let (mut call, mut height) = (Call { name, args: vec![], named: vec![] }, 0);
        while !self.skip(")") {
            if !(call.args.is_empty() && call.named.is_empty()) {
                self.expect(",")?;
                if self.skip(")") {
                    break;
                }
            }
            let after = self.pieces.get(self.at + 1).map(|piece| &piece.token);
            match (self.peek(), after) {
                (Some(Token::Operator("*" | "**")), _) => {
                    return Err(self.fault("`*` and `**` before arguments are not supported"));
                }
                (Some(Token::Name(keyword)), Some(Token::Operator("="))) => {
                    let keyword = keyword.clone();
                    self.at += 2;
                    call.named.push((keyword, self.expression()?));
                }
                _ if call.named.is_empty() => call.args.push(self.expression()?),
                _ => return Err(self.fault("a positional argument follows a named one")),
            }
            height = height.max(self.height);
        }
        self.height = height;
        Ok(call)
    }
}
