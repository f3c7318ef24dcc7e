//! __NAME__: counts of the response's groups of letters, hashed into a vector of length 1; to be replaced by an encoder
//! of your own.

use ldalign_sdk::{Encoder, Error, Host, LatentShape, PluginOptions, Sample};

/// What a config may say under `options:`. Doc comments are what `ldalign plugin info --options` shows; unknown keys
/// are refused.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Numbers in a latent, in 1..=65536.
    #[schemars(range(min = 1, max = 65536))]
    dim: usize,
    /// Letters in a group, in 1..=16.
    #[schemars(range(min = 1, max = 16))]
    group: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { dim: 256, group: 3 }
    }
}

impl PluginOptions for Options {
    /// Checks what types cannot say; called before any model is loaded.
    fn validate(&self) -> Result<(), Error> {
        if !(1..=65536).contains(&self.dim) || !(1..=16).contains(&self.group) {
            let Self { dim, group } = self;
            return Err(Error::options(format!("dim {dim} must lie in 1..=65536 and group {group} in 1..=16")));
        }
        Ok(())
    }
}

struct TextEncoder {
    options: Options,
}

impl Encoder for TextEncoder {
    const ID: &'static str = "__NAME__";
    const SUMMARY: &'static str = "hashed counts of groups of letters";
    type Options = Options;

    // The host offers the model's hidden states, a seed, threads, a log: keep it if you need any of them.
    fn new(options: Options, _host: Host) -> Result<Self, Error> {
        Ok(Self { options })
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: self.options.dim }
    }

    /// One latent per sample, which must not depend on its neighbours. To learn from the round's samples first, add
    /// `fit`, `save` and `load`.
    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        for (sample, latent) in samples.iter().zip(out.chunks_exact_mut(self.options.dim)) {
            latent.fill(0.0);
            let letters: Vec<char> = sample.response.chars().collect();
            for group in letters.windows(self.options.group) {
                latent[(hash(group) % self.options.dim as u64) as usize] += 1.0;
            }
            let length = latent.iter().map(|x| x * x).sum::<f32>().sqrt();
            // A text shorter than a group stays at 0.
            if length > 0.0 {
                latent.iter_mut().for_each(|x| *x /= length);
            }
        }
        Ok(())
    }
}

/// FNV-1a, which is the same in every process and release, as the standard library's hash is not.
fn hash(letters: &[char]) -> u64 {
    letters.iter().fold(0xcbf2_9ce4_8422_2325, |hash, c| (hash ^ u64::from(*c)).wrapping_mul(0x0100_0000_01b3))
}

ldalign_sdk::export_plugin! { encoders: [TextEncoder] }
__CONFORMS__
#[cfg(test)]
mod tests {
    use super::*;

    fn encode(response: &str) -> Vec<f32> {
        let encoder = TextEncoder::new(Options { dim: 64, group: 2 }, Host::stand_in()).expect("valid options");
        let sample = Sample { prompt: "p", response, prompt_ids: &[1], response_ids: &[2] };
        let mut out = vec![f32::NAN; encoder.shape().len()];
        encoder.encode(&[sample], &mut out).expect("a latent");
        out
    }

    #[test]
    fn texts_of_the_same_groups_are_equal_and_others_are_not() {
        assert_eq!(encode("abca"), encode("cabc"), "ab, bc, ca in any order");
        assert_ne!(encode("abab"), encode("cdcd"));
        assert!((encode("some words").iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(encode("a"), [0.0; 64]);
    }

    #[test]
    fn options_out_of_bounds_are_refused() {
        for (dim, group) in [(0, 3), (65537, 3), (64, 0), (64, 17)] {
            assert!(Options { dim, group }.validate().is_err(), "{dim} {group}");
        }
    }
}
