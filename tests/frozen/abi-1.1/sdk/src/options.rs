//! Typed plugin options.

use crate::Error;

/// Options of a plugin: a serde struct with `#[serde(deny_unknown_fields, default)]` and a JSON schema.
pub trait PluginOptions: serde::de::DeserializeOwned + schemars::JsonSchema + Send + 'static {
    /// Checks what types cannot say, such as ranges; called before any model is loaded.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// For a plugin without options.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

impl PluginOptions for NoOptions {}
