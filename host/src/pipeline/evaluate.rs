//! Held-out figures of a model: accuracy of greedy and of sampled responses, and the golden responses' likelihood.

use super::Run;
use crate::{
    Result,
    config::{Checker, EvalConfig, GenerateConfig},
    data::Dataset,
    files,
    generate::{Request, generate},
    model::{PASS_TOKENS, Pack, Policy, Target},
    progress::Progress,
    text::TextCodec,
};
use serde::{Deserialize, Serialize};

/// Texts kept for the report.
const SAMPLES: usize = 12;

/// What [`evaluate`] measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Rows measured.
    pub rows: usize,
    /// Share of right greedy responses.
    pub greedy_accuracy: f64,
    /// Share of right responses sampled as the losers are: what the model does, not only what it prefers.
    pub sampled_accuracy: f64,
    /// Negative log-likelihood of the golden responses, nats per token.
    pub nll: f64,
    /// Some sampled responses: greedy ones would hide habits that have less than half the probability.
    pub samples: Vec<EvalSample>,
}

/// One sampled response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSample {
    /// The conversation's last message.
    pub prompt: String,
    /// The right answer.
    pub golden: String,
    /// The model's.
    pub response: String,
    /// Whether the checker takes it.
    pub right: bool,
}

impl Run {
    /// Evaluates the model after `round` (0: before the first) unless done; nothing without an `eval` section.
    pub(super) fn evaluate(&mut self, round: u64) -> Result<()> {
        let path = self.dir.eval(round);
        let Some(eval) = self.config.eval.clone() else { return Ok(()) };
        if path.exists() {
            return Ok(());
        }
        let policy = self.policy(round + 1)?;
        let policy = policy.read().expect("no thread panics with the policy in hand");
        let name = format!("eval after round {round}");
        let figures = evaluate(&policy, &self.codec, &eval, &self.config.generate, self.config.seed, &name)?;
        files::write_json(&path, &figures)
    }
}

/// Measures a policy on held-out rows. `sampling` is how responses are sampled for the sampled accuracy.
pub fn evaluate(
    policy: &Policy,
    codec: &TextCodec,
    config: &EvalConfig,
    sampling: &GenerateConfig,
    seed: u64,
    name: &str,
) -> Result<Evaluation> {
    let data = Dataset::open(&config.data)?;
    let budget = config.data.budget();
    let mut progress = Progress::new(name, 0, 3 * data.len() as u64);
    let sampled = config.generate.as_ref().unwrap_or(sampling);
    let greedy = &GenerateConfig { temperature: 0.0, ..sampled.clone() };
    let mut right = [0usize; 2];
    let mut samples = Vec::new();
    for (which, how) in [greedy, sampled].into_iter().enumerate() {
        let requests = (0..data.len()).map(|index| {
            let prompt = budget.cut_prompt(codec.encode_prompt(&data.row(index)?.history)?);
            Ok((index, Request { prompt, key: index as u64 }))
        });
        generate(policy, requests, how, codec.end_ids(), seed, |index, generation| {
            let row = data.row(index)?;
            let response = codec.decode(&generation.ids)?;
            let ok = is_right(config.checker, &response, &row.chosen);
            right[which] += usize::from(ok);
            if which == 1 && index < SAMPLES {
                let prompt = row.history.last().map(|m| m.content.clone()).unwrap_or_default();
                samples.push((index, EvalSample { prompt, golden: row.chosen, response, right: ok }));
            }
            progress.advance(1, "");
            Ok(())
        })?;
    }
    samples.sort_by_key(|(index, _)| *index);
    let (mut nll, mut tokens) = (0.0, 0usize);
    let mut add = |pack: Pack, targets: Vec<Target>| -> Result<()> {
        if !targets.is_empty() {
            nll -= policy.logps(&pack, &targets)?.iter().map(|&l| f64::from(l)).sum::<f64>();
            tokens += targets.len();
        }
        Ok(())
    };
    let (mut pack, mut targets) = (Pack::default(), vec![]);
    let mut fitting = config.data.budget();
    for index in 0..data.len() {
        crate::interrupt::check()?;
        let row = data.row(index)?;
        let turn = codec.encode_turn(&row.history, &row.chosen)?;
        progress.advance(1, "");
        let Some((prompt, [response])) = fitting.fit(turn.prompt, [turn.response]) else { continue };
        if pack.len() + prompt.len() + response.len() > PASS_TOKENS {
            add(std::mem::take(&mut pack), std::mem::take(&mut targets))?;
        }
        let prompt = pack.push_prompt(&prompt);
        targets.extend(pack.push_completion(prompt, &response));
    }
    add(pack, targets)?;
    fitting.report().check().map_err(|e| e.at("eval.data"))?;
    let rows = data.len();
    let share = |n: usize| n as f64 / rows.max(1) as f64;
    let figures = Evaluation {
        rows,
        greedy_accuracy: share(right[0]),
        sampled_accuracy: share(right[1]),
        nll: nll / tokens.max(1) as f64,
        samples: samples.into_iter().map(|(_, s)| s).collect(),
    };
    progress.finish(&format!(
        "greedy {:.3}, sampled {:.3}, NLL {:.4}",
        figures.greedy_accuracy, figures.sampled_accuracy, figures.nll
    ));
    Ok(figures)
}

/// Whether a response says what the golden one says.
fn is_right(checker: Checker, response: &str, golden: &str) -> bool {
    match checker {
        Checker::Exact => response.trim() == golden.trim(),
        Checker::LastNumber => last_number(golden).is_some_and(|want| last_number(response) == Some(want)),
    }
}

/// The last number of a text, thousands separators removed: `so 1,200.` gives 1200. In `2-1` and `GPT-4` the hyphen is no sign.
fn last_number(text: &str) -> Option<f64> {
    let head = &text[..=text.rfind(|c: char| c.is_ascii_digit())?];
    let number = head.rsplit(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ','))).next()?;
    let before = &head[..head.len() - number.len()];
    let is_sign =
        before.strip_suffix('-').is_some_and(|rest| !rest.ends_with(|c: char| c.is_alphanumeric() || c == ')'));
    let plain = number.replace(',', "");
    // `1.2.3` is no number; its last part is.
    let value: f64 = plain.parse().or_else(|_| plain.rsplit('.').next().unwrap_or_default().parse()).ok()?;
    Some(if is_sign { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_found_at_the_end() {
        assert_eq!(last_number("48+24 = 72 clips\n#### 1,072."), Some(1072.0));
        assert_eq!(last_number("minus -3.5!"), Some(-3.5));
        assert_eq!(last_number("2-1"), Some(1.0));
        assert_eq!(last_number("GPT-4"), Some(4.0));
        assert_eq!(last_number("5 + -7"), Some(-7.0));
        assert_eq!(last_number("step 1.2.3"), Some(3.0));
        assert_eq!(last_number("none - here."), None);
    }

    #[test]
    fn checkers_differ() {
        assert!(is_right(Checker::Exact, " ab\n", "ab") && !is_right(Checker::Exact, "abc", "ab"));
        assert!(
            is_right(Checker::LastNumber, "I get 7.0", "#### 7") && !is_right(Checker::LastNumber, "7 or 8", "#### 7")
        );
        assert!(!is_right(Checker::LastNumber, "no", "no"));
    }
}
