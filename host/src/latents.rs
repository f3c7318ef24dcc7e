//! Latents of prompts and responses, and the distances between them: what the paper's method measures.

mod prefix;
mod services;

pub use services::{PolicyServices, SharedPolicy};

use crate::{
    Code, Error, Result, files, interrupt,
    plugin::{CorpusSource, Encoder, OwnedSample},
    progress::Progress,
};
use ldalign_sdk::{LatentShape, Sample};
use std::{collections::HashMap, path::Path};

/// Samples encoded in one call of the plugin.
const BATCH: usize = 64;

/// Latents of the samples of these indices, one after the other.
pub fn encode(encoder: &Encoder, corpus: &dyn CorpusSource, indices: &[usize], name: &str) -> Result<Vec<f32>> {
    let mut latents = Vec::with_capacity(indices.len() * encoder.shape().len());
    let mut progress = Progress::new(name, 0, indices.len() as u64);
    for batch in indices.chunks(BATCH) {
        interrupt::check()?;
        let owned = corpus.read(batch)?;
        let samples: Vec<Sample<'_>> = owned.iter().map(OwnedSample::as_sample).collect();
        latents.extend(encoder.encode(&samples)?);
        progress.advance(batch.len() as u64, "");
    }
    progress.finish("");
    Ok(latents)
}

/// Two sets of latents by name, each [samples, slots, dim], for whoever wants to look at them; `about` goes into the file's head.
pub fn write_latents(
    path: &Path,
    parts: [(&str, &[f32]); 2],
    shape: LatentShape,
    about: Option<HashMap<String, String>>,
) -> Result<()> {
    use safetensors::{Dtype, serialize, tensor::TensorView};
    let bad = |e| Error::new(Code::RunLatents, "latents cannot be written").caused_by(format!("{e}"));
    let sizes = |v: &[f32]| vec![v.len() / shape.len(), shape.slots, shape.dim];
    let [a, b] = parts.map(|(name, v)| {
        TensorView::new(Dtype::F32, sizes(v), bytemuck::cast_slice(v)).map(|tensor| (name, tensor)).map_err(bad)
    });
    files::write(path, &serialize([a?, b?], about).map_err(bad)?)
}
