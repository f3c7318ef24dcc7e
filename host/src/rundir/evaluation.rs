//! Held-out figures: eval-N.json has those of all rows together, eval-N.jsonl what came of each, so that two models can
//! be compared row by row.

use serde::{Deserialize, Deserializer, Serialize};

/// eval-N.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Rows measured.
    pub rows: usize,
    /// Share of right greedy responses.
    pub greedy_accuracy: f64,
    /// Share of right responses sampled as the rejected ones are: what the model does, not only what it prefers.
    pub sampled_accuracy: f64,
    /// Negative log-likelihood of the chosen responses, nats per token; null in the file where it is not finite, and
    /// NaN when read.
    #[serde(deserialize_with = "or_nan")]
    pub nll: f64,
    /// Some sampled responses: greedy ones would hide habits that have less than half the probability.
    pub samples: Vec<EvalSample>,
}

/// One sampled response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSample {
    /// The conversation's last message.
    pub prompt: String,
    /// The right answer: the row's chosen response.
    pub golden: String,
    /// The model's.
    pub response: String,
    /// Whether the checker takes it.
    pub right: bool,
}

/// What came of a held-out row: a line of eval-N.jsonl.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Row, from 0.
    pub row: usize,
    /// Negative log-likelihood of the chosen response, nats; 0 where it does not fit the length limits.
    pub nll: f64,
    /// Tokens of the chosen response; 0 where it does not fit.
    pub tokens: usize,
    /// The likeliest response.
    pub greedy: Answer,
    /// One drawn as the rejected responses are.
    pub sampled: Answer,
}

/// A model's response to a held-out row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the checker takes it.
    pub right: bool,
    /// Its token ids, with the end token where the model made one.
    pub ids: Vec<u32>,
    /// The same as text.
    pub text: String,
}

/// JSON has no NaN and no infinity.
fn or_nan<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_likelihood_that_is_not_finite_can_be_read_back() {
        let figures =
            Evaluation { rows: 1, greedy_accuracy: 0.5, sampled_accuracy: 0.25, nll: f64::INFINITY, samples: vec![] };
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(text, r#"{"rows":1,"greedy_accuracy":0.5,"sampled_accuracy":0.25,"nll":null,"samples":[]}"#);
        let read: Evaluation = serde_json::from_str(&text).unwrap();
        assert!(read.nll.is_nan());
        assert_eq!(Evaluation { nll: 0.0, ..read }, Evaluation { nll: 0.0, ..figures });
        assert!(serde_json::from_str::<Evaluation>(&text.replace("null", "\"low\"")).is_err());
    }
}
