//! Tokens to expressions, with jinja2's order of operators.

use super::{HIGHEST, Parser};
use crate::text::jinja::{
    Fault,
    ast::{Comparison, Expr, Operator},
    lexer::Token,
};

/// A parser of what binds tighter.
type Next = fn(&mut Parser) -> Result<Expr, Fault>;

impl Parser {
    /// The expression that is being made stands on the last one and on one of another height.
    pub fn grow(&mut self, other: usize) -> Result<(), Fault> {
        self.height = 1 + self.height.max(other);
        if self.height > HIGHEST { Err(self.fault("an expression is nested too deep")) } else { Ok(()) }
    }

    pub fn expression(&mut self) -> Result<Expr, Fault> {
        self.deeper(|parser| {
            let mut value = parser.or()?;
            while parser.skip_word("if") {
                let height = parser.height;
                let condition = parser.or()?;
                parser.grow(height)?;
                let otherwise = match parser.skip_word("else") {
                    true => {
                        let height = parser.height;
                        let otherwise = parser.expression()?;
                        parser.grow(height)?;
                        Some(Box::new(otherwise))
                    }
                    false => None,
                };
                value = Expr::If { condition: Box::new(condition), then: Box::new(value), otherwise };
            }
            Ok(value)
        })
    }

    /// An expression, or several with commas, which are a tuple.
    pub fn tuple(&mut self, with_if: bool, ends: &[&str]) -> Result<Expr, Fault> {
        let one = |parser: &mut Self| if with_if { parser.expression() } else { parser.deeper(Self::or) };
        let first = one(self)?;
        if !matches!(self.peek(), Some(Token::Operator(","))) {
            return Ok(first);
        }
        let (mut all, mut height) = (vec![first], self.height);
        while self.skip(",") {
            let ended = match self.peek() {
                Some(Token::Name(name)) => ends.contains(&name.as_str()),
                Some(Token::Operator(operator)) => [")", "]", "}", "="].contains(operator),
                token => matches!(token, None | Some(Token::BlockEnd | Token::PrintEnd)),
            };
            if ended {
                break;
            }
            all.push(one(self)?);
            height = height.max(self.height);
        }
        self.grow(height)?;
        Ok(Expr::Tuple(all))
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        self.words("or", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        self.words("and", Self::not, Expr::And)
    }

    fn words(&mut self, word: &str, next: Next, make: fn(Box<Expr>, Box<Expr>) -> Expr) -> Result<Expr, Fault> {
        let mut left = next(self)?;
        while self.skip_word(word) {
            let height = self.height;
            let right = next(self)?;
            self.grow(height)?;
            left = make(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Fault> {
        if !self.skip_word("not") {
            return self.compare();
        }
        let inner = self.deeper(Self::not)?;
        self.grow(0)?;
        Ok(Expr::Not(Box::new(inner)))
    }

    fn compare(&mut self) -> Result<Expr, Fault> {
        let first = self.sum()?;
        let (mut chain, mut height) = (vec![], self.height);
        while let Some(comparison) = self.comparison() {
            chain.push((comparison, self.sum()?));
            height = height.max(self.height);
        }
        if chain.is_empty() {
            return Ok(first);
        }
        self.grow(height)?;
        Ok(Expr::Compare(Box::new(first), chain))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let (found, tokens) = match self.peek()? {
            Token::Operator("==") => (Comparison::Eq, 1),
            Token::Operator("!=") => (Comparison::Ne, 1),
            Token::Operator("<") => (Comparison::Lt, 1),
            Token::Operator("<=") => (Comparison::Le, 1),
            Token::Operator(">") => (Comparison::Gt, 1),
            Token::Operator(">=") => (Comparison::Ge, 1),
            Token::Name(name) if name == "in" => (Comparison::In, 1),
            Token::Name(name) if name == "not" => {
                let after = self.pieces.get(self.at + 1).map(|piece| &piece.token);
                matches!(after, Some(Token::Name(name)) if name == "in").then_some((Comparison::NotIn, 2))?
            }
            _ => return None,
        };
        self.at += tokens;
        Some(found)
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        self.operators(&[("+", Operator::Add), ("-", Operator::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr, Fault> {
        let first = self.product()?;
        let (mut parts, mut height) = (vec![first], self.height);
        while self.skip("~") {
            parts.push(self.product()?);
            height = height.max(self.height);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        self.grow(height)?;
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        use Operator::{Div, FloorDiv, Mod, Mul};
        self.operators(&[("*", Mul), ("//", FloorDiv), ("/", Div), ("%", Mod)], Self::power)
    }

    fn power(&mut self) -> Result<Expr, Fault> {
        self.operators(&[("**", Operator::Pow)], |parser| parser.unary(true))
    }

    fn operators(&mut self, operators: &[(&str, Operator)], next: Next) -> Result<Expr, Fault> {
        let mut left = next(self)?;
        while let Some(&(_, operator)) = operators.iter().find(|(sign, _)| self.skip(sign)) {
            let height = self.height;
            let right = next(self)?;
            self.grow(height)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self, filtered: bool) -> Result<Expr, Fault> {
        let make: fn(Box<Expr>) -> Expr = match () {
            () if self.skip("-") => Expr::Negative,
            () if self.skip("+") => Expr::Positive,
            () => {
                let primary = self.primary()?;
                let value = self.postfix(primary)?;
                return if filtered { self.filters(value) } else { Ok(value) };
            }
        };
        let inner = self.deeper(|parser| parser.unary(false))?;
        self.grow(0)?;
        let value = self.postfix(make(Box::new(inner)))?;
        if filtered { self.filters(value) } else { Ok(value) }
    }

    pub fn primary(&mut self) -> Result<Expr, Fault> {
        self.height = 1;
        let unexpected = self.unexpected("an expression");
        let token = self.next().ok_or(unexpected)?;
        Ok(match token {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(name),
            },
            Token::Str(mut text) => {
                while let Some(Token::Str(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Str(text)
            }
            Token::Int(number) => Expr::Int(number),
            Token::Float(number) => Expr::Float(number),
            Token::Operator("(") => {
                if self.skip(")") {
                    return Ok(Expr::Tuple(vec![]));
                }
                let inner = self.tuple(true, &[])?;
                self.expect(")")?;
                inner
            }
            Token::Operator("[") => {
                let items = self.items("]", Self::expression)?;
                Expr::List(items)
            }
            Token::Operator("{") => {
                let entries = self.items("}", |parser| {
                    let key = parser.expression()?;
                    let height = parser.height;
                    parser.expect(":")?;
                    let value = parser.expression()?;
                    parser.height = parser.height.max(height);
                    Ok((key, value))
                })?;
                Expr::Dict(entries)
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected("an expression"));
            }
        })
    }

    /// Items with commas up to a closing bracket.
    fn items<T>(&mut self, end: &str, one: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let (mut items, mut height) = (vec![], 0);
        while !self.skip(end) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.skip(end) {
                    break;
                }
            }
            items.push(one(self)?);
            height = height.max(self.height);
        }
        self.height = 0;
        self.grow(height)?;
        Ok(items)
    }
}
