//! Tokenised rows on disk, read at random through a memory map.
//!
//! Layout, little-endian: magic, version u32, columns u32 | ids u32... | padding to 8 | index u64 (where each sequence
//! starts, and the end) | rows u64, ids u64 | SHA-256 of all before it. Writing needs one pass and no memory that
//! grows.

use crate::{Code, Error, Result, files};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::{
    io::{self, BufWriter, Seek, Write},
    path::Path,
};

const MAGIC: &[u8; 8] = b"LDTOKENS";
const VERSION: u32 = 1;
const HEADER: usize = 16;
const DIGEST: usize = 32;
const FOOTER: usize = 16 + DIGEST;
/// Bytes, or entries of the index, that are verified at a time.
const PIECE: usize = 1 << 16;

// The map is read as it lies.
const _: () = assert!(cfg!(target_endian = "little"), "token stores are little-endian");

/// Rows of `columns` token sequences each, none of them empty: [prompt, completion] for SFT, [prompt, chosen, rejected]
/// for pairs.
pub struct TokenStore {
    map: Mmap,
    columns: usize,
    rows: usize,
    ids: usize,
    hash: String,
}

impl TokenStore {
    /// Writes a store atomically: rows come from an iterator and are never all in memory.
    ///
    /// Fails with the iterator's error, with `data/tokens` for an empty sequence, or when the disk does.
    pub fn write<const N: usize>(path: &Path, rows: impl Iterator<Item = Result<[Vec<u32>; N]>>) -> Result<()> {
        files::write_stoppable(path, |out| {
            let mut out = files::Hashing::new(out);
            out.write_all(MAGIC)?;
            out.write_all(&VERSION.to_le_bytes())?;
            out.write_all(&(N as u32).to_le_bytes())?;
            // The index follows the ids but grows with them, so it waits on disk.
            let mut index = BufWriter::new(tempfile::tempfile_in(files::parent(path))?);
            let (mut count, mut ids) = (0u64, 0u64);
            for row in rows {
                let row = row.and_then(|row| match row.iter().position(Vec::is_empty) {
                    Some(column) => Err(empty(count, column)),
                    None => Ok(row),
                });
                for sequence in row? {
                    index.write_all(&ids.to_le_bytes())?;
                    out.write_all(bytemuck::cast_slice(&sequence))?;
                    ids += sequence.len() as u64;
                }
                count += 1;
            }
            index.write_all(&ids.to_le_bytes())?;
            out.write_all(&[0; 8][..padding(ids as usize)])?;
            let mut index = index.into_inner().map_err(|e| e.into_error())?;
            index.rewind()?;
            io::copy(&mut index, &mut out)?;
            out.write_all(&count.to_le_bytes())?;
            out.write_all(&ids.to_le_bytes())?;
            let (out, digest) = out.finish();
            Ok(out.write_all(&digest)?)
        })
    }

    /// Opens a store of `columns` sequences a row and verifies every byte of it.
    ///
    /// Fails with `data/tokens` where the file is not a store, is damaged, or has other columns.
    pub fn open(path: &Path, columns: usize) -> Result<Self> {
        let map = files::map(path)?;
        let damaged = |what: &str| {
            Error::new(Code::DataTokens, format!("{} is not a whole token store: {what}", path.display()))
                .hint("delete the file and run the same command again; it is made anew from the data")
        };
        if map.len() < HEADER + FOOTER || !map.starts_with(MAGIC) {
            return Err(damaged("it does not begin as one"));
        }
        let u32_at = |at: usize| u32::from_le_bytes(map[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(map[at..at + 8].try_into().expect("eight bytes")) as usize;
        if u32_at(8) != VERSION {
            return Err(damaged(&format!("its version is {}, this program reads {VERSION}", u32_at(8))));
        }
        let found = u32_at(12) as usize;
        if found != columns {
            return Err(damaged(&format!("its rows have {found} sequences, {columns} were expected")));
        }
        let (footer, end) = (map.len() - FOOTER, map.len() - DIGEST);
        let mut digest = Sha256::new();
        for piece in map[..end].chunks(PIECE) {
            digest.update(piece);
            files::release(&map);
        }
        let digest = digest.finalize();
        if digest[..] != map[end..] {
            return Err(damaged("its checksum does not match, so it was cut short or changed"));
        }
        let (rows, ids) = (u64_at(footer), u64_at(footer + 8));
        let store = Self { columns, rows, ids, hash: files::hex(&digest), map };
        // From here on only a faulty writer could lie, but a wrong index would panic far from here.
        let whole = store.index_start() + 8 * (rows * columns + 1) == footer;
        if !whole || !store.is_ascending() || store.index().last() != Some(&(ids as u64)) {
            return Err(damaged("its index contradicts its rows"));
        }
        Ok(store)
    }

    /// Whether every sequence begins behind the one before.
    fn is_ascending(&self) -> bool {
        let (index, mut last) = (self.index(), None);
        index.chunks(PIECE).all(|piece| {
            let ascending = piece.is_sorted_by(|a, b| a < b) && last.is_none_or(|last| last < piece[0]);
            last = piece.last().copied();
            self.release();
            ascending
        })
    }

    fn index_start(&self) -> usize {
        HEADER + 4 * self.ids + padding(self.ids)
    }

    fn index(&self) -> &[u64] {
        let start = self.index_start();
        bytemuck::cast_slice(&self.map[start..start + 8 * (self.rows * self.columns + 1)])
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Sequences a row.
    pub fn columns(&self) -> usize {
        self.columns
    }
    /// One sequence of one row; panics beyond the last row or column.
    pub fn get(&self, row: usize, column: usize) -> &[u32] {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        let at = row * self.columns + column;
        let [start, end] = [self.index()[at], self.index()[at + 1]].map(|i| HEADER + 4 * i as usize);
        bytemuck::cast_slice(&self.map[start..end])
    }
    /// Gives the memory of what was read so far back: for a reader that goes through the rows and never comes back.
    pub fn release(&self) {
        files::release(&self.map);
    }
    /// SHA-256 of the contents, in hex: kept in the file and verified by [`open`](Self::open).
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

/// Bytes that bring the index, after `ids` tokens, to a multiple of 8.
fn padding(ids: usize) -> usize {
    4 * (ids % 2)
}

fn empty(row: u64, column: usize) -> Error {
    Error::new(Code::DataTokens, format!("row {row}: sequence {column} has no token"))
        .hint("prompts and completions need at least one token each")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn message(path: &Path, columns: usize) -> String {
        let e = TokenStore::open(path, columns).err().unwrap();
        assert_eq!(e.code(), Code::DataTokens);
        format!("{e:#}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_was_written_is_read(
            rows in prop::collection::vec(prop::array::uniform3(prop::collection::vec(any::<u32>(), 1..9)), 0..9)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t");
            TokenStore::write(&path, rows.iter().cloned().map(Ok)).unwrap();
            let store = TokenStore::open(&path, 3).unwrap();
            prop_assert_eq!(store.len(), rows.len());
            for (i, row) in rows.iter().enumerate() {
                for (c, ids) in row.iter().enumerate() {
                    prop_assert_eq!(store.get(i, c), &ids[..]);
                }
            }
            let bytes = std::fs::read(&path).unwrap();
            prop_assert_eq!(store.hash(), files::sha256(&bytes[..bytes.len() - DIGEST]));
        }
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let rows = [[vec![1, 2, 3], vec![4]], [vec![5], vec![6, 7]]];
        TokenStore::write(&path, rows.into_iter().map(Ok)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert!(TokenStore::open(&path, 2).is_ok());
        for i in 0..whole.len() {
            std::fs::write(&path, &whole[..i]).unwrap();
            message(&path, 2);
            let mut flipped = whole.clone();
            flipped[i] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            message(&path, 2);
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(message(&path, 3).ends_with("its rows have 2 sequences, 3 were expected"));
    }

    #[test]
    fn rows_errors_come_through_and_leave_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let rows = [Ok([vec![1]]), Err(Error::new(Code::DataRow, "line 7"))];
        assert_eq!(TokenStore::write(&path, rows.into_iter()).err().unwrap().code(), Code::DataRow);
        let rows = [Ok([vec![1], vec![2]]), Ok([vec![1], vec![]])];
        let e = TokenStore::write(&path, rows.into_iter()).err().unwrap();
        assert_eq!(e.to_string(), "row 1: sequence 1 has no token");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
