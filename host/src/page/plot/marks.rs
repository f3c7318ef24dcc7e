//! The marks of a chart: lines, dots, clouds, bars, links.

use super::scale::Scale;
use std::fmt::Write;

/// A line is drawn with at most this many points, a cloud with at most that many.
pub const MAX_LINE: usize = 400;
pub const MAX_CLOUD: usize = 2000;

/// How a series is drawn.
pub enum Mark {
    Line(Vec<(f64, f64)>),
    /// A line with a dot at each value, for few values.
    Dots(Vec<(f64, f64)>),
    Cloud(Vec<(f64, f64)>),
    /// From x0 to x1, of height y.
    Bars(Vec<(f64, f64, f64)>),
    /// Thin lines between two points each.
    Links(Vec<[(f64, f64); 2]>),
}

impl Mark {
    /// All its points, for the scales.
    pub fn points(&self) -> Vec<(f64, f64)> {
        match self {
            Mark::Line(p) | Mark::Dots(p) | Mark::Cloud(p) => p.clone(),
            Mark::Bars(b) => b.iter().flat_map(|&(x0, x1, y)| [(x0, 0.0), (x1, y)]).collect(),
            Mark::Links(l) => l.as_flattened().to_vec(),
        }
    }

    /// Its sign in the legend.
    pub fn sign(&self, class: usize, x: f64, y: f64) -> String {
        match self {
            Mark::Cloud(_) => format!("<path class=\"d s{class}\" d=\"M{} {y}h0\"/>", x + 12.0),
            Mark::Links(_) => format!("<path class=\"j\" d=\"M{x} {y}h18\"/>"),
            _ => format!("<path class=\"l s{class}\" d=\"M{x} {y}h18\"/>"),
        }
    }
}

/// Draws a series; `class` is its number, from 1.
pub fn draw(out: &mut String, mark: &Mark, class: usize, x: &Scale, y: &Scale) {
    let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let mut d = String::new();
    match mark {
        Mark::Line(points) | Mark::Dots(points) => {
            let mut pen_down = false;
            for p in thin(points) {
                if finite(&p) {
                    let _ = write!(d, "{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, x.at(p.0), y.at(p.1));
                }
                pen_down = finite(&p);
            }
            let _ = write!(out, "<path class=\"l s{class}\" d=\"{d}\"/>");
            if matches!(mark, Mark::Dots(_)) {
                cloud(out, "d", class, points.iter().filter(|p| finite(p)), x, y);
            }
        }
        Mark::Cloud(points) => {
            let every = points.len().div_ceil(MAX_CLOUD).max(1);
            cloud(out, "p", class, points.iter().step_by(every).filter(|p| finite(p)), x, y);
        }
        Mark::Bars(bars) => {
            let floor = y.at(0.0);
            for &(x0, x1, h) in bars.iter().filter(|b| b.0.is_finite() && b.1.is_finite() && b.2.is_finite()) {
                // A hair of space between neighbours, but never a bar without width.
                let (left, right) = (x.at(x0) + 0.5, x.at(x1) - 0.5);
                let right = right.max(left + 1.0);
                let _ = write!(d, "M{left:.1} {floor:.1}V{:.1}H{right:.1}V{floor:.1}Z", y.at(h));
            }
            let _ = write!(out, "<path class=\"b s{class}\" d=\"{d}\"/>");
        }
        Mark::Links(links) => {
            for [a, b] in links.iter().filter(|link| link.iter().all(finite)) {
                let _ = write!(d, "M{:.1} {:.1}L{:.1} {:.1}", x.at(a.0), y.at(a.1), x.at(b.0), y.at(b.1));
            }
            let _ = write!(out, "<path class=\"j\" d=\"{d}\"/>");
        }
    }
}

/// Round dots as one path of strokes without length: a tenth of the bytes of circles.
fn cloud<'a>(
    out: &mut String,
    kind: &str,
    class: usize,
    points: impl Iterator<Item = &'a (f64, f64)>,
    x: &Scale,
    y: &Scale,
) {
    let d = points.fold(String::new(), |mut d, p| {
        let _ = write!(d, "M{:.1} {:.1}h0", x.at(p.0), y.at(p.1));
        d
    });
    let _ = write!(out, "<path class=\"{kind} s{class}\" d=\"{d}\"/>");
}

/// At most [`MAX_LINE`] points: the means of equally long pieces. A piece with a value that is not finite stays a gap.
pub fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_LINE).max(1);
    let mean =
        |piece: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| piece.iter().map(of).sum::<f64>() / piece.len() as f64;
    points.chunks(every).map(|piece| (mean(piece, |p| p.0), mean(piece, |p| p.1))).collect()
}
