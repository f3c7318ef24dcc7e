#![allow(clippy::unwrap_used)]
use super::*;
use crate::stats::{self, bootstrap::percentiles};

const DISTANCES: [f64; 10] = [1., 2., 2., 3., 3., 4., 5., 5., 0.5, 2.];
const BINARY: [f64; 10] = [1., 1., 0., 0., 1., 0., 0., 0., 1., 0.];
const GRADES: [f64; 10] = [3., 1., 0., 2., 2., 1., 0., 3., 3., 1.];
const WEIGHTS: [f64; 10] = [2., 0., 1., 3., 1., 0., 2., 1., 1., 4.];

fn close(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
}

fn rho(a: &[f64], b: &[f64], weights: &[f64]) -> Option<f64> {
    correlation(&Ranking::of(a).ranks(weights), &Ranking::of(b).ranks(weights), weights)
}

fn auc(labels: &[f64], distances: &[f64], weights: &[f64]) -> Option<f64> {
    concordance(&Ranking::of(labels), &Ranking::of(distances), weights)
}

/// Prompts of `each` responses with labels as given.
fn truth(labels: &[f64], each: usize, lengths: &[f64]) -> Truth {
    let prompts = (0..labels.len() / each).map(|i| i * each..(i + 1) * each).collect();
    let apart = (0..labels.len() / each).map(|i| i % 2 == 0).collect();
    Truth { prompts, judged: true, labels: labels.to_vec(), length_differences: lengths.to_vec(), apart }
}

#[test]
fn auc_and_rank_correlation_are_scipys_with_ties_and_with_repeats() {
    let once = [1.0; 10];
    // scipy 1.x: mannwhitneyu(d[y == 0], d[y == 1]) / (n0 n1), with grades (somersd(grade, -d) + 1) / 2; with weights
    // the same of np.repeat(..., WEIGHTS).
    close(auc(&BINARY, &DISTANCES, &once), 0.854_166_666_666_666_6);
    close(auc(&GRADES, &DISTANCES, &once), 0.608_108_108_108_108_1);
    close(auc(&BINARY, &DISTANCES, &WEIGHTS), 0.852_272_727_272_727_3);
    close(auc(&GRADES, &DISTANCES, &WEIGHTS), 0.619_047_619_047_619_1);
    // spearmanr
    close(rho(&DISTANCES, &BINARY, &once), -0.615_360_677_247_681_7);
    close(rho(&DISTANCES, &GRADES, &once), -0.270_722_604_047_875_9);
    close(rho(&DISTANCES, &GRADES, &WEIGHTS), -0.346_336_978_844_423_05);
    close(rho(&DISTANCES, &GRADES, &once), stats::rank_correlation(&DISTANCES, &GRADES).unwrap());
    assert_eq!((auc(&once, &DISTANCES, &once), rho(&DISTANCES, &once, &once)), (None, None));
    // np.percentile
    let [low, high] = percentiles(&[1., 2., 4., 8., 16.]).unwrap();
    close(Some(low), 1.1);
    close(Some(high), 15.2);
}

#[test]
fn pairs_of_one_prompt_with_ties() {
    // Pairs with different labels: (3, 1) in order, (3, 1') tied, and (1, 1') do not count.
    assert_eq!(share_in_order(&[3., 1., 1.], &[2., 5., 2.]), 0.75);
    assert_eq!(share_in_order(&[1., 1.], &[2., 5.]), 0.5);
}

#[test]
fn a_distance_that_is_the_label_is_perfect_and_its_reverse_is_the_opposite() {
    let labels: Vec<f64> = (0..120).map(|i| f64::from(i % 3)).collect();
    let lengths: Vec<f64> = (0..120).map(|i| f64::from(i * 7 % 11)).collect();
    let truth = truth(&labels, 3, &lengths);
    let distances: Vec<f64> = labels.iter().map(|l| 9.0 - l).collect();
    let good = Measures::of(&truth, &distances, 1);
    let exactly = |v: f64| Figure { value: Some(v), interval: Some([v, v]) };
    assert_eq!((good.accuracy, good.auc), (exactly(1.0), exactly(1.0)));
    close(good.label_correlation.value, -1.0);
    let bad = Measures::of(&truth, &labels, 1);
    assert_eq!((bad.accuracy, bad.auc), (exactly(0.0), exactly(0.0)));
    close(bad.label_correlation.value, 1.0);
    close(Measures::of(&truth, &lengths, 1).length_correlation.value, 1.0);
}

#[test]
fn a_constant_distance_is_chance_and_correlates_with_nothing() {
    let truth = truth(&BINARY, 5, &GRADES);
    let m = Measures::of(&truth, &[2.0; 10], 1);
    assert_eq!(m.accuracy, Figure { value: Some(0.5), interval: Some([0.5, 0.5]) });
    assert_eq!(m.length_correlation, Figure { value: None, interval: None });
}

#[test]
fn chance_is_one_half_and_intervals_have_the_width_of_theory() {
    let labels: Vec<f64> = (0..800).map(|i| f64::from(i % 2)).collect();
    let truth = truth(&labels, 2, &labels);
    let chance = Measures::by_chance(&truth, 5);
    for figure in [chance.accuracy, chance.auc] {
        assert!((figure.value.unwrap() - 0.5).abs() < 0.005, "{figure:?}");
        assert!(figure.interval.is_some_and(|[low, high]| low < 0.5 && 0.5 < high), "{figure:?}");
    }
    let once = Measures::of(&truth, &random_distances(800, 5, 0), 5);
    for figure in [chance.accuracy, once.accuracy] {
        // 400 prompts of one pair: a proportion p of standard error sqrt(p (1 - p) / 400).
        let (p, [low, high]) = (figure.value.unwrap(), figure.interval.unwrap());
        let theory = 2.0 * 1.96 * (p * (1.0 - p) / 400.0f64).sqrt();
        assert!(((high - low) / theory - 1.0).abs() < 0.1, "{} against {theory}", high - low);
    }
}

#[test]
fn resamples_are_a_function_of_the_seed() {
    let truth = truth(&BINARY, 5, &GRADES);
    let of = |seed| Measures::of(&truth, &DISTANCES, seed);
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(of(3), one_thread.install(|| of(3)));
    assert_ne!(resample(50, 3, 0), resample(50, 4, 0));
    assert_ne!(resample(50, 3, 0), resample(50, 3, 1));
    assert_eq!(resample(50, 3, 7).iter().sum::<u32>(), 50);
    assert_ne!(random_distances(4, 1, 0), random_distances(4, 2, 0));
    assert_ne!(random_distances(4, 1, 0), random_distances(4, 1, 1));
}

#[test]
fn prompts_whose_golden_response_is_judged_too_can_be_left_out() {
    // Prompts in order and in reverse by turns: the first, which are apart, are right.
    let labels: Vec<f64> = (0..40).map(|i| f64::from(i % 2)).collect();
    let distances: Vec<f64> = (0..40).map(|i| f64::from((i + i / 2) % 2)).map(|d| 1.0 - d).collect();
    let mut truth = truth(&labels, 2, &labels);
    let measures = Measures::of(&truth, &distances, 1);
    assert_eq!(measures.accuracy.value, Some(0.5));
    assert_eq!(measures.accuracy_apart, Figure { value: Some(1.0), interval: Some([1.0, 1.0]) });
    truth.apart.fill(false);
    assert_eq!(Measures::of(&truth, &distances, 1).accuracy_apart, Figure::default());
    truth.apart.fill(true);
    let all = Measures::of(&truth, &distances, 1);
    assert_eq!(all.accuracy_apart, all.accuracy);
}
