//! Grades of MT-Bench answers by another model, behind an OpenAI-compatible endpoint: each reply alone, from 1 to 10.
//!
//! Grades are what FastChat's `show_result.py` reads: `model_judgment/JUDGE_single.jsonl`, with its `[[rating]]`
//! convention; the prompt is ours. A reply of the judge without a rating is kept with score -1, as FastChat has it, and
//! left out of the means.

#[cfg(feature = "judge")]
mod client;
#[cfg(not(feature = "judge"))]
#[path = "judge/absent.rs"]
mod client;
mod prompt;

use super::{
    Place,
    mt_bench::{Answer, Question, Questions},
};
use crate::{Code, Error, Result, files, interrupt, progress::Progress, rundir::LinesFile, stats::mean};
use client::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

/// The judge to ask.
pub struct Endpoint<'a> {
    /// Where the API lies, as in `https://api.openai.com/v1`.
    pub url: &'a str,
    /// The judge's name there.
    pub model: &'a str,
    /// Sent as a bearer token and nowhere else.
    pub key: Option<String>,
    /// The name of the variable that the key is read from, for messages.
    pub key_env: &'a str,
}

/// A line of the grades, as FastChat has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Of the question.
    pub question_id: u64,
    /// Name of the model graded.
    pub model: String,
    /// The judge and the name of its prompt.
    pub judge: [String; 2],
    /// What the judge was asked.
    pub user_prompt: String,
    /// What it said.
    pub judgment: String,
    /// 1 to 10, or -1 where it gave no rating.
    pub score: f64,
    /// Of the conversation, from 1.
    pub turn: usize,
    /// FastChat's time of grading; 0.
    pub tstamp: f64,
}

/// Means of the grades.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grades {
    /// The model graded.
    pub model_id: String,
    /// The judge.
    pub judge: String,
    /// Over all replies that were rated.
    pub all: Mean,
    /// By turn, the first at the front.
    pub turns: Vec<Mean>,
    /// By category.
    pub categories: BTreeMap<String, Mean>,
    /// Replies without a rating.
    pub unrated: usize,
}

/// A mean of ratings; NaN (null in JSON) of none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub score: f64,
    /// Ratings in it.
    pub replies: usize,
}

/// A judge that can be asked.
pub struct Judge {
    client: Client,
    model: String,
}

impl Judge {
    /// Takes the address; nothing is contacted yet. Fails for an address that is none, and without the feature `judge`.
    pub fn new(endpoint: &Endpoint<'_>) -> Result<Self> {
        Ok(Self { client: Client::new(endpoint)?, model: endpoint.model.to_owned() })
    }

    /// Has every reply of `answers`, a file of FastChat's, graded and writes the grades and judge.json into `out`. What
    /// is graded already stays.
    ///
    /// # Errors
    /// Where `out` holds grades of other answers, where the answers are not those of the questions; where the judge
    /// cannot be reached or refuses.
    pub fn grade(&self, questions: &Questions, answers: &Path, model_id: &str, out: &Path) -> Result<Grades> {
        let judge = [self.model.clone(), prompt::NAME.to_owned()];
        let what = json!({"answers": files::sha256_file(answers)?, "judge": judge, "model_id": model_id});
        let place = Place::open(out, "judge", &what, &["model_judgment", "judge.json"], &[answers.to_owned()])?;
        let by_id = files::read_lines::<Answer>(answers)?
            .map(|answer| answer.map(|a| (a.question_id, a)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let path = out.join("model_judgment").join(format!("{}_single.jsonl", self.model.replace(['/', '\\'], "_")));
        let mut given = BTreeMap::new();
        let mut journal = place.journal(|grade: Grade| drop(given.insert((grade.question_id, grade.turn), grade)))?;
        let mut grades: Vec<Grade> = vec![];
        let total: usize = questions.rows.iter().map(|q| q.turns.len()).sum();
        let mut progress = Progress::new("judge", given.len() as u64, total as u64);
        for question in &questions.rows {
            let replies = by_id.get(&question.question_id).and_then(|a| a.choices.first()).map(|c| &c.turns[..]);
            let replies = replies.filter(|r| r.len() == question.turns.len()).ok_or_else(|| {
                let what =
                    format!("{} has no answer to every turn of question {}", answers.display(), question.question_id);
                Error::new(Code::EvalAnswers, what).hint("delete it to have the questions answered again")
            })?;
            for turn in 1..=question.turns.len() {
                if let Some(grade) = given.remove(&(question.question_id, turn)) {
                    grades.push(grade);
                    continue;
                }
                interrupt::check()?;
                let user_prompt = prompt::user(question, &replies[..turn]);
                let judgment = self
                    .client
                    .ask(prompt::SYSTEM, &user_prompt)
                    .map_err(|e| e.at(format!("question {}, turn {turn}", question.question_id)))?;
                let score = prompt::rating(&judgment).unwrap_or(-1.0);
                let (model, judge) = (model_id.to_owned(), judge.clone());
                let question_id = question.question_id;
                let grade = Grade { question_id, model, judge, user_prompt, judgment, score, turn, tstamp: 0.0 };
                journal.push(&grade)?;
                // A grade costs money: none is lost with the machine.
                journal.sync()?;
                grades.push(grade);
                progress.advance(1, "");
            }
        }
        progress.finish("");
        let (lines, figures) = (LinesFile::<Grade>::new(path), means(&grades, questions, model_id, &self.model));
        files::make_dir(files::parent(lines.path()))?;
        // From the journal each time, which stays: no grade is paid twice.
        lines.write(grades.iter().map(Ok))?;
        files::write_json(&out.join("judge.json"), &figures)?;
        Ok(figures)
    }
}

fn means(grades: &[Grade], questions: &Questions, model_id: &str, judge: &str) -> Grades {
    let of = |wanted: &dyn Fn(&Grade) -> bool| {
        let scores: Vec<f64> = grades.iter().filter(|g| g.score > 0.0 && wanted(g)).map(|g| g.score).collect();
        Mean { score: mean(&scores), replies: scores.len() }
    };
    let category = |id: u64| questions.rows.iter().find(|q: &&Question| q.question_id == id).map(|q| &q.category);
    let turns = grades.iter().map(|g| g.turn).max().unwrap_or(0);
    Grades {
        model_id: model_id.to_owned(),
        judge: judge.to_owned(),
        all: of(&|_| true),
        turns: (1..=turns).map(|turn| of(&|g| g.turn == turn)).collect(),
        categories: questions
            .rows
            .iter()
            .map(|q| (q.category.clone(), of(&|g| category(g.question_id) == Some(&q.category))))
            .collect(),
        unrated: grades.iter().filter(|g| g.score < 0.0).count(),
    }
}

#[cfg(all(test, feature = "judge"))]
mod tests;
