//! What a prompt's responses came to: candidates.jsonl, which of them differ, distances.safetensors, as stage `score`
//! measured them, and choices.jsonl, as stage `pairs` chose among them.

use crate::{
    Code, Error, Result,
    pairs::{Candidate, Made, Response},
    tensors::{self, Spec, TensorFile},
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// distances.safetensors: distances between the latents of responses to the same prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Distances {
    /// Of every candidate from the chosen response of its prompt.
    pub chosen: Vec<f32>,
    /// Between the candidates of each prompt, prompt after prompt: of candidate k from candidate j at [j * n + k].
    /// Empty where the rule does not ask for them.
    pub between: Vec<f32>,
    /// Effective rank of the latents.
    pub rank: f64,
}

impl Distances {
    /// Writes them, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let specs = [("chosen", &self.chosen), ("between", &self.between)];
        let specs = specs.map(|(name, numbers)| Spec::f32(name, &[numbers.len()]));
        tensors::write(path, &[("rank", &self.rank.to_string())], &specs, |out| {
            out.f32(&self.chosen)?;
            Ok(out.f32(&self.between)?)
        })
    }

    /// Reads them. Fails with `run/damaged` where the file does not hold them.
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |path: &Path, what| {
            Error::new(Code::RunDamaged, format!("{}: {what}", path.display()))
                .hint("delete done/score.json beside it to have the stage done again")
        };
        let file = TensorFile::open(path, bad)?;
        let numbers = |name: &str| match file.places().get(name).map(|place| place.shape.as_slice()) {
            Some(shape @ &[_]) => file.f32(name, shape, bad),
            _ => Err(bad(path, format!("there is no list {name}"))),
        };
        let rank = file.about("rank").and_then(|text| text.parse().ok());
        Ok(Self {
            chosen: numbers("chosen")?,
            between: numbers("between")?,
            rank: rank.ok_or_else(|| bad(path, "there is no rank".into()))?,
        })
    }
}

/// A line of candidates.jsonl: what is known of a row's different other responses besides their tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateLine {
    /// Row of the data set, from 0.
    pub row: usize,
    /// How often each was sampled.
    pub counts: Vec<u32>,
    /// Whether each was cut, at `max_new_tokens` or at `max_length`.
    pub cut: Vec<bool>,
}

/// A line of choices.jsonl: a prompt's candidates and what became of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceLine {
    /// Row of the data set, from 0.
    pub row: usize,
    /// How often each candidate was sampled.
    pub counts: Vec<u32>,
    /// Distance of each from the chosen response of the data; null where none was measured.
    pub distances: Option<Vec<f32>>,
    /// Candidates that are pairs, [preferred, not preferred]; null is the response of the data.
    pub pairs: Vec<[Option<usize>; 2]>,
    /// Whether others are as near or as far as one that was taken.
    pub tie: bool,
}

impl ChoiceLine {
    /// Of the candidates of row `row`.
    pub fn new(row: usize, candidates: &[Candidate], measured: bool, made: &Made) -> Self {
        let place = |response| match response {
            Response::Golden => None,
            Response::Own(k) => Some(k),
        };
        Self {
            row,
            counts: candidates.iter().map(|c| c.count).collect(),
            distances: measured.then(|| candidates.iter().map(|c| c.distance).collect()),
            pairs: made.pairs.iter().map(|p| [place(p.chosen), place(p.rejected)]).collect(),
            tie: made.tie,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn distances_come_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("distances.safetensors");
        for between in [vec![], vec![0.0, 0.1, 1e-30]] {
            let distances = Distances { chosen: vec![0.3, f32::MIN_POSITIVE], between, rank: 1.0 / 3.0 };
            distances.write(&path).unwrap();
            assert_eq!(Distances::read(&path).unwrap(), distances);
        }
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(Distances::read(&path).unwrap_err().code(), Code::RunDamaged);
    }
}
