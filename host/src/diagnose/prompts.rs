//! Prompts that nearly repeat each other, found without comparing all with all.

use crate::{Error, Result, files::io_error};
use std::{
    collections::BTreeSet,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
use tempfile::tempfile_in;

/// Characters of a shingle.
const SHINGLE: usize = 8;
/// Minima of a signature: bands of rows. Two prompts that share 90 % of their shingles agree in a band with probability
/// 1 - (1 - 0.9^8)^8 = 0.99, two that share half with 0.03.
const BANDS: usize = 8;
const ROWS: usize = 8;
/// Share of shingles in common from which two prompts count as nearly the same.
const ALIKE: f64 = 0.9;

/// Signatures of prompts (MinHash; Broder 1997) and how many nearly repeat an earlier one. Signatures, and which
/// prompts have what part of one in common, lie on disk: memory does not grow with the prompts.
#[derive(Debug)]
pub struct Prompts {
    dir: PathBuf,
    /// [`Signature`]s of the prompts so far, as they lie in memory.
    signatures: File,
    /// A hash table with linear probing: by band and its minima, the first prompt that has them. A slot is the key's
    /// hash and the prompt's number from 1; both are 0 where the slot is free.
    firsts: File,
    slots: u64,
    count: u64,
    duplicates: u64,
}

/// The minima of a prompt's shingles, each by another hash.
type Signature = [u64; BANDS * ROWS];

/// Bytes of a slot.
const SLOT: u64 = 16;

impl Prompts {
    /// For at most so many prompts, with unnamed files in `dir`.
    pub fn new(dir: &Path, most: usize) -> Result<Self> {
        let fail = |e| place(dir, e);
        // At least half of the slots stay free, so that few are looked at for a key.
        let slots = (2 * (BANDS * most) as u64).max(1);
        let (signatures, firsts) = (tempfile_in(dir).map_err(fail)?, tempfile_in(dir).map_err(fail)?);
        firsts.set_len(slots * SLOT).map_err(fail)?;
        Ok(Self { dir: dir.to_owned(), signatures, firsts, slots, count: 0, duplicates: 0 })
    }

    /// Adds a prompt; case and white space do not count. Panics beyond as many as were announced.
    pub fn add(&mut self, prompt: &str) -> Result<()> {
        assert!(2 * BANDS as u64 * (self.count + 1) <= self.slots, "more prompts than announced");
        let repeats = self.repeats(&signature(prompt)).map_err(|e| place(&self.dir, e))?;
        self.duplicates += u64::from(repeats);
        self.count += 1;
        Ok(())
    }

    /// Notes the next prompt's signature; whether it nearly repeats an earlier one.
    fn repeats(&self, signature: &Signature) -> io::Result<bool> {
        let size = size_of::<Signature>() as u64;
        self.signatures.write_all_at(bytemuck::cast_slice(signature), self.count * size)?;
        let mut repeats = false;
        let (keys, _) = signature.as_chunks::<ROWS>();
        for (band, key) in keys.iter().enumerate() {
            let first = self.first(hash(&(band, key)))?;
            if first != self.count && !repeats {
                let mut earlier: Signature = [0; BANDS * ROWS];
                self.signatures.read_exact_at(bytemuck::cast_slice_mut(&mut earlier), first * size)?;
                let common = earlier.iter().zip(signature).filter(|(a, b)| a == b).count();
                repeats = common as f64 >= ALIKE * signature.len() as f64;
            }
        }
        Ok(repeats)
    }

    /// The first prompt with a key of this hash: the next one, which then is, where there was none.
    fn first(&self, hash: u64) -> io::Result<u64> {
        for slot in (hash % self.slots..self.slots).chain(0..) {
            let mut found = [0u64; 2];
            self.firsts.read_exact_at(bytemuck::cast_slice_mut(&mut found), slot * SLOT)?;
            if found[1] == 0 {
                self.firsts.write_all_at(bytemuck::cast_slice(&[hash, self.count + 1]), slot * SLOT)?;
                return Ok(self.count);
            }
            if found[0] == hash {
                return Ok(found[1] - 1);
            }
        }
        unreachable!("half of the slots are free")
    }

    /// Share of prompts that nearly repeat an earlier one; 0 of none.
    pub fn duplicate_share(&self) -> f64 {
        self.duplicates as f64 / self.count.max(1) as f64
    }
}

fn signature(prompt: &str) -> Signature {
    let text: Vec<char> =
        prompt.split_whitespace().flat_map(|w| w.chars().chain([' '])).flat_map(char::to_lowercase).collect();
    let shingles: BTreeSet<u64> = match text.len() {
        0..=SHINGLE => [hash(&text[..])].into(),
        _ => text.windows(SHINGLE).map(hash).collect(),
    };
    std::array::from_fn(|i| {
        let salted =
            |s: &u64| (s ^ (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        shingles.iter().map(|s| salted(s) ^ salted(s) >> 32).min().unwrap_or_default()
    })
}

fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    // Fixed keys: the same prompts give the same share in every process.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn place(dir: &Path, e: io::Error) -> Error {
    io_error(dir, "keep a temporary file in", e)
}
