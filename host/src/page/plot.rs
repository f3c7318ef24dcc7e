//! Charts as inline SVG: axes with round ticks, lines, points, bars and a legend. Colours come from the page's style
//! sheet.
//!
//! Values that are not finite are left out (a line is broken there) and their number is said under the chart's title.

mod intervals;
mod marks;
mod scale;
mod strip;

use super::escape::esc;
pub use intervals::{Interval, intervals};
use marks::{Mark, draw};
pub use scale::number;
use scale::{Scale, nice_step};
use std::fmt::Write;
pub use strip::{Spot, strip};

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
    /// A unit is as long on both axes.
    equal_scales: bool,
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
            equal_scales: false,
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
    /// A unit is as long on the x axis as on the y axis.
    pub fn equal_scales(mut self) -> Self {
        self.equal_scales = true;
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
    /// Adds thin lines between two points each.
    pub fn links(mut self, name: &str, links: Vec<[(f64, f64); 2]>) -> Self {
        self.series.push((name.into(), Mark::Links(links)));
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
        let (mut x_range, mut y_range) = (None, self.y_range);
        if self.equal_scales {
            let sides = [WIDTH - RIGHT - LEFT, height - BOTTOM - top];
            [x_range, y_range] = equal_ranges(&seen, sides).map(Some);
        }
        let x = Scale::over(seen.iter().map(|p| p.0), LEFT, WIDTH - RIGHT, x_range, self.whole_x);
        let y = Scale::over(seen.iter().map(|p| p.1), height - BOTTOM, top, y_range, false);
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
        for (i, (name, mark)) in self.series.iter().enumerate() {
            let width = 24.0 + CHAR * name.chars().count() as f64 + 10.0;
            if x + width > WIDTH && x > LEFT {
                (x, row) = (LEFT, row + 1.0);
            }
            let y = 10.0 + row * LEGEND;
            let _ = write!(
                out,
                "{}<text x=\"{}\" y=\"{}\">{}</text>",
                mark.sign(i + 1, x, y),
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

/// Ranges of x and y that hold the points with some room, in the proportion of the sides of the plot's area.
fn equal_ranges(points: &[(f64, f64)], sides: [f64; 2]) -> [(f64, f64); 2] {
    let range =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let ranges = [range(|p| p.0), range(|p| p.1)];
    let spread = |i: usize| (ranges[i].1 - ranges[i].0) / sides[i];
    let unit = match spread(0).max(spread(1)) {
        0.0 => 1.0,
        spread => 1.06 * spread,
    };
    [0, 1].map(|i| {
        let (middle, half) = ((ranges[i].0 + ranges[i].1) / 2.0, unit * sides[i] / 2.0);
        (middle - half, middle + half)
    })
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
