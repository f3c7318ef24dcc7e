//! An encoder that knows what counts in the toy tasks: which letter stands where in an answer's content, with as much
//! noise as one asks for.
//!
//! It is no way to find latents but a bound and a dial: without noise no encoder could do better, noise alone is
//! chance, and in between validity can be chosen. The Euclidean distance of two latents is sqrt(places that differ +
//! noise² x²), x the difference of two standard normal numbers, which belong to the prompt and response and are the
//! same each time. Equal responses are so always at distance 0.

use ldalign_sdk::{Encoder, Error, Host, LatentShape, PluginOptions, Sample, export_plugin};
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

/// Places of a content that are read; what goes on beyond them is not seen.
const PLACES: usize = 24;
/// Letters of both cases, space, other characters, and a place beyond the end.
const SYMBOLS: usize = 55;

/// What a config may say under `options:`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Standard deviation of the one number that says nothing, at least 0; 1 weighs as much as one place that differs.
    #[schemars(range(min = 0.0))]
    noise: f64,
    /// Whether the content is read; without it, and with noise, distances are chance.
    content: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { noise: 0.0, content: true }
    }
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        if !(self.noise >= 0.0 && self.noise.is_finite()) {
            return Err(Error::options(format!("noise {} must be a number of at least 0", self.noise)));
        }
        Ok(())
    }
}

struct Oracle(Options);

impl Encoder for Oracle {
    const ID: &'static str = "oracle";
    const SUMMARY: &'static str =
        "letters of the content between quotes, with noise: a bound, not a way to find latents";
    type Options = Options;

    fn new(options: Options, _: Host) -> Result<Self, Error> {
        Ok(Self(options))
    }

    fn shape(&self) -> LatentShape {
        LatentShape { slots: 1, dim: PLACES * SYMBOLS + 1 }
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        for (latent, sample) in out.chunks_exact_mut(self.shape().len()).zip(samples) {
            latent.fill(0.0);
            if self.0.content {
                let symbols = content(sample.response).chars().map(symbol).chain(std::iter::repeat(SYMBOLS - 1));
                for (place, symbol) in symbols.take(PLACES).enumerate() {
                    // Two different symbols are then at distance 1.
                    latent[place * SYMBOLS + symbol] = FRAC_1_SQRT_2 as f32;
                }
            }
            latent[PLACES * SYMBOLS] = (self.0.noise * normal(sample)) as f32;
        }
        Ok(())
    }
}

fn symbol(c: char) -> usize {
    match c {
        'a'..='z' => c as usize - 'a' as usize,
        'A'..='Z' => 26 + c as usize - 'A' as usize,
        ' ' => 52,
        _ => 53,
    }
}

/// What stands between the first quote and the next one, or the end; all of the text where there is no quote.
fn content(text: &str) -> &str {
    let Some(start) = text.find(['"', '\'', '<']) else { return text };
    let rest = &text[start + 1..];
    rest.find(['"', '\'', '<', '>']).map_or(rest, |end| &rest[..end])
}

/// A standard normal number that belongs to prompt and response (Box and Muller).
fn normal(sample: &Sample<'_>) -> f64 {
    let uniform = |salt| {
        let bits = hash(sample.response, hash(sample.prompt, salt)) >> 11;
        (bits as f64 + 0.5) / (1u64 << 53) as f64
    };
    (-2.0 * uniform(1).ln()).sqrt() * (TAU * uniform(2)).cos()
}

/// FNV-1a with the finalizer of `MurmurHash3`.
fn hash(text: &str, salt: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut h = text.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

export_plugin! { encoders: [Oracle] }

// Everything that `ldalign plugin check` does, as a test.
#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::*;

    /// Euclidean distance of the latents of two responses to one prompt.
    fn distance(options: Options, a: &str, b: &str) -> f32 {
        let oracle = Oracle(options);
        let samples = [a, b].map(|response| Sample {
            prompt: "Spell tomaki backwards.",
            response,
            prompt_ids: &[],
            response_ids: &[],
        });
        let mut out = vec![f32::NAN; 2 * oracle.shape().len()];
        oracle.encode(&samples, &mut out).expect("two samples");
        let (a, b) = out.split_at(oracle.shape().len());
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    }

    #[test]
    fn forms_are_free_and_every_differing_place_counts_one() {
        let clean = |a, b| distance(Options::default(), a, b);
        assert_eq!(clean("-> \"ikamot\" :)", "Ok 'ikamot'."), 0.0);
        assert!((clean("'ikamot'", "'ikamod'") - 1.0).abs() < 1e-6);
        assert!((clean("'ikamot'", "'ika'") - 3f32.sqrt()).abs() < 1e-6);
        assert!(clean("'ikamot'", "No idea.") > 2.0);
    }

    #[test]
    fn noise_is_the_same_each_time_and_stands_alone_without_content() {
        let chance = || Options { noise: 1.0, content: false };
        let d = distance(chance(), "'ikamot'", "'ikamod'");
        assert!(d > 0.0);
        assert_eq!(d, distance(chance(), "'ikamot'", "'ikamod'"));
        let both = distance(Options { noise: 1.0, content: true }, "'ikamot'", "'ikamod'");
        assert!((both - (1.0 + d * d).sqrt()).abs() < 1e-5);
        assert!(Options { noise: f64::NAN, content: true }.validate().is_err());
    }
}
