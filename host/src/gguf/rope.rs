//! The rotary embedding: from GGUF's keys, and the factors that some files have as a tensor, to config.json's.

use super::metadata::Metadata;
use crate::{Code, Error, Result};
use serde_json::{Value, json};

/// Frequency factors of Llama 3's RoPE scaling; not a weight, its meaning goes into config.json.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A rotary embedding.
pub(super) struct Rope {
    pub theta: f64,
    /// Of layers with windows, in Gemma 3: they have no scaling.
    pub theta_of_windows: f64,
    /// As config.json has it.
    pub scaling: Option<Value>,
}

impl Rope {
    /// Reads the keys of an architecture.
    pub fn read(metadata: Metadata<'_>, arch: &str, context: usize) -> Result<Self> {
        let base = |name: &str| metadata.get(&format!("{arch}.rope.{name}"));
        Ok(Self {
            theta: base("freq_base")?.unwrap_or(10_000.0),
            theta_of_windows: base("freq_base_swa")?.unwrap_or(10_000.0),
            scaling: scaling(metadata, arch, context)?,
        })
    }

    /// Recognises Llama 3's RoPE scaling by the values of [`ROPE_FACTORS`].
    ///
    /// The file keeps only these factors. Llama 3.1 to 3.3 share all parameters but `factor`, which is the largest of
    /// them; the factors that follow from it must equal those in the file.
    pub fn set_factors(&mut self, factors: &[f32], head_dim: usize) -> Result<()> {
        if let Some(scaling) = &self.scaling {
            let message = format!("tensor `{ROPE_FACTORS}` stands beside the RoPE scaling {scaling}");
            return Err(Error::new(Code::GgufTensor, message).hint("supported is one kind of scaling at a time"));
        }
        let (low, high, original) = (1.0, 4.0, 8192.0);
        let factor = f64::from(factors.iter().copied().fold(1.0, f32::max));
        let expected = (0..head_dim / 2).map(|i| {
            let wavelength = 2.0 * std::f64::consts::PI * self.theta.powf(2.0 * i as f64 / head_dim as f64);
            if wavelength < original / high {
                1.0
            } else if wavelength > original / low {
                factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        });
        let equal = |(a, b): (f64, &f32)| (a - f64::from(*b)).abs() <= 1e-4 * a;
        if factors.len() != head_dim / 2 || !expected.zip(factors).all(equal) {
            let message = format!("tensor `{ROPE_FACTORS}` holds another RoPE scaling than Llama 3's");
            return Err(Error::new(Code::GgufTensor, message)
                .hint("supported is the scaling of Llama 3.1 to 3.3, of an original length of 8192"));
        }
        self.scaling = Some(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original as u64,
        }));
        Ok(())
    }
}

/// RoPE scaling where the keys say so, as llama.cpp reads them: a factor without a type is linear.
fn scaling(metadata: Metadata<'_>, arch: &str, context: usize) -> Result<Option<Value>> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let number = |name: &str| metadata.get::<f64>(&key(name));
    // 0 stands for no factor.
    let factor = number("scaling.factor")?.or(number("scale_linear")?).filter(|f| *f != 0.0).unwrap_or(1.0);
    if !(factor.is_finite() && factor > 0.0) {
        let message = format!("key `{}` is {factor}, expected a number above 0", key("scaling.factor"));
        return Err(Error::new(Code::GgufKey, message).hint("the file is damaged: copy or convert it again"));
    }
    match metadata.get::<&str>(&key("scaling.type"))?.unwrap_or("linear") {
        "none" => Ok(None),
        "linear" if factor == 1.0 => Ok(None),
        "linear" => Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
        "yarn" => {
            let original = metadata.get::<usize>(&key("scaling.original_context_length"))?.filter(|n| *n > 0);
            let original = original.unwrap_or(context);
            Ok(Some(json!({ "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original })))
        }
        other => {
            let message = format!("key `{}` is `{other}`", key("scaling.type"));
            Err(Error::new(Code::GgufArchitecture, message)
                .hint("supported are none, linear, yarn and the frequency factors of Llama 3"))
        }
    }
}
