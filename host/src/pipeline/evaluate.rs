//! Held-out figures of a model: accuracy of greedy and of sampled responses, and the golden responses' likelihood; of all rows together
//! and of each, so that two models can be compared row by row.

use super::Run;
use crate::{
    Result,
    checker::Check,
    config::{EvalConfig, GenerateConfig},
    data::Dataset,
    files,
    generate::{Request, generate},
    model::{PASS_TOKENS, Pack, Policy, Target},
    progress::Progress,
    text::TextCodec,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

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
    /// What came of each row, in their order; a file of its own ([`write_evaluation`]).
    #[serde(skip)]
    pub outcomes: Vec<Outcome>,
}

/// What came of a held-out row: a line of eval-N.jsonl.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Row, from 0.
    pub row: usize,
    /// Negative log-likelihood of the golden response, nats; 0 where it does not fit the length limits.
    pub nll: f64,
    /// Tokens of the golden response; 0 where it does not fit.
    pub tokens: usize,
    /// The likeliest response.
    pub greedy: Answer,
    /// One drawn as the losers are.
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
        if is_evaluated(&path) {
            return Ok(());
        }
        let policy = self.policy(round + 1)?;
        let policy = policy.read().expect("no thread panics with the policy in hand");
        let name = format!("eval after round {round}");
        let figures = evaluate(&policy, &self.codec, &eval, &self.config.generate, self.config.seed, &name)?;
        write_evaluation(&path, &figures)
    }
}

/// Writes figures to `path`, and before them what came of each row into `path` with the ending `.jsonl`: where the one is, so is the other.
pub fn write_evaluation(path: &Path, figures: &Evaluation) -> Result<()> {
    files::write_lines(&path.with_extension("jsonl"), &figures.outcomes)?;
    files::write_json(path, figures)
}

/// Whether [`write_evaluation`] has written to `path`.
pub fn is_evaluated(path: &Path) -> bool {
    path.exists() && path.with_extension("jsonl").exists()
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
    let check = Check::new(&config.checker)?;
    let mut outcomes: Vec<Outcome> = (0..data.len()).map(|row| Outcome { row, ..Outcome::default() }).collect();
    for (is_greedy, how) in [(true, greedy), (false, sampled)] {
        let requests = (0..data.len()).map(|index| {
            let prompt = budget.cut_prompt(codec.encode_prompt(&data.row(index)?.history)?);
            Ok((index, Request { prompt, key: index as u64 }))
        });
        generate(policy, requests, how, codec.end_ids(), seed, |index, generation| {
            let text = codec.decode(&generation.ids)?;
            let right = check.is_right(&text, &data.row(index)?.chosen);
            let answer = Answer { right, ids: generation.ids, text };
            let outcome = &mut outcomes[index];
            *(if is_greedy { &mut outcome.greedy } else { &mut outcome.sampled }) = answer;
            progress.advance(1, "");
            Ok(())
        })?;
    }
    let (mut nll, mut tokens) = (0.0, 0usize);
    // `rows` has each row of the pack with its number of targets.
    let mut add = |pack: Pack, targets: Vec<Target>, rows: Vec<(usize, usize)>| -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let logps: Vec<f64> = policy.logps(&pack, &targets)?.iter().map(|&l| f64::from(l)).collect();
        nll -= logps.iter().sum::<f64>();
        tokens += targets.len();
        let mut rest = &logps[..];
        for (row, count) in rows {
            let (own, others) = rest.split_at(count);
            (outcomes[row].nll, outcomes[row].tokens) = (-own.iter().sum::<f64>(), count);
            rest = others;
        }
        Ok(())
    };
    let (mut pack, mut targets, mut rows) = (Pack::default(), vec![], vec![]);
    let mut fitting = config.data.budget();
    for index in 0..data.len() {
        crate::interrupt::check()?;
        let row = data.row(index)?;
        let turn = codec.encode_turn(&row.history, &row.chosen)?;
        progress.advance(1, "");
        let Some((prompt, [response])) = fitting.fit(turn.prompt, [turn.response]) else { continue };
        if pack.len() + prompt.len() + response.len() > PASS_TOKENS {
            add(std::mem::take(&mut pack), std::mem::take(&mut targets), std::mem::take(&mut rows))?;
        }
        let prompt = pack.push_prompt(&prompt);
        let before = targets.len();
        targets.extend(pack.push_completion(prompt, &response));
        rows.push((index, targets.len() - before));
    }
    add(pack, targets, rows)?;
    fitting.report().check().map_err(|e| e.at("eval.data"))?;
    let share = |right: fn(&Outcome) -> bool| {
        outcomes.iter().filter(|o| right(o)).count() as f64 / outcomes.len().max(1) as f64
    };
    let sample = |outcome: &Outcome| {
        let row = data.row(outcome.row)?;
        let prompt = row.history.last().map(|m| m.content.clone()).unwrap_or_default();
        let Answer { right, text, .. } = &outcome.sampled;
        Ok(EvalSample { prompt, golden: row.chosen, response: text.clone(), right: *right })
    };
    let figures = Evaluation {
        rows: data.len(),
        greedy_accuracy: share(|o| o.greedy.right),
        sampled_accuracy: share(|o| o.sampled.right),
        nll: nll / tokens.max(1) as f64,
        samples: outcomes.iter().take(SAMPLES).map(sample).collect::<Result<_>>()?,
        outcomes,
    };
    progress.finish(&format!(
        "greedy {:.3}, sampled {:.3}, NLL {:.4}",
        figures.greedy_accuracy, figures.sampled_accuracy, figures.nll
    ));
    Ok(figures)
}
