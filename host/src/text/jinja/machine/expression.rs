//! Runs expressions.

use super::Machine;
use crate::text::jinja::{
    Fault,
    args::Args,
    ast::{Call, Expr, Operator},
    checks, filters, lookup, methods,
    number::{Number, arithmetic},
    operators,
    value::Value,
};

impl<'t> Machine<'t> {
    /// The value of an expression.
    pub fn value(&mut self, expr: &'t Expr) -> Result<Value<'t>, Fault> {
        self.world.budget.spend(1)?;
        self.world.budget.enter()?;
        let value = self.of(expr);
        self.world.budget.leave();
        value
    }

    fn values(&mut self, exprs: &'t [Expr]) -> Result<Vec<Value<'t>>, Fault> {
        exprs.iter().map(|expr| self.value(expr)).collect()
    }

    fn of(&mut self, expr: &'t Expr) -> Result<Value<'t>, Fault> {
        Ok(match expr {
            Expr::None => Value::None,
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Int(value) => Value::Int(*value),
            Expr::Float(value) => Value::Float(*value),
            Expr::Str(text) => {
                self.world.budget.text(text.len())?;
                Value::str(text)
            }
            Expr::Name(name) => self.lookup(name)?,
            Expr::List(items) => Value::list(self.values(items)?, &self.world.budget)?,
            Expr::Tuple(items) => Value::tuple(self.values(items)?, &self.world.budget)?,
            Expr::Dict(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((self.value(key)?, self.value(value)?)));
                let entries = entries.collect::<Result<Vec<_>, Fault>>()?;
                Value::dict(entries, &self.world.budget)?
            }
            Expr::Attribute(value, name) => {
                let value = self.value(value)?;
                if let Value::Loop(state) = &value {
                    self.look_ahead(state, name)?;
                }
                lookup::attribute(&value, name, &self.world)?
            }
            Expr::Item(value, key) => {
                let (value, key) = (self.value(value)?, self.value(key)?);
                lookup::item(&value, &key, &self.world)?
            }
            Expr::Slice(value, parts) => {
                let value = self.value(value)?;
                let mut bounds = [Value::None, Value::None, Value::None];
                for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *bound = self.value(part)?;
                    }
                }
                lookup::slice(&value, bounds, &self.world)?
            }
            Expr::Call(callee, args) => {
                let callee = self.value(callee)?;
                let args = self.args(args)?;
                self.call(&callee, args)?
            }
            Expr::Filter(value, call) => {
                let value = self.value(value)?;
                let args = self.args(call)?;
                filters::apply(&call.name, &value, &args, &self.world)?
            }
            Expr::Test { value, call, negated } => {
                let value = self.value(value)?;
                let args = self.args(call)?;
                Value::Bool(checks::holds(&call.name, &value, &args, &self.world)? != *negated)
            }
            Expr::Not(value) => Value::Bool(!self.value(value)?.is_true()),
            Expr::Negative(value) => self.signed(value, Operator::Sub)?,
            Expr::Positive(value) => self.signed(value, Operator::Add)?,
            Expr::Binary(operator, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                operators::binary(*operator, &a, &b, &self.world)?
            }
            Expr::Concat(parts) => operators::concat(&self.values(parts)?, &self.world)?,
            Expr::Compare(first, chain) => {
                let mut left = self.value(first)?;
                for (comparison, right) in chain {
                    let right = self.value(right)?;
                    if !operators::compare(*comparison, &left, &right, &self.world)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            Expr::And(a, b) => match self.value(a)? {
                a if a.is_true() => self.value(b)?,
                a => a,
            },
            Expr::Or(a, b) => match self.value(a)? {
                a if a.is_true() => a,
                _ => self.value(b)?,
            },
            Expr::If { condition, then, otherwise } => match (self.value(condition)?.is_true(), otherwise) {
                (true, _) => self.value(then)?,
                (false, Some(otherwise)) => self.value(otherwise)?,
                (false, None) => {
                    Value::undefined("the inline if-expression evaluated to false and no else section was defined.")
                }
            },
        })
    }

    /// `0 - value` or `0 + value`.
    fn signed(&mut self, value: &'t Expr, operator: Operator) -> Result<Value<'t>, Fault> {
        let value = self.value(value)?;
        let number = value.defined()?.number();
        let number = number.ok_or_else(|| Fault::new(format!("bad operand type: '{}'", value.type_name())))?;
        Ok(match (number, operator) {
            (Number::Float(value), Operator::Sub) => Value::Float(-value),
            _ => arithmetic(operator, Number::Int(0), number)?.into(),
        })
    }

    /// The value of a name, from the innermost scope that has it.
    pub fn lookup(&self, name: &str) -> Result<Value<'t>, Fault> {
        self.world.budget.spend(self.scopes.iter().map(Vec::len).sum::<usize>() / 16)?;
        let found = self.scopes.iter().rev().find_map(|scope| scope.iter().rev().find(|(other, _)| *other == name));
        Ok(match (found, methods::FUNCTIONS.iter().find(|function| **function == name)) {
            (Some((_, value)), _) => value.clone(),
            (None, Some(function)) => Value::Function(function),
            (None, None) => Value::undefined(format!("'{name}' is undefined")),
        })
    }

    pub fn args(&mut self, call: &'t Call) -> Result<Args<'t>, Fault> {
        let positional = self.values(&call.args)?;
        let named = call.named.iter().map(|(name, value)| Ok((name.clone(), self.value(value)?)));
        Ok(Args { positional, named: named.collect::<Result<_, Fault>>()? })
    }

    /// Calls a value.
    pub fn call(&mut self, callee: &Value<'t>, args: Args<'t>) -> Result<Value<'t>, Fault> {
        self.world.budget.spend(1)?;
        match callee.defined()? {
            Value::Function(name) => methods::function(name, &args, &self.world),
            Value::Method(of) => methods::call(&of.0, &of.1, &args, &self.world),
            Value::Macro(reference) => match reference.caller_of {
                Some(call) => self.caller(*reference, call, args),
                None => self.macro_call(*reference, args),
            },
            Value::Loop(state) => {
                if !state.of.recursive {
                    return Err(Fault::new("The loop must have the 'recursive' marker to be called recursively."));
                }
                let [items] = args.bind("loop", ["iterable"])?;
                let items = items.ok_or_else(|| Fault::new("loop takes what is to be gone through"))?;
                self.recurse(state, &items)
            }
            other => Err(Fault::new(format!("'{}' object is not callable", other.type_name()))),
        }
    }
}
