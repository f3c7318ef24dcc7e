//! Held-out figures of a model: accuracy of greedy and of sampled responses, and the likelihood of the chosen ones; of
//! all rows together and of each, so that two models can be compared row by row.

use super::{Run, beside};
use crate::{
    Result,
    checker::Check,
    config::{EvalConfig, GenerateConfig},
    data::{Budgets, Dataset},
    generate::{Request, generate},
    interrupt,
    model::{PASS_TOKENS, Pack, Policy, Target},
    progress::Progress,
    rundir::{Answer, EvalSample, Evaluation, Outcome},
    text::TextCodec,
};

/// Texts kept for the report.
const SAMPLES: usize = 12;

impl Run {
    /// Evaluates the model after `round` (0: before the first) unless done; nothing without an `eval` section.
    pub(super) fn evaluate(&mut self, round: u64) -> Result<()> {
        let Some(eval) = self.config.eval.clone() else { return Ok(()) };
        if !eval.measures(round, self.config.rounds) || self.dir.is_evaluated(round)? {
            return Ok(());
        }
        if round == 0 && beside::evaluation(&self.dir, &self.config, &self.beside)? {
            return Ok(());
        }
        let policy = self.policy(round + 1)?;
        let policy = policy.read().expect("no thread panics with the policy in hand");
        let name = format!("eval after round {round}");
        let (figures, outcomes) =
            evaluate(&policy, &self.codec, &eval, &self.config.generate, self.config.seed, &name)?;
        self.dir.write_evaluation(round, &figures, &outcomes)
    }
}

/// Measures a policy on held-out rows: figures of all, and what came of each in their order. `sampling` is how
/// responses are sampled where the `eval` section does not say.
pub fn evaluate(
    policy: &Policy,
    codec: &TextCodec,
    config: &EvalConfig,
    sampling: &GenerateConfig,
    seed: u64,
    name: &str,
) -> Result<(Evaluation, Vec<Outcome>)> {
    let data = Dataset::open(&config.data)?;
    let mut progress = Progress::new(name, 0, 3 * data.len() as u64);
    let sampling = config.generate.as_ref().unwrap_or(sampling);
    let greedy = GenerateConfig { temperature: 0.0, ..sampling.clone() };
    let held_out = HeldOut { policy, codec, data: &data, check: Check::new(&config.checker)? };
    let greedy = held_out.answers(&greedy, seed, &mut progress)?;
    let sampled = held_out.answers(sampling, seed, &mut progress)?;
    let likelihoods = held_out.likelihoods(&mut progress)?;
    let rows = greedy.into_iter().zip(sampled).zip(&likelihoods.rows).enumerate();
    let outcomes: Vec<Outcome> =
        rows.map(|(row, ((greedy, sampled), &(nll, tokens)))| Outcome { row, nll, tokens, greedy, sampled }).collect();
    let figures = Evaluation {
        rows: data.len(),
        greedy_accuracy: share(&outcomes, |o| o.greedy.right),
        sampled_accuracy: share(&outcomes, |o| o.sampled.right),
        nll: likelihoods.per_token(),
        samples: outcomes.iter().take(SAMPLES).map(|o| held_out.sample(o)).collect::<Result<_>>()?,
    };
    progress.finish(&format!(
        "greedy {:.3}, sampled {:.3}, NLL {:.4}",
        figures.greedy_accuracy, figures.sampled_accuracy, figures.nll
    ));
    Ok((figures, outcomes))
}

/// A policy before held-out rows.
struct HeldOut<'a> {
    policy: &'a Policy,
    codec: &'a TextCodec,
    data: &'a Dataset,
    check: Check,
}

impl HeldOut<'_> {
    /// The policy's response to every row, and whether it is right.
    fn answers(&self, how: &GenerateConfig, seed: u64, progress: &mut Progress) -> Result<Vec<Answer>> {
        let requests = (0..self.data.len()).map(|index| {
            let row = self.data.row(index)?;
            let prompt = self.codec.encode_prompt(&row.prompt).map_err(|e| e.at(self.data.place(&row)))?;
            let prompt = row.limits.cut_prompt(prompt);
            Ok((index, Request { prompt, key: index as u64, sample: 0 }))
        });
        let mut answers = vec![Answer::default(); self.data.len()];
        generate(self.policy, requests, how, self.codec.end_ids(), seed, |index, generation| {
            let text = self.codec.decode(&generation.ids)?;
            let right = self.check.is_right(&text, self.data.row(index)?.chosen.text());
            answers[index] = Answer { right, ids: generation.ids, text };
            progress.advance(1, "");
            Ok(())
        })?;
        Ok(answers)
    }

    /// The policy's likelihoods of the rows' chosen responses.
    fn likelihoods(&self, progress: &mut Progress) -> Result<Likelihoods> {
        let mut likelihoods = Likelihoods { rows: vec![(0.0, 0); self.data.len()], nll: 0.0 };
        let mut budgets = Budgets::of(self.data);
        let mut pass = Pass::default();
        for index in 0..self.data.len() {
            interrupt::check()?;
            let row = self.data.row(index)?;
            let turn = self.codec.encode_turn(&row.prompt, &row.chosen).map_err(|e| e.at(self.data.place(&row)))?;
            progress.advance(1, "");
            let Some((prompt, [response])) = budgets.fit(&row, turn.prompt, [turn.response]) else { continue };
            if pass.pack.len() + prompt.len() + response.len() > PASS_TOKENS {
                likelihoods.add(self.policy, std::mem::take(&mut pass))?;
            }
            pass.push(index, &prompt, &response);
        }
        likelihoods.add(self.policy, pass)?;
        budgets.check().map_err(|e| e.at("eval.data"))?;
        Ok(likelihoods)
    }

    /// The texts of a row and of its sampled response.
    fn sample(&self, outcome: &Outcome) -> Result<EvalSample> {
        let row = self.data.row(outcome.row)?;
        let prompt = row.prompt.messages.last().map(|m| m.text().to_owned()).unwrap_or_default();
        let Answer { right, text, .. } = &outcome.sampled;
        Ok(EvalSample { prompt, golden: row.chosen.text().to_owned(), response: text.clone(), right: *right })
    }
}

/// Rows that go through the model together.
#[derive(Default)]
struct Pass {
    pack: Pack,
    targets: Vec<Target>,
    /// Each row with its number of targets.
    rows: Vec<(usize, usize)>,
}

impl Pass {
    fn push(&mut self, row: usize, prompt: &[u32], response: &[u32]) {
        let prompt = self.pack.push_prompt(prompt);
        let before = self.targets.len();
        self.targets.extend(self.pack.push_completion(prompt, response));
        self.rows.push((row, self.targets.len() - before));
    }
}

/// Negative log-likelihoods in nats.
struct Likelihoods {
    /// Of each row, with its tokens; 0 of 0 tokens where the response does not fit the length limits.
    rows: Vec<(f64, usize)>,
    /// Of all rows, pass by pass.
    nll: f64,
}

impl Likelihoods {
    /// Adds a pass through the model.
    fn add(&mut self, policy: &Policy, pass: Pass) -> Result<()> {
        if pass.targets.is_empty() {
            return Ok(());
        }
        let logps: Vec<f64> = policy.logps(&pass.pack, &pass.targets)?.iter().map(|&l| f64::from(l)).collect();
        self.nll -= logps.iter().sum::<f64>();
        let mut rest = &logps[..];
        for (row, tokens) in pass.rows {
            let (of_row, others) = rest.split_at(tokens);
            self.rows[row] = (-of_row.iter().sum::<f64>(), tokens);
            rest = others;
        }
        Ok(())
    }

    fn per_token(&self) -> f64 {
        let tokens: usize = self.rows.iter().map(|(_, tokens)| tokens).sum();
        self.nll / tokens.max(1) as f64
    }
}

/// Share of the rows of which something is right; 0 of none.
fn share(outcomes: &[Outcome], right: impl Fn(&Outcome) -> bool) -> f64 {
    outcomes.iter().filter(|o| right(o)).count() as f64 / outcomes.len().max(1) as f64
}
