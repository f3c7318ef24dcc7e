//! Latents on disk: safetensors with one tensor [samples, slots, dim] of f32 for each set of samples, such as `golden`
//! and `losing` of a round.

use crate::{
    Result,
    files::{self, Stop},
    tensors::{self, Bad, Numbers, Spec, TensorFile},
};
use ldalign_sdk::LatentShape;
use memmap2::Mmap;
use safetensors::Dtype;
use std::{io::Write, ops::Deref, path::Path, sync::Arc};

/// Names of a round's two sets in its latents.safetensors, as the published format has them: the golden responses' and
/// the candidates'.
pub const OF_ROUND: [&str; 2] = ["golden", "losing"];

/// A set of latents in a file.
#[derive(Debug, Clone)]
pub struct Latents {
    file: Arc<TensorFile>,
    /// Byte of the file at which they begin.
    start: u64,
    len: usize,
    shape: LatentShape,
}

/// Writes sets of latents, all of one shape: `fill` gives the first set's, then the second's. `about` becomes the
/// header's free text.
pub fn write(
    path: &Path,
    sets: [(&str, usize); 2],
    shape: LatentShape,
    about: &[(&str, &str)],
    fill: impl FnOnce(&mut Numbers<'_>) -> Result<(), Stop>,
) -> Result<()> {
    let specs = sets.map(|(name, len)| Spec::f32(name, &[len, shape.slots, shape.dim]));
    tensors::write(path, about, &specs, fill)
}

impl Latents {
    /// Opens the sets of these names; all have the same shape.
    ///
    /// # Errors
    /// Where the file cannot be read; `bad` where it is not such a file.
    pub fn open(path: &Path, names: [&str; 2], bad: Bad) -> Result<[Self; 2]> {
        let file = Arc::new(TensorFile::open(path, bad)?);
        let set = |name: &str| {
            let place = file.places().get(name).ok_or_else(|| bad(path, format!("there is no tensor {name}")))?;
            match (place.dtype, &place.shape[..]) {
                (Dtype::F32, &[len, slots, dim]) if slots * dim > 0 => {
                    Ok(Self { file: file.clone(), start: place.bytes.start, len, shape: LatentShape { slots, dim } })
                }
                (dtype, shape) => {
                    Err(bad(path, format!("{name} is {dtype:?} {shape:?}, expected F32 [samples, slots, dim]")))
                }
            }
        };
        let [a, b] = names.map(set);
        let (a, b) = (a?, b?);
        match a.shape == b.shape {
            true => Ok([a, b]),
            false => Err(bad(path, format!("the latents of {} and {} differ in shape", names[0], names[1]))),
        }
    }

    /// Number of latents.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shape of each.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// A part of the file's free text.
    pub fn about(&self, key: &str) -> Option<&str> {
        self.file.about(key)
    }

    /// The latents of these indices, one after the other. Panics beyond the last.
    pub fn read(&self, indices: &[usize]) -> Result<Vec<f32>> {
        let each = self.shape.len();
        let mut all = vec![0.0; indices.len() * each];
        let mut rest = &mut all[..];
        // What lies together is read at once.
        for run in indices.chunk_by(|a, b| a + 1 == *b) {
            assert!(run[run.len() - 1] < self.len, "latent {} of {}", run[run.len() - 1], self.len);
            let (now, later) = rest.split_at_mut(run.len() * each);
            self.file.read(self.start + 4 * (run[0] * each) as u64, now)?;
            rest = later;
        }
        Ok(all)
    }

    /// All latents as one slice, of which only what is looked at comes into memory.
    pub fn map(&self) -> Result<Mapped> {
        Ok(Mapped { map: self.file.map()?, start: self.start as usize, numbers: self.len * self.shape.len() })
    }
}

impl Latents {
    /// `len` latents of this shape, which come in pieces, in an unnamed file beside this one.
    pub(super) fn gather(&self, len: usize, pieces: impl Iterator<Item = Result<Vec<f32>>>) -> Result<Mapped> {
        let directory = files::parent(self.file.path());
        let fail = |e| files::io_error(directory, "write a temporary file in", e);
        let mut file = tempfile::tempfile_in(directory).map_err(fail)?;
        for piece in pieces {
            file.write_all(bytemuck::cast_slice(&piece?)).map_err(fail)?;
        }
        // SAFETY: the file has no name, so nobody else changes it while it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Mapped { map, start: 0, numbers: len * self.shape.len() })
    }
}

/// A mapped set of latents.
pub struct Mapped {
    map: Mmap,
    start: usize,
    numbers: usize,
}

impl Deref for Mapped {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.map[self.start..][..4 * self.numbers])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Code, Error};
    use std::ops::Range;

    const SHAPE: LatentShape = LatentShape { slots: 2, dim: 3 };

    fn bad(path: &Path, what: String) -> Error {
        Error::new(Code::RunLatents, format!("{}: {what}", path.display()))
    }

    fn numbers(range: Range<usize>) -> Vec<f32> {
        range.map(|i| i as f32).collect()
    }

    #[test]
    fn what_is_written_in_pieces_is_read_in_any_order_and_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.safetensors");
        write(&path, [("golden", 4), ("losing", 3)], SHAPE, &[("fit", "{}")], |out| {
            // Four latents of six numbers, then three; in pieces that end anywhere.
            [0..5, 5..24, 24..25, 25..42].into_iter().try_for_each(|piece| Ok(out.f32(&numbers(piece))?))
        })
        .unwrap();
        let [chosen, rejected] = Latents::open(&path, OF_ROUND, bad).unwrap();
        assert_eq!((chosen.len(), rejected.len(), chosen.shape(), chosen.about("fit")), (4, 3, SHAPE, Some("{}")));
        assert_eq!(chosen.map().unwrap()[..], numbers(0..24));
        assert_eq!(rejected.map().unwrap()[..], numbers(24..42));
        let latent = |set: usize, i: usize| numbers(24 * set + 6 * i..24 * set + 6 * (i + 1));
        assert_eq!(chosen.read(&[1, 2, 3, 0, 0]).unwrap(), [1, 2, 3, 0, 0].map(|i| latent(0, i)).concat());
        assert_eq!(rejected.read(&[2]).unwrap(), latent(1, 2));
        assert!(chosen.read(&[]).unwrap().is_empty());
        // The file's name may go before its latents do.
        std::fs::remove_file(&path).unwrap();
        assert_eq!(rejected.read(&[0]).unwrap(), latent(1, 0));
    }

    #[test]
    fn a_file_of_something_else_is_refused_in_the_readers_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.safetensors");
        let message = |names| Latents::open(&path, names, bad).unwrap_err().to_string();
        let specs = [Spec::f32("golden", &[1, 2, 3]), Spec::f32("flat", &[6]), Spec::f32("wide", &[1, 1, 6])];
        tensors::write(&path, &[], &specs, |out| Ok(out.f32(&numbers(0..18))?)).unwrap();
        assert!(message(["golden", "losing"]).ends_with("there is no tensor losing"));
        assert!(message(["golden", "flat"]).ends_with("flat is F32 [6], expected F32 [samples, slots, dim]"));
        assert!(message(["golden", "wide"]).ends_with("the latents of golden and wide differ in shape"));
        std::fs::write(&path, "no tensors").unwrap();
        assert!(message(OF_ROUND).contains("its header claims"));
    }
}
