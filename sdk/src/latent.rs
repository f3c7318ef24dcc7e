//! Views of latents as the host hands them to a plugin.

/// One sample's latent: `slots` vectors of `dim` numbers each, row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latent<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Latent<'a> {
    /// A latent over `values`, whose length must be a multiple of `dim` (`dim` > 0).
    pub fn new(values: &'a [f32], dim: usize) -> Self {
        assert!(
            dim > 0 && values.len().is_multiple_of(dim),
            "a latent of {} values cannot have rows of {dim}",
            values.len()
        );
        Self { values, dim }
    }
    /// All `slots * dim` numbers, row by row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }
    /// The slots, each a vector of [`dim`](Self::dim) numbers.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = &'a [f32]> + use<'a> {
        self.values.chunks_exact(self.dim)
    }
    /// Length of one slot's vector.
    pub fn dim(&self) -> usize {
        self.dim
    }
}

/// Shape of every latent an encoder makes: `slots` vectors of `dim` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentShape {
    /// Vectors per sample, at least 1.
    pub slots: usize,
    /// Numbers per vector, at least 1.
    pub dim: usize,
}

impl LatentShape {
    /// Numbers per sample.
    pub fn len(self) -> usize {
        self.slots * self.dim
    }
    /// Whether a latent of this shape holds nothing (no valid encoder says so).
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Latents of several samples, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Latents<'a> {
    values: &'a [f32],
    shape: LatentShape,
}

impl<'a> Latents<'a> {
    /// A batch over `values`, whose length must be a multiple of `shape.len()`.
    pub fn new(values: &'a [f32], shape: LatentShape) -> Self {
        assert!(
            !shape.is_empty() && values.len().is_multiple_of(shape.len()),
            "{} values are not a batch of {shape:?}",
            values.len()
        );
        Self { values, shape }
    }
    /// Shape of each latent.
    pub fn shape(&self) -> LatentShape {
        self.shape
    }
    /// Number of latents.
    pub fn len(&self) -> usize {
        self.values.len() / self.shape.len()
    }
    /// Whether there is no latent.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    /// The latents in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Latent<'a>> + use<'a> {
        let dim = self.shape.dim;
        self.values.chunks_exact(self.shape.len()).map(move |v| Latent::new(v, dim))
    }
    /// All numbers.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }
}
