//! Trains phi and the projection by the policy's likelihood of golden and generated responses, and measures what the
//! latent tells it.

use crate::{
    Options,
    network::{Architecture, Network, Scales},
    states::{self, response_states},
};
use candle_core::{Device, Result as TensorResult, Tensor, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ldalign_guiding::{
    report::{Likelihoods, effective_rank},
    tensor_fault,
    training::{Order, learning_rate, split, stream},
};
use ldalign_sdk::{Corpus, Error, FitReport, Host, Level, OwnedSample, Sample};
use rayon::ThreadPool;
use std::{collections::BTreeSet, time::Instant};

/// Rows measured at most: the policy reads their responses three times.
const MEASURED_ROWS: usize = 16;
/// Samples that a fresh network's scales are taken from.
const SCALED_BY: usize = 16;
/// Stream of the seed's random numbers.
const ORDER_STREAM: u64 = 1;

/// What fitting works with. The host is asked on the thread that called the plugin, which may be the only one the host
/// has; `threads` are for the rest.
pub struct Fit<'a> {
    pub options: &'a Options,
    pub host: &'a Host,
    pub threads: &'a ThreadPool,
    pub corpus: &'a Corpus<'a>,
    pub layer: usize,
}

impl Fit<'_> {
    /// A network that has learned nothing.
    pub fn fresh(&self, architecture: Architecture) -> Result<Network, Error> {
        let (training, _) = split(self.corpus.len(), MEASURED_ROWS);
        let taken = training.len().min(SCALED_BY);
        let indices: Vec<usize> = (0..taken).map(|i| training[i * training.len() / taken]).collect();
        let samples = self.read(&indices)?;
        let samples: Vec<Sample<'_>> = samples.iter().map(|s| self.options.cut(s)).collect();
        if samples.is_empty() {
            return Err(nothing());
        }
        let scales = self.scales(&samples, architecture)?;
        Network::fresh(architecture, scales, self.host.seed()).map_err(tensor_fault)
    }

    fn scales(
        &self,
        samples: &[Sample<'_>],
        Architecture { hidden, prefix, .. }: Architecture,
    ) -> Result<Scales, Error> {
        let moments = |rows: &[Vec<f32>], j: usize| {
            let column = || rows.iter().flat_map(|rows| rows.iter().skip(j).step_by(hidden)).map(|x| f64::from(*x));
            let n = column().count() as f64;
            let mean = column().sum::<f64>() / n;
            (mean, (column().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        let states = response_states(self.host, samples, self.layer, hidden)?;
        let moments: Vec<(f64, f64)> = (0..hidden).map(|j| moments(&states, j)).collect();
        // A number that never varies says nothing; it must not be blown up either.
        let least = 1e-3 * moments.iter().map(|(_, d)| d).sum::<f64>() / hidden as f64 + 1e-12;

        // The prefix starts as if the end of the first prompt were said again, which hardly moves the policy.
        let first = &samples[0];
        let ids: Vec<u32> = first.prompt_ids.iter().rev().cycle().take(prefix).copied().collect();
        let ids: Vec<u32> = ids.into_iter().rev().collect();
        let said_again = Sample { prompt_ids: &[], response_ids: &ids, ..*first };
        let prefix = response_states(self.host, &[said_again], 0, hidden)?.remove(0);
        let embeddings = response_states(self.host, samples, 0, hidden)?.concat();
        let squares = embeddings.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        Ok(Scales {
            mean: moments.iter().map(|(mean, _)| *mean as f32).collect(),
            deviation: moments.iter().map(|(_, deviation)| deviation.max(least) as f32).collect(),
            prefix,
            embedding: (squares / embeddings.len() as f64).sqrt() as f32,
        })
    }

    /// Trains `network` in place, from where it stands.
    pub fn train(&self, network: &Network) -> Result<FitReport, Error> {
        let (training, measured) = split(self.corpus.len(), MEASURED_ROWS);
        let apart = training.len() < self.corpus.len();
        let measured = self.read(&measured)?;
        if measured.is_empty() {
            return Err(nothing());
        }
        // Rows of one prompt lie on one side: what is measured is what training has not seen.
        let held_out: BTreeSet<&[u32]> = measured.iter().filter(|_| apart).map(|s| s.prompt_ids.as_slice()).collect();
        let steps = self.options.steps;
        let parts = (steps + measured.len().div_ceil(self.options.batch_size)) as f32;

        let optimizer = ParamsAdamW { lr: 0.0, weight_decay: 0.01, ..Default::default() };
        let variables = network.variables().values().cloned().collect();
        let mut optimizer = AdamW::new(variables, optimizer).map_err(tensor_fault)?;
        let mut order = Order::new(training, stream(self.host, ORDER_STREAM));
        let begun = Instant::now();
        for step in 0..steps {
            if self.host.cancelled() {
                return Err(Error::cancelled());
            }
            let mut samples = self.read(&order.next(self.options.batch_size))?;
            samples.retain(|s| !held_out.contains(s.prompt_ids.as_slice()));
            optimizer.set_learning_rate(learning_rate(self.options.learning_rate, step, steps));
            let samples: Vec<Sample<'_>> = samples.iter().map(|s| self.options.cut(s)).collect();
            if samples.is_empty() {
                continue;
            }
            let (loss, gradients) = self.gradients(network, &samples)?;
            if !loss.is_finite() {
                return Err(Error::failed(format!("the loss is {loss} at step {step}: lower learning_rate")));
            }
            self.on_threads(|| optimizer.step(&gradients))?;
            self.host.progress((step + 1) as f32 / parts, &format!("reconstruction {loss:.3} nats/token"));
        }
        let trained = begun.elapsed().as_secs_f64();

        let measured: Vec<Sample<'_>> = measured.iter().map(|s| self.options.cut(s)).collect();
        let (likelihoods, rank) = self.measure(network, &measured, |batches| {
            self.host.progress((steps + batches) as f32 / parts, "measured");
        })?;
        self.host.log(
            Level::Info,
            &format!("{steps} steps took {trained:.1} s, measuring {:.1} s", begun.elapsed().as_secs_f64() - trained),
        );
        let mut report = likelihoods.report(measured.len(), if apart { measured.len() } else { 0 });
        report.push(("latent_rank".to_owned(), rank));
        Ok(report)
    }

    /// Samples with a prompt and a response.
    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>, Error> {
        let mut samples = self.corpus.read(indices)?;
        samples.retain(|s| !s.prompt_ids.is_empty() && !s.response_ids.is_empty());
        Ok(samples)
    }

    /// Latents `[samples, slots, dim]`.
    fn latents(&self, network: &Network, samples: &[Sample<'_>]) -> Result<Tensor, Error> {
        let hidden = network.architecture().hidden;
        let states = response_states(self.host, samples, self.layer, hidden)?;
        let encode = |states| network.encode(&states::tensor(states, hidden)?);
        self.on_threads(|| Tensor::stack(&states.into_iter().map(encode).collect::<TensorResult<Vec<_>>>()?, 0))
    }

    fn on_threads<T: Send>(&self, work: impl FnOnce() -> TensorResult<T> + Send) -> Result<T, Error> {
        self.threads.install(work).map_err(tensor_fault)
    }

    /// The mean over the batch's response tokens, in nats, and its gradients with respect to the network's variables.
    pub fn gradients(&self, network: &Network, samples: &[Sample<'_>]) -> Result<(f64, GradStore), Error> {
        let latents = self.latents(network, samples)?;
        let prefixes = self.on_threads(|| network.prefixes(&latents))?;
        let given = flat(&prefixes).map_err(tensor_fault)?;
        let (mut nll, mut gradients) = (vec![0.0; samples.len()], vec![0.0; given.len()]);
        self.host.prefix_nll(samples, &given, &mut nll, &mut gradients)?;
        let tokens = samples.iter().map(|s| s.response_ids.len()).sum::<usize>() as f64;
        // The host's part of the chain rule: a sum whose gradient with respect to the prefixes is the one it gave.
        let chain = || {
            let gradients = Tensor::from_vec(gradients, prefixes.shape(), &Device::Cpu)?;
            ((prefixes * gradients)?.sum_all()? / tokens)?.backward()
        };
        Ok((nll.iter().map(|x| f64::from(*x)).sum::<f64>() / tokens, self.on_threads(chain)?))
    }

    /// Nats per response token, and the effective rank of the latents.
    fn measure(
        &self,
        network: &Network,
        samples: &[Sample<'_>],
        progress: impl Fn(usize),
    ) -> Result<(Likelihoods, f64), Error> {
        let size = self.options.batch_size;
        let latents = samples.chunks(size).map(|samples| Ok(self.latents(network, samples)?.detach()));
        let latents = latents.collect::<Result<Vec<_>, Error>>()?;
        let own = Tensor::cat(&latents, 0).map_err(tensor_fault)?;
        // Half way round, by whole rows: another prompt's, and golden stays golden.
        let other = own.roll((samples.len() / 4 * 2).max(1) as i32, 0).map_err(tensor_fault)?;
        let tokens = samples.iter().map(|s| s.response_ids.len()).sum::<usize>() as f64;
        let (mut with, mut without, mut shuffled) = (0.0, 0.0, 0.0);
        for (batch, samples) in samples.chunks(size).enumerate() {
            let nll = |given: &[f32]| -> Result<f64, Error> {
                let mut out = vec![0.0; samples.len()];
                self.host.prefix_nll(samples, given, &mut out, &mut [])?;
                Ok(out.iter().map(|x| f64::from(*x)).sum::<f64>() / tokens)
            };
            let prefixes = |latents: &Tensor| {
                self.on_threads(|| flat(&network.prefixes(&latents.narrow(0, batch * size, samples.len())?)?))
            };
            with += nll(&prefixes(&own)?)?;
            without += nll(&[])?;
            shuffled += nll(&prefixes(&other)?)?;
            progress(batch + 1);
        }
        Ok((Likelihoods { with, without, shuffled }, self.on_threads(|| effective_rank(&own.flatten_from(1)?))?))
    }
}

fn nothing() -> Error {
    Error::input("the guided encoder learns from prompts with responses, and found none")
}

fn flat(t: &Tensor) -> TensorResult<Vec<f32>> {
    t.flatten_all()?.to_vec1()
}
