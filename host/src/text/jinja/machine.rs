//! Runs statements: scopes, loops, macros, and what is printed.

mod expression;
mod loops;

use super::{
    Fault,
    args::Args,
    ast::{Call, Expr, Macro, Statement, StatementKind, Target},
    budget::Budget,
    filters, repr,
    value::{MacroRef, Value},
    world::World,
};
use serde_json::{Map, Value as Json};
use std::cell::RefCell;

/// Names and their values; the ones set last are found first.
type Scope<'t> = Vec<(&'t str, Value<'t>)>;

/// Renders statements with these variables.
pub fn run(statements: &[Statement], variables: Map<String, Json>) -> Result<String, Fault> {
    let bytes = variables.values().map(size).sum();
    let world = World { budget: Budget::new(bytes), namespaces: RefCell::default() };
    let globals = variables.iter().map(|(name, value)| Ok((name.as_str(), Value::of(value, &world.budget)?)));
    let scopes = vec![globals.collect::<Result<_, Fault>>()?, vec![]];
    let mut machine = Machine { world, scopes, calls: vec![], next_call: 0, out: String::new() };
    machine.body(statements)?;
    Ok(machine.out)
}

/// Bytes of a JSON value's texts, and some for each other value.
fn size(value: &Json) -> usize {
    match value {
        Json::String(text) => 8 + text.len(),
        Json::Array(items) => 8 + items.iter().map(size).sum::<usize>(),
        Json::Object(map) => 8 + map.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>(),
        _ => 8,
    }
}

/// How a body ended.
#[derive(PartialEq)]
enum Flow {
    Through,
    Break,
    Continue,
}

/// A call of a macro under way: the scopes that it does not see, and how many it sees below its own.
struct MacroCall<'t> {
    id: usize,
    below: usize,
    hidden: Vec<Scope<'t>>,
}

struct Machine<'t> {
    world: World<'t>,
    scopes: Vec<Scope<'t>>,
    calls: Vec<MacroCall<'t>>,
    /// The id of the next call of a macro.
    next_call: usize,
    out: String,
}

impl<'t> Machine<'t> {
    fn body(&mut self, statements: &'t [Statement]) -> Result<Flow, Fault> {
        for statement in statements {
            let flow = self.statement(&statement.kind).map_err(|e| e.at(statement.line))?;
            if flow != Flow::Through {
                return Ok(flow);
            }
        }
        Ok(Flow::Through)
    }

    /// Runs a body one level deeper.
    fn inner(&mut self, statements: &'t [Statement]) -> Result<Flow, Fault> {
        self.world.budget.enter()?;
        let flow = self.body(statements);
        self.world.budget.leave();
        flow
    }

    /// What a body prints.
    fn captured(&mut self, statements: &'t [Statement]) -> Result<(String, Flow), Fault> {
        let out = std::mem::take(&mut self.out);
        let flow = self.inner(statements);
        let captured = std::mem::replace(&mut self.out, out);
        Ok((captured, flow?))
    }

    fn scoped<T>(&mut self, scope: Scope<'t>, run: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.scopes.push(scope);
        let done = run(self);
        self.scopes.pop();
        done
    }

    fn print(&mut self, text: &str) -> Result<(), Fault> {
        self.world.budget.text(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn statement(&mut self, statement: &'t StatementKind) -> Result<Flow, Fault> {
        self.world.budget.spend(1)?;
        match statement {
            StatementKind::Text(text) => self.print(text)?,
            StatementKind::Print(value) => {
                let value = self.value(value)?;
                let text = repr::text(&value, &self.world.budget)?;
                self.print(&text)?;
            }
            StatementKind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.value(condition)?.is_true() {
                        return self.inner(body);
                    }
                }
                return self.inner(otherwise);
            }
            StatementKind::For(of) => {
                let value = self.value(&of.iter)?;
                return self.for_loop(of, &value, 0);
            }
            StatementKind::Set { target, value } => {
                let value = self.value(value)?;
                self.assign(target, value)?;
            }
            StatementKind::SetBlock { target, filters, body } => {
                let (text, flow) = self.scoped(vec![], |machine| machine.captured(body))?;
                // A loop that goes on or ends within takes no notice of what was captured.
                if flow != Flow::Through {
                    return Ok(flow);
                }
                let value = self.filtered(Value::str(text), filters)?;
                self.assign(target, value)?;
            }
            StatementKind::With { variables, body } => {
                let scope = variables.iter().map(|(name, value)| Ok((name.as_str(), self.value(value)?)));
                let scope = scope.collect::<Result<_, Fault>>()?;
                return self.scoped(scope, |machine| machine.inner(body));
            }
            StatementKind::Macro(of) => {
                let value = Value::Macro(MacroRef { of, scopes: self.scopes.len(), caller_of: None });
                self.set(&of.name, value)?;
            }
            StatementKind::CallBlock { call, caller } => {
                let Expr::Call(callee, args) = call else { return Err(Fault::new("`call` takes a call")) };
                let callee = self.value(callee)?;
                let mut args = self.args(args)?;
                let of = MacroRef { of: caller, scopes: self.scopes.len(), caller_of: Some(self.next_call) };
                args.named.push(("caller".into(), Value::Macro(of)));
                let value = self.call(&callee, args)?;
                let text = repr::text(&value, &self.world.budget)?;
                self.print(&text)?;
            }
            StatementKind::Filter { filters, body } => {
                let (text, flow) = self.scoped(vec![], |machine| machine.captured(body))?;
                if flow != Flow::Through {
                    return Ok(flow);
                }
                let value = self.filtered(Value::str(text), filters)?;
                let text = repr::text(&value, &self.world.budget)?;
                self.print(&text)?;
            }
            StatementKind::Body(body) => return self.scoped(vec![], |machine| machine.inner(body)),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Through)
    }

    fn filtered(&mut self, value: Value<'t>, filters: &'t [Call]) -> Result<Value<'t>, Fault> {
        filters.iter().try_fold(value, |value, call| {
            let args = self.args(call)?;
            filters::apply(&call.name, &value, &args, &self.world)
        })
    }

    fn set(&mut self, name: &'t str, value: Value<'t>) -> Result<(), Fault> {
        let scope = self.scopes.last_mut().expect("a template has a scope of its own");
        self.world.budget.spend(scope.len() / 16)?;
        match scope.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => scope.push((name, value)),
        }
        Ok(())
    }

    fn assign(&mut self, target: &'t Target, value: Value<'t>) -> Result<(), Fault> {
        match target {
            Target::Name(name) => self.set(name, value)?,
            Target::Tuple(targets) => {
                let values = value.items(&self.world.budget)?;
                if values.len() != targets.len() {
                    let (expected, found) = (targets.len(), values.len());
                    return Err(Fault::new(format!("{found} values for {expected} names")));
                }
                targets.iter().zip(values).try_for_each(|(target, value)| self.assign(target, value))?;
            }
            Target::Attribute(name, attribute) => {
                let Value::Namespace(index) = self.lookup(name)? else {
                    return Err(Fault::new("cannot assign attribute on non-namespace object"));
                };
                if attribute.starts_with('_') {
                    return Err(Fault::new(format!("a namespace cannot have the attribute `{attribute}`")));
                }
                self.world.budget.spend(self.world.namespaces.borrow()[index].len() / 8)?;
                let attributes = &mut self.world.namespaces.borrow_mut()[index];
                match attributes.iter_mut().find(|(other, _)| other == attribute) {
                    Some((_, old)) => *old = value,
                    None => attributes.push((attribute.clone(), value)),
                }
            }
        }
        Ok(())
    }

    /// Calls a macro, or the body of a `call` block.
    fn macro_call(&mut self, reference: MacroRef<'t>, mut args: Args<'t>) -> Result<Value<'t>, Fault> {
        let Macro { name, parameters, body } = reference.of;
        let caller = args.named.iter().position(|(name, _)| name == "caller").map(|at| args.named.remove(at).1);
        // One around it is out of sight.
        let scope = vec![("caller", caller.unwrap_or_else(|| Value::undefined("No caller defined")))];
        if args.positional.len() > parameters.len() {
            return Err(Fault::new(format!("macro '{name}' takes not more than {} argument(s)", parameters.len())));
        }
        let mut given = args.positional.into_iter();
        let mut bound: Vec<Option<Value>> = parameters.iter().map(|_| given.next()).collect();
        for (keyword, value) in args.named {
            let slot = parameters.iter().position(|(name, _)| *name == keyword).map(|at| &mut bound[at]);
            let slot = slot.filter(|slot| slot.is_none());
            *slot.ok_or_else(|| Fault::new(format!("macro '{name}' takes no keyword argument '{keyword}' here")))? =
                Some(value);
        }
        // The macro sees what was around its definition.
        let below = reference.scopes.min(self.scopes.len());
        let hidden = self.scopes.split_off(below);
        self.calls.push(MacroCall { id: self.next_call, below, hidden });
        self.next_call += 1;
        let done = self.scoped(scope, |machine| {
            for ((name, default), value) in parameters.iter().zip(bound) {
                let value = match (value, default) {
                    (Some(value), _) => value,
                    (None, Some(default)) => machine.value(default)?,
                    (None, None) => Value::undefined(format!("parameter '{name}' was not provided")),
                };
                machine.set(name, value)?;
            }
            machine.captured(body)
        });
        let call = self.calls.pop().expect("it was pushed above");
        self.scopes.extend(call.hidden);
        done.map(|(text, _)| Value::str(text))
    }

    /// Calls the body of a `call` block, which sees what is around the block and nothing of the macro.
    fn caller(&mut self, reference: MacroRef<'t>, call: usize, args: Args<'t>) -> Result<Value<'t>, Fault> {
        let of = self.under_way(call).ok_or_else(|| Fault::new("a caller whose call has ended is not supported"))?;
        self.outside(of, reference.scopes, |machine| {
            machine.macro_call(MacroRef { caller_of: None, ..reference }, args)
        })
    }

    /// Which of the calls under way has this id.
    fn under_way(&self, id: usize) -> Option<usize> {
        self.calls.binary_search_by_key(&id, |call| call.id).ok()
    }

    /// Runs as if of the calls under way the first few alone were, with so many scopes in sight.
    fn outside<T>(
        &mut self,
        calls: usize,
        scopes: usize,
        run: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.world.budget.spend(self.calls.len() - calls)?;
        let mut left = vec![];
        while self.calls.len() > calls {
            let MacroCall { id, below, hidden } = self.calls.pop().expect("there are more than these");
            left.push((id, below, self.scopes.split_off(below)));
            self.scopes.extend(hidden);
        }
        let inner = self.scopes.split_off(scopes.min(self.scopes.len()));
        let done = run(self);
        self.scopes.extend(inner);
        for (id, below, own) in left.into_iter().rev() {
            let hidden = self.scopes.split_off(below);
            self.scopes.extend(own);
            self.calls.push(MacroCall { id, below, hidden });
        }
        done
    }
}
