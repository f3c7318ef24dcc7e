//! The rotary embedding's frequencies, plain or scaled, as transformers computes them (modeling_rope_utils.py).

use super::fields::Fields;
use crate::{
    Code, Error, Result,
    keys::{self, Keys, Use},
};
use serde_json::Value;
use std::f64::consts::PI;

/// Rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// What is made of the frequencies.
    pub scaling: Scaling,
}

/// `rope_type`.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// `default`.
    None,
    /// `dynamic`: as `default` up to `max_position_embeddings`, and nothing longer is computed.
    Dynamic,
    /// `linear`: all frequencies divided by a factor (position interpolation, arXiv 2306.15595).
    Linear(f64),
    /// `llama3`: low frequencies divided by a factor.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f64,
        /// Bounds, low and high, of the band between scaled and unscaled frequencies, in turns over the original
        /// length.
        band: [f64; 2],
        /// Tokens that the model was first trained for.
        original: f64,
    },
    /// `yarn` (arXiv 2309.00071): low frequencies divided by a factor, and q and k scaled.
    Yarn {
        /// What low frequencies are divided by.
        factor: f64,
        /// Bounds, first and last, of the band between unscaled and scaled frequencies, in pairs of a head's numbers.
        band: [f64; 2],
        /// Of cosines and sines.
        attention: f64,
    },
}

/// Keys of `rope_parameters` and `rope_scaling`.
pub const KEYS: &Keys = &[
    (Use::Used, &["rope_type", "type", "rope_theta", "factor"], "kind, base and factor"),
    (
        Use::Used,
        &["original_max_position_embeddings", "low_freq_factor", "high_freq_factor"],
        "the band of llama3; the length before scaling",
    ),
    (
        Use::Used,
        &["attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
        "the band and the attention of yarn",
    ),
    (Use::Only(&["1"]), &["attn_factor"], "another attention of yarn, in other programs"),
    (Use::Only(&["1"]), &["partial_rotary_factor"], "positions in a part of a head's numbers"),
    (Use::Only(&[]), &["short_factor", "long_factor", "mrope_section"], "longrope; several axes of positions"),
    (Use::Harmless, &["finetuned"], "a remark"),
];

impl RopeConfig {
    /// Radians per position of each pair of a head's numbers: [dim / 2]. In f32 as transformers computes it.
    pub fn frequencies(&self, dim: usize) -> Vec<f32> {
        let base = self.theta as f32;
        let plain = (0..dim / 2).map(|i| 1.0 / base.powf(2.0 * i as f32 / dim as f32));
        match &self.scaling {
            Scaling::None | Scaling::Dynamic => plain.collect(),
            Scaling::Linear(factor) => plain.map(|f| f / *factor as f32).collect(),
            Scaling::Llama3 { factor, band: [low, high], original } => plain
                .map(|f| {
                    let turns = original * f64::from(f) / (2.0 * PI);
                    let smooth = (turns - low) / (high - low);
                    let smooth = smooth.clamp(0.0, 1.0) as f32;
                    (1.0 - smooth) * (f / *factor as f32) + smooth * f
                })
                .collect(),
            Scaling::Yarn { factor, band: [first, last], .. } => (0..)
                .zip(plain)
                .map(|(i, f)| {
                    let scaled = ((f64::from(i) - first) / (last - first)).clamp(0.0, 1.0) as f32;
                    (f / *factor as f32) * scaled + f * (1.0 - scaled)
                })
                .collect(),
        }
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention, .. } => attention as f32,
            _ => 1.0,
        }
    }

    /// What `p`, the value of `rope_parameters` or its like, says for a model with heads of `dim` numbers and
    /// `positions` at most; the base is `theta` where it says none.
    fn of(f: &Fields, p: &Fields, dim: usize, positions: usize, theta: f64) -> Result<Self> {
        keys::check(&[KEYS], p.file, p.map.iter().map(|(k, v)| (k.as_str(), v)))?;
        let theta = p.number("rope_theta")?.unwrap_or(theta);
        let key = if p.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind = match p.get(key) {
            None => "default",
            Some(v) => v.as_str().unwrap_or(""),
        };
        let need = |key: &str| {
            p.number(key)?.ok_or_else(|| p.damaged(&format!(": {key} is missing in the {kind} rope scaling")))
        };
        // As transformers: the model's own key goes first, and its length stands for one that is missing.
        let original = || {
            let own = f.number("original_max_position_embeddings")?;
            Ok::<_, Error>(own.or(p.number("original_max_position_embeddings")?).unwrap_or(positions as f64))
        };
        let scaling = match kind {
            "default" => Scaling::None,
            "dynamic" => Scaling::Dynamic,
            "linear" => Scaling::Linear(need("factor")?),
            "llama3" => {
                let (factor, original) = (need("factor")?, original()?);
                let band = [need("low_freq_factor")?, need("high_freq_factor")?];
                if band[1] <= band[0] {
                    return Err(p.bad("high_freq_factor", &band[1].into(), "a number above low_freq_factor"));
                }
                Scaling::Llama3 { factor, band, original }
            }
            "yarn" => yarn(p, dim, theta, original()?, positions)?,
            _ => {
                let v = p.get(key).unwrap_or(&Value::Null);
                return Err(p.unsupported(key, v, "default, linear, dynamic, yarn or llama3"));
            }
        };
        Ok(Self { theta, scaling })
    }
}

/// The rotary embedding of a family that has one. transformers 5 writes `rope_parameters`; before, `rope_theta` and
/// `rope_scaling`. Where both are there, it takes `rope_scaling`, as is done here unless that would lose the base that
/// `rope_parameters` has.
pub fn one(f: &Fields, dim: usize, positions: usize, theta: f64) -> Result<Vec<RopeConfig>> {
    let (new, old) = (f.object("rope_parameters")?, f.object("rope_scaling")?);
    let theta = f.number("rope_theta")?.unwrap_or(theta);
    let p = match (new, old) {
        (None, None) => return Ok(vec![RopeConfig { theta, scaling: Scaling::None }]),
        (Some(p), None) | (None, Some(p)) => p,
        (Some(new), Some(old)) => {
            let said = old.number("rope_theta").ok().flatten().unwrap_or(theta);
            if let Some(lost) = new.number("rope_theta")?.filter(|lost| *lost != said) {
                return Err(beside(f, &format!("rope_theta {lost} would be lost")));
            }
            old
        }
    };
    Ok(vec![RopeConfig::of(f, &p, dim, positions, theta)?])
}

fn beside(f: &Fields, lost: &str) -> Error {
    let what = format!("{}: rope_scaling stands beside rope_parameters, and takes its place: {lost}", f.file);
    Error::new(Code::ModelConfig, what)
        .hint("move what rope_scaling says into rope_parameters, and remove rope_scaling")
}

/// Those of Gemma 3: of layers without windows, and of layers with them, which have a base of their own and, before
/// transformers 5, no scaling. `rope_parameters` has both by the layers' type.
pub fn gemma3(f: &Fields, dim: usize, positions: usize, theta: f64) -> Result<Vec<RopeConfig>> {
    let (new, old) = (f.object("rope_parameters")?, f.object("rope_scaling")?);
    let bases = [f.number("rope_theta")?.unwrap_or(theta), f.number("rope_local_base_freq")?.unwrap_or(10_000.0)];
    if new.is_some() && old.is_some() {
        return Err(beside(f, "what it says of layers without windows would be lost"));
    }
    const TYPES: [&str; 2] = ["full_attention", "sliding_attention"];
    let mut said = match &new {
        None => [old, None],
        Some(new) => {
            if let Some((key, v)) = new.map.iter().find(|(key, _)| !TYPES.contains(&key.as_str())) {
                return Err(new.unsupported(&format!("rope_parameters.{key}"), v, &TYPES.join(" and ")));
            }
            [new.object(TYPES[0])?, new.object(TYPES[1])?]
        }
    };
    let of = |(p, theta): (&mut Option<Fields>, f64)| {
        let Some(p) = p.take() else { return Ok(RopeConfig { theta, scaling: Scaling::None }) };
        if let (Some(v), None) = (p.get("type"), p.get("rope_type")) {
            // transformers takes rope_type alone here, which stands for no scaling where it is missing.
            return Err(p.unsupported("type", v, "rope_type").hint("rename it to rope_type if it is to apply"));
        }
        let rope = RopeConfig::of(f, &p, dim, positions, theta)?;
        match rope.scaling {
            Scaling::None | Scaling::Linear(_) => Ok(rope),
            _ => Err(p.unsupported("rope_type", p.get("rope_type").unwrap_or(&Value::Null), "default or linear")),
        }
    };
    said.iter_mut().zip(bases).map(of).collect()
}

fn yarn(p: &Fields, dim: usize, theta: f64, original: f64, positions: usize) -> Result<Scaling> {
    let factor = p.number("factor")?.unwrap_or(positions as f64 / original);
    let or = |key: &str, default: f64| Ok::<_, Error>(p.number(key)?.unwrap_or(default));
    // The pair that turns so often over the original length.
    let pair = |turns: f64| dim as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut first, mut last) = (pair(or("beta_fast", 32.0)?), pair(or("beta_slow", 1.0)?));
    // null is not as good as absent here.
    if p.flag("truncate")?.unwrap_or(!p.map.contains_key("truncate")) {
        (first, last) = (first.floor(), last.ceil());
    }
    (first, last) = (first.max(0.0), last.min(dim as f64 - 1.0));
    if first == last {
        last += 0.001;
    }
    let mscale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    let attention = match (p.number("attention_factor")?, p.number("mscale")?, p.number("mscale_all_dim")?) {
        (Some(given), ..) => given,
        (None, Some(m), Some(all)) => mscale(m) / mscale(all),
        _ => mscale(1.0),
    };
    Ok(Scaling::Yarn { factor, band: [first, last], attention })
}
