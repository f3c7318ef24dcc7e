//! What is gone through without being a list: Python's views, ranges and generators.

use super::{Extent, Value};
use crate::text::jinja::{Fault, budget::Budget};
use std::{cell::Cell, rc::Rc};

#[derive(PartialEq, Clone, Copy)]
pub enum StreamKind {
    /// Of a map; has a length.
    View,
    /// Has a length and an order.
    Range,
    /// Can be gone through once.
    Generator,
}

pub struct Stream<'t> {
    pub kind: StreamKind,
    pub items: Vec<Value<'t>>,
    pub(super) extent: Extent,
    /// How many of a generator's items were taken.
    taken: Cell<usize>,
}

impl<'t> Stream<'t> {
    /// The next item of a generator, which is then taken.
    pub fn next(&self) -> Option<Value<'t>> {
        let item = self.items.get(self.taken.get()).cloned();
        self.taken.set(self.taken.get() + usize::from(item.is_some()));
        item
    }

    /// The items of a generator that are left, which are then taken.
    pub fn take_all(&self) -> &[Value<'t>] {
        &self.items[self.taken.replace(self.items.len())..]
    }
}

impl<'t> Value<'t> {
    pub fn stream(kind: StreamKind, items: Vec<Self>, budget: &Budget) -> Result<Self, Fault> {
        budget.spend(2 * items.len())?;
        let extent = Extent::around(items.iter())?;
        Ok(Self::Stream(Rc::new(Stream { kind, items, extent, taken: Cell::new(0) })))
    }
}
