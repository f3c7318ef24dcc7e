//! Entropic optimal transport between two uniform sets of n points, in the log domain.

/// Change of the potentials, relative to epsilon, at which iterations stop: the cost is then exact to about its square.
const TOLERANCE: f64 = 1e-9;

/// Euclidean distances, row i from `a[i]` to all of `b`; in f64, where a square of an f32 neither overflows nor
/// vanishes.
pub fn costs(a: &[&[f32]], b: &[&[f32]]) -> Vec<f64> {
    let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(square).sum::<f64>().sqrt();
    a.iter().flat_map(|a| b.iter().map(move |b| distance(a, b))).collect()
}

/// `min_P <P, C> + epsilon KL(P | 1/n^2)` over the plans P whose rows and columns each sum to 1/n, by its dual
/// `max mean(f) + mean(g)` (Feydy et al. 2019, equations 5 to 8).
///
/// Both potentials move at once, half the way each, rather than in turn: that converges as well (their section 3.1) and
/// gives the same bits when the sets change places.
pub fn cost(costs: &[f64], n: usize, epsilon: f64, max_iterations: u32) -> f64 {
    let (mut f, mut g) = (vec![0.0; n], vec![0.0; n]);
    for _ in 0..max_iterations {
        let next_f: Vec<f64> =
            (0..n).map(|i| 0.5 * (f[i] + softmin(epsilon, n, |j| costs[i * n + j] - g[j]))).collect();
        let next_g: Vec<f64> =
            (0..n).map(|j| 0.5 * (g[j] + softmin(epsilon, n, |i| costs[i * n + j] - f[i]))).collect();
        let moved = |old: &[f64], new: &[f64]| old.iter().zip(new).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let change = moved(&f, &next_f).max(moved(&g, &next_g));
        (f, g) = (next_f, next_g);
        if change <= TOLERANCE * epsilon {
            break;
        }
    }
    f.iter().sum::<f64>() / n as f64 + g.iter().sum::<f64>() / n as f64
}

/// `-epsilon log(mean_k exp(-x(k) / epsilon))` over n numbers, relative to the smallest, so that no exponential
/// overflows.
fn softmin(epsilon: f64, n: usize, x: impl Fn(usize) -> f64) -> f64 {
    let least = (0..n).map(&x).fold(f64::INFINITY, f64::min);
    let sum: f64 = (0..n).map(|k| ((least - x(k)) / epsilon).exp()).sum();
    least - epsilon * (sum / n as f64).ln()
}
