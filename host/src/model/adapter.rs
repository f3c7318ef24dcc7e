//! Adapters as PEFT writes them: what adapter_config.json says of each module, and the tensors beside it.

mod keys;
mod patterns;

use super::{
    config::{EMBEDDING, HEAD, ModelConfig, Module},
    lora,
    weights::{Weights, differ},
};
use crate::{Code, Error, Result, config::LoraConfig, files, keys as lists};
use candle_core::{Device, Tensor};
use patterns::Patterns;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The names of PEFT's two files.
pub const CONFIG: &str = "adapter_config.json";
/// See [`CONFIG`].
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// A way out where PEFT computes what we do not.
const MERGE: &str =
    "merge the adapter with PEFT (merge_and_unload, then save_pretrained), and give that directory as the model";

/// What to do with a pattern that cannot be read.
const PATTERN: &str = "write it without, or spell the modules out, each with its number";

/// An adapter's configuration: rank and scale of each module.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Rank and alpha of modules without a pattern; the leaf names of all with an adapter, sorted.
    pub config: LoraConfig,
    /// As it is written.
    map: Map<String, Value>,
    rslora: bool,
    ranks: Patterns<usize>,
    alphas: Patterns<f64>,
    /// Which of embedding and head were trained as a whole, by their tensors' names: `modules_to_save`.
    saved: BTreeSet<&'static str>,
}

impl Adapter {
    /// One that is about to be trained.
    pub fn fresh(config: LoraConfig) -> Self {
        let map = json!({
            "base_model_name_or_path": null,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": config.lora_alpha,
            "lora_dropout": 0.0,
            "peft_type": "LORA",
            "r": config.r,
            "target_modules": config.target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        let Value::Object(map) = map else { unreachable!("an object") };
        Self {
            config,
            map,
            rslora: false,
            ranks: Patterns::default(),
            alphas: Patterns::default(),
            saved: BTreeSet::new(),
        }
    }

    /// Reads adapter_config.json in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let file = path.display().to_string();
        let bad = |what: &str| {
            Error::new(Code::ModelLora, format!("{file}: {what}"))
                .hint("save the adapter again by PEFT's save_pretrained")
        };
        let map: Map<String, Value> =
            serde_json::from_str(&files::read_text(&path)?).map_err(|e| bad("not a JSON object").caused_by(e))?;
        lists::check(&[keys::KEYS], &file, map.iter().map(|(k, v)| (k.as_str(), v)))?;
        let get = |key: &str| map.get(key).filter(|v| !v.is_null());
        let rank = |v: &Value| v.as_u64().filter(|r| (1..1 << 20).contains(r)).map(|r| r as usize);
        // Both are 8 where PEFT finds none.
        let r = map.get("r").map_or(Some(8), rank);
        let (Some(r), Some(lora_alpha)) = (r, map.get("lora_alpha").map_or(Some(8.0), Value::as_f64)) else {
            return Err(bad("expected numbers r and lora_alpha"));
        };
        let rslora = match get("use_rslora") {
            None => false,
            Some(v) => v.as_bool().ok_or_else(|| bad("expected true or false as use_rslora"))?,
        };
        let ranks = Patterns::read(get("rank_pattern"), "rank_pattern", "ranks", rank);
        let alphas = Patterns::read(get("alpha_pattern"), "alpha_pattern", "numbers", Value::as_f64);
        let pattern = |what: String| Error::new(Code::ModelLora, format!("{file}: {what}")).hint(PATTERN);
        let (ranks, alphas) = (ranks.map_err(pattern)?, alphas.map_err(pattern)?);
        let saved = match get("modules_to_save") {
            None => BTreeSet::new(),
            Some(v) => saved(v).ok_or_else(|| {
                let what = format!("{file}: modules_to_save is {v}; supported are embed_tokens and lm_head");
                Error::new(Code::ModelUnsupported, what).hint(MERGE)
            })?,
        };
        let config = LoraConfig { r, lora_alpha, target_modules: vec![] };
        Ok(Self { config, map, rslora, ranks, alphas, saved })
    }

    /// The rank of a module's adapter.
    pub fn rank(&self, module: &str) -> usize {
        self.ranks.of(module).unwrap_or(self.config.r)
    }

    /// What B A is multiplied by.
    pub fn scale(&self, module: &str) -> f64 {
        let (alpha, r) = (self.alphas.of(module).unwrap_or(self.config.lora_alpha), self.rank(module) as f64);
        alpha / if self.rslora { r.sqrt() } else { r }
    }

    /// Directory or GGUF file of the base model of the adapter in `dir`: as named, or relative to it.
    pub fn base(&self, dir: &Path) -> Result<PathBuf> {
        let file = dir.join(CONFIG);
        let fail = |what: &str, hint: &str| {
            Error::new(Code::ModelAdapterBase, format!("{}: base_model_name_or_path is {what}", file.display()))
                .hint(hint)
        };
        const HINT: &str = "set base_model_name_or_path to the model that the adapter was trained on";
        let base = self.map.get("base_model_name_or_path").and_then(Value::as_str);
        let base = base.ok_or_else(|| fail("missing", HINT))?;
        let mut places = [dir.join(base), PathBuf::from(base)].into_iter();
        if let Some(found) = places.clone().find(|base| base.is_file() || base.join("config.json").is_file()) {
            return Ok(found);
        }
        Err(match places.any(|dir| dir.join(CONFIG).is_file()) {
            true => fail(
                &format!("{base:?}, which is an adapter itself"),
                "merge that one into its base first (`ldalign merge`), and name the merged directory",
            ),
            false => fail(&format!("{base:?}, which is neither a model directory nor a GGUF file"), HINT),
        })
    }

    /// Whether embedding and head, one table in the base, stay one where one of them is saved.
    pub fn ties(&self, model: &ModelConfig) -> bool {
        model.tied && self.map.get("ensure_weight_tying").and_then(Value::as_bool).unwrap_or(false)
    }

    /// Whether it has an embedding and a head of its own.
    pub fn tables(&self) -> [bool; 2] {
        [EMBEDDING, HEAD].map(|table| self.saved.contains(table))
    }

    /// Whether a tensor is trained: MiCA (arXiv 2604.01694) trains A alone.
    pub fn trains(&self, name: &str) -> bool {
        let kind = self.map.get("init_lora_weights").and_then(Value::as_str);
        kind != Some("mica") || !name.ends_with(".lora_B.weight")
    }

    /// The tensors of the adapter in `dir`, for a model. Which of its linear modules have adapters is what the tensors
    /// say: the configuration may hold a pattern instead.
    pub fn read(&mut self, dir: &Path, model: &ModelConfig, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        let path = dir.join(WEIGHTS);
        let mut weights = open(dir)?;
        let adapted: Vec<String> = lora::modules_of(weights.shapes()).into_iter().map(str::to_owned).collect();
        let mut tensors = BTreeMap::new();
        let modules = model.modules();
        let adaptable = modules.iter().filter(|module| module.adaptable && adapted.contains(&module.name));
        for Module { name: module, inputs, outputs, .. } in adaptable {
            let r = self.rank(module);
            for (part, shape) in [("A", [r, *inputs]), ("B", [*outputs, r])] {
                let name = lora::tensor_name(module, part);
                let tensor = weights.take(&name, &shape, CONFIG, device)?;
                tensors.insert(name, tensor);
            }
        }
        let shape = [model.vocab_size, model.hidden_size];
        for table in &self.saved {
            let name = lora::saved_name(table);
            tensors.insert(name.clone(), weights.take(&name, &shape, CONFIG, device)?);
        }
        if self.ties(model) && !self.saved.is_empty() {
            self.tie(&mut weights, &mut tensors, &shape, device)?;
        }
        if let Some(name) = weights.left().next() {
            return Err(match explain(name) {
                Some((what, hint)) => Error::new(
                    Code::ModelUnsupported,
                    format!("{}: {what}, such as {name}; supported are adapters on linear modules", path.display()),
                )
                .hint(hint),
                None => weights.no_place(name),
            });
        }
        if tensors.is_empty() {
            return Err(Error::new(Code::ModelLora, format!("{} holds no adapter", path.display())).hint(MERGE));
        }
        self.config.target_modules = lora::leaves(adapted.iter().map(String::as_str));
        Ok(tensors)
    }

    /// Leaves one of embedding and head, which PEFT writes under both names.
    fn tie(
        &self,
        weights: &mut Weights,
        tensors: &mut BTreeMap<String, Tensor>,
        shape: &[usize],
        device: &Device,
    ) -> Result<()> {
        let [embedding, head] = [EMBEDDING, HEAD].map(lora::saved_name);
        let [a, b] = [&embedding, &head].map(|name| weights.take(name, shape, CONFIG, device));
        let a = a?;
        if differ(&a, &b?)? {
            let what = format!("{}: {head} is not {embedding}, but {CONFIG} says so", weights.place());
            return Err(Error::new(Code::ModelTensor, what).hint("set ensure_weight_tying to false to use both"));
        }
        tensors.remove(&head);
        tensors.insert(embedding, a);
        Ok(())
    }

    /// Writes adapter_config.json.
    pub fn save(&self, dir: &Path, base: &Path) -> Result<()> {
        let mut map = self.map.clone();
        map.insert("base_model_name_or_path".into(), json!(base));
        map.insert("inference_mode".into(), true.into());
        files::write_json(&dir.join(CONFIG), &map)
    }
}

/// The tensors that modules_to_save names.
fn saved(list: &Value) -> Option<BTreeSet<&'static str>> {
    let of = |name: &Value| match name.as_str()? {
        "embed_tokens" | "model.embed_tokens" => Some(EMBEDDING),
        "lm_head" => Some(HEAD),
        _ => None,
    };
    list.as_array()?.iter().map(of).collect()
}

/// Opens the weights of the adapter in `dir`.
pub fn open(dir: &Path) -> Result<Weights> {
    let path = dir.join(WEIGHTS);
    if !path.exists() && dir.join("adapter_model.bin").exists() {
        let what = format!("{} has its weights in adapter_model.bin alone, which is not read", dir.display());
        return Err(Error::new(Code::ModelWeights, what)
            .hint("load it with PEFT and save it by save_pretrained, which writes adapter_model.safetensors"));
    }
    Weights::open_files(vec![path])
}

/// What a tensor is that no linear module has a place for, and what to do.
fn explain(name: &str) -> Option<(&'static str, &'static str)> {
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if name.contains(".lora_magnitude_vector") {
        return Some(("it holds DoRA's magnitudes", MERGE));
    }
    if ends(&["embed_tokens.weight", "lm_head.weight"]) {
        return Some((
            "it brings a whole embedding or head that modules_to_save does not name (save_embedding_layers)",
            MERGE,
        ));
    }
    if [".embed_tokens.", ".lm_head."].iter().any(|table| name.contains(table)) {
        return Some(("it adapts the embedding or the head", MERGE));
    }
    if name.contains(".lora_") && !ends(&[".lora_A.weight", ".lora_B.weight", ".lora_A.bias", ".lora_B.bias"]) {
        return Some((
            "its names hold the name of an adapter, as in a state_dict",
            "save it by PEFT's save_pretrained, which leaves that name out",
        ));
    }
    ends(&[".bias"]).then_some(("it brings biases", MERGE))
}
