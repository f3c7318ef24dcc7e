//! Cosine distance: how far apart two latents point, whatever their lengths.

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, MetricProperties, NoOptions};

/// `1 - cos(a, b)` over the flattened latents, in 0..=2.
pub struct Cosine;

impl DistanceMetric for Cosine {
    const ID: &'static str = "cosine";
    const SUMMARY: &'static str = "1 - cos of the angle between the flattened latents, in 0..=2";
    // 60 degrees and again 60 degrees cost 0.5 each, 120 degrees at once 1.5: no triangle inequality.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: false };
    type Options = NoOptions;

    fn new(_: NoOptions, _: Host) -> Result<Self, Error> {
        Ok(Self)
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        cosine_distance(a.values(), b.values())
    }
}

/// In f64, where no product or sum of f32 numbers overflows or underflows: so only a NaN or an infinity can spoil the
/// result, and `sqrt(x * x)` is exactly x, which makes the distance of a latent to itself exactly 0.
fn cosine_distance(a: &[f32], b: &[f32]) -> Result<f32, Error> {
    let (mut ab, mut aa, mut bb) = (0.0f64, 0.0f64, 0.0f64);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if !(aa + bb).is_finite() {
        return Err(Error::input("a latent holds a NaN or an infinity; cosine distance needs finite numbers"));
    }
    let cosine = match (aa == 0.0, bb == 0.0) {
        (true, true) => 1.0,
        (false, false) => ab / (aa * bb).sqrt(),
        _ => 0.0,
    };
    Ok((1.0 - cosine.clamp(-1.0, 1.0)) as f32)
}

ldalign_sdk::export_plugin! { distances: [Cosine] }

#[cfg(test)]
ldalign_conformance::conforms!();

#[cfg(test)]
mod tests {
    use super::cosine_distance;

    fn d(a: &[f32], b: &[f32]) -> f32 {
        cosine_distance(a, b).expect("finite input")
    }

    #[test]
    fn known_angles() {
        assert_eq!(d(&[1.0, 0.0], &[0.0, 5.0]), 1.0);
        assert_eq!(d(&[1.0, 0.0], &[-3.0, 0.0]), 2.0);
        assert!((d(&[1.0, 0.0], &[1.0, 3f32.sqrt()]) - 0.5).abs() < 1e-7, "60 degrees");
        // numpy: 1 - a @ b / (norm(a) * norm(b))
        assert!((d(&[1.0, 2.0, 3.0], &[4.0, -5.0, 6.0]) - 0.634_513_1).abs() < 1e-7);
    }

    #[test]
    fn equal_latents_are_exactly_zero_apart_at_any_scale() {
        for scale in [1e-44f32, 1e-30, 0.1, 1.0, 1e30, 3e37] {
            let a: Vec<f32> = (1..=10).map(|i| (i as f32 - 4.3) * scale).collect();
            assert_eq!(d(&a, &a), 0.0, "scale {scale}");
        }
    }

    #[test]
    fn a_small_turn_of_a_long_latent_is_not_lost() {
        // The angle is 1e-3, 1 - cos = 5e-7: all of it would be rounding in f32.
        assert!((d(&[1.0, 0.0], &[1.0, 1e-3]) / 5e-7 - 1.0).abs() < 1e-5);
    }

    #[test]
    fn zero_vectors_have_a_defined_distance() {
        assert_eq!(d(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(d(&[0.0, 0.0], &[1.0, 0.0]), 1.0);
    }

    #[test]
    fn not_a_triangle() {
        let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        assert!(d(&at(0.0), &at(120.0)) > d(&at(0.0), &at(60.0)) + d(&at(60.0), &at(120.0)));
    }

    #[test]
    fn broken_latents_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(cosine_distance(&[bad, 1.0], &[1.0, 1.0]).is_err());
            assert!(cosine_distance(&[0.0, 0.0], &[bad, 1.0]).is_err(), "{bad} against zero");
        }
    }
}
