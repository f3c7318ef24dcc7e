//! The BERT network: token ids to the last hidden states, for one text at a time.
//!
//! Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (arXiv
//! 1810.04805), and RoBERTa's kin (arXiv 1907.11692), which count positions otherwise. Names of tensors and fields are
//! those of transformers' `BertModel`. A text alone has no padding, so there is no mask.

use candle_core::{D, Device, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear, ops::softmax};
use ldalign_sdk::Error;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::recipe;

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
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(default)]
    model_type: Family,
    pad_token_id: Option<usize>,
    /// All other keys.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// How positions are counted, and what tensors' names may begin with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Family {
    #[default]
    Bert,
    Roberta,
    XlmRoberta,
    Camembert,
}

/// Keys that change nothing outside training or other tasks.
const HARMLESS: [&str; 43] = [
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cls_token_id",
    "directionality",
    "dtype",
    "eos_token_id",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "label2id",
    "layer_norm_type",
    "mask_token_id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_bfloat16",
    "use_cache",
];

/// Keys that change nothing at one value.
const ONLY: [(&str, &str); 5] = [
    ("position_embedding_type", "\"absolute\""),
    ("is_decoder", "false"),
    ("add_cross_attention", "false"),
    ("is_encoder_decoder", "false"),
    ("pruned_heads", "{}"),
];

impl Config {
    /// Reads a config.json.
    ///
    /// # Errors
    /// Where a key is missing, has a value that is not computed, or is not known.
    pub fn read(bytes: &[u8]) -> std::result::Result<Self, Error> {
        const FILE: &str = "config.json";
        let config: Self =
            serde_json::from_slice(bytes).map_err(|e| Error::options(format!("{FILE} is not usable: {e}")))?;
        for (key, value) in config.others.iter().filter(|(_, value)| !value.is_null()) {
            match ONLY.iter().find(|(only, _)| only == key) {
                Some((_, one)) if serde_json::from_str(one).is_ok_and(|one: Value| one == *value) => {}
                Some((_, one)) => return Err(recipe::refused(FILE, key, value, one)),
                None if HARMLESS.contains(&key.as_str()) => {}
                None => {
                    let what = format!(
                        "{FILE}: the key {key} is not known, and might change what is computed; remove it if not"
                    );
                    return Err(Error::options(what));
                }
            }
        }
        Ok(config)
    }

    /// The longest text in tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// RoBERTa's kin begin behind the position of padding.
    fn first_position(&self) -> usize {
        if self.model_type == Family::Bert { 0 } else { self.padding() + 1 }
    }

    fn padding(&self) -> usize {
        self.pad_token_id.unwrap_or(1)
    }

    /// Of each token. In RoBERTa's kin, one that is the padding has that position and is not counted.
    fn positions(&self, ids: &[u32]) -> Vec<u32> {
        let mut next = self.first_position() as u32;
        let count = |id: &u32| {
            if self.model_type != Family::Bert && *id as usize == self.padding() {
                return *id;
            }
            next += 1;
            next - 1
        };
        ids.iter().map(count).collect()
    }

    /// Of each token: which sentence of a pair it is of. RoBERTa's kin do not tell.
    fn types(&self, types: &[u32]) -> Vec<u32> {
        if self.model_type == Family::Bert { types.to_vec() } else { vec![0; types.len()] }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Activation {
    Gelu,
    GeluApproximate,
    Relu,
}

/// Embeddings and layers; dropout does nothing outside training.
pub struct Bert {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    config: Config,
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
    /// Takes the tensors, whose names may begin with the family's, as in `bert.embeddings...`.
    pub fn load(weights: VarBuilder<'_>, config: Config) -> Result<Self> {
        let prefixed = weights.pp(if config.model_type == Family::Bert { "bert" } else { "roberta" });
        let begins = prefixed.contains_tensor("embeddings.word_embeddings.weight");
        let weights = if begins { prefixed } else { weights };

        let (hidden, embeddings) = (config.hidden_size, weights.pp("embeddings"));
        let table = |rows, name| embedding(rows, hidden, embeddings.pp(name));
        let layer = |i| Layer::load(&weights.pp(format!("encoder.layer.{i}")), &config);
        Ok(Self {
            words: table(config.vocab_size, "word_embeddings")?,
            positions: table(config.max_position_embeddings, "position_embeddings")?,
            types: table(config.type_vocab_size, "token_type_embeddings")?,
            norm: layer_norm(hidden, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            config,
        })
    }

    /// The last hidden states, tokens x hidden size. `types` says of each token which sentence of a pair it is of.
    pub fn forward(&self, ids: &[u32], types: &[u32]) -> Result<Tensor> {
        let row = |values: &[u32]| Tensor::new(values, &Device::Cpu);
        let types = self.config.types(types);
        let embedded = (self.words.forward(&row(ids)?)? + self.types.forward(&row(&types)?)?)?;
        let embedded = (embedded + self.positions.forward(&row(&self.config.positions(ids))?)?)?;
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
