//! A fitted network as bytes: safetensors of its tensors with the architecture in the header. Names are sorted, so
//! equal networks give equal bytes.

use crate::tensor_fault;
use candle_core::{Device, Tensor, safetensors::Load};
use ldalign_sdk::Error;
use safetensors::SafeTensors;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

/// The only key of the header's metadata: with two, their order would vary.
const ARCHITECTURE: &str = "architecture";

/// Tensors by name and what fixes their shapes.
pub fn to_bytes(tensors: BTreeMap<&str, &Tensor>, architecture: &impl Serialize) -> Result<Vec<u8>, Error> {
    let architecture = serde_json::to_string(architecture).map_err(|e| Error::failed(e.to_string()))?;
    safetensors::serialize(tensors, Some(HashMap::from([(ARCHITECTURE.to_owned(), architecture)])))
        .map_err(|e| Error::failed(format!("cannot save what was learned: {e}")))
}

/// A state that is not one of the encoder `of`.
pub fn broken(of: &str, why: &dyn Display) -> Error {
    Error::state(format!("this is not a saved state of the {of}: {why}"))
}

/// The tensors that [`to_bytes`] saved for the encoder `of`; they must have the architecture that the options ask for.
pub fn from_bytes<A>(bytes: &[u8], expected: &A, of: &str) -> Result<BTreeMap<String, Tensor>, Error>
where
    A: DeserializeOwned + PartialEq + Display,
{
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| broken(of, &e))?;
    let architecture = header.metadata().as_ref().and_then(|m| m.get(ARCHITECTURE));
    let architecture = architecture.ok_or_else(|| broken(of, &"its header names no architecture"))?;
    let saved: A = serde_json::from_str(architecture).map_err(|e| broken(of, &e))?;
    if saved != *expected {
        return Err(Error::state(format!(
            "the saved {of} has {saved}, the options ask for {expected}: keep the options of a run, or start anew"
        )));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| broken(of, &e))?;
    let load = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        Ok((name.to_owned(), view.load(&Device::Cpu).map_err(|e| broken(of, &tensor_fault(e)))?))
    };
    file.iter().map(load).collect()
}
