//! Stage `train`: reference log-probabilities once, then weighted DPO, then the round's model.

use super::{Run, ScoreLine};
use crate::{
    Code, Error, Result,
    data::tokens::TokenStore,
    diagnose, files, interrupt,
    progress::Progress,
    train::{self, DpoData},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Reference log-probabilities with the hash of what they were computed on: a stale file is recognised, not used.
#[derive(Serialize, Deserialize)]
struct Reference {
    pairs_sha256: String,
    logps: Vec<[f32; 2]>,
}

/// What is read of a line of metrics.jsonl.
#[derive(Deserialize)]
struct MetricsLine {
    #[serde(rename = "rewards/chosen")]
    chosen_reward: Option<f64>,
}

impl Run {
    pub(super) fn train(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        let pairs = TokenStore::open(&dir.join("pairs.bin"), 3)?;
        let mut golden_tokens = 0;
        let basis = files::read_lines(&dir.join("scores.jsonl"))?
            .map(|line| {
                let score: ScoreLine = line?;
                golden_tokens += score.chosen_tokens;
                Ok(self.basis(&score))
            })
            .collect::<Result<Vec<_>>>()?;
        if basis.len() != pairs.len() {
            return Err(Error::new(
                Code::RunDamaged,
                format!("scores.jsonl has {} lines for {} pairs", basis.len(), pairs.len()),
            ));
        }
        let shared = self.policy(round)?;
        let mut policy = shared.write().expect("no thread panics with the policy in hand");

        let path = dir.join("reference.json");
        let reference = match path.exists() {
            true => files::read_json::<Reference>(&path)?,
            false => {
                let mut progress = Progress::new(format!("round {round} reference"), 0, pairs.len() as u64);
                let logps = train::reference_logps(&policy, &pairs, |rows| {
                    progress.advance(rows, "");
                    interrupt::check()
                })?;
                progress.finish("");
                if let Some(pair) = logps.iter().position(|[c, r]| !(c.is_finite() && r.is_finite())) {
                    let what = format!("the model gives pair {pair} log-probabilities {:?}", logps[pair]);
                    return Err(
                        Error::new(Code::TrainNonFinite, what).hint("the model's weights are damaged, or overflow")
                    );
                }
                let reference = Reference { pairs_sha256: pairs.hash().into(), logps };
                files::write_json(&path, &reference)?;
                reference
            }
        };
        if reference.pairs_sha256 != pairs.hash() {
            return Err(Error::new(Code::RunDamaged, format!("{} belongs to other pairs", path.display()))
                .hint("delete it to have it computed again"));
        }

        let weigher = self.weigher(&basis)?;
        let data = DpoData {
            pairs: &pairs,
            reference: &reference.logps,
            distances: &basis,
            measured: self.measures(),
            schedule: &|at, d| weigher.weights(at, d),
            round: (round - 1, self.config.rounds),
        };
        let seed = self.config.seed.wrapping_add(round);
        let work = dir.join("train");
        train::dpo(&mut policy, &data, &self.config.train, seed, &work)?;
        weigher.close()?;
        let metrics = work.join("metrics.jsonl");
        let rewards = files::read_lines::<MetricsLine>(&metrics)?
            .filter_map(|line| line.map(|line| line.chosen_reward).transpose())
            .collect::<Result<Vec<f64>>>()?;
        let tokens = golden_tokens as f64 / pairs.len() as f64;
        let diagnoses = [diagnose::trained(&rewards, tokens, &self.config.train, &self.config.diagnostics)];
        diagnose::warn(round, &diagnoses);
        let signs = work.join("diagnostics.json");
        files::write_json(&signs, &diagnoses)?;
        let model = self.dir.model(round);
        policy.save(&model)?;
        drop(policy);
        self.policy = Some((round + 1, shared));
        Ok(vec![path, metrics, signs, model])
    }
}
