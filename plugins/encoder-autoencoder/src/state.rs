//! A fitted guiding model as bytes: safetensors of the weights (f32) and of `vocabulary` (u32, the ids that have a row),
//! with the architecture in the header. Names are sorted, so equal models give equal bytes.

use crate::{
    Guide,
    network::{Architecture, Network},
    tensor_fault,
    vocabulary::Vocabulary,
};
use candle_core::{Device, Tensor, safetensors::Load};
use ldalign_sdk::Error;
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};

const VOCABULARY: &str = "vocabulary";
/// The only key of the header's metadata: with two, their order would vary.
const ARCHITECTURE: &str = "architecture";

/// The state of a fitted guiding model.
pub fn to_bytes(guide: &Guide) -> Result<Vec<u8>, Error> {
    let ids = Tensor::new(guide.vocabulary.ids(), &Device::Cpu).map_err(tensor_fault)?;
    let weights = guide.network.variables().iter().map(|(name, var)| (name.as_str(), var.as_tensor()));
    let tensors: BTreeMap<&str, &Tensor> = weights.chain([(VOCABULARY, &ids)]).collect();
    let architecture = serde_json::to_string(&guide.network.architecture());
    let architecture = architecture.map_err(|e| Error::failed(e.to_string()))?;
    safetensors::serialize(tensors, Some(HashMap::from([(ARCHITECTURE.to_owned(), architecture)])))
        .map_err(|e| Error::failed(format!("cannot save the autoencoder: {e}")))
}

/// The guiding model that [`to_bytes`] saved; it must have the architecture that the options ask for.
pub fn from_bytes(bytes: &[u8], expected: Architecture) -> Result<Guide, Error> {
    let broken =
        |why: &dyn std::fmt::Display| Error::state(format!("this is no saved state of the autoencoder: {why}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| broken(&e))?;
    let architecture = header.metadata().as_ref().and_then(|m| m.get(ARCHITECTURE));
    let architecture = architecture.ok_or_else(|| broken(&"its header names no architecture"))?;
    let saved: Architecture = serde_json::from_str(architecture).map_err(|e| broken(&e))?;
    if saved != expected {
        return Err(Error::state(format!(
            "the saved autoencoder has {saved}, the options ask for {expected}: keep the options of a run, or start anew"
        )));
    }

    let file = SafeTensors::deserialize(bytes).map_err(|e| broken(&e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        tensors.insert(name.to_owned(), view.load(&Device::Cpu).map_err(|e| broken(&tensor_fault(e)))?);
    }
    let ids = tensors.remove(VOCABULARY).ok_or_else(|| broken(&"it has no vocabulary"))?;
    let ids = ids.to_vec1::<u32>().map_err(|e| broken(&tensor_fault(e)))?;
    let vocabulary = Vocabulary::from_ids(ids).ok_or_else(|| broken(&"its vocabulary does not ascend"))?;
    let network = Network::restored(saved, vocabulary.rows(), tensors).map_err(|e| broken(&tensor_fault(e)))?;
    Ok(Guide { vocabulary, network })
}
