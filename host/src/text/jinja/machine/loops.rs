//! Runs loops. Each looks at its items one by one, so that what its body does is seen by its condition.

use super::{Flow, Hidden, Machine, Scope};
use crate::text::jinja::{
    Fault,
    ast::Loop,
    value::{Feed, LoopState, Value},
};
use std::{cell::RefCell, rc::Rc};

impl<'t> Machine<'t> {
    /// Runs a loop, or a call of it, over what a value has.
    pub fn for_loop(&mut self, of: &'t Loop, value: &Value<'t>, depth: usize) -> Result<(), Fault> {
        let feed = Rc::new(Feed::of(value, [self.scopes.len(), self.calls.len()], &self.world.budget)?);
        let changed = Rc::new(RefCell::new(None));
        let mut index = 0;
        while self.advance(&feed, of, index)? {
            self.world.budget.spend(1)?;
            let item = feed.kept.borrow()[index].clone();
            let state = LoopState { feed: feed.clone(), index, depth, changed: changed.clone(), of };
            let flow = self.scoped(vec![("loop", Value::Loop(Rc::new(state)))], |machine| {
                machine.assign(&of.target, item)?;
                machine.inner(&of.body)
            })?;
            index += 1;
            if flow == Flow::Break {
                break;
            }
        }
        if index == 0 {
            self.scoped(vec![], |machine| machine.inner(&of.otherwise))?;
        }
        Ok(())
    }

    /// Goes through a loop's items up to the one of this number that fulfils its condition. Whether there is one.
    fn advance(&mut self, feed: &Feed<'t>, of: &'t Loop, index: usize) -> Result<bool, Fault> {
        while feed.kept.borrow().len() <= index {
            let Some(item) = feed.next() else { return Ok(false) };
            self.world.budget.spend(4)?;
            let holds = match &of.condition {
                None => true,
                Some(condition) => self.scoped(vec![], |machine| {
                    machine.assign(&of.target, item.clone())?;
                    Ok(machine.value(condition)?.is_true())
                })?,
            };
            if holds {
                feed.kept.borrow_mut().push(item);
            }
        }
        Ok(true)
    }

    /// Lets a loop look as far ahead as it must to say this of itself.
    pub fn look_ahead(&mut self, state: &LoopState<'t>, name: &str) -> Result<(), Fault> {
        let (Some(index), true) = (state.looks_at(name), state.of.condition.is_some()) else { return Ok(()) };
        let hidden = self.around(&state.feed)?;
        let looked = self.advance(&state.feed, state.of, index);
        self.scopes.extend(hidden);
        looked.map(|_| ())
    }

    /// Leaves the scopes around a loop alone in sight, and returns the others. Fails where they are not in sight.
    fn around(&mut self, feed: &Feed<'t>) -> Result<Vec<Scope<'t>>, Fault> {
        let [scopes, calls] = feed.around;
        let within = self.calls.get(calls..).is_some_and(|calls| calls.iter().all(|hidden| hidden.below >= scopes));
        match within && scopes <= self.scopes.len() {
            true => Ok(self.scopes.split_off(scopes)),
            false => Err(Fault::new("a loop that is handed to a macro or a caller is not supported here")),
        }
    }

    /// What a recursive loop prints of other items. It sees what was around it.
    pub fn recurse(&mut self, state: &LoopState<'t>, value: &Value<'t>) -> Result<Value<'t>, Fault> {
        let scopes = self.around(&state.feed)?;
        self.calls.push(Hidden { below: self.scopes.len(), scopes });
        let out = std::mem::take(&mut self.out);
        let done = self.for_loop(state.of, value, state.depth + 1);
        let text = std::mem::replace(&mut self.out, out);
        let hidden = self.calls.pop().expect("it was pushed above");
        self.scopes.extend(hidden.scopes);
        done.map(|()| Value::str(text))
    }
}
