//! Boilerplate, and the signs among several samples of a prompt.
use super::*;
use crate::pairs::{Candidate, Pairing, Rule};

/// Of pairs with these texts, which signs warn, and what boilerplate says.
fn texts(of: impl Fn(usize) -> [String; 2]) -> (Vec<Sign>, Diagnosis) {
    let dir = tempfile::tempdir().unwrap();
    let mut pairs = Pairs::new(dir.path(), 0).unwrap();
    for i in 0..100 {
        let [chosen, rejected] = of(i);
        pairs.add([&chosen, &rejected], [5, 5], Some(1.0), 1.0);
    }
    let all = scored(&pairs, None, None, &Limits::default());
    let warned = all.iter().filter(|d| d.verdict == Verdict::Warning).map(|d| d.sign).collect();
    (warned, all.into_iter().find(|d| d.sign == Sign::Boilerplate).unwrap())
}

#[test]
fn a_text_that_comes_again_and_again_is_boilerplate_on_either_side() {
    let (warned, found) = texts(|i| [format!("yes {i}"), format!("no {i}")]);
    assert_eq!((warned.len(), found.verdict, found.figure), (0, Verdict::Healthy, Some(0.01)));
    // Case and white space around do not count; pairs of equal texts do not either.
    let idea = ["No idea.", " no IDEA.\n", "NO idea. "];
    let (warned, found) = texts(|i| {
        let boilerplate = idea[i % 3].to_owned();
        match i {
            0..40 => [format!("yes {i}"), boilerplate],
            40..60 => [boilerplate, format!("no {i}")],
            60..80 => ["same".into(), "same".into()],
            _ => [format!("yes {i}"), format!("no {i}")],
        }
    });
    assert_eq!((warned, found.figure), (vec![Sign::Boilerplate], Some(0.5)));
    assert!(
        found.finding.contains("\"no IDEA.\" has 25.0 %; of the rejected, \"No idea.\" has 50.0 %"),
        "{}",
        found.finding
    );
    let (_, long) = texts(|i| ["é".repeat(50), format!("no {i}")]);
    assert!(long.finding.contains(&format!("\"{}…\" has 100.0 %", "é".repeat(40))), "{}", long.finding);
}

/// Warnings of prompts with four samples: (count, distance, difference in length).
fn warned(rule: Rule, of: impl Fn(usize) -> Vec<(u32, f32, usize)>) -> (Vec<Sign>, Vec<Diagnosis>) {
    let mut choices = Choices::default();
    for prompt in 0..200 {
        let samples = of(prompt);
        let candidate =
            |&(count, distance, _): &(u32, f32, usize)| Candidate { count, equal: false, cut: false, distance };
        let candidates: Vec<Candidate> = samples.iter().map(candidate).collect();
        let made = Pairing { rule, ..Pairing::default() }.pairs(&candidates, &[]);
        choices.add(&candidates, &samples.iter().map(|s| s.2).collect::<Vec<_>>(), true, &made);
    }
    let dir = tempfile::tempdir().unwrap();
    let none = Pairs::new(dir.path(), 0).unwrap();
    let all = scored(&none, None, Some(&choices), &Limits::default()).split_off(3);
    (all.iter().filter(|d| d.verdict == Verdict::Warning).map(|d| d.sign).collect(), all)
}

/// A distance that has nothing to do with anything.
fn any(prompt: usize, k: usize) -> f32 {
    1.0 + noise(5 * prompt + k) as f32
}

#[test]
fn each_sign_among_samples_is_found_alone() {
    let nearest = Rule::NearestOverFarthest;
    let healthy = |i: usize| (0..3).map(|k| (1 + u32::from(k == i % 3), any(i, k), (i * 7 + k * 3) % 5)).collect();
    let (warnings, all) = warned(nearest, healthy);
    assert!(warnings.is_empty() && all.iter().all(|d| d.verdict == Verdict::Healthy), "{all:?}");
    let excess = all[2].figure.unwrap();
    assert!(excess.abs() < 0.1 && all[2].finding.contains("of 200 prompts"), "{:?}", all[2]);

    let same = |i: usize| if i % 5 < 3 { vec![(4, any(i, 0), 1)] } else { healthy(i) };
    let (warnings, all) = warned(nearest, same);
    assert_eq!((warnings, all[0].figure), (vec![Sign::SameSamples], Some(0.6)));

    let by_length = |i: usize| (0..4).map(|k| (1, any(i, k), (100.0 * any(i, k)) as usize)).collect();
    let (warnings, all) = warned(nearest, by_length);
    assert_eq!((warnings, all[1].figure), (vec![Sign::LengthWithinPrompts], Some(1.0)));
    // Between prompts length may say all: within them it does not.
    let between = |i: usize| {
        (0..3).map(|k| (1 + u32::from(k == i % 3), i as f32 + any(i, k), 10 * i + (i * 7 + k * 3) % 5)).collect()
    };
    assert!(warned(nearest, between).0.is_empty());

    let likeliest = |i: usize| {
        (0..3).map(|k| (1 + u32::from(k == 1), if k == 1 { 0.0 } else { any(i, k) + 0.1 }, k * i % 3)).collect()
    };
    let (warnings, all) = warned(nearest, likeliest);
    assert_eq!(warnings, [Sign::LikeliestChosen]);
    assert!((all[2].figure.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    // Where the golden response is chosen, none of the samples is.
    assert_eq!(warned(Rule::GoldenOverFarthest, likeliest).1[2].verdict, Verdict::Unknown);
    let one = |i: usize| vec![(4, any(i, 0), 2)];
    assert_eq!(
        warned(nearest, one).1.iter().map(|d| d.verdict).collect::<Vec<_>>(),
        [Verdict::Warning, Verdict::Unknown, Verdict::Unknown]
    );
}
