//! Conversations answered turn by turn, MT-Bench's questions in and FastChat's answers out.
//!
//! Questions are `{"question_id", "category", "turns": [...]}`, perhaps with `required_temperature` and `reference`;
//! answers are what FastChat's `gen_judgment.py` reads: `model_answer/MODEL_ID.jsonl`, lines
//! `{"question_id", "answer_id", "model_id", "choices": [{"index": 0, "turns": [...]}], "tstamp"}`. They depend on
//! model, questions, seed and sampling alone, so `answer_id` is a hash of what is answered and `tstamp` is 0.

mod question;

pub use question::{Question, Questions};

use super::{Place, Subject};
use crate::{
    Result,
    config::GenerateConfig,
    files::{self, Sealed},
    generate::{Request, generate},
    model::Policy,
    progress::Progress,
    text::{Message, TextCodec},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A line of the answers, as FastChat has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the question.
    pub question_id: u64,
    /// Of the answer.
    pub answer_id: String,
    /// Name of the model in all of FastChat's files.
    pub model_id: String,
    /// One conversation.
    pub choices: Vec<Choice>,
    /// FastChat's time of answering.
    pub tstamp: f64,
}

/// The model's side of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// 0.
    pub index: usize,
    /// A reply to each of the question's turns.
    pub turns: Vec<String>,
}

/// A line of the journal: one reply.
#[derive(Serialize, Deserialize)]
struct Reply {
    question_id: u64,
    turn: usize,
    text: String,
}

/// Where the answers of a model lie in an output directory.
pub fn answers_path(out: &Path, model_id: &str) -> PathBuf {
    out.join("model_answer").join(format!("{model_id}.jsonl"))
}

/// Answers every question and writes the answers into `out`; returns their path. What is answered already stays.
///
/// Sampling is `sampling`'s but for the temperature, which is FastChat's for the question's category. A conversation
/// too long for the model loses its beginning.
///
/// # Errors
/// Where `out` was begun with another model, file, seed or sampling; what loading the model and generating can fail
/// with.
pub fn answer(
    subject: &Subject<'_>,
    questions: &Questions,
    sampling: &GenerateConfig,
    seed: u64,
    model_id: &str,
    out: &Path,
) -> Result<PathBuf> {
    let model = subject.source()?;
    // How many are sampled together changes nothing.
    let GenerateConfig { max_new_tokens, top_k, top_p, .. } = sampling;
    let what = json!({"model": model.files, "model_id": model_id, "questions": questions.sha256, "seed": seed,
        "precision": subject.arithmetic(), "max_new_tokens": max_new_tokens, "top_k": top_k, "top_p": top_p});
    let place = Place::open(out, "mt-bench", &what, &["model_answer"], &subject.reads())?;
    let path = answers_path(out, model_id);
    if place.is_finished()? {
        return Ok(path);
    }
    let mut replies = BTreeMap::new();
    let mut journal =
        place.journal(|reply: Reply| drop(replies.insert((reply.question_id, reply.turn), reply.text)))?;
    let (policy, codec) = subject.load()?;
    let turns: usize = questions.rows.iter().map(|q| q.turns.len()).sum();
    let mut work =
        Work { policy, codec, seed, progress: Progress::new("mt-bench", replies.len() as u64, turns as u64), cut: 0 };
    for turn in 0..questions.rows.iter().map(|q| q.turns.len()).max().unwrap_or(0) {
        // One temperature at a time; 0.7 and 0.70000001 are two.
        let mut groups = BTreeMap::<u32, Vec<&Question>>::new();
        let missing = |q: &&Question| turn < q.turns.len() && !replies.contains_key(&(q.question_id, turn));
        for question in questions.rows.iter().filter(missing) {
            groups.entry(question.temperature().to_bits()).or_default().push(question);
        }
        for (temperature, group) in groups {
            let sampling = GenerateConfig { temperature: f32::from_bits(temperature), ..sampling.clone() };
            work.replies(&group, turn, &sampling, &mut replies, &mut journal)?;
        }
        journal.sync()?;
    }
    work.finish();

    let answer = |question: &Question| {
        let turns = (0..question.turns.len()).map(|turn| replies.remove(&(question.question_id, turn)));
        let turns = turns.collect::<Option<Vec<String>>>().unwrap_or_default();
        let id = files::sha256(json!([what, question.question_id, turns]).to_string().as_bytes());
        Answer {
            question_id: question.question_id,
            // As long as FastChat's.
            answer_id: id[..22].to_owned(),
            model_id: model_id.to_owned(),
            choices: vec![Choice { index: 0, turns }],
            tstamp: 0.0,
        }
    };
    let answers: Vec<Answer> = questions.rows.iter().map(answer).collect();
    files::make_dir(files::parent(&path))?;
    files::write_lines(&path, &answers)?;
    place.finish(std::slice::from_ref(&path))?;
    Ok(path)
}

/// What answering works with.
struct Work {
    policy: Policy,
    codec: TextCodec,
    seed: u64,
    progress: Progress,
    /// Conversations that lost their beginning.
    cut: usize,
}

impl Work {
    /// Samples the replies of `turn` to some questions and keeps each as it comes.
    fn replies(
        &mut self,
        questions: &[&Question],
        turn: usize,
        sampling: &GenerateConfig,
        replies: &mut BTreeMap<(u64, usize), String>,
        journal: &mut Sealed,
    ) -> Result<()> {
        let room = self.policy.max_positions().saturating_sub(sampling.max_new_tokens);
        let mut prompts = Vec::with_capacity(questions.len());
        for question in questions {
            let mut prompt = self.codec.encode_prompt(&history(question, turn, replies).into())?;
            let over = prompt.len().saturating_sub(room.max(1));
            prompt.drain(..over);
            self.cut += usize::from(over > 0);
            prompts.push(prompt);
        }
        let requests = prompts.into_iter().zip(questions).enumerate().map(|(index, (prompt, question))| {
            Ok((index, Request { prompt, key: (question.question_id << 8) | turn as u64, sample: 0 }))
        });
        let Self { policy, codec, seed, progress, .. } = self;
        generate(policy, requests, sampling, codec.end_ids(), *seed, |index, generation| {
            let (question_id, text) = (questions[index].question_id, codec.decode(&generation.ids)?);
            let reply = Reply { question_id, turn, text: text.trim().to_owned() };
            journal.push(&reply)?;
            replies.insert((question_id, turn), reply.text);
            progress.advance(1, "");
            Ok(())
        })
    }

    fn finish(self) {
        if self.cut > 0 {
            tracing::warn!("{} conversations were too long for the model and lost their beginning", self.cut);
        }
        self.progress.finish("");
    }
}

/// The conversation before a turn's reply.
fn history(question: &Question, turn: usize, replies: &BTreeMap<(u64, usize), String>) -> Vec<Message> {
    let mut messages = vec![];
    for (i, text) in question.turns[..=turn].iter().enumerate() {
        messages.push(Message::new("user", text));
        if let Some(reply) = replies.get(&(question.question_id, i)) {
            messages.push(Message::assistant(reply));
        }
    }
    messages
}

#[cfg(test)]
pub(super) mod tests;
