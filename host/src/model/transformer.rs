//! The transformer itself: its layers, and what comes before and after them.

use super::{
    adapter::Adapter,
    config::{EMBEDDING, HEAD, ModelConfig, RopeConfig, Scaling},
    layer::{Get, Layer, Norm},
    linear::{Linear, Matrix},
    lora,
    parameter::Parameter,
};
use crate::{
    Code, Error, Result,
    ops::{Angles, Compute, Precision, Stored},
};
use candle_core::{DType, Tensor};
use std::{collections::BTreeMap, sync::Arc};

/// All of it.
pub struct Transformer {
    /// What it is.
    pub config: Arc<ModelConfig>,
    /// The layers, in order.
    pub layers: Vec<Layer>,
    /// Its own matrix, or the embedding's.
    pub head: Matrix,
    /// The norm before the head.
    pub norm: Norm,
    /// The table of embeddings, [vocabulary, hidden].
    pub embedding: Parameter,
    /// How it computes.
    pub compute: Compute,
    /// Of each rotary embedding.
    frequencies: Vec<Vec<f32>>,
    embedding_scale: Option<f32>,
}

impl Transformer {
    /// Asks `get` for every tensor.
    pub fn build(config: &Arc<ModelConfig>, compute: &Compute, get: Get) -> Result<Self> {
        let c = &**config;
        let embedding_shape = [c.vocab_size, c.hidden_size];
        let embedding = get(EMBEDDING, &embedding_shape)?;
        let head = if c.tied { embedding.clone() } else { get(HEAD, &embedding_shape)? };
        Ok(Self {
            embedding,
            head: Matrix::new(head, compute)?,
            layers: (0..c.num_layers).map(|i| Layer::build(c, i, compute, get)).collect::<Result<_>>()?,
            norm: Norm::new(get("model.norm.weight", &[c.hidden_size])?, c, compute),
            frequencies: c.ropes.iter().map(|rope| rope.frequencies(c.head_dim)).collect(),
            embedding_scale: c.embedding_scale(compute.precision()),
            config: config.clone(),
            compute: compute.clone(),
        })
    }

    /// Puts adapters on the linear modules for which there are tensors under PEFT's names, and embedding and head in
    /// the place of the base's where the adapter has them.
    pub fn attach(&mut self, tensors: &BTreeMap<String, Stored>, adapter: &Adapter) -> Result<()> {
        let compute = self.compute.clone();
        for (module, linear) in self.linears_mut() {
            let part = |part| -> Result<Option<Matrix>> {
                let name = lora::tensor_name(&module, part);
                let parameter = tensors.get(&name).map(|t| Parameter::new(&name, t));
                parameter.map(|p| Matrix::new(p, &compute)).transpose()
            };
            if let Some((a, b)) = part("A")?.zip(part("B")?) {
                linear.adapt(a, b, adapter.scale(&module));
            }
        }
        let saved = |table| {
            let name = lora::saved_name(table);
            tensors.get(&name).map(|t| Parameter::new(&name, t))
        };
        let head = if adapter.ties(&self.config) { EMBEDDING } else { HEAD };
        if let Some(embedding) = saved(EMBEDDING) {
            self.embedding = embedding;
        }
        if let Some(head) = saved(head) {
            self.head = Matrix::new(head, &compute)?;
        }
        Ok(())
    }

    /// The numbers of embedding and head. Fails where they are rounded.
    pub fn tables(&self) -> Result<[Tensor; 2]> {
        Ok([self.embedding.stored.to_f32(self.compute.device())?, self.head.master()?])
    }

    /// Every linear module but the head, by Hugging Face's name without `.weight`.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.layers.iter_mut().enumerate().flat_map(|(i, layer)| {
            layer.linears_mut().into_iter().map(move |(name, linear)| (format!("model.layers.{i}.{name}"), linear))
        })
    }

    /// To be called where trained numbers have changed.
    pub fn changed(&mut self) {
        self.head.weight.changed();
        self.linears_mut().for_each(|(_, linear)| linear.changed());
    }

    /// Embeddings of tokens, [tokens, hidden].
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let vocab = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::new(
                Code::ModelToken,
                format!("token {id} is outside the model's vocabulary of {vocab}"),
            )
            .hint("the tokenizer and the model do not belong together"));
        }
        let rows = self.embedding.stored.rows(ids, self.compute.device())?;
        // Rounded where matrices are, so that a frozen table, which is, gives the same.
        let stored = if self.compute.precision() == Precision::Bf16 { DType::BF16 } else { DType::F32 };
        self.scaled(rows.to_dtype(stored)?.to_dtype(self.compute.activations())?)
    }

    /// The gradient with respect to the embedding's rows, for the one with respect to [`embed`](Self::embed)'s result.
    pub fn embed_backward(&self, dx: Tensor) -> Result<Tensor> {
        self.scaled(dx)
    }

    fn scaled(&self, x: Tensor) -> Result<Tensor> {
        self.embedding_scale.map_or(Ok(x.clone()), |scale| Ok(self.compute.scale(x, f64::from(scale))?))
    }

    /// Angles of each rotary embedding. Fails where a position lies beyond what is computed.
    pub fn angles(&self, positions: &[u32]) -> Result<Vec<Angles>> {
        let most = self.config.max_positions;
        let of = |(rope, frequencies): (&RopeConfig, &Vec<f32>)| {
            if rope.scaling == Scaling::Dynamic && positions.iter().any(|p| *p as usize >= most) {
                let what = format!(
                    "a sequence is longer than max_position_embeddings, {most}, of a model with the rope scaling dynamic"
                );
                return Err(Error::new(Code::ModelPack, what)
                    .hint("shorten the rows (data.max_length), or the prefix that an encoder puts before them"));
            }
            Ok(Angles::new(positions, frequencies, rope.attention_factor(), self.compute.device())?)
        };
        self.config.ropes.iter().zip(&self.frequencies).map(of).collect()
    }
}
