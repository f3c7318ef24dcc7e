//! One axis: values to places, and round ticks.

/// The smallest of 1, 2, 5 x 10^k that is at least `rough` (> 0).
pub fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|s| s * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    step * power
}

/// Maps `low..high` to `start..end`.
pub struct Scale {
    pub low: f64,
    pub high: f64,
    pub start: f64,
    pub end: f64,
    step: f64,
}

impl Scale {
    /// A scale over finite values and at least over `range`, widened to whole steps unless it is an axis of whole
    /// numbers.
    pub fn over(
        values: impl Iterator<Item = f64>,
        start: f64,
        end: f64,
        range: Option<(f64, f64)>,
        whole: bool,
    ) -> Self {
        let (low, high) = range.unwrap_or((f64::MAX, f64::MIN));
        let (mut low, mut high) = values.fold((low, high), |(l, h), v| (l.min(v), h.max(v)));
        // One value, or values equal but for rounding, get some room around them.
        if high - low <= 1e-9 * low.abs().max(high.abs()) {
            let room = if whole { 1.0 } else { 0.1 * low.abs().max(1e-6) };
            (low, high) = (low - room, high + room);
        }
        let mut step = nice_step((high - low) / 5.0);
        if whole {
            step = step.max(1.0);
        } else if range.is_none_or(|r| (low, high) != r) {
            (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        }
        Self { low, high, start, end, step }
    }
    /// Where a value lies.
    pub fn at(&self, value: f64) -> f64 {
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }
    /// Places and labels of the ticks.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let first = (self.low / self.step - 1e-6).ceil() as i64;
        let last = (self.high / self.step + 1e-6).floor() as i64;
        (first..=last)
            .map(|k| {
                let value = k as f64 * self.step;
                (self.at(value), tick_label(value, self.step))
            })
            .collect()
    }
}

/// A value at a tick: as many decimals as the step needs, or an exponent where that would be long.
fn tick_label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if value.abs() >= 1e6 || step < 1e-4 {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

/// A value in a table or a sentence: four significant digits.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "not finite".into();
    }
    let size = value.abs();
    if value == 0.0 || (size >= 1e5 && value.fract() == 0.0 && size < 1e15) {
        return format!("{value:.0}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let decimals = (3.0 - size.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
