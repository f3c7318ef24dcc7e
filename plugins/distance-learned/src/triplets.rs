//! Annotated latents: for each golden response a better and a worse one, from two files that `ldalign score` wrote.

use ldalign_sdk::{Error, LatentShape};
use safetensors::{Dtype, SafeTensors};
use std::{fs, path::Path};

/// Latents of the same rows, flattened, one after the other.
pub struct Triplets {
    shape: LatentShape,
    golden: Vec<f32>,
    better: Vec<f32>,
    worse: Vec<f32>,
}

impl Triplets {
    /// Reads two files of tensors `golden` and `losing`, each [pairs, slots, dim] in f32, whose golden latents must be
    /// equal: that is how rows are known to be the same.
    pub fn read(better: &Path, worse: &Path) -> Result<Self, Error> {
        let (near, far) = (Scored::read(better)?, Scored::read(worse)?);
        if near.shape != far.shape || near.golden != far.golden {
            return Err(Error::options(format!(
                "the golden latents of {} and {} differ: both must come from the same rows, encoder and model",
                better.display(),
                worse.display()
            )));
        }
        let [_, slots, dim] = near.shape;
        Ok(Self { shape: LatentShape { slots, dim }, golden: near.golden, better: near.losing, worse: far.losing })
    }

    /// Number of triplets.
    pub fn len(&self) -> usize {
        self.golden.len() / self.shape.len()
    }

    /// An error if latents of a run have another shape.
    pub fn expect(&self, shape: LatentShape) -> Result<(), Error> {
        if shape != self.shape {
            let (LatentShape { slots, dim }, ours) = (shape, self.shape);
            return Err(Error::input(format!(
                "the annotated latents are {} x {} numbers, the run's {slots} x {dim}: score them with the run's encoder",
                ours.slots, ours.dim
            )));
        }
        Ok(())
    }

    /// For each triplet how much farther the worse response lies in each dimension, squared:
    /// `(golden - worse)^2 - (golden - better)^2`, in units of the mean squared Euclidean distance of all pairs.
    pub fn differences(&self) -> Vec<Vec<f64>> {
        let ones = vec![1.0; self.shape.len()];
        let sum: f64 = self.rows().map(|[g, b, w]| squared(&ones, g, b) + squared(&ones, g, w)).sum();
        // Where all latents are equal there is no unit, and nothing to learn either.
        let unit = if sum > 0.0 { sum / (2 * self.len()) as f64 } else { 1.0 };
        let square = |x: f32, y: f32| (f64::from(x) - f64::from(y)).powi(2);
        let row =
            |[g, b, w]: [&[f32]; 3]| (0..g.len()).map(|k| (square(g[k], w[k]) - square(g[k], b[k])) / unit).collect();
        self.rows().map(row).collect()
    }

    /// Share of the triplets whose better response lies nearer under these weights.
    pub fn in_order(&self, weights: &[f64]) -> f64 {
        let right = self.rows().filter(|[g, b, w]| squared(weights, g, b) < squared(weights, g, w)).count();
        right as f64 / self.len() as f64
    }

    fn rows(&self) -> impl Iterator<Item = [&[f32]; 3]> {
        let [golden, better, worse] =
            [&self.golden, &self.better, &self.worse].map(|v| v.chunks_exact(self.shape.len()));
        golden.zip(better).zip(worse).map(|((g, b), w)| [g, b, w])
    }
}

/// `sum_k w_k (a_k - b_k)^2`, in f64.
pub fn squared(weights: &[f64], a: &[f32], b: &[f32]) -> f64 {
    weights.iter().zip(a).zip(b).map(|((w, a), b)| w * (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}

/// Latents of a file that `ldalign score` wrote.
struct Scored {
    golden: Vec<f32>,
    losing: Vec<f32>,
    /// Of both: pairs, slots, dim.
    shape: [usize; 3],
}

impl Scored {
    fn read(path: &Path) -> Result<Self, Error> {
        let bad = |why: String| Error::options(format!("{}: {why}", path.display()));
        let bytes = fs::read(path).map_err(|e| bad(e.to_string()))?;
        let file =
            SafeTensors::deserialize(&bytes).map_err(|e| bad(format!("not a latents.safetensors of a run: {e}")))?;
        let tensor = |name: &str| {
            let tensor = file
                .tensor(name)
                .map_err(|_| bad(format!("not a latents.safetensors of a run: no tensor `{name}`")))?;
            let shape: Option<[usize; 3]> = tensor.shape().try_into().ok().filter(|s: &[usize; 3]| !s.contains(&0));
            let shape = shape.filter(|_| tensor.dtype() == Dtype::F32).ok_or_else(|| {
                let (dtype, shape) = (tensor.dtype(), tensor.shape());
                bad(format!("`{name}` is {dtype:?} {shape:?}, expected F32 [pairs, slots, dim]"))
            })?;
            let values: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if values.iter().any(|v| !v.is_finite()) {
                return Err(bad(format!("`{name}` holds a NaN or an infinity")));
            }
            Ok((values, shape))
        };
        let ((golden, shape), (losing, other)) = (tensor("golden")?, tensor("losing")?);
        if shape != other {
            return Err(bad(format!("`golden` is {shape:?} and `losing` {other:?}: they must be alike")));
        }
        Ok(Self { golden, losing, shape })
    }
}
