//! Which variables and keys a template reads, by what it is parsed into: words in its texts and comments are none.

use super::ast::{Call, Comparison, Expr, Loop, Macro, Statement, StatementKind};
use std::collections::BTreeSet;

/// Names of variables, and keys of what they hold. Keys are also strings that stand where a key may: not those that are
/// printed, put together or compared.
#[derive(Debug, Default, PartialEq)]
pub struct Reads {
    pub variables: BTreeSet<String>,
    pub keys: BTreeSet<String>,
}

impl Reads {
    /// Of statements.
    pub fn of(statements: &[Statement]) -> Self {
        let mut reads = Self::default();
        reads.body(statements);
        reads
    }

    fn body(&mut self, statements: &[Statement]) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Text(_) | StatementKind::Break | StatementKind::Continue => {}
                StatementKind::Print(value) => self.expression(value, true),
                StatementKind::If { branches, otherwise } => {
                    for (condition, body) in branches {
                        self.expression(condition, false);
                        self.body(body);
                    }
                    self.body(otherwise);
                }
                StatementKind::For(of) => {
                    let Loop { iter, condition, body, otherwise, .. } = &**of;
                    self.all([iter].into_iter().chain(condition), false);
                    self.body(body);
                    self.body(otherwise);
                }
                StatementKind::Set { value, .. } => self.expression(value, false),
                StatementKind::SetBlock { filters, body, .. } | StatementKind::Filter { filters, body } => {
                    filters.iter().for_each(|call| self.call(call));
                    self.body(body);
                }
                StatementKind::With { variables, body } => {
                    self.all(variables.iter().map(|(_, value)| value), false);
                    self.body(body);
                }
                StatementKind::Macro(of) => self.of_macro(of),
                StatementKind::CallBlock { call, caller } => {
                    self.expression(call, true);
                    self.of_macro(caller);
                }
                StatementKind::Body(body) => self.body(body),
            }
        }
    }

    fn of_macro(&mut self, of: &Macro) {
        self.all(of.parameters.iter().filter_map(|(_, default)| default.as_ref()), false);
        self.body(&of.body);
    }

    fn call(&mut self, call: &Call) {
        self.all(call.args.iter().chain(call.named.iter().map(|(_, value)| value)), false);
    }

    fn all<'a>(&mut self, exprs: impl IntoIterator<Item = &'a Expr>, text: bool) {
        exprs.into_iter().for_each(|expr| self.expression(expr, text));
    }

    /// `text`: a string here is text, and no key.
    fn expression(&mut self, expr: &Expr, text: bool) {
        match expr {
            Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) => {}
            // A path, as `map(attribute='function.name')` takes it.
            Expr::Str(path) if !text => self.keys.extend(path.split('.').map(str::to_owned)),
            Expr::Str(_) => {}
            Expr::Name(name) => drop(self.variables.insert(name.clone())),
            Expr::List(items) | Expr::Tuple(items) => self.all(items, text),
            Expr::Dict(entries) => self.all(entries.iter().flat_map(|(key, value)| [key, value]), true),
            Expr::Attribute(value, name) => {
                self.keys.insert(name.clone());
                self.expression(value, true);
            }
            Expr::Item(value, key) => {
                self.expression(value, true);
                self.expression(key, false);
            }
            Expr::Slice(value, parts) => {
                self.expression(value, text);
                self.all(parts.iter().flatten(), true);
            }
            Expr::Call(callee, call) => {
                self.expression(callee, true);
                self.call(call);
            }
            Expr::Filter(value, call) | Expr::Test { value, call, .. } => {
                self.expression(value, text);
                self.call(call);
            }
            Expr::Not(value) | Expr::Negative(value) | Expr::Positive(value) => self.expression(value, text),
            Expr::Binary(_, a, b) => self.all([&**a, &**b], true),
            Expr::Concat(parts) => self.all(parts, true),
            Expr::Compare(first, chain) => {
                let sought = chain.first().is_some_and(|(by, _)| matches!(by, Comparison::In | Comparison::NotIn));
                self.expression(first, !sought);
                self.all(chain.iter().map(|(_, right)| right), true);
            }
            Expr::And(a, b) | Expr::Or(a, b) => self.all([&**a, &**b], text),
            Expr::If { condition, then, otherwise } => {
                self.expression(condition, true);
                self.all([&**then].into_iter().chain(otherwise.as_deref()), text);
            }
        }
    }
}
