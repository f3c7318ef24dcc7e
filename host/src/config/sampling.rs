//! How responses are sampled, and within which bounds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Sampling.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateConfig {
    /// Tokens sampled at most.
    #[schemars(range(min = Self::COUNTS.low, max = Self::COUNTS.high))]
    pub max_new_tokens: usize,
    /// 0 is greedy.
    #[schemars(range(min = Self::TEMPERATURES.low))]
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Keep the smallest set of tokens with at least this probability.
    #[schemars(range(max = Self::TOP_PS.high), extend("exclusiveMinimum" = Self::TOP_PS.low))]
    pub top_p: f32,
    /// Sequences decoded together.
    #[schemars(range(min = Self::COUNTS.low, max = Self::COUNTS.high))]
    pub batch_size: usize,
    /// Responses to each prompt of a run: 4 by default, 1 for the rule `golden-over-own`. An evaluation samples one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = crate::pairs::MOST_SAMPLES))]
    pub samples: Option<usize>,
}

impl GenerateConfig {
    /// Of `max_new_tokens` and `batch_size`.
    pub const COUNTS: Bounds = Bounds { low: 1.0, takes_low: true, high: (1 << 20) as f64 };
    /// Of `temperature`.
    pub const TEMPERATURES: Bounds = Bounds { low: 0.0, takes_low: true, high: f64::INFINITY };
    /// Of `top_p`.
    pub const TOP_PS: Bounds = Bounds { low: 0.0, takes_low: false, high: 1.0 };
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self { max_new_tokens: 256, temperature: 1.0, top_k: 0, top_p: 1.0, batch_size: 16, samples: None }
    }
}

/// Which numbers an option takes: the finite ones from `low` to `high`. They stand in the schema that finds a file's
/// faults, and are asked where options come another way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    low: f64,
    /// Whether `low` itself is taken.
    takes_low: bool,
    /// Taken itself; infinite for no bound.
    high: f64,
}

impl Bounds {
    /// Whether the option takes `x`.
    pub fn take(&self, x: f64) -> bool {
        x.is_finite() && x <= self.high && (x > self.low || (self.takes_low && x == self.low))
    }
}

/// In words that follow "must be" and "expected": `at least 1`, `above 0 and at most 1`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.takes_low { "at least" } else { "above" }, self.low)?;
        if self.high.is_finite() { write!(f, " and at most {}", self.high) } else { Ok(()) }
    }
}
