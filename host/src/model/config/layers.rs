//! How the layers of a model differ: windows, positions and feed-forward networks, one by one, as in transformers.

use super::fields::Fields;
use crate::Result;
use serde_json::Value;

/// What a layer has of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerConfig {
    /// Sliding window, if it has one.
    pub window: Option<usize>,
    /// Which of the model's rotary embeddings it has; none where attention knows no positions.
    pub rope: Option<usize>,
    /// Its feed-forward network.
    pub feed_forward: FeedForward,
}

/// A feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeedForward {
    /// A gated one of this width.
    Gated(usize),
    /// A mixture of gated ones.
    Experts(Experts),
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Experts there are.
    pub count: usize,
    /// Experts that a token goes through.
    pub used: usize,
    /// Width of each.
    pub width: usize,
    /// Whether the weights of a token's experts are divided by their sum.
    pub normalised: bool,
}

/// Experts of all layers that are believed: each takes memory before its weights are looked for.
const MOST_EXPERTS: usize = 100_000;

/// Layers with these windows, all else alike.
fn with_windows(f: &Fields, windows: Vec<Option<usize>>) -> Result<Vec<LayerConfig>> {
    let feed_forward = FeedForward::Gated(f.required("intermediate_size")?);
    Ok(windows.into_iter().map(|window| LayerConfig { window, rope: Some(0), feed_forward }).collect())
}

/// Layers that do not differ.
pub fn alike(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    with_windows(f, vec![None; layers])
}

/// The window of a family that has one unless the file says null: `default` where it says nothing.
fn window(f: &Fields, default: usize) -> Result<Option<usize>> {
    match f.map.get("sliding_window") {
        Some(Value::Null) => Ok(None),
        _ => Ok(Some(f.size("sliding_window")?.unwrap_or(default))),
    }
}

/// Mistral: a window in every layer.
pub fn mistral(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    with_windows(f, vec![window(f, 4096)?; layers])
}

/// Qwen: windows where `use_sliding_window` says so, in the layers that `layer_types` names, or above
/// `max_window_layers`.
pub fn qwen(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    let (wanted, window) = (uses_windows(f)?, window(f, 4096)?);
    let window = window.filter(|_| wanted);
    let full = f.count("max_window_layers")?.unwrap_or(28);
    let above = || (0..layers).map(|i| window.filter(|_| i >= full)).collect();
    let types = layer_types(f, layers)?.filter(|_| window.is_some());
    with_windows(
        f,
        types.map_or_else(above, |types| types.into_iter().map(|slides| window.filter(|_| slides)).collect()),
    )
}

/// SmolLM3: every fourth layer knows no positions, and has a window where `use_sliding_window` says so.
pub fn smollm3(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    let rotates = rotates(f, layers)?;
    // null by default.
    let (wanted, window) = (uses_windows(f)?, f.size("sliding_window")?);
    let window = window.filter(|_| wanted);
    let types = layer_types(f, layers)?;
    if !wanted && types.as_ref().is_some_and(|types| types.contains(&true)) {
        // Its masks follow layer_types alone, its attention asks for both.
        return Err(f.bad("use_sliding_window", &false.into(), "true, since layer_types has sliding_attention"));
    }
    let slides = types.unwrap_or_else(|| rotates.iter().map(|rotates| !rotates).collect());
    let mut all = with_windows(f, slides.into_iter().map(|slides| window.filter(|_| slides)).collect())?;
    for (layer, rotates) in all.iter_mut().zip(rotates) {
        layer.rope = rotates.then_some(0);
    }
    Ok(all)
}

/// Gemma 3: windows and the second rotary embedding in all layers but every sixth, or as `layer_types` has it.
pub fn gemma3(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    let pattern = f.size("sliding_window_pattern")?.unwrap_or(6);
    let patterned = || (1..=layers).map(|layer| layer % pattern != 0).collect();
    let slides: Vec<bool> = layer_types(f, layers)?.unwrap_or_else(patterned);
    let window = window(f, 4096)?;
    if window.is_none() && slides.contains(&true) {
        return Err(f.bad("sliding_window", &Value::Null, "a number of tokens, since layers have sliding_attention"));
    }
    let mut all = with_windows(f, slides.iter().map(|slides| window.filter(|_| *slides)).collect())?;
    for (layer, slides) in all.iter_mut().zip(slides) {
        layer.rope = Some(usize::from(slides));
    }
    Ok(all)
}

/// Qwen3-MoE: a window in every layer or none, and mixtures of experts but in `mlp_only_layers` and where
/// `decoder_sparse_step` leaves them out.
pub fn qwen3_moe(f: &Fields, layers: usize) -> Result<Vec<LayerConfig>> {
    let (wanted, window) = (uses_windows(f)?, window(f, 4096)?);
    let window = window.filter(|_| wanted);
    let step = f.size("decoder_sparse_step")?.unwrap_or(1);
    let only: Vec<u64> = match f.get("mlp_only_layers") {
        None => vec![],
        Some(v) => {
            let list = v.as_array().and_then(|list| list.iter().map(Value::as_u64).collect());
            list.ok_or_else(|| f.bad("mlp_only_layers", v, "a list of layers' numbers"))?
        }
    };
    // transformers 5 writes the first name.
    let (new, old) = (f.count("num_local_experts")?, f.count("num_experts")?);
    if let (Some(new), Some(old)) = (new, old)
        && new != old
    {
        return Err(f.bad("num_local_experts", &new.into(), &format!("num_experts, {old}")));
    }
    let count = new.or(old).unwrap_or(128);
    if count > MOST_EXPERTS / layers {
        let most = format!("at most {} in each of {layers} layers", MOST_EXPERTS / layers);
        return Err(f.bad("num_experts", &count.into(), &most));
    }
    let used = f.size("num_experts_per_tok")?.unwrap_or(8);
    if count > 0 && used > count {
        return Err(f.bad("num_experts_per_tok", &used.into(), &format!("at most num_experts, {count}")));
    }
    let width = f.size("moe_intermediate_size")?.unwrap_or(768);
    let experts = Experts { count, used, width, normalised: f.flag("norm_topk_prob")?.unwrap_or(false) };
    let mut all = with_windows(f, vec![window; layers])?;
    for (i, layer) in all.iter_mut().enumerate() {
        if count > 0 && (i + 1) % step == 0 && !only.contains(&(i as u64)) {
            layer.feed_forward = FeedForward::Experts(experts);
        }
    }
    Ok(all)
}

fn uses_windows(f: &Fields) -> Result<bool> {
    Ok(f.flag("use_sliding_window")?.unwrap_or(false))
}

/// Whether each layer has a window, as `layer_types` says.
fn layer_types(f: &Fields, layers: usize) -> Result<Option<Vec<bool>>> {
    let Some(types) = f.get("layer_types") else { return Ok(None) };
    let list = types.as_array().filter(|l| l.len() == layers);
    let list = list.ok_or_else(|| f.bad("layer_types", types, &format!("a list of {layers} types")))?;
    let of = |t: &Value| match t.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(f.unsupported("layer_types", t, "full_attention or sliding_attention")),
    };
    list.iter().map(of).collect::<Result<_>>().map(Some)
}

/// Whether each layer knows positions, as transformers has it for SmolLM3.
fn rotates(f: &Fields, layers: usize) -> Result<Vec<bool>> {
    if let Some(v) = f.get("no_rope_layers") {
        let of = |v: &Value| v.as_u64().filter(|v| *v < 2).map(|v| v == 1);
        // More than there are layers are left out, as in transformers.
        let list = v.as_array().and_then(|list| list.get(..layers));
        let list: Option<_> = list.and_then(|list| list.iter().map(of).collect());
        return list.ok_or_else(|| f.bad("no_rope_layers", v, &format!("a list of {layers} numbers, 0 or 1")));
    }
    let interval = f.size("no_rope_layer_interval")?.unwrap_or(4);
    Ok((1..=layers).map(|layer| layer % interval != 0).collect())
}
