#![allow(clippy::unwrap_used)]
use super::*;
use crate::ops::Precision;
use std::{fs, path::PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn measured(questions: &Path, chat: bool, out: &Path) -> Result<Figures> {
    let model = root().join("examples/clean-golden/model");
    let subject = Subject { model: &model, device: "cpu", precision: Precision::F32, quantize: None };
    measure(&subject, &Questions::read(questions)?, chat, out)
}

fn lines(out: &Path) -> Vec<AnswerLine> {
    files::read_lines(&out.join("choices.jsonl")).unwrap().map(|l| l.unwrap()).collect()
}

/// PyTorch's numbers: tests/fixtures/make_choices.py.
#[test]
fn choices_have_the_log_probabilities_that_pytorch_gives_them() {
    #[derive(Deserialize)]
    struct Reference {
        logps: Vec<f64>,
        picked: [usize; 2],
    }
    let fixtures = root().join("tests/fixtures/choices");
    let reference: std::collections::BTreeMap<String, Vec<Reference>> =
        files::read_json(&fixtures.join("reference.json")).unwrap();
    for (mode, chat, right) in [("plain", false, [1, 2]), ("chat", true, [4, 4])] {
        let out = tempfile::tempdir().unwrap();
        let figures = measured(&fixtures.join("questions.jsonl"), chat, out.path()).unwrap();
        let got = lines(out.path());
        assert_eq!(got.iter().map(|l| l.gold).collect::<Vec<_>>(), [0, 1, 0, 2, 0]);
        for (line, want) in got.iter().zip(&reference[mode]) {
            assert_eq!(line.picked, want.picked, "{mode}, line {}", line.line);
            assert_eq!(line.logps.len(), want.logps.len());
            for (a, b) in line.logps.iter().zip(&want.logps) {
                assert!((a - b).abs() < 1e-4, "{mode}, line {}: {a} {b}", line.line);
            }
        }
        let shares = [figures.acc, figures.acc_norm].map(|s| (s.value * 5.0).round() as usize);
        assert_eq!((figures.rows, shares), (5, right), "{mode}");
    }
}

#[test]
fn work_goes_on_where_it_stopped_and_belongs_to_one_model_and_file() {
    let questions = root().join("tests/fixtures/choices/questions.jsonl");
    let out = tempfile::tempdir().unwrap();
    measured(&questions, false, out.path()).unwrap();
    let [path, journal, record] =
        ["choices.jsonl", "choices.partial.jsonl", "done/choices.json"].map(|n| out.path().join(n));
    let whole = fs::read_to_string(&path).unwrap();
    assert!(!journal.exists() && record.exists());
    // As after a crash: two lines, one whose pick was changed, and one torn.
    let sealed: Vec<String> = whole.lines().map(files::seal).collect();
    let changed = sealed[2].replacen("\"picked\":[1", "\"picked\":[0", 1);
    assert_ne!(changed, sealed[2]);
    let text = format!("{}\n{}\n{changed}\n{}", sealed[0], sealed[1], &sealed[3][..9]);
    for file in [&path, &record] {
        fs::remove_file(file).unwrap();
    }
    fs::write(&journal, text).unwrap();
    measured(&questions, false, out.path()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    // Finished work that was changed, or to which somebody has added, is not believed.
    for text in [whole.replacen("\"gold\":0", "\"gold\":1", 1), format!("{whole}{whole}")] {
        fs::write(&path, text).unwrap();
        let figures = measured(&questions, false, out.path()).unwrap();
        assert_eq!((figures.rows, fs::read_to_string(&path).unwrap()), (5, whole.clone()));
    }
    // Answers to more questions than there are.
    fs::remove_file(&record).unwrap();
    let stranger = sealed[0].clone();
    let stranger = files::seal(&files::unseal(&stranger).unwrap().replacen("\"line\":1", "\"line\":99", 1));
    fs::write(&journal, format!("{stranger}\n")).unwrap();
    assert_eq!(measured(&questions, false, out.path()).unwrap_err().code(), Code::RunDamaged);
    fs::remove_file(&journal).unwrap();
    // Two at once.
    let held = files::hold_directory(out.path()).unwrap();
    assert_eq!(measured(&questions, false, out.path()).unwrap_err().code(), Code::RunLocked);
    drop(held);
    let e = measured(&questions, true, out.path()).unwrap_err();
    assert_eq!(e.code(), Code::EvalChanged);
}

#[test]
fn a_question_too_long_for_the_model_keeps_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("q.jsonl");
    let tail = "Reverse loper.";
    let row = |q: String| json!({"question": q, "choices": ["repol", "loper"], "answer": 0}).to_string();
    fs::write(&file, row("a b ".repeat(90) + tail)).unwrap();
    let long = measured(&file, false, &dir.path().join("long")).unwrap();
    assert_eq!(long.cut, 1);
    assert!(lines(&dir.path().join("long"))[0].cut);
    fs::write(
        &file,
        format!("{}\n{}\n", row(tail.into()), json!({"question": "q", "choices": ["a", "b".repeat(200)], "answer": 0})),
    )
    .unwrap();
    let e = measured(&file, false, &dir.path().join("none")).unwrap_err();
    assert!(e.message().contains("q.jsonl, line 2") && e.message().contains("room for 128"), "{e}");
}

#[test]
fn rows_that_are_none_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("q.jsonl");
    let good = r#"{"question": "q", "choices": ["A", "b", "C", "0"], "answer": "A"}"#;
    let gold = |answer: &str| {
        fs::write(&file, good.replace("\"A\"}", &format!("{answer}}}"))).unwrap();
        Questions::read(&file).map(|q| q.rows[0].gold)
    };
    // A choice's text goes before its letter, a letter before an index.
    for (answer, want) in [("\"A\"", 0), ("\"C\"", 2), ("\"B\"", 1), ("\"0\"", 3), ("3", 3), ("\"2\"", 2), ("\"d\"", 3)]
    {
        assert_eq!(gold(answer).unwrap(), want, "{answer}");
    }
    for answer in ["4", "-1", "1.5", "\"E\"", "\"\"", "[0]"] {
        let e = gold(answer).unwrap_err();
        assert!(e.message().contains("q.jsonl, line 1: `answer`: expected which choice"), "{answer}: {e}");
        assert!(e.hint_text().unwrap().contains("from 0 to 3, a letter from A to D"));
    }
    for (row, says) in [
        (r#"{"choices": ["a", "b"], "answer": 0}"#, "expected a field `question`, `prompt` or `query`; the row has"),
        (r#"{"question": 3, "choices": ["a", "b"], "answer": 0}"#, "`question`: expected a string, found 3"),
        (r#"{"question": " ", "choices": ["a", "b"], "answer": 0}"#, "`question` is empty"),
        (r#"{"question": "q", "answer": 0}"#, "two or more texts, found nothing"),
        (r#"{"question": "q", "choices": ["a"], "answer": 0}"#, "found 1 of them"),
        (r#"{"question": "q", "choices": ["a", ""], "answer": 0}"#, "found one that is empty"),
        (r#"{"question": "q", "choices": ["a", "b"]}"#, "expected a field `answer`, `label` or `gold`"),
    ] {
        fs::write(&file, format!("{good}\n{row}\n")).unwrap();
        let e = Questions::read(&file).unwrap_err();
        assert!(e.message().contains("line 2") && e.message().contains(says), "{e}");
    }
}

#[test]
fn keys_of_a_question_are_read_harmless_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.jsonl");
    let read = |row: serde_json::Value| {
        fs::write(&path, row.to_string()).unwrap();
        Questions::read(&path)
    };
    let good = serde_json::json!({"question": "q", "choices": ["a", "b"], "answer": 1});
    let with = |key: &str, value: &str| {
        let mut row = good.clone();
        row[key] = value.into();
        row
    };
    for row in [with("id", "7"), with("subject", "s"), with("answer_text", "b")] {
        assert_eq!(read(row).unwrap().rows.len(), 1);
    }
    for key in ["context", "prompt", "label"] {
        let e = read(with(key, "It was so.")).unwrap_err();
        assert!(
            e.message()
                .ends_with(&format!("line 1: `{key}`: nothing reads this, and it may change what the row means")),
            "{e}"
        );
        assert!(e.hint_text().unwrap().contains(&format!("del(.\"{key}\")")));
    }
}
