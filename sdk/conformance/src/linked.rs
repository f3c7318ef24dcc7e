//! The author's side: a test that runs the checks on the plugin that is compiled into it.

use crate::{Case, Job, Library, Plan, child, child::Voice, runner, suite};
use ldalign_abi::{PluginModule_Ref, abi_stable::library::LibHeader};
use serde_json::{Value, json};
use std::{env, process::Command};

/// Holds a child's job.
const JOB: &str = "LDALIGN_CONFORMANCE_JOB";

/// A plugin that is part of this program.
struct Linked(&'static LibHeader);

impl Library for Linked {
    fn open(&self) -> Result<PluginModule_Ref, String> {
        self.0.init_root_module::<PluginModule_Ref>().map_err(|e| e.to_string())
    }
    fn section(&self) -> Option<Vec<u8>> {
        None
    }
}

/// What an author gives for a plugin: its id, the shape of the only latents it takes, and options.
pub type Given<'a> = (&'a str, Option<[u64; 2]>, Value);

/// What [`conforms!`](crate::conforms) expands to. `name` is the test's path with the crate's name before it.
///
/// # Panics
/// If a check fails, with the report.
pub fn test(header: &'static LibHeader, name: &str, given: &[Given<'_>]) {
    let library = Linked(header);
    if let Ok(text) = env::var(JOB) {
        let (job, voice): (Job, Voice) = Voice::hear(&text).expect("the job is one that this test made");
        suite::answer(&library, &job, &voice);
        voice.end();
    }
    let mut plan = Plan { filter: env::var("LDALIGN_CONFORMANCE_FILTER").ok(), ..Plan::default() };
    if let Ok(seed) = env::var("LDALIGN_CONFORMANCE_SEED") {
        plan.seed = seed.parse().expect("LDALIGN_CONFORMANCE_SEED is a number");
    }
    plan.in_process = env::var_os("LDALIGN_CONFORMANCE_IN_PROCESS").is_some_and(|v| v != "0");
    let program = env::current_exe().expect("a test knows its own path");
    let test = name.split_once("::").map_or(name, |(_, test)| test);
    let ask = |job: &Job| {
        child::ask(job, plan.limit, |text| {
            let mut command = Command::new(&program);
            command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(JOB, text);
            command
        })
    };
    let report = runner::run(&library, &cases(&library, given), &plan, &ask);
    println!("{report}");
    assert_eq!(report.failed(), 0, "the plugin does not conform:\n{report}");
}

/// The plugins that the library says it provides, each with every set of options given for its id.
fn cases(library: &Linked, given: &[Given<'_>]) -> Vec<Case> {
    let module = library.open().expect("the plugin's types are those of the boundary it was built with");
    let metadata: Value = serde_json::from_str(&module.descriptor_json()()).expect("the SDK writes JSON");
    let provided = metadata["provides"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let unknown = given.iter().find(|(id, ..)| !provided.iter().any(|one| text(one, "id") == *id));
    assert!(unknown.is_none(), "options are given for {unknown:?}, which the library does not provide");
    let case = |one: &Value, shape: Option<[u64; 2]>, options: Value| Case {
        kind: text(one, "kind"),
        id: text(one, "id"),
        properties: one["properties"].as_object().cloned().unwrap_or_default(),
        options,
        shape,
    };
    let of = |one: &Value| {
        let its = given.iter().filter(|(id, ..)| text(one, "id") == *id);
        let cases: Vec<Case> = its.map(|(_, shape, options)| case(one, *shape, options.clone())).collect();
        if cases.is_empty() { vec![case(one, None, json!({}))] } else { cases }
    };
    provided.iter().flat_map(of).collect()
}
