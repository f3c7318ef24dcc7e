//! A plugin of each kind, written against boundary 1.1: together they use everything that crosses it.

use ldalign_sdk::{
    Corpus, DistanceMetric, Encoder, Error, FitReport, Host, Latent, LatentShape, Latents, Level, NoOptions, PluginOptions,
    Pooling, Sample, StepContext, WeightSchedule, abi::ErrorCode,
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
    const SUMMARY: &'static str = "a distance of boundary 1.1";
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

/// The model's states, and the number of letters of the corpus. Reports what the services of 1.1 say, -1 where they are unsupported.
struct OldEncoder {
    host: Host,
    width: usize,
    letters: f32,
}

impl Encoder for OldEncoder {
    const ID: &'static str = "old";
    const SUMMARY: &'static str = "an encoder of boundary 1.1";
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
        Ok(vec![
            ("letters".into(), self.letters.into()),
            ("seed".into(), self.host.seed() as f64),
            ("states".into(), or_unsupported(self.states())?),
            ("likelihood".into(), or_unsupported(self.likelihood())?),
        ])
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

impl OldEncoder {
    /// The last number of the states of a sample of three tokens after layer 1.
    fn states(&self) -> Result<f32, Error> {
        let mut states = vec![f32::NAN; 3 * self.width];
        self.host.token_states(&[SAMPLE], 1, &mut states)?;
        Ok(states[states.len() - 1])
    }
    /// Of a sample after a prefix of two rows, and the last number of its gradient, less that of the sample without prefix.
    fn likelihood(&self) -> Result<f32, Error> {
        let (prefix, mut nll) = (vec![0.5; 2 * self.width], [f32::NAN]);
        let mut gradient = vec![f32::NAN; prefix.len()];
        self.host.prefix_nll(&[SAMPLE], &prefix, &mut nll, &mut gradient)?;
        let with = nll[0] + gradient[gradient.len() - 1];
        self.host.prefix_nll(&[SAMPLE], &[], &mut nll, &mut [])?;
        Ok(with - nll[0])
    }
}

const SAMPLE: Sample<'static> = Sample { prompt: "", response: "", prompt_ids: &[3], response_ids: &[4, 5] };

fn or_unsupported(answer: Result<f32, Error>) -> Result<f64, Error> {
    match answer {
        Err(e) if e.code() == ErrorCode::UNSUPPORTED && e.message().contains("older than the service") => Ok(-1.0),
        answer => answer.map(f64::from),
    }
}

/// Proportional to distance, and to the step.
struct OldSchedule(f32);

impl WeightSchedule for OldSchedule {
    const ID: &'static str = "old";
    const SUMMARY: &'static str = "a schedule of boundary 1.1";
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
