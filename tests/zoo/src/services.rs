//! An encoder that behaves, and uses every service there is.

use ldalign_sdk::{Corpus, Encoder, Error, FitReport, Host, LatentShape, Level, NoOptions, Pooling, Sample};

/// A latent is the first two numbers of the model's states and a number from the response's bytes.
pub struct AsksTheHost {
    host: Host,
    width: usize,
    seen: u8,
}

impl Encoder for AsksTheHost {
    const ID: &'static str = "asks-the-host";
    const SUMMARY: &'static str = "Uses every service of the host";
    type Options = NoOptions;

    fn new(_: NoOptions, host: Host) -> Result<Self, Error> {
        let width = host.model()?.hidden_size;
        Ok(Self { host, width, seen: 0 })
    }
    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: self.width + 1 }
    }
    fn fit(&mut self, corpus: &Corpus<'_>) -> Result<FitReport, Error> {
        let last = corpus.read(&[corpus.len() - 1, 0])?;
        self.seen = last[0].response.len() as u8;
        self.host.log(Level::Info, "fitting");
        self.host.progress(0.5, "half");
        let beyond = corpus.read(&[corpus.len()]).expect_err("there is no sample beyond the end");
        self.host.log(Level::Debug, beyond.message());
        Ok(vec![
            ("seed".into(), self.host.seed() as f64),
            ("threads".into(), self.host.threads() as f64),
            ("cancelled".into(), f64::from(u8::from(self.host.cancelled()))),
            ("first prompt token".into(), f64::from(last[1].prompt_ids[0])),
        ])
    }
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        let mut states = vec![0.0; samples.len() * self.width];
        // From a thread of its own: with one thread in the host, this one waits for the answer.
        std::thread::scope(|s| s.spawn(|| self.host.hidden_states(samples, 1, Pooling::Last, &mut states)).join())
            .map_err(|_| Error::failed("the thread panicked"))??;
        for ((out, states), sample) in out.chunks_exact_mut(self.width + 1).zip(states.chunks_exact(self.width)).zip(samples) {
            let (head, tail) = out.split_at_mut(self.width);
            head.copy_from_slice(states);
            tail[0] = (sample.response.len() + sample.response_ids.len()) as f32 + f32::from(self.seen);
        }
        Ok(())
    }
    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(vec![self.seen])
    }
    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let [seen] = state else { return Err(Error::state(format!("{} bytes are not a state of mine", state.len()))) };
        self.seen = *seen;
        Ok(())
    }
}
