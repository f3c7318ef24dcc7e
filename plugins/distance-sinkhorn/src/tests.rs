//! Against NumPy (fixtures/reference.py), and against what is known of two points, of no and of much regularisation.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::Value;

fn distance<const DEBIASED: bool>(epsilon: f64, a: &[f32], b: &[f32], dim: usize) -> f32 {
    let options = Options { epsilon, max_iterations: 20_000 };
    options.validate().unwrap();
    let metric = Sinkhorn::<DEBIASED>::new(options, Host::stand_in()).unwrap();
    metric.distance(Latent::new(a, dim), Latent::new(b, dim)).unwrap()
}

fn mean_distance(a: &[f32], b: &[f32], dim: usize) -> f64 {
    let slots = |x: &[f32]| x.chunks(dim).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (a, b) = (slots(a), slots(b));
    let views = |x: &'static [Vec<f32>]| x.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let costs = transport::costs(&views(a.leak()), &views(b.leak()));
    costs.iter().sum::<f64>() / costs.len() as f64
}

#[test]
fn agrees_with_numpy() {
    let reference: Value = serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap();
    let dim = reference["dim"].as_u64().unwrap() as usize;
    for case in reference["cases"].as_array().unwrap() {
        let numbers = |key: &str| -> Vec<f32> {
            case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
        };
        let (a, b, epsilon) = (numbers("a"), numbers("b"), case["epsilon"].as_f64().unwrap());
        for (found, key) in
            [(distance::<true>(epsilon, &a, &b, dim), "debiased"), (distance::<false>(epsilon, &a, &b, dim), "biased")]
        {
            let expected = case[key].as_f64().unwrap();
            assert!((f64::from(found) / expected - 1.0).abs() < 1e-6, "{key} at {epsilon}: {found} {expected}");
        }
    }
}

#[test]
fn two_points_have_a_closed_form() {
    // On a line: 0 and 1 against 0 and 3. The plan is (p, 1/2 - p; 1/2 - p, p) with p / (1/2 - p) = exp((1 + 3 - 0 - 2)
    // / (2 epsilon)).
    let epsilon = 0.4 * 1.5;
    let odds = f64::exp((1.0 + 3.0 - 2.0) / (2.0 * epsilon));
    let p = 0.5 * odds / (1.0 + odds);
    let term = |p: f64| p * (4.0 * p).ln();
    let expected = p * (0.0 + 2.0) + (0.5 - p) * (3.0 + 1.0) + epsilon * 2.0 * (term(p) + term(0.5 - p));
    let found = distance::<false>(0.4, &[0.0, 1.0], &[0.0, 3.0], 1);
    assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn one_slot_falls_to_the_ground_distance() {
    for (a, b, d) in [([0.0, 1.0], [3.0, 5.0], 5.0), ([3e30, 0.0], [0.0, 4e30], 5e30), ([1.0, 2.0], [1.0, 2.0], 0.0)] {
        assert_eq!(distance::<true>(0.1, &a, &b, 2), d);
        assert_eq!(distance::<false>(0.1, &a, &b, 2), d);
    }
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
fn little_regularisation_is_the_best_assignment_and_much_is_the_energy_distance() {
    // Each point moves by 0.25, whatever the order in which they are listed.
    let (a, b) = ([0.0, 1.0, 2.0, 5.0], [5.25, 2.25, 0.25, 1.25]);
    let d = distance::<false>(0.001, &a, &b, 1);
    assert!((d - 0.25).abs() < 0.01, "{d}");
    let (a, b) = (noise(5 * 4, 1), noise(5 * 4, 2));
    let energy = mean_distance(&a, &b, 4) - mean_distance(&a, &a, 4) / 2.0 - mean_distance(&b, &b, 4) / 2.0;
    let d = distance::<true>(1000.0, &a, &b, 4);
    assert!((f64::from(d) - energy).abs() < 1e-3 * energy, "{d} {energy}");
}

#[test]
fn symmetric_to_the_bit_zero_on_equal_and_blind_to_the_order_of_slots() {
    for seed in 0..20 {
        let (a, b) = (noise(6 * 3, seed), noise(6 * 3, seed + 100));
        let d = distance::<true>(0.1, &a, &b, 3);
        assert_eq!(d.to_bits(), distance::<true>(0.1, &b, &a, 3).to_bits());
        assert!(d > 0.0 && d < distance::<false>(0.1, &a, &b, 3));
        assert_eq!(distance::<true>(0.1, &a, &a, 3), 0.0);
        let turned: Vec<f32> = a.chunks(3).rev().flatten().copied().collect();
        assert!(distance::<true>(0.1, &a, &turned, 3) < 1e-6);
    }
    assert!(distance::<false>(0.1, &noise(18, 3), &noise(18, 3), 3) > 0.0, "the bias");
    assert_eq!(distance::<true>(0.1, &[0.0; 6], &[0.0; 6], 2), 0.0, "all slots in one place");
}

#[test]
fn scales_with_the_latents() {
    let (a, b) = (noise(12, 5), noise(12, 6));
    let times = |x: &[f32], s: f32| x.iter().map(|v| v * s).collect::<Vec<f32>>();
    let d = distance::<true>(0.1, &a, &b, 3);
    for scale in [1e-30f32, 1e30] {
        let scaled = distance::<true>(0.1, &times(&a, scale), &times(&b, scale), 3);
        assert!((scaled / scale / d - 1.0).abs() < 1e-4, "{scaled} {d}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let metric = Sinkhorn::<true>::new(Options::default(), Host::stand_in()).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(metric.distance(Latent::new(&[bad, 0.0], 1), Latent::new(&[0.0, 1.0], 1)).is_err());
    }
    for epsilon in [0.0, 1e-4, 1e4, f64::NAN] {
        assert!(Options { epsilon, ..Options::default() }.validate().is_err(), "{epsilon}");
    }
    assert!(Options { max_iterations: 0, ..Options::default() }.validate().is_err());
}
