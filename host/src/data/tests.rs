#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Turns;
use serde_json::json;
use std::io::Write;

mod files;
mod keys;

fn config(path: &std::path::Path) -> DataConfig {
    serde_json::from_value(json!({"path": path})).unwrap()
}

/// Opens a file of these bytes; the config can be changed first.
fn open(bytes: &[u8], change: impl FnOnce(&mut DataConfig)) -> Result<Dataset> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let mut config = config(file.path());
    change(&mut config);
    Dataset::open(&[config]).map_err(|e| {
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

fn hash(data: &Dataset) -> &str {
    data.hashes().next().unwrap().1
}

/// `u:hello|a:hi => yes / no`
fn brief(row: &Row) -> String {
    let history: Vec<String> = row.prompt.messages.iter().map(|m| format!("{}:{}", &m.role[..1], m.text())).collect();
    let rejected = row.rejected.as_ref().map_or(String::new(), |r| format!(" / {}", r.text()));
    format!("{} => {}{rejected}", history.join("|"), row.chosen.text())
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
    assert_eq!(one(json!({"messages": [user("q"), assistant("a")], "prompt": " q\n"})), "u:q => a");
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

/// `every_shape_becomes_history_and_responses` goes on: what Axolotl's and LLaMA-Factory's rows have.
#[test]
fn rows_of_other_trainers_are_read_with_all_they_say() {
    let one = |line: serde_json::Value| brief(&rows(&[line], |_| {})[0]);
    let alpaca = json!({"instruction": "And of Chile?", "input": "", "output": "Santiago", "system": "One word.",
        "history": [["Capital of Peru?", "Lima"]]});
    assert_eq!(one(alpaca), "s:One word.|u:Capital of Peru?|a:Lima|u:And of Chile? => Santiago");
    let rendered = json!({"instruction": "Do", "input": "it.", "output": "Done.", "text": "Below: Do, it.\nDone."});
    assert_eq!(one(rendered), "u:Do\n\nit. => Done.");
    let orca = json!({"system": "One word.", "question": "Of Peru?", "chosen": "Lima", "rejected": "Quito"});
    assert_eq!(one(orca), "s:One word.|u:Of Peru? => Lima / Quito");
    let open_orca = json!({"system_prompt": "", "prompt": "Of Peru?", "completion": "Lima"});
    assert_eq!(one(open_orca), "u:Of Peru? => Lima");
    let code = json!({"instruction": "Add.", "input": "", "chosen": "def add(a, b)", "rejected": "def add(a)"});
    assert_eq!(one(code), "u:Add. => def add(a, b) / def add(a)");
    let question = json!({"question": "Who?", "chosen": "The author is Ana.", "rejected": "The author is Ben."});
    assert_eq!(one(question), "u:Who? => The author is Ana. / The author is Ben.");
    let from = |role: &str, text: &str| json!({"from": role, "value": text});
    let talk = json!({"conversations": [from("system", "s"), from("human", "q"), from("gpt", "a")], "id": "x"});
    assert_eq!(one(talk), "s:s|u:q => a");
    let factory =
        json!({"conversations": [from("human", "q")], "chosen": from("gpt", "a"), "rejected": from("gpt", "b")});
    assert_eq!(one(factory), "u:q => a / b");
    let ultra = json!({"prompt": "q", "prompt_id": "7", "chosen": [user("q"), assistant("a")],
        "rejected": [user("q"), assistant("b")], "messages": [user("q"), assistant("a")], "score_chosen": 9.5});
    assert_eq!(one(ultra), "u:q => a / b");
    assert_eq!(one(json!({"prompt": "q", "completion": "a", "label": true, "context": null})), "u:q => a");
}

#[test]
fn tools_and_all_keys_of_messages_reach_the_template() {
    let schema = json!([{"type": "function", "function": {"name": "depth"}}]);
    let call = json!([{"type": "function", "function": {"name": "depth", "arguments": {"well": "B"}}}]);
    let line = json!({
        "messages": [user("q"), {"role": "assistant", "content": null, "tool_calls": call},
            {"role": "tool", "name": "depth", "content": "12"},
            {"role": "assistant", "content": "12 m", "reasoning_content": "look", "tool_calls": null}],
        "tools": schema.to_string(), "chat_template_kwargs": {"enable_thinking": false, "date": null},
    });
    let row = rows(std::slice::from_ref(&line), |_| {}).remove(0);
    assert_eq!(json!(row.prompt.messages[1]), json!({"role": "assistant", "tool_calls": call}));
    assert_eq!(json!(row.prompt.messages[2]), json!({"role": "tool", "content": "12", "name": "depth"}));
    assert_eq!(json!(row.chosen), json!({"role": "assistant", "content": "12 m", "reasoning_content": "look"}));
    assert_eq!(json!(row.prompt.variables), json!({"enable_thinking": false, "tools": schema}));
    let ignored = ["tools", "enable_thinking", "reasoning_content"].map(str::to_owned);
    let row = rows(&[line], |c| c.ignore_fields = ignored.into()).remove(0);
    assert_eq!((row.prompt.variables.len(), row.chosen.more.len()), (0, 0));
    // An empty list is no tools, as in TRL.
    let row = rows(&[json!({"prompt": "q", "completion": "a", "tools": []})], |_| {}).remove(0);
    assert!(row.prompt.variables.is_empty());
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
fn a_response_does_not_stand_in_its_own_prompt() {
    let row = |last: &str| {
        let row = json!({"messages": [user("q"), assistant(last)], "chosen": "a", "rejected": "b"});
        open(format!("{row}\n").as_bytes(), |_| {})
    };
    assert_eq!(brief(&row("a").unwrap().row(0).unwrap()), "u:q => a / b");
    let e = row("c").err().unwrap();
    assert!(e.message().ends_with("`messages` ends with a response that is not the chosen one"), "{e}");
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
        json!({"messages": [{"from": "function_call", "value": "{}"}]}).to_string(),
        json!({"messages": [user("q"), {"role": "gpt", "content": "a"}]}).to_string(),
        json!({"messages": [user("q"), {"role": "assistant", "content": "a", "weight": 0}]}).to_string(),
        json!({"messages": [{"role": "system", "content": "s"}, user("q"), assistant("a")], "system": "t"}).to_string(),
        json!({"prompt": "q", "completion": "a", "label": false}).to_string(),
        json!({"prompt": "q", "completion": "a", "context": "It was so.", "images": ["x.png"], "id": 7}).to_string(),
        json!({"messages": [user("q"), assistant("a")], "prompt": "another"}).to_string(),
        json!({"prompt": "q", "completion": "a", "tools": "{"}).to_string(),
        json!({"prompt": "q", "completion": "a", "chat_template_kwargs": {"messages": []}}).to_string(),
        json!({"instruction": "q", "output": "a", "history": ["q"]}).to_string(),
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
