//! Trains the guiding model on golden and generated responses, and measures how much its latent tells the decoder.

use crate::{
    Guide, Options,
    network::{Batch, Network},
    tensor_fault,
    vocabulary::{Sequence, Vocabulary},
};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ldalign_sdk::{Corpus, Error, FitReport, Host};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::collections::BTreeMap;

/// Share of training samples whose latent is zeros, so that the decoder also learns to do without: what it then cannot
/// predict is what the latent is worth.
const LATENT_DROPOUT: f64 = 0.25;
/// Of this many rows one is kept from training and used to measure ...
const HELD_OUT_EVERY: usize = 10;
/// ... up to this many rows; with fewer than 2 * HELD_OUT_EVERY rows all are used for both.
const MEASURED_ROWS: usize = 64;
/// Samples read at a time where all are read.
const READ: usize = 256;

/// Streams of the seed's random numbers; 0 draws the initial weights.
const ORDER_STREAM: u64 = 1;
const DROPOUT_STREAM: u64 = 2;

/// The vocabulary of a corpus: its `size` most frequent ids.
pub fn vocabulary(corpus: &Corpus<'_>, size: usize) -> Result<Vocabulary, Error> {
    let mut counts = BTreeMap::new();
    let all: Vec<usize> = (0..corpus.len()).collect();
    for indices in all.chunks(READ) {
        for sample in corpus.read(indices)? {
            for id in sample.prompt_ids.into_iter().chain(sample.response_ids) {
                *counts.entry(id).or_insert(0) += 1;
            }
        }
    }
    Ok(Vocabulary::most_frequent(&counts, size))
}

/// Trains `guide` in place, from where it stands.
pub fn fit(guide: &Guide, options: &Options, host: &Host, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
    let (training, measured) = split(corpus.len());
    let read = |indices: &[usize]| -> Result<Vec<Sequence>, Error> {
        let samples = corpus.read(indices)?;
        Ok(samples.iter().map(|s| guide.vocabulary.sequence(&s.as_sample(), options.max_tokens)).collect())
    };

    let optimizer = ParamsAdamW { lr: 0.0, weight_decay: 0.01, ..Default::default() };
    let mut optimizer =
        AdamW::new(guide.network.variables().values().cloned().collect(), optimizer).map_err(tensor_fault)?;
    let held_out = if training.len() < corpus.len() { measured.len() } else { 0 };
    let mut order = Order::new(training, stream(host, ORDER_STREAM));
    let mut dropout = stream(host, DROPOUT_STREAM);
    for step in 0..options.steps {
        if host.cancelled() {
            return Err(Error::cancelled());
        }
        let sequences = read(&order.next(options.batch_size))?;
        optimizer.set_learning_rate(learning_rate(options, step));
        let keep: Vec<f32> = sequences.iter().map(|_| f32::from(uniform(&mut dropout) >= LATENT_DROPOUT)).collect();
        let loss = train_step(&guide.network, &mut optimizer, &sequences, keep).map_err(tensor_fault)?;
        if !loss.is_finite() {
            return Err(Error::failed(format!("the loss is {loss} at step {step}: lower learning_rate")));
        }
        host.progress((step + 1) as f32 / options.steps as f32, &format!("reconstruction {loss:.3} nats/token"));
    }

    let measured = read(&measured)?;
    let (with, without, shuffled) = measure(&guide.network, &measured, options.batch_size).map_err(tensor_fault)?;
    Ok([
        ("nll_with_latent", with),
        ("nll_without_latent", without),
        ("nll_shuffled_latent", shuffled),
        ("latent_gain", without - with),
        ("measured_samples", measured.len() as f64),
        ("held_out_samples", held_out as f64),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec())
}

/// Indices of the samples to train on and of those to measure on: whole rows, golden and generated.
fn split(samples: usize) -> (Vec<usize>, Vec<usize>) {
    let rows = samples / 2;
    let every = HELD_OUT_EVERY.max(rows.div_ceil(MEASURED_ROWS));
    if rows < 2 * HELD_OUT_EVERY {
        return ((0..samples).collect(), (0..samples).collect());
    }
    (0..samples).partition(|sample| (sample / 2) % every != every - 1)
}

/// Up in a line over the first tenth, then down in a line; never 0.
fn learning_rate(options: &Options, step: usize) -> f64 {
    let (step, steps) = (step as f64, options.steps as f64);
    let warm_up = (steps / 10.0).ceil();
    options.learning_rate * ((step + 1.0) / warm_up).min((steps - step) / (steps - warm_up).max(1.0)).min(1.0)
}

/// One step on the mean over the batch's response tokens; returns it. `keep` is 0 where a sample goes without latent.
fn train_step(
    network: &Network,
    optimizer: &mut AdamW,
    sequences: &[Sequence],
    keep: Vec<f32>,
) -> candle_core::Result<f32> {
    let batch = Batch::new(sequences)?;
    if batch.target_count() == 0 {
        return Ok(0.0);
    }
    let keep = Tensor::from_vec(keep, (sequences.len(), 1, 1), &Device::Cpu)?;
    let latents = network.encode(&batch)?.broadcast_mul(&keep)?;
    let loss = network.reconstruction_nll(&batch, &latents)?.mean_all()?;
    optimizer.backward_step(&loss)?;
    loss.to_scalar()
}

/// Nats per response token with each sample's own latent, with none, and with the latent of another row.
fn measure(network: &Network, sequences: &[Sequence], batch_size: usize) -> candle_core::Result<(f64, f64, f64)> {
    let batches: Vec<Batch<'_>> = sequences.chunks(batch_size).map(Batch::new).collect::<Result<_, _>>()?;
    let latents =
        batches.iter().map(|batch| Ok(network.encode(batch)?.detach())).collect::<candle_core::Result<Vec<_>>>()?;
    let own = Tensor::cat(&latents, 0)?;
    let none = own.zeros_like()?;
    // By two samples: a golden response gets the golden latent of the next row.
    let other = own.roll(2, 0)?;
    let nll = |latents: &Tensor| -> candle_core::Result<f64> {
        let (mut sum, mut tokens, mut start) = (0.0, 0, 0);
        for (batch, sequences) in batches.iter().zip(sequences.chunks(batch_size)) {
            if batch.target_count() > 0 {
                let latents = latents.narrow(0, start, sequences.len())?;
                sum += f64::from(network.reconstruction_nll(batch, &latents)?.sum_all()?.to_scalar::<f32>()?);
            }
            tokens += batch.target_count();
            start += sequences.len();
        }
        Ok(sum / tokens.max(1) as f64)
    };
    Ok((nll(&own)?, nll(&none)?, nll(&other)?))
}

fn stream(host: &Host, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(host.seed());
    rng.set_stream(stream);
    rng
}

/// In 0..1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// The samples in random order, again and again, each pass in a new order.
struct Order {
    samples: Vec<usize>,
    rng: ChaCha8Rng,
    position: usize,
}

impl Order {
    fn new(samples: Vec<usize>, rng: ChaCha8Rng) -> Self {
        Self { position: samples.len(), samples, rng }
    }

    /// The next `count` samples; fewer where there are no more in all.
    fn next(&mut self, count: usize) -> Vec<usize> {
        let count = count.min(self.samples.len());
        if self.position + count > self.samples.len() {
            // Fisher and Yates.
            for last in (1..self.samples.len()).rev() {
                let other = (uniform(&mut self.rng) * (last + 1) as f64) as usize;
                self.samples.swap(last, other);
            }
            self.position = 0;
        }
        self.position += count;
        self.samples[self.position - count..self.position].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_rows_are_whole_and_spread() {
        for rows in [20, 200, 5000] {
            let (training, measured) = split(2 * rows);
            assert_eq!(training.len() + measured.len(), 2 * rows);
            assert!(measured.chunks(2).all(|row| row[0].is_multiple_of(2) && row[1] == row[0] + 1), "{rows}");
            assert!((2 * rows / 20..=2 * MEASURED_ROWS).contains(&measured.len()) || rows == 5000, "{rows}");
            assert!(measured.len() <= 2 * MEASURED_ROWS && measured[0] < rows && measured[measured.len() - 1] > rows);
        }
        assert_eq!(split(6), ((0..6).collect(), (0..6).collect()), "too few rows to spare any");
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let options = Options { steps: 100, learning_rate: 1.0, ..Default::default() };
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(&options, step)).collect();
        assert_eq!((rates[0], rates[9], rates[10]), (0.1, 1.0, 1.0));
        assert!(rates[..10].is_sorted() && rates[10..].iter().rev().is_sorted() && rates[99] > 0.0);
        assert_eq!(learning_rate(&Options { steps: 1, learning_rate: 1.0, ..Default::default() }, 0), 1.0);
    }

    #[test]
    fn each_pass_visits_every_sample_once_in_a_new_order() {
        let mut order = Order::new((0..12).collect(), ChaCha8Rng::seed_from_u64(3));
        let mut pass = || -> Vec<usize> { (0..3).flat_map(|_| order.next(4)).collect() };
        let (first, second) = (pass(), pass());
        assert_ne!(first, second);
        for mut pass in [first, second] {
            pass.sort_unstable();
            assert_eq!(pass, (0..12).collect::<Vec<_>>());
        }
        assert_eq!(order.next(99).len(), 12);
    }
}
