//! Which plugin does what: how messages about its calls name both.

use super::PluginRecord;
use std::fmt;

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub(super) enum Call {
    /// dlopen and the root module.
    Loading,
    Options,
    New,
    Shape,
    Fit,
    Encode,
    Distances,
    BeginRound,
    Weights,
    Save,
    Load,
    Drop,
}

impl Call {
    pub const ALL: [(Call, &str); 12] = [
        (Call::Loading, "loading"),
        (Call::Options, "options"),
        (Call::New, "new"),
        (Call::Shape, "shape"),
        (Call::Fit, "fit"),
        (Call::Encode, "encode"),
        (Call::Distances, "distances"),
        (Call::BeginRound, "begin_round"),
        (Call::Weights, "weights"),
        (Call::Save, "save"),
        (Call::Load, "load"),
        (Call::Drop, "Drop"),
    ];
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL[*self as usize].1)
    }
}

/// The name of a loaded plugin in messages. Lives as long as the process, as the library does.
#[derive(Clone, Copy)]
pub(super) struct Who(pub &'static String);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Who {
    pub fn new(record: &PluginRecord) -> Self {
        Self(Box::leak(Box::new(record.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_listed_in_their_order() {
        for (i, (call, _)) in Call::ALL.iter().enumerate() {
            assert_eq!(*call as usize, i);
        }
    }
}
