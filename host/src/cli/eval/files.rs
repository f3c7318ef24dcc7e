//! What `eval` measures on files of its own: multiple choice, MT-Bench, a judge's grades.

use crate::cli::{on_pool, print, print_json};
use ldalign::{
    Code, Error, Result,
    config::GenerateConfig,
    eval::{
        Subject,
        choices::{self, Questions},
        judge::{Endpoint, Grades, Judge, Mean},
        mt_bench,
    },
};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Files to measure on.
#[derive(clap::Args)]
pub struct FileArgs {
    /// Multiple choice by likelihood: JSONL rows {"question", "choices": [...], "answer": index, letter or text}
    #[arg(long, value_name = "FILE")]
    choices: Option<PathBuf>,
    /// Of --choices: asks through the chat template; else a question is continued as plain text
    #[arg(long, requires = "choices")]
    chat: bool,
    /// Answers MT-Bench's questions, JSONL rows {"question_id", "category", "turns": [...]}, into FastChat's files
    #[arg(long, value_name = "FILE")]
    mt_bench: Option<PathBuf>,
    /// Of --mt-bench: the model's name in FastChat's files; its directory's name by default
    #[arg(long, value_name = "NAME", requires = "mt_bench")]
    model_id: Option<String>,
    /// Of --mt-bench: tokens of a reply at most
    #[arg(long, default_value_t = 1024, requires = "mt_bench")]
    max_new_tokens: usize,
    /// Has the answers of --mt-bench graded over this OpenAI-compatible API, as in https://api.openai.com/v1
    #[arg(long, value_name = "URL", requires_all = ["mt_bench", "judge_model"])]
    judge: Option<String>,
    /// The judge's name there
    #[arg(long, value_name = "NAME", requires = "judge")]
    judge_model: Option<String>,
    /// Environment variable that holds the API's key; none is sent where it is not set
    #[arg(long, value_name = "VARIABLE", default_value = "OPENAI_API_KEY", requires = "judge")]
    judge_key_env: String,
    /// Directory for what comes of these files; started again, work goes on there
    #[arg(long, value_name = "DIR", default_value = "eval-run")]
    out: PathBuf,
}

impl FileArgs {
    /// Whether a file is named.
    pub fn any(&self) -> bool {
        self.choices.is_some() || self.mt_bench.is_some()
    }

    /// Measures on each file that is named and prints what came of it.
    pub fn run(&self, subject: &Subject<'_>, seed: u64, batch_size: usize, json: bool) -> Result<()> {
        let (mut said, mut told) = (vec![], Map::new());
        let value =
            |v: serde_json::Result<Value>| v.map_err(|e| Error::new(Code::CliOutput, "cannot write JSON").caused_by(e));
        if let Some(file) = &self.choices {
            let questions = Questions::read(file)?;
            let figures = on_pool(|| choices::measure(subject, &questions, self.chat, &self.out))?;
            let share = |s: choices::Proportion| {
                let [low, high] = s.interval;
                format!("{:.4}  [{low:.4}, {high:.4}]", s.value)
            };
            let cut = if figures.cut > 0 { format!("\ncut to fit      {}", figures.cut) } else { String::new() };
            said.push(format!(
                "questions       {}\nacc             {}\nacc_norm        {}{cut}\nanswers         {}",
                figures.rows,
                share(figures.acc),
                share(figures.acc_norm),
                self.out.join("choices.jsonl").display()
            ));
            told.insert("choices".into(), value(serde_json::to_value(figures))?);
        }
        if let Some(file) = &self.mt_bench {
            let questions = mt_bench::Questions::read(file)?;
            let id = self.model_id(subject)?;
            // Before hours are spent on answers that nobody can grade.
            let judge = self.judge()?;
            let max_new_tokens = self.max_new_tokens;
            let sampling = GenerateConfig { max_new_tokens, batch_size, ..GenerateConfig::default() };
            let answers = on_pool(|| mt_bench::answer(subject, &questions, &sampling, seed, &id, &self.out))?;
            said.push(format!("answers         {}", answers.display()));
            told.insert("answers".into(), answers.display().to_string().into());
            if let Some(judge) = judge {
                let grades = judge.grade(&questions, &answers, &id, &self.out)?;
                said.push(graded(&grades));
                told.insert("grades".into(), value(serde_json::to_value(grades))?);
            }
        }
        if json { print_json(&told) } else { print(&said.join("\n")) }
    }

    /// The judge, where one is asked for.
    fn judge(&self) -> Result<Option<Judge>> {
        let (Some(url), Some(model)) = (&self.judge, &self.judge_model) else { return Ok(None) };
        let key = std::env::var(&self.judge_key_env).ok().filter(|key| !key.is_empty());
        Judge::new(&Endpoint { url, model, key, key_env: &self.judge_key_env }).map(Some)
    }

    fn model_id(&self, subject: &Subject<'_>) -> Result<String> {
        let id = match &self.model_id {
            Some(id) => id.clone(),
            None => {
                let full = subject.model.canonicalize().unwrap_or_else(|_| subject.model.to_owned());
                full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
        };
        if id.is_empty() || id.starts_with('.') || id.contains(['/', '\\']) {
            return Err(Error::new(Code::EvalModelId, format!("`{id}` cannot be the name of a file of answers"))
                .hint("give --model-id a name without slashes"));
        }
        Ok(id)
    }
}

/// The judge's means as a table.
fn graded(grades: &Grades) -> String {
    let line = |name: &str, mean: &Mean| format!("{name:<16}{:.2}  ({} replies)", mean.score, mean.replies);
    let mut lines = vec![format!("judge           {}", grades.judge), line("mean", &grades.all)];
    lines.extend(grades.turns.iter().enumerate().map(|(i, mean)| line(&format!("turn {}", i + 1), mean)));
    lines.extend(grades.categories.iter().map(|(category, mean)| line(category, mean)));
    if grades.unrated > 0 {
        lines.push(format!("without rating  {}", grades.unrated));
    }
    lines.join("\n")
}
