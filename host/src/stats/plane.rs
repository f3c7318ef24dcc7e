//! Points projected onto the plane of their first two principal components.

use rayon::prelude::*;

/// Power iterations at most. Where two components spread alike, any mixture of them serves as well, so none is waited
/// for.
const ITERATIONS: usize = 1000;
/// An iteration that turns the direction by less than this ends them.
const SETTLED: f64 = 1e-13;

/// Points in their plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// Coordinates of each point about the mean, in the points' own unit.
    pub points: Vec<[f64; 2]>,
    /// Share of the points' variance along each coordinate; 0 where the points are all the same.
    pub shares: [f64; 2],
}

/// Projects points, `dim` numbers each, onto their first two principal components. The sign of a component, which is
/// free, is such that its farthest point is on the positive side. Costs n^2 dim products: for hundreds of points.
pub fn principal_plane(points: &[f32], dim: usize) -> Plane {
    let n = points.len() / dim.max(1);
    let mut mean = vec![0.0; dim];
    points.chunks_exact(dim.max(1)).for_each(|p| mean.iter_mut().zip(p).for_each(|(m, v)| *m += f64::from(*v)));
    let centred: Vec<f64> = points
        .chunks_exact(dim.max(1))
        .flat_map(|p| p.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m / n as f64))
        .collect();
    // The points' products have the covariance's eigenvalues, n of them however long a point is, and their eigenvectors
    // are the coordinates themselves.
    let row = |i: usize| &centred[i * dim..][..dim];
    let mut products: Vec<f64> =
        (0..n * n).into_par_iter().map(|k| if k / n <= k % n { dot(row(k / n), row(k % n)) } else { 0.0 }).collect();
    for i in 0..n {
        (0..i).for_each(|j| products[i * n + j] = products[j * n + i]);
    }
    let total: f64 = (0..n).map(|i| products[i * n + i]).sum();
    let mut plane = Plane { points: vec![[0.0; 2]; n], shares: [0.0; 2] };
    for axis in 0..2 {
        let Some((value, vector)) = leading(&products, n, total) else { break };
        plane.shares[axis] = value / total;
        plane.points.iter_mut().zip(&vector).for_each(|(p, v)| p[axis] = v * value.sqrt());
        for i in 0..n {
            (0..n).for_each(|j| products[i * n + j] -= value * vector[i] * vector[j]);
        }
    }
    plane
}

/// The largest eigenvalue of a symmetric matrix without negative ones, and its eigenvector; None where nothing but
/// rounding is left of `total`.
fn leading(matrix: &[f64], n: usize, total: f64) -> Option<(f64, Vec<f64>)> {
    let start = (0..n).max_by(|i, j| matrix[i * n + i].total_cmp(&matrix[j * n + j]))?;
    if matrix[start * n + start] <= 1e-12 * total {
        return None;
    }
    let mut vector = unit(matrix[start * n..][..n].to_vec());
    for _ in 0..ITERATIONS {
        let next = unit(matrix.chunks_exact(n).map(|row| dot(row, &vector)).collect());
        let turned = 1.0 - dot(&next, &vector);
        vector = next;
        if turned < SETTLED {
            break;
        }
    }
    let value = matrix.chunks_exact(n).zip(&vector).map(|(row, v)| v * dot(row, &vector)).sum();
    let farthest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    if farthest < 0.0 {
        vector.iter_mut().for_each(|v| *v = -*v);
    }
    Some((value, vector))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let norm = dot(&vector, &vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= norm);
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points whose spread along three orthogonal directions is 5, 2 and 1, about a mean that is not 0.
    fn cross() -> Vec<f32> {
        let axes = [[0.6, 0.8, 0.0, 0.0], [0.8, -0.6, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let ends = [(0, 5.0), (0, -5.0), (1, 2.0), (1, -2.0), (2, 1.0), (2, -1.0)];
        let point = |(axis, far): (usize, f32)| axes[axis].map(|a: f32| 7.0 + far * a);
        ends.into_iter().flat_map(point).collect()
    }

    #[test]
    fn points_on_a_cross_lie_where_they_were_put() {
        let plane = principal_plane(&cross(), 4);
        // Sums of squares along the three axes: 50, 8 and 2.
        for (share, want) in plane.shares.into_iter().zip([50.0 / 60.0, 8.0 / 60.0]) {
            assert!((share - want).abs() < 1e-6, "{share} {want}");
        }
        let want = [[5.0, 0.0], [-5.0, 0.0], [0.0, 2.0], [0.0, -2.0], [0.0, 0.0], [0.0, 0.0]];
        for axis in 0..2 {
            // Both ends of an axis are as far: rounding says which of them is the positive one.
            let sign = if plane.points[2 * axis][axis] > 0.0 { 1.0 } else { -1.0 };
            for (got, want) in plane.points.iter().zip(want) {
                assert!((sign * got[axis] - want[axis]).abs() < 1e-5, "{got:?} {want:?}");
            }
        }
    }

    #[test]
    fn the_farthest_point_is_on_the_positive_side() {
        let plane = principal_plane(&[-9.0, 1.0, 2.0, 3.0, 3.0], 1);
        assert!((plane.points[0][0] - 9.0).abs() < 1e-9 && (plane.points[4][0] + 3.0).abs() < 1e-9, "{plane:?}");
        assert!((plane.shares[0] - 1.0).abs() < 1e-12 && plane.shares[1] == 0.0, "{plane:?}");
    }

    #[test]
    fn points_that_are_the_same_and_no_points_have_no_spread() {
        assert_eq!(principal_plane(&[3.0; 12], 4), Plane { points: vec![[0.0; 2]; 3], shares: [0.0; 2] });
        assert_eq!(principal_plane(&[], 4).points, Vec::<[f64; 2]>::new());
        assert_eq!(principal_plane(&[], 0).points, Vec::<[f64; 2]>::new());
    }
}
