#![allow(clippy::unwrap_used)]
use super::*;
use std::{fs, path::Path};

fn read(dir: &Path, text: &str, fields: &[(&str, &str)]) -> Result<Annotated> {
    let path = dir.join("rows.jsonl");
    fs::write(&path, text).unwrap();
    let mut config: DataConfig = serde_json::from_value(serde_json::json!({"path": path})).unwrap();
    config.fields = fields.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Annotated::read(&config)
}

fn labels(row: &Row) -> Vec<(&str, f64)> {
    row.responses.iter().map(|r| (r.text.as_str(), r.label)).collect()
}

#[test]
fn both_shapes_and_rows_of_one_label() {
    let dir = tempfile::tempdir().unwrap();
    let rows = read(
        dir.path(),
        r#"{"prompt": "p", "golden": "g", "better": "b", "worse": "w"}
{"prompt": "p", "golden": "g", "responses": [{"text": "x", "label": true}, {"text": "y", "label": true}]}

{"prompt": [{"role": "user", "content": "q"}], "golden": "g", "responses": [{"text": "x", "label": 2.5}, {"text": "y", "label": false}]}
"#,
        &[],
    )
    .unwrap();
    assert_eq!((rows.rows.len(), rows.one_label), (2, 1));
    assert_eq!(labels(&rows.rows[0]), [("b", 1.0), ("w", 0.0)]);
    assert!(rows.rows[1].place.ends_with("rows.jsonl, line 4"), "{}", rows.rows[1].place);
    assert_eq!(labels(&rows.rows[1]), [("x", 2.5), ("y", 0.0)]);
    assert_eq!(rows.rows[1].prompt.messages[0].text(), "q");
}

#[test]
fn keys_that_nothing_reads_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let row = r#"{"prompt": "p", "golden": "g", "better": "b", "worse": "w", "id": 7, "context": "It was so."}"#;
    let e = read(dir.path(), row, &[]).unwrap_err();
    assert!(
        e.message().ends_with("line 1: `context`: nothing reads this, and it may change what the row means"),
        "{e}"
    );
}

#[test]
fn keys_of_responses_are_treated_as_those_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    let row = |key: &str| {
        let answers = format!(r#"[{{"text": "x", "label": 1, "{key}": "k"}}, {{"text": "y", "label": 0}}]"#);
        read(dir.path(), &format!(r#"{{"prompt": "p", "golden": "g", "responses": {answers}}}"#), &[])
    };
    assert_eq!(row("model").unwrap().rows.len(), 1);
    let e = row("critique").unwrap_err();
    assert!(e.message().contains("`responses[0].critique`: nothing reads this"), "{e}");
}

#[test]
fn responses_may_lie_in_several_fields_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let fields = [
        ("prompt", "question"),
        ("golden", "ground_truth"),
        ("responses", "small, large"),
        ("text", "solution"),
        ("label", "is_correct"),
    ];
    let row = r#"{"question": "q", "ground_truth": "g", "small": {"is_correct": false, "solution": "1"}, "large": {"is_correct": true, "solution": "2"}}"#;
    assert_eq!(labels(&read(dir.path(), row, &fields).unwrap().rows[0]), [("1", 0.0), ("2", 1.0)]);
    let e = read(dir.path(), &row.replace("large", "huge"), &fields).unwrap_err();
    assert!(e.message().ends_with("rows.jsonl, line 1: there is no `large`, nor `better` and `worse`"), "{e}");
}

#[test]
fn faults_name_file_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let good = r#"{"prompt": "p", "golden": "g", "better": "b", "worse": "w"}"#;
    let cases = [
        (r#"{"prompt": "p", "better": "b", "worse": "w"}"#, "`golden`: expected a string, found nothing"),
        (r#"{"prompt": "p", "golden": " ", "better": "b", "worse": "w"}"#, "`golden` is empty"),
        (r#"{"prompt": "", "golden": "g", "better": "b", "worse": "w"}"#, "`prompt` is empty"),
        (r#"{"prompt": "p", "golden": "g", "better": "b"}"#, "`worse`: expected a string, found nothing"),
        (
            r#"{"prompt": "p", "golden": "g", "responses": [{"text": "x", "label": "yes"}]}"#,
            "`responses[0].label`: expected true, false or a number, found a string",
        ),
        (
            r#"{"prompt": "p", "golden": "g", "responses": [{"label": 1}]}"#,
            "`responses[0].text`: expected a string, found nothing",
        ),
        (r#"{"prompt": "p", "golden": "g", "responses": []}"#, "`responses` has no response"),
        (
            r#"{"prompt": "p", "golden": "g", "responses": ["x"]}"#,
            "`responses[0]`: expected an object with `text` and `label`, found a string",
        ),
    ];
    for (bad, expected) in cases {
        let e = read(dir.path(), &format!("{good}\n{bad}\n"), &[]).unwrap_err();
        let place = format!("{}, line 2: ", dir.path().join("rows.jsonl").display());
        assert_eq!(e.message(), format!("{place}{expected}"));
        assert!(e.hint_text().is_some());
    }
    let one =
        r#"{"prompt": "p", "golden": "g", "responses": [{"text": "x", "label": 1}, {"text": "y", "label": true}]}"#;
    assert_eq!(read(dir.path(), one, &[]).unwrap_err().code(), Code::ValidateLabels);
    assert_eq!(read(dir.path(), "\n", &[]).unwrap_err().code(), Code::DataEmpty);
}
