//! How near responses to held-out rows lie to the chosen ones: by one encoder and distance for all arms, in the
//! starting model's space.

use super::config::Plan;
use crate::{
    Code, Error, Result,
    config::DataConfig,
    data::{Budget, Dataset},
    files,
    latents::{self, Encoding, Held, Latents, Measure, Pairs, Part, PolicyServices, prompt_text},
    library::Kind,
    model::{self, Kept},
    pipeline,
    plugin::{CorpusSource, Finder, OwnedSample, Plugin},
    rundir::Outcome,
    text::TextCodec,
};
use std::{
    iter,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

/// Names of the two sets of latents in a file.
const SETS: [&str; 2] = ["chosen", "responses"];

/// Encoder and distance of a comparison, loaded, before a model is.
pub struct Plugins {
    encoder: Plugin,
    distance: Plugin,
}

/// What distances are measured with, fitted on the starting model's responses.
pub struct Yardstick {
    encoding: Encoding,
    measure: Measure,
    /// By held-out row; None where the chosen response does not fit the length limits.
    chosen: Vec<Option<OwnedSample>>,
    /// Of the chosen responses that fit.
    latents: Latents,
    /// Where latents lie while they are measured.
    output_dir: PathBuf,
}

impl Plugins {
    /// Finds and loads the plugins.
    pub fn new(plan: &Plan) -> Result<Self> {
        let finder = Finder::of(&plan.base);
        let load = |kind, choice| finder.load(kind, choice).map_err(|e| e.at("nearness"));
        Ok(Self {
            encoder: load(Kind::Encoder, &plan.base.encoder)?,
            distance: load(Kind::Distance, &plan.base.distance)?,
        })
    }

    /// Names of encoder and distance.
    pub fn names(&self) -> [String; 2] {
        [&self.encoder, &self.distance].map(|plugin| plugin.record().id.clone())
    }

    /// Loads the starting model, encodes the chosen responses, and fits what is to be fitted on them and the model's
    /// own, `start`.
    pub fn open(&self, plan: &Plan, start: &[Outcome]) -> Result<Yardstick> {
        let config = &plan.base;
        let codec = model::codec(&config.model)?;
        let policy = pipeline::load(config, &config.model, &pipeline::device(&config.device)?, Kept::Trained)?;
        let services = |plugin: &Plugin, policy| {
            Arc::new(PolicyServices::new(policy, codec.end_ids(), config.seed, plugin.record()))
        };
        let policy = Some(Arc::new(RwLock::new(policy)));

        let chosen = chosen(&plan.eval.data, &codec)?;
        let corpus = corpus(&chosen, start);
        let encoding = Encoding::fit(&self.encoder, services(&self.encoder, policy), None, &corpus)?;
        let fitted = latents::chosen(corpus.chosen.len());
        let [latents, responses] = encode(&encoding, &corpus, fitted, "start", &plan.output_dir)?;
        let services = services(&self.distance, None);
        let measure = Measure::fit(&self.distance, services, None, &Pairs::side_by_side(&latents, &responses))?;
        Ok(Yardstick { encoding, measure, chosen, latents, output_dir: plan.output_dir.clone() })
    }
}

impl Yardstick {
    /// The distance of each sampled response from its chosen one; None where that does not fit the length limits.
    pub fn distances(&self, outcomes: &[Outcome], name: &str) -> Result<Vec<Option<f32>>> {
        let corpus = corpus(&self.chosen, outcomes);
        let [_, responses] = encode(&self.encoding, &corpus, iter::empty(), name, &self.output_dir)?;
        let measured = self.measure.distances(&Pairs::side_by_side(&self.latents, &responses))?;
        let mut measured = measured.into_iter();
        Ok(self.chosen.iter().map(|chosen| chosen.as_ref().and_then(|_| measured.next())).collect())
    }

    /// Ends the plugins' instances.
    pub fn close(self) -> Result<()> {
        self.encoding.close()?;
        self.measure.close()
    }
}

/// Latents of some chosen responses of a corpus and of all others, in a file of `dir` that is gone when they are.
fn encode(
    encoding: &Encoding,
    corpus: &Held,
    chosen: impl ExactSizeIterator<Item = usize>,
    name: &str,
    dir: &Path,
) -> Result<[Latents; 2]> {
    let dir = files::scratch_dir(dir)?;
    let parts = [
        Part::new(SETS[0], "nearness chosen", chosen),
        Part::new(SETS[1], format!("nearness {name}"), latents::responses(corpus.len() / 2)),
    ];
    encoding.encode(corpus, parts, &dir.path().join("latents.safetensors"), &[], damaged)
}

fn damaged(path: &Path, what: String) -> Error {
    Error::new(Code::RunLatents, format!("{}: {what}", path.display()))
}

/// The chosen response to each held-out row, within the length limits; None where it does not fit.
fn chosen(config: &[DataConfig], codec: &TextCodec) -> Result<Vec<Option<OwnedSample>>> {
    let (data, mut budget) = (Dataset::open(config)?, Budget::default());
    let sample = |index| {
        let row = data.row(index)?;
        let turn = codec.encode_turn(&row.prompt, &row.chosen)?;
        let Some((prompt_ids, [response_ids])) = budget.fit(row.limits, turn.prompt, [turn.response]) else {
            return Ok(None);
        };
        let (prompt, response) = (prompt_text(&row.prompt.messages), codec.decode(&response_ids)?);
        Ok(Some(OwnedSample { prompt, response, prompt_ids, response_ids }))
    };
    (0..data.len()).map(sample).collect()
}

/// The chosen responses that are there, each with the sampled response to its row beside it.
fn corpus(chosen: &[Option<OwnedSample>], outcomes: &[Outcome]) -> Held {
    let mut corpus = Held::default();
    for (chosen, outcome) in chosen.iter().zip(outcomes) {
        let Some(chosen) = chosen else { continue };
        let (response, response_ids) = (outcome.sampled.text.clone(), outcome.sampled.ids.clone());
        corpus.beside.push(corpus.chosen.len());
        corpus.responses.push(OwnedSample { response, response_ids, ..chosen.clone() });
        corpus.chosen.push(chosen.clone());
    }
    corpus
}
