//! What a loop goes through, item by item: as jinja2, a loop looks no further ahead than it is asked to.

use super::{Stream, StreamKind, Value};
use crate::text::jinja::{Fault, ast::Loop, budget::Budget};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// The items of a loop, or of a call of it.
pub struct Feed<'t> {
    rest: Rest<'t>,
    /// Those that fulfil the loop's condition, as far as it was looked.
    pub kept: RefCell<Vec<Value<'t>>>,
    /// Whether an item is being looked for.
    pub busy: Cell<bool>,
    pub place: Place,
}

/// Where a loop stands.
#[derive(Clone, Copy)]
pub struct Place {
    /// How many scopes there were around it.
    pub scopes: usize,
    /// The call of a macro that it is in.
    pub call: Option<usize>,
}

/// Items that nobody has looked at yet.
enum Rest<'t> {
    Items(RefCell<std::vec::IntoIter<Value<'t>>>),
    /// What the loop leaves of it is still there afterwards.
    Generator(Rc<Stream<'t>>),
}

impl<'t> Feed<'t> {
    /// Of a value. Fails where it cannot be gone through.
    pub fn of(value: &Value<'t>, place: Place, budget: &Budget) -> Result<Self, Fault> {
        let rest = match value {
            Value::Stream(stream) if stream.kind == StreamKind::Generator => Rest::Generator(stream.clone()),
            other => Rest::Items(RefCell::new(other.items(budget)?.into_iter())),
        };
        Ok(Self { rest, kept: RefCell::default(), busy: Cell::new(false), place })
    }

    /// The next item that nobody has looked at.
    pub fn next(&self) -> Option<Value<'t>> {
        match &self.rest {
            Rest::Items(items) => items.borrow_mut().next(),
            Rest::Generator(stream) => stream.next(),
        }
    }

    /// Looks at items up to this one where no condition has to be asked. Fails where one has.
    pub fn look_ahead(&self, of: &Loop, index: usize) -> Result<(), Fault> {
        while self.kept.borrow().len() <= index {
            let Some(item) = self.next() else { break };
            if of.condition.is_some() {
                return Err(Fault::new("this way to ask a loop with a condition what follows is not supported"));
            }
            self.kept.borrow_mut().push(item);
        }
        Ok(())
    }
}

/// The variable `loop`.
pub struct LoopState<'t> {
    pub feed: Rc<Feed<'t>>,
    pub index: usize,
    /// From 0.
    pub depth: usize,
    /// What `changed` was asked about last, in this loop.
    pub changed: Rc<RefCell<Option<Vec<Value<'t>>>>>,
    pub of: &'t Loop,
}

impl LoopState<'_> {
    /// How far the loop must have looked to say this of itself; None where it need not.
    pub fn looks_at(&self, name: &str) -> Option<usize> {
        match name {
            "last" | "nextitem" => Some(self.index + 1),
            "length" | "revindex" | "revindex0" => Some(usize::MAX),
            _ => None,
        }
    }
}
