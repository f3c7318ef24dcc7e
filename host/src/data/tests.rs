#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Turns;
use serde_json::json;
use std::io::Write;

fn config(path: &std::path::Path) -> DataConfig {
    serde_json::from_value(json!({"path": path})).unwrap()
}

/// Opens a file of these bytes; the config can be changed first.
fn open(bytes: &[u8], change: impl FnOnce(&mut DataConfig)) -> Result<Dataset> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut config = config(file.path());
    change(&mut config);
    Dataset::open(&config).map_err(|e| {
        // The random name of the file is not a part of the message.
        let text = e.message().replace(file.path().to_str().unwrap(), "FILE");
        Error::new(e.code(), text).hint(e.hint_text().unwrap_or("NONE"))
    })
}

fn rows(lines: &[serde_json::Value], change: impl FnOnce(&mut DataConfig)) -> Vec<Row> {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let data = open(text.as_bytes(), change).unwrap();
    (0..data.len()).map(|i| data.row(i).unwrap()).collect()
}

/// `u:hello|a:hi => yes / no`
fn brief(row: &Row) -> String {
    let history: Vec<String> = row.history.iter().map(|m| format!("{}:{}", &m.role[..1], m.content)).collect();
    let rejected = row.rejected.as_ref().map_or(String::new(), |r| format!(" / {r}"));
    format!("{} => {}{rejected}", history.join("|"), row.chosen)
}

fn user(text: &str) -> serde_json::Value {
    json!({"role": "user", "content": text})
}
fn assistant(text: &str) -> serde_json::Value {
    json!({"role": "assistant", "content": text})
}

#[test]
fn every_shape_becomes_history_and_responses() {
    let one = |line: serde_json::Value| brief(&rows(&[line], |_| {})[0]);
    assert_eq!(one(json!({"messages": [user("q"), assistant("a")], "prompt": "ignored"})), "u:q => a");
    assert_eq!(one(json!({"prompt": "q", "completion": "a", "id": 7})), "u:q => a");
    assert_eq!(one(json!({"prompt": [user("q")], "completion": [assistant("a")]})), "u:q => a");
    assert_eq!(one(json!({"instruction": "do", "input": "this", "output": "done"})), "u:do\n\nthis => done");
    assert_eq!(one(json!({"instruction": "do", "input": "", "output": "done"})), "u:do => done");
    assert_eq!(one(json!({"instruction": "do", "output": "done"})), "u:do => done");
    // TRL, standard: explicit and implicit prompt. https://huggingface.co/docs/trl/dataset_formats
    let standard = json!({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."});
    assert_eq!(one(standard), "u:The sky is =>  blue. /  green.");
    let implicit = json!({"chosen": "The sky is blue.", "rejected": "The sky is green."});
    assert_eq!(one(implicit), "u:The sky is =>  blue. /  green.");
    // TRL, conversational: explicit, implicit, and both (the prompt repeated as a string).
    let explicit = json!({"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]});
    assert_eq!(one(explicit), "u:q => a / b");
    let whole = [json!([user("q"), assistant("a")]), json!([user("q"), assistant("b")])];
    assert_eq!(one(json!({"chosen": whole[0], "rejected": whole[1]})), "u:q => a / b");
    assert_eq!(one(json!({"prompt": "q", "chosen": whole[0], "rejected": whole[1]})), "u:q => a / b");
    assert_eq!(one(json!({"prompt": "q", "chosen": [assistant("a")], "rejected": [assistant("b")]})), "u:q => a / b");
    // SPIN; a generated response may equal the golden one, or be empty.
    assert_eq!(one(json!({"real": whole[0], "generated": whole[1]})), "u:q => a / b");
    assert_eq!(one(json!({"real": whole[0], "generated": whole[0]})), "u:q => a / a");
    assert_eq!(one(json!({"real": whole[0], "generated": [user("q"), assistant("")]})), "u:q => a / ");
}

#[test]
fn fields_are_mapped_and_weights_read() {
    let line = json!({"question": "q", "answer": "a", "w": 0.5});
    let map = [("prompt", "question"), ("completion", "answer"), ("weight", "w")];
    let fields = |c: &mut DataConfig| c.fields = map.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    let row = rows(&[line], fields).remove(0);
    assert_eq!((brief(&row).as_str(), row.weight), ("u:q => a", Some(0.5)));
}

#[test]
fn one_pair_for_every_assistant_turn_or_the_last() {
    let talk = json!({"messages": [user("1"), assistant("2"), user("3"), assistant("4"), user("thanks")]});
    let single = json!({"messages": [user("5"), assistant("6")]});
    let lines = [talk, single];
    let all = rows(&lines, |c| c.turns = Turns::All);
    assert_eq!(all.iter().map(brief).collect::<Vec<_>>(), ["u:1 => 2", "u:1|a:2|u:3 => 4", "u:5 => 6"]);
    assert_eq!(all.iter().map(|r| (r.line, r.turn)).collect::<Vec<_>>(), [(1, 0), (1, 1), (2, 0)]);
    let last = rows(&lines, |c| c.turns = Turns::Last);
    assert_eq!(last.iter().map(brief).collect::<Vec<_>>(), ["u:1|a:2|u:3 => 4", "u:5 => 6"]);
    assert_eq!(last.iter().map(|r| (r.line, r.turn)).collect::<Vec<_>>(), [(1, 1), (2, 0)]);
    let prompt = json!({"prompt": [user("1"), assistant("2"), user("3")], "completion": [assistant("4")]});
    assert_eq!(rows(&[prompt], |c| c.turns = Turns::All).iter().map(brief).collect::<Vec<_>>(), ["u:1|a:2|u:3 => 4"]);
}

#[test]
fn a_system_message_is_put_where_there_is_none() {
    let with = json!({"messages": [{"role": "system", "content": "own"}, user("q"), assistant("a")]});
    let without = json!({"messages": [user("q"), assistant("a"), user("r"), assistant("b")]});
    let got = rows(&[with, without], |c| (c.system, c.turns) = (Some("sys".into()), Turns::All));
    let got: Vec<String> = got.iter().map(brief).collect();
    assert_eq!(got, ["s:own|u:q => a", "s:sys|u:q => a", "s:sys|u:q|a:a|u:r => b"]);
}

#[test]
fn marks_blank_lines_and_line_ends_do_not_matter() {
    let text = b"\xef\xbb\xbf{\"prompt\": \"q\", \"completion\": \"a\"}\r\n\r\n   \n{\"prompt\": \"r\", \"completion\": \"\xc3\xa4\"}";
    let data = open(text, |_| {}).unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!((brief(&data.row(0).unwrap()).as_str(), data.row(0).unwrap().line), ("u:q => a", 1));
    assert_eq!((brief(&data.row(1).unwrap()).as_str(), data.row(1).unwrap().line), ("u:r => \u{e4}", 4));
    assert_eq!(data.hash(), files::sha256(text));
}

#[test]
fn a_line_without_end_is_refused_by_its_number() {
    let mut text = b"{\"prompt\": \"q\", \"completion\": \"a\"}\n".to_vec();
    text.resize(text.len() + (8 << 20) + 1, b'x');
    let e = open(&text, |_| {}).err().unwrap();
    assert!(e.code() == Code::DataRow && e.message().ends_with(", line 2: longer than 8 MiB"), "{e}");
    // Whatever comes after the rows that are wanted.
    assert_eq!(open(&text, |c| c.max_rows = 1).err().unwrap().code(), Code::DataRow);
}

#[test]
fn only_the_first_rows_are_used_and_checked() {
    let text = b"\n{\"prompt\": \"q\", \"completion\": \"a\"}\nnot json\n";
    let data = open(text, |c| c.max_rows = 1).unwrap();
    assert_eq!((data.len(), data.hash()), (1, files::sha256(text).as_str()));
    assert_eq!(open(text, |_| {}).err().unwrap().code(), Code::DataJson);
}

#[test]
fn rows_are_read_by_several_threads_in_any_order() {
    let text: String =
        (0..500).map(|i| format!("{}\n", json!({"prompt": "q".repeat(i + 1), "completion": i.to_string()}))).collect();
    let data = open(text.as_bytes(), |_| {}).unwrap();
    std::thread::scope(|s| {
        for t in 0..4 {
            let data = &data;
            s.spawn(move || {
                for i in (0..500).map(|i| (i * 7 + t * 131) % 500) {
                    assert_eq!(data.row(i).unwrap().chosen, i.to_string());
                }
            });
        }
    });
}

#[test]
fn a_changed_file_is_noticed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", json!({"prompt": "q", "completion": "a"})).unwrap();
    let data = Dataset::open(&config(file.path())).unwrap();
    file.as_file().set_len(10).unwrap();
    assert_eq!(data.row(0).unwrap_err().code(), Code::DataChanged);
}

#[test]
fn messages_of_faulty_rows() {
    let good = json!({"prompt": "q", "completion": "a"});
    let second = |line: serde_json::Value| format!("{good}\n{line}\n");
    let cases: Vec<String> = vec![
        "".into(),
        "\n \n".into(),
        "{\"prompt\": \"q\", \"completion\": }\n".into(),
        "{\"prompt\": \"q\"".into(),
        "{\n  \"prompt\": \"q\"\n}\n".into(),
        "[{\"prompt\": \"q\", \"completion\": \"a\"}]\n".into(),
        "3\n".into(),
        "{\"prompt\": \"\\ud800\", \"completion\": \"a\"}\n".into(),
        json!({"question": "q", "answer": "a"}).to_string(),
        json!({"text": "q"}).to_string(),
        second(json!({"prompt": "q"})),
        second(json!({"prompt": "q", "completion": null})),
        second(json!({"prompt": "q", "completion": 3})),
        second(json!({"prompt": [user("q")], "completion": "a"})),
        second(json!({"prompt": "q", "completion": "a", "weight": 1})),
        second(json!({"prompt": "q", "completion": "  "})),
        second(json!({"prompt": " ", "completion": "a"})),
        second(json!({"messages": [user("q"), assistant("a")]})),
        json!({"prompt": "q", "completion": "a", "weight": -1}).to_string(),
        json!({"prompt": "q", "completion": "a", "weight": "high"}).to_string(),
        json!({"messages": []}).to_string(),
        json!({"messages": "q"}).to_string(),
        json!({"messages": [user("q")]}).to_string(),
        json!({"messages": [assistant("hi")]}).to_string(),
        json!({"messages": [user("q"), {"role": "assistant"}]}).to_string(),
        json!({"messages": [{"from": "human", "value": "q"}]}).to_string(),
        json!({"messages": [user("q"), {"role": "assistant", "content": [{"type": "text"}]}]}).to_string(),
        json!({"instruction": "do", "input": 3, "output": "x"}).to_string(),
        json!({"chosen": "abc", "rejected": "xyz"}).to_string(),
        json!({"chosen": "abc", "rejected": "abc"}).to_string(),
        json!({"chosen": "abc", "rejected": [assistant("b")]}).to_string(),
        json!({"chosen": [user("q"), assistant("a"), user("r"), assistant("b")], "rejected": [user("q"), assistant("c")]}).to_string(),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|text| {
            let e = open(text.as_bytes(), |_| {}).err().unwrap_or_else(|| panic!("accepted: {text}"));
            format!("{text:.120}\nerror[{}]: {e:#}\nhint: {}\n", e.code(), e.hint_text().unwrap())
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    let fields = |c: &mut DataConfig| c.fields = [("prompt".to_owned(), "promt".to_owned())].into();
    let e = open(good.to_string().as_bytes(), fields).err().unwrap();
    assert_eq!(
        e.message(),
        "FILE, line 1: there is no `promt`, which data.fields names for prompt; did you mean `prompt`?"
    );
}

#[cfg(not(feature = "parquet"))]
#[test]
fn parquet_is_refused_without_the_feature() {
    assert_eq!(open(b"PAR1....", |_| {}).err().unwrap().code(), Code::DataParquet);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_rows_are_those_of_the_file() {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/data/messages.parquet"));
    let data = Dataset::open(&config(path)).unwrap();
    let got: Vec<String> = (0..data.len()).map(|i| brief(&data.row(i).unwrap())).collect();
    assert_eq!(got, (0..5).map(|i| format!("u:q{i} => \u{e4}{i}")).collect::<Vec<_>>());
    assert_eq!((data.row(4).unwrap().line, data.hash()), (5, files::sha256_file(path).unwrap().as_str()));
    let e = open(b"PAR1 and then nothing", |_| {}).err().unwrap();
    assert_eq!(e.message(), "FILE: cannot read the Parquet file");
}
