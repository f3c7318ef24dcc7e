//! What the schema cannot say: rules between keys, and of this build.

use super::{DataConfig, Fault, LOCK_FILE, PluginChoice, RunConfig, ValidateConfig, gpu, schema::at_home, suggest};
use crate::{
    checker::{self, Checker},
    hub::{self, HubId},
    pairs::{Asked, MOST_SAMPLES},
};
use std::path::Path;

/// Adds the contradictions of a config to `faults`, makes the paths of plugin libraries absolute and finds the lock
/// file.
pub fn check(config: &mut RunConfig, base: &Path, faults: &mut Vec<Fault>) {
    let mut fault = |key: &str, message: String, hint: Option<&str>| {
        // One fault per key: a placeholder for a faulty value must not be faulted again.
        if !faults.iter().any(|f| f.key == key) {
            faults.push(Fault { key: key.into(), message, hint: hint.map(str::to_owned) });
        }
    };
    config.directory = base.to_owned();
    if let Err(e) = gpu(&config.device) {
        fault("device", e.message().to_owned(), e.hint_text());
    }
    if config.quantize.is_some() && config.train.lora.is_none() && !config.model.join("adapter_config.json").exists() {
        let what = "a base in 4 bits is frozen, and without train.lora all of it would be trained";
        fault(
            "quantize",
            what.into(),
            Some("add train.lora, for instance lora: {target_modules: [all-linear]}, or remove quantize"),
        );
    }
    if config.quantize.is_some() && config.device != "cpu" {
        let what = format!("a base in 4 bits is computed with on the CPU, and device is {}", config.device);
        fault("quantize", what, Some("set device: cpu, or remove quantize"));
    }
    if let Err((key, what)) = config.train.losses() {
        fault(&format!("train.{key}"), what, None);
    }
    if let Err(what) = config.train.min_lr_rate() {
        fault("train.lr_scheduler_kwargs", what.into(), Some("for instance lr_scheduler_kwargs: {min_lr_rate: 0.1}"));
    }
    let checkers = [
        ("eval.checker.regex", config.eval.as_ref().map(|e| &e.checker)),
        ("validate.checker.regex", config.validate.as_ref().and_then(|v| v.checker.as_ref())),
    ];
    for (key, checker) in checkers {
        if let Some(Checker::Regex(text)) = checker
            && let Err(e) = checker::expression(text)
        {
            fault(key, e.message().to_owned(), e.hint_text());
        }
    }
    let judges = |v: &ValidateConfig| {
        [v.data.is_some(), v.checker.is_some(), v.unjudged].into_iter().filter(|given| *given).count()
    };
    if config.validate.as_ref().is_some_and(|v| judges(v) != 1) {
        let hint = "data: {path: ...} for judged rows, checker: last-number for the run's own samples, unjudged: true where nothing can be checked";
        fault("validate", "takes one of `data`, `checker` and `unjudged`".into(), Some(hint));
    }
    for (key, value) in config.preset.iter().flat_map(|preset| preset.contradictions(config)) {
        fault(key, format!("the preset has {value} here"), Some("remove the key, or remove `preset`"));
    }
    // Spelled out, so that the manifest has it.
    let samples = *config.generate.samples.insert(config.samples());
    let takes = config.pairs.rule.samples().0;
    if (1..=MOST_SAMPLES).contains(&samples) && !takes.contains(&samples) {
        let rule = config.pairs.rule.name();
        let (what, hint) = match samples > *takes.end() {
            true => ("takes one of them", "set it to 1, or choose another rule: `all` takes every sample"),
            false => ("compares more", "set it to 4, or choose the rule golden-over-own"),
        };
        fault("generate.samples", format!("{samples}, and the rule {rule} {what}"), Some(hint));
    }
    if config.permute_distances && config.pairs.rule.asks() == Asked::BetweenOwn {
        let rule = config.pairs.rule.name();
        fault(
            "permute_distances",
            format!("has no meaning for the rule {rule}"),
            Some("remove it, or choose another rule"),
        );
    }
    if config.eval.as_ref().and_then(|e| e.generate.as_ref()).is_some_and(|g| g.samples.is_some()) {
        fault("eval.generate.samples", "an evaluation samples one response a row".into(), Some("remove it"));
    }
    on_hub(&config.model.to_string_lossy(), "model", false, &mut fault);
    for (section, data, fields) in config.data_sections() {
        rows(&section, data, fields, &mut fault);
    }
    let validated = config.validate.iter_mut().flat_map(|v| v.encoders.iter_mut().chain(&mut v.distances));
    for choice in [&mut config.encoder, &mut config.distance, &mut config.schedule].into_iter().chain(validated) {
        library_path(choice, base);
    }
    if config.plugin_lock.is_none() {
        config.plugin_lock = std::path::absolute(base.join(LOCK_FILE)).ok().filter(|path| path.is_file());
    }
}

fn on_hub(text: &str, key: &str, file: bool, fault: &mut impl FnMut(&str, String, Option<&str>)) {
    if !hub::is_hub(text) {
        return;
    }
    match text.parse::<HubId>() {
        Err(e) => fault(key, e.message().to_owned(), e.hint_text()),
        Ok(id) if file && id.file.is_none() => {
            fault(key, format!("`{text}` names no file"), Some("write hub:owner/name@revision:path/in/repo.jsonl"));
        }
        Ok(id) => {
            if let Err(e) = hub::supported(&id) {
                fault(key, e.message().to_owned(), e.hint_text());
            }
        }
    }
}

fn rows(section: &str, data: &DataConfig, fields: &[&str], fault: &mut impl FnMut(&str, String, Option<&str>)) {
    on_hub(&data.path.to_string_lossy(), &format!("{section}.path"), true, fault);
    if data.max_prompt_length >= data.max_length {
        fault(
            &format!("{section}.max_prompt_length"),
            format!("{} leaves no room for a response in max_length {}", data.max_prompt_length, data.max_length),
            Some("make max_prompt_length smaller than max_length, or 0"),
        );
    }
    if data.repeat != 1 && !section.starts_with("data") {
        let key = format!("{section}.repeat");
        fault(&key, "rows that measure are there once".into(), Some("remove it: what is trained on may be repeated"));
    }
    for name in data.fields.keys().filter(|n| !fields.contains(&n.as_str())) {
        let near = suggest(name, fields.iter().copied()).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let hint = format!("{section}.fields maps our fields to the file's; ours: {}", fields.join(", "));
        fault(&format!("{section}.fields.{name}"), format!("unknown field{near}"), Some(&hint));
    }
}

/// A plugin given with a `/`, or as `.so`, is a file.
fn library_path(choice: &mut PluginChoice, base: &Path) {
    if (choice.plugin.contains('/') || choice.plugin.ends_with(".so"))
        && let Ok(path) = std::path::absolute(base.join(at_home(&choice.plugin)))
    {
        choice.plugin = path.to_string_lossy().into_owned();
    }
}
