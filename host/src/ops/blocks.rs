//! Matrices in blocks: a few numbers at a time share a scale, and have 4 to 8 bits each.
//!
//! | kind | defined by | numbers that share | bits a number | a number is |
//! |---|---|---|---|---|
//! | Q4_0 | ggml | 32 | 4.5 | d (q - 8) |
//! | Q8_0 | ggml | 32 | 8.5 | d q |
//! | Q4_K | ggml | 256, and 32 | 4.5 | d s q - m t |
//! | Q5_K | ggml | 256, and 32 | 5.5 | d s q - m t |
//! | Q6_K | ggml | 256, and 16 | 6.5625 | d s (q - 32) |
//! | NF4 | bitsandbytes | 64, and 64 · 256 | 4.127 | code\[q\] a, see `nf4` |
//!
//! Every kind is a sequence of pieces of 32 numbers, row after row, so that any part of a row can be
//! [unpacked](Blocks::unpack) by itself. All arithmetic is f32, in the order in which the `gguf` package and
//! bitsandbytes do it: the numbers are theirs to the bit, at every level of instructions.

mod ggml;
mod nf4;

use candle_core::{Result, bail};
use std::sync::Arc;

/// Numbers of a piece, the least that is unpacked.
const PIECE: usize = 32;

/// How numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "names as their files have them")]
pub enum BlockKind {
    /// 4 bits and a scale.
    Q4_0,
    /// 8 bits and a scale.
    Q8_0,
    /// 4 bits, with scales and offsets of 6 bits.
    Q4_K,
    /// 5 bits, likewise.
    Q5_K,
    /// 6 bits, with scales of 8 bits.
    Q6_K,
    /// 4 bits that mean quantiles of a normal distribution, with scales that are in blocks themselves.
    Nf4,
}

impl BlockKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Q4_0, Self::Q8_0, Self::Q4_K, Self::Q5_K, Self::Q6_K, Self::Nf4];

    /// As users know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::Nf4 => "NF4",
        }
    }

    /// Numbers and bytes of a block; NF4's scales come on top of its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::Q4_0 => (32, ggml::Q4_0),
            Self::Q8_0 => (32, ggml::Q8_0),
            Self::Q4_K => (256, ggml::Q4_K),
            Self::Q5_K => (256, ggml::Q5_K),
            Self::Q6_K => (256, ggml::Q6_K),
            Self::Nf4 => (nf4::BLOCK, nf4::BLOCK / 2),
        }
    }

    /// Bytes that hold that many numbers, scales included.
    pub fn bytes(self, numbers: usize) -> usize {
        let (block, bytes) = self.block();
        let scales = if self == Self::Nf4 { nf4::scale_bytes(numbers) } else { 0 };
        numbers.div_ceil(block) * bytes + scales
    }
}

/// A matrix [rows, columns] in blocks, frozen; a copy shares its memory.
#[derive(Clone)]
pub struct Blocks {
    kind: BlockKind,
    rows: usize,
    columns: usize,
    bytes: Arc<[u8]>,
    /// Of NF4.
    scales: Option<Arc<nf4::Scales>>,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}, {}]", self.kind.name(), self.rows, self.columns)
    }
}

impl Blocks {
    /// A matrix as ggml lays it out, row after row.
    ///
    /// # Errors
    /// Where rows are no whole number of blocks, where the length does not fit, and for NF4, whose scales lie apart.
    pub fn new(kind: BlockKind, rows: usize, columns: usize, bytes: Vec<u8>) -> Result<Self> {
        let (block, _) = kind.block();
        if kind == BlockKind::Nf4 {
            bail!("NF4 is made of numbers, not of bytes")
        }
        if !columns.is_multiple_of(block) {
            bail!("rows of {columns} numbers are no whole number of {}'s blocks of {block}", kind.name())
        }
        let expected = kind.bytes(rows * columns);
        if bytes.len() != expected {
            bail!("{} [{rows}, {columns}] takes {expected} bytes, not {}", kind.name(), bytes.len())
        }
        Ok(Self { kind, rows, columns, bytes: bytes.into(), scales: None })
    }

    /// Finite numbers [rows, columns] rounded to NF4 with double quantisation, as bitsandbytes' `quantize_4bit` with
    /// `compress_statistics`.
    ///
    /// # Errors
    /// Where the length does not fit.
    pub fn nf4(rows: usize, columns: usize, numbers: &[f32]) -> Result<Self> {
        if numbers.len() != rows * columns {
            bail!("a matrix [{rows}, {columns}] has {} numbers", numbers.len())
        }
        let (bytes, scales) = nf4::pack(numbers);
        Ok(Self { kind: BlockKind::Nf4, rows, columns, bytes: bytes.into(), scales: Some(Arc::new(scales)) })
    }

    /// How its numbers are kept.
    pub fn kind(&self) -> BlockKind {
        self.kind
    }
    /// Rows and columns.
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }
    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.scales.as_ref().map_or(0, |scales| scales.size())
    }

    /// The numbers of a row from column `start` on, as many as `out` has room for.
    ///
    /// # Panics
    /// If they do not lie in the row.
    pub fn unpack(&self, row: usize, start: usize, out: &mut [f32]) {
        self.unpack_by::<Plain>(row, start, out);
    }

    /// [`unpack`](Self::unpack), compiled where it is called, for the instructions there.
    ///
    /// # Panics
    /// As there.
    #[inline(always)]
    pub fn unpack_by<L: LookUp>(&self, row: usize, start: usize, out: &mut [f32]) {
        assert!(row < self.rows && start + out.len() <= self.columns, "a part of a row");
        let (at, bytes) = (row * self.columns + start, &*self.bytes);
        match (self.kind, &self.scales) {
            (BlockKind::Q4_0, _) => unpack::<ggml::Q4_0Pieces>(at, out, bytes),
            (BlockKind::Q8_0, _) => unpack::<ggml::Q8_0Pieces>(at, out, bytes),
            (BlockKind::Q4_K, _) => unpack::<ggml::Q4_KPieces>(at, out, bytes),
            (BlockKind::Q5_K, _) => unpack::<ggml::Q5_KPieces>(at, out, bytes),
            (BlockKind::Q6_K, _) => unpack::<ggml::Q6_KPieces>(at, out, bytes),
            (BlockKind::Nf4, scales) => {
                let scales = &**scales.as_ref().expect("NF4 is made with its scales");
                unpack::<nf4::Nf4Pieces<L>>(at, out, (bytes, scales));
            }
        }
    }

    /// All numbers of a row.
    ///
    /// # Panics
    /// If there is no such row, or `out` is not as long as it.
    pub fn unpack_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "a whole row");
        self.unpack(row, 0, out);
    }

    /// All numbers, row by row.
    pub fn unpack_all(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.columns];
        out.chunks_exact_mut(self.columns.max(1)).enumerate().for_each(|(row, out)| self.unpack_row(row, out));
        out
    }
}

/// How entries of a table are looked up.
pub trait LookUp {
    /// Fills `out` by the halves of bytes, the upper half of each first. Must be `#[inline(always)]`.
    fn look_up(table: &[f32; 16], halves: &[u8; PIECE / 2], out: &mut [f32; PIECE]);
}

/// One by one.
struct Plain;

impl LookUp for Plain {
    #[inline(always)]
    fn look_up(table: &[f32; 16], halves: &[u8; PIECE / 2], out: &mut [f32; PIECE]) {
        for (to, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
            *to = [table[usize::from(byte >> 4)], table[usize::from(byte & 15)]];
        }
    }
}

/// A sequence of pieces. A trait, since a closure would not be compiled for the instructions of its caller.
trait Pieces {
    type Data<'a>: Copy;
    /// Unpacks the i-th. Must be `#[inline(always)]`.
    fn piece(data: Self::Data<'_>, i: usize, out: &mut [f32; PIECE]);
}

/// Fills `out` with the numbers from `at` on.
#[inline(always)]
fn unpack<P: Pieces>(at: usize, mut out: &mut [f32], data: P::Data<'_>) {
    let (mut i, skip) = (at / PIECE, at % PIECE);
    let mut part = [0.0; PIECE];
    if skip > 0 {
        let (head, rest) = out.split_at_mut(out.len().min(PIECE - skip));
        P::piece(data, i, &mut part);
        head.copy_from_slice(&part[skip..skip + head.len()]);
        (out, i) = (rest, i + 1);
    }
    let (whole, tail) = out.as_chunks_mut::<PIECE>();
    for to in whole {
        P::piece(data, i, to);
        i += 1;
    }
    if !tail.is_empty() {
        P::piece(data, i, &mut part);
        tail.copy_from_slice(&part[..tail.len()]);
    }
}

#[cfg(test)]
mod tests;
