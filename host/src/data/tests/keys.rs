//! Keys of rows and messages: used, mapped, harmless or refused.

use super::*;

/// docs/data.md has what becomes of each key; a key that is on no list there is refused as `zzz` is.
#[test]
fn the_documented_keys_are_treated_as_documented() {
    let table = include_str!("../../../../docs/data.md").split("## Keys of other trainers' rows").nth(1).unwrap();
    let table = table.split("Keys of messages:").next().unwrap();
    let good = |key: &str| match key {
        "messages" | "conversations" => json!({key: [user("q"), assistant("a")]}),
        "chosen" | "rejected" => json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
        "instruction" | "input" | "output" => json!({"instruction": "q", "input": "r", "output": "a"}),
        _ => json!({"prompt": "q", "completion": "a"}),
    };
    let read = |line: &serde_json::Value| open(line.to_string().as_bytes(), |_| {}).map(|data| data.row(0).unwrap());
    let mut seen = vec![];
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let [key, _, what] = line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let key = key.trim_matches('`');
        let (plain, mut row) = (good(key), good(key));
        let value = match key {
            "tools" => json!([{"name": "f"}]),
            "chat_template_kwargs" => json!({"x": 1}),
            "history" => json!([["p", "b"]]),
            _ => json!("something else"),
        };
        if row.get(key).is_none() {
            row[key] = value;
        }
        let (found, without) = (read(&row), read(&plain).unwrap());
        let refused = found.as_ref().is_err_and(|e| e.message().contains(&format!("`{key}`")));
        match what {
            "used" => assert!(row == plain || found.unwrap() != without, "{line}"),
            "harmless" => assert_eq!(found.unwrap(), without, "{line}"),
            "refused" | "mapped" | "used beside `chosen`, else mapped" => assert!(refused, "{line}"),
            other => {
                assert!(refused && other.ends_with("harmless, all else refused"), "{line}");
                row[key] = if key == "text" { json!("q then a") } else { json!(true) };
                assert_eq!(read(&row).unwrap(), without, "{line}");
            }
        }
        seen.push(key);
    }
    assert_eq!(seen.len(), 60);
    assert!(read(&json!({"prompt": "q", "completion": "a", "zzz": 1})).is_err());
    // What is used or harmless is in the table, or of one kind with what is.
    for field in crate::config::ROW_FIELDS.iter().filter(|f| !["real", "generated", "weight"].contains(f)) {
        assert!(seen.contains(field), "{field}");
    }
}

#[test]
fn what_is_to_be_ignored_is_as_if_it_were_not_there() {
    let line = json!({"prompt": "q", "completion": "a", "margin": 2.0, "system": "s"});
    let ignored = |c: &mut DataConfig| c.ignore_fields = vec!["margin".into(), "system".into()];
    assert_eq!(brief(&rows(std::slice::from_ref(&line), ignored)[0]), "u:q => a");
    assert!(open(line.to_string().as_bytes(), |_| {}).err().unwrap().message().contains("`margin`"));
}

#[test]
fn a_system_message_of_the_row_comes_before_that_of_the_config() {
    let system = |c: &mut DataConfig| c.system = Some("of the config".into());
    let one = |line: serde_json::Value| brief(&rows(&[line], system)[0]);
    for field in ["system", "system_prompt"] {
        assert_eq!(one(json!({"prompt": "q", "completion": "a", field: "of the row"})), "s:of the row|u:q => a");
        assert_eq!(one(json!({"prompt": "q", "completion": "a", field: ""})), "s:of the config|u:q => a");
    }
    let developer = json!({"messages": [{"role": "developer", "content": "d"}, user("q"), assistant("a")]});
    assert_eq!(one(developer), "d:d|u:q => a");
    // Whatever the first row has.
    let lines =
        [json!({"prompt": "q", "completion": "a"}), json!({"prompt": "q", "completion": "a", "system_prompt": "s"})];
    assert_eq!(brief(&rows(&lines, |_| {})[1]), "s:s|u:q => a");
    let two = json!({"prompt": "q", "completion": "a", "system": "s", "system_prompt": "t"});
    let e = open(two.to_string().as_bytes(), |_| {}).err().unwrap();
    assert!(e.message().ends_with("`system` and `system_prompt` are two system messages"), "{e}");
    // Alpaca's rendering knows nothing of the config's message.
    let alpaca = json!({"instruction": "Do", "input": "it.", "output": "Done.", "text": "Below: Do, it.\nDone."});
    assert_eq!(one(alpaca), "s:of the config|u:Do\n\nit. => Done.");
}

/// SHP calls its prompt `history`, which is another field of ours.
#[test]
fn a_key_that_is_mapped_is_not_read_under_its_own_name_too() {
    let line = json!({"history": "q", "human_ref_A": "a", "human_ref_B": "b"});
    let map = [("prompt", "history"), ("chosen", "human_ref_A"), ("rejected", "human_ref_B")];
    let fields = |c: &mut DataConfig| c.fields = map.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    assert_eq!(brief(&rows(&[line], fields)[0]), "u:q => a / b");
}

#[test]
fn what_messages_say_of_their_training_is_held_against_the_config() {
    let said = |i: usize, key: &str, value: serde_json::Value, turns: Turns| {
        let mut talk = [user("1"), assistant("2"), user("3"), assistant("4")];
        talk[i][key] = value;
        open(json!({"messages": talk}).to_string().as_bytes(), |c| c.turns = turns)
    };
    for (i, key, value, turns) in [
        (3, "weight", json!(1), Turns::Last),
        (1, "weight", json!(0), Turns::Last),
        (1, "train", json!(true), Turns::All),
        (0, "training", json!(false), Turns::All),
    ] {
        let row = said(i, key, value, turns).unwrap().row(0).unwrap();
        assert!(row.chosen.more.is_empty() && row.prompt.messages.iter().all(|m| m.more.is_empty()));
    }
    for (i, key, value, turns) in [
        (0, "weight", json!(1), Turns::Last),
        (1, "weight", json!(1), Turns::Last),
        (1, "weight", json!(0), Turns::All),
        (3, "weight", json!(0.5), Turns::Last),
        (3, "train_detail", json!([{"begin_offset": 0}]), Turns::Last),
    ] {
        let e = said(i, key, value.clone(), turns).err().unwrap();
        assert!(
            e.message().contains(&format!("message {i}: `{key}` of the ")) && e.message().contains(&value.to_string()),
            "{e}"
        );
    }
}

/// Nulls of rows, messages and the template's variables are keys that are not there. Those within a call's arguments or
/// a schema are values: `datasets` hands them on as written, and so do templates.
#[test]
fn nulls_within_values_stay() {
    let call = json!([{"type": "function", "function": {"name": "f", "arguments": {"x": null, "y": [null, 1]}}}]);
    let tools = json!([{"name": "f", "parameters": {"properties": {"x": {"default": null, "enum": [1, null]}}}}]);
    let line = json!({"messages": [user("q"), {"role": "assistant", "content": null, "tool_calls": call, "name": null}],
        "tools": tools, "chat_template_kwargs": {"a": {"b": null}, "c": null}});
    let row = rows(&[line], |_| {}).remove(0);
    assert_eq!(json!(row.chosen), json!({"role": "assistant", "tool_calls": call}));
    assert_eq!(json!(row.prompt.variables), json!({"a": {"b": null}, "tools": tools}));
}
