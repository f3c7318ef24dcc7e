//! The fit: logistic regression on differences of squared distances, with weights of at least 0 and a pull towards 1.

/// Steps at most; a fit ends far earlier, where a step moves no weight by more than [`TOLERANCE`].
const STEPS: usize = 20_000;
const TOLERANCE: f64 = 1e-10;

/// The w >= 0 that make `mean_i log(1 + exp(-x_i . w)) + ridge / (2 dim) |w - 1|^2` least, a convex function with one minimum.
///
/// `x` holds one row per triplet. Projected gradient steps with momentum, which starts anew where it points uphill (Beck and Teboulle 2009;
/// O'Donoghue and Candes 2015): deterministic, O(triplets * dim) a step.
pub fn weights(x: &[Vec<f64>], ridge: f64) -> Vec<f64> {
    let dim = x[0].len();
    let pull = ridge / dim as f64;
    // The curvature of log(1 + exp(-m)) is at most 1/4.
    let rate = 1.0 / (0.25 * largest_eigenvalue(x) + pull);
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
            break;
        }
    }
    w
}

fn gradient(x: &[Vec<f64>], w: &[f64], pull: f64) -> Vec<f64> {
    let mut slope: Vec<f64> = w.iter().map(|w| pull * (w - 1.0)).collect();
    for row in x {
        let factor = -1.0 / (1.0 + dot(row, w).exp()) / x.len() as f64;
        slope.iter_mut().zip(row).for_each(|(s, x)| *s += factor * x);
    }
    slope
}

/// Of `x' x / n`, by power iteration, a little enlarged, as that comes from below.
fn largest_eigenvalue(x: &[Vec<f64>]) -> f64 {
    let dim = x[0].len();
    let (mut v, mut value) = (vec![1.0 / (dim as f64).sqrt(); dim], 0.0);
    for _ in 0..50 {
        let mut product = vec![0.0; dim];
        for row in x {
            let along = dot(row, &v) / x.len() as f64;
            product.iter_mut().zip(row).for_each(|(p, x)| *p += along * x);
        }
        value = dot(&product, &product).sqrt();
        if value == 0.0 {
            break;
        }
        v = product.iter().map(|p| p / value).collect();
    }
    1.1 * value
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
