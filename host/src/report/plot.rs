//! Charts as inline SVG: axes with round ticks, lines, points, bars and a legend. Colours come from the page's style sheet.
//!
//! Values that are not finite are left out (a line is broken there) and their number is said under the chart's title.

mod intervals;
mod scale;

use super::html::esc;
pub use intervals::{Interval, intervals};
pub use scale::number;
use scale::{Scale, nice_step};
use std::fmt::Write;

/// Size of a chart in its own units, which are about CSS pixels on a phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// Room above the plot area, without and with a legend.
const TOP: f64 = 22.0;
const LEGEND: f64 = 18.0;
/// Estimated width of a character of the chart's 11-unit font.
const CHAR: f64 = 6.1;
/// A line is drawn with at most this many points, a cloud with at most that many.
const MAX_LINE: usize = 400;
const MAX_CLOUD: usize = 2000;

/// How a series is drawn.
enum Mark {
    Line(Vec<(f64, f64)>),
    /// A line with a dot at each value, for few values.
    Dots(Vec<(f64, f64)>),
    Cloud(Vec<(f64, f64)>),
    /// From x0 to x1, of height y.
    Bars(Vec<(f64, f64, f64)>),
}

impl Mark {
    fn points(&self) -> Vec<(f64, f64)> {
        match self {
            Mark::Line(p) | Mark::Dots(p) | Mark::Cloud(p) => p.clone(),
            Mark::Bars(b) => b.iter().flat_map(|&(x0, x1, y)| [(x0, 0.0), (x1, y)]).collect(),
        }
    }
}

/// A chart in the making.
pub struct Plot {
    title: String,
    description: String,
    axes: (String, String),
    series: Vec<(String, Mark)>,
    /// Whole numbers only on the x axis.
    whole_x: bool,
    /// The y axis is drawn over at least this range.
    y_range: Option<(f64, f64)>,
}

impl Plot {
    /// A chart with its title, what a person who cannot see it is told, and the names of its axes.
    pub fn new(title: &str, description: &str, x: &str, y: &str) -> Self {
        Self {
            title: title.into(),
            description: description.into(),
            axes: (x.into(), y.into()),
            series: vec![],
            whole_x: false,
            y_range: None,
        }
    }
    /// Only whole numbers are marked on the x axis.
    pub fn whole_x(mut self) -> Self {
        self.whole_x = true;
        self
    }
    /// The y axis shows at least this range.
    pub fn y_range(mut self, low: f64, high: f64) -> Self {
        self.y_range = Some((low, high));
        self
    }
    /// Adds a line; a long one is drawn through the means of equally long pieces.
    pub fn line(mut self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.series.push((name.into(), Mark::Line(points)));
        self
    }
    /// Adds a line whose values are marked by dots.
    pub fn dots(mut self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.series.push((name.into(), Mark::Dots(points)));
        self
    }
    /// Adds points, evenly thinned where there are very many.
    pub fn cloud(mut self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.series.push((name.into(), Mark::Cloud(points)));
        self
    }
    /// Adds bars (from, to, height).
    pub fn bars(mut self, name: &str, bars: Vec<(f64, f64, f64)>) -> Self {
        self.series.push((name.into(), Mark::Bars(bars)));
        self
    }

    /// The chart's title.
    pub fn title(&self) -> &str {
        &self.title
    }
    /// The `<svg>` element; `id` is unique on the page.
    pub fn svg(&self, id: &str) -> String {
        let points: Vec<_> = self.series.iter().flat_map(|(_, mark)| mark.points()).collect();
        let seen: Vec<_> = points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        let lost = points.len() - seen.len();
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {{height}}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            esc(&self.title),
            esc(&self.description)
        );
        let top = if self.series.len() > 1 { TOP + LEGEND * self.legend(&mut out) } else { TOP };
        let height = HEIGHT + top - TOP;
        out = out.replacen("{height}", &height.to_string(), 1);
        if seen.is_empty() {
            let _ = write!(out, "<text x=\"{LEFT}\" y=\"{}\">no finite values</text></svg>", height / 2.0);
            return out;
        }
        let x = Scale::over(seen.iter().map(|p| p.0), LEFT, WIDTH - RIGHT, None, self.whole_x);
        let y = Scale::over(seen.iter().map(|p| p.1), height - BOTTOM, top, self.y_range, false);
        self.frame(&mut out, &x, &y, lost);
        for (i, (_, mark)) in self.series.iter().enumerate() {
            draw(&mut out, mark, i + 1, &x, &y);
        }
        out.push_str("</svg>");
        out
    }

    /// Draws the legend, wrapped to the width; returns its rows.
    fn legend(&self, out: &mut String) -> f64 {
        let (mut x, mut row) = (LEFT, 0.0);
        for (i, (name, _)) in self.series.iter().enumerate() {
            let width = 24.0 + CHAR * name.chars().count() as f64 + 10.0;
            if x + width > WIDTH && x > LEFT {
                (x, row) = (LEFT, row + 1.0);
            }
            let y = 10.0 + row * LEGEND;
            let _ = write!(
                out,
                "<path class=\"l s{}\" d=\"M{x} {y}h18\"/><text x=\"{}\" y=\"{}\">{}</text>",
                i + 1,
                x + 24.0,
                y + 4.0,
                esc(name)
            );
            x += width;
        }
        row + 1.0
    }

    /// Grid, ticks, names of the axes.
    fn frame(&self, out: &mut String, x: &Scale, y: &Scale, lost: usize) {
        let (bottom, top) = (y.start, y.end);
        let mut grid = String::new();
        for (at, label) in y.ticks() {
            let _ = write!(grid, "M{LEFT} {at:.1}H{:.1}", WIDTH - RIGHT);
            let _ = write!(out, "<text class=\"e\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>", LEFT - 6.0, at + 4.0);
        }
        for (at, label) in x.ticks() {
            let _ = write!(grid, "M{at:.1} {bottom:.1}v4");
            let _ = write!(out, "<text class=\"m\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>", bottom + 15.0);
        }
        let _ = write!(out, "<path class=\"g\" d=\"{grid}\"/>");
        if y.low < 0.0 && y.high > 0.0 {
            let _ = write!(out, "<path class=\"z\" d=\"M{LEFT} {:.1}H{:.1}\"/>", y.at(0.0), WIDTH - RIGHT);
        }
        let note = if lost > 0 { format!(" ({lost} not finite)") } else { String::new() };
        let _ = write!(
            out,
            "<text class=\"a\" x=\"4\" y=\"{:.1}\">{}{note}</text><text class=\"a e\" x=\"{}\" y=\"{:.1}\">{}</text>",
            top - 9.0,
            esc(&self.axes.1),
            WIDTH - RIGHT,
            bottom + 29.0,
            esc(&self.axes.0)
        );
    }
}

fn draw(out: &mut String, mark: &Mark, class: usize, x: &Scale, y: &Scale) {
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
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_LINE).max(1);
    let mean =
        |piece: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| piece.iter().map(of).sum::<f64>() / piece.len() as f64;
    points.chunks(every).map(|piece| (mean(piece, |p| p.0), mean(piece, |p| p.1))).collect()
}

/// Equally wide bars of round width over the finite values: (from, to, share of all finite values).
pub fn histogram(values: &[f64]) -> Vec<(f64, f64, f64)> {
    let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    if values.is_empty() {
        return vec![];
    }
    let width = if high > low { nice_step((high - low) / 30.0) } else { nice_step(high.abs().max(1e-3) / 10.0) };
    let start = (low / width).floor();
    let mut counts = vec![0usize; ((high / width).floor() - start) as usize + 1];
    for v in &values {
        counts[((v / width).floor() - start) as usize] += 1;
    }
    let bar = |(i, n): (usize, &usize)| {
        let edge = |i: usize| (start + i as f64) * width;
        (edge(i), edge(i + 1), *n as f64 / values.len() as f64)
    };
    counts.iter().enumerate().map(bar).collect()
}

#[cfg(test)]
mod tests;
