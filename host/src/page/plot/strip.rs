//! Values on a line, of which one may be marked as chosen and one as rejected.

use super::{super::escape::esc, scale::Scale};
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 62.0;
const MARGIN: f64 = 26.0;
/// Where the line lies.
const LINE: f64 = 24.0;

/// A value on a [`strip`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot {
    /// Finite.
    pub value: f64,
    /// Marked above the line.
    pub chosen: bool,
    /// Marked below the line.
    pub rejected: bool,
}

/// The `<svg>` element, over a range that holds all values; `id` is unique on the page.
pub fn strip(title: &str, spots: &[Spot], range: [f64; 2], id: &str) -> String {
    let x = Scale::over(range.into_iter(), MARGIN, WIDTH - MARGIN, Some((range[0], range[1])), false);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t\"><title id=\"{id}-t\">{}</title>",
        esc(title)
    );
    let mut grid = format!("M{MARGIN} {LINE}H{}", WIDTH - MARGIN);
    for (at, label) in x.ticks() {
        let _ = write!(grid, "M{at:.1} {LINE}v4");
        let _ = write!(out, "<text class=\"m a\" x=\"{at:.1}\" y=\"{}\">{label}</text>", HEIGHT - 4.0);
    }
    let _ = write!(out, "<path class=\"g\" d=\"{grid}\"/>");
    // What is marked is drawn over what is not.
    for marked in [false, true] {
        for spot in spots.iter().filter(|spot| (spot.chosen || spot.rejected) == marked) {
            let class = match (spot.chosen, spot.rejected) {
                (true, _) => 1,
                (_, true) => 2,
                _ => 7,
            };
            let _ = write!(out, "<path class=\"d s{class}\" d=\"M{:.1} {LINE}h0\"/>", x.at(spot.value));
        }
    }
    let marks = [
        ("chosen", LINE - 10.0, spots.iter().find(|s| s.chosen)),
        ("rejected", LINE + 17.0, spots.iter().find(|s| s.rejected)),
    ];
    for (word, y, spot) in marks {
        if let Some(spot) = spot {
            let _ = write!(out, "<text class=\"m n\" x=\"{:.1}\" y=\"{y}\">{word}</text>", x.at(spot.value));
        }
    }
    out + "</svg>"
}
