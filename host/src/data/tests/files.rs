//! Files: several of them, packed ones, lines, and bytes that change.

use super::*;
use crate::files;

#[test]
fn files_of_a_list_follow_each_other_each_by_its_own_keys() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, lines: &[serde_json::Value]| {
        let path = dir.path().join(name);
        std::fs::write(&path, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
        config(&path)
    };
    let pair = |q: &str| json!({"prompt": q, "completion": q.to_uppercase()});
    let mut a = file("a.jsonl", &[pair("a"), pair("b"), pair("c")]);
    let mut b = file("b.jsonl", &[json!({"question": "d", "answer": "D"}), json!({"question": "e", "answer": "E"})]);
    (a.max_rows, a.max_length) = (2, 64);
    b.fields = [("prompt", "question"), ("completion", "answer")].map(|(a, b)| (a.into(), b.into())).into();
    (b.repeat, b.system, b.max_prompt_length) = (2, Some("s".into()), 8);
    let data = Dataset::open(&[a.clone(), b.clone()]).unwrap();
    let rows: Vec<Row> = (0..data.len()).map(|i| data.row(i).unwrap()).collect();
    let got: Vec<String> = rows.iter().map(brief).collect();
    assert_eq!(got, ["u:a => A", "u:b => B", "s:s|u:d => D", "s:s|u:e => E", "s:s|u:d => D", "s:s|u:e => E"]);
    assert_eq!(
        rows.iter().map(|r| (r.file, r.line)).collect::<Vec<_>>(),
        [(0, 1), (0, 2), (1, 1), (1, 2), (1, 1), (1, 2)]
    );
    assert_eq!((rows[1].limits, rows[5].limits), (a.limits(), b.limits()));
    assert!(data.place(&rows[5]).ends_with("b.jsonl, line 2"));
    let hashes: Vec<_> = data.hashes().map(|(path, hash)| (path.to_owned(), hash.to_owned())).collect();
    assert_eq!(hashes, [&a.path, &b.path].map(|path| (path.clone(), files::sha256_file(path).unwrap())));
    // A list of one is that file.
    let (one, same) = (Dataset::open(&[a.clone()]).unwrap(), &data);
    assert_eq!((0..one.len()).map(|i| one.row(i).unwrap()).collect::<Vec<_>>(), rows[..2]);
    assert!(!same.is_empty() && !same.has_rejected() && !same.has_weights());
    // Files that are not trained on alike; a fault names its file.
    let judged = file("judged.jsonl", &[json!({"prompt": "q", "chosen": "x", "rejected": "y"})]);
    let weighed = file("weighed.jsonl", &[json!({"prompt": "q", "completion": "x", "weight": 2})]);
    for (other, what) in [(judged, "brings rejected responses"), (weighed, "brings weights")] {
        let e = Dataset::open(&[a.clone(), other]).err().unwrap();
        assert!(
            e.code() == Code::DataShape && e.message().contains(what) && e.message().contains("a.jsonl does not"),
            "{e}"
        );
    }
    let e = Dataset::open(&[a, file("bad.jsonl", &[json!({"prompt": "q"})])]).err().unwrap();
    assert!(e.message().contains("bad.jsonl, line 1: "), "{e}");
}

#[test]
fn a_small_file_of_a_list_is_not_dropped_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, rows: usize| {
        let line = json!({"prompt": "q", "completion": "a"});
        std::fs::write(dir.path().join(name), format!("{line}\n").repeat(rows)).unwrap();
        config(&dir.path().join(name))
    };
    let mut small = file("small.jsonl", 1);
    small.max_length = 3;
    let data = Dataset::open(&[file("large.jsonl", 199), small]).unwrap();
    let mut budgets = Budgets::of(&data);
    for index in 0..data.len() {
        let row = data.row(index).unwrap();
        budgets.fit(&row, vec![1; 4], [vec![2]]);
    }
    let report = budgets.report();
    assert_eq!((report.rows, report.dropped), (200, 1));
    // Of all rows it would be little enough.
    assert!(report.check().is_ok());
    let e = budgets.check().unwrap_err();
    assert!(e.message().ends_with("small.jsonl: 1 of 1 rows have prompts that leave no room for a response"), "{e}");
}

#[test]
fn messages_are_counted_as_the_row_has_them() {
    let row = json!({"messages": [user("q"), {"role": "assistant", "content": "a", "train": false}]});
    let e = open(row.to_string().as_bytes(), |c| c.system = Some("s".into())).err().unwrap();
    assert!(e.message().contains("message 1: `train` of the `assistant` is false"), "{e}");
    // What the developer says is no prompt, as what the system says is none.
    for role in ["system", "developer"] {
        let row = json!({"messages": [{"role": role, "content": "s"}, assistant("a")]});
        let e = open(row.to_string().as_bytes(), |_| {}).err().unwrap();
        assert!(e.message().contains("there is no prompt before the response"), "{e}");
    }
}

#[test]
fn marks_blank_lines_and_line_ends_do_not_matter() {
    let text = b"\xef\xbb\xbf{\"prompt\": \"q\", \"completion\": \"a\"}\r\n\r\n   \n{\"prompt\": \"r\", \"completion\": \"\xc3\xa4\"}";
    let data = open(text, |_| {}).unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!((brief(&data.row(0).unwrap()).as_str(), data.row(0).unwrap().line), ("u:q => a", 1));
    assert_eq!((brief(&data.row(1).unwrap()).as_str(), data.row(1).unwrap().line), ("u:r => \u{e4}", 4));
    assert_eq!(hash(&data), files::sha256(text));
}

#[test]
fn packed_files_are_read_and_other_kinds_named() {
    let plain = b"{\"prompt\": \"q\", \"completion\": \"a\"}\n{\"prompt\": \"r\", \"completion\": \"b\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()] {
        let data = open(&packed, |_| {}).unwrap();
        let rows: Vec<Row> = (0..data.len()).map(|i| data.row(i).unwrap()).collect();
        assert_eq!(rows.iter().map(brief).collect::<Vec<_>>(), ["u:q => a", "u:r => b"]);
        assert_eq!((rows[1].line, hash(&data)), (2, files::sha256(&packed).as_str()));
        let e = open(&packed[..packed.len() / 2], |_| {}).err().unwrap();
        assert_eq!((e.code(), e.message()), (Code::DataPacked, "FILE cannot be unpacked"));
    }
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [&utf16[..], &utf16[2..]] {
        let e = open(bytes, |_| {}).err().unwrap();
        assert_eq!(e.message(), "FILE is UTF-16, expected UTF-8");
        assert!(e.hint_text().unwrap().contains("iconv"));
    }
    assert_eq!(open(b"PK\x03\x04", |_| {}).err().unwrap().message(), "FILE is a ZIP archive, expected JSON lines");
    assert!(open(b"prompt,completion\nq,a\n", |_| {}).err().unwrap().hint_text().unwrap().starts_with("is it CSV?"));
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
    assert_eq!((data.len(), hash(&data)), (1, files::sha256(text).as_str()));
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
                    assert_eq!(data.row(i).unwrap().chosen.text(), i.to_string());
                }
            });
        }
    });
}

#[test]
fn a_changed_file_is_noticed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", json!({"prompt": "q", "completion": "a"})).unwrap();
    let data = Dataset::open(&[config(file.path())]).unwrap();
    file.as_file().set_len(10).unwrap();
    assert_eq!(data.row(0).unwrap_err().code(), Code::DataChanged);
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
    let data = Dataset::open(&[config(path)]).unwrap();
    let got: Vec<String> = (0..data.len()).map(|i| brief(&data.row(i).unwrap())).collect();
    assert_eq!(got, (0..5).map(|i| format!("u:q{i} => \u{e4}{i}")).collect::<Vec<_>>());
    assert_eq!((data.row(4).unwrap().line, hash(&data)), (5, files::sha256_file(path).unwrap().as_str()));
    let e = open(b"PAR1 and then nothing", |_| {}).err().unwrap();
    assert_eq!(e.message(), "FILE: cannot read the Parquet file");
}

#[cfg(feature = "parquet")]
#[test]
fn columns_of_json_are_what_they_say() {
    let path = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/data/tools.parquet"));
    let open = |ignored: &[&str]| {
        let ignore_fields = ignored.iter().map(|key| key.to_string()).collect();
        let fields = [("chat_template_kwargs".to_owned(), "kwargs".to_owned())].into();
        Dataset::open(&[DataConfig { ignore_fields, fields, ..config(path) }])
    };
    let data = open(&["note"]).unwrap();
    let row = data.row(0).unwrap();
    assert_eq!(row.chosen.more["tool_calls"], json!([{"f": {"x": 1}}]));
    let tools = json!([{"name": "f", "parameters": {"x": {"default": null}}}, {"name": "g", "parameters": null}]);
    assert_eq!(serde_json::Value::Object(row.prompt.variables), json!({"think": false, "tools": tools}));
    assert_eq!(brief(&data.row(1).unwrap()), "u:q => a");
    // A text is a text, whatever it looks like.
    assert!(open(&[]).err().unwrap().message().contains("`note`"));
}
