//! The shrunk covariance of a set of latents and its Cholesky factor, in f64.

use ldalign_sdk::Error;

/// Added to the diagonal, relative to the mean variance: far below any direction that matters, far above the rounding
/// of the sums, so that the factorisation succeeds also for fewer latents than dimensions without shrinkage.
const JITTER: f64 = 1e-8;

/// Latents summed at a time, so that a row of the covariance is updated from the cache.
const BLOCK: usize = 64;

/// What fitting learned.
pub struct Fit {
    /// Factor of the shrunk covariance.
    pub factor: Cholesky,
    /// The shrinkage that was used.
    pub shrinkage: f64,
}

/// Covariance `C = (1 - s) S + s m I`, S the sample covariance (divided by n), m the mean of its diagonal, s as given
/// or as Ledoit and Wolf estimate it. O(n d^2 + d^3).
pub fn fit(rows: &[&[f32]], shrinkage: Option<f64>) -> Result<Fit, Error> {
    if rows.len() < 2 {
        return Err(Error::input(format!("a covariance needs at least 2 latents, got {}", rows.len())));
    }
    let (n, dim) = (rows.len() as f64, rows[0].len());
    let mean = column_means(rows, dim);
    let mut sample = Lower::zeros(dim);
    // Sum of the fourth powers of the centred latents' lengths, for the shrinkage.
    let mut fourth = 0.0;
    for block in rows.chunks(BLOCK) {
        let centred: Vec<Vec<f64>> =
            block.iter().map(|row| row.iter().zip(&mean).map(|(&x, m)| f64::from(x) - m).collect()).collect();
        fourth += centred.iter().map(|row| row.iter().map(|x| x * x).sum::<f64>().powi(2)).sum::<f64>();
        sample.add_products(&centred);
    }
    sample.scale(1.0 / n);

    let variance = sample.trace() / dim as f64;
    if !variance.is_finite() {
        return Err(Error::input("a latent holds a NaN or an infinity"));
    }
    if variance == 0.0 {
        return Err(Error::input(format!("all {n} latents are equal, so no direction has a scale to measure in")));
    }
    let shrinkage = shrinkage.unwrap_or_else(|| ledoit_wolf(&sample, fourth, n, variance));
    sample.scale(1.0 - shrinkage);
    sample.add_to_diagonal((shrinkage + JITTER) * variance);
    Ok(Fit { factor: Cholesky::of(sample)?, shrinkage })
}

fn column_means(rows: &[&[f32]], dim: usize) -> Vec<f64> {
    let mut mean = vec![0.0; dim];
    for row in rows {
        for (sum, &x) in mean.iter_mut().zip(*row) {
            *sum += f64::from(x);
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
    mean
}

/// The share of the scaled identity that makes the expected squared error of the covariance least.
///
/// Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (2004), lemma 3.2 and
/// section 3.3: d2 = |S - m I|^2, b2 = min(d2, sum_k |x_k x_k' - S|^2 / n^2), the share is b2 / d2. The sum needs no
/// matrix per sample: sum_k |x_k x_k' - S|^2 = sum_k |x_k|^4 - n |S|^2.
fn ledoit_wolf(sample: &Lower, fourth: f64, n: f64, variance: f64) -> f64 {
    let squares = sample.squared_norm();
    let spread = squares - sample.dim as f64 * variance * variance;
    let error = (fourth / n - squares) / n;
    if spread <= 0.0 { 1.0 } else { (error / spread).clamp(0.0, 1.0) }
}

/// Lower triangle of a symmetric matrix, row after row.
struct Lower {
    dim: usize,
    values: Vec<f64>,
}

impl Lower {
    fn zeros(dim: usize) -> Self {
        Self { dim, values: vec![0.0; dim * (dim + 1) / 2] }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.values[start(i)..start(i) + i + 1]
    }

    /// Adds x x' for every x.
    fn add_products(&mut self, xs: &[Vec<f64>]) {
        for i in 0..self.dim {
            let row = &mut self.values[start(i)..start(i) + i + 1];
            for x in xs {
                axpy(row, x[i], x);
            }
        }
    }

    fn scale(&mut self, factor: f64) {
        self.values.iter_mut().for_each(|v| *v *= factor);
    }

    fn add_to_diagonal(&mut self, value: f64) {
        for i in 0..self.dim {
            self.values[start(i) + i] += value;
        }
    }

    fn trace(&self) -> f64 {
        (0..self.dim).map(|i| self.values[start(i) + i]).sum()
    }

    /// Squared Frobenius norm of the whole symmetric matrix.
    fn squared_norm(&self) -> f64 {
        (0..self.dim)
            .map(|i| {
                let row = self.row(i);
                2.0 * row[..i].iter().map(|v| v * v).sum::<f64>() + row[i] * row[i]
            })
            .sum()
    }
}

/// Where row i of a lower triangle begins.
fn start(i: usize) -> usize {
    i * (i + 1) / 2
}

/// `row += factor * x`, over the shorter of both.
fn axpy(row: &mut [f64], factor: f64, x: &[f64]) {
    for (r, x) in row.iter_mut().zip(x) {
        *r += factor * x;
    }
}

/// Factor L of a covariance C = L L', column after column, so that solving runs down contiguous memory.
#[derive(Debug, PartialEq)]
pub struct Cholesky {
    dim: usize,
    columns: Vec<f64>,
}

/// First bytes of a saved factor.
const MAGIC: &[u8; 8] = b"mahalan1";

impl Cholesky {
    /// Column by column: each is finished, then taken out of all later ones.
    fn of(matrix: Lower) -> Result<Self, Error> {
        let dim = matrix.dim;
        let mut columns: Vec<f64> =
            (0..dim).flat_map(|j| (j..dim).map(move |i| (i, j))).map(|(i, j)| matrix.row(i)[j]).collect();
        let mut rest = columns.as_mut_slice();
        for j in 0..dim {
            let (column, later) = rest.split_at_mut(dim - j);
            let pivot = column[0].sqrt();
            if pivot.is_nan() || pivot == 0.0 {
                return Err(Error::failed(format!(
                    "the covariance is not positive definite at dimension {j}: raise `shrinkage`"
                )));
            }
            column.iter_mut().for_each(|v| *v /= pivot);
            let mut target = &mut *later;
            for k in 1..dim - j {
                let (head, tail) = target.split_at_mut(dim - j - k);
                axpy(head, -column[k], &column[k..]);
                target = tail;
            }
            rest = later;
        }
        Ok(Self { dim, columns })
    }

    /// Dimensions of the latents.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// `|L^-1 x|`, which is `sqrt(x' C^-1 x)`.
    pub fn norm_of_solution(&self, mut x: Vec<f64>) -> f64 {
        let (mut columns, mut squares) = (self.columns.as_slice(), 0.0);
        for j in 0..self.dim {
            let (column, later) = columns.split_at(self.dim - j);
            let y = x[j] / column[0];
            squares += y * y;
            axpy(&mut x[j + 1..], -y, &column[1..]);
            columns = later;
        }
        squares.sqrt()
    }

    /// Magic, dimension, columns; little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.dim as u64).to_le_bytes());
        bytes.extend(self.columns.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let broken = |what: &str| Error::state(format!("this is not a saved state of mahalanobis: {what}"));
        let numbers = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin with its mark"))?;
        let (words, []) = numbers.as_chunks::<8>() else { return Err(broken("it is cut short")) };
        let (dim, columns) = words.split_first().ok_or_else(|| broken("it has no dimension"))?;
        let dim = u64::from_le_bytes(*dim);
        let expected = dim.checked_add(1).and_then(|d| d.checked_mul(dim)).map(|d| d / 2);
        if dim == 0 || expected != Some(columns.len() as u64) {
            return Err(broken(&format!("{} numbers are not a factor of dimension {dim}", columns.len())));
        }
        let columns: Vec<f64> = columns.iter().map(|word| f64::from_le_bytes(*word)).collect();
        if !columns.iter().all(|v| v.is_finite()) {
            return Err(broken("a number is not finite"));
        }
        Ok(Self { dim: dim as usize, columns })
    }
}
