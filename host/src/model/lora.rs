//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in the layout of PEFT.

use crate::{Code, Error, Result, config::LoraConfig, files};
use candle_core::{Device, Tensor};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The names of PEFT's two files.
pub const CONFIG: &str = "adapter_config.json";
/// See [`CONFIG`].
pub const WEIGHTS: &str = "adapter_model.safetensors";

const PREFIX: &str = "base_model.model.";

/// PEFT's name of a module's `A` or `B`.
pub fn tensor_name(module: &str, part: &str) -> String {
    format!("{PREFIX}{module}.lora_{part}.weight")
}

/// Whether a tensor belongs to an adapter.
pub fn is_adapter(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Last part of a module's name.
fn leaf(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Modules that the configuration names, of those there are (name, inputs, outputs). `all-linear` names all.
pub fn targets<'a>(
    config: &LoraConfig,
    modules: &'a [(String, (usize, usize))],
) -> Result<Vec<&'a (String, (usize, usize))>> {
    let all = config.target_modules.iter().any(|t| t == "all-linear");
    let known: BTreeSet<&str> = modules.iter().map(|(name, _)| leaf(name)).collect();
    if config.r == 0 || !config.lora_alpha.is_finite() || config.target_modules.is_empty() {
        return Err(Error::new(Code::ModelLora, "lora: r, lora_alpha and target_modules must be given and above 0"));
    }
    if let Some(t) = config.target_modules.iter().find(|t| *t != "all-linear" && !known.contains(t.as_str())) {
        let known: Vec<_> = known.into_iter().collect();
        return Err(Error::new(Code::ModelLora, format!("lora: the model has no linear module {t}"))
            .hint(format!("target_modules may name {}, or all-linear", known.join(", "))));
    }
    Ok(modules.iter().filter(|(name, _)| all || config.target_modules.iter().any(|t| t == leaf(name))).collect())
}

/// The leaf names of some modules, sorted: `target_modules` spelt out.
pub fn leaves<'a>(modules: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    modules.into_iter().map(leaf).collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

/// A [r, inputs] as PEFT draws it (kaiming uniform with a = sqrt 5: uniform within 1 / sqrt(inputs)), keyed by seed
/// and name.
pub fn init_a(seed: u64, name: &str, r: usize, inputs: usize, device: &Device) -> Result<Tensor> {
    let key = Sha256::new().chain_update(b"ldalign/lora").chain_update(seed.to_le_bytes()).chain_update(name);
    let mut rng = ChaCha20Rng::from_seed(key.finalize().into());
    let bound = 1.0 / (inputs as f32).sqrt();
    // 24 random bits: every multiple of 2^-24 in [0, 1).
    let uniform = std::iter::repeat_with(|| (rng.next_u32() >> 8) as f32 / (1 << 24) as f32);
    let values: Vec<f32> = uniform.map(|u| (2.0 * u - 1.0) * bound).take(r * inputs).collect();
    Ok(Tensor::from_vec(values, (r, inputs), device)?)
}

/// Writes adapter_config.json.
pub fn save_config(dir: &Path, config: &LoraConfig, base: &Path) -> Result<()> {
    files::write_json(
        &dir.join(CONFIG),
        &json!({
            "base_model_name_or_path": base,
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
        }),
    )
}

/// adapter_config.json as far as it concerns us; anything that would change the result is refused.
pub struct AdapterFile {
    /// Rank.
    pub r: usize,
    /// Scale times rank.
    pub lora_alpha: f64,
    base: Option<String>,
    path: PathBuf,
}

impl AdapterFile {
    /// Reads the file in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(CONFIG);
        let bad = |what: String| Error::new(Code::ModelLora, format!("{}: {what}", path.display()));
        let map: Map<String, Value> = serde_json::from_str(&files::read_text(&path)?)
            .map_err(|e| bad("not a JSON object".into()).caused_by(e))?;
        let get = |key: &str| map.get(key).filter(|v| !v.is_null());
        let only = |key: &str, plain: &[Value]| match get(key) {
            Some(v) if !plain.contains(v) => Err(Error::new(
                Code::ModelUnsupported,
                format!("{}: {key} is {v}; supported is {}", path.display(), plain[0]),
            )),
            _ => Ok(()),
        };
        only("peft_type", &["LORA".into()])?;
        only("bias", &["none".into()])?;
        for key in ["use_dora", "use_rslora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out"] {
            only(key, &[false.into()])?;
        }
        for key in ["rank_pattern", "alpha_pattern"] {
            only(key, &[json!({})])?;
        }
        const NONE: Value = Value::Null;
        for key in [
            "modules_to_save",
            "layers_to_transform",
            "trainable_token_indices",
            "layer_replication",
            "target_parameters",
            "alora_invocation_tokens",
        ] {
            only(key, &[NONE, json!([])])?;
        }
        let r = get("r").and_then(Value::as_u64).filter(|r| (1..1 << 20).contains(r));
        let alpha = get("lora_alpha").and_then(Value::as_f64);
        let (Some(r), Some(lora_alpha)) = (r, alpha) else {
            return Err(bad("expected numbers r and lora_alpha".into()));
        };
        let base = get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { r: r as usize, lora_alpha, base, path })
    }

    /// Directory of the base model: as named, or relative to the adapter's directory.
    pub fn base(&self) -> Result<PathBuf> {
        let fail = |what: String| {
            Error::new(Code::ModelAdapterBase, format!("{}: {what}", self.path.display()))
                .hint("set base_model_name_or_path to the directory of the model the adapter was trained on")
        };
        let base = self.base.as_deref().ok_or_else(|| fail("base_model_name_or_path is missing".into()))?;
        let beside = self.path.parent().unwrap_or(Path::new("")).join(base);
        [beside, PathBuf::from(base)]
            .into_iter()
            .find(|dir| dir.join("config.json").is_file())
            .ok_or_else(|| fail(format!("base_model_name_or_path is {base:?}, which is not a model directory")))
    }
}

/// Modules for which a file of shapes has an adapter.
pub fn modules_of<'a>(shapes: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<&'a str> {
    shapes.filter_map(|(name, _)| name.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")).collect()
}
