//! Where the rows of a file lie, in an unnamed temporary file: memory does not grow with the rows.

use crate::{Result, files::io_error};
use std::{
    env,
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
};

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// Byte at which its line begins.
    pub offset: u64,
    /// Its line, from 1.
    pub line: u32,
    /// The response's message in the conversation.
    pub target: u32,
}

/// Bytes of an entry.
const SIZE: usize = 16;

/// An index that is being made.
pub struct IndexWriter {
    out: BufWriter<File>,
    len: usize,
}

/// The entries of all rows.
pub struct Index {
    file: File,
    len: usize,
}

fn fail(e: io::Error) -> crate::Error {
    io_error(&env::temp_dir(), "keep a temporary file in", e)
}

impl IndexWriter {
    /// Of no row yet.
    pub fn new() -> Result<Self> {
        Ok(Self { out: BufWriter::new(tempfile::tempfile().map_err(fail)?), len: 0 })
    }

    /// Adds a row.
    pub fn push(&mut self, entry: Entry) -> Result<()> {
        let Entry { offset, line, target } = entry;
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&line.to_le_bytes());
        bytes[12..].copy_from_slice(&target.to_le_bytes());
        self.len += 1;
        self.out.write_all(&bytes).map_err(fail)
    }

    /// The index of the rows added.
    pub fn finish(self) -> Result<Index> {
        let file = self.out.into_inner().map_err(|e| fail(e.into_error()))?;
        Ok(Index { file, len: self.len })
    }
}

impl Index {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The entry of a row. Panics where there is no such row.
    pub fn get(&self, row: usize) -> Result<Entry> {
        assert!(row < self.len, "row {row} of {}", self.len);
        let mut bytes = [0; SIZE];
        self.file.read_exact_at(&mut bytes, (row * SIZE) as u64).map_err(fail)?;
        let (offset, rest) = bytes.split_first_chunk().expect("an entry begins with eight bytes");
        let (line, target) = rest.split_first_chunk().expect("four bytes follow");
        let target = target.try_into().expect("the last four bytes");
        let (offset, line, target) =
            (u64::from_le_bytes(*offset), u32::from_le_bytes(*line), u32::from_le_bytes(target));
        Ok(Entry { offset, line, target })
    }
}
