//! The checks, by what they are about.

pub mod calls;
pub mod distance;
pub mod encoder;
pub mod instance;
pub mod library;
pub mod options;
pub mod schedule;

use crate::subject::Stop;

/// Ends a check with what was found.
fn fail<T>(found: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(found.into()))
}
