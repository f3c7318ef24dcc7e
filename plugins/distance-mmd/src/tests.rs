//! Against NumPy (fixtures/reference.py) and against what the definition says of special cases.
#![allow(clippy::unwrap_used)]

use super::*;
use ldalign_sdk::LatentShape;
use serde_json::Value;

fn mmd(bandwidth: Option<f64>) -> Mmd {
    Mmd::new(Options { bandwidth }, Host::stand_in()).unwrap()
}

fn distance(metric: &Mmd, a: &[f32], b: &[f32], dim: usize) -> f32 {
    metric.distance(Latent::new(a, dim), Latent::new(b, dim)).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn agrees_with_numpy() {
    let reference: Value = serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap();
    let f32s = |key: &str| numbers(&reference[key]).iter().map(|&v| v as f32).collect::<Vec<_>>();
    let size = |key: &str| reference[key].as_u64().unwrap() as usize;
    let (a, b, shape) = (f32s("a"), f32s("b"), LatentShape { slots: size("slots"), dim: size("dim") });
    for (key, bandwidth) in [("median", None), ("0.5", Some(0.5)), ("2.0", Some(2.0))] {
        let mut metric = mmd(bandwidth);
        metric.fit(Latents::new(&a, shape), Latents::new(&b, shape)).unwrap();
        let expected = bandwidth.unwrap_or(reference["median"].as_f64().unwrap());
        assert!((metric.bandwidth.unwrap() / expected - 1.0).abs() < 1e-12, "{key}");
        let mut found = vec![f32::NAN; numbers(&reference["mmd"][key]).len()];
        metric.distances(Latents::new(&a, shape), Latents::new(&b, shape), &mut found).unwrap();
        for (d, expected) in found.iter().zip(numbers(&reference["mmd"][key])) {
            assert!((f64::from(*d) / expected - 1.0).abs() < 1e-6, "{key}: {d} {expected}");
        }
    }
}

#[test]
fn one_slot_has_a_closed_form_also_for_small_steps() {
    let metric = mmd(Some(2.0));
    let d = distance(&metric, &[0.0, 0.0], &[2.0, 0.0], 2);
    assert!((f64::from(d) - (2.0 - 2.0 * f64::exp(-0.5)).sqrt()).abs() < 1e-7);
    // sqrt(2 - 2 exp(-x^2 / 8)) is x / 2 for small x, of which `1 - exp` would leave nothing.
    let small = distance(&metric, &[0.0, 0.0], &[1e-12, 0.0], 2);
    assert!((small / 5e-13 - 1.0).abs() < 1e-6, "{small}");
    assert_eq!(distance(&metric, &[3e38, 0.0], &[-3e38, 0.0], 2), 2f32.sqrt(), "as far as it gets");
}

#[test]
fn symmetric_and_zero_to_the_bit_and_blind_to_the_order_of_slots() {
    let metric = mmd(Some(0.8));
    let (a, b) = ([0.1, -0.7, 0.4, 1.9, 0.3, -0.2], [1.5, 0.2, -0.3, 0.6, 0.9, 0.8]);
    assert_eq!(distance(&metric, &a, &b, 2).to_bits(), distance(&metric, &b, &a, 2).to_bits());
    assert_eq!(distance(&metric, &a, &a, 2), 0.0);
    assert!(distance(&metric, &a, &[0.3, -0.2, 0.1, -0.7, 0.4, 1.9], 2) < 1e-7);
}

#[test]
fn the_bandwidth_is_learned_saved_and_restored_unless_given() {
    let shape = LatentShape { slots: 1, dim: 1 };
    let fit = |metric: &mut Mmd, a: &[f32], b: &[f32]| metric.fit(Latents::new(a, shape), Latents::new(b, shape));
    let mut fitted = mmd(None);
    assert!(fitted.distance(Latent::new(&[0.0], 1), Latent::new(&[1.0], 1)).is_err(), "before fit");
    assert_eq!(fitted.save().unwrap(), [0u8; 0]);
    // Distances above 0: 1, 3, 3, 4, 4.
    fit(&mut fitted, &[0.0, 0.0], &[1.0, 4.0]).unwrap();
    assert_eq!(fitted.bandwidth, Some(3.0));
    let mut restored = mmd(None);
    restored.load(&fitted.save().unwrap()).unwrap();
    assert_eq!(restored.bandwidth, Some(3.0));
    let mut given = mmd(Some(0.5));
    fit(&mut given, &[0.0, 0.0], &[1.0, 4.0]).unwrap();
    given.load(&fitted.save().unwrap()).unwrap();
    assert_eq!((given.bandwidth, given.save().unwrap()), (Some(0.5), Vec::new()));
    for state in [&[1u8, 2][..], &f64::NAN.to_le_bytes(), &0f64.to_le_bytes()] {
        assert!(mmd(None).load(state).is_err());
    }
    let e = fit(&mut fitted, &[2.0, 2.0], &[2.0, 2.0]).unwrap_err();
    assert_eq!(e.message(), "all 4 slots looked at are equal: give a bandwidth");
    assert!(fit(&mut fitted, &[2.0], &[f32::NAN]).is_err());
}

#[test]
fn many_slots_are_sampled_evenly() {
    let values: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
    let latents: Vec<Latent<'_>> = values.chunks(1).map(|slot| Latent::new(slot, 1)).collect();
    // Of two uniform numbers in 0..1 the median distance is 1 - sqrt(1/2).
    let median = median_distance(&latents).unwrap() / 1e5;
    assert!((median - 0.292_893).abs() < 0.002, "{median}");
}

#[test]
fn slots_of_all_places_are_sampled() {
    // Slot 0 never changes; of the others two of a place lie 0 apart, which does not count, and two of different places
    // 1 to 3.
    let values = [0.0, 1.0, 2.0, 3.0].repeat(2000);
    let latents: Vec<Latent<'_>> = values.chunks(4).map(|slots| Latent::new(slots, 1)).collect();
    assert_eq!(median_distance(&latents), Ok(2.0));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(mmd(Some(1.0)).distance(Latent::new(&[bad, bad], 1), Latent::new(&[bad, 1.0], 1)).is_err(), "{bad}");
    }
    for bandwidth in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Options { bandwidth: Some(bandwidth) }.validate().is_err(), "{bandwidth}");
    }
}
