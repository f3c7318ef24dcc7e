#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::PluginChoice;

/// The metadata of a library for this machine.
pub fn library() -> Metadata {
    let json = format!(
        r#"{{"schema":1,"name":"lib","version":"2.0.0","abi":"1.4.0","sdk":"0.3.0","license":"MIT","target":"{}",
            "cpu_features":[],"added later":1,"provides":[
            {{"kind":"distance","id":"a","summary":"","properties":{{"symmetric":true}}}},
            {{"kind":"distance","id":"b","summary":"","properties":{{}}}},
            {{"kind":"schedule","id":"a","summary":"","properties":{{}}}}]}}"#,
        ldalign_sdk::metadata::TARGET.join("")
    );
    serde_json::from_str(&json).unwrap()
}

#[test]
fn a_choice_finds_its_id() {
    let choose = |kind, plugin: &str, id: Option<&str>| {
        let choice = PluginChoice { id: id.map(str::to_owned), ..PluginChoice::bundled(plugin) };
        library().choose(kind, &choice).map_err(|e| e.to_string())
    };
    assert_eq!(choose(Kind::Distance, "./lib.so", Some("b")), Ok("b".into()));
    assert_eq!(choose(Kind::Distance, "a", None), Ok("a".into()));
    assert_eq!(choose(Kind::Schedule, "./lib.so", None), Ok("a".into()));
    assert_eq!(choose(Kind::Distance, "./lib.so", None), Err("lib provides several distances: a, b".into()));
    let e = choose(Kind::Distance, "a", Some("c")).unwrap_err();
    assert_eq!(e, "lib provides no distance called `c`, but: a, b");
    let e = choose(Kind::Encoder, "a", None).unwrap_err();
    assert_eq!(e, "lib provides no encoder, but: distance a, distance b, schedule a");
}
