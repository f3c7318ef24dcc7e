//! Each sign is provoked, and stays silent on what is healthy.
#![allow(clippy::unwrap_used)]
use super::*;

mod choices;

fn noise(i: usize) -> f64 {
    ((i * 7919 + 13) as f64).sin()
}

/// Pairs of different prompts whose distance follows neither length nor anything else.
fn pairs(change: impl Fn(usize, &mut (String, f32, f32, [usize; 2]))) -> Pairs {
    let dir = tempfile::tempdir().unwrap();
    let mut pairs = Pairs::new(dir.path(), 200).unwrap();
    for i in 0..200 {
        let distance = 1.5 + noise(i) as f32;
        let prompt = format!("Question {i}: what is {} times {}?", i * 17 % 101, i * 31 % 89);
        let mut pair = (prompt, distance, distance / 1.5, [20, 20 + i * 37 % 23]);
        change(i, &mut pair);
        let (chosen, rejected) = (format!("Answer {i}"), format!("Answer {}", i + usize::from(i % 10 > 0)));
        pairs.add([&chosen, &rejected], pair.3, Some(pair.1), pair.2);
        pairs.add_prompt(&pair.0).unwrap();
    }
    pairs
}

fn latents(gain: f64, rank: f64) -> Latents {
    let fit = [("latent_gain", gain), ("nll_with_latent", 2.0), ("nll_shuffled_latent", 2.4)];
    Latents { fit: fit.map(|(k, v)| (k.to_owned(), v)).into(), rank }
}

fn warnings(pairs: &Pairs, latents: &Latents) -> Vec<Sign> {
    let all = scored(pairs, Some(latents), None, &Limits::default());
    all.iter().filter(|d| d.verdict == Verdict::Warning).map(|d| d.sign).collect()
}

#[test]
fn a_healthy_round_has_no_warning() {
    let all = scored(&pairs(|_, _| ()), Some(&latents(0.3, 12.0)), None, &Limits::default());
    for d in &all {
        let expected = if d.sign == Sign::Preference { Verdict::Unknown } else { Verdict::Healthy };
        assert_eq!(d.verdict, expected, "{d:?}");
    }
    assert_eq!(all.len(), 7);
    assert_eq!(
        all[0].finding,
        "the latent saves 0.300 nats a token of the response; another response's latent costs 0.400 nats a token more than the right one"
    );
}

#[test]
fn each_sign_is_found_alone() {
    let (well, good) = (pairs(|_, _| ()), latents(0.3, 12.0));
    assert_eq!(warnings(&well, &latents(0.001, 12.0)), [Sign::Reconstruction]);
    assert_eq!(warnings(&well, &latents(0.3, 1.2)), [Sign::CollapsedLatents]);
    let outliers = pairs(|i, pair| pair.2 = if i % 50 == 1 { 50.0 } else { 0.01 });
    assert_eq!(warnings(&outliers, &good), [Sign::Outliers]);
    let lengths = pairs(|i, pair| pair.3[1] = 20 + (10.0 * pair.1) as usize + i % 2);
    assert_eq!(warnings(&lengths, &good), [Sign::Length]);
    let repeated = pairs(|i, pair| {
        if i % 4 == 0 {
            pair.0 = "  tell me a long STORY about the fox and the hen in the wood".into();
        }
    });
    assert_eq!(warnings(&repeated, &good), [Sign::DuplicatePrompts]);
}

#[test]
fn limits_move_verdicts() {
    let limits = Limits { min_latent_gain: 0.5, max_length_correlation: -1.0, ..Limits::default() };
    let all = scored(&pairs(|_, _| ()), Some(&latents(0.3, 12.0)), None, &limits);
    let warned: Vec<Sign> = all.iter().filter(|d| d.verdict == Verdict::Warning).map(|d| d.sign).collect();
    assert_eq!(warned, [Sign::Reconstruction, Sign::Length]);
}

#[test]
fn what_cannot_be_measured_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let none = Pairs::new(dir.path(), 0).unwrap();
    let all = scored(&none, Some(&Latents { fit: BTreeMap::new(), rank: 9.0 }), None, &Limits::default());
    let of = |sign| all.iter().find(|d| d.sign == sign).unwrap().verdict;
    assert_eq!([Sign::Reconstruction, Sign::Length, Sign::Outliers, Sign::Boilerplate].map(of), [Verdict::Unknown; 4]);
    assert!(scored(&pairs(|_, _| ()), None, None, &Limits::default()).iter().all(|d| d.sign != Sign::Length));
}

#[test]
fn displacement_is_a_loss_per_token() {
    let config = TrainConfig { beta: 0.5, ..TrainConfig::default() };
    // 40 steps down to -2 / beta 0.5 over 10 tokens: 0.4 nats a token at the end.
    let falling: Vec<f64> = (1..=40).map(|i| -2.0 * f64::from(i.min(30)) / 30.0).collect();
    let d = trained(&falling, 10.0, &config, &Limits::default());
    assert_eq!((d.verdict, d.sign), (Verdict::Warning, Sign::Displacement));
    assert!((d.figure.unwrap() - 0.4).abs() < 1e-9);
    let rising: Vec<f64> = falling.iter().map(|r| -r).collect();
    assert_eq!(trained(&rising, 10.0, &config, &Limits::default()).verdict, Verdict::Healthy);
    assert_eq!(trained(&[], 10.0, &config, &Limits::default()).verdict, Verdict::Unknown);
}

#[test]
fn effective_rank_counts_directions() {
    // Points of a square in two of five dimensions, however many; on a line; all the same.
    let square =
        |n: usize| -> Vec<f32> { (0..n).flat_map(|i| [(i % 2) as f32, 7.0, (i / 2 % 2) as f32, 0.0, -3.0]).collect() };
    assert!((effective_rank(square(400), 5).unwrap() - 2.0).abs() < 1e-5);
    assert!((effective_rank(square(4), 5).unwrap() - 2.0).abs() < 1e-5);
    let line: Vec<f32> = (0..50).flat_map(|i| [i as f32, -2.0 * i as f32, 1.0]).collect();
    assert!((effective_rank(line, 3).unwrap() - 1.0).abs() < 1e-4);
    assert_eq!(effective_rank(vec![0.5; 30], 3).unwrap(), 0.0);
    assert_eq!(effective_rank(vec![], 3).unwrap(), 0.0);
    assert_eq!(evenly_spaced(3), [0, 1, 2]);
    let spaced = evenly_spaced(10_000);
    assert_eq!((spaced.len(), spaced[0], spaced[1], spaced[1023]), (1024, 0, 9, 9990));
}

#[test]
fn prompts_that_differ_little_are_duplicates() {
    let share = |prompts: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let mut all = Prompts::new(dir.path(), prompts.len()).unwrap();
        prompts.iter().for_each(|p| all.add(p).unwrap());
        all.duplicate_share()
    };
    let story = "Once upon a time there was a miller who had three sons, his mill, a donkey and a cat; the sons had to grind, and the donkey had to haul grain.";
    let changed = story.replace("grind", "grins");
    let other = "A certain king had a beautiful garden, and in the garden stood a tree which bore golden apples, which were always counted.";
    assert_eq!(share(&[story, other]), 0.0);
    assert_eq!(share(&[story, other, &changed, &story.to_uppercase()]), 0.5);
    assert_eq!(share(&["", "", "ab", "ab"]), 0.5);
    assert_eq!(share(&[]), 0.0);
}
