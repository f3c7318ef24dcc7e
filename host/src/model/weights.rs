//! The weights of a model directory: one file or shards, read into f32 by name and shape, and written as f32.
//!
//! Tensors are read one at a time and not mapped, so a file that shrinks meanwhile is an error and not a crash.

use crate::{
    Code, Error, Result, files,
    tensors::{self, Place, Spec, TensorFile},
};
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The tensors of a model directory, read on demand.
#[derive(Debug)]
pub struct Weights {
    files: Vec<TensorFile>,
    /// By name, the file and the place in it.
    entries: BTreeMap<String, (usize, Place)>,
    taken: BTreeSet<String>,
}

fn bad(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Code::ModelWeights, format!("{}: {what}", path.display()))
        .hint("the file is damaged or not safetensors: copy or download it again")
}

impl Weights {
    /// Opens model.safetensors, or the shards of model.safetensors.index.json.
    pub fn open(dir: &Path) -> Result<Self> {
        let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
        if single.exists() {
            return Self::open_files(vec![single]);
        }
        if !index.exists() {
            return Err(Error::new(Code::ModelWeights, format!("no model.safetensors in {}", dir.display()))
                .hint("expected a Hugging Face model directory; turn a GGUF file into one by `ldalign import`"));
        }
        let value: Value = serde_json::from_str(&files::read_text(&index)?).map_err(|e| bad(&index, e))?;
        let map = value["weight_map"].as_object().ok_or_else(|| bad(&index, "no weight_map"))?;
        let mut names = BTreeSet::new();
        for (tensor, file) in map {
            // A shard lies beside the index: a path could lead anywhere.
            match file.as_str() {
                Some(f) if Path::new(f).file_name() == Some(f.as_ref()) => names.insert(f),
                _ => return Err(bad(&index, format!("the file of {tensor} is {file}, expected a plain file name"))),
            };
        }
        let weights = Self::open_files(names.into_iter().map(|n| dir.join(n)).collect())?;
        match map.keys().find(|k| !weights.entries.contains_key(*k)) {
            Some(k) => Err(bad(&index, format!("no shard holds the tensor {k}"))),
            None => Ok(weights),
        }
    }

    /// Opens the given files as one set of tensors.
    pub fn open_files(paths: Vec<PathBuf>) -> Result<Self> {
        let (mut files, mut entries) = (vec![], BTreeMap::new());
        for path in paths {
            let file = TensorFile::open(&path, bad)?;
            for (name, place) in file.places() {
                if entries.insert(name.clone(), (files.len(), place.clone())).is_some() {
                    return Err(bad(&path, format!("the tensor {name} is also in another shard")));
                }
            }
            files.push(file);
        }
        Ok(Self { files, entries, taken: BTreeSet::new() })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(name, (_, place))| (name.as_str(), place.shape.as_slice()))
    }

    /// Reads a tensor of the given shape as f32.
    pub fn take(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let Some((file, place)) = self.entries.get(name) else {
            let files: Vec<_> = self.files.iter().map(|file| file.path().display().to_string()).collect();
            return Err(Error::new(Code::ModelTensor, format!("{}: the tensor {name} is missing", files.join(", ")))
                .hint("config.json and the weights must be of the same model"));
        };
        let file = &self.files[*file];
        let path = file.path();
        if place.shape != shape {
            let what = format!("{}: {name} is {:?}, but config.json asks for {shape:?}", path.display(), place.shape);
            return Err(
                Error::new(Code::ModelTensor, what).hint("config.json and the weights must be of the same model")
            );
        }
        let numbers = shape.iter().product();
        let values: Vec<f32> = match place.dtype {
            Dtype::F32 => read(file, place, numbers)?,
            Dtype::BF16 => read::<half::bf16>(file, place, numbers)?.into_iter().map(half::bf16::to_f32).collect(),
            Dtype::F16 => read::<half::f16>(file, place, numbers)?.into_iter().map(half::f16::to_f32).collect(),
            other => {
                let what = format!("{}: {name} holds {other:?}; supported are F32, F16 and BF16", path.display());
                return Err(Error::new(Code::ModelUnsupported, what));
            }
        };
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let what = format!("{}: {name} holds {} at index {i}", path.display(), values[i]);
            return Err(Error::new(Code::ModelTensor, what).hint("the model was damaged, or diverged in training"));
        }
        self.taken.insert(name.to_owned());
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Fails if a tensor was not taken, except for those that `ignore` names.
    pub fn finish(&self, ignore: impl Fn(&str) -> bool) -> Result<()> {
        let extra: Vec<_> = self.entries.keys().filter(|k| !self.taken.contains(*k) && !ignore(k)).collect();
        let Some(first) = extra.first() else { return Ok(()) };
        let path = self.files[self.entries[*first].0].path().display();
        let more = if extra.len() > 1 { format!(" and {} more", extra.len() - 1) } else { String::new() };
        Err(Error::new(Code::ModelTensor, format!("{path}: the model has no place for the tensor {first}{more}"))
            .hint("config.json and the weights must be of the same model"))
    }
}

/// All numbers of a tensor.
fn read<T: bytemuck::Pod>(file: &TensorFile, place: &Place, numbers: usize) -> Result<Vec<T>> {
    let mut all = vec![T::zeroed(); numbers];
    file.read(place.bytes.start, &mut all)?;
    Ok(all)
}

/// Writes f32 tensors in the given order, atomically, and reads the header back.
pub fn save(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let specs: Vec<Spec> = tensors.iter().map(|(name, t)| Spec::f32(name, t.dims())).collect();
    tensors::write(path, &[tensors::PYTORCH], &specs, |out| tensors.values().try_for_each(|t| out.tensor(t)))?;
    let written = Weights::open_files(vec![path.to_owned()])?;
    let expected = tensors.iter().map(|(k, t)| (k.as_str(), t.dims()));
    if !written.shapes().eq(expected) {
        return Err(bad(path, "read back, it does not hold what was written"));
    }
    Ok(())
}
