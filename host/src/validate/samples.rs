//! Annotated rows as an encoder sees them.

use super::{
    rows::{Annotated, Row},
    statistics::Truth,
};
use crate::{
    Code, Error, Result,
    config::DataConfig,
    data::BudgetReport,
    files,
    model::ModelConfig,
    pipeline::check_vocabulary,
    plugin::{CorpusSource, OwnedSample},
    text::TextCodec,
};
use serde_json::json;

/// The samples of all rows that fit the length limits: as a corpus 2i is the golden response of response i's row, 2i + 1 response i.
pub struct Samples {
    golden: Vec<OwnedSample>,
    responses: Vec<OwnedSample>,
    /// Row of each response.
    row: Vec<usize>,
    /// Labels and lengths.
    pub truth: Truth,
    /// What the length limits have cost.
    pub fitted: BudgetReport,
}

impl Samples {
    /// Tokenizes rows as training would.
    ///
    /// # Errors
    /// Where tokenizer or lengths do not fit the model, or too many rows do not fit the limits.
    pub fn new(annotated: &Annotated, config: &DataConfig, codec: &TextCodec, model: &ModelConfig) -> Result<Self> {
        check_vocabulary(codec, model)?;
        let mut budget = config.budget();
        let truth = Truth { prompts: vec![], labels: vec![], length_differences: vec![] };
        let mut all = Self { golden: vec![], responses: vec![], row: vec![], truth, fitted: BudgetReport::default() };
        for row in &annotated.rows {
            let place = || format!("{}, line {}", config.path.display(), row.line);
            let (prompt, ids) = encode(row, codec).map_err(|e| e.at(place()))?;
            let Some((prompt, ids)) = budget.fit(prompt, ids) else { continue };
            let longest = prompt.len() + ids.iter().map(Vec::len).max().unwrap_or(0);
            if longest > model.max_positions {
                let message = format!("{}: {longest} tokens, the model takes {}", place(), model.max_positions);
                return Err(Error::new(Code::DataLength, message).hint("lower validate.data.max_length"));
            }
            all.push(row, &prompt, &ids, codec)?;
        }
        all.fitted = *budget.report();
        all.fitted.check()?;
        Ok(all)
    }

    fn push(&mut self, row: &Row, prompt_ids: &[u32], ids: &[Vec<u32>], codec: &TextCodec) -> Result<()> {
        let prompt = row.history.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n\n");
        let sample = |ids: &Vec<u32>| {
            let (prompt, prompt_ids, response_ids) = (prompt.clone(), prompt_ids.to_vec(), ids.clone());
            Ok::<_, Error>(OwnedSample { prompt, response: codec.decode(ids)?, prompt_ids, response_ids })
        };
        let first = self.responses.len();
        for (response, response_ids) in row.responses.iter().zip(&ids[1..]) {
            self.responses.push(sample(response_ids)?);
            self.row.push(self.golden.len());
            self.truth.labels.push(response.label);
            self.truth.length_differences.push(ids[0].len().abs_diff(response_ids.len()) as f64);
        }
        self.truth.prompts.push(first..self.responses.len());
        self.golden.push(sample(&ids[0])?);
        Ok(())
    }

    /// Corpus indices of each row's golden response, once.
    pub fn golden_indices(&self) -> Vec<usize> {
        self.truth.prompts.iter().map(|responses| 2 * responses.start).collect()
    }
    /// Corpus indices of the responses.
    pub fn response_indices(&self) -> Vec<usize> {
        (0..self.responses.len()).map(|i| 2 * i + 1).collect()
    }
    /// Latents of golden responses, `each` numbers a row, repeated for each response of the row.
    pub fn beside_responses(&self, golden: &[f32], each: usize) -> Vec<f32> {
        self.row.iter().flat_map(|row| &golden[row * each..][..each]).copied().collect()
    }
    /// SHA-256 of all that an encoder is shown.
    pub fn sha256(&self) -> String {
        let line = |s: &OwnedSample| format!("{}\n", json!([s.prompt, s.response, s.prompt_ids, s.response_ids]));
        let of_rows = self.golden.iter().zip(&self.truth.prompts);
        let text: String = of_rows
            .flat_map(|(golden, responses)| std::iter::once(golden).chain(&self.responses[responses.clone()]))
            .map(line)
            .collect();
        files::sha256(text.as_bytes())
    }
}

/// Ids of the prompt, and of the golden and then the other responses.
fn encode(row: &Row, codec: &TextCodec) -> Result<(Vec<u32>, Vec<Vec<u32>>)> {
    let golden = codec.encode_turn(&row.history, &row.golden)?;
    let mut ids = vec![golden.response];
    for response in &row.responses {
        ids.push(codec.encode_turn(&row.history, &response.text)?.response);
    }
    Ok((golden.prompt, ids))
}

impl CorpusSource for Samples {
    fn len(&self) -> usize {
        2 * self.responses.len()
    }

    fn read(&self, indices: &[usize]) -> Result<Vec<OwnedSample>> {
        let sample = |&i: &usize| match i % 2 {
            0 => self.golden[self.row[i / 2]].clone(),
            _ => self.responses[i / 2].clone(),
        };
        Ok(indices.iter().map(sample).collect())
    }
}
