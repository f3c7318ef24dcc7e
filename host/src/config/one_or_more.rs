//! What may stand in a file alone or in a list.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// One thing, or several in order. Where there is one, files have it without a list around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Form<T>", into = "Form<T>")]
pub struct OneOrMore<T: Clone>(Vec<T>);

/// How it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form<T> {
    One(T),
    More(#[schemars(length(min = 1))] Vec<T>),
}

impl<T: Clone> From<Form<T>> for OneOrMore<T> {
    fn from(form: Form<T>) -> Self {
        match form {
            Form::One(one) => Self(vec![one]),
            Form::More(more) => Self(more),
        }
    }
}

impl<T: Clone> From<OneOrMore<T>> for Form<T> {
    fn from(of: OneOrMore<T>) -> Self {
        <[T; 1]>::try_from(of.0).map_or_else(Self::More, |[one]| Self::One(one))
    }
}

impl<T: Clone> From<T> for OneOrMore<T> {
    fn from(one: T) -> Self {
        Self(vec![one])
    }
}

impl<T: Clone> FromIterator<T> for OneOrMore<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl<T: Clone> Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Clone> DerefMut for OneOrMore<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
