//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): which modules have them, PEFT's names, and how they begin.

use super::config::Module;
use crate::{Code, Error, Result, config::LoraConfig};
use candle_core::{Device, Tensor};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

const PREFIX: &str = "base_model.model.";

/// PEFT's name of a module's `A` or `B`.
pub fn tensor_name(module: &str, part: &str) -> String {
    format!("{PREFIX}{module}.lora_{part}.weight")
}

/// PEFT's name of a tensor of the base that is trained as a whole.
pub fn saved_name(tensor: &str) -> String {
    format!("{PREFIX}{tensor}")
}

/// Whether a tensor belongs to an adapter.
pub fn is_adapter(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Last part of a module's name.
fn leaf(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// Modules that the configuration names, of those there are. `all-linear` names all that adapters go on.
pub fn targets<'a>(config: &LoraConfig, modules: &'a [Module]) -> Result<Vec<&'a Module>> {
    let modules = || modules.iter().filter(|module| module.adaptable);
    let all = config.target_modules.iter().any(|t| t == "all-linear");
    let known: BTreeSet<&str> = modules().map(|module| leaf(&module.name)).collect();
    if config.r == 0 || !config.lora_alpha.is_finite() || config.target_modules.is_empty() {
        return Err(Error::new(Code::ModelLora, "lora: r, lora_alpha and target_modules must be given and above 0"));
    }
    if let Some(t) = config.target_modules.iter().find(|t| *t != "all-linear" && !known.contains(t.as_str())) {
        let known: Vec<_> = known.into_iter().collect();
        return Err(Error::new(Code::ModelLora, format!("lora: the model has no linear module {t}"))
            .hint(format!("target_modules may name {}, or all-linear", known.join(", "))));
    }
    Ok(modules().filter(|module| all || config.target_modules.iter().any(|t| t == leaf(&module.name))).collect())
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

/// Modules for which a file of shapes has an adapter.
pub fn modules_of<'a>(shapes: impl Iterator<Item = (&'a str, &'a [usize])>) -> Vec<&'a str> {
    shapes.filter_map(|(name, _)| name.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")).collect()
}
