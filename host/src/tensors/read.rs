//! Reading: the header first, then of the numbers what is asked for.

use crate::{
    Result,
    files::{self, io_error},
};
use memmap2::Mmap;
use safetensors::{Dtype, tensor::Metadata};
use std::{
    collections::BTreeMap,
    fs::File,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What the reader of a file says of one that is not as it should be.
pub type Bad = fn(&Path, String) -> crate::Error;

/// Largest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its bytes in the file.
    pub bytes: Range<u64>,
}

/// An open file with a sound header.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    places: BTreeMap<String, Place>,
    about: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// Where the file cannot be read; `bad` where it is not safetensors, or has fewer or more bytes than its header
    /// says.
    pub fn open(path: &Path, bad: Bad) -> Result<Self> {
        let fail = |e| io_error(path, "read", e);
        let file = files::open(path).map_err(|e| io_error(path, "open", e))?;
        let size = file.metadata().map_err(fail)?.len();
        if size < 8 {
            return Err(bad(path, format!("only {size} bytes long")));
        }
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).map_err(fail)?;
        let length = u64::from_le_bytes(length);
        if length > (size - 8).min(MAX_HEADER) {
            return Err(bad(path, format!("its header claims {length} bytes of the file's {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8).map_err(fail)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| bad(path, format!("its header cannot be read: {e}")))?;
        let (described, data) = (header.data_len(), size - 8 - length);
        if described as u64 != data {
            return Err(bad(path, format!("its header describes {described} bytes of data, {data} are there")));
        }
        let start = 8 + length;
        let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let bytes = start + info.data_offsets.0 as u64..start + info.data_offsets.1 as u64;
            (name, Place { dtype: info.dtype, shape: info.shape.clone(), bytes })
        };
        let places = header.tensors().into_iter().map(place).collect();
        let about = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { path: path.to_owned(), file, places, about })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors by name.
    pub fn places(&self) -> &BTreeMap<String, Place> {
        &self.places
    }

    /// A part of the header's free text.
    pub fn about(&self, key: &str) -> Option<&str> {
        self.about.get(key).map(String::as_str)
    }

    /// Fills `numbers` with what lies from byte `at` of the file on.
    pub fn read<T: bytemuck::Pod>(&self, at: u64, numbers: &mut [T]) -> Result<()> {
        let bytes = bytemuck::cast_slice_mut(numbers);
        self.file.read_exact_at(bytes, at).map_err(|e| io_error(&self.path, "read", e))
    }

    /// The numbers of a tensor, which must be of f32 and have this shape.
    ///
    /// # Errors
    /// `bad` where there is no such tensor.
    pub fn f32(&self, name: &str, shape: &[usize], bad: Bad) -> Result<Vec<f32>> {
        let place = self.places.get(name).ok_or_else(|| bad(&self.path, format!("there is no tensor {name}")))?;
        if place.dtype != Dtype::F32 || place.shape != shape {
            let (dtype, found) = (place.dtype, &place.shape);
            return Err(bad(&self.path, format!("{name} is {dtype:?} {found:?}; expected F32 {shape:?}")));
        }
        let mut numbers = vec![0.0; shape.iter().product()];
        self.read(place.bytes.start, &mut numbers)?;
        Ok(numbers)
    }

    /// The whole file as bytes, read on demand.
    pub fn map(&self) -> Result<Mmap> {
        files::map_open(&self.file, &self.path)
    }
}
