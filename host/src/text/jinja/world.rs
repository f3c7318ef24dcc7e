//! What a rendering has beside its scopes.

use super::{budget::Budget, value::Value};
use std::cell::RefCell;

/// What functions, filters and methods work with.
pub struct World<'t> {
    pub budget: Budget,
    /// The attributes of all namespaces.
    pub namespaces: RefCell<Vec<Vec<(String, Value<'t>)>>>,
}
