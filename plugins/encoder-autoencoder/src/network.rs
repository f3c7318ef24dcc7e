//! Encoder phi and decoder psi: two small pre-norm transformers over one embedding table.
//!
//! - phi reads `[slot queries; prompt, start, response]`, each position seeing all; the final states of the queries,
//!   scaled to root mean square 1, are the latent. The fixed scale keeps distances comparable between samples and
//!   rounds.
//! - psi reads `[projected latent; prompt, start, response]` causally and predicts each response token from those
//!   before. All of the latent, mapped to one vector, is also added at every position: attention alone finds its way to
//!   the latent only after hundreds of steps. A latent of zeros adds nothing and means "no latent".
//!
//! Positions count from the start mark, so a response's n-th token has the same position in every sample. Embeddings
//! are tied: table, phi's input, psi's input and psi's output (times sqrt(dim) at the input; Vaswani et al. 2017, 3.4).
//!
//! Only operations with a backward pass are used: candle's fused norms and softmax would cut the graph silently.

use crate::vocabulary::Sequence;
use candle_core::{D, Device, Result, Tensor, Var};
use ldalign_guiding::layers::{Init, Stack, Weights, causal_mask, rms_norm};
use std::collections::BTreeMap;

/// What fixes the shape of every weight but the table's height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Architecture {
    /// Width, and numbers per latent slot.
    pub dim: usize,
    /// Layers of phi, and of psi.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Vectors per latent.
    pub slots: usize,
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "dim {}, layers {}, heads {}, slots {}", self.dim, self.layers, self.heads, self.slots)
    }
}

/// phi and psi.
pub struct Network {
    architecture: Architecture,
    /// `[rows, dim]`
    embedding: Tensor,
    /// Queries whose final states become the latent, `[slots, dim]`.
    queries: Tensor,
    encoder: Stack,
    /// From latent to psi's input, `[dim, dim]`.
    projection: Tensor,
    /// From all of a latent to what psi adds at every position, `[slots * dim, dim]`.
    condition: Tensor,
    /// Tells psi's latent positions apart, `[slots, dim]`.
    places: Tensor,
    decoder: Stack,
    /// `[dim]`
    decoder_norm: Tensor,
    variables: BTreeMap<String, Var>,
}

impl Network {
    /// Random weights, a function of the seed.
    pub fn fresh(architecture: Architecture, rows: usize, seed: u64) -> Result<Self> {
        Self::build(architecture, rows, Weights::fresh(seed))
    }

    /// The given weights; every name and shape must be as [`variables`](Self::variables) has them.
    pub fn restored(architecture: Architecture, rows: usize, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        Self::build(architecture, rows, Weights::restored(tensors))
    }

    fn build(architecture: Architecture, rows: usize, mut weights: Weights) -> Result<Self> {
        let Architecture { dim, layers, heads, slots } = architecture;
        let spread = (dim as f64).powf(-0.5);
        Ok(Self {
            architecture,
            embedding: weights.take("embedding", &[rows, dim], Init::Normal(spread))?,
            queries: weights.take("encoder.queries", &[slots, dim], Init::Normal(1.0))?,
            encoder: Stack::new(&mut weights, "encoder", layers, heads, dim)?,
            projection: weights.take("decoder.projection", &[dim, dim], Init::Normal(spread))?,
            condition: weights.take(
                "decoder.condition",
                &[slots * dim, dim],
                Init::Normal(((slots * dim) as f64).powf(-0.5)),
            )?,
            places: weights.take("decoder.places", &[slots, dim], Init::Normal(1.0))?,
            decoder: Stack::new(&mut weights, "decoder", layers, heads, dim)?,
            decoder_norm: weights.take("decoder.norm", &[dim], Init::Ones)?,
            variables: weights.finish()?,
        })
    }

    /// What it was built as.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// All weights by name, sorted.
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// Latents `[batch, slots, dim]`.
    pub fn encode(&self, batch: &Batch) -> Result<Tensor> {
        let slots = self.architecture.slots;
        let states = self.encoder.forward(&self.input(&self.queries, batch)?, batch.padding_mask(slots)?.as_ref())?;
        rms_norm(&states.narrow(1, 0, slots)?)
    }

    /// Negative log-likelihoods of the batch's response tokens, sample after sample, given prompts and `latents`.
    pub fn reconstruction_nll(&self, batch: &Batch, latents: &Tensor) -> Result<Tensor> {
        let Architecture { dim, slots, .. } = self.architecture;
        let projected = latents.reshape(((), dim))?.matmul(&self.projection)?.reshape(latents.shape())?;
        let input = self.input(&projected.broadcast_add(&self.places)?, batch)?;
        let input = input.broadcast_add(&latents.flatten_from(1)?.matmul(&self.condition)?.unsqueeze(1)?)?;
        let states = self.decoder.forward(&input, Some(&causal_mask(input.dim(1)?)?))?;
        let states = states.reshape(((), dim))?.index_select(&batch.predicting(slots)?, 0)?;
        let states = rms_norm(&states)?.broadcast_mul(&self.decoder_norm)?;
        let logits = states.matmul(&self.embedding.t()?)?;
        let of_targets = logits.gather(&batch.targets()?.unsqueeze(1)?, 1)?.squeeze(1)?;
        logits.log_sum_exp(D::Minus1)? - of_targets
    }

    /// `[batch, slots + width, dim]`: slots (one set, or one per sample), then the embedded rows with their positions.
    fn input(&self, slots: &Tensor, batch: &Batch) -> Result<Tensor> {
        let Architecture { dim, slots: count, .. } = self.architecture;
        let (samples, width) = batch.size();
        let slots = slots.broadcast_as((samples, count, dim))?;
        let rows = self.embedding.index_select(&batch.rows()?, 0)?.affine((dim as f64).sqrt(), 0.0)?;
        let tokens = (rows + batch.positions(dim)?)?.reshape((samples, width, dim))?;
        Tensor::cat(&[&slots, &tokens], 1)
    }
}

/// Sequences side by side, padded at the end to the longest.
pub struct Batch<'a> {
    sequences: &'a [Sequence],
    width: usize,
}

impl<'a> Batch<'a> {
    /// A batch of at least one sequence.
    pub fn new(sequences: &'a [Sequence]) -> Result<Self> {
        match sequences.iter().map(|s| s.rows.len()).max() {
            Some(width) => Ok(Self { sequences, width }),
            None => candle_core::bail!("a batch needs at least one sequence"),
        }
    }

    /// Samples, and tokens of the longest.
    fn size(&self) -> (usize, usize) {
        (self.sequences.len(), self.width)
    }

    /// Response tokens in all.
    pub fn target_count(&self) -> usize {
        self.sequences.iter().map(|s| s.response().len()).sum()
    }

    /// Rows of the table, `[samples * width]`; padding is row 0.
    fn rows(&self) -> Result<Tensor> {
        let rows =
            self.sequences.iter().flat_map(|s| s.rows.iter().copied().chain([0].into_iter().cycle()).take(self.width));
        Tensor::from_iter(rows, &Device::Cpu)
    }

    /// Sinusoids of the distance to the start mark, `[samples * width, dim]` (Vaswani et al. 2017, 3.5).
    fn positions(&self, dim: usize) -> Result<Tensor> {
        let half = dim / 2;
        let rates: Vec<f64> = (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect();
        let mut values = Vec::with_capacity(self.sequences.len() * self.width * dim);
        for sequence in self.sequences {
            for index in 0..self.width {
                let position = index as f64 - sequence.start as f64;
                values.extend(rates.iter().map(|rate| (position * rate).sin() as f32));
                values.extend(rates.iter().map(|rate| (position * rate).cos() as f32));
            }
        }
        Tensor::from_vec(values, (self.sequences.len() * self.width, dim), &Device::Cpu)
    }

    /// Where the state that predicts each target lies in psi's output, behind `slots` latent positions a sample.
    fn predicting(&self, slots: usize) -> Result<Tensor> {
        let places = self.sequences.iter().enumerate().flat_map(|(sample, sequence)| {
            let first = sample * (slots + self.width) + slots + sequence.start;
            (first..first + sequence.response().len()).map(|place| place as u32)
        });
        Tensor::from_iter(places, &Device::Cpu)
    }

    /// The response's rows, sample after sample.
    fn targets(&self) -> Result<Tensor> {
        Tensor::from_iter(self.sequences.iter().flat_map(|s| s.response().iter().copied()), &Device::Cpu)
    }

    /// Minus infinity on padding, `[samples, 1, 1, slots + width]`; None where there is no padding.
    fn padding_mask(&self, slots: usize) -> Result<Option<Tensor>> {
        if self.sequences.iter().all(|s| s.rows.len() == self.width) {
            return Ok(None);
        }
        let mask = self.sequences.iter().flat_map(|s| {
            let seen = slots + s.rows.len();
            (0..slots + self.width).map(move |i| if i < seen { 0.0f32 } else { f32::NEG_INFINITY })
        });
        let mask = Tensor::from_iter(mask, &Device::Cpu)?;
        Ok(Some(mask.reshape((self.sequences.len(), 1, 1, slots + self.width))?))
    }
}
