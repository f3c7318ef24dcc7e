//! Useful floating-point operations of a pass, counted from the model's shape.
//!
//! A product of [m, k] and [k, n] is 2 m k n operations. Counted are the products of all linear modules and adapters,
//! the head on the positions that predict a response token, and attention's two products (backward: four) over the keys
//! that each query may see. Backward has one product for an input's gradient, where anything below is trained, and one
//! for a weight's, where it is trained. Not counted: whatever works element by element, and everything computed again,
//! as layers are by activation checkpointing.

use crate::model::{LayerConfig, ModelConfig, Module, Pack};

/// Counts for one model.
pub struct Work<'a> {
    config: &'a ModelConfig,
    /// Rank of adapters on all linear modules; the rest is frozen then.
    rank: Option<usize>,
}

/// What goes through the model in a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Tokens.
    pub tokens: f64,
    /// Tokens that are predicted and scored.
    pub targets: f64,
    /// Keys that queries see, over all tokens and layers.
    pub keys: f64,
}

impl Load {
    /// That of a pack with `targets` predictions.
    pub fn new(config: &ModelConfig, pack: &Pack, targets: usize) -> Self {
        let seen = |layer: &LayerConfig| -> f64 {
            let window = layer.window.unwrap_or(usize::MAX);
            pack.positions.iter().map(|&p| (p as usize + 1).min(window) as f64).sum()
        };
        let keys = config.layers.iter().map(seen).sum();
        Self { tokens: pack.len() as f64, targets: targets as f64, keys }
    }
}

impl std::iter::Sum for Load {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            tokens: a.tokens + b.tokens,
            targets: a.targets + b.targets,
            keys: a.keys + b.keys,
        })
    }
}

impl<'a> Work<'a> {
    /// For a model, with adapters of this rank on all linear modules or none.
    pub fn new(config: &'a ModelConfig, rank: Option<usize>) -> Self {
        Self { config, rank }
    }

    /// Operations of a pass without gradient.
    pub fn forward(&self, load: Load) -> f64 {
        let numbers =
            |m: &Module| m.share * (m.inputs * m.outputs + self.rank(m).unwrap_or(0) * (m.inputs + m.outputs)) as f64;
        let linears: f64 = self.config.modules().iter().map(numbers).sum();
        2.0 * load.tokens * linears + self.head(load) + self.attention(load)
    }

    /// Operations of a forward and backward pass.
    pub fn step(&self, load: Load) -> f64 {
        let full = self.rank.is_none();
        let mut numbers = 0.0;
        for layer in 0..self.config.num_layers {
            for m in self.config.linears(layer) {
                let (i, o) = (m.inputs, m.outputs);
                // The inputs of the lowest projections are embeddings: they need no gradient where nothing below is
                // trained.
                let lowest = layer == 0 && ["q_proj", "k_proj", "v_proj"].iter().any(|name| m.name.ends_with(name));
                let with_input = usize::from(full || !lowest);
                let more = match (full, self.rank(&m)) {
                    (true, _) => i * o,
                    (false, None) => 0,
                    // Both weights, the gradient between them, and the input's.
                    (false, Some(r)) => r * (i + o) + r * o + with_input * r * i,
                };
                numbers += m.share * (with_input * i * o + more) as f64;
            }
        }
        let head = if full { 2.0 } else { 1.0 } * self.head(load);
        self.forward(load) + 2.0 * load.tokens * numbers + head + 2.0 * self.attention(load)
    }

    /// Share of attention in [`step`](Self::step).
    pub fn attention_share(&self, load: Load) -> f64 {
        3.0 * self.attention(load) / self.step(load)
    }

    /// That of a module's adapter, if it has one.
    fn rank(&self, module: &Module) -> Option<usize> {
        self.rank.filter(|_| module.adaptable)
    }

    fn head(&self, load: Load) -> f64 {
        2.0 * load.targets * (self.config.vocab_size * self.config.hidden_size) as f64
    }

    /// Scores and weighted sum, forward.
    fn attention(&self, load: Load) -> f64 {
        4.0 * load.keys * (self.config.num_heads * self.config.head_dim) as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn config(name: &str) -> ModelConfig {
        let models = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/models"));
        ModelConfig::of(&models.join(name)).unwrap()
    }

    /// A prompt of 3 with completions of 3 and 2 tokens.
    fn load(config: &ModelConfig) -> Load {
        let mut pack = Pack::default();
        let prompt = pack.push_prompt(&[5, 6, 7]);
        let targets = pack.push_completion(prompt, &[8, 9, 10]).len() + pack.push_completion(prompt, &[11, 12]).len();
        Load::new(config, &pack, targets)
    }

    /// Width 24, 3 heads of 8 with 1 key head, feed-forward 40, 2 layers, 37 tokens.
    #[test]
    fn operations_equal_a_count_by_hand() {
        let config = config("llama");
        let load = load(&config);
        // Queries see 1, 2, 3 | 4, 5 | 4 keys in each of two layers; the last token of a completion is not in the pack.
        assert_eq!(load, Load { tokens: 6., targets: 5., keys: 38. });
        // q and o 24 x 24, k and v 24 x 8, gate, up and down 24 x 40: 4416 numbers a layer.
        let linears = 2. * 6. * 2. * 4416.;
        let (head, attention) = (2. * 5. * 37. * 24., 4. * 38. * 24.);
        let full = Work::new(&config, None);
        assert_eq!(full.forward(load), linears + head + attention);
        assert_eq!(full.step(load), 3. * (linears + head + attention));
        assert_eq!(full.attention_share(load), attention / (linears + head + attention));

        // Rank 3: inputs and outputs of the seven modules sum to 48 + 48 + 2 x 32 + 3 x 64 = 352.
        let lora = Work::new(&config, Some(3));
        let adapters = 2. * 6. * 2. * 3. * 352.;
        assert_eq!(lora.forward(load), linears + adapters + head + attention);
        // Backward of the frozen weights, without that of q, k and v of the lowest layer: 24 x 40 numbers.
        let frozen = linears - 2. * 6. * 24. * 40.;
        // Weights twice what forward costs; between them and input as much again, without 3 x 24 x 3 inputs of the
        // lowest layer.
        let adapted = 2. * adapters - 2. * 6. * 3. * 3. * 24.;
        assert_eq!(lora.step(load), lora.forward(load) + frozen + adapted + head + 2. * attention);
    }

    #[test]
    fn a_window_bounds_the_keys() {
        let mut config = config("llama");
        config.layers[0].window = Some(2);
        assert_eq!(load(&config).keys, (1. + 2. + 2. + 2. + 2. + 2.) + 19.);
    }
}
