//! safetensors files, whose format is known here alone: eight bytes that tell the header's length, the header as JSON
//! (each tensor's type, shape and place), and the numbers, little-endian and row by row.
//!
//! Numbers are written and read in pieces, so no file is in memory as a whole. A header is checked against the file's
//! length before anything is allocated for its tensors.

mod read;
mod write;

pub use read::{Bad, Place, TensorFile};
pub use write::{Numbers, PYTORCH, Spec, write, write_verified};

// Numbers are read and written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "safetensors files are little-endian");

/// Bytes to whose multiple a header is padded, so that the numbers behind it are aligned.
const ALIGNMENT: usize = 8;

#[cfg(test)]
mod tests;
