//! Numbers of a model as they are kept: a tensor, or blocks.

use super::blocks::Blocks;
use candle_core::{DType, Device, Result, Tensor, bail};

/// A tensor of f32 or bf16, or a frozen matrix in blocks.
#[derive(Debug, Clone)]
pub enum Stored {
    /// Of f32, which may be trained, or of bf16, which is frozen.
    Tensor(Tensor),
    /// Frozen.
    Blocks(Blocks),
}

impl From<Tensor> for Stored {
    fn from(t: Tensor) -> Self {
        Self::Tensor(t)
    }
}

impl Stored {
    /// The tensor, where it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(t) => Some(t),
            Self::Blocks(_) => None,
        }
    }
    /// By itself, so that candle records nothing of what is done with it.
    pub fn detach(&self) -> Self {
        match self {
            Self::Tensor(t) => Self::Tensor(t.detach()),
            Self::Blocks(b) => Self::Blocks(b.clone()),
        }
    }
    /// Whether it is trained.
    pub fn is_variable(&self) -> bool {
        self.tensor().is_some_and(Tensor::is_variable)
    }
    /// Rows and columns of a matrix.
    pub fn dims2(&self) -> Result<(usize, usize)> {
        match self {
            Self::Tensor(t) => t.dims2(),
            Self::Blocks(b) => Ok(b.dims()),
        }
    }
    /// Numbers in all.
    pub fn elem_count(&self) -> usize {
        match self {
            Self::Tensor(t) => t.elem_count(),
            Self::Blocks(b) => b.dims().0 * b.dims().1,
        }
    }
    /// Bytes in all.
    pub fn size(&self) -> usize {
        match self {
            Self::Tensor(t) => t.elem_count() * t.dtype().size_in_bytes(),
            Self::Blocks(b) => b.size(),
        }
    }
    /// Rows of a matrix by their numbers, [rows, columns], of the tensor's type or f32.
    ///
    /// # Errors
    /// Where there is no such row.
    pub fn rows(&self, rows: &[u32], device: &Device) -> Result<Tensor> {
        let b = match self {
            Self::Tensor(t) => return t.index_select(&Tensor::new(rows, device)?, 0),
            Self::Blocks(b) => b,
        };
        let (height, width) = b.dims();
        if let Some(row) = rows.iter().find(|row| **row as usize >= height) {
            bail!("there is no row {row} in a matrix [{height}, {width}]")
        }
        let mut out = vec![0.0; rows.len() * width];
        out.chunks_exact_mut(width).zip(rows).for_each(|(out, row)| b.unpack_row(*row as usize, out));
        Tensor::from_vec(out, (rows.len(), width), device)
    }
    /// All numbers in f32, in memory of their own where they are kept otherwise.
    pub fn to_f32(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Tensor(t) => t.to_dtype(DType::F32),
            Self::Blocks(b) => Tensor::from_vec(b.unpack_all(), b.dims(), device),
        }
    }
}
