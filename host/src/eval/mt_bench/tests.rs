#![allow(clippy::unwrap_used)]
use super::*;
use crate::Code;
use crate::{generate::generate_one, ops::Precision};
use candle_core::Device;
use std::{collections::BTreeSet, fs};

/// Two categories, one of them greedy; one turn, and two.
pub(in crate::eval) const QUESTIONS: &str = concat!(
    r#"{"question_id": 81, "category": "writing", "turns": ["Reverse loper.", "Say it two times."]}"#,
    "\n",
    r#"{"question_id": 111, "category": "math", "turns": ["Write bukar in capitals.", "Reverse it."], "reference": ["BUKAR", "RAKUB"]}"#,
    "\n",
    r#"{"question_id": 7, "category": "odd", "turns": ["Reverse rezu."]}"#,
    "\n",
);

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clean-golden/model")
}

fn questions(dir: &Path) -> Questions {
    let path = dir.join("questions.jsonl");
    fs::write(&path, QUESTIONS).unwrap();
    Questions::read(&path).unwrap()
}

fn answered(dir: &Path, out: &Path, seed: u64, max_new_tokens: usize) -> Result<String> {
    let model = model();
    let subject = Subject { model: &model, device: "cpu", precision: Precision::F32, quantize: None };
    let sampling = GenerateConfig { max_new_tokens, ..GenerateConfig::default() };
    let path = answer(&subject, &questions(dir), &sampling, seed, "tiny", out)?;
    assert_eq!(path, out.join("model_answer/tiny.jsonl"));
    Ok(fs::read_to_string(path).unwrap())
}

fn parsed(text: &str) -> Vec<Answer> {
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn temperatures_are_those_of_fastchat() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.jsonl");
    let row = |id: usize, category: &str, more: &str| {
        format!("{{\"question_id\": {id}, \"category\": \"{category}\", \"turns\": [\"t\"]{more}}}\n")
    };
    let categories =
        ["writing", "roleplay", "extraction", "math", "coding", "reasoning", "stem", "humanities", "other"];
    let rows: String = categories.iter().enumerate().map(|(i, c)| row(i, c, "")).collect();
    fs::write(&path, rows + &row(99, "math", ", \"required_temperature\": 0.25")).unwrap();
    let got: Vec<f32> = Questions::read(&path).unwrap().rows.iter().map(Question::temperature).collect();
    assert_eq!(got, [0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.7, 0.25]);
}

#[test]
fn a_turn_is_answered_in_view_of_those_before() {
    let dir = tempfile::tempdir().unwrap();
    let text = answered(dir.path(), &dir.path().join("out"), 3, 12).unwrap();
    let answers = parsed(&text);
    assert_eq!(answers.iter().map(|a| a.question_id).collect::<Vec<_>>(), [81, 111, 7]);
    assert!(answers.iter().all(|a| a.model_id == "tiny" && a.answer_id.len() == 22 && a.choices.len() == 1));
    assert_eq!(answers.iter().map(|a| &a.answer_id).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(answers.iter().map(|a| a.choices[0].turns.len()).collect::<Vec<_>>(), [2, 2, 1]);
    // Mathematics is greedy: the same conversation by hand.
    let codec = TextCodec::load(&model()).unwrap();
    let policy = Policy::load(&model(), &Device::Cpu).unwrap();
    let sampling = GenerateConfig { max_new_tokens: 12, temperature: 0.0, ..GenerateConfig::default() };
    let mut history = vec![];
    for (said, reply) in ["Write bukar in capitals.", "Reverse it."].into_iter().zip(&answers[1].choices[0].turns) {
        history.push(Message::new("user", said));
        let request = Request { prompt: codec.encode_prompt(&history.clone().into()).unwrap(), key: 0, sample: 0 };
        let generated = generate_one(&policy, &request, &sampling, codec.end_ids(), 0, |_| Ok(())).unwrap();
        assert_eq!(codec.decode(&generated.ids).unwrap().trim(), reply);
        history.push(Message::assistant(reply));
    }
}

#[test]
fn stopped_work_ends_in_the_same_bytes_and_belongs_to_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = answered(dir.path(), &dir.path().join("whole"), 3, 12).unwrap();
    // As after a crash: the manifest, one reply, and half a line.
    let stopped = dir.path().join("stopped");
    fs::create_dir(&stopped).unwrap();
    fs::copy(dir.path().join("whole/mt-bench.manifest.json"), stopped.join("mt-bench.manifest.json")).unwrap();
    let first = &parsed(&whole)[0].choices[0].turns[0];
    let reply = json!({"question_id": 81, "turn": 0, "text": first});
    let reply = files::seal(&reply.to_string());
    // Before it a reply that was damaged.
    let damaged = reply.replacen(':', ":1", 1);
    fs::write(stopped.join("mt-bench.partial.jsonl"), format!("{damaged}\n{reply}\n{{\"question")).unwrap();
    assert_eq!(answered(dir.path(), &stopped, 3, 12).unwrap(), whole);
    assert!(!stopped.join("mt-bench.partial.jsonl").exists());
    // Finished answers that were changed are not believed.
    fs::write(answers_path(&stopped, "tiny"), whole.replacen("tiny", "tidy", 1)).unwrap();
    assert_eq!(answered(dir.path(), &stopped, 3, 12).unwrap(), whole);
    assert_eq!(answered(dir.path(), &stopped, 4, 12).unwrap_err().code(), Code::EvalChanged);
    let other = answered(dir.path(), &dir.path().join("other"), 4, 12).unwrap();
    let ids = |text: &str| parsed(text).into_iter().map(|a| a.answer_id).collect::<BTreeSet<_>>();
    assert!(ids(&other).is_disjoint(&ids(&whole)));
}

#[test]
fn a_conversation_too_long_for_the_model_loses_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    // 128 positions: 100 for the reply leave 28 for what was said before.
    let answers = parsed(&answered(dir.path(), &dir.path().join("out"), 0, 100).unwrap());
    assert_eq!(answers.len(), 3);
}

#[test]
fn rows_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.jsonl");
    for (row, says) in [
        (r#"{"question_id": "a", "category": "c", "turns": ["t"]}"#, "`question_id`: expected a whole number"),
        (r#"{"question_id": 1, "turns": ["t"]}"#, "`category`: expected a string, found nothing"),
        (r#"{"question_id": 1, "category": "c", "turns": []}"#, "`turns`: expected a list of one or more texts"),
        (r#"{"question_id": 1, "category": "c", "turns": ["t", 3]}"#, "`turns`"),
        (
            r#"{"question_id": 1, "category": "c", "turns": ["t"], "required_temperature": -1}"#,
            "`required_temperature`",
        ),
        (r#"{"question_id": 1, "category": "c", "turns": ["t"], "reference": "r"}"#, "`reference`: expected a list"),
        (r#"{"question_id": 81, "category": "c", "turns": ["t"]}"#, "81 is another row's too"),
    ] {
        fs::write(&path, format!("{QUESTIONS}{row}\n")).unwrap();
        let e = Questions::read(&path).unwrap_err();
        assert!(e.message().contains("q.jsonl, line 4") && e.message().contains(says), "{e}");
    }
}

#[test]
fn a_key_that_nothing_reads_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.jsonl");
    let row = |key: &str| format!(r#"{{"question_id": 1, "category": "math", "turns": ["a", "b"], "{key}": "x"}}"#);
    fs::write(&path, row("source")).unwrap();
    assert!(Questions::read(&path).is_ok());
    fs::write(&path, row("system")).unwrap();
    let e = Questions::read(&path).unwrap_err();
    assert!(e.message().ends_with("line 1: `system`: nothing reads this, and it may change what the row means"), "{e}");
}
