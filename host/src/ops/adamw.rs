//! The numbers of an AdamW step (arXiv 1711.05101, algorithm 2, as torch.optim.AdamW computes it).

/// What one step does with a parameter p, its gradient and its moments m and v, rounded once from f64:
///
/// ```text
/// g = gradient scale;  m += (g - m) new1;  v = v keep2 + new2 g²
/// p = p keep - rate m / (sqrt(v) / root + epsilon)
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// What clipping leaves of the gradient.
    pub scale: f32,
    /// 1 - learning rate x weight decay
    pub keep: f32,
    /// 1 - beta1
    pub new1: f32,
    /// beta2
    pub keep2: f32,
    /// 1 - beta2
    pub new2: f32,
    /// Learning rate / (1 - beta1^t)
    pub rate: f32,
    /// sqrt(1 - beta2^t)
    pub root: f32,
    /// Added to the denominator.
    pub epsilon: f32,
}
