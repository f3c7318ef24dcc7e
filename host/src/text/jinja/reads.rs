//! Which variables and keys a template reads, by what it is parsed into: words in its texts and comments are none.

use super::ast::{Call, Comparison, Expr, Loop, Macro, Statement, StatementKind};
use std::collections::BTreeSet;

/// Names of variables that come from outside, and keys of what variables hold. Keys are also strings that stand where a
/// key may: not those that are printed, put together or compared, but for comparisons with what a loop goes through.
#[derive(Debug, Default, PartialEq)]
pub struct Reads {
    pub variables: BTreeSet<String>,
    pub keys: BTreeSet<String>,
}

/// Looks for what is read, in the order in which a template runs.
#[derive(Default)]
struct Search<'t> {
    reads: Reads,
    /// Names that have a value of the template's own here, in any case.
    own: Vec<&'t str>,
    /// Names that loops around give to what they go through, as far as it may be keys.
    looped: Vec<&'t str>,
}

impl Reads {
    /// Of statements.
    pub fn of(statements: &[Statement]) -> Self {
        let mut search = Search::default();
        search.body(statements);
        search.reads
    }
}

impl<'t> Search<'t> {
    /// A body whose names are no others' afterwards.
    fn scoped(&mut self, names: impl IntoIterator<Item = &'t str>, run: impl FnOnce(&mut Self)) {
        let before = self.own.len();
        self.own.extend(names);
        run(self);
        self.own.truncate(before);
    }

    fn body(&mut self, statements: &'t [Statement]) {
        for statement in statements {
            match &statement.kind {
                StatementKind::Text(_) | StatementKind::Break | StatementKind::Continue => {}
                StatementKind::Print(value) => self.expression(value, true),
                StatementKind::If { branches, otherwise } => {
                    // What a branch sets is set only where it is taken.
                    for (condition, body) in branches {
                        self.expression(condition, false);
                        self.scoped([], |search| search.body(body));
                    }
                    self.scoped([], |search| search.body(otherwise));
                }
                StatementKind::For(of) => {
                    let Loop { target, iter, condition, body, otherwise, .. } = &**of;
                    self.expression(iter, false);
                    let before = self.looped.len();
                    self.looped.extend(target.names().first());
                    self.scoped(target.names().into_iter().chain(["loop"]), |search| {
                        search.all(condition, false);
                        search.body(body);
                    });
                    self.looped.truncate(before);
                    self.scoped([], |search| search.body(otherwise));
                }
                StatementKind::Set { target, value } => {
                    self.expression(value, false);
                    self.own.extend(target.names());
                }
                StatementKind::SetBlock { target, filters, body } => {
                    filters.iter().for_each(|call| self.call(call));
                    self.scoped([], |search| search.body(body));
                    self.own.extend(target.names());
                }
                StatementKind::Filter { filters, body } => {
                    filters.iter().for_each(|call| self.call(call));
                    self.scoped([], |search| search.body(body));
                }
                StatementKind::With { variables, body } => {
                    self.all(variables.iter().map(|(_, value)| value), false);
                    self.scoped(variables.iter().map(|(name, _)| name.as_str()), |search| search.body(body));
                }
                StatementKind::Macro(of) => {
                    self.own.push(&of.name);
                    self.of_macro(of);
                }
                StatementKind::CallBlock { call, caller } => {
                    self.expression(call, true);
                    self.of_macro(caller);
                }
                StatementKind::Body(body) => self.scoped([], |search| search.body(body)),
            }
        }
    }

    fn of_macro(&mut self, of: &'t Macro) {
        self.all(of.parameters.iter().filter_map(|(_, default)| default.as_ref()), false);
        self.scoped(of.parameters.iter().map(|(name, _)| name.as_str()), |search| search.body(&of.body));
    }

    fn call(&mut self, call: &'t Call) {
        self.all(call.args.iter().chain(call.named.iter().map(|(_, value)| value)), false);
    }

    fn all(&mut self, exprs: impl IntoIterator<Item = &'t Expr>, text: bool) {
        exprs.into_iter().for_each(|expr| self.expression(expr, text));
    }

    /// `text`: a string here is text, and no key.
    fn expression(&mut self, expr: &'t Expr, text: bool) {
        match expr {
            Expr::None | Expr::Bool(_) | Expr::Int(_) | Expr::Float(_) => {}
            // A path, as `map(attribute='function.name')` takes it.
            Expr::Str(path) if !text => self.reads.keys.extend(path.split('.').map(str::to_owned)),
            Expr::Str(_) => {}
            Expr::Name(name) if self.own.contains(&name.as_str()) => {}
            Expr::Name(name) => drop(self.reads.variables.insert(name.clone())),
            Expr::List(items) | Expr::Tuple(items) => self.all(items, text),
            Expr::Dict(entries) => self.all(entries.iter().flat_map(|(key, value)| [key, value]), true),
            Expr::Attribute(value, name) => {
                self.reads.keys.insert(name.clone());
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
                let looped = |expr: &Expr| matches!(expr, Expr::Name(name) if self.looped.contains(&name.as_str()));
                let with_key = looped(first) || chain.iter().any(|(_, right)| looped(right));
                self.expression(first, !sought && !with_key);
                self.all(chain.iter().map(|(_, right)| right), !with_key);
            }
            Expr::And(a, b) | Expr::Or(a, b) => self.all([&**a, &**b], text),
            Expr::If { condition, then, otherwise } => {
                self.expression(condition, true);
                self.all([&**then].into_iter().chain(otherwise.as_deref()), text);
            }
        }
    }
}
