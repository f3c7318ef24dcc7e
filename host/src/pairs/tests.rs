#![allow(clippy::unwrap_used)]
use super::*;

/// A prompt of tests/fixtures/pairs.json, which make_pairs.py wrote with a reference of its own.
#[derive(Deserialize)]
struct Case {
    pairing: Pairing,
    candidates: Vec<(u32, bool, bool, f32)>,
    own: Vec<f32>,
    tie: bool,
    /// Chosen, rejected (-1 is the golden response) and distance.
    pairs: Vec<(i64, i64, f64)>,
}

fn number(response: Response) -> i64 {
    match response {
        Response::Golden => -1,
        Response::Own(k) => k as i64,
    }
}

#[test]
fn every_rule_makes_the_pairs_of_the_reference() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../../tests/fixtures/pairs.json")).unwrap();
    assert!(cases.len() >= 200);
    for rule in Rule::ALL {
        assert!(cases.iter().any(|case| case.pairing.rule == rule && !case.pairs.is_empty()), "{}", rule.name());
    }
    for (i, case) in cases.iter().enumerate() {
        let candidate = |&(count, equal, cut, distance): &_| Candidate { count, equal, cut, distance };
        let candidates: Vec<Candidate> = case.candidates.iter().map(candidate).collect();
        let made = case.pairing.pairs(&candidates, &case.own);
        let pairs: Vec<(i64, i64)> = made.pairs.iter().map(|p| (number(p.chosen), number(p.rejected))).collect();
        assert_eq!(pairs, case.pairs.iter().map(|(c, r, _)| (*c, *r)).collect::<Vec<_>>(), "case {i}");
        assert_eq!(made.tie, case.tie, "case {i}");
        for (pair, (_, _, distance)) in made.pairs.iter().zip(&case.pairs) {
            assert!((f64::from(pair.distance) - distance).abs() <= 1e-6 * distance.abs().max(1.0), "case {i}");
        }
    }
}

#[test]
fn a_pairing_is_a_rule_or_a_map_and_comes_back_whole() {
    let read = |text: &str| serde_json::from_str::<Pairing>(text);
    let farthest = read(r#""nearest-over-farthest""#).unwrap();
    assert_eq!(farthest, Pairing { rule: Rule::NearestOverFarthest, ..Pairing::default() });
    let full = read(r#"{"rule": "all", "drop_cut": true, "min_distance": 0.5}"#).unwrap();
    assert_eq!(full, Pairing { rule: Rule::All, drop_equal: false, drop_cut: true, min_distance: 0.5 });
    assert_eq!(read(&serde_json::to_string(&full).unwrap()).unwrap(), full);
    assert!(read(r#"{"rule": "all", "drop": true}"#).is_err());
    assert!(read(r#""farthest""#).is_err());
}

#[test]
fn one_sample_makes_the_same_pair_by_every_rule_that_looks_at_the_golden_response() {
    let one = [Candidate { count: 1, equal: false, cut: true, distance: 0.25 }];
    let of = |rule| Pairing { rule, ..Pairing::default() }.pairs(&one, &[0.0]).pairs;
    assert_eq!(of(Rule::GoldenOverOwn), of(Rule::GoldenOverFarthest));
    assert_eq!(of(Rule::GoldenOverOwn), of(Rule::All));
    assert!(of(Rule::NearestOverFarthest).is_empty() && of(Rule::MedoidOverOutlier).is_empty());
}
