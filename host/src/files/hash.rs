//! Contents by their SHA-256.

use super::{io_error, open};
use crate::Result;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    io::{self, BufReader, Read, Write},
    path::Path,
};

/// SHA-256 of some bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hex, read in pieces.
pub fn sha256_file(path: &Path) -> Result<String> {
    let file = open(path).map_err(|e| io_error(path, "read", e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut hash, mut buf) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buf).map_err(|e| io_error(path, "read", e))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buf[..n]),
        }
    }
}

/// Hashes what is written through it.
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W> Hashing<W> {
    /// Hashes from here on.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new() }
    }
    /// The writer, and the SHA-256 of all that passed.
    pub fn finish(self) -> (W, [u8; 32]) {
        (self.inner, self.hash.finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}
