//! The model as the rest of the host sees it: its tensors, how they are loaded, adapted and saved.
//!
//! The passes are in [`super::passes`] (packs) and [`super::cache`] (generation).

use super::{
    adapter::{self, Adapter},
    base::Kept,
    config::{EMBEDDING, HEAD, ModelConfig, Module},
    lora,
    parameter::Parameter,
    source::{ModelDir, has_adapter, save_quantization},
    transformer::Transformer,
    weights,
};
use crate::{
    Code, Error, Result,
    config::{LoraConfig, Quantize},
    files,
    ops::{Compute, Precision, Stored, Weight},
};
use candle_core::{DType, Device, Tensor, Var};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A named trainable tensor.
#[derive(Clone)]
pub struct Trainable {
    /// Hugging Face's (or PEFT's) name of the tensor.
    pub name: String,
    /// The tensor, f32.
    pub var: Var,
}

/// Bytes of activations that a backward pass may keep: a sixth of what training holds at any rate (weights, gradients,
/// moments), but 224 MiB where that is less.
pub fn activation_budget(held: usize) -> usize {
    (held / 6).max(224 << 20)
}

/// A decoder-only transformer with its weights, and an adapter if it has one.
pub struct Policy {
    /// Where it was loaded from: tokenizer and template go with the weights wherever they are saved.
    source: PathBuf,
    /// The (base) model.
    base: PathBuf,
    /// Whether the weights are no longer those of `base`.
    merged: bool,
    /// What the base's matrices were made into.
    quantize: Option<Quantize>,
    /// Every tensor by Hugging Face's or PEFT's name; the trainable ones are variables.
    tensors: BTreeMap<String, Stored>,
    adapter: Option<Adapter>,
    /// The transformer over the memory of `tensors`.
    model: Transformer,
    /// Bytes of activations that a backward pass may keep, where they were set.
    activations: Option<usize>,
}

impl Policy {
    /// Loads config.json and safetensors of a Hugging Face directory; an `adapter_config.json` in it loads the base it
    /// names plus the adapter. Products are in f32.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::load_as(dir, device, Precision::F32)
    }

    /// [`load`](Self::load), with the operands of all products rounded to `precision`. Weights that are trained stay
    /// f32; with bf16, frozen ones are rounded for good.
    pub fn load_as(dir: &Path, device: &Device, precision: Precision) -> Result<Self> {
        Self::load_on(dir, &Compute::new(device, precision))
    }

    /// [`load`](Self::load) for any way to compute.
    pub fn load_on(dir: &Path, compute: &Compute) -> Result<Self> {
        Self::load_kept(dir, compute, Kept::Trained)
    }

    /// [`load`](Self::load) for any way to compute, and with what becomes of the base's numbers: each tensor is read
    /// straight into that, so that memory never holds more than the model and its largest tensor. An adapter's base is
    /// frozen at least, and what the adapter was trained on.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and where what is asked for cannot be had.
    pub fn load_kept(dir: &Path, compute: &Compute, kept: Kept) -> Result<Self> {
        Self::load_source(&ModelDir::open(dir)?, compute, kept)
    }

    /// [`load_kept`](Self::load_kept) of a directory that was opened.
    ///
    /// # Errors
    /// As there.
    pub fn load_source(source: &ModelDir, compute: &Compute, kept: Kept) -> Result<Self> {
        let kept = match (source.quantize(), kept) {
            (Some(Quantize::Nf4), _) => Kept::Nf4,
            (None, Kept::Trained) if source.is_adapter() => Kept::Frozen,
            (None, kept) => kept,
        };
        let mut policy = Self::load_base(source, compute, kept)?;
        if source.is_adapter() {
            policy.load_adapter(source.dir())?;
        }
        Ok(policy)
    }

    fn load_base(source: &ModelDir, compute: &Compute, kept: Kept) -> Result<Self> {
        let mut base = source.weights()?;
        let quantize = (kept == Kept::Nf4).then_some(Quantize::Nf4);
        if quantize.is_some() {
            base.quantizable(compute.device())?;
        }
        let config = Arc::new(base.config.clone());
        let mut tensors = BTreeMap::new();
        let model = Transformer::build(&config, compute, &mut |name, shape| {
            let stored = base.keep(name, shape, compute, kept)?;
            tensors.insert(name.to_owned(), stored.clone());
            Ok(Parameter::new(name, &stored))
        })?;
        base.finish()?;
        Ok(Self {
            source: source.dir().to_owned(),
            base: source.base().to_owned(),
            merged: false,
            quantize,
            tensors,
            adapter: None,
            model,
            activations: None,
        })
    }

    /// Builds the transformer over `tensors` anew.
    fn set(
        &mut self,
        config: Arc<ModelConfig>,
        tensors: BTreeMap<String, Stored>,
        adapter: Option<Adapter>,
    ) -> Result<()> {
        let compute = self.model.compute.clone();
        self.model = Transformer::build(&config, &compute, &mut |name, _| {
            Ok(Parameter::new(name, tensors.get(name).expect("the tensors of a loaded model are complete")))
        })?;
        if let Some(adapter) = &adapter {
            self.model.attach(&tensors, adapter)?;
        }
        (self.tensors, self.adapter) = (tensors, adapter);
        Ok(())
    }

    /// The base's tensors, frozen.
    fn frozen(&self) -> Result<BTreeMap<String, Stored>> {
        let base = self.tensors.iter().filter(|(name, _)| !lora::is_adapter(name));
        base.map(|(name, t)| Ok((name.clone(), Weight::frozen(t, self.compute())?))).collect()
    }

    /// Adds fresh low-rank adapters and freezes everything else. Deterministic in `seed`.
    pub fn add_lora(&mut self, config: &LoraConfig, seed: u64) -> Result<()> {
        if self.adapter.is_some() {
            return Err(has_adapter());
        }
        let modules = self.model.config.modules();
        let targets = lora::targets(config, &modules)?;
        let mut tensors = self.frozen()?;
        for Module { name: module, inputs, outputs, .. } in &targets {
            let name = lora::tensor_name(module, "A");
            let a = lora::init_a(seed, &name, config.r, *inputs, self.device())?;
            tensors.insert(name, Var::from_tensor(&a)?.into_inner().into());
            let b = Var::zeros((*outputs, config.r), DType::F32, self.device())?;
            tensors.insert(lora::tensor_name(module, "B"), b.into_inner().into());
        }
        let target_modules = lora::leaves(targets.iter().map(|module| module.name.as_str()));
        self.set(
            self.model.config.clone(),
            tensors,
            Some(Adapter::fresh(LoraConfig { target_modules, ..config.clone() })),
        )
    }

    /// Loads adapter weights saved by [`save`](Self::save) or PEFT, in place of the adapter there may be. Everything
    /// else is frozen.
    pub fn load_adapter(&mut self, dir: &Path) -> Result<()> {
        let mut adapter = Adapter::load(dir)?;
        let mut tensors = self.frozen()?;
        let config = self.model.config.clone();
        for (name, tensor) in adapter.read(dir, &config, self.device())? {
            let trained = adapter.trains(&name);
            let tensor = if trained { Var::from_tensor(&tensor)?.into_inner() } else { tensor };
            tensors.insert(name, tensor.into());
        }
        self.set(config, tensors, Some(adapter))
    }

    /// Adds the adapters into the weights, which are unpacked where they are in blocks, and drops them. All weights are
    /// trainable then.
    pub fn merge(&mut self) -> Result<()> {
        if self.adapter.is_none() {
            return Err(Error::new(Code::ModelLora, "the model has no adapter to merge"));
        }
        let mut tensors = self.frozen()?;
        for (module, linear) in self.model.linears_mut() {
            tensors.insert(format!("{module}.weight"), linear.merged()?.into());
        }
        let (mut config, [embedding, head]) = (self.model.config.clone(), self.model.tables()?);
        if config.tied && self.model.embedding.name != self.model.head.name {
            let config = Arc::make_mut(&mut config);
            config.tied = false;
            config.raw.insert("tie_word_embeddings".into(), false.into());
        }
        if !config.tied {
            tensors.insert(HEAD.to_owned(), head.into());
        }
        tensors.insert(EMBEDDING.to_owned(), embedding.into());
        for t in tensors.values_mut() {
            *t = Var::from_tensor(&t.to_f32(self.device())?)?.into_inner().into();
        }
        self.set(config, tensors, None)?;
        (self.merged, self.quantize) = (true, None);
        Ok(())
    }

    /// Writes what was trained: the whole model in f32, or the adapter where there is one (PEFT layout). The
    /// tokenizer's files go with it.
    pub fn save(&self, dir: &Path) -> Result<()> {
        files::make_dir(dir)?;
        if let Some(adapter) = &self.adapter {
            if self.merged {
                return Err(Error::new(
                    Code::ModelAdapterBase,
                    "the adapter's base exists in memory only: another adapter was merged into it",
                )
                .hint("save the merged model and load it before adding an adapter"));
            }
            // An absolute path, so that PEFT finds the base from any working directory.
            let base = self.base.canonicalize().map_err(|e| files::io_error(&self.base, "find", e))?;
            adapter.save(dir, &base)?;
            if let Some(quantize) = self.quantize {
                save_quantization(dir, quantize)?;
            }
            let mut tensors = self.tensors_of(lora::is_adapter)?;
            if adapter.ties(&self.model.config)
                && let Some(table) = tensors.get(&lora::saved_name(EMBEDDING)).cloned()
            {
                // As PEFT, under both names.
                tensors.insert(lora::saved_name(HEAD), table);
            }
            weights::save(&dir.join(adapter::WEIGHTS), &tensors)?;
        } else {
            let mut config = self.model.config.raw.clone();
            config.shift_remove("torch_dtype");
            config.insert("dtype".into(), "float32".into());
            files::write_json(&dir.join("config.json"), &config)?;
            weights::save(&dir.join("model.safetensors"), &self.tensors_of(|_| true)?)?;
        }
        let companions = ModelDir::open_on(&self.source, Some(&self.base))?.companions()?;
        companions.iter().try_for_each(|(name, bytes)| files::write(&dir.join(name), bytes))
    }

    /// Tensors to be saved. Fails where they are no longer f32.
    fn tensors_of(&self, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.tensors.iter().filter(|(name, _)| wanted(name));
        let f32 = |(name, stored): (&String, &Stored)| match stored.tensor().filter(|t| t.dtype() == DType::F32) {
            Some(t) => Ok((name.clone(), t.clone())),
            None => {
                Err(Error::new(Code::ModelWeights, format!("{name} was rounded when it was loaded, to be used alone"))
                    .hint("load the model to be trained to save it"))
            }
        };
        tensors.map(f32).collect()
    }

    /// What the base's matrices were made into.
    pub fn quantize(&self) -> Option<Quantize> {
        self.quantize
    }
    /// The adapter's configuration, if there is one: of modules without a pattern of their own.
    pub fn lora(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref().map(|adapter| &adapter.config)
    }
    /// Trainable tensors, sorted by name.
    pub fn trainable(&self) -> Vec<Trainable> {
        let var = |t| Var::from_tensor(t).expect("a variable is itself");
        self.tensors
            .iter()
            .filter_map(|(name, stored)| Some((name, stored.tensor().filter(|t| t.is_variable())?)))
            .map(|(name, t)| Trainable { name: name.clone(), var: var(t) })
            .collect()
    }
    /// To be called where the numbers of the [trainable](Self::trainable) tensors were changed in place: what was made
    /// of the numbers before, such as copies rounded to bf16, is not read again.
    pub fn weights_changed(&mut self) {
        self.model.changed();
    }
    /// Bytes of activations that a backward pass keeps. What does not fit is computed again, layer by layer (activation
    /// checkpointing).
    pub fn activation_budget(&self) -> usize {
        let held = |t: &Stored| t.size() + if t.is_variable() { 12 * t.elem_count() } else { 0 };
        self.activations.unwrap_or_else(|| activation_budget(self.tensors.values().map(held).sum()))
    }
    /// Sets another budget.
    pub fn set_activation_budget(&mut self, bytes: usize) {
        self.activations = Some(bytes);
    }
    /// The transformer.
    pub(super) fn model(&self) -> &Transformer {
        &self.model
    }
    /// Tokens in the vocabulary, rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        self.model.config.vocab_size
    }
    /// Width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        self.model.config.hidden_size
    }
    /// Number of layers; hidden states exist for 0 (embeddings) ..= this (after the final norm).
    pub fn num_layers(&self) -> usize {
        self.model.config.num_layers
    }
    /// Longest sequence the model was made for.
    pub fn max_positions(&self) -> usize {
        self.model.config.max_positions
    }
    /// How it computes: what works with the model's tensors gets it from here.
    pub fn compute(&self) -> &Compute {
        &self.model.compute
    }
    /// The device.
    pub fn device(&self) -> &Device {
        self.compute().device()
    }
    /// Bytes of all parameters as they are kept, without copies that products make of them.
    pub fn weight_bytes(&self) -> usize {
        self.tensors.values().map(Stored::size).sum()
    }
    /// Parameters in all, those of the adapter included.
    pub fn num_parameters(&self) -> usize {
        self.tensors.values().map(Stored::elem_count).sum()
    }
}
