//! Prompts that nearly repeat each other, found without comparing all with all.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Characters of a shingle.
const SHINGLE: usize = 8;
/// Minima of a signature: bands of rows. Two prompts that share 90 % of their shingles agree in a band with probability
/// 1 - (1 - 0.9^8)^8 = 0.99, two that share half with 0.03.
const BANDS: usize = 8;
const ROWS: usize = 8;
/// Share of shingles in common from which two prompts count as nearly the same.
const ALIKE: f64 = 0.9;

/// Signatures of prompts (MinHash; Broder 1997) and how many nearly repeat an earlier one.
#[derive(Debug, Default)]
pub struct Prompts {
    signatures: Vec<[u64; BANDS * ROWS]>,
    /// By band and its minima, the first prompt that has them.
    bands: HashMap<(usize, [u64; ROWS]), usize>,
    duplicates: usize,
}

impl Prompts {
    /// Adds a prompt; case and white space do not count.
    pub fn add(&mut self, prompt: &str) {
        let text: Vec<char> =
            prompt.split_whitespace().flat_map(|w| w.chars().chain([' '])).flat_map(char::to_lowercase).collect();
        let shingles: BTreeSet<u64> = match text.len() {
            0..=SHINGLE => [hash(&text)].into(),
            _ => text.windows(SHINGLE).map(hash).collect(),
        };
        let signature: [u64; BANDS * ROWS] = std::array::from_fn(|i| {
            let salted =
                |s: &u64| (s ^ (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            shingles.iter().map(|s| salted(s) ^ salted(s) >> 32).min().unwrap_or_default()
        });
        let me = self.signatures.len();
        let (keys, _) = signature.as_chunks::<ROWS>();
        let mut repeats = false;
        for (band, key) in keys.iter().enumerate() {
            let first = *self.bands.entry((band, *key)).or_insert(me);
            let common = || self.signatures[first].iter().zip(&signature).filter(|(a, b)| a == b).count();
            repeats |= first != me && common() as f64 >= ALIKE * signature.len() as f64;
        }
        self.duplicates += usize::from(repeats);
        self.signatures.push(signature);
    }

    /// Share of prompts that nearly repeat an earlier one; 0 of none.
    pub fn duplicate_share(&self) -> f64 {
        self.duplicates as f64 / self.signatures.len().max(1) as f64
    }
}

fn hash(shingle: &[char]) -> u64 {
    // Fixed keys: the same prompts give the same share in every process.
    let mut hasher = DefaultHasher::new();
    shingle.hash(&mut hasher);
    hasher.finish()
}
