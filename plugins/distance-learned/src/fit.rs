//! The fit: logistic regression on differences of squared distances, with weights of at least 0 and a pull towards 1.

use ldalign_sdk::Error;

/// Steps at most; a fit ends far earlier, where a step moves no weight by more than [`TOLERANCE`].
const STEPS: usize = 20_000;
const TOLERANCE: f64 = 1e-10;

/// The w >= 0 that make `mean_i log(1 + exp(-x_i . w)) + ridge / (2 dim) |w - 1|^2` least, a convex function with one
/// minimum.
///
/// `x` holds one row per triplet. Projected gradient steps with momentum, which starts anew where it points uphill
/// (Beck and Teboulle 2009; O'Donoghue and Candes 2015): deterministic, O(triplets * dim) a step.
///
/// # Errors
/// The steps run out first, as with a ridge far too small.
pub fn weights(x: &[Vec<f64>], ridge: f64) -> Result<Vec<f64>, Error> {
    let dim = x[0].len();
    let pull = ridge / dim as f64;
    // The curvature of log(1 + exp(-m)) is at most 1/4, the largest eigenvalue of x' x / n at most its trace.
    let trace = x.iter().map(|row| dot(row, row)).sum::<f64>() / x.len() as f64;
    let rate = 1.0 / (0.25 * trace + pull);
    let (mut w, mut ahead, mut momentum) = (vec![1.0; dim], vec![1.0; dim], 1.0f64);
    for _ in 0..STEPS {
        let slope = gradient(x, &ahead, pull);
        let next: Vec<f64> = ahead.iter().zip(&slope).map(|(a, s)| (a - rate * s).max(0.0)).collect();
        let moved: Vec<f64> = next.iter().zip(&w).map(|(n, w)| n - w).collect();
        if dot(&slope, &moved) > 0.0 {
            momentum = 1.0;
        }
        let grown = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
        let carried = (momentum - 1.0) / grown;
        ahead = next.iter().zip(&moved).map(|(n, m)| n + carried * m).collect();
        (w, momentum) = (next, grown);
        if moved.iter().all(|m| m.abs() <= TOLERANCE) {
            return Ok(w);
        }
    }
    Err(Error::failed(format!("the weights have not settled in {STEPS} steps: give a ridge larger than {ridge}")))
}

fn gradient(x: &[Vec<f64>], w: &[f64], pull: f64) -> Vec<f64> {
    let mut slope: Vec<f64> = w.iter().map(|w| pull * (w - 1.0)).collect();
    for row in x {
        let factor = -1.0 / (1.0 + dot(row, w).exp()) / x.len() as f64;
        slope.iter_mut().zip(row).for_each(|(s, x)| *s += factor * x);
    }
    slope
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// In two dimensions with rows (x, -x) the minimum is (1 + t, 1 - t), where the slope along t is 0.
    #[test]
    fn rows_that_sum_to_zero_have_a_closed_form() {
        let certain = |t: f64| -2.0 / (1.0 + (2.0 * t).exp()) + 0.3 * t;
        let mixed = |t: f64| ((4.0 * t).exp() - 3.0) / ((4.0 * t).exp() + 1.0) + 0.05 * t;
        let doubt = vec![vec![2.0, -2.0], vec![2.0, -2.0], vec![2.0, -2.0], vec![-2.0, 2.0]];
        for (x, ridge, slope) in [(vec![vec![1.0, -1.0]], 0.3, &certain as &dyn Fn(f64) -> f64), (doubt, 0.05, &mixed)]
        {
            let w = weights(&x, ridge).unwrap();
            let t = w[0] - 1.0;
            assert!(t > 0.2 && (w[1] - (1.0 - t)).abs() < 1e-8 && slope(t).abs() < 1e-8, "{w:?}");
        }
    }

    #[test]
    fn a_fit_that_does_not_settle_is_an_error() {
        let e = weights(&[vec![1.0, 0.3], vec![0.2, 1.0]], 1e-13).unwrap_err();
        assert!(e.message().contains("have not settled in 20000 steps: give a ridge larger than"), "{e}");
    }
}
