//! The one way from samples to distances: fit an encoder, encode, fit a distance, measure.

use super::{
    PolicyServices,
    disk::{self, Latents, Mapped},
};
use crate::{
    Result,
    files::Stop,
    interrupt,
    plugin::{CorpusSource, Distance, Encoder, OwnedSample, Plugin},
    progress::Progress,
    tensors::{Bad, Numbers},
};
use ldalign_sdk::{LatentShape, Sample};
use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

/// Samples encoded in one call of the plugin.
const BATCH: usize = 64;

/// Numbers of each side that are measured in one call of the plugin: 1 MiB, or one latent where that is larger.
const PIECE: usize = 1 << 18;

/// An encoder that has learned from a corpus, ready to encode.
pub struct Encoding {
    encoder: Encoder,
    /// What its fit reported, by name.
    pub fit: BTreeMap<String, f64>,
}

/// Samples to encode.
pub struct Part<'a> {
    /// Name of the set that their latents become.
    pub name: &'a str,
    /// What the progress is called.
    pub title: String,
    /// Their indices in the corpus.
    pub indices: Box<dyn ExactSizeIterator<Item = usize> + 'a>,
}

impl<'a> Part<'a> {
    /// The samples of these indices.
    pub fn new(name: &'a str, title: impl Into<String>, indices: impl ExactSizeIterator<Item = usize> + 'a) -> Self {
        Self { name, title: title.into(), indices: Box::new(indices) }
    }
}

impl Encoding {
    /// Makes an encoder, gives it what it `learned` before, if anything, and fits it.
    pub fn fit(
        plugin: &Plugin,
        services: Arc<PolicyServices>,
        learned: Option<&[u8]>,
        corpus: &dyn CorpusSource,
    ) -> Result<Self> {
        let mut encoder = plugin.encoder(services)?;
        learned.map_or(Ok(()), |state| encoder.load(state))?;
        let fit = encoder.fit(corpus)?.into_iter().collect();
        Ok(Self { encoder, fit })
    }

    /// Shape of its latents.
    pub fn shape(&self) -> LatentShape {
        self.encoder.shape()
    }

    /// Encodes two parts of a corpus into a file, batch by batch, and opens it. `about` becomes the file's free text,
    /// `bad` tells what is wrong with a file that does not hold what was written.
    pub fn encode(
        &self,
        corpus: &dyn CorpusSource,
        parts: [Part<'_>; 2],
        path: &Path,
        about: &[(&str, &str)],
        bad: Bad,
    ) -> Result<[Latents; 2]> {
        let names = [parts[0].name, parts[1].name];
        let sets = [0, 1].map(|i| (names[i], parts[i].indices.len()));
        disk::write(path, sets, self.shape(), about, |out| {
            parts.into_iter().try_for_each(|part| self.write(corpus, part, out))
        })?;
        Latents::open(path, names, bad)
    }

    fn write(&self, corpus: &dyn CorpusSource, mut part: Part<'_>, out: &mut Numbers<'_>) -> Result<(), Stop> {
        if part.indices.len() == 0 {
            return Ok(());
        }
        let mut progress = Progress::new(part.title, 0, part.indices.len() as u64);
        loop {
            let batch: Vec<usize> = part.indices.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            interrupt::check()?;
            let owned = corpus.read(&batch)?;
            let samples: Vec<Sample<'_>> = owned.iter().map(OwnedSample::as_sample).collect();
            out.f32(&self.encoder.encode(&samples)?)?;
            progress.advance(batch.len() as u64, "");
        }
        progress.finish("");
        Ok(())
    }

    /// What it has learned, as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        self.encoder.save()
    }

    /// Ends the plugin's instance.
    pub fn close(self) -> Result<()> {
        self.encoder.close()
    }
}

/// Pairs of latents of one shape, each of a set of its own: the chosen response's in the first, another's in the
/// second.
pub struct Pairs<'a> {
    sets: [&'a Latents; 2],
    len: usize,
    /// Indices of a pair's two latents in their sets.
    of: Box<dyn Fn(usize) -> [usize; 2] + 'a>,
}

impl<'a> Pairs<'a> {
    /// `len` pairs, whose latents `of` finds.
    pub fn new(sets: [&'a Latents; 2], len: usize, of: impl Fn(usize) -> [usize; 2] + 'a) -> Self {
        Self { sets, len, of: Box::new(of) }
    }

    /// The first with the first, the second with the second, ...
    pub fn side_by_side(chosen: &'a Latents, responses: &'a Latents) -> Self {
        Self::new([chosen, responses], responses.len(), |i| [i, i])
    }

    fn shape(&self) -> LatentShape {
        self.sets[0].shape()
    }

    /// One side of all pairs, as a distance's fit wants it: mapped where the set lies in the pairs' order, else from a
    /// file in which it is put so.
    fn whole(&self, side: usize) -> Result<Mapped> {
        let set = self.sets[side];
        if set.len() == self.len && (0..self.len).all(|i| (self.of)(i)[side] == i) {
            return set.map();
        }
        let pieces = self.pieces().map(|pairs| self.side(side, pairs));
        set.gather(self.len, pieces)
    }

    /// The pairs in pieces that are in memory at once.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (piece, len) = ((PIECE / self.shape().len()).max(1), self.len);
        (0..len).step_by(piece).map(move |first| first..(first + piece).min(len))
    }

    /// One side of some pairs.
    fn side(&self, side: usize, pairs: Range<usize>) -> Result<Vec<f32>> {
        let indices: Vec<usize> = pairs.map(|i| (self.of)(i)[side]).collect();
        self.sets[side].read(&indices)
    }
}

/// A distance that has learned from pairs of latents, ready to measure.
pub struct Measure(Distance);

impl Measure {
    /// Makes a distance, gives it what it `learned` before, if anything, and fits it.
    pub fn fit(
        plugin: &Plugin,
        services: Arc<PolicyServices>,
        learned: Option<&[u8]>,
        pairs: &Pairs<'_>,
    ) -> Result<Self> {
        let mut distance = plugin.distance(services)?;
        learned.map_or(Ok(()), |state| distance.load(state))?;
        distance.fit(&pairs.whole(0)?, &pairs.whole(1)?, pairs.shape())?;
        Ok(Self(distance))
    }

    /// The distance of each pair. Latents are in memory piece by piece: a distance depends on its pair alone.
    pub fn distances(&self, pairs: &Pairs<'_>) -> Result<Vec<f32>> {
        let shape = pairs.shape();
        let mut distances = Vec::with_capacity(pairs.len);
        for these in pairs.pieces() {
            interrupt::check()?;
            let [chosen, responses] = [pairs.side(0, these.clone())?, pairs.side(1, these.clone())?];
            let measured = self.0.distances(&chosen, &responses, shape);
            // The plugin's own errors count from the piece's first pair.
            let whole = these.len() == pairs.len;
            let place = |e: crate::Error| if whole { e } else { e.at(format!("pairs from {} on", these.start)) };
            distances.extend(measured.map_err(place)?);
        }
        Ok(distances)
    }

    /// What it has learned, as bytes.
    pub fn save(&self) -> Result<Vec<u8>> {
        self.0.save()
    }

    /// Ends the plugin's instance.
    pub fn close(self) -> Result<()> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Code, Error};

    #[test]
    fn pairs_find_their_latents_in_order_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.safetensors");
        let shape = LatentShape { slots: 1, dim: 2 };
        // The chosen responses to two prompts; two responses to the first, one to the second.
        let numbers = [0., 1., 10., 11., 20., 21., 30., 31., 40., 41.];
        disk::write(&path, [("a", 2), ("b", 3)], shape, &[], |out| Ok(out.f32(&numbers)?)).unwrap();
        let [a, b] = Latents::open(&path, ["a", "b"], |_, what| Error::new(Code::RunLatents, what)).unwrap();
        let beside = [0, 0, 1];
        let pairs = Pairs::new([&a, &b], 3, |i| [beside[i], i]);
        let [chosen, responses] = [0, 1].map(|side| pairs.whole(side).unwrap());
        assert_eq!(chosen[..], [0., 1., 0., 1., 10., 11.]);
        assert_eq!(responses[..], numbers[4..]);
        assert_eq!(pairs.side(0, 1..3).unwrap(), [0., 1., 10., 11.]);
        assert_eq!(pairs.side(1, 1..3).unwrap(), numbers[6..]);
        // Fewer pairs than latents: the map would show too many.
        let pairs = Pairs::new([&b, &b], 2, |i| [i, i]);
        assert_eq!(pairs.whole(0).unwrap()[..], numbers[4..8]);
    }
}
