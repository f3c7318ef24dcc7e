//! Which tensor of a file is which of a model, and what its numbers need to be that.

use super::{
    architecture::{Architecture, Experts, missing_tensor},
    rope::ROPE_FACTORS,
};
use crate::{Code, Error, Result};
use candle_core::quantized::gguf_file::TensorInfo;
use std::collections::{HashMap, HashSet};

/// One tensor of the model.
pub(super) struct TensorPlan {
    /// Name in the GGUF file.
    pub from: String,
    /// Hugging Face's name.
    pub to: String,
    /// Its shape: the file's, or of one of the parts.
    pub shape: Vec<usize>,
    /// Where the file's tensor has the same of every expert end to end: which expert, and of how many.
    pub expert: Option<(usize, usize)>,
    /// Heads whose rows lie interleaved in the file (llama's q and k) and are put back in halves.
    pub interleaved_heads: Option<usize>,
    /// What the converter has added to every number.
    pub offset: f32,
}

impl TensorPlan {
    fn new(from: impl Into<String>, to: impl Into<String>, shape: &[usize]) -> Self {
        let (from, to, shape) = (from.into(), to.into(), shape.into());
        Self { from, to, shape, expert: None, interleaved_heads: None, offset: 0.0 }
    }

    /// The shape of the file's tensor.
    fn whole(&self) -> Vec<usize> {
        self.expert.map(|(_, count)| count).into_iter().chain(self.shape.iter().copied()).collect()
    }
}

impl Architecture {
    /// The tensors of the model, sorted by name; fails where the file lacks one, has one too many, or has another
    /// shape.
    pub fn tensors(&self, found: &HashMap<String, TensorInfo>) -> Result<Vec<TensorPlan>> {
        let offset = self.family.norm_offset;
        let mut plans = vec![
            TensorPlan::new("token_embd.weight", "model.embed_tokens.weight", &[self.vocab_size, self.hidden]),
            TensorPlan { offset, ..TensorPlan::new("output_norm.weight", "model.norm.weight", &[self.hidden]) },
        ];
        if !self.tied {
            plans.push(TensorPlan::new("output.weight", "lm_head.weight", &[self.vocab_size, self.hidden]));
        }
        for layer in 0..self.layers {
            plans.extend(self.layer(layer));
        }
        for p in &plans {
            let info = found.get(&p.from).ok_or_else(|| missing_tensor(&p.from))?;
            let expected = p.whole();
            if info.shape.dims() != expected {
                let message = format!("tensor `{}` has shape {:?}, expected {expected:?}", p.from, info.shape.dims());
                return Err(Error::new(Code::GgufTensor, message));
            }
        }
        let known: HashSet<_> = plans.iter().map(|p| p.from.as_str()).collect();
        if let Some(name) = found.keys().filter(|n| *n != ROPE_FACTORS && !known.contains(n.as_str())).min() {
            let message = format!("tensor `{name}` has no place in a {} model", self.family.model_type);
            return Err(Error::new(Code::GgufTensor, message)
                .hint("what the tensor is for is not computed here; docs/models.md says what is"));
        }
        plans.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(plans)
    }

    fn layer(&self, layer: usize) -> Vec<TensorPlan> {
        let (h, d) = (self.hidden, self.head_dim);
        let (q, kv) = (self.heads * d, self.kv_heads * d);
        let plan = |from: &str, to: &str, shape: &[usize]| {
            TensorPlan::new(format!("blk.{layer}.{from}"), format!("model.layers.{layer}.{to}"), shape)
        };
        // llama.cpp rotates neighbouring pairs for llama and its like, and halves (as Hugging Face) for others.
        let turned = |heads, plan| TensorPlan { interleaved_heads: self.family.interleaved.then_some(heads), ..plan };
        let mut all = vec![
            turned(self.heads, plan("attn_q.weight", "self_attn.q_proj.weight", &[q, h])),
            turned(self.kv_heads, plan("attn_k.weight", "self_attn.k_proj.weight", &[kv, h])),
            plan("attn_v.weight", "self_attn.v_proj.weight", &[kv, h]),
            plan("attn_output.weight", "self_attn.o_proj.weight", &[h, q]),
        ];
        let mut norms = vec![("attn_norm", "input_layernorm", h)];
        norms.extend(match self.family.result_norms {
            false => vec![("ffn_norm", "post_attention_layernorm", h)],
            true => vec![
                ("post_attention_norm", "post_attention_layernorm", h),
                ("ffn_norm", "pre_feedforward_layernorm", h),
                ("post_ffw_norm", "post_feedforward_layernorm", h),
            ],
        });
        if self.family.qk_norm {
            norms.extend([("attn_q_norm", "self_attn.q_norm", d), ("attn_k_norm", "self_attn.k_norm", d)]);
        }
        all.extend(norms.into_iter().map(|(from, to, width)| TensorPlan {
            offset: self.family.norm_offset,
            ..plan(&format!("{from}.weight"), &format!("{to}.weight"), &[width])
        }));
        let width = self.experts.as_ref().map_or(self.intermediate, |experts| experts.width);
        let network = [("gate", [width, h]), ("up", [width, h]), ("down", [h, width])];
        match self.experts {
            None => {
                all.extend(network.map(|(part, shape)| {
                    plan(&format!("ffn_{part}.weight"), &format!("mlp.{part}_proj.weight"), &shape)
                }))
            }
            Some(Experts { count, .. }) => {
                all.push(plan("ffn_gate_inp.weight", "mlp.gate.weight", &[count, h]));
                let of = |expert| {
                    network.map(|(part, shape)| TensorPlan {
                        expert: Some((expert, count)),
                        ..plan(
                            &format!("ffn_{part}_exps.weight"),
                            &format!("mlp.experts.{expert}.{part}_proj.weight"),
                            &shape,
                        )
                    })
                };
                all.extend((0..count).flat_map(of));
            }
        }
        let ([always, ..], [attention, feed_forward]) = (self.family.biases, self.biases);
        if always || attention {
            all.push(turned(self.heads, plan("attn_q.bias", "self_attn.q_proj.bias", &[q])));
            all.push(turned(self.kv_heads, plan("attn_k.bias", "self_attn.k_proj.bias", &[kv])));
            all.push(plan("attn_v.bias", "self_attn.v_proj.bias", &[kv]));
        }
        all.extend(attention.then(|| plan("attn_output.bias", "self_attn.o_proj.bias", &[h])));
        if feed_forward {
            all.extend(
                network.map(|(part, shape)| {
                    plan(&format!("ffn_{part}.bias"), &format!("mlp.{part}_proj.bias"), &shape[..1])
                }),
            );
        }
        all
    }
}
