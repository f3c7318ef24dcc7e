//! Tokenised rows on disk, read at random through a memory map.

use crate::Result;
use std::path::Path;

/// Rows of `columns` token sequences each: [prompt, completion] for SFT, [prompt, chosen, rejected] for pairs.
pub struct TokenStore {}

impl TokenStore {
    /// Writes a store atomically: rows come from an iterator and are never all in memory.
    pub fn write<const N: usize>(_path: &Path, _rows: impl Iterator<Item = Result<[Vec<u32>; N]>>) -> Result<()> {
        todo!()
    }
    /// Opens and checks a store of `columns` sequences a row.
    pub fn open(_path: &Path, _columns: usize) -> Result<Self> {
        todo!()
    }
    /// Number of rows.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// One sequence of one row.
    pub fn get(&self, _row: usize, _column: usize) -> &[u32] {
        todo!()
    }
    /// SHA-256 of the file.
    pub fn hash(&self) -> &str {
        todo!()
    }
}
