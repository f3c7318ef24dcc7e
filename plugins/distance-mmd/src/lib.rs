//! Maximum mean discrepancy between the slots of two latents under a Gaussian kernel: how far apart two sets of vectors
//! lie as distributions (Gretton et al. 2012).

use ldalign_sdk::{DistanceMetric, Error, Host, Latent, Latents, Level, MetricProperties, PluginOptions};

/// Slots whose distances are looked at for the median.
const SAMPLE: usize = 512;

/// The width of the kernel.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Standard deviation of the Gaussian kernel, above 0, in the units of the latents. By default the median distance
    /// between the round's slots.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub bandwidth: Option<f64>,
}

impl PluginOptions for Options {
    fn validate(&self) -> Result<(), Error> {
        match self.bandwidth {
            Some(b) if !(b > 0.0 && b.is_finite()) => {
                Err(Error::options(format!("bandwidth {b} must be a number above 0")))
            }
            _ => Ok(()),
        }
    }
}

/// `|mean_i k(a_i, .) - mean_i k(b_i, .)|` in the kernel's space, `k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))`.
pub struct Mmd {
    host: Host,
    /// As given.
    given: Option<f64>,
    /// As given or fitted.
    bandwidth: Option<f64>,
}

impl DistanceMetric for Mmd {
    const ID: &'static str = "mmd";
    const SUMMARY: &'static str = "maximum mean discrepancy between the slots of two latents under a Gaussian kernel";
    // The distance between two mean embeddings is one of a Hilbert space.
    const PROPERTIES: MetricProperties = MetricProperties { symmetric: true, zero_on_equal: true, triangle: true };
    type Options = Options;

    fn new(Options { bandwidth }: Options, host: Host) -> Result<Self, Error> {
        Ok(Self { host, given: bandwidth, bandwidth })
    }

    fn fit(&mut self, golden: Latents<'_>, generated: Latents<'_>) -> Result<(), Error> {
        if self.given.is_none() {
            let latents: Vec<Latent<'_>> = [golden, generated].iter().flat_map(|l| l.iter()).collect();
            let median = median_distance(&latents)?;
            self.host.log(Level::Info, &format!("bandwidth {median:.4e}, the median distance between slots"));
            self.bandwidth = Some(median);
        }
        Ok(())
    }

    fn distance(&self, a: Latent<'_>, b: Latent<'_>) -> Result<f32, Error> {
        let bandwidth = self.bandwidth.ok_or_else(|| {
            Error::input("mmd has no bandwidth yet: fit it on the round's latents, load a fitted state, or give one")
        })?;
        // An infinitely far slot would look as far as any far one.
        if !a.values().iter().chain(b.values()).all(|x| x.is_finite()) {
            return Err(Error::input("a latent holds a NaN or an infinity; mmd needs finite numbers"));
        }
        let (a, b): (Vec<&[f32]>, Vec<&[f32]>) = (a.slots().collect(), b.slots().collect());
        Ok(squared_mmd(&a, &b, bandwidth).max(0.0).sqrt() as f32)
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        Ok(self.bandwidth.filter(|_| self.given.is_none()).map(|b| b.to_le_bytes().to_vec()).unwrap_or_default())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        self.bandwidth = match (self.given, state) {
            (Some(given), _) => Some(given),
            (None, []) => None,
            (None, state) => {
                let bytes =
                    state.try_into().map_err(|_| Error::state(format!("{} bytes are not a bandwidth", state.len())))?;
                let bandwidth = f64::from_le_bytes(bytes);
                if !(bandwidth > 0.0 && bandwidth.is_finite()) {
                    return Err(Error::state(format!("{bandwidth} is not a bandwidth")));
                }
                Some(bandwidth)
            }
        };
        Ok(())
    }
}

/// In f64, where the square of an f32 neither overflows nor vanishes.
fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// The biased estimate (Gretton et al. 2012, equation 5): the mean over i and j of
/// `k(a_i, a_j) + k(b_i, b_j) - k(a_i, b_j) - k(a_j, b_i)`.
///
/// Summed pair by pair, it is the same to the bit when a and b change places and exactly 0 when they are equal; of each
/// kernel 1 is taken off, which cancels and would hide what is small.
fn squared_mmd(a: &[&[f32]], b: &[&[f32]], bandwidth: f64) -> f64 {
    let k = |x: &[f32], y: &[f32]| (-squared_distance(x, y) / (2.0 * bandwidth * bandwidth)).exp_m1();
    let mut sum = 0.0;
    for i in 0..a.len() {
        sum -= 2.0 * k(a[i], b[i]);
        for j in 0..i {
            sum += 2.0 * ((k(a[i], a[j]) + k(b[i], b[j])) - (k(a[i], b[j]) + k(a[j], b[i])));
        }
    }
    sum / (a.len() * a.len()) as f64
}

/// Median of the distances above 0 between the slots of latents, evenly chosen where there are many: whole latents, as
/// slots of different places may lie far apart.
fn median_distance(latents: &[Latent<'_>]) -> Result<f64, Error> {
    let most = latents.first().map_or(1, |one| (SAMPLE / one.slots().len()).max(2));
    let chosen = latents.iter().step_by(latents.len().div_ceil(most).max(1));
    let chosen: Vec<&[f32]> = chosen.flat_map(|latent| latent.slots()).collect();
    let pairs = (0..chosen.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let mut squares: Vec<f64> =
        pairs.map(|(i, j)| squared_distance(chosen[i], chosen[j])).filter(|d| *d != 0.0).collect();
    if squares.iter().any(|d| !d.is_finite()) {
        return Err(Error::input("a latent holds a NaN or an infinity"));
    }
    if squares.is_empty() {
        return Err(Error::input(format!("all {} slots looked at are equal: give a bandwidth", chosen.len())));
    }
    let middle = squares.len() / 2;
    Ok(squares.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt())
}

ldalign_sdk::export_plugin! { distances: [Mmd] }

#[cfg(test)]
ldalign_conformance::conforms! { "mmd": {}, "mmd": { "bandwidth": 20.0 } }

#[cfg(test)]
mod tests;
