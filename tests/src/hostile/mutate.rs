//! Inputs made of good ones.

use crate::random::Random;

/// Long inputs are changed near their ends more often than elsewhere: there lie headers and tables.
const END: usize = 2048;
/// Levels of nesting that no file needs.
const DEPTH: usize = 20_000;

const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "255",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e-320",
    "null",
    ".nan",
];
const WORDS: [u64; 8] = [0, 1, 0x7f, 0xff, 1 << 31, u32::MAX as u64, i64::MAX as u64, u64::MAX];
const NESTS: [&str; 5] = ["[", "{\"a\":", "(", "{{ ", "- "];

/// The input of a number: a file of the corpus with some changes. The same each time.
pub fn mutated(corpus: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    let mut bytes = random.pick(corpus).clone();
    // One change shows most; several get past checks that one runs into.
    let changes = *random.pick(&[1, 1, 1, 2, 3, 8]);
    (0..changes).for_each(|_| change(&mut bytes, corpus, &mut random));
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = place(bytes.len(), random);
    match random.below(12) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.pick(&[0, 0x1b, 0x22, 0x7f, 0x80, 0xff]),
        2 => {
            let (word, width) = (random.pick(&WORDS).to_le_bytes(), *random.pick(&[2, 4, 8]));
            bytes.iter_mut().skip(at).zip(&word[..width]).for_each(|(byte, new)| *byte = *new);
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end(bytes, at, 100, random))),
        5 => {
            let part = bytes[at..end(bytes, at, 200, random)].repeat(*random.pick(&[1, 2, 50]));
            bytes.splice(at..at, part);
        }
        6 => {
            let other = random.pick(corpus);
            if !other.is_empty() {
                let from = place(other.len(), random);
                bytes.splice(
                    at..end(bytes, at, 100, random),
                    other[from..end(other, from, 200, random)].iter().copied(),
                );
            }
        }
        7 => {
            let new: Vec<u8> = (0..=random.below(16)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, new);
        }
        8 | 9 => number(bytes, at, random),
        10 => twice(bytes, at),
        _ => {
            let nest = random.pick(&NESTS).repeat(*random.pick(&[1, 100, DEPTH]));
            bytes.splice(at..at, nest.into_bytes());
        }
    }
}

fn place(len: usize, random: &mut Random) -> usize {
    match random.below(4) {
        0 | 1 if len > END => random.below(END),
        2 if len > END => len - 1 - random.below(END),
        _ => random.below(len),
    }
}

fn end(bytes: &[u8], at: usize, most: usize, random: &mut Random) -> usize {
    (at + 1 + random.below(most)).min(bytes.len())
}

/// Puts an extreme in the place of the next number that is written out.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(from) = (at..bytes.len()).find(|i| bytes[*i].is_ascii_digit()) else { return };
    let to = (from..bytes.len()).find(|i| !matches!(bytes[*i], b'0'..=b'9' | b'.' | b'e')).unwrap_or(bytes.len());
    let long = "9".repeat(400);
    let new = if random.below(16) == 0 { long.as_str() } else { *random.pick(&NUMBERS) };
    bytes.splice(from..to, new.bytes());
}

/// Doubles an entry: what lies between two commas or line ends, a key with its value mostly.
fn twice(bytes: &mut Vec<u8>, at: usize) {
    let ends = |byte: &u8| matches!(byte, b',' | b'\n');
    let Some(from) = bytes[at..].iter().position(ends).map(|i| at + i) else { return };
    let Some(to) = bytes[from + 1..].iter().position(ends).map(|i| from + 1 + i) else { return };
    let entry = bytes[from..to].to_vec();
    bytes.splice(from..from, entry);
}
