//! A round's scores: numbers of all pairs, texts of a few.

use crate::rundir::ScoreLine;

/// Pairs whose texts are kept: this many of the farthest and as many of the nearest.
const KEPT_PAIRS: usize = 6;

/// Scores of a round's pairs: numbers of all, texts of a few.
#[derive(Default)]
pub struct Scores {
    pub distances: Vec<f64>,
    pub weights: Vec<f64>,
    /// Tokens of chosen less tokens of rejected.
    pub length_differences: Vec<f64>,
    /// Whether the rejected response is the chosen one to the letter.
    pub equal: Vec<bool>,
    /// Farthest first.
    pub farthest: Vec<Pair>,
    /// Nearest first, equal texts left out.
    pub nearest: Vec<Pair>,
}

/// A pair with its texts.
pub struct Pair {
    /// Where it lies: `line 3`, or `file 1, line 3`, files from 0.
    pub place: String,
    pub distance: f64,
    pub weight: f64,
    pub prompt: String,
    pub chosen: String,
    pub rejected: String,
}

impl Scores {
    /// Whether any pair's distance is known.
    pub fn measured(&self) -> bool {
        self.distances.iter().any(|d| d.is_finite())
    }
    /// Number of pairs whose responses are equal.
    pub fn equal_count(&self) -> usize {
        self.equal.iter().filter(|e| **e).count()
    }
    /// Adds a line of scores.jsonl.
    pub fn add(&mut self, line: &ScoreLine<f64>) {
        let distance = line.distance.unwrap_or(f64::NAN);
        self.distances.push(distance);
        self.weights.push(line.weight);
        self.length_differences.push(line.chosen_tokens as f64 - line.rejected_tokens as f64);
        let equal = line.chosen == line.rejected;
        self.equal.push(equal);
        if distance.is_finite() {
            keep(&mut self.farthest, |kept| kept.distance < distance, distance, line);
            if !equal {
                keep(&mut self.nearest, |kept| kept.distance > distance, distance, line);
            }
        }
    }
}

/// Inserts the line before the first kept pair that it beats; ties keep the data's order.
fn keep(kept: &mut Vec<Pair>, beats: impl Fn(&Pair) -> bool, distance: f64, of: &ScoreLine<f64>) {
    let at = kept.iter().position(beats).unwrap_or(kept.len());
    if at < KEPT_PAIRS {
        let (prompt, chosen, rejected) = (of.prompt.clone(), of.chosen.clone(), of.rejected.clone());
        let place = of.file.map_or(String::new(), |file| format!("file {file}, ")) + &format!("line {}", of.line);
        kept.insert(at, Pair { place, distance, weight: of.weight, prompt, chosen, rejected });
        kept.truncate(KEPT_PAIRS);
    }
}
