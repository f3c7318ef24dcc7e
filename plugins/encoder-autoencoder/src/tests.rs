//! The network against PyTorch (fixtures/reference.py); what fitting learns; state, limits and faults.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::vocabulary::Sequence;
use candle_core::{Device, Tensor};
use ldalign_sdk::{OwnedSample, Services};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const STATE: &[u8] = include_bytes!("../fixtures/state.safetensors");

fn options(value: Value) -> Options {
    let options: Options = serde_json::from_value(value).unwrap();
    options.validate().unwrap();
    options
}

/// The options of the fixture's state.
fn tiny() -> Options {
    options(json!({"dim": 4, "layers": 2, "heads": 2, "slots": 2, "max_tokens": 8}))
}

fn reference() -> (Value, Vec<OwnedSample>) {
    let reference: Value = serde_json::from_str(include_str!("../fixtures/reference.json")).unwrap();
    let ids: Vec<(Vec<u32>, Vec<u32>)> = serde_json::from_value(reference["samples"].clone()).unwrap();
    (reference, ids.into_iter().map(|(prompt, response)| sample(prompt, response)).collect())
}

fn sample(prompt_ids: Vec<u32>, response_ids: Vec<u32>) -> OwnedSample {
    OwnedSample { prompt_ids, response_ids, ..Default::default() }
}

fn encode(encoder: &Autoencoder, samples: &[OwnedSample]) -> Vec<f32> {
    let samples: Vec<Sample<'_>> = samples.iter().map(OwnedSample::as_sample).collect();
    let mut out = vec![f32::NAN; samples.len() * encoder.shape().len()];
    encoder.encode(&samples, &mut out).unwrap();
    out
}

fn sequences(guide: &Guide, samples: &[OwnedSample]) -> Vec<Sequence> {
    samples.iter().map(|s| guide.vocabulary.sequence(&s.as_sample(), 8)).collect()
}

fn assert_close(found: &[f32], expected: &Value, what: &str) {
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{what}: {found} {expected}");
    }
}

#[test]
fn latents_agree_with_pytorch() {
    let (reference, samples) = reference();
    let mut encoder = Autoencoder::new(tiny(), Host::stand_in()).unwrap();
    encoder.load(STATE).unwrap();
    for (latent, expected) in encode(&encoder, &samples).chunks(8).zip(reference["latents"].as_array().unwrap()) {
        assert_close(latent, expected, "latent");
    }
}

#[test]
fn likelihoods_and_every_gradient_agree_with_pytorch() {
    let (reference, samples) = reference();
    let guide = state::from_bytes(STATE, tiny().architecture()).unwrap();
    let sequences = sequences(&guide, &samples);
    let batch = Batch::new(&sequences).unwrap();
    let latents = guide.network.encode(&batch).unwrap();

    let without = guide.network.reconstruction_nll(&batch, &latents.zeros_like().unwrap()).unwrap();
    assert_close(&without.to_vec1().unwrap(), &reference["nll_without_latent"], "without latent");
    let with = guide.network.reconstruction_nll(&batch, &latents).unwrap();
    assert_close(&with.to_vec1().unwrap(), &reference["nll_with_latent"], "with latent");

    let gradients = with.mean_all().unwrap().backward().unwrap();
    let expected =
        candle_core::safetensors::load_buffer(include_bytes!("../fixtures/gradients.safetensors"), &Device::Cpu)
            .unwrap();
    assert_eq!(expected.len(), guide.network.variables().len());
    for (name, var) in guide.network.variables() {
        let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        assert!(norm(gradient) > 0.0, "{name} gets a zero gradient");
        let error = norm(&(gradient - &expected[name]).unwrap()) / norm(&expected[name]);
        assert!(error < 1e-4, "{name}: relative error {error}");
    }
}

#[test]
fn a_latent_does_not_depend_on_its_neighbours() {
    let (_, samples) = reference();
    let mut encoder = Autoencoder::new(tiny(), Host::stand_in()).unwrap();
    encoder.load(STATE).unwrap();
    let together = encode(&encoder, &samples);
    for (sample, latent) in samples.iter().zip(together.chunks(8)) {
        assert_eq!(encode(&encoder, std::slice::from_ref(sample)), latent);
    }
    assert!(encode(&encoder, &[]).is_empty());
}

/// Rows whose responses cannot be guessed from the prompt: three letters of six, drawn at random, and an end token.
fn corpus(rows: u64) -> Vec<OwnedSample> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut letter = || 10 + (rng.next_u64() % 6) as u32;
    (0..2 * rows).map(|_| sample(vec![letter(), 2], vec![letter(), letter(), letter(), 1])).collect()
}

fn learner() -> Options {
    options(json!({"dim": 32, "layers": 1, "heads": 2, "slots": 2, "steps": 200, "learning_rate": 5e-3}))
}

fn fitted(options: Options, corpus: &Vec<OwnedSample>) -> (Autoencoder, FitReport) {
    let mut encoder = Autoencoder::new(options, Host::stand_in()).unwrap();
    let report = encoder.fit(&Corpus::new(corpus)).unwrap();
    (encoder, report)
}

fn value(report: &FitReport, name: &str) -> f64 {
    report.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {report:?}")).1
}

#[test]
fn fitting_puts_the_response_into_the_latent() {
    let corpus = corpus(200);
    let (_, untrained) = fitted(Options { steps: 0, ..learner() }, &corpus);
    let (_, report) = fitted(learner(), &corpus);
    println!("untrained {untrained:?}\ntrained {report:?}");
    let [with, without, shuffled] =
        ["nll_with_latent", "nll_without_latent", "nll_shuffled_latent"].map(|name| value(&report, name));
    assert!(with < value(&untrained, "nll_with_latent") / 2.0);
    // Three random letters of six and a sure end: without latent no decoder does better than 3 ln 6 / 4 = 1.34.
    assert!(without > 1.3, "{without}");
    assert!(with < 0.6 * without, "{with} {without}");
    assert!(shuffled > without, "another row's latent misleads: {shuffled} {without}");
    assert_eq!(value(&report, "latent_gain"), without - with);
    assert_eq!((value(&report, "measured_samples"), value(&report, "held_out_samples")), (40.0, 40.0));
}

#[test]
fn same_seed_same_bytes_and_state_comes_back() {
    let (corpus, options) = (corpus(12), Options { steps: 5, ..learner() });
    let (encoder, report) = fitted(options, &corpus);
    assert_eq!(value(&report, "held_out_samples"), 0.0, "12 rows are too few to spare any");
    let state = encoder.save().unwrap();
    assert_eq!(fitted(options, &corpus).0.save().unwrap(), state);

    let mut restored = Autoencoder::new(options, Host::stand_in()).unwrap();
    assert!(restored.save().unwrap().is_empty());
    restored.load(&state).unwrap();
    assert_eq!(restored.save().unwrap(), state);
    assert_eq!(encode(&restored, &corpus), encode(&encoder, &corpus));
}

#[test]
fn a_second_fit_goes_on_from_the_first() {
    let corpus = corpus(200);
    let (mut encoder, first) = fitted(Options { steps: 60, ..learner() }, &corpus);
    let mut restored = Autoencoder::new(Options { steps: 60, ..learner() }, Host::stand_in()).unwrap();
    restored.load(&encoder.save().unwrap()).unwrap();
    let second = encoder.fit(&Corpus::new(&corpus)).unwrap();
    assert!(value(&second, "nll_with_latent") < value(&first, "nll_with_latent"));
    restored.fit(&Corpus::new(&corpus)).unwrap();
    assert_eq!(restored.save().unwrap(), encoder.save().unwrap(), "from the same instance or from its state");
}

#[test]
fn a_stop_is_obeyed_between_steps() {
    struct Impatient(AtomicUsize);
    impl Services for Impatient {
        fn cancelled(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) == 2
        }
    }
    let mut encoder = Autoencoder::new(learner(), Host::new(Impatient(AtomicUsize::new(0)))).unwrap();
    assert_eq!(encoder.fit(&Corpus::new(&corpus(4))).unwrap_err(), Error::cancelled());
}

#[test]
fn faults_are_named() {
    let mut encoder = Autoencoder::new(tiny(), Host::stand_in()).unwrap();
    let error = encoder.encode(&[], &mut []).unwrap_err();
    assert!(error.message().contains("has learned nothing yet"), "{error}");
    let error = encoder.fit(&Corpus::new(&Vec::new())).unwrap_err();
    assert!(error.message().contains("there is none"), "{error}");

    let mut cut = STATE.to_vec();
    cut.pop();
    let error = encoder.load(&cut).unwrap_err();
    assert!(error.message().contains("not a saved state of the autoencoder"), "{error}");
    let mut wider = Autoencoder::new(Options { dim: 8, ..tiny() }, Host::stand_in()).unwrap();
    assert_eq!(
        wider.load(STATE).unwrap_err().message(),
        "the saved autoencoder has dim 4, layers 2, heads 2, slots 2, the options ask for dim 8, layers 2, heads 2, slots 2: \
         keep the options of a run, or start anew"
    );
    let text = String::from_utf8_lossy(STATE).replace("decoder.norm", "decoder.xorm").into_bytes();
    assert!(encoder.load(&text).is_err());
}

#[test]
fn options_are_checked() {
    for (given, message) in [
        (json!({"slots": 0}), "slots must be at least 1"),
        (json!({"dim": 10, "heads": 4}), "dim 10 must be even and a multiple of heads 4"),
        (json!({"dim": 3, "heads": 3}), "dim 3 must be even"),
        (json!({"learning_rate": 0.0}), "learning_rate 0 must be a number above 0"),
    ] {
        let error = serde_json::from_value::<Options>(given).unwrap().validate().unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    assert!(Options::default().validate().is_ok());
}
