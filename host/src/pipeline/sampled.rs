//! The model's own responses as generations.jsonl has them, row by row, equal ones once.

use crate::{Code, Error, Result, generate::StopReason, rundir::GenerationLine};

/// One of a row's different samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Token ids.
    pub ids: Vec<u32>,
    /// How often it was sampled.
    pub count: u32,
    /// Whether it was cut at `max_new_tokens`.
    pub cut: bool,
}

/// Reads rows in order.
pub struct Sampled<I> {
    lines: I,
    samples: usize,
}

impl<I: Iterator<Item = Result<GenerationLine>>> Sampled<I> {
    /// Of the lines of generations.jsonl, in which every row has so many samples.
    pub fn new(lines: I, samples: usize) -> Self {
        Self { lines, samples }
    }

    /// The different samples of row `index`, in the order in which they come first.
    ///
    /// # Errors
    /// `run/damaged` where the next lines are not that row's.
    pub fn row(&mut self, index: usize) -> Result<Vec<Sample>> {
        let mut different: Vec<Sample> = Vec::new();
        for sample in 0..self.samples {
            let missing = || {
                Error::new(Code::RunDamaged, format!("generations.jsonl has no line for row {index}, sample {sample}"))
            };
            let line = self.lines.next().ok_or_else(missing)??;
            if (line.index, line.sample as usize) != (index, sample) {
                return Err(missing());
            }
            match different.iter_mut().find(|other| other.ids == line.ids) {
                Some(other) => other.count += 1,
                None => {
                    different.push(Sample { ids: line.ids, count: 1, cut: line.stop == StopReason::Length });
                }
            }
        }
        Ok(different)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn equal_samples_are_one_with_their_count_and_rows_must_be_whole() {
        let line = |index, sample, ids: &[u32], stop| {
            Ok(GenerationLine { index, sample, ids: ids.to_vec(), text: String::new(), stop })
        };
        let lines = vec![
            line(0, 0, &[1, 2], StopReason::Stop),
            line(0, 1, &[3, 3], StopReason::Length),
            line(0, 2, &[1, 2], StopReason::Stop),
            line(1, 0, &[4], StopReason::Stop),
            line(1, 2, &[4], StopReason::Stop),
        ];
        let mut sampled = Sampled::new(lines.into_iter(), 3);
        let first = sampled.row(0).unwrap();
        let sample = |ids: &[u32], count, cut| Sample { ids: ids.to_vec(), count, cut };
        assert_eq!(first, [sample(&[1, 2], 2, false), sample(&[3, 3], 1, true)]);
        let e = sampled.row(1).unwrap_err();
        assert!(e.code() == Code::RunDamaged && e.message().contains("row 1, sample 1"), "{e}");
    }
}
