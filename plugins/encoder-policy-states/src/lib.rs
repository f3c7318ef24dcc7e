//! Latents from the policy model itself: its hidden states after one layer, pooled to one vector a sample.
//!
//! The host computes them on its own device; the plugin chooses the layer and the pooling and holds no model.

use ldalign_sdk::{Encoder, Error, Host, LatentShape, Layer, PluginOptions, Pooling, Sample};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which states become the latent.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Layer whose output is taken.
    pub layer: Layer,
    /// How a sample's token states become one vector.
    pub pooling: Pool,
    /// Scale every latent to length 1, so that only directions are compared.
    pub normalize: bool,
}

impl PluginOptions for Options {}

/// See [`Pooling`].
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Mean over the response's tokens.
    #[default]
    Mean,
    /// The response's last token.
    Last,
    /// Mean over prompt and response.
    MeanAll,
}

impl From<Pool> for Pooling {
    fn from(pool: Pool) -> Self {
        match pool {
            Pool::Mean => Self::Mean,
            Pool::Last => Self::Last,
            Pool::MeanAll => Self::MeanAll,
        }
    }
}

/// Pooled hidden states of one layer.
pub struct PolicyStates {
    host: Host,
    layer: usize,
    pooling: Pooling,
    normalize: bool,
    shape: LatentShape,
}

impl Encoder for PolicyStates {
    const ID: &'static str = "policy-states";
    const SUMMARY: &'static str = "pooled hidden states of the policy model";
    type Options = Options;

    fn new(options: Options, host: Host) -> Result<Self, Error> {
        let model = host.model()?;
        Ok(Self {
            layer: options.layer.resolve(model.num_layers)?,
            pooling: options.pooling.into(),
            normalize: options.normalize,
            shape: LatentShape { slots: 1, dim: model.hidden_size },
            host,
        })
    }

    fn shape(&self) -> LatentShape {
        self.shape
    }

    fn encode(&self, samples: &[Sample<'_>], out: &mut [f32]) -> Result<(), Error> {
        self.host.hidden_states(samples, self.layer, self.pooling, out)?;
        if self.normalize {
            out.chunks_exact_mut(self.shape.len()).for_each(normalize);
        }
        Ok(())
    }
}

/// Scales to length 1; a zero vector stays.
fn normalize(latent: &mut [f32]) {
    let length = latent.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if length > 0.0 {
        latent.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

ldalign_sdk::export_plugin! { encoders: [PolicyStates] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ldalign_sdk::{ModelFacts, Services};
    use serde_json::json;

    /// A model of 12 layers and width 2 whose "hidden states" tell what was asked for.
    struct Model;

    impl Services for Model {
        fn model(&self) -> Option<ModelFacts> {
            Some(ModelFacts { vocab_size: 9, hidden_size: 2, num_layers: 12, max_positions: 16, end_ids: vec![1] })
        }
        fn hidden_states(&self, _: &[Sample<'_>], layer: usize, pool: Pooling, out: &mut [f32]) -> Result<(), Error> {
            let pool = [Pooling::Mean, Pooling::Last, Pooling::MeanAll].iter().position(|&p| p == pool).unwrap();
            out.chunks_exact_mut(2).for_each(|latent| latent.copy_from_slice(&[layer as f32, pool as f32]));
            Ok(())
        }
    }

    fn encode(options: serde_json::Value) -> Vec<f32> {
        let encoder = PolicyStates::new(serde_json::from_value(options).unwrap(), Host::new(Model)).unwrap();
        assert_eq!(encoder.shape(), LatentShape { slots: 1, dim: 2 });
        let sample = Sample { prompt: "p", response: "r", prompt_ids: &[2], response_ids: &[3, 1] };
        let mut out = vec![f32::NAN; 4];
        encoder.encode(&[sample, sample], &mut out).unwrap();
        out
    }

    #[test]
    fn the_host_is_asked_for_what_the_options_say() {
        assert_eq!(encode(json!({})), [6.0, 0.0, 6.0, 0.0]);
        assert_eq!(encode(json!({"layer": -2, "pooling": "last"})), [11.0, 1.0, 11.0, 1.0]);
        assert_eq!(encode(json!({"layer": 3, "pooling": "mean-all"})), [3.0, 2.0, 3.0, 2.0]);
        assert_eq!(encode(json!({"layer": "last", "normalize": true})), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_host_without_a_model_is_an_error() {
        let error = PolicyStates::new(Options::default(), Host::stand_in()).map(|_| ()).unwrap_err();
        assert_eq!(error.message(), "the host has no model loaded");
    }

    #[test]
    fn options_are_strict() {
        for (given, message) in [
            (json!({"layer": "first"}), "layer must be \"middle\", \"last\" or a number"),
            (json!({"pooling": "max"}), "unknown variant `max`, expected one of `mean`, `last`, `mean-all`"),
            (json!({"normalise": true}), "unknown field `normalise`"),
        ] {
            let error = serde_json::from_value::<Options>(given).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn normalized_latents_have_length_one() {
        let mut latent = [3.0, -4.0];
        normalize(&mut latent);
        assert_eq!(latent, [0.6, -0.8]);
        for scale in [1e-40f32, 1e38] {
            let mut latent = [scale; 4];
            normalize(&mut latent);
            assert!(latent.iter().all(|x| (x - 0.5).abs() < 1e-4), "{latent:?}");
        }
        let mut zero = [0.0; 3];
        normalize(&mut zero);
        assert_eq!(zero, [0.0; 3]);
    }
}
