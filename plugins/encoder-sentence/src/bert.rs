//! The BERT network: token ids to the last hidden states, for one text at a time.
//!
//! Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (arXiv
//! 1810.04805). Names of tensors and fields are those of transformers' `BertModel`. A text alone has no padding, so
//! there is no mask.

use candle_core::{D, Device, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear, ops::softmax};
use serde::Deserialize;

/// What the forward pass needs of a `config.json`.
#[derive(Debug, Deserialize)]
pub struct Config {
    vocab_size: usize,
    /// Numbers of a hidden state.
    pub hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Activation,
    /// The longest text in tokens.
    pub max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    /// Other kinds than the one there is are refused while reading.
    #[serde(default, rename = "position_embedding_type")]
    _positions: Positions,
    model_type: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Activation {
    Gelu,
    GeluApproximate,
    Relu,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Positions {
    #[default]
    Absolute,
}

/// Embeddings and layers; dropout does nothing outside training.
pub struct Bert {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    mixed: Linear,
    mixed_norm: LayerNorm,
    up: Linear,
    down: Linear,
    down_norm: LayerNorm,
    heads: usize,
    activation: Activation,
}

impl Bert {
    /// Takes the tensors, whose names may begin with the model's type, as in `bert.embeddings...`.
    pub fn load(weights: VarBuilder<'_>, config: &Config) -> Result<Self> {
        let prefixed = config.model_type.as_ref().map(|name| weights.pp(name));
        let begins = |weights: &VarBuilder<'_>| weights.contains_tensor("embeddings.word_embeddings.weight");
        let weights = prefixed.filter(begins).unwrap_or(weights);

        let (hidden, embeddings) = (config.hidden_size, weights.pp("embeddings"));
        let table = |rows, name| embedding(rows, hidden, embeddings.pp(name));
        let layer = |i| Layer::load(&weights.pp(format!("encoder.layer.{i}")), config);
        Ok(Self {
            words: table(config.vocab_size, "word_embeddings")?,
            positions: table(config.max_position_embeddings, "position_embeddings")?,
            types: table(config.type_vocab_size, "token_type_embeddings")?,
            norm: layer_norm(hidden, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The last hidden states, tokens x hidden size. `types` says of each token which sentence of a pair it is of.
    pub fn forward(&self, ids: &[u32], types: &[u32]) -> Result<Tensor> {
        let row = |values: &[u32]| Tensor::new(values, &Device::Cpu);
        let places: Vec<u32> = (0..).take(ids.len()).collect();
        let embedded = (self.words.forward(&row(ids)?)? + self.types.forward(&row(types)?)?)?;
        let embedded = (embedded + self.positions.forward(&row(&places)?)?)?;
        self.layers.iter().try_fold(self.norm.forward(&embedded)?, |states, layer| layer.forward(&states))
    }
}

impl Layer {
    fn load(weights: &VarBuilder<'_>, config: &Config) -> Result<Self> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = |name| layer_norm(hidden, config.layer_norm_eps, weights.pp(name));
        let square = |name| linear(hidden, hidden, weights.pp(name));
        Ok(Self {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            mixed: square("attention.output.dense")?,
            mixed_norm: norm("attention.output.LayerNorm")?,
            up: linear(hidden, inner, weights.pp("intermediate.dense"))?,
            down: linear(inner, hidden, weights.pp("output.dense"))?,
            down_norm: norm("output.LayerNorm")?,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, states: &Tensor) -> Result<Tensor> {
        let mixed = self.mixed.forward(&self.attention(states)?)?;
        let states = self.mixed_norm.forward(&(mixed + states)?)?;
        let up = self.up.forward(&states)?;
        let up = match self.activation {
            Activation::Gelu => up.gelu_erf(),
            Activation::GeluApproximate => up.gelu(),
            Activation::Relu => up.relu(),
        };
        self.down_norm.forward(&(self.down.forward(&up?)? + states)?)
    }

    fn attention(&self, states: &Tensor) -> Result<Tensor> {
        let (tokens, hidden) = states.dims2()?;
        let dim = hidden / self.heads;
        // heads x tokens x dim
        let split = |projection: &Linear| {
            projection.forward(states)?.reshape((tokens, self.heads, dim))?.transpose(0, 1)?.contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        let scores = (query.matmul(&key.t()?)? / (dim as f64).sqrt())?;
        softmax(&scores, D::Minus1)?.matmul(&value)?.transpose(0, 1)?.reshape((tokens, hidden))
    }
}
