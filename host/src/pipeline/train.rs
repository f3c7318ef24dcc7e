//! Stage `train`: reference log-probabilities once, then weighted DPO, then the round's model.

use super::Run;
use crate::{
    Code, Error, Result,
    data::tokens::TokenStore,
    diagnose, interrupt,
    model::Policy,
    progress::Progress,
    rundir::{Reference, SealedFile, column},
    train::{self, DpoData},
};
use std::path::PathBuf;

impl Run {
    pub(super) fn train(&mut self, round: u64) -> Result<Vec<PathBuf>> {
        let dir = self.dir.round(round);
        let pairs = TokenStore::open(&dir.pairs(), 3)?;
        let mut chosen_tokens = 0;
        let basis = dir
            .scores()
            .lines()?
            .map(|line| {
                let score = line?;
                chosen_tokens += score.chosen_tokens;
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
        let reference = reference(&dir.reference(), &policy, &pairs, round)?;

        let weigher = self.weigher(&basis)?;
        let data = DpoData {
            pairs: &pairs,
            reference: &reference.logps,
            distances: &basis,
            measured: self.measures() && !self.data.has_weights(),
            schedule: &|at, d| weigher.weights(at, d),
            round: (round - 1, self.config.rounds),
        };
        let seed = self.config.seed.wrapping_add(round);
        let work = dir.train();
        train::dpo(&mut policy, &data, &self.config.train, seed, work.path())?;
        weigher.close()?;
        let rewards = work
            .metrics()
            .lines()?
            .filter_map(|line| line.map(|line| line.get(column::CHOSEN_REWARD)).transpose())
            .collect::<Result<Vec<f64>>>()?;
        let tokens = chosen_tokens as f64 / pairs.len() as f64;
        let diagnoses = vec![diagnose::trained(&rewards, tokens, &self.config.train, &self.config.diagnostics)];
        diagnose::warn(round, &diagnoses);
        work.diagnostics().write(&diagnoses)?;
        let model = dir.model();
        policy.save(&model)?;
        drop(policy);
        self.policy = Some((round + 1, shared));
        Ok(vec![dir.reference().into_path(), work.metrics().into_path(), work.diagnostics().into_path(), model])
    }
}

/// The pairs' reference log-probabilities: those in `file`, or computed and written there.
fn reference(file: &SealedFile<Reference>, policy: &Policy, pairs: &TokenStore, round: u64) -> Result<Reference> {
    if file.exists() {
        let hint = |e: Error| e.hint("delete it to have it computed again");
        let reference = file.read().map_err(hint)?;
        if reference.pairs_sha256 != pairs.hash() {
            let what = format!("{} belongs to other pairs", file.path().display());
            return Err(hint(Error::new(Code::RunDamaged, what)));
        }
        return Ok(reference);
    }
    let mut progress = Progress::new(format!("round {round} reference"), 0, pairs.len() as u64);
    let logps = train::reference_logps(policy, pairs, |rows| {
        progress.advance(rows, "");
        interrupt::check()
    })?;
    progress.finish("");
    if let Some(pair) = logps.iter().position(|[c, r]| !(c.is_finite() && r.is_finite())) {
        let what = format!("the model gives pair {pair} log-probabilities {:?}", logps[pair]);
        return Err(Error::new(Code::TrainNonFinite, what).hint("the model's weights are damaged, or overflow"));
    }
    let reference = Reference { pairs_sha256: pairs.hash().into(), logps };
    file.write(&reference)?;
    Ok(reference)
}
