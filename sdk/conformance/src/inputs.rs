//! Seeded inputs, and the smallest of them that shows a fault.

use ldalign_abi::Shape;

/// A generator of its own, so that a seed means the same inputs in every release (SplitMix64, Steele et al. 2014).
pub struct Rng(u64);

impl Rng {
    /// A generator for a seed and a purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self(purpose.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)))
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }
    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        ((-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }
    /// Standard normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// `slots` vectors of `dim` numbers.
pub const fn shape(slots: u64, dim: u64) -> Shape {
    Shape { slots, dim }
}

/// Numbers per latent.
pub fn len(shape: Shape) -> usize {
    (shape.slots * shape.dim) as usize
}

/// Around every width of vector registers and every unrolling, and widths of real encoders; the smallest first.
pub const SHAPES: [Shape; 22] = [
    shape(1, 1),
    shape(1, 2),
    shape(1, 3),
    shape(2, 3),
    shape(1, 7),
    shape(1, 8),
    shape(1, 9),
    shape(1, 15),
    shape(1, 16),
    shape(1, 17),
    shape(3, 8),
    shape(1, 31),
    shape(1, 32),
    shape(1, 33),
    shape(1, 64),
    shape(4, 16),
    shape(1, 127),
    shape(1, 128),
    shape(1, 129),
    shape(4, 64),
    shape(1, 768),
    shape(1, 1023),
];

/// Smaller numbers in place of `values` for which `fault` still finds one, and what it finds. At most some hundred
/// tries.
pub fn smallest(mut values: Vec<f32>, mut fault: impl FnMut(&[f32]) -> Option<String>) -> Option<(Vec<f32>, String)> {
    let mut found = fault(&values)?;
    let mut tries = 600;
    for _ in 0..2 {
        for i in 0..values.len() {
            let old = values[i];
            for simpler in [0.0, 1.0, -1.0, old.round(), (old * 10.0).round() / 10.0] {
                if simpler == old || tries == 0 {
                    break;
                }
                tries -= 1;
                values[i] = simpler;
                match fault(&values) {
                    Some(still) => {
                        found = still;
                        break;
                    }
                    None => values[i] = old,
                }
            }
        }
    }
    Some((values, found))
}

/// Numbers for a message, the first of them if they are many.
pub fn show(values: &[f32]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = values.iter().take(SHOWN).map(f32::to_string).collect();
    let more = if values.len() > SHOWN { format!(", ... {} numbers", values.len()) } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_input_keeps_what_makes_it_fail() {
        let (values, found) =
            smallest(vec![0.37, -5.71, 8.25, 1e9], |v| (v[2] > 3.0).then(|| format!("{} is too much", v[2])))
                .expect("it fails at first");
        assert_eq!((values, found.as_str()), (vec![0.0, 0.0, 8.0, 0.0], "8 is too much"));
        assert!(smallest(vec![1.0], |_| None).is_none());
    }

    #[test]
    fn normal_numbers_are() {
        let n = Rng::new(1, "test").normals(20_000);
        let mean = n.iter().sum::<f32>() / 20_000.0;
        let square = n.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.04, "{mean} {square}");
    }
}
