//! What stage `score` writes: scores.jsonl and encoder.json.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line of scores.jsonl.
///
/// Training goes on with three of its fields: `distance`, `weight` and `chosen_tokens`, and with the order of the
/// lines, which is the order of the pairs. All others are for people and reports: where a pair comes from, how long its
/// responses are, and what they say.
///
/// Numbers are written as `f32`, the shortest digits that stand for one. Who computes with them reads the same `f32`;
/// who shows them may read those digits as `f64`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreLine<F = f32> {
    /// Pair, from 0.
    pub index: usize,
    /// Which of the data's files the pair is of, from 0; left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<usize>,
    /// Line of the data file, from 1.
    pub line: u64,
    /// Distance between the latents, at least 0; null where weights do not depend on it.
    pub distance: Option<F>,
    /// Weight at the first step of the round, or the one the data brought; at least 0.
    pub weight: F,
    /// Tokens of the chosen response.
    pub chosen_tokens: usize,
    /// Tokens of the rejected response.
    pub rejected_tokens: usize,
    /// The conversation's text.
    pub prompt: String,
    /// The chosen response.
    pub chosen: String,
    /// The rejected response.
    pub rejected: String,
}

/// encoder.json: what the encoder is and what its fit reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedEncoder {
    /// Its plugin's id.
    pub id: String,
    /// Slots and dimensions of a latent.
    pub shape: [usize; 2],
    /// Figures of the fit by name.
    pub fit: BTreeMap<String, f64>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_written_with_the_digits_of_32_bits_and_read_as_either() {
        let (chosen, rejected) = ("a".into(), "b".into());
        let (index, line, prompt) = (0, 1, "p".into());
        let of = ScoreLine {
            index,
            file: None,
            line,
            distance: None,
            weight: 0.7f32,
            chosen_tokens: 2,
            rejected_tokens: 3,
            prompt,
            chosen,
            rejected,
        };
        let text = serde_json::to_string(&of).unwrap();
        let expected = concat!(
            r#"{"index":0,"line":1,"distance":null,"weight":0.7,"chosen_tokens":2,"rejected_tokens":3,"#,
            r#""prompt":"p","chosen":"a","rejected":"b"}"#
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<ScoreLine>(&text).unwrap(), of);
        assert_eq!(serde_json::from_str::<ScoreLine<f64>>(&text).unwrap().weight, 0.7);
    }
}
