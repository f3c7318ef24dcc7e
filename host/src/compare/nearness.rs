//! How near responses to held-out rows lie to the golden ones: by one encoder and distance for all arms, in the starting model's space.

use super::config::Plan;
use crate::{
    Result,
    config::DataConfig,
    data::Dataset,
    latents::{PolicyServices, encode},
    library::Kind,
    model::Policy,
    pipeline,
    plugin::{CorpusSource, Distance, Encoder, Finder, OwnedSample, Plugin},
    rundir::Outcome,
    text::TextCodec,
};
use std::sync::{Arc, RwLock};

/// Encoder and distance of a comparison, loaded, before a model is.
pub struct Plugins {
    encoder: Plugin,
    distance: Plugin,
}

/// What distances are measured with, fitted on the starting model's responses.
pub struct Yardstick {
    encoder: Encoder,
    distance: Distance,
    /// By held-out row; None where the golden response does not fit the length limits.
    golden: Vec<Option<OwnedSample>>,
    latents: Vec<f32>,
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

    /// Loads the starting model, encodes the golden responses, and fits what is to be fitted on them and the model's own, `start`.
    pub fn open(&self, plan: &Plan, start: &[Outcome]) -> Result<Yardstick> {
        let config = &plan.base;
        let codec = TextCodec::load(&config.model)?;
        let policy = Policy::load_as(&config.model, &pipeline::device(&config.device)?, config.precision())?;
        let services =
            |plugin: &Plugin, policy| PolicyServices::new(policy, codec.end_ids(), config.seed, plugin.record());
        let policy = Some(Arc::new(RwLock::new(policy)));
        let mut encoder = self.encoder.encoder(Arc::new(services(&self.encoder, policy)))?;
        let mut distance = self.distance.distance(Arc::new(services(&self.distance, None)))?;

        let golden = golden(&plan.eval.data, &codec)?;
        let pairs = golden.iter().flatten().cloned().zip(beside(&golden, start));
        let corpus = Samples(pairs.flat_map(|(golden, own)| [golden, own]).collect());
        encoder.fit(&corpus)?;
        let side = |side: usize| (side..corpus.len()).step_by(2).collect::<Vec<_>>();
        let latents = encode(&encoder, &corpus, &side(0), "nearness golden")?;
        let own = encode(&encoder, &corpus, &side(1), "nearness start")?;
        distance.fit(&latents, &own, encoder.shape())?;
        Ok(Yardstick { encoder, distance, golden, latents })
    }
}

impl Yardstick {
    /// The distance of each sampled response from its golden one; None where that does not fit the length limits.
    pub fn distances(&self, outcomes: &[Outcome], name: &str) -> Result<Vec<Option<f32>>> {
        let corpus = Samples(beside(&self.golden, outcomes));
        let indices: Vec<usize> = (0..corpus.len()).collect();
        let latents = encode(&self.encoder, &corpus, &indices, &format!("nearness {name}"))?;
        let mut measured = self.distance.distances(&self.latents, &latents, self.encoder.shape())?.into_iter();
        Ok(self.golden.iter().map(|golden| golden.as_ref().and_then(|_| measured.next())).collect())
    }

    /// Ends the plugins' instances.
    pub fn close(self) -> Result<()> {
        self.encoder.close()?;
        self.distance.close()
    }
}

/// The golden response to each held-out row, within the length limits; None where it does not fit.
fn golden(config: &DataConfig, codec: &TextCodec) -> Result<Vec<Option<OwnedSample>>> {
    let (data, mut budget) = (Dataset::open(config)?, config.budget());
    let sample = |index| {
        let row = data.row(index)?;
        let turn = codec.encode_turn(&row.history, &row.chosen)?;
        let Some((prompt_ids, [response_ids])) = budget.fit(turn.prompt, [turn.response]) else { return Ok(None) };
        let prompt = row.history.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n\n");
        Ok(Some(OwnedSample { prompt, response: codec.decode(&response_ids)?, prompt_ids, response_ids }))
    };
    (0..data.len()).map(sample).collect()
}

/// The sampled response to each row whose golden one is there.
fn beside(golden: &[Option<OwnedSample>], outcomes: &[Outcome]) -> Vec<OwnedSample> {
    let sample = |(golden, outcome): (&Option<OwnedSample>, &Outcome)| {
        let (response, response_ids) = (outcome.sampled.text.clone(), outcome.sampled.ids.clone());
        Some(OwnedSample { response, response_ids, ..golden.clone()? })
    };
    golden.iter().zip(outcomes).filter_map(sample).collect()
}

/// Samples in memory.
struct Samples(Vec<OwnedSample>);

impl CorpusSource for Samples {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        Ok(indices.iter().map(|i| self.0[*i].clone()).collect())
    }
}
