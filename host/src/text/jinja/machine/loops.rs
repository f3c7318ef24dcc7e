//! Runs loops. Each looks at its items one by one, so that what its body does is seen by its condition.

use super::{Flow, Machine};
use crate::text::jinja::{
    Fault,
    ast::Loop,
    value::{Feed, LoopState, Place, Value},
};
use std::{cell::RefCell, rc::Rc};

impl<'t> Machine<'t> {
    /// Runs a loop, or a call of it, over what a value has. What is told is how its `else` ended, which belongs to the
    /// loop around it.
    pub fn for_loop(&mut self, of: &'t Loop, value: &Value<'t>, depth: usize) -> Result<Flow, Fault> {
        let place = Place { scopes: self.scopes.len(), call: self.calls.last().map(|call| call.id) };
        let feed = Rc::new(Feed::of(value, place, &self.world.budget)?);
        let changed = Rc::new(RefCell::new(None));
        let (mut index, mut through) = (0, false);
        while self.advance(&feed, of, index)? {
            self.world.budget.spend(1)?;
            let item = feed.kept.borrow()[index].clone();
            let state = LoopState { feed: feed.clone(), index, depth, changed: changed.clone(), of };
            let flow = self.scoped(vec![("loop", Value::Loop(Rc::new(state)))], |machine| {
                machine.assign(&of.target, item)?;
                machine.inner(&of.body)
            })?;
            index += 1;
            through |= flow == Flow::Through;
            if flow == Flow::Break {
                break;
            }
        }
        // As jinja2 has it: also where no item's body was gone through to its end.
        match through {
            true => Ok(Flow::Through),
            false => self.scoped(vec![], |machine| machine.inner(&of.otherwise)),
        }
    }

    /// Goes through a loop's items up to the one of this number that fulfils its condition. Whether there is one.
    fn advance(&mut self, feed: &Feed<'t>, of: &'t Loop, index: usize) -> Result<bool, Fault> {
        if feed.kept.borrow().len() > index {
            return Ok(true);
        }
        // A condition that asks its own loop what follows.
        if feed.busy.replace(true) {
            return Err(Fault::new("generator already executing"));
        }
        let found = self.search(feed, of, index);
        feed.busy.set(false);
        found
    }

    fn search(&mut self, feed: &Feed<'t>, of: &'t Loop, index: usize) -> Result<bool, Fault> {
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
        self.at_loop(state, |machine| machine.advance(&state.feed, state.of, index).map(drop))
    }

    /// What a recursive loop prints of other items. It sees what was around it.
    pub fn recurse(&mut self, state: &LoopState<'t>, value: &Value<'t>) -> Result<Value<'t>, Fault> {
        self.at_loop(state, |machine| {
            let out = std::mem::take(&mut machine.out);
            let done = machine.for_loop(state.of, value, state.depth + 1);
            let text = std::mem::replace(&mut machine.out, out);
            done.map(|_| Value::str(text))
        })
    }

    /// Runs with what is around a loop in sight.
    fn at_loop<T>(
        &mut self,
        state: &LoopState<'t>,
        run: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Place { scopes, call } = state.feed.place;
        let calls = match call {
            None => 0,
            Some(id) => {
                1 + self.under_way(id).ok_or_else(|| Fault::new("a loop of a macro that has ended is not supported"))?
            }
        };
        self.outside(calls, scopes, run)
    }
}
