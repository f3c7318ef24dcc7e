#![allow(clippy::unwrap_used)]
use super::{
    marks::{MAX_CLOUD, MAX_LINE, thin},
    *,
};

fn labels(low: f64, high: f64) -> Vec<String> {
    Scale::over([low, high].into_iter(), 0.0, 100.0, None, false).ticks().into_iter().map(|t| t.1).collect()
}

#[test]
fn ticks_are_round_and_cover_the_values() {
    assert_eq!(labels(0.03, 0.97), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    assert_eq!(labels(-13.0, 220.0), ["-50", "0", "50", "100", "150", "200", "250"]);
    assert_eq!(labels(1e-5, 9e-5), ["0", "2e-5", "4e-5", "6e-5", "8e-5", "1e-4"]);
    assert_eq!(labels(3.0, 3.0), ["2.6", "2.8", "3.0", "3.2", "3.4"]);
    let whole = Scale::over([0.0, 2.0].into_iter(), 0.0, 100.0, None, true);
    assert_eq!(whole.ticks().into_iter().map(|t| t.1).collect::<Vec<_>>(), ["0", "1", "2"]);
    for (low, high) in [(0.1, 0.7), (-1e-9, 1e-9), (5e5, 3e7), (-0.4, 12.0)] {
        let scale = Scale::over([low, high].into_iter(), 0.0, 100.0, None, false);
        assert!(scale.low <= low && scale.high >= high && (3..=8).contains(&scale.ticks().len()), "{low} {high}");
    }
}

#[test]
fn a_scale_maps_its_ends() {
    let scale = Scale::over([0.0, 10.0].into_iter(), 200.0, 20.0, None, false);
    assert_eq!((scale.at(0.0), scale.at(5.0), scale.at(10.0)), (200.0, 110.0, 20.0));
}

#[test]
fn numbers_keep_four_digits() {
    let shown = [0.0, 1.0, 0.123456, 12.3456, 99_999.5, 250_000.0, 1.5e-7, f64::NAN, -2.50].map(number);
    assert_eq!(shown, ["0", "1", "0.1235", "12.35", "100000", "250000", "1.50e-7", "not finite", "-2.5"]);
}

#[test]
fn values_that_are_not_finite_break_the_line_and_are_counted() {
    let points = vec![(1.0, 1.0), (2.0, 2.0), (3.0, f64::NAN), (4.0, 3.0), (5.0, f64::INFINITY), (6.0, 1.0)];
    let svg = Plot::new("t", "d", "x", "y").line("l", points).svg("f");
    let path = svg.split("class=\"l s1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (3, 1), "{path}");
    assert!(svg.contains("y (2 not finite)") && !svg.contains("NaN") && !svg.contains("inf"));
    let svg = Plot::new("t", "d", "x", "y").cloud("c", vec![(f64::NAN, 1.0)]).svg("f");
    assert!(svg.contains("no finite values"));
}

#[test]
fn long_series_are_thinned() {
    let many: Vec<_> = (0..10_000).map(|i| (i as f64, (i % 7) as f64)).collect();
    assert_eq!(thin(&many).len(), MAX_LINE);
    let svg = Plot::new("t", "d", "x", "y").cloud("c", many).svg("f");
    assert_eq!(svg.matches("h0").count(), MAX_CLOUD);
}

#[test]
fn a_histogram_holds_every_finite_value_once() {
    let values: Vec<f64> = (0..1000).map(|i| (i as f64 * 0.37).sin() * 3.0).chain([f64::NAN]).collect();
    let bars = histogram(&values);
    assert!((bars.iter().map(|b| b.2).sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(bars.windows(2).all(|w| w[0].1 == w[1].0) && bars.len() <= 32);
    let one = histogram(&[1.0; 5]);
    assert_eq!((one.len(), one[0].2), (1, 1.0));
    assert!(histogram(&[]).is_empty() && histogram(&[f64::NAN]).is_empty());
}

#[test]
fn texts_in_a_chart_are_escaped() {
    let svg = Plot::new("<t>", "a & b", "<x>", "\"y\"").line("<l>", vec![(0.0, 0.0)]).line("m", vec![]).svg("f");
    assert!(!svg.contains("<t>") && !svg.contains("<x>") && !svg.contains("<l>") && svg.contains("a &amp; b"));
}

#[test]
fn equal_scales_give_a_unit_one_length() {
    let [x, y] = equal_ranges(&[(0.0, 0.0), (10.0, 1.0)], [300.0, 150.0]);
    assert!((x.1 - x.0 - 10.6).abs() < 1e-12 && (y.1 - y.0 - 5.3).abs() < 1e-12 && (x.0 + x.1 - 10.0).abs() < 1e-12);
    assert_eq!(equal_ranges(&[(2.0, 2.0)], [300.0, 150.0]), [(-148.0, 152.0), (-73.0, 77.0)]);
    let plot = Plot::new("t", "d", "x", "y").equal_scales().links("l", vec![[(0.0, 0.0), (4.0, 3.0)]]);
    let svg = plot.cloud("c", vec![(0.0, 0.0)]).svg("f");
    let path = svg.rsplit("class=\"j\" d=\"M").next().unwrap().split('"').next().unwrap();
    let ends: Vec<f64> = path.split([' ', 'L']).map(|n| n.parse().unwrap()).collect();
    assert!(((ends[2] - ends[0]) / (ends[1] - ends[3]) - 4.0 / 3.0).abs() < 0.01, "{path}");
}
