//! The tensor files of a checkpoint: named f32 tensors, one in memory at a time, read back once they are written.

use crate::{
    Code, Error, Result,
    tensors::{self, Spec, TensorFile},
};
use candle_core::Tensor;
use std::path::Path;

/// A tensor to write.
pub struct Entry<'a> {
    /// Its name.
    pub name: String,
    /// Its numbers, on any device.
    pub tensor: &'a Tensor,
}

impl Entry<'_> {
    /// Name and shape.
    pub fn spec(&self) -> Spec {
        Spec::f32(&self.name, self.tensor.dims())
    }
}

/// Writes entries in the order given. Returns the file's SHA-256 in hex.
pub fn write(path: &Path, entries: &[Entry<'_>]) -> Result<String> {
    let specs: Vec<Spec> = entries.iter().map(Entry::spec).collect();
    tensors::write_verified(path, &specs, |out| entries.iter().try_for_each(|entry| out.tensor(entry.tensor)))
}

/// A file to take tensors from.
pub struct Tensors(TensorFile);

impl Tensors {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self> {
        TensorFile::open(path, bad).map(Self)
    }

    /// The numbers of a tensor, which must have this shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.0.f32(name, shape, bad)
    }
}

fn bad(path: &Path, what: String) -> Error {
    Error::new(Code::FileTensors, format!("{}: {what}", path.display()))
}
