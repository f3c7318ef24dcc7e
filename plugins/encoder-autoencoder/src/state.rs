//! A fitted guiding model as bytes: the weights (f32) and `vocabulary` (u32, the ids that have a row).

use crate::{
    Guide, OF,
    network::{Architecture, Network},
    vocabulary::Vocabulary,
};
use candle_core::{Device, Tensor};
use ldalign_guiding::{
    state::{self, broken},
    tensor_fault,
};
use ldalign_sdk::Error;
use std::collections::BTreeMap;

const VOCABULARY: &str = "vocabulary";

/// The state of a fitted guiding model.
pub fn to_bytes(guide: &Guide) -> Result<Vec<u8>, Error> {
    let ids = Tensor::new(guide.vocabulary.ids(), &Device::Cpu).map_err(tensor_fault)?;
    let weights = guide.network.variables().iter().map(|(name, var)| (name.as_str(), var.as_tensor()));
    let tensors: BTreeMap<&str, &Tensor> = weights.chain([(VOCABULARY, &ids)]).collect();
    state::to_bytes(tensors, &guide.network.architecture())
}

/// The guiding model that [`to_bytes`] saved; it must have the architecture that the options ask for.
pub fn from_bytes(bytes: &[u8], expected: Architecture) -> Result<Guide, Error> {
    let mut tensors = state::from_bytes(bytes, &expected, OF)?;
    let ids = tensors.remove(VOCABULARY).ok_or_else(|| broken(OF, &"it has no vocabulary"))?;
    let ids = ids.to_vec1::<u32>().map_err(|e| broken(OF, &tensor_fault(e)))?;
    let vocabulary = Vocabulary::from_ids(ids).ok_or_else(|| broken(OF, &"its vocabulary does not ascend"))?;
    let network = Network::restored(expected, vocabulary.rows(), tensors).map_err(|e| broken(OF, &tensor_fault(e)))?;
    Ok(Guide { vocabulary, network })
}
