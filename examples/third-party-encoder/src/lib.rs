//! Hidden states of the policy model at several layers, one slot each, every number scaled by how much it varies over
//! the round.
//!
//! An example of an encoder that holds no model: the host computes hidden states and lends the round's samples; what is
//! learned are means and deviations. A few numbers of a model's hidden states are often a hundred times as large as the
//! others, and would decide every distance.

use ldalign_sdk::{
    Corpus, Encoder, Error, FitReport, Host, LatentShape, OwnedSample, PluginOptions, Pooling, Sample, export_plugin,
};

/// Samples read and encoded at a time while fitting.
const BATCH: usize = 64;

/// What a config may say under `options:`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Layers whose states are taken, one slot each, as shares of the model's depth in 0..=1: 0 is the embedding, 1 the
    /// last layer.
    depths: Vec<f64>,
    /// Samples to learn from, at least 2.
    #[schemars(range(min = 2))]
    samples: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { depths: vec![0.5, 1.0], samples: 512 }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if self.depths.is_empty() || self.depths.iter().any(|d| !(0.0..=1.0).contains(d)) {
            return Err(Error::options(format!("depths {:?} must be one or more shares in 0..=1", self.depths)));
        }
        if self.samples < 2 {
            return Err(Error::options("samples must be at least 2: one sample has no deviation"));
        }
        Ok(())
    }
}

struct WhitenedStates {
    host: Host,
    layers: Vec<usize>,
    shape: LatentShape,
    samples: usize,
    /// Of each number of a latent its mean and the inverse of its standard deviation.
    scale: Vec<(f32, f32)>,
}

impl Encoder for WhitenedStates {
    const ID: &'static str = "whitened-states";
    const SUMMARY: &'static str = "hidden states of several layers, each number scaled by its deviation over the round";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        // Without a model this is an error that the host understands: it asks again when there is one.
        let model = host.model()?;
        let layers: Vec<usize> =
            options.depths.iter().map(|d| (d * model.num_layers as f64).round() as usize).collect();
        let shape = LatentShape { slots: layers.len(), dim: model.hidden_size };
        Ok(Self { host, layers, shape, samples: options.samples, scale: vec![(0.0, 1.0); shape.len()] })
    }

    fn shape(&self) -> LatentShape {
        self.shape
    }

    /// Means and deviations over samples spread evenly over the round.
    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let take = self.samples.min(corpus.len());
        let indices: Vec<usize> = (0..take).map(|i| i * corpus.len() / take).collect();
        let mut sums = vec![(0.0f64, 0.0f64); self.shape.len()];
        for (i, batch) in indices.chunks(BATCH).enumerate() {
            if self.host.cancelled() {
                return Err(Error::cancelled());
            }
            self.host.progress((i * BATCH) as f32 / take as f32, "deviations");
            let samples = corpus.read(batch)?;
            let samples: Vec<Sample<'_>> = samples.iter().map(OwnedSample::as_sample).collect();
            for latent in self.states(&samples)?.chunks_exact(self.shape.len()) {
                for ((sum, squares), &x) in sums.iter_mut().zip(latent) {
                    *sum += f64::from(x);
                    *squares += f64::from(x) * f64::from(x);
                }
            }
        }
        let n = take.max(1) as f64;
        let deviation = |(sum, squares): &(f64, f64)| (squares / n - (sum / n).powi(2)).max(0.0).sqrt();
        let deviations: Vec<f64> = sums.iter().map(deviation).collect();
        // A number that never varies says nothing: it becomes 0 in every latent.
        let inverse = |d: f64| if d > 1e-6 { 1.0 / d as f32 } else { 0.0 };
        self.scale = sums.iter().zip(&deviations).map(|((sum, _), d)| ((sum / n) as f32, inverse(*d))).collect();
        let (least, largest) = deviations.iter().fold((f64::MAX, 0.0f64), |(l, m), d| (l.min(*d), m.max(*d)));
        Ok(vec![("samples".into(), n), ("least_deviation".into(), least), ("largest_deviation".into(), largest)])
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        out.copy_from_slice(&self.states(samples)?);
        for latent in out.chunks_exact_mut(self.shape.len()) {
            for (x, (mean, inverse)) in latent.iter_mut().zip(&self.scale) {
                *x = (*x - mean) * inverse;
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self
            .scale
            .iter()
            .flat_map(|(mean, inverse)| [mean.to_le_bytes(), inverse.to_le_bytes()])
            .flatten()
            .collect())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let (numbers, rest) = state.as_chunks::<8>();
        if numbers.len() != self.shape.len() || !rest.is_empty() {
            return Err(Error::state(format!("{} bytes are not a state for latents of {:?}", state.len(), self.shape)));
        }
        let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        self.scale = numbers.iter().map(|b| (number(&b[..4]), number(&b[4..]))).collect();
        Ok(())
    }
}

impl WhitenedStates {
    /// The layers' states as they are: for each sample one slot after the other.
    fn states(&self, samples: &[Sample<'_>]) -> Result<Vec<f32>, Error> {
        let LatentShape { slots, dim } = self.shape;
        let mut all = vec![0.0; samples.len() * self.shape.len()];
        let mut layer_states = vec![0.0; samples.len() * dim];
        for (slot, &layer) in self.layers.iter().enumerate() {
            self.host.hidden_states(samples, layer, Pooling::Mean, &mut layer_states)?;
            for (i, states) in layer_states.chunks_exact(dim).enumerate() {
                all[(i * slots + slot) * dim..][..dim].copy_from_slice(states);
            }
        }
        Ok(all)
    }
}

export_plugin! { encoders: [WhitenedStates] }

// Everything that `ldalign plugin check` does, as a test.
#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::*;
    use ldalign_sdk::{ModelFacts, Services};

    /// A model of 4 layers and width 2: layer, and a number from the response.
    struct Model;

    impl Services for Model {
        fn model(&self) -> Option<ModelFacts> {
            Some(ModelFacts { vocab_size: 9, hidden_size: 2, num_layers: 4, max_positions: 16, end_ids: vec![1] })
        }
        fn hidden_states(
            &self,
            samples: &[Sample<'_>],
            layer: usize,
            _: Pooling,
            out: &mut [f32],
        ) -> Result<(), Error> {
            for (out, sample) in out.chunks_exact_mut(2).zip(samples) {
                out.copy_from_slice(&[layer as f32, sample.response.len() as f32 * 100.0]);
            }
            Ok(())
        }
    }

    fn corpus() -> Vec<OwnedSample> {
        ["a", "abc"].map(|text| OwnedSample { response: text.into(), ..OwnedSample::default() }).to_vec()
    }

    fn encode(encoder: &WhitenedStates) -> Vec<f32> {
        let samples = corpus();
        let samples: Vec<Sample<'_>> = samples.iter().map(OwnedSample::as_sample).collect();
        let mut out = vec![f32::NAN; samples.len() * encoder.shape().len()];
        encoder.encode(&samples, &mut out).expect("two samples");
        out
    }

    #[test]
    fn numbers_come_at_mean_zero_and_deviation_one() {
        let new = || WhitenedStates::new(Options::default(), Host::new(Model)).expect("a model is there");
        let mut encoder = new();
        assert_eq!(encode(&encoder), [2.0, 100.0, 4.0, 100.0, 2.0, 300.0, 4.0, 300.0], "before fit");
        let report = encoder.fit(&Corpus::new(&corpus())).expect("two samples");
        assert_eq!(report[2], ("largest_deviation".to_owned(), 100.0));
        // What does not vary becomes 0.
        assert_eq!(encode(&encoder), [0.0, -1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0]);
        let mut restored = new();
        restored.load(&encoder.save().expect("a state")).expect("its state");
        assert_eq!(encode(&restored), encode(&encoder));
        assert!(restored.load(&[1, 2, 3]).is_err());
    }

    #[test]
    fn it_needs_a_model_and_depths_within_it() {
        assert!(WhitenedStates::new(Options::default(), Host::stand_in()).is_err());
        for depths in [vec![], vec![1.5], vec![f64::NAN]] {
            assert!(Options { depths, ..Options::default() }.validate().is_err());
        }
    }
}
