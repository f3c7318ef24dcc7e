//! Against NumPy (fixtures/reference.py) and against what the formula says of special cases.
#![allow(clippy::unwrap_used)]

use super::*;
use ldalign_sdk::LatentShape;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn reference() -> (Value, Vec<f32>, Vec<f32>) {
    let reference: Value = serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap();
    let f32s = |key: &str| numbers(&reference[key]).iter().map(|&v| v as f32).collect();
    let (golden, generated) = (f32s("golden"), f32s("generated"));
    (reference, golden, generated)
}

/// Fits on all rows of the given latents, `dim` numbers each.
fn fit(latents: &[&[f32]], dim: usize, shrinkage: Option<f64>) -> covariance::Fit {
    let rows: Vec<&[f32]> = latents.iter().flat_map(|latents| latents.chunks_exact(dim)).collect();
    covariance::fit(&rows, shrinkage).unwrap()
}

/// Numbers without pattern in -1..1.
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn distances_agree_with_numpy() {
    let (reference, golden, generated) = reference();
    for (key, shrinkage) in [("auto", None), ("0.0", Some(0.0)), ("0.3", Some(0.3)), ("1.0", Some(1.0))] {
        let fit = fit(&[&golden, &generated], 5, shrinkage);
        for (i, expected) in numbers(&reference["distances"][key]).into_iter().enumerate() {
            let of = i * 5..i * 5 + 5;
            let d = f64::from(distance(Some(&fit.factor), &golden[of.clone()], &generated[of]).unwrap());
            // The jitter moves the smallest direction of shrinkage 0 by about 1e-6.
            assert!((d / expected - 1.0).abs() < 1e-5, "shrinkage {key}, pair {i}: {d} {expected}");
        }
    }
}

#[test]
fn shrinkage_agrees_with_ledoit_and_wolf() {
    let (reference, golden, generated) = reference();
    let expected = reference["ledoit_wolf"].as_f64().unwrap();
    let found = fit(&[&golden, &generated], 5, None).shrinkage;
    assert!(expected > 0.01 && (found - expected).abs() < 1e-9, "{found} {expected}");
}

#[test]
fn more_dimensions_than_latents_work_with_any_shrinkage() {
    let latents = noise(20 * 96, 1);
    for shrinkage in [None, Some(0.0), Some(0.5)] {
        let fit = fit(&[&latents], 96, shrinkage);
        assert!(distance(Some(&fit.factor), &latents[..96], &latents[96..192]).unwrap() > 0.0, "{shrinkage:?}");
    }
}

#[test]
fn rescaling_a_dimension_changes_nothing_without_shrinkage() {
    let latents = noise(200 * 3, 2);
    let rescaled: Vec<f32> = latents.iter().zip([1.0, 4.0, 0.25].iter().cycle()).map(|(x, s)| x * s).collect();
    let (a, b) = (fit(&[&latents], 3, Some(0.0)), fit(&[&rescaled], 3, Some(0.0)));
    let d = |f: &Cholesky, x: &[f32]| distance(Some(f), &x[..3], &x[3..6]).unwrap();
    assert!((d(&a.factor, &latents) / d(&b.factor, &rescaled) - 1.0).abs() < 1e-5);
}

#[test]
fn symmetric_and_zero_to_the_bit() {
    let latents = noise(50 * 7, 3);
    let factor = fit(&[&latents], 7, None).factor;
    let (a, b) = (&latents[..7], &latents[7..14]);
    assert_eq!(distance(Some(&factor), a, b), distance(Some(&factor), b, a));
    assert_eq!(distance(Some(&factor), a, a), Ok(0.0));
}

#[test]
fn state_comes_back_byte_for_byte() {
    let (golden, generated) = (noise(50 * 6, 4), noise(50 * 6, 5));
    let latents = |values| Latents::new(values, LatentShape { slots: 2, dim: 3 });
    let new = || Mahalanobis::new(Options::default(), Host::stand_in()).unwrap();
    let (mut fitted, mut restored) = (new(), new());
    assert_eq!(fitted.save(), Ok(Vec::new()), "nothing learned yet");
    fitted.fit(latents(&golden), latents(&generated)).unwrap();
    let state = fitted.save().unwrap();
    restored.load(&state).unwrap();
    assert_eq!(restored.save().unwrap(), state);
    let d = |metric: &Mahalanobis| metric.distance(Latent::new(&golden[..6], 3), Latent::new(&generated[..6], 3));
    assert!(d(&fitted).unwrap() > 0.0);
    assert_eq!(d(&restored), d(&fitted));
    restored.load(&[]).unwrap();
    assert!(d(&restored).is_err(), "an empty state is an unfitted metric");
}

#[test]
fn damaged_states_are_refused() {
    let bytes = fit(&[&noise(20, 5)], 2, None).factor.to_bytes();
    let mut huge = bytes.clone();
    huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut nan = bytes.clone();
    nan[16..24].copy_from_slice(&f64::NAN.to_le_bytes());
    for (state, message) in [
        (&b"garbage"[..], "does not begin with its mark"),
        (&bytes[..8], "has no dimension"),
        (&bytes[..bytes.len() - 3], "cut short"),
        (&bytes[..bytes.len() - 8], "2 numbers are not a factor of dimension 2"),
        (&huge, "not a factor of dimension"),
        (&nan, "not finite"),
    ] {
        let error = Cholesky::from_bytes(state).unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
}

#[test]
fn what_cannot_be_fitted_or_measured_is_refused() {
    let refused = |rows: &[&[f32]]| covariance::fit(rows, None).map(|_| ()).unwrap_err().to_string();
    assert!(refused(&[&[1.0, 2.0]]).contains("at least 2 latents, got 1"));
    assert!(refused(&[&[1.0, 2.0], &[1.0, 2.0]]).contains("all 2 latents are equal"));
    assert!(refused(&[&[1.0, f32::NAN], &[1.0, 2.0]]).contains("NaN"));
    let unfitted = distance(None, &[1.0], &[2.0]).unwrap_err();
    assert!(unfitted.message().contains("no covariance yet"), "{unfitted}");
    let factor = fit(&[&noise(20, 6)], 2, None).factor;
    let wrong = distance(Some(&factor), &[1.0; 3], &[2.0; 3]).unwrap_err();
    assert!(wrong.message().contains("fitted on latents of 2 numbers and got one of 3"), "{wrong}");
}

#[test]
fn shrinkage_is_a_share() {
    for shrinkage in [-0.1, 1.1, f64::NAN] {
        assert!(Options { shrinkage: Some(shrinkage) }.validate().is_err(), "{shrinkage}");
    }
    assert!(Options::default().validate().is_ok());
}
