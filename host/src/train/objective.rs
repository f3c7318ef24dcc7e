//! What is trained for: weighted pairs (DPO), or completions (SFT).

use super::{
    DpoData, SftData,
    loss::{PairLoss, Valued},
    metrics::StepMeans,
};
use crate::{Code, Error, Result, config::TrainConfig, data::tokens::TokenStore, files, rundir::column};
use ldalign_sdk::StepContext;

/// What DPO and SFT do differently.
pub trait Objective {
    /// Shown beside the progress.
    fn name(&self) -> String;
    /// Rows of a prompt and its completions.
    fn rows(&self) -> &TokenStore;
    /// Hash of everything but the configuration that the result depends on.
    fn data_hash(&self) -> String;
    /// Weights of the rows of a step, recorded in the metrics.
    fn weigh(&self, step: u64, total_steps: u64, rows: &[usize], means: &mut StepMeans) -> Result<Vec<f32>>;
    /// Whether a row of this weight has any part in loss and gradient.
    fn counts(&self, weight: f32) -> bool;
    /// A row's part of the step's loss from its completions' log-probabilities, recorded in the metrics.
    fn value(
        &self,
        row: usize,
        weight: f32,
        logps: &[f32],
        tokens: &[usize],
        of: Denominators,
        means: &mut StepMeans,
    ) -> Valued;
}

/// What the parts of a step's loss are divided by: known before its first pass, so that the losses and gradients of
/// passes add up.
#[derive(Debug, Clone, Copy)]
pub struct Denominators {
    /// Rows, those of weight 0 too.
    pub rows: f64,
    /// Tokens of the rows' first completions.
    pub tokens: f64,
}

/// Weighted preference pairs.
pub struct Dpo<'a> {
    data: &'a DpoData<'a>,
    loss: PairLoss,
}

impl<'a> Dpo<'a> {
    /// Checks the loss of the configuration and that all rows have their values.
    pub fn new(data: &'a DpoData<'a>, config: &TrainConfig) -> Result<Self> {
        let (rows, reference, distances) = (data.pairs.len(), data.reference.len(), data.distances.len());
        if (reference, distances) != (rows, rows) {
            let what = format!("{rows} pairs have {reference} reference values and {distances} distances");
            return Err(Error::new(Code::TrainRows, what));
        }
        Ok(Self { data, loss: PairLoss::new(config)? })
    }
}

impl Objective for Dpo<'_> {
    fn name(&self) -> String {
        format!("train, round {} of {}", self.data.round.0 + 1, self.data.round.1)
    }
    fn rows(&self) -> &TokenStore {
        self.data.pairs
    }
    fn data_hash(&self) -> String {
        let DpoData { pairs, reference, distances, round: (round, _), .. } = self.data;
        let parts =
            [bytemuck::cast_slice(reference.as_flattened()), bytemuck::cast_slice(distances)].map(files::sha256);
        files::sha256(format!("{} {} {round}", pairs.hash(), parts.join(" ")).as_bytes())
    }
    fn weigh(&self, step: u64, total_steps: u64, rows: &[usize], means: &mut StepMeans) -> Result<Vec<f32>> {
        let (round, rounds) = self.data.round;
        let distances: Vec<f32> = rows.iter().map(|&row| self.data.distances[row]).collect();
        let weights = (self.data.schedule)(StepContext { round, rounds, step, total_steps }, &distances)?;
        if weights.len() != rows.len() {
            let what = format!("the schedule gave {} weights for {} distances", weights.len(), rows.len());
            return Err(Error::new(Code::TrainWeights, what));
        }
        if self.data.measured {
            distances.iter().for_each(|&d| means.add(column::MEAN_DISTANCE, d.into()));
        }
        weights.iter().for_each(|&w| means.add_weight(w));
        Ok(weights)
    }
    fn counts(&self, weight: f32) -> bool {
        weight != 0.0 || self.loss.sft() > 0.0
    }
    fn value(
        &self,
        row: usize,
        weight: f32,
        logps: &[f32],
        tokens: &[usize],
        of: Denominators,
        means: &mut StepMeans,
    ) -> Valued {
        let logps = [0, 1].map(|i| f64::from(logps[i]));
        let ratios = [0, 1].map(|i| logps[i] - f64::from(self.data.reference[row][i]));
        let (loss, derivatives) = self.loss.of(ratios, [tokens[0], tokens[1]]);
        let share = f64::from(weight) / of.rows;
        let (mut loss, mut derivatives) = (share * loss, derivatives.map(|d| share * d));

        let [chosen, rejected] = ratios.map(|r| self.loss.reward(r));
        means.add(column::CHOSEN_REWARD, chosen);
        means.add(column::REJECTED_REWARD, rejected);
        means.add(column::REWARD_ACCURACY, f64::from(chosen > rejected));
        means.add(column::REWARD_MARGIN, chosen - rejected);
        means.add(column::CHOSEN_LOGP, logps[0]);
        means.add(column::REJECTED_LOGP, logps[1]);
        if self.loss.sft() > 0.0 {
            let share = self.loss.sft() / of.tokens;
            loss -= share * logps[0];
            derivatives[0] -= share;
            means.add_many(column::NLL, -logps[0], tokens[0] as f64);
        }
        (loss, derivatives)
    }
}

/// Negative log-likelihood of completions.
pub struct Sft<'a> {
    data: &'a SftData<'a>,
}

impl<'a> Sft<'a> {
    /// Checks that all rows have their weights, or none.
    pub fn new(data: &'a SftData<'a>) -> Result<Self> {
        let (rows, weights) = (data.rows.len(), data.weights.map_or(data.rows.len(), <[f32]>::len));
        if weights != rows {
            return Err(Error::new(Code::TrainRows, format!("{rows} rows have {weights} weights")));
        }
        Ok(Self { data })
    }
}

impl Objective for Sft<'_> {
    fn name(&self) -> String {
        "sft".into()
    }
    fn rows(&self) -> &TokenStore {
        self.data.rows
    }
    fn data_hash(&self) -> String {
        let rows = self.data.rows.hash();
        match self.data.weights {
            None => rows.to_owned(),
            Some(weights) => {
                let weights = files::sha256(bytemuck::cast_slice(weights));
                files::sha256(format!("{rows} {weights}").as_bytes())
            }
        }
    }
    fn weigh(&self, _: u64, _: u64, rows: &[usize], means: &mut StepMeans) -> Result<Vec<f32>> {
        let Some(weights) = self.data.weights else { return Ok(vec![1.0; rows.len()]) };
        let weights: Vec<f32> = rows.iter().map(|&row| weights[row]).collect();
        weights.iter().for_each(|&weight| means.add_weight(weight));
        Ok(weights)
    }
    fn counts(&self, weight: f32) -> bool {
        weight != 0.0
    }
    fn value(&self, _: usize, weight: f32, logps: &[f32], _: &[usize], of: Denominators, _: &mut StepMeans) -> Valued {
        let weight = f64::from(weight);
        (-weight * f64::from(logps[0]) / of.tokens, [-weight / of.tokens, 0.0])
    }
}
