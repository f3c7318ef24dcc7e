//! What fitting learns, on a host whose model draws a response's tokens by the mean of the prefix; gradients, state,
//! limits and faults.
#![allow(clippy::unwrap_used)]

use super::*;
use ldalign_conformance::StandIn;
use ldalign_sdk::{ModelFacts, Pooling, Services};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const MODEL: StandIn = StandIn { model: true, fails: false, threads: 2, seed: 7 };

fn options(value: Value) -> Options {
    let options: Options = serde_json::from_value(value).unwrap();
    options.validate().unwrap();
    options
}

fn small() -> Options {
    options(json!({"dim": 16, "slots": 2, "prefix": 2, "heads": 2, "steps": 60, "learning_rate": 1e-2}))
}

/// Rows whose responses cannot be guessed from the prompt: three letters of six, drawn at random, and an end token.
fn corpus(rows: u64) -> Vec<OwnedSample> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut letter = || 10 + (rng.next_u64() % 6) as u32;
    let mut sample = |i: u64| OwnedSample {
        prompt_ids: vec![20 + (i / 2 % 70) as u32, 2 + (i / 140) as u32],
        response_ids: vec![letter(), letter(), letter(), 1],
        ..Default::default()
    };
    (0..2 * rows).map(&mut sample).collect()
}

fn encoder(options: Options) -> Guided {
    Guided::new(options, Host::new(MODEL)).unwrap()
}

fn fitted(options: Options, corpus: &Vec<OwnedSample>) -> (Guided, FitReport) {
    let mut encoder = encoder(options);
    let report = encoder.fit(&Corpus::new(corpus)).unwrap();
    (encoder, report)
}

fn encode(encoder: &Guided, samples: &[OwnedSample]) -> Vec<f32> {
    let samples: Vec<Sample<'_>> = samples.iter().map(OwnedSample::as_sample).collect();
    let mut out = vec![f32::NAN; samples.len() * encoder.shape().len()];
    encoder.encode(&samples, &mut out).unwrap();
    out
}

fn value(report: &FitReport, name: &str) -> f64 {
    report.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("no {name} in {report:?}")).1
}

#[test]
fn fitting_puts_the_response_into_the_latent() {
    let corpus = corpus(200);
    let (_, untrained) = fitted(Options { steps: 0, ..small() }, &corpus);
    let (_, report) = fitted(small(), &corpus);
    println!("untrained {untrained:?}\ntrained {report:?}");
    let [with, without, shuffled, gain] =
        ["nll_with_latent", "nll_without_latent", "nll_shuffled_latent", "latent_gain"]
            .map(|name| value(&report, name));
    // Without prefix every token of 97 is as likely as any.
    assert!((without - 97f64.ln()).abs() < 1e-5, "{without}");
    assert_eq!(value(&untrained, "nll_without_latent"), without);
    assert!(with < without - 0.5, "{with}");
    assert!(with < value(&untrained, "nll_with_latent") - 1.0);
    assert!(shuffled > with + 0.2, "another row's latent misleads: {shuffled} {with}");
    assert_eq!(gain, without.min(shuffled) - with);
    assert!(value(&report, "latent_rank") > 2.0);
    assert_eq!((value(&report, "measured_samples"), value(&report, "held_out_samples")), (30.0, 30.0));
}

#[test]
fn gradients_are_finite_differences() {
    let (corpus, options, host) = (corpus(4), small(), Host::new(MODEL));
    let (encoder, corpus_view) = (encoder(options), Corpus::new(&corpus));
    let fit = Fit { options: &options, host: &host, threads: &encoder.threads, corpus: &corpus_view, layer: 2 };
    let network = fit.fresh(encoder.architecture).unwrap();
    let samples: Vec<Sample<'_>> = corpus.iter().map(OwnedSample::as_sample).collect();
    let (_, gradients) = fit.gradients(&network, &samples).unwrap();
    for (name, var) in network.variables() {
        let at = var.as_tensor().copy().unwrap();
        let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        assert!(norm > 0.0, "{name} gets a zero gradient");
        // Along the gradient itself, where the slope is its norm.
        let direction = (gradient / f64::from(norm)).unwrap();
        let loss = |by: f64| {
            var.set(&(&at + (&direction * by).unwrap()).unwrap()).unwrap();
            fit.gradients(&network, &samples).unwrap().0
        };
        let slope = (loss(0.01) - loss(-0.01)) / 0.02;
        var.set(&at).unwrap();
        assert!((slope - f64::from(norm)).abs() < 0.02 * f64::from(norm) + 1e-3, "{name}: {slope} {norm}");
    }
}

#[test]
fn a_latent_does_not_depend_on_its_neighbours() {
    let corpus = corpus(20);
    let (encoder, _) = fitted(Options { steps: 2, ..small() }, &corpus);
    let together = encode(&encoder, &corpus);
    let each = encoder.shape().len();
    for (sample, latent) in corpus.iter().zip(together.chunks(each)) {
        assert_eq!(encode(&encoder, std::slice::from_ref(sample)), latent);
    }
    assert_ne!(together[..each], together[each..2 * each]);
    assert!(encode(&encoder, &[]).is_empty());
}

#[test]
fn only_the_prompts_end_and_the_responses_beginning_count() {
    let corpus = corpus(20);
    let (encoder, _) = fitted(Options { steps: 2, max_tokens: 3, ..small() }, &corpus);
    let mut longer = corpus[0].clone();
    longer.response_ids = vec![11, 12, 13];
    let short = encode(&encoder, &[longer.clone()]);
    longer.response_ids.push(14);
    assert_eq!(encode(&encoder, &[longer.clone()]), short);
    longer.response_ids[2] = 15;
    assert_ne!(encode(&encoder, &[longer]), short);
}

#[test]
fn same_seed_same_bytes_and_state_comes_back() {
    let (corpus, options) = (corpus(12), Options { steps: 5, ..small() });
    let (encoder, report) = fitted(options, &corpus);
    assert_eq!(value(&report, "held_out_samples"), 0.0, "12 rows are too few to spare any");
    let state = encoder.save().unwrap();
    assert_eq!(fitted(options, &corpus).0.save().unwrap(), state);

    let mut restored = self::encoder(options);
    assert!(restored.save().unwrap().is_empty());
    restored.load(&state).unwrap();
    assert_eq!(restored.save().unwrap(), state);
    assert_eq!(encode(&restored, &corpus), encode(&encoder, &corpus));
    restored.load(&[]).unwrap();
    assert!(restored.save().unwrap().is_empty());
}

#[test]
fn a_second_fit_goes_on_from_the_first() {
    let corpus = corpus(40);
    let (mut encoder, first) = fitted(Options { steps: 15, ..small() }, &corpus);
    let mut restored = self::encoder(Options { steps: 15, ..small() });
    restored.load(&encoder.save().unwrap()).unwrap();
    let second = encoder.fit(&Corpus::new(&corpus)).unwrap();
    assert!(value(&second, "nll_with_latent") < value(&first, "nll_with_latent"));
    restored.fit(&Corpus::new(&corpus)).unwrap();
    assert_eq!(restored.save().unwrap(), encoder.save().unwrap(), "from the same instance or from its state");
}

/// The prompt of the tenth row of `corpus`.
const HELD_OUT: [u32; 2] = [29, 2];

/// Counts how often it is asked whether to stop, and says so once; minds that a prompt is not trained on.
struct Watched {
    stop_at: usize,
    asked: AtomicUsize,
}

impl Services for Watched {
    fn model(&self) -> Option<ModelFacts> {
        MODEL.model()
    }
    fn cancelled(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) == self.stop_at
    }
    fn hidden_states(&self, s: &[Sample<'_>], layer: usize, by: Pooling, out: &mut [f32]) -> Result<(), Error> {
        MODEL.hidden_states(s, layer, by, out)
    }
    fn token_states(&self, s: &[Sample<'_>], layer: usize, out: &mut [f32]) -> Result<(), Error> {
        MODEL.token_states(s, layer, out)
    }
    fn prefix_nll(&self, s: &[Sample<'_>], at: &[f32], nll: &mut [f32], slopes: &mut [f32]) -> Result<(), Error> {
        // Training alone asks for gradients.
        let held_out = |s: &Sample<'_>| s.prompt_ids == HELD_OUT;
        assert!(slopes.is_empty() || !s.iter().any(held_out), "training saw a prompt that is measured");
        MODEL.prefix_nll(s, at, nll, slopes)
    }
}

#[test]
fn a_prompt_that_is_measured_is_never_trained_on() {
    // The tenth row is measured; here another row has its prompt too.
    let mut corpus = corpus(20);
    assert_eq!(corpus[18].prompt_ids, HELD_OUT);
    corpus[4].prompt_ids = HELD_OUT.to_vec();
    let host = Host::new(Watched { stop_at: usize::MAX, asked: AtomicUsize::new(0) });
    let mut encoder = Guided::new(Options { steps: 9, ..small() }, host).unwrap();
    let report = encoder.fit(&Corpus::new(&corpus)).unwrap();
    assert_eq!(value(&report, "held_out_samples"), 4.0);
}

#[test]
fn a_stop_is_obeyed_between_steps() {
    let host = Host::new(Watched { stop_at: 2, asked: AtomicUsize::new(0) });
    let mut encoder = Guided::new(small(), host).unwrap();
    assert_eq!(encoder.fit(&Corpus::new(&corpus(4))).unwrap_err(), Error::cancelled());
}

#[test]
fn faults_are_named() {
    let mut encoder = encoder(small());
    let error = encoder.encode(&[], &mut []).unwrap_err();
    assert!(error.message().contains("has learned nothing yet"), "{error}");
    for nothing in [vec![], vec![OwnedSample { prompt_ids: vec![3], ..Default::default() }; 2]] {
        let error = encoder.fit(&Corpus::new(&nothing)).unwrap_err();
        assert!(error.message().contains("learns from prompts with responses, and found none"), "{error}");
    }
    let error = Guided::new(small(), Host::stand_in()).map(|_| ()).unwrap_err();
    assert_eq!(error.message(), "the host has no model loaded");

    let (learned, _) = fitted(Options { steps: 0, ..small() }, &corpus(4));
    let mut none = vec![0.0; learned.shape().len()];
    let empty = Sample { prompt: "", response: "", prompt_ids: &[3], response_ids: &[] };
    let error = learned.encode(&[empty], &mut none).unwrap_err();
    assert_eq!(error.message(), "a sample has no response token");
    let mut state = learned.save().unwrap();
    let mut wider = self::encoder(Options { prefix: 3, ..small() });
    assert_eq!(
        wider.load(&state).unwrap_err().message(),
        "the saved guided encoder has hidden 16, dim 16, layers 1, heads 2, slots 2, prefix 2, the options ask for hidden 16, \
         dim 16, layers 1, heads 2, slots 2, prefix 3: keep the options of a run, or start anew"
    );
    let renamed = String::from_utf8_lossy(&state).replace("prefix.start", "prefix.stark").into_bytes();
    assert!(encoder.load(&renamed).is_err());
    state.pop();
    let error = encoder.load(&state).unwrap_err();
    assert!(error.message().contains("not a saved state of the guided encoder"), "{error}");
}

#[test]
fn options_are_checked() {
    for (given, message) in [
        (json!({"prefix": 0}), "prefix must be at least 1"),
        (json!({"dim": 10, "heads": 4}), "dim 10 must be a multiple of heads 4"),
        (json!({"learning_rate": -1.0}), "learning_rate -1 must be a number above 0"),
    ] {
        let error = serde_json::from_value::<Options>(given).unwrap().validate().unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    assert!(Options::default().validate().is_ok());
}
