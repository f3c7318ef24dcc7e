//! What a template may cost, and how it fails.

use std::cell::Cell;

/// Steps of a rendering, of which each node of the template takes one, each item of a list two, and each [`CHUNK`]
/// bytes of text one: about a second.
const STEPS: u64 = 10_000_000;
/// Steps more for each byte of the variables, so that no limit depends on how long a conversation is.
const STEPS_PER_BYTE: u64 = 64;
/// Bytes of text for one step: with [`STEPS`], all text that a short conversation's rendering makes has 80 MB. Items of
/// lists, characters and keys take more steps than they have words, so that lists stay within some 200 MB.
const CHUNK: usize = 8;
/// How deep nodes may be evaluated in each other. Each level takes stack, of which threads have 2 MB.
const DEPTH: usize = 400;

/// Why a template could not be read or rendered.
#[derive(Debug)]
pub struct Fault {
    /// Line of the template, from 1.
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    /// A fault whose line is not known yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }

    /// The fault with its line, unless it has one.
    pub fn at(mut self, line: u32) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

/// What is left of a rendering's steps and depth.
pub struct Budget {
    steps: Cell<u64>,
    depth: Cell<usize>,
}

impl Budget {
    /// Of a rendering of so many bytes of variables.
    pub fn new(bytes: usize) -> Self {
        Self { steps: Cell::new(STEPS + STEPS_PER_BYTE * bytes as u64), depth: Cell::new(0) }
    }

    /// Takes steps.
    pub fn spend(&self, steps: usize) -> Result<(), Fault> {
        let left = self.steps.get().checked_sub(steps as u64);
        self.steps.set(left.ok_or_else(|| Fault::new("it takes more steps or makes more text than any chat needs"))?);
        Ok(())
    }

    /// Takes the steps of a text before it is made.
    pub fn text(&self, bytes: usize) -> Result<(), Fault> {
        self.spend(1 + bytes / CHUNK)
    }

    /// Goes one level deeper; [`leave`](Self::leave) ends it.
    pub fn enter(&self) -> Result<(), Fault> {
        if self.depth.get() == DEPTH {
            return Err(Fault::new("it nests or calls itself too deep"));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(())
    }

    /// Comes back from a level.
    pub fn leave(&self) {
        self.depth.set(self.depth.get() - 1);
    }
}
