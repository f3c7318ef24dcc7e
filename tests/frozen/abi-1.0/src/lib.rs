//! A plugin of each kind, written against boundary 1.0: together they use everything that crosses it.

use ldalign_sdk::{
    Corpus, DistanceMetric, Encoder, Error, FitReport, Host, Latent, LatentShape, Latents, Level, NoOptions, PluginOptions,
    Pooling, Sample, StepContext, WeightSchedule,
};

ldalign_sdk::export_plugin! { encoders: [OldEncoder], distances: [OldDistance], schedules: [OldSchedule] }

#[derive(Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Added to every distance.
    more: f32,
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if self.more >= 0.0 { Ok(()) } else { Err(Error::options(format!("more is {}", self.more))) }
    }
}

/// Sum of absolute differences over their mean in the round.
struct OldDistance {
    more: f32,
    mean: f32,
    host: Host,
}

impl DistanceMetric for OldDistance {
    const ID: &'static str = "old";
    const SUMMARY: &'static str = "a distance of boundary 1.0";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        Ok(Self { more: options.more, mean: 1.0, host })
    }
    fn fit(&mut self, golden: Latents<'_>, generated: Latents<'_>) -> Result<(), Error> {
        let sum: f32 = golden.values().iter().zip(generated.values()).map(|(a, b)| (a - b).abs()).sum();
        self.mean = sum / golden.len() as f32;
        self.host.log(Level::Info, &format!("mean {}", self.mean));
        Ok(())
    }
    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        assert!(!a.values().contains(&-1.0), "a panic is contained");
        let sum: f32 = a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).sum();
        Ok(sum / self.mean + self.more)
    }
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.mean.to_le_bytes().to_vec())
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let bytes = state.try_into().map_err(|_| Error::state(format!("{} bytes", state.len())))?;
        self.mean = f32::from_le_bytes(bytes);
        Ok(())
    }
}

/// The model's states, and the number of letters of the corpus.
struct OldEncoder {
    host: Host,
    width: usize,
    letters: f32,
}

impl Encoder for OldEncoder {
    const ID: &'static str = "old";
    const SUMMARY: &'static str = "an encoder of boundary 1.0";
    type Options = NoOptions;

    fn new(_: NoOptions, host: Host) -> Result<Self, Error> {
        Ok(Self { width: host.model()?.hidden_size, letters: 0.0, host })
    }
    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: self.width + 1 }
    }
    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let all: Vec<usize> = (0..corpus.len()).collect();
        self.letters = corpus.read(&all)?.iter().map(|s| s.response.len() as f32).sum();
        self.host.progress(1.0, "read");
        Ok(vec![("letters".into(), self.letters.into()), ("seed".into(), self.host.seed() as f64)])
    }
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        let mut states = vec![0.0; samples.len() * self.width];
        self.host.hidden_states(samples, 1, Pooling::MeanAll, &mut states)?;
        for (latent, states) in out.chunks_exact_mut(self.width + 1).zip(states.chunks_exact(self.width)) {
            latent[..self.width].copy_from_slice(states);
            latent[self.width] = self.letters;
        }
        Ok(())
    }
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.letters.to_le_bytes().to_vec())
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let bytes = state.try_into().map_err(|_| Error::state(format!("{} bytes", state.len())))?;
        self.letters = f32::from_le_bytes(bytes);
        Ok(())
    }
}

/// Proportional to distance, and to the step.
struct OldSchedule(f32);

impl WeightSchedule for OldSchedule {
    const ID: &'static str = "old";
    const SUMMARY: &'static str = "a schedule of boundary 1.0";
    const MEAN_ONE: bool = false;
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        Ok(Self(1.0))
    }
    fn begin_round(&mut self, distances: &[f32]) -> Result<(), Error> {
        self.0 = distances.iter().sum::<f32>() / distances.len() as f32;
        Ok(())
    }
    fn weights(&self, at: StepContext, distances: &[f32], out: &mut [f32]) -> Result<(), Error> {
        out.iter_mut().zip(distances).for_each(|(out, d)| *out = d / self.0 * (at.step + 1) as f32);
        Ok(())
    }
}
