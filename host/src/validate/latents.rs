//! Latents of annotated rows, kept in files named by a hash of all they depend on: another distance encodes nothing
//! again. Damaged ones are made again.

use super::samples::Samples;
use crate::{
    Code, Error, Result,
    config::RunConfig,
    files,
    latents::{self, Encoding, Latents, Part, PolicyServices, SharedPolicy},
    model::Kept,
    pipeline,
    plugin::{Plugin, PluginRecord},
    rundir::{Record, hash_path},
    text::TextCodec,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, RwLock},
};

/// Names of the two sets in a file: each row's golden response, and each response.
const SETS: [&str; 2] = ["golden", "responses"];
/// What a file says of the encoder's fit: its figures as JSON.
const FIT: &str = "fit";

/// What an encoder made of the samples.
pub struct Encoded {
    /// Of each row's golden response.
    pub golden: Latents,
    /// Of each response.
    pub responses: Latents,
    /// What the fit reported.
    pub fit: BTreeMap<String, f64>,
}

/// Encodes samples, or finds them encoded. The model is loaded when the first encoder needs it.
pub struct Encodings<'a> {
    config: &'a RunConfig,
    codec: &'a TextCodec,
    samples: &'a Samples,
    /// Where `latents/` lies, and their records.
    output: &'a Path,
    /// What all latents depend on.
    sources: Value,
    policy: Option<SharedPolicy>,
}

impl<'a> Encodings<'a> {
    /// Keeps files in the directory `output`. `model` is the hash of the config's model.
    pub fn new(
        config: &'a RunConfig,
        model: &str,
        codec: &'a TextCodec,
        samples: &'a Samples,
        output: &'a Path,
    ) -> Self {
        let RunConfig { device, bf16, seed, .. } = config;
        let ldalign = env!("CARGO_PKG_VERSION");
        let samples_sha256 = samples.sha256();
        let mut sources = json!({
            "ldalign": ldalign, "model": model, "samples": samples_sha256, "device": device, "bf16": bf16, "seed": seed,
        });
        if let Some(quantize) = config.quantize {
            sources["quantize"] = json!(quantize);
        }
        Self { config, codec, samples, output, sources, policy: None }
    }

    /// The latents that an encoder makes of the samples, after its fit on them.
    pub fn by(&mut self, plugin: &Plugin) -> Result<Encoded> {
        let record = plugin.record();
        let name = format!("{}-{}", record.id, self.key(record)?);
        let (path, done) =
            (self.output.join("latents").join(format!("{name}.safetensors")), Record::new(self.output, &name));
        if done.is_whole()? {
            tracing::info!("{}: latents are there already: {}", record.id, path.display());
        } else {
            files::make_dir(files::parent(&path))?;
            self.encode(plugin, &path)?;
            done.write(std::slice::from_ref(&path))?;
        }
        read(&path)
    }

    /// Hash of everything that decides an encoder's latents, files and directories named in its options included.
    fn key(&self, record: &PluginRecord) -> Result<String> {
        let named =
            record.options.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str().map(Path::new));
        let named = named.filter(|path| path.exists()).map(hash_path).collect::<Result<Vec<_>>>()?;
        let key = json!([self.sources, record.sha256, record.id, record.options, named]);
        Ok(files::sha256(key.to_string().as_bytes())[..16].to_owned())
    }

    /// Fits an encoder on the samples and writes its latents to `path`.
    fn encode(&mut self, plugin: &Plugin, path: &Path) -> Result<()> {
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => {
                let device = pipeline::device(&self.config.device)?;
                let policy = pipeline::load(self.config, &self.config.model, &device, Kept::Trained)?;
                self.policy.insert(Arc::new(RwLock::new(policy))).clone()
            }
        };
        let (record, corpus) = (plugin.record(), &self.samples.corpus);
        let services = PolicyServices::new(Some(policy), self.codec.end_ids(), self.config.seed, record);
        let encoding = Encoding::fit(plugin, Arc::new(services), None, corpus)?;
        let [golden, responses] = SETS;
        let parts = [
            Part::new(golden, format!("{} golden", record.id), self.samples.golden_indices()),
            Part::new(responses, format!("{} responses", record.id), latents::responses(corpus.responses.len())),
        ];
        let fit = json!(encoding.fit).to_string();
        encoding.encode(corpus, parts, path, &[(FIT, &fit)], damaged)?;
        encoding.close()
    }
}

fn read(path: &Path) -> Result<Encoded> {
    let [golden, responses] = Latents::open(path, SETS, damaged)?;
    let fit = golden.about(FIT).ok_or_else(|| damaged(path, format!("its header has no {FIT}")))?;
    let fit = serde_json::from_str(fit).map_err(|e| damaged(path, e.to_string()))?;
    Ok(Encoded { golden, responses, fit })
}

fn damaged(path: &Path, what: String) -> Error {
    Error::new(Code::ValidateLatents, format!("{} is not what was written there", path.display()))
        .hint("delete it: the latents are made again")
        .caused_by(what)
}
