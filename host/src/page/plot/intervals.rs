//! Values with intervals, one below the other, against a line of reference.

use super::{super::escape::esc, number, scale::Scale};
use std::fmt::Write;

const WIDTH: f64 = 360.0;
const MARGIN: f64 = 14.0;
/// Height of a name and its interval.
const ROW: f64 = 34.0;
const AXIS: f64 = 24.0;

/// A row of [`intervals`].
pub struct Interval {
    /// What it is of; written above the interval, so that long names fit.
    pub name: String,
    /// Finite.
    pub value: f64,
    /// Lower and upper end, finite.
    pub ends: [f64; 2],
    /// What it is the mean of, if that is to be seen, drawn below the interval; finite.
    pub dots: Vec<f64>,
}

/// The `<svg>` element; `id` is unique on the page.
pub fn intervals(title: &str, rows: &[Interval], reference: f64, id: &str) -> String {
    let height = ROW * rows.len() as f64 + AXIS;
    let values = rows.iter().flat_map(|r| [r.value, r.ends[0], r.ends[1]].into_iter().chain(r.dots.iter().copied()));
    let values = values.chain([reference]);
    let x = Scale::over(values, MARGIN, WIDTH - MARGIN, None, false);
    let said: Vec<String> = rows.iter().map(|r| format!("{}: {}", r.name, number(r.value))).collect();
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
        esc(title),
        esc(&said.join("; "))
    );
    let bottom = height - AXIS;
    let mut grid = String::new();
    for (at, label) in x.ticks() {
        let _ = write!(grid, "M{at:.1} 0V{bottom:.1}");
        let _ = write!(out, "<text class=\"m\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>", bottom + 15.0);
    }
    let _ =
        write!(out, "<path class=\"g\" d=\"{grid}\"/><path class=\"z\" d=\"M{:.1} 0V{bottom:.1}\"/>", x.at(reference));
    for (i, row) in rows.iter().enumerate() {
        let (top, y) = (ROW * i as f64, ROW * i as f64 + 24.0);
        let [low, high] = row.ends.map(|end| x.at(end));
        let dots: String = row.dots.iter().map(|dot| format!("M{:.1} {:.1}h0", x.at(*dot), y + 6.0)).collect();
        let _ = write!(
            out,
            "<path class=\"p s2\" d=\"{dots}\"/><text class=\"n\" x=\"{MARGIN}\" y=\"{:.1}\">{}</text><path class=\"l s1\" d=\"M{low:.1} {y:.1}H{high:.1}\"/>\
             <path class=\"d s1\" d=\"M{:.1} {y:.1}h0\"/>",
            top + 14.0,
            esc(&row.name),
            x.at(row.value)
        );
    }
    out + "</svg>"
}
