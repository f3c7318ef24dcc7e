//! The families of models that GGUF files have: their names there and here, and how their tensors differ.

use crate::{Code, Error, Result};

/// A family, by its name in GGUF.
pub(super) struct Family {
    /// `general.architecture`.
    pub arch: &'static str,
    /// Hugging Face's `model_type`.
    pub model_type: &'static str,
    /// transformers' class.
    pub class: &'static str,
    /// Whether rows of q and k are rotated as neighbouring pairs, other than Hugging Face's halves.
    pub interleaved: bool,
    /// Whether q and k are normalised head by head.
    pub qk_norm: bool,
    /// Whether norms follow attention and feed-forward network too.
    pub result_norms: bool,
    /// What the converter has added to the weights of norms.
    pub norm_offset: f32,
    /// Whether its feed-forward networks are mixtures of experts.
    pub experts: bool,
    /// Whether q, k and v have biases always, and those of all attention or of the network where the file has them.
    pub biases: [bool; 3],
}

const LLAMA: Family = Family {
    arch: "llama",
    model_type: "llama",
    class: "LlamaForCausalLM",
    interleaved: true,
    qk_norm: false,
    result_norms: false,
    norm_offset: 0.0,
    experts: false,
    biases: [false, true, true],
};
/// llama.cpp has Mistral as llama: it is one with windows.
const MISTRAL: Family =
    Family { model_type: "mistral", class: "MistralForCausalLM", biases: [false, false, false], ..LLAMA };
const QWEN3: Family = Family {
    arch: "qwen3",
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    interleaved: false,
    qk_norm: true,
    biases: [false, true, false],
    ..LLAMA
};
const FAMILIES: [Family; 6] = [
    LLAMA,
    Family {
        arch: "qwen2",
        model_type: "qwen2",
        class: "Qwen2ForCausalLM",
        interleaved: false,
        biases: [true, false, false],
        ..LLAMA
    },
    QWEN3,
    Family { arch: "qwen3moe", model_type: "qwen3_moe", class: "Qwen3MoeForCausalLM", experts: true, ..QWEN3 },
    Family {
        arch: "smollm3",
        model_type: "smollm3",
        class: "SmolLM3ForCausalLM",
        biases: [false, false, false],
        ..LLAMA
    },
    Family {
        arch: "gemma3",
        model_type: "gemma3_text",
        class: "Gemma3ForCausalLM",
        result_norms: true,
        norm_offset: 1.0,
        biases: [false, false, false],
        ..QWEN3
    },
];

impl Family {
    /// That of `general.architecture`, in a file with windows or without.
    ///
    /// # Errors
    /// Where it is another.
    pub fn of(arch: &str, windows: bool) -> Result<Self> {
        if arch == LLAMA.arch && windows {
            return Ok(MISTRAL);
        }
        FAMILIES.into_iter().find(|family| family.arch == arch).ok_or_else(|| {
            let message = format!("key `general.architecture` is `{arch}`");
            Error::new(Code::GgufArchitecture, message).hint(
                "supported are llama (SmolLM, TinyLlama, Llama, Mistral), qwen2, qwen3, qwen3moe, smollm3 and gemma3",
            )
        })
    }

    /// Whether it is Gemma 3, whose layers with windows have a rotary embedding of their own.
    pub fn is_gemma3(&self) -> bool {
        self.arch == "gemma3"
    }
}
