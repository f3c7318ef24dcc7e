//! Jinja as `transformers` runs it: jinja2's language with Python's values, in an immutable sandbox, with
//! `trim_blocks`, `lstrip_blocks`, `break`, `continue` and `generation`.
//!
//! What is here does as jinja2 does, and what is not here is an error. Templates come from strangers: work, memory and
//! depth have limits ([`budget`]), and a template reaches nothing but the variables that it is given.
//!
//! Source: <https://jinja.palletsprojects.com/en/stable/templates/>, and `transformers/utils/chat_template_utils.py`.

mod args;
mod ast;
mod budget;
mod characters;
mod checks;
mod filters;
mod format;
mod json;
mod lexer;
mod lookup;
mod machine;
mod methods;
mod number;
mod operators;
mod parser;
mod reads;
mod repr;
mod value;
mod world;

pub use budget::Fault;
pub use reads::Reads;

use ast::Statement;
use serde_json::{Map, Value as Json};

/// Bytes of the longest template that is read; published ones have some ten thousand.
const LONGEST: usize = 1 << 20;

/// A parsed template.
pub struct Template(Vec<Statement>);

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Where it is no Jinja, uses what is not supported, or is too long or too deep.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        if source.len() > LONGEST {
            return Err(Fault::new(format!("it has {} bytes, and {LONGEST} are the limit", source.len())));
        }
        parser::parse(lexer::lex(source)?).map(Self)
    }

    /// What the template reads.
    pub fn reads(&self) -> Reads {
        Reads::of(&self.0)
    }

    /// Renders the template with these variables.
    ///
    /// # Errors
    /// Where jinja2 would raise, the template raises, or a limit is reached.
    pub fn render(&self, variables: Map<String, Json>) -> Result<String, Fault> {
        machine::run(&self.0, variables)
    }
}

#[cfg(test)]
mod tests;
