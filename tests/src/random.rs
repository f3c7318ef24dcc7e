//! Numbers that look random and are the same each time.

/// xorshift64 (Marsaglia 2003).
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        // Never 0, from which nothing but 0 comes; neighbouring seeds begin far apart.
        let mut random = Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    /// The next of them, over all 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 11) % n as u64) as usize
    }

    /// One of several, of which there is one at least.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// The seed that the variable `LDALIGN_SEED` gives, or that of every day.
pub fn seed() -> u64 {
    std::env::var("LDALIGN_SEED").map_or(1, |seed| seed.parse().expect("LDALIGN_SEED is a number"))
}
