//! Trains the guiding model on golden and generated responses, and measures how much its latent tells the decoder.

use crate::{
    Guide, Options,
    network::{Batch, Network},
    vocabulary::{Sequence, Vocabulary},
};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ldalign_guiding::{
    report::Likelihoods,
    tensor_fault,
    training::{Order, learning_rate, split, stream, uniform},
};
use ldalign_sdk::{Corpus, Error, FitReport, Host};
use std::collections::BTreeMap;

/// Share of training samples whose latent is zeros, so that the decoder also learns to do without: what it then cannot
/// predict is what the latent is worth.
const LATENT_DROPOUT: f64 = 0.25;
/// Rows measured at most.
const MEASURED_ROWS: usize = 64;
/// Samples read at a time where all are read.
const READ: usize = 256;

/// Streams of the seed's random numbers.
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
    let (training, measured) = split(corpus.len(), MEASURED_ROWS);
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
        optimizer.set_learning_rate(learning_rate(options.learning_rate, step, options.steps));
        let keep: Vec<f32> = sequences.iter().map(|_| f32::from(uniform(&mut dropout) >= LATENT_DROPOUT)).collect();
        let loss = train_step(&guide.network, &mut optimizer, &sequences, keep).map_err(tensor_fault)?;
        if !loss.is_finite() {
            return Err(Error::failed(format!("the loss is {loss} at step {step}: lower learning_rate")));
        }
        host.progress((step + 1) as f32 / options.steps as f32, &format!("reconstruction {loss:.3} nats/token"));
    }

    let measured = read(&measured)?;
    let likelihoods = measure(&guide.network, &measured, options.batch_size).map_err(tensor_fault)?;
    Ok(likelihoods.report(measured.len(), held_out))
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
fn measure(network: &Network, sequences: &[Sequence], batch_size: usize) -> candle_core::Result<Likelihoods> {
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
    Ok(Likelihoods { with: nll(&own)?, without: nll(&none)?, shuffled: nll(&other)? })
}
