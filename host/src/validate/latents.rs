//! Latents of annotated rows, kept in files named by a hash of all they depend on: another distance encodes nothing again.

use super::samples::Samples;
use crate::{
    Code, Error, Result,
    config::RunConfig,
    files,
    latents::{PolicyServices, SharedPolicy, encode, write_latents},
    model::Policy,
    pipeline::{self},
    plugin::{Plugin, PluginRecord},
    rundir::hash_path,
    text::TextCodec,
};
use ldalign_sdk::LatentShape;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

/// What an encoder made of the samples.
pub struct Latents {
    /// Shape of each latent.
    pub shape: LatentShape,
    /// Of each row's golden response.
    pub golden: Vec<f32>,
    /// Of each response.
    pub responses: Vec<f32>,
    /// What the fit reported.
    pub fit: BTreeMap<String, f64>,
}

/// Encodes samples, or finds them encoded. The model is loaded when the first encoder needs it.
pub struct Encodings<'a> {
    config: &'a RunConfig,
    codec: &'a TextCodec,
    samples: &'a Samples,
    directory: PathBuf,
    /// What all latents depend on.
    sources: Value,
    policy: Option<SharedPolicy>,
}

impl<'a> Encodings<'a> {
    /// Keeps files in `directory`. `model` is the hash of the config's model.
    pub fn new(
        config: &'a RunConfig,
        model: &str,
        codec: &'a TextCodec,
        samples: &'a Samples,
        directory: PathBuf,
    ) -> Self {
        let RunConfig { device, bf16, seed, .. } = config;
        let ldalign = env!("CARGO_PKG_VERSION");
        let samples_sha256 = samples.sha256();
        let sources = json!({
            "ldalign": ldalign, "model": model, "samples": samples_sha256, "device": device, "bf16": bf16, "seed": seed,
        });
        Self { config, codec, samples, directory, sources, policy: None }
    }

    /// The latents that an encoder makes of the samples, after its fit on them.
    pub fn by(&mut self, plugin: &Plugin) -> Result<Latents> {
        let record = plugin.record();
        let path = self.directory.join(format!("{}-{}.safetensors", record.id, self.key(record)?));
        if path.exists() {
            tracing::info!("{}: latents are there already: {}", record.id, path.display());
            return read(&path);
        }
        let latents = self.encode(plugin)?;
        files::make_dir(&self.directory)?;
        let about = HashMap::from([("fit".to_owned(), json!(latents.fit).to_string())]);
        write_latents(
            &path,
            [("golden", &latents.golden), ("responses", &latents.responses)],
            latents.shape,
            Some(about),
        )?;
        Ok(latents)
    }

    /// Hash of everything that decides an encoder's latents, files and directories named in its options included.
    fn key(&self, record: &PluginRecord) -> Result<String> {
        let named =
            record.options.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str().map(Path::new));
        let named = named.filter(|path| path.exists()).map(hash_path).collect::<Result<Vec<_>>>()?;
        let key = json!([self.sources, record.sha256, record.id, record.options, named]);
        Ok(files::sha256(key.to_string().as_bytes())[..16].to_owned())
    }

    fn encode(&mut self, plugin: &Plugin) -> Result<Latents> {
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => {
                let device = pipeline::device(&self.config.device)?;
                let policy = Policy::load_as(&self.config.model, &device, self.config.precision())?;
                self.policy.insert(Arc::new(RwLock::new(policy))).clone()
            }
        };
        let (record, samples) = (plugin.record(), self.samples);
        let services = PolicyServices::new(Some(policy), self.codec.end_ids(), self.config.seed, record);
        let mut encoder = plugin.encoder(Arc::new(services))?;
        let fit = encoder.fit(samples)?.into_iter().collect();
        let golden = encode(&encoder, samples, &samples.golden_indices(), &format!("{} golden", record.id))?;
        let responses = encode(&encoder, samples, &samples.response_indices(), &format!("{} responses", record.id))?;
        let shape = encoder.shape();
        encoder.close()?;
        Ok(Latents { shape, golden, responses, fit })
    }
}

fn read(path: &Path) -> Result<Latents> {
    let bytes = files::read(path)?;
    let damaged = || {
        Error::new(Code::ValidateLatents, format!("{} is not what was written there", path.display()))
            .hint("delete it: the latents are made again")
    };
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged().caused_by(e))?;
    let (_, head) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged().caused_by(e))?;
    let part = |name| {
        let tensor = tensors.tensor(name).map_err(|e| damaged().caused_by(e))?;
        match (tensor.dtype(), tensor.shape()) {
            (Dtype::F32, &[_, slots, dim]) => {
                let numbers = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                Ok((numbers.collect(), LatentShape { slots, dim }))
            }
            _ => Err(damaged()),
        }
    };
    let ((golden, shape), (responses, _)) = (part("golden")?, part("responses")?);
    let fit = head.metadata().as_ref().and_then(|about| about.get("fit")).ok_or_else(damaged)?;
    Ok(Latents { shape, golden, responses, fit: serde_json::from_str(fit).map_err(|e| damaged().caused_by(e))? })
}
