//! An option that names a layer of the policy model.

use crate::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layer by name or by number. Serialized for the schema, which shows defaults.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "layer must be \"middle\", \"last\" or a number")]
pub enum Layer {
    /// By name.
    Named(NamedLayer),
    /// 0 is the embedding, 1 the first layer's output and so on; -1 is the last layer, -2 the one before.
    Index(i64),
}

/// Layers that every model has.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NamedLayer {
    /// Half of the layers, rounded up.
    Middle,
    /// After the last layer and the final norm.
    Last,
}

impl Default for Layer {
    fn default() -> Self {
        Self::Named(NamedLayer::Middle)
    }
}

impl Layer {
    /// The layer's number in a model of `num_layers`, 0..=num_layers.
    ///
    /// # Errors
    /// Where it does not exist.
    pub fn resolve(self, num_layers: usize) -> Result<usize, Error> {
        let index = match self {
            Self::Named(NamedLayer::Middle) => return Ok(num_layers.div_ceil(2)),
            Self::Named(NamedLayer::Last) => return Ok(num_layers),
            Self::Index(index) => index,
        };
        let from_the_end = if index < 0 { num_layers as i64 + 1 } else { 0 };
        match usize::try_from(index.saturating_add(from_the_end)) {
            Ok(layer) if layer <= num_layers => Ok(layer),
            _ => Err(Error::options(format!(
                "layer {index} does not exist: this model has layers 0 (the embedding) to {num_layers}, or -1 to -{}",
                num_layers + 1
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn layer(given: serde_json::Value, num_layers: usize) -> Result<usize, Error> {
        serde_json::from_value::<Layer>(given).unwrap().resolve(num_layers)
    }

    #[test]
    fn layers_by_name_and_number() {
        assert_eq!(Layer::default().resolve(12), Ok(6));
        for (given, expected) in [
            (json!("middle"), 6),
            (json!("last"), 12),
            (json!(0), 0),
            (json!(12), 12),
            (json!(-1), 12),
            (json!(-13), 0),
        ] {
            assert_eq!(layer(given.clone(), 12), Ok(expected), "{given}");
        }
        assert_eq!(Layer::default().resolve(1), Ok(1), "the middle of one layer is its output, not the embedding");
    }

    #[test]
    fn layers_that_do_not_exist_are_refused() {
        for index in [13, -14, i64::MAX, i64::MIN] {
            let error = layer(json!(index), 12).unwrap_err();
            assert_eq!(
                error.message(),
                format!("layer {index} does not exist: this model has layers 0 (the embedding) to 12, or -1 to -13")
            );
        }
    }
}
